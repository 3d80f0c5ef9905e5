//! What exchanges of the type `x-recent-history` were published last, for queues and exchanges that are bound later.
//!
//! It is kept in memory, as RabbitMQ's plugin keeps it, and gone with the exchange or with the process. A message is kept
//! when it is routed, which in a transaction is before the commit.

use super::exchange::{Destination, ExchangeId};
use super::flow::Kept;
use super::message::{Attributes, MessageRef};
use super::publish::{Publication, Target};
use super::store::Store;
use super::{Broker, Effects, VhostId};
use crate::protocol::{FieldValueRef, PropertiesRef};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Most bytes of messages that an exchange keeps, unless the last one alone has more: all of them go to a queue at once
/// when that is bound.
const HISTORY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// A header that is `true` keeps a message from being kept.
const NO_STORE: &[u8] = b"x-recent-history-no-store";

#[derive(Default)]
pub(super) struct Histories {
    /// Only exchanges that are there are in it.
    kept: HashMap<(VhostId, ExchangeId), History>,
    /// Bound a moment ago, and not yet told.
    due: Vec<(VhostId, ExchangeId, Destination)>,
}

#[derive(Default)]
struct History {
    /// The oldest first.
    messages: VecDeque<(MessageRef, Attributes)>,
    /// What they hold.
    bytes: usize,
}

impl History {
    fn keep(&mut self, message: MessageRef, attributes: Attributes, most: usize) {
        self.bytes += message.memory_bytes();
        self.messages.push_back((message, attributes));
        while self.messages.len() > most || self.messages.len() > 1 && self.bytes > HISTORY_MAX_BYTES {
            let (oldest, _) = self.messages.pop_front().expect("there is more than one");
            self.bytes -= oldest.memory_bytes();
        }
    }
}

impl Histories {
    /// Of an exchange that is gone.
    pub fn forget(&mut self, vhost: VhostId, exchange: ExchangeId) {
        self.kept.remove(&(vhost, exchange));
    }
}

impl<S: Store> Broker<S> {
    /// Keeps a publish for those that are bound later to the exchanges that it was just routed by.
    #[cold]
    pub(super) fn keep_history(&mut self, vhost: VhostId, publication: &Publication<'_>) {
        let properties = PropertiesRef::parse(publication.content.properties()).unwrap_or_default();
        let no_store = properties.headers.and_then(|headers| headers.get(NO_STORE));
        if no_store == Some(FieldValueRef::Boolean(true)) {
            return;
        }
        let message = MessageRef::new(&publication.content, publication.attributes);
        for &exchange in self.vhosts.historians() {
            let length = self.vhosts[vhost].router().history_length(exchange);
            let history = self.histories.kept.entry((vhost, exchange)).or_default();
            history.keep(message.clone(), publication.attributes, length);
        }
    }

    /// Notes that something was bound to an exchange. [`tell_history`](Self::tell_history) follows.
    pub(super) fn note_bound(&mut self, vhost: VhostId, source: ExchangeId, destination: Destination) {
        if self.histories.kept.contains_key(&(vhost, source)) {
            self.histories.due.push((vhost, source, destination));
        }
    }

    /// Gives what was just bound to an exchange with a history what that has kept, before anything else comes there.
    pub fn tell_history(&mut self, effects: &mut impl Effects) {
        while let Some((vhost, source, destination)) = self.histories.due.pop() {
            let Some(history) = self.histories.kept.get(&(vhost, source)) else { continue };
            let mut messages = history.messages.clone();
            if matches!(destination, Destination::Exchange(_)) {
                // As the plugin does it: to an exchange the newest goes first.
                messages.make_contiguous().reverse();
            }
            let mut queues = Vec::new();
            for (message, attributes) in messages {
                queues.clear();
                let publication = Publication { content: message.content(), attributes, mandatory: false };
                match destination {
                    Destination::Queue(queue) => queues.extend([queue]),
                    Destination::Exchange(exchange) => {
                        let target = Target { exchange, extra_keys: &[] };
                        // Replies are sent by the default exchange alone, to which nothing is bound.
                        let _ = self.route_internally(vhost, target, &publication, &mut queues);
                    }
                }
                let mut kept = Kept { message: Some(message.clone()), ..Kept::default() };
                for &queue in &queues {
                    self.enter(queue, &publication, false, &mut kept, effects);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::ComposedMessage;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{Caller, ConnectionId, DeclareRequest, ExchangeRequest};
    use crate::protocol::{BasicProperties, FieldTable, FieldValue, ShortString};
    use bytes::Bytes;

    /// A broker with an exchange `x` that keeps so many messages, and somebody who uses it.
    fn with_history(length: i32) -> (Broker<MemoryStore>, Caller) {
        let mut broker = testing::broker();
        testing::connect(&mut broker, ConnectionId(0));
        let caller = testing::caller(&broker, ConnectionId(0));
        let arguments = FieldTable(vec![("x-recent-history-length".into(), FieldValue::I32(length))]);
        let (durable, auto_delete, internal) = (false, true, false);
        let kind = b"x-recent-history";
        let request = ExchangeRequest { name: b"x", kind, durable, auto_delete, internal, arguments };
        broker.declare_exchange(caller, request).unwrap();
        (broker, caller)
    }

    fn publish(broker: &mut Broker<MemoryStore>, caller: Caller, body: Bytes) {
        let (exchange, key) = (ShortString::from("x"), ShortString::from("k"));
        let message = ComposedMessage::new(&exchange, &key, &BasicProperties::default(), body);
        message.publish(caller, usize::MAX, broker, &mut Nobody).unwrap();
    }

    /// Declares a queue of that name, binds it, and says how many messages it has then.
    fn bound(broker: &mut Broker<MemoryStore>, caller: Caller, name: &'static str) -> usize {
        let arguments = FieldTable::default();
        let request =
            DeclareRequest { name: name.as_bytes(), durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller, request, &mut Nobody).unwrap();
        broker.bind_queue(caller, name.as_bytes(), b"x", b"", FieldTable::default()).unwrap();
        broker.tell_history(&mut Nobody);
        broker.snapshot_queue(VHOST, name.as_bytes()).unwrap().figures.messages_ready
    }

    #[test]
    fn as_many_are_kept_as_are_wanted_and_not_more_than_there_may_be() {
        for (length, published, expected) in [(3, 2, 2), (3, 5, 3), (1, 5, 1), (i32::MAX, 10_005, 10_000)] {
            let (mut broker, caller) = with_history(length);
            (0..published).for_each(|_| publish(&mut broker, caller, Bytes::new()));
            assert_eq!(bound(&mut broker, caller, "q"), expected);
        }
    }

    #[test]
    fn bytes_are_limited_too_but_the_last_message_is_always_there() {
        let (mut broker, caller) = with_history(20);
        let large = Bytes::from(vec![0; HISTORY_MAX_BYTES / 3]);
        (0..5).for_each(|_| publish(&mut broker, caller, large.clone()));
        assert_eq!(bound(&mut broker, caller, "q"), 2);
        publish(&mut broker, caller, Bytes::from(vec![0; HISTORY_MAX_BYTES]));
        assert_eq!(bound(&mut broker, caller, "q2"), 1);
    }

    #[test]
    fn a_history_goes_with_its_exchange() {
        let (mut broker, caller) = with_history(20);
        publish(&mut broker, caller, Bytes::new());
        assert_eq!(bound(&mut broker, caller, "q"), 1);
        assert_eq!(broker.histories.kept.len(), 1);
        // It is deleted with its last binding.
        broker.unbind_queue(caller, b"q", b"x", b"", &FieldTable::default()).unwrap();
        assert!(broker.histories.kept.is_empty());
    }
}
