//! Keeping the memory of messages within its bound: which queues' messages leave memory, and when they come back.
//!
//! Queues that grow give up their middle first, a chunk at a time. When that is not enough, what waits in queues that
//! nobody takes from goes as a whole. What comes back is asked for ahead of its being needed. Messages that were given
//! to clients, or came back from them, stay in memory; when those alone are too many, nothing more is brought back until
//! some are settled.

use super::Broker;
use super::exchange::QueueId;
use super::message::message_memory_bytes;
use super::page::Page;
use super::queue::{CHUNK_BYTES, PageOut};
use super::store::{DurableQueueId, PageId, Store};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Bytes of pages that wait to be written beyond which no more are made: the disk is behind.
pub const UNWRITTEN_PAGES_MAX_BYTES: usize = 16 << 20;

/// Most chunks of a queue's head that are in memory, or on their way there, while the queue is paged.
const READ_AHEAD_CHUNKS: usize = 16;

/// Queues looked at in one turn for messages that nobody takes.
const SWEPT_PER_TURN: usize = 256;

/// How much memory messages may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageMemory {
    /// Beyond this, in bytes, messages leave memory.
    pub paging_bytes: usize,
    /// Beyond this, in bytes, none come back.
    pub most_bytes: usize,
}

#[derive(Default)]
pub(super) struct Paging {
    /// Queues that may have a middle to give up.
    grown: VecDeque<QueueId>,
    /// The slot that the sweep looks at next.
    hand: usize,
    /// Pages that were asked for, with the queue and its serial.
    asked_for: HashMap<PageId, (QueueId, u64)>,
    /// Queues that want pages for which there is no memory.
    starved: VecDeque<QueueId>,
    /// Queues that are paged.
    paged_queues: usize,
}

impl<S: Store> Broker<S> {
    /// How much memory messages may take from now on.
    pub fn set_message_memory(&mut self, memory: MessageMemory) {
        self.settings.message_memory = memory;
    }

    /// A queue's ring has grown by a chunk.
    #[cold]
    pub(super) fn note_growth(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        if !queue.grown {
            queue.grown = true;
            self.paging.grown.push_back(id);
        }
    }

    /// Takes in the pages that arrived; whether there were any.
    #[inline]
    pub fn take_pages(&mut self) -> bool {
        let mut any = false;
        while let Some((page, bytes)) = self.store.take_arrived_page() {
            self.page_arrived(page, bytes);
            any = true;
        }
        if !self.paging.starved.is_empty() {
            for id in std::mem::take(&mut self.paging.starved) {
                if self.queues.contains(id.0 as usize) {
                    self.refill(id);
                }
            }
        }
        any
    }

    /// Consumers that hold much and settle nothing get no more. A queue of which nothing is unsettled always goes on.
    fn may_bring_back(&self, id: QueueId) -> bool {
        message_memory_bytes() < self.settings.message_memory.most_bytes || self.queue(id).unacknowledged == 0
    }

    fn has_too_much(&self) -> bool {
        message_memory_bytes() > self.settings.message_memory.paging_bytes && self.takes_pages()
    }

    /// Moves messages out of memory as far as there are too many. Called when what could be delivered is.
    #[inline]
    pub fn relieve_memory(&mut self) {
        if message_memory_bytes() > self.settings.message_memory.paging_bytes {
            self.relieve();
        }
    }

    /// Messages take too much memory, and the disk does not keep up with relieving it.
    pub fn is_paging_behind(&self) -> bool {
        message_memory_bytes() > self.settings.message_memory.paging_bytes && !self.takes_pages()
    }

    /// Few enough pages wait to be written for more.
    pub fn takes_pages(&self) -> bool {
        self.store.unwritten_page_bytes() < UNWRITTEN_PAGES_MAX_BYTES
    }

    #[cold]
    fn relieve(&mut self) {
        while self.has_too_much() {
            let Some(id) = self.paging.grown.pop_front() else { break };
            let Some(queue) = self.queues.get(id.0 as usize) else { continue };
            if queue.grown && self.page_out(id, PageOut::Middle) {
                self.paging.grown.push_back(id);
            } else {
                self.queue_mut(id).grown = false;
            }
        }
        for _ in 0..SWEPT_PER_TURN.min(self.queues.len()) {
            if !self.has_too_much() {
                break;
            }
            self.sweep_one();
        }
    }

    /// Moves everything out of the next queue that nobody takes from.
    fn sweep_one(&mut self) {
        self.paging.hand = if self.paging.hand < self.queues.capacity() { self.paging.hand } else { 0 };
        let id = QueueId(self.paging.hand as u32);
        self.paging.hand += 1;
        let idle = self.queues.get(id.0 as usize).is_some_and(|queue| !queue.deleted && queue.line.front().is_none());
        if idle {
            while self.has_too_much() && self.page_out(id, PageOut::All) {}
            self.schedule_expiry(id);
        }
    }

    fn page_out(&mut self, id: QueueId, which: PageOut) -> bool {
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        let moved = queue.backlog.page_out(which, &mut self.store);
        self.count_paged(id, was_paged);
        moved
    }

    fn count_paged(&mut self, id: QueueId, was_paged: bool) {
        let is_paged = self.queue(id).backlog.is_paged();
        self.paging.paged_queues += usize::from(is_paged);
        self.paging.paged_queues -= usize::from(was_paged);
    }

    /// How many chunks each paged queue may have in memory at its head.
    #[inline]
    fn window(&self) -> usize {
        let paging_bytes = self.settings.message_memory.paging_bytes;
        if message_memory_bytes() < paging_bytes / 2 {
            return READ_AHEAD_CHUNKS;
        }
        let chunks = paging_bytes / CHUNK_BYTES;
        (chunks / self.paging.paged_queues.max(1)).clamp(1, READ_AHEAD_CHUNKS)
    }

    /// Brings back what a queue that is delivered from will need soon.
    #[inline]
    pub(super) fn read_ahead(&mut self, id: QueueId) {
        let queue = &self.queues[id.0 as usize];
        if queue.backlog.is_paged() && queue.backlog.wants_refill(self.window()) {
            self.refill(id);
        }
    }

    /// Brings the head of a queue back.
    #[cold]
    fn refill(&mut self, id: QueueId) {
        if self.may_bring_back(id) {
            self.refill_to(id, self.window());
        } else if !self.paging.starved.contains(&id) {
            self.paging.starved.push_back(id);
        }
    }

    /// Brings at least the message at the head back, however little memory there is.
    pub(super) fn bring_head_back(&mut self, id: QueueId) {
        self.refill_to(id, 1);
    }

    fn refill_to(&mut self, id: QueueId, window: usize) {
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        let asked_for = queue.backlog.refill(window, &mut self.store);
        self.paging.asked_for.extend(asked_for.into_iter().map(|page| (page, (id, queue.serial))));
        self.head_came_back(id, was_paged);
        self.schedule_expiry(id);
    }

    fn page_arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        let Some((id, serial)) = self.paging.asked_for.remove(&page) else { return };
        let queue = self.queues.get_mut(id.0 as usize).filter(|queue| queue.serial == serial && !queue.deleted);
        let Some(queue) = queue else { return };
        let was_paged = queue.backlog.is_paged();
        queue.backlog.arrived(page, bytes);
        self.head_came_back(id, was_paged);
        self.drop_expired(id);
    }

    /// The head may be in memory again, or another one.
    fn head_came_back(&mut self, id: QueueId, was_paged: bool) {
        self.count_paged(id, was_paged);
        let queue = self.queue(id);
        if queue.line.front().is_some() && !queue.backlog.is_empty() && !queue.backlog.head_is_away() {
            self.touch(id);
        }
    }

    /// Whether a queue's next message has to be waited for. It is on its way then.
    pub fn head_is_away(&mut self, name: &[u8]) -> bool {
        let Ok(id) = self.existing_queue(name) else { return false };
        self.brings_head_back(id)
    }

    /// Whether a queue's next message has to be waited for, after asking for it.
    pub(super) fn brings_head_back(&mut self, id: QueueId) -> bool {
        while self.queue(id).backlog.head_is_away() {
            self.bring_head_back(id);
            if !self.take_pages() {
                return self.queue(id).backlog.head_is_away();
            }
        }
        false
    }

    /// Empties a queue's backlog.
    pub(super) fn clear_backlog(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        queue.backlog.clear(&mut self.store);
        self.count_paged(id, was_paged);
    }

    /// Messages of an earlier run will be loaded into a queue that was just restored.
    pub fn expect_messages(&mut self, id: QueueId, messages: usize, next_sequence: u64, delivered_below: u64) {
        let queue = &mut self.queues[id.0 as usize];
        queue.backlog.expect(messages, next_sequence, delivered_below);
        self.ready += messages;
        self.count_paged(id, false);
    }

    /// Messages of an earlier run, for the queue of that number if it still is there. All of its messages below
    /// `complete_below` have come.
    pub fn load_page(&mut self, id: QueueId, durable_id: DurableQueueId, page: Page, complete_below: u64) {
        let keep_here = message_memory_bytes() < self.settings.message_memory.paging_bytes / 2;
        let queue = self.queues.get_mut(id.0 as usize).filter(|queue| queue.durable_id == Some(durable_id));
        let Some(queue) = queue else { return };
        let was_paged = queue.backlog.is_paged();
        let is_wanted = queue.line.front().is_some();
        self.ready -= queue.backlog.load(page, complete_below, keep_here, &mut self.store);
        self.count_paged(id, was_paged);
        if is_wanted {
            self.refill(id);
        }
        self.schedule_expiry(id);
    }

    /// Nothing more will be loaded into the queue of that number. Says how many of its messages are lost.
    pub fn loaded(&mut self, id: QueueId, durable_id: DurableQueueId) -> usize {
        let queue = self.queues.get_mut(id.0 as usize).filter(|queue| queue.durable_id == Some(durable_id));
        let Some(queue) = queue else { return 0 };
        let was_paged = queue.backlog.is_paged();
        let lost = queue.backlog.loaded();
        self.ready -= lost;
        self.count_paged(id, was_paged);
        lost
    }

    /// For each durable queue, the sequence below which messages may have been delivered.
    pub fn delivered_marks(&self) -> impl Iterator<Item = (DurableQueueId, u64)> + '_ {
        let durable = self.queues.iter().filter_map(|(_, queue)| Some((queue.durable_id?, queue)));
        let held = durable.filter(|(_, queue)| !queue.backlog.is_empty() || queue.unacknowledged > 0);
        held.map(|(id, queue)| (id, queue.backlog.delivered_below()))
    }
}
