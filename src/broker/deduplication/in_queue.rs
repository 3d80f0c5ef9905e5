//! The values that the messages of one queue have.

use super::DeduplicationKey;
use super::allowance::Allowance;
use super::table::{Entry, Table};
use crate::broker::page::{Page, PageReader};
use crate::broker::queue::Taken;
use std::cell::RefCell;

/// Levels stand above the sequences of their messages.
const LEVEL_SHIFT: u32 = 56;

/// The values that messages of one queue have.
#[derive(Debug)]
pub struct SeenInQueue {
    /// Which message has each, and when that stops counting.
    values: RefCell<Table>,
    allowance: Allowance,
}

impl SeenInQueue {
    pub fn new(allowance: Allowance) -> Self {
        Self { values: RefCell::new(Table::new(allowance.clone())), allowance }
    }

    /// Whether a message with that value is there.
    pub fn has(&self, key: DeduplicationKey, now_ms: u64) -> bool {
        self.values.borrow().get(key).is_some_and(|entry| entry.until_ms > now_ms)
    }

    /// A message with that value is there now, at that level and with that sequence. Beyond what may be remembered it is
    /// not noted, and the next one of its value comes in.
    pub fn insert(&self, key: DeduplicationKey, level: u8, sequence: u64, until_ms: u64) {
        let values = &mut *self.values.borrow_mut();
        let place = place_of(level, sequence);
        if let Some(entry) = values.get_mut(key) {
            (entry.place, entry.until_ms) = (place, until_ms);
        } else if values.len() < super::REMEMBERED_MAX && values.has_room(0) {
            values.insert(Entry { key, until_ms, place });
        }
    }

    /// A message has left.
    #[cold]
    pub fn forget(&self, taken: &Taken) {
        let Some(key) = DeduplicationKey::of(taken.message.content().properties()) else { return };
        let place = place_of(taken.level, taken.sequence);
        self.values.borrow_mut().remove_unless(key, |entry| entry.place != place);
    }

    /// Messages of an earlier run are there.
    pub fn learn(&self, level: u8, page: &Page) {
        let mut reader = PageReader::default();
        while let Some(entry) = reader.next(&page.bytes) {
            if let Some(key) = DeduplicationKey::of(entry.properties())
                && !self.has(key, 0)
            {
                self.insert(key, level, entry.sequence, entry.expires_at_ms);
            }
        }
    }

    pub fn clear(&self) {
        self.values.replace(Table::new(self.allowance.clone()));
    }
}

fn place_of(level: u8, sequence: u64) -> u64 {
    u64::from(level) << LEVEL_SHIFT | sequence
}
