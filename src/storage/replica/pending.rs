//! Entries that were written and are not committed: what the state waits for, and what may be cut off.
//!
//! ```text
//! applied 17 │ 18  19  20 │            pending
//!            │ 18  19' 20'│ 21'        an entry 19 of another leader cuts 19 and 20 off; 18 and what is applied stay
//! ```
//! The term of the entry that cuts off may be a lower one: what a leader of an older term wrote may have come to be
//! what most have, and an entry of a younger one, which nobody else has, goes.

use super::super::batch::BatchLabel;
use super::super::checkpoint::{Start, Unapplied};
use super::super::entry::{EntryBody, EntryLabel, Place};
use super::super::sequences::{Reached, Sequences};
use std::collections::VecDeque;

/// An entry that is not committed.
#[derive(Clone, Debug)]
pub struct Uncommitted {
    pub label: EntryLabel,
    pub place: Place,
    pub serial: u64,
    pub body: EntryBody,
}

/// The entries behind what is applied, by index.
#[derive(Clone, Default, Debug)]
pub struct Pending {
    applied: Reached,
    entries: VecDeque<Uncommitted>,
}

fn end_of(label: &EntryLabel) -> Reached {
    let position = label.first_position + u64::from(label.records) - 1;
    Reached { term: label.term, index: label.index, position }
}

impl Pending {
    /// Nothing is pending behind what is applied.
    pub fn new(applied: Reached) -> Self {
        Self { applied, entries: VecDeque::new() }
    }

    /// Of the last entry that is in the state.
    pub fn applied(&self) -> Reached {
        self.applied
    }

    /// Of the last entry there is.
    pub fn last(&self) -> Reached {
        self.entries.back().map_or(self.applied, |entry| end_of(&entry.label))
    }

    pub fn entries(&self) -> impl Iterator<Item = &Uncommitted> {
        self.entries.iter()
    }

    /// Of the entry before that of an index, if one of that index may come now: one that is not applied, or the next one.
    pub fn before(&self, index: u64) -> Option<Reached> {
        let behind = usize::try_from(index.checked_sub(self.applied.index + 1)?).ok()?;
        match behind {
            0 => Some(self.applied),
            behind => self.entries.get(behind - 1).map(|entry| end_of(&entry.label)),
        }
    }

    /// What of a batch does not fit the log so far, in words.
    pub(in super::super) fn contradiction(&self, label: &BatchLabel) -> Option<String> {
        let last = self.last();
        let before = match label.is_entry() {
            false => last,
            true => match self.before(label.index) {
                Some(before) => before,
                None => {
                    let (index, applied) = (label.index, self.applied.index);
                    return Some(format!("its index is {index} where {applied} are committed of {}", last.index));
                }
            },
        };
        if label.first_position != before.position + 1 {
            return Some(format!("its first position is {} and not {}", label.first_position, before.position + 1));
        }
        if label.is_entry() && label.term < before.term {
            return Some(format!("it is of term {} and follows one of term {}", label.term, before.term));
        }
        (label.commit > before.index)
            .then(|| format!("it knows of a commit of {} where there is no more than {}", label.commit, before.index))
    }

    /// Cuts off the entries from an index on.
    pub fn cut_off(&mut self, index: u64) {
        debug_assert!(index > self.applied.index, "what is applied stays");
        let left = index.saturating_sub(self.applied.index + 1);
        self.entries.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    }

    /// The entry behind the last one.
    pub fn push(&mut self, entry: Uncommitted) {
        debug_assert_eq!(entry.label.index, self.last().index + 1);
        self.entries.push_back(entry);
    }

    /// The next entry to be applied, if it is committed by what `commit` says.
    pub fn take_committed(&mut self, commit: u64) -> Option<Uncommitted> {
        self.entries.front().filter(|entry| entry.label.index <= commit)?;
        let entry = self.entries.pop_front()?;
        self.applied = end_of(&entry.label);
        Some(entry)
    }

    /// Where a checkpoint of what is applied begins to read, unless that is the log's end.
    pub(in super::super) fn unapplied(&self) -> Option<Unapplied> {
        let first = self.entries.front()?;
        let Reached { term, index, position } = self.applied;
        let serial = first.serial - 1;
        let sequences = Sequences { serial, synced_serial: serial, term, index, position, commit: index };
        Some(Unapplied { sequences, start: Start { segment: first.place.segment, offset: first.place.offset } })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::entry::EntryKind;
    use super::*;

    fn entry(term: u64, index: u64, first_position: u64) -> Uncommitted {
        let label = EntryLabel { term, index, first_position, records: 2, kind: EntryKind::Records };
        let place = Place { segment: 1, offset: 100 * index, length: 0 };
        Uncommitted { label, place, serial: 50 + index, body: EntryBody::copied(b"") }
    }

    /// 17 is applied, 18 to 20 are pending.
    fn pending() -> Pending {
        let mut pending = Pending::new(Reached { term: 3, index: 17, position: 60 });
        for (term, index, first_position) in [(3, 18, 61), (3, 19, 63), (5, 20, 65)] {
            pending.push(entry(term, index, first_position));
        }
        pending
    }

    fn batch(term: u64, index: u64, first_position: u64, commit: u64) -> BatchLabel {
        BatchLabel { serial: 90, term, index, first_position, commit, records: 2, ..BatchLabel::default() }
    }

    #[test]
    fn an_entry_follows_any_that_is_not_committed_and_any_other_is_named() {
        let pending = pending();
        for (term, index, first_position) in [(5, 21, 67), (7, 20, 65), (4, 20, 65), (3, 19, 63), (9, 18, 61)] {
            assert_eq!(pending.contradiction(&batch(term, index, first_position, 17)), None, "{term} {index}");
        }
        for (label, expected) in [
            (batch(9, 17, 59, 16), "its index is 17 where 17 are committed of 20"),
            (batch(9, 22, 67, 17), "its index is 22 where 17 are committed of 20"),
            (batch(9, 20, 66, 17), "its first position is 66 and not 65"),
            (batch(4, 21, 67, 17), "it is of term 4 and follows one of term 5"),
            (batch(9, 20, 65, 20), "it knows of a commit of 20 where there is no more than 19"),
            (BatchLabel { records: 0, ..batch(0, 0, 65, 17) }, "its first position is 65 and not 67"),
        ] {
            assert_eq!(pending.contradiction(&label).as_deref(), Some(expected), "{label:?}");
        }
    }

    #[test]
    fn a_tail_is_cut_off_and_what_is_committed_goes_by_index() {
        let mut pending = pending();
        assert_eq!(pending.last(), Reached { term: 5, index: 20, position: 66 });
        pending.cut_off(19);
        assert_eq!(pending.last(), Reached { term: 3, index: 18, position: 62 });
        pending.push(entry(4, 19, 63));
        let unapplied = pending.unapplied().unwrap();
        assert_eq!((unapplied.sequences.serial, unapplied.sequences.commit, unapplied.start.offset), (67, 17, 1800));
        let taken: Vec<_> = std::iter::from_fn(|| pending.take_committed(18)).map(|entry| entry.label.index).collect();
        assert_eq!(taken, [18]);
        assert_eq!(pending.applied(), Reached { term: 3, index: 18, position: 62 });
        assert_eq!(pending.take_committed(99).unwrap().label.term, 4);
        assert!(pending.unapplied().is_none() && pending.take_committed(99).is_none());
    }
}
