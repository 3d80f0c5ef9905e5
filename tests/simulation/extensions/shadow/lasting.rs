//! What the log was told, in its order, and what lasts of it.

use super::{Entry, LATE, Place, QueueIndex};
use crate::extensions::topology::Rule;
use std::collections::{BTreeMap, VecDeque};

/// Something that the log is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Added(QueueIndex, Place, Entry),
    Removed(QueueIndex, Place),
    /// It came back so often.
    Returned(QueueIndex, Place, u64),
    Ruled(usize, Option<Rule>),
    Declared(QueueIndex),
    /// With its bindings.
    Deleted(QueueIndex),
    /// From the exchange of that place in the topology.
    Bound(usize, QueueIndex),
    Unbound(usize, QueueIndex),
    /// By an exchange, a value, until then.
    Remembered(usize, u8, u64),
    /// The virtual host is deleted.
    Razed,
    Founded,
}

/// The policies and the operator policy that there are.
pub type Rules = [Option<Rule>; 3];

/// What lasts: which queues there are and what is in them, what is bound, and what is said of queues.
#[derive(Clone, Default)]
pub struct Contents {
    pub queues: BTreeMap<QueueIndex, BTreeMap<Place, Entry>>,
    /// Queues in the order in which they were declared.
    pub declared: Vec<QueueIndex>,
    /// Exchanges and their queues, in the order in which they were bound.
    pub bindings: Vec<(usize, QueueIndex)>,
    pub rules: Rules,
    /// Exchanges and values, and until when they count.
    pub remembered: BTreeMap<(usize, u8), u64>,
    /// There is no virtual host that anything could be in.
    pub is_razed: bool,
}

impl Contents {
    /// Messages that wait for their time, by that: when that is, and how large they are.
    pub fn delayed(&self) -> Vec<(u64, usize)> {
        let delayed = self.queues.get(&LATE).into_iter().flat_map(BTreeMap::values);
        let mut delayed: Vec<_> = delayed.map(|entry| (entry.expires_at_ms, entry.body_bytes as usize)).collect();
        delayed.sort_by_key(|(due_ms, _)| *due_ms);
        delayed.into_iter().map(|(due_ms, bytes)| (due_ms.expect("it waits for its time"), bytes)).collect()
    }

    fn apply(&mut self, told: &Told) {
        let Self { queues, declared, bindings, rules, remembered, is_razed } = self;
        match told {
            Told::Added(queue, place, entry) => _ = queues.entry(*queue).or_default().insert(*place, entry.clone()),
            Told::Declared(queue) => declared.push(*queue),
            Told::Deleted(queue) => {
                queues.remove(queue);
                declared.retain(|other| other != queue);
                bindings.retain(|(_, other)| other != queue);
            }
            Told::Bound(exchange, queue) => bindings.push((*exchange, *queue)),
            Told::Unbound(exchange, queue) => bindings.retain(|bound| *bound != (*exchange, *queue)),
            Told::Removed(queue, place) => _ = queues.get_mut(queue).and_then(|queue| queue.remove(place)),
            Told::Returned(queue, place, returns) => {
                if let Some(entry) = queues.get_mut(queue).and_then(|queue| queue.get_mut(place)) {
                    entry.returns = *returns;
                }
            }
            Told::Remembered(exchange, value, until_ms) => _ = remembered.insert((*exchange, *value), *until_ms),
            Told::Razed => *self = Self { is_razed: true, ..Self::default() },
            Told::Founded => *is_razed = false,
            Told::Ruled(kind, rule) => rules[*kind].clone_from(rule),
        }
    }
}

/// A number of things that the log was told.
pub type Tick = usize;

/// What lasts for certain, and what the log was told since.
#[derive(Default)]
pub(super) struct Lasting {
    base: Contents,
    base_tick: Tick,
    told: VecDeque<Told>,
}

impl Lasting {
    pub fn tick(&self) -> Tick {
        self.base_tick + self.told.len()
    }

    pub fn tell(&mut self, told: Told) {
        self.told.push_back(told);
    }

    /// Everything up to there is safe.
    pub fn promise(&mut self, tick: Tick) {
        while self.base_tick < tick
            && let Some(told) = self.told.pop_front()
        {
            self.base.apply(&told);
            self.base_tick += 1;
        }
    }

    /// The states that a crash may lead to: what is safe for certain, and after each thing that the log was told since.
    /// Says what `take` makes of the first one that it takes.
    pub fn after_a_crash<T>(&self, mut take: impl FnMut(Tick, &Contents) -> Option<T>) -> Option<T> {
        let mut contents = self.base.clone();
        let first = take(self.base_tick, &contents);
        first.or_else(|| {
            self.told.iter().enumerate().find_map(|(index, told)| {
                contents.apply(told);
                take(self.base_tick + index + 1, &contents)
            })
        })
    }

    /// That is what a start found.
    pub fn begin_again(&mut self, found: Contents) {
        self.told.clear();
        self.base = found;
    }
}
