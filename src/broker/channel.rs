//! A channel's state in the broker: delivery tags, prefetch, a transaction. Nothing of frames or assembly.

use super::confirms::Confirms;
use super::deduplication::Noted;
use super::delayed::Delays;
use super::exchange::QueueId;
use super::keys::{ChannelKey, QueueKey};
use super::message::{Attributes, MessageRef};
use super::overdue::Marks;
use super::publish::Committed;
use super::turns::Turns;
use super::unacknowledged::{Delivered, Unacknowledged};
use super::{ChannelId, ConnectionId, ConsumerId};
use crate::protocol::ShortString;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What became of publishes and acknowledgements on a channel.
#[derive(Default)]
pub enum ChannelMode {
    #[default]
    Plain,
    /// After `confirm.select`.
    Confirm(Confirms),
    /// After `tx.select`.
    Transaction(Transaction),
}

pub struct Channel {
    /// Tells it from others that have its slot before or after it.
    pub serial: u64,
    pub connection: ConnectionId,
    pub number: u16,
    /// The tag of the last delivery; tags start at 1.
    pub last_delivery_tag: u64,
    pub unacknowledged: Unacknowledged,
    /// `basic.qos(global = false)`: for consumers started after it. 0 for no limit.
    pub consumer_prefetch_count: u16,
    /// `basic.qos(global = true)`: for all consumers of the channel together. 0 for no limit.
    pub channel_prefetch_count: u16,
    /// Deliveries to consumers that wait for an acknowledgement; what the channel's prefetch count limits.
    pub consumer_deliveries: u32,
    /// What they may come to now: the channel's prefetch count, or less while consumers wait for their turns.
    deliveries_allowed: u32,
    /// Consumers that wait for the channel's prefetch count.
    pub turns: Turns,
    /// In the broker's list of channels with turns to give, or in its connection's.
    pub awaits_turns: bool,
    /// By their tags, in an order that is the same in every run: what is done to each of them shows outside.
    pub consumers: BTreeMap<ShortString, ConsumerId>,
    pub mode: ChannelMode,
    /// In the broker's list of channels with confirms to send.
    pub confirms_touched: bool,
    /// Consumer of `amq.rabbitmq.reply-to`.
    pub reply_consumer: Option<ReplyConsumer>,
    /// What an empty queue name in a method means.
    pub last_queue: Option<ShortString>,
    /// A name that was made up for a queue, while somebody [elsewhere](super::answers) is asked about it.
    pub made_up: Option<Box<ShortString>>,
    /// Deliveries that [somebody else](super::held) settled, of which it has said nothing.
    pub settled_for: Option<Box<BTreeSet<u64>>>,
    /// How old deliveries are.
    pub marks: Marks,
    /// The tag up to which a command settles deliveries that is [unfinished](super::settling).
    pub settles_up_to: Option<u64>,
    /// Queues that it holds while that command gives them messages back.
    pub holds: Vec<QueueKey>,
    /// Queues of deliveries that none of its consumers has: that were got, or whose consumer was cancelled.
    pub other_sources: BTreeSet<QueueKey>,
}

pub struct ReplyConsumer {
    pub tag: ShortString,
    /// What follows `amq.rabbitmq.reply-to.` in the address.
    pub token: Box<str>,
}

impl Channel {
    pub fn new(serial: u64, connection: ConnectionId, number: u16) -> Self {
        Self {
            serial,
            connection,
            number,
            last_delivery_tag: 0,
            unacknowledged: Unacknowledged::default(),
            consumer_prefetch_count: 0,
            channel_prefetch_count: 0,
            consumer_deliveries: 0,
            deliveries_allowed: u32::MAX,
            turns: Turns::default(),
            awaits_turns: false,
            consumers: BTreeMap::new(),
            mode: ChannelMode::Plain,
            confirms_touched: false,
            reply_consumer: None,
            last_queue: None,
            made_up: None,
            settled_for: None,
            marks: Marks::default(),
            settles_up_to: None,
            holds: Vec::new(),
            other_sources: BTreeSet::new(),
        }
    }

    #[inline]
    pub fn key(&self, id: ChannelId) -> ChannelKey {
        ChannelKey { id, serial: self.serial }
    }

    #[inline]
    pub fn next_delivery_tag(&mut self) -> u64 {
        self.last_delivery_tag += 1;
        self.last_delivery_tag
    }

    /// The tag up to which a command settles that means all there are: all there were when it was first given.
    pub fn all_tags(&self) -> u64 {
        self.settles_up_to.unwrap_or(self.last_delivery_tag)
    }

    /// How many more deliveries the channel allows its consumers that are in line.
    #[inline]
    pub fn credit(&self) -> usize {
        self.deliveries_allowed.saturating_sub(self.consumer_deliveries) as usize
    }

    /// The channel allows its consumers that are in line one more delivery, with or without acknowledgement.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.consumer_deliveries < self.deliveries_allowed
    }

    /// How many more deliveries the channel's own prefetch count allows, whoever's turn it is.
    pub fn free_credit(&self) -> usize {
        self.deliveries_max().saturating_sub(self.consumer_deliveries) as usize
    }

    fn deliveries_max(&self) -> u32 {
        match self.channel_prefetch_count {
            0 => u32::MAX,
            count => u32::from(count),
        }
    }

    /// Consumers in line may have what the prefetch count allows, unless others wait: then each has to wait for a turn.
    pub fn allow_by_turns(&mut self) {
        self.deliveries_allowed = if self.turns.is_empty() { self.deliveries_max() } else { 0 };
    }

    /// Those in line have a turn: this many deliveries, or all there are when nobody else waits.
    pub fn allow_share(&mut self, share: usize) {
        let most = self.deliveries_max();
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let with_share = self.consumer_deliveries.saturating_add(share).min(most);
        self.deliveries_allowed = if self.turns.is_empty() { most } else { with_share };
    }

    /// A consumer waits for its turn: there is no credit, or others wait already.
    pub fn wait_for_turn(&mut self, queue: QueueId, priority: i64, consumer: ConsumerId) {
        if self.turns.is_empty() {
            self.deliveries_allowed = 0;
        }
        self.turns.wait(queue, priority, consumer);
    }
}

/// What `tx.commit` will do.
#[derive(Default)]
pub struct Transaction {
    pub publishes: VecDeque<PendingPublish>,
    /// Taken out of the unacknowledged, in the order of the client's methods.
    pub settlements: VecDeque<PendingSettlement>,
    /// Memory that `publishes` holds, in bytes.
    pub bytes: usize,
    /// What became of those that an unfinished commit has published.
    pub committed: Committed,
}

pub struct PendingPublish {
    /// Exchanges that keep it for later.
    pub delays: Option<Box<Delays>>,
    /// What exchanges remember of it.
    pub noted: Box<[Noted]>,
    pub message: MessageRef,
    pub attributes: Attributes,
    /// Where it goes was settled when it was published. Names, because a queue may be deleted and declared again before
    /// the commit.
    pub queues: Box<[ShortString]>,
    pub mandatory: bool,
}

pub struct PendingSettlement {
    pub delivery_tag: u64,
    pub delivered: Delivered,
    pub outcome: Settlement,
}

/// What a client says of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    Acknowledged,
    /// Rejected for good.
    Discarded,
    /// Back to its place.
    Requeued,
    /// Back to its place, because it was refused or left behind. Only queues that count it tell the difference.
    Failed,
}
