//! The middle of a queue that is longer than its share of memory: pages in order, and what was published behind them.
//!
//! ```text
//! head of the queue                                                          its end
//! ┌ chunks in memory ┐ ┌ asked for ┐ ┌ kept by the store … ┐ ┌ unloaded ┐ ┌ tail, in memory ┐
//! ```
//! After a start, messages of the log are *unloaded* until the loader brings them, a page at a time and mostly in order.
//! A page that comes early waits for those before it.

use super::chunks::{Chunk, Chunks};
use super::waiting::CHUNK_BYTES;
use crate::broker::memory::Holding;
use crate::broker::message::NEVER;
use crate::broker::page::{Page, PageSummary};
use crate::broker::store::{PageId, Pages};
use std::collections::VecDeque;

enum Place {
    Kept(PageId),
    AskedFor(PageId),
    Here(Held),
}

/// A page in memory.
struct Held {
    bytes: Vec<u8>,
    _memory: Holding,
}

impl Held {
    fn new(bytes: Vec<u8>) -> Self {
        Self { _memory: Holding::new(bytes.capacity()), bytes }
    }
}

struct PagedOut {
    summary: PageSummary,
    /// Its length.
    bytes: usize,
    place: Place,
}

/// A page that was asked for.
pub struct AskedFor {
    pub page: PageId,
    /// Its length.
    pub bytes: usize,
}

/// Messages of the log that the loader has still to bring.
struct Unloaded {
    messages: usize,
    /// It has brought all below this sequence.
    complete_below: u64,
}

#[derive(Default)]
pub(super) struct Paged {
    pages: VecDeque<PagedOut>,
    /// So many pages at the front are asked for.
    asked_for: usize,
    /// So many pages are here: a long queue's pages are not to be looked through for none.
    here: usize,
    unloaded: Option<Unloaded>,
    /// What came behind all of them.
    pub tail: Chunks,
}

fn put(page: Page, store: &mut impl Pages) -> PagedOut {
    PagedOut { summary: page.summary, bytes: page.bytes.len(), place: Place::Kept(store.put_page(page.bytes)) }
}

impl Paged {
    /// Only a tail is here.
    pub fn with_tail(tail: Chunks) -> Self {
        Self { tail, ..Self::default() }
    }

    /// Nothing is here, and so many messages of the log will be.
    pub fn unloaded(messages: usize) -> Self {
        Self { unloaded: Some(Unloaded { messages, complete_below: 0 }), ..Self::default() }
    }

    /// Only what is in memory is left.
    pub fn is_over(&self) -> bool {
        self.pages.is_empty() && self.unloaded.is_none()
    }

    /// Takes the first chunk of the tail out of memory.
    pub fn page_out_tail(&mut self, store: &mut impl Pages) -> bool {
        let Some(page) = self.tail.pop_first_chunk().and_then(Chunk::into_page) else { return false };
        self.pages.push_back(put(page, store));
        true
    }

    /// Takes a chunk that comes before all pages out of memory.
    pub fn page_out_head(&mut self, chunk: Chunk, store: &mut impl Pages) {
        debug_assert_eq!(self.asked_for, 0, "what is asked for comes before what is not");
        if let Some(page) = chunk.into_page() {
            self.pages.push_front(put(page, store));
        }
    }

    pub fn is_asked_for(&self) -> bool {
        self.asked_for > 0
    }

    /// Takes a page out of memory that the loader brought and that is not one of the first `keep`.
    pub fn page_out_loaded(&mut self, keep: usize, store: &mut impl Pages) -> bool {
        if self.here == 0 {
            return false;
        }
        let found = self.pages.iter_mut().skip(keep.max(self.asked_for)).rev();
        for page in found {
            if let Place::Here(held) = &mut page.place {
                let bytes = std::mem::take(&mut held.bytes);
                page.place = Place::Kept(store.put_page(bytes));
                self.here -= 1;
                return true;
            }
        }
        false
    }

    /// Brings the head's chunks, those asked for among them, up to `window`, or fewer when they are larger than chunks
    /// mostly are. Pages that are here come back at once.
    pub fn refill(&mut self, head: &mut Chunks, window: usize, store: &mut impl Pages) -> Vec<AskedFor> {
        let mut asked = Vec::new();
        let mut bytes = head.bytes() + self.pages.iter().take(self.asked_for).map(|page| page.bytes).sum::<usize>();
        let allows = |chunks: usize, bytes| chunks == 0 || chunks < window && bytes < window * CHUNK_BYTES;
        while allows(head.count() + self.asked_for, bytes) {
            let is_complete = self.pages.get(self.asked_for).is_some_and(|next| self.is_complete_up_to(&next.summary));
            let Some(next) = self.pages.get_mut(self.asked_for) else { break };
            if !is_complete {
                break;
            }
            bytes += next.bytes;
            match &next.place {
                Place::Here(_) if self.asked_for > 0 => break,
                Place::Here(_) => self.unpack_arrived(head),
                Place::Kept(page) | Place::AskedFor(page) => {
                    store.read_page(*page);
                    asked.push(AskedFor { page: *page, bytes: next.bytes });
                    next.place = Place::AskedFor(*page);
                    self.asked_for += 1;
                }
            }
        }
        asked
    }

    /// Nothing is still to be loaded that comes before a page's end.
    fn is_complete_up_to(&self, page: &PageSummary) -> bool {
        self.unloaded.as_ref().is_none_or(|unloaded| page.last_sequence < unloaded.complete_below)
    }

    /// Whether a page was asked for that has not arrived.
    pub fn awaits(&self, page: PageId) -> bool {
        self.pages.iter().take(self.asked_for).any(|out| matches!(out.place, Place::AskedFor(asked) if asked == page))
    }

    /// Takes in a page that was asked for; false when it was not.
    pub fn arrived(&mut self, page: PageId, bytes: Vec<u8>, head: &mut Chunks) -> bool {
        let mut asked_for = self.pages.iter_mut().take(self.asked_for);
        let found = asked_for.find(|out| matches!(out.place, Place::AskedFor(asked) if asked == page));
        let Some(found) = found else { return false };
        found.place = Place::Here(Held::new(bytes));
        self.here += 1;
        while self.asked_for > 0 && matches!(self.pages.front(), Some(PagedOut { place: Place::Here(_), .. })) {
            self.asked_for -= 1;
            self.unpack_arrived(head);
        }
        true
    }

    /// Moves the first page, which is here, to the head.
    fn unpack_arrived(&mut self, head: &mut Chunks) {
        let Some(PagedOut { summary, place: Place::Here(held), .. }) = self.pages.pop_front() else { return };
        self.here -= 1;
        let chunk = Chunk::of_page(Page { summary, bytes: held.bytes });
        debug_assert_eq!(chunk.len(), summary.count, "a page comes back as it went");
        head.push_chunk(chunk);
    }

    /// Takes in messages of the log. `keep_here` leaves them in memory. Says how many that the log had promised will
    /// never come, once it is known.
    pub fn load(&mut self, page: Page, complete_below: u64, keep_here: bool, store: &mut impl Pages) -> usize {
        let Some(unloaded) = &mut self.unloaded else { return 0 };
        unloaded.messages = unloaded.messages.saturating_sub(page.summary.count);
        unloaded.complete_below = complete_below;
        let first_sequence = page.summary.first_sequence;
        let place = self.pages.partition_point(|other| other.summary.first_sequence < first_sequence);
        debug_assert!(place >= self.asked_for, "what was complete stays complete");
        let out = match keep_here {
            true => {
                let bytes = page.bytes.len();
                PagedOut { summary: page.summary, bytes, place: Place::Here(Held::new(page.bytes)) }
            }
            false => put(page, store),
        };
        self.here += usize::from(keep_here);
        self.pages.insert(place, out);
        if complete_below == u64::MAX { self.loaded() } else { 0 }
    }

    /// The loader is through. Says how many messages never came.
    pub fn loaded(&mut self) -> usize {
        self.unloaded.take().map_or(0, |unloaded| unloaded.messages)
    }

    /// Messages in pages and unloaded ones. It walks over all pages: for listings.
    pub fn messages_away(&self) -> usize {
        let unloaded = self.unloaded.as_ref().map_or(0, |unloaded| unloaded.messages);
        unloaded + self.pages.iter().map(|page| page.summary.count).sum::<usize>()
    }

    /// Bytes of the bodies of all messages that are here, or kept by the store. It walks over all pages.
    pub fn body_bytes(&self) -> u64 {
        self.pages.iter().map(|page| page.summary.body_bytes).sum::<u64>() + self.tail.body_bytes()
    }

    /// Some messages of the log are still to come.
    pub fn is_loading(&self) -> bool {
        self.unloaded.is_some()
    }

    /// The same as [`body_bytes`](Self::body_bytes), in so many steps, which are lowered by those that it took. `None`: it would
    /// take more.
    pub fn body_bytes_within(&self, steps: &mut usize) -> Option<u64> {
        *steps = steps.checked_sub(self.pages.len())?;
        let in_pages: u64 = self.pages.iter().map(|page| page.summary.body_bytes).sum();
        Some(in_pages + self.tail.body_bytes_within(steps)?)
    }

    /// Gives up `most` pages, and when none is left what came behind them. Says how many pages and messages those were, 0
    /// when nothing is left.
    pub fn discard_some(&mut self, most: usize, store: &mut impl Pages) -> usize {
        let mut count = 0;
        while count < most
            && let Some(page) = self.pages.pop_front()
        {
            if let Place::Kept(page) = page.place {
                store.discard_page(page);
            }
            count += 1;
        }
        if count == 0 { self.tail.discard_some(most) } else { count }
    }

    /// The lowest sequence that may be here.
    pub fn first_sequence(&self) -> Option<u64> {
        let page = self.pages.front().map(|page| page.summary.first_sequence);
        let unloaded = self.unloaded.as_ref().map(|unloaded| unloaded.complete_below);
        let tail = self.tail.front().map(|(sequence, _)| sequence);
        page.into_iter().chain(unloaded).chain(tail).min()
    }

    /// When the first message expires, if that is known and nobody has asked for it.
    pub fn head_expires_at_ms(&self) -> u64 {
        match self.pages.front() {
            Some(page) if self.asked_for == 0 && self.is_complete_up_to(&page.summary) => {
                page.summary.first_expires_at_ms
            }
            _ => NEVER,
        }
    }
}
