//! What of the log a member has at hand: every entry's label and where it lies, the bodies that are still on their way to
//! somewhere, and the point before which it has nothing.
//!
//! ```text
//!   before │ 41   42   43   44   45   46   47 │
//!          │ label and place: on this disk    │ label and body: being written
//!          │           body too, lately written ──────────────────│
//! ```
//! It is what consensus reads (`raft::Storage`), and says nothing of what is on the disk but by places that were reported.
//! Bodies that have a place are let go, the oldest first, when there are too many bytes of them; labels, when there are too
//! many entries, after which whoever needs them gets a snapshot instead. What follows a snapshot that somebody is getting
//! stays longer, or he would need another one when he has it.
//!
//! It never reads or writes anything.

use super::super::membership::{Configuration, MemberRole};
use super::super::message::{Part, Point};
use crate::storage::entry::{Entry, EntryBody, EntryKind, EntryLabel, Place, Vote};
use crate::storage::replica::{KEPT_FOR_FOLLOWERS_BYTES, RecoveredReplica};
use crate::storage::{MemberId, StorageError};
use raft::eraftpb::{self, ConfState, EntryType, HardState};
use raft::{GetEntriesContext, RaftState, Storage, StorageError as NotThere};
use std::cell::Cell;
use std::collections::VecDeque;

/// Bodies kept for senders although they are on the disk, in bytes.
const WRITTEN_BODIES_MAX_BYTES: usize = 16 << 20;
/// Entries whose labels are kept: some 20 MiB.
const ENTRIES_MAX: u64 = 1 << 18;
/// Entries that are kept behind a snapshot that somebody is getting, who goes on with them: some 180 MiB, and minutes of
/// batches one after the other. If that is too few it gets another one.
const ENTRIES_BEHIND_SNAPSHOT_MAX: u64 = 1 << 21;

/// Who lacks no more is as good as caught up, in bytes.
const NEAR_THE_END_BYTES: u64 = KEPT_FOR_FOLLOWERS_BYTES / 4;

/// Everything that a member knows of its log when it starts.
pub struct Known {
    pub member: MemberId,
    /// The last entry that is not in `entries`, and the position that it ended at.
    pub before: Point,
    pub position_before: u64,
    pub entries: Vec<(EntryLabel, Place)>,
    /// Bodies of configurations behind `applied`.
    pub configurations: Vec<(u64, EntryBody)>,
    pub vote: Vote,
    /// Up to here the state holds what the entries say ...
    pub applied: u64,
    /// ... and up to here they are known to be committed.
    pub commit: u64,
    /// As of `applied`.
    pub configuration: Configuration,
}

impl Known {
    /// What a folder knows of its log; `None` when it was not founded.
    ///
    /// # Errors
    /// Its members make no sense.
    pub fn of(recovered: &RecoveredReplica) -> Result<Option<Self>, StorageError> {
        let RecoveredReplica { ids, membership, applied, log, configurations, .. } = recovered;
        if !ids.cluster.is_any() {
            return Ok(None);
        }
        let unreadable = || StorageError::corrupt("META", 0, "nobody can read who the members of its cluster are");
        let configuration = Configuration::decode(&membership.configuration).ok_or_else(unreadable)?;
        // Of the entry before the first that there is only the end counts.
        let (before, position_before, entries) = match log.split_first() {
            Some(((first, _), _)) if first.index == 1 => (Point::default(), 0, &log[..]),
            Some(((first, _), rest)) if first.index <= applied.index => {
                let ends_at = first.first_position + u64::from(first.records) - 1;
                (Point { index: first.index, term: first.term }, ends_at, rest)
            }
            _ => (Point { index: applied.index, term: applied.term }, applied.position, &log[..]),
        };
        let body = |(index, bytes): &(u64, Vec<u8>)| (*index, EntryBody::copied(bytes));
        Ok(Some(Self {
            member: ids.member,
            before,
            position_before,
            entries: entries.to_vec(),
            configurations: configurations.iter().map(body).collect(),
            vote: membership.vote,
            applied: applied.index,
            commit: applied.index,
            configuration,
        }))
    }

    /// What a folder knows that has just been founded.
    pub fn at_founding(member: MemberId, configuration: Configuration) -> Self {
        Self {
            member,
            before: Point::default(),
            position_before: 0,
            entries: Vec::new(),
            configurations: Vec::new(),
            vote: Vote::default(),
            applied: 0,
            commit: 0,
            configuration,
        }
    }
}

/// One entry.
struct Kept {
    label: EntryLabel,
    /// Once it is on the disk.
    place: Option<Place>,
    body: Option<EntryBody>,
    body_bytes: u32,
    /// Of all bodies up to this one, from some entry on.
    total_bytes: u64,
}

/// Below which entry there are too many, when somebody is getting a snapshot up to `snapshot`, or nobody is.
fn too_many_below(last: u64, snapshot: Option<u64>) -> u64 {
    let below = |most: u64| (last + 1).saturating_sub(most);
    let needed = snapshot.map_or(u64::MAX, |snapshot| snapshot + 1);
    below(ENTRIES_MAX).min(needed.max(below(ENTRIES_BEHIND_SNAPSHOT_MAX)))
}

pub struct Ledger {
    before: Point,
    /// Where the entry `before` ended.
    position_before: u64,
    total_bytes_before: u64,
    entries: VecDeque<Kept>,
    /// The first entry from which on bodies may be in memory.
    bodies_from: u64,
    /// Of bodies from there on.
    bodies_bytes: usize,
    /// What it starts from.
    hard_state: HardState,
    voters: ConfState,
    /// What to tell those who are too far behind.
    snapshot: Option<(Point, ConfState)>,
    /// Somebody is, and there is nothing to tell.
    snapshot_is_wanted: Cell<bool>,
}

pub fn conf_state(configuration: &Configuration) -> ConfState {
    let ids = |role| configuration.ids_of(role).map(|id| id.0.get()).collect::<Vec<_>>();
    ConfState::from((ids(MemberRole::Voter), ids(MemberRole::Learner)))
}

impl Ledger {
    pub fn new(known: &Known) -> Self {
        let hard_state = HardState {
            term: known.vote.term,
            vote: known.vote.member.map_or(0, |member| member.0.get()),
            commit: known.commit,
            ..HardState::default()
        };
        let mut ledger = Self {
            before: known.before,
            position_before: known.position_before,
            total_bytes_before: 0,
            entries: VecDeque::with_capacity(known.entries.len()),
            bodies_from: known.before.index + 1,
            bodies_bytes: 0,
            hard_state,
            voters: conf_state(&known.configuration),
            snapshot: None,
            snapshot_is_wanted: Cell::new(false),
        };
        for (label, place) in &known.entries {
            let body = known.configurations.iter().find(|(index, _)| *index == label.index);
            ledger.push(*label, body.map(|(_, body)| body.clone()), place.length, Some(*place));
        }
        ledger.forget_too_many(known.applied);
        ledger
    }

    fn push(&mut self, label: EntryLabel, body: Option<EntryBody>, body_bytes: u32, place: Option<Place>) {
        assert_eq!(label.index, self.last().index + 1, "entries follow each other");
        assert!(label.term >= self.last().term, "and terms do not go back");
        self.bodies_bytes += body.as_ref().map_or(0, |_| body_bytes as usize);
        let total_bytes = self.total_bytes() + u64::from(body_bytes);
        self.entries.push_back(Kept { label, place, body, body_bytes, total_bytes });
    }

    fn kept(&self, index: u64) -> Option<&Kept> {
        self.entries.get(index.checked_sub(self.before.index + 1)? as usize)
    }

    /// The last entry, if only by its number.
    pub fn last(&self) -> Point {
        self.entries.back().map_or(self.before, |kept| Point { index: kept.label.index, term: kept.label.term })
    }

    pub fn before(&self) -> Point {
        self.before
    }

    pub fn label(&self, index: u64) -> Option<&EntryLabel> {
        self.kept(index).map(|kept| &kept.label)
    }

    pub fn body(&self, index: u64) -> Option<&EntryBody> {
        self.kept(index)?.body.as_ref()
    }

    fn total_bytes(&self) -> u64 {
        self.entries.back().map_or(self.total_bytes_before, |kept| kept.total_bytes)
    }

    /// Bytes of all bodies behind this entry; `None` when some of them are not here.
    pub fn bytes_behind(&self, index: u64) -> Option<u64> {
        let up_to = match index == self.before.index {
            true => self.total_bytes_before,
            false => self.kept(index)?.total_bytes,
        };
        Some(self.total_bytes() - up_to)
    }

    /// The position of the last record up to this entry.
    pub fn position_at(&self, index: u64) -> u64 {
        self.label(index).map_or(self.position_before, |label| label.first_position + u64::from(label.records) - 1)
    }

    /// An entry and what to send of it; by its place when it has one and that is preferred. `None` when it is another one
    /// by now.
    pub fn to_send(&self, entry: Point, prefers_place: bool) -> Option<(EntryLabel, Part)> {
        let kept = self.kept(entry.index).filter(|kept| kept.label.term == entry.term)?;
        let part = match (&kept.body, kept.place) {
            (_, Some(place)) if prefers_place => Part::Stored(place),
            (Some(body), _) => Part::Body(body.clone()),
            (None, Some(place)) => Part::Stored(place),
            (None, None) => return None,
        };
        Some((kept.label, part))
    }

    /// The entry that lies there, if one of those that are here does.
    pub fn index_at(&self, place: Place) -> Option<u64> {
        let is_before = |other: Place| (other.segment, other.offset) < (place.segment, place.offset);
        let at = self.entries.partition_point(|kept| kept.place.is_some_and(is_before));
        self.entries.get(at).filter(|kept| kept.place == Some(place)).map(|kept| kept.label.index)
    }

    /// Takes an entry in that is being written; those that were there from its index on are gone.
    pub fn append(&mut self, entry: &Entry) {
        let index = entry.label.index;
        assert!(index > self.before.index, "what is behind the log is committed");
        while self.last().index >= index {
            let Some(gone) = self.entries.pop_back() else { break };
            self.bodies_bytes -= gone.body.as_ref().map_or(0, |_| gone.body_bytes as usize);
        }
        self.bodies_from = self.bodies_from.min(index);
        let body_bytes = u32::try_from(entry.body.bytes().len()).expect("batches are bounded below 4 GiB");
        self.push(entry.label, Some(entry.body.clone()), body_bytes, None);
    }

    /// An entry is on the disk.
    pub fn placed(&mut self, entry: Point, place: Place) {
        let Some(at) = entry.index.checked_sub(self.before.index + 1) else { return };
        if let Some(kept) = self.entries.get_mut(at as usize)
            && kept.label.term == entry.term
        {
            kept.place = Some(place);
        }
    }

    /// Lets go of what nobody needs: bodies up to `applied` if there are too many bytes, and labels.
    pub fn trim(&mut self, applied: u64) {
        while self.bodies_bytes > WRITTEN_BODIES_MAX_BYTES && self.bodies_from <= applied {
            let at = (self.bodies_from - self.before.index - 1) as usize;
            let Some(kept) = self.entries.get_mut(at).filter(|kept| kept.place.is_some()) else { break };
            if kept.body.take().is_some() {
                self.bodies_bytes -= kept.body_bytes as usize;
            }
            self.bodies_from += 1;
        }
        self.forget_too_many(applied);
    }

    fn forget_too_many(&mut self, applied: u64) {
        let snapshot = self.snapshot.as_ref().map(|(last, _)| last.index);
        self.forget_below(too_many_below(self.last().index, snapshot), applied);
    }

    /// Whether somebody who has everything up to this entry lacks next to nothing of what is kept: of bytes and entries.
    pub fn is_near_the_end(&self, index: u64) -> bool {
        let entries = self.last().index.saturating_sub(index);
        entries <= ENTRIES_MAX / 4 && self.bytes_behind(index).is_some_and(|bytes| bytes <= NEAR_THE_END_BYTES)
    }

    /// Entries below this index are gone from the disk, or too many. What is not applied stays.
    pub fn forget_below(&mut self, index: u64, applied: u64) {
        while self.before.index + 1 < index && self.before.index < applied {
            let Some(kept) = self.entries.pop_front() else { break };
            self.bodies_bytes -= kept.body.as_ref().map_or(0, |_| kept.body_bytes as usize);
            self.before = Point { index: kept.label.index, term: kept.label.term };
            self.position_before = kept.label.first_position + u64::from(kept.label.records) - 1;
            self.total_bytes_before = kept.total_bytes;
        }
        self.bodies_from = self.bodies_from.max(self.before.index + 1);
    }

    /// The log is a snapshot, and nothing of what it was.
    pub fn restart(&mut self, last: Point, position: u64) {
        self.before = last;
        self.position_before = position;
        self.total_bytes_before = 0;
        self.entries.clear();
        self.bodies_bytes = 0;
        self.bodies_from = last.index + 1;
    }

    /// What those get who need an entry that is not here; none as long as there is no snapshot to give.
    pub fn offer_snapshot(&mut self, last: Point, configuration: &Configuration) {
        self.snapshot = Some((last, conf_state(configuration)));
    }

    pub fn withdraw_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// Whether somebody asked for a snapshot in vain.
    pub fn take_snapshot_wanted(&mut self) -> bool {
        self.snapshot_is_wanted.take()
    }

    pub fn entry_of(label: &EntryLabel) -> eraftpb::Entry {
        let entry_type = match label.kind {
            EntryKind::Records => EntryType::EntryNormal,
            EntryKind::Configuration => EntryType::EntryConfChangeV2,
        };
        eraftpb::Entry { index: label.index, term: label.term, entry_type, ..eraftpb::Entry::default() }
    }
}

/// As consensus sees it: entries have numbers and kinds and nothing in them.
impl Storage for Ledger {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.voters.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.before.index {
            return Err(NotThere::Compacted.into());
        }
        assert!(high <= self.last().index + 1, "entries are asked for that are not there");
        // Entries have no size here: none is asked for as the way to say one.
        let most = if max_size.into() == Some(0) { 1 } else { high - low };
        let from = (low - self.before.index - 1) as usize;
        let entries = self.entries.range(from..).take((high - low).min(most) as usize);
        Ok(entries.map(|kept| Self::entry_of(&kept.label)).collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.index {
            return Ok(self.before.term);
        }
        if index < self.before.index {
            return Err(NotThere::Compacted.into());
        }
        self.label(index).map(|label| label.term).ok_or(NotThere::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.before.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        // Of use to whoever is a member in it, and finds here what follows it.
        let helps = |(last, members): &&(Point, ConfState)| {
            let is_member = members.voters.contains(&to) || members.learners.contains(&to);
            is_member && last.index >= request_index.max(self.before.index)
        };
        let Some((last, voters)) = self.snapshot.as_ref().filter(helps) else {
            self.snapshot_is_wanted.set(true);
            return Err(NotThere::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = eraftpb::Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = last.index;
        metadata.term = last.term;
        metadata.set_conf_state(voters.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::membership::Configuration;
    use super::*;
    use crate::storage::ClusterId;
    use std::num::NonZeroU64;

    fn ledger() -> Ledger {
        let member = MemberId(NonZeroU64::MIN);
        let configuration = Configuration::founding(ClusterId([1; 16]), [(member, "n1".to_owned())]).unwrap();
        Ledger::new(&Known::at_founding(member, configuration))
    }

    fn entry(term: u64, index: u64, bytes: usize) -> Entry {
        let label = EntryLabel { term, index, first_position: index, records: 1, kind: EntryKind::Records };
        Entry { label, body: EntryBody::copied(&vec![7; bytes]) }
    }

    fn place(index: u64, length: u32) -> Place {
        Place { segment: 1, offset: index, length }
    }

    #[test]
    fn what_is_cut_off_is_gone_and_counted_no_more() {
        let mut ledger = ledger();
        (1..=4).for_each(|index| ledger.append(&entry(1, index, 100)));
        ledger.append(&entry(2, 3, 10));
        assert_eq!((ledger.last(), ledger.bytes_behind(0)), (Point { index: 3, term: 2 }, Some(210)));
        assert_eq!((ledger.bytes_behind(2), ledger.bytes_behind(3), ledger.bytes_behind(4)), (Some(10), Some(0), None));
        assert_eq!(ledger.to_send(Point { index: 3, term: 1 }, false), None, "another one stands there");
        ledger.placed(Point { index: 3, term: 1 }, place(3, 100));
        let sent = ledger.to_send(Point { index: 3, term: 2 }, true).unwrap().1;
        assert_eq!(sent, Part::Body(EntryBody::copied(&[7; 10])), "the place was that of the entry that is gone");
    }

    #[test]
    fn bodies_are_let_go_when_they_are_on_the_disk_and_applied_and_too_many() {
        let mut ledger = ledger();
        let bytes = 4 << 20;
        (1..=8).for_each(|index| ledger.append(&entry(1, index, bytes)));
        ledger.trim(8);
        assert!((1..=8).all(|index| ledger.body(index).is_some()), "none is on the disk");
        (1..=8).for_each(|index| ledger.placed(Point { index, term: 1 }, place(index, bytes as u32)));
        ledger.trim(2);
        assert!(ledger.body(2).is_none() && ledger.body(3).is_some(), "what is not applied stays");
        ledger.trim(8);
        assert!(ledger.body(4).is_none() && ledger.body(5).is_some(), "16 MiB stay");
        assert_eq!(ledger.to_send(Point { index: 1, term: 1 }, false).unwrap().1, Part::Stored(place(1, bytes as u32)));
        ledger.forget_below(7, 5);
        assert_eq!(ledger.before(), Point { index: 5, term: 1 }, "what is not applied stays, here too");
        assert_eq!((ledger.bytes_behind(5), ledger.bytes_behind(4)), (Some(3 * bytes as u64), None));
        assert_eq!((ledger.position_at(5), ledger.position_at(6)), (5, 6));
    }

    #[test]
    fn what_follows_a_snapshot_is_not_too_much() {
        let (most, behind) = (ENTRIES_MAX, ENTRIES_BEHIND_SNAPSHOT_MAX);
        for (last, snapshot, below) in [
            (most, None, 1),
            (most + 1, None, 2),
            (most + 9, Some(most + 3), 10),
            (most + 9, Some(9), 10),
            (most + 9, Some(8), 9),
            (behind, Some(0), 1),
            (behind + 1, Some(0), 2),
            (behind + 1, Some(4), 5),
        ] {
            assert_eq!(too_many_below(last, snapshot), below, "{last} {snapshot:?}");
        }
    }

    #[test]
    fn entries_are_let_go_when_nobody_gets_the_snapshot_before_them_any_more() {
        let mut ledger = ledger();
        let configuration = Configuration::founding(ClusterId([1; 16]), [(MemberId(NonZeroU64::MIN), "n1".to_owned())]);
        let body = EntryBody::copied(b"");
        (1..=ENTRIES_MAX).for_each(|index| ledger.append(&Entry { body: body.clone(), ..entry(1, index, 0) }));
        ledger.trim(ENTRIES_MAX);
        assert_eq!(ledger.before().index, 0, "so many are kept");
        ledger.offer_snapshot(Point { index: 3, term: 1 }, &configuration.unwrap());
        (1..=9).for_each(|more| ledger.append(&entry(1, ENTRIES_MAX + more, 0)));
        ledger.trim(ENTRIES_MAX + 9);
        assert_eq!(ledger.before(), Point { index: 3, term: 1 }, "it is followed by what is here");
        ledger.withdraw_snapshot();
        ledger.trim(ENTRIES_MAX + 9);
        assert_eq!(ledger.before().index, 9);
    }
}
