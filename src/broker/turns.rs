//! Consumers that wait for their channel's prefetch count, and whose turn it is when there is credit again.
//!
//! Credit goes round the queues that wait, a share of it to each; within a queue it goes by priority and round robin. It
//! never goes past those who wait: a consumer that comes to the front of its queue's line meanwhile waits behind them.

use super::consumer::ConsumerState;
use super::dispatch::DELIVERIES_PER_GO;
use super::effects::Effects;
use super::exchange::QueueId;
use super::keys::ChannelKey;
use super::queue::Line;
use super::store::Store;
use super::{Broker, ChannelId, ConsumerId};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Entries of the round that name no waiting queue any more are taken out when they are more than this and more than
/// the others.
const STALE_MIN: usize = 16;

/// One channel's consumers that wait for its prefetch count.
#[derive(Default)]
pub struct Turns {
    waiting: HashMap<QueueId, Waiting>,
    /// The queues that wait, each once, and what is left of those that wait no more.
    round: VecDeque<(QueueId, u32)>,
    serial: u32,
    /// Turns until the round is over, and what each of them may have.
    turns_left: usize,
    share: usize,
}

/// Those of one queue.
struct Waiting {
    /// Tells its entry in the round from an earlier one.
    serial: u32,
    line: Line,
}

impl Turns {
    /// Nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A consumer waits, behind the others of its queue and priority.
    pub fn wait(&mut self, queue: QueueId, priority: i64, consumer: ConsumerId) {
        let waiting = self.waiting.entry(queue).or_insert_with(|| {
            self.serial = self.serial.wrapping_add(1);
            self.round.push_back((queue, self.serial));
            Waiting { serial: self.serial, line: Line::default() }
        });
        waiting.line.join(priority, consumer);
    }

    /// The queue whose turn it is, and how many deliveries it may have. The next turn is another's.
    fn next_turn(&mut self, credit: usize) -> Option<(QueueId, usize)> {
        if self.turns_left == 0 {
            self.turns_left = self.len();
            self.share = (credit / self.len().max(1)).max(1);
        }
        self.turns_left = self.turns_left.saturating_sub(1);
        loop {
            let entry = self.round.pop_front()?;
            if self.waiting.get(&entry.0).is_some_and(|waiting| waiting.serial == entry.1) {
                self.round.push_back(entry);
                return Some((entry.0, self.share.min(credit)));
            }
        }
    }

    /// Takes out the next consumer of a queue.
    fn leave(&mut self, queue: QueueId) -> Option<ConsumerId> {
        let line = &mut self.waiting.get_mut(&queue)?.line;
        let consumer = line.leave();
        if line.front().is_none() {
            self.forget(queue);
        }
        consumer
    }

    /// What [`Line::cancelled_left`] is to a line.
    fn cancelled_left(&mut self, queue: QueueId) {
        if let Some(waiting) = self.waiting.get_mut(&queue) {
            waiting.line.cancelled_left();
        }
    }

    /// What [`Line::note_cancelled`] is to a line.
    pub fn note_cancelled(&mut self, queue: QueueId) -> bool {
        self.waiting.get_mut(&queue).is_some_and(|waiting| waiting.line.note_cancelled())
    }

    /// What [`Line::sweep`] is to a line.
    pub fn sweep(&mut self, queue: QueueId, is_cancelled: impl Fn(ConsumerId) -> bool, freed: impl FnMut(ConsumerId)) {
        let Some(waiting) = self.waiting.get_mut(&queue) else { return };
        waiting.line.sweep(is_cancelled, freed);
        if waiting.line.front().is_none() {
            self.forget(queue);
        }
    }

    /// Nobody of this queue waits any more.
    pub fn forget(&mut self, queue: QueueId) {
        self.waiting.remove(&queue);
        if self.round.len() > STALE_MIN && self.round.len() > 2 * self.waiting.len() {
            let waiting = &self.waiting;
            self.round.retain(|(queue, serial)| waiting.get(queue).is_some_and(|waiting| waiting.serial == *serial));
        }
    }

    pub fn contains(&self, queue: QueueId, consumer: ConsumerId) -> bool {
        self.waiting.get(&queue).is_some_and(|waiting| waiting.line.contains(consumer))
    }
}

impl<S: Store> Broker<S> {
    /// Puts a channel in the list of those whose consumers have turns to come, if it has credit for them.
    #[inline]
    pub(super) fn await_turns(&mut self, id: ChannelId) {
        let channel = &mut self.channels[id.0 as usize];
        if !channel.turns.is_empty() && channel.free_credit() > 0 && !channel.awaits_turns {
            channel.awaits_turns = true;
            self.touched_channels.push_back(channel.key(id));
        }
    }

    /// Gives the next queue that waits for a channel its share of the credit that there is.
    pub(super) fn serve_turn(&mut self, key: ChannelKey, effects: &mut impl Effects) {
        let id = key.id;
        let channel = self.channels.get_mut(id.0 as usize).filter(|channel| channel.serial == key.serial);
        let Some(channel) = channel else { return };
        let connection =
            self.connections[channel.connection.0 as usize].as_mut().expect("a channel's connection is open");
        if connection.outbox_full {
            connection.stalled_channels.push(key);
            return;
        }
        channel.awaits_turns = false;
        let credit = channel.free_credit();
        if credit == 0 {
            return;
        }
        let Some((queue, share)) = channel.turns.next_turn(credit) else { return };
        self.rejoin_waiting(id, queue, share);
        self.channel_mut(id).allow_share(share);
        if self.deliver_from(queue, DELIVERIES_PER_GO, effects) {
            self.touch(queue);
        }
        self.channel_mut(id).allow_by_turns();
        self.await_turns(id);
    }

    /// Puts at most `most` of the consumers that wait for a channel back into a queue's line.
    fn rejoin_waiting(&mut self, id: ChannelId, queue: QueueId, most: usize) {
        let mut rejoined = 0;
        while rejoined < most && self.moves_left > 0 {
            let Some(consumer) = self.channel_mut(id).turns.leave(queue) else { return };
            self.moves_left -= 1;
            if self.consumers[consumer.0 as usize].state == ConsumerState::Cancelled {
                self.channel_mut(id).turns.cancelled_left(queue);
                self.unlist_cancelled(consumer);
            } else {
                self.rejoin(consumer);
                rejoined += 1;
            }
        }
    }

    /// A consumer that waited for its channel was cancelled: it is dropped with others like it, or when its turn comes.
    pub(super) fn cancel_waiting(&mut self, id: ChannelId, queue: QueueId) {
        if self.channel_mut(id).turns.note_cancelled(queue) {
            self.sweep_waiting(id, queue);
        }
    }

    /// Takes cancelled consumers out of those that wait for a channel.
    fn sweep_waiting(&mut self, id: ChannelId, queue: QueueId) {
        let Self { channels, consumers, .. } = self;
        let channel = &mut channels[id.0 as usize];
        let mut freed = Vec::new();
        let is_cancelled = |id: ConsumerId| consumers[id.0 as usize].state == ConsumerState::Cancelled;
        channel.turns.sweep(queue, is_cancelled, |id| freed.push(id));
        channel.allow_by_turns();
        freed.into_iter().for_each(|id| self.unlist_cancelled(id));
    }

    /// A queue is deleted: none of its consumers waits for the channel any more.
    pub(super) fn forget_waiting_queue(&mut self, id: ChannelId, queue: QueueId) {
        self.sweep_waiting(id, queue);
        let channel = self.channel_mut(id);
        channel.turns.forget(queue);
        channel.allow_by_turns();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::dispatch::MOVES_PER_PUMP;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::Takers;
    use crate::broker::{ConnectionId, ConsumeRequest, DeclareRequest, Publication, Settlement, testing};
    use crate::protocol::FieldTable;
    use std::collections::BTreeMap;

    const CLIENT: ConnectionId = ConnectionId(0);

    /// A broker with one channel that has a prefetch count.
    struct Bench {
        broker: Broker<MemoryStore>,
        channel: ChannelId,
        takers: Takers,
        settled: u64,
    }

    impl Bench {
        fn new(prefetch_count: u16) -> Self {
            let mut broker = testing::broker();
            let channel = testing::connect(&mut broker, CLIENT);
            broker.set_channel_prefetch(channel, prefetch_count);
            Self { broker, channel, takers: Takers::default(), settled: 0 }
        }

        fn declare(&mut self, name: &str) {
            let (name, arguments) = (name.as_bytes(), FieldTable::default());
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            self.broker.declare_queue(testing::caller(&self.broker, CLIENT), request, &mut self.takers).unwrap();
        }

        fn consume(&mut self, queue: &str, tag: &str, no_ack: bool) {
            let (queue, consumer_tag, arguments) = (queue.as_bytes(), tag.as_bytes(), FieldTable::default());
            let request = ConsumeRequest { queue, consumer_tag, no_ack, exclusive: false, arguments };
            self.broker.consume(self.broker.caller(self.channel), request).unwrap();
        }

        fn publish(&mut self, queue: &str, count: usize) {
            let id = self.broker.existing_queue(testing::VHOST, queue.as_bytes()).unwrap();
            let content = testing::CONTENT;
            let publication = Publication { content, attributes: Default::default(), mandatory: false };
            for _ in 0..count {
                self.broker.publish(self.channel, &publication, &[id], &mut self.takers);
            }
        }

        /// Pumps until nothing is left to do, and says who got deliveries.
        fn pump(&mut self) -> Vec<String> {
            while self.broker.has_touched() {
                self.broker.pump(&mut self.takers);
            }
            self.broker.census();
            std::mem::take(&mut self.takers.tags)
        }

        fn acknowledge(&mut self) {
            self.settled += 1;
            self.broker.settle(self.channel, self.settled, false, Settlement::Acknowledged).unwrap();
        }
    }

    #[test]
    fn full_queues_take_turns_at_one_credit() {
        let mut bench = Bench::new(1);
        for name in ["p", "q", "r"] {
            bench.declare(name);
            bench.publish(name, 10);
            bench.consume(name, name, false);
        }
        assert_eq!(bench.pump(), ["p"]);
        let mut turns = Vec::new();
        for _ in 0..6 {
            bench.acknowledge();
            turns.extend(bench.pump());
        }
        assert_eq!(turns, ["p", "q", "r", "p", "q", "r"]);
    }

    #[test]
    fn a_larger_limit_is_shared() {
        let mut bench = Bench::new(30);
        for name in ["p", "q", "r"] {
            bench.declare(name);
            bench.publish(name, 100);
            bench.consume(name, name, false);
        }
        bench.pump();
        bench.broker.settle(bench.channel, 0, true, Settlement::Acknowledged).unwrap();
        let turns = bench.pump();
        assert_eq!(turns.len(), 30);
        for name in ["p", "q", "r"] {
            assert_eq!(turns.iter().filter(|tag| *tag == name).count(), 10, "{name}");
        }
    }

    #[test]
    fn a_message_that_comes_with_the_credit_does_not_pass_those_who_wait() {
        let mut bench = Bench::new(1);
        for name in ["idle", "full"] {
            bench.declare(name);
            bench.consume(name, name, false);
        }
        bench.publish("full", 3);
        assert_eq!(bench.pump(), ["full"]);
        bench.acknowledge();
        bench.publish("idle", 1);
        assert_eq!(bench.pump(), ["full"]);
        bench.acknowledge();
        assert_eq!(bench.pump(), ["idle"]);
    }

    #[test]
    fn consumers_without_acknowledgements_wait_for_credit_and_use_none() {
        let mut bench = Bench::new(1);
        bench.declare("p");
        bench.declare("q");
        bench.consume("p", "p", false);
        bench.consume("q", "q", true);
        bench.publish("p", 1);
        bench.publish("q", 2);
        assert_eq!(bench.pump(), ["p"]);
        bench.acknowledge();
        assert_eq!(bench.pump(), ["q", "q"]);
        bench.publish("q", 1);
        bench.publish("p", 1);
        assert_eq!(bench.pump(), ["q", "p"]);
    }

    #[test]
    fn no_pump_moves_more_consumers_than_its_share_however_many_wait() {
        const CONSUMERS: usize = 20_000;
        let mut bench = Bench::new(1);
        bench.declare("q");
        for tag in 0..CONSUMERS {
            bench.consume("q", &tag.to_string(), false);
        }
        bench.publish("q", 5);
        let pumps = std::iter::from_fn(|| bench.broker.has_touched().then(|| bench.broker.pump(&mut bench.takers)));
        assert!(pumps.count() >= CONSUMERS / MOVES_PER_PUMP, "those without credit leave the line in several pumps");
        assert_eq!(std::mem::take(&mut bench.takers.tags), ["0"]);
        for tag in ["1", "2", "3", "4"] {
            bench.acknowledge();
            assert_eq!(bench.pump(), [tag]);
            assert!(bench.broker.moves_left > MOVES_PER_PUMP - 8, "an acknowledgement moves only who is served");
        }
    }

    #[test]
    fn nothing_stays_of_those_who_were_cancelled_while_they_waited() {
        let mut bench = Bench::new(1);
        for name in ["p", "q"] {
            bench.declare(name);
            bench.publish(name, 2);
            for tag in 0..40 {
                bench.consume(name, &format!("{name}{tag}"), false);
            }
        }
        bench.pump();
        for tag in 0..30 {
            bench.broker.cancel(bench.broker.caller(bench.channel), format!("q{tag}").as_bytes());
            bench.broker.census();
        }
        bench
            .broker
            .delete_queue(testing::caller(&bench.broker, CLIENT), b"p", false, false, &mut bench.takers)
            .unwrap();
        bench.acknowledge();
        assert_eq!(bench.pump(), ["q30"]);
        bench.broker.close_channel(bench.channel);
        assert_eq!(bench.broker.consumers.len(), 0);
        bench.broker.census();
    }

    /// Whatever comes and goes, nobody with messages waits for more turns than there are others.
    #[test]
    fn no_consumer_with_messages_waits_more_than_one_round() {
        const QUEUES: usize = 5;
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = move |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % below as u64) as usize
            };
            let prefetch_count = 1 + random(3) as u16;
            let mut bench = Bench::new(prefetch_count);
            let name = |queue: usize| format!("q{queue}");
            (0..QUEUES).for_each(|queue| bench.declare(&name(queue)));
            (0..QUEUES).for_each(|queue| bench.consume(&name(queue), &name(queue), false));
            let mut waits = BTreeMap::<String, usize>::new();
            let mut ready = BTreeMap::<String, usize>::new();
            let mut delivered = 0;
            for _ in 0..300 {
                if random(3) > 0 {
                    let (queue, count) = (name(random(QUEUES)), random(4));
                    *ready.entry(queue.clone()).or_default() += count;
                    bench.publish(&queue, count);
                }
                if bench.settled < delivered && random(2) > 0 {
                    bench.acknowledge();
                }
                if random(2) > 0 {
                    continue;
                }
                for served in bench.pump() {
                    delivered += 1;
                    waits.remove(&served);
                    *ready.get_mut(&served).unwrap() -= 1;
                    for (queue, _) in ready.iter().filter(|(queue, ready)| **queue != served && **ready > 0) {
                        let turns = waits.entry(queue.clone()).or_default();
                        *turns += 1;
                        // A turn is one delivery each, or a share of the credit that is no more than it all.
                        let most = QUEUES * usize::from(prefetch_count);
                        assert!(*turns <= most, "seed {seed}: {queue} waits while others were served {turns} times");
                    }
                }
                let unsettled = delivered - bench.settled;
                let waiting: usize = ready.values().sum();
                assert!(
                    waiting == 0 || unsettled == u64::from(prefetch_count),
                    "seed {seed}: credit is left while {waiting} wait"
                );
            }
        }
    }
}
