//! Why a message goes where it goes: the slow walk over exchanges that looks at every binding by itself.
//!
//! Nothing comes of it, and nobody is told: where the [walk](super::route) of a publish would go is asked with scratch space of
//! its own. Bindings are looked at up to a bound; where a message goes is known whatever their number.

use super::headers::{Pattern, same_header};
use super::jump::Jumps;
use super::matcher::Matcher;
use super::router::{Exchange, Router};
use super::walks::Walks;
use super::{BindingInfo, Destination, ExchangeId, QueueId, delay_ms, is_like};
use crate::protocol::{FieldValue, PropertiesRef, ShortString, TableRef};
use std::collections::{HashSet, VecDeque};

/// Bindings that are looked at, and that are named.
const LOOKED_AT_MAX: usize = 10_000;
const NAMED_MAX: usize = 1_000;

/// How a message comes to an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Published,
    Binding,
    Alternate,
}

/// What one exchange does with a message.
pub struct Step<'a> {
    pub exchange: &'a Exchange,
    pub way: Way,
    pub matched: Vec<BindingInfo<'a>>,
    /// One of them is taken by chance.
    pub by_chance: bool,
    /// It keeps the message for so long first, in milliseconds.
    pub delay_ms: Option<u64>,
    /// Nothing matched, and this one has it.
    pub alternate: Option<&'a Exchange>,
}

pub struct Explained<'a> {
    /// Where it goes; one of several ways where chance decides.
    pub queues: Vec<QueueId>,
    /// In the order in which a message comes there.
    pub steps: Vec<Step<'a>>,
    /// There are more bindings than were looked at.
    pub is_cut: bool,
}

impl Router {
    /// Where a message goes that would be published to this exchange with these keys and properties, and why.
    pub fn explain<'a>(
        &'a self,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        properties: &PropertiesRef<'_>,
        now_ms: u64,
    ) -> Explained<'a> {
        let mut walks = Walks::default();
        walks.set_now(now_ms);
        walks.set_due(true);
        let mut explained = Explained { queues: Vec::new(), steps: Vec::new(), is_cut: false };
        self.route_with_copies(&mut walks, exchange, routing_keys, || *properties, &mut explained.queues);
        let (mut left, mut named) = (LOOKED_AT_MAX, NAMED_MAX);
        let mut seen = HashSet::from([exchange]);
        let mut pending = VecDeque::from([(exchange, Way::Published)]);
        while let Some((id, way)) = pending.pop_front() {
            let exchange = &self.exchanges[id.0 as usize];
            let mut step =
                Step { exchange, way, matched: Vec::new(), by_chance: false, delay_ms: None, alternate: None };
            let is_whole = self.matched_by(id, routing_keys, properties, &mut left, &mut step);
            explained.is_cut |= !is_whole;
            if step.matched.is_empty() && is_whole {
                let alternate = exchange.alternate.as_ref().and_then(|name| self.exchange_named(name));
                step.alternate = alternate.map(|id| self.exchange(id));
                pending.extend(alternate.filter(|id| seen.insert(*id)).map(|id| (id, Way::Alternate)));
            }
            for binding in &step.matched {
                if let Destination::Exchange(to) = binding.destination
                    && seen.insert(to)
                {
                    pending.push_back((to, Way::Binding));
                }
            }
            explained.is_cut |= step.matched.len() > named;
            step.matched.truncate(named);
            named -= step.matched.len();
            explained.steps.push(step);
        }
        explained
    }

    /// Fills in which bindings of an exchange match. False when not all were looked at.
    fn matched_by<'a>(
        &'a self,
        id: ExchangeId,
        routing_keys: &[&[u8]],
        properties: &PropertiesRef<'_>,
        left: &mut usize,
        step: &mut Step<'a>,
    ) -> bool {
        let exchange = &self.exchanges[id.0 as usize];
        let headers = properties.headers.unwrap_or_default();
        let mut matcher = exchange.matcher.unwatched();
        if let Matcher::Delayed(when_due) = matcher {
            step.delay_ms = delay_ms(headers);
            matcher = when_due;
        }
        if exchange.name.is_empty() {
            // Its bindings are the names of queues.
            for key in routing_keys {
                let queue = self.queue_named(key).and_then(|id| self.queue(id));
                step.matched.extend(queue.map(|queue| BindingInfo {
                    source: b"",
                    destination: Destination::Queue(queue.id),
                    destination_name: &queue.name,
                    routing_key: &queue.name,
                    arguments: None,
                }));
            }
            return true;
        }
        let mut jumps = Jumps::default();
        let one = match matcher {
            Matcher::ConsistentHash(ring) if ring.needs_properties() => ring.by_properties(properties, &mut jumps),
            Matcher::ConsistentHash(ring) => ring.by_routing_key(routing_keys[0], &mut jumps),
            Matcher::ModulusHash(ordered) => ordered.by_routing_keys(routing_keys),
            _ => None,
        };
        step.by_chance = matches!(matcher, Matcher::Random | Matcher::LocalRandom);
        for &binding in &exchange.outgoing {
            if *left == 0 {
                return false;
            }
            *left -= 1;
            let binding = &self.bindings[binding];
            let has_key =
                |like: fn(&[u8], &[u8]) -> bool| routing_keys.iter().any(|key| like(&binding.routing_key, key));
            let matches = match matcher {
                Matcher::Direct(_) => has_key(|wanted, key| wanted == key),
                Matcher::Topic(_) => has_key(is_like),
                Matcher::Headers(_) => {
                    Pattern::compile(&binding.arguments).is_ok_and(|pattern| fits(&pattern, headers))
                }
                Matcher::ConsistentHash(_) | Matcher::ModulusHash(_) => one == Some(binding.destination),
                Matcher::Fanout(_)
                | Matcher::RecentHistory(..)
                | Matcher::Deduplication(..)
                | Matcher::Random
                | Matcher::LocalRandom => true,
                Matcher::Delayed(_) | Matcher::Watched(_) => false,
            };
            if matches {
                step.matched.extend(self.listed_binding(binding));
            }
        }
        true
    }
}

fn fits(pattern: &Pattern, headers: TableRef<'_>) -> bool {
    let is_there = |(name, wanted): &(ShortString, FieldValue)| {
        headers.get(name).is_some_and(|value| *wanted == FieldValue::Void || same_header(wanted, &value))
    };
    match pattern.any {
        true => pattern.required.iter().any(is_there),
        false => pattern.required.iter().all(is_there),
    }
}
