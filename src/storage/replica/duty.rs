//! What a replicated log's writer is asked, what it says, and in which order it does what it has to: requests first, then
//! one step of what is to be done beside them.
//!
//! ```text
//! turn(request) ──► write, sync ──► Persisted ──► state ──► Applied ──► what waited for that ──► a step of upkeep
//!                                                                       take_chore(): for another thread
//! ```

use super::super::chore::{Chore, ChoreDone};
use super::super::disk::Disk;
use super::super::entry::{Entry, Place, Vote};
use super::super::log_writer::Totals;
use super::super::sequences::Reached;
use super::super::{ClusterId, StorageError};
use super::install::Install;
use super::pin::{Pin, PinId};
use super::survey::Survey;
use super::verify::Sealed;
use super::writer::{Appending, ReplicaWriter};
use std::collections::VecDeque;

/// Entries and a vote, to be written with one sync.
#[derive(Debug)]
pub struct Append {
    /// Comes back with [`ReplicaReport::Persisted`].
    pub number: u64,
    /// Each follows the one before, or cuts it off with all behind it. None that is committed is cut off.
    pub entries: Vec<Entry>,
    /// Said when the term or the vote in it has changed.
    pub vote: Option<Vote>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub enum ReplicaRequest {
    Append(Append),
    /// All up to this index is committed.
    Commit(u64),
    /// Say what there is, as soon as the state is as far as this index. Who asked before is not answered any more, and
    /// must have done with the loader.
    Survey {
        index: u64,
    },
    /// The folder, in which there is no log yet, becomes one of a cluster, with those members.
    Found {
        cluster: ClusterId,
        configuration: Vec<u8>,
    },
    /// Keep a checkpoint that holds the entry of this index, which is applied, and what belongs to it, so that it can be
    /// sent.
    Pin {
        index: u64,
    },
    Unpin(PinId),
    /// What lies whole in the folder of what is incoming becomes this node's log, in place of what there is.
    Install(Install),
    /// Say which segments hold what the state says.
    Sealed,
    /// Write a checkpoint, whether it is due or not.
    Checkpoint,
    /// Give back what the log can do without. What waits for room is tried again.
    MakeRoom,
    /// Something that was [left to others](ReplicaDuty::take_chore) is done.
    ChoreDone(ChoreDone),
}

/// What the writer says.
#[derive(Debug)]
pub enum ReplicaReport<D: Disk> {
    /// All of an [`Append`] is on the disk, and there are its entries by index.
    Persisted {
        number: u64,
        places: Vec<(u64, Place)>,
        /// What was written since the start.
        totals: Totals,
    },
    /// The state is as far as this index.
    Applied(u64),
    Survey(Box<Survey<D>>),
    Founded,
    Pinned(Pin),
    /// The log is another one's, up to there, and nothing is behind it.
    Installed(Reached),
    /// Something of it was missing or damaged; nothing was changed.
    NotInstalled(StorageError),
    /// No entry below this index can be read back any more.
    Forgotten {
        below: u64,
    },
    /// The segments that hold what the state says, up to where they are written.
    Sealed(Vec<Sealed>),
    /// A checkpoint that was asked for is on disk.
    Checkpointed,
    /// Something failed. Nothing more will be written.
    Failed(StorageError),
    /// Room left on the disk, in bytes; said after every change of segments.
    FreeBytes(u64),
    /// There is none for the next segment, which will be needed when this one is full.
    NoRoom,
    /// There is none for what is to be written, or installed. It waits, and so does all that is appended behind it.
    Full,
    /// Nothing waits for room any more.
    HasRoom,
}

/// A writer and what it has to do.
pub struct ReplicaDuty<D: Disk> {
    writer: ReplicaWriter<D>,
    has_upkeep: bool,
    checkpoint_is_wanted: bool,
    survey_is_wanted_at: Option<u64>,
    /// The entries that what is to be pinned has to hold, and up to which one a checkpoint was begun for that.
    pins_wanted: Vec<u64>,
    pin_tried_at: Option<u64>,
    install_is_wanted: Option<Install>,
    /// To be written, by their numbers. More than one when the first one waits for room.
    appends: VecDeque<(u64, Appending)>,
    /// It was said that there is no room.
    is_full: bool,
    /// Chores that were taken and are not done.
    chores_out: usize,
    /// What was said to be applied.
    applied: u64,
    /// How many segments there had been when the room was looked at.
    segments_begun: Option<u64>,
}

impl<D: Disk> ReplicaDuty<D> {
    pub fn new(writer: ReplicaWriter<D>) -> Self {
        Self {
            applied: writer.applied().index,
            writer,
            has_upkeep: true,
            checkpoint_is_wanted: false,
            survey_is_wanted_at: None,
            pins_wanted: Vec::new(),
            pin_tried_at: None,
            install_is_wanted: None,
            appends: VecDeque::new(),
            is_full: false,
            chores_out: 0,
            segments_begun: None,
        }
    }

    pub fn writer(&self) -> &ReplicaWriter<D> {
        &self.writer
    }

    pub fn disk(&self) -> &D {
        self.writer.log.disk()
    }

    /// Whether a [turn](Self::turn) without a request does something.
    pub fn has_work(&self) -> bool {
        self.has_upkeep
    }

    /// Does what is asked, if anything is, and one step of upkeep.
    pub fn turn(&mut self, request: Option<ReplicaRequest>, mut report: impl FnMut(ReplicaReport<D>)) {
        if let Some(request) = request
            && let Err(error) = self.answer(request, &mut report)
        {
            report(ReplicaReport::Failed(error));
        }
        // Who waits for it waits for nothing else.
        if let Err(error) = self.writer.mark_synced() {
            report(ReplicaReport::Failed(error));
        }
        if let Err(error) = self.look_after(&mut report) {
            report(ReplicaReport::Failed(error));
        }
        self.has_upkeep = match self.writer.log.maintain() {
            Ok(more) => more,
            Err(StorageError::Poisoned) => false,
            Err(error) => {
                report(ReplicaReport::Failed(error));
                false
            }
        };
        self.look_at_room(report);
    }

    fn answer(
        &mut self,
        request: ReplicaRequest,
        report: &mut impl FnMut(ReplicaReport<D>),
    ) -> Result<(), StorageError> {
        match request {
            ReplicaRequest::Append(Append { number, entries, vote }) => {
                self.appends.push_back((number, Appending::new(entries, vote)));
                self.append(report)?;
            }
            ReplicaRequest::Commit(index) => {
                let applied = self.writer.commit(index)?.index;
                if applied > self.applied {
                    self.applied = applied;
                    report(ReplicaReport::Applied(applied));
                }
            }
            ReplicaRequest::Survey { index } => self.survey_is_wanted_at = Some(index),
            ReplicaRequest::Found { cluster, configuration } => {
                self.writer.found(cluster, configuration)?;
                report(ReplicaReport::Founded);
            }
            ReplicaRequest::Pin { index } => self.pins_wanted.push(index),
            ReplicaRequest::Unpin(id) => self.writer.unpin(id),
            ReplicaRequest::Install(install) => self.install_is_wanted = Some(install),
            ReplicaRequest::Sealed => report(ReplicaReport::Sealed(self.writer.sealed())),
            ReplicaRequest::Checkpoint => self.checkpoint_is_wanted = true,
            ReplicaRequest::MakeRoom => {
                self.writer.make_room()?;
                self.append(report)?;
            }
            ReplicaRequest::ChoreDone(done) => {
                self.chores_out -= 1;
                self.writer.log.chore_done(done)?;
                if self.writer.log.take_no_room() {
                    report(ReplicaReport::NoRoom);
                }
                self.append(report)?;
            }
        }
        Ok(())
    }

    /// Writes what is to be written, as far as there is room.
    fn append(&mut self, report: &mut impl FnMut(ReplicaReport<D>)) -> Result<(), StorageError> {
        while let Some((number, appending)) = self.appends.front_mut() {
            if !self.writer.append(appending)? {
                self.tell_whether_full(true, report);
                return Ok(());
            }
            let (number, places) = (*number, std::mem::take(appending).into_places());
            self.appends.pop_front();
            report(ReplicaReport::Persisted { number, places, totals: self.writer.totals() });
        }
        if self.install_is_wanted.is_none() {
            self.tell_whether_full(false, report);
        }
        Ok(())
    }

    fn tell_whether_full(&mut self, is_full: bool, report: &mut impl FnMut(ReplicaReport<D>)) {
        match (std::mem::replace(&mut self.is_full, is_full), is_full) {
            (false, true) => report(ReplicaReport::Full),
            (true, false) => report(ReplicaReport::HasRoom),
            _ => {}
        }
    }

    /// What was asked for and had to wait.
    fn look_after(&mut self, report: &mut impl FnMut(ReplicaReport<D>)) -> Result<(), StorageError> {
        if self.survey_is_wanted_at.is_some_and(|index| index <= self.applied) {
            self.survey_is_wanted_at = None;
            report(ReplicaReport::Survey(Box::new(self.writer.survey()?)));
        }
        if self.checkpoint_is_wanted && !self.writer.log.is_checkpointing() {
            self.checkpoint_is_wanted = false;
            self.writer.log.checkpoint()?;
            report(ReplicaReport::Checkpointed);
        }
        self.pin(report)?;
        self.install(report)?;
        if let Some(below) = self.writer.take_forgotten() {
            report(ReplicaReport::Forgotten { below });
        }
        Ok(())
    }

    /// Pins the newest checkpoint, or one that is begun for it when that holds too little. A disk without room for another
    /// one leaves the newest one there is.
    fn pin(&mut self, report: &mut impl FnMut(ReplicaReport<D>)) -> Result<(), StorageError> {
        if self.pins_wanted.is_empty() || self.writer.log.is_checkpointing() {
            return Ok(());
        }
        let tried_at = self.pin_tried_at.take();
        let has_enough = |index: &u64| tried_at >= Some(*index) || self.writer.is_checkpointed(*index);
        let wanted = std::mem::take(&mut self.pins_wanted);
        let (now, later): (Vec<_>, Vec<_>) = wanted.into_iter().partition(has_enough);
        self.pins_wanted = later;
        for _ in now {
            report(ReplicaReport::Pinned(self.writer.pin()?));
        }
        if !self.pins_wanted.is_empty() {
            self.pin_tried_at = Some(self.applied);
            self.writer.begin_checkpoint()?;
        }
        Ok(())
    }

    /// Installs what is to be, once nobody else is at the files and all that was to be written before is.
    fn install(&mut self, report: &mut impl FnMut(ReplicaReport<D>)) -> Result<(), StorageError> {
        if self.chores_out > 0 || !self.appends.is_empty() {
            return Ok(());
        }
        let Some(install) = self.install_is_wanted.take() else { return Ok(()) };
        if !self.writer.has_room_to_install(&install)? {
            self.install_is_wanted = Some(install);
            self.tell_whether_full(true, report);
            return Ok(());
        }
        self.tell_whether_full(false, report);
        match self.writer.install(install) {
            Ok(reached) => {
                self.applied = reached.index;
                report(ReplicaReport::Installed(reached));
                Ok(())
            }
            Err(error) if self.writer.is_poisoned() => Err(error),
            Err(error) => {
                report(ReplicaReport::NotInstalled(error));
                Ok(())
            }
        }
    }

    /// Something that is to be done elsewhere. What came of it is a [request](ReplicaRequest::ChoreDone) of its own.
    pub fn take_chore(&mut self) -> Option<Chore> {
        let chore = self.writer.log.take_chore();
        self.chores_out += usize::from(chore.is_some());
        chore
    }

    fn look_at_room(&mut self, mut report: impl FnMut(ReplicaReport<D>)) {
        let totals = self.writer.totals();
        let begun = totals.segments_created + totals.segments_recycled;
        if self.segments_begun.replace(begun) == Some(begun) {
            return;
        }
        match self.writer.log.free_bytes() {
            Ok(bytes) => report(ReplicaReport::FreeBytes(bytes)),
            Err(error) => tracing::warn!(target: "storage", "{error}"),
        }
    }
}
