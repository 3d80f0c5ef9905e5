//! Deliveries that wait for their acknowledgement for too long. Their channel is to be closed.
//!
//! Nothing is noted of a single delivery. From time to time a sweep goes over the channels, some in each turn, and leaves a
//! [mark](Marks) in each of them that holds deliveries: by now everything up to this delivery tag was delivered. A delivery
//! is as old as the first mark that names it, so that it is never thought older than it is, and younger by a sweep at
//! most; and it came after the mark before that. As in RabbitMQ, only the oldest delivery of a channel is asked how long it may wait.

use super::channel::Channel;
use super::exchange::QueueId;
use super::message::NEVER;
use super::store::Store;
use super::{Broker, ChannelId, ChannelKey, ConnectionId, ConsumerId};
use std::collections::VecDeque;

/// From one sweep to the next at most, in milliseconds, as in RabbitMQ; …
const SWEEP_MOST_MS: u64 = 60_000;
/// … and at least, however short somebody's time is.
const SWEEP_LEAST_MS: u64 = 250;
/// From one to the next at most where somebody wants to know how old deliveries are.
const AGES_MS: u64 = 10_000;
/// Sweeps in the shortest time that is asked for.
const SWEEPS_PER_TIMEOUT: u64 = 4;
/// Slots of channels that one turn looks at.
const CHANNELS_PER_TURN: usize = 1024;
/// Marks of a channel; of more, every other one goes.
const MARKS_MAX: usize = 64;

/// When which of a channel's deliveries had been delivered. The first mark names none of those that wait, but when all of
/// them came later.
#[derive(Default)]
pub struct Marks(VecDeque<Mark>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    at_ms: u64,
    /// The last delivery tag by then.
    delivery_tag: u64,
}

impl Marks {
    /// Between when and when a delivery came: after a sweep that found nothing of it, and before another that did. `None`
    /// for what no sweep of these tells.
    fn around(&self, delivery_tag: u64) -> (Option<u64>, Option<u64>) {
        let index = self.0.partition_point(|mark| mark.delivery_tag < delivery_tag);
        let at_ms = |index: usize| self.0.get(index).map(|mark| mark.at_ms);
        (index.checked_sub(1).and_then(at_ms), at_ms(index))
    }

    /// A sweep comes by: `oldest` is the lowest tag that is unacknowledged, `last` the highest that was given; of a channel
    /// without marks none was when the sweep `before_ms` came by. Says since when the oldest was seen.
    fn sweep(&mut self, now_ms: u64, before_ms: u64, oldest: u64, last: u64) -> u64 {
        if self.0.is_empty() {
            self.0.push_back(Mark { at_ms: before_ms, delivery_tag: oldest - 1 });
        }
        while self.0.get(1).is_some_and(|second| second.delivery_tag < oldest) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|mark| mark.delivery_tag < last) {
            if self.0.len() >= MARKS_MAX {
                let mut index = 0;
                self.0.retain(|_| {
                    index += 1;
                    // The first two are of the oldest delivery.
                    index <= 2 || index % 2 == 1
                });
            }
            self.0.push_back(Mark { at_ms: now_ms, delivery_tag: last });
        }
        self.around(oldest).1.unwrap_or(now_ms)
    }
}

/// A channel that is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overdue {
    pub connection: ConnectionId,
    pub channel_number: u16,
    /// How long the delivery might have waited.
    pub timeout_ms: u64,
}

/// Where the sweep is, and whom it found.
pub(super) struct Sweep {
    /// The shortest time that anybody ever asked for.
    shortest_ms: Option<u64>,
    /// Somebody wants to know how old deliveries are.
    watches_ages: bool,
    /// When there is something to look at; [`NEVER`] as long as nobody asks.
    due_ms: u64,
    /// When the sweep that is under way began, and the one before it, which came by everywhere; 0 before the first one.
    began_ms: u64,
    before_ms: u64,
    /// The slot of a channel that is looked at next.
    next_slot: usize,
    found: VecDeque<(ChannelKey, u64)>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            shortest_ms: None,
            watches_ages: false,
            due_ms: NEVER,
            began_ms: 0,
            before_ms: 0,
            next_slot: 0,
            found: VecDeque::new(),
        }
    }
}

impl Sweep {
    fn interval_ms(&self) -> u64 {
        let shortest_ms = self.shortest_ms.unwrap_or(u64::MAX);
        let most_ms = if self.watches_ages { AGES_MS } else { SWEEP_MOST_MS };
        (shortest_ms / SWEEPS_PER_TIMEOUT).clamp(SWEEP_LEAST_MS, most_ms)
    }
}

impl<S: Store> Broker<S> {
    /// Somebody wants deliveries to be acknowledged within that time: from now on there are sweeps.
    pub(super) fn note_timeout(&mut self, timeout_ms: u64) {
        let now_ms = self.now_ms;
        let sweep = &mut self.sweep;
        if sweep.shortest_ms.is_none_or(|shortest_ms| timeout_ms < shortest_ms) {
            sweep.shortest_ms = Some(timeout_ms);
            sweep.due_ms = sweep.due_ms.min(now_ms.saturating_add(sweep.interval_ms()));
        }
    }

    /// Somebody wants to know how old deliveries are, whether or not anybody limits that: from now on there are sweeps.
    pub fn watch_ages(&mut self) {
        let now_ms = self.now_ms;
        let sweep = &mut self.sweep;
        sweep.watches_ages = true;
        sweep.due_ms = sweep.due_ms.min(now_ms.saturating_add(sweep.interval_ms()));
    }

    /// When [`sweep`](Self::sweep) has something to do next, or somebody was found; `None` while nobody asks.
    pub(super) fn next_sweep_ms(&self) -> Option<u64> {
        let due_ms = if self.sweep.found.is_empty() { self.sweep.due_ms } else { self.now_ms };
        Some(due_ms).filter(|due_ms| *due_ms != NEVER)
    }

    /// Looks at some channels, if it is time.
    pub(super) fn sweep(&mut self) {
        if self.sweep.due_ms > self.now_ms {
            return;
        }
        if self.sweep.next_slot == 0 {
            self.sweep.began_ms = self.now_ms;
        }
        let from = self.sweep.next_slot;
        let until = self.channels.capacity().min(from + CHANNELS_PER_TURN);
        for slot in from..until {
            self.look_at(slot);
        }
        let is_done = until == self.channels.capacity();
        self.sweep.next_slot = if is_done { 0 } else { until };
        if is_done {
            self.sweep.before_ms = self.sweep.began_ms;
            self.sweep.due_ms = self.sweep.began_ms.saturating_add(self.sweep.interval_ms()).max(self.now_ms + 1);
        }
    }

    /// Between when and when a delivery of a channel came, as far as sweeps tell: it is there for sure since the second, if
    /// that is known.
    pub(super) fn delivered_between_ms(&self, channel: &Channel, delivery_tag: u64) -> (u64, Option<u64>) {
        let (after_ms, by_ms) = channel.marks.around(delivery_tag);
        // Nothing was there when a sweep came by that left no mark, and nobody had a channel before the start.
        (after_ms.unwrap_or(self.sweep.before_ms), by_ms)
    }

    fn look_at(&mut self, slot: usize) {
        let (now_ms, before_ms) = (self.now_ms, self.sweep.before_ms);
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Channel { unacknowledged, marks, last_delivery_tag, .. } = channel;
        let Some((oldest, delivered)) = unacknowledged.iter().next() else {
            marks.0.clear();
            return;
        };
        let since_ms = marks.sweep(now_ms, before_ms, oldest, *last_delivery_tag);
        let (queue, consumer) = (delivered.queue, delivered.consumer);
        let key = channel.key(ChannelId(slot as u32));
        if let Some(timeout_ms) = self.timeout_ms(queue, consumer)
            && now_ms.saturating_sub(since_ms) >= timeout_ms
        {
            self.sweep.found.push_back((key, timeout_ms));
        }
    }

    /// How long a delivery may wait: what its consumer says, else what its queue does, else what is set for all.
    fn timeout_ms(&self, queue: QueueId, consumer: Option<ConsumerId>) -> Option<u64> {
        let of_consumer = consumer.and_then(|consumer| self.consumers[consumer.0 as usize].timeout_ms);
        let of_queue = || self.queue(queue).behaviour.consumer_timeout_ms;
        of_consumer.or_else(of_queue).or(self.settings.consumer_timeout_ms)
    }

    /// A channel that is to be closed, if it still is there.
    #[inline]
    pub fn take_overdue(&mut self) -> Option<Overdue> {
        if self.sweep.found.is_empty() { None } else { self.take_found() }
    }

    #[cold]
    fn take_found(&mut self) -> Option<Overdue> {
        while let Some((key, timeout_ms)) = self.sweep.found.pop_front() {
            let channel = self.channels.get(key.id.0 as usize).filter(|channel| channel.serial == key.serial);
            if let Some(&Channel { connection, number: channel_number, .. }) = channel {
                return Some(Overdue { connection, channel_number, timeout_ms });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ConsumeRequest, DeclareRequest, Publication, Settings, Settlement};
    use crate::protocol::{FieldTable, FieldValue};

    const CLIENT: ConnectionId = ConnectionId(0);
    const TIMEOUT_MS: u64 = 1000;
    const SWEEP_MS: u64 = TIMEOUT_MS / SWEEPS_PER_TIMEOUT;

    fn table(arguments: &[(&'static str, i64)]) -> FieldTable {
        FieldTable(arguments.iter().map(|(name, value)| ((*name).into(), FieldValue::I64(*value))).collect())
    }

    fn quorum(arguments: &[(&'static str, i64)]) -> FieldTable {
        let mut arguments = table(arguments);
        arguments.0.push(("x-queue-type".into(), FieldValue::LongString(b"quorum".as_slice().into())));
        arguments
    }

    struct Test {
        broker: Broker<MemoryStore>,
        channel: ChannelId,
    }

    impl Test {
        fn new(of_all: Option<u64>, of_queue: &[(&'static str, i64)], of_consumer: &[(&'static str, i64)]) -> Self {
            let settings = Settings { consumer_timeout_ms: of_all, ..testing::settings() };
            let mut broker = testing::broker_with(settings, MemoryStore::default());
            let channel = testing::connect(&mut broker, CLIENT);
            let arguments = quorum(of_queue);
            let request = DeclareRequest { name: b"q", durable: true, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
            let arguments = table(of_consumer);
            let (queue, consumer_tag) = (b"q".as_slice(), b"t".as_slice());
            let request = ConsumeRequest { queue, consumer_tag, no_ack: false, exclusive: false, arguments };
            broker.consume(broker.caller(channel), request).unwrap();
            Self { broker, channel }
        }

        fn deliver(&mut self) {
            let publication =
                Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
            let queue = self.broker.existing_queue(testing::VHOST, b"q").unwrap();
            self.broker.publish(self.channel, &publication, &[queue], &mut Nobody);
        }

        /// Lets time pass as the loop does, and says when the channel is to be closed, if it is before `until_ms`.
        fn overdue_by(&mut self, until_ms: u64) -> Option<u64> {
            while let Some(due_ms) = self.broker.next_due_ms().filter(|due_ms| *due_ms <= until_ms) {
                self.broker.set_now(due_ms.max(self.broker.now_ms));
                self.broker.come_due(&mut Nobody);
                if let Some(overdue) = self.broker.take_overdue() {
                    assert_eq!((overdue.connection, overdue.channel_number), (CLIENT, 1));
                    return Some(self.broker.now_ms);
                }
            }
            None
        }
    }

    #[test]
    fn nobody_asks_and_nobody_looks() {
        let mut test = Test::new(None, &[], &[]);
        test.deliver();
        assert_eq!(test.broker.next_due_ms(), None);
    }

    #[test]
    fn a_delivery_may_wait_for_its_time_and_a_sweep_longer_whoever_says_so() {
        let (of_queue, of_consumer) = ([("x-consumer-timeout", 1000)], [("x-consumer-timeout", 1000)]);
        let longer = [("x-consumer-timeout", 1_000_000)];
        for mut test in [
            Test::new(Some(TIMEOUT_MS), &[], &[]),
            Test::new(None, &of_queue, &[]),
            Test::new(None, &longer, &of_consumer),
            Test::new(Some(1_000_000), &of_queue, &[]),
        ] {
            assert_eq!(test.overdue_by(4000), None, "there is nothing to acknowledge");
            test.broker.set_now(4100);
            test.deliver();
            let at_ms = test.overdue_by(1_000_000).expect("it is overdue in the end");
            assert!((4100 + TIMEOUT_MS..=4100 + TIMEOUT_MS + SWEEP_MS).contains(&at_ms), "at {at_ms}");
        }
        let mut patient = Test::new(Some(TIMEOUT_MS), &longer, &[]);
        patient.deliver();
        assert_eq!(patient.overdue_by(900_000), None);
    }

    #[test]
    fn the_oldest_delivery_counts_and_one_that_is_acknowledged_does_not() {
        let mut test = Test::new(Some(TIMEOUT_MS), &[], &[]);
        for tag in 1..=40 {
            test.deliver();
            assert_eq!(test.overdue_by(tag * 900), None);
            test.broker.set_now(tag * 900);
            test.broker.settle(test.channel, tag, false, Settlement::Acknowledged).unwrap();
        }
        test.deliver();
        test.deliver();
        test.broker.settle(test.channel, 42, false, Settlement::Acknowledged).unwrap();
        let at_ms = test.overdue_by(u64::MAX - 1).expect("it is overdue");
        assert!(at_ms <= 40 * 900 + TIMEOUT_MS + 2 * SWEEP_MS, "at {at_ms}");
    }

    #[test]
    fn many_channels_are_looked_at_some_at_a_time() {
        let mut test = Test::new(Some(TIMEOUT_MS), &[], &[]);
        let channels = 3 * CHANNELS_PER_TURN;
        (0..channels).for_each(|number| _ = test.broker.open_channel(CLIENT, 2 + number as u16));
        test.deliver();
        let mut turns = 0;
        while test.broker.take_overdue().is_none() {
            test.broker.set_now(test.broker.next_due_ms().unwrap().max(test.broker.now_ms));
            test.broker.come_due(&mut Nobody);
            turns += 1;
        }
        assert!(turns > SWEEPS_PER_TIMEOUT as usize * (channels / CHANNELS_PER_TURN), "{turns} turns");
    }

    #[test]
    fn marks_are_few_and_never_make_a_delivery_older_than_it_is() {
        let mut marks = Marks::default();
        for at_ms in 0..10_000 {
            let since_ms = marks.sweep(at_ms, 0, 1, at_ms + 1);
            assert!(marks.0.len() <= MARKS_MAX);
            assert_eq!(since_ms, 0, "the first mark stays");
        }
        // Delivered at 5000, and the oldest from now on.
        let since_ms = marks.sweep(10_000, 0, 5001, 10_001);
        assert!((5000..=10_000).contains(&since_ms), "since {since_ms}");
        assert!(marks.around(5001).0 < Some(5000), "and it came after one that did not see it");
    }
    #[test]
    fn a_delivery_came_between_two_sweeps_that_are_known() {
        let mut test = Test::new(None, &[], &[]);
        test.broker.watch_ages();
        // When each of the deliveries that wait came.
        let mut waiting = std::collections::BTreeMap::new();
        let (mut tag, mut chance) = (0, 7_u64);
        for step in 0..5000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match chance >> 61 {
                0..4 => {
                    test.deliver();
                    tag += 1;
                    waiting.insert(tag, test.broker.now_ms);
                }
                4 | 5 => {
                    let one = waiting.keys().nth((chance >> 32) as usize % waiting.len().max(1)).copied();
                    if let Some(one) = one {
                        // All of them now and then, so that there is nothing to mark.
                        let multiple = step % 50 == 0;
                        let one = if multiple { tag } else { one };
                        if waiting.contains_key(&one) {
                            test.broker.settle(test.channel, one, multiple, Settlement::Acknowledged).unwrap();
                            waiting.retain(|other, _| if multiple { *other > one } else { *other != one });
                        }
                    }
                }
                _ => {
                    let until_ms = test.broker.now_ms + (chance >> 40) % AGES_MS;
                    assert_eq!(test.overdue_by(until_ms), None);
                    test.broker.set_now(until_ms);
                }
            }
            let channel = &test.broker.channels[test.channel.0 as usize];
            for (tag, came_ms) in &waiting {
                let (after_ms, by_ms) = test.broker.delivered_between_ms(channel, *tag);
                let by_ms = by_ms.unwrap_or(test.broker.now_ms);
                assert!((after_ms..=by_ms).contains(came_ms), "{came_ms} in {after_ms}..={by_ms}, step {step}");
            }
        }
    }
}
