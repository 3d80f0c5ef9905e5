//! The writer of a log that several nodes agree on: a [`LogWriter`] whose state waits for commits.
//!
//! ```text
//! append(entries, vote) ──► one sync ──► places        commit(index) ──► the state, in the order of indexes
//! ```
//! A vote is written before the entries that came with it: what is left of a torn write begins at the front, so no entry
//! of a term is there without the term. Bodies are written from where they are and kept until they are applied.
//!
//! After a failed write or sync nobody knows what is on the disk, and it never writes, syncs or reports anything again.

use super::super::batch::{BATCH_HEADER_BYTES, FLAG_VOTE};
use super::super::disk::{Disk, Folder};
use super::super::entry::{Entry, Place, Vote};
use super::super::log_writer::{LogWriter, Totals};
use super::super::membership::Membership;
use super::super::scan::BAD_RECORD;
use super::super::segment::{SegmentNumber, file_name};
use super::super::sequences::{Kind, Reached};
use super::super::state::State;
use super::super::{ClusterId, LogOptions, StorageError};
use super::aside;
use super::held::newest_from;
use super::install::clean;
use super::kept::Kept;
use super::mark::Mark;
use super::pending::{Pending, Uncommitted};
use super::recovery::ReplicaResume;
use super::replay::{apply, encode_vote};
use super::verify::Sealed;
use std::collections::VecDeque;
use std::io;

/// What is being written.
#[derive(Debug, Default)]
pub struct Appending {
    entries: VecDeque<Entry>,
    vote: Option<Vote>,
    places: Vec<(u64, Place)>,
}

impl Appending {
    pub fn new(entries: Vec<Entry>, vote: Option<Vote>) -> Self {
        Self { entries: entries.into(), vote, places: Vec::new() }
    }

    /// Where the entries are that were written.
    pub fn into_places(self) -> Vec<(u64, Place)> {
        self.places
    }
}

pub struct ReplicaWriter<D: Disk> {
    pub(super) log: LogWriter<D>,
    pub(super) pending: Pending,
    kept: Kept,
    /// What was freed is looked for when there is another checkpoint.
    checkpoints_seen: u64,
    /// The newest segment when it was looked how many are kept.
    kept_up_to: Option<SegmentNumber>,
    pub(super) pins_given: u64,
    mark: Mark<D::File>,
}

impl<D: Disk> ReplicaWriter<D> {
    /// Goes on where recovery ended. From then on the folder has this node's member id.
    ///
    /// # Errors
    /// The disk's. Nothing that recovery read was changed then.
    pub fn start(disk: D, options: LogOptions, resume: ReplicaResume) -> Result<Self, StorageError> {
        let ReplicaResume { mut log, pending, kept } = resume;
        log.held.newest_from = newest_from(&log.segment_files, options.kept_for_followers_bytes);
        let log = LogWriter::start(disk, options, log)?;
        // Whoever was sending it begins again.
        clean(log.disk());
        let mark = Mark::open(log.disk(), log.meta.ids.member, log.sequences.synced_serial)?;
        Ok(Self { log, pending, kept, checkpoints_seen: 0, kept_up_to: None, pins_given: 0, mark })
    }

    pub fn state(&self) -> &State {
        self.log.state()
    }

    pub fn totals(&self) -> Totals {
        self.log.totals()
    }

    pub fn membership(&self) -> &Membership {
        &self.log.membership
    }

    pub fn is_poisoned(&self) -> bool {
        self.log.is_poisoned()
    }

    /// The segments that the state counts on, up to where they are written.
    pub fn sealed(&self) -> Vec<Sealed> {
        let segments = self.log.state.segments.iter();
        let there = segments.filter(|(number, _)| self.log.file_bytes.contains_key(number));
        there.map(|(number, segment)| Sealed::of(*number, segment)).collect()
    }

    /// How far the state is.
    pub fn applied(&self) -> Reached {
        self.pending.applied()
    }

    /// Of the last entry that was written.
    pub fn last(&self) -> Reached {
        self.pending.last()
    }

    /// Makes this folder, in which nothing was written yet, one of a cluster. It is as soon as META says so.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn found(&mut self, cluster: ClusterId, configuration: Vec<u8>) -> Result<(), StorageError> {
        assert!(cluster.is_any() && !self.log.meta.ids.cluster.is_any(), "a folder is founded once");
        assert_eq!(self.log.sequences.serial, 0, "a folder with a log belongs to somebody");
        self.log.meta.ids.cluster = cluster;
        self.log.membership.configuration = configuration;
        self.log.checkpoint()?;
        if self.log.checkpoint_had_no_room {
            // Without it nobody would know who the members are.
            let full = Err(io::Error::from(io::ErrorKind::StorageFull));
            return self.log.poison_on_error(full.map_err(StorageError::io("write a checkpoint of nothing")));
        }
        let written = self.log.meta.write(self.log.disk()).and_then(|()| aside::forget(self.log.disk()));
        self.log.poison_on_error(written)
    }

    /// Writes what is left of a vote and entries, each of which follows the one before or cuts it off, and syncs. Whether all of
    /// it is on the disk: if not, there is no room for more of it, and it may be gone on with later.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    ///
    /// # Panics
    /// An entry does not follow any that is not committed, or the vote takes another one back.
    pub fn append(&mut self, appending: &mut Appending) -> Result<bool, StorageError> {
        if self.is_poisoned() {
            return Err(StorageError::Poisoned);
        }
        let appended = match self.try_append(appending) {
            Err(StorageError::NoRoom { .. }) => Ok(false),
            appended => appended.map(|()| true),
        };
        self.log.unapplied = self.pending.unapplied();
        self.keep_newest();
        self.log.poison_on_error(appended)
    }

    /// Leaves [evidence](super::mark) of what was synced, after whoever waited for it was told.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn mark_synced(&mut self) -> Result<(), StorageError> {
        if self.is_poisoned() {
            return Ok(());
        }
        let marked = self.mark.synced(self.log.sequences.synced_serial);
        self.log.poison_on_error(marked)
    }

    fn try_append(&mut self, appending: &mut Appending) -> Result<(), StorageError> {
        if let Some(vote) = appending.vote {
            assert!(vote.may_follow(&self.log.membership.vote), "no vote is taken back");
            self.write(&encode_vote(&vote), Kind::Local { flags: FLAG_VOTE })?;
            self.log.membership.vote = vote;
            appending.vote = None;
        }
        while let Some(entry) = appending.entries.front() {
            let place = self.write_entry(entry)?;
            appending.places.push((entry.label.index, place));
            appending.entries.pop_front();
        }
        self.log.sync()
    }

    fn write_entry(&mut self, entry: &Entry) -> Result<Place, StorageError> {
        let Entry { label, body } = entry;
        let before =
            self.pending.before(label.index).expect("an entry follows one that is there, and none that is applied");
        assert_eq!(label.first_position, before.position + 1, "positions follow each other");
        if label.index <= self.last().index {
            // No segment has two entries of one index. As long as there is no room for another one, none is cut off.
            self.log.rotate((BATCH_HEADER_BYTES + body.bytes().len()) as u64)?;
            self.pending.cut_off(label.index);
            self.kept.cut_off(label.index);
            self.log.sequences.end_at(before);
        }
        let place = self.write(body.bytes(), Kind::Agreed(*label))?;
        self.kept.note(place.segment, label.index);
        let body = body.clone();
        self.pending.push(Uncommitted { label: *label, place, serial: self.log.sequences.serial, body });
        Ok(place)
    }

    /// Keeps the newest segments for followers that lag.
    fn keep_newest(&mut self) {
        let newest = self.log.file_bytes.keys().next_back().copied();
        if std::mem::replace(&mut self.kept_up_to, newest) != newest {
            self.log.held.newest_from = newest_from(&self.log.file_bytes, self.log.options.kept_for_followers_bytes);
        }
    }

    /// The disk is nearly full: gives back what the log can do without, and followers that lag, too.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn make_room(&mut self) -> Result<(), StorageError> {
        self.log.held.newest_from = SegmentNumber::MAX;
        self.log.make_room()
    }

    /// Below which index no entry can be read back any more, if that has changed.
    pub fn take_forgotten(&mut self) -> Option<u64> {
        let checkpoints = self.log.totals().checkpoints;
        if std::mem::replace(&mut self.checkpoints_seen, checkpoints) == checkpoints {
            return None;
        }
        self.kept.forget(|number| self.log.file_bytes.contains_key(&number))
    }

    fn write(&mut self, body: &[u8], kind: Kind) -> Result<Place, StorageError> {
        let length = (BATCH_HEADER_BYTES + body.len()) as u64;
        let mut offset = 0;
        let segment = self.log.append_by(length, kind, |active, label| {
            offset = active.offset();
            active.append_apart(body, label)
        })?;
        let length = u32::try_from(body.len()).expect("batches are bounded below 4 GiB");
        Ok(Place { segment, offset, length })
    }

    /// Lets the entries up to an index become state, as far as they were written; says how far it is now.
    ///
    /// # Errors
    /// An entry holds what this version does not know; from then on nothing but [`StorageError::Poisoned`].
    pub fn commit(&mut self, index: u64) -> Result<Reached, StorageError> {
        if self.is_poisoned() {
            return Err(StorageError::Poisoned);
        }
        while let Some(entry) = self.pending.take_committed(index) {
            if apply(&entry, &mut self.log.state, &mut self.log.membership).is_err() {
                let Place { segment, offset, .. } = entry.place;
                let file = Folder::Log.display(&file_name(segment));
                return self.log.poison_on_error(Err(StorageError::corrupt(file, offset, BAD_RECORD)));
            }
        }
        self.log.sequences.commit = self.applied().index;
        self.log.unapplied = self.pending.unapplied();
        Ok(self.applied())
    }
}
