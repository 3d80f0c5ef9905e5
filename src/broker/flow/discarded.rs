//! What was purged, or went with its queue. It is counted out of it at once, and nobody gets it any more; but to give a
//! million messages back takes as long as to take them in, so that goes on in the next turns.
//!
//! Of those that had come back to their queue before, while others of it were given to clients, the log is told one by one,
//! and that goes the same way. Those of which it was not told when the machine stops are ready again after the start.

use crate::broker::queue::{Backlog, Retries};
use crate::broker::store::Store;
use crate::broker::{Broker, QueueKey};
use std::collections::VecDeque;

/// Messages that are given back in one turn.
const DISCARDED_PER_TURN: usize = 8192;

/// What was in one queue.
pub(super) struct Discarded {
    /// The queue, if the log has to be told, as long as the queue is there.
    pub to_tell: Option<QueueKey>,
    pub backlogs: Vec<Backlog>,
    pub retries: Option<Box<Retries>>,
}

pub(in crate::broker) struct Discards {
    waiting: VecDeque<Discarded>,
    /// Messages that may still be given back in this turn.
    left: usize,
}

impl Default for Discards {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), left: DISCARDED_PER_TURN }
    }
}

impl Discards {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether something can still be given back in this turn.
    pub fn go_on(&self) -> bool {
        self.left > 0 && !self.waiting.is_empty()
    }

    /// A turn begins.
    pub fn start_turn(&mut self) {
        self.left = DISCARDED_PER_TURN;
    }
}

impl<S: Store> Broker<S> {
    pub(super) fn discard(&mut self, discarded: Discarded) {
        self.discards.waiting.push_back(discarded);
        self.discard_some();
    }

    /// Gives back some of what is still to be.
    pub(in crate::broker) fn discard_some(&mut self) {
        while self.discards.left > 0
            && let Some(mut first) = self.discards.waiting.pop_front()
        {
            let count = self.discard_some_of(&mut first);
            self.discards.left = self.discards.left.saturating_sub(count);
            if count > 0 {
                self.discards.waiting.push_front(first);
            }
        }
    }

    /// Says how many messages it gave back: 0 when there is nothing more.
    fn discard_some_of(&mut self, discarded: &mut Discarded) -> usize {
        let most = self.discards.left;
        let Discarded { to_tell, backlogs, retries } = discarded;
        let durable_id = to_tell.and_then(|key| self.queue_of(key)).and_then(|id| self.queue(id).durable_id);
        let store = &mut self.store;
        while let Some(backlog) = backlogs.last_mut() {
            let durable_id = durable_id.map(|id| id.level(backlog.level()));
            let mut told = Vec::new();
            let count = backlog.discard_some(most, store, |sequence| told.push(sequence));
            durable_id.into_iter().for_each(|id| told.iter().for_each(|sequence| store.removed(id, *sequence)));
            if count > 0 {
                return count;
            }
            backlogs.pop();
        }
        let mut count = 0;
        while count < most
            && let Some(taken) = retries.as_mut().and_then(|retries| retries.pop())
        {
            if let Some(durable_id) = durable_id {
                store.removed(durable_id.level(taken.level), taken.sequence);
            }
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::{message_memory_bytes, shared_body};
    use crate::broker::message::Content;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ConnectionId, DeclareRequest, Publication, Settlement};
    use crate::protocol::FieldTable;

    #[test]
    fn what_is_purged_or_deleted_is_gone_at_once_and_given_back_a_slice_at_a_time() {
        const MANY: usize = 3 * DISCARDED_PER_TURN;
        for (deletes, returned) in [(false, false), (false, true), (true, true)] {
            let mut broker = testing::broker();
            let channel = testing::connect(&mut broker, ConnectionId(0));
            let arguments = FieldTable::default();
            let request = DeclareRequest { name: b"q", durable: true, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
            let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
            let (before, body) = (message_memory_bytes(), shared_body(vec![7]));
            let content = Content { shared_body: Some(&body), ..testing::CONTENT };
            let publication = Publication { content, attributes: Default::default(), mandatory: false };
            (0..MANY).for_each(|_| broker.publish(channel, &publication, &[queue], &mut Nobody));
            if returned {
                for _ in 0..MANY {
                    broker.get(broker.caller(channel), b"q", false, &mut Nobody).unwrap();
                }
                broker.settle_at_once(channel, Settlement::Requeued);
            }
            broker.set_now(0);
            let caller = broker.caller(channel);
            let count = match deletes {
                false => broker.purge_queue(caller, b"q", &mut Nobody).unwrap().value,
                true => broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap().value.message_count,
            };
            assert_eq!((count as usize, broker.census().ready), (MANY, 0));
            let mut held = message_memory_bytes();
            assert!(held > before && broker.is_settling(), "most of it is still to be given back");
            let mut turns = 1;
            while broker.is_settling() {
                broker.set_now(0);
                broker.pump(&mut Nobody);
                assert!(message_memory_bytes() < held || !broker.is_settling());
                held = message_memory_bytes();
                turns += 1;
            }
            assert!((3..=5).contains(&turns), "{turns} turns");
            assert!(message_memory_bytes() <= before + 1024);
        }
    }
}
