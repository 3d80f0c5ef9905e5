//! What an observer who sees all nodes at once knows, and what must hold of it.

use super::complaint::must;
use leveret::cluster::message::Point;
use leveret::storage::entry::EntryLabel;
use std::collections::{BTreeMap, BTreeSet};

/// What an entry is, whoever has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    pub label: EntryLabel,
    pub body_hash: u64,
}

/// What a batch does to the queue.
#[derive(Clone, Default, Debug)]
pub struct Effects {
    pub declares: bool,
    /// Without those that it takes away again.
    pub enqueued: Vec<u64>,
    pub purged_up_to: Option<u64>,
}

#[derive(Default)]
pub struct Truth {
    leaders: BTreeMap<u64, usize>,
    /// What was applied anywhere, by index.
    applied: BTreeMap<u64, Applied>,
    /// What was handed over by a loop: by its first position, every body that there was.
    proposed: BTreeMap<u64, BTreeMap<u64, Effects>>,
    sequences: u64,
    /// What was confirmed: last position by first position, with the hash of the body.
    confirmed: BTreeMap<u64, u64>,
    pub confirmed_records: u64,
    pub trace: u64,
}

pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

impl Truth {
    pub fn note(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(17);
    }

    /// A term has one leader.
    pub fn leads(&mut self, term: u64, node: usize) {
        let leader = *self.leaders.entry(term).or_insert(node);
        must!(leader == node, "nodes {leader} and {node} both lead in term {term}");
    }

    pub fn terms_with_leader(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A loop hands over a batch.
    pub fn proposed(&mut self, first_position: u64, body_hash: u64, effects: Effects) {
        self.proposed.entry(first_position).or_default().insert(body_hash, effects);
    }

    /// For the next message, whoever publishes it.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequences += 1;
        self.sequences
    }

    fn applied_effects(&self) -> impl Iterator<Item = &Effects> {
        let of_records = self.applied.values().filter(|entry| entry.label.records > 0);
        of_records.filter_map(|entry| self.proposed.get(&entry.label.first_position)?.get(&entry.body_hash))
    }

    /// Whether there is a queue, by what was applied.
    pub fn is_declared(&self) -> bool {
        self.applied_effects().any(|effects| effects.declares)
    }

    /// How many messages are in the queue, by what was applied.
    pub fn messages(&self) -> usize {
        let mut alive: BTreeSet<u64> = BTreeSet::new();
        for effects in self.applied_effects() {
            if let Some(up_to) = effects.purged_up_to {
                alive = alive.split_off(&(up_to + 1));
            }
            alive.extend(&effects.enqueued);
        }
        alive.len()
    }

    /// A publisher was told that it lasts.
    pub fn confirmed(&mut self, first_position: u64, body_hash: u64, records: u64) {
        self.confirmed_records += records;
        let known = *self.confirmed.entry(first_position).or_insert(body_hash);
        must!(known == body_hash, "two batches at position {first_position} were confirmed");
    }

    /// A node's state took an entry in: the same as everybody's, in order, and one that somebody handed over.
    pub fn applies(&mut self, node: usize, entry: Applied) {
        let index = entry.label.index;
        self.note(index ^ entry.body_hash << 20);
        if let Some(known) = self.applied.get(&index) {
            must!(*known == entry, "node {node} differs at entry {index}: {entry:?}, and not {known:?}");
            return;
        }
        let next = self.applied.last_key_value().map_or((1, 1), |(index, before)| {
            (index + 1, before.label.first_position + u64::from(before.label.records))
        });
        let is_next = (index, entry.label.first_position) == next;
        must!(is_next, "node {node} takes in {:?} where {next:?} follows", entry.label);
        if entry.label.records > 0 {
            let handed_over = self.proposed.get(&entry.label.first_position);
            let is_known = handed_over.is_some_and(|batches| batches.contains_key(&entry.body_hash));
            must!(is_known, "entry {index} was handed over by nobody");
        }
        self.applied.insert(index, entry);
    }

    pub fn last_applied(&self) -> Point {
        self.applied
            .last_key_value()
            .map_or(Point::default(), |(index, entry)| Point { index: *index, term: entry.label.term })
    }

    /// Everything that was confirmed was applied where it was promised.
    pub fn nothing_is_lost(&self) {
        let by_position: BTreeMap<u64, u64> = self
            .applied
            .values()
            .filter(|entry| entry.label.records > 0)
            .map(|entry| (entry.label.first_position, entry.body_hash))
            .collect();
        for (first_position, body_hash) in &self.confirmed {
            let is_there = by_position.get(first_position) == Some(body_hash);
            must!(is_there, "what was confirmed at {first_position} is lost");
        }
    }
}
