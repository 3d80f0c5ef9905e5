//! What queues have more than they may have goes from the head: at once when it is little, else a slice in each pump.
//!
//! A queue comes to have more when something is published to it or comes back, when a restart brings it back, or because a
//! policy limits what was not limited. Only what is ready counts.

use super::Departure;
use crate::broker::exchange::QueueId;
use crate::broker::queue::{Limits, Overflow, Queue};
use crate::broker::store::Store;
use crate::broker::{Broker, QueueKey};
use std::collections::VecDeque;

/// Messages that are dropped in one go, of one queue as of all of them.
const DROPPED_PER_GO: usize = 1024;

/// Queues that have more than they may have.
#[derive(Default)]
pub(in crate::broker) struct Overflowing(VecDeque<QueueKey>);

impl Overflowing {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Queue {
    /// It has more than it may have, and what is more goes.
    pub(super) fn overflows(&self) -> bool {
        let Some(Limits { length, bytes, overflow: Overflow::DropHead }) = self.behaviour.limits else { return false };
        length.is_some_and(|length| self.backlog.len() as u64 > length)
            || bytes.is_some_and(|bytes| self.backlog.body_bytes() > bytes)
    }
}

impl<S: Store> Broker<S> {
    /// A queue's limits may be others than before.
    pub(in crate::broker) fn apply_limits(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        let counts_bytes = queue.behaviour.limits.is_some_and(|limits| limits.bytes.is_some());
        queue.backlog.count_body_bytes(counts_bytes);
        self.note_overflow(id);
    }

    /// Drops what a queue has more than it may have. The rest goes with the next pumps when it is much.
    pub(in crate::broker) fn drop_overflow(&mut self, id: QueueId) {
        // Who makes dead letters by himself waits until there are fewer.
        if self.is_held_up(id) {
            return;
        }
        let mut left = DROPPED_PER_GO;
        self.drop_some_overflow(id, &mut left);
        self.overflow_goes_on(id);
    }

    /// Drops some of what queues have more than they may have.
    pub(in crate::broker) fn drop_some_overflows(&mut self) {
        let mut left = DROPPED_PER_GO;
        // Each once: what is away comes back another time.
        for _ in 0..self.overflowing.0.len() {
            let Some(key) = self.overflowing.0.pop_front().filter(|_| left > 0) else { return };
            let Some(id) = self.queue_of(key) else { continue };
            self.queue_mut(id).overflowing = false;
            // Who makes dead letters by himself waits until there are fewer.
            if self.is_held_up(id) {
                continue;
            }
            self.drop_some_overflow(id, &mut left);
            self.overflow_goes_on(id);
        }
    }

    fn drop_some_overflow(&mut self, id: QueueId, left: &mut usize) {
        let before = *left;
        while *left > 0 && self.queue(id).overflows() {
            let Some(taken) = self.queue_mut(id).backlog.pop() else {
                self.spare_head(id);
                self.bring_head_back(id);
                if self.queue(id).backlog.head_is_away() {
                    break;
                }
                continue;
            };
            *left -= 1;
            self.dropped(id, taken, Departure::Overflowed);
        }
        if *left < before {
            self.head_moved(id);
        }
    }

    /// As [`note_overflow`](Self::note_overflow), unless there is nothing to do until the head is here.
    pub(in crate::broker) fn overflow_goes_on(&mut self, id: QueueId) {
        if !self.queue(id).backlog.head_is_away() {
            self.note_overflow(id);
        }
    }

    /// Has the next pump drop what a queue has more than it may have, or ask for it.
    fn note_overflow(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        if !queue.overflowing && queue.overflows() {
            queue.overflowing = true;
            self.overflowing.0.push_back(queue.key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::shared_body;
    use crate::broker::message::{Attributes, Content, MessageRef, NEVER};
    use crate::broker::page::{Entry, PageBuilder};
    use crate::broker::queue::{Behaviour, QueueArguments, Wishes};
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ChannelId, ConnectionId, DeclareRequest, GetOutcome, MessageMemory, Publication, Settlement};
    use crate::protocol::{FieldTable, FieldValue};
    use bytes::Bytes;

    const CLIENT: ConnectionId = ConnectionId(0);

    fn broker() -> (Broker<MemoryStore>, ChannelId, QueueId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let arguments = FieldTable::default();
        let request = DeclareRequest { name: b"q", durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        (broker, channel, queue)
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, queue: QueueId, body: Option<&Bytes>) {
        let content = Content { shared_body: body, ..testing::CONTENT };
        let publication = Publication { content, attributes: Attributes::default(), mandatory: false };
        broker.publish(channel, &publication, &[queue], &mut Nobody);
    }

    fn limit(broker: &mut Broker<MemoryStore>, queue: QueueId, policy: &Wishes) {
        let behaviour = Behaviour::of(&QueueArguments::default(), policy, &Wishes::default());
        broker.queue_mut(queue).behaviour = behaviour;
        broker.apply_behaviour(queue);
    }

    #[test]
    fn a_limit_on_a_long_queue_takes_a_slice_in_each_pump() {
        const MESSAGES: usize = 5 * DROPPED_PER_GO + 7;
        let (mut broker, channel, queue) = broker();
        (0..MESSAGES).for_each(|_| publish(&mut broker, channel, queue, None));
        limit(&mut broker, queue, &Wishes { max_length: Some(10), ..Wishes::default() });
        let mut ready = MESSAGES;
        while broker.has_touched() {
            broker.pump(&mut Nobody);
            let now_ready = broker.census().ready;
            assert!(now_ready < ready && ready - now_ready <= DROPPED_PER_GO, "{ready} to {now_ready}");
            ready = now_ready;
        }
        assert_eq!(ready, 10);
    }

    #[test]
    fn one_large_message_drives_many_small_ones_out_a_slice_at_a_time() {
        const MESSAGES: usize = 3 * DROPPED_PER_GO;
        let (mut broker, channel, queue) = broker();
        limit(&mut broker, queue, &Wishes { max_length_bytes: Some(MESSAGES as u64), ..Wishes::default() });
        let (small, large) = (shared_body(vec![7]), shared_body(vec![7; MESSAGES]));
        (0..MESSAGES).for_each(|_| publish(&mut broker, channel, queue, Some(&small)));
        assert!(!broker.has_touched());
        publish(&mut broker, channel, queue, Some(&large));
        assert_eq!(broker.census().ready, MESSAGES + 1 - DROPPED_PER_GO);
        while broker.has_touched() {
            broker.pump(&mut Nobody);
        }
        assert_eq!(broker.census().ready, 1);
        assert_eq!(broker.queue(queue).backlog.body_bytes(), MESSAGES as u64);
    }

    #[test]
    fn what_is_too_much_on_disk_comes_back_to_be_dropped() {
        const BODY_BYTES: usize = 100_000;
        let (mut broker, channel, queue) = broker();
        let body = shared_body(vec![7; BODY_BYTES]);
        (0..200).for_each(|_| publish(&mut broker, channel, queue, Some(&body)));
        broker.set_message_memory(MessageMemory { paging_bytes: 0, most_bytes: usize::MAX });
        (0..10).for_each(|_| broker.relieve_memory());
        assert!(broker.queue(queue).backlog.head_is_away());
        let kept_bytes = 5 * BODY_BYTES as u64 + 1;
        limit(&mut broker, queue, &Wishes { max_length_bytes: Some(kept_bytes), ..Wishes::default() });
        assert_eq!(broker.queue(queue).backlog.body_bytes(), 200 * BODY_BYTES as u64, "pages know what they hold");
        while broker.has_touched() || broker.take_pages() {
            broker.pump(&mut Nobody);
        }
        assert_eq!(broker.census().ready, 5);
        publish(&mut broker, channel, queue, Some(&body));
        while broker.has_touched() || broker.take_pages() {
            broker.pump(&mut Nobody);
        }
        assert_eq!(broker.census().ready, 5);
        assert_eq!(broker.queue(queue).backlog.body_bytes(), 5 * BODY_BYTES as u64);
    }

    #[test]
    fn a_queue_that_comes_back_with_too_much_loses_what_is_too_much() {
        let bodies = [4, 3, 2, 1];
        for (argument, limit, left) in [("x-max-length", 3, 3), ("x-max-length-bytes", 5, 2)] {
            let mut broker = testing::broker();
            let channel = testing::connect(&mut broker, CLIENT);
            let arguments = FieldTable(vec![(argument.into(), FieldValue::I32(limit))]);
            let queue = testing::restored_queue(&mut broker, arguments);
            let key = broker.queue_key(queue);
            broker.expect_messages(key, 0, bodies.len(), 10, 0);
            broker.pump(&mut Nobody);
            assert!(!broker.has_touched(), "there is nothing to do until a page comes");
            let mut page = PageBuilder::with_capacity(0);
            for (sequence, length) in (1..).zip(bodies) {
                let body = shared_body(vec![7; length]);
                let content = Content { shared_body: Some(&body), ..testing::CONTENT };
                let message = MessageRef::new(&content, Attributes::default());
                page.push(&Entry::of(&message, sequence, NEVER));
            }
            broker.load_page(key, 0, page.finish().unwrap(), u64::MAX);
            while broker.has_touched() || broker.take_pages() {
                broker.pump(&mut Nobody);
            }
            assert_eq!(broker.census().ready, left, "{argument}");
            let got = broker.get(broker.caller(channel), b"q", true, &mut Nobody).unwrap();
            let GetOutcome::Got(got) = got else { panic!("it is there") };
            assert_eq!(got.message.content().body_size(), left, "{argument}: the oldest went");
        }
    }

    #[test]
    fn what_comes_back_later_counts_when_it_is_ready() {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let text = |text: &[u8]| FieldValue::LongString(text.into());
        let arguments = FieldTable(vec![
            ("x-queue-type".into(), text(b"quorum")),
            ("x-max-length".into(), FieldValue::I32(1)),
            ("x-delayed-retry-type".into(), text(b"all")),
            ("x-delayed-retry-min".into(), FieldValue::I32(10)),
        ]);
        let request = DeclareRequest { name: b"q", durable: true, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        publish(&mut broker, channel, queue, None);
        broker.get(broker.caller(channel), b"q", false, &mut Nobody).unwrap();
        broker.settle(channel, 1, false, Settlement::Requeued).unwrap();
        publish(&mut broker, channel, queue, None);
        assert_eq!(broker.queue(queue).backlog.len(), 1);
        broker.set_now(10_000);
        broker.come_due(&mut Nobody);
        assert_eq!(broker.queue(queue).backlog.len(), 1, "one of them had to go");
    }
}
