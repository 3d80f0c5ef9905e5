//! What is due, a slice in each turn: a million may be due in the same millisecond. And what of the rest is in memory.

use super::chunk::{Message, content_of};
use super::schedule::Schedule;
use super::{Delayed, DelayedExchange, DelayedKey};
use crate::broker::exchange::ExchangeId;
use crate::broker::memory::shared_body;
use crate::broker::message::{Content, read_again};
use crate::broker::page::Entry;
use crate::broker::publish::{Publication, Target};
use crate::broker::store::{DurableQueueId, PageId, Store};
use crate::broker::{Broker, Effects};

/// Messages that are routed in one turn because they are due.
pub(super) const RELEASED_PER_TURN: usize = 2048;
/// Messages that are moved to shorter stretches of time in one turn.
const OPENED_PER_TURN: usize = 8192;
/// Exchanges that are looked at in one turn.
const EXCHANGES_PER_TURN: usize = 64;
/// Chunks of exchanges that are gone that go in one turn.
const DISCARDED_PER_TURN: usize = 64;
/// Exchanges that are looked through in one turn for messages that leave memory.
const PAGED_PER_TURN: usize = 256;

impl Delayed {
    /// When there is something to do next.
    pub fn next_due_ms(&self) -> Option<u64> {
        if !self.gone.is_empty() {
            return Some(0);
        }
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    fn discard_gone(&mut self, pages: &mut impl Store) {
        let mut left = DISCARDED_PER_TURN;
        while left > 0
            && let Some(schedule) = self.gone.last_mut()
        {
            left -= 1;
            if !schedule.discard_one(pages) {
                self.gone.pop();
            }
        }
    }
}

impl<S: Store> Broker<S> {
    /// Routes messages that are due, and gets those ready that soon are.
    #[inline]
    pub(in crate::broker) fn release_delayed(&mut self, effects: &mut impl Effects) {
        if self.delayed.next_due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.release_some(effects);
        }
    }

    fn release_some(&mut self, effects: &mut impl Effects) {
        self.delayed.discard_gone(&mut self.store);
        let due = self.delayed.due.range(..=(self.now_ms, usize::MAX));
        let due: Vec<usize> = due.take(EXCHANGES_PER_TURN).map(|(_, index)| *index).collect();
        for &index in &due {
            self.release_of(index, due.len(), effects);
        }
    }

    /// Its part of a turn's share, of so many exchanges.
    fn release_of(&mut self, index: usize, sharers: usize, effects: &mut impl Effects) {
        let now_ms = self.now_ms;
        let DelayedExchange { vhost, ref name, .. } = self.delayed.exchanges[index];
        if !self.has_vhost(vhost) {
            // It goes, and nothing is routed in it any more.
            let name = name.clone();
            return self.forget_delayed(vhost, &name);
        }
        // Routing what is due delays nothing, so nobody looks for it meanwhile.
        let mut schedule = std::mem::take(&mut self.delayed.exchanges[index].schedule);
        schedule.open(now_ms, OPENED_PER_TURN / sharers);
        self.ask_ahead(index, &mut schedule);
        let exchange = &self.delayed.exchanges[index];
        let (vhost, durable_id) = (exchange.vhost, exchange.durable_id);
        if let Some(id) = self.exchange_in(vhost, &exchange.name) {
            schedule.take_due(now_ms, RELEASED_PER_TURN / sharers, |found| {
                self.route_due(index, id, durable_id, &found, effects);
            });
        }
        self.delayed.exchanges[index].schedule = schedule;
        self.delayed.note_growth();
        self.delayed.reschedule(index);
    }

    fn ask_ahead(&mut self, index: usize, schedule: &mut Schedule) {
        let Self { delayed, store, now_ms, .. } = self;
        let key = DelayedKey { index, serial: delayed.exchanges[index].serial };
        schedule.read_ahead(*now_ms, store, |page| _ = delayed.asked_for.insert(page, key));
    }

    fn route_due(
        &mut self,
        index: usize,
        exchange: ExchangeId,
        durable_id: Option<DurableQueueId>,
        found: &Message<'_>,
        effects: &mut impl Effects,
    ) {
        let mut frames = std::mem::take(&mut self.delayed.frames);
        match found {
            Message::Packed(entry) => self.publish_entry(index, exchange, entry, &mut frames, effects),
            Message::Large { message, .. } => {
                let content = message.content();
                frames.clear();
                frames.extend_from_slice(content.frames);
                self.publish_kept(index, exchange, &content, &mut frames, effects);
            }
        }
        self.delayed.frames = frames;
        // Its copies were told before.
        if let Some(queue) = durable_id.filter(|_| found.is_persistent()) {
            self.store.removed(queue, found.sequence());
        }
    }

    fn publish_entry(
        &mut self,
        index: usize,
        exchange: ExchangeId,
        entry: &Entry<'_>,
        frames: &mut Vec<u8>,
        effects: &mut impl Effects,
    ) {
        let Entry { address, header_frame, body, has_shared_body, .. } = *entry;
        if has_shared_body {
            frames.clear();
            frames.extend_from_slice(header_frame);
            let body = shared_body(body.to_vec());
            let header_frame_length = header_frame.len();
            let content = Content { address, frames: header_frame, header_frame_length, shared_body: Some(&body) };
            return self.publish_kept(index, exchange, &content, frames, effects);
        }
        let header_frame_length = content_of(entry, frames).header_frame_length;
        let content = Content { address, frames: &[], header_frame_length, shared_body: None };
        self.publish_kept(index, exchange, &content, frames, effects);
    }

    /// Publishes a message whose frames are in `frames`, and all else in `kept`.
    fn publish_kept(
        &mut self,
        index: usize,
        exchange: ExchangeId,
        kept: &Content<'_>,
        frames: &mut Vec<u8>,
        effects: &mut impl Effects,
    ) {
        let mut header_frame_length = kept.header_frame_length;
        let (attributes, extra_keys) = read_again(frames, &mut header_frame_length);
        let content = Content { frames, header_frame_length, ..*kept };
        let from = &mut self.delayed.exchanges[index];
        let (vhost, mut route) = (from.vhost, std::mem::take(&mut from.route));
        if from.address != content.address {
            from.address.clear();
            from.address.extend_from_slice(content.address);
            route.forget();
        }
        let publication = Publication { content, attributes, mandatory: false };
        let target = Target { exchange, extra_keys: &extra_keys };
        self.publish_due(vhost, target, &mut route, &publication, effects);
        self.delayed.exchanges[index].route = route;
    }

    /// A page that was asked for, if it is one of delayed messages.
    pub(in crate::broker) fn delayed_page_arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        let Some(key) = self.delayed.asked_for.remove(&page) else { return };
        if let Some(index) = self.delayed.index_of(key) {
            self.delayed.exchanges[index].schedule.arrived(page, bytes);
            self.delayed.note_growth();
            self.delayed.reschedule(index);
        }
    }

    /// Moves a chunk of messages out of memory that are not due soon; whether there was one.
    pub(in crate::broker) fn page_out_delayed(&mut self, only_full: bool) -> bool {
        let Self { delayed, store, now_ms, .. } = self;
        let may_find = if only_full { &mut delayed.has_full } else { &mut delayed.has_any };
        if !*may_find {
            return false;
        }
        for _ in 0..PAGED_PER_TURN.min(delayed.exchanges.capacity()) {
            delayed.hand = if delayed.hand < delayed.exchanges.capacity() { delayed.hand } else { 0 };
            let index = delayed.hand;
            if let Some(exchange) = delayed.exchanges.get_mut(index)
                && exchange.schedule.page_out(*now_ms, only_full, store)
            {
                delayed.reschedule(index);
                return true;
            }
            delayed.hand += 1;
        }
        if delayed.exchanges.capacity() <= PAGED_PER_TURN {
            *if only_full { &mut delayed.has_full } else { &mut delayed.has_any } = false;
        }
        false
    }
}
