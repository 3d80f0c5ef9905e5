//! Things in slots, as many in each shelf: none is moved when there are more of them.

use slab::Slab;
use std::ops::{Index, IndexMut};

/// Slots of a shelf.
const SHELF_SLOTS: usize = 1024;

/// As a [`Slab`] without a limit to its time to grow.
pub(super) struct Shelves<T> {
    /// All but the first have their room from the beginning: no router is charged for more than it has.
    shelves: Vec<Slab<T>>,
    /// Shelves that are not full, each once.
    with_room: Vec<usize>,
    length: usize,
}

impl<T> Shelves<T> {
    pub fn new() -> Self {
        Self { shelves: Vec::new(), with_room: Vec::new(), length: 0 }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// One past the last slot that may hold something.
    pub fn slots(&self) -> usize {
        self.shelves.len() * SHELF_SLOTS
    }

    pub fn get(&self, slot: usize) -> Option<&T> {
        self.shelves.get(slot / SHELF_SLOTS)?.get(slot % SHELF_SLOTS)
    }

    /// Says in which slot it is.
    pub fn insert(&mut self, thing: T) -> usize {
        let at = self.with_room.last().copied().unwrap_or_else(|| {
            let room = if self.shelves.is_empty() { 0 } else { SHELF_SLOTS };
            self.shelves.push(Slab::with_capacity(room));
            self.with_room.push(self.shelves.len() - 1);
            self.shelves.len() - 1
        });
        let shelf = &mut self.shelves[at];
        let slot = at * SHELF_SLOTS + shelf.insert(thing);
        if shelf.len() == SHELF_SLOTS {
            self.with_room.pop();
        }
        self.length += 1;
        slot
    }

    /// Takes it out. It must be there.
    pub fn remove(&mut self, slot: usize) -> T {
        let at = slot / SHELF_SLOTS;
        let shelf = &mut self.shelves[at];
        if shelf.len() == SHELF_SLOTS {
            self.with_room.push(at);
        }
        self.length -= 1;
        shelf.remove(slot % SHELF_SLOTS)
    }
}

impl<T> Index<usize> for Shelves<T> {
    type Output = T;

    fn index(&self, slot: usize) -> &T {
        &self.shelves[slot / SHELF_SLOTS][slot % SHELF_SLOTS]
    }
}

impl<T> IndexMut<usize> for Shelves<T> {
    fn index_mut(&mut self, slot: usize) -> &mut T {
        &mut self.shelves[slot / SHELF_SLOTS][slot % SHELF_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_keep_their_slots_and_what_is_free_is_taken_again() {
        const THINGS: usize = 3 * SHELF_SLOTS;
        let mut shelves = Shelves::new();
        let slots: Vec<usize> = (0..THINGS).map(|thing| shelves.insert(thing)).collect();
        let first: *const usize = &shelves[slots[0]];
        assert_eq!((shelves.len(), shelves.slots()), (THINGS, THINGS));
        for (thing, slot) in slots.iter().enumerate().filter(|(thing, _)| thing % 3 == 0) {
            assert_eq!(shelves.remove(*slot), thing);
            assert_eq!(shelves.get(*slot), None);
        }
        let others: Vec<usize> = (0..THINGS / 3).map(|thing| shelves.insert(thing)).collect();
        assert!(others.iter().all(|slot| slots[*slot].is_multiple_of(3)), "in the slots of those that went");
        assert_eq!((shelves.len(), shelves.slots()), (THINGS, THINGS));
        assert!((0..THINGS).filter(|thing| thing % 3 != 0).all(|thing| shelves[slots[thing]] == thing));
        let last = shelves.insert(7);
        assert_eq!((last, shelves.slots()), (THINGS, THINGS + SHELF_SLOTS));
        // The first shelf was full before there was a second one, and nothing in it has moved since.
        assert!(std::ptr::eq(first, &raw const shelves[slots[0]]));
    }
}
