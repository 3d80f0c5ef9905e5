//! Scratch space of routes, kept between them so that routing does not allocate: where a walk over a graph of exchanges
//! has been and what it has reached, the walk over a topic's trie, and the routes that were found before.

use super::header_index::HeaderWalk;
use super::jump::Jumps;
use super::route_cache::RouteCache;
use super::stamps::Stamps;
use super::{ExchangeId, QueueId, delay_ms, topic};
use crate::broker::deduplication::Noted;
use crate::protocol::TableRef;

#[derive(Default)]
pub struct Walks {
    pub(super) graph: Graph,
    pub(super) topic: topic::Walk,
    pub(super) headers: HeaderWalk,
    pub(super) cache: RouteCache,
    pub(super) jumps: Jumps,
    pub(super) chance: Chance,
    /// The broker's clock.
    pub(super) now_ms: u64,
    /// The exchanges that keep what was routed last.
    pub(super) historians: Vec<ExchangeId>,
    /// Those that somebody watches, of the ones on its way.
    pub(super) witnesses: Vec<ExchangeId>,
    /// Those that keep it for later, …
    pub(super) delayed_by: Vec<ExchangeId>,
    /// … and for how long, in milliseconds.
    pub(super) delay_ms: u64,
    /// Values that exchanges remember of what was routed last.
    pub(super) noted: Vec<Noted>,
    /// What is routed is due: nothing delays it.
    pub(super) is_due: bool,
}

/// What was found on the way of a publish that is still to happen.
pub struct SetAside {
    delayed_by: Vec<ExchangeId>,
    delay_ms: u64,
    noted: Vec<Noted>,
}

impl Walks {
    /// With a chance that takes the same way from the same seed.
    pub fn with_seed(seed: u64) -> Self {
        Self { chance: Chance(seed), ..Self::default() }
    }

    /// Whether an exchange keeps a message for later that has these headers. It is noted.
    pub(super) fn delays(&mut self, exchange: ExchangeId, headers: TableRef<'_>) -> bool {
        let Some(delay_ms) = delay_ms(headers) else { return false };
        self.delay_ms = delay_ms;
        self.delayed_by.push(exchange);
        true
    }

    /// Whether there are exchanges that keep the last publish for later, if its route depended on more than its keys.
    pub fn found_delays(&self) -> bool {
        !self.delayed_by.is_empty()
    }

    /// Which exchanges do, and for how long, in milliseconds.
    pub fn take_delays(&mut self) -> (Vec<ExchangeId>, u64) {
        (std::mem::take(&mut self.delayed_by), self.delay_ms)
    }

    /// Gives the room back that [`take_delays`](Self::take_delays) took.
    pub fn give_back_delays(&mut self, delayed_by: Vec<ExchangeId>) {
        self.delayed_by = delayed_by;
    }

    /// The values that exchanges on the way of the last publish remember of it, if its route depended on more than its keys.
    pub fn noted(&mut self) -> &mut Vec<Noted> {
        &mut self.noted
    }

    /// What was found on the way of the last publish, while another one is routed before that goes on.
    pub fn set_aside(&mut self) -> SetAside {
        SetAside {
            delayed_by: std::mem::take(&mut self.delayed_by),
            delay_ms: self.delay_ms,
            noted: std::mem::take(&mut self.noted),
        }
    }

    /// The publish goes on.
    pub fn take_up(&mut self, set_aside: SetAside) {
        let SetAside { delayed_by, delay_ms, noted } = set_aside;
        (self.delayed_by, self.delay_ms, self.noted) = (delayed_by, delay_ms, noted);
    }

    /// Until it is said otherwise, messages are routed that are due: nothing delays them.
    pub fn set_due(&mut self, is_due: bool) {
        self.is_due = is_due;
    }

    /// The broker's clock.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The exchanges on the way of the last publish that are to keep it, if its route depended on more than its keys.
    pub fn historians(&self) -> &[ExchangeId] {
        &self.historians
    }

    /// Whether an exchange on the way of the last publish has to be told of it, if its route depended on more than its keys.
    #[inline]
    pub fn found_listeners(&self) -> bool {
        !self.historians.is_empty() | !self.witnesses.is_empty()
    }

    /// The exchanges on the way of the last publish that somebody [watches](super::Router::watch), under the same condition.
    pub fn take_witnesses(&mut self) -> Vec<ExchangeId> {
        std::mem::take(&mut self.witnesses)
    }

    /// Gives the room back that [`take_witnesses`](Self::take_witnesses) took.
    pub fn give_back_witnesses(&mut self, witnesses: Vec<ExchangeId>) {
        self.witnesses = witnesses;
    }
}

/// Numbers by chance: SplitMix64.
#[derive(Default)]
pub(super) struct Chance(u64);

impl Chance {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = mixed ^ (mixed >> 31);
        ((u128::from(word) * limit as u128) >> 64) as usize
    }
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
