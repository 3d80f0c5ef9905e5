//! Dead letters: messages that left their queue another way than by being acknowledged, on their way to the exchange that
//! the queue names for them.
//!
//! They wait on one list, in the order in which they died, so that no command and no expiry grows with what it leads to.
//! [`pump`](Broker::pump) publishes some of them; what a turn may do is counted in the queues that they enter, and a letter
//! for more queues than that goes on in the next one.
//!
//! ```text
//!   rejected, expired, too much, back too often ──► waiting ──► underway ──► in every queue that it is for ──► removed
//!                          ▲                           │
//!                          └── the list is long ───────┘ who makes letters by himself is held up: queues with a dead-letter
//!                                                        exchange neither deliver nor expire until it is shorter
//! ```
//!
//! The log is told that a letter is in its new queues before it is told that the message left the old one: a crash between
//! the two brings the message back where it was, marked as delivered before. A queue that is purged keeps that order for
//! its letters. One that is deleted publishes what it has on the list first, up to a limit; letters beyond that are
//! published all the same, but a crash in that moment loses them with their queue, and so it does for a queue that goes with
//! its last consumer. RabbitMQ promises no more for letters *at most once*, and the others are of queues that go only when
//! somebody deletes them. Letters belong to no channel: whoever
//! rejected them may go. A stop in order publishes them all. A virtual host that is deleted takes its letters along.
//!
//! A letter of a queue that asks for it *at least once* is not gone until every queue that it is for has it. Where there is
//! no exchange, no queue, or one that refuses it, it waits and is tried again, each time for the queues that do not have it
//! yet. Until then it is its queue's in the log: after a restart, it is ready there. A queue that has many such letters is
//! held up by itself; deleted, it takes them along.
//!
//! The exchange is looked for when a letter is published, and nobody is asked for permission: that was done when the queue
//! was declared. Without the exchange, or where nothing is bound, a letter is dropped, and so it is for a queue that it
//! would come round to by itself.

mod desk;
mod list;
#[cfg(test)]
mod tests;

pub(super) use list::{DeadLetters, Reason};

use super::exchange::QueueId;
use super::flow::{Kept, tell_removed};
use super::message::{Content, Death, MessageRef, NEVER};
use super::publish::{Publication, Target};
use super::queue::{DeadLettering, Taken};
use super::store::{Returns, Store};
use super::unacknowledged::Delivered;
use super::{Broker, Effects, QueueKey, VhostKey};
use crate::protocol::encoder::put_short_string;
use crate::protocol::frame::FRAME_END;
use crate::protocol::{FieldValueRef, PropertiesRef, ShortString};
use desk::Desk;
use list::{DeadLetter, ENTRIES_PER_TURN, Source, Underway, Untaken, Waiting};
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes of a letter's properties that count as another queue entered.
const ENTRY_PROPERTIES_BYTES: usize = 1024;

/// Who makes letters by himself is held up from so many on the list on, until they are half as many: two turns' work, which
/// the processor's cache has room for.
const LONG: usize = 4 * 1024;

/// A queue is held up by itself from so many letters of its own on, until they are half as many: those that nobody takes.
const MANY: usize = 16 * 1024;

/// Queues that are let go on in one turn.
const RELEASED_PER_TURN: usize = 1024;

/// Queues that letters may enter before a queue is deleted that has some on the list.
const ENTRIES_BEFORE_DELETION: usize = 4 * ENTRIES_PER_TURN;

impl<S: Store> Broker<S> {
    /// Whether messages that left queues otherwise than acknowledged are still on their way.
    pub fn has_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// A message that was counted out of a queue with a dead-letter exchange is to be published there.
    pub(super) fn dead_letter(&mut self, id: QueueId, taken: Taken, reason: Reason) {
        self.send_letter(id, taken, reason, true);
    }

    /// A message that a queue with a dead-letter exchange refused is to be published there.
    pub(super) fn dead_letter_refused(&mut self, id: QueueId, message: MessageRef) {
        let (redelivered, returns) = (false, Returns::default());
        let taken = Taken { message, expires_at_ms: NEVER, sequence: 0, redelivered, returns, level: 0 };
        self.send_letter(id, taken, Reason::MaxLength, false);
    }

    fn send_letter(&mut self, id: QueueId, taken: Taken, reason: Reason, was_there: bool) {
        let queue = &self.queues[id.0 as usize];
        let Some(to) = &queue.behaviour.dead_letters else { return };
        let source = self.source(id, to);
        self.queues[id.0 as usize].dead_letters += 1;
        self.dead_letters.length += 1;
        self.dead_letters.waiting.push_back(Waiting::One(DeadLetter { source, taken, reason, was_there }));
    }

    /// As [`dead_letter`](Self::dead_letter), for `count` deliveries that a client rejected together.
    pub(super) fn dead_letters_of_run(&mut self, id: QueueId, rejected: VecDeque<Option<Delivered>>, count: usize) {
        let Some(to) = &self.queues[id.0 as usize].behaviour.dead_letters else { return };
        let source = self.source(id, to);
        self.queues[id.0 as usize].dead_letters += count;
        self.dead_letters.length += count;
        self.dead_letters.waiting.push_back(Waiting::Run { source, rejected });
    }

    /// What a letter has to know of the queue that it leaves: mostly the one before left the same.
    fn source(&self, id: QueueId, to: &Rc<DeadLettering>) -> Rc<Source> {
        let queue = &self.queues[id.0 as usize];
        match self.dead_letters.waiting.back().map(Waiting::source) {
            Some(source) if source.queue == queue.key(id) && Rc::ptr_eq(&source.to, to) => Rc::clone(source),
            _ => Rc::new(Source {
                queue: queue.key(id),
                vhost: self.vhost_key(queue.properties.vhost),
                name: queue.properties.name.clone(),
                to: Rc::clone(to),
            }),
        }
    }

    /// Whether a queue must make no dead letters now. If so, it will be let go on.
    #[inline]
    pub(super) fn is_held_up(&mut self, id: QueueId) -> bool {
        self.queue(id).behaviour.dead_letters.is_some() && self.holds_up(id)
    }

    #[cold]
    fn holds_up(&mut self, id: QueueId) -> bool {
        let Self { queues, dead_letters, .. } = self;
        let queue = &mut queues[id.0 as usize];
        if !queue.held_up {
            queue.held_up = dead_letters.length >= LONG || queue.dead_letters >= MANY;
            if queue.held_up {
                dead_letters.held_up.push_back(queue.key(id));
            }
        }
        queue.held_up
    }

    fn let_go_on(&mut self) {
        if self.dead_letters.length > LONG / 2 {
            return;
        }
        for _ in 0..RELEASED_PER_TURN {
            let Some(key) = self.dead_letters.held_up.pop_front() else { return };
            let Some(id) = self.queue_of(key) else { continue };
            if self.queue(id).dead_letters > MANY / 2 {
                // It is let go on when it has fewer letters itself.
                continue;
            }
            self.queue_mut(id).held_up = false;
            self.touch(id);
            self.schedule_expiry(id);
            self.overflow_goes_on(id);
        }
    }

    /// Publishes some of those that wait.
    pub(super) fn publish_dead_letters(&mut self, effects: &mut impl Effects) {
        self.dead_letters.entries_left = self.publish_letters(self.dead_letters.entries_left, effects);
        self.let_go_on();
    }

    /// Publishes letters that enter `entries` queues, or a few more, and says how many of those are left.
    fn publish_letters(&mut self, mut entries: usize, effects: &mut impl Effects) -> usize {
        let mut desk = std::mem::take(&mut self.dead_letters.desk);
        while entries > 0 {
            let entered = if let Some(underway) = self.dead_letters.underway.take() {
                self.go_on_with(underway, entries, effects)
            } else if let Some(letter) = self.dead_letters.next_waiting() {
                self.publish_letter(letter, Vec::new(), &mut desk, entries, effects)
            } else if let Some(untaken) = self.dead_letters.next_untaken(self.now_ms) {
                self.try_again(untaken, &mut desk, entries, effects)
            } else {
                break;
            };
            entries = entries.saturating_sub(1 + entered);
        }
        self.dead_letters.desk = desk;
        entries
    }

    /// Publishes what a queue has on the list, or much of it: the log is about to forget the queue.
    #[cold]
    pub(super) fn publish_letters_of(&mut self, id: QueueId, effects: &mut impl Effects) {
        let mut entries = ENTRIES_BEFORE_DELETION;
        while entries > 0 && self.queue(id).dead_letters > 0 && self.dead_letters.length > 0 {
            let some = entries.min(ENTRIES_PER_TURN);
            entries -= some;
            entries += self.publish_letters(some, effects);
        }
    }

    /// Publishes a letter, as far as it enters at most `most` queues, to those that have not taken it. Says what that counted.
    fn publish_letter(
        &mut self,
        letter: DeadLetter,
        mut taken_by: Vec<QueueKey>,
        desk: &mut Desk,
        most: usize,
        effects: &mut impl Effects,
    ) -> usize {
        let header_frame_length = self.address_letter(&letter, desk, effects);
        let found = desk.queues.len();
        if !taken_by.is_empty() {
            desk.forget_last();
            taken_by.sort_unstable();
            desk.queues.retain(|id| taken_by.binary_search(&self.queue_key(*id)).is_err());
        }
        let old = letter.taken.message.content();
        let content =
            Content { address: &desk.address, frames: &desk.frames, header_frame_length, shared_body: old.shared_body };
        let attributes = letter.taken.message.attributes();
        // To find that a queue has it counts as much as to enter it.
        let cost = header_frame_length / ENTRY_PROPERTIES_BYTES + found - desk.queues.len();
        if desk.queues.len() > most || letter.is_sure() {
            if desk.queues.is_empty() {
                self.letter_has_gone(letter, taken_by.is_empty() && !desk.is_reply, taken_by);
                return cost;
            }
            let message = MessageRef::new(&content, attributes);
            let queues = desk.queues.iter().map(|id| self.queue_key(*id)).collect();
            let underway = Underway { letter, message, queues, entered: 0, refused: false, taken_by };
            return cost + self.go_on_with(underway, most, effects);
        }
        let publication = Publication { content, attributes, mandatory: false };
        let (mut kept, is_only_queue) = (Kept::default(), desk.queues.len() == 1);
        for &queue in &desk.queues {
            self.enter(queue, &publication, is_only_queue, &mut kept, effects);
        }
        self.letter_has_gone(letter, false, taken_by);
        cost + desk.queues.len()
    }

    /// Puts a letter in at most `most` of the queues that it has not entered yet, and says in how many.
    fn go_on_with(&mut self, mut underway: Underway, most: usize, effects: &mut impl Effects) -> usize {
        let Underway { letter, message, queues, entered, refused, taken_by } = &mut underway;
        let publication =
            Publication { content: message.content(), attributes: message.attributes(), mandatory: false };
        // The log may have begun a new batch since, so that it is told of the content again.
        let mut kept = Kept { message: Some(message.clone()), ..Kept::default() };
        let until = queues.len().min(entered.saturating_add(most));
        let count = until - *entered;
        for &key in &queues[*entered..until] {
            let Some(queue) = self.queue_of(key) else { continue };
            kept.refused = false;
            self.enter(queue, &publication, false, &mut kept, effects);
            *refused |= kept.refused;
            if letter.is_sure() && !kept.refused {
                taken_by.push(key);
            }
        }
        *entered = until;
        if until == queues.len() {
            let Underway { letter, refused, taken_by, .. } = underway;
            self.letter_has_gone(letter, refused, taken_by);
        } else {
            self.dead_letters.underway = Some(underway);
        }
        count
    }

    /// Publishes a letter again that was not taken, as its queue has it by now.
    fn try_again(&mut self, untaken: Untaken, desk: &mut Desk, most: usize, effects: &mut impl Effects) -> usize {
        let Untaken { mut letter, taken_by } = untaken;
        let Some(id) = self.queue_of(letter.source.queue) else {
            self.dead_letters.went();
            return 0;
        };
        let before = self.dead_letters.untaken.len();
        let entered = match self.queue(id).behaviour.dead_letters.clone() {
            Some(to) => {
                if !Rc::ptr_eq(&to, &letter.source.to) {
                    letter.source = Rc::new(Source { to, ..Source::clone(&letter.source) });
                }
                self.publish_letter(letter, taken_by, desk, most, effects)
            }
            // It gives up its letters.
            None => {
                self.letter_has_gone(letter, false, taken_by);
                0
            }
        };
        if self.dead_letters.untaken.len() == before {
            self.dead_letters.went();
        }
        entered
    }

    /// Writes a letter's address and frames, and finds its queues; one that is a reply is delivered. Says how long its content
    /// header frame is.
    fn address_letter(&mut self, letter: &DeadLetter, desk: &mut Desk, effects: &mut impl Effects) -> usize {
        let old = letter.taken.message.content();
        let time_s = (self.settings.unix_start_ms + self.now_ms) / 1000;
        let at = (time_s, self.epoch());
        if let Some(header_frame_length) = desk.write_like_last(letter, &old, at) {
            return header_frame_length;
        }
        desk.forget_last();
        let (header_frame_length, is_known) = self.address_another(letter, time_s, desk, effects);
        if is_known {
            desk.keep_last(letter, &old, at, header_frame_length);
        }
        header_frame_length
    }

    /// As [`address_letter`](Self::address_letter), for a letter that is not like the last. Says besides whether all that are
    /// like it go where it goes until the epoch ends.
    fn address_another(
        &mut self,
        letter: &DeadLetter,
        time_s: u64,
        desk: &mut Desk,
        effects: &mut impl Effects,
    ) -> (usize, bool) {
        let Desk { writer, address, frames, extra_keys, queues, is_reply, .. } = desk;
        queues.clear();
        *is_reply = false;
        let DeadLetter { source, taken, reason, .. } = letter;
        let VhostKey { id: vhost, .. } = source.vhost;
        if !self.has_vhost(vhost) || self.vhost_key(vhost) != source.vhost {
            return (0, false);
        }
        let Some(exchange) = self.exchange_in(vhost, &source.to.exchange) else { return (0, false) };
        let old = taken.message.content();
        let routing_key = source.to.routing_key.as_deref().unwrap_or(old.routing_key());
        address.clear();
        put_short_string(address, &source.to.exchange);
        put_short_string(address, routing_key);
        address.push(FRAME_END);
        let death = Death {
            reason: reason.name().as_bytes(),
            queue: &source.name,
            exchange: old.exchange(),
            routing_key: old.routing_key(),
            time_s,
            has_new_key: source.to.routing_key.is_some(),
        };
        frames.clear();
        let header_frame_length = writer.write_frames(&old, &death, frames);
        extra_keys.clear();
        if !death.has_new_key {
            copy_keys(old.properties(), extra_keys);
        }
        let content =
            Content { address: &*address, frames: &*frames, header_frame_length, shared_body: old.shared_body };
        let target = Target { exchange, extra_keys: &*extra_keys };
        let publication = Publication { content, attributes: taken.message.attributes(), mandatory: false };
        let (reply_channel, by_key_alone) = self.route_internally(vhost, target, &publication, queues);
        if let Some(reply_channel) = reply_channel {
            self.deliver_reply(reply_channel, &publication.content, effects);
            *is_reply = true;
        }
        // Who waits for replies comes and goes in one epoch.
        let is_known = by_key_alone && !queues.is_empty();
        // One letter is routed after the one before has gone.
        self.dead_letters.noted.clear();
        self.dead_letters.noted.append(self.vhosts.walks_mut().noted());
        if *reason != Reason::Rejected {
            let names = |id: &QueueId| &self.queue(*id).properties.name;
            queues.retain(|id| !writer.goes_round(old.properties(), &death, names(id)));
        }
        (header_frame_length, is_known)
    }

    /// A letter is in all queues that take it. One that has to be in all that it is for waits when it `is_wanting` there.
    fn letter_has_gone(&mut self, letter: DeadLetter, is_wanting: bool, taken_by: Vec<QueueKey>) {
        if !self.dead_letters.noted.is_empty() {
            let noted = std::mem::take(&mut self.dead_letters.noted);
            match is_wanting && letter.is_sure() {
                true => self.take_values_back(letter.source.vhost.id, &noted),
                false => _ = self.keep_values(letter.source.vhost.id, &noted),
            }
        }
        let Some(id) = self.queue_of(letter.source.queue) else { return };
        if is_wanting && letter.is_sure() {
            return self.dead_letters.keep(Untaken { letter, taken_by }, self.now_ms);
        }
        let Self { queues, store, dead_letters, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        // One that is given up has no exchange any more.
        if letter.is_sure() && queue.behaviour.dead_letters.is_some() {
            books.dead_letters_mut().confirm();
        }
        queue.dead_letters -= 1;
        if queue.held_up && queue.dead_letters == MANY / 2 {
            dead_letters.held_up.push_back(queue.key(id));
        }
        if letter.was_there {
            tell_removed(store, queue, &letter.taken);
        }
    }
}

/// Routing keys of a message's CC header.
fn copy_keys(properties: &[u8], keys: &mut Vec<ShortString>) {
    let headers = PropertiesRef::parse(properties).ok().and_then(|properties| properties.headers);
    if let Some(FieldValueRef::Array(copies)) = headers.and_then(|headers| headers.get(b"CC")) {
        keys.extend(copies.iter().filter_map(|value| match value {
            FieldValueRef::LongString(key) => ShortString::new(key),
            _ => None,
        }));
    }
}
