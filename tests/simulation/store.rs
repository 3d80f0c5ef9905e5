//! The broker's store in the simulation: the real log, and pages that are kept in memory and come back when they are asked
//! for, so that the model can say at any moment what a queue gives. The pager has tests of its own.

use leveret::broker::message::Content;
use leveret::broker::store::{Definition, DurableQueueId, Log, LogPosition, MemoryStore, PageId, Pages, Route};
use leveret::storage::LogStore;

pub struct SimStore {
    pub log: LogStore,
    pages: MemoryStore,
}

impl SimStore {
    pub fn new(log: LogStore) -> Self {
        Self { log, pages: MemoryStore::default() }
    }
}

impl Log for SimStore {
    fn enqueued(&mut self, route: Route, content: &Content<'_>, priority: u8, beside: LogPosition) -> LogPosition {
        self.log.enqueued(route, content, priority, beside)
    }

    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        self.log.removed(queue, sequence);
    }

    fn removed_range(&mut self, queue: DurableQueueId, first: u64, last: u64) {
        self.log.removed_range(queue, first, last);
    }

    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition {
        self.log.purged(queue, up_to)
    }

    fn everything(&mut self) -> LogPosition {
        self.log.everything()
    }

    fn define(&mut self, definition: &Definition) -> LogPosition {
        self.log.define(definition)
    }

    fn awaited(&mut self, position: LogPosition) {
        self.log.awaited(position);
    }

    fn durable(&self) -> LogPosition {
        self.log.durable()
    }

    fn pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }
}

impl Pages for SimStore {
    fn put_page(&mut self, bytes: Vec<u8>) -> PageId {
        self.pages.put_page(bytes)
    }

    fn read_page(&mut self, page: PageId) {
        self.pages.read_page(page);
    }

    fn discard_page(&mut self, page: PageId) {
        self.pages.discard_page(page);
    }

    fn take_arrived_page(&mut self) -> Option<(PageId, Vec<u8>)> {
        self.pages.take_arrived_page()
    }

    fn unwritten_page_bytes(&self) -> usize {
        self.pages.unwritten_page_bytes()
    }
}
