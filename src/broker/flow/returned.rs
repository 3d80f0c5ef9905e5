//! Back into a queue of type quorum: how often a message came back is counted, in the log as well, and told to clients in
//! a header. One that came back too often leaves for good.
//!
//! Where a queue wants that, a message waits for a while before it is ready again, and meanwhile stands in nobody's way.
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
        let taken = Taken { message, returns, ..taken };
        self.books.release(queue, 1);
        let retry_delay = queue.behaviour.retry_delay.and_then(|delay| delay.of(returns, failed));
        if let Some(delay_ms) = retry_delay {
            let ready_at_ms = self.now_ms.saturating_add(delay_ms);
            queue.retries.get_or_insert_default().insert(ready_at_ms, taken);
            return self.schedule_expiry(id);
        }
        queue.backlog.put_back_behind(taken);
        self.books.ready += 1;
        self.touch(id);
        self.schedule_expiry(id);
        self.drop_overflow(id);
    }

    /// Messages that waited after they came back are ready again, at most so many of them. Says how many.
    pub(in crate::broker) fn retry_some(&mut self, id: QueueId, most: usize) -> usize {
        let now_ms = self.now_ms;
        let queue = &mut self.queues[id.0 as usize];
        let Some(retries) = &mut queue.retries else { return 0 };
        let mut count = 0;
        while count < most
            && let Some(taken) = retries.pop_ready(now_ms)
        {
            queue.backlog.put_back_behind(taken);
            count += 1;
        }
        if retries.is_empty() {
            queue.retries = None;
        }
        self.books.ready += count;
        self.touch(id);
        self.drop_overflow(id);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ChannelId, ConnectionId, DeclareRequest, GetOutcome, Publication, Settlement};
    use crate::protocol::{FieldTable, FieldValue};

    const CLIENT: ConnectionId = ConnectionId(0);

    fn broker(arguments: &[(&'static str, FieldValue)]) -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let kind = ("x-queue-type", FieldValue::LongString(b"quorum".as_slice().into()));
        let arguments = arguments.iter().cloned().chain([kind]).map(|(name, value)| (name.into(), value));
        let arguments = FieldTable(arguments.collect());
        let request = DeclareRequest { name: b"q", durable: true, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        (broker, channel)
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId) {
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
        broker.publish(channel, &publication, &[queue], &mut Nobody);
    }

    fn get(broker: &mut Broker<MemoryStore>, channel: ChannelId) -> Option<u64> {
        match broker.get(broker.caller(channel), b"q", false, &mut Nobody).unwrap() {
            GetOutcome::Got(got) => Some(got.delivery_tag),
            _ => None,
        }
    }

    fn waiting() -> (Broker<MemoryStore>, ChannelId) {
        let all = FieldValue::LongString(b"all".as_slice().into());
        let delay = ["x-delayed-retry-min", "x-delayed-retry-max"].map(|name| (name, FieldValue::I64(1000)));
        broker(&[("x-delayed-retry-type", all), delay[0].clone(), delay[1].clone()])
    }

    #[test]
    fn a_message_that_waits_is_in_nobodys_way_and_comes_in_time() {
        let (mut broker, channel) = waiting();
        publish(&mut broker, channel);
        publish(&mut broker, channel);
        let first = get(&mut broker, channel).unwrap();
        broker.settle(channel, first, false, Settlement::Requeued).unwrap();
        broker.census();
        let second = get(&mut broker, channel).expect("the second one");
        assert_eq!((second, get(&mut broker, channel)), (2, None));
        broker.set_now(999);
        broker.come_due(&mut Nobody);
        assert_eq!((broker.next_due_ms(), get(&mut broker, channel)), (Some(1000), None));
        broker.set_now(1000);
        broker.come_due(&mut Nobody);
        assert_eq!((broker.census().ready, get(&mut broker, channel)), (1, Some(3)));
        broker.census();
    }

    #[test]
    fn those_that_wait_are_purged_and_go_with_their_queue() {
        for deletes in [false, true] {
            let (mut broker, channel) = waiting();
            (0..3).for_each(|_| publish(&mut broker, channel));
            (0..2).for_each(|_| _ = get(&mut broker, channel).unwrap());
            broker.settle(channel, 1, false, Settlement::Failed).unwrap();
            let count = match deletes {
                false => broker.purge_queue(broker.caller(channel), b"q", &mut Nobody).unwrap().value,
                true => {
                    let deleted = broker.delete_queue(broker.caller(channel), b"q", false, false, &mut Nobody);
                    deleted.unwrap().value.message_count
                }
            };
            assert_eq!(count, 2, "one is ready and one waits");
            broker.settle(channel, 2, false, Settlement::Acknowledged).unwrap();
            broker.census();
        }
    }
}
