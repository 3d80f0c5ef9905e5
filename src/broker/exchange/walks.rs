//! Scratch space of routes, kept between them so that routing does not allocate: where a walk over a graph of exchanges
//! has been and what it has reached, the walk over a topic's trie, and the routes that were found before.

use super::route_cache::RouteCache;
use super::stamps::Stamps;
use super::{ExchangeId, QueueId, topic};

#[derive(Default)]
pub struct Walks {
    pub(super) graph: Graph,
    pub(super) topic: topic::Walk,
    pub(super) cache: RouteCache,
}

/// A walk over exchanges that are bound to exchanges: each is entered once, and each queue reached once.
#[derive(Default)]
pub(super) struct Graph {
    queues: Stamps,
    exchanges: Stamps,
    /// Entered, and not yet visited.
    pub pending: Vec<ExchangeId>,
}

impl Graph {
    pub fn start(&mut self, exchange: ExchangeId) {
        self.queues.clear();
        self.exchanges.clear();
        self.pending.clear();
        self.enter(exchange);
    }

    #[inline]
    pub fn enter(&mut self, exchange: ExchangeId) {
        if self.exchanges.insert(exchange.0) {
            self.pending.push(exchange);
        }
    }

    #[inline]
    pub fn reach(&mut self, queue: QueueId, out: &mut Vec<QueueId>) {
        if self.queues.insert(queue.0) {
            out.push(queue);
        }
    }
}
