//! The numbers of batches, in two sequences that must not be taken for each other.
//!
//! * **Physical**: what this node writes. Every batch has a `serial`, 1 more than the batch before, and says with
//!   `synced_serial` up to which one the disk was known to be in sync. A hole in the serials below a synced one is
//!   damage, and nothing else is.
//! * **Logical**: what nodes that replicate a log would agree on. A batch of effects is an *entry* with a `term`, an
//!   `index` and positions for its records. What a node does for itself alone, moving records and saying that it stops,
//!   is a *local* batch: it has a serial, but term and index 0, and takes no positions.
//!
//! ```text
//! serial      41       42       43       44       45
//! index       17       18        –       19        –
//! positions   60–64    65        –       66–70     –
//!             entry    entry    moved    entry    clean stop
//! ```
//! On one machine there is nobody to agree with: the term is always [`STANDALONE_TERM`], and index and commit follow the
//! writer. What is synced is committed. Where several nodes keep the log, a leader gives the numbers and most of them
//! commit; index and positions go back when a tail that was never committed is [cut off](super::replica).

use super::batch::{BatchLabel, FLAG_CONFIGURATION};
use super::entry::{EntryKind, EntryLabel};

/// The term of a broker that is alone: the first one there is, as if it had been elected once and for ever.
pub const STANDALONE_TERM: u64 = 1;

/// How far a log is, in all its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sequences {
    /// Of the last batch.
    pub serial: u64,
    /// Of the last batch that is known to be synced.
    pub synced_serial: u64,
    /// Of the last entry.
    pub term: u64,
    pub index: u64,
    /// Of the last record.
    pub position: u64,
    /// Up to this index all is committed.
    pub commit: u64,
}

/// How far a log is, or a state, in the numbers that nodes agree on: those of the last entry and its last record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    pub term: u64,
    pub index: u64,
    pub position: u64,
}

/// What kind of batch comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// With so many records.
    Entry { records: u32 },
    /// With such flags.
    Local { flags: u32 },
    /// An entry to which its leader gave the numbers.
    Agreed(EntryLabel),
}

impl Sequences {
    /// What the next batch is called.
    pub(super) fn next(&self, kind: Kind) -> BatchLabel {
        let local = BatchLabel {
            serial: self.serial + 1,
            synced_serial: self.synced_serial,
            first_position: self.position + 1,
            commit: self.commit,
            ..BatchLabel::default()
        };
        match kind {
            Kind::Entry { records } => BatchLabel { term: STANDALONE_TERM, index: self.index + 1, records, ..local },
            Kind::Local { flags } => BatchLabel { flags, ..local },
            Kind::Agreed(EntryLabel { term, index, first_position, records, kind }) => {
                let flags = if kind == EntryKind::Configuration { FLAG_CONFIGURATION } else { 0 };
                BatchLabel { term, index, first_position, records, flags, ..local }
            }
        }
    }

    /// What of the numbers of the batch that comes next by its serial does not fit those before it, in words.
    pub(super) fn contradiction(&self, label: &BatchLabel) -> Option<String> {
        let Self { term, index, position, .. } = *self;
        if label.first_position != position + 1 {
            return Some(format!("its first position is {} and not {}", label.first_position, position + 1));
        }
        if label.is_entry() && label.index != index + 1 {
            return Some(format!("its index is {} and not {}", label.index, index + 1));
        }
        if label.is_entry() && label.term < term {
            return Some(format!("it is of term {} and follows one of term {term}", label.term));
        }
        let known = index.max(label.index);
        (label.commit > known)
            .then(|| format!("it knows of a commit of {} where there is no more than {known}", label.commit))
    }

    /// A batch was written or read. Numbers never go back, whatever it says.
    pub(super) fn follow(&mut self, label: &BatchLabel) {
        self.serial = self.serial.max(label.serial);
        self.synced_serial = self.synced_serial.max(label.synced_serial);
        self.position = self.position.max(label.next_position() - 1);
        self.term = self.term.max(label.term);
        self.index = self.index.max(label.index);
        self.commit = self.commit.max(label.commit.min(self.index));
    }

    /// All that was written is on the disk.
    pub(super) fn on_disk(&mut self) {
        self.synced_serial = self.serial;
    }

    /// The same where that commits it: on one machine.
    pub(super) fn synced(&mut self) {
        self.on_disk();
        self.commit = self.index;
    }

    /// How far the log is.
    pub(super) fn reached(&self) -> Reached {
        Reached { term: self.term, index: self.index, position: self.position }
    }

    /// The log ends there: what was behind it is cut off.
    pub(super) fn end_at(&mut self, reached: Reached) {
        (self.term, self.index, self.position) = (reached.term, reached.index, reached.position);
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::FLAG_MOVED;
    use super::*;

    const ENTRY: Kind = Kind::Entry { records: 3 };
    const MOVED: Kind = Kind::Local { flags: FLAG_MOVED };

    fn after(kinds: &[Kind]) -> Sequences {
        let mut sequences = Sequences::default();
        kinds.iter().for_each(|kind| sequences.follow(&sequences.next(*kind)));
        sequences
    }

    #[test]
    fn every_batch_has_a_serial_and_only_entries_have_an_index_and_positions() {
        let mut sequences = after(&[ENTRY, MOVED, ENTRY]);
        let expected =
            Sequences { serial: 3, synced_serial: 0, term: STANDALONE_TERM, index: 2, position: 6, commit: 0 };
        assert_eq!(sequences, expected);
        sequences.synced();
        assert_eq!(sequences, Sequences { synced_serial: 3, commit: 2, ..expected });
        let label = sequences.next(MOVED);
        assert_eq!((label.serial, label.synced_serial, label.index, label.first_position), (4, 3, 0, 7));
    }

    #[test]
    fn what_a_writer_makes_follows_and_anything_else_is_named() {
        let sequences = after(&[ENTRY, MOVED, ENTRY]);
        let entry = sequences.next(ENTRY);
        assert_eq!(sequences.contradiction(&entry), None);
        assert_eq!(sequences.contradiction(&BatchLabel { term: 9, ..entry }), None);
        assert_eq!(sequences.contradiction(&BatchLabel { commit: 3, ..entry }), None);
        let moved = sequences.next(MOVED);
        assert_eq!(sequences.contradiction(&moved), None);
        for (label, expected) in [
            (BatchLabel { first_position: 9, ..entry }, "its first position is 9 and not 7"),
            (BatchLabel { first_position: 1, ..moved }, "its first position is 1 and not 7"),
            (BatchLabel { index: 2, ..entry }, "its index is 2 and not 3"),
            (BatchLabel { term: 0, ..entry }, "it is of term 0 and follows one of term 1"),
            (BatchLabel { commit: 3, ..moved }, "it knows of a commit of 3 where there is no more than 2"),
        ] {
            assert_eq!(sequences.contradiction(&label).as_deref(), Some(expected), "{label:?}");
        }
    }
}
