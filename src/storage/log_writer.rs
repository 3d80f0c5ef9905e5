//! The thread's half of the log: places batches, writes and syncs them, and keeps the account of what is alive.
//!
//! ```text
//! write(batch) ──► progress goes back to the loop ──► absorb() ──► maintain(): a step of compaction
//!                                                                  take_chore(): a checkpoint, the next segment's file
//! ```
//! The order matters: a waiting client is answered before the account is made. After a failed write or sync nobody knows
//! what is on the disk, so the writer is poisoned: it never writes, syncs or reports anything again.
//!
//! It is driven by calls and has no thread of its own; [`spawn`](super::spawn) gives it one.

use super::LogOptions;
use super::active::Active;
use super::batch::{self, BATCH_HEADER_BYTES, BatchLabel};
use super::checkpoint::{Needed, Unapplied};
use super::chore::Chore;
use super::disk::{Disk, Folder};
use super::error::StorageError;
use super::loader::Unread;
use super::log_store::{SealedBatch, Written};
use super::membership::Membership;
use super::meta::Meta;
use super::reclaim::Compaction;
use super::recovery::Resume;
use super::replica::Held;
use super::scan::{self, BatchReader, Found};
use super::segment::{FreeSegment, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::sequences::{Kind, Sequences};
use super::state::{SegmentUse, State};
use crate::broker::store::LogPosition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

pub struct LogWriter<D: Disk> {
    pub(super) disk: D,
    pub(super) options: LogOptions,
    pub(super) meta: Meta,
    pub(super) state: State,
    pub(super) active: Option<Active<D::File>>,
    pub(super) next_number: SegmentNumber,
    /// Segment files that hold nothing that is needed, of the ordinary size.
    pub(super) free: Vec<FreeSegment>,
    /// Sizes of all segment files but the free ones.
    pub(super) file_bytes: BTreeMap<SegmentNumber, u64>,
    /// The numbers of what was written.
    pub(super) sequences: Sequences,
    /// What comes from the last checkpoint and goes into the next one.
    pub(super) membership: Membership,
    /// Others commit what is written, and this is where the state is behind the log.
    pub(super) is_replicated: bool,
    pub(super) unapplied: Option<Unapplied>,
    /// What is kept for others.
    pub(super) held: Held,
    progress: Written,
    poisoned: bool,
    /// Written and not yet in the state.
    unabsorbed: Option<Unabsorbed>,
    recycled: Option<Vec<u8>>,
    zeros: Vec<u8>,
    pub(super) bytes_since_checkpoint: u64,
    /// The next checkpoint's number.
    pub(super) checkpoint_number: u64,
    /// What each of the checkpoints on disk needs, the newest last.
    pub(super) checkpoints: Vec<Needed>,
    /// To be handed out.
    pub(super) chores: VecDeque<Chore>,
    /// A checkpoint's chore is not done.
    pub(super) checkpoint_is_out: bool,
    /// The last one found a full disk.
    pub(super) checkpoint_had_no_room: bool,
    /// A segment's file that waits for its turn, and whether one was asked for since this segment was begun.
    pub(super) prepared: Option<FreeSegment>,
    pub(super) next_is_asked_for: bool,
    pub(super) next_had_no_room: bool,
    pub(super) compaction: Option<Compaction<D::File>>,
    /// It found no room for a segment: none is begun for it before one is for something else.
    pub(super) compaction_had_no_room: bool,
    /// What the loader has yet to read, and is neither freed nor emptied.
    pub(super) unread: Unread,
    /// Not to be used again: the system may have to read what is written over, and cannot.
    pub(super) damaged: BTreeSet<SegmentNumber>,
    pub(super) totals: Totals,
}

/// What was done since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Batches written, those of moved records included.
    pub batches: u64,
    /// Bytes of these batches, with their headers.
    pub bytes: u64,
    /// Syncs of segments that had something to sync.
    pub syncs: u64,
    /// Segment files that were made anew ...
    pub segments_created: u64,
    /// ... and those that had been another segment before. Both count files made in advance.
    pub segments_recycled: u64,
    /// Checkpoints that are on disk, or were.
    pub checkpoints: u64,
    /// Bytes of the batches in which live records were appended again, counted above.
    pub moved_bytes: u64,
}

struct Unabsorbed {
    buffer: Vec<u8>,
    segment: SegmentNumber,
}

impl<D: Disk> LogWriter<D> {
    /// Goes on where recovery ended: in a new generation and a new segment, behind a fresh checkpoint.
    ///
    /// # Errors
    /// The disk's. Nothing that recovery read was changed then.
    pub fn start(disk: D, options: LogOptions, resume: Resume) -> Result<Self, StorageError> {
        let Resume {
            meta,
            state,
            mut sequences,
            membership,
            is_replicated,
            unapplied,
            held,
            next_number,
            segment_files,
            checkpoints,
            checkpoint_number,
            damaged,
            tail,
            unread,
        } = resume;
        if let Some(tail) = tail {
            tail.write_again(&disk)?;
        }
        match is_replicated {
            true => sequences.on_disk(),
            false => sequences.synced(),
        }
        meta.write(&disk)?;
        let last_position = LogPosition(sequences.position);
        let zeros = vec![0; options.zero_ahead_bytes];
        let mut writer = Self {
            disk,
            options,
            meta,
            state,
            active: None,
            next_number,
            free: Vec::new(),
            file_bytes: segment_files,
            sequences,
            membership,
            is_replicated,
            unapplied,
            held,
            progress: Written { written: last_position, synced: last_position },
            poisoned: false,
            unabsorbed: None,
            recycled: None,
            zeros,
            bytes_since_checkpoint: 0,
            checkpoint_number,
            checkpoints,
            chores: VecDeque::new(),
            checkpoint_is_out: false,
            checkpoint_had_no_room: false,
            prepared: None,
            next_is_asked_for: false,
            next_had_no_room: false,
            compaction: None,
            compaction_had_no_room: false,
            unread,
            damaged: damaged.into_iter().collect(),
            totals: Totals::default(),
        };
        for number in writer.damaged.clone() {
            writer.rescue(number)?;
        }
        writer.checkpoint()?;
        if !writer.damaged.is_empty() {
            // Of the two that are kept neither needs what is damaged.
            writer.checkpoint()?;
        }
        Ok(writer)
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn disk(&self) -> &D {
        &self.disk
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whether a segment must stay as it is whatever checkpoints need: somebody reads it, or has yet to say what of it is
    /// committed.
    pub(super) fn is_held(&self, number: SegmentNumber) -> bool {
        self.unread.contains(number)
            || self.held.contains(number)
            || self.unapplied.is_some_and(|unapplied| number >= unapplied.start.segment)
    }

    /// Whatever fails from here on leaves the disk in a state that nobody knows.
    pub(super) fn poison_on_error<T>(&mut self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        self.poisoned |= result.is_err();
        result
    }

    /// Writes a batch and, when it asks for it, syncs. Call [`absorb`](Self::absorb) after the answer was given.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn write(&mut self, batch: SealedBatch) -> Result<Written, StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        self.absorb();
        let result = self.try_write(batch);
        self.poison_on_error(result)
    }

    fn try_write(&mut self, batch: SealedBatch) -> Result<Written, StorageError> {
        let SealedBatch { mut buffer, first_position, records, flags, sync, .. } = batch;
        if buffer.len() > BATCH_HEADER_BYTES || flags != 0 {
            debug_assert_eq!(first_position, self.sequences.position + 1);
            let kind = if flags == 0 { Kind::Entry { records } } else { Kind::Local { flags } };
            let segment = self.append(&mut buffer, kind)?;
            self.progress.written = LogPosition(self.sequences.position);
            self.unabsorbed = Some(Unabsorbed { buffer, segment });
        } else {
            self.recycled = Some(buffer);
        }
        if sync {
            self.sync()?;
        }
        Ok(self.progress)
    }

    /// Seals a batch for the next place in the log and writes it there; says in which segment.
    fn append(&mut self, batch: &mut [u8], kind: Kind) -> Result<SegmentNumber, StorageError> {
        let length = batch.len() as u64;
        self.append_by(length, kind, |active, label| active.append(batch, label))
    }

    /// Gives a batch of so many bytes the next place in the log, and lets it be written there; says in which segment.
    pub(super) fn append_by(
        &mut self,
        length: u64,
        kind: Kind,
        append: impl FnOnce(&mut Active<D::File>, &BatchLabel) -> io::Result<()>,
    ) -> Result<SegmentNumber, StorageError> {
        if !self.active.as_ref().is_some_and(|active| active.has_room(length)) {
            self.rotate(length)?;
        }
        let label = self.sequences.next(kind);
        let active = self.active.as_mut().expect("rotation leaves an active segment");
        let number = active.number();
        let writing = || format!("write {length} bytes to {}", Folder::Log.display(&file_name(number)));
        append(active, &label).map_err(|error| StorageError::Io { doing: writing(), error })?;
        self.sequences.follow(&label);
        self.bytes_since_checkpoint += length;
        self.totals.batches += 1;
        self.totals.bytes += length;
        self.state.segments.get_mut(&number).expect("the active segment is in use").end = active.offset();
        Ok(number)
    }

    /// Makes everything written survive.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        if let Some(active) = &mut self.active {
            let synced = active.sync(&self.zeros, self.options.small_sync_bytes);
            self.totals.syncs += u64::from(synced.map_err(StorageError::io("sync the log"))?);
        }
        match self.is_replicated {
            true => self.sequences.on_disk(),
            false => self.sequences.synced(),
        }
        self.progress.synced = self.progress.written;
        Ok(())
    }

    /// Begins a segment with room for `batch_bytes`.
    pub(super) fn rotate(&mut self, batch_bytes: u64) -> Result<(), StorageError> {
        // A segment's batches must not be on disk without those of the segment before it.
        self.sync()?;
        let needed_bytes = SEGMENT_HEADER_BYTES as u64 + batch_bytes;
        let ordinary_bytes = self.options.segment_bytes;
        let prepared = self.prepared.take();
        let (FreeSegment { number, written }, file) = match prepared.filter(|_| needed_bytes <= ordinary_bytes) {
            Some(prepared) => {
                let name = file_name(prepared.number);
                let opened = self.disk.open(Folder::Log, &name);
                (prepared, opened.map_err(StorageError::io(format!("begin {}", Folder::Log.display(&name))))?)
            }
            None => {
                // Its number is too low now.
                self.free.extend(prepared);
                self.make_segment(needed_bytes)?
            }
        };
        let beginning = || format!("begin {}", Folder::Log.display(&file_name(number)));
        let (cluster, generation) = (self.meta.ids.cluster, self.meta.generation);
        let header = SegmentHeader { cluster, number, first_serial: self.sequences.serial + 1, generation };
        let bytes = ordinary_bytes.max(needed_bytes);
        let active = Active::begin(file, header, bytes, written).map_err(StorageError::io(beginning()))?;
        self.compaction_had_no_room = false;
        // As long as there is no room for this one, none is asked for in advance.
        self.next_is_asked_for = false;
        self.file_bytes.insert(number, bytes);
        let end = active.offset();
        let segment = SegmentUse { generation, end, ..SegmentUse::default() };
        self.state.segments.insert(number, segment);
        self.active = Some(active);
        Ok(())
    }

    /// Makes a segment's file here and now: the first one, a large one, or one for which the chore is not done.
    fn make_segment(&mut self, needed_bytes: u64) -> Result<(FreeSegment, D::File), StorageError> {
        let number = self.next_number;
        self.next_number += 1;
        let name = file_name(number);
        let ordinary_bytes = self.options.segment_bytes;
        let recycled = if needed_bytes <= ordinary_bytes { self.take_free() } else { None };
        let file = match recycled {
            Some(free) => {
                self.totals.segments_recycled += 1;
                let renamed = self.disk.rename(Folder::Log, &file_name(free.number), &name);
                renamed.and_then(|()| self.disk.open(Folder::Log, &name))
            }
            None => {
                self.totals.segments_created += 1;
                self.disk.create(Folder::Log, &name, ordinary_bytes.max(needed_bytes))
            }
        };
        let beginning = format!("begin {}", Folder::Log.display(&name));
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(StorageError::NoRoom { doing: beginning, error });
            }
            file => file,
        };
        let made = file.and_then(|file| self.disk.sync_folder(Folder::Log).map(|()| file));
        let made = made.map_err(StorageError::io(beginning))?;
        Ok((FreeSegment { number, written: recycled.map_or(0, |free| free.written) }, made))
    }

    /// A free segment, if there is one: that of which the most was written.
    pub(super) fn take_free(&mut self) -> Option<FreeSegment> {
        let (at, _) = self.free.iter().enumerate().max_by_key(|(_, free)| free.written)?;
        Some(self.free.swap_remove(at))
    }

    /// Brings the account up to date with what was written.
    pub fn absorb(&mut self) {
        let Some(Unabsorbed { buffer, segment }) = self.unabsorbed.take() else { return };
        self.state.apply(&buffer[BATCH_HEADER_BYTES..], segment).expect("what this broker wrote, it can read");
        self.recycled = Some(buffer);
    }

    /// A buffer that is no longer needed, for the loop to fill again.
    pub fn take_recycled(&mut self) -> Option<Vec<u8>> {
        self.recycled.take()
    }

    /// Room left on the disk, in bytes.
    pub fn free_bytes(&self) -> Result<u64, StorageError> {
        self.disk.free_bytes().map_err(StorageError::io("ask for free disk space"))
    }

    /// Appends live records again, outside the sequence of positions.
    pub(super) fn append_moved(&mut self, buffer: &mut [u8]) -> Result<(), StorageError> {
        if buffer.len() == BATCH_HEADER_BYTES {
            return Ok(());
        }
        let segment = self.append(buffer, Kind::Local { flags: batch::FLAG_MOVED })?;
        self.totals.moved_bytes += buffer.len() as u64;
        self.state.apply(&buffer[BATCH_HEADER_BYTES..], segment).expect("what this broker wrote, it can read");
        Ok(())
    }

    /// Moves what is whole and alive out of a damaged segment.
    fn rescue(&mut self, number: SegmentNumber) -> Result<(), StorageError> {
        let Some(segment) = self.state.segments.get(&number) else { return Ok(()) };
        let mut reader = BatchReader::open_used(&self.disk, number, segment)?;
        let mut buffer = Vec::new();
        while reader.find_batch()? {
            let Found::Batch { batch, .. } = reader.next()? else { break };
            buffer.clear();
            buffer.resize(BATCH_HEADER_BYTES, 0);
            scan::put_live(&mut buffer, &self.state, batch.records(), number);
            self.append_moved(&mut buffer)?;
        }
        Ok(())
    }

    /// Everything up to here survives a crash.
    pub fn synced(&self) -> LogPosition {
        self.progress.synced
    }
}
