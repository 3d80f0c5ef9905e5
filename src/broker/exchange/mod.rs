//! Exchanges and bindings of one vhost, and the way from a publish to its queues.
//!
//! | file | owns |
//! |---|---|
//! | `router` | the [`Router`]: every exchange and binding of a vhost, queues by name, lists of them |
//! | `declare` | what exchanges are declared as |
//! | `bind` | binding, unbinding, and what falls with it (auto-delete) |
//! | `leave` | queues and exchanges that go, and their bindings after them |
//! | `binding` | what makes two bindings the same, and the key that names one in listings |
//! | `route` | the walk from an exchange to queues, through exchange bindings and alternates |
//! | `explain`, `likeness` | why a message goes where it goes, binding by binding |
//! | `route_cache` | remembered results of topic routes |
//! | `walks`, `stamps` | scratch space of walks: where one has been, what it has reached |
//! | `destinations` | where a key leads: a counted set of queues and exchanges |
//! | `listing` | exchanges and bindings in pages |
//! | `matcher` | which bindings of one exchange match a publish, by the exchange's kind |
//! | `topic` | patterns of words, as a trie |
//! | `headers`, `header_index` | what bindings ask of headers, and how those that get it are found |
//! | `hash_ring`, `ordered` | one binding for each hash: consistently, or by its number |
//! | `jump` | which bucket of a ring a hash names |
//! | `shelves` | bindings in their slots |
//! | `term_hash` | the hash itself, which is RabbitMQ's |
//! | `delay` | what of a message is to be routed later |
//!
//! Knows no permission, message, consumer or log: a queue is a number and a name here. Who means what by a name is for
//! `resolve` to say.

mod bind;
mod binding;
mod declare;
mod delay;
mod destinations;
mod explain;
mod hash_ring;
mod header_index;
mod headers;
mod jump;
mod leave;
mod likeness;
mod listing;
mod matcher;
mod ordered;
mod route;
mod route_cache;
mod router;
mod shelves;
mod stamps;
mod term_hash;
mod topic;
mod walks;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use bind::{Bound, Unbound};
pub use binding::{BindingInfo, LostBinding, canonical, properties_key};
pub use declare::{Declaration, alternate_exchange};
pub use delay::{DELAY_HEADER, delay_ms};
pub use explain::{Explained, Step, Way};
pub use leave::Detached;
pub use likeness::is_like;
pub use router::{Exchange, PREDECLARED_COUNT, Router, predeclared};
pub use walks::Walks;

pub use super::keys::{ExchangeId, QueueId};

use std::fmt;

/// The exchange that every vhost has under the empty name: it routes by queue name.
pub const DEFAULT_EXCHANGE: ExchangeId = ExchangeId(0);

/// Where a binding leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Destination {
    Queue(QueueId),
    Exchange(ExchangeId),
}

/// How an exchange matches a publish with its bindings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
    /// The plugins' types, which RabbitMQ names with an `x-`.
    ConsistentHash,
    ModulusHash,
    Random,
    LocalRandom,
    RecentHistory,
    /// It routes as its argument `x-delayed-type` says, and later what asks for a delay.
    Delayed,
    /// A plugin of others.
    Deduplication,
}

impl ExchangeKind {
    const ALL: [Self; 11] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::RecentHistory,
        Self::Delayed,
        Self::Deduplication,
    ];

    /// The name that clients declare it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::RecentHistory => "x-recent-history",
            Self::Delayed => "x-delayed-message",
            Self::Deduplication => "x-message-deduplication",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
