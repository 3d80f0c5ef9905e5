//! One node: a member, its writer, and, when it leads, a loop that publishes.

use super::chance::Chance;
use super::disk::{Disk, Writer};
use super::fate::Mutation;
use super::truth::{Truth, hash};
use leveret::broker::store::{DurableQueueId, Log as _, LogPosition};
use leveret::cluster::member::{Member, NodeNumber, Output, Role, Settings, Told};
use leveret::cluster::message::{Lane, Part};
use leveret::storage::batch::BATCH_HEADER_BYTES;
use leveret::storage::{BatchDone, ClusterId, LogOptions, LogStore, MemberId, SyncPolicy};
use std::collections::VecDeque;

/// A publisher waits while so much is not with the writer.
const PENDING_MAX_BYTES: usize = 500;

/// What a node wants said.
pub struct Saying {
    pub to: usize,
    pub lane: Lane,
    pub bytes: Vec<u8>,
}

pub struct Node {
    number: usize,
    mutation: Mutation,
    /// Which start of it this is.
    pub life: u64,
    disk: Option<Disk>,
    pub running: Option<Running>,
    pub paused_until_ms: u64,
    pub is_gone: bool,
    clock_percent: u64,
}

pub struct Running {
    pub member: Member,
    writer: Writer,
    /// How many were installed.
    pub snapshots: u64,
    publisher: Option<Publisher>,
    /// It has done with everything.
    pub has_stopped: bool,
}

/// A loop of a leader.
struct Publisher {
    term: u64,
    store: LogStore,
    /// Last position, first position, hash and records of batches that are not confirmed.
    unconfirmed: VecDeque<(u64, u64, u64, u64)>,
}

impl Node {
    pub fn new(number: usize, disk: Disk, clock_percent: u64, mutation: Mutation) -> Self {
        let disk = Some(disk);
        let (life, running) = (0, None);
        Self { number, mutation, life, disk, running, paused_until_ms: 0, is_gone: false, clock_percent }
    }

    pub fn is_up(&self, now_ms: u64) -> bool {
        self.running.is_some() && self.paused_until_ms <= now_ms
    }

    pub fn leads(&self) -> bool {
        let consensus = self.running.as_ref().and_then(|running| running.member.consensus());
        consensus.is_some_and(leveret::cluster::member::consensus::Consensus::leads)
    }

    fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms * self.clock_percent / 100
    }

    pub fn start(&mut self, seed: u64, now_ms: u64) {
        let Some(disk) = self.disk.take() else { return };
        self.life += 1;
        let names = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
        let settings = Settings {
            nodes: names,
            me: NodeNumber(self.number as u8),
            member: disk.member,
            new_cluster: ClusterId([7; 16]),
            chance: seed ^ (self.number as u64) << 8 ^ self.life,
        };
        let known = disk.recover(self.mutation);
        let member = Member::start(settings, known, self.clock_ms(now_ms));
        self.running = Some(Running {
            member,
            writer: Writer::start(disk, self.mutation),
            snapshots: 0,
            publisher: None,
            has_stopped: false,
        });
    }

    pub fn crash(&mut self, chance: &mut Chance) {
        if let Some(running) = self.running.take() {
            self.disk = Some(running.writer.crash(chance));
        }
    }

    /// Its folder is lost, and a new one begins.
    pub fn wipe(&mut self, member: MemberId) {
        assert!(self.running.is_none(), "only who is down loses his folder");
        self.disk = Some(Disk::new(member));
    }

    pub fn checkpoint(&mut self) {
        if let Some(running) = &mut self.running
            && let Some(below) = running.writer.checkpoint()
        {
            running.member.forgotten(below);
        }
    }

    /// Whether it has a place in a cluster.
    pub fn belongs(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.member.consensus().is_some())
    }

    /// Whether it knows that this member votes.
    pub fn knows_voter(&self, member: MemberId) -> bool {
        let consensus = self.running.as_ref().and_then(|running| running.member.consensus());
        consensus.is_some_and(|consensus| consensus.configuration().is_voter(member))
    }

    pub fn pins(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.writer.pins())
    }

    pub fn hang_disk(&mut self, hangs: bool) {
        if let Some(running) = &mut self.running {
            running.writer.hangs = hangs;
        }
    }

    pub fn slow_disk(&mut self, slow_ms: u64) {
        if let Some(running) = &mut self.running {
            running.writer.slow_ms = slow_ms;
        }
    }

    pub fn received(&mut self, from: usize, bytes: Vec<u8>) {
        if let Some(running) = &mut self.running {
            running.member.received(NodeNumber(from as u8), bytes);
        }
    }

    /// For whoever looks at a run that failed.
    pub fn describe(&self) -> String {
        let Some(running) = &self.running else { return "down".to_owned() };
        let Some(consensus) = running.member.consensus() else { return "belongs to nothing".to_owned() };
        let reaches: Vec<_> = consensus.reaches().collect();
        format!(
            "term {}, leader {:?}, committed {}, persisted {}, applied {}, log {:?}..{:?}, others {reaches:?}",
            consensus.term(),
            consensus.leader(),
            consensus.committed(),
            consensus.persisted(),
            consensus.applied(),
            consensus.ledger().before(),
            consensus.ledger().last(),
        )
    }

    pub fn applied(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.writer.applied())
    }

    /// Some time of its own: the writer's word, a tick, something to publish.
    pub fn turn(&mut self, now_ms: u64, publishes: bool, truth: &mut Truth, chance: &mut Chance) -> Vec<Saying> {
        let clock_ms = self.clock_ms(now_ms);
        let (number, mutation) = (self.number, self.mutation);
        let Some(running) = &mut self.running else { return Vec::new() };
        while let Some((number, places)) = running.writer.persisted(now_ms) {
            running.member.persisted(number, &places);
        }
        while running.writer.perform_incoming(now_ms) {
            running.member.incoming_performed(true);
        }
        if let Some((last, position)) = running.writer.installed(now_ms) {
            running.snapshots += 1;
            running.member.installed(last, position);
        }
        if clock_ms >= running.member.next_tick_ms() {
            running.member.tick(clock_ms);
        }
        let mut said = Vec::new();
        running.take_outputs(number, now_ms, mutation, truth, chance, &mut said);
        if let Some(publisher) = &mut running.publisher {
            if publishes && publisher.store.pending_bytes() < PENDING_MAX_BYTES && chance.one_in(3) {
                let records = chance.between(1, 4);
                for _ in 0..records {
                    publisher.store.purged(DurableQueueId(1), chance.next() >> 40);
                }
            }
            if let Some(batch) = publisher.store.take_batch(clock_ms) {
                let body = &batch.buffer[BATCH_HEADER_BYTES..];
                if batch.records > 0 {
                    truth.proposed(batch.first_position, body);
                    let last = batch.last_position().0;
                    publisher.unconfirmed.push_back((last, batch.first_position, hash(body), batch.records.into()));
                }
                let term = publisher.term;
                running.member.propose(term, batch);
                running.take_outputs(number, now_ms, mutation, truth, chance, &mut said);
            }
        }
        if let Some(consensus) = running.member.consensus().filter(|consensus| consensus.leads()) {
            truth.leads(consensus.term(), number);
        }
        said
    }
}

impl Running {
    fn take_outputs(
        &mut self,
        node: usize,
        now_ms: u64,
        mutation: Mutation,
        truth: &mut Truth,
        chance: &mut Chance,
        said: &mut Vec<Saying>,
    ) {
        let mut unread = Vec::new();
        while let Some(output) = self.next_output(&mut unread) {
            match output {
                Output::Send { to, lane, parts } => match self.assemble(parts) {
                    Some(bytes) => said.push(Saying { to: to.0.into(), lane, bytes }),
                    None => unread.push(to),
                },
                Output::Append(append) => self.writer.append(append, now_ms, chance),
                Output::Commit(index) => self.writer.commit(index, |entry| truth.applies(node, entry)),
                Output::Told(told) => self.told(told, mutation, truth),
                Output::Role(Role::Lead { term, index }) => {
                    assert!(self.writer.applied() >= index, "a leader begins with everything");
                    let position = LogPosition(self.writer.position());
                    let options = LogOptions {
                        sync_policy: SyncPolicy::Replicated,
                        batch_max_bytes: 64,
                        ..LogOptions::default()
                    };
                    let store = LogStore::new(options, position);
                    self.publisher = Some(Publisher { term, store, unconfirmed: VecDeque::new() });
                }
                Output::Role(_) => self.publisher = None,
                Output::Found(configuration) => {
                    let known = self.writer.found(configuration);
                    self.member.founded(known);
                }
                Output::Pin { index } => {
                    let pinned = self.writer.pin(index);
                    self.member.pinned(pinned);
                }
                Output::Unpin(id) => self.writer.unpin(id),
                Output::Incoming(step) => self.writer.incoming(step, now_ms, chance),
                Output::Install { last, checkpoint, .. } => self.writer.install(last, checkpoint, now_ms, chance),
                Output::Stopped => self.has_stopped = true,
            }
        }
    }

    /// What the member wants next, after it was told of messages that could not be sent.
    fn next_output(&mut self, unread: &mut Vec<NodeNumber>) -> Option<Output> {
        loop {
            match (self.member.take_output(), unread.pop()) {
                (None, None) => return None,
                (None, Some(node)) => self.member.could_not_read(node),
                (output, node) => {
                    unread.extend(node);
                    return output;
                }
            }
        }
    }

    /// The bytes of a message; none if an entry is not there any more.
    fn assemble(&mut self, parts: Vec<Part>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(more) => bytes.extend(more),
                Part::Body(body) => bytes.extend(body.bytes()),
                Part::Stored(place) => bytes.extend(self.writer.disk.read(place)?),
                Part::File { name, offset, length } => bytes.extend(self.writer.read_file(&name, offset, length)?),
            }
        }
        Some(bytes)
    }

    fn told(&mut self, told: Told, mutation: Mutation, truth: &mut Truth) {
        let Some(publisher) = &mut self.publisher else { return };
        let written = match told {
            Told::Done(written) => {
                let done = BatchDone { result: Ok(written), recycled: None };
                publisher.store.batch_done(done).expect("it was written");
                written
            }
            Told::Progress(written) => written,
        };
        let lasts = match mutation {
            Mutation::ConfirmWritten => written.written.max(written.synced),
            _ => written.synced,
        };
        while let Some((_, first, hash, records)) =
            publisher.unconfirmed.front().filter(|(last, ..)| *last <= lasts.0).copied()
        {
            truth.confirmed(first, hash, records);
            publisher.unconfirmed.pop_front();
        }
    }
}
