//! Segments that are read through only to see whether they are whole: those of a snapshot before it takes the log's place,
//! and those of the log while nobody needs them.

use super::super::StorageError;
use super::super::disk::{Disk, DiskFile, Folder, is_unreadable};
use super::super::scan::{BatchReader, Found};
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::super::state::SegmentUse;
use super::install::read_checkpoint;
use std::io;

/// A segment up to a place before which nothing changes any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub number: SegmentNumber,
    pub generation: u64,
    /// Where a batch ends, and nothing counts behind it.
    pub end: u64,
}

impl Sealed {
    pub(super) fn of(number: SegmentNumber, segment: &SegmentUse) -> Self {
        Self { number, generation: segment.generation, end: segment.end }
    }

    /// Whether it is the same segment, if longer by now.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.number, self.generation) == (other.number, other.generation)
    }

    pub fn name(&self) -> String {
        file_name(self.number)
    }
}

/// Reads a segment through. `read` is told after every batch of how many bytes were read.
///
/// # Errors
/// The damage; or the disk's, after which it may be worth trying again.
pub fn verify<D: Disk>(disk: &D, folder: Folder, sealed: Sealed, read: impl FnMut(u64)) -> Result<(), StorageError> {
    let display = folder.display(&sealed.name());
    let damaged = |offset, reason: &str| Err(StorageError::corrupt(&display, offset, reason));
    match look(disk, folder, sealed, read) {
        Ok(None) => Ok(()),
        Ok(Some(0)) => damaged(0, "its header is not the one that was written"),
        Ok(Some(offset)) => damaged(offset, "there is no whole batch"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => damaged(0, "it is missing"),
        Err(error) if is_unreadable(&error) => damaged(0, &format!("it cannot be read: {error}")),
        Err(error) => Err(StorageError::io(format!("read {display}"))(error)),
    }
}

/// Where there is not what was written, if anywhere.
fn look<D: Disk>(
    disk: &D,
    folder: Folder,
    Sealed { number, generation, end }: Sealed,
    mut read: impl FnMut(u64),
) -> io::Result<Option<u64>> {
    let file = disk.open(folder, &file_name(number))?;
    if folder == Folder::Log {
        // What the system remembers says nothing of the disk.
        file.forget_cached();
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    match SegmentHeader::decode(&bytes, number) {
        Some(header) if header.generation == generation => {}
        _ => return Ok(Some(0)),
    }
    let header = SegmentHeader::known_by_batches(number, generation);
    let mut reader = BatchReader::new(file, header, end, Vec::new());
    loop {
        let before = reader.offset();
        match reader.next().map_err(io::Error::other)? {
            Found::Batch { .. } => read(reader.offset() - before),
            Found::Damage { offset } => return Ok(Some(offset)),
            Found::End => return Ok(None),
        }
    }
}

/// Reads everything of a snapshot that has arrived.
///
/// # Errors
/// The disk's, or what is not whole.
pub fn verify_incoming(disk: &impl Disk, checkpoint: &str) -> Result<(), StorageError> {
    let known = read_checkpoint(disk, checkpoint)?;
    for (number, segment) in known.state.segments.iter().filter(|(_, segment)| segment.live > 0) {
        verify(disk, Folder::Incoming, Sealed::of(*number, segment), |_| {})?;
    }
    Ok(())
}
