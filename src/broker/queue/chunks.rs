//! A ring of waiting messages in memory, in chunks: a long one grows by chunks and gives them back, so that no push moves
//! the others, and a chunk is what leaves for a page and comes back from one.
//!
//! The first chunks of a queue hold messages as such. Behind them small messages that no other queue shares are
//! [packed](super::packed).

use super::packed::Packed;
use super::waiting::{CHUNK_BYTES, CHUNK_LENGTH, Waiting};
use crate::broker::message::NEVER;
use crate::broker::page::{Entry, Page, PageBuilder, Unpacked};
use std::collections::VecDeque;

/// Room to begin a page with, in bytes: a thousand small messages.
const PAGE_CAPACITY_BYTES: usize = 32 << 10;

/// Messages for which a ring keeps room that is empty for longer.
const FEW_MESSAGES: usize = 16;

/// As many chunks of messages as such don't know what their bodies come to, and are walked over by who asks: queues that are
/// not that long never pay for a sum that only limits of bytes ask for.
const CHUNKS_WALKED_OVER: usize = 8;

/// Messages as such.
#[derive(Default)]
pub(super) struct Loose {
    waiting: VecDeque<Waiting>,
    /// What all its messages took when they came, those among them that have left since.
    memory_bytes: usize,
    /// Its first and its last sequence when it was summed up, and the bytes of the bodies between.
    closed: Option<(u64, u64, u64)>,
}

impl Loose {
    /// Of a page with bodies that messages share. It takes no more messages.
    fn unpack(page: Page) -> Self {
        let memory_bytes = page.bytes.len().max(CHUNK_BYTES);
        let waiting = page.unpack().map(|Unpacked { sequence, expires_at_ms, message }| Waiting {
            message,
            sequence,
            expires_at_ms,
        });
        Self { waiting: waiting.collect(), memory_bytes, closed: None }
    }

    /// Its first and its last sequence.
    fn range(&self) -> Option<(u64, u64)> {
        Some((self.waiting.front()?.sequence, self.waiting.back()?.sequence))
    }

    /// It walks over its messages, unless they are those that it was summed up with.
    fn body_bytes(&self) -> u64 {
        match (self.closed, self.range()) {
            (Some((first, last, bytes)), Some(range)) if range == (first, last) => bytes,
            _ => self.waiting.iter().map(|waiting| waiting.message.body_bytes()).sum(),
        }
    }

    /// Whether its messages are those that it was summed up with.
    fn knows_body_bytes(&self) -> bool {
        self.closed.is_some_and(|(first, last, _)| self.range() == Some((first, last)))
    }

    /// It takes no more messages.
    fn sum_up(&mut self) {
        let bytes = self.body_bytes();
        self.closed = self.range().map(|(first, last)| (first, last, bytes));
    }

    fn pack(self) -> Option<Page> {
        let mut page = PageBuilder::with_capacity(PAGE_CAPACITY_BYTES);
        for Waiting { message, sequence, expires_at_ms } in &self.waiting {
            page.push(&Entry::of(message, *sequence, *expires_at_ms));
        }
        page.finish()
    }

    #[inline]
    fn takes_more(&self) -> bool {
        self.waiting.len() < CHUNK_LENGTH && self.memory_bytes < CHUNK_BYTES
    }
}

pub(super) enum Chunk {
    Loose(Loose),
    Packed(Packed),
}

impl Chunk {
    /// Of messages that come back.
    pub fn of_page(page: Page) -> Self {
        match page.summary.has_shared_bodies {
            true => Self::Loose(Loose::unpack(page)),
            false => Self::Packed(Packed::of_page(page)),
        }
    }

    /// Its messages as a page; `None` for an empty one.
    pub fn into_page(self) -> Option<Page> {
        match self {
            Self::Loose(loose) => loose.pack(),
            Self::Packed(packed) => packed.into_page(),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Loose(loose) => loose.waiting.len(),
            Self::Packed(packed) => packed.len(),
        }
    }

    /// What its messages took when they came, in bytes.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Loose(loose) => loose.memory_bytes,
            Self::Packed(packed) => packed.page_bytes(),
        }
    }

    /// Bytes of the bodies of its messages.
    fn body_bytes(&self) -> u64 {
        match self {
            Self::Loose(loose) => loose.body_bytes(),
            Self::Packed(packed) => packed.body_bytes(),
        }
    }

    /// The same, in so many steps, which are lowered by those that it took. `None`: it would take more.
    fn body_bytes_within(&self, steps: &mut usize) -> Option<u64> {
        let is_known = match self {
            Self::Loose(loose) => loose.knows_body_bytes(),
            Self::Packed(packed) => packed.is_whole(),
        };
        *steps = steps.checked_sub(if is_known { 1 } else { self.len() })?;
        Some(self.body_bytes())
    }

    /// Sequence and expiry of its first message.
    fn first(&self) -> Option<(u64, u64)> {
        match self {
            Self::Loose(loose) => loose.waiting.front().map(|waiting| (waiting.sequence, waiting.expires_at_ms)),
            Self::Packed(packed) => packed.first().map(|entry| (entry.sequence, entry.expires_at_ms)),
        }
    }

    fn first_entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Loose(loose) => {
                loose.waiting.front().map(|first| Entry::of(&first.message, first.sequence, first.expires_at_ms))
            }
            Self::Packed(packed) => packed.first(),
        }
    }

    /// Another one begins behind it; so many were before it.
    fn close(&mut self, before: usize) {
        match self {
            Self::Loose(loose) if before >= CHUNKS_WALKED_OVER => loose.sum_up(),
            Self::Loose(_) => {}
            Self::Packed(packed) => packed.close(),
        }
    }
}

#[derive(Default)]
pub(super) struct Chunks {
    /// No chunk but the only one is empty, and that only when its messages are loose.
    chunks: VecDeque<Chunk>,
    /// An emptied chunk, kept so that a queue that breathes doesn't allocate.
    spare: Option<Loose>,
}

impl Chunks {
    /// Appends a message; whether it begins a chunk.
    #[inline]
    pub fn push(&mut self, waiting: Waiting) -> bool {
        match self.chunks.back_mut() {
            Some(Chunk::Loose(loose)) if loose.takes_more() => {
                loose.memory_bytes += waiting.message.memory_bytes();
                loose.waiting.push_back(waiting);
                false
            }
            _ => {
                self.push_to_new_chunk(waiting);
                true
            }
        }
    }

    #[cold]
    fn push_to_new_chunk(&mut self, waiting: Waiting) {
        let mut loose = match self.spare.take() {
            Some(spare) => spare,
            // The first chunk grows with the queue: most queues are short.
            None if self.chunks.is_empty() => Loose::default(),
            None => Loose { waiting: VecDeque::with_capacity(CHUNK_LENGTH), memory_bytes: 0, closed: None },
        };
        loose.memory_bytes = waiting.message.memory_bytes();
        loose.waiting.push_back(waiting);
        self.push_chunk(Chunk::Loose(loose));
    }

    /// Whether the next message would be packed, if it may be, with so many chunks before it that are not.
    #[inline]
    pub fn packs(&self, loose_chunks: usize) -> bool {
        self.chunks.len() >= loose_chunks
            && match self.chunks.back() {
                Some(Chunk::Loose(loose)) => !loose.takes_more(),
                _ => true,
            }
    }

    /// Appends a message that is not shared, packed; whether it begins a chunk.
    #[inline]
    pub fn push_packed(&mut self, entry: &Entry<'_>) -> bool {
        debug_assert!(!entry.has_shared_body);
        if let Some(Chunk::Packed(packed)) = self.chunks.back_mut()
            && packed.takes(entry)
        {
            packed.push(entry);
            return false;
        }
        self.push_to_new_packed(entry);
        true
    }

    #[cold]
    fn push_to_new_packed(&mut self, entry: &Entry<'_>) {
        let mut packed = match self.count() {
            0 => Packed::growing_from(entry),
            _ => Packed::for_messages_like(entry),
        };
        packed.push(entry);
        self.push_chunk(Chunk::Packed(packed));
    }

    /// Inlined wherever it is called: it is on the way of each message that waited.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Waiting> {
        let Chunk::Loose(loose) = self.chunks.front_mut()? else { return self.pop_packed() };
        let waiting = loose.waiting.pop_front()?;
        if loose.waiting.is_empty() {
            self.first_chunk_emptied();
        }
        Some(waiting)
    }

    #[inline(never)]
    fn pop_packed(&mut self) -> Option<Waiting> {
        let Chunk::Packed(packed) = self.chunks.front_mut()? else { return None };
        let waiting = packed.pop()?;
        if packed.len() == 0 {
            self.first_chunk_emptied();
        }
        Some(waiting)
    }

    /// The first message, if it expires by then.
    #[inline]
    pub fn pop_expired(&mut self, by_ms: u64) -> Option<Waiting> {
        let (waiting, left) = match self.chunks.front_mut()? {
            Chunk::Loose(loose) => {
                loose.waiting.front().filter(|first| first.expires_at_ms <= by_ms)?;
                (loose.waiting.pop_front()?, loose.waiting.len())
            }
            Chunk::Packed(packed) => (packed.pop_expired(by_ms)?, packed.len()),
        };
        if left == 0 {
            self.first_chunk_emptied();
        }
        Some(waiting)
    }

    #[inline(never)]
    fn first_chunk_emptied(&mut self) {
        if self.chunks.len() == 1
            && let Some(Chunk::Loose(loose)) = self.chunks.front_mut()
        {
            // It begins anew: a short queue is never given the room of a whole chunk, however much goes through it.
            loose.memory_bytes = 0;
        } else if let Some(Chunk::Loose(loose)) = self.chunks.pop_front() {
            self.spare = Some(loose);
        }
    }

    /// Gives back the room that an empty ring keeps for messages to come, but for a few.
    pub fn give_room_back(&mut self) {
        debug_assert_eq!(self.count(), 0);
        self.spare = None;
        if self.room_for_messages() > FEW_MESSAGES {
            self.chunks = VecDeque::new();
        }
    }

    /// For how many messages as such there is room, or chunks, whichever are more.
    pub fn room_for_messages(&self) -> usize {
        let room = |loose: &Loose| loose.waiting.capacity();
        let rooms = self.chunks.iter().map(|chunk| match chunk {
            Chunk::Loose(loose) => room(loose),
            Chunk::Packed(_) => 0,
        });
        rooms.chain(self.spare.as_ref().map(room)).sum::<usize>().max(self.chunks.capacity())
    }

    /// Sequence and expiry of the first message.
    pub fn front(&self) -> Option<(u64, u64)> {
        self.chunks.front()?.first()
    }

    /// The first message, as it lies there.
    pub fn front_entry(&self) -> Option<Entry<'_>> {
        self.chunks.front()?.first_entry()
    }

    /// Shows messages as they lie there but for the first `skip`, which is lowered by those that were passed, until `look` has
    /// enough. Says whether it has not.
    pub fn look(&self, skip: &mut usize, mut look: impl FnMut(Entry<'_>) -> bool) -> bool {
        for chunk in &self.chunks {
            if *skip >= chunk.len() {
                *skip -= chunk.len();
                continue;
            }
            let skipped = std::mem::take(skip);
            let goes_on = match chunk {
                Chunk::Loose(loose) => loose
                    .waiting
                    .range(skipped..)
                    .all(|waiting| look(Entry::of(&waiting.message, waiting.sequence, waiting.expires_at_ms))),
                Chunk::Packed(packed) => packed.entries().skip(skipped).all(&mut look),
            };
            if !goes_on {
                return false;
            }
        }
        true
    }

    /// Chunks with messages in them.
    #[inline]
    pub fn count(&self) -> usize {
        match self.chunks.len() {
            1 => usize::from(self.chunks[0].len() > 0),
            count => count,
        }
    }

    /// What the messages of the first chunk took when they came, in bytes.
    pub fn first_chunk_bytes(&self) -> usize {
        self.chunks.front().map_or(0, Chunk::memory_bytes)
    }

    /// What the messages of all chunks took when they came, in bytes. It walks over the chunks.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    /// Bytes of the bodies of all messages. It walks over the chunks.
    pub fn body_bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::body_bytes).sum()
    }

    /// The same, in so many steps, which are lowered by those that it took. `None`: it would take more.
    pub fn body_bytes_within(&self, steps: &mut usize) -> Option<u64> {
        self.chunks.iter().map(|chunk| chunk.body_bytes_within(steps)).sum()
    }

    fn drop_empty(&mut self) {
        if self.count() == 0 {
            self.chunks.clear();
        }
    }

    pub fn push_chunk(&mut self, chunk: Chunk) {
        self.drop_empty();
        let before = self.chunks.len().saturating_sub(1);
        if let Some(last) = self.chunks.back_mut() {
            last.close(before);
        }
        self.chunks.push_back(chunk);
    }

    pub fn pop_first_chunk(&mut self) -> Option<Chunk> {
        self.drop_empty();
        self.chunks.pop_front()
    }

    /// Drops chunks with `most` messages, or a few more. Says how many those were, packed ones as one for each chunk.
    pub fn discard_some(&mut self, most: usize) -> usize {
        let mut count = 0;
        while count < most
            && let Some(chunk) = self.pop_first_chunk()
        {
            count += if let Chunk::Loose(loose) = chunk { loose.waiting.len().max(1) } else { 1 };
        }
        count
    }

    pub fn pop_last_chunk(&mut self) -> Option<Chunk> {
        self.drop_empty();
        self.chunks.pop_back()
    }

    /// Takes all chunks but the first `keep`.
    pub fn split_off(&mut self, keep: usize) -> Self {
        Self { chunks: self.chunks.split_off(keep), spare: None }
    }

    pub fn append(&mut self, mut other: Self) {
        other.drop_empty();
        if !other.chunks.is_empty() {
            self.drop_empty();
            self.chunks.append(&mut other.chunks);
        }
    }

    /// When its head expires: [`NEVER`] for none, or one that doesn't.
    pub fn head_expires_at_ms(&self) -> u64 {
        self.front().map_or(NEVER, |(_, expires_at_ms)| expires_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::message_memory_bytes;
    use crate::broker::message::{Attributes, Content, MessageRef};

    const HEADER_FRAME: &[u8; 22] = b"\x02\0\0\0\0\0\x0E\0\x3C\0\0\0\0\0\0\0\0\0\x08\0\0\xCE";

    fn frames(sequence: u64) -> Vec<u8> {
        [HEADER_FRAME, b"\x03\0\0\0\0\0\x08".as_slice(), &sequence.to_be_bytes(), b"\xCE"].concat()
    }

    fn content(frames: &[u8]) -> Content<'_> {
        Content { address: b"\0\x01q\xCE", frames, header_frame_length: HEADER_FRAME.len(), shared_body: None }
    }

    fn push(chunks: &mut Chunks, sequence: u64, packed: bool) -> bool {
        let frames = frames(sequence);
        let content = content(&frames);
        match packed {
            true => chunks.push_packed(&Entry::new(&content, Attributes::default(), sequence, NEVER)),
            false => {
                let message = MessageRef::new(&content, Attributes::default());
                chunks.push(Waiting { message, sequence, expires_at_ms: NEVER })
            }
        }
    }

    #[test]
    fn chunks_know_their_bodies_sums_but_for_a_few_the_last_and_one_that_is_being_emptied() {
        let mut chunks = Chunks::default();
        (0..20 * CHUNK_LENGTH as u64).for_each(|sequence| _ = push(&mut chunks, sequence, false));
        let unknown = |chunks: &Chunks| {
            let is_known = |chunk: &Chunk| match chunk {
                Chunk::Loose(loose) => {
                    loose.closed.is_some_and(|(first, last, _)| loose.range() == Some((first, last)))
                }
                Chunk::Packed(_) => true,
            };
            chunks.chunks.iter().filter(|chunk| !is_known(chunk)).count()
        };
        assert_eq!((unknown(&chunks), chunks.body_bytes()), (CHUNKS_WALKED_OVER + 1, 160 * CHUNK_LENGTH as u64));
        (0..CHUNKS_WALKED_OVER * CHUNK_LENGTH).for_each(|_| _ = chunks.pop());
        assert_eq!(unknown(&chunks), 1, "the last");
        chunks.pop();
        assert_eq!((unknown(&chunks), chunks.body_bytes()), (2, 96 * CHUNK_LENGTH as u64 - 8), "the first as well");
    }

    #[test]
    fn loose_and_packed_messages_leave_in_the_order_in_which_they_came() {
        let mut chunks = Chunks::default();
        let kind_changes = [1, 1000, 3 * CHUNK_LENGTH as u64, 5000, 5001];
        for sequence in 0..10_000 {
            let packed = kind_changes.iter().filter(|change| **change <= sequence).count() % 2 == 1;
            push(&mut chunks, sequence, packed);
        }
        for sequence in 0..10_000 {
            assert_eq!(chunks.front(), Some((sequence, NEVER)));
            let waiting = chunks.pop().unwrap();
            assert_eq!(waiting.sequence, sequence);
            assert_eq!(waiting.message.content().frames, frames(sequence));
        }
        assert!(chunks.pop().is_none());
        assert_eq!(chunks.count(), 0);
    }

    #[test]
    fn a_packed_message_takes_its_body_and_a_few_bytes() {
        let before = message_memory_bytes();
        let mut chunks = Chunks::default();
        for sequence in 0..10 * CHUNK_LENGTH as u64 {
            push(&mut chunks, sequence, true);
        }
        let each = (message_memory_bytes() - before) / (10 * CHUNK_LENGTH);
        assert!((8 + 3..8 + 6).contains(&each), "{each} bytes");
        drop(chunks);
        assert_eq!(message_memory_bytes(), before);
    }

    #[test]
    fn a_queue_that_is_short_again_and_again_stays_in_its_first_chunk() {
        let mut chunks = Chunks::default();
        for sequence in 0..10 * CHUNK_BYTES as u64 / HEADER_FRAME.len() as u64 {
            assert_eq!(push(&mut chunks, sequence, false), sequence == 0, "message {sequence}");
            assert!(chunks.pop().is_some());
        }
    }

    #[test]
    fn packing_begins_behind_so_many_full_chunks() {
        let mut chunks = Chunks::default();
        for sequence in 0..2 * CHUNK_LENGTH as u64 {
            assert!(!chunks.packs(2), "{sequence}");
            push(&mut chunks, sequence, false);
        }
        assert!(chunks.packs(2));
        assert!(!chunks.packs(3));
        assert!(push(&mut chunks, 2048, true), "it begins a chunk");
        assert!(chunks.packs(2) && !push(&mut chunks, 2049, true), "it does not");
        (0..CHUNK_LENGTH).for_each(|_| assert!(chunks.pop().is_some()));
        assert!(chunks.packs(2) && !chunks.packs(3));
    }
}
