//! What the writer's thread does, as calls: batches first, then one step of what is to be done beside them.
//!
//! ```text
//! turn(request) ──► write, sync ──► report(Done) ──► the account ──► a checkpoint asked for ──► a step of upkeep
//!                                                                    take_chore(): for another thread
//! ```
//! A [thread](super::spawn) calls it in a server, and a simulation when its seed says so, so that both do it in the same
//! order.

use super::chore::{Chore, ChoreDone};
use super::disk::Disk;
use super::error::StorageError;
use super::log_store::{BatchDone, SealedBatch};
use super::log_writer::{LogWriter, Totals};
use crate::broker::store::LogPosition;

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Request {
    Write(SealedBatch),
    /// Write a checkpoint, whether it is due or not.
    Checkpoint,
    /// Give back what the log can do without.
    MakeRoom,
    /// Something that was [left to others](WriterDuty::take_chore) is done.
    ChoreDone(ChoreDone),
}

/// What the writer says.
#[derive(Debug)]
pub enum Report {
    /// To [`LogStore::batch_done`](super::LogStore::batch_done), and what was done by then.
    Done(BatchDone, Totals),
    /// A checkpoint that was asked for is on disk.
    Checkpointed,
    /// Something failed beside writing a batch. Nothing more will be written.
    Failed(StorageError),
    /// Room left on the disk, in bytes; said after every change of segments.
    FreeBytes(u64),
    /// Of a cluster: the disks of most nodes have all up to there.
    Committed(LogPosition),
    /// Of a cluster: this node leads no more, and nothing comes after this.
    Deposed,
    /// There is none for the next segment, which will be needed when this one is full.
    NoRoom,
}

/// A writer and what it has to do.
pub struct WriterDuty<D: Disk> {
    writer: LogWriter<D>,
    has_upkeep: bool,
    checkpoint_is_wanted: bool,
    /// How many segments there had been when the room was looked at.
    segments_begun: Option<u64>,
}

impl<D: Disk> WriterDuty<D> {
    pub fn new(writer: LogWriter<D>) -> Self {
        Self { writer, has_upkeep: true, checkpoint_is_wanted: false, segments_begun: None }
    }

    pub fn disk(&self) -> &D {
        self.writer.disk()
    }

    /// Whether a [turn](Self::turn) without a request does something.
    pub fn has_work(&self) -> bool {
        self.has_upkeep
    }

    /// Does what is asked, if anything is, and one step of upkeep.
    pub fn turn(&mut self, request: Option<Request>, mut report: impl FnMut(Report)) {
        match request {
            Some(Request::Write(batch)) => {
                let recycled = self.writer.take_recycled();
                let result = self.writer.write(batch);
                // Who waits for it waits for nothing else.
                report(Report::Done(BatchDone { result, recycled }, self.writer.totals()));
                self.writer.absorb();
            }
            Some(Request::Checkpoint) => self.checkpoint_is_wanted = true,
            Some(Request::MakeRoom) => {
                if let Err(error) = self.writer.make_room() {
                    report(Report::Failed(error));
                }
            }
            Some(Request::ChoreDone(done)) => {
                if let Err(error) = self.writer.chore_done(done) {
                    report(Report::Failed(error));
                }
                if self.writer.take_no_room() {
                    report(Report::NoRoom);
                }
            }
            None => {}
        }
        if self.checkpoint_is_wanted && !self.writer.is_checkpointing() {
            self.checkpoint_is_wanted = false;
            match self.writer.checkpoint() {
                Ok(()) => report(Report::Checkpointed),
                Err(error) => report(Report::Failed(error)),
            }
        }
        self.has_upkeep = match self.writer.maintain() {
            Ok(more) => more,
            Err(StorageError::Poisoned) => false,
            Err(error) => {
                report(Report::Failed(error));
                false
            }
        };
        self.look_at_room(report);
    }

    /// Something that is to be done elsewhere. What came of it is a [request](Request::ChoreDone) of its own.
    pub fn take_chore(&mut self) -> Option<Chore> {
        self.writer.take_chore()
    }

    fn look_at_room(&mut self, mut report: impl FnMut(Report)) {
        let totals = self.writer.totals();
        let begun = totals.segments_created + totals.segments_recycled;
        if self.segments_begun.replace(begun) == Some(begun) {
            return;
        }
        match self.writer.free_bytes() {
            Ok(bytes) => report(Report::FreeBytes(bytes)),
            Err(error) => tracing::warn!(target: "storage", "{error}"),
        }
    }
}
