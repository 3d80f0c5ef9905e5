//! Reading segments back: batch by batch in bounded pieces, and the live records in them.

use super::NodeId;
use super::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, MAGIC};
use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use super::record::{Record, put_moved, read_record};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::state::State;
use crate::varint::Cursor;

/// Read at once, in bytes, unless a batch is larger: small enough to stay in a processor's cache until it is decoded.
const PIECE_BYTES: usize = 1 << 20;

/// Reads a segment's header; `None` when there is no whole one.
pub fn read_segment_header(disk: &impl Disk, number: SegmentNumber) -> Result<Option<SegmentHeader>, StorageError> {
    let name = file_name(number);
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = disk.open(Folder::Log, &name).and_then(|file| file.read_at(&mut bytes, 0));
    read.map_err(StorageError::io(format!("read {}", Folder::Log.display(&name))))?;
    Ok(SegmentHeader::decode(&bytes, number))
}

/// A batch with a record that is none: this is no accident of the disk.
pub const BAD_RECORD: &str = "a record cannot be read although its checksum is right";

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

/// Reads the batches of a segment in pieces.
pub struct BatchReader<F> {
    file: F,
    header: SegmentHeader,
    end: u64,
    /// Behind this no batch begins.
    data_end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was read, and where in the segment it lies.
    filled: usize,
    buffer_offset: u64,
    /// Where the next batch begins in the buffer.
    position: usize,
}

/// What a [`BatchReader`] finds at an offset of its segment.
pub enum Found<'a> {
    Batch { offset: u64, batch: Batch<'a> },
    Damage { offset: u64 },
    End,
}

impl<F: DiskFile> BatchReader<F> {
    /// Begins at a segment's first batch, and knows where the last one ends. `buffer` is one to use, whatever is in it.
    pub fn new(file: F, header: SegmentHeader, end: u64, buffer: Vec<u8>) -> Self {
        let buffer_offset = SEGMENT_HEADER_BYTES as u64;
        Self { file, header, end, data_end: end, buffer, filled: 0, buffer_offset, position: 0 }
    }

    /// Opens a segment of which nobody knows where its batches end; `None` when it has no whole header.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(
        disk: &impl Disk<File = F>,
        number: SegmentNumber,
        buffer: Vec<u8>,
    ) -> Result<Option<Self>, StorageError> {
        Self::open_as(disk, number, buffer, |bytes| SegmentHeader::decode(bytes, number))
    }

    /// Opens a segment that has no whole header as one of `generation`, whose batches are found if it was; `None` when it
    /// was never begun.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_headless(
        disk: &impl Disk<File = F>,
        number: SegmentNumber,
        generation: u64,
        buffer: Vec<u8>,
    ) -> Result<Option<Self>, StorageError> {
        // The checksums of batches know no more than these.
        let header = SegmentHeader { node_id: NodeId([0; 16]), number, first_position: 0, generation };
        Self::open_as(disk, number, buffer, |bytes| (!SegmentHeader::is_of_another(bytes, number)).then_some(header))
    }

    fn open_as(
        disk: &impl Disk<File = F>,
        number: SegmentNumber,
        buffer: Vec<u8>,
        header: impl FnOnce(&[u8]) -> Option<SegmentHeader>,
    ) -> Result<Option<Self>, StorageError> {
        let name = file_name(number);
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let opened = disk.open(Folder::Log, &name).and_then(|file| {
            let data_end = file.data_end()?;
            file.read_at(&mut bytes, 0)?;
            Ok((data_end, file.length()?, file))
        });
        let (data_end, end, file) = opened.map_err(StorageError::io(format!("read {}", Folder::Log.display(&name))))?;
        Ok(header(&bytes).map(|header| Self { data_end, ..Self::new(file, header, end, buffer) }))
    }

    pub fn number(&self) -> SegmentNumber {
        self.header.number
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Where the next batch is, or should be.
    pub fn offset(&self) -> u64 {
        self.buffer_offset + self.position as u64
    }

    /// What was read from `offset`, where the last batch begins, up to where the next one does.
    pub fn bytes_since(&self, offset: u64) -> &[u8] {
        &self.buffer[(offset - self.buffer_offset) as usize..self.position]
    }

    /// Goes on at `offset`.
    pub fn go_to(&mut self, offset: u64) {
        (self.buffer_offset, self.position, self.filled) = (offset, 0, 0);
    }

    /// The next batch, checked. After damage it finds the same again until it was told to [go on](Self::find_batch)
    /// behind it.
    ///
    /// # Errors
    /// The disk's.
    pub fn next(&mut self) -> Result<Found<'_>, StorageError> {
        let offset = self.offset();
        if offset >= self.end {
            return Ok(Found::End);
        }
        let Some(header) = self.whole_batch()? else { return Ok(Found::Damage { offset }) };
        let start = self.position + BATCH_HEADER_BYTES;
        self.position = start + header.body_length as usize;
        Ok(Found::Batch { offset, batch: Batch { header, body: &self.buffer[start..self.position] } })
    }

    /// Goes on with the first whole batch, if there is one from here on.
    ///
    /// # Errors
    /// The disk's.
    pub fn find_batch(&mut self) -> Result<bool, StorageError> {
        let finder = memchr::memmem::Finder::new(&MAGIC);
        loop {
            if self.ahead().len() < BATCH_HEADER_BYTES && self.offset() < self.data_end {
                self.skip_hole()?;
                self.fill(BATCH_HEADER_BYTES)?;
            }
            if self.ahead().len() < BATCH_HEADER_BYTES || self.offset() >= self.data_end {
                self.go_to(self.end);
                return Ok(false);
            }
            match finder.find(self.ahead()) {
                Some(at) => {
                    self.position += at;
                    if self.whole_batch()?.is_some() {
                        return Ok(true);
                    }
                    self.position += 1;
                }
                // One may begin with the last bytes that were read.
                None => self.position = self.filled - (MAGIC.len() - 1),
            }
        }
    }

    /// Makes sure that a whole batch is ahead.
    fn whole_batch(&mut self) -> Result<Option<BatchHeader>, StorageError> {
        self.fill(BATCH_HEADER_BYTES)?;
        let offset = self.offset();
        let Some(header) = BatchHeader::decode(self.ahead(), &self.header, offset) else { return Ok(None) };
        let length = BATCH_HEADER_BYTES + header.body_length as usize;
        if offset + length as u64 > self.end {
            return Ok(None);
        }
        self.fill(length)?;
        let Some(body) = self.ahead().get(BATCH_HEADER_BYTES..length) else { return Ok(None) };
        Ok(Batch { header, body }.is_whole(&self.header, offset).then_some(header))
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.position..self.filled]
    }

    fn reading(&self) -> impl FnOnce(std::io::Error) -> StorageError {
        StorageError::io(format!("read {}", Folder::Log.display(&file_name(self.header.number))))
    }

    /// Steps over what was never written.
    fn skip_hole(&mut self) -> Result<(), StorageError> {
        let offset = self.offset();
        let next = self.file.next_data(offset).map_err(self.reading())?.unwrap_or(self.end);
        if next > offset {
            self.go_to(next.min(self.end));
        }
        Ok(())
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
        let in_segment = usize::try_from(self.end.saturating_sub(self.buffer_offset)).unwrap_or(usize::MAX);
        let wanted = length.max(PIECE_BYTES).min(in_segment.max(length));
        // One batch that was much larger than others leaves its room to nobody.
        if self.buffer.len() < wanted || self.buffer.len() > wanted.max(PIECE_BYTES) {
            self.buffer.resize(wanted.max(PIECE_BYTES), 0);
            self.buffer.shrink_to_fit();
        }
        let read = self.file.read_at(&mut self.buffer[self.filled..wanted], self.buffer_offset + self.filled as u64);
        self.filled += read.map_err(self.reading())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{BatchLabel, seal};
    use super::*;
    use std::io;

    const SEGMENT: SegmentHeader =
        SegmentHeader { node_id: NodeId([1; 16]), number: 9, first_position: 1, generation: 4 };

    /// What is on a disk that is only read, with holes where there are zeros.
    struct Bytes(Vec<u8>);

    impl DiskFile for Bytes {
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            Ok(rest.iter().position(|byte| *byte != 0).map(|at| offset + at as u64))
        }

        fn data_end(&self) -> io::Result<u64> {
            Ok(self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Puts a batch at `offset`; says where it ends.
    fn put(bytes: &mut Vec<u8>, offset: usize, body: &[u8]) -> usize {
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        batch.extend_from_slice(body);
        let label = BatchLabel { first_position: 1, durable_position: 0, records: 1, flags: 0 };
        seal(&mut batch, &label, &SEGMENT, offset as u64);
        let end = offset + batch.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(&batch);
        end
    }

    /// Where whole batches are found, with their lengths.
    fn found(bytes: Vec<u8>) -> Vec<(u64, usize)> {
        let end = bytes.len() as u64;
        let mut reader = BatchReader::new(Bytes(bytes), SEGMENT, end, Vec::new());
        let mut found = Vec::new();
        while reader.find_batch().unwrap() {
            let Found::Batch { offset, batch } = reader.next().unwrap() else { panic!("it was just found") };
            found.push((offset, batch.body.len()));
        }
        assert!(matches!(reader.next().unwrap(), Found::End));
        found
    }

    #[test]
    fn a_batch_is_found_wherever_a_piece_ends() {
        const FILLER: u8 = b'L';
        let border = SEGMENT_HEADER_BYTES + PIECE_BYTES;
        for offset in border - BATCH_HEADER_BYTES - 20..border + 5 {
            let mut bytes = vec![FILLER; offset];
            let end = put(&mut bytes, offset, b"ten octets");
            bytes.resize(end + 7, FILLER);
            assert_eq!(found(bytes), [(offset as u64, 10)]);
        }
    }

    #[test]
    fn batches_are_found_behind_holes_and_behind_what_only_looks_like_one() {
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        let first_end = put(&mut bytes, SEGMENT_HEADER_BYTES, b"first");
        bytes.extend_from_slice(&MAGIC);
        let (second, third) = (3 * PIECE_BYTES - 1, 5 * PIECE_BYTES + 1);
        let torn_end = put(&mut bytes, first_end + 100, &[7; 300]);
        bytes[torn_end - 1] ^= 1;
        put(&mut bytes, second, &vec![8; PIECE_BYTES + 9]);
        put(&mut bytes, third, b"");
        bytes.resize(7 * PIECE_BYTES, 0);
        let wanted = [(SEGMENT_HEADER_BYTES, 5), (second, PIECE_BYTES + 9), (third, 0)];
        assert_eq!(found(bytes), wanted.map(|(offset, length)| (offset as u64, length)));
    }

    #[test]
    fn nothing_is_found_where_there_is_no_room_for_a_batch() {
        for length in 0..BATCH_HEADER_BYTES {
            let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
            bytes.extend(MAGIC.iter().cycle().take(length));
            assert_eq!(found(bytes), []);
        }
    }
}
