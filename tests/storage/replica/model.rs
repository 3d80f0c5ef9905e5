//! A replicated log on a simulated disk, driven request by request, and the model that says what must be there after a
//! crash.
//!
//! The model keeps every entry and every vote that was handed to the writer, in the order of writing, and how many of
//! them were reported as persisted. After a crash there is what some number of them lead to, at least the persisted
//! ones, and nothing else: the same entries, bytes, votes and configurations. What is applied was committed, and the
//! state, messages and all, is what the entries up to there lead to.

use crate::harness::{FoundMessage, declared, load_all, message, number_of, queue, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::{Definition, Route};
use leveret::storage::entry::{Entry, EntryBody, EntryKind, EntryLabel, Place, Vote};
use leveret::storage::membership::Membership;
use leveret::storage::record::{put_definition, put_enqueue, put_purged, put_removed};
use leveret::storage::replica::{
    Append, RecoveredReplica, ReplicaDuty, ReplicaReport, ReplicaRequest, ReplicaWriter, Survey, recover_replica,
};
use leveret::storage::sequences::Reached;
use leveret::storage::{ClusterId, FolderIds, LogOptions, MemberId, StorageError};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

pub const CLUSTER: ClusterId = ClusterId([3; 16]);
pub const FIRST_CONFIGURATION: &[u8] = b"the first three";

pub fn member(number: u64) -> MemberId {
    MemberId(NonZeroU64::new(number).unwrap())
}

pub fn options() -> LogOptions {
    small()
}

pub type Report = ReplicaReport<SimDisk>;

/// What recovery said, without what the writer took.
pub struct Found {
    pub ids: FolderIds,
    pub membership: Membership,
    pub applied: Reached,
    pub log: Vec<(EntryLabel, Place)>,
    pub configurations: Vec<(u64, Vec<u8>)>,
    pub warnings: Vec<String>,
}

pub struct Node {
    pub disk: SimDisk,
    pub duty: ReplicaDuty<SimDisk>,
    pub failed: bool,
    /// Chores wait until they are [told to be done](Self::do_chores).
    pub delays_chores: bool,
    /// What was said, but for what [`Self::ask`] gave back.
    pub said: Vec<Report>,
    appends: u64,
}

impl Node {
    pub fn open(disk: &SimDisk, options: LogOptions) -> Result<(Self, Found), StorageError> {
        let recovered = recover_replica(disk, member(7))?;
        let RecoveredReplica { ids, membership, applied, log, configurations, warnings, resume, .. } = recovered;
        let duty = ReplicaDuty::new(ReplicaWriter::start(disk.clone(), options, resume)?);
        let found = Found { ids, membership, applied, log, configurations, warnings };
        let disk = disk.clone();
        Ok((Self { disk, duty, failed: false, delays_chores: false, said: Vec::new(), appends: 0 }, found))
    }

    /// Asks, and gives back what is said to it.
    pub fn ask(&mut self, request: ReplicaRequest) -> Vec<Report> {
        let mut said = Vec::new();
        self.duty.turn(Some(request), |report| said.push(report));
        self.failed |= said.iter().any(|report| matches!(report, ReplicaReport::Failed(_)));
        if !self.delays_chores {
            self.do_chores();
        }
        said
    }

    /// What another thread does beside the writer's.
    pub fn do_chores(&mut self) {
        for done in 0.. {
            let Some(chore) = self.duty.take_chore() else { break };
            assert!(done < 100, "there is no end of chores");
            let done = ReplicaRequest::ChoreDone(chore.run(&self.disk));
            self.turn(Some(done));
        }
    }

    fn turn(&mut self, request: Option<ReplicaRequest>) {
        let before = self.said.len();
        self.duty.turn(request, |report| self.said.push(report));
        self.failed |= self.said[before..].iter().any(|report| matches!(report, ReplicaReport::Failed(_)));
    }

    /// Steps of upkeep, as long as there are any.
    pub fn maintain(&mut self, steps: usize) {
        for _ in 0..steps {
            self.turn(None);
            if !self.delays_chores {
                self.do_chores();
            }
            if self.failed || !self.duty.has_work() {
                break;
            }
        }
    }

    pub fn append(&mut self, entries: Vec<Entry>, vote: Option<Vote>) -> Option<Vec<(u64, Place)>> {
        self.appends += 1;
        let number = self.appends;
        let mut written = None;
        for report in self.ask(ReplicaRequest::Append(Append { number, entries, vote })) {
            match report {
                ReplicaReport::Persisted { number: of, places, .. } => {
                    assert_eq!(of, number);
                    written = Some(places);
                }
                report => self.said.push(report),
            }
        }
        written
    }

    /// What there is, now that the state is as far as it is.
    pub fn survey(&mut self) -> Survey<SimDisk> {
        let index = self.duty.writer().applied().index;
        let said = self.ask(ReplicaRequest::Survey { index });
        let survey = said.into_iter().find_map(|report| match report {
            ReplicaReport::Survey(survey) => Some(*survey),
            _ => None,
        });
        survey.expect("the state is that far")
    }
}

/// What a record does, as the model sees it.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    Declare(u64),
    Delete(u64),
    Enqueue { queue: u64, sequence: u64, number: u64, length: usize },
    Remove { queue: u64, first: u64, last: u64 },
    Purge { queue: u64, up_to: u64 },
}

impl Effect {
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Declare(number) => put_definition(out, &declared(number)),
            Self::Delete(number) => put_definition(out, &Definition::QueueDeleted { id: queue(number) }),
            Self::Enqueue { queue: to, sequence, number, length } => {
                let stored = message(number, length);
                let route = Route { queue: queue(to), sequence, expires_at_ms: None };
                put_enqueue(out, &stored.content(), stored.attributes().priority, route);
            }
            Self::Remove { queue: of, first, last } => put_removed(out, queue(of), [(first, last)].into_iter()),
            Self::Purge { queue: of, up_to } => put_purged(out, queue(of), up_to),
        }
    }
}

/// Queues, and their messages by sequence: number and length.
pub type Messages = BTreeMap<u64, BTreeMap<u64, (u64, usize)>>;

#[derive(Clone, Debug)]
pub struct Told {
    pub label: EntryLabel,
    pub effects: Vec<Effect>,
    pub configuration: Vec<u8>,
    /// What was applied when it was written.
    commit: u64,
}

#[derive(Clone, Debug)]
enum Act {
    Entry(Box<Told>),
    Vote(Vote),
}

#[derive(Clone, Default)]
pub struct Model {
    /// In the order of writing.
    acts: Vec<Act>,
    /// So many of them were reported as persisted.
    persisted: usize,
    /// What they lead to: the entries by index, from 1 on.
    pub log: Vec<Told>,
    pub vote: Vote,
    pub committed: u64,
    pub term: u64,
    next_message: u64,
}

fn log_of(acts: &[Act]) -> (Vec<Told>, Vote) {
    let (mut log, mut vote) = (Vec::<Told>::new(), Vote::default());
    for act in acts {
        match act {
            Act::Entry(told) => {
                log.truncate(told.label.index as usize - 1);
                log.push(Told::clone(told));
            }
            Act::Vote(given) => vote = *given,
        }
    }
    (log, vote)
}

fn messages_of<'a>(log: impl IntoIterator<Item = &'a Told>) -> Messages {
    let mut messages = Messages::new();
    for effect in log.into_iter().flat_map(|told| &told.effects) {
        match *effect {
            Effect::Declare(number) => _ = messages.entry(number).or_default(),
            Effect::Delete(number) => _ = messages.remove(&number),
            Effect::Enqueue { queue, sequence, number, length } => {
                if let Some(of_queue) = messages.get_mut(&queue) {
                    of_queue.insert(sequence, (number, length));
                }
            }
            Effect::Remove { queue, first, last } => {
                if let Some(of_queue) = messages.get_mut(&queue) {
                    of_queue.retain(|sequence, _| !(first..=last).contains(sequence));
                }
            }
            Effect::Purge { queue, up_to } => {
                if let Some(of_queue) = messages.get_mut(&queue) {
                    of_queue.retain(|sequence, _| *sequence > up_to);
                }
            }
        }
    }
    messages
}

impl Model {
    /// Of an empty log.
    pub fn in_term(term: u64) -> Self {
        Self { term, ..Self::default() }
    }

    /// What the log as it was told leads to, committed or not.
    pub fn messages(&self) -> Messages {
        messages_of(&self.log)
    }

    pub fn configuration_at(&self, index: u64) -> Vec<u8> {
        let mut told = self.log.iter().take(index as usize);
        let newest = told.rfind(|told| told.label.kind == EntryKind::Configuration);
        newest.map_or(FIRST_CONFIGURATION.to_vec(), |told| told.configuration.clone())
    }

    fn next_sequence(&self, queue: u64) -> u64 {
        let effects = self.log.iter().flat_map(|told| &told.effects);
        let of_queue = effects.filter_map(|effect| match effect {
            Effect::Enqueue { queue: to, sequence, .. } if *to == queue => Some(sequence + 1),
            _ => None,
        });
        of_queue.max().unwrap_or(0)
    }

    /// A message for a queue, which is the next one there.
    pub fn enqueue(&mut self, queue: u64, length: usize) -> Effect {
        self.next_message += 1;
        Effect::Enqueue { queue, sequence: self.next_sequence(queue), number: self.next_message, length }
    }

    /// Several messages for a queue.
    pub fn enqueue_many(&mut self, queue: u64, count: u64, length: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        for further in 0..count {
            let mut effect = self.enqueue(queue, length);
            if let Effect::Enqueue { sequence, .. } = &mut effect {
                *sequence += further;
            }
            effects.push(effect);
        }
        effects
    }

    /// The oldest message of a queue goes, if there is one.
    pub fn remove(&self, queue: u64) -> Vec<Effect> {
        let oldest = self.messages().get(&queue).and_then(|of| of.keys().next().copied());
        oldest.map(|first| Effect::Remove { queue, first, last: first }).into_iter().collect()
    }

    /// The next entry, of the model's term.
    pub fn entry(&mut self, effects: Vec<Effect>, commit: u64) -> Entry {
        let mut body = Vec::new();
        effects.iter().for_each(|effect| effect.put(&mut body));
        let records = effects.len() as u32;
        self.tell(EntryKind::Records, records, effects, Vec::new(), body, commit)
    }

    pub fn configuration(&mut self, configuration: &[u8], commit: u64) -> Entry {
        let bytes = configuration.to_vec();
        self.tell(EntryKind::Configuration, 0, Vec::new(), bytes.clone(), bytes, commit)
    }

    fn tell(
        &mut self,
        kind: EntryKind,
        records: u32,
        effects: Vec<Effect>,
        configuration: Vec<u8>,
        body: Vec<u8>,
        commit: u64,
    ) -> Entry {
        let (index, first_position) = match self.log.last() {
            Some(told) => (told.label.index + 1, told.label.first_position + u64::from(told.label.records)),
            None => (1, 1),
        };
        let label = EntryLabel { term: self.term, index, first_position, records, kind };
        let told = Told { label, effects, configuration, commit };
        self.acts.push(Act::Entry(Box::new(told.clone())));
        self.log.push(told);
        Entry { label, body: EntryBody::copied(&body) }
    }

    /// Another leader's log is shorter: what is behind an index goes with the next entry.
    pub fn cut_off_behind(&mut self, index: u64) {
        assert!(index >= self.committed);
        self.log.truncate(index as usize);
    }

    pub fn vote(&mut self, vote: Vote) -> Vote {
        self.vote = vote;
        self.acts.push(Act::Vote(vote));
        vote
    }

    /// Hands entries and a vote, which were told to the model, to the writer.
    pub fn append(&mut self, node: &mut Node, entries: Vec<Entry>, vote: Option<Vote>) {
        let indexes: Vec<_> = entries.iter().map(|entry| entry.label.index).collect();
        if let Some(places) = node.append(entries, vote) {
            assert_eq!(places.iter().map(|(index, _)| *index).collect::<Vec<_>>(), indexes);
            self.persisted = self.acts.len();
        }
    }

    /// An entry with these effects, alone.
    pub fn write(&mut self, node: &mut Node, effects: Vec<Effect>) {
        let entry = self.entry(effects, node.duty.writer().applied().index);
        self.append(node, vec![entry], None);
    }

    pub fn commit(&mut self, node: &mut Node, index: u64) {
        let index = index.min(self.log.len() as u64);
        if !node.failed && index > self.committed {
            self.committed = index;
            node.ask(ReplicaRequest::Commit(index));
        }
    }

    /// Compares what came back with what must and may be there, and goes on from there.
    pub fn check(&mut self, found: &Found, node: &mut Node) {
        assert_eq!((found.ids.cluster, found.ids.member), (CLUSTER, member(7)));
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
        let applied = found.applied.index;
        let last = found.log.last().map_or(applied, |(label, _)| label.index);
        assert!(applied <= self.committed, "{applied} are applied where {} were committed", self.committed);
        let survived = (self.persisted..=self.acts.len()).rev().find(|count| {
            let (log, vote) = log_of(&self.acts[..*count]);
            let known = found
                .log
                .iter()
                .all(|(label, _)| log.get(label.index as usize - 1).is_some_and(|told| told.label == *label));
            vote == found.membership.vote && log.len() as u64 == last && known
        });
        let Some(survived) = survived else {
            let (log, vote) = log_of(&self.acts[..self.persisted]);
            panic!(
                "found up to {last}, {:?}, {:?}\npersisted {:?}, {vote:?}",
                found.membership.vote,
                found.log,
                log.last().map(|told| told.label)
            );
        };
        let known = self.acts[..self.persisted].iter().filter_map(|act| match act {
            Act::Entry(told) => Some(told.commit),
            Act::Vote(_) => None,
        });
        assert!(known.max().unwrap_or(0) <= applied, "a persisted batch knows of more commits than {applied}");
        self.acts.truncate(survived);
        (self.log, self.vote) = log_of(&self.acts);
        self.persisted = survived;
        assert_eq!(found.membership.configuration, self.configuration_at(applied));
        assert!(found.log.windows(2).all(|pair| pair[0].0.index + 1 == pair[1].0.index), "without a gap");
        if let Some((first, _)) = found.log.first() {
            assert!(first.index <= applied + 1, "all that is not applied is told of");
        }
        let pending = self.log.iter().skip(applied as usize);
        let configurations = pending.filter(|told| told.label.kind == EntryKind::Configuration);
        let configurations: Vec<_> =
            configurations.map(|told| (told.label.index, told.configuration.clone())).collect();
        assert_eq!(found.configurations, configurations);
        self.check_state(node);
        // What was committed is, whether the node knows of it or not.
        let committed = std::mem::take(&mut self.committed);
        assert!(committed <= self.log.len() as u64, "a committed entry is lost");
        self.committed = applied;
        self.commit(node, committed);
        if !node.failed {
            self.check_state(node);
        }
    }

    /// The state is what the entries up to what is applied lead to.
    pub fn check_state(&self, node: &mut Node) {
        let applied = node.duty.writer().applied();
        let expected = messages_of(self.log.iter().take(applied.index as usize));
        if let Some(told) = self.log.get((applied.index as usize).wrapping_sub(1)) {
            assert_eq!((applied.term, applied.index), (told.label.term, told.label.index));
        }
        let survey = node.survey();
        assert_eq!(survey.index, applied.index);
        let declared: Vec<_> = survey.queues.iter().map(|queue| queue.id.0).collect();
        assert_eq!(declared, expected.keys().copied().collect::<Vec<_>>(), "queues");
        let mut loaded = load_all(survey.loader).unwrap();
        for (number, messages) in expected {
            let found = loaded.remove(&queue(number)).unwrap_or_default();
            let sequences = |found: &[FoundMessage]| found.iter().map(|found| found.sequence).collect::<Vec<_>>();
            assert_eq!(sequences(&found), messages.keys().copied().collect::<Vec<_>>(), "queue {number}");
            for (found, (number, length)) in found.iter().zip(messages.values()) {
                assert_eq!(number_of(&found.message), *number, "another message at {}", found.sequence);
                assert_eq!(found.message.content(), message(*number, *length).content());
            }
        }
        assert!(loaded.is_empty(), "messages of no queue");
    }
}

/// A node that was founded, and in which two queues with messages are committed.
pub fn founded(options: LogOptions) -> (Node, Model) {
    let (mut node, found) = Node::open(&SimDisk::default(), options).unwrap();
    assert!(!found.ids.cluster.is_any());
    let configuration = FIRST_CONFIGURATION.to_vec();
    let said = node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration });
    assert!(matches!(said[0], ReplicaReport::Founded));
    let mut model = Model::in_term(1);
    let vote = model.vote(Vote { term: 1, member: Some(member(7)) });
    model.append(&mut node, Vec::new(), Some(vote));
    model.write(&mut node, Vec::new());
    model.write(&mut node, vec![Effect::Declare(1), Effect::Declare(2)]);
    for queue in [1, 2, 1] {
        let effects = vec![model.enqueue(queue, 30)];
        model.write(&mut node, effects);
    }
    model.commit(&mut node, u64::MAX);
    assert!(!node.failed);
    (node, model)
}
