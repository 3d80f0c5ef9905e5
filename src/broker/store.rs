//! The seam to storage: what the broker tells a log, and what it asks of it.
//!
//! Records are effects, not commands: replaying them needs neither routing nor a clock. The broker numbers durable
//! queues ([`DurableQueueId`]) and the messages in them (their sequence) itself, so that a log can name both for ever.

use super::exchange::ExchangeKind;
use super::message::MessageRef;
use crate::protocol::{FieldTable, ShortString};

/// A durable queue's number, never used again for another queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DurableQueueId(pub u64);

/// A position in the log. What was appended at or below [`Store::durable`] survives a power cut. Zero is before
/// everything: nobody has to wait for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition(pub u64);

/// A change of what exists, apart from messages.
#[derive(Clone, PartialEq, Debug)]
pub enum Definition {
    QueueDeclared {
        id: DurableQueueId,
        name: ShortString,
        auto_delete: bool,
        arguments: FieldTable,
    },
    /// The queue is gone with its messages and bindings.
    QueueDeleted {
        id: DurableQueueId,
    },
    ExchangeDeclared {
        name: ShortString,
        kind: ExchangeKind,
        auto_delete: bool,
        internal: bool,
        arguments: FieldTable,
    },
    /// The exchange is gone with the bindings that start or end at it.
    ExchangeDeleted {
        name: ShortString,
    },
    Bound(DurableBinding),
    Unbound(DurableBinding),
}

/// A binding between durable ends.
#[derive(Clone, PartialEq, Debug)]
pub struct DurableBinding {
    pub source: ShortString,
    pub destination: DurableDestination,
    pub routing_key: ShortString,
    pub arguments: FieldTable,
}

/// Where a [`DurableBinding`] ends.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DurableDestination {
    Queue(ShortString),
    Exchange(ShortString),
}

/// Where durable effects go.
pub trait Store {
    /// A persistent message entered one durable queue at `sequence`. A message that is routed to several queues is
    /// named once for each of them, with the same [`MessageRef`] in direct succession. `expires_at_ms` counts from
    /// 1970.
    fn enqueued(
        &mut self,
        queue: DurableQueueId,
        sequence: u64,
        message: &MessageRef,
        expires_at_ms: Option<u64>,
    ) -> LogPosition;

    /// A persistent message left its durable queue for good: acknowledged, rejected, purged or expired. Whoever
    /// waits for it to be durable asks for [`everything`](Self::everything).
    fn removed(&mut self, queue: DurableQueueId, sequence: u64);

    /// All messages of a durable queue at or below `up_to` left it for good.
    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition;

    /// The position at which all that was told so far is durable, removals among it.
    fn everything(&mut self) -> LogPosition;

    /// What exists changed.
    fn define(&mut self, definition: &Definition) -> LogPosition;

    /// Somebody waits for everything up to `position` to be durable.
    fn awaited(&mut self, position: LogPosition);

    /// Everything appended up to here survives a crash.
    fn durable(&self) -> LogPosition;

    /// Bytes appended that nobody has begun to write: the figure for back-pressure.
    fn pending_bytes(&self) -> usize;
}

/// Keeps nothing: every position counts as durable at once, and a restart starts empty.
#[derive(Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    #[inline]
    fn enqueued(&mut self, _: DurableQueueId, _: u64, _: &MessageRef, _: Option<u64>) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn removed(&mut self, _queue: DurableQueueId, _sequence: u64) {}

    #[inline]
    fn purged(&mut self, _queue: DurableQueueId, _up_to: u64) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn everything(&mut self) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn define(&mut self, _definition: &Definition) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn awaited(&mut self, _position: LogPosition) {}

    #[inline]
    fn durable(&self) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn pending_bytes(&self) -> usize {
        0
    }
}
