//! A model of a writer with its disk, as simple as one can be: what it promises, and nothing of how.
//!
//! Requests are done in order, some time after they were asked for; a crash loses those that are not done, or all but a
//! part of them. It is the model that the real writer is compared with.

use super::chance::Chance;
use super::complaint::must;
use super::fate::Mutation;
use super::truth::{Applied, hash};
use super::writer::{Files, Folder, Said, Writer};
use leveret::cluster::member::Append;
use leveret::cluster::member::Pinned;
use leveret::cluster::member::ledger::Known;
use leveret::cluster::membership::Configuration;
use leveret::cluster::message::Point;
use leveret::cluster::snapshot::IncomingStep;
use leveret::storage::MemberId;
use leveret::storage::entry::{Entry, EntryBody, EntryKind, Place, Vote};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// What is written at once.
#[derive(Clone)]
enum Written {
    Entry { entry: Entry, place: Place, commit: u64 },
    Vote { vote: Vote, commit: u64 },
}

/// A data folder: what a crash leaves.
#[derive(Clone)]
pub struct Disk {
    pub member: MemberId,
    founding: Option<Configuration>,
    written: Vec<Written>,
    /// Up to here a checkpoint has it.
    checkpoint: Option<Checkpoint>,
    places: u64,
    incoming: BTreeMap<String, Vec<u8>>,
    /// It was another member's, which lost its log.
    pub rejoins: bool,
}

/// A snapshot's file beside the checkpoint: something that takes a while.
const SEGMENT_FILE: &str = "1.seg";

#[derive(Clone, PartialEq, Debug)]
struct Checkpoint {
    last: Point,
    position: u64,
    configuration: Configuration,
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let numbers = [self.last.index, self.last.term, self.position];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(self.configuration.encode());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("eight bytes"));
        Self {
            last: Point { index: number(0), term: number(1) },
            position: number(2),
            configuration: Configuration::decode(&bytes[24..]).expect("a configuration"),
        }
    }

    /// The bytes that the file beside it has.
    fn segment_bytes(&self) -> u64 {
        1000 * (1 + self.last.index % 700)
    }

    /// What stands at those places of it.
    fn segment(&self, at: Range<u64>) -> impl Iterator<Item = u8> {
        at.map(|at| (at ^ self.last.index) as u8)
    }
}

/// What the writer is asked and has not done.
struct Asked {
    append: Append,
    places: Vec<Place>,
    /// Up to here it knew to be committed when it was asked, which it notes with what it writes.
    commit: u64,
    done_at_ms: u64,
}

/// A snapshot that becomes the log.
struct Install {
    last: Point,
    checkpoint: String,
    done_at_ms: u64,
}

pub struct ModelWriter {
    pub disk: Disk,
    asked: VecDeque<Asked>,
    /// What it knows beside the disk: everything that it was asked to write, in order.
    log: Vec<(Entry, Place)>,
    before: Point,
    applied: u64,
    slow_ms: u64,
    /// Nothing comes back.
    hangs: bool,
    is_full: bool,
    mutation: Mutation,
    /// As of what is applied.
    configuration: Option<Configuration>,
    pins: BTreeMap<u64, Checkpoint>,
    install: Option<Install>,
    steps: VecDeque<(u64, IncomingStep)>,
    said: VecDeque<Said>,
}

impl Disk {
    pub fn new(member: MemberId) -> Self {
        Self {
            member,
            founding: None,
            written: Vec::new(),
            checkpoint: None,
            places: 0,
            incoming: BTreeMap::new(),
            rejoins: false,
        }
    }

    /// A writer finds whatever is rotten, and is a new member. One that accepts it has lost what was written last.
    pub fn rot(&mut self, new_member: MemberId, mutation: Mutation, chance: &mut Chance) {
        if mutation == Mutation::AcceptRot {
            let left = self.written.len() - chance.below(4).min(self.written.len() as u64) as usize;
            self.written.truncate(left);
        } else {
            *self = Self { rejoins: true, ..Self::new(new_member) };
        }
    }

    pub fn found(&mut self, configuration: Configuration) {
        self.checkpoint =
            Some(Checkpoint { last: Point::default(), position: 0, configuration: configuration.clone() });
        self.founding = Some(configuration);
    }

    pub fn read(&self, place: Place) -> Option<Vec<u8>> {
        self.written.iter().find_map(|written| match written {
            Written::Entry { entry, place: other, .. } if *other == place => Some(entry.body.bytes().to_vec()),
            _ => None,
        })
    }

    fn log(&self, mutation: Mutation) -> Vec<(Entry, Place)> {
        let mut log: Vec<(Entry, Place)> = Vec::new();
        for written in &self.written {
            if let Written::Entry { entry, place, .. } = written {
                let is_written_over = log.last().is_some_and(|(last, _)| last.label.index >= entry.label.index);
                if is_written_over && mutation == Mutation::KeepTail {
                    continue;
                }
                cut(&mut log, entry.label.index);
                log.push((entry.clone(), *place));
            }
        }
        log
    }

    /// The last entry's index.
    fn last_index(&self) -> u64 {
        let entries = self.written.iter().rev().find_map(|written| match written {
            Written::Entry { entry, .. } => Some(entry.label.index),
            Written::Vote { .. } => None,
        });
        entries.or(self.checkpoint.as_ref().map(|checkpoint| checkpoint.last.index)).unwrap_or(0)
    }

    /// What a start finds.
    pub fn recover(&self, mutation: Mutation) -> Option<Known> {
        self.founding.as_ref()?;
        let checkpoint = self.checkpoint.clone().expect("a cluster has a beginning");
        let log = self.log(mutation);
        let last = log.last().map_or(checkpoint.last.index, |(entry, _)| entry.label.index);
        let commits = self.written.iter().map(|written| match written {
            Written::Entry { commit, .. } | Written::Vote { commit, .. } => *commit,
        });
        let applied = commits.max().unwrap_or(0).max(checkpoint.last.index).min(last);
        let mut votes = self.written.iter().filter_map(|written| match written {
            Written::Vote { vote, .. } => Some(*vote),
            Written::Entry { .. } => None,
        });
        let vote = votes.next_back().unwrap_or(Vote { term: 0, member: None });
        let mut configuration = checkpoint.configuration;
        let of_members = |(entry, _): &&(Entry, Place)| entry.label.kind == EntryKind::Configuration;
        for (entry, _) in log.iter().filter(of_members).filter(|(entry, _)| entry.label.index <= applied) {
            configuration = Configuration::decode(entry.body.bytes()).expect("a configuration");
        }
        let coming = log.iter().filter(of_members).filter(|(entry, _)| entry.label.index > applied);
        Some(Known {
            member: self.member,
            before: checkpoint.last,
            position_before: checkpoint.position,
            entries: log.iter().map(|(entry, place)| (entry.label, *place)).collect(),
            configurations: coming.map(|(entry, _)| (entry.label.index, entry.body.clone())).collect(),
            vote,
            applied,
            commit: applied,
            configuration,
        })
    }
}

impl ModelWriter {
    pub fn start(disk: Disk, mutation: Mutation) -> Self {
        let log = disk.log(mutation);
        let before = disk.checkpoint.as_ref().map_or(Point::default(), |checkpoint| checkpoint.last);
        let known = disk.recover(mutation);
        Self {
            disk,
            asked: VecDeque::new(),
            log,
            before,
            applied: known.as_ref().map_or(0, |known| known.applied),
            slow_ms: 0,
            hangs: false,
            is_full: false,
            mutation,
            configuration: known.map(|known| known.configuration),
            pins: BTreeMap::new(),
            install: None,
            steps: VecDeque::new(),
            said: VecDeque::new(),
        }
    }

    /// The folder becomes one of a cluster.
    fn found_now(&mut self, configuration: Configuration) -> Known {
        self.configuration = Some(configuration.clone());
        self.disk.found(configuration);
        self.disk.recover(self.mutation).expect("it was founded")
    }

    fn checkpoint_now(&self) -> Option<Checkpoint> {
        let configuration = self.configuration.clone()?;
        let at = self.applied - self.before.index;
        let last = match at {
            0 => self.before,
            _ => Point { index: self.applied, term: self.log[at as usize - 1].0.label.term },
        };
        Some(Checkpoint { last, position: self.position(), configuration })
    }

    /// Writes a checkpoint and frees what is before; says below which entry nothing is left.
    fn write_checkpoint(&mut self) -> Option<u64> {
        let checkpoint = self.checkpoint_now().filter(|checkpoint| checkpoint.last.index <= self.disk.last_index())?;
        let vote = self.disk.written.iter().rev().find(|written| matches!(written, Written::Vote { .. })).cloned();
        let last = checkpoint.last.index;
        // What was cut off does not come back with those that did it gone.
        let log = self.disk.log(self.mutation);
        let behind = log.iter().filter(|(entry, _)| entry.label.index > last).map(|(_, place)| place.offset);
        let kept: BTreeSet<u64> = behind.collect();
        let is_kept =
            |written: &Written| matches!(written, Written::Entry { place, .. } if kept.contains(&place.offset));
        self.disk.written.retain(is_kept);
        self.disk.written.extend(vote);
        self.log.drain(..(last - self.before.index) as usize);
        self.before = checkpoint.last;
        self.disk.checkpoint = Some(checkpoint);
        Some(last + 1)
    }

    /// Keeps what there is now for somebody.
    fn pin_now(&mut self, index: u64) -> Pinned {
        must!(index <= self.applied, "a checkpoint is asked for of entry {index}, which is not applied");
        let checkpoint = self.checkpoint_now().expect("a cluster");
        let id = self.pins.keys().next_back().map_or(1, |last| last + 1);
        let pinned = Pinned {
            id,
            last: checkpoint.last,
            configuration: checkpoint.configuration.clone(),
            checkpoint: checkpoint.encode(),
            files: vec![(SEGMENT_FILE.to_owned(), checkpoint.segment_bytes())],
        };
        self.pins.insert(id, checkpoint);
        pinned
    }

    /// Performs the next step of what arrives, if it is time.
    fn perform_incoming(&mut self, now_ms: u64) -> bool {
        if self.steps.front().is_none_or(|(at_ms, _)| *at_ms > now_ms) {
            return false;
        }
        match self.steps.pop_front() {
            Some((_, IncomingStep::Begin | IncomingStep::Discard)) => self.disk.incoming.clear(),
            Some((_, IncomingStep::Write { name, offset, bytes })) => {
                let file = self.disk.incoming.entry(name).or_default();
                must!(file.len() as u64 == offset, "a chunk at {offset} comes behind {} bytes", file.len());
                file.extend(bytes);
            }
            Some((_, IncomingStep::Finish { names })) => {
                let is_whole = names.iter().all(|name| self.disk.incoming.contains_key(name));
                must!(is_whole, "not all of {names:?} are there");
            }
            None => {}
        }
        true
    }

    /// What was installed, if it is by now.
    fn installed(&mut self, now_ms: u64) -> Option<(Point, u64)> {
        if !self.asked.is_empty() {
            return None;
        }
        let install = self.install.take_if(|install| install.done_at_ms <= now_ms)?;
        let checkpoint = become_log(&mut self.disk, &install);
        self.log.clear();
        self.before = checkpoint.last;
        self.applied = checkpoint.last.index;
        self.configuration = Some(checkpoint.configuration.clone());
        Some((checkpoint.last, checkpoint.position))
    }

    /// The position that the state ends at.
    fn position(&self) -> u64 {
        let at = (self.applied - self.before.index) as usize;
        let position = |(entry, _): &(Entry, Place)| entry.label.first_position + u64::from(entry.label.records) - 1;
        self.log[..at].last().map_or(self.disk.checkpoint.as_ref().map_or(0, |known| known.position), position)
    }

    /// The next request that is done by now: its number, and where its entries lie.
    fn persisted(&mut self, now_ms: u64) -> Option<(u64, Vec<(u64, Place)>)> {
        if self.hangs || self.is_full {
            return None;
        }
        let says_early = self.mutation == Mutation::SayBeforeSync;
        if says_early {
            // It is done later; who asked has his answer now.
            if let Some(asked) = self.asked.iter_mut().find(|asked| asked.append.number != 0) {
                let number = std::mem::take(&mut asked.append.number);
                return Some((number, places_of(asked)));
            }
        }
        while self.asked.front().is_some_and(|asked| asked.done_at_ms <= now_ms) {
            let asked = self.asked.pop_front()?;
            write(&mut self.disk, &asked, usize::MAX, self.mutation);
            if !says_early {
                return Some((asked.append.number, places_of(&asked)));
            }
        }
        None
    }
}

impl Writer for ModelWriter {
    fn say(&mut self, now_ms: u64, _: &mut dyn FnMut(Applied)) -> Option<Said> {
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        if let Some((number, places)) = self.persisted(now_ms) {
            return Some(Said::Persisted(number, places));
        }
        if self.perform_incoming(now_ms) {
            return Some(Said::Performed(true));
        }
        self.installed(now_ms).map(|(last, position)| Said::Installed(last, position))
    }

    fn append(&mut self, append: Append, now_ms: u64, chance: &mut Chance) {
        let mut places = Vec::new();
        for entry in &append.entries {
            must!(entry.label.index > self.applied, "entry {} is committed and cut off", entry.label.index);
            self.disk.places += 1;
            let length = entry.body.bytes().len() as u32;
            let place = Place { segment: 1, offset: self.disk.places, length };
            places.push(place);
            cut(&mut self.log, entry.label.index);
            let last = self
                .log
                .last()
                .map_or(self.before, |(entry, _)| Point { index: entry.label.index, term: entry.label.term });
            must!(entry.label.index == last.index + 1, "entry {} follows {last:?}", entry.label.index);
            must!(entry.label.term >= last.term, "an entry of term {} follows {last:?}", entry.label.term);
            self.log.push((entry.clone(), place));
        }
        let ready_at_ms = self.asked.back().map_or(now_ms, |asked| asked.done_at_ms);
        let done_at_ms = ready_at_ms + 1 + chance.below(8) + self.slow_ms;
        self.asked.push_back(Asked { append, places, commit: self.applied, done_at_ms });
    }

    fn commit(&mut self, index: u64, _: u64, applies: &mut dyn FnMut(Applied)) {
        let is_written = index <= self.disk.last_index() || self.mutation != Mutation::None;
        must!(is_written, "entry {index} is applied before it is written");
        let at = |index: u64| (index - self.before.index) as usize;
        for (entry, _) in &self.log[at(self.applied)..at(index.max(self.applied))] {
            if entry.label.kind == EntryKind::Configuration {
                self.configuration = Some(Configuration::decode(entry.body.bytes()).expect("a configuration"));
            }
            applies(Applied { label: entry.label, body_hash: hash(entry.body.bytes()) });
        }
        self.applied = self.applied.max(index);
    }

    fn found(&mut self, configuration: Configuration, _: u64) {
        let known = self.found_now(configuration);
        self.said.push_back(Said::Founded(known));
    }

    fn checkpoint(&mut self, _: u64) {
        let below = self.write_checkpoint();
        self.said.extend(below.map(Said::Forgotten));
    }

    fn pin(&mut self, index: u64, _: u64) {
        let pinned = self.pin_now(index);
        self.said.push_back(Said::Pinned(pinned));
    }

    fn unpin(&mut self, id: u64, _: u64) {
        self.pins.remove(&id).expect("it was pinned");
    }

    fn incoming(&mut self, step: IncomingStep, now_ms: u64, chance: &mut Chance) {
        let ready_at_ms = self.steps.back().map_or(now_ms, |(at_ms, _)| *at_ms);
        self.steps.push_back((ready_at_ms + chance.below(5), step));
    }

    fn install(&mut self, last: Point, files: Files, now_ms: u64, chance: &mut Chance) {
        let ready_at_ms = self.asked.back().map_or(now_ms, |asked| asked.done_at_ms);
        let done_at_ms = ready_at_ms + 10 + chance.below(50) + self.slow_ms;
        self.install = Some(Install { last, checkpoint: files.checkpoint, done_at_ms });
    }

    fn applied(&self) -> (u64, u64) {
        (self.applied, self.position())
    }

    fn would_know(&self) -> Option<Known> {
        self.disk.recover(self.mutation)
    }

    fn pins(&self) -> usize {
        self.pins.len()
    }

    fn state(&mut self) -> Option<String> {
        None
    }

    fn read(&mut self, place: Place) -> Option<Vec<u8>> {
        self.disk.read(place)
    }

    fn read_file(&mut self, name: &str, offset: u64, length: u32) -> Option<Vec<u8>> {
        assert_eq!(name, SEGMENT_FILE, "what was announced");
        let pinned = self.pins.values().next_back()?;
        let end = offset + u64::from(length);
        (end <= pinned.segment_bytes()).then(|| pinned.segment(offset..end).collect())
    }

    fn slow_down(&mut self, slow_ms: u64) {
        self.slow_ms = slow_ms;
    }

    fn hang(&mut self, hangs: bool) {
        self.hangs = hangs;
    }

    fn fill(&mut self, full: bool) {
        self.is_full = full;
    }

    fn kill(self: Box<Self>) -> Folder {
        Folder::Model(self.disk)
    }

    /// Of what is not done, a part may be there all the same.
    fn crash(mut self: Box<Self>, chance: &mut Chance, _: &mut dyn FnMut(Applied)) -> Folder {
        let kept = chance.below(self.asked.len() as u64 + 1);
        for (at, asked) in self.asked.iter().enumerate().take(kept as usize) {
            let is_torn = at + 1 == kept as usize;
            let entries =
                if is_torn { chance.below(asked.append.entries.len() as u64 + 1) as usize } else { usize::MAX };
            write(&mut self.disk, asked, entries, self.mutation);
        }
        if let Some(install) = self.install.filter(|_| kept == self.asked.len() as u64 && chance.one_in(2)) {
            become_log(&mut self.disk, &install);
        }
        self.disk.incoming.clear();
        if self.mutation == Mutation::ForgetVote
            && let Some(at) = self.disk.written.iter().rposition(|written| matches!(written, Written::Vote { .. }))
        {
            self.disk.written.remove(at);
        }
        Folder::Model(self.disk)
    }
}

fn become_log(disk: &mut Disk, install: &Install) -> Checkpoint {
    let checkpoint = Checkpoint::decode(&disk.incoming[&install.checkpoint]);
    must!(checkpoint.last == install.last, "{checkpoint:?} is installed, and not {:?}", install.last);
    let is_whole = checkpoint.segment(0..checkpoint.segment_bytes()).eq(disk.incoming[SEGMENT_FILE].iter().copied());
    must!(is_whole, "not every byte has arrived");
    disk.incoming.clear();
    let is_vote = |written: &&Written| matches!(written, Written::Vote { .. });
    disk.written = disk.written.iter().rfind(is_vote).cloned().into_iter().collect();
    disk.checkpoint = Some(checkpoint.clone());
    checkpoint
}

fn places_of(asked: &Asked) -> Vec<(u64, Place)> {
    asked.append.entries.iter().map(|entry| entry.label.index).zip(asked.places.iter().copied()).collect()
}

/// Entries from this index on are not the log's any more.
fn cut(log: &mut Vec<(Entry, Place)>, index: u64) {
    while log.last().is_some_and(|(last, _)| last.label.index >= index) {
        log.pop();
    }
}

/// A request comes to the disk, or so many of its entries.
fn write(disk: &mut Disk, asked: &Asked, entries: usize, mutation: Mutation) {
    let commit = asked.commit;
    if let Some(vote) = asked.append.vote {
        let commit = if mutation == Mutation::NoteNoCommit { 0 } else { commit };
        disk.written.push(Written::Vote { vote, commit });
    }
    for (entry, place) in asked.append.entries.iter().zip(&asked.places).take(entries) {
        let entry = Entry { label: entry.label, body: EntryBody::copied(entry.body.bytes()) };
        let commit = commit.min(entry.label.index);
        disk.written.push(Written::Entry { entry, place: *place, commit });
    }
}
