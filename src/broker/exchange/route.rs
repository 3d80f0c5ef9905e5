//! The walk from an exchange to its queues: the plain case at once, graphs of exchanges with a set of the visited.

use super::destinations::Destinations;
use super::headers::SortedHeaders;
use super::matcher::{Matcher, matching_headers};
use super::router::{Exchange, Router};
use super::walks::{Graph, Walks};
use super::{Destination, ExchangeId, QueueId, topic};
use crate::protocol::FieldTable;

impl Router {
    /// Appends the queues that a publish to `exchange` reaches, each once. `walks` may be shared by routers, each of which
    /// has another number. `headers` is asked at most once, and only
    /// when a headers exchange is reached.
    ///
    /// Follows bindings to other exchanges, and alternates where nothing matches; an exchange is entered once per
    /// publish, so cycles end.
    #[inline]
    pub fn route(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_key: &[u8],
        headers: impl FnOnce() -> FieldTable,
        out: &mut Vec<QueueId>,
    ) {
        let entry = &self.exchanges[exchange.0 as usize];
        let plain = match &entry.matcher {
            Matcher::Direct(keys) => keys.get(routing_key),
            Matcher::Fanout(destinations) => Some(destinations),
            Matcher::Topic(_) => return self.route_topic(walks, exchange, routing_key, headers, out),
            Matcher::Headers(_) => None,
        };
        match plain {
            Some(destinations) if destinations.exchanges().is_empty() && !destinations.queues().is_empty() => {
                // Each queue is in the set once, so nothing is left to do.
                out.extend_from_slice(destinations.queues());
            }
            _ => drop(self.route_graph(walks, exchange, &[routing_key], headers, out)),
        }
    }

    /// [`route`](Self::route) for a message with several routing keys: every exchange on the way, be it through a
    /// binding or as an alternate, is asked for all of them together.
    pub fn route_with_copies(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        headers: impl FnOnce() -> FieldTable,
        out: &mut Vec<QueueId>,
    ) {
        self.route_graph(walks, exchange, routing_keys, headers, out);
    }

    fn route_topic(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_key: &[u8],
        headers: impl FnOnce() -> FieldTable,
        out: &mut Vec<QueueId>,
    ) {
        let source = self.sources.of(exchange);
        let place = match walks.cache.get(self.generation, source, routing_key) {
            Ok(queues) => return out.extend_from_slice(queues),
            Err(place) => place,
        };
        let start = out.len();
        let by_key_alone = self.route_graph(walks, exchange, &[routing_key], headers, out);
        if by_key_alone {
            walks.cache.put(place, self.generation, source, routing_key, &out[start..]);
        }
    }

    /// The general case. Returns whether the result depends on nothing but the exchange and the keys.
    fn route_graph(
        &self,
        walks: &mut Walks,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        headers: impl FnOnce() -> FieldTable,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let Walks { graph, topic, .. } = walks;
        let mut headers = Headers::Unread(Some(headers));
        graph.start(exchange);
        while let Some(id) = graph.pending.pop() {
            let exchange = &self.exchanges[id.0 as usize];
            if graph.visit(exchange, routing_keys, topic, &mut headers, out) {
                continue;
            }
            // An alternate that does not exist is no error: the publish is unroutable, as if there were none.
            if let Some(&alternate) = exchange.alternate.as_ref().and_then(|name| self.by_name.get(&**name)) {
                graph.enter(alternate);
            }
        }
        matches!(headers, Headers::Unread(_))
    }
}

impl Graph {
    /// Follows the bindings of one exchange; false when none matched.
    fn visit<F: FnOnce() -> FieldTable>(
        &mut self,
        exchange: &Exchange,
        routing_keys: &[&[u8]],
        topic: &mut topic::Walk,
        headers: &mut Headers<F>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let mut matched = false;
        let mut follow = |destinations: &Destinations| {
            matched |= !destinations.is_empty();
            destinations.queues().iter().for_each(|&queue| self.reach(queue, out));
            destinations.exchanges().iter().for_each(|&exchange| self.enter(exchange));
        };
        match &exchange.matcher {
            Matcher::Direct(keys) => routing_keys.iter().filter_map(|key| keys.get(*key)).for_each(follow),
            Matcher::Fanout(destinations) => follow(destinations),
            Matcher::Topic(trie) => routing_keys.iter().for_each(|key| trie.matching(key, topic, &mut follow)),
            Matcher::Headers(patterns) => {
                let headers = SortedHeaders::new(headers.read());
                matching_headers(patterns, &headers, |destination| {
                    matched = true;
                    match destination {
                        Destination::Queue(queue) => self.reach(queue, out),
                        Destination::Exchange(exchange) => self.enter(exchange),
                    }
                });
            }
        }
        matched
    }
}

/// Headers that are decoded when the first headers exchange asks.
enum Headers<F> {
    Unread(Option<F>),
    Read(FieldTable),
}

impl<F: FnOnce() -> FieldTable> Headers<F> {
    fn read(&mut self) -> &FieldTable {
        if let Self::Unread(decode) = self {
            let decode = decode.take().expect("unread headers can be decoded");
            *self = Self::Read(decode());
        }
        match self {
            Self::Read(table) => table,
            Self::Unread(_) => unreachable!("read above"),
        }
    }
}
