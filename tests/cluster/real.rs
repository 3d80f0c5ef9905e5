//! The writer that ships, on a disk that loses what was not synced in every way in which a disk may.

use super::chance::Chance;
use super::complaint::{complain, must};
use super::fate::Mutation;
use super::sim_disk::{Fault, SimDisk};
use super::truth::{Applied, hash};
use super::writer::{Files, Folder, Said, Started, Writer};
use leveret::cluster::member::ledger::Known;
use leveret::cluster::member::{Append, Pinned};
use leveret::cluster::membership::Configuration;
use leveret::cluster::message::Point;
use leveret::cluster::snapshot::{IncomingStep, perform};
use leveret::storage::disk::{self, Disk as _, DiskFile};
use leveret::storage::entry::{Place, Vote};
use leveret::storage::replica::{
    self, EntryReader, Install, Pin, PinId, RecoveredReplica, ReplicaDuty, ReplicaReport, ReplicaRequest,
    ReplicaWriter, aside, recover_or_rejoin, recover_replica, verify,
};
use leveret::storage::sequences::Reached;
use leveret::storage::{LogOptions, MemberId, StorageError, SyncPolicy};
use std::collections::{BTreeMap, VecDeque};

pub struct Disk {
    disk: SimDisk,
    /// Whose it is, or is to be.
    pub member: MemberId,
    /// Whoever starts on it finds that, and is `member` then.
    is_rotten: bool,
}

pub struct RealWriter {
    disk: SimDisk,
    member: MemberId,
    duty: ReplicaDuty<SimDisk>,
    reader: EntryReader<SimDisk>,
    /// What it was asked, and when it does that.
    asked: VecDeque<(u64, ReplicaRequest)>,
    /// The last entry that it was told is committed.
    committed: u64,
    steps: VecDeque<(u64, IncomingStep)>,
    said: VecDeque<Said>,
    /// What entries are that are not applied yet.
    entries: BTreeMap<u64, Applied>,
    applied: u64,
    founding: Option<Configuration>,
    pins: usize,
    slow_ms: u64,
    hangs: bool,
    mutation: Mutation,
    /// What it was last asked to write.
    vote: Option<Vote>,
    is_full: bool,
    /// The segment that goes when a snapshot is installed.
    to_be_lost: Option<String>,
    /// It was said that there is no room.
    waits_for_room: bool,
}

fn options() -> LogOptions {
    LogOptions {
        sync_policy: SyncPolicy::Replicated,
        segment_bytes: 8192,
        batch_max_bytes: 2000,
        checkpoint_interval_bytes: 20_000,
        free_segments_max: 2,
        zero_ahead_bytes: 1000,
        small_sync_bytes: 400,
        kept_for_followers_bytes: 20_000,
        ..LogOptions::default()
    }
}

impl Disk {
    pub fn new(member: MemberId) -> Self {
        Self { disk: SimDisk::default(), member, is_rotten: false }
    }

    /// A byte of something is another one.
    pub fn rot(&mut self, new_member: MemberId, chance: &mut Chance) {
        let folders = [disk::Folder::Root, disk::Folder::Log, disk::Folder::Checkpoint];
        let files = folders.map(|folder| {
            let names = self.disk.list(folder).expect("a disk that reads");
            names.into_iter().map(move |name| (folder, name))
        });
        let files: Vec<_> = files.into_iter().flatten().filter(|(_, name)| name != aside::NAME).collect();
        let (folder, name) = &files[chance.below(files.len() as u64) as usize];
        self.disk.edit(*folder, name, |bytes| {
            // What is of another program, or another version, is left alone.
            let from = if name == "META" { 16 } else { 0 };
            if !bytes.is_empty() {
                let at = chance.between(from, bytes.len() as u64 - 1) as usize;
                bytes[at] ^= 1 << chance.below(8);
            }
        });
        self.member = new_member;
        self.is_rotten = true;
    }

    /// What a start reads, or, if that is whole, what a scrub finds later. Nobody goes on with what is not.
    fn recover(&self) -> RecoveredReplica {
        let recover = || recover_or_rejoin(&self.disk, self.member).unwrap_or_else(|error| damaged(&error));
        let (recovered, damage) = recover();
        must!(damage.is_none() || self.is_rotten, "a crash is no damage: {damage:?}");
        if !self.is_rotten || damage.is_some() {
            return recovered;
        }
        let writer = ReplicaWriter::start(self.disk.clone(), options(), recovered.resume).expect("a disk with room");
        let found = writer
            .sealed()
            .into_iter()
            .find_map(|sealed| verify(&self.disk, disk::Folder::Log, sealed, |_| {}).err()?.damage());
        drop(writer);
        if let Some(damage) = found {
            aside::begin(&self.disk, self.member, &damage).expect("a disk with room");
        }
        recover().0
    }

    pub fn start(self, mutation: Mutation) -> Started {
        if mutation == Mutation::SkipSnapshotSync {
            self.disk.ignore_syncs_of(disk::Folder::Incoming);
        }
        let recovered = self.recover();
        let Self { disk, .. } = self;
        let rejoins = recovered.rejoins;
        let known = Known::of(&recovered).expect("members of a cluster");
        let (member, applied) = (recovered.ids.member, recovered.applied.index);
        let mut reader = EntryReader::new(disk.clone());
        let pending = recovered.log.iter().filter(|(label, _)| label.index > applied);
        let entries = pending.map(|(label, place)| {
            let entry = reader.read(*place).expect("a disk that reads").expect("an entry that was found");
            (label.index, Applied { label: *label, body_hash: hash(entry.body.bytes()) })
        });
        let entries = entries.collect();
        let writer = ReplicaWriter::start(disk.clone(), options(), recovered.resume).expect("a disk with room");
        let writer = RealWriter {
            disk,
            member,
            duty: ReplicaDuty::new(writer),
            reader,
            asked: VecDeque::new(),
            committed: applied,
            steps: VecDeque::new(),
            said: VecDeque::new(),
            entries,
            applied,
            founding: None,
            pins: 0,
            slow_ms: 0,
            hangs: false,
            mutation,
            vote: None,
            is_full: false,
            to_be_lost: None,
            waits_for_room: false,
        };
        (member, known, Box::new(writer), rejoins)
    }
}

/// What was synced is there after a crash.
fn damaged(error: &StorageError) -> ! {
    complain(format_args!("a crash did damage: {error}"))
}

impl RealWriter {
    /// It does this after all that it was asked before.
    fn ask(&mut self, request: ReplicaRequest, now_ms: u64, takes_ms: u64) {
        let ready_at_ms = self.asked.back().map_or(now_ms, |(at_ms, _)| (*at_ms).max(now_ms));
        self.asked.push_back((ready_at_ms + takes_ms, request));
    }

    fn turn(&mut self, request: Option<ReplicaRequest>, applies: &mut dyn FnMut(Applied)) {
        let mut reports = Vec::new();
        self.duty.turn(request, |report| reports.push(report));
        for report in reports {
            self.take(report, applies);
        }
        while let Some(chore) = self.duty.take_chore() {
            let done = ReplicaRequest::ChoreDone(chore.run(&self.disk));
            self.turn(Some(done), applies);
        }
    }

    fn take(&mut self, report: ReplicaReport<SimDisk>, applies: &mut dyn FnMut(Applied)) {
        match report {
            ReplicaReport::Persisted { .. } if self.mutation == Mutation::SayBeforeSync => {}
            ReplicaReport::Persisted { number, places, .. } => self.said.push_back(Said::Persisted(number, places)),
            ReplicaReport::Applied(index) => {
                for index in self.applied + 1..=index {
                    applies(self.entries.remove(&index).expect("what is applied was written"));
                }
                self.applied = index;
            }
            ReplicaReport::Founded => {
                let configuration = self.founding.take().expect("it was asked for");
                self.said.push_back(Said::Founded(Known::at_founding(self.member, configuration)));
            }
            ReplicaReport::Pinned(Pin {
                id,
                reached: Reached { term, index, .. },
                configuration,
                checkpoint,
                files,
            }) => {
                let configuration = Configuration::decode(&configuration).expect("a configuration");
                self.pins += 1;
                let last = Point { index, term };
                self.said.push_back(Said::Pinned(Pinned { id: id.0, last, configuration, checkpoint, files }));
            }
            ReplicaReport::Installed(Reached { term, index, position }) => {
                if let Some(name) = self.to_be_lost.take() {
                    self.disk.remove(disk::Folder::Log, &name).expect("it was installed");
                }
                self.entries.clear();
                (self.applied, self.committed) = (index, index);
                self.said.push_back(Said::Installed(Point { index, term }, position));
            }
            ReplicaReport::Forgotten { below } => self.said.push_back(Said::Forgotten(below)),
            ReplicaReport::NotInstalled(error) | ReplicaReport::Failed(error) => {
                assert!(self.disk.has_crashed(), "{error}");
            }
            ReplicaReport::Full => self.waits_for_room = true,
            ReplicaReport::HasRoom => self.waits_for_room = false,
            ReplicaReport::Survey(_)
            | ReplicaReport::Sealed(_)
            | ReplicaReport::Checkpointed
            | ReplicaReport::FreeBytes(_)
            | ReplicaReport::NoRoom => {}
        }
    }
}

impl Writer for RealWriter {
    fn say(&mut self, now_ms: u64, applies: &mut dyn FnMut(Applied)) -> Option<Said> {
        if let Some((_, step)) = self.steps.pop_front_if_due(now_ms) {
            let performed = perform(&self.disk, &step);
            assert!(performed.is_ok() || self.is_full, "what arrives is whole: {performed:?}");
            return Some(Said::Performed(performed.is_ok()));
        }
        if self.waits_for_room && !self.is_full {
            self.turn(Some(ReplicaRequest::MakeRoom), applies);
        }
        while self.said.is_empty() && !self.hangs {
            let Some((_, request)) = self.asked.pop_front_if_due(now_ms) else { break };
            self.turn(Some(request), applies);
            if self.duty.has_work() {
                self.turn(None, applies);
            }
        }
        self.said.pop_front()
    }

    fn append(&mut self, append: Append, now_ms: u64, chance: &mut Chance) {
        let Append { number, entries, mut vote } = append;
        let before = self.vote;
        self.vote = vote.or(before);
        match self.mutation {
            Mutation::ForgetVote => vote = None,
            Mutation::NoteNoCommit => vote = vote.filter(|vote| Some(*vote) != before),
            Mutation::SayBeforeSync => self.said.push_back(Said::Persisted(number, Vec::new())),
            _ => {}
        }
        for entry in &entries {
            must!(entry.label.index > self.committed, "entry {} is committed and cut off", entry.label.index);
            self.entries.split_off(&entry.label.index);
            let applied = Applied { label: entry.label, body_hash: hash(entry.body.bytes()) };
            self.entries.insert(entry.label.index, applied);
        }
        let takes_ms = 1 + chance.below(8) + self.slow_ms;
        self.ask(ReplicaRequest::Append(replica::Append { number, entries, vote }), now_ms, takes_ms);
    }

    fn commit(&mut self, index: u64, now_ms: u64, _: &mut dyn FnMut(Applied)) {
        self.committed = self.committed.max(index);
        self.ask(ReplicaRequest::Commit(index), now_ms, 0);
    }

    fn found(&mut self, configuration: Configuration, now_ms: u64) {
        let (cluster, bytes) = (configuration.cluster, configuration.encode());
        self.founding = Some(configuration);
        self.ask(ReplicaRequest::Found { cluster, configuration: bytes }, now_ms, 5);
    }

    fn checkpoint(&mut self, now_ms: u64) {
        if self.mutation == Mutation::CheckpointUncommitted
            && let Some((last, _)) = self.entries.last_key_value()
        {
            self.ask(ReplicaRequest::Commit(*last), now_ms, 0);
        }
        self.ask(ReplicaRequest::Checkpoint, now_ms, 5);
    }

    fn pin(&mut self, index: u64, now_ms: u64) {
        self.ask(ReplicaRequest::Pin { index }, now_ms, 5);
    }

    fn unpin(&mut self, id: u64, now_ms: u64) {
        self.pins -= 1;
        self.ask(ReplicaRequest::Unpin(PinId(id)), now_ms, 0);
    }

    fn incoming(&mut self, step: IncomingStep, now_ms: u64, chance: &mut Chance) {
        let ready_at_ms = self.steps.back().map_or(now_ms, |(at_ms, _)| *at_ms);
        self.steps.push_back((ready_at_ms + chance.below(5), step));
    }

    fn install(&mut self, _: Point, files: Files, now_ms: u64, chance: &mut Chance) {
        if self.mutation == Mutation::LoseSegmentOfSnapshot {
            self.to_be_lost = files.others.last().map(|(name, _)| name.clone());
        }
        let install = Install { checkpoint: files.checkpoint, files: files.others };
        self.ask(ReplicaRequest::Install(install), now_ms, 10 + chance.below(50) + self.slow_ms);
    }

    fn applied(&self) -> (u64, u64) {
        let Reached { index, position, .. } = self.duty.writer().applied();
        (index, position)
    }

    fn would_know(&self) -> Option<Known> {
        let recovered = recover_replica(&self.disk.after_power_cut(), self.member);
        Known::of(&recovered.unwrap_or_else(|error| damaged(&error))).expect("members of a cluster")
    }

    fn pins(&self) -> usize {
        self.pins
    }

    fn state(&mut self) -> Option<String> {
        let mut state = None;
        let index = self.applied;
        self.duty.turn(Some(ReplicaRequest::Survey { index }), |report| {
            let ReplicaReport::Survey(survey) = report else { return };
            let queues: Vec<_> =
                survey.queues.iter().map(|queue| (queue.id.0, queue.next_sequence, queue.messages)).collect();
            state = Some(format!("{} definitions, queues {queues:?}", survey.definitions.len()));
            let mut loader = survey.loader;
            let next_page = || loader.as_mut()?.next_page().unwrap_or_else(|error| damaged(&error));
            let loaded: usize = std::iter::from_fn(next_page).map(|loaded| loaded.page.summary.count).sum();
            let alive: usize = queues.iter().map(|(_, _, messages)| *messages as usize).sum();
            must!(loaded == alive, "{loaded} messages can be read back of {alive}");
        });
        Some(state.expect("the state is that far"))
    }

    fn read(&mut self, place: Place) -> Option<Vec<u8>> {
        let entry = self.reader.read(place).expect("a disk that reads")?;
        Some(entry.body.bytes().to_vec())
    }

    fn read_file(&mut self, name: &str, offset: u64, length: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        let read = self.disk.open(disk::Folder::Log, name).ok()?.read_at(&mut bytes, offset).ok()?;
        (read == bytes.len()).then_some(bytes)
    }

    fn slow_down(&mut self, slow_ms: u64) {
        self.slow_ms = slow_ms;
    }

    fn hang(&mut self, hangs: bool) {
        self.hangs = hangs;
    }

    fn fill(&mut self, full: bool) {
        self.disk.fill(full);
        self.is_full = full;
    }

    fn kill(self: Box<Self>) -> Folder {
        Folder::Real(Disk { disk: self.disk.after_stop(), member: self.member, is_rotten: false })
    }

    fn crash(mut self: Box<Self>, chance: &mut Chance, applies: &mut dyn FnMut(Applied)) -> Folder {
        // In the middle of something, or between two things.
        self.disk.fail_at(self.disk.calls() + 1 + chance.below(12), Fault::Crash);
        while let Some((_, request)) = self.asked.pop_front().filter(|_| !self.disk.has_crashed()) {
            self.turn(Some(request), applies);
        }
        let disk = self.disk.after_crash(chance.next());
        Folder::Real(Disk { disk, member: self.member, is_rotten: false })
    }
}

/// The first one, if its time has come.
trait Due<T> {
    fn pop_front_if_due(&mut self, now_ms: u64) -> Option<(u64, T)>;
}

impl<T> Due<T> for VecDeque<(u64, T)> {
    fn pop_front_if_due(&mut self, now_ms: u64) -> Option<(u64, T)> {
        if self.front()?.0 <= now_ms { self.pop_front() } else { None }
    }
}
