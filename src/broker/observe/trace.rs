//! The firehose: a message to `amq.rabbitmq.trace` for each publish and each delivery, with RabbitMQ's keys and headers.
//!
//! ```text
//! publish.EXCHANGE   exchange_name, routing_keys, properties, node, vhost, connection, channel, user, routed_queues
//! deliver.QUEUE      exchange_name, routing_keys, properties, node, redelivered, vhost, connection, channel, user
//! ```
//! Its body is that of the message. What is published to the exchange of the trace itself is not told.

use super::{Observation, text};
use crate::broker::effects::Effects;
use crate::broker::exchange::QueueId;
use crate::broker::message::Content;
use crate::broker::publish::Publication;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, ChannelId};
use crate::protocol::{BasicProperties, FieldTable, FieldValue, PropertiesRef, ShortString};
use bytes::Bytes;

pub(super) const TRACE_EXCHANGE: &[u8] = b"amq.rabbitmq.trace";

fn texts<'a>(all: impl Iterator<Item = &'a [u8]>) -> FieldValue {
    FieldValue::Array(all.map(text).collect())
}

/// A number of any property: RabbitMQ gives all of them 32 bits, and here those that do not fit have more.
fn number(value: u64) -> FieldValue {
    match i32::try_from(value) {
        Ok(value) => FieldValue::I32(value),
        Err(_) => FieldValue::I64(value.cast_signed()),
    }
}

/// The properties that are there, the last one first.
fn properties_table(content: &Content<'_>) -> FieldTable {
    let properties = PropertiesRef::parse(content.properties()).unwrap_or_default();
    let PropertiesRef {
        content_type,
        content_encoding,
        headers,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        message_type,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let all = [
        ("cluster_id", cluster_id.map(text)),
        ("app_id", app_id.map(text)),
        ("user_id", user_id.map(text)),
        ("type", message_type.map(text)),
        ("timestamp", timestamp.map(number)),
        ("message_id", message_id.map(text)),
        ("expiration", expiration.map(text)),
        ("reply_to", reply_to.map(text)),
        ("correlation_id", correlation_id.map(text)),
        ("priority", priority.map(|priority| number(priority.into()))),
        ("delivery_mode", delivery_mode.map(|mode| number(mode.into()))),
        ("headers", headers.map(|headers| FieldValue::Table(headers.to_owned()))),
        ("content_encoding", content_encoding.map(text)),
        ("content_type", content_type.map(text)),
    ];
    FieldTable(all.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect())
}

impl<S: Store> Broker<S> {
    /// Says that a message was published, and where it goes.
    #[cold]
    pub(in crate::broker) fn trace_publish(
        &mut self,
        caller: Caller,
        extra_keys: &[ShortString],
        publication: &Publication<'_>,
        queues: &[QueueId],
        effects: &mut impl Effects,
    ) {
        let content = &publication.content;
        if content.exchange() == TRACE_EXCHANGE {
            return;
        }
        let copies: Vec<&[u8]> = extra_keys.iter().map(|key| &**key).collect();
        let mut headers = self.trace_headers(content, &copies);
        headers.extend(self.trace_of(caller.channel));
        let routed = queues.iter().map(|queue| &*self.queue(*queue).properties.name);
        headers.push(("routed_queues".into(), texts(routed)));
        self.say(caller.channel, b"publish", content.exchange(), headers, content, effects);
    }

    /// Says that a message of a queue was given to a client.
    #[cold]
    pub(in crate::broker) fn trace_delivery(
        &mut self,
        channel: ChannelId,
        queue: &[u8],
        redelivered: bool,
        content: &Content<'_>,
        effects: &mut impl Effects,
    ) {
        if content.exchange() == TRACE_EXCHANGE {
            return;
        }
        let properties = PropertiesRef::parse(content.properties()).unwrap_or_default();
        let copies = match properties.headers.and_then(|headers| headers.get(b"CC")) {
            Some(crate::protocol::FieldValueRef::Array(copies)) => copies
                .iter()
                .filter_map(|key| match key {
                    crate::protocol::FieldValueRef::LongString(key) => Some(key),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let mut headers = self.trace_headers(content, &copies);
        headers.push(("redelivered".into(), FieldValue::I32(redelivered.into())));
        headers.extend(self.trace_of(channel));
        self.say(channel, b"deliver", queue, headers, content, effects);
    }

    /// What is said of every message.
    fn trace_headers(&self, content: &Content<'_>, copies: &[&[u8]]) -> Vec<(ShortString, FieldValue)> {
        let keys = std::iter::once(content.routing_key()).chain(copies.iter().copied());
        vec![
            ("exchange_name".into(), text(content.exchange())),
            ("routing_keys".into(), texts(keys)),
            ("properties".into(), FieldValue::Table(properties_table(content))),
            ("node".into(), text(self.settings.node_name.as_bytes())),
        ]
    }

    /// Whose publish, or whose delivery.
    fn trace_of(&self, channel: ChannelId) -> [(ShortString, FieldValue); 4] {
        let Caller { connection, user, vhost, .. } = self.caller(channel);
        let state = self.connections[connection.0 as usize].as_ref().expect("a channel's connection is open");
        [
            ("vhost".into(), text(self.vhost_name(vhost).as_bytes())),
            ("connection".into(), text(state.name.as_bytes())),
            ("channel".into(), FieldValue::I32(self.channel(channel).number.into())),
            ("user".into(), text(self.user_name(user).as_bytes())),
        ]
    }

    /// Publishes what is said in the virtual host of a channel. No ear hears it.
    fn say(
        &mut self,
        channel: ChannelId,
        what: &[u8],
        whose: &[u8],
        headers: Vec<(ShortString, FieldValue)>,
        content: &Content<'_>,
        effects: &mut impl Effects,
    ) {
        let vhost = self.caller(channel).vhost;
        let routing_key = [what, b".", whose].concat();
        let properties = BasicProperties { headers: Some(FieldTable(headers)), ..BasicProperties::default() };
        let body = Bytes::copy_from_slice(content.body());
        let mut encoded = Vec::new();
        properties.encode(&mut encoded);
        let observation = Observation { exchange: TRACE_EXCHANGE, key: &routing_key, properties: &encoded };
        self.publish_observation(vhost, observation, false, body, effects);
    }
}
