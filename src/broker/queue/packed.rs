//! Waiting messages as the bytes of a [page](crate::broker::page): how a chunk of a long queue lies in memory.
//!
//! A message costs its body and a few bytes then, and no allocation; it becomes a message again when it is taken. Bodies
//! that messages share are never here.

use super::waiting::{CHUNK_LENGTH, Waiting};
use crate::broker::memory::Holding;
use crate::broker::page::{Entry, Page, PageBuilder, PageReader};

/// Most room for the messages of a chunk, in bytes. More than a thousand of them have no use for more.
const PACKED_MAX_BYTES: usize = 64 << 10;

/// Room per message beside its body, in bytes: flags, the step of the sequence, the body's length.
const PACKED_OVERHEAD_BYTES: usize = 5;

/// Room that the first chunk of a ring begins with, in bytes. Most rings behind pages are short.
const ROOM_AT_FIRST_BYTES: usize = 1 << 10;

/// Room for many messages like `first`, and for it in any case, in bytes.
fn room_for_messages_like(first: &Entry<'_>) -> usize {
    let room = CHUNK_LENGTH * (first.body.len() + PACKED_OVERHEAD_BYTES);
    room.min(PACKED_MAX_BYTES).max(first.most_bytes())
}

pub(super) struct Packed {
    page: PageBuilder,
    reader: PageReader,
    /// Messages that were read already.
    read: usize,
    /// Most room that the page may be given, in bytes.
    room_max: usize,
    /// The room that the page has.
    memory: Holding,
}

impl Packed {
    /// An empty one that takes its room at once: others before it are full, and so will this one be.
    pub fn for_messages_like(first: &Entry<'_>) -> Self {
        let room = room_for_messages_like(first);
        Self::new(PageBuilder::with_capacity(room), room)
    }

    /// An empty one whose room grows with it: it may stay with few messages for long, and there may be many such.
    pub fn growing_from(first: &Entry<'_>) -> Self {
        let room_max = room_for_messages_like(first);
        let room = ROOM_AT_FIRST_BYTES.max(first.most_bytes()).min(room_max);
        Self::new(PageBuilder::with_capacity(room), room_max)
    }

    pub fn of_page(page: Page) -> Self {
        Self::new(PageBuilder::of_page(page), 0)
    }

    fn new(page: PageBuilder, room_max: usize) -> Self {
        Self { memory: Holding::new(page.capacity()), page, reader: PageReader::default(), read: 0, room_max }
    }

    fn count(&self) -> usize {
        self.page.summary().map_or(0, |summary| summary.count)
    }

    pub fn len(&self) -> usize {
        self.count() - self.read
    }

    /// Bytes of all its messages, those among them that were read.
    pub fn page_bytes(&self) -> usize {
        self.page.size_bytes()
    }

    /// Whether there is room for one more, which is made if it may be.
    #[inline]
    pub fn takes(&mut self, entry: &Entry<'_>) -> bool {
        let needed = self.page.size_bytes() + entry.most_bytes();
        self.count() < CHUNK_LENGTH && (needed <= self.page.capacity() || self.grow(needed))
    }

    #[cold]
    fn grow(&mut self, needed: usize) -> bool {
        if needed > self.room_max {
            return false;
        }
        self.page.reserve_up_to((2 * self.page.capacity()).max(needed).min(self.room_max));
        self.memory = Holding::new(self.page.capacity());
        true
    }

    #[inline]
    pub fn push(&mut self, entry: &Entry<'_>) {
        self.page.push(entry);
    }

    /// No more will come: gives back a room that is mostly empty.
    pub fn close(&mut self) {
        if self.page.size_bytes() < self.page.capacity() / 2 {
            self.page.shrink_to_fit();
            self.memory = Holding::new(self.page.capacity());
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Waiting> {
        let entry = self.reader.next(self.page.bytes())?;
        self.read += 1;
        let message = entry.to_message();
        Some(Waiting { message, sequence: entry.sequence, expires_at_ms: entry.expires_at_ms })
    }

    /// The next one, if it expires by then.
    #[inline]
    pub fn pop_expired(&mut self, by_ms: u64) -> Option<Waiting> {
        let mut reader = self.reader.clone();
        let entry = reader.next(self.page.bytes()).filter(|entry| entry.expires_at_ms <= by_ms)?;
        self.reader = reader;
        self.read += 1;
        let message = entry.to_message();
        Some(Waiting { message, sequence: entry.sequence, expires_at_ms: entry.expires_at_ms })
    }

    /// None of them was read.
    pub fn is_whole(&self) -> bool {
        self.read == 0
    }

    /// Bytes of the bodies of those that were not read. It reads on when some were.
    pub fn body_bytes(&self) -> u64 {
        if self.read == 0 {
            return self.page.summary().map_or(0, |summary| summary.body_bytes);
        }
        let mut reader = self.reader.clone();
        let rest = std::iter::from_fn(|| reader.next(self.page.bytes()).map(|entry| entry.body.len() as u64));
        rest.sum()
    }

    /// The next one, as it lies there.
    pub fn first(&self) -> Option<Entry<'_>> {
        self.reader.clone().next(self.page.bytes())
    }

    /// All that were not read, as they lie there.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut reader = self.reader.clone();
        std::iter::from_fn(move || reader.next(self.page.bytes()))
    }

    /// What was not read, as a page; `None` for nothing.
    pub fn into_page(mut self) -> Option<Page> {
        if self.read == 0 {
            return self.page.finish();
        }
        let mut rest = PageBuilder::with_capacity(self.page.size_bytes());
        while let Some(entry) = self.reader.next(self.page.bytes()) {
            rest.push(&entry);
        }
        rest.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::NEVER;

    fn entry(sequence: u64, body: &[u8]) -> Entry<'_> {
        let (address, header_frame) = (b"\0\x01q\xCE".as_slice(), [0; 22].as_slice());
        Entry {
            sequence,
            expires_at_ms: NEVER,
            persistent: false,
            priority: 0,
            address,
            header_frame,
            body,
            has_shared_body: false,
        }
    }

    /// So many messages with bodies like this one fit.
    fn fill(body: &[u8]) -> (Packed, usize) {
        let mut packed = Packed::for_messages_like(&entry(0, body));
        let mut count = 0;
        while packed.takes(&entry(count, body)) {
            packed.push(&entry(count, body));
            count += 1;
        }
        (packed, count as usize)
    }

    #[test]
    fn a_chunk_ends_with_its_thousand_or_with_its_bytes() {
        let (small, count) = fill(&[7; 16]);
        assert!((CHUNK_LENGTH - 16..=CHUNK_LENGTH).contains(&count), "{count} messages");
        assert!(small.page_bytes() < PACKED_MAX_BYTES);
        let (large, count) = fill(&[7; 480]);
        assert!(large.page_bytes() <= PACKED_MAX_BYTES && large.page_bytes() + 1024 > PACKED_MAX_BYTES);
        assert_eq!(large.page.capacity(), PACKED_MAX_BYTES, "{count} messages, and never more room");
    }
}
