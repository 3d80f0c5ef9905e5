//! What the bindings of one exchange are compiled into, by the exchange's kind.

use super::binding::Binding;
use super::destinations::Destinations;
use super::headers::{Pattern, SortedHeaders};
use super::topic::Trie;
use super::{Destination, ExchangeKind};
use crate::protocol::{AmqpError, FieldTable, ShortString};
use hashbrown::HashMap;

/// The compiled bindings of one exchange.
pub(super) enum Matcher {
    Direct(HashMap<ShortString, Destinations>),
    Fanout(Destinations),
    Topic(Trie),
    /// In the order of the exchange's `outgoing`, so that a binding is found by its position there.
    Headers(Vec<(Pattern, Destination)>),
}

/// A binding's own share of a matcher, checked before anything changes.
pub(super) enum Compiled {
    Key,
    Pattern(Pattern),
}

impl Matcher {
    pub(super) fn new(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Direct => Self::Direct(HashMap::new()),
            ExchangeKind::Fanout => Self::Fanout(Destinations::None),
            ExchangeKind::Topic => Self::Topic(Trie::default()),
            ExchangeKind::Headers => Self::Headers(Vec::new()),
        }
    }

    /// Refuses arguments that this kind of exchange cannot match by.
    pub(super) fn compile(&self, arguments: &FieldTable) -> Result<Compiled, AmqpError> {
        match self {
            Self::Headers(_) => Pattern::compile(arguments).map(Compiled::Pattern),
            _ => Ok(Compiled::Key),
        }
    }

    /// Adds a binding that is about to become the last of `outgoing`.
    pub(super) fn insert(&mut self, routing_key: &ShortString, destination: Destination, compiled: Compiled) {
        match (self, compiled) {
            (Self::Direct(keys), _) => insert_key(keys, routing_key, destination),
            (Self::Fanout(destinations), _) => destinations.add(destination),
            (Self::Topic(trie), _) => trie.insert(routing_key, destination),
            (Self::Headers(patterns), Compiled::Pattern(pattern)) => patterns.push((pattern, destination)),
            (Self::Headers(_), Compiled::Key) => unreachable!("a headers exchange compiles patterns"),
        }
    }

    /// Removes a binding that is about to be swapped out of `outgoing`.
    pub(super) fn remove(&mut self, binding: &Binding) {
        match self {
            Self::Direct(keys) => remove_key(keys, &binding.routing_key, binding.destination),
            Self::Fanout(destinations) => destinations.remove(binding.destination),
            Self::Topic(trie) => trie.remove(&binding.routing_key, binding.destination),
            Self::Headers(patterns) => drop(patterns.swap_remove(binding.outgoing_position)),
        }
    }
}

pub(super) fn insert_key(keys: &mut HashMap<ShortString, Destinations>, key: &ShortString, destination: Destination) {
    keys.entry(key.clone()).or_default().add(destination);
}

pub(super) fn remove_key(keys: &mut HashMap<ShortString, Destinations>, key: &[u8], destination: Destination) {
    let destinations = keys.get_mut(key).expect("a removed key was inserted");
    destinations.remove(destination);
    if destinations.is_empty() {
        keys.remove(key);
    }
}

/// The destinations whose patterns the headers match.
pub(super) fn matching_headers(
    patterns: &[(Pattern, Destination)],
    headers: &SortedHeaders<'_>,
    mut found: impl FnMut(Destination),
) {
    patterns.iter().filter(|(pattern, _)| pattern.matches(headers)).for_each(|&(_, destination)| found(destination));
}
