//! Which entries can be read back for followers that lag: those of the newest segments, without a gap.
//!
//! ```text
//! segment 3 │ entries 1–9     4 is gone     6 │ entries 14–20     7 │ entries 21–30, of which 28 is the last applied
//!                                └ the newest hole: entries from 14 on are told of
//! ```
//! The writer knows of each segment the last entry that is in it, so that it can say what is gone with one. A start
//! finds the entries of before the checkpoint again, as far as segments follow each other without a hole; damage there is
//! a hole, too, as nothing but a follower's convenience depends on it.

use super::super::StorageError;
use super::super::checkpoint::Unapplied;
use super::super::disk::Disk;
use super::super::entry::{EntryLabel, Place};
use super::super::scan::{BatchReader, Found};
use super::super::segment::SegmentNumber;
use super::held::{KEPT_FOR_FOLLOWERS_BYTES, newest_from};
use std::collections::BTreeMap;

/// The last entry of each segment that has any.
#[derive(Default, Debug)]
pub(super) struct Kept {
    last: BTreeMap<SegmentNumber, u64>,
}

impl Kept {
    pub fn of(log: &[(EntryLabel, Place)]) -> Self {
        Self { last: log.iter().map(|(label, place)| (place.segment, label.index)).collect() }
    }

    /// An entry was written.
    pub fn note(&mut self, segment: SegmentNumber, index: u64) {
        self.last.insert(segment, index);
    }

    /// Entries from an index on are none any more.
    pub fn cut_off(&mut self, index: u64) {
        for last in self.last.values_mut().rev().take_while(|last| **last >= index) {
            *last = index - 1;
        }
    }

    /// Forgets what is not there any more; says below which index nothing can be read back, if that has changed.
    pub fn forget(&mut self, is_there: impl Fn(SegmentNumber) -> bool) -> Option<u64> {
        let mut gone = None;
        self.last.retain(|number, last| {
            let stays = is_there(*number);
            if !stays {
                gone = gone.max(Some(*last + 1));
            }
            stays
        });
        gone
    }
}

/// The entries before a checkpoint's first batch, up to the last one that is in it, as far as they lie in the newest
/// segments and there is no hole.
pub(super) fn entries_before<D: Disk>(
    disk: &D,
    segment_files: &BTreeMap<SegmentNumber, u64>,
    checkpoint: &Unapplied,
) -> Result<Vec<(EntryLabel, Place)>, StorageError> {
    let Unapplied { sequences, start } = *checkpoint;
    let files: BTreeMap<_, _> =
        segment_files.range(..=start.segment).map(|(number, bytes)| (*number, *bytes)).collect();
    let from = newest_from(&files, KEPT_FOR_FOLLOWERS_BYTES);
    let mut log: Vec<(EntryLabel, Place)> = Vec::new();
    let mut serial = 0;
    let mut buffer = Vec::new();
    for &number in files.range(from..).map(|(number, _)| number) {
        let Some(mut reader) = BatchReader::open(disk, number, std::mem::take(&mut buffer))? else { continue };
        if reader.header().first_serial != serial + 1 {
            log.clear();
            serial = reader.header().first_serial.saturating_sub(1);
        }
        let end = if number == start.segment { start.offset } else { u64::MAX };
        while reader.offset() < end
            && let Found::Batch { offset, batch } = reader.next()?
        {
            if batch.header.label.serial != serial + 1 {
                break;
            }
            serial += 1;
            if let Some(label) = batch.header.label.entry() {
                let follows = log.last().is_some_and(|(last, _)| label.index <= last.index + 1);
                let stay = if follows { log.partition_point(|(before, _)| before.index < label.index) } else { 0 };
                log.truncate(stay);
                log.push((label, Place { segment: number, offset, length: batch.header.body_length }));
            }
        }
        buffer = reader.into_buffer();
    }
    // What is behind the last one was cut off.
    log.truncate(log.partition_point(|(label, _)| label.index <= sequences.index));
    let is_last = |(label, _): &(EntryLabel, Place)| (label.term, label.index) == (sequences.term, sequences.index);
    if serial != sequences.serial || !log.last().is_some_and(is_last) {
        log.clear();
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_said_by_the_last_entry_that_was_there() {
        let mut kept = Kept::default();
        for (segment, index) in [(3, 7), (3, 9), (4, 12), (6, 20)] {
            kept.note(segment, index);
        }
        assert_eq!(kept.forget(|_| true), None);
        kept.cut_off(11);
        kept.note(7, 11);
        assert_eq!(kept.forget(|number| number != 3), Some(10));
        assert_eq!(kept.forget(|number| number != 6), Some(11), "12 to 20 were cut off");
        assert_eq!(kept.forget(|number| number > 6), Some(11));
        assert_eq!(kept.forget(|_| false), Some(12));
    }
}
