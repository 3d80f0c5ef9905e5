//! Queues and exchanges that were deleted, and what leads to them or from them. Their names go at once, and the log is told
//! of all of it; their bindings, of which there may be millions, go some in each turn.
//!
//! ```text
//!   deleted ──► no name, no messages, no consumers ──► some bindings ──► … ──► the last of them ──► the deleter's answer
//! ```
//! Until then a message that such a binding leads to a queue is lost as if it had come right before, and nobody is told
//! otherwise: who deleted it has no answer yet. An exchange that loses its last binding that way goes as well.

use super::exchange::{Destination, ExchangeId, LostBinding};
use super::store::Store;
use super::{Broker, UserId, VhostId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bindings that go in one turn: in a millisecond or so. Each thing that leaves counts as one, too.
const DETACHED_PER_TURN: usize = 2048;

/// Who did it, as those who hear of it are told.
type Deleter = Option<Arc<str>>;

pub(super) struct Leaving {
    /// By their numbers; what goes with another has the number of that.
    list: VecDeque<Leaver>,
    last_number: u64,
    /// What may still go in this turn.
    left: usize,
}

struct Leaver {
    number: u64,
    vhost: VhostId,
    id: Destination,
    by: Deleter,
    /// Who took its bindings along: nobody, where it is a queue.
    bindings_by: Deleter,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { list: VecDeque::new(), last_number: 0, left: DETACHED_PER_TURN }
    }
}

impl Leaving {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether more can go in this turn.
    pub fn goes_on(&self) -> bool {
        self.left > 0 && !self.list.is_empty()
    }

    /// A turn begins.
    pub fn start_turn(&mut self) {
        self.left = DETACHED_PER_TURN;
    }

    /// Whether something of a virtual host is still to go.
    pub fn has_some_of(&self, vhost: VhostId) -> bool {
        self.list.iter().any(|leaver| leaver.vhost == vhost)
    }
}

impl<S: Store> Broker<S> {
    /// The number of what was deleted last.
    pub fn last_leaver(&self) -> u64 {
        self.leaving.last_number
    }

    /// Whether all is gone that was deleted up to that number.
    pub fn has_left(&self, number: u64) -> bool {
        self.leaving.list.front().is_none_or(|leaver| leaver.number > number)
    }

    /// A queue or an exchange was deleted: it leaves, now as far as a turn does that.
    pub(super) fn let_leave(&mut self, vhost: VhostId, id: Destination, by: Option<UserId>) {
        if let Destination::Exchange(id) = id {
            self.end_tails_of_exchange(vhost, id);
        }
        self.change_routes(vhost, |router| router.let_leave(id));
        self.leaving.last_number += 1;
        let by = by.map(|user| Arc::clone(&self.user_at(user).name)).or_else(|| self.actor());
        let bindings_by = by.clone().filter(|_| matches!(id, Destination::Exchange(_)));
        self.leaving.list.push_back(Leaver { number: self.leaving.last_number, vhost, id, by, bindings_by });
        self.detach_some();
    }

    /// Removes some of the bindings of what leaves.
    pub(super) fn detach_some(&mut self) {
        while self.leaving.left > 0
            && let Some(leaver) = self.leaving.list.pop_front()
        {
            let by = leaver.by.clone();
            self.acting_as(by, |broker| broker.detach_some_of(leaver));
        }
    }

    fn detach_some_of(&mut self, leaver: Leaver) {
        let (vhost, id, most) = (leaver.vhost, leaver.id, self.leaving.left);
        let (detached, lost) = self.change_routes_watched(vhost, |router| router.detach_some(id, most));
        self.leaving.left -= detached.bindings.max(1);
        let (number, bindings_by) = (leaver.number, leaver.bindings_by.clone());
        if !detached.is_gone {
            self.leaving.list.push_front(leaver);
        }
        for emptied in detached.emptied {
            self.define_auto_deleted(vhost, emptied, None);
            self.end_tails_of_exchange(vhost, emptied);
            let id = Destination::Exchange(emptied);
            self.change_routes(vhost, |router| router.let_leave(id));
            let (by, bindings_by) = (self.actor(), bindings_by.clone());
            self.leaving.list.push_front(Leaver { number, vhost, id, by, bindings_by });
        }
        self.acting_as(bindings_by, |broker| broker.tell_bindings_deleted(vhost, lost));
        if let Destination::Queue(id) = id
            && detached.is_gone
            && self.queue(id).deleted
        {
            self.queue_left(id, None);
        }
    }

    /// A binding was taken away by a user, and what lost its last one goes with it.
    pub(super) fn unbound(
        &mut self,
        vhost: VhostId,
        emptied: Option<ExchangeId>,
        lost: Vec<LostBinding>,
        by: Option<UserId>,
    ) {
        if let Some(emptied) = emptied {
            self.define_auto_deleted(vhost, emptied, by);
        }
        let name = by.map(|user| Arc::clone(&self.user_at(user).name));
        self.acting_as(name, |broker| broker.tell_bindings_deleted(vhost, lost));
        if let Some(emptied) = emptied {
            self.let_leave(vhost, Destination::Exchange(emptied), by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::ComposedMessage;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{ChannelId, ConnectionId, DeclareRequest, ExchangeRequest};
    use crate::protocol::{BasicProperties, FieldTable};
    use bytes::Bytes;

    const BINDINGS: usize = 3 * DETACHED_PER_TURN;

    /// The queue `q`, bound very often to the exchange `x`, to which `y` leads. Both delete themselves.
    fn bound() -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, ConnectionId(0));
        let caller = broker.caller(channel);
        declare_queue(&mut broker, channel);
        for name in [b"x", b"y"] {
            let (kind, durable, internal, arguments) = (b"topic", false, false, FieldTable::default());
            let request = ExchangeRequest { name, kind, durable, auto_delete: true, internal, arguments };
            broker.declare_exchange(caller, request).unwrap();
        }
        for number in 0..BINDINGS {
            let (key, arguments) = (number.to_string(), FieldTable::default());
            broker.bind_queue(caller, b"q", b"x", key.as_bytes(), arguments).unwrap();
        }
        broker.bind_exchange(caller, b"y", b"x", b"#", FieldTable::default()).unwrap();
        (broker, channel)
    }

    fn declare_queue(broker: &mut Broker<MemoryStore>, channel: ChannelId) {
        let (durable, exclusive, auto_delete, arguments) = (false, false, false, FieldTable::default());
        let request = DeclareRequest { name: b"q", durable, exclusive, auto_delete, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
    }

    /// Turns until all is gone. No turn takes more than its share.
    fn turns_to_the_end(broker: &mut Broker<MemoryStore>, number: u64) -> usize {
        let mut turns = 0;
        while !broker.has_left(number) {
            let before = broker.router(VHOST).binding_count();
            broker.set_now(0);
            assert!(broker.is_settling() && broker.has_touched(), "somebody goes on");
            broker.pump(&mut Nobody);
            assert!(before - broker.router(VHOST).binding_count() <= DETACHED_PER_TURN);
            turns += 1;
        }
        turns
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, exchange: &'static str) {
        let message = ComposedMessage::new(&exchange.into(), &"7".into(), &BasicProperties::default(), Bytes::new());
        _ = message.publish(broker.caller(channel), usize::MAX, broker, &mut Nobody);
    }

    #[test]
    fn the_bindings_of_a_queue_that_is_deleted_go_a_turns_share_at_a_time() {
        let (mut broker, channel) = bound();
        broker.set_now(0);
        broker.delete_queue(broker.caller(channel), b"q", false, false, &mut Nobody).unwrap();
        let number = broker.last_leaver();
        assert_eq!(broker.router(VHOST).binding_count(), BINDINGS + 1 - DETACHED_PER_TURN);
        assert!(broker.existing_queue(VHOST, b"q").is_err());
        assert_eq!(broker.router(VHOST).bindings_in(0..BINDINGS * 2).count(), 1, "what is listed is that of x");
        // Another one of its name has none of them, and what they lead to the old one is lost.
        declare_queue(&mut broker, channel);
        publish(&mut broker, channel, "x");
        assert_eq!((broker.census().queues, broker.census().ready), (1, 0));
        assert_eq!(turns_to_the_end(&mut broker, number), 3);
        assert_eq!(broker.router(VHOST).binding_count(), 0);
        assert!([b"x", b"y"].iter().all(|name| broker.exchange_in(VHOST, *name).is_none()), "they went with it");
        broker.census();
    }

    #[test]
    fn those_of_an_exchange_do_and_it_routes_nothing_meanwhile() {
        let (mut broker, channel) = bound();
        broker.set_now(0);
        broker.delete_exchange(broker.caller(channel), b"x", false).unwrap();
        let number = broker.last_leaver();
        assert!(broker.exchange_in(VHOST, b"x").is_none());
        assert_eq!(broker.router(VHOST).bindings_in(0..BINDINGS * 2).count(), 1, "the default exchange's");
        assert_eq!(turns_to_the_end(&mut broker, number), 3);
        assert_eq!(broker.router(VHOST).binding_count(), 0);
        assert!(broker.exchange_in(VHOST, b"y").is_none(), "it went with its last binding");
        publish(&mut broker, channel, "");
        broker.census();
    }

    #[test]
    fn a_virtual_host_waits_for_what_leaves_it() {
        let (mut broker, channel) = bound();
        broker.set_now(0);
        broker.delete_exchange(broker.caller(channel), b"x", false).unwrap();
        broker.delete_queue(broker.caller(channel), b"q", false, false, &mut Nobody).unwrap();
        let key = broker.delete_vhost(VHOST).value;
        broker.close_connection(ConnectionId(0), &mut Nobody);
        let mut turns = 0;
        while !broker.clear_vhost(key, &mut Nobody) {
            broker.set_now(0);
            broker.pump(&mut Nobody);
            turns += 1;
            assert!(turns < 100, "it comes to an end");
        }
        assert!(broker.leaving.is_empty());
    }
}
