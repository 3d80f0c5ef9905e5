//! The messages of a queue that the loader is to bring, and those that it has met already.

use super::chunk::{CHUNK_SEQUENCES, Chunk, WORDS, split};
use super::live_set::{LiveSet, Run};
use super::segment::SegmentNumber;

/// A copy of a [`LiveSet`] with a second bit for each message.
#[derive(Default)]
pub(super) struct Unloaded {
    /// Ascending by number.
    parts: Vec<Part>,
    /// Where the last sequence was: the next one is mostly there or in the part behind it.
    cursor: usize,
    /// Nothing is left before it.
    first: usize,
}

struct Part {
    number: u64,
    live: Chunk,
    met: [u64; WORDS],
    /// Live and not met.
    left: u32,
}

impl Part {
    fn is_met(&self, index: u16) -> bool {
        self.met[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    fn first_left(&self) -> Option<u16> {
        let mut index = self.live.next_live(0)?;
        while self.is_met(index) {
            index = self.live.next_live(index + 1)?;
        }
        Some(index)
    }
}

impl Unloaded {
    pub(super) fn new(live: &LiveSet) -> Self {
        let part =
            |(number, chunk): (u64, &Chunk)| Part { number, left: chunk.live(), live: chunk.clone(), met: [0; WORDS] };
        Self { parts: live.chunks().map(part).collect(), cursor: 0, first: 0 }
    }

    /// Turns to the part of that number.
    #[inline]
    fn find(&mut self, number: u64) -> Option<&mut Part> {
        let is_at = |at: usize| self.parts.get(at).is_some_and(|part| part.number == number);
        if !is_at(self.cursor) {
            self.cursor = match self.cursor + 1 {
                next if is_at(next) => next,
                _ => self.parts.binary_search_by_key(&number, |part| part.number).ok()?,
            };
        }
        self.parts.get_mut(self.cursor)
    }

    /// Whether a message is still to be met, and in that segment.
    #[inline]
    pub(super) fn is_in(&mut self, sequence: u64, segment: SegmentNumber) -> bool {
        let (number, index) = split(sequence);
        self.find(number).is_some_and(|part| part.live.segment_of(index) == Some(segment) && !part.is_met(index))
    }

    /// Notes that a message was met that [was not](Self::is_in) before.
    #[inline]
    pub(super) fn meet(&mut self, sequence: u64) {
        let (number, index) = split(sequence);
        if let Some(part) = self.find(number) {
            part.met[usize::from(index) / 64] |= 1 << (index % 64);
            part.left -= 1;
        }
    }

    /// The lowest sequence that is left.
    pub(super) fn first_left(&mut self) -> Option<u64> {
        let skipped = self.parts[self.first..].iter().position(|part| part.left > 0);
        self.first = skipped.map_or(self.parts.len(), |skipped| self.first + skipped);
        let Some(part) = self.parts.get(self.first) else {
            // Nobody will ask for the others again.
            *self = Self::default();
            return None;
        };
        Some(part.number * CHUNK_SEQUENCES + u64::from(part.first_left()?))
    }

    /// Whether any message, met or not, lies between two others.
    pub(super) fn any_between(&self, after: u64, before: u64) -> bool {
        let Some(from) = after.checked_add(1).filter(|from| *from < before) else { return false };
        let (number, index) = split(from);
        let start = self.parts.partition_point(|part| part.number < number);
        let next = self.parts[start..].iter().find_map(|part| {
            let index = part.live.next_live(if part.number == number { index } else { 0 })?;
            Some(part.number * CHUNK_SEQUENCES + u64::from(index))
        });
        next.is_some_and(|sequence| sequence < before)
    }

    /// What is left, as runs.
    pub(super) fn for_each_run(&self, mut each: impl FnMut(Run)) {
        for part in &self.parts {
            let base = part.number * CHUNK_SEQUENCES;
            part.live.for_each_run(base, &mut |run| {
                let is_left = |sequence: &u64| !part.is_met((sequence - base) as u16);
                let left = (run.first..run.first + run.length).filter(is_left);
                left.for_each(|first| each(Run { first, length: 1, ..run }));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_met_still_lies_between_others() {
        let mut live = LiveSet::default();
        live.append(Run { first: 10, length: 3, segment: 1 });
        live.append(Run { first: 5000, length: 1, segment: 2 });
        live.insert(11, 3);
        let mut unloaded = Unloaded::new(&live);
        assert!(unloaded.is_in(10, 1) && unloaded.is_in(11, 3) && unloaded.is_in(5000, 2));
        assert!(!unloaded.is_in(11, 1) && !unloaded.is_in(13, 1) && !unloaded.is_in(4999, 2));
        assert_eq!(unloaded.first_left(), Some(10));
        for sequence in [10, 12, 5000] {
            unloaded.meet(sequence);
            assert!(!unloaded.is_in(sequence, 1));
        }
        assert_eq!(unloaded.first_left(), Some(11));
        assert!(unloaded.any_between(11, 5000) && !unloaded.any_between(12, 5000) && !unloaded.any_between(11, 12));
        let mut left = Vec::new();
        unloaded.for_each_run(|run| left.push((run.first, run.length, run.segment)));
        assert_eq!(left, [(11, 1, 3)]);
        unloaded.meet(11);
        assert_eq!(unloaded.first_left(), None);
    }
}
