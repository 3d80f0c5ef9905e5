//! What exchanges remember on disk: their values are in the log, under a number of their own, like messages of a queue.
//!
//! ```text
//!   a message enters its queues ──► the log has it ──► … and, in the same batch, its value ──► confirm
//!   a value is forgotten, or replaced ──► it left
//! ```
//! The value goes behind the message. So it is never there without its message, which would be lost then: its publisher, who
//! got no confirm, publishes it again, and it would be a duplicate. And the confirm waits for both, so that what was confirmed
//! comes in once, whatever happens. Of a message that does not last only the value is in the log.
//!
//! A message that a queue refused, or that was rolled back, leaves no value behind: who publishes it again means it.

use super::{DeduplicationKey, Noted};
use crate::broker::message::{Content, NEVER};
use crate::broker::page::{Page, PageReader};
use crate::broker::store::{Definition, DurableQueueId, LogPosition, Route, Store};
use crate::broker::{Broker, ExchangeId, VhostId};
use crate::protocol::ShortString;

/// The frame of a content header without properties and body: a value in the log has that, as everything there has one.
const HEADER_FRAME: [u8; 22] = *b"\x02\0\0\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xCE";

/// The address of a value in the log: no exchange, and the value as routing key.
const ADDRESS_BYTES: usize = 19;

/// An exchange that remembers on disk, and may be gone when it is asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RememberedKey {
    vhost: VhostId,
    exchange: ExchangeId,
    id: DurableQueueId,
}

fn address_of(DeduplicationKey(key): DeduplicationKey) -> [u8; ADDRESS_BYTES] {
    let mut address = [0; ADDRESS_BYTES];
    address[1] = 16;
    address[2..18].copy_from_slice(&key.to_be_bytes());
    address[18] = 0xCE;
    address
}

impl<S: Store> Broker<S> {
    /// A message has entered its queues: what exchanges remember of it lasts, where it is to. Says where the log has it.
    #[cold]
    pub(in crate::broker) fn keep_values(&mut self, vhost: VhostId, noted: &[Noted]) -> LogPosition {
        let mut position = LogPosition::default();
        for &Noted { exchange, key, number } in noted {
            let Some(cache) = self.vhosts[vhost].router().cache(exchange) else { continue };
            self.cleaning.list(vhost, exchange, cache, self.now_ms);
            if !cache.lasts() {
                continue;
            }
            let Some(until_ms) = cache.until_ms(key, number) else { continue };
            let Some(queue) = self.values_in_log(vhost, exchange) else { continue };
            let expires_at_ms = (until_ms != NEVER).then(|| self.settings.unix_start_ms.saturating_add(until_ms));
            let address = address_of(key);
            let (frames, header_frame_length) = (&HEADER_FRAME, HEADER_FRAME.len());
            let content = Content { address: &address, frames, header_frame_length, shared_body: None };
            position = self.store.enqueued_together(Route { queue, sequence: number, expires_at_ms }, &content);
            self.forget_in_log(vhost, exchange);
        }
        position
    }

    /// Nobody took the message after all.
    #[cold]
    pub(in crate::broker) fn take_values_back(&mut self, vhost: VhostId, noted: &[Noted]) {
        for &Noted { exchange, key, number } in noted {
            if let Some(cache) = self.vhosts[vhost].router().cache(exchange) {
                cache.take_back(key, number);
            }
        }
    }

    /// As [`keep_values`](Self::keep_values), of what was routed last by [`route_internally`](Self::route_internally).
    pub(in crate::broker) fn keep_values_of_last(&mut self, vhost: VhostId) {
        let mut noted = std::mem::take(self.vhosts.walks_mut().noted());
        if !noted.is_empty() {
            self.keep_values(vhost, &noted);
        }
        noted.clear();
        *self.vhosts.walks_mut().noted() = noted;
    }

    /// What the log calls the values of an exchange. It is told with the first of them.
    fn values_in_log(&mut self, vhost: VhostId, exchange: ExchangeId) -> Option<DurableQueueId> {
        let router = self.vhosts[vhost].router();
        let cache = router.cache(exchange)?;
        if let Some(id) = cache.durable_id() {
            return Some(id);
        }
        self.queue_serial += 1;
        let id = DurableQueueId(self.queue_serial);
        cache.set_durable_id(id);
        let definition = Definition::ValuesDeclared { id, vhost, exchange: router.exchange(exchange).name.clone() };
        self.define(&definition);
        Some(id)
    }

    /// Tells the log which values an exchange has forgotten since.
    pub(super) fn forget_in_log(&mut self, vhost: VhostId, exchange: ExchangeId) {
        let Self { vhosts, store, .. } = self;
        let Some(cache) = vhosts[vhost].router().cache(exchange) else { return };
        if let Some(id) = cache.durable_id() {
            std::iter::from_fn(|| cache.next_forgotten()).for_each(|number| store.removed(id, number));
        }
    }

    /// An exchange had values in the log.
    ///
    /// # Errors
    /// There is no such exchange.
    pub fn restore_values(
        &mut self,
        vhost: VhostId,
        exchange: &ShortString,
        id: DurableQueueId,
    ) -> Result<RememberedKey, String> {
        let found = self.exchange_in(vhost, exchange);
        let Some((found, cache)) = found.and_then(|found| Some((found, self.router(vhost).cache(found)?))) else {
            return Err(format!("there is no exchange {exchange} that remembers messages"));
        };
        cache.set_durable_id(id);
        self.queue_serial = self.queue_serial.max(id.0);
        Ok(RememberedKey { vhost, exchange: found, id })
    }

    /// Values of an earlier run will be loaded, all with numbers below this one.
    pub fn expect_values(&mut self, key: RememberedKey, next_number: u64) {
        if let Some(cache) = self.router(key.vhost).cache(key.exchange) {
            cache.expect(next_number);
        }
    }

    /// Values of an earlier run. They come before the first message does.
    pub fn load_values(&mut self, key: RememberedKey, page: &Page) {
        let Some(cache) = self.vhosts[key.vhost].router().cache(key.exchange) else { return };
        let mut reader = PageReader::default();
        while let Some(entry) = reader.next(&page.bytes) {
            if let Some(value) = entry.address.get(2..18).and_then(DeduplicationKey::from_log) {
                cache.learn(value, entry.sequence, entry.expires_at_ms, self.now_ms);
            }
        }
        self.cleaning.list(key.vhost, key.exchange, cache, self.now_ms);
        self.forget_in_log(key.vhost, key.exchange);
    }
}

#[cfg(test)]
#[path = "lasting_tests.rs"]
mod tests;
