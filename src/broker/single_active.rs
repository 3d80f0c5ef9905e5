//! Queues with a single active consumer: who waits to be it, and who follows when it has left.

use super::consumer::ConsumerState;
use super::exchange::QueueId;
use super::queue::Successor;
use super::store::Store;
use super::{Broker, ConsumerId};

impl<S: Store> Broker<S> {
    /// A consumer that just came is not the active one.
    pub(super) fn wait_to_be_active(&mut self, id: ConsumerId) {
        let consumer = &mut self.consumers[id.0 as usize];
        consumer.state = ConsumerState::Waiting;
        consumer.listed = true;
        if let Some(successors) = self.queues[consumer.queue.0 as usize].gate.successors() {
            successors.join(consumer.priority, id);
        }
    }

    /// One that waited was cancelled: it is dropped with others like it, or when its turn comes.
    pub(super) fn cancel_successor(&mut self, id: QueueId) {
        if self.queue_mut(id).gate.successors().is_some_and(|successors| successors.note_cancelled()) {
            self.sweep_line(id);
        }
    }

    /// Lets the next one follow when the active one has left. What that one still holds of the queue stays its own.
    pub(super) fn activate_successor(&mut self, id: QueueId) {
        loop {
            let Self { queues, consumers, .. } = self;
            let is_cancelled = |id: ConsumerId| consumers[id.0 as usize].state == ConsumerState::Cancelled;
            match queues[id.0 as usize].gate.succeed(is_cancelled) {
                Some(Successor::Cancelled(gone)) => self.unlist_cancelled(gone),
                Some(Successor::Active(next)) => return self.rejoin(next),
                None => return,
            }
        }
    }
}
