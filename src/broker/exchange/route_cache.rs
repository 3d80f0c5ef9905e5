//! Remembered results of topic routes: a table of fixed size where a newer key takes an older one's slot.

use super::{ExchangeId, QueueId};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Slots of the table, shared by all topic exchanges of a vhost. A power of two.
const CACHE_SLOTS: usize = 4096;
/// Longest result that is remembered, in queues; with it the table stays below 5 MiB, keys included. A longer result
/// costs more to copy than to find.
const CACHED_QUEUES_MAX: usize = 64;

/// Results by exchange and routing key. A slot's buffers stay when its key changes, so that refilling does not allocate.
#[derive(Default)]
pub(super) struct RouteCache {
    /// Empty until the first result is remembered.
    slots: Vec<Slot>,
    hasher: DefaultHashBuilder,
}

#[derive(Default)]
struct Slot {
    /// 0 in an empty slot; the router's generations start at 1.
    generation: u64,
    exchange: u32,
    routing_key: Vec<u8>,
    queues: Vec<QueueId>,
}

/// Where a result would be remembered.
#[derive(Clone, Copy)]
pub(super) struct SlotIndex(usize);

impl RouteCache {
    /// The remembered result, or where to [`put`](Self::put) it.
    #[inline]
    pub(super) fn get(
        &self,
        generation: u64,
        exchange: ExchangeId,
        routing_key: &[u8],
    ) -> Result<&[QueueId], SlotIndex> {
        // Exchanges shift each other's keys: the same keys in two exchanges must not fight for the same slots.
        let hash = self.hasher.hash_one(routing_key) as usize;
        let index = hash.wrapping_add(exchange.0 as usize) % CACHE_SLOTS;
        match self.slots.get(index) {
            Some(slot)
                if slot.generation == generation
                    && slot.exchange == exchange.0
                    && *slot.routing_key == *routing_key =>
            {
                Ok(&slot.queues)
            }
            _ => Err(SlotIndex(index)),
        }
    }

    /// Remembers a result that holds as long as the generation does.
    pub(super) fn put(
        &mut self,
        SlotIndex(index): SlotIndex,
        generation: u64,
        exchange: ExchangeId,
        routing_key: &[u8],
        queues: &[QueueId],
    ) {
        if queues.len() > CACHED_QUEUES_MAX {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(CACHE_SLOTS, Slot::default);
        }
        let slot = &mut self.slots[index];
        slot.generation = generation;
        slot.exchange = exchange.0;
        slot.routing_key.clear();
        slot.routing_key.extend_from_slice(routing_key);
        slot.queues.clear();
        slot.queues.extend_from_slice(queues);
    }
}
