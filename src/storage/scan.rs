//! Reading segments back: batch by batch in bounded pieces, and the live records in them.

use super::FORMAT_VERSION;
use super::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, MAGIC};
use super::disk::{Disk, DiskFile, Folder, is_unreadable};
use super::error::StorageError;
use super::record::{Record, put_moved, read_record};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::state::{SegmentUse, State};
use super::unreadable::Unreadable;
use crate::varint::Cursor;
use std::io;

/// Read at once, in bytes, unless a batch is larger: small enough to stay in a processor's cache until it is decoded.
const PIECE_BYTES: usize = 1 << 20;

/// Reads a segment's header; says in words what is wrong with it when there is no whole one.
///
/// # Errors
/// The disk's, or the header is whole and of another format.
pub fn read_segment_header(
    disk: &impl Disk,
    number: SegmentNumber,
) -> Result<Result<SegmentHeader, String>, StorageError> {
    let name = file_name(number);
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    match disk.open(Folder::Log, &name).and_then(|file| file.read_at(&mut bytes, 0)) {
        Err(error) if is_unreadable(&error) => Ok(Err(format!("the segment's header cannot be read ({error})"))),
        Err(error) => Err(StorageError::io(format!("read {}", Folder::Log.display(&name)))(error)),
        Ok(_) => {
            if let Some(found) = SegmentHeader::format_of(&bytes, number).filter(|found| *found != FORMAT_VERSION) {
                return Err(StorageError::OtherFormat { found });
            }
            let damaged = || "the segment's header is damaged".to_owned();
            Ok(SegmentHeader::decode(&bytes, number).ok_or_else(damaged))
        }
    }
}

/// A batch with a record that is none: this is no accident of the disk.
pub const BAD_RECORD: &str = "a record cannot be read although its checksum is right";

/// Copies those of a batch's `records` that hold live messages of segment `number`, with their live routes only.
pub fn put_live(out: &mut Vec<u8>, state: &State, records: &[u8], number: SegmentNumber) {
    let mut records = Cursor::new(records);
    while !records.is_empty() {
        let Ok(record) = read_record(&mut records) else { return };
        let Record::Enqueue(enqueue) = record else { continue };
        let live = || enqueue.routes.filter(|route| state.segment_of(route.queue, route.sequence) == Some(number));
        if live().next().is_some() {
            put_moved(out, &enqueue, live());
        }
    }
}

/// Reads the batches of a segment in pieces. What the disk does not give is damage and no error.
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
    unreadable: Unreadable,
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
        let unreadable = Unreadable::default();
        Self { file, header, end, data_end: end, buffer, filled: 0, buffer_offset, position: 0, unreadable }
    }

    /// Opens a segment of which the account knows what is in it, with a whole header or without.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_used(
        disk: &impl Disk<File = F>,
        number: SegmentNumber,
        segment: &SegmentUse,
    ) -> Result<Self, StorageError> {
        let name = file_name(number);
        let opening = StorageError::io(format!("open {}", Folder::Log.display(&name)));
        let file = disk.open(Folder::Log, &name).map_err(opening)?;
        let header = SegmentHeader::known_by_batches(number, segment.generation);
        Ok(Self::new(file, header, segment.end, Vec::new()))
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

    /// Opens a segment that has no whole header; `None` when it was never begun. Its batches are read once its
    /// [generation is found](Self::find_generation).
    ///
    /// # Errors
    /// The disk's.
    pub fn open_headless(disk: &impl Disk<File = F>, number: SegmentNumber) -> Result<Option<Self>, StorageError> {
        let header = SegmentHeader::known_by_batches(number, 0);
        Self::open_as(disk, number, Vec::new(), |bytes| {
            (!SegmentHeader::is_of_another(bytes, number)).then_some(header)
        })
    }

    fn open_as(
        disk: &impl Disk<File = F>,
        number: SegmentNumber,
        buffer: Vec<u8>,
        header: impl FnOnce(&[u8]) -> Option<SegmentHeader>,
    ) -> Result<Option<Self>, StorageError> {
        let name = file_name(number);
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut unreadable = Unreadable::default();
        let opened = disk.open(Folder::Log, &name).and_then(|file| {
            let end = file.length()?;
            let data_end = or_unknown(file.data_end(), end)?;
            unreadable.read_around(&file, &mut bytes, 0)?;
            Ok((data_end, end, file))
        });
        let (data_end, end, file) = opened.map_err(StorageError::io(format!("read {}", Folder::Log.display(&name))))?;
        Ok(header(&bytes).map(|header| Self { data_end, unreadable, ..Self::new(file, header, end, buffer) }))
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
        while self.find_magic()? {
            if self.whole_batch()?.is_some() {
                return Ok(true);
            }
            self.position += 1;
        }
        Ok(false)
    }

    /// Finds out of which of some generations the segment is, by its first whole batch, and begins with it.
    ///
    /// # Errors
    /// The disk's.
    pub fn find_generation(&mut self, generations: &[u64]) -> Result<bool, StorageError> {
        while self.find_magic()? {
            for &generation in generations {
                self.header.generation = generation;
                if let Some(batch) = self.whole_batch()? {
                    self.header.first_serial = batch.label.serial;
                    return Ok(true);
                }
            }
            self.position += 1;
        }
        Ok(false)
    }

    /// Goes on behind damage with the first whole batch, if there is one, and says in words what in between cannot be
    /// read, if anything.
    ///
    /// # Errors
    /// The disk's.
    pub fn pass_damage(&mut self) -> Result<Option<String>, StorageError> {
        let from = self.offset();
        self.find_batch()?;
        Ok(self.unreadable_between(from, self.offset()))
    }

    /// What could not be read from one byte to before another, in words, as far as it was tried.
    pub fn unreadable_between(&self, from: u64, to: u64) -> Option<String> {
        self.unreadable.between(&Folder::Log.display(&file_name(self.header.number)), from, to)
    }

    /// Goes on with what a batch begins with, if there is any from here on.
    fn find_magic(&mut self) -> Result<bool, StorageError> {
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
                    return Ok(true);
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

    fn reading(&self) -> impl FnOnce(io::Error) -> StorageError {
        StorageError::io(format!("read {}", Folder::Log.display(&file_name(self.header.number))))
    }

    /// Steps over what was never written.
    fn skip_hole(&mut self) -> Result<(), StorageError> {
        let offset = self.offset();
        let next = or_unknown(self.file.next_data(offset), Some(offset)).map_err(self.reading())?.unwrap_or(self.end);
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
        let offset = self.buffer_offset + self.filled as u64;
        let read = self.unreadable.read_around(&self.file, &mut self.buffer[self.filled..wanted], offset);
        self.filled += read.map_err(self.reading())?;
        Ok(())
    }
}

/// What a disk knows of a file's holes, or `otherwise` when it cannot say.
fn or_unknown<T>(known: io::Result<T>, otherwise: T) -> io::Result<T> {
    match known {
        Err(error) if is_unreadable(&error) => Ok(otherwise),
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClusterId;
    use super::super::batch::{BatchLabel, seal};
    use super::*;

    const SEGMENT: SegmentHeader =
        SegmentHeader { cluster: ClusterId([1; 16]), number: 9, first_serial: 1, generation: 4 };

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
        let label = BatchLabel { serial: 1, term: 1, index: 1, first_position: 1, records: 1, ..BatchLabel::default() };
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
