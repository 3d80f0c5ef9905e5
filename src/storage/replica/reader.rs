//! Entries read back from where they are, for whoever sends them to others: on any thread, while the writer writes.
//!
//! What is not there any more is no error. A segment may be freed, and its file may be another one's by now; checksums
//! know the segment and the place, so that nothing else is ever taken for an entry.

use super::super::StorageError;
use super::super::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader};
use super::super::disk::{Disk, DiskFile, Folder};
use super::super::entry::{Entry, EntryBody, EntryLabel, Place};
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use std::io;

/// Reads entries. Those of one segment open it once.
pub struct EntryReader<D: Disk> {
    disk: D,
    open: Option<(SegmentHeader, D::File)>,
}

impl<D: Disk> EntryReader<D> {
    pub fn new(disk: D) -> Self {
        Self { disk, open: None }
    }

    /// The entry there, or `None` when it is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&mut self, place: Place) -> Result<Option<Entry>, StorageError> {
        let reading = StorageError::io(format!("read {}", Folder::Log.display(&file_name(place.segment))));
        self.try_read(place).map_err(reading)
    }

    fn try_read(&mut self, Place { segment, offset, length }: Place) -> io::Result<Option<Entry>> {
        let Some((header, file)) = self.segment(segment)? else { return Ok(None) };
        let mut bytes = vec![0; BATCH_HEADER_BYTES + length as usize];
        let read = file.read_at(&mut bytes, offset)?;
        let label = whole_entry(&bytes[..read], header, offset);
        if label.is_none() {
            self.open = None;
        }
        Ok(label.map(|label| Entry { label, body: EntryBody::of_buffer(bytes) }))
    }

    fn segment(&mut self, number: SegmentNumber) -> io::Result<Option<&(SegmentHeader, D::File)>> {
        if self.open.as_ref().is_none_or(|(header, _)| header.number != number) {
            self.open = None;
            let file = match self.disk.open(Folder::Log, &file_name(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            file.read_at(&mut bytes, 0)?;
            self.open = SegmentHeader::decode(&bytes, number).map(|header| (header, file));
        }
        Ok(self.open.as_ref())
    }
}

/// What the batch that `bytes` are says as an entry.
fn whole_entry(bytes: &[u8], segment: &SegmentHeader, offset: u64) -> Option<EntryLabel> {
    let header = BatchHeader::decode(bytes, segment, offset)?;
    let body = &bytes[BATCH_HEADER_BYTES..];
    let is_whole = header.body_length as usize == body.len() && Batch { header, body }.is_whole(segment, offset);
    header.label.entry().filter(|_| is_whole)
}
