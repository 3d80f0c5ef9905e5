//! The segment that batches are appended to.
//!
//! ```text
//! │batch│batch│batch│zeros              │ never written, or by an earlier life of the file
//!                   └─ offset           └─ written
//! ```
//! A file system that gave a file its blocks in advance still notes which of them were written, and a sync that is the
//! first one after a block's first write waits for its journal too: 208 against 122 µs with 4 KiB for each sync on ext4.
//! So a small sync that comes to fresh blocks writes zeros ahead of the batches, and those after it find written ones.
//! A large one needs no help, and would only be in its own way. What is used again was written before.

use super::batch::{self, BATCH_HEADER_BYTES, BatchLabel};
use super::disk::DiskFile;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber};
use std::io;

/// A body up to this length, in bytes, is copied behind its header: a second write takes longer.
const COPIED_MAX_BYTES: usize = 4096;

pub(super) struct Active<F> {
    file: F,
    header: SegmentHeader,
    /// Where the next batch goes.
    offset: u64,
    /// Where the file ends.
    end: u64,
    /// Everything before this was synced.
    synced: u64,
    /// Everything before this was written at some time, and whatever is written there needs no note of that.
    written: u64,
}

impl<F: DiskFile> Active<F> {
    /// Begins a segment in a file of `end` bytes, the first `written` of which an earlier segment had.
    pub fn begin(file: F, header: SegmentHeader, end: u64, written: u64) -> io::Result<Self> {
        file.write_at(&header.encode(), 0)?;
        Ok(Self { file, header, offset: SEGMENT_HEADER_BYTES as u64, end, synced: 0, written })
    }

    pub fn number(&self) -> SegmentNumber {
        self.header.number
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn has_room(&self, bytes: u64) -> bool {
        self.offset + bytes <= self.end
    }

    /// Seals a batch for the next place and writes it there.
    pub fn append(&mut self, batch: &mut [u8], label: &BatchLabel) -> io::Result<()> {
        batch::seal(batch, label, &self.header, self.offset);
        self.file.write_at(batch, self.offset)?;
        self.offset += batch.len() as u64;
        Ok(())
    }

    /// The same with a body that is elsewhere, and stays there.
    pub fn append_apart(&mut self, body: &[u8], label: &BatchLabel) -> io::Result<()> {
        let header = batch::header_of(body, label, &self.header, self.offset);
        let body_offset = self.offset + header.len() as u64;
        if body.len() <= COPIED_MAX_BYTES {
            let mut together = [0; BATCH_HEADER_BYTES + COPIED_MAX_BYTES];
            let together = &mut together[..header.len() + body.len()];
            together[..header.len()].copy_from_slice(&header);
            together[header.len()..].copy_from_slice(body);
            self.file.write_at(together, self.offset)?;
        } else {
            self.file.write_at(&header, self.offset)?;
            self.file.write_at(body, body_offset)?;
        }
        self.offset = body_offset + body.len() as u64;
        Ok(())
    }

    /// Makes everything appended survive; whether there was anything. `zeros` are written ahead when it is no more than
    /// `small_bytes`.
    pub fn sync(&mut self, zeros: &[u8], small_bytes: u64) -> io::Result<bool> {
        if self.synced == self.offset {
            return Ok(false);
        }
        if self.offset > self.written {
            self.written = self.offset;
            if self.offset - self.synced <= small_bytes {
                let room = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
                let zeros = &zeros[..zeros.len().min(room)];
                match self.file.write_at(zeros, self.offset) {
                    Ok(()) => self.written += zeros.len() as u64,
                    // They are no more than a help, and there is room for what has to be written.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.file.sync()?;
        self.synced = self.offset;
        Ok(true)
    }
}
