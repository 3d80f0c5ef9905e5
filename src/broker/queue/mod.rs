//! One queue: its waiting messages, its consumers, its counts, and what was said when it was declared.
//!
//! It owns its state and small transitions. Choosing a consumer, delivering and settling run over several of the
//! broker's tables and are in `dispatch` and `settle`.

pub mod arguments;
mod backlog;
mod chunks;
mod drain;
mod packed;
mod paged;
mod waiting;

pub use arguments::{COMPARED, QueueArguments};
pub use backlog::{Backlog, PageOut, Taken};
pub use drain::Drain;
pub use paged::AskedFor;
pub use waiting::{CHUNK_BYTES, Waiting};

use super::consumer::Line;
use super::flow::Ledger;
use super::message::NEVER;
use super::store::DurableQueueId;
use super::{ConnectionId, ConsumerId, VhostId};
use crate::protocol::{FieldTable, ShortString};

/// What a queue is, as declared.
pub struct QueueProperties {
    pub vhost: VhostId,
    pub name: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that it belongs to and dies with.
    pub exclusive_owner: Option<ConnectionId>,
    pub arguments: FieldTable,
}

pub struct Queue {
    /// Tells it from an earlier queue of the same name or slot.
    pub serial: u64,
    pub properties: QueueProperties,
    pub settings: QueueArguments,
    /// What the log calls it; `None` for a queue that doesn't survive a restart.
    pub durable_id: Option<DurableQueueId>,
    pub backlog: Backlog,
    /// What came in and how it went out.
    pub ledger: Ledger,
    pub line: Line,
    /// Everyone who consumes, in line or not.
    pub consumers: Vec<ConsumerId>,
    /// How many of them have a priority.
    pub prioritised: usize,
    /// Its only consumer asked to be the only one.
    pub has_exclusive_consumer: bool,
    /// Someone consumed from it once: from then on auto-delete means it.
    pub had_consumer: bool,
    /// In the broker's list of queues that may be able to deliver.
    pub touched: bool,
    /// In the broker's list of queues that may have messages to move out of memory.
    pub grown: bool,
    /// It is in the list of those that want pages for which there is no memory.
    pub starved: bool,
    /// Deleted, and kept only for what is still unacknowledged.
    pub deleted: bool,
    /// When it was last declared, got from or consumed from, for `x-expires`.
    pub last_used_ms: u64,
    /// When the broker looks at it for expiry next; [`NEVER`] when nothing is scheduled.
    pub scheduled_ms: u64,
    pub drain: Drain,
}

impl Queue {
    pub fn new(
        serial: u64,
        properties: QueueProperties,
        settings: QueueArguments,
        durable_id: Option<DurableQueueId>,
        now_ms: u64,
    ) -> Self {
        Self {
            serial,
            properties,
            settings,
            durable_id,
            backlog: Backlog::default(),
            ledger: Ledger::default(),
            line: Line::default(),
            consumers: Vec::new(),
            prioritised: 0,
            has_exclusive_consumer: false,
            had_consumer: false,
            touched: false,
            grown: false,
            starved: false,
            deleted: false,
            last_used_ms: now_ms,
            scheduled_ms: NEVER,
            drain: Drain::new(now_ms),
        }
    }

    /// When a message that is published now expires: the lower of the queue's and its own time to live.
    #[inline]
    pub fn expires_at_ms(&self, expiration_ms: Option<u64>, now_ms: u64) -> u64 {
        match (self.settings.message_ttl_ms, expiration_ms) {
            (None, None) => NEVER,
            (Some(ttl), None) | (None, Some(ttl)) => now_ms.saturating_add(ttl),
            (Some(queue), Some(message)) => now_ms.saturating_add(queue.min(message)),
        }
    }

    /// Nobody consumes and nobody may start to without declaring it anew: what `if_unused` asks.
    pub fn is_unused(&self) -> bool {
        self.consumers.is_empty()
    }
}
