//! Compaction: when little is alive in much, the survivors are appended again, so that their old segments can be freed.
//!
//! ```text
//! segment 7   ▒▒▒▒▒█▒▒▒▒▒▒▒▒▒▒   one slow queue's message among a million dead ones
//!                  └──────────► moved batch at the log's end; 7 is free after the next two checkpoints
//! ```
//! It begins when the segments with live messages hold more than twice what is alive in them, and takes the emptiest
//! one, so that it never writes more than it frees. A backlog that is consumed in order causes none: its segments are
//! all alive or all dead, but for one. What the loader has yet to read stays as it is until then. Moved records take no positions and are moved in the order of the log, so a
//! removal of a message always comes behind all its copies.

use super::batch::BATCH_HEADER_BYTES;
use super::disk::{Disk, Folder};
use super::error::StorageError;
use super::log_writer::LogWriter;
use super::scan::{BatchReader, Found, put_live};
use super::segment::{SegmentNumber, file_name};

/// Dead bytes among live ones are let be up to this multiple of the live ones, …
const SPACE_FACTOR: u64 = 2;
/// … and up to this many segments.
const SLACK_SEGMENTS: u64 = 2;

/// A step reads half as much as the largest batch, so that emptying keeps ahead of writing and delays no batch for long.
const STEPS_OF_A_BATCH: usize = 2;

/// A segment that is being emptied, up to where the reader is.
pub(super) struct Compaction<F>(BatchReader<F>);

impl<D: Disk> LogWriter<D> {
    /// Does one bounded step of what is to be done beside writing; whether there is more.
    ///
    /// # Errors
    /// The disk's, or damage in a segment that is being emptied; from then on nothing but [`StorageError::Poisoned`].
    pub fn maintain(&mut self) -> Result<bool, StorageError> {
        if self.is_poisoned() {
            return Err(StorageError::Poisoned);
        }
        self.absorb();
        self.prepare_segment();
        if self.checkpoint_is_due() {
            let begun = self.begin_checkpoint();
            let chore = self.poison_on_error(begun)?;
            self.chores.push_back(chore);
        }
        let result = match self.compact() {
            // What was to be moved stays where it is, and is looked for again when there is room for the log itself.
            Err(StorageError::NoRoom { .. }) if self.is_replicated => {
                self.compaction = None;
                self.compaction_had_no_room = true;
                Ok(false)
            }
            result => result,
        };
        self.poison_on_error(result)
    }

    fn compact(&mut self) -> Result<bool, StorageError> {
        if self.compaction_had_no_room {
            return Ok(false);
        }
        if self.compaction.is_none() {
            let Some(number) = self.worth_emptying() else { return Ok(false) };
            self.compaction = Some(self.begin_compaction(number)?);
        }
        let Some(Compaction(mut reader)) = self.compaction.take() else { return Ok(false) };
        let number = reader.number();
        let damaged = |offset, what| StorageError::corrupt(Folder::Log.display(&file_name(number)), offset, what);
        let step_bytes = self.options.batch_max_bytes / STEPS_OF_A_BATCH;
        let mut moved = vec![0; BATCH_HEADER_BYTES];
        let (mut read, mut is_through) = (0, false);
        while read < step_bytes && !is_through && self.is_alive(number) {
            match reader.next()? {
                Found::Batch { batch, .. } => {
                    read += batch.body.len();
                    put_live(&mut moved, &self.state, batch.records(), number);
                }
                Found::Damage { offset } => {
                    let unreadable = reader.pass_damage()?;
                    return Err(damaged(offset, unreadable.as_deref().unwrap_or("a batch is damaged")));
                }
                Found::End => is_through = true,
            }
        }
        self.append_moved(&mut moved)?;
        if self.is_alive(number) {
            if is_through {
                return Err(damaged(reader.offset(), "a live message is not in its segment"));
            }
            self.compaction = Some(Compaction(reader));
        }
        Ok(true)
    }

    fn is_alive(&self, number: SegmentNumber) -> bool {
        self.state.segments.get(&number).is_some_and(|segment| segment.live > 0)
    }

    /// The emptiest segment, when dead bytes outweigh live ones.
    fn worth_emptying(&self) -> Option<SegmentNumber> {
        let active = self.active.as_ref().map(|active| active.number());
        let closed = || {
            let segments = self.state.segments.iter();
            let is_closed = move |number| Some(number) != active && !self.is_held(number);
            segments.filter(move |(number, segment)| segment.live > 0 && is_closed(**number))
        };
        let used: u64 = closed().map(|(_, segment)| segment.end).sum();
        let live: u64 = closed().map(|(_, segment)| segment.live_bytes()).sum();
        if used <= SPACE_FACTOR * live + SLACK_SEGMENTS * self.options.segment_bytes {
            return None;
        }
        let (number, _) = closed().min_by_key(|(_, segment)| (segment.live << 20) / segment.total.max(1))?;
        Some(*number)
    }

    /// It needs no whole header, as its batches are moved away from a damaged one.
    fn begin_compaction(&self, number: SegmentNumber) -> Result<Compaction<D::File>, StorageError> {
        BatchReader::open_used(&self.disk, number, &self.state.segments[&number]).map(Compaction)
    }
}
