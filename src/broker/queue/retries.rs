//! Messages that came back to a queue of type quorum and wait for a while before they are ready again.

use super::backlog::Taken;
use crate::broker::message::NEVER;
use std::collections::BTreeMap;

/// By when they are ready, and among those of one moment by when they came.
#[derive(Default)]
pub struct Retries {
    waiting: BTreeMap<(u64, u64), Taken>,
    came: u64,
}

impl Retries {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn insert(&mut self, ready_at_ms: u64, taken: Taken) {
        self.waiting.insert((ready_at_ms, self.came), taken);
        self.came += 1;
    }

    /// When the first one is ready; [`NEVER`] when there is none.
    pub fn first_ready_ms(&self) -> u64 {
        self.waiting.first_key_value().map_or(NEVER, |((ready_at_ms, _), _)| *ready_at_ms)
    }

    /// The next one that is ready by now.
    pub fn pop_ready(&mut self, now_ms: u64) -> Option<Taken> {
        if self.first_ready_ms() > now_ms { None } else { Some(self.waiting.pop_first()?.1) }
    }

    /// The first one, whenever it is ready.
    pub fn pop(&mut self) -> Option<Taken> {
        Some(self.waiting.pop_first()?.1)
    }
}
