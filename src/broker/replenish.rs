//! When a consumer that had used up its prefetch count is given more.
//!
//! Most clients acknowledge one message at a time, each in a packet of its own. If each acknowledgement brought the next
//! message, each message would cost the broker and the client a system call of their own, and the client would never
//! have two to read at once. So a consumer that still holds most of its prefetch count, and is so [fast](super::pace)
//! that it will not take long, waits for a few more acknowledgements, until nobody says anything for a moment, and for
//! [`WAIT_MS`] at most. Who works on a hundred messages at a time for some milliseconds each is not fast, and gets the next
//! one for each that is done. Neither is who acknowledges several at once: after a few words it may have nothing left, and
//! wait. Who was waited for in vain is not waited for again soon. Where consumers have priorities nobody waits:
//! those below would take what is meant for those above.
//!
//! ```text
//!            prefetch count used up                 acknowledged, and replenish_count() are free, or it is not fast
//!   in line ────────────────────────► PrefetchReached ──────────────────────────────────────────────► in line
//!                                          │  ▲                                                         ▲
//!                                          │  └ acknowledged: fewer are free. Named by `waiting`        │
//!                                          └──────────── nothing for a while, or WAIT_MS later ─────────┘
//! ```

use super::consumer::ConsumerState;
use super::store::Store;
use super::{Broker, ConnectionId, ConsumerId};

/// A consumer waits for more acknowledgements while it holds more than this part of its prefetch count.
const HELD_SHARE: usize = 4;

/// More acknowledgements than this are not worth waiting for: system calls cost little by then.
const COUNT_MAX: usize = 32;

/// How long a consumer waits for more acknowledgements, in milliseconds.
const WAIT_MS: u64 = 1;

/// Consumers and channels of a connection that are looked at to see whether it can wait.
const LOOKED_AT_MAX: usize = 8;

/// Consumers that have some credit again and wait for a little more.
#[derive(Default)]
pub(super) struct Replenishing {
    /// Each once. Some are back in their lines already, or cancelled.
    waiting: Vec<ConsumerId>,
    /// When those that wait go back to their lines.
    due_ms: u64,
}

/// How many messages may be lacking of so many that a consumer, or a channel, may hold, before it is given more.
#[inline]
fn replenish_count(prefetch_count: u16) -> usize {
    match prefetch_count {
        0 => COUNT_MAX,
        count => (usize::from(count) / HELD_SHARE).clamp(1, COUNT_MAX),
    }
}

impl<S: Store> Broker<S> {
    /// A consumer at its prefetch count has credit again: it goes back to its line, or waits for a little more.
    #[inline]
    pub(super) fn replenish_or_wait(&mut self, id: ConsumerId) {
        let now_ms = self.now_ms;
        let consumer = &mut self.consumers[id.0 as usize];
        debug_assert!(consumer.state == ConsumerState::PrefetchReached);
        let credit = consumer.credit();
        if credit == 0 {
            return;
        }
        if credit >= replenish_count(consumer.prefetch_count)
            || !consumer.pace.is_fast(now_ms)
            || !self.queues[consumer.queue.0 as usize].gate.are_equals()
        {
            self.rejoin(id);
        } else if !consumer.awaits_more {
            consumer.awaits_more = true;
            if self.replenishing.waiting.is_empty() {
                self.replenishing.due_ms = self.now_ms + WAIT_MS;
            }
            self.replenishing.waiting.push(id);
        }
    }

    /// How many acknowledgements may come together before anything is to be done about them: as many as its consumers
    /// lack to be given more, when all of them are fast and hold at least as many. 0 when some do not, or when there are
    /// too many to look at.
    pub fn acknowledgements_awaited(&self, id: ConnectionId) -> usize {
        let Some(Some(connection)) = self.connections.get(id.0 as usize) else { return 0 };
        if connection.channels.len() > LOOKED_AT_MAX {
            return 0;
        }
        let channels = connection.channels.iter().map(|id| self.channel(*id));
        let mut consumers = channels
            .flat_map(|channel| channel.consumers.values().take(LOOKED_AT_MAX + 1).map(move |id| (channel, id)))
            .enumerate();
        let least = consumers.try_fold(usize::MAX, |least, (place, (channel, id))| {
            let consumer = &self.consumers[id.0 as usize];
            let count = replenish_count(consumer.prefetch_count).min(replenish_count(channel.channel_prefetch_count));
            let may_wait = consumer.pace.is_fast(self.now_ms)
                && consumer.unacknowledged as usize >= count
                && self.queue(consumer.queue).gate.are_equals();
            (place < LOOKED_AT_MAX && may_wait).then(|| least.min(count))
        });
        least.filter(|least| *least != usize::MAX).unwrap_or(0)
    }

    /// When [`replenish`](Self::replenish) has something to do next.
    pub(super) fn next_replenish_ms(&self) -> Option<u64> {
        self.awaits_acknowledgements().then_some(self.replenishing.due_ms)
    }

    /// Whether consumers with credit wait for a little more of it.
    pub fn awaits_acknowledgements(&self) -> bool {
        !self.replenishing.waiting.is_empty()
    }

    /// Puts those who waited long enough for more acknowledgements back into their lines, as many as one pump may move.
    pub(super) fn replenish(&mut self) {
        if self.next_replenish_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.stop_awaiting_acknowledgements();
        }
    }

    /// Puts those who wait for more acknowledgements back into their lines, as many as one pump may move: none came for a
    /// while.
    pub fn stop_awaiting_acknowledgements(&mut self) {
        let mut moves_left = super::dispatch::MOVES_PER_PUMP;
        while moves_left > 0
            && let Some(id) = self.replenishing.waiting.pop()
        {
            moves_left -= 1;
            let consumer = &mut self.consumers[id.0 as usize];
            consumer.awaits_more = false;
            match consumer.state {
                ConsumerState::PrefetchReached if consumer.has_credit() => {
                    consumer.pace.was_waited_for_in_vain(self.now_ms);
                    self.rejoin(id);
                }
                ConsumerState::Cancelled => self.forget_cancelled(id),
                _ => {}
            }
        }
    }

    /// Acknowledgements of a connection were [awaited](Self::acknowledgements_awaited), and too few came.
    pub fn awaited_in_vain(&mut self, id: ConnectionId) {
        let Self { connections, channels, consumers, now_ms, .. } = self;
        let Some(Some(connection)) = connections.get(id.0 as usize) else { return };
        for channel in connection.channels.iter().take(LOOKED_AT_MAX) {
            for consumer in channels[channel.0 as usize].consumers.values().take(LOOKED_AT_MAX) {
                consumers[consumer.0 as usize].pace.was_waited_for_in_vain(*now_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::pace::{FAST_MESSAGES, Said};
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ChannelId, ConsumeRequest, DeclareRequest, Publication, Settlement};
    use crate::protocol::{FieldTable, FieldValue};

    const CLIENT: ConnectionId = ConnectionId(0);

    /// A broker with a long queue and one consumer of it, which has all it may have.
    fn saturated(prefetch_count: u16) -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let caller = broker.caller(channel);
        let (name, arguments) = (b"q".as_slice(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller, request, &mut Nobody).unwrap();
        let queue = broker.existing_queue(testing::VHOST, name).unwrap();
        let content = testing::CONTENT;
        let publication = Publication { content, attributes: Default::default(), mandatory: false };
        (0..1000).for_each(|_| broker.publish(channel, &publication, &[queue], &mut Nobody));
        broker.set_consumer_prefetch(channel, prefetch_count);
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue: name, consumer_tag: b"t", no_ack: false, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
        broker.pump(&mut Nobody);
        assert_eq!(held(&mut broker, channel), usize::from(prefetch_count));
        // It was fast so far.
        let consumers = broker.consumers.iter_mut();
        consumers.for_each(|(_, consumer)| (0..FAST_MESSAGES).for_each(|_| consumer.pace.note(Said::OfOne, 0)));
        (broker, channel)
    }

    /// What the consumer holds once everything that can be delivered is.
    fn held(broker: &mut Broker<MemoryStore>, channel: ChannelId) -> usize {
        broker.pump(&mut Nobody);
        broker.census();
        broker.channel(channel).unacknowledged.len()
    }

    fn acknowledge(broker: &mut Broker<MemoryStore>, channel: ChannelId, tags: std::ops::RangeInclusive<u64>) {
        tags.for_each(|tag| _ = broker.settle(channel, tag, false, Settlement::Acknowledged).unwrap());
    }

    fn wait(broker: &mut Broker<MemoryStore>, now_ms: u64) {
        broker.set_now(now_ms);
        broker.come_due(&mut Nobody);
    }

    #[test]
    fn who_still_holds_much_is_given_more_when_several_were_acknowledged() {
        let (mut broker, channel) = saturated(100);
        acknowledge(&mut broker, channel, 1..=24);
        assert_eq!(held(&mut broker, channel), 76);
        acknowledge(&mut broker, channel, 25..=25);
        assert_eq!(held(&mut broker, channel), 100);
    }

    #[test]
    fn who_acknowledges_no_more_is_given_the_rest_a_moment_later() {
        let (mut broker, channel) = saturated(100);
        assert_eq!(broker.next_due_ms(), None);
        acknowledge(&mut broker, channel, 1..=1);
        assert_eq!(broker.next_due_ms(), Some(WAIT_MS));
        acknowledge(&mut broker, channel, 2..=3);
        wait(&mut broker, WAIT_MS);
        assert_eq!(held(&mut broker, channel), 100);
        assert_eq!(broker.next_due_ms(), None);
        acknowledge(&mut broker, channel, 4..=4);
        assert_eq!(held(&mut broker, channel), 100, "it is not waited for again soon");
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 0);
    }

    #[test]
    fn when_nobody_says_anything_nobody_waits() {
        let (mut broker, channel) = saturated(100);
        acknowledge(&mut broker, channel, 1..=1);
        assert!(broker.awaits_acknowledgements());
        broker.stop_awaiting_acknowledgements();
        assert!(!broker.awaits_acknowledgements());
        assert_eq!(held(&mut broker, channel), 100);
    }

    #[test]
    fn a_client_that_was_waited_for_in_vain_is_not_waited_for_again_soon() {
        let (mut broker, _) = saturated(100);
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 25);
        broker.awaited_in_vain(CLIENT);
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 0);
    }

    #[test]
    fn who_is_not_fast_waits_for_nothing() {
        let (mut broker, channel) = saturated(100);
        wait(&mut broker, 2);
        for tag in 1..FAST_MESSAGES as u64 {
            acknowledge(&mut broker, channel, tag..=tag);
            assert_eq!(held(&mut broker, channel), 100);
        }
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 0);
        let tag = FAST_MESSAGES as u64;
        acknowledge(&mut broker, channel, tag..=tag);
        assert_eq!(held(&mut broker, channel), 99, "it is fast with this one");
        acknowledge(&mut broker, channel, tag + 1..=tag + 24);
        assert_eq!(held(&mut broker, channel), 100);
        broker.set_now(3);
        acknowledge(&mut broker, channel, tag + 25..=tag + 25);
        assert_eq!(held(&mut broker, channel), 99, "it was fast in the millisecond before");
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 25);
    }

    /// It may be done with all that it holds when it has said so in a few words, and waits.
    #[test]
    fn who_settles_several_at_once_waits_for_nothing() {
        for in_transaction in [false, true] {
            let (mut broker, channel) = saturated(100);
            if in_transaction {
                broker.select_transaction(channel).unwrap();
            }
            for tag in [90, 100, 200, 300, 400] {
                broker.settle(channel, tag, true, Settlement::Acknowledged).unwrap();
                if in_transaction {
                    broker.commit(channel, &mut Nobody).unwrap();
                }
                assert_eq!(held(&mut broker, channel), 100);
                assert_eq!(broker.acknowledgements_awaited(CLIENT), 0);
            }
        }
    }

    #[test]
    fn no_more_is_awaited_than_a_part_of_what_the_channel_may_hold() {
        let (mut broker, channel) = saturated(100);
        broker.set_channel_prefetch(channel, 40);
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 10);
        broker.set_channel_prefetch(channel, 400);
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 25);
    }

    #[test]
    fn a_connection_with_more_consumers_or_channels_than_are_looked_at_is_not_waited_for() {
        for on_one_channel in [true, false] {
            let (mut broker, mut channel) = saturated(100);
            for consumers in 2..=LOOKED_AT_MAX + 1 {
                if !on_one_channel {
                    channel = broker.open_channel(CLIENT, consumers as u16);
                    broker.set_consumer_prefetch(channel, 100);
                }
                let (consumer_tag, arguments) = (consumers.to_string(), FieldTable::default());
                let consumer_tag = consumer_tag.as_bytes();
                let request = ConsumeRequest { queue: b"q", consumer_tag, no_ack: false, exclusive: false, arguments };
                broker.consume(broker.caller(channel), request).unwrap();
                broker.pump(&mut Nobody);
                let fast = broker.consumers.iter_mut();
                fast.for_each(|(_, consumer)| (0..FAST_MESSAGES).for_each(|_| consumer.pace.note(Said::OfOne, 0)));
                let awaited = if consumers <= LOOKED_AT_MAX { 25 } else { 0 };
                assert_eq!(broker.acknowledgements_awaited(CLIENT), awaited, "{consumers} consumers");
            }
        }
    }

    #[test]
    fn nobody_waits_where_there_are_priorities() {
        let (mut broker, channel) = saturated(100);
        let arguments = FieldTable(vec![("x-priority".into(), FieldValue::I32(-1))]);
        let request = ConsumeRequest { queue: b"q", consumer_tag: b"low", no_ack: false, exclusive: false, arguments };
        broker.set_consumer_prefetch(channel, 1);
        broker.consume(broker.caller(channel), request).unwrap();
        assert_eq!(held(&mut broker, channel), 101);
        acknowledge(&mut broker, channel, 1..=1);
        assert_eq!(held(&mut broker, channel), 101);
        broker.cancel(broker.caller(channel), b"low");
        acknowledge(&mut broker, channel, 2..=2);
        assert_eq!(held(&mut broker, channel), 100);
    }

    #[test]
    fn who_may_hold_few_waits_for_nothing() {
        for prefetch_count in 1..=7 {
            let (mut broker, channel) = saturated(prefetch_count);
            acknowledge(&mut broker, channel, 1..=1);
            assert_eq!(held(&mut broker, channel), usize::from(prefetch_count));
        }
    }

    #[test]
    fn a_large_prefetch_count_does_not_make_the_wait_longer() {
        let (mut broker, channel) = saturated(900);
        acknowledge(&mut broker, channel, 1..=COUNT_MAX as u64);
        assert_eq!(held(&mut broker, channel), 900);
    }

    #[test]
    fn nothing_stays_of_who_was_cancelled_meanwhile_whatever_went_first() {
        for settles_all in [false, true] {
            let (mut broker, channel) = saturated(100);
            acknowledge(&mut broker, channel, 1..=5);
            broker.cancel(broker.caller(channel), b"t");
            if settles_all {
                broker.settle(channel, 0, true, Settlement::Acknowledged).unwrap();
                assert_eq!(broker.consumers.len(), 1, "the list still names it");
            }
            wait(&mut broker, WAIT_MS);
            broker.settle(channel, 0, true, Settlement::Requeued).unwrap();
            assert_eq!(broker.consumers.len(), 0);
            broker.census();
        }
    }

    #[test]
    fn who_went_on_before_its_time_is_listed_once() {
        let (mut broker, channel) = saturated(100);
        for round in 0..3 {
            acknowledge(&mut broker, channel, 30 * round + 1..=30 * round + 30);
            assert_eq!(held(&mut broker, channel), 100);
        }
        acknowledge(&mut broker, channel, 91..=92);
        assert_eq!(broker.replenishing.waiting.len(), 1);
    }

    #[test]
    fn acknowledgements_are_awaited_while_all_consumers_have_what_they_may() {
        let (mut broker, channel) = saturated(100);
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 25);
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue: b"q", consumer_tag: b"u", no_ack: true, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
        assert_eq!(broker.acknowledgements_awaited(CLIENT), 0, "one more has just come");
    }
}
