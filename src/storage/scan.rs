//! Reading segments back: whole files, batch by batch in bounded pieces, and the live records in them.

use super::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, find_batch};
use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use super::record::{Record, put_moved, read_record};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::state::State;
use crate::varint::Cursor;

/// Read at once, in bytes, unless a batch is larger: small enough to stay in a processor's cache until it is decoded.
const PIECE_BYTES: usize = 1 << 20;

/// Reads a segment's file into `buffer`.
pub fn read_segment(disk: &impl Disk, number: SegmentNumber, mut buffer: Vec<u8>) -> Result<Vec<u8>, StorageError> {
    let name = file_name(number);
    let reading = || format!("read {}", Folder::Log.display(&name));
    let file = disk.open(Folder::Log, &name).map_err(StorageError::io(reading()))?;
    let length = file.length().map_err(StorageError::io(reading()))?;
    let length = usize::try_from(length).expect("a segment is smaller than the address space");
    buffer.resize(length, 0);
    let read = file.read_at(&mut buffer, 0).map_err(StorageError::io(reading()))?;
    buffer.truncate(read);
    Ok(buffer)
}

/// Reads a segment's header; `None` when there is no whole one.
pub fn read_segment_header(disk: &impl Disk, number: SegmentNumber) -> Result<Option<SegmentHeader>, StorageError> {
    let name = file_name(number);
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = disk.open(Folder::Log, &name).and_then(|file| file.read_at(&mut bytes, 0));
    read.map_err(StorageError::io(format!("read {}", Folder::Log.display(&name))))?;
    Ok(SegmentHeader::decode(&bytes, number))
}

/// A batch with a record that is none: this is no accident of the disk.
pub fn bad_record(number: SegmentNumber, offset: u64) -> StorageError {
    let file = Folder::Log.display(&file_name(number));
    StorageError::corrupt(file, offset, "a record cannot be read although its checksum is right")
}

/// Copies the records of a batch's `body` that hold live messages of segment `number`, with their live routes only.
pub fn put_live(out: &mut Vec<u8>, state: &State, body: &[u8], number: SegmentNumber) {
    let mut records = Cursor::new(body);
    while !records.is_empty() {
        let Ok(record) = read_record(&mut records) else { return };
        let Record::Enqueue(enqueue) = record else { continue };
        let live = || enqueue.routes.filter(|route| state.segment_of(route.queue, route.sequence) == Some(number));
        if live().next().is_some() {
            put_moved(out, &enqueue, live());
        }
    }
}

/// Reads the batches of a segment up to a known end, in pieces.
pub struct BatchReader<F> {
    file: F,
    header: SegmentHeader,
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was read, and where in the segment it lies.
    filled: usize,
    buffer_offset: u64,
    /// Where the next batch begins in the buffer.
    position: usize,
}

/// What a [`BatchReader`] finds at an offset of its segment.
pub enum Found<'a> {
    Batch { offset: u64, body: &'a [u8] },
    Damage { offset: u64 },
    End,
}

impl<F: DiskFile> BatchReader<F> {
    /// Begins at a segment's first batch. `buffer` is one to use, whatever is in it.
    pub fn new(file: F, header: SegmentHeader, end: u64, buffer: Vec<u8>) -> Self {
        let buffer_offset = SEGMENT_HEADER_BYTES as u64;
        Self { file, header, end, buffer, filled: 0, buffer_offset, position: 0 }
    }

    pub fn number(&self) -> SegmentNumber {
        self.header.number
    }

    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn offset(&self) -> u64 {
        self.buffer_offset + self.position as u64
    }

    /// The next batch, checked. After damage it finds the same again until it was told to [skip](Self::skip) it.
    ///
    /// # Errors
    /// The disk's.
    pub fn next(&mut self) -> Result<Found<'_>, StorageError> {
        let offset = self.offset();
        if offset >= self.end {
            return Ok(Found::End);
        }
        self.fill(BATCH_HEADER_BYTES)?;
        let Some(header) = BatchHeader::decode(self.ahead(), &self.header, offset) else {
            return Ok(Found::Damage { offset });
        };
        let length = BATCH_HEADER_BYTES + header.body_length as usize;
        if offset + length as u64 > self.end {
            return Ok(Found::Damage { offset });
        }
        self.fill(length)?;
        let Some(bytes) = self.buffer[..self.filled].get(self.position..self.position + length) else {
            return Ok(Found::Damage { offset });
        };
        let batch = Batch { header, body: &bytes[BATCH_HEADER_BYTES..], end: 0 };
        if !batch.is_whole(&self.header, offset) {
            return Ok(Found::Damage { offset });
        }
        self.position += length;
        Ok(Found::Batch { offset, body: batch.body })
    }

    /// Goes on with the next whole batch behind damage.
    ///
    /// # Errors
    /// The disk's.
    pub fn skip(&mut self, disk: &impl Disk) -> Result<(), StorageError> {
        let bytes = read_segment(disk, self.header.number, Vec::new())?;
        let from = usize::try_from(self.offset() + 1).unwrap_or(usize::MAX);
        self.buffer_offset = find_batch(&bytes, from, &self.header).map_or(self.end, |(at, _)| at as u64);
        (self.position, self.filled) = (0, 0);
        Ok(())
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.position..self.filled]
    }

    /// Reads on until `length` bytes are ahead, or the segment ends.
    fn fill(&mut self, length: usize) -> Result<(), StorageError> {
        if self.filled - self.position >= length {
            return Ok(());
        }
        self.buffer.copy_within(self.position..self.filled, 0);
        self.buffer_offset += self.position as u64;
        self.filled -= self.position;
        self.position = 0;
        let in_segment = usize::try_from(self.end - self.buffer_offset).unwrap_or(usize::MAX);
        let wanted = length.max(PIECE_BYTES).min(in_segment.max(length));
        // One batch that was much larger than others leaves its room to nobody.
        if self.buffer.len() < wanted || self.buffer.len() > wanted.max(PIECE_BYTES) {
            self.buffer.resize(wanted.max(PIECE_BYTES), 0);
            self.buffer.shrink_to_fit();
        }
        let name = file_name(self.header.number);
        let read = self.file.read_at(&mut self.buffer[self.filled..wanted], self.buffer_offset + self.filled as u64);
        self.filled += read.map_err(StorageError::io(format!("read {}", Folder::Log.display(&name))))?;
        Ok(())
    }
}
