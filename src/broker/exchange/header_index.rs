//! The bindings of a headers exchange, found by the headers of a publish.
//!
//! Each pair of a name and a value that some binding asks for is kept once, and so is each set of pairs. A publish is
//! read once: its headers become the pairs that somebody asks for, and those lead to the patterns that are listed under
//! them. `any` is listed under all of its pairs; `all` under one of them, the one with the shortest list, and then looks
//! whether the others are there, too. So what a publish costs is its own headers and the patterns that are close to it.

use super::Destination;
use super::binding::Binding;
use super::destinations::Destinations;
use super::headers::{Pattern, hash_header, same_header};
use super::stamps::Stamps;
use crate::protocol::{FieldTable, FieldValue, FieldValueRef, ShortString, TableRef};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;
use std::hash::{BuildHasher, Hash, Hasher};

type NameId = u32;
type PairId = u32;
type PatternId = u32;

#[derive(Default)]
pub(super) struct HeaderIndex {
    names: HashMap<ShortString, NameId>,
    /// How many pairs have each name, and the pair of the name with any value.
    name_entries: Slab<Name>,
    pairs: Slab<Pair>,
    /// Pairs with a value, by name and value.
    pair_table: HashTable<PairId>,
    patterns: Slab<Entry>,
    /// Patterns by what they are.
    pattern_table: HashTable<PatternId>,
    /// `all` of nothing.
    always: Destinations,
    /// What the exchange's bindings ask for, in the order of its `outgoing`.
    outgoing: Vec<Asks>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
enum Asks {
    /// `any` of nothing, which never matches.
    Never,
    /// `all` of nothing, which always does.
    Always,
    Pattern(PatternId),
}

struct Name {
    name: ShortString,
    pairs: u32,
    /// Asks for the presence of the header only.
    presence: Option<PairId>,
}

struct Pair {
    name: NameId,
    /// `None`: any.
    value: Option<FieldValue>,
    hash: u64,
    /// Patterns that have it.
    patterns: u32,
    /// Patterns that are found by it, and which of theirs it is.
    listed: Vec<(PatternId, u32)>,
}

/// A pattern, and where the bindings with it lead.
struct Entry {
    any: bool,
    hash: u64,
    /// Sorted, each once.
    pairs: Box<[PairId]>,
    /// Where it is in the lists of its pairs. Of `all` only one counts, that of `anchor`.
    positions: Box<[u32]>,
    anchor: u32,
    destinations: Destinations,
}

/// Scratch space of a publish, kept between them.
#[derive(Default)]
pub(super) struct HeaderWalk {
    names: Stamps,
    pairs: Stamps,
    patterns: Stamps,
    present: Vec<PairId>,
    /// How many headers and patterns were looked at.
    #[cfg(test)]
    pub(super) steps: usize,
}

impl HeaderIndex {
    /// Adds a binding that is about to become the last of the exchange's `outgoing`.
    pub(super) fn insert(&mut self, pattern: &Pattern, destination: Destination) {
        let asks = match (pattern.required.is_empty(), pattern.any) {
            (true, true) => Asks::Never,
            (true, false) => Asks::Always,
            (false, _) => Asks::Pattern(self.pattern_id(pattern)),
        };
        self.outgoing.push(asks);
        match asks {
            Asks::Never => {}
            Asks::Always => self.always.add(destination),
            Asks::Pattern(id) => self.patterns[id as usize].destinations.add(destination),
        }
    }

    /// Removes a binding that is about to be swapped out of `outgoing`.
    pub(super) fn remove(&mut self, binding: &Binding) {
        match self.outgoing.swap_remove(binding.outgoing_position) {
            Asks::Never => {}
            Asks::Always => self.always.remove(binding.destination),
            Asks::Pattern(id) => {
                let entry = &mut self.patterns[id as usize];
                entry.destinations.remove(binding.destination);
                if entry.destinations.is_empty() {
                    self.forget_pattern(id);
                }
            }
        }
    }

    /// Calls `found` with the destinations of every pattern that the headers match.
    pub(super) fn matching<'a>(
        &'a self,
        headers: TableRef<'_>,
        walk: &mut HeaderWalk,
        mut found: impl FnMut(&'a Destinations),
    ) {
        if !self.always.is_empty() {
            found(&self.always);
        }
        if self.patterns.is_empty() {
            return;
        }
        self.read(headers, walk);
        walk.patterns.clear();
        for &pair in &walk.present {
            for &(id, _) in &self.pairs[pair as usize].listed {
                #[cfg(test)]
                {
                    walk.steps += 1;
                }
                let entry = &self.patterns[id as usize];
                let matches = match entry.any {
                    true => walk.patterns.insert(id),
                    false => entry.pairs.iter().all(|&pair| walk.pairs.contains(pair)),
                };
                if matches {
                    found(&entry.destinations);
                }
            }
        }
    }

    /// Notes which of the pairs that are asked for the headers have.
    fn read(&self, headers: TableRef<'_>, walk: &mut HeaderWalk) {
        walk.names.clear();
        walk.pairs.clear();
        walk.present.clear();
        for (name, value) in headers.iter() {
            #[cfg(test)]
            {
                walk.steps += 1;
            }
            let Some(&name) = self.names.get(name) else { continue };
            // Of duplicate names the first counts.
            if !walk.names.insert(name) {
                continue;
            }
            let entry = &self.name_entries[name as usize];
            let with_value = match entry.presence {
                Some(_) if entry.pairs == 1 => None,
                _ => self.find_pair(self.hash_of(name, &value), name, &value),
            };
            for pair in with_value.into_iter().chain(entry.presence) {
                walk.pairs.insert(pair);
                walk.present.push(pair);
            }
        }
    }

    fn find_pair(&self, hash: u64, name: NameId, value: &FieldValueRef<'_>) -> Option<PairId> {
        let is_it = |&id: &PairId| {
            let pair = &self.pairs[id as usize];
            pair.name == name && pair.value.as_ref().is_some_and(|wanted| same_header(wanted, value))
        };
        self.pair_table.find(hash, is_it).copied()
    }

    fn hash_of(&self, name: NameId, value: &FieldValueRef<'_>) -> u64 {
        let mut state = self.hasher.build_hasher();
        name.hash(&mut state);
        hash_header(value, &mut state);
        state.finish()
    }

    /// The pattern as it is kept, new or not.
    fn pattern_id(&mut self, pattern: &Pattern) -> PatternId {
        // In wire form values are read as a publish's are.
        let required = FieldTable(pattern.required.clone());
        let mut bytes = Vec::new();
        required.encode_entries(&mut bytes);
        let required_refs = TableRef::parse(&bytes).expect("what was decoded can be read again");
        let mut pairs: Vec<PairId> = required_refs.iter().map(|(name, value)| self.pair_id(name, &value)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let hash = self.hasher.hash_one((pattern.any, &pairs));
        let is_it = |&id: &PatternId| {
            let entry = &self.patterns[id as usize];
            entry.any == pattern.any && *entry.pairs == *pairs
        };
        if let Some(&id) = self.pattern_table.find(hash, is_it) {
            return id;
        }
        self.add_pattern(pattern.any, hash, pairs.into())
    }

    fn pair_id(&mut self, name: &[u8], value: &FieldValueRef<'_>) -> PairId {
        let name = match self.names.get(name) {
            Some(&name) => name,
            None => {
                let name = ShortString::truncated(name);
                let id = self.name_entries.insert(Name { name: name.clone(), pairs: 0, presence: None }) as NameId;
                self.names.insert(name, id);
                id
            }
        };
        let is_presence = matches!(value, FieldValueRef::Void);
        let hash = self.hash_of(name, value);
        let known = match is_presence {
            true => self.name_entries[name as usize].presence,
            false => self.find_pair(hash, name, value),
        };
        if let Some(known) = known {
            return known;
        }
        let value = (!is_presence).then(|| value.to_owned());
        let id = self.pairs.insert(Pair { name, value, hash, patterns: 0, listed: Vec::new() }) as PairId;
        let entry = &mut self.name_entries[name as usize];
        entry.pairs += 1;
        if is_presence {
            entry.presence = Some(id);
        } else {
            let pairs = &self.pairs;
            self.pair_table.insert_unique(hash, id, |&id| pairs[id as usize].hash);
        }
        id
    }

    fn add_pattern(&mut self, any: bool, hash: u64, pairs: Box<[PairId]>) -> PatternId {
        let id = self.patterns.vacant_key() as PatternId;
        let mut positions: Box<[u32]> = vec![0; pairs.len()].into();
        let length = |index: &usize| self.pairs[pairs[*index] as usize].listed.len();
        let anchor = (0..pairs.len()).min_by_key(length).expect("a pattern that is kept asks for something");
        for (index, &pair) in pairs.iter().enumerate() {
            let pair = &mut self.pairs[pair as usize];
            pair.patterns += 1;
            if any || index == anchor {
                positions[index] = pair.listed.len() as u32;
                pair.listed.push((id, index as u32));
            }
        }
        let (anchor, destinations) = (anchor as u32, Destinations::None);
        self.patterns.insert(Entry { any, hash, pairs, positions, anchor, destinations });
        let patterns = &self.patterns;
        self.pattern_table.insert_unique(hash, id, |&id| patterns[id as usize].hash);
        id
    }

    fn forget_pattern(&mut self, id: PatternId) {
        let entry = self.patterns.remove(id as usize);
        let place = self.pattern_table.find_entry(entry.hash, |&other| other == id);
        place.expect("every pattern is in the table").remove();
        for (index, &pair_id) in entry.pairs.iter().enumerate() {
            let pair = &mut self.pairs[pair_id as usize];
            if entry.any || index == entry.anchor as usize {
                let position = entry.positions[index];
                pair.listed.swap_remove(position as usize);
                if let Some(&(moved, of)) = pair.listed.get(position as usize) {
                    self.patterns[moved as usize].positions[of as usize] = position;
                }
            }
            pair.patterns -= 1;
            if pair.patterns == 0 {
                self.forget_pair(pair_id);
            }
        }
    }

    fn forget_pair(&mut self, id: PairId) {
        let pair = self.pairs.remove(id as usize);
        let name = &mut self.name_entries[pair.name as usize];
        name.pairs -= 1;
        if pair.value.is_none() {
            name.presence = None;
        } else {
            let place = self.pair_table.find_entry(pair.hash, |&other| other == id);
            place.expect("every pair with a value is in the table").remove();
        }
        if name.pairs == 0 {
            let name = self.name_entries.remove(pair.name as usize).name;
            self.names.remove(&*name);
        }
    }

    /// Names, pairs and patterns that are kept.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        assert_eq!(self.names.len(), self.name_entries.len());
        assert_eq!(self.patterns.len(), self.pattern_table.len());
        [self.names.len(), self.pairs.len(), self.patterns.len()]
    }
}
