//! The seam to the crate that makes members agree: what it says in numbers becomes entries, votes and messages here, and
//! nothing of it is seen anywhere else.
//!
//! ```text
//!   tick, step, propose ──► raft ──► Ready ──► Step { now, entries, vote, then, committed }
//!                             ▲                   │ write, sync
//!                             └─── persisted ◄────┘      then: messages that say what the disk must know first
//! ```
//! The order of things is the crate's:
//!
//! * A step is taken after every call, until there is none. A leader's messages go beside its own disk, anybody else's
//!   after it; only that somebody is alive is said at once, unless the disk has yet to learn his vote.
//! * Entries are readable by their numbers before they are on the disk, and count once they are.
//! * A step with a snapshot is dealt with to the end before anything else: as long as it is [held](Consensus::is_held),
//!   time stands still and whatever comes is passed over.
//! * What is applied is committed and on this disk.
//! * Nothing is proposed but by a leader, nor while it hands over.
//!
//! Entries have no content for the crate, only index and term: bodies stay in the [`Ledger`]. It is told nothing that would
//! make it panic: [`is_credible`](Consensus::is_credible) looks at messages first.

mod elections;
#[cfg(test)]
mod tests;

use super::super::membership::{Configuration, MemberRole};
use super::super::message::{Part, Point, RaftMessage, Says};
use super::ledger::{Known, Ledger, conf_state};
use super::translation::{change, from_crate, id_of, to_crate};
use crate::storage::MemberId;
use crate::storage::entry::{Entry, EntryBody, EntryKind, EntryLabel, Place, Vote};
use elections::{ELECTION_TICKS, HEARTBEAT_TICKS};
use raft::eraftpb::{self, MessageType};
use raft::{Config, ProgressState, RawNode, Ready, SnapshotStatus, StateRole};
use std::collections::VecDeque;

/// Messages with entries that may be on the way to a member, one entry in each.
const IN_FLIGHT_MAX: usize = 64;
/// Committed entries in one step, counted in bytes that the crate takes an entry for: some thousands.
const COMMITTED_MAX: u64 = 64 << 10;

pub struct Consensus {
    raw: RawNode<Ledger>,
    me: MemberId,
    /// As of what is applied.
    configuration: Configuration,
    /// Entries that were proposed or received, until a step takes them into the ledger.
    coming: Vec<Entry>,
    /// The step whose snapshot is being installed.
    held: Option<Ready>,
    /// Steps with entries of which the crate has not been told that they are on the disk, in order.
    unwritten: VecDeque<Unwritten>,
    /// The last step with a vote that is not on the disk yet.
    unwritten_vote: Option<u64>,
    /// What was last to be written.
    vote: Vote,
    /// Made of the caller's chance, so that two runs are the same.
    chance: u64,
    /// Whether it stands for election when it hears of no leader, before it is the last resort.
    may_campaign: bool,
    /// Ticks for which it has left that to others.
    left_to_others: usize,
    /// Whom this leader heard of in the last time that an election takes. The crate begins to count anew then, and for some
    /// ticks has heard of nobody.
    heard_before: Vec<u64>,
}

/// The entries of a step, by their indexes.
struct Unwritten {
    number: u64,
    first: u64,
    last: u64,
}

/// What is to be done, in this order.
#[derive(Default)]
pub struct Step {
    /// Steps are on the disk in the order of their numbers.
    pub number: u64,
    /// To be sent at once.
    pub now: Vec<(RaftMessage, Option<Part>)>,
    /// To be written.
    pub entries: Vec<Entry>,
    pub vote: Option<Vote>,
    /// To be sent when that is on the disk.
    pub then: Vec<RaftMessage>,
    /// To be applied up to here.
    pub committed: Option<u64>,
    /// The members are others now.
    pub reconfigures: bool,
    /// Who is too far behind and gets a snapshot.
    pub needs_snapshot: Vec<MemberId>,
    /// The snapshot that is to become the log; [`Consensus::installed`] says that it is.
    pub snapshot: Option<Point>,
}

/// How far another member is, as the leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// On its disk up to here.
    pub matched: u64,
    /// Heard of in the last half a second, or in the one before that.
    pub is_active: bool,
    /// Waits for a snapshot.
    pub needs_snapshot: bool,
}

impl Consensus {
    /// Goes on from what is known of the log. `chance` decides when it campaigns.
    pub fn start(known: Known, chance: u64) -> Self {
        let config = Config {
            id: known.member.0.get(),
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: known.applied,
            max_size_per_msg: 0,
            max_inflight_msgs: IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            // What is committed others learn with the next entry, or with the next sign of life, and not by a message of
            // its own: that would double what is said and answered.
            skip_bcast_commit: true,
            max_committed_size_per_ready: COMMITTED_MAX,
            ..Config::default()
        };
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let (me, vote) = (known.member, known.vote);
        let raw = RawNode::new(&config, Ledger::new(&known), &silent).expect("what a writer recovers is consistent");
        let configuration = known.configuration;
        Self {
            raw,
            me,
            configuration,
            coming: Vec::new(),
            held: None,
            unwritten: VecDeque::new(),
            unwritten_vote: None,
            vote,
            chance,
            may_campaign: true,
            left_to_others: 0,
            heard_before: Vec::new(),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        self.raw.store()
    }

    pub fn ledger_mut(&mut self) -> &mut Ledger {
        self.raw.mut_store()
    }

    /// As of what is applied.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub fn leader(&self) -> Option<MemberId> {
        id_of(self.raw.raft.leader_id)
    }

    /// Up to here all is on the disks of most voters.
    pub fn committed(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// Up to here all is on this disk.
    pub fn persisted(&self) -> u64 {
        self.raw.raft.raft_log.persisted
    }

    pub fn applied(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    /// The term and the vote in it, on the disk or on the way there.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// Whether a snapshot is being installed.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// How far the others are; means something to a leader only.
    pub fn reaches(&self) -> impl Iterator<Item = (MemberId, Reach)> {
        let others = self.raw.raft.prs().iter().filter(|(id, _)| **id != self.me.0.get());
        others.filter_map(|(id, progress)| {
            let needs_snapshot = progress.state == ProgressState::Snapshot;
            let is_active = progress.recent_active || self.heard_before.contains(id);
            Some((id_of(*id)?, Reach { matched: progress.matched, is_active, needs_snapshot }))
        })
    }

    pub fn reach(&self, member: MemberId) -> Option<Reach> {
        self.reaches().find(|(id, _)| *id == member).map(|(_, reach)| reach)
    }

    /// Takes what another member says. What is not for this one, or cannot be true, is passed over and told by `false`.
    pub fn receive(&mut self, message: &RaftMessage, body: Option<EntryBody>) -> bool {
        if self.is_held() {
            return true;
        }
        if !self.is_credible(message) {
            return false;
        }
        if let (Says::Append { entry: Some(label), .. }, Some(body)) = (message.says, body) {
            self.coming.push(Entry { label, body });
        }
        let mut message = *message;
        if let Says::Heartbeat { commit } = &mut message.says {
            let log = &self.raw.raft.raft_log;
            // Who lost what its leader counts on answers, so that it is sent something, refuses that, and is told what it lost.
            if *commit > log.last_index() {
                *commit = log.committed;
            }
        }
        // What comes from somebody who is no member is refused there.
        let _ = self.raw.step(to_crate(&message));
        true
    }

    /// Whether a message can be one of a member that keeps to the rules and lost nothing.
    fn is_credible(&self, message: &RaftMessage) -> bool {
        let log = &self.raw.raft.raft_log;
        let last = log.last_index();
        if message.to != self.me || message.from == self.me {
            return false;
        }
        let is_of_now = message.term >= self.term();
        match message.says {
            Says::Append { before, entry, .. } if is_of_now => {
                let contradicts = |point: Point| {
                    point.index <= log.committed
                        && log.term(point.index).is_ok_and(|term| term != 0 && term != point.term)
                };
                let entry_contradicts =
                    entry.is_some_and(|entry| contradicts(Point { index: entry.index, term: entry.term }));
                let is_placed = entry.is_none_or(|entry| self.may_follow(before, entry.first_position));
                !contradicts(before) && !entry_contradicts && is_placed
            }
            Says::Appended { index, .. } if message.term == self.term() && self.leads() => index <= last,
            _ => true,
        }
    }

    /// What a member said in this term to have, if it says now that it does not. Its words come in order, and nobody else
    /// has cut off its log since: that would be another term.
    pub fn is_missed(&self, message: &RaftMessage) -> Option<u64> {
        let Says::Refused { hint, .. } = message.says else { return None };
        let matched = self.reach(message.from).filter(|_| self.leads() && message.term == self.term())?.matched;
        (hint.index < matched).then_some(matched)
    }

    /// Whether records may begin at this position behind an entry: they follow its own, if it is known here. If it is not,
    /// nothing behind it is taken.
    fn may_follow(&self, before: Point, first_position: u64) -> bool {
        let ledger = self.ledger();
        let is_known =
            ledger.before() == before || ledger.label(before.index).is_some_and(|label| label.term == before.term);
        !is_known || first_position == ledger.position_at(before.index) + 1
    }

    /// Proposes an entry of records, if this member leads and may; says its index.
    pub fn propose(&mut self, body: EntryBody, first_position: u64, records: u32) -> Option<u64> {
        if !self.may_propose() {
            return None;
        }
        let index = self.raw.raft.raft_log.last_index() + 1;
        self.raw.propose(Vec::new(), Vec::new()).ok()?;
        let label = EntryLabel { term: self.term(), index, first_position, records, kind: EntryKind::Records };
        self.coming.push(Entry { label, body });
        Some(index)
    }

    pub fn may_propose(&self) -> bool {
        self.leads() && !self.is_held() && self.raw.raft.lead_transferee.is_none()
    }

    /// Whether a change of members may be proposed: one at a time, and none before this term's first entry is applied.
    pub fn may_configure(&self) -> bool {
        self.may_propose() && !self.raw.raft.has_pending_conf() && self.raw.raft.apply_to_current_term()
    }

    /// Proposes other members, who differ by one change from those that there are.
    pub fn propose_configuration(&mut self, next: &Configuration) -> Option<u64> {
        if !self.may_configure() {
            return None;
        }
        let last = self.raw.raft.raft_log.last_index();
        let change = change(&self.configuration, next)?;
        self.raw.propose_conf_change(Vec::new(), change).ok()?;
        debug_assert_eq!(self.ledger().last().index, last, "steps are taken before, or the position is another's");
        let first_position = self.last_position() + 1;
        let kind = EntryKind::Configuration;
        let label = EntryLabel { term: self.term(), index: last + 1, first_position, records: 0, kind };
        self.coming.push(Entry { label, body: EntryBody::copied(&next.encode()) });
        Some(last + 1)
    }

    /// The position of the last record of the log.
    pub fn last_position(&self) -> u64 {
        self.ledger().position_at(self.ledger().last().index)
    }

    /// The next step, if there is something to do.
    pub fn take_step(&mut self) -> Option<Step> {
        if self.is_held() || !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        let mut step = Step { number: ready.number(), ..Step::default() };
        self.take_entries(&mut ready, &mut step);
        self.take_vote(&ready, &mut step);
        for message in ready.take_messages() {
            self.put_message(&message, &mut step);
        }
        for message in ready.take_persisted_messages() {
            let Some(message) = from_crate(&message, None) else { continue };
            let says_it_is_alive = matches!(message.says, Says::Alive { .. });
            if says_it_is_alive && self.unwritten_vote.is_none() {
                step.now.push((message, None));
            } else {
                step.then.push(message);
            }
        }
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            step.snapshot = Some(Point { index: metadata.index, term: metadata.term });
            self.held = Some(ready);
            return Some(step);
        }
        let committed = ready.take_committed_entries();
        self.raw.advance_append_async(ready);
        for entry in &committed {
            step.reconfigures |= self.commit(entry);
        }
        if let Some(last) = committed.last() {
            step.committed = Some(last.index);
            self.raw.advance_apply_to(last.index);
        }
        Some(step)
    }

    /// Takes the step's entries into the ledger.
    fn take_entries(&mut self, ready: &mut Ready, step: &mut Step) {
        for entry in ready.take_entries() {
            let found = self
                .coming
                .iter()
                .position(|coming| (coming.label.index, coming.label.term) == (entry.index, entry.term));
            let entry = match found {
                Some(at) => self.coming.swap_remove(at),
                None => self.beginning_of_term(entry.index, entry.term),
            };
            self.ledger_mut().append(&entry);
            step.entries.push(entry);
        }
        if let (Some(first), Some(last)) = (step.entries.first(), step.entries.last()) {
            let (first, last) = (first.label.index, last.label.index);
            self.unwritten.push_back(Unwritten { number: step.number, first, last });
        }
        // What was not taken was there before, or is refused.
        self.coming.clear();
    }

    /// The entry that a leader begins with: the crate makes it.
    fn beginning_of_term(&self, index: u64, term: u64) -> Entry {
        assert!(self.leads() && term == self.term(), "whatever else is to be written was proposed or received");
        let first_position = self.ledger().position_at(index - 1) + 1;
        let label = EntryLabel { term, index, first_position, records: 0, kind: EntryKind::Records };
        Entry { label, body: EntryBody::copied(&[]) }
    }

    fn take_vote(&mut self, ready: &Ready, step: &mut Step) {
        let Some(state) = ready.hs() else { return };
        let vote = Vote { term: state.term, member: id_of(state.vote) };
        if vote != self.vote {
            self.vote = vote;
            self.unwritten_vote = Some(step.number);
            step.vote = Some(vote);
        }
    }

    /// A leader's message, with an entry's body where there is one.
    fn put_message(&self, message: &eraftpb::Message, step: &mut Step) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            step.needs_snapshot.extend(id_of(message.to));
            return;
        }
        let entry = message.entries.first().map(|entry| Point { index: entry.index, term: entry.term });
        let found = match entry {
            Some(entry) => match self.ledger().to_send(entry, false) {
                Some(found) => Some(found),
                // Another entry stands there by now; the member asks again for what it needs.
                None => return,
            },
            None => None,
        };
        let (label, part) = found.unzip();
        step.now.extend(from_crate(message, label).map(|message| (message, part)));
    }

    /// An entry is to be applied; says whether it changed the members.
    fn commit(&mut self, entry: &eraftpb::Entry) -> bool {
        if entry.get_entry_type() != eraftpb::EntryType::EntryConfChangeV2 {
            return false;
        }
        let body = self.ledger().body(entry.index).expect("configurations are kept until they are applied");
        let next = Configuration::decode(body.bytes()).expect("what a member proposed");
        let change = change(&self.configuration, &next).expect("configurations differ by one change");
        let voters = self.raw.apply_conf_change(&change).expect("a change that was proposed as one");
        debug_assert_eq!(voters.voters.len(), next.ids_of(MemberRole::Voter).count());
        self.configuration = next;
        true
    }

    /// Steps up to this one are on the disk, and so are these entries.
    pub fn persisted_up_to(&mut self, number: u64, entries: impl IntoIterator<Item = (Point, Place)>) {
        for (entry, place) in entries {
            self.ledger_mut().placed(entry, place);
        }
        if self.unwritten_vote.is_some_and(|unwritten| unwritten <= number) {
            self.unwritten_vote = None;
        }
        // A snapshot's own number comes after all that were before it.
        if !self.is_held() && !self.is_written_over(number) {
            self.unwritten.retain(|step| step.number > number);
            self.raw.on_persist_ready(number);
        }
    }

    /// Whether a later step, which is not on the disk, writes over entries of the steps up to this one. The crate looks at
    /// the last one's term alone, and that may be there again: of one leader, over that of another, over the same. It would
    /// take for written what the disk is about to cut off once more; so it is told when the later step is there.
    fn is_written_over(&self, number: u64) -> bool {
        let written = self.unwritten.partition_point(|step| step.number <= number);
        let last = written.checked_sub(1).map(|at| self.unwritten[at].last);
        last.is_some_and(|last| self.unwritten.range(written..).any(|later| later.first <= last))
    }

    /// Lets go of what is in memory and no longer needed.
    pub fn trim(&mut self) {
        let applied = self.applied();
        self.ledger_mut().trim(applied);
    }

    /// Entries below this index are gone from the disk.
    pub fn forget_below(&mut self, index: u64) {
        let applied = self.applied();
        self.ledger_mut().forget_below(index, applied);
    }

    /// A snapshot has arrived whole from the leader of `term`. Whether it is wanted says the next step.
    pub fn receive_snapshot(&mut self, from: MemberId, term: u64, last: Point, configuration: &Configuration) {
        if self.is_held() {
            return;
        }
        let mut message = eraftpb::Message {
            msg_type: MessageType::MsgSnapshot,
            from: from.0.get(),
            to: self.me.0.get(),
            term,
            ..eraftpb::Message::default()
        };
        let metadata = message.mut_snapshot().mut_metadata();
        metadata.index = last.index;
        metadata.term = last.term;
        metadata.set_conf_state(conf_state(configuration));
        let _ = self.raw.step(message);
    }

    /// The snapshot of the held step is the log now.
    pub fn installed(&mut self, last: Point, position: u64, configuration: Configuration) {
        let Some(ready) = self.held.take() else { return };
        let number = ready.number();
        self.ledger_mut().restart(last, position);
        self.configuration = configuration;
        self.unwritten.clear();
        self.unwritten_vote = None;
        self.raw.advance_append_async(ready);
        self.raw.on_persist_ready(number);
        self.raw.advance_apply_to(last.index);
    }

    /// What became of the snapshot that a member got.
    pub fn snapshot_ended(&mut self, member: MemberId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(member.0.get(), status);
    }

    /// Messages to this member were lost.
    pub fn unreachable(&mut self, member: MemberId) {
        if !self.is_held() {
            self.raw.report_unreachable(member.0.get());
        }
    }
}
