//! A message that waits in a queue, and how many of them belong together.

use crate::broker::message::MessageRef;

/// Messages to a chunk.
pub(super) const CHUNK_LENGTH: usize = 1024;

/// What the messages of a chunk take, in bytes, before the next one begins. A larger message has one to itself.
pub const CHUNK_BYTES: usize = 128 << 10;

/// A message in its place.
#[derive(Debug)]
pub struct Waiting {
    pub message: MessageRef,
    /// Given by the backlog.
    pub(super) sequence: u64,
    /// On the caller's clock; [`NEVER`](crate::broker::message::NEVER) without a time to live.
    pub expires_at_ms: u64,
}
