//! A queue's waiting messages: a ring in publish order, and the returned ones with the places they came from.
//!
//! Sequences are given in publish order. A message that was taken keeps its sequence, so that it returns to
//! its original place: ahead of everything that was never taken. Of a ring that is longer than its share of memory, the
//! middle is [elsewhere](super::paged); its head comes back in time when [`refill`](Backlog::refill) is called. This
//! module never looks at consumers.

use super::chunks::Chunks;
use super::paged::{AskedFor, Paged};
use super::waiting::Waiting;
use crate::broker::message::{Attributes, Content, MessageRef, with_delivery_count};
use crate::broker::page::{Entry, Page};
use crate::broker::store::{PageId, Pages, Returns};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Chunks at the head that stay in memory while messages behind them leave it.
const KEPT_CHUNKS: usize = 2;

/// A chunk whose messages take less than this, in bytes, is not worth a page.
const PAGE_WORTH_BYTES: usize = 2 << 10;

/// Chunks of messages as such before others are packed: a queue that its consumers keep short works in the processor's
/// cache, where an allocation costs less than packing does. Beyond it, it is the bytes that cost.
const LOOSE_CHUNKS: usize = 32;

/// Larger messages are not packed, in bytes of their frames: copying them twice would cost more than it saves.
const PACKED_FRAMES_MAX_BYTES: usize = 512;

/// A message that left its place, with what is needed to return it there.
#[derive(Debug)]
pub struct Taken {
    pub message: MessageRef,
    pub expires_at_ms: u64,
    pub sequence: u64,
    /// It was given to a consumer before.
    pub redelivered: bool,
    /// How often it came back to a queue that counts that.
    pub returns: Returns,
    /// Of which of the queue's levels it is: 0 in a queue with one.
    pub level: u8,
}

/// Where a message was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakenFrom {
    /// From those that had come back, among which it had this key.
    Returned(u64),
    /// From those that never had.
    Ring,
}

/// A message that is looked at where it lies.
pub struct Seen<'a> {
    pub entry: Entry<'a>,
    /// It was given to somebody before.
    pub redelivered: bool,
    pub level: u8,
}

/// Why a message is not [taken out](Backlog::take_out).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// It is there no more.
    Gone,
    /// There are too many before it.
    TooFar,
    /// It is not in memory.
    Away,
}

/// Why nothing more is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looked {
    /// It was enough.
    Enough,
    /// That was all.
    All,
    /// What comes next is not in memory.
    Away,
}

/// Which messages may leave memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageOut {
    /// Those of full chunks behind the head.
    Middle,
    /// All, the head's too: nobody takes from the queue.
    All,
}

#[derive(Default)]
pub struct Backlog {
    /// Never-taken messages in order; only the beginning of them while there are pages.
    head: Chunks,
    paged: Option<Box<Paged>>,
    /// Never-taken messages, wherever they are.
    ring_length: usize,
    /// The sequence that the next message gets.
    next_sequence: u64,
    /// Messages that came back, in the order in which they leave: by sequence, or by when they came. All of them are older
    /// than the ring's. A few may be here that nobody was given, as one behind them was [taken out](Self::take_out).
    returned: BTreeMap<u64, Taken>,
    /// Bytes of their bodies.
    returned_body_bytes: u64,
    /// The key of the last message that came back [behind the others](Self::put_back_behind).
    put_back_behind: u64,
    /// Messages below this sequence may have been delivered in an earlier run of the broker.
    redelivered_below: u64,
    /// How often those of them that are in the ring came back, where that was counted.
    counted: BTreeMap<u64, Returns>,
    /// Which of its queue's levels it is: 0 in a queue with one.
    level: u8,
    /// Bytes of the bodies of all messages but unloaded ones, while somebody asks for them.
    body_bytes: Option<u64>,
    /// Some came back, or body bytes are counted: more is to be done for a message that is taken.
    takes_with_care: bool,
}

impl Backlog {
    pub(super) fn of_level(level: u8) -> Self {
        Self { level, ..Self::default() }
    }

    #[inline]
    pub fn level(&self) -> u8 {
        self.level
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ring_length + self.returned.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring_length == 0 && self.returned.is_empty()
    }

    /// Numbers messages that are handed over without waiting, and says the first one's sequence. Only for an empty
    /// backlog.
    #[inline]
    pub fn pass_through(&mut self, count: u64) -> u64 {
        debug_assert!(self.is_empty());
        let sequence = self.next_sequence;
        self.next_sequence += count;
        sequence
    }

    /// The sequence that the next message gets.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Appends a message with the [next sequence](Self::next_sequence); whether it begins a chunk of the ring, so that
    /// the chunks before it may [leave memory](Self::page_out).
    #[inline]
    pub fn push(&mut self, message: MessageRef, expires_at_ms: u64) -> bool {
        let sequence = self.count_push();
        self.last_chunks().push(Waiting { message, sequence, expires_at_ms })
    }

    /// Whether a message that no other queue shares is better [pushed packed](Self::push_packed).
    #[inline]
    pub fn packs(&self, content: &Content<'_>) -> bool {
        if content.shared_body.is_some() || content.frames.len() > PACKED_FRAMES_MAX_BYTES {
            return false;
        }
        match &self.paged {
            None => self.head.packs(LOOSE_CHUNKS),
            Some(paged) => paged.tail.packs(0),
        }
    }

    /// [Appends](Self::push) a message as bytes; it will be another message when it is taken.
    #[inline]
    pub fn push_packed(&mut self, content: &Content<'_>, attributes: Attributes, expires_at_ms: u64) -> bool {
        let sequence = self.count_push();
        self.last_chunks().push_packed(&Entry::new(content, attributes, sequence, expires_at_ms))
    }

    #[inline]
    fn count_push(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.ring_length += 1;
        sequence
    }

    #[inline]
    fn last_chunks(&mut self) -> &mut Chunks {
        match &mut self.paged {
            None => &mut self.head,
            Some(paged) => &mut paged.tail,
        }
    }

    /// Takes the message at the head; `None` when there is none, or when it [is not in memory](Self::head_is_away).
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        if self.takes_with_care {
            return self.pop_with_care();
        }
        self.pop_from_ring()
    }

    /// Takes the message at the head, if it expires by then and is in memory.
    #[inline]
    pub fn pop_expired(&mut self, by_ms: u64) -> Option<Taken> {
        if self.takes_with_care {
            return if self.head_expires_at_ms() <= by_ms { self.pop_with_care() } else { None };
        }
        let waiting = self.head.pop_expired(by_ms)?;
        Some(self.taken_from_ring(waiting))
    }

    /// Inlined wherever it is called, as a message is moved once less then: it is on the way of each that waited.
    #[inline(always)]
    fn pop_from_ring(&mut self) -> Option<Taken> {
        let waiting = self.head.pop()?;
        Some(self.taken_from_ring(waiting))
    }

    #[inline(always)]
    fn taken_from_ring(&mut self, waiting: Waiting) -> Taken {
        let Waiting { message, sequence, expires_at_ms } = waiting;
        self.ring_length -= 1;
        let (redelivered, returns, level) = (false, Returns::default(), self.level);
        let taken = Taken { message, expires_at_ms, sequence, redelivered, returns, level };
        if sequence < self.redelivered_below { self.of_earlier_run(taken) } else { taken }
    }

    #[cold]
    fn pop_with_care(&mut self) -> Option<Taken> {
        let taken = if self.returned.is_empty() { self.pop_from_ring() } else { self.pop_returned() }?;
        if let Some(bytes) = &mut self.body_bytes {
            *bytes -= taken.message.body_bytes();
        }
        self.note_care();
        Some(taken)
    }

    fn pop_returned(&mut self) -> Option<Taken> {
        let (_, taken) = self.returned.pop_first()?;
        self.returned_body_bytes -= taken.message.body_bytes();
        Some(taken)
    }

    /// Where the message at the head is.
    pub fn head_is_from(&self) -> TakenFrom {
        self.returned.first_key_value().map_or(TakenFrom::Ring, |(key, _)| TakenFrom::Returned(*key))
    }

    /// Takes a message that need not be at the head, out of a level that [puts back behind](Self::put_back_behind) or one
    /// that does not. Those before it are among the returned ones then, in their places and as untouched as they were: of
    /// the ring it is taken only if these are `most` at most with it, as they never leave memory. Says where it was.
    ///
    /// # Errors
    /// Why it is not taken: then nothing has happened.
    pub fn take_out(&mut self, sequence: u64, most: usize, behind: bool) -> Result<(Taken, TakenFrom), NotTaken> {
        let mut first_returned = self.returned.iter().take(most);
        let key = match behind {
            true => first_returned.find(|(_, one)| one.sequence == sequence).map(|(key, _)| *key),
            false => Some(sequence),
        };
        if let Some((key, taken)) = key.and_then(|key| self.returned.remove_entry(&key)) {
            self.returned_body_bytes -= taken.message.body_bytes();
            self.uncount(&taken);
            return Ok((taken, TakenFrom::Returned(key)));
        }
        if self.ring_range().is_none_or(|(first, last)| !(first..=last).contains(&sequence)) {
            return Err(if behind && self.returned.len() > most { NotTaken::TooFar } else { NotTaken::Gone });
        }
        let most = most.checked_sub(self.returned.len()).ok_or(NotTaken::TooFar)?;
        for _ in 0..self.before_in_ring(sequence, most)? {
            let Some(taken) = self.pop_from_ring() else { break };
            self.uncount(&taken);
            self.put_back_untouched(taken, behind, TakenFrom::Ring);
        }
        let taken = self.pop_from_ring().ok_or(NotTaken::Gone)?;
        self.uncount(&taken);
        Ok((taken, TakenFrom::Ring))
    }

    /// How many of the ring come before one of it, `most` at most.
    fn before_in_ring(&self, sequence: u64, most: usize) -> Result<usize, NotTaken> {
        let (mut before, mut found) = (0, None);
        self.head.look(&mut 0, |entry| {
            match entry.sequence.cmp(&sequence) {
                Ordering::Less if before == most => found = Some(Err(NotTaken::TooFar)),
                Ordering::Less => before += 1,
                Ordering::Equal => found = Some(Ok(before)),
                Ordering::Greater => found = Some(Err(NotTaken::Gone)),
            }
            found.is_none()
        });
        found.unwrap_or(Err(if self.is_paged() { NotTaken::Away } else { NotTaken::Gone }))
    }

    fn uncount(&mut self, taken: &Taken) {
        if let Some(bytes) = &mut self.body_bytes {
            *bytes -= taken.message.body_bytes();
        }
        self.note_care();
    }

    /// Returns a taken message that nobody was given to its place. Where messages are put back
    /// [behind](Self::put_back_behind) those that are back, one of the ring is, too, and comes before all others of it.
    pub fn put_back_untouched(&mut self, taken: Taken, behind: bool, from: TakenFrom) {
        self.note_returned(&taken);
        let key = match from {
            _ if !behind => taken.sequence,
            TakenFrom::Returned(key) => key,
            TakenFrom::Ring => {
                self.put_back_behind += 1;
                self.put_back_behind
            }
        };
        let previous = self.returned.insert(key, taken);
        debug_assert!(previous.is_none(), "a sequence is in one place at a time");
    }

    #[cold]
    fn of_earlier_run(&mut self, taken: Taken) -> Taken {
        let redelivered = true;
        match self.counted.remove(&taken.sequence) {
            None => Taken { redelivered, ..taken },
            Some(returns) => {
                let message = with_delivery_count(&taken.message, returns.times());
                Taken { message, returns, redelivered, ..taken }
            }
        }
    }

    fn note_returned(&mut self, taken: &Taken) {
        self.takes_with_care = true;
        let body_bytes = taken.message.body_bytes();
        self.returned_body_bytes += body_bytes;
        self.add_body_bytes(body_bytes);
    }

    fn note_care(&mut self) {
        self.takes_with_care = !self.returned.is_empty() || self.body_bytes.is_some();
    }

    /// Returns a taken message, which somebody was given, to its place.
    pub fn put_back(&mut self, taken: Taken) {
        self.put_back_untouched(Taken { redelivered: true, ..taken }, false, TakenFrom::Ring);
    }

    /// Returns a taken message to the front, behind those that came back before it. A backlog does this with all that come
    /// back, or with none.
    pub fn put_back_behind(&mut self, taken: Taken) {
        self.put_back_untouched(Taken { redelivered: true, ..taken }, true, TakenFrom::Ring);
    }

    /// When the head expires: [`NEVER`](crate::broker::message::NEVER) for an empty backlog, a head that doesn't, or one on its way back to memory.
    pub fn head_expires_at_ms(&self) -> u64 {
        if let Some((_, first)) = self.returned.first_key_value() {
            return first.expires_at_ms;
        }
        match &self.paged {
            Some(paged) if self.head.count() == 0 => paged.head_expires_at_ms(),
            _ => self.head.head_expires_at_ms(),
        }
    }

    /// The message at the head, as it lies there; `None` when there is none, or when it is not in memory.
    pub fn head_entry(&self) -> Option<Entry<'_>> {
        match self.returned.first_key_value() {
            Some((_, first)) => Some(Entry::of(&first.message, first.sequence, first.expires_at_ms)),
            None => self.head.front_entry(),
        }
    }

    /// Shows messages in the order in which they leave but for the first `skip`, until `look` has enough.
    pub fn look(&self, skip: &mut usize, look: &mut impl FnMut(Seen<'_>) -> bool) -> Looked {
        let returned = self.returned.values().skip(*skip);
        *skip = skip.saturating_sub(self.returned.len());
        for taken in returned {
            let entry = Entry::of(&taken.message, taken.sequence, taken.expires_at_ms);
            if !look(Seen { entry, redelivered: taken.redelivered, level: self.level }) {
                return Looked::Enough;
            }
        }
        let goes_on = self.head.look(skip, |entry| {
            let redelivered = entry.sequence < self.redelivered_below;
            look(Seen { entry, redelivered, level: self.level })
        });
        match goes_on {
            false => Looked::Enough,
            true if self.is_paged() => Looked::Away,
            true => Looked::All,
        }
    }

    /// Messages below this may have been delivered: those that were taken, and those of earlier runs.
    pub fn delivered_below(&self) -> u64 {
        let untaken = self.first_of_ring().unwrap_or(self.next_sequence);
        untaken.max(self.redelivered_below)
    }

    fn first_of_ring(&self) -> Option<u64> {
        let head = self.head.front().map(|(sequence, _)| sequence);
        head.or_else(|| self.paged.as_ref()?.first_sequence())
    }

    /// The ring's sequences, first to last; what was taken or returned lies before them.
    pub fn ring_range(&self) -> Option<(u64, u64)> {
        let first = self.first_of_ring().filter(|_| self.ring_length > 0)?;
        Some((first, self.next_sequence - 1))
    }

    /// Empties it. What it held is to be [discarded](Self::discard_some).
    pub fn take(&mut self) -> Self {
        // The key of one that is still to be put back is never given again.
        let Self { next_sequence, redelivered_below, put_back_behind, level, .. } = *self;
        let body_bytes = self.body_bytes.map(|_| 0);
        let empty = Self { next_sequence, redelivered_below, put_back_behind, level, body_bytes, ..Self::default() };
        let taken = std::mem::replace(self, empty);
        self.note_care();
        taken
    }

    /// Gives back some of what one held that was [taken](Self::take): `most` messages or a few more. Says how many those
    /// were, and it is 0 when nothing is left. `each` is told the sequences of those that had been returned.
    pub fn discard_some(&mut self, most: usize, store: &mut impl Pages, mut each: impl FnMut(u64)) -> usize {
        let mut count = 0;
        while count < most
            && let Some((_, taken)) = self.returned.pop_first()
        {
            each(taken.sequence);
            count += 1;
        }
        while count < most && self.counted.pop_first().is_some() {
            count += 1;
        }
        count += self.head.discard_some(most.saturating_sub(count));
        match &mut self.paged {
            Some(paged) if count < most => count + paged.discard_some(most - count, store),
            _ => count,
        }
    }

    /// Gives back the room that an empty one keeps for messages to come, but for a few.
    pub(super) fn give_room_back(&mut self) {
        debug_assert!(self.is_empty());
        self.head.give_room_back();
    }

    /// For how many messages there is room without pages.
    #[cfg(test)]
    pub fn room_for_messages(&self) -> usize {
        self.head.room_for_messages()
    }
}

/// How many bytes the bodies have. Nobody pays for it but those queues in which it is counted.
impl Backlog {
    /// Begins to count, or gives it up. Pages and chunks know the sums of what is there.
    pub fn count_body_bytes(&mut self, count: bool) {
        if count == self.body_bytes.is_some() {
            return;
        }
        self.body_bytes = count.then(|| self.body_bytes_there());
        self.note_care();
    }

    fn body_bytes_there(&self) -> u64 {
        self.returned_body_bytes + self.head.body_bytes() + self.paged.as_ref().map_or(0, |paged| paged.body_bytes())
    }

    /// Bytes of the bodies of all messages, counted or found in so many steps, which are lowered by those that it took. `None`:
    /// it would take more, or some messages are still to be loaded.
    pub fn body_bytes_within(&self, steps: &mut usize) -> Option<u64> {
        if self.paged.as_ref().is_some_and(|paged| paged.is_loading()) {
            return None;
        }
        if self.body_bytes.is_some() {
            return self.body_bytes;
        }
        let in_head = self.head.body_bytes_within(steps)?;
        let behind = self.paged.as_ref().map_or(Some(0), |paged| paged.body_bytes_within(steps))?;
        Some(self.returned_body_bytes + in_head + behind)
    }

    pub fn counts_body_bytes(&self) -> bool {
        self.body_bytes.is_some()
    }

    /// What was counted; 0 while nothing is. Messages of the log count from when they are [loaded](Self::load).
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.unwrap_or(0)
    }

    /// A message with a body of so many bytes was [pushed](Self::push).
    pub fn add_body_bytes(&mut self, bytes: u64) {
        if let Some(sum) = &mut self.body_bytes {
            *sum += bytes;
        }
    }
}

/// Longer than memory.
impl Backlog {
    /// Some of it is not in memory.
    #[inline]
    pub fn is_paged(&self) -> bool {
        self.paged.is_some()
    }

    /// How many messages are in memory as messages.
    pub fn messages_in_memory(&self) -> usize {
        let away = self.paged.as_ref().map_or(0, |paged| paged.messages_away());
        self.len() - away
    }

    /// There is a head, and it is not in memory.
    pub fn head_is_away(&self) -> bool {
        self.paged.is_some() && self.ring_length > 0 && self.returned.is_empty() && self.head.count() == 0
    }

    /// Whether fewer than `window` chunks of the head are in memory although there are more.
    #[inline]
    pub fn wants_refill(&self, window: usize) -> bool {
        self.paged.is_some() && self.head.count() < window
    }

    /// Takes one chunk of messages out of memory. False when there is none that may leave.
    pub fn page_out(&mut self, which: PageOut, store: &mut impl Pages) -> bool {
        let keep = if which == PageOut::All { 0 } else { KEPT_CHUNKS };
        let open = usize::from(which == PageOut::Middle);
        let worth = PAGE_WORTH_BYTES * usize::from(which == PageOut::All);
        if self.paged.is_none() {
            if self.head.count() <= keep + open || self.head.first_chunk_bytes() < worth {
                return false;
            }
            let tail = self.head.split_off(keep);
            self.paged = Some(Box::new(Paged::with_tail(tail)));
        }
        let Some(paged) = &mut self.paged else { return false };
        if paged.tail.count() > open && paged.tail.first_chunk_bytes() >= worth {
            return paged.page_out_tail(store);
        }
        if paged.page_out_loaded(keep, store) {
            return true;
        }
        if which == PageOut::All
            && !paged.is_asked_for()
            && self.head.first_chunk_bytes() >= worth
            && let Some(chunk) = self.head.pop_last_chunk()
        {
            paged.page_out_head(chunk, store);
            return true;
        }
        false
    }

    /// Brings the first `window` chunks of the ring back into memory, as far as they are away. Says which pages have to
    /// [arrive](Self::arrived) for that.
    pub fn refill(&mut self, window: usize, store: &mut impl Pages) -> Vec<AskedFor> {
        let Some(paged) = &mut self.paged else { return Vec::new() };
        let asked = paged.refill(&mut self.head, window, store);
        self.end_paging();
        asked
    }

    /// Whether a page was asked for that has not arrived.
    pub(super) fn awaits(&self, page: PageId) -> bool {
        self.paged.as_ref().is_some_and(|paged| paged.awaits(page))
    }

    /// A page that was asked for. Of a backlog that was cleared since, it is not wanted any more.
    pub fn arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        let Some(paged) = &mut self.paged else { return };
        if paged.arrived(page, bytes, &mut self.head) {
            self.end_paging();
        }
    }

    fn end_paging(&mut self) {
        if let Some(paged) = self.paged.take_if(|paged| paged.is_over()) {
            self.head.append(paged.tail);
        }
    }
}

/// From the log.
impl Backlog {
    /// So many messages of an earlier run will be [loaded](Self::load). Numbering goes on at `next_sequence`; those below
    /// `delivered_below` may have been delivered before.
    pub fn expect(&mut self, messages: usize, next_sequence: u64, delivered_below: u64) {
        debug_assert!(self.is_empty());
        self.next_sequence = next_sequence;
        // Transient messages had higher sequences, which are given again.
        self.redelivered_below = delivered_below.min(next_sequence);
        if messages > 0 {
            self.ring_length = messages;
            self.paged = Some(Box::new(Paged::unloaded(messages)));
        }
    }

    /// How often some of the messages that are expected came back, by sequence.
    pub fn expect_returns(&mut self, counted: BTreeMap<u64, Returns>) {
        let highest = counted.last_key_value().map_or(0, |(sequence, _)| sequence + 1);
        // They were delivered, whatever else is known.
        self.redelivered_below = self.redelivered_below.max(highest);
        self.counted = counted;
    }

    /// Takes in messages of an earlier run; all of them below `complete_below` have come with it. `keep_here` leaves them
    /// in memory. Says how many messages turned out to be lost.
    pub fn load(&mut self, page: Page, complete_below: u64, keep_here: bool, store: &mut impl Pages) -> usize {
        let Some(paged) = &mut self.paged else { return 0 };
        if let Some(bytes) = &mut self.body_bytes {
            *bytes += page.summary.body_bytes;
        }
        let lost = paged.load(page, complete_below, keep_here, store);
        self.lose(lost)
    }

    /// No more will be loaded. Says how many messages turned out to be lost.
    pub fn loaded(&mut self) -> usize {
        let Some(paged) = &mut self.paged else { return 0 };
        let lost = paged.loaded();
        self.lose(lost)
    }

    fn lose(&mut self, lost: usize) -> usize {
        self.ring_length -= lost;
        self.end_paging();
        lost
    }
}

#[cfg(test)]
mod tests;
