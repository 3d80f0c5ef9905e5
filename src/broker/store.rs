//! The seam to storage: what the broker tells a log, and what it asks of it.
//!
//! Records are effects, not commands: replaying them needs neither routing nor a clock. The broker numbers durable
//! queues ([`DurableQueueId`]) and the messages in them (their sequence) itself, so that a log can name both for ever.

use super::message::MessageRef;

/// A durable queue's number, never used again for another queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DurableQueueId(pub u64);

/// A position in the log. What was appended at or below [`Store::durable`] survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition(pub u64);

/// Where durable effects go.
pub trait Store {
    /// A persistent message entered one durable queue at `sequence`. A message that is routed to several queues is
    /// named once for each of them, with the same [`MessageRef`] in direct succession.
    fn enqueued(&mut self, queue: DurableQueueId, sequence: u64, message: &MessageRef) -> LogPosition;

    /// A persistent message left its durable queue for good: acknowledged, rejected, purged or expired.
    fn removed(&mut self, queue: DurableQueueId, sequence: u64);

    /// Everything appended up to here survives a crash.
    fn durable(&self) -> LogPosition;
}

/// Keeps nothing: every position counts as durable at once, and a restart starts empty.
#[derive(Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    #[inline]
    fn enqueued(&mut self, _queue: DurableQueueId, _sequence: u64, _message: &MessageRef) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn removed(&mut self, _queue: DurableQueueId, _sequence: u64) {}

    #[inline]
    fn durable(&self) -> LogPosition {
        LogPosition(0)
    }
}
