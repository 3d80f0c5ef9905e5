//! How hard publishers press on the queues that they publish to, which says how they are read.
//!
//! Publishers into a queue with more messages than its consumers take within [`BACKLOG_TARGET_MS`] wait until it is short
//! again, so that messages of a reading consumer are young at any speed. Nobody waits for good for who is slow:
//!
//! ```text
//!   consumers take at least the floor     publishers wait; when that would be for more than HOLD_MAX_MS they are let
//!                                         through meanwhile at half of what the consumers take
//!   less than the floor                   publishers are let through at the floor, and when they have waited for a second
//!                                         they wait no more until the queue is short
//!   nobody consumes                       nobody waits
//! ```
//!
//! The same second is all that a publisher waits for one of its queues while another one is short: it is paced by the
//! fastest of them. The floor is a setting, and it is set to less than RabbitMQ takes of a publisher, so that nobody is held
//! below that for long.

use super::exchange::QueueId;
use super::publish::KnownRoute;
use super::queue::Queue;
use super::store::Store;
use super::{Broker, QueueKey};

/// A queue is short when its consumers take what waits within this time, in milliseconds.
const BACKLOG_TARGET_MS: u64 = 50;
/// A queue is short with this many messages, however slow its consumers are, so that they do not wait for publishers.
const BACKLOG_SHORT_MESSAGES: usize = 256;
/// How long publishers may have to wait for a queue to be short again before they are let through meanwhile.
const HOLD_MAX_MS: u64 = 100;
/// How long a queue that was short is remembered when a publisher publishes to others, in milliseconds.
const SHORT_REMEMBERED_MS: u64 = 1000;

/// When publishers wait.
#[derive(Clone, Copy, Debug)]
pub struct PressureLimits {
    /// Messages that make no queue short, however fast it is read.
    pub backlog_messages: usize,
    /// Publishers into a queue are never held below this, in messages a second.
    pub floor_messages_per_s: u64,
}

/// How hard a publisher presses on the fullest of the queues that it publishes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QueuePressure {
    /// None is full, or nobody reads those that are.
    None,
    /// One is, and is filled further: its consumers should have their turns often.
    Consumed,
    /// One is, and it is better to wait.
    Drained,
}

/// A queue that a publisher published to, which was short and read when it was last asked about.
#[derive(Clone, Copy, Debug)]
pub struct ShortQueue {
    queue: QueueKey,
    seen_at_ms: u64,
}

impl PressureLimits {
    /// With how many messages a queue is short whose consumers take so many a second.
    fn short_messages(self, messages_per_s: u64) -> usize {
        messages_in(BACKLOG_TARGET_MS, messages_per_s).max(BACKLOG_SHORT_MESSAGES).min(self.backlog_messages)
    }

    /// How a publisher presses on a queue that is not short.
    fn pressure_on(self, queue: &mut Queue, messages_per_s: u64, another_is_short: bool, now_ms: u64) -> QueuePressure {
        let backlog = queue.backlog.len();
        let is_read = !queue.gate.is_unused();
        let is_slow = messages_per_s < self.floor_messages_per_s.max(1);
        let has_waited = queue.drain.was_waited_for();
        if is_slow && (has_waited || !is_read) || another_is_short && has_waited {
            // A long one slows down its consumers, who share the processor with its publishers.
            return if is_read && backlog > self.backlog_messages {
                QueuePressure::Consumed
            } else {
                QueuePressure::None
            };
        }
        let (published, elapsed_ms) = queue.drain.published(queue.ledger.counters().published, now_ms);
        let at_floor = self.floor_messages_per_s.saturating_mul(elapsed_ms + 1) / 1000;
        let allowed = match is_slow {
            true => at_floor,
            false if backlog <= messages_in(HOLD_MAX_MS, messages_per_s) => 0,
            false => at_floor.max(queue.drain.taken() / 2),
        };
        if published < allowed {
            return QueuePressure::Consumed;
        }
        if is_slow || another_is_short {
            queue.drain.wait(now_ms);
        }
        QueuePressure::Drained
    }
}

fn messages_in(ms: u64, messages_per_s: u64) -> usize {
    usize::try_from(messages_per_s.saturating_mul(ms) / 1000).unwrap_or(usize::MAX)
}

impl<S: Store> Broker<S> {
    /// The serial of the newest queue: those that are declared later have higher ones.
    #[inline]
    pub(super) fn newest_queue(&self) -> u64 {
        self.queue_serial
    }

    /// How hard a publisher presses on the queues of its last route. One of them may be gone, and a later one have its id,
    /// which is pressed by others.
    pub fn pressure_on(
        &mut self,
        route: &KnownRoute,
        limits: PressureLimits,
        short: &mut Option<ShortQueue>,
    ) -> QueuePressure {
        let now_ms = self.now_ms;
        let mut is_one_full = false;
        for &id in &route.queues {
            let Some(queue) = self.published_queue(id, route) else { continue };
            let messages_per_s = queue.drain.messages_per_s(queue.ledger.counters().published, now_ms);
            if queue.backlog.len() > limits.short_messages(messages_per_s) {
                is_one_full = true;
                continue;
            }
            queue.drain.is_short(now_ms);
            if messages_per_s > 0 && !queue.gate.is_unused() {
                *short = Some(ShortQueue { queue: queue.key(id), seen_at_ms: now_ms });
            }
        }
        if is_one_full { self.pressure_on_full(route, limits, *short) } else { QueuePressure::None }
    }

    /// One of the queues of a route, if it is still there.
    fn published_queue(&mut self, id: QueueId, route: &KnownRoute) -> Option<&mut Queue> {
        self.queues.get_mut(id.0 as usize).filter(|queue| queue.serial <= route.newest_queue)
    }

    fn pressure_on_full(
        &mut self,
        route: &KnownRoute,
        limits: PressureLimits,
        short: Option<ShortQueue>,
    ) -> QueuePressure {
        let now_ms = self.now_ms;
        let short = short.filter(|short| now_ms - short.seen_at_ms <= SHORT_REMEMBERED_MS);
        let pressure = route.queues.iter().map(|&id| {
            let Some(queue) = self.published_queue(id, route) else { return QueuePressure::None };
            let messages_per_s = queue.drain.messages_per_s(queue.ledger.counters().published, now_ms);
            if queue.backlog.len() <= limits.short_messages(messages_per_s) {
                return QueuePressure::None;
            }
            let another_is_short = short.is_some_and(|short| short.queue != queue.key(id));
            limits.pressure_on(queue, messages_per_s, another_is_short, now_ms)
        });
        pressure.max().unwrap_or(QueuePressure::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ChannelId, ConnectionId, ConsumeRequest, DeclareRequest, Publication, Settlement};
    use crate::protocol::FieldTable;

    const PUBLISHER: ConnectionId = ConnectionId(0);
    const LIMITS: PressureLimits = PressureLimits { backlog_messages: 16_384, floor_messages_per_s: 20_000 };
    /// Messages in what is read of a publisher at once.
    const READ_MESSAGES: usize = 1_000;
    const SPARING_READ_MESSAGES: usize = 125;
    /// What the publisher would send if nobody held it back.
    const READS_PER_MS: usize = 4;

    struct Reader {
        queue: QueueId,
        channel: ChannelId,
        settled: u64,
    }

    /// A publisher that sends as fast as it is read, and consumers that take so many messages a millisecond.
    struct Scene {
        broker: Broker<MemoryStore>,
        channel: ChannelId,
        readers: Vec<Reader>,
        limits: PressureLimits,
        short: Option<ShortQueue>,
        now_ms: u64,
    }

    impl Scene {
        fn new(queues: usize) -> Self {
            let mut broker = testing::broker();
            let channel = testing::connect(&mut broker, PUBLISHER);
            let mut scene = Self { broker, channel, readers: Vec::new(), limits: LIMITS, short: None, now_ms: 0 };
            for index in 0..queues {
                let (name, arguments) = (format!("q{index}"), FieldTable::default());
                let name = name.as_bytes();
                let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
                scene.broker.declare_queue(testing::caller(&scene.broker, PUBLISHER), request, &mut Nobody).unwrap();
                let queue = scene.broker.existing_queue(testing::VHOST, name).unwrap();
                let connection = ConnectionId(index as u32 + 1);
                let channel = testing::connect(&mut scene.broker, connection);
                scene.broker.set_consumer_prefetch(channel, 1);
                scene.readers.push(Reader { queue, channel, settled: 0 });
            }
            scene
        }

        fn with_consumers(queues: usize) -> Self {
            let mut scene = Self::new(queues);
            for index in 0..queues {
                scene.consume(index);
            }
            scene
        }

        fn consume(&mut self, index: usize) {
            let (name, arguments) = (format!("q{index}"), FieldTable::default());
            let queue = name.as_bytes();
            let request = ConsumeRequest { queue, consumer_tag: b"", no_ack: false, exclusive: false, arguments };
            self.broker.consume(self.broker.caller(self.readers[index].channel), request).unwrap();
        }

        fn queues(&self) -> Vec<QueueId> {
            self.readers.iter().map(|reader| reader.queue).collect()
        }

        fn publish(&mut self, queues: &[QueueId], count: usize) {
            let content = testing::CONTENT;
            let publication = Publication { content, attributes: Default::default(), mandatory: false };
            for _ in 0..count {
                self.broker.publish(self.channel, &publication, queues, &mut Nobody);
            }
        }

        /// A millisecond in which each consumer takes its messages and the publisher sends to `queues` what it may. Says
        /// how many that were.
        fn turn(&mut self, queues: &[QueueId], taken_per_ms: &[usize]) -> usize {
            self.now_ms += 1;
            self.broker.set_now(self.now_ms);
            for (reader, &taken) in self.readers.iter_mut().zip(taken_per_ms) {
                for _ in 0..taken {
                    if self.broker.settle(reader.channel, reader.settled + 1, false, Settlement::Acknowledged).is_ok() {
                        reader.settled += 1;
                        self.broker.pump(&mut Nobody);
                    }
                }
            }
            let mut published = 0;
            for _ in 0..READS_PER_MS {
                let newest_queue = self.broker.newest_queue();
                let route = KnownRoute { queues: queues.to_vec(), newest_queue, ..KnownRoute::default() };
                let count = match self.broker.pressure_on(&route, self.limits, &mut self.short) {
                    QueuePressure::None => READ_MESSAGES,
                    QueuePressure::Consumed => SPARING_READ_MESSAGES,
                    QueuePressure::Drained => break,
                };
                self.publish(queues, count);
                published += count;
            }
            self.broker.pump(&mut Nobody);
            published
        }

        /// What is published in so many milliseconds.
        fn run(&mut self, for_ms: u64, queues: &[QueueId], taken_per_ms: &[usize]) -> usize {
            (0..for_ms).map(|_| self.turn(queues, taken_per_ms)).sum()
        }

        fn backlog(&self, index: usize) -> usize {
            self.broker.queue(self.readers[index].queue).backlog.len()
        }
    }

    #[test]
    fn the_queue_of_a_reading_consumer_stays_short_at_any_speed() {
        for taken_per_ms in [25, 100, 400] {
            let mut scene = Scene::with_consumers(1);
            let queues = scene.queues();
            scene.run(500, &queues, &[taken_per_ms]);
            for _ in 0..10 {
                let published = scene.run(100, &queues, &[taken_per_ms]);
                let (backlog, short) = (scene.backlog(0), BACKLOG_TARGET_MS as usize * taken_per_ms);
                assert!(backlog <= short + READ_MESSAGES, "at {taken_per_ms} a millisecond {backlog} wait");
                assert!(published * 10 >= taken_per_ms * 100 * 7, "its consumer at {taken_per_ms} does not wait");
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_queue_that_nobody_reads() {
        for floor_messages_per_s in [0, LIMITS.floor_messages_per_s] {
            let mut scene = Scene::new(1);
            scene.limits.floor_messages_per_s = floor_messages_per_s;
            let queues = scene.queues();
            assert_eq!(scene.run(100, &queues, &[0]), 100 * READS_PER_MS * READ_MESSAGES);
        }
    }

    #[test]
    fn a_slow_consumer_or_one_that_stopped_holds_publishers_for_a_second_only() {
        for before in [0, 100] {
            let mut scene = Scene::with_consumers(1);
            let queues = scene.queues();
            scene.run(300, &queues, &[before]);
            let held = scene.run(800, &queues, &[5]);
            assert!(held >= 800 * 18, "not below the floor, as a window of time begins: {held}");
            scene.run(400, &queues, &[5]);
            let free = scene.run(100, &queues, &[5]);
            assert_eq!(free, 100 * READS_PER_MS * SPARING_READ_MESSAGES, "before it took {before} a millisecond");
        }
    }

    #[test]
    fn publishers_do_not_wait_for_a_long_queue_to_be_emptied() {
        let mut scene = Scene::new(1);
        let queues = scene.queues();
        scene.publish(&queues, 50_000);
        scene.consume(0);
        scene.run(100, &queues, &[50]);
        let before = scene.backlog(0);
        let published = scene.run(1_000, &queues, &[50]);
        assert!((20_000..30_000).contains(&published), "half of what the consumer takes: {published}");
        assert!(scene.backlog(0) < before, "it becomes shorter all the same");
    }

    #[test]
    fn the_slower_of_several_queues_hold_nobody_back_for_good() {
        let taken_per_ms = [100, 30];
        let mut scene = Scene::with_consumers(2);
        let queues = scene.queues();
        scene.run(2_000, &queues, &taken_per_ms);
        let published = scene.run(500, &queues, &taken_per_ms);
        assert!(published > 500 * 70, "the fast one paces those who publish to both: {published}");
        assert!(scene.backlog(0) <= BACKLOG_TARGET_MS as usize * 100 + READ_MESSAGES);

        let mut scene = Scene::with_consumers(2);
        let queues = scene.queues();
        let mut published = 0;
        for turn in 0..2_500 {
            let queue = [queues[turn % 2]];
            let count = scene.turn(&queue, &taken_per_ms);
            published += if turn >= 2_000 { count } else { 0 };
        }
        assert!(published > 500 * 70, "or to one after the other: {published}");
    }
}
