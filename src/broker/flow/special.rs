//! Into a queue that is not plain: what its behaviour asks for before a message enters, and after.

use super::Kept;
use crate::broker::Broker;
use crate::broker::dispatch::HandOver;
use crate::broker::effects::Effects;
use crate::broker::exchange::QueueId;
use crate::broker::flow::Departure;
use crate::broker::message::Content;
use crate::broker::publish::Publication;
use crate::broker::queue::Overflow;
use crate::broker::store::Store;

impl<S: Store> Broker<S> {
    /// As [`enter`](Self::enter), for a queue that is not plain.
    #[inline(never)]
    pub(super) fn enter_special(
        &mut self,
        id: QueueId,
        publication: &Publication<'_>,
        is_only_queue: bool,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        if self.refuses(id, &publication.content) {
            self.queue_mut(id).ledger.refused();
            kept.refused = true;
            return;
        }
        let queue = &mut self.queues[id.0 as usize];
        queue.ledger.counters.published += 1;
        let handed_over = match queue.backlog.is_empty() {
            true => {
                queue.backlog.lead(queue.backlog.level_of(publication.attributes.priority));
                self.hand_over(id, &publication.content, effects)
            }
            false => HandOver::NobodyReady,
        };
        if let HandOver::Done = handed_over {
            return;
        }
        self.enter_waiting::<true>(id, publication, is_only_queue, handed_over, kept, effects);
        self.drop_overflow(id);
    }

    /// The queue would have more than it may have, and takes no more then.
    fn refuses(&self, id: QueueId, _content: &Content<'_>) -> bool {
        let queue = &self.queues[id.0 as usize];
        let Some(limits) = queue.behaviour.limits else { return false };
        limits.overflow != Overflow::DropHead
            && limits.length.is_some_and(|length| queue.backlog.len() as u64 + 1 > length)
    }

    /// Drops from the head what a queue has more than it may have.
    fn drop_overflow(&mut self, id: QueueId) {
        let Some(length) = self.queue(id).behaviour.limits.and_then(|limits| limits.length) else { return };
        while self.queue(id).backlog.len() as u64 > length
            && let Some(taken) = self.queue_mut(id).backlog.pop()
        {
            self.dropped(id, taken, Departure::Overflowed);
        }
    }
}
