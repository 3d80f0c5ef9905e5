//! What an earlier run kept, on its way back: first how much, then page by page while the broker serves.

use super::Delayed;
use crate::broker::page::{Page, PageReader};
use crate::broker::store::{DurableQueueId, Store};
use crate::broker::{Broker, VhostId};
use crate::protocol::ShortString;

/// An exchange that keeps messages, and may be gone when it is asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelayedKey {
    pub(super) index: usize,
    pub(super) serial: u64,
}

impl Delayed {
    pub(super) fn index_of(&self, key: DelayedKey) -> Option<usize> {
        self.exchanges.get(key.index).filter(|exchange| exchange.serial == key.serial).map(|_| key.index)
    }
}

impl<S: Store> Broker<S> {
    /// An exchange had messages in the log.
    ///
    /// # Errors
    /// There is no such exchange.
    pub fn restore_delayed(
        &mut self,
        vhost: VhostId,
        exchange: &ShortString,
        id: DurableQueueId,
    ) -> Result<DelayedKey, String> {
        if self.exchange_in(vhost, exchange).is_none() {
            return Err(format!("there is no exchange {exchange} for delayed messages"));
        }
        let index = self.delayed.find_or_add(vhost, exchange);
        self.delayed.exchanges[index].durable_id = Some(id);
        self.queue_serial = self.queue_serial.max(id.0);
        Ok(DelayedKey { index, serial: self.delayed.exchanges[index].serial })
    }

    /// So many messages of an earlier run will be loaded.
    pub fn expect_delayed(&mut self, key: DelayedKey, messages: usize, next_sequence: u64) {
        let Some(index) = self.delayed.index_of(key) else { return };
        let exchange = &mut self.delayed.exchanges[index];
        exchange.expected = messages;
        exchange.next_sequence = next_sequence;
    }

    /// Messages of an earlier run, if their exchange is still there.
    pub fn load_delayed(&mut self, key: DelayedKey, page: &Page) {
        let Some(index) = self.delayed.index_of(key) else { return };
        let exchange = &mut self.delayed.exchanges[index];
        let mut reader = PageReader::default();
        while let Some(entry) = reader.next(&page.bytes) {
            exchange.schedule.insert(&entry, self.now_ms);
            exchange.expected = exchange.expected.saturating_sub(1);
        }
        self.delayed.note_growth();
        self.delayed.reschedule(index);
    }

    /// Nothing more will be loaded. Says how many messages are lost.
    pub fn loaded_delayed(&mut self, key: DelayedKey) -> usize {
        let Some(index) = self.delayed.index_of(key) else { return 0 };
        std::mem::take(&mut self.delayed.exchanges[index].expected)
    }
}
