//! The live messages of a queue that the loader has not met yet.

use super::chunk::{CHUNK_SEQUENCES, Chunk, split};
use super::live_set::{LiveSet, Run};
use super::segment::SegmentNumber;

/// A [`LiveSet`] that only shrinks, mostly from its beginning.
#[derive(Default)]
pub(super) struct Unloaded {
    /// Ascending by number; `None` when nothing is left in one.
    chunks: Vec<(u64, Option<Box<Chunk>>)>,
    /// Where the last sequence was: the next one is mostly there or in the one behind it.
    cursor: usize,
    /// Nothing is left before it.
    first: usize,
}

impl Unloaded {
    pub(super) fn new(live: &LiveSet) -> Self {
        let chunks = live.chunks().map(|(number, chunk)| (number, Some(Box::new(chunk.clone())))).collect();
        Self { chunks, cursor: 0, first: 0 }
    }

    /// The chunk of that number, if anything is left in it.
    #[inline]
    fn find(&mut self, number: u64) -> Option<&mut Chunk> {
        if self.chunks.get(self.cursor).is_none_or(|(found, _)| *found != number) {
            self.cursor = match self.chunks.get(self.cursor + 1) {
                Some((found, _)) if *found == number => self.cursor + 1,
                _ => self.chunks.binary_search_by_key(&number, |(found, _)| *found).ok()?,
            };
        }
        self.chunks[self.cursor].1.as_deref_mut()
    }

    /// Whether a message is still to be met, and in that segment.
    #[inline]
    pub(super) fn is_in(&mut self, sequence: u64, segment: SegmentNumber) -> bool {
        let (number, index) = split(sequence);
        self.find(number).is_some_and(|chunk| chunk.segment_of(index) == Some(segment))
    }

    /// Takes out a message that is there.
    #[inline]
    pub(super) fn take(&mut self, sequence: u64) {
        let (number, index) = split(sequence);
        if let Some(chunk) = self.find(number) {
            chunk.take(index);
            if chunk.live() == 0 {
                self.chunks[self.cursor].1 = None;
            }
        }
    }

    /// The lowest sequence that is left.
    pub(super) fn first(&mut self) -> Option<u64> {
        let left = self.chunks[self.first..].iter().position(|(_, chunk)| chunk.is_some());
        self.first = left.map_or(self.chunks.len(), |skipped| self.first + skipped);
        let (number, chunk) = self.chunks.get(self.first)?;
        let index = chunk.as_ref()?.next_live(0)?;
        Some(number * CHUNK_SEQUENCES + u64::from(index))
    }

    /// Whether a sequence between two others is left.
    pub(super) fn any_between(&self, after: u64, before: u64) -> bool {
        let Some(from) = after.checked_add(1).filter(|from| *from < before) else { return false };
        let (first_number, first_index) = split(from);
        let start = self.chunks.partition_point(|(number, _)| *number < first_number);
        let left = self.chunks[start..].iter().find_map(|(number, chunk)| {
            let index = chunk.as_ref()?.next_live(if *number == first_number { first_index } else { 0 })?;
            Some(number * CHUNK_SEQUENCES + u64::from(index))
        });
        left.is_some_and(|sequence| sequence < before)
    }

    /// What is left, as runs.
    pub(super) fn for_each_run(&self, mut each: impl FnMut(Run)) {
        for (number, chunk) in &self.chunks {
            if let Some(chunk) = chunk {
                chunk.for_each_run(number * CHUNK_SEQUENCES, &mut each);
            }
        }
    }
}
