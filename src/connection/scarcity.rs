//! When memory is scarce, and how much may wait for a client then.
//!
//! What clients don't read stays in their outboxes, whose buffers are in the memory account: by the room they have, when it
//! changes, so that a delivery that fits costs nothing. When all outboxes hold more than their share of the memory, or
//! everybody holds more than there is, an outbox takes deliveries only while next to nothing waits in it. Clients that
//! read are sent less at a time then; those that don't, however many, take no more than [`SCARCE_HIGH_WATER_BYTES`] and a
//! message each.

use crate::broker::memory::{ClientHolding, held_memory_bytes};

/// The part of the memory watermark that all outboxes together may hold: a crowd that reads nothing must not bring about the
/// alarm, which would stop those who publish.
const SHARE_OF_MEMORY: usize = 4;
/// What may wait for a client that gets deliveries while memory is scarce, in bytes.
pub const SCARCE_HIGH_WATER_BYTES: usize = 16 * 1024;
/// What may wait for a client that asks for messages with `basic.get` while memory is scarce, in bytes.
const SCARCE_ANSWERS_BYTES: usize = 64 * 1024;

pub(super) struct Scarcity {
    high_water_bytes: usize,
    usual_high_water_bytes: usize,
    /// The buffers of all outboxes, and those that wait for the next one.
    outboxes: ClientHolding,
    /// What everybody may hold.
    memory_max_bytes: usize,
}

impl Scarcity {
    pub fn new(high_water_bytes: usize, memory_max_bytes: usize) -> Self {
        Self {
            high_water_bytes,
            usual_high_water_bytes: high_water_bytes,
            outboxes: ClientHolding::default(),
            memory_max_bytes,
        }
    }

    /// What may wait in an outbox that takes deliveries, for now.
    #[inline]
    pub fn high_water_bytes(&self) -> usize {
        self.high_water_bytes
    }

    /// Whether buffers grow no further than they must.
    pub fn is_scarce(&self) -> bool {
        self.high_water_bytes <= SCARCE_HIGH_WATER_BYTES
    }

    /// Memory is scarce when there is no room for so much more in outboxes.
    pub fn look_for_room(&mut self, bytes: usize) {
        let has_room = self.outboxes.bytes() + bytes <= self.memory_max_bytes / SHARE_OF_MEMORY
            && held_memory_bytes() + bytes <= self.memory_max_bytes;
        if !has_room {
            self.begin();
        }
    }

    /// Whether a client for which so much waits must read it before it gets what it asks for.
    pub fn holds_answers_back(&self, waiting_bytes: usize) -> bool {
        waiting_bytes >= SCARCE_ANSWERS_BYTES && self.is_over(held_memory_bytes())
    }

    /// What all outboxes hold, and the pools of their buffers.
    #[cfg(test)]
    pub fn outboxes_bytes(&self) -> usize {
        self.outboxes.bytes()
    }

    /// The room of a buffer has changed. Within a turn memory only becomes scarce.
    pub fn count(&mut self, room_before: usize, room: usize) {
        self.outboxes.set(self.outboxes.bytes() - room_before + room);
        if room > room_before && self.is_over(held_memory_bytes()) {
            self.begin();
        }
    }

    /// Everybody holds `held_bytes`: whether memory is scarce. Called once a turn.
    #[inline]
    pub fn follow(&mut self, held_bytes: usize) -> bool {
        let is_over = self.is_over(held_bytes);
        self.high_water_bytes = match is_over {
            true => self.usual_high_water_bytes.min(SCARCE_HIGH_WATER_BYTES),
            false => self.usual_high_water_bytes,
        };
        is_over
    }

    pub fn set_memory_max(&mut self, bytes: usize) {
        self.memory_max_bytes = bytes;
    }

    fn begin(&mut self) {
        self.high_water_bytes = self.usual_high_water_bytes.min(SCARCE_HIGH_WATER_BYTES);
    }

    #[inline]
    fn is_over(&self, held_bytes: usize) -> bool {
        self.outboxes.bytes() > self.memory_max_bytes / SHARE_OF_MEMORY || held_bytes > self.memory_max_bytes
    }
}
