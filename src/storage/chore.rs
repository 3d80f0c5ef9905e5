//! Chores: what the log needs beside its batches and what may take the disk long. The writer hands them out to be done
//! elsewhere while it goes on, and takes back what came of them; nothing depends on when that is.
//!
//! | chore | why it is one |
//! |---|---|
//! | a checkpoint's file | megabytes to be written and synced |
//! | the next segment | a file system takes its time to give 64 MiB, and to make a name safe |
//! | removing files | so it does to take them back |
//!
//! It is a value, so that a simulated disk sees chores in an order that a test decides.

use super::checkpoint::{Needed, checkpoint_name, checkpoint_number_of};
use super::disk::{Disk, DiskFile, Folder, TEMPORARY_SUFFIX, write_atomically};
use super::error::StorageError;
use super::log_writer::LogWriter;
use super::segment::{FreeSegment, SegmentNumber, file_name};
use std::io;

/// Something to be done with the disk, on any thread.
#[derive(Debug)]
pub struct Chore(pub(super) Work);

#[derive(Debug)]
pub(super) enum Work {
    /// Writes a checkpoint, then removes those before the number `keep_from`, whoever left them.
    Checkpoint { needed: Needed, bytes: Vec<u8>, keep_from: u64 },
    /// Makes the file of a segment to come, out of a free one if there is one.
    Prepare { number: SegmentNumber, recycled: Option<FreeSegment>, bytes: u64 },
    /// Removes segments.
    Remove(Vec<SegmentNumber>),
}

/// What came of a [`Chore`], for [`LogWriter::chore_done`].
#[derive(Debug)]
pub struct ChoreDone(Result<Outcome, StorageError>);

#[derive(Debug)]
enum Outcome {
    Checkpointed(Needed),
    /// There was no room.
    NotCheckpointed,
    Prepared {
        segment: FreeSegment,
        is_recycled: bool,
    },
    /// There was no room.
    NotPrepared,
    Removed,
}

impl Chore {
    /// Does it.
    pub fn run(self, disk: &impl Disk) -> ChoreDone {
        ChoreDone(match self.0 {
            Work::Checkpoint { needed, bytes, keep_from } => write_checkpoint(disk, needed, &bytes, keep_from),
            Work::Prepare { number, recycled, bytes } => prepare(disk, number, recycled, bytes),
            Work::Remove(segments) => remove(disk, &segments),
        })
    }
}

fn write_checkpoint(disk: &impl Disk, needed: Needed, bytes: &[u8], keep_from: u64) -> Result<Outcome, StorageError> {
    let name = checkpoint_name(needed.number);
    match write_atomically(disk, Folder::Checkpoint, &name, bytes) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(target: "storage", "no room for a checkpoint; the log grows until there is: {error}");
            let _ = disk.remove(Folder::Checkpoint, &format!("{name}{TEMPORARY_SUFFIX}"));
            return Ok(Outcome::NotCheckpointed);
        }
        result => result.map_err(StorageError::io(format!("write {}", Folder::Checkpoint.display(&name))))?,
    }
    let names = disk.list(Folder::Checkpoint).map_err(StorageError::io("list checkpoint/"))?;
    for name in names.iter().filter(|name| checkpoint_number_of(name).is_some_and(|number| number < keep_from)) {
        let removing = format!("remove {}", Folder::Checkpoint.display(name));
        disk.remove(Folder::Checkpoint, name).map_err(StorageError::io(removing))?;
    }
    Ok(Outcome::Checkpointed(needed))
}

fn prepare(
    disk: &impl Disk,
    number: SegmentNumber,
    recycled: Option<FreeSegment>,
    bytes: u64,
) -> Result<Outcome, StorageError> {
    let name = file_name(number);
    let made = match recycled {
        Some(free) => disk.rename(Folder::Log, &file_name(free.number), &name),
        None => disk.create(Folder::Log, &name, bytes).and_then(|file| file.sync()),
    };
    match made.and_then(|()| disk.sync_folder(Folder::Log)) {
        // The log notices when it gets there, if there still is no room.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(Outcome::NotPrepared),
        Err(error) => Err(StorageError::Io { doing: format!("prepare {}", Folder::Log.display(&name)), error }),
        Ok(()) => {
            let segment = FreeSegment { number, written: recycled.map_or(0, |free| free.written) };
            Ok(Outcome::Prepared { segment, is_recycled: recycled.is_some() })
        }
    }
}

fn remove(disk: &impl Disk, segments: &[SegmentNumber]) -> Result<Outcome, StorageError> {
    for number in segments {
        let name = file_name(*number);
        let removing = format!("remove {}", Folder::Log.display(&name));
        disk.remove(Folder::Log, &name).map_err(StorageError::io(removing))?;
    }
    Ok(Outcome::Removed)
}

impl<D: Disk> LogWriter<D> {
    /// Something that is to be done beside writing, if there is anything. Several may be under way at once.
    pub fn take_chore(&mut self) -> Option<Chore> {
        if self.is_poisoned() { None } else { self.chores.pop_front() }
    }

    /// Takes what came of a chore.
    ///
    /// # Errors
    /// The chore's; from then on nothing but [`StorageError::Poisoned`].
    pub fn chore_done(&mut self, done: ChoreDone) -> Result<(), StorageError> {
        match self.poison_on_error(done.0)? {
            Outcome::Checkpointed(needed) => self.checkpointed(needed),
            Outcome::NotCheckpointed => {
                self.checkpoint_is_out = false;
                self.checkpoint_had_no_room = true;
            }
            Outcome::Prepared { segment, is_recycled } => self.take_prepared(segment, is_recycled),
            Outcome::NotPrepared => self.next_had_no_room = true,
            Outcome::Removed => {}
        }
        Ok(())
    }

    /// Asks for the file of the next segment when half of this one is full.
    pub(super) fn prepare_segment(&mut self) {
        let half_bytes = self.options.segment_bytes / 2;
        let is_due = self.active.as_ref().is_some_and(|active| active.offset() >= half_bytes);
        if is_due && !std::mem::replace(&mut self.next_is_asked_for, true) {
            let number = self.next_number;
            self.next_number += 1;
            let work = Work::Prepare { number, recycled: self.take_free(), bytes: self.options.segment_bytes };
            self.chores.push_back(Chore(work));
        }
    }

    /// Whether a segment could not be made in advance since this was asked last.
    pub fn take_no_room(&mut self) -> bool {
        std::mem::take(&mut self.next_had_no_room)
    }

    fn take_prepared(&mut self, segment: FreeSegment, is_recycled: bool) {
        match is_recycled {
            true => self.totals.segments_recycled += 1,
            false => self.totals.segments_created += 1,
        }
        // The log may have gone past that number meanwhile.
        if self.active.as_ref().is_some_and(|active| active.number() < segment.number) {
            self.prepared = Some(segment);
        } else {
            self.free.push(segment);
        }
    }
}
