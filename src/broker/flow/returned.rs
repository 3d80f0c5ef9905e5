//! Back into a queue of type quorum: how often a message came back is counted, in the log as well, and told to clients in
//! a header. One that came back too often leaves for good.
//!
//! Messages come back to the front of the queue in the order of their returns, as RabbitMQ has it for this type.

use super::Departure;
use crate::broker::exchange::QueueId;
use crate::broker::message::with_delivery_count;
use crate::broker::queue::Taken;
use crate::broker::store::{Returns, Store};
use crate::broker::{Broker, QueueKey};
use std::collections::BTreeMap;

impl<S: Store> Broker<S> {
    /// How often messages of an earlier run came back, by sequence, for a level of a queue that was just told to
    /// [expect](Self::expect_messages) them.
    pub fn expect_returns(&mut self, key: QueueKey, level: u8, counted: BTreeMap<u64, Returns>) {
        if let Some(id) = self.queue_of(key) {
            self.queue_mut(id).backlog.expect_returns(level, counted);
        }
    }

    /// As [`put_back`](Self::put_back), for a queue that counts.
    #[inline(never)]
    pub(super) fn put_back_counted(&mut self, id: QueueId, taken: Taken, failed: bool) {
        let returns = taken.returns.once_more(failed);
        let queue = &mut self.queues[id.0 as usize];
        if queue.behaviour.delivery_limit.is_passed(returns) {
            return self.settled_dead(id, taken, Departure::LimitReached);
        }
        if let Some(durable_id) = queue.id_in_log(taken.message.is_persistent()) {
            self.store.returned(durable_id.level(taken.level), taken.sequence, returns);
        }
        let message = with_delivery_count(&taken.message, returns.times());
        self.books.release(queue, 1);
        queue.backlog.put_back_behind(Taken { message, returns, ..taken });
        self.books.ready += 1;
        self.touch(id);
        self.schedule_expiry(id);
        self.drop_overflow(id);
    }
}
