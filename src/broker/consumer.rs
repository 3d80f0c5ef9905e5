//! Consumers: what each was started with, how much it may have, and where it waits.
//!
//! Nobody looks for a consumer that can't be served. It leaves its queue's line when it is met at the front of it, goes
//! where what it lacks will come by, and from there back to the end of the line.

use super::effects::Recipient;
use super::exchange::QueueId;
use super::pace::Pace;
use super::{ChannelId, ConnectionId};
use crate::protocol::{FieldTable, ShortString};

/// Why a consumer is, or is not, in its queue's line.
///
/// ```text
///                                      ┌─ its prefetch count is used up ──► PrefetchReached ────────┐
/// consume ──► InLine ── at the front ──┼─ its channel's is ───────────────► ChannelPrefetchReached ─┤
///               ▲       and not ready  └─ its connection's outbox is full ► OutboxFull ─────────────┤
///               │                                                                                   │
///               └──── acknowledged, or waited for that; its channel's turn; room in the outbox ◄────┘
///
/// consume ──► Waiting ── the active one left ──► InLine      in a queue with a single active consumer
///
/// any of them ──► Cancelled, until nothing names it and nothing that it got is unacknowledged
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerState {
    /// In its queue's line.
    InLine,
    /// Its own prefetch count was used up; acknowledgements bring it back, see [`replenish`](super::replenish).
    PrefetchReached,
    /// Its channel's prefetch count is used up: it waits for its turn with others of the channel.
    ChannelPrefetchReached,
    /// Its connection's outbox is full: it waits in the connection's list.
    OutboxFull,
    /// Its queue has a single active consumer, which is another one.
    Waiting,
    /// Cancelled; its slot is freed when no line names it and nothing of it is unacknowledged.
    Cancelled,
}

/// `basic.consume`, running.
pub struct Consumer {
    pub connection: ConnectionId,
    pub channel: ChannelId,
    pub channel_number: u16,
    pub queue: QueueId,
    pub tag: ShortString,
    pub no_ack: bool,
    pub exclusive: bool,
    /// `x-priority`: higher ones are served first while they have credit.
    pub priority: i64,
    /// Most deliveries unacknowledged at once; 0 for no limit.
    pub prefetch_count: u16,
    pub unacknowledged: u32,
    pub state: ConsumerState,
    /// Named by a line or a waiting list, which must drop it before the slot is used again.
    pub listed: bool,
    /// Named by the list of those that wait for more credit, like `listed`.
    pub awaits_more: bool,
    pub pace: Pace,
    /// Its place at the queue's gate.
    pub place_in_queue: usize,
    pub arguments: FieldTable,
    /// `x-consumer-timeout`: how long its deliveries may be unacknowledged, instead of what its queue says.
    pub timeout_ms: Option<u64>,
}

impl Consumer {
    #[inline]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient { connection: self.connection, channel_number: self.channel_number, consumer_tag: &self.tag }
    }

    /// How many more deliveries its own prefetch count allows.
    #[inline]
    pub fn credit(&self) -> usize {
        match self.prefetch_count {
            0 => usize::MAX,
            _ if self.no_ack => usize::MAX,
            count => usize::from(count).saturating_sub(self.unacknowledged as usize),
        }
    }

    /// Cancelled, and nothing names it any more: its slot may be used again.
    pub fn is_forgotten(&self) -> bool {
        self.state == ConsumerState::Cancelled && !self.listed && !self.awaits_more && self.unacknowledged == 0
    }

    /// Its own prefetch count allows one more delivery.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.credit() > 0
    }
}
