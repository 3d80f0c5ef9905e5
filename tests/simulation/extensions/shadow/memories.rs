//! What exchanges remember of messages that they routed: values that come in once, as long as their time lasts.

use super::lasting::Told;
use super::{Shadow, Tick};
use crate::extensions::exchanges::Memory;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) struct Remembered {
    memory: Memory,
    /// Until when each counts.
    values: BTreeMap<u8, u64>,
    /// In the order in which they came, where some have to go for others.
    line: VecDeque<u8>,
}

impl Remembered {
    pub fn nothing(memory: Memory) -> Self {
        Self { memory, values: BTreeMap::new(), line: VecDeque::new() }
    }
}

impl Shadow {
    fn memory_of(&self, exchange: usize) -> Option<&Remembered> {
        self.memories.iter().find(|remembered| remembered.memory.exchange == exchange)
    }

    /// Whether a message of that value goes nowhere from there, as one came before.
    pub(super) fn has_come(&self, exchange: usize, value: Option<u8>) -> bool {
        let until_ms = self.memory_of(exchange).zip(value).and_then(|(memory, value)| memory.values.get(&value));
        until_ms.is_some_and(|until_ms| *until_ms > self.now_ms)
    }

    /// A message is in all its queues, for as long as it says itself, or the exchange does.
    pub(super) fn remember(&mut self, exchange: usize, value: Option<u8>, own_ms: Option<u32>, safe: &mut Tick) {
        let now_ms = self.now_ms;
        let found = self.memories.iter_mut().find(|remembered| remembered.memory.exchange == exchange);
        let Some((Remembered { memory, values, line }, value)) = found.zip(value) else { return };
        let ttl_ms = own_ms.map(u64::from).or(memory.ttl_ms);
        let until_ms = ttl_ms.map_or(u64::MAX, |ttl_ms| now_ms + ttl_ms);
        values.insert(value, until_ms);
        if memory.is_scarce() {
            line.push_back(value);
            if line.len() > memory.size {
                line.pop_front().and_then(|oldest| values.remove(&oldest));
            }
        }
        if memory.is_on_disk {
            self.tell(Told::Remembered(exchange, value, until_ms));
            *safe = self.tick();
        }
    }

    /// Exchanges that remember, and what they do of all that lasts.
    pub(super) fn recall(&mut self, remembered: &BTreeMap<(usize, u8), u64>) {
        for of in &mut self.memories {
            let exchange = of.memory.exchange;
            of.line.clear();
            of.values = remembered
                .range((exchange, 0)..=(exchange, u8::MAX))
                .map(|((_, value), until_ms)| (*value, *until_ms))
                .collect();
        }
    }
}

/// Exchanges and values that are remembered at some time.
pub fn remembered_at(remembered: &BTreeMap<(usize, u8), u64>, now_ms: u64) -> BTreeSet<(usize, u8)> {
    remembered.iter().filter(|(_, until_ms)| **until_ms > now_ms).map(|(value, _)| *value).collect()
}
