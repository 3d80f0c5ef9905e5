//! What came into queues, what is in them, and how it went out. Written by `enter` and `leave` alone.

use super::dead_letter_counters::DeadLetterCounters;
use crate::broker::exchange::QueueId;
use crate::broker::keys::ChannelKey;
use crate::broker::queue::QueueKind;
use crate::broker::{ConsumerId, Totals};

/// What happened to a queue's messages since it was declared.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages that were routed here, straight to a consumer or not.
    pub published: u64,
    /// Deliveries to consumers without acknowledgements; redeliveries count again.
    pub delivered_auto_ack: u64,
    /// Deliveries to consumers with acknowledgements; redeliveries count again.
    pub delivered_manual_ack: u64,
    /// Messages that `basic.get` took without acknowledgement.
    pub got_auto_ack: u64,
    /// Messages that `basic.get` took with acknowledgement.
    pub got_manual_ack: u64,
    /// Deliveries and gets, counted above, of messages that were given to somebody before.
    pub redelivered: u64,
    /// Messages that `basic.ack` settled. What is rejected is counted nowhere, as in RabbitMQ.
    pub acknowledged: u64,
    /// `basic.get` that found nothing to give.
    pub get_empty: u64,
    /// Messages that were dropped because their time to live was over.
    pub expired: u64,
}

/// One queue's account: all that came in is ready, unacknowledged or gone.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ledger {
    pub(super) counters: QueueCounters,
    /// Given to clients and not settled.
    pub(super) unacknowledged: usize,
    /// Came back with a restart.
    pub(super) restored: u64,
    /// Went without being counted above: refused, rejected, purged, gone with their queue, or lost by the disk.
    pub(super) dropped: u64,
}

impl Ledger {
    #[inline]
    pub fn counters(&self) -> &QueueCounters {
        &self.counters
    }

    /// Messages given to clients and not settled.
    #[inline]
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// A message was routed here that the queue did not take. It counts as published, as in RabbitMQ.
    pub(super) fn refused(&mut self) {
        self.counters.published += 1;
        self.dropped += 1;
    }

    /// # Panics
    /// When what came in is not what went out and what is there: of this, `ready` waits.
    pub fn check(&self, ready: usize, whose: &str) {
        let QueueCounters { published, delivered_auto_ack, got_auto_ack, acknowledged, expired, .. } = self.counters;
        let entered = published + self.restored;
        let left = delivered_auto_ack + got_auto_ack + acknowledged + expired + self.dropped;
        let there = (ready + self.unacknowledged) as u64;
        assert_eq!(entered, left + there, "the ledger of {whose}: {ready} ready, {self:?}");
    }
}

/// The account of all queues, those that are gone as well.
#[derive(Default)]
pub(in crate::broker) struct Books {
    /// What of it clients and management are told. What concerns no message in a queue is counted where it happens.
    pub totals: Totals,
    /// Queues that publishes went to which are counted as received, beyond one each: below 0 where many reached none.
    pub copies: i64,
    /// Messages in all backlogs.
    pub(super) ready: usize,
    /// Messages given to clients and not settled.
    pub(super) unacknowledged: usize,
    /// What was counted of queues that are gone, by their kind.
    pub(super) gone: [QueueCounters; QueueKind::ALL.len()],
    /// Direct replies, which pass through no queue.
    pub(super) replies: u64,
    pub(super) dead_letters: DeadLetterCounters,
    pub lately: Lately,
}

/// Who was last concerned: of these, samples are taken at the end of a turn.
#[derive(Default)]
pub(in crate::broker) struct Lately {
    /// The queue, and its level, that a message began to wait in.
    pub entered: Option<(QueueId, u8)>,
    /// The consumer that was given messages that it is to acknowledge.
    pub consumer: Option<ConsumerId>,
    /// The channel whose publishes were confirmed, or wait for that.
    pub publisher: Option<ChannelKey>,
}

impl QueueCounters {
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.figures().into_iter().zip(other.figures()).for_each(|(sum, one)| *sum += *one);
    }

    /// Each of them.
    pub fn figures(&mut self) -> [&mut u64; 9] {
        let Self {
            published,
            delivered_auto_ack,
            delivered_manual_ack,
            got_auto_ack,
            got_manual_ack,
            redelivered,
            acknowledged,
            get_empty,
            expired,
        } = self;
        [
            published,
            delivered_auto_ack,
            delivered_manual_ack,
            got_auto_ack,
            got_manual_ack,
            redelivered,
            acknowledged,
            get_empty,
            expired,
        ]
    }
}

impl Books {
    /// # Panics
    /// When the totals are not those of `queues` and of the queues that are gone.
    pub fn check<'a>(&self, queues: impl Iterator<Item = &'a Ledger>) {
        let mut all = QueueCounters::default();
        self.gone.iter().for_each(|gone| all.add(gone));
        queues.for_each(|ledger| all.add(&ledger.counters));
        let totals = &self.totals;
        let counted = QueueCounters {
            published: all.published,
            delivered_auto_ack: totals.delivered_auto_ack - self.replies,
            delivered_manual_ack: totals.delivered_manual_ack,
            got_auto_ack: totals.got_auto_ack,
            got_manual_ack: totals.got_manual_ack,
            redelivered: totals.redelivered,
            acknowledged: totals.acknowledged,
            get_empty: totals.get_empty,
            expired: all.expired,
        };
        assert_eq!(counted, all, "the totals are those of all queues");
    }

    pub fn ready(&self) -> usize {
        self.ready
    }

    /// What was counted of queues that are gone, by their kind.
    pub fn gone(&self) -> [QueueCounters; QueueKind::ALL.len()] {
        self.gone
    }

    pub fn replies(&self) -> u64 {
        self.replies
    }

    pub fn dead_letters(&self) -> &DeadLetterCounters {
        &self.dead_letters
    }

    pub fn dead_letters_mut(&mut self) -> &mut DeadLetterCounters {
        &mut self.dead_letters
    }

    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }
}
