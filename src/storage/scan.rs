//! Reading segments back: whole files, and the live records in them.

use super::batch::Batch;
use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use super::record::{Record, put_moved, read_record};
use super::segment::{SegmentNumber, file_name};
use super::state::State;
use crate::varint::Cursor;

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

/// Calls `each` with every record of a batch at `offset`.
///
/// # Errors
/// A batch is whole and a record in it is not: this is no accident of the disk.
pub fn for_each_record<'a>(
    batch: &Batch<'a>,
    number: SegmentNumber,
    offset: usize,
    mut each: impl FnMut(Record<'a>),
) -> Result<(), StorageError> {
    let mut records = Cursor::new(batch.body);
    while !records.is_empty() {
        let record = read_record(&mut records).map_err(|_| {
            let file = Folder::Log.display(&file_name(number));
            StorageError::corrupt(file, offset as u64, "a record cannot be read although its checksum is right")
        })?;
        each(record);
    }
    Ok(())
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
