//! The exchange of events: a message to `amq.rabbitmq.event` when something comes, goes or changes, with the keys and
//! headers of RabbitMQ's plugin rabbitmq_event_exchange. Its body is empty.
//!
//! | file | tells |
//! |---|---|
//! | `clients` | who logs in, connections, channels, consumers |
//! | `things` | queues, exchanges, bindings |
//! | `administration` | users, permissions, virtual hosts, limits, policies, alarms |
//!
//! While nobody is bound to the exchange nothing is noted. What is noted waits in a list, and is published by the pump, a
//! slice at a time: whatever causes an event is not held up by those who hear of it. Where RabbitMQ tells a process id,
//! names of connections and channels are told, which lead from one event to the other as those do.
//!
//! RabbitMQ 3.10.8, 3.13.7 and 4.3.6 were looked at. Where they differ 3.13 is followed: `queue.created` and `queue.deleted`
//! tell the type of a queue, `channel.closed` tells `consumer_count`, `vhost.limits.set` the virtual host. Clearing the topic
//! permissions of one exchange is `topic.permission.deleted`, as with 4.3; before, it was told as a permission.

mod administration;
mod clients;
mod things;

pub(in crate::broker) use administration::{Farewell, PolicyChange};
pub use clients::ClientDetails;

use super::text;
use crate::broker::effects::Effects;
use crate::broker::equivalence::entry_term;
use crate::broker::exchange::{Declaration, ExchangeKind, LostBinding};
use crate::broker::memory::ClientHolding;
use crate::broker::observe::Observation;
use crate::broker::store::Store;
use crate::broker::{Broker, UserId, VhostId};
use crate::protocol::{BasicProperties, FieldTable, FieldValue, ShortString};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

const EVENT_EXCHANGE: &[u8] = b"amq.rabbitmq.event";
/// What events that wait to be published may take: a hundred thousand of most. More are lost, as those who hear of them are
/// too slow for them anyway.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Events that one pump publishes: in a millisecond or so, and as many as what is read in one turn may cause.
const EVENTS_PER_PUMP: usize = 1024;
/// Entries of one table that are told, as texts. A message's header has to fit into a frame.
const TERMS_BYTES_MAX: usize = 64 * 1024;
/// Who did what nobody asked for.
const NOBODY: &str = "rmq-internal";
const PERSISTENT: u8 = 2;

/// A header, and what it says.
type Field = (ShortString, FieldValue);
type Fields = Vec<Field>;

/// What is to be published.
enum Event {
    /// With its properties, in wire form.
    Told { key: &'static str, properties: Box<[u8]> },
    /// What led to something went with it. Of a million bindings each becomes an event when its turn comes.
    BindingsDeleted { at_ms: u64, vhost: FieldValue, by: FieldValue, lost: std::vec::IntoIter<LostBinding> },
}

/// What happened and is not published yet.
#[derive(Default)]
pub(in crate::broker) struct Events {
    /// Where the exchange is.
    vhost: Option<VhostId>,
    waiting: VecDeque<Event>,
    /// What they take.
    memory: ClientHolding,
    /// Who asked for what is being done, when it is nobody on a channel.
    actor: Option<Arc<str>>,
}

impl Events {
    #[inline]
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What more of them may take.
    fn room_bytes(&self) -> usize {
        WAITING_BYTES_MAX.saturating_sub(self.memory.bytes())
    }

    fn push(&mut self, key: &'static str, properties: Box<[u8]>) {
        self.memory.set(self.memory.bytes() + held_bytes(&properties));
        self.waiting.push_back(Event::Told { key, properties });
    }

    fn push_bindings_deleted(&mut self, at_ms: u64, vhost: FieldValue, by: FieldValue, lost: Vec<LostBinding>) {
        if !lost.is_empty() {
            self.memory.set(self.memory.bytes() + lost.iter().map(LostBinding::held_bytes).sum::<usize>());
            self.waiting.push_back(Event::BindingsDeleted { at_ms, vhost, by, lost: lost.into_iter() });
        }
    }

    /// The next event: its key, and its properties in wire form.
    fn take_next(&mut self) -> Option<(&'static str, Box<[u8]>)> {
        let (taken, held) = match self.waiting.front_mut()? {
            Event::Told { key, properties } => {
                let (key, properties) = (*key, std::mem::take(properties));
                self.waiting.pop_front();
                let held = held_bytes(&properties);
                ((key, properties), held)
            }
            Event::BindingsDeleted { at_ms, vhost, by, lost } => {
                let binding = lost.next().expect("the last one takes the event along");
                let fields = things::lost_binding_fields(vhost, by, &binding);
                let properties = properties(*at_ms, fields);
                if lost.as_slice().is_empty() {
                    self.waiting.pop_front();
                }
                (("binding.deleted", properties), binding.held_bytes())
            }
        };
        self.memory.set(self.memory.bytes() - held);
        Some(taken)
    }

    #[cfg(test)]
    pub fn waiting_bytes(&self) -> usize {
        self.memory.bytes()
    }
}

/// What an event takes as long as it waits.
fn held_bytes(properties: &[u8]) -> usize {
    size_of::<Event>() + properties.len()
}

fn integer(value: impl TryInto<i64>) -> FieldValue {
    FieldValue::I64(value.try_into().unwrap_or(i64::MAX))
}

/// A header.
fn field(name: &'static str, value: FieldValue) -> Field {
    (name.into(), value)
}

/// A header that is a text.
fn told(name: &'static str, value: impl AsRef<[u8]>) -> Field {
    (name.into(), text(value.as_ref()))
}

fn flag(name: &'static str, value: bool) -> Field {
    (name.into(), FieldValue::Boolean(value))
}

/// A text for each entry of a table: `{<<"x-message-ttl">>,signedint,5000}`.
fn erlang_terms(table: &FieldTable) -> FieldValue {
    let mut room = TERMS_BYTES_MAX;
    let terms = table.0.iter().filter_map(|(name, value)| {
        let term = entry_term(name, value);
        room = room.checked_sub(term.len())?;
        Some(text(term.as_bytes()))
    });
    FieldValue::Array(terms.collect())
}

/// The properties of an event, in wire form.
fn properties(at_ms: u64, mut fields: Fields) -> Box<[u8]> {
    fields.push(("timestamp_in_ms".into(), integer(at_ms)));
    let properties = BasicProperties {
        headers: Some(FieldTable(fields)),
        delivery_mode: Some(PERSISTENT),
        timestamp: Some(at_ms / 1000),
        ..BasicProperties::default()
    };
    let mut encoded = Vec::new();
    properties.encode(&mut encoded);
    encoded.into()
}

impl<S: Store> Broker<S> {
    /// Whether a virtual host of this name has the exchange from when it is made.
    pub(in crate::broker) fn is_to_have_events(&self, vhost: &[u8]) -> bool {
        self.settings.event_vhost.as_deref().is_some_and(|name| name.as_bytes() == vhost)
    }

    /// The kind of that exchange, if this is its name in a virtual host that is to have it.
    pub(in crate::broker) fn events_kind(&self, vhost: &[u8], exchange: &[u8]) -> Option<ExchangeKind> {
        (exchange == EVENT_EXCHANGE && self.is_to_have_events(vhost)).then_some(ExchangeKind::Topic)
    }

    /// Gives a virtual host that was just made the exchange, if it is the one that has it.
    pub(in crate::broker) fn found_events(&mut self, vhost: VhostId) {
        if !self.is_to_have_events(self.vhost_name(vhost).as_bytes()) {
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
    pub fn hears_events(&self) -> bool {
        let Some(vhost) = self.events.vhost else { return false };
        let exchange = self.exchange_in(vhost, EVENT_EXCHANGE);
        exchange.is_some_and(|exchange| self.router(vhost).has_bindings_from(exchange))
    }

    /// From now on what is done is told as done by this user, where no channel says who it is; by nobody with `None`.
    pub fn act_as(&mut self, user: Option<UserId>) {
        self.events.actor = user.map(|user| Arc::clone(&self.user_at(user).name));
    }

    /// Who asked for what is being done, when it is nobody on a channel.
    pub(in crate::broker) fn actor(&self) -> Option<Arc<str>> {
        self.events.actor.clone()
    }

    /// Does something that is told as done by somebody else, or by nobody.
    pub(in crate::broker) fn acting_as<T>(&mut self, actor: Option<Arc<str>>, run: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.events.actor, actor);
        let outcome = run(self);
        self.events.actor = before;
        outcome
    }

    fn event_time_ms(&self) -> u64 {
        self.settings.unix_start_ms + self.now_ms
    }

    /// Notes what happened, if somebody hears of it.
    fn tell(&mut self, key: &'static str, fields: impl FnOnce(&Self) -> Fields) {
        if self.hears_events() && self.events.room_bytes() > 0 {
            let fields = fields(self);
            // What the broker's own interfaces do on connections of nobody's has none.
            if !fields.is_empty() {
                self.events.push(key, properties(self.event_time_ms(), fields));
            }
        }
    }

    /// Publishes some of what happened.
    #[cold]
    pub(in crate::broker) fn publish_events(&mut self, effects: &mut impl Effects) {
        for _ in 0..EVENTS_PER_PUMP {
            let Some((key, properties)) = self.events.take_next() else { return };
            let Some(vhost) = self.events.vhost else { return };
            let observation = Observation { exchange: EVENT_EXCHANGE, key: key.as_bytes(), properties: &properties };
            self.publish_observation(vhost, observation, true, Bytes::new(), effects);
        }
    }

    /// Who did it: a user on a channel, or who asks for what is being done.
    fn by(&self, user: Option<UserId>) -> Field {
        let name = user.map(|user| self.user_name(user)).or(self.events.actor.as_deref()).unwrap_or(NOBODY);
        ("user_who_performed_action".into(), text(name.as_bytes()))
    }
}
