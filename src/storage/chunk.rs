//! A thousand sequences of a queue: which of them are alive, and in which segment each one lies.
//!
//! It is handled by words wherever that is possible: logs hold long runs.

use super::live_set::Run;
use super::segment::SegmentNumber;

/// Sequences in a chunk.
pub(super) const CHUNK_SEQUENCES: u64 = 1024;
pub(super) const WORDS: usize = CHUNK_SEQUENCES as usize / 64;
const LAST: u16 = CHUNK_SEQUENCES as u16 - 1;

#[derive(Clone, Default, Debug)]
pub(super) struct Chunk {
    bits: [u64; WORDS],
    live: u32,
    /// Ascending by sequence within the chunk; neighbours differ in their segment. Sequences before the first span's
    /// are dead.
    spans: Vec<(u16, SegmentNumber)>,
}

/// The chunk of a sequence, and its place there.
pub(super) fn split(sequence: u64) -> (u64, u16) {
    (sequence / CHUNK_SEQUENCES, (sequence % CHUNK_SEQUENCES) as u16)
}

/// Those bits of a word that stand for places from `first` to `last`.
#[inline]
fn mask(word: usize, first: u16, last: u16) -> u64 {
    let start = word as u16 * 64;
    let from = u64::MAX << first.saturating_sub(start).min(63);
    let to = u64::MAX >> (63 - last.saturating_sub(start).min(63));
    from & to
}

fn words(first: u16, last: u16) -> std::ops::RangeInclusive<usize> {
    usize::from(first) / 64..=usize::from(last) / 64
}

impl Chunk {
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    #[inline]
    fn is_live(&self, index: u16) -> bool {
        self.bits[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    #[inline]
    fn span_at(&self, index: u16) -> Option<usize> {
        self.spans.partition_point(|(first, _)| *first <= index).checked_sub(1)
    }

    /// The segment of a live message.
    #[inline]
    pub(super) fn segment_of(&self, index: u16) -> Option<SegmentNumber> {
        if !self.is_live(index) {
            return None;
        }
        self.span_at(index).map(|at| self.spans[at].1)
    }

    /// The first live place from `index` on.
    #[inline]
    pub(super) fn next_live(&self, index: u16) -> Option<u16> {
        self.next_bit(index, 0)
    }

    /// The first place from `index` on whose bit, with all bits turned by `turn`, is set.
    #[inline]
    fn next_bit(&self, index: u16, turn: u64) -> Option<u16> {
        let mut word = usize::from(index) / 64;
        if word >= WORDS {
            return None;
        }
        let mut bits = (self.bits[word] ^ turn) & u64::MAX << (index % 64);
        while bits == 0 {
            word += 1;
            bits = self.bits.get(word)? ^ turn;
        }
        Some(word as u16 * 64 + bits.trailing_zeros() as u16)
    }

    /// Puts a place in, or moves it; says in which segment it was before.
    #[inline]
    pub(super) fn insert(&mut self, index: u16, segment: SegmentNumber) -> Option<SegmentNumber> {
        let before = self.segment_of(index);
        let is_in_last_span = self.spans.last().is_some_and(|(first, last)| *first <= index && *last == segment);
        if !is_in_last_span {
            self.place(index, segment);
        }
        if before.is_none() {
            self.bits[usize::from(index) / 64] |= 1 << (index % 64);
            self.live += 1;
        }
        before
    }

    /// Puts all places from `first` to `last` in, none of which is alive, and none behind them.
    pub(super) fn append(&mut self, first: u16, last: u16, segment: SegmentNumber) {
        debug_assert!(self.next_live(first).is_none());
        self.spans.truncate(self.spans.partition_point(|(begin, _)| *begin < first));
        if self.spans.last().is_none_or(|(_, before)| *before != segment) {
            self.spans.push((first, segment));
        }
        for word in words(first, last) {
            self.bits[word] |= mask(word, first, last);
        }
        self.live += u32::from(last - first) + 1;
    }

    /// Makes `index` lie in `segment` and everything behind it stay where it was.
    fn place(&mut self, index: u16, segment: SegmentNumber) {
        let span = self.span_at(index);
        if span.is_some_and(|at| self.spans[at].1 == segment) {
            return;
        }
        let next_index = index + 1;
        let next_begins_span =
            self.spans.get(span.map_or(0, |at| at + 1)).is_some_and(|(first, _)| *first == next_index);
        // Nothing behind the last sequence of an appending queue: its span goes on for the sequences to come.
        let is_last = span.is_none_or(|at| at + 1 == self.spans.len()) && self.next_live(next_index).is_none();
        let goes_on_behind = !is_last && !next_begins_span && index < LAST;
        let insert_at = match span {
            Some(at) if self.spans[at].0 == index => {
                let old = std::mem::replace(&mut self.spans[at].1, segment);
                if goes_on_behind {
                    self.spans.insert(at + 1, (next_index, old));
                }
                at
            }
            Some(at) => {
                let old = self.spans[at].1;
                self.spans.insert(at + 1, (index, segment));
                if goes_on_behind {
                    self.spans.insert(at + 2, (next_index, old));
                }
                at + 1
            }
            None => {
                self.spans.insert(0, (index, segment));
                0
            }
        };
        if self.spans.get(insert_at + 1).is_some_and(|(_, next)| *next == segment) {
            self.spans.remove(insert_at + 1);
        }
        if insert_at > 0 && self.spans[insert_at - 1].1 == segment {
            self.spans.remove(insert_at);
        }
    }

    /// Takes all live places from `first` to `last` out, and says how many of each segment.
    pub(super) fn take_range(&mut self, first: u16, last: u16, taken: &mut impl FnMut(SegmentNumber, u64)) {
        for at in self.span_at(first).unwrap_or(0)..self.spans.len() {
            let (begin, segment) = self.spans[at];
            if begin > last {
                break;
            }
            let (start, end) = (begin.max(first), self.span_end(at).min(last));
            let mut count = 0;
            for word in words(start, end) {
                let mask = mask(word, start, end);
                count += (self.bits[word] & mask).count_ones();
                self.bits[word] &= !mask;
            }
            if count > 0 {
                self.live -= count;
                taken(segment, u64::from(count));
            }
        }
        if self.live == 0 {
            self.spans.clear();
        }
    }

    /// The last place of a span.
    fn span_end(&self, at: usize) -> u16 {
        self.spans.get(at + 1).map_or(LAST, |(next, _)| next - 1)
    }

    /// Calls `each` with the runs of live places, ascending, as sequences that begin with `base`.
    pub(super) fn for_each_run(&self, base: u64, each: &mut impl FnMut(Run)) {
        for (at, &(begin, segment)) in self.spans.iter().enumerate() {
            let end = self.span_end(at) + 1;
            let mut next = begin;
            while let Some(first) = self.next_live(next).filter(|first| *first < end) {
                next = self.next_bit(first, u64::MAX).map_or(end, |dead| dead.min(end));
                each(Run { first: base + u64::from(first), length: u64::from(next - first), segment });
            }
        }
    }
}
