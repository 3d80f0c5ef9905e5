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

use super::batch::BatchHeader;
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
    /// The last record of a batch in the tail and where that batch ends: from there on when it turns out to be synced.
    mark: Option<(u64, u64)>,
}

impl Tail {
    /// Nothing was read yet of a segment of which all before `offset` was synced.
    pub fn new(segment: SegmentNumber, offset: u64) -> Self {
        let from = if offset > SEGMENT_HEADER_BYTES as u64 { offset } else { 0 };
        Self { segment, from, to: from, mark: None }
    }

    /// A batch that ends at `end` was read.
    pub fn extend(&mut self, header: &BatchHeader, end: u64) {
        if let Some((position, end)) = self.mark
            && position <= header.durable_position
        {
            self.from = end;
            self.mark = None;
        }
        self.to = end;
        // The positions of moved records are not theirs, and say nothing of them.
        if header.records > 0 && self.mark.is_none() {
            self.mark = Some((header.next_position() - 1, end));
        }
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
    use super::super::batch::{self, BATCH_HEADER_BYTES, BatchLabel};
    use super::*;
    use crate::storage::NodeId;

    /// What is left of batches of (first position, records, position known as synced), each of which is a byte long.
    fn tail_of(from: u64, batches: &[(u64, u32, u64)]) -> (u64, u64) {
        let segment = SegmentHeader { node_id: NodeId([0; 16]), number: 1, first_position: 1, generation: 1 };
        let mut tail = Tail::new(1, from);
        for (end, &(first_position, records, durable_position)) in (from + 1..).zip(batches) {
            let mut bytes = [0; BATCH_HEADER_BYTES];
            batch::seal(&mut bytes, &BatchLabel { first_position, durable_position, records, flags: 0 }, &segment, 0);
            tail.extend(&BatchHeader::decode(&bytes, &segment, 0).expect("it was just made"), end);
        }
        (tail.from, tail.to)
    }

    #[test]
    fn it_begins_behind_the_last_batch_that_is_known_as_synced() {
        assert_eq!(tail_of(100, &[]), (100, 100));
        assert_eq!(tail_of(64, &[(1, 5, 0)]), (0, 65), "with the header, which no sync was for");
        assert_eq!(tail_of(100, &[(1, 5, 0), (6, 1, 5), (7, 1, 6)]), (102, 103));
        assert_eq!(tail_of(100, &[(1, 5, 0), (6, 1, 0), (7, 1, 6)]), (101, 103), "never too late");
        assert_eq!(tail_of(100, &[(1, 5, 0), (6, 0, 5), (6, 1, 5)]), (101, 103), "moved records are not known of");
        assert_eq!(tail_of(100, &[(6, 0, 5), (6, 1, 5), (7, 1, 6)]), (102, 103));
    }
}
