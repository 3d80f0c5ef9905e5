//! Values whose time is over are forgotten when others come in; where nothing comes any more they are now and then, as they
//! take memory, which may be what keeps everything from coming.

use super::SeenByExchange;
use crate::broker::store::Store;
use crate::broker::{Broker, ExchangeId, VhostId};
use std::collections::VecDeque;

/// How often exchanges are looked at, in milliseconds.
const CLEANING_INTERVAL_MS: u64 = 10_000;
/// Exchanges that are looked at in one turn.
const EXCHANGES_PER_TURN: usize = 64;
/// Values that are forgotten in one turn.
const VALUES_PER_TURN: usize = 2048;

/// The exchanges that remember something.
#[derive(Default)]
pub(in crate::broker) struct Cleaning {
    /// Each once, and those that are gone meanwhile, until they are met.
    exchanges: VecDeque<Listed>,
    /// How many of them are still to be looked at, when it is time.
    left: usize,
    due_ms: u64,
    last_ticket: u64,
}

struct Listed {
    vhost: VhostId,
    exchange: ExchangeId,
    /// Tells it from others that have its slot before or after it.
    ticket: u64,
}

impl Cleaning {
    /// When there is something to do next.
    pub fn next_due_ms(&self) -> Option<u64> {
        (!self.exchanges.is_empty()).then_some(self.due_ms)
    }

    /// An exchange remembers something.
    pub(super) fn list(&mut self, vhost: VhostId, exchange: ExchangeId, cache: &SeenByExchange, now_ms: u64) {
        if cache.ticket() != 0 {
            return;
        }
        if self.exchanges.is_empty() {
            (self.due_ms, self.left) = (now_ms + CLEANING_INTERVAL_MS, 0);
        }
        self.last_ticket += 1;
        cache.set_ticket(self.last_ticket);
        self.exchanges.push_back(Listed { vhost, exchange, ticket: self.last_ticket });
    }
}

impl<S: Store> Broker<S> {
    /// Forgets values whose time is over, as many as a turn does.
    pub(in crate::broker) fn clean_values(&mut self) {
        if self.cleaning.due_ms > self.now_ms || self.cleaning.exchanges.is_empty() {
            return;
        }
        if self.cleaning.left == 0 {
            self.cleaning.left = self.cleaning.exchanges.len();
        }
        let mut values = VALUES_PER_TURN;
        for _ in 0..EXCHANGES_PER_TURN.min(self.cleaning.left) {
            let Some(listed) = self.cleaning.exchanges.pop_front() else { break };
            let Listed { vhost, exchange, ticket } = listed;
            self.cleaning.left -= 1;
            let Some(cache) = self.vhosts[vhost].router().cache(exchange) else { continue };
            if cache.ticket() != ticket {
                continue;
            }
            let forgotten = cache.forget_what_is_over(values, self.now_ms);
            let (has_more, is_empty) = (forgotten == values, cache.is_empty());
            if is_empty {
                cache.set_ticket(0);
            }
            self.forget_in_log(vhost, exchange);
            values -= forgotten;
            if has_more {
                // It goes on in the next turn.
                self.cleaning.exchanges.push_front(listed);
                self.cleaning.left += 1;
                return;
            }
            if !is_empty {
                self.cleaning.exchanges.push_back(listed);
            }
        }
        if self.cleaning.left == 0 {
            self.cleaning.due_ms = self.now_ms + CLEANING_INTERVAL_MS;
        }
    }
}
