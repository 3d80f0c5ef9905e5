//! What many queues and channels come to together, for who has no use for each of them: metrics.
//!
//! As in [listings](super::snapshot), a page is about a bounded number of slots, and holds their sum. What was counted of
//! queues that are gone is in the [totals](super::snapshot::TotalsSnapshot): whoever asks for those first, and then for all
//! pages, counts nothing twice, and misses what went in between.

use super::channel::ChannelMode;
use super::flow::QueueCounters;
use super::queue::{Queue, QueueKind, Waiting};
use super::snapshot::{Page, PageStart};
use super::store::Store;
use super::{Broker, Channel};

/// Of queues. Deleted ones of which somebody still holds messages are among them.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct QueueSums {
    /// By kind of queue.
    pub counters: [QueueCounters; QueueKind::ALL.len()],
    /// Messages that wait, and wait in memory.
    pub ready_in_memory: usize,
    /// What the queues themselves hold, in bytes, without the messages: those may be shared.
    pub memory_bytes: usize,
}

impl QueueSums {
    pub fn add(&mut self, other: &Self) {
        let Self { counters, ready_in_memory, memory_bytes } = self;
        counters.iter_mut().zip(&other.counters).for_each(|(sum, counters)| sum.add(counters));
        *ready_in_memory += other.ready_in_memory;
        *memory_bytes += other.memory_bytes;
    }

    fn add_queue(&mut self, queue: &Queue) {
        let in_memory = queue.backlog.messages_in_memory();
        self.counters[queue.behaviour.kind as usize].add(queue.ledger.counters());
        self.ready_in_memory += in_memory;
        self.memory_bytes += memory_bytes_of(queue, in_memory);
    }
}

/// What a queue itself holds, in bytes, with so many messages in memory and without what those hold.
pub(super) fn memory_bytes_of(queue: &Queue, in_memory: usize) -> usize {
    size_of_val(queue) + in_memory * size_of::<Waiting>()
}

/// Of channels.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct ChannelSums {
    /// Running consumers, those of direct reply-to included.
    pub consumers: usize,
    pub unacknowledged: usize,
    pub unconfirmed: u64,
    pub messages_uncommitted: usize,
    pub acks_uncommitted: usize,
    /// Prefetch counts, of each consumer that starts now and of all of a channel's together.
    pub consumer_prefetch: u64,
    pub channel_prefetch: u64,
}

impl ChannelSums {
    pub fn add(&mut self, other: &Self) {
        let Self {
            consumers,
            unacknowledged,
            unconfirmed,
            messages_uncommitted,
            acks_uncommitted,
            consumer_prefetch,
            channel_prefetch,
        } = self;
        *consumers += other.consumers;
        *unacknowledged += other.unacknowledged;
        *unconfirmed += other.unconfirmed;
        *messages_uncommitted += other.messages_uncommitted;
        *acks_uncommitted += other.acks_uncommitted;
        *consumer_prefetch += other.consumer_prefetch;
        *channel_prefetch += other.channel_prefetch;
    }

    pub(super) fn of(channel: &Channel) -> Self {
        let mut sums = Self {
            consumers: channel.consumers.len() + usize::from(channel.reply_consumer.is_some()),
            unacknowledged: channel.unacknowledged.len(),
            consumer_prefetch: channel.consumer_prefetch_count.into(),
            channel_prefetch: channel.channel_prefetch_count.into(),
            ..Self::default()
        };
        match &channel.mode {
            ChannelMode::Plain => {}
            ChannelMode::Confirm(confirms) => sums.unconfirmed = confirms.unconfirmed(),
            ChannelMode::Transaction(transaction) => {
                sums.messages_uncommitted = transaction.publishes.len();
                sums.acks_uncommitted = transaction.settlements.len();
            }
        }
        sums
    }
}

impl<S: Store> Broker<S> {
    /// The sum of a page of queues: one item.
    pub fn sum_queues(&self, from: PageStart) -> Page<QueueSums> {
        Page::of_slots(from, self.queues.capacity(), |slots| {
            let mut sums = QueueSums::default();
            slots.filter_map(|slot| self.queues.get(slot)).for_each(|queue| sums.add_queue(queue));
            vec![sums]
        })
    }

    /// The sum of a page of channels: one item.
    pub fn sum_channels(&self, from: PageStart) -> Page<ChannelSums> {
        Page::of_slots(from, self.channels.capacity(), |slots| {
            let mut sums = ChannelSums::default();
            slots.filter_map(|slot| self.channels.get(slot)).for_each(|channel| sums.add(&ChannelSums::of(channel)));
            vec![sums]
        })
    }
}
