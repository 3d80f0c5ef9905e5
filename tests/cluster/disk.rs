//! A writer with its disk, as simple as one can be: what it promises, and nothing of how.
//!
//! Requests are done in order, some time after they were asked for; a crash loses those that are not done, or all but a
//! part of them. It is the model that the real writer is compared with.

use super::chance::Chance;
use super::fate::Mutation;
use super::truth::{Applied, hash};
use leveret::cluster::member::Append;
use leveret::cluster::member::ledger::Known;
use leveret::cluster::membership::Configuration;
use leveret::cluster::message::Point;
use leveret::storage::MemberId;
use leveret::storage::entry::{Entry, EntryBody, EntryKind, Place, Vote};
use std::collections::VecDeque;

/// What is written at once.
#[derive(Clone)]
enum Written {
    Entry { entry: Entry, place: Place, commit: u64 },
    Vote(Vote),
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
}

#[derive(Clone)]
struct Checkpoint {
    last: Point,
    position: u64,
    configuration: Configuration,
}

/// What the writer is asked and has not done.
struct Asked {
    append: Append,
    places: Vec<Place>,
    done_at_ms: u64,
}

pub struct Writer {
    pub disk: Disk,
    asked: VecDeque<Asked>,
    /// What it knows beside the disk: everything that it was asked to write, in order.
    log: Vec<(Entry, Place)>,
    before: Point,
    applied: u64,
    pub slow_ms: u64,
    mutation: Mutation,
}

impl Disk {
    pub fn new(member: MemberId) -> Self {
        Self { member, founding: None, written: Vec::new(), checkpoint: None, places: 0 }
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
            Written::Vote(_) => None,
        });
        entries.or(self.checkpoint.as_ref().map(|checkpoint| checkpoint.last.index)).unwrap_or(0)
    }

    /// What a start finds.
    pub fn recover(&self, mutation: Mutation) -> Option<Known> {
        self.founding.as_ref()?;
        let checkpoint = self.checkpoint.clone().expect("a cluster has a beginning");
        let log = self.log(mutation);
        let last = log.last().map_or(checkpoint.last.index, |(entry, _)| entry.label.index);
        let commits = self.written.iter().filter_map(|written| match written {
            Written::Entry { commit, .. } => Some(*commit),
            Written::Vote(_) => None,
        });
        let applied = commits.max().unwrap_or(0).max(checkpoint.last.index).min(last);
        let mut votes = self.written.iter().filter_map(|written| match written {
            Written::Vote(vote) => Some(*vote),
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

impl Writer {
    pub fn start(disk: Disk, mutation: Mutation) -> Self {
        let log = disk.log(mutation);
        let before = disk.checkpoint.as_ref().map_or(Point::default(), |checkpoint| checkpoint.last);
        let applied = disk.recover(mutation).map_or(0, |known| known.applied);
        Self { disk, asked: VecDeque::new(), log, before, applied, slow_ms: 0, mutation }
    }

    /// How far the state is.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The position that the state ends at.
    pub fn position(&self) -> u64 {
        let at = (self.applied - self.before.index) as usize;
        let position = |(entry, _): &(Entry, Place)| entry.label.first_position + u64::from(entry.label.records) - 1;
        self.log[..at].last().map_or(self.disk.checkpoint.as_ref().map_or(0, |known| known.position), position)
    }

    pub fn append(&mut self, append: Append, now_ms: u64, chance: &mut Chance) {
        let mut places = Vec::new();
        for entry in &append.entries {
            assert!(entry.label.index > self.applied, "what is committed is never cut off");
            self.disk.places += 1;
            let length = entry.body.bytes().len() as u32;
            let place = Place { segment: 1, offset: self.disk.places, length };
            places.push(place);
            cut(&mut self.log, entry.label.index);
            let last = self
                .log
                .last()
                .map_or(self.before, |(entry, _)| Point { index: entry.label.index, term: entry.label.term });
            assert_eq!(entry.label.index, last.index + 1, "entries follow each other");
            assert!(entry.label.term >= last.term, "terms do not go back");
            self.log.push((entry.clone(), place));
        }
        let ready_at_ms = self.asked.back().map_or(now_ms, |asked| asked.done_at_ms);
        let done_at_ms = ready_at_ms + 1 + chance.below(8) + self.slow_ms;
        self.asked.push_back(Asked { append, places, done_at_ms });
    }

    /// Moves the state; what it takes in goes to `applies`.
    pub fn commit(&mut self, index: u64, mut applies: impl FnMut(Applied)) {
        assert!(index <= self.disk.last_index() || self.mutation != Mutation::None, "applied before written");
        let at = |index: u64| (index - self.before.index) as usize;
        for (entry, _) in &self.log[at(self.applied)..at(index.max(self.applied))] {
            applies(Applied { label: entry.label, body_hash: hash(entry.body.bytes()) });
        }
        self.applied = self.applied.max(index);
    }

    /// The next request that is done by now: its number, and where its entries lie.
    pub fn persisted(&mut self, now_ms: u64) -> Option<(u64, Vec<(u64, Place)>)> {
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
            write(&mut self.disk, &asked, self.applied, usize::MAX);
            if !says_early {
                return Some((asked.append.number, places_of(&asked)));
            }
        }
        None
    }

    /// The power fails: of what is not done, a part may be there all the same.
    pub fn crash(mut self, chance: &mut Chance) -> Disk {
        let kept = chance.below(self.asked.len() as u64 + 1);
        for (at, asked) in self.asked.iter().enumerate().take(kept as usize) {
            let is_torn = at + 1 == kept as usize;
            let entries =
                if is_torn { chance.below(asked.append.entries.len() as u64 + 1) as usize } else { usize::MAX };
            write(&mut self.disk, asked, self.applied, entries);
        }
        if self.mutation == Mutation::ForgetVote
            && let Some(at) = self.disk.written.iter().rposition(|written| matches!(written, Written::Vote(_)))
        {
            self.disk.written.remove(at);
        }
        self.disk
    }
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
fn write(disk: &mut Disk, asked: &Asked, commit: u64, entries: usize) {
    if let Some(vote) = asked.append.vote {
        disk.written.push(Written::Vote(vote));
    }
    for (entry, place) in asked.append.entries.iter().zip(&asked.places).take(entries) {
        let entry = Entry { label: entry.label, body: EntryBody::copied(entry.body.bytes()) };
        let commit = commit.min(entry.label.index);
        disk.written.push(Written::Entry { entry, place: *place, commit });
    }
}
