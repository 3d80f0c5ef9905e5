//! What exchanges of the type `x-recent-history` were published last, for queues and exchanges that are bound later.
//!
//! It is kept in memory, as RabbitMQ's plugin keeps it, and gone with the exchange or with the process. A message is kept
//! when it is routed, which in a transaction is before the commit.
//!
//! Who is bound is told of it before anything else happens, as far as a turn may tell. The rest of a long history, or of one
//! that many queues hear, follows in the next turns, and may come behind what is published meanwhile.

use super::exchange::{Destination, ExchangeId};
use super::flow::Kept;
use super::message::{Attributes, MessageRef};
use super::publish::{Publication, Target};
use super::store::Store;
use super::{Broker, Effects, QueueKey, VhostId};
use crate::protocol::{FieldValueRef, PropertiesRef, ShortString};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::ops::Range;

/// Most bytes of messages that an exchange keeps, unless the last one alone has more: all of them go to a queue at once
/// when that is bound.
const HISTORY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The histories of a virtual host may have one part in so many of the memory for messages: nothing of them ever leaves it.
const SHARE_OF_MEMORY: usize = 16;

/// A header that is `true` keeps a message from being kept.
const NO_STORE: &[u8] = b"x-recent-history-no-store";

/// What is told in one turn: each message counts as one, and each queue that it enters as one more.
const TOLD_PER_TURN: usize = 4096;

#[derive(Default)]
pub(super) struct Histories {
    /// Only exchanges that are there are in it.
    kept: HashMap<(VhostId, ExchangeId), History>,
    /// What those of each virtual host hold.
    bytes: HashMap<VhostId, usize>,
    /// Those who have to tell somebody. Some of them may be gone, and some have told it.
    due: VecDeque<(VhostId, ExchangeId)>,
    /// What may still be told in this turn.
    told_left: usize,
    /// There was something to tell when this turn began: somebody may wait for the end of it, and is looked for in the next.
    had_due: bool,
}

#[derive(Default)]
struct History {
    /// The oldest first.
    messages: VecDeque<(MessageRef, Attributes)>,
    /// What they hold.
    bytes: usize,
    /// How many were kept before the first of them.
    forgotten: u64,
    /// Who was bound and is still to be told.
    listeners: VecDeque<Listener>,
}

/// Somebody who was bound, and the messages that he has yet to get.
struct Listener {
    to: To,
    /// Numbers of messages, counted from the first that was ever kept.
    numbers: Range<u64>,
}

enum To {
    Queue(QueueKey),
    /// By its name: it may go, and another one get its place. As the plugin does it, the newest message goes first there.
    Exchange(ShortString),
}

impl History {
    /// Keeps a message, and at most so many of them and so many bytes.
    fn keep(&mut self, message: MessageRef, attributes: Attributes, most: usize, most_bytes: usize) {
        self.bytes += message.memory_bytes();
        self.messages.push_back((message, attributes));
        let is_too_much = |history: &Self| {
            let is_long = history.messages.len() > 1 && history.bytes > HISTORY_MAX_BYTES;
            history.messages.len() > most || history.bytes > most_bytes || is_long
        };
        while is_too_much(self)
            && let Some((oldest, _)) = self.messages.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
            self.forgotten += 1;
        }
    }

    /// The next message to tell the first listener. One who has them all is no listener any more.
    fn next_to_tell(&mut self) -> Option<(&To, MessageRef, Attributes)> {
        loop {
            let Listener { to, numbers } = self.listeners.front_mut()?;
            numbers.start = numbers.start.max(self.forgotten);
            let number = match to {
                To::Queue(_) => numbers.next(),
                To::Exchange(_) => numbers.next_back(),
            };
            let Some(number) = number else {
                self.listeners.pop_front();
                continue;
            };
            let (message, attributes) = &self.messages[(number - self.forgotten) as usize];
            let (message, attributes) = (message.clone(), *attributes);
            return self.listeners.front().map(|listener| (&listener.to, message, attributes));
        }
    }
}

impl Histories {
    /// Of an exchange that is gone.
    pub fn forget(&mut self, vhost: VhostId, exchange: ExchangeId) {
        if let (Some(gone), Some(bytes)) = (self.kept.remove(&(vhost, exchange)), self.bytes.get_mut(&vhost)) {
            *bytes -= gone.bytes;
        }
    }

    /// A turn begins.
    pub fn start_turn(&mut self) {
        self.told_left = TOLD_PER_TURN;
        self.had_due = !self.due.is_empty();
    }

    /// Whether there is something to tell.
    #[inline]
    pub fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether something can still be told in this turn.
    pub fn go_on(&self) -> bool {
        self.told_left > 0 && !self.due.is_empty()
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
            let Histories { kept, bytes, .. } = &mut self.histories;
            let (history, of_vhost) = (kept.entry((vhost, exchange)).or_default(), bytes.entry(vhost).or_default());
            let of_others = *of_vhost - history.bytes;
            let most_bytes = self.settings.message_memory.most_bytes / SHARE_OF_MEMORY;
            history.keep(message.clone(), publication.attributes, length, most_bytes.saturating_sub(of_others));
            *of_vhost = of_others + history.bytes;
        }
    }

    /// Notes that something was bound to an exchange. [`tell_history`](Self::tell_history) follows.
    pub(super) fn note_bound(&mut self, vhost: VhostId, source: ExchangeId, destination: Destination) {
        if !self.histories.kept.contains_key(&(vhost, source)) {
            return;
        }
        let to = match destination {
            Destination::Queue(queue) => To::Queue(self.queue_key(queue)),
            Destination::Exchange(exchange) => To::Exchange(self.router(vhost).exchange(exchange).name.clone()),
        };
        let Some(history) = self.histories.kept.get_mut(&(vhost, source)) else { return };
        let numbers = history.forgotten..history.forgotten + history.messages.len() as u64;
        history.listeners.push_back(Listener { to, numbers });
        self.histories.due.push_back((vhost, source));
    }

    /// The exchange of that name, if it is still telling somebody what it has kept. Who binds something else to it waits, so
    /// that there are never more listeners than clients.
    pub fn teller(&self, vhost: VhostId, name: &[u8]) -> Option<(VhostId, ExchangeId)> {
        if !self.has_history_to_tell() {
            return None;
        }
        let teller = (vhost, self.exchange_in(vhost, name)?);
        self.is_telling(teller).then_some(teller)
    }

    /// Whether somebody who was bound is still to be told what was before, or may wait for others who were.
    pub fn has_history_to_tell(&self) -> bool {
        !self.histories.due.is_empty() || self.histories.had_due
    }

    /// Whether an exchange is telling somebody what it has kept.
    pub fn is_telling(&self, exchange: (VhostId, ExchangeId)) -> bool {
        self.histories.kept.get(&exchange).is_some_and(|history| !history.listeners.is_empty())
    }

    /// Gives what was just bound to an exchange with a history what that has kept: before anything else comes there, if it is
    /// not more than a turn may tell. The rest follows in the next ones.
    pub fn tell_history(&mut self, effects: &mut impl Effects) {
        let mut queues = Vec::new();
        while self.histories.told_left > 0
            && let Some(&teller) = self.histories.due.front()
        {
            let next = self.histories.kept.get_mut(&teller).and_then(History::next_to_tell);
            let Some((to, message, attributes)) = next else {
                self.histories.due.pop_front();
                continue;
            };
            let (vhost, publication) =
                (teller.0, Publication { content: message.content(), attributes, mandatory: false });
            queues.clear();
            let is_routed = matches!(to, To::Exchange(_));
            match to {
                To::Queue(key) => {
                    let key = *key;
                    queues.extend(self.queue_of(key));
                }
                To::Exchange(name) => {
                    let name = name.clone();
                    if let Some(exchange) = self.exchange_in(vhost, &name) {
                        let target = Target { exchange, extra_keys: &[] };
                        // Replies are sent by the default exchange alone, to which nothing is bound.
                        let _ = self.route_internally(vhost, target, &publication, &mut queues);
                    }
                }
            }
            let mut kept = Kept { message: Some(message.clone()), ..Kept::default() };
            for &queue in &queues {
                self.enter(queue, &publication, false, &mut kept, effects);
            }
            if is_routed {
                self.keep_values_of_last(vhost);
            }
            self.histories.told_left = self.histories.told_left.saturating_sub(1 + queues.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::ComposedMessage;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{Caller, ConnectionId, DeclareRequest, ExchangeRequest, MessageMemory};
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

    /// Turns until all is told.
    fn finish(broker: &mut Broker<MemoryStore>) {
        loop {
            broker.set_now(0);
            broker.pump(&mut Nobody);
            if !broker.has_history_to_tell() {
                return;
            }
        }
    }

    /// Declares a queue of that name, binds it, and says how many messages it has then.
    fn bound(broker: &mut Broker<MemoryStore>, caller: Caller, name: &'static str) -> usize {
        let arguments = FieldTable::default();
        let request =
            DeclareRequest { name: name.as_bytes(), durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller, request, &mut Nobody).unwrap();
        broker.bind_queue(caller, name.as_bytes(), b"x", b"", FieldTable::default()).unwrap();
        finish(broker);
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
    fn those_of_a_vhost_have_a_share_of_memory_together_however_many_they_are() {
        const MOST_BYTES: usize = 1 << 20;
        let (mut broker, caller) = with_history(i32::MAX);
        broker.set_message_memory(MessageMemory { paging_bytes: usize::MAX, most_bytes: SHARE_OF_MEMORY * MOST_BYTES });
        for number in 0..20 {
            let exchange = ShortString::truncated(format!("x{number}").as_bytes());
            let kind = b"x-recent-history";
            let (durable, auto_delete, internal, arguments) = (false, false, false, FieldTable::default());
            let request = ExchangeRequest { name: &exchange, kind, durable, auto_delete, internal, arguments };
            broker.declare_exchange(caller, request).unwrap();
            for _ in 0..10 {
                let body = Bytes::from(vec![0; MOST_BYTES / 30]);
                let message = ComposedMessage::new(&exchange, &exchange, &BasicProperties::default(), body);
                message.publish(caller, usize::MAX, &mut broker, &mut Nobody).unwrap();
            }
            let bytes = broker.histories.kept.values().map(|history| history.bytes).sum::<usize>();
            assert_eq!(broker.histories.bytes[&VHOST], bytes);
            assert!((MOST_BYTES / 4..=MOST_BYTES).contains(&bytes), "{bytes} bytes");
        }
        for number in 0..20 {
            broker.delete_exchange(caller, format!("x{number}").as_bytes(), false).unwrap();
        }
        assert_eq!(broker.histories.bytes[&VHOST], 0);
    }

    #[test]
    fn a_long_history_is_told_over_many_turns_however_many_hear_it() {
        const QUEUES: usize = 50;
        let (mut broker, caller) = with_history(i32::MAX);
        (0..10_000).for_each(|_| publish(&mut broker, caller, Bytes::new()));
        let (durable, auto_delete, internal, arguments) = (false, false, false, FieldTable::default());
        let request = ExchangeRequest { name: b"f", kind: b"fanout", durable, auto_delete, internal, arguments };
        broker.declare_exchange(caller, request).unwrap();
        for queue in 0..QUEUES {
            let (name, arguments) = (format!("q{queue}"), FieldTable::default());
            let name = name.as_bytes();
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(caller, request, &mut Nobody).unwrap();
            broker.bind_queue(caller, name, b"f", b"", FieldTable::default()).unwrap();
        }
        broker.set_now(0);
        broker.bind_exchange(caller, b"x", b"f", b"", FieldTable::default()).unwrap();
        broker.tell_history(&mut Nobody);
        let told = broker.census().ready;
        assert!(told <= TOLD_PER_TURN + QUEUES, "{told} in one turn");
        assert!(broker.teller(VHOST, b"x").is_some() && broker.teller(VHOST, b"f").is_none());
        // What is published meanwhile comes there by the binding, and what is forgotten for it is not told.
        (0..1000).for_each(|_| publish(&mut broker, caller, Bytes::new()));
        finish(&mut broker);
        assert!(broker.teller(VHOST, b"x").is_none());
        assert_eq!(broker.census().ready, QUEUES * 10_000);
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
