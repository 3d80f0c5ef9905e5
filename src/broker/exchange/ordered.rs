//! The destinations of the exchange `x-modulus-hash` in order of their names, so that the number of one says who it is.
//!
//! RabbitMQ 4.3 sorts them so, and the same key goes to the same queue after a restart, too. A destination that is bound
//! several times is there as often.

use super::Destination;
use super::term_hash::{TERM_HASH_RANGE, TermHash};
use crate::protocol::ShortString;
use hashbrown::HashMap;

/// Names in a run: what one binding moves is bounded by it.
const RUN_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Ordered {
    /// In order, each in order, none empty.
    runs: Vec<Vec<Place>>,
    len: usize,
    /// By what they are ordered, as a destination that goes has no name any more.
    names: HashMap<Destination, (ShortString, u32)>,
}

struct Place {
    name: ShortString,
    destination: Destination,
}

/// Exchanges come before queues.
fn key<'a>(name: &'a [u8], destination: &Destination) -> (bool, &'a [u8]) {
    (matches!(destination, Destination::Queue(_)), name)
}

impl Ordered {
    pub(super) fn insert(&mut self, destination: Destination, name: &ShortString) {
        self.names.entry(destination).or_insert_with(|| (name.clone(), 0)).1 += 1;
        self.len += 1;
        let place = Place { name: name.clone(), destination };
        let run_index = self.run_of(name, &destination);
        let Some(run) = self.runs.get_mut(run_index) else { return self.runs.push(vec![place]) };
        let at = run.partition_point(|other| key(&other.name, &other.destination) < key(name, &destination));
        run.insert(at, place);
        if run.len() > RUN_MAX {
            let second = run.split_off(RUN_MAX / 2);
            self.runs.insert(run_index + 1, second);
        }
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        let known = self.names.get_mut(&destination).expect("a removed destination was inserted");
        let name = known.0.clone();
        known.1 -= 1;
        if known.1 == 0 {
            self.names.remove(&destination);
        }
        self.len -= 1;
        let run_index = self.run_of(&name, &destination);
        let run = &mut self.runs[run_index];
        let at = run.partition_point(|other| key(&other.name, &other.destination) < key(&name, &destination));
        run.remove(at);
        if run.is_empty() {
            self.runs.remove(run_index);
        }
    }

    /// Where messages with these routing keys go.
    pub(super) fn by_routing_keys(&self, routing_keys: &[&[u8]]) -> Option<Destination> {
        if self.len == 0 {
            return None;
        }
        let hash = routing_keys.iter().fold(TermHash::default(), |hash, key| hash.binary(key)).nil().finish();
        debug_assert!(hash < TERM_HASH_RANGE);
        let mut number = hash as usize % self.len;
        for run in &self.runs {
            match run.get(number) {
                Some(place) => return Some(place.destination),
                None => number -= run.len(),
            }
        }
        unreachable!("the runs have as many as are counted")
    }

    /// The run that has it, or would.
    fn run_of(&self, name: &[u8], destination: &Destination) -> usize {
        let ends_before = |run: &Vec<Place>| {
            run.last().is_some_and(|last| key(&last.name, &last.destination) < key(name, destination))
        };
        self.runs.partition_point(ends_before).min(self.runs.len().saturating_sub(1))
    }
}
