//! Which messages of a queue are alive, and in which segment each one lies.
//!
//! ```text
//! chunks, by sequence / 1024
//!   ┌─ bits ───────────────┐   spans: from which sequence on which segment
//!   │ 0110 1111 1111 … 1   │   (0 → segment 7) (600 → segment 8)
//!   └──────────────────────┘
//! ```
//! Little more than one bit for a message. Chunks in which nothing is alive are not there, so one old message among
//! many dead ones costs one chunk, and sequences far apart cost no more than near ones.

use super::segment::SegmentNumber;
use std::collections::BTreeMap;

/// Sequences in a chunk.
const CHUNK_SEQUENCES: u64 = 1024;
const WORDS: usize = CHUNK_SEQUENCES as usize / 64;

/// The live sequences of one queue.
#[derive(Clone, Default, Debug)]
pub struct LiveSet {
    chunks: BTreeMap<u64, Box<Chunk>>,
    count: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    bits: [u64; WORDS],
    live: u32,
    /// Ascending by sequence within the chunk; neighbours differ in their segment. Sequences before the first span's
    /// are dead.
    spans: Vec<(u16, SegmentNumber)>,
}

/// Neighbouring live sequences in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub length: u64,
    pub segment: SegmentNumber,
}

impl Chunk {
    fn is_live(&self, index: u16) -> bool {
        self.bits[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    fn span_at(&self, index: u16) -> Option<usize> {
        self.spans.partition_point(|(first, _)| *first <= index).checked_sub(1)
    }

    fn segment_of(&self, index: u16) -> Option<SegmentNumber> {
        if !self.is_live(index) {
            return None;
        }
        self.span_at(index).map(|at| self.spans[at].1)
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
        let is_last = span.is_none_or(|at| at + 1 == self.spans.len()) && !self.any_live_from(next_index);
        let insert_at = match span {
            Some(at) if self.spans[at].0 == index => {
                let old = std::mem::replace(&mut self.spans[at].1, segment);
                if !is_last && !next_begins_span && u64::from(next_index) < CHUNK_SEQUENCES {
                    self.spans.insert(at + 1, (next_index, old));
                }
                at
            }
            Some(at) => {
                let old = self.spans[at].1;
                self.spans.insert(at + 1, (index, segment));
                if !is_last && !next_begins_span && u64::from(next_index) < CHUNK_SEQUENCES {
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

    fn any_live_from(&self, index: u16) -> bool {
        let word = usize::from(index) / 64;
        if word >= WORDS {
            return false;
        }
        self.bits[word] >> (index % 64) != 0 || self.bits[word + 1..].iter().any(|bits| *bits != 0)
    }
}

fn split(sequence: u64) -> (u64, u16) {
    (sequence / CHUNK_SEQUENCES, (sequence % CHUNK_SEQUENCES) as u16)
}

impl LiveSet {
    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a sequence in, or moves it; says in which segment it was before.
    pub fn insert(&mut self, sequence: u64, segment: SegmentNumber) -> Option<SegmentNumber> {
        let (number, index) = split(sequence);
        let chunk = self
            .chunks
            .entry(number)
            .or_insert_with(|| Box::new(Chunk { bits: [0; WORDS], live: 0, spans: Vec::with_capacity(1) }));
        let before = chunk.segment_of(index);
        chunk.place(index, segment);
        if before.is_none() {
            chunk.bits[usize::from(index) / 64] |= 1 << (index % 64);
            chunk.live += 1;
            self.count += 1;
        }
        before
    }

    /// Takes a sequence out; says in which segment it was.
    pub fn remove(&mut self, sequence: u64) -> Option<SegmentNumber> {
        let (number, index) = split(sequence);
        let chunk = self.chunks.get_mut(&number)?;
        let segment = chunk.segment_of(index)?;
        chunk.bits[usize::from(index) / 64] &= !(1 << (index % 64));
        chunk.live -= 1;
        self.count -= 1;
        if chunk.live == 0 {
            self.chunks.remove(&number);
        }
        Some(segment)
    }

    /// Takes all live sequences from `first` to `last` out, and names the segment of each.
    pub fn remove_range(&mut self, first: u64, last: u64, mut removed: impl FnMut(SegmentNumber)) {
        if first == last {
            if let Some(segment) = self.remove(first) {
                removed(segment);
            }
            return;
        }
        let mut next_chunk = split(first).0;
        while let Some((&number, _)) = self.chunks.range(next_chunk..=split(last).0).next() {
            let start = first.max(number * CHUNK_SEQUENCES);
            let end = last.min(number * CHUNK_SEQUENCES + (CHUNK_SEQUENCES - 1));
            for sequence in start..=end {
                if let Some(segment) = self.remove(sequence) {
                    removed(segment);
                }
            }
            let Some(following) = number.checked_add(1) else { break };
            next_chunk = following;
            if next_chunk > split(last).0 {
                break;
            }
        }
    }

    pub fn segment_of(&self, sequence: u64) -> Option<SegmentNumber> {
        let (number, index) = split(sequence);
        self.chunks.get(&number)?.segment_of(index)
    }

    /// All live sequences, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, SegmentNumber)> + '_ {
        self.chunks.iter().flat_map(|(number, chunk)| {
            let live = (0..CHUNK_SEQUENCES as u16).filter_map(move |index| Some((index, chunk.segment_of(index)?)));
            live.map(move |(index, segment)| (number * CHUNK_SEQUENCES + u64::from(index), segment))
        })
    }

    /// All live sequences as runs, ascending.
    pub fn for_each_run(&self, mut each: impl FnMut(Run)) {
        let mut run: Option<Run> = None;
        for (sequence, segment) in self.iter() {
            match &mut run {
                Some(open) if open.first + open.length == sequence && open.segment == segment => open.length += 1,
                _ => {
                    if let Some(done) = run.replace(Run { first: sequence, length: 1, segment }) {
                        each(done);
                    }
                }
            }
        }
        if let Some(done) = run {
            each(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, SegmentNumber),
        Remove(u64),
        RemoveRange(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let sequence = || prop_oneof![0_u64..8, 60_u64..70, 1018_u64..1032, 4090_u64..4100];
        let step = prop_oneof![
            6 => (sequence(), 0_u64..4).prop_map(|(sequence, segment)| Step::Insert(sequence, segment)),
            2 => sequence().prop_map(Step::Remove),
            1 => (sequence(), 0_u64..2000).prop_map(|(first, length)| Step::RemoveRange(first, first + length)),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against the obvious model: a map of sequences.
        #[test]
        fn it_is_a_map_of_sequences_to_segments(steps in steps()) {
            let mut set = LiveSet::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(sequence, segment) => {
                        prop_assert_eq!(set.insert(sequence, segment), model.insert(sequence, segment));
                    }
                    Step::Remove(sequence) => prop_assert_eq!(set.remove(sequence), model.remove(&sequence)),
                    Step::RemoveRange(first, last) => {
                        let mut removed = Vec::new();
                        set.remove_range(first, last, |segment| removed.push(segment));
                        let gone: Vec<_> = model.range(first..=last).map(|(_, segment)| *segment).collect();
                        prop_assert_eq!(removed, gone);
                        model.retain(|sequence, _| !(first..=last).contains(sequence));
                    }
                }
                prop_assert_eq!(set.len(), model.len() as u64);
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>());
            }
            let mut of_runs = Vec::new();
            set.for_each_run(|run| of_runs.extend((run.first..run.first + run.length).map(|at| (at, run.segment))));
            prop_assert_eq!(of_runs, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_range_over_all_numbers_costs_what_is_there() {
        let mut set = LiveSet::default();
        set.insert(3, 1);
        set.insert(u64::MAX, 2);
        let mut removed = Vec::new();
        set.remove_range(0, u64::MAX, |segment| removed.push(segment));
        assert_eq!(removed, [1, 2]);
        assert!(set.is_empty());
    }
}
