//! What the broker's own tests share.

use super::effects::{Effects, Recipient, Room};
use super::message::Content;
use super::{ConnectionId, MessageMemory, Settings};

/// Nobody listens.
pub(super) struct Nobody;

impl Effects for Nobody {
    fn deliver(&mut self, _: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        Room::Left
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
    fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

/// The vhost `/` without limits.
pub(super) fn settings() -> Settings {
    Settings {
        vhost: "/".into(),
        seed: [0; 32],
        unix_start_ms: 0,
        queues_max: 0,
        exchanges_max: 0,
        bindings_max: 0,
        consumers_max: 0,
        transaction_max_bytes: usize::MAX,
        message_memory: MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX },
    }
}
