//! The exchange of events: a message to `amq.rabbitmq.event` when something comes, goes or changes, with the keys and
//! headers of RabbitMQ's plugin rabbitmq_event_exchange. Its body is empty.
//!
//! While nobody is bound to the exchange nothing is noted. What is noted waits in a list, and is published by the pump, a
//! slice at a time: whatever causes an event is not held up by those who hear of it. Where RabbitMQ tells a process id,
//! names of connections and channels are told, which lead from one event to the other as those do.

use super::text;
use crate::broker::access::Permissions;
use crate::broker::effects::Effects;
use crate::broker::equivalence::entry_term;
use crate::broker::exchange::QueueId;
use crate::broker::exchange::{Declaration, Destination, ExchangeKind};
use crate::broker::policy::PolicyKind;
use crate::broker::store::{DurableBinding, DurableDestination, Store};
use crate::broker::{Broker, Caller, ChannelId, ConnectionId, ConsumerId, NODE_NAME, UserId, VhostId};
use crate::protocol::{BasicProperties, FieldTable, FieldValue, ShortString};
use bytes::Bytes;
use std::collections::VecDeque;

const EVENT_EXCHANGE: &[u8] = b"amq.rabbitmq.event";
/// Events that wait to be published. More are lost, as those who hear of them are too slow for them anyway.
const WAITING_MAX: usize = 65_536;
/// Events that one pump publishes.
const EVENTS_PER_PUMP: usize = 128;
/// Who did what nobody asked for.
const NOBODY: &str = "rmq-internal";
const PERSISTENT: u8 = 2;

type Fields = Vec<(ShortString, FieldValue)>;

struct Event {
    key: &'static str,
    /// Milliseconds from 1970.
    at_ms: u64,
    /// What is told, in the order of RabbitMQ's.
    fields: Fields,
}

/// What happened and is not published yet.
#[derive(Default)]
pub(in crate::broker) struct Events {
    /// Where the exchange is.
    vhost: Option<VhostId>,
    waiting: VecDeque<Event>,
}

impl Events {
    #[inline]
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    #[cfg(test)]
    pub fn waiting_keys(&self) -> Vec<&'static str> {
        self.waiting.iter().map(|event| event.key).collect()
    }
}

fn integer(value: impl TryInto<i64>) -> FieldValue {
    FieldValue::I64(value.try_into().unwrap_or(i64::MAX))
}

fn fields<const N: usize>(all: [(&'static str, FieldValue); N]) -> Fields {
    all.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// A text for each entry of a table: `{<<"x-message-ttl">>,signedint,5000}`.
fn erlang_terms(table: &FieldTable) -> FieldValue {
    FieldValue::Array(table.0.iter().map(|(name, value)| text(entry_term(name, value).as_bytes())).collect())
}

impl<S: Store> Broker<S> {
    /// Gives a virtual host that was just made the exchange, if it is the one that has it.
    pub(in crate::broker) fn found_events(&mut self, vhost: VhostId) {
        if self.settings.event_vhost.as_deref() != Some(self.vhost_name(vhost)) {
            return;
        }
        let arguments = &FieldTable::default();
        let (kind, durable, auto_delete, internal) = (ExchangeKind::Topic, true, false, true);
        let declaration = Declaration { kind, durable, auto_delete, internal, arguments };
        self.change_routes(vhost, |router| router.add(ShortString::truncated(EVENT_EXCHANGE), &declaration, None));
        self.events.vhost = Some(vhost);
    }

    /// Whether a binding is of a time in which a virtual host had the exchange, which it has no more.
    pub(in crate::broker) fn is_of_no_events(&self, vhost: VhostId, source: &[u8]) -> bool {
        source == EVENT_EXCHANGE && self.events.vhost != Some(vhost)
    }

    /// Whether somebody is bound to the exchange.
    pub(in crate::broker) fn hears_events(&self) -> bool {
        let Some(vhost) = self.events.vhost else { return false };
        let exchange = self.exchange_in(vhost, EVENT_EXCHANGE);
        exchange.is_some_and(|exchange| self.router(vhost).has_bindings_from(exchange))
    }

    /// Notes what happened, if somebody hears of it.
    fn tell(&mut self, key: &'static str, fields: impl FnOnce(&Self) -> Fields) {
        if self.hears_events() && self.events.waiting.len() < WAITING_MAX {
            let (at_ms, fields) = (self.settings.unix_start_ms + self.now_ms, fields(self));
            if !fields.is_empty() {
                self.events.waiting.push_back(Event { key, at_ms, fields });
            }
        }
    }

    /// Publishes some of what happened.
    #[cold]
    pub(in crate::broker) fn publish_events(&mut self, effects: &mut impl Effects) {
        for _ in 0..EVENTS_PER_PUMP {
            let Some(Event { key, at_ms, mut fields }) = self.events.waiting.pop_front() else { return };
            let Some(vhost) = self.events.vhost else { return };
            fields.push(("timestamp_in_ms".into(), integer(at_ms)));
            let properties = BasicProperties {
                headers: Some(FieldTable(fields)),
                delivery_mode: Some(PERSISTENT),
                timestamp: Some(at_ms / 1000),
                ..BasicProperties::default()
            };
            self.publish_observation(vhost, EVENT_EXCHANGE, key.as_bytes(), &properties, Bytes::new(), effects);
        }
    }

    fn by(&self, user: Option<UserId>) -> (&'static str, FieldValue) {
        let name = user.map_or(NOBODY, |user| self.user_name(user));
        ("user_who_performed_action", text(name.as_bytes()))
    }

    fn in_vhost(&self, vhost: VhostId) -> (&'static str, FieldValue) {
        ("vhost", text(self.vhost_name(vhost).as_bytes()))
    }

    /// The name of an open connection of a client. What the broker's own interfaces open has none, and is told to nobody.
    fn connection_named(&self, id: ConnectionId) -> Option<(&str, UserId, VhostId)> {
        let state = self.connections.get(id.0 as usize)?.as_ref()?;
        (!state.name.is_empty()).then_some((&state.name, state.user, state.vhost))
    }

    fn channel_name(&self, id: ChannelId) -> Option<String> {
        let channel = self.channel(id);
        let (connection, ..) = self.connection_named(channel.connection)?;
        Some(format!("{connection} ({})", channel.number))
    }

    pub(in crate::broker) fn tell_of_connection(&mut self, id: ConnectionId) {
        self.tell("connection.created", |broker| {
            let Some((name, user, vhost)) = broker.connection_named(id) else { return Fields::new() };
            fields([
                broker.by(Some(user)),
                ("node", text(NODE_NAME.as_bytes())),
                broker.in_vhost(vhost),
                ("user", text(broker.user_name(user).as_bytes())),
                ("protocol", text(b"{0,9,1}")),
                ("name", text(name.as_bytes())),
                ("pid", text(name.as_bytes())),
                ("type", text(b"network")),
            ])
        });
    }

    pub(in crate::broker) fn tell_connection_closed(&mut self, name: &str) {
        if !name.is_empty() {
            self.tell("connection.closed", |_| {
                let (node, name) = (text(NODE_NAME.as_bytes()), text(name.as_bytes()));
                fields([("node", node), ("pid", name.clone()), ("name", name)])
            });
        }
    }

    pub(in crate::broker) fn tell_channel_created(&mut self, id: ChannelId) {
        if !self.hears_events() {
            return;
        }
        let Some(name) = self.channel_name(id) else { return };
        self.tell("channel.created", |broker| {
            let Caller { connection, user, vhost, .. } = broker.caller(id);
            let connection = broker.connection_named(connection).map_or("", |(name, ..)| name);
            fields([
                broker.by(Some(user)),
                broker.in_vhost(vhost),
                ("user", text(broker.user_name(user).as_bytes())),
                ("number", integer(broker.channel(id).number)),
                ("connection", text(connection.as_bytes())),
                ("name", text(name.as_bytes())),
                ("pid", text(name.as_bytes())),
            ])
        });
    }

    pub(in crate::broker) fn tell_channel_closed(&mut self, id: ChannelId) {
        if !self.hears_events() {
            return;
        }
        let Some(name) = self.channel_name(id) else { return };
        self.tell("channel.closed", |broker| {
            fields([broker.by(Some(broker.caller(id).user)), ("pid", text(name.as_bytes()))])
        });
    }

    pub(in crate::broker) fn tell_queue_created(&mut self, id: QueueId, caller: Caller) {
        self.tell("queue.created", |broker| {
            let queue = &broker.queue(id).properties;
            let owner = queue.exclusive_owner.and_then(|owner| broker.connection_named(owner));
            fields([
                broker.by(Some(caller.user)),
                ("exclusive", FieldValue::Boolean(queue.exclusive_owner.is_some())),
                ("owner_pid", text(owner.map_or("", |(name, ..)| name).as_bytes())),
                ("arguments", erlang_terms(&queue.arguments)),
                ("auto_delete", FieldValue::Boolean(queue.auto_delete)),
                // As with RabbitMQ, an exclusive queue is not durable whatever was asked for.
                ("durable", FieldValue::Boolean(queue.durable && queue.exclusive_owner.is_none())),
                ("name", text(&queue.name)),
                broker.in_vhost(caller.vhost),
            ])
        });
    }

    pub(in crate::broker) fn tell_queue_deleted(&mut self, id: QueueId, by: Option<UserId>) {
        self.tell("queue.deleted", |broker| {
            let queue = &broker.queue(id).properties;
            fields([broker.by(by), ("name", text(&queue.name)), broker.in_vhost(queue.vhost)])
        });
    }

    pub(in crate::broker) fn tell_exchange_created(&mut self, caller: Caller, name: &[u8]) {
        self.tell("exchange.created", |broker| {
            let Some(id) = broker.exchange_in(caller.vhost, name) else { return Fields::new() };
            let exchange = broker.router(caller.vhost).exchange(id);
            fields([
                broker.by(Some(caller.user)),
                ("policy", text(exchange.policies.policy.as_ref().map_or(&[][..], |policy| policy.name.as_bytes()))),
                ("arguments", erlang_terms(&exchange.arguments)),
                ("internal", FieldValue::Boolean(exchange.internal)),
                ("auto_delete", FieldValue::Boolean(exchange.auto_delete)),
                ("durable", FieldValue::Boolean(exchange.durable)),
                ("type", text(exchange.kind.name().as_bytes())),
                ("name", text(name)),
                broker.in_vhost(caller.vhost),
            ])
        });
    }

    pub(in crate::broker) fn tell_exchange_deleted(&mut self, vhost: VhostId, name: &[u8], by: Option<UserId>) {
        self.tell("exchange.deleted", |broker| fields([broker.by(by), ("name", text(name)), broker.in_vhost(vhost)]));
    }

    /// A binding came or went.
    pub(in crate::broker) fn tell_of_binding(
        &mut self,
        key: &'static str,
        binding: &DurableBinding,
        by: Option<UserId>,
    ) {
        self.tell(key, |broker| {
            let (kind, destination) = match &binding.destination {
                DurableDestination::Queue(name) => ("queue", name),
                DurableDestination::Exchange(name) => ("exchange", name),
            };
            fields([
                broker.by(by),
                broker.in_vhost(binding.vhost),
                ("arguments", erlang_terms(&binding.arguments)),
                ("routing_key", text(&binding.routing_key)),
                ("destination_kind", text(kind.as_bytes())),
                ("destination_name", text(destination)),
                ("source_kind", text(b"exchange")),
                ("source_name", text(&binding.source)),
            ])
        });
    }

    /// What leads to a queue or an exchange goes with it.
    pub(in crate::broker) fn tell_bindings_deleted(
        &mut self,
        vhost: VhostId,
        destination: Destination,
        by: Option<UserId>,
    ) {
        if !self.hears_events() {
            return;
        }
        let bindings: Vec<DurableBinding> = self
            .router(vhost)
            .bindings_to(destination)
            .take(WAITING_MAX)
            .map(|binding| {
                let name = ShortString::truncated(binding.destination_name);
                DurableBinding {
                    vhost,
                    source: ShortString::truncated(binding.source),
                    destination: match destination {
                        Destination::Queue(_) => DurableDestination::Queue(name),
                        Destination::Exchange(_) => DurableDestination::Exchange(name),
                    },
                    routing_key: ShortString::truncated(binding.routing_key),
                    arguments: binding.arguments.cloned().unwrap_or_default(),
                }
            })
            .collect();
        bindings.iter().for_each(|binding| self.tell_of_binding("binding.deleted", binding, by));
    }

    pub(in crate::broker) fn tell_consumer_created(&mut self, id: ConsumerId) {
        self.tell("consumer.created", |broker| {
            let consumer = &broker.consumers[id.0 as usize];
            let Caller { user, vhost, .. } = broker.caller(consumer.channel);
            let channel = broker.channel_name(consumer.channel).unwrap_or_default();
            fields([
                broker.by(Some(user)),
                ("arguments", erlang_terms(&consumer.arguments)),
                ("prefetch_count", integer(consumer.prefetch_count)),
                ("queue", text(&broker.queue(consumer.queue).properties.name)),
                broker.in_vhost(vhost),
                ("channel", text(channel.as_bytes())),
                ("ack_required", FieldValue::Boolean(!consumer.no_ack)),
                ("exclusive", FieldValue::Boolean(consumer.exclusive)),
                ("consumer_tag", text(&consumer.tag)),
            ])
        });
    }

    pub(in crate::broker) fn tell_consumer_deleted(&mut self, id: ConsumerId) {
        self.tell("consumer.deleted", |broker| {
            let consumer = &broker.consumers[id.0 as usize];
            let Caller { user, vhost, .. } = broker.caller(consumer.channel);
            let channel = broker.channel_name(consumer.channel).unwrap_or_default();
            fields([
                broker.by(Some(user)),
                ("queue", text(&broker.queue(consumer.queue).properties.name)),
                broker.in_vhost(vhost),
                ("channel", text(channel.as_bytes())),
                ("consumer_tag", text(&consumer.tag)),
            ])
        });
    }

    pub(in crate::broker) fn tell_of_vhost(&mut self, key: &'static str, vhost: VhostId) {
        self.tell(key, |broker| fields([("name", text(broker.vhost_name(vhost).as_bytes()))]));
    }

    pub(in crate::broker) fn tell_of_user(&mut self, key: &'static str, user: UserId) {
        self.tell(key, |broker| fields([("name", text(broker.user_name(user).as_bytes()))]));
    }

    pub(in crate::broker) fn tell_tags_set(&mut self, user: UserId) {
        self.tell("user.tags.set", |broker| {
            let tags = broker.user_at(user).tags.iter().map(|tag| text(tag.as_bytes())).collect();
            fields([("tags", FieldValue::Array(tags)), ("name", text(broker.user_name(user).as_bytes()))])
        });
    }

    pub(in crate::broker) fn tell_permitted(&mut self, user: UserId, vhost: VhostId, permissions: &Permissions) {
        self.tell("permission.created", |broker| {
            fields([
                ("read", text(permissions.read.text().as_bytes())),
                ("write", text(permissions.write.text().as_bytes())),
                ("configure", text(permissions.configure.text().as_bytes())),
                broker.in_vhost(vhost),
                ("user", text(broker.user_name(user).as_bytes())),
            ])
        });
    }

    pub(in crate::broker) fn tell_forbidden(&mut self, user: UserId, vhost: VhostId) {
        self.tell("permission.deleted", |broker| {
            fields([broker.in_vhost(vhost), ("user", text(broker.user_name(user).as_bytes()))])
        });
    }

    /// A policy of a user was set or cleared.
    pub(in crate::broker) fn tell_of_policy(
        &mut self,
        key: &'static str,
        vhost: VhostId,
        kind: PolicyKind,
        name: &[u8],
    ) {
        if kind == PolicyKind::User {
            self.tell(key, |broker| fields([("name", text(name)), broker.in_vhost(vhost)]));
        }
    }
}
