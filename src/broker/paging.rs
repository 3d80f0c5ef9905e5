//! Keeping the memory of messages within its bound: which queues' messages leave memory, and when they come back.
//!
//! Queues that grow give up their middle first, a chunk at a time. When that is not enough, what waits in queues that
//! nobody takes from goes as a whole. What comes back is asked for ahead of its being needed. Messages that were given
//! to clients, or came back from them, stay in memory; when those alone are too many, nothing more is brought back until
//! some are settled.

use super::exchange::QueueId;
use super::memory::{held_memory_bytes, message_memory_bytes};
use super::queue::{AskedFor, Backlog, CHUNK_BYTES, PageOut};
use super::store::{DurableQueueId, PageId, Store};
use super::{Broker, QueueKey};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Bytes of pages that wait to be written beyond which no more are made: the disk is behind.
pub const UNWRITTEN_PAGES_MAX_BYTES: usize = 16 << 20;

/// Most chunks of a queue's head that are in memory, or on their way there, while the queue is paged.
const READ_AHEAD_CHUNKS: usize = 16;

/// Queues looked at in one turn for messages that nobody takes.
const SWEPT_PER_TURN: usize = 256;
/// So many looks at a queue leave the head alone that came back for a command. One would do, as the command is handled in
/// the turn in which the head arrives; a client that is gone meanwhile costs a few.
const SPARED_SWEEPS: u8 = 8;

/// How much memory messages may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageMemory {
    /// Beyond this, in bytes, messages leave memory.
    pub paging_bytes: usize,
    /// Beyond this, in bytes, what clients hold counted in, none come back.
    pub most_bytes: usize,
}

/// Who waits for a page.
struct Awaited {
    queue: QueueKey,
    bytes: usize,
}

#[derive(Default)]
pub(super) struct Paging {
    /// Queues that may have a middle to give up.
    grown: VecDeque<QueueKey>,
    /// The slot that the sweep looks at next.
    hand: usize,
    /// Pages that were asked for.
    asked_for: HashMap<PageId, Awaited>,
    /// Their bytes: memory that will be taken.
    coming_bytes: usize,
    /// Queues that want pages for which there is no memory.
    starved: Vec<QueueKey>,
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
            self.paging.grown.push_back(queue.key(id));
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
            for key in std::mem::take(&mut self.paging.starved) {
                if let Some(id) = self.queue_of(key) {
                    self.queue_mut(id).starved = false;
                    self.refill(id);
                }
            }
        }
        any
    }

    /// Consumers that hold much and settle nothing get no more. A queue of which nothing is unsettled always goes on.
    fn may_bring_back(&self, id: QueueId) -> bool {
        let soon_bytes = held_memory_bytes() + self.paging.coming_bytes;
        soon_bytes < self.settings.message_memory.most_bytes || self.queue(id).ledger.unacknowledged() == 0
    }

    /// The memory of messages when all that was asked for is here.
    fn memory_soon_bytes(&self) -> usize {
        message_memory_bytes() + self.paging.coming_bytes
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

    /// Messages take no more memory than those may that stay in it.
    pub fn has_room_for_messages(&self) -> bool {
        message_memory_bytes() <= self.settings.message_memory.paging_bytes
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
        while self.has_too_much() && self.page_out_delayed(true) {}
        while self.has_too_much() {
            let Some(key) = self.paging.grown.pop_front() else { break };
            let Some(id) = self.queue_of(key) else { continue };
            if self.page_out(id, PageOut::Middle) {
                self.paging.grown.push_back(key);
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
        while self.has_too_much() && self.page_out_delayed(false) {}
    }

    /// Moves everything out of the next queue that nobody takes from.
    fn sweep_one(&mut self) {
        self.paging.hand = if self.paging.hand < self.queues.capacity() { self.paging.hand } else { 0 };
        let id = QueueId(self.paging.hand as u32);
        self.paging.hand += 1;
        let idle =
            self.queues.get(id.0 as usize).is_some_and(|queue| !queue.deleted && queue.gate.line.front().is_none());
        if !idle {
            return;
        }
        let spared_sweeps = &mut self.queue_mut(id).spared_sweeps;
        if *spared_sweeps > 0 {
            *spared_sweeps -= 1;
        } else {
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

    pub(super) fn count_paged(&mut self, id: QueueId, was_paged: bool) {
        let is_paged = self.queue(id).backlog.is_paged();
        self.paging.paged_queues += usize::from(is_paged);
        self.paging.paged_queues -= usize::from(was_paged);
    }

    /// How many chunks each paged queue may have in memory at its head.
    #[inline]
    fn window(&self) -> usize {
        let paging_bytes = self.settings.message_memory.paging_bytes;
        if self.memory_soon_bytes() < paging_bytes / 2 {
            return READ_AHEAD_CHUNKS;
        }
        let chunks = paging_bytes / CHUNK_BYTES;
        (chunks / self.paging.paged_queues.max(1)).clamp(1, READ_AHEAD_CHUNKS)
    }

    /// Brings back what a queue that is delivered from will need soon.
    #[inline]
    pub(super) fn read_ahead(&mut self, id: QueueId) {
        let queue = &self.queues[id.0 as usize];
        if queue.backlog.front_is_paged() && queue.backlog.wants_refill(self.window()) {
            self.refill(id);
        }
    }

    /// Brings the head of a queue back.
    #[cold]
    pub(super) fn refill(&mut self, id: QueueId) {
        if self.may_bring_back(id) {
            self.refill_to(id, self.window());
        } else if !std::mem::replace(&mut self.queue_mut(id).starved, true) {
            self.paging.starved.push(self.queue(id).key(id));
        }
    }

    /// Brings at least the message at the head back, however little memory there is.
    pub(super) fn bring_head_back(&mut self, id: QueueId) {
        self.refill_to(id, 1);
    }

    fn refill_to(&mut self, id: QueueId, window: usize) {
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        let key = queue.key(id);
        for AskedFor { page, bytes } in queue.backlog.refill(window, &mut self.store) {
            self.paging.asked_for.insert(page, Awaited { queue: key, bytes });
            self.paging.coming_bytes += bytes;
        }
        self.head_came_back(id, was_paged);
        self.schedule_expiry(id);
    }

    fn page_arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        let Some(awaited) = self.paging.asked_for.remove(&page) else { return self.delayed_page_arrived(page, bytes) };
        self.paging.coming_bytes -= awaited.bytes;
        let Some(id) = self.queue_of(awaited.queue) else { return };
        let queue = self.queue_mut(id);
        let was_paged = queue.backlog.is_paged();
        queue.backlog.arrived(page, bytes);
        self.head_came_back(id, was_paged);
        self.drop_expired(id);
    }

    /// The head may be in memory again, or another one.
    pub(super) fn head_came_back(&mut self, id: QueueId, was_paged: bool) {
        self.count_paged(id, was_paged);
        self.overflow_goes_on(id);
        let queue = self.queue(id);
        if queue.gate.line.front().is_some() && !queue.backlog.is_empty() && !queue.backlog.head_is_away() {
            self.touch(id);
        }
    }

    /// Somebody waits for the head of a queue: it stays when it is here.
    pub(super) fn spare_head(&mut self, id: QueueId) {
        self.queue_mut(id).spared_sweeps = SPARED_SWEEPS;
    }

    /// Whether a queue's next message has to be waited for. It is on its way then.
    pub fn head_is_away(&mut self, key: QueueKey) -> bool {
        let Some(id) = self.queue_of(key) else { return false };
        self.queue(id).behaviour.is_held() || self.brings_head_back(id) || self.is_dropping(id)
    }

    /// Whether a queue's next message has to be waited for, after asking for it.
    pub(super) fn brings_head_back(&mut self, id: QueueId) -> bool {
        if self.queue(id).backlog.head_is_away() {
            self.spare_head(id);
        }
        while self.queue(id).backlog.head_is_away() {
            self.bring_head_back(id);
            if !self.take_pages() {
                return self.queue(id).backlog.head_is_away();
            }
        }
        false
    }

    /// Empties a queue's backlog, and says what was in it.
    pub(super) fn empty_backlog(&mut self, id: QueueId) -> Vec<Backlog> {
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        let held = queue.backlog.take_all();
        self.count_paged(id, was_paged);
        held
    }

    /// For each level of each durable queue, the sequence below which messages may have been delivered.
    pub fn delivered_marks(&self) -> impl Iterator<Item = (DurableQueueId, u64)> + '_ {
        let durable = self.queues.iter().filter_map(|(_, queue)| Some((queue.durable_id?, queue)));
        let held = durable.filter(|(_, queue)| !queue.backlog.is_empty() || queue.ledger.unacknowledged() > 0);
        held.flat_map(|(id, queue)| {
            queue.backlog.levels().map(move |backlog| (id.level(backlog.level()), backlog.delivered_below()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::shared_body;
    use crate::broker::message::{Attributes, Content};
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, settings};
    use crate::broker::{ChannelId, ConnectionId, ConsumeRequest, DeclareRequest, Publication};
    use crate::protocol::FieldTable;
    use bytes::Bytes;

    const CLIENT: ConnectionId = ConnectionId(0);
    const PAGING_BYTES: usize = 4 << 20;

    fn broker() -> (Broker<MemoryStore>, ChannelId) {
        let message_memory = MessageMemory { paging_bytes: PAGING_BYTES, most_bytes: usize::MAX };
        let mut broker =
            testing::broker_with(super::super::Settings { message_memory, ..settings() }, MemoryStore::default());
        let channel = testing::connect(&mut broker, CLIENT);
        broker.set_consumer_prefetch(channel, 1);
        (broker, channel)
    }

    fn declare(broker: &mut Broker<MemoryStore>, name: &[u8]) -> QueueId {
        let arguments = FieldTable::default();
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(testing::caller(broker, CLIENT), request, &mut Nobody).unwrap();
        broker.existing_queue(testing::VHOST, name).unwrap()
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, queue: QueueId, body: &Bytes) {
        let content =
            Content { address: b"\0\x01q\xCE", frames: &[0; 22], header_frame_length: 22, shared_body: Some(body) };
        let publication = Publication { content, attributes: Attributes::default(), mandatory: false };
        broker.publish(channel, &publication, &[queue], &mut Nobody);
    }

    fn consume(broker: &mut Broker<MemoryStore>, channel: ChannelId, queue: &[u8]) {
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue, consumer_tag: b"", no_ack: false, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
    }

    /// Turns at a channel's credit would go on and on where those whose turn it is can be given nothing yet.
    #[test]
    fn heads_that_are_on_their_way_do_not_keep_the_pump_busy() {
        let (mut broker, channel) = broker();
        broker.set_consumer_prefetch(channel, 0);
        broker.set_channel_prefetch(channel, 2);
        let full = declare(&mut broker, b"full");
        (0..2).for_each(|_| publish(&mut broker, channel, full, &shared_body(vec![7; 64 << 10])));
        consume(&mut broker, channel, b"full");
        broker.pump(&mut Nobody);
        for name in [b"p".as_slice(), b"q"] {
            let queue = declare(&mut broker, name);
            (0..8).for_each(|_| publish(&mut broker, channel, queue, &shared_body(vec![7; 64 << 10])));
            consume(&mut broker, channel, name);
            broker.pump(&mut Nobody);
            while broker.page_out(queue, PageOut::All) {}
            assert!(broker.queue(queue).backlog.head_is_away());
        }
        broker.settle(channel, 1, false, crate::broker::Settlement::Acknowledged).unwrap();
        broker.pump(&mut Nobody);
        assert!(!broker.has_touched(), "there is nothing to do until a page comes");
        while broker.take_pages() || broker.has_touched() {
            broker.pump(&mut Nobody);
        }
        assert_eq!(broker.channel(channel).unacknowledged.len(), 2);
        broker.census();
    }

    #[test]
    fn large_messages_come_back_few_at_a_time() {
        const BODY_BYTES: usize = 1 << 20;
        let (mut broker, channel) = broker();
        let queue = declare(&mut broker, b"q");
        for _ in 0..40 {
            publish(&mut broker, channel, queue, &shared_body(vec![7; BODY_BYTES]));
            broker.relieve_memory();
        }
        consume(&mut broker, channel, b"q");
        while broker.has_touched() || broker.take_pages() {
            broker.pump(&mut Nobody);
        }
        assert!(message_memory_bytes() <= PAGING_BYTES + BODY_BYTES, "{} bytes", message_memory_bytes());
    }

    /// Memory is full of other things, and the head of an idle queue is the first to go: it would go whenever it comes.
    #[test]
    fn a_head_that_came_back_for_a_get_stays_until_it_is_taken() {
        let (mut broker, channel) = broker();
        let queue = declare(&mut broker, b"q");
        for _ in 0..4 {
            publish(&mut broker, channel, queue, &shared_body(vec![7; 1 << 20]));
        }
        broker.set_message_memory(MessageMemory { paging_bytes: 0, most_bytes: usize::MAX });
        broker.relieve_memory();
        assert!(broker.queue(queue).backlog.head_is_away());
        assert!(!broker.brings_head_back(queue), "this store gives it at once");
        broker.relieve_memory();
        assert!(!broker.queue(queue).backlog.head_is_away());
        let caller = broker.caller(channel);
        let got = broker.get(caller, b"q", true, &mut Nobody).unwrap();
        assert!(matches!(got, crate::broker::GetOutcome::Got(_)));
        (0..SPARED_SWEEPS).for_each(|_| broker.relieve_memory());
        broker.relieve_memory();
        assert!(broker.queue(queue).backlog.head_is_away(), "nobody waits any more");
    }

    #[test]
    fn what_is_on_its_way_back_to_other_queues_counts() {
        const QUEUES: usize = 64;
        let (mut broker, channel) = broker();
        let names: Vec<String> = (0..QUEUES).map(|number| format!("q{number}")).collect();
        for name in &names {
            let queue = declare(&mut broker, name.as_bytes());
            for _ in 0..64 {
                publish(&mut broker, channel, queue, &shared_body(vec![7; 8 << 10]));
            }
        }
        broker.set_message_memory(MessageMemory { paging_bytes: 0, most_bytes: usize::MAX });
        broker.relieve_memory();
        broker.set_message_memory(MessageMemory { paging_bytes: PAGING_BYTES, most_bytes: usize::MAX });
        for name in &names {
            consume(&mut broker, channel, name.as_bytes());
        }
        broker.pump(&mut Nobody);
        let pages = broker.paging.asked_for.len();
        assert!(pages >= QUEUES, "each gets what it needs first");
        assert!(pages <= QUEUES + PAGING_BYTES / CHUNK_BYTES, "{pages} pages");
    }

    #[test]
    fn what_lies_behind_lost_messages_is_delivered_when_they_are_given_up() {
        let (mut broker, channel) = broker();
        let queue = testing::restored_queue(&mut broker, FieldTable::default());
        broker.expect_messages(broker.queue_key(queue), 0, 3, 10, 0);
        consume(&mut broker, channel, b"q");
        publish(&mut broker, channel, queue, &Bytes::from_static(b"body"));
        broker.pump(&mut Nobody);
        assert_eq!(broker.census().unacknowledged, 0, "it waits for those before it");
        assert_eq!(broker.loaded(broker.queue_key(queue)), 3);
        broker.pump(&mut Nobody);
        assert_eq!(broker.census().unacknowledged, 1);
    }
}
