//! What a member gives its writer: one request at a time, and all that comes meanwhile together in the next one.
//!
//! ```text
//!   steps ──► waiting ──► Append, one out ──► Persisted ──► messages that waited for it
//! ```
//! Steps are on the disk in the order of their numbers. What a later step cuts off before it was written is never written,
//! and a step that has nothing to write is on the disk when those before it are.

use super::super::message::{Point, RaftMessage};
use super::consensus::Step;
use crate::storage::entry::{Entry, Place, Vote};

/// To be written and synced, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    pub number: u64,
    pub entries: Vec<Entry>,
    pub vote: Option<Vote>,
}

#[derive(Default)]
pub struct Writing {
    waiting: Batch,
    out: Option<Out>,
}

#[derive(Default)]
struct Batch {
    /// Of the last step.
    number: Option<u64>,
    entries: Vec<Entry>,
    vote: Option<Vote>,
    then: Vec<RaftMessage>,
}

struct Out {
    number: u64,
    entries: Vec<Point>,
    bytes: usize,
    then: Vec<RaftMessage>,
    since_ms: u64,
}

/// What is on the disk now.
pub struct Persisted {
    pub number: u64,
    pub entries: Vec<(Point, Place)>,
    /// To be said now.
    pub then: Vec<RaftMessage>,
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.body.bytes().len()).sum()
}

impl Writing {
    /// Bodies that are not on the disk yet, in bytes.
    pub fn unwritten_bytes(&self) -> usize {
        bytes_of(&self.waiting.entries) + self.out.as_ref().map_or(0, |out| out.bytes)
    }

    /// Since when the writer has been busy with the same request.
    pub fn busy_since_ms(&self) -> Option<u64> {
        self.out.as_ref().map(|out| out.since_ms)
    }

    /// Takes what a step wants written. When it is on the disk already, as there is nothing to write, says so.
    pub fn add(&mut self, step: &mut Step) -> Option<Persisted> {
        let (entries, vote) = (std::mem::take(&mut step.entries), step.vote.take());
        let then = std::mem::take(&mut step.then);
        let is_idle = self.out.is_none() && self.waiting.number.is_none();
        if is_idle && entries.is_empty() && vote.is_none() {
            return Some(Persisted { number: step.number, entries: Vec::new(), then });
        }
        if let Some(first) = entries.first() {
            let cut = self.waiting.entries.partition_point(|entry| entry.label.index < first.label.index);
            self.waiting.entries.truncate(cut);
        }
        self.waiting.number = Some(step.number);
        self.waiting.entries.extend(entries);
        self.waiting.vote = vote.or(self.waiting.vote);
        self.waiting.then.extend(then);
        None
    }

    /// The next request, if the writer is idle.
    pub fn next(&mut self, now_ms: u64) -> Option<Append> {
        if self.out.is_some() {
            return None;
        }
        let number = self.waiting.number?;
        let Batch { entries, vote, then, .. } = std::mem::take(&mut self.waiting);
        let points = entries.iter().map(|entry| Point { index: entry.label.index, term: entry.label.term });
        let (points, bytes) = (points.collect(), bytes_of(&entries));
        self.out = Some(Out { number, entries: points, bytes, then, since_ms: now_ms });
        Some(Append { number, entries, vote })
    }

    /// The writer says that a request is on the disk, and where its entries lie.
    pub fn persisted(&mut self, number: u64, places: &[(u64, Place)]) -> Option<Persisted> {
        let out = self.out.take_if(|out| out.number == number)?;
        let place = |point: &Point| {
            let at = places.binary_search_by_key(&point.index, |(index, _)| *index).ok()?;
            Some((*point, places[at].1))
        };
        Some(Persisted { number, entries: out.entries.iter().filter_map(place).collect(), then: out.then })
    }

    /// A snapshot takes the place of what waits: it is neither written nor said, but for the vote, which is still to be
    /// written, whatever else is under way.
    pub fn give_up_waiting(&mut self) -> Option<Append> {
        let Batch { number, vote, .. } = std::mem::take(&mut self.waiting);
        let append = |number| Append { number, entries: Vec::new(), vote };
        number.filter(|_| vote.is_some()).map(append)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::entry::{EntryBody, EntryKind, EntryLabel};

    fn step(number: u64, entries: &[(u64, u64)]) -> Step {
        let entry = |&(term, index)| {
            let label = EntryLabel { term, index, first_position: index, records: 1, kind: EntryKind::Records };
            Entry { label, body: EntryBody::copied(b"body") }
        };
        Step { number, entries: entries.iter().map(entry).collect(), ..Step::default() }
    }

    fn indexes(append: &Append) -> Vec<(u64, u64)> {
        append.entries.iter().map(|entry| (entry.label.term, entry.label.index)).collect()
    }

    /// One sync is for all of it.
    #[test]
    fn what_comes_while_the_disk_is_busy_is_one_request() {
        let mut writing = Writing::default();
        assert!(writing.add(&mut step(1, &[(1, 1)])).is_none());
        assert_eq!(writing.next(0).map(|append| append.number), Some(1));
        for number in 2..=100 {
            assert!(writing.add(&mut step(number, &[(1, number)])).is_none());
            assert_eq!(writing.next(0), None, "one is out");
        }
        assert_eq!(writing.persisted(1, &[]).map(|persisted| persisted.number), Some(1));
        let all = writing.next(0).unwrap();
        assert_eq!((all.number, indexes(&all)), (100, (2..=100).map(|index| (1, index)).collect()));
        assert!(writing.persisted(100, &[]).is_some() && writing.next(0).is_none());
    }

    #[test]
    fn what_is_cut_off_before_it_is_written_is_not_written() {
        let mut writing = Writing::default();
        writing.add(&mut step(1, &[(1, 1)]));
        writing.next(0);
        writing.add(&mut step(2, &[(1, 2), (1, 3)]));
        writing.add(&mut step(3, &[(2, 3), (2, 4)]));
        writing.persisted(1, &[]);
        assert_eq!(indexes(&writing.next(0).unwrap()), [(1, 2), (2, 3), (2, 4)]);
    }
}
