//! What the bindings of one exchange are compiled into, by the exchange's kind.

use super::binding::Binding;
use super::declare::{deduplication_cache, history_length};
use super::destinations::Destinations;
use super::hash_ring::{HashOn, HashRing, weight};
use super::header_index::HeaderIndex;
use super::headers::Pattern;
use super::ordered::Ordered;
use super::topic::Trie;
use super::{Destination, ExchangeKind};
use crate::broker::deduplication::SeenByExchange;
use crate::broker::equivalence::Subject;
use crate::protocol::{AmqpError, FieldTable, ReplyCode, ShortString};
use hashbrown::HashMap;

/// The compiled bindings of one exchange.
pub(super) enum Matcher {
    Direct(HashMap<ShortString, Destinations>),
    Fanout(Destinations),
    Topic(Trie),
    Headers(HeaderIndex),
    ConsistentHash(HashRing),
    ModulusHash(Ordered),
    /// One of the exchange's `outgoing`.
    Random,
    /// The same, of bindings to queues that are here.
    LocalRandom,
    /// As `fanout`; and so many messages are kept for those who come later.
    RecentHistory(Destinations, usize),
    /// How messages are matched that are not delayed, or no longer.
    Delayed(Box<Matcher>),
    /// As `fanout`, for what was not published before.
    Deduplication(Destinations, SeenByExchange),
    /// How messages are matched while somebody [watches](super::Router::watch).
    Watched(Box<Matcher>),
}

/// A binding's own share of a matcher, checked before anything changes.
pub(super) enum Compiled {
    Key,
    Pattern(Pattern),
    Weight(u64),
}

impl Matcher {
    /// That of an exchange that is declared with these arguments.
    ///
    /// # Errors
    /// 406 for arguments that this kind of exchange can't have.
    pub(super) fn new(kind: ExchangeKind, arguments: &FieldTable, subject: Subject<'_>) -> Result<Self, AmqpError> {
        Ok(match kind {
            ExchangeKind::Direct => Self::Direct(HashMap::new()),
            ExchangeKind::Fanout => Self::Fanout(Destinations::None),
            ExchangeKind::Topic => Self::Topic(Trie::default()),
            ExchangeKind::Headers => Self::Headers(HeaderIndex::default()),
            ExchangeKind::ConsistentHash => Self::ConsistentHash(HashRing::new(HashOn::of(arguments, subject)?)),
            ExchangeKind::ModulusHash => Self::ModulusHash(Ordered::default()),
            ExchangeKind::Random => Self::Random,
            ExchangeKind::LocalRandom => Self::LocalRandom,
            ExchangeKind::Deduplication => Self::Deduplication(Destinations::None, deduplication_cache(arguments)?),
            ExchangeKind::RecentHistory => Self::RecentHistory(Destinations::None, history_length(arguments)?),
            ExchangeKind::Delayed => {
                Self::Delayed(Box::new(Self::new(ExchangeKind::when_due(arguments)?, arguments, subject)?))
            }
        })
    }

    /// What the exchange remembers, if it does.
    pub(super) fn cache(&self) -> Option<&SeenByExchange> {
        match self {
            Self::Deduplication(_, cache) => Some(cache),
            Self::Delayed(matcher) | Self::Watched(matcher) => matcher.cache(),
            _ => None,
        }
    }

    /// How messages are matched, watched or not.
    pub(super) fn unwatched(&self) -> &Self {
        match self {
            Self::Watched(matcher) => matcher,
            matcher => matcher,
        }
    }

    /// As [`unwatched`](Self::unwatched).
    pub(super) fn unwatched_mut(&mut self) -> &mut Self {
        match self {
            Self::Watched(matcher) => matcher,
            matcher => matcher,
        }
    }

    /// Refuses what this kind of exchange cannot match by.
    pub(super) fn compile(
        &self,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Compiled, AmqpError> {
        match self {
            Self::Headers(_) => Pattern::compile(arguments).map(Compiled::Pattern),
            Self::ConsistentHash(_) => weight(routing_key).map(Compiled::Weight),
            Self::LocalRandom if !routing_key.is_empty() => {
                let key = String::from_utf8_lossy(routing_key);
                Err(refused(format!("Non empty binding '{key}' key not permitted")))
            }
            Self::LocalRandom if matches!(destination, Destination::Exchange(_)) => {
                Err(refused("Destination not found".to_owned()))
            }
            Self::Delayed(matcher) | Self::Watched(matcher) => matcher.compile(destination, routing_key, arguments),
            _ => Ok(Compiled::Key),
        }
    }

    /// Adds a binding that is about to become the last of `outgoing`.
    pub(super) fn insert(
        &mut self,
        routing_key: &ShortString,
        destination: Destination,
        destination_name: &ShortString,
        compiled: Compiled,
    ) {
        match (self, compiled) {
            (Self::Direct(keys), _) => insert_key(keys, routing_key, destination),
            (
                Self::Fanout(destinations)
                | Self::RecentHistory(destinations, _)
                | Self::Deduplication(destinations, _),
                _,
            ) => destinations.add(destination),
            (Self::Topic(trie), _) => trie.insert(routing_key, destination),
            (Self::Headers(index), Compiled::Pattern(pattern)) => index.insert(&pattern, destination),
            (Self::ConsistentHash(ring), Compiled::Weight(weight)) => ring.insert(destination, weight),
            (Self::ModulusHash(ordered), _) => ordered.insert(destination, destination_name),
            (Self::Random | Self::LocalRandom, _) => {}
            (Self::Delayed(matcher) | Self::Watched(matcher), compiled) => {
                matcher.insert(routing_key, destination, destination_name, compiled);
            }
            (Self::Headers(_) | Self::ConsistentHash(_), _) => unreachable!("it was compiled by the same matcher"),
        }
    }

    /// Removes a binding that is about to be swapped out of `outgoing`.
    pub(super) fn remove(&mut self, binding: &Binding) {
        match self {
            Self::Direct(keys) => remove_key(keys, &binding.routing_key, binding.destination),
            Self::Fanout(destinations)
            | Self::RecentHistory(destinations, _)
            | Self::Deduplication(destinations, _) => destinations.remove(binding.destination),
            Self::Topic(trie) => trie.remove(&binding.routing_key, binding.destination),
            Self::Headers(index) => index.remove(binding),
            Self::ConsistentHash(ring) => ring.remove(binding),
            Self::ModulusHash(ordered) => ordered.remove(binding.destination),
            Self::Random | Self::LocalRandom => {}
            Self::Delayed(matcher) | Self::Watched(matcher) => matcher.remove(binding),
        }
    }
}

fn refused(explanation: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
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
