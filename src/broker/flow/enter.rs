//! Into a queue: published, put back, or brought back by a restart.

use super::ledger::Books;
use crate::broker::dispatch::HandOver;
use crate::broker::effects::Effects;
use crate::broker::exchange::QueueId;
use crate::broker::memory::message_memory_bytes;
use crate::broker::message::{MessageRef, NEVER};
use crate::broker::page::Page;
use crate::broker::publish::Publication;
use crate::broker::queue::{Queue, Taken, TakenFrom};
use crate::broker::store::{LogPosition, Returns, Route, Store};
use crate::broker::{Broker, QueueKey};

/// What the queues of a publish share.
#[derive(Default)]
pub(in crate::broker) struct Kept {
    /// The stored message, once a queue needs it.
    pub message: Option<MessageRef>,
    /// Where the log has it, once a queue is durable.
    pub position: LogPosition,
    /// One of them refused it.
    pub refused: bool,
}

impl Books {
    /// Messages were published that went straight to a consumer, which does not acknowledge.
    pub fn went_through_lane(&mut self, queue: &mut Queue, count: u64) {
        queue.ledger.counters.published += count;
        self.totals.received += count;
        self.passed_through(queue, count);
    }
}

impl<S: Store> Broker<S> {
    /// Hands a publish to a consumer that waits, or appends it.
    #[inline(always)]
    pub(in crate::broker) fn enter(
        &mut self,
        id: QueueId,
        publication: &Publication<'_>,
        is_only_queue: bool,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        let Publication { content, .. } = publication;
        let queue = &mut self.queues[id.0 as usize];
        if !queue.behaviour.is_plain() && !queue.takes_plainly(publication.attributes.priority, content) {
            return self.enter_special(id, publication, is_only_queue, kept, effects);
        }
        queue.ledger.counters.published += 1;
        let handed_over =
            if queue.backlog.is_empty() { self.hand_over(id, content, effects) } else { HandOver::NobodyReady };
        if let HandOver::Done = handed_over {
            return;
        }
        self.enter_waiting::<false>(id, publication, is_only_queue, handed_over, kept, effects);
    }

    /// Keeps a publish that no consumer without acknowledgements took. It goes to the front of the queue's levels of priority
    /// without a look unless it may be of `ANY_LEVEL`.
    #[inline(always)]
    pub(super) fn enter_waiting<const ANY_LEVEL: bool>(
        &mut self,
        id: QueueId,
        publication: &Publication<'_>,
        is_only_queue: bool,
        handed_over: HandOver,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        let Publication { content, attributes, .. } = publication;
        let queue = &mut self.queues[id.0 as usize];
        let expires_at_ms = queue.behaviour.expires_at_ms(attributes.expiration_ms, self.now_ms);
        let level = match ANY_LEVEL {
            true => queue.backlog.level_of(attributes.priority, content),
            false => queue.backlog.front().level(),
        };
        if let Some(queue_id) = queue.id_in_log(attributes.persistent) {
            let expires_at_ms = (expires_at_ms != NEVER).then(|| self.settings.unix_start_ms + expires_at_ms);
            let sequence = match ANY_LEVEL {
                true => queue.backlog.next_sequence(level),
                false => queue.backlog.front().next_sequence(),
            };
            let route = Route { queue: queue_id.level(level), sequence, expires_at_ms };
            kept.position = self.store.enqueued(route, content, attributes.priority, kept.position);
        }
        let mut message = || kept.message.get_or_insert_with(|| MessageRef::new(content, *attributes)).clone();
        if let HandOver::MustBeKept(consumer) = handed_over {
            let (redelivered, returns) = (false, Returns::default());
            let taken = Taken { message: message(), expires_at_ms, sequence: 0, redelivered, returns, level };
            return self.hand_over_kept(id, consumer, taken, effects);
        }
        let backlog = if ANY_LEVEL { queue.backlog.gain(level) } else { queue.backlog.front() };
        let began_chunk = match is_only_queue && backlog.packs(content) {
            true => backlog.push_packed(content, *attributes, expires_at_ms),
            false => backlog.push(message(), expires_at_ms),
        };
        self.books.ready += 1;
        self.books.lately.entered = Some((id, level));
        if !queue.touched && queue.gate.line.front().is_some() {
            queue.touched = true;
            self.touched_queues.push_back(queue.key(id));
        }
        if expires_at_ms != NEVER {
            self.schedule_expiry(id);
        }
        if began_chunk {
            self.note_growth(id);
        }
    }

    /// A message that was given to a client goes back to its place. That it `failed` is for a queue that counts it.
    #[inline]
    pub(in crate::broker) fn put_back(&mut self, id: QueueId, taken: Taken, failed: bool) {
        let queue = &mut self.queues[id.0 as usize];
        if queue.behaviour.returns_behind() {
            return self.put_back_counted(id, taken, failed);
        }
        self.books.release(queue, 1);
        queue.backlog.put_back(taken);
        let is_plain = queue.behaviour.is_plain_but_for_levels();
        self.books.ready += 1;
        self.touch(id);
        self.schedule_expiry(id);
        if !is_plain {
            self.drop_overflow(id);
        }
    }

    /// A message that was taken and given to nobody goes back to its place.
    pub(in crate::broker) fn put_back_untouched(&mut self, id: QueueId, taken: Taken, from: TakenFrom) {
        if self.queue(id).deleted {
            return self.settled_too_late(id);
        }
        let queue = &mut self.queues[id.0 as usize];
        self.books.release(queue, 1);
        let behind = queue.behaviour.returns_behind();
        queue.backlog.put_back_untouched(taken, behind, from);
        self.books.ready += 1;
        self.touch(id);
        self.schedule_expiry(id);
        self.drop_overflow(id);
    }

    /// Messages of an earlier run will be loaded into a level of a queue that was just restored.
    pub fn expect_messages(
        &mut self,
        key: QueueKey,
        level: u8,
        messages: usize,
        next_sequence: u64,
        delivered_below: u64,
    ) {
        let Some(id) = self.queue_of(key) else { return };
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        queue.backlog.expect(level, messages, next_sequence, delivered_below);
        queue.ledger.restored += messages as u64;
        self.books.ready += messages;
        self.count_paged(id, was_paged);
    }

    /// Messages of an earlier run, for a level of a queue if that still is there. All messages of the level below
    /// `complete_below` have come.
    pub fn load_page(&mut self, key: QueueKey, level: u8, page: Page, complete_below: u64) {
        let keep_here = message_memory_bytes() < self.settings.message_memory.paging_bytes / 2;
        let Some(id) = self.queue_of(key) else { return };
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        if let Some(seen) = &queue.seen {
            seen.learn(level, &page);
        }
        let lost = queue.backlog.load(level, page, complete_below, keep_here, &mut self.store);
        let is_wanted = queue.gate.line.front().is_some() || queue.overflows();
        self.lose(id, lost);
        self.count_paged(id, was_paged);
        if is_wanted {
            self.refill(id);
        }
        self.schedule_expiry(id);
    }

    /// Nothing more will be loaded into a queue. Says how many of its messages are lost.
    pub fn loaded(&mut self, key: QueueKey) -> usize {
        let Some(id) = self.queue_of(key) else { return 0 };
        let queue = &mut self.queues[id.0 as usize];
        let was_paged = queue.backlog.is_paged();
        let lost = queue.backlog.loaded();
        self.lose(id, lost);
        // What waited for those that are lost is the head now.
        self.head_came_back(id, was_paged);
        self.head_moved(id);
        lost
    }
}
