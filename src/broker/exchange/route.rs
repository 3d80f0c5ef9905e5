//! The walk from an exchange to its queues: the plain case at once, graphs of exchanges with a set of the visited.

use super::destinations::Destinations;
use super::matcher::Matcher;
use super::router::{Exchange, Router};
use super::walks::Walks;
use super::{Destination, ExchangeId, QueueId};
use crate::broker::deduplication::{Noted, Verdict};
use crate::protocol::{PropertiesRef, TableRef};

impl Router {
    /// Appends the queues that a publish to `exchange` reaches, each once. `walks` may be shared by routers, each of which
    /// has another number. `properties` is asked at most once, and only when an exchange is reached that routes by them.
    ///
    /// Follows bindings to other exchanges, and alternates where nothing matches; an exchange is entered once per
    /// publish, so cycles end.
    ///
    /// Returns whether all that is published to this exchange with this key goes there, until a change.
    #[inline]
    pub fn route<'p>(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_key: &[u8],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let entry = &self.exchanges[exchange.0 as usize];
        let plain = match &entry.matcher {
            Matcher::Direct(keys) => keys.get(routing_key),
            Matcher::Fanout(destinations) => Some(destinations),
            Matcher::Topic(_) => return self.route_topic(walks, exchange, routing_key, properties, out),
            _ => return self.route_otherwise(walks, exchange, routing_key, properties, out),
        };
        match plain {
            Some(destinations) if destinations.exchanges().is_empty() && !destinations.queues().is_empty() => {
                // Each queue is in the set once, so nothing is left to do.
                out.extend_from_slice(destinations.queues());
                true
            }
            _ => self.route_graph(walks, exchange, &[routing_key], properties, out),
        }
    }

    /// [`route`](Self::route) for a message with several routing keys: every exchange on the way, be it through a
    /// binding or as an alternate, is asked for all of them together.
    pub fn route_with_copies<'p>(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        self.route_graph(walks, exchange, routing_keys, properties, out)
    }

    fn route_otherwise<'p>(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_key: &[u8],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        if let Matcher::ConsistentHash(ring) = &self.exchanges[exchange.0 as usize].matcher
            && !ring.needs_properties()
            && let Some(Destination::Queue(queue)) = ring.by_routing_key(routing_key, &mut walks.jumps)
        {
            out.push(queue);
            return true;
        }
        self.route_graph(walks, exchange, &[routing_key], properties, out)
    }

    fn route_topic<'p>(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_key: &[u8],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let source = self.sources.of(exchange);
        let place = match walks.cache.get(self.generation, source, routing_key) {
            Ok(queues) => {
                out.extend_from_slice(queues);
                return true;
            }
            Err(place) => place,
        };
        let start = out.len();
        let by_key_alone = self.route_graph(walks, exchange, &[routing_key], properties, out);
        if by_key_alone {
            walks.cache.put(place, self.generation, source, routing_key, &out[start..]);
        }
        by_key_alone
    }

    /// The general case. Returns whether the result depends on nothing but the exchange and the keys, and whether it is
    /// all that there is to do.
    fn route_graph<'p>(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let mut publish =
            Publish { routing_keys, properties: Properties::Unread(Some(properties)), by_key_alone: true };
        walks.historians.clear();
        walks.witnesses.clear();
        walks.delayed_by.clear();
        walks.noted.clear();
        walks.graph.start(exchange);
        while let Some(id) = walks.graph.pending.pop() {
            let exchange = &self.exchanges[id.0 as usize];
            if self.visit(id, &exchange.matcher, &mut publish, walks, out) {
                continue;
            }
            // An alternate that does not exist is no error: the publish is unroutable, as if there were none.
            if let Some(&alternate) = exchange.alternate.as_ref().and_then(|name| self.by_name.get(&**name)) {
                walks.graph.enter(alternate);
            }
        }
        publish.by_key_alone
    }

    /// Follows the bindings of one exchange; false when none matched. What it delays matches when it is due.
    fn visit<'p, F: FnOnce() -> PropertiesRef<'p>>(
        &self,
        id: ExchangeId,
        matcher: &Matcher,
        publish: &mut Publish<'_, 'p, F>,
        walks: &mut Walks,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let Walks { graph, topic, headers, jumps, chance, now_ms, historians, noted, .. } = walks;
        let mut matched = false;
        let mut follow = |destinations: &Destinations| {
            matched |= !destinations.is_empty();
            destinations.queues().iter().for_each(|&queue| graph.reach(queue, out));
            destinations.exchanges().iter().for_each(|&exchange| graph.enter(exchange));
        };
        let one = match matcher {
            Matcher::Direct(keys) => {
                publish.routing_keys.iter().filter_map(|key| keys.get(*key)).for_each(follow);
                return matched;
            }
            Matcher::Fanout(destinations) => {
                follow(destinations);
                return matched;
            }
            Matcher::Topic(trie) => {
                publish.routing_keys.iter().for_each(|key| trie.matching(key, topic, &mut follow));
                return matched;
            }
            Matcher::Headers(index) => {
                index.matching(publish.headers(), headers, follow);
                return matched;
            }
            Matcher::Deduplication(destinations, seen) => {
                publish.by_key_alone = false;
                match seen.look_at(publish.properties(), *now_ms) {
                    Verdict::Duplicate => return matched,
                    Verdict::First(key, number) => noted.push(Noted { exchange: id, key, number }),
                    Verdict::Unmarked => {}
                }
                follow(destinations);
                return matched;
            }
            Matcher::RecentHistory(destinations, _) => {
                follow(destinations);
                historians.push(id);
                publish.by_key_alone = false;
                return matched;
            }
            Matcher::ConsistentHash(ring) if ring.needs_properties() => ring.by_properties(publish.properties(), jumps),
            Matcher::ConsistentHash(ring) => ring.by_routing_key(publish.routing_keys[0], jumps),
            Matcher::ModulusHash(ordered) => ordered.by_routing_keys(publish.routing_keys),
            Matcher::Random | Matcher::LocalRandom => {
                publish.by_key_alone = false;
                self.any_of(&self.exchanges[id.0 as usize], |count| chance.below(count))
            }
            Matcher::Delayed(_) if !walks.is_due && walks.delays(id, publish.headers()) => return true,
            Matcher::Delayed(matcher) => return self.visit(id, matcher, publish, walks, out),
            Matcher::Watched(matcher) => {
                walks.witnesses.push(id);
                publish.by_key_alone = false;
                return self.visit(id, matcher, publish, walks, out);
            }
        };
        match one {
            None => return false,
            Some(Destination::Queue(queue)) => graph.reach(queue, out),
            Some(Destination::Exchange(exchange)) => graph.enter(exchange),
        }
        true
    }

    fn any_of(&self, exchange: &Exchange, choose: impl FnOnce(usize) -> usize) -> Option<Destination> {
        let outgoing = &exchange.outgoing;
        let chosen = if outgoing.len() < 2 { 0 } else { choose(outgoing.len()) };
        outgoing.get(chosen).map(|&id| self.bindings[id].destination)
    }
}

/// What exchanges may ask of a publish.
struct Publish<'a, 'p, F> {
    /// The message's own comes first.
    routing_keys: &'a [&'a [u8]],
    properties: Properties<'p, F>,
    /// Nothing but keys was asked for, by no exchange.
    by_key_alone: bool,
}

/// Properties that are read when the first exchange asks.
enum Properties<'p, F> {
    Unread(Option<F>),
    Read(PropertiesRef<'p>),
}

impl<'p, F: FnOnce() -> PropertiesRef<'p>> Publish<'_, 'p, F> {
    fn properties(&mut self) -> &PropertiesRef<'p> {
        self.by_key_alone = false;
        if let Properties::Unread(read) = &mut self.properties {
            let read = read.take().expect("unread properties can be read");
            self.properties = Properties::Read(read());
        }
        match &self.properties {
            Properties::Read(properties) => properties,
            Properties::Unread(_) => unreachable!("read above"),
        }
    }

    fn headers(&mut self) -> TableRef<'p> {
        self.properties().headers.unwrap_or_default()
    }
}
