//! A stretch of time, and the messages that are due in it: in the order in which they came.

use super::chunk::{Chunk, Message};
use crate::broker::memory::Holding;
use crate::broker::message::MessageRef;
use crate::broker::page::Entry;
use crate::broker::store::{PageId, Pages};
use std::collections::VecDeque;

/// Bits by which the stretches of one level are longer than those of the one below. Those of level 0 are a millisecond.
const LEVEL_BITS: u32 = 6;
/// The highest level: 64^5 ms are twelve days, and the longest delay four of that.
pub(super) const LEVEL_MAX: u32 = 5;

/// The level of a bucket for messages that are due so long from now.
pub(super) fn level_of(distance_ms: u64) -> u32 {
    (distance_ms | 1).ilog2().div_euclid(LEVEL_BITS).min(LEVEL_MAX)
}

/// How long the stretches of a level are.
pub(super) fn width_ms(level: u32) -> u64 {
    1 << (LEVEL_BITS * level)
}

/// Where the stretch of a level begins that a time lies in.
pub(super) fn start_ms(due_ms: u64, level: u32) -> u64 {
    due_ms & !(width_ms(level) - 1)
}

pub(super) struct Bucket {
    start_ms: u64,
    level: u32,
    count: usize,
    bytes: usize,
    /// Of them, those that are not in memory.
    away_bytes: usize,
    /// Chunks that were asked for.
    coming: usize,
    chunks: VecDeque<Chunk>,
    _memory: Holding,
}

impl Bucket {
    pub fn new(start_ms: u64, level: u32) -> Self {
        Self {
            start_ms,
            level,
            count: 0,
            bytes: 0,
            away_bytes: 0,
            coming: 0,
            chunks: VecDeque::new(),
            _memory: Holding::new(size_of::<Self>()),
        }
    }

    pub fn start_ms(&self) -> u64 {
        self.start_ms
    }

    pub fn level(&self) -> u32 {
        self.level
    }

    pub fn end_ms(&self) -> u64 {
        self.start_ms + width_ms(self.level)
    }

    pub fn covers(&self, due_ms: u64) -> bool {
        (self.start_ms..self.end_ms()).contains(&due_ms)
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn away_bytes(&self) -> usize {
        self.away_bytes
    }

    pub fn chunks(&self) -> &VecDeque<Chunk> {
        &self.chunks
    }

    /// Appends a message. Whether that began a chunk.
    pub fn push(&mut self, entry: &Entry<'_>) -> bool {
        self.count += 1;
        if let Some(last) = self.chunks.back_mut()
            && last.takes(entry)
        {
            let before = last.bytes();
            last.push(entry);
            self.bytes += last.bytes() - before;
            return false;
        }
        self.begin(Chunk::of(entry));
        true
    }

    /// Appends a message whose body is not copied.
    pub fn push_large(&mut self, message: MessageRef, sequence: u64, due_ms: u64) {
        self.count += 1;
        self.begin(Chunk::of_large(message, sequence, due_ms));
    }

    /// Appends all of a chunk.
    pub fn push_chunk(&mut self, chunk: Chunk) {
        self.count += chunk.count();
        self.begin(chunk);
    }

    fn begin(&mut self, chunk: Chunk) {
        if let Some(last) = self.chunks.back_mut() {
            last.close();
        } else {
            // Most buckets have one all their life.
            self.chunks.reserve_exact(1);
        }
        self.bytes += chunk.bytes();
        self.away_bytes += if chunk.is_in_memory() { 0 } else { chunk.bytes() };
        self.coming += usize::from(chunk.is_coming());
        self.chunks.push_back(chunk);
    }

    pub fn front(&self) -> Option<&Chunk> {
        self.chunks.front()
    }

    /// Takes all of the first chunk.
    pub fn pop_chunk(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.count -= chunk.count();
        self.bytes -= chunk.bytes();
        self.away_bytes -= if chunk.is_in_memory() { 0 } else { chunk.bytes() };
        self.coming -= usize::from(chunk.is_coming());
        Some(chunk)
    }

    /// Gives messages of the first chunk to `take`, in order, and at most so many. How many there were: 0 when it is not in
    /// memory.
    pub fn take(&mut self, most: usize, mut take: impl FnMut(Message<'_>)) -> usize {
        let Some(front) = self.chunks.front_mut() else { return 0 };
        let mut taken = 0;
        while taken < most
            && let Some(found) = front.take()
        {
            take(found);
            taken += 1;
        }
        self.count -= taken;
        if front.count() == 0 {
            self.bytes -= front.bytes();
            self.chunks.pop_front();
        }
        taken
    }

    /// Asks for the chunks at the front that are not in memory, as far as they are among the first `most`.
    pub fn ask_for(&mut self, most: usize, pages: &mut impl Pages, mut asked: impl FnMut(PageId)) {
        for page in self.chunks.iter_mut().take(most).filter_map(|chunk| chunk.ask_for(pages)) {
            self.coming += 1;
            asked(page);
        }
    }

    /// Asks for one chunk, and leaves it in memory for a while.
    pub fn ask_for_at(&mut self, index: usize, pages: &mut impl Pages) -> Option<PageId> {
        let chunk = &mut self.chunks[index];
        chunk.spare();
        let page = chunk.ask_for(pages)?;
        self.coming += 1;
        Some(page)
    }

    /// What was asked for is here; gives the bytes back when it is not of this bucket.
    pub fn arrived(&mut self, page: PageId, bytes: Vec<u8>) -> Option<Vec<u8>> {
        if self.coming == 0 {
            return Some(bytes);
        }
        match self.chunks.iter_mut().find(|chunk| chunk.is_page(page)) {
            Some(chunk) => {
                self.away_bytes -= chunk.bytes();
                self.coming -= 1;
                chunk.arrived(bytes);
                None
            }
            None => Some(bytes),
        }
    }

    /// Moves a chunk out of memory that has `least` bytes or more, the last one first, and none of the first `spared`. Whether
    /// there was one.
    pub fn page_out(&mut self, least: usize, spared: usize, pages: &mut impl Pages) -> bool {
        if self.bytes - self.away_bytes < least {
            return false;
        }
        let behind = self.chunks.iter_mut().skip(spared).rev();
        let mut worth = behind.filter(|chunk| chunk.is_in_memory() && chunk.bytes() >= least);
        let Some(chunk) = worth.find_map(|chunk| (!chunk.is_spared()).then_some(chunk)) else { return false };
        let before = chunk.bytes();
        chunk.page_out(pages);
        self.bytes = self.bytes - before + chunk.bytes();
        self.away_bytes += chunk.bytes();
        true
    }

    /// Takes one message out of a chunk that is in memory. Whether it was persistent; `None` when it is not in there.
    pub fn cancel(&mut self, index: usize, sequence: u64, due_ms: u64) -> Option<bool> {
        let chunk = self.chunks.remove(index)?;
        self.bytes -= chunk.bytes();
        let (rest, cancelled) = chunk.without(sequence, due_ms);
        self.count -= usize::from(cancelled.is_some());
        if let Some(rest) = rest {
            self.bytes += rest.bytes();
            self.chunks.insert(index, rest);
        }
        cancelled
    }

    /// All of it goes. What is on its way comes to nobody.
    pub fn discard_one(&mut self, pages: &mut impl Pages) -> bool {
        match self.pop_chunk() {
            Some(chunk) => {
                chunk.discard(pages);
                true
            }
            None => false,
        }
    }
}
