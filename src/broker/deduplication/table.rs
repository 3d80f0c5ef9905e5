//! Values in a table of many small parts: it grows and shrinks a part at a time, and is taken apart a few parts at a time,
//! so that no step of it grows with how many values there are.
//!
//! ```text
//!   parts   0 1 2 3 │ 4 5        one more: part 2 gives up half of what it has to a new part 6, by the next bit of the hash
//!           0 1 2 3 │ 4 5 6
//! ```
//! This is linear hashing: how many parts there are depends on how many values there are, and on nothing else. What a table
//! takes is in the account of its virtual host, which may have had enough.

use super::DeduplicationKey;
use super::allowance::{Allowance, Share};
use super::gone;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Values for each part: there are about twice as many in one that is about to be split, and seldom more than it has room
/// for.
const PART_VALUES: usize = 192;
/// Room that is made for a part, so that it seldom has to make more by itself.
const PART_CAPACITY: usize = 448;
/// What a part takes in memory, in bytes: the power of two above its capacity, with a byte of the table's own for each.
const PART_BYTES: usize = 512 * (size_of::<Entry>() + 1);
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
    hasher: DefaultHashBuilder,
    share: Share,
}

impl Table {
    pub fn new(allowance: Allowance) -> Self {
        let share = Share::of(allowance);
        Self { parts: vec![Part::new()], length: 0, hasher: DefaultHashBuilder::default(), share }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether one more value would take no more than the virtual host may have for them.
    pub fn has_room(&self) -> bool {
        self.length < self.parts.len() * PART_VALUES || self.share.allows(PART_BYTES)
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
        let Self { parts, hasher, .. } = self;
        let hash = hasher.hash_one(entry.key);
        let part = part_of(hash, parts.len());
        parts[part].insert_unique(hash, entry, |entry| hasher.hash_one(entry.key));
        self.length += 1;
        if self.parts.len() == 1 {
            self.account();
        }
    }

    /// Takes a value out if the entry is the one that is `meant`.
    pub fn remove(&mut self, key: DeduplicationKey, meant: impl FnOnce(&Entry) -> bool) {
        let hash = self.hasher.hash_one(key);
        let part = part_of(hash, self.parts.len());
        let Ok(found) = self.parts[part].find_entry(hash, |entry| entry.key == key) else { return };
        if !meant(found.get()) {
            return;
        }
        found.remove();
        self.length -= 1;
        if self.parts.len() > 1 {
            if self.length < (self.parts.len() - 1) * PART_VALUES / 2 {
                self.join();
            }
        } else if self.length == 0 && self.parts[0].capacity() > EMPTY_CAPACITY {
            self.parts[0] = Part::new();
            self.account();
        }
    }

    /// One more part.
    fn split(&mut self) {
        let Self { parts, hasher, .. } = self;
        let (new, count) = (parts.len(), parts.len() + 1);
        let mut part = Part::with_capacity(PART_CAPACITY);
        parts[buddy_of(new)].retain(|entry| {
            let hash = hasher.hash_one(entry.key);
            let stays = part_of(hash, count) != new;
            if !stays {
                part.insert_unique(hash, *entry, |entry| hasher.hash_one(entry.key));
            }
            stays
        });
        parts.push(part);
        self.account();
    }

    /// One part less.
    fn join(&mut self) {
        let Self { parts, hasher, .. } = self;
        let Some(part) = parts.pop() else { return };
        let buddy = buddy_of(parts.len());
        for entry in part {
            parts[buddy].insert_unique(hasher.hash_one(entry.key), entry, |entry| hasher.hash_one(entry.key));
        }
        self.account();
    }

    fn account(&mut self) {
        let bytes = match &self.parts[..] {
            [only] => only.allocation_size(),
            parts => parts.len() * PART_BYTES,
        };
        self.share.set(bytes);
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

    #[test]
    fn a_table_grows_and_shrinks_by_small_parts() {
        const VALUES: u64 = 300_000;
        let allowance = Allowance::default();
        let mut table = Table::new(allowance.clone());
        for number in 0..VALUES {
            let parts = table.parts.len();
            table.insert(entry(number));
            assert!(table.parts.len() <= parts + 1, "one part at a time");
        }
        assert!(largest(&table) < 2 * PART_CAPACITY, "{} in one part", largest(&table));
        let taken: usize = table.parts.iter().map(Part::allocation_size).sum();
        // It is a matter of chance how many parts had more values than there was room for, and doubled it.
        assert!(taken <= allowance.taken_bytes() / 100 * 130, "{taken} bytes, and not {}", allowance.taken_bytes());
        let for_each = allowance.taken_bytes() / VALUES as usize;
        assert!((40..=90).contains(&for_each), "{for_each} bytes for a value");
        assert!((0..VALUES).all(|number| table.get(key(number)).is_some_and(|entry| entry.place == number)));
        assert!(table.get(key(VALUES)).is_none());
        for number in 0..VALUES {
            let parts = table.parts.len();
            table.remove(key(number), |entry| entry.place == number);
            assert!(table.parts.len() + 1 >= parts && largest(&table) < 2 * PART_CAPACITY);
            assert!(number % 1000 != 0 || table.get(key(number)).is_none() && table.get(key(VALUES - 1)).is_some());
        }
        assert_eq!((table.len(), table.parts.len(), table.parts[0].capacity()), (0, 1, 0));
        assert_eq!(allowance.taken_bytes(), 0);
    }

    #[test]
    fn what_is_not_meant_stays() {
        let mut table = Table::new(Allowance::default());
        table.insert(entry(7));
        table.remove(key(7), |entry| entry.place == 8);
        assert!(table.get_mut(key(7)).is_some());
        table.remove(key(8), |_| true);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_virtual_host_that_had_enough_has_no_room() {
        let allowance = Allowance::new(10 * PART_BYTES);
        let mut tables = [Table::new(allowance.clone()), Table::new(allowance.clone())];
        let fill = |table: &mut Table| {
            let before = table.len() as u64;
            (before..).take_while(|number| table.has_room().then(|| table.insert(entry(*number))).is_some()).count()
        };
        let filled = fill(&mut tables[0]);
        assert!((9 * PART_VALUES..=10 * PART_VALUES).contains(&filled), "{filled}");
        assert!(fill(&mut tables[1]) <= PART_VALUES);
        let [first, mut second] = tables;
        drop(first);
        assert!(fill(&mut second) > 8 * PART_VALUES, "what is gone leaves room");
    }
}
