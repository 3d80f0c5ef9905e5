//! Exchanges and bindings in pages, so that whoever lists a million of them never holds the loop for long.

use super::binding::BindingInfo;
use super::matcher::Matcher;
use super::router::{Exchange, Router};
use super::{DEFAULT_EXCHANGE, Destination, ExchangeId, QueueId};
use std::ops::Range;

impl Router {
    /// One past the last slot that may hold an exchange.
    pub fn exchange_slots(&self) -> usize {
        self.exchanges.capacity()
    }

    /// The exchanges in a range of slots.
    pub fn exchanges_in(&self, slots: Range<usize>) -> impl Iterator<Item = &Exchange> {
        slots.filter_map(|slot| self.exchanges.get(slot)).filter(|exchange| exchange.leaves_with.is_none())
    }

    /// Whether there is an exchange with this id.
    pub fn has_exchange(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id.0 as usize).is_some_and(|exchange| exchange.leaves_with.is_none())
    }

    /// One past the last slot that may hold a queue.
    pub fn queue_slots(&self) -> usize {
        self.queues.capacity()
    }

    /// The queue in a slot.
    pub fn queue_in_slot(&self, slot: usize) -> Option<QueueId> {
        self.queues.get(slot).filter(|queue| !queue.leaves).map(|queue| queue.id)
    }

    /// One past the last slot that may hold a binding: those of the default exchange come first, one for each queue.
    pub fn binding_slots(&self) -> usize {
        self.queue_slots() + self.own_binding_slots()
    }

    /// One past the last slot that may hold a binding that a client made.
    pub fn own_binding_slots(&self) -> usize {
        self.bindings.slots()
    }

    /// The bindings in a range of slots.
    pub fn bindings_in(&self, slots: Range<usize>) -> impl Iterator<Item = BindingInfo<'_>> {
        slots.filter_map(|slot| match slot.checked_sub(self.queue_slots()) {
            None => self.default_binding(slot),
            Some(slot) => self.bindings.get(slot).and_then(|binding| self.listed_binding(binding)),
        })
    }

    /// The binding that every queue has to the default exchange.
    fn default_binding(&self, slot: usize) -> Option<BindingInfo<'_>> {
        let queue = self.queues.get(slot).filter(|queue| !queue.leaves)?;
        Some(BindingInfo {
            source: b"",
            destination: Destination::Queue(queue.id),
            destination_name: &queue.name,
            routing_key: &queue.name,
            arguments: None,
        })
    }

    pub fn exchange_count(&self) -> usize {
        self.by_name.len()
    }

    pub fn queue_count(&self) -> usize {
        match self.exchanges[DEFAULT_EXCHANGE.0 as usize].matcher.unwatched() {
            Matcher::Direct(keys) => keys.len(),
            _ => unreachable!("the default exchange is direct"),
        }
    }
}
