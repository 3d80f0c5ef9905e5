//! Who logs in, and the connections, channels and consumers of clients. What the broker's own interfaces open is told to
//! nobody.

use super::{Field, Fields, erlang_terms, field, flag, integer, told};
use crate::broker::queue::QueueKind;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, ChannelId, ConnectionId, ConsumerId, UserId, VhostId};
use crate::protocol::{FieldTable, FieldValue, ShortString};
use crate::tls::Encryption;
// From `core`, which has addresses and no sockets.
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const PROTOCOL: &str = "{0,9,1}";

/// What a connection's events tell of its client.
pub struct ClientDetails {
    pub name: String,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// `None` when it is not encrypted.
    pub encryption: Option<Arc<Encryption>>,
    pub client_properties: FieldTable,
    /// Empty before somebody tried to log in.
    pub auth_mechanism: &'static str,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat_s: u16,
    /// On the broker's clock.
    pub connected_at_ms: u64,
}

impl ClientDetails {
    /// What the client calls itself.
    fn user_provided_name(&self) -> Option<Field> {
        match self.client_properties.get(b"connection_name") {
            Some(FieldValue::LongString(name)) => Some(told("user_provided_name", &*ShortString::truncated(name))),
            _ => None,
        }
    }
}

/// An address as Erlang has it: `{127,0,0,1}`.
fn address_term(address: IpAddr) -> String {
    let parts: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(address) => address.segments().iter().map(ToString::to_string).collect(),
    };
    format!("{{{}}}", parts.join(","))
}

impl<S: Store> Broker<S> {
    /// A client's credentials were right, or wrong: why is told of those.
    pub fn tell_login(&mut self, client: &ClientDetails, user: &[u8], refusal: Option<&str>) {
        let key = if refusal.is_some() { "user.authentication.failure" } else { "user.authentication.success" };
        self.tell(key, |_| {
            // Erlang's text: a list of characters.
            let error = refusal.map(|text| FieldValue::Array(text.chars().map(u32::from).map(integer).collect()));
            let fields = [
                flag("ssl", client.encryption.is_some()),
                told("auth_mechanism", client.auth_mechanism),
                told("protocol", PROTOCOL),
                field("peer_port", integer(client.peer.port())),
                told("peer_host", address_term(client.peer.ip())),
                told("connection_name", &client.name),
                told("host", address_term(client.local.ip())),
                told("name", &*ShortString::truncated(user)),
                told("connection_type", "network"),
            ];
            error.map(|error| field("error", error)).into_iter().chain(fields).collect()
        });
    }

    /// A client's connection is open.
    pub fn tell_connection_created(&mut self, id: ConnectionId, client: &ClientDetails) {
        self.tell("connection.created", |broker| {
            let Some((_, user, vhost)) = broker.connection_named(id) else { return Fields::new() };
            let encryption = client.encryption.as_deref();
            let of_tls = |field: fn(&Encryption) -> &'static str| encryption.map_or("", field);
            let peer = encryption.and_then(|encryption| encryption.peer.as_ref());
            let fields = [
                broker.by(Some(user)),
                told("node", broker.node_name()),
                field("connected_at", integer(broker.settings.unix_start_ms + client.connected_at_ms)),
                field("client_properties", erlang_terms(&client.client_properties)),
                field("channel_max", integer(client.channel_max)),
                field("frame_max", integer(client.frame_max)),
                field("timeout", integer(client.heartbeat_s)),
                told("vhost", broker.vhost_name(vhost)),
                told("user", broker.user_name(user)),
                told("protocol", PROTOCOL),
                told("ssl_hash", of_tls(|encryption| encryption.hash)),
                told("ssl_cipher", of_tls(|encryption| encryption.cipher)),
                told("ssl_key_exchange", of_tls(|encryption| encryption.key_exchange)),
                told("ssl_protocol", of_tls(|encryption| encryption.protocol)),
                told("auth_mechanism", client.auth_mechanism),
                told("peer_cert_validity", peer.map_or("", |peer| &peer.validity)),
                told("peer_cert_issuer", peer.map_or("", |peer| &peer.issuer)),
                told("peer_cert_subject", peer.map_or("", |peer| &peer.subject)),
                flag("ssl", client.encryption.is_some()),
                told("peer_host", address_term(client.peer.ip())),
                told("host", address_term(client.local.ip())),
                field("peer_port", integer(client.peer.port())),
                field("port", integer(client.local.port())),
                told("name", &client.name),
                told("pid", &client.name),
                told("type", "network"),
            ];
            fields.into_iter().chain(client.user_provided_name()).collect()
        });
    }

    /// A client's connection is gone, whether it came to be open or not.
    pub fn tell_connection_closed(&mut self, client: &ClientDetails) {
        self.tell("connection.closed", |broker| {
            let fields = [
                field("client_properties", erlang_terms(&client.client_properties)),
                told("node", broker.node_name()),
                told("pid", &client.name),
                told("name", &client.name),
            ];
            fields.into_iter().chain(client.user_provided_name()).collect()
        });
    }

    /// The name of an open connection of a client. What the broker's own interfaces open has none.
    pub(super) fn connection_named(&self, id: ConnectionId) -> Option<(&str, UserId, VhostId)> {
        let state = self.connections.get(id.0 as usize)?.as_ref()?;
        (!state.name.is_empty()).then_some((&state.name, state.user, state.vhost))
    }

    fn channel_name(&self, id: ChannelId) -> Option<String> {
        let channel = self.channel(id);
        let (connection, ..) = self.connection_named(channel.connection)?;
        Some(format!("{connection} ({})", channel.number))
    }

    pub(in crate::broker) fn tell_channel_created(&mut self, id: ChannelId) {
        self.tell("channel.created", |broker| {
            let Some(name) = broker.channel_name(id) else { return Fields::new() };
            let Caller { connection, user, vhost, .. } = broker.caller(id);
            let connection = broker.connection_named(connection).map_or("", |(name, ..)| name);
            Fields::from([
                broker.by(Some(user)),
                told("vhost", broker.vhost_name(vhost)),
                told("user", broker.user_name(user)),
                field("number", integer(broker.channel(id).number)),
                told("connection", connection),
                told("name", &name),
                told("pid", &name),
            ])
        });
    }

    /// A channel is gone. Its consumers went before.
    pub(in crate::broker) fn tell_channel_closed(&mut self, id: ChannelId) {
        self.tell("channel.closed", |broker| {
            let Some(name) = broker.channel_name(id) else { return Fields::new() };
            let consumers = broker.channel(id).consumers.len();
            Fields::from([
                field("consumer_count", integer(consumers)),
                broker.by(Some(broker.caller(id).user)),
                told("pid", &name),
            ])
        });
    }

    pub(in crate::broker) fn tell_consumer_created(&mut self, id: ConsumerId) {
        self.tell("consumer.created", |broker| {
            let consumer = &broker.consumers[id.0 as usize];
            let Caller { user, vhost, .. } = broker.caller(consumer.channel);
            Fields::from([
                broker.by(Some(user)),
                field("arguments", erlang_terms(&consumer.arguments)),
                field("prefetch_count", integer(consumer.prefetch_count)),
                told("queue", &*broker.queue(consumer.queue).properties.name),
                told("vhost", broker.vhost_name(vhost)),
                told("channel", broker.channel_name(consumer.channel).unwrap_or_default()),
                flag("ack_required", !consumer.no_ack),
                flag("exclusive", consumer.exclusive),
                told("consumer_tag", &*consumer.tag),
            ])
        });
    }

    /// A consumer was cancelled, by a user; with `None`, as its channel is gone.
    pub(in crate::broker) fn tell_consumer_deleted(&mut self, id: ConsumerId, by: Option<UserId>) {
        self.tell("consumer.deleted", |broker| {
            let consumer = &broker.consumers[id.0 as usize];
            let queue = broker.queue(consumer.queue);
            // Of quorum queues RabbitMQ tells of nobody, whoever cancels.
            let by = by.filter(|_| queue.arguments.kind == QueueKind::Classic);
            Fields::from([
                broker.by(by),
                told("queue", &*queue.properties.name),
                told("vhost", broker.vhost_name(queue.properties.vhost)),
                told("channel", broker.channel_name(consumer.channel).unwrap_or_default()),
                told("consumer_tag", &*consumer.tag),
            ])
        });
    }
}
