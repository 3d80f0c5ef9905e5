//! Values in a table of many small parts: it grows and shrinks a part at a time, and is taken apart a few parts at a time,
//! so that no step of it grows with how many values there are.
//!
//! ```text
//!   parts   0 1 2 3 │ 4 5        one more: part 2 gives up half of what it has to a new part 6, by the next bit of the hash
//!           0 1 2 3 │ 4 5 6
//! ```
//! This is linear hashing: how many parts there are depends on how many values there are, and on nothing else. No part is
//! much larger than the others as long as any of the hash's bits spread values that look alike, such as numbers that are
//! counted up: hashbrown's own hash does not promise that, this one does. What a table takes is in the account of its virtual
//! host, which may have had enough.

use super::DeduplicationKey;
use super::allowance::{Allowance, Share};
use super::gone;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Values for each part: there are about twice as many in one that is about to be split, and seldom more than it has room
/// for.
const PART_VALUES: usize = 192;
/// Room that is made for a part, so that it seldom has to be given more.
const PART_CAPACITY: usize = 448;
/// What a part of that room takes in memory, in bytes: the power of two above, with a byte of the part's own for each, and
/// a few more.
const PART_BYTES: usize = 512 * (size_of::<Entry>() + 1) + 16;
/// And the first part of a table, when the first value comes.
const FIRST_PART_BYTES: usize = 4 * (size_of::<Entry>() + 1) + 16;
/// A part that is full is made anew with this share of what is in it to spare.
const SPARE: usize = 8;
/// A table that is empty gives its room back if it is larger than this.
const EMPTY_CAPACITY: usize = 64;

/// A value, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub key: DeduplicationKey,
    /// From then on it counts no more.
    pub until_ms: u64,
    /// Which message has it, or its number.
    pub place: u64,
}

type Part = HashTable<Entry>;

/// A table of values.
#[derive(Debug)]
pub(super) struct Table {
    /// One at least.
    parts: Vec<Part>,
    length: usize,
    hasher: RandomState,
    share: Share,
}

impl Table {
    pub fn new(allowance: Allowance) -> Self {
        let share = Share::of(allowance);
        Self { parts: vec![Part::new()], length: 0, hasher: RandomState::default(), share }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether one more value would take no more than the virtual host may have for them, and so many bytes beside it.
    pub fn has_room(&self, beside_bytes: usize) -> bool {
        let more_bytes = match &self.parts[..] {
            // Two are made of one.
            parts if self.length >= parts.len() * PART_VALUES => {
                (2 * PART_BYTES).saturating_sub(parts[buddy_of(parts.len())].allocation_size())
            }
            // It doubles.
            [only] if only.len() == only.capacity() => only.allocation_size().max(FIRST_PART_BYTES),
            _ => return true,
        };
        self.share.allows(more_bytes + beside_bytes)
    }

    #[inline]
    pub fn get(&self, key: DeduplicationKey) -> Option<&Entry> {
        let hash = self.hasher.hash_one(key);
        self.parts[part_of(hash, self.parts.len())].find(hash, |entry| entry.key == key)
    }

    #[inline]
    pub fn get_mut(&mut self, key: DeduplicationKey) -> Option<&mut Entry> {
        let hash = self.hasher.hash_one(key);
        let part = part_of(hash, self.parts.len());
        self.parts[part].find_mut(hash, |entry| entry.key == key)
    }

    /// Puts a value in that is not there.
    pub fn insert(&mut self, entry: Entry) {
        if self.length >= self.parts.len() * PART_VALUES {
            self.split();
        }
        let hash = self.hasher.hash_one(entry.key);
        let at = part_of(hash, self.parts.len());
        if self.parts[at].len() == self.parts[at].capacity() {
            self.make_room(at);
        }
        let Self { parts, hasher, .. } = self;
        parts[at].insert_unique(hash, entry, |entry| hasher.hash_one(entry.key));
        self.length += 1;
    }

    /// Takes a value out unless it `stays` when it is looked at, and changed perhaps.
    pub fn remove_unless(&mut self, key: DeduplicationKey, stays: impl FnOnce(&mut Entry) -> bool) {
        let hash = self.hasher.hash_one(key);
        let part = part_of(hash, self.parts.len());
        let Ok(mut found) = self.parts[part].find_entry(hash, |entry| entry.key == key) else { return };
        if stays(found.get_mut()) {
            return;
        }
        found.remove();
        self.length -= 1;
        if self.parts.len() > 1 {
            if self.length < (self.parts.len() - 1) * PART_VALUES / 2 {
                self.join();
            }
        } else if self.length == 0 && self.parts[0].capacity() > EMPTY_CAPACITY {
            self.share.replace(self.parts[0].allocation_size(), 0);
            self.parts[0] = Part::new();
        }
    }

    /// Makes a part anew that has no room for one more. It is as large as before if it was full of places that were left,
    /// and can't be taken again before.
    #[cold]
    fn make_room(&mut self, at: usize) {
        let Self { parts, hasher, share, .. } = self;
        let part = &mut parts[at];
        let (before, room) = (part.allocation_size(), part.len() + part.len() / SPARE + 1);
        let full = std::mem::replace(part, Part::with_capacity(room));
        for entry in full {
            part.insert_unique(hasher.hash_one(entry.key), entry, |entry| hasher.hash_one(entry.key));
        }
        share.replace(before, part.allocation_size());
    }

    /// One more part.
    fn split(&mut self) {
        let Self { parts, hasher, share, .. } = self;
        let (new, count) = (parts.len(), parts.len() + 1);
        let mut halves = [Part::with_capacity(PART_CAPACITY), Part::with_capacity(PART_CAPACITY)];
        let whole = std::mem::take(&mut parts[buddy_of(new)]);
        let before = whole.allocation_size();
        for entry in whole {
            let hash = hasher.hash_one(entry.key);
            let half = usize::from(part_of(hash, count) == new);
            halves[half].insert_unique(hash, entry, |entry| hasher.hash_one(entry.key));
        }
        share.replace(before, halves.iter().map(Part::allocation_size).sum());
        let [stays, goes] = halves;
        parts[buddy_of(new)] = stays;
        parts.push(goes);
    }

    /// One part less.
    fn join(&mut self) {
        let Self { parts, hasher, share, .. } = self;
        let Some(goes) = parts.pop() else { return };
        let buddy = buddy_of(parts.len());
        let stays = &mut parts[buddy];
        let before = goes.allocation_size() + stays.allocation_size();
        for entry in goes {
            stays.insert_unique(hasher.hash_one(entry.key), entry, |entry| hasher.hash_one(entry.key));
        }
        share.replace(before, stays.allocation_size());
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.parts.len() > 1 {
            gone::leave(std::mem::take(&mut self.parts).into_iter());
        }
    }
}

/// In which of `count` parts a value is. A part's own table goes by the bits below these and above them.
#[inline]
fn part_of(hash: u64, count: usize) -> usize {
    let bits = (hash >> 32) as usize;
    let mask = count.next_power_of_two() - 1;
    let part = bits & mask;
    if part < count { part } else { bits & (mask >> 1) }
}

/// The part that shares its values with this one, which is the last.
fn buddy_of(part: usize) -> usize {
    part ^ (1 << part.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> DeduplicationKey {
        DeduplicationKey::of_bytes(1, &number.to_be_bytes())
    }

    fn entry(number: u64) -> Entry {
        Entry { key: key(number), until_ms: number, place: number }
    }

    fn largest(table: &Table) -> usize {
        table.parts.iter().map(Part::len).max().unwrap_or_default()
    }

    /// What it takes, which is what the account says.
    fn taken(table: &Table, allowance: &Allowance) -> usize {
        let taken = table.parts.iter().map(Part::allocation_size).sum();
        assert_eq!(allowance.taken_bytes(), taken, "of {} values in {} parts", table.len(), table.parts.len());
        taken
    }

    fn remove(table: &mut Table, number: u64) {
        table.remove_unless(key(number), |entry| entry.place != number);
    }

    #[test]
    fn a_table_grows_and_shrinks_by_small_parts() {
        const VALUES: u64 = 300_000;
        let allowance = Allowance::default();
        let mut table = Table::new(allowance.clone());
        for number in 0..VALUES {
            let parts = table.parts.len();
            table.insert(entry(number));
            assert!(table.parts.len() <= parts + 1, "one part at a time");
            assert!(number > 1000 && number % 1000 != 0 || taken(&table, &allowance) > 0);
        }
        assert!(largest(&table) < 2 * PART_CAPACITY, "{} in one part", largest(&table));
        let for_each = taken(&table, &allowance) / VALUES as usize;
        assert!((40..=95).contains(&for_each), "{for_each} bytes for a value");
        assert!((0..VALUES).all(|number| table.get(key(number)).is_some_and(|entry| entry.place == number)));
        assert!(table.get(key(VALUES)).is_none());
        for number in 0..VALUES {
            let parts = table.parts.len();
            remove(&mut table, number);
            assert!(table.parts.len() + 1 >= parts, "one part at a time");
            assert!(number % 1000 != 0 || table.get(key(number)).is_none() && table.get(key(VALUES - 1)).is_some());
            assert!(number < VALUES - 1000 && number % 1000 != 0 || taken(&table, &allowance) < usize::MAX);
            assert!(number % 1000 != 0 || largest(&table) < 2 * PART_CAPACITY);
        }
        assert_eq!((table.len(), table.parts.len(), table.parts[0].capacity()), (0, 1, 0));
        assert_eq!(allowance.taken_bytes(), 0);
    }

    #[test]
    fn values_that_come_and_go_leave_no_room_behind_that_can_not_be_taken_again() {
        // Parts that are about to be split are as full as they get.
        const VALUES: u64 = 8 * PART_VALUES as u64 - 1;
        let allowance = Allowance::default();
        let mut table = Table::new(allowance.clone());
        (0..VALUES).for_each(|number| table.insert(entry(number)));
        let before = taken(&table, &allowance);
        for number in 0..200 * VALUES {
            remove(&mut table, number);
            table.insert(entry(number + VALUES));
        }
        let now = taken(&table, &allowance);
        assert!(now <= before + PART_BYTES, "{before} bytes, and {now} now");
    }

    /// Values that are short are kept as they are, and numbers that are counted up differ in a few bits only.
    #[test]
    fn values_that_are_counted_up_are_spread_over_the_parts_whatever_is_before_the_number() {
        const EACH: u64 = 8 * PART_VALUES as u64 - 1;
        for before in 0..1000_u64 {
            let before = before.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff;
            let mut table = Table::new(Allowance::default());
            (0..EACH).for_each(|number| table.insert(entry(before | number)));
            assert!(largest(&table) < PART_CAPACITY, "{} in one part behind {before:x}", largest(&table));
        }
    }

    #[test]
    fn what_is_not_meant_stays() {
        let mut table = Table::new(Allowance::default());
        table.insert(entry(7));
        table.remove_unless(key(7), |entry| entry.place != 8);
        assert!(table.get_mut(key(7)).is_some());
        table.remove_unless(key(8), |_| false);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_virtual_host_has_room_to_the_last_byte() {
        let values = |most_bytes| {
            let allowance = Allowance::new(most_bytes);
            let mut table = Table::new(allowance.clone());
            let there =
                (0..).take_while(|number| table.has_room(0).then(|| table.insert(entry(*number))).is_some()).count();
            assert!(taken(&table, &allowance) <= most_bytes);
            there
        };
        assert_eq!((values(FIRST_PART_BYTES - 1), values(FIRST_PART_BYTES)), (0, 3));
        for parts in [2, 3, 20] {
            let (less, enough) = (values(parts * PART_BYTES - 1), values(parts * PART_BYTES));
            assert_eq!(enough, parts * PART_VALUES, "of {parts} parts");
            assert!(less < enough, "{less} with a byte less");
        }
    }

    #[test]
    fn a_virtual_host_that_had_enough_has_no_room() {
        let allowance = Allowance::new(10 * PART_BYTES);
        let mut tables = [Table::new(allowance.clone()), Table::new(allowance.clone())];
        let fill = |table: &mut Table| {
            let before = table.len() as u64;
            (before..).take_while(|number| table.has_room(0).then(|| table.insert(entry(*number))).is_some()).count()
        };
        let filled = fill(&mut tables[0]);
        assert!((9 * PART_VALUES..=10 * PART_VALUES).contains(&filled), "{filled}");
        assert!(fill(&mut tables[1]) <= PART_VALUES);
        let [first, mut second] = tables;
        drop(first);
        assert!(fill(&mut second) > 8 * PART_VALUES, "what is gone leaves room");
    }
}
