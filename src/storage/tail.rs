//! The end of the log of which nothing says that it is on the disk.
//!
//! ```text
//! segment 7   │batch│batch│batch, which knows the two before it synced│batch│
//!                         └─ the tail ────────────────────────────────────────┘
//! ```
//! Recovery reads what the system shows, and that need not be on the disk. A broker that was killed leaves its last
//! batches with the system. And after a failed sync Linux counts what it could not write as written: it is read like
//! everything else, a further sync has nothing to complain of, and one day it is gone. So the start writes the tail again
//! before anything relies on it, a checkpoint above all: then it is on the disk, or the start fails. Whether it was there
//! before need not be known, as nobody was promised anything of it.
//!
//! Before the tail everything was synced by the word of a batch or a checkpoint, which never comes before the sync; and
//! so were earlier segments, before a later one was begun. Mostly the tail is the last batch or two.

use super::batch::BatchLabel;
use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use super::scan::{BatchReader, Found};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use std::io;

/// Written at once, in bytes, unless a batch is larger.
const PIECE_BYTES: usize = 1 << 20;

/// The tail as far as the log was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    segment: SegmentNumber,
    /// The segment's header belongs to it when this is 0.
    from: u64,
    to: u64,
    /// The serial of a batch in the tail and where it ends: from there on when it turns out to be synced.
    mark: Option<(u64, u64)>,
}

impl Tail {
    /// Nothing was read yet of a segment of which all before `offset` was synced.
    pub fn new(segment: SegmentNumber, offset: u64) -> Self {
        let from = if offset > SEGMENT_HEADER_BYTES as u64 { offset } else { 0 };
        Self { segment, from, to: from, mark: None }
    }

    /// A batch that ends at `end` was read.
    pub fn extend(&mut self, label: &BatchLabel, end: u64) {
        if let Some((serial, end)) = self.mark
            && serial <= label.synced_serial
        {
            self.from = end;
            self.mark = None;
        }
        self.to = end;
        self.mark.get_or_insert((label.serial, end));
    }

    pub fn segment(&self) -> SegmentNumber {
        self.segment
    }

    /// Writes the tail where it is, and syncs.
    ///
    /// # Errors
    /// The disk's, or the tail is not any more what recovery read.
    pub fn write_again(&self, disk: &impl Disk) -> Result<(), StorageError> {
        if self.from == self.to {
            return Ok(());
        }
        let display = Folder::Log.display(&file_name(self.segment));
        let changed = || StorageError::Io {
            doing: format!("read {display} again"),
            error: io::Error::new(io::ErrorKind::InvalidData, "it is not what it was a moment ago"),
        };
        let writing = || StorageError::io(format!("write the end of {display} again"));
        let file = disk.open(Folder::Log, &file_name(self.segment)).map_err(writing())?;
        if self.from == 0 {
            let mut header = [0; SEGMENT_HEADER_BYTES];
            file.read_at(&mut header, 0).map_err(writing())?;
            SegmentHeader::decode(&header, self.segment).ok_or_else(changed)?;
            file.write_at(&header, 0).map_err(writing())?;
        }
        let mut reader = BatchReader::open(disk, self.segment, Vec::new())?.ok_or_else(changed)?;
        reader.go_to(self.from.max(SEGMENT_HEADER_BYTES as u64));
        let (mut piece, mut piece_offset) = (Vec::new(), reader.offset());
        while reader.offset() < self.to {
            let Found::Batch { offset, .. } = reader.next()? else { return Err(changed()) };
            piece.extend_from_slice(reader.bytes_since(offset));
            if piece.len() >= PIECE_BYTES || reader.offset() >= self.to {
                file.write_at(&piece, piece_offset).map_err(writing())?;
                piece.clear();
                piece_offset = reader.offset();
            }
        }
        file.sync().map_err(writing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of batches of (serial, serial known as synced), each of which is a byte long.
    fn tail_of(from: u64, batches: &[(u64, u64)]) -> (u64, u64) {
        let mut tail = Tail::new(1, from);
        for (end, &(serial, synced_serial)) in (from + 1..).zip(batches) {
            tail.extend(&BatchLabel { serial, synced_serial, ..BatchLabel::default() }, end);
        }
        (tail.from, tail.to)
    }

    #[test]
    fn it_begins_behind_the_last_batch_that_is_known_as_synced() {
        assert_eq!(tail_of(100, &[]), (100, 100));
        assert_eq!(tail_of(64, &[(1, 0)]), (0, 65), "with the header, which no sync was for");
        assert_eq!(tail_of(100, &[(1, 0), (2, 1), (3, 2)]), (102, 103));
        assert_eq!(tail_of(100, &[(1, 0), (2, 0), (3, 2)]), (101, 103), "never too late");
        assert_eq!(tail_of(100, &[(7, 6), (8, 6), (9, 6)]), (100, 103));
    }
}
