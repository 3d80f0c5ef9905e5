//! A ring of waiting messages in memory, in chunks: a long one grows by chunks and gives them back, so that no push moves
//! the others, and a chunk is what leaves for a page and comes back from one.

use super::NEVER;
use crate::broker::message::MessageRef;
use crate::broker::page::{Entry, PageBuilder, Unpacked};
use std::collections::VecDeque;

/// Messages to a chunk.
pub(super) const CHUNK_LENGTH: usize = 1024;

/// What the messages of a chunk take, in bytes, before the next one begins. A larger message has one to itself.
pub const CHUNK_BYTES: usize = 128 << 10;

/// A message in its place.
#[derive(Debug)]
pub struct Waiting {
    pub message: MessageRef,
    /// Given by the backlog.
    pub(super) sequence: u64,
    /// On the caller's clock; [`NEVER`] without a time to live.
    pub expires_at_ms: u64,
}

#[derive(Default)]
pub(super) struct Chunk {
    waiting: VecDeque<Waiting>,
    /// What all its messages took when they came, those among them that have left since.
    memory_bytes: usize,
}

impl Chunk {
    /// Its messages as a page.
    pub fn pack(self, page: &mut PageBuilder) {
        for Waiting { message, sequence, expires_at_ms } in &self.waiting {
            page.push(&Entry::of(message, *sequence, *expires_at_ms));
        }
    }

    /// A chunk that takes no more messages.
    pub fn unpack(messages: impl Iterator<Item = Unpacked>) -> Self {
        let waiting =
            messages.map(|Unpacked { sequence, expires_at_ms, message }| Waiting { message, sequence, expires_at_ms });
        Self { waiting: waiting.collect(), memory_bytes: CHUNK_BYTES }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    fn takes_more(&self) -> bool {
        self.waiting.len() < CHUNK_LENGTH && self.memory_bytes < CHUNK_BYTES
    }
}

#[derive(Default)]
pub(super) struct Chunks {
    /// No chunk but the only one is empty.
    chunks: VecDeque<Chunk>,
    /// An emptied chunk, kept so that a queue that breathes doesn't allocate.
    spare: Option<Chunk>,
}

impl Chunks {
    /// Appends a message; whether it begins a chunk.
    #[inline]
    pub fn push(&mut self, waiting: Waiting) -> bool {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.takes_more() => {
                chunk.memory_bytes += waiting.message.memory_bytes();
                chunk.waiting.push_back(waiting);
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
        let mut chunk = match self.spare.take() {
            Some(spare) => spare,
            // The first chunk grows with the queue: most queues are short.
            None if self.chunks.is_empty() => Chunk::default(),
            None => Chunk { waiting: VecDeque::with_capacity(CHUNK_LENGTH), memory_bytes: 0 },
        };
        chunk.memory_bytes = waiting.message.memory_bytes();
        chunk.waiting.push_back(waiting);
        self.push_chunk(chunk);
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Waiting> {
        let chunk = self.chunks.front_mut()?;
        let waiting = chunk.waiting.pop_front()?;
        if chunk.waiting.is_empty() && self.chunks.len() > 1 {
            self.spare = self.chunks.pop_front();
        }
        Some(waiting)
    }

    pub fn front(&self) -> Option<&Waiting> {
        self.chunks.front()?.waiting.front()
    }

    /// Chunks with messages in them.
    #[inline]
    pub fn count(&self) -> usize {
        match self.chunks.len() {
            1 => usize::from(!self.chunks[0].waiting.is_empty()),
            count => count,
        }
    }

    /// What the messages of the first chunk took when they came, in bytes.
    pub fn first_chunk_bytes(&self) -> usize {
        self.chunks.front().map_or(0, |chunk| chunk.memory_bytes)
    }

    fn drop_empty(&mut self) {
        if self.count() == 0 {
            self.chunks.clear();
        }
    }

    pub fn push_chunk(&mut self, chunk: Chunk) {
        self.drop_empty();
        self.chunks.push_back(chunk);
    }

    pub fn pop_first_chunk(&mut self) -> Option<Chunk> {
        self.drop_empty();
        self.chunks.pop_front()
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
        self.front().map_or(NEVER, |waiting| waiting.expires_at_ms)
    }
}
