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

use super::chunk::{CHUNK_SEQUENCES, Chunk, split};
use super::segment::SegmentNumber;
use std::collections::BTreeMap;

/// The live sequences of one queue.
#[derive(Clone, Default, Debug)]
pub struct LiveSet {
    /// All but the last one; something is alive in each of them.
    chunks: BTreeMap<u64, Box<Chunk>>,
    /// The chunk that sequences are appended to, so that appending searches nothing. It stays when nothing is alive in
    /// it: queues that are mostly empty would make it again for every message.
    tail: Option<(u64, Box<Chunk>)>,
    count: u64,
}

/// Neighbouring live sequences in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub length: u64,
    pub segment: SegmentNumber,
}

impl LiveSet {
    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a sequence in, or moves it; says in which segment it was before.
    #[inline]
    pub fn insert(&mut self, sequence: u64, segment: SegmentNumber) -> Option<SegmentNumber> {
        let (number, index) = split(sequence);
        let before = self.chunk_mut(number).insert(index, segment);
        self.count += u64::from(before.is_none());
        before
    }

    /// Puts in a run whose sequences lie above all that are there.
    pub fn append(&mut self, run: Run) {
        let Run { mut first, length: mut rest, segment } = run;
        while rest > 0 {
            let (number, index) = split(first);
            let length = rest.min(CHUNK_SEQUENCES - u64::from(index));
            let last = index + (length - 1) as u16;
            self.chunk_mut(number).append(index, last, segment);
            rest -= length;
            first = first.saturating_add(length);
        }
        self.count += run.length;
    }

    /// The chunk of that number, which is made if it isn't there.
    #[inline]
    fn chunk_mut(&mut self, number: u64) -> &mut Chunk {
        let tail = self.tail.as_ref().map(|(tail, _)| *tail);
        if tail > Some(number) {
            return self.chunks.entry(number).or_default();
        }
        if tail < Some(number)
            && let Some((before, chunk)) = self.tail.take()
            && chunk.live() > 0
        {
            self.chunks.insert(before, chunk);
        }
        &mut self.tail.get_or_insert_with(|| (number, Box::default())).1
    }

    /// Takes all live sequences from `first` to `last` out, and says how many of each segment.
    pub fn remove_range(&mut self, first: u64, last: u64, mut removed: impl FnMut(SegmentNumber, u64)) {
        if first > last {
            return;
        }
        let mut count = 0;
        let mut counted = |segment, taken| {
            count += taken;
            removed(segment, taken);
        };
        let mut part = |number: u64, chunk: &mut Chunk| {
            let start = if split(first).0 == number { split(first).1 } else { 0 };
            let end = if split(last).0 == number { split(last).1 } else { CHUNK_SEQUENCES as u16 - 1 };
            chunk.take_range(start, end, &mut counted);
        };
        let mut next = split(first).0;
        while let Some((&number, chunk)) = self.chunks.range_mut(next..=split(last).0).next() {
            part(number, chunk);
            if chunk.live() == 0 {
                self.chunks.remove(&number);
            }
            next = number + 1;
            if next > split(last).0 {
                break;
            }
        }
        if let Some((number, chunk)) = &mut self.tail
            && (split(first).0..=split(last).0).contains(number)
        {
            part(*number, chunk);
        }
        self.count -= count;
    }

    pub fn segment_of(&self, sequence: u64) -> Option<SegmentNumber> {
        let (number, index) = split(sequence);
        match &self.tail {
            Some((tail, chunk)) if *tail == number => chunk.segment_of(index),
            _ => self.chunks.get(&number)?.segment_of(index),
        }
    }

    /// The chunks with live sequences, ascending.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        let tail = self.tail.iter().filter(|(_, chunk)| chunk.live() > 0);
        let tail = tail.map(|(number, chunk)| (*number, &**chunk));
        self.chunks.iter().map(|(number, chunk)| (*number, &**chunk)).chain(tail)
    }

    /// All live sequences as runs, ascending.
    pub fn for_each_run(&self, mut each: impl FnMut(Run)) {
        let mut open: Option<Run> = None;
        for (number, chunk) in self.chunks() {
            chunk.for_each_run(number * CHUNK_SEQUENCES, &mut |run| match &mut open {
                Some(open) if open.first + open.length == run.first && open.segment == run.segment => {
                    open.length += run.length;
                }
                _ => {
                    if let Some(done) = open.replace(run) {
                        each(done);
                    }
                }
            });
        }
        if let Some(done) = open {
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
        /// So far above the last one, so many.
        Append(u64, u64, SegmentNumber),
        RemoveRange(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let sequence = || prop_oneof![0_u64..8, 60_u64..70, 1018_u64..1032, 4090_u64..4100];
        let step = prop_oneof![
            6 => (sequence(), 0_u64..4).prop_map(|(sequence, segment)| Step::Insert(sequence, segment)),
            1 => (0_u64..1500, 1_u64..1500, 0_u64..4).prop_map(|(gap, length, segment)| Step::Append(gap, length, segment)),
            2 => sequence().prop_map(|sequence| Step::RemoveRange(sequence, sequence)),
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
                    Step::Append(gap, length, segment) => {
                        let first = model.last_key_value().map_or(0, |(last, _)| last + 1) + gap;
                        set.append(Run { first, length, segment });
                        model.extend((first..first + length).map(|sequence| (sequence, segment)));
                    }
                    Step::RemoveRange(first, last) => {
                        let mut removed: BTreeMap<SegmentNumber, u64> = BTreeMap::new();
                        set.remove_range(first, last, |segment, count| *removed.entry(segment).or_default() += count);
                        let mut gone: BTreeMap<SegmentNumber, u64> = BTreeMap::new();
                        model.range(first..=last).for_each(|(_, segment)| *gone.entry(*segment).or_default() += 1);
                        prop_assert_eq!(removed, gone);
                        model.retain(|sequence, _| !(first..=last).contains(sequence));
                    }
                }
                prop_assert_eq!(set.len(), model.len() as u64);
                let mut runs = Vec::new();
                set.for_each_run(|run| runs.push(run));
                let apart = |pair: &[Run]| pair[0].segment != pair[1].segment || pair[0].first + pair[0].length < pair[1].first;
                prop_assert!(runs.windows(2).all(apart), "runs are as long as they can be: {:?}", runs);
                let of_runs = runs.iter().flat_map(|run| (run.first..run.first + run.length).map(|at| (at, run.segment)));
                prop_assert!(of_runs.eq(model.iter().map(|(sequence, segment)| (*sequence, *segment))));
                for sequence in [0, 5, 63, 64, 1023, 1024, 4095, 4096] {
                    prop_assert_eq!(set.segment_of(sequence), model.get(&sequence).copied());
                }
            }
        }
    }

    #[test]
    fn an_emptied_last_chunk_is_in_nobodys_way() {
        let mut set = LiveSet::default();
        set.insert(4091, 0);
        set.remove_range(4090, 4091, |_, _| {});
        set.insert(5, 0);
        set.append(Run { first: 6, length: 1, segment: 0 });
        set.insert(0, 0);
        let mut runs = Vec::new();
        set.for_each_run(|run| runs.push((run.first, run.length)));
        assert_eq!((runs, set.len()), (vec![(0, 1), (5, 2)], 3));
    }

    #[test]
    fn a_range_over_all_numbers_costs_what_is_there() {
        let mut set = LiveSet::default();
        set.insert(3, 1);
        set.insert(u64::MAX, 2);
        let mut removed = Vec::new();
        set.remove_range(0, u64::MAX, |segment, count| removed.push((segment, count)));
        assert_eq!(removed, [(1, 1), (2, 1)]);
        assert!(set.is_empty());
    }
}
