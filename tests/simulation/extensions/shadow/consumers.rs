//! Who consumes, what is given to whom, and what becomes of what clients hold.

use super::lasting::Told;
use super::{Entry, Place, QueueIndex, Shadow, Turn};
use crate::extensions::content::Seen;
use std::collections::BTreeMap;

/// Who consumes on a channel of its own.
pub(super) struct Consumer {
    /// Tells it from an earlier one of the channel.
    serial: usize,
    queue: QueueIndex,
    no_ack: bool,
    prefetch_count: usize,
    unacknowledged: usize,
}

/// A message that a client holds.
pub(super) struct Held {
    queue: QueueIndex,
    /// Tells that from later ones of its name.
    serial: usize,
    place: Place,
    entry: Entry,
    /// To whom it was given, if it was not got.
    consumer: Option<usize>,
}

/// A delivery that is due: its tag, whether it is flagged as redelivered, and what comes.
pub type Given = (u64, bool, Seen);

/// A channel, and a tag of it.
pub type HeldTag = (u16, u64);

impl Shadow {
    pub fn held_tags(&self) -> Vec<HeldTag> {
        self.held.keys().copied().collect()
    }

    pub fn unacknowledged(&self) -> usize {
        self.held.len()
    }

    pub fn holds_of(&self, queue: QueueIndex) -> bool {
        self.held.values().any(|held| held.queue == queue)
    }

    fn next_tag(&mut self, channel: u16) -> u64 {
        let last = self.last_tags.entry(channel).or_default();
        *last += 1;
        *last
    }

    /// `basic.get`: its tag, what comes, and how many are left.
    pub fn get(&mut self, channel: u16, index: QueueIndex, no_ack: bool) -> Option<(u64, Entry, usize)> {
        self.drop_expired(index);
        self.queues[index].last_used_ms = self.now_ms;
        let (_, (place, entry)) = self.queues[index].ready.pop_first()?;
        self.drop_expired(index);
        let tag = self.next_tag(channel);
        let seen = entry.clone();
        let serial = self.queues[index].serial;
        match no_ack {
            true => self.removed(index, place, &entry),
            false => _ = self.held.insert((channel, tag), Held { queue: index, serial, place, entry, consumer: None }),
        }
        Some((tag, seen, self.queues[index].ready.len()))
    }

    /// Whether the channel has a consumer, and of which queue.
    pub fn consumes(&self, channel: u16) -> Option<QueueIndex> {
        self.consumers.get(&channel).map(|consumer| consumer.queue)
    }

    /// Whether another consumer makes it nobody's guess who is next: they wait for the active one to leave.
    pub fn admits(&self, index: QueueIndex) -> bool {
        self.is_there(index) && (self.specs[index].has_single_active || self.queues[index].consumers.is_empty())
    }

    pub fn consume(&mut self, channel: u16, queue: QueueIndex, no_ack: bool, prefetch_count: usize) {
        self.last_consumer += 1;
        let serial = self.last_consumer;
        self.consumers.insert(channel, Consumer { serial, queue, no_ack, prefetch_count, unacknowledged: 0 });
        self.queues[queue].consumers.push(channel);
    }

    pub fn cancel(&mut self, channel: u16) {
        if let Some(consumer) = self.consumers.remove(&channel) {
            let queue = &mut self.queues[consumer.queue];
            queue.consumers.retain(|other| *other != channel);
            if queue.consumers.is_empty() {
                queue.last_used_ms = self.now_ms;
            }
        }
    }

    /// Who is given the next message of a queue: of several consumers the one who came first.
    pub(super) fn ready_consumer(&self, index: QueueIndex) -> Option<u16> {
        let channel = *self.queues[index].consumers.first()?;
        let Consumer { no_ack, prefetch_count, unacknowledged, .. } = self.consumers[&channel];
        (no_ack || prefetch_count == 0 || unacknowledged < prefetch_count).then_some(channel)
    }

    pub(super) fn takes_for_good(&self, channel: u16) -> bool {
        self.consumers[&channel].no_ack
    }

    /// A consumer is given a message, which has no place if it never waited and nobody keeps it.
    pub(super) fn give(&mut self, channel: u16, queue: QueueIndex, place: Option<Place>, entry: Entry) {
        let tag = self.next_tag(channel);
        let given = (tag, entry.redelivered, entry.seen(self.counts_returns(queue)));
        self.given.entry(channel).or_default().push(given);
        let consumer = self.consumers.get_mut(&channel).expect("it was found");
        match place {
            Some(place) if !consumer.no_ack => {
                consumer.unacknowledged += 1;
                let (serial, consumer) = (self.queues[queue].serial, Some(consumer.serial));
                self.held.insert((channel, tag), Held { queue, serial, place, entry, consumer });
            }
            Some(place) => self.removed(queue, place, &entry),
            None => {}
        }
    }

    /// Gives a queue's consumers what they have credit for.
    pub(super) fn deliver(&mut self, index: QueueIndex) {
        while let Some(channel) = self.ready_consumer(index)
            && let Some((_, (place, entry))) = self.queues[index].ready.pop_first()
        {
            if entry.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
                self.die(index, Some(place), entry, "expired");
            } else {
                self.give(channel, index, Some(place), entry);
            }
        }
    }

    /// What was given since the last time, on each channel in this order.
    pub fn take_given(&mut self) -> BTreeMap<u16, Vec<Given>> {
        std::mem::take(&mut self.given)
    }

    /// None when its queue is gone.
    fn let_go(&mut self, tag: HeldTag) -> Option<Held> {
        let held = self.held.remove(&tag).expect("it is held");
        if let Some(consumer) = self.consumers.get_mut(&tag.0)
            && held.consumer == Some(consumer.serial)
        {
            consumer.unacknowledged -= 1;
        }
        (self.queues[held.queue].serial == held.serial).then_some(held)
    }

    pub fn acknowledge(&mut self, tag: HeldTag) {
        let Some(Held { queue, place, entry, .. }) = self.let_go(tag) else { return };
        self.removed(queue, place, &entry);
    }

    pub fn reject(&mut self, tag: HeldTag) {
        let Some(Held { queue, place, entry, .. }) = self.let_go(tag) else { return };
        self.die(queue, Some(place), entry, "rejected");
    }

    pub fn requeue(&mut self, tag: HeldTag) {
        let Some(Held { queue, place, mut entry, .. }) = self.let_go(tag) else { return };
        entry.redelivered = true;
        entry.returns += 1;
        let is_quorum = self.counts_returns(queue);
        let of_queue = &mut self.queues[queue];
        if of_queue.behaviour.delivery_limit.is_some_and(|limit| entry.returns > limit) {
            return self.die(queue, Some(place), entry, "delivery_limit");
        }
        let mut turn = place.turn();
        if is_quorum {
            (turn.is_in_its_place, turn.number) = (false, of_queue.next_return);
            of_queue.next_return += 1;
        }
        let returns = entry.returns;
        if let Some((min_ms, max_ms)) = self.specs[queue].retry_ms {
            let ready_at_ms = self.now_ms + (min_ms * returns).min(max_ms);
            of_queue.retries.insert((ready_at_ms, turn.number), (place, entry));
            self.tell(Told::Returned(queue, place, returns));
            return;
        }
        of_queue.ready.insert(turn, (place, entry));
        if is_quorum {
            self.tell(Told::Returned(queue, place, returns));
        }
        self.drop_overflow(queue);
    }

    /// What came back and waited is ready again, in front of all others.
    pub(super) fn retry(&mut self, index: QueueIndex) {
        let queue = &mut self.queues[index];
        while let Some(first) = queue.retries.first_entry()
            && first.key().0 <= self.now_ms
        {
            let (_, (place, entry)) = first.remove_entry();
            let turn = Turn { is_in_its_place: false, number: queue.next_return, ..place.turn() };
            queue.next_return += 1;
            queue.ready.insert(turn, (place, entry));
        }
    }

    /// Lets a queue's consumers go, and says where they were.
    pub(super) fn cancel_all(&mut self, index: QueueIndex) -> Vec<u16> {
        let channels = std::mem::take(&mut self.queues[index].consumers);
        channels.iter().for_each(|channel| _ = self.consumers.remove(channel));
        channels
    }

    /// The client closes a channel: its consumer is gone, and what was given on it goes back.
    pub fn close(&mut self, channel: u16) {
        self.cancel(channel);
        let tags: Vec<HeldTag> = self.held.range((channel, 0)..=(channel, u64::MAX)).map(|(tag, _)| *tag).collect();
        tags.into_iter().for_each(|tag| self.requeue(tag));
        self.last_tags.remove(&channel);
    }
}
