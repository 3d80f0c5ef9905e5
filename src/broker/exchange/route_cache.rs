//! Remembered results of topic routes: a table of fixed size where a newer key takes an older one's slot.
//!
//! A key is remembered when it comes a second time, so a publisher that never repeats a key pays for one small array
//! only, and cannot push out the keys of others that do.

use super::{ExchangeId, QueueId};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Slots of the table, shared by all topic exchanges of all vhosts. A power of two.
const CACHE_SLOTS: usize = 4096;
/// Longest result that is remembered, in queues; with it the table stays below 5 MiB, keys included. A longer result
/// costs more to copy than to find.
const CACHED_QUEUES_MAX: usize = 64;

/// How far one router's keys are shifted from the next one's: odd, and far from a power of two.
const ROUTER_SHIFT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Results by exchange and routing key. A slot's buffers stay when its key changes, so that refilling does not allocate.
#[derive(Default)]
pub(super) struct RouteCache {
    /// Empty until the first result is remembered.
    slots: Vec<Slot>,
    /// Part of the hash of the key that missed last in each slot, or that lives there.
    tags: Vec<u32>,
    hasher: DefaultHashBuilder,
}

/// The exchanges of one of the routers that share the table.
pub(super) struct Sources {
    first: u64,
    shift: u64,
}

impl Sources {
    pub fn of_router(number: u32) -> Self {
        Self { first: u64::from(number) << 32, shift: u64::from(number).wrapping_mul(ROUTER_SHIFT) }
    }

    #[inline]
    pub fn of(&self, exchange: ExchangeId) -> Source {
        let exchange = u64::from(exchange.0);
        Source { number: self.first | exchange, shift: self.shift.wrapping_add(exchange) }
    }
}

/// An exchange of one of the routers that share the table.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// No other has it.
    number: u64,
    /// Shifts its keys: the same keys in two exchanges must not fight for the same slots.
    shift: u64,
}

#[derive(Default)]
struct Slot {
    /// 0 in an empty slot; a router's generations start at 1.
    generation: u64,
    /// Of a [`Source`].
    number: u64,
    routing_key: Vec<u8>,
    queues: Vec<QueueId>,
}

/// Where a result would be remembered, and under which tag.
#[derive(Clone, Copy)]
pub(super) struct Place {
    index: usize,
    tag: u32,
}

impl RouteCache {
    /// The remembered result, or where to [`put`](Self::put) it.
    #[inline]
    pub(super) fn get(&self, generation: u64, source: Source, routing_key: &[u8]) -> Result<&[QueueId], Place> {
        let hash = self.hasher.hash_one(routing_key).wrapping_add(source.shift);
        let place = Place { index: hash as usize % CACHE_SLOTS, tag: (hash >> 32) as u32 };
        if self.tags.get(place.index) != Some(&place.tag) {
            return Err(place);
        }
        let slot = &self.slots[place.index];
        let fits = slot.generation == generation && slot.number == source.number && *slot.routing_key == *routing_key;
        if fits { Ok(&slot.queues) } else { Err(place) }
    }

    /// Remembers a result that holds as long as the generation does, if this key missed here before.
    pub(super) fn put(
        &mut self,
        place: Place,
        generation: u64,
        source: Source,
        routing_key: &[u8],
        queues: &[QueueId],
    ) {
        if queues.len() > CACHED_QUEUES_MAX {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(CACHE_SLOTS, Slot::default);
            self.tags.resize(CACHE_SLOTS, 0);
        }
        if std::mem::replace(&mut self.tags[place.index], place.tag) != place.tag {
            return;
        }
        let slot = &mut self.slots[place.index];
        slot.generation = generation;
        slot.number = source.number;
        slot.routing_key.clear();
        slot.routing_key.extend_from_slice(routing_key);
        slot.queues.clear();
        slot.queues.extend_from_slice(queues);
    }
}
