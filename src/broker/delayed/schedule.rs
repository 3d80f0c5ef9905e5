//! The delayed messages of one exchange, by the time they are due.
//!
//! ```text
//!            now                                                                              latest
//!   ready     │ 1 ms │ 1 ms │ …        a bucket of one millisecond is given out from its front
//!   later     │                 │ 64 ms │ 64 ms │ … │    4 s    │ …      │        4 min        │ …
//! ```
//! A bucket is a stretch of time: the longer, the farther away it is. Within it messages lie in the order in which they
//! came, packed as in a long queue, in memory or outside of it. Before the time of a bucket comes it is opened: its messages
//! go to the buckets of shorter stretches within its own, so that each is moved a few times at most, whatever the number of
//! all. A bucket of one millisecond needs no order, and messages that are due in the same millisecond come in the order in
//! which they were published: what comes while a bucket is being opened still goes to its end. So does what a wider one that
//! is being opened, too, still has for its stretch: that was there before what comes, and after what the narrow one has.
//!
//! Stretches begin at multiples of their lengths and never overlap. Chunks that lie in one shorter stretch are moved as a
//! whole, unread. This module knows no clock, and nothing of what messages say.

use super::bucket::{Bucket, LEVEL_MAX, level_of, start_ms, width_ms};
use super::chunk::{CHUNK_BYTES_MAX, Chunk, Message, PAGE_WORTH_BYTES};
use crate::broker::message::{MessageRef, NEVER};
use crate::broker::page::Entry;
use crate::broker::store::{PageId, Pages};
use std::collections::BTreeMap;

/// A bucket is opened so long before its time, …
const LEAD_MS: u64 = 200;
/// … and sooner by a millisecond for so many of its bytes, …
const OPENED_BYTES_PER_MS: usize = 256 << 10;
/// … or for so many that are not in memory.
const READ_BYTES_PER_MS: usize = 16 << 10;
/// Chunks that are asked for before they are needed.
const CHUNKS_AHEAD: usize = 4;

/// A chunk of so many bytes leaves memory before those that may still grow.
const FULL_BYTES: usize = CHUNK_BYTES_MAX / 2;
/// Buckets that are opened at the same time for which chunks are asked for.
const OPENED_TOGETHER: usize = 4;

pub(super) struct Schedule {
    /// Of one millisecond each.
    ready: BTreeMap<u64, Bucket>,
    /// Of longer stretches.
    later: BTreeMap<u64, Bucket>,
    /// Out of `later`, on their way to shorter stretches, by their times.
    opening: Vec<Bucket>,
    /// When to look which of `later` has to be opened; [`NEVER`] when there is none.
    look_at_ms: u64,
    count: usize,
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// In memory.
    Here,
    /// In none.
    Nowhere,
    /// It may be in a chunk that was asked for.
    Away,
}

/// When a bucket has to be opened.
fn opens_at_ms(bucket: &Bucket) -> u64 {
    let lead_ms =
        LEAD_MS + (bucket.bytes() / OPENED_BYTES_PER_MS) as u64 + (bucket.away_bytes() / READ_BYTES_PER_MS) as u64;
    bucket.start_ms().saturating_sub(lead_ms)
}

impl Default for Schedule {
    fn default() -> Self {
        let (ready, later, opening) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { ready, later, opening, look_at_ms: NEVER, count: 0 }
    }
}

impl Schedule {
    /// Messages that wait.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a message. Its time is [`expires_at_ms`](Entry::expires_at_ms).
    pub fn insert(&mut self, entry: &Entry<'_>, now_ms: u64) {
        self.count += 1;
        let due_ms = entry.expires_at_ms;
        if self.bucket_for(due_ms, now_ms, LEVEL_MAX).push(entry) {
            self.note_growth(due_ms);
        }
    }

    /// Adds a message whose body is not copied.
    pub fn insert_large(&mut self, message: MessageRef, sequence: u64, due_ms: u64, now_ms: u64) {
        self.count += 1;
        self.bucket_for(due_ms, now_ms, LEVEL_MAX).push_large(message, sequence, due_ms);
        self.note_growth(due_ms);
    }

    /// The bucket of a time has grown, and may have to be opened sooner.
    fn note_growth(&mut self, due_ms: u64) {
        if let Some(bucket) = self.later_covering(due_ms).and_then(|start_ms| self.later.get(&start_ms)) {
            self.look_at_ms = self.look_at_ms.min(opens_at_ms(bucket));
        }
    }

    /// The bucket that a message goes to which is due then, and which is made if there is none: of the level that its distance
    /// asks for, but not above `level_max`, and of a lower one where shorter stretches are there already. Of those that are
    /// being opened it is the widest: what that has left comes before the message, and after what is in narrower ones.
    fn bucket_for(&mut self, due_ms: u64, now_ms: u64, level_max: u32) -> &mut Bucket {
        let opening =
            self.opening.iter().enumerate().filter(|(_, bucket)| bucket.level() <= level_max && bucket.covers(due_ms));
        if let Some((index, _)) = opening.max_by_key(|(_, bucket)| bucket.level()) {
            return &mut self.opening[index];
        }
        if let Some(start_ms) = self.later_covering(due_ms) {
            return self.later.get_mut(&start_ms).expect("it was just found");
        }
        let mut level = level_of(due_ms.saturating_sub(now_ms)).min(level_max);
        while level > 0 && !self.is_free(start_ms(due_ms, level), level) {
            level -= 1;
        }
        let buckets = if level == 0 { &mut self.ready } else { &mut self.later };
        let start_ms = start_ms(due_ms, level);
        buckets.entry(start_ms).or_insert_with(|| Bucket::new(start_ms, level))
    }

    fn later_covering(&self, due_ms: u64) -> Option<u64> {
        let (start_ms, bucket) = self.later.range(..=due_ms).next_back()?;
        bucket.covers(due_ms).then_some(*start_ms)
    }

    /// Whether no bucket is within a stretch.
    fn is_free(&self, start_ms: u64, level: u32) -> bool {
        let stretch = start_ms..start_ms + width_ms(level);
        !self.opening.iter().any(|bucket| stretch.contains(&bucket.start_ms()))
            && self.later.range(stretch.clone()).next().is_none()
            && self.ready.range(stretch).next().is_none()
    }

    /// When there is something to do next: to [open](Self::open), to [read ahead](Self::read_ahead) or to
    /// [take](Self::take_due). What waits for a page waits for nothing else.
    pub fn next_ms(&self) -> u64 {
        let is_actionable = |bucket: &Bucket| bucket.front().is_none_or(|chunk| !chunk.is_coming());
        if self.opening.iter().take(OPENED_TOGETHER).any(is_actionable) {
            return 0;
        }
        let due_ms = match self.ready.first_key_value() {
            Some((start_ms, bucket)) if bucket.front().is_none_or(Chunk::is_in_memory) => *start_ms,
            Some((start_ms, bucket)) if is_actionable(bucket) => start_ms.saturating_sub(LEAD_MS),
            _ => NEVER,
        };
        due_ms.min(self.look_at_ms)
    }

    /// Gives messages that are due to `take`, and at most so many. How many there were.
    pub fn take_due(&mut self, now_ms: u64, most: usize, mut take: impl FnMut(Message<'_>)) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(mut first) = self.ready.first_entry()
            && *first.key() <= now_ms
        {
            let count = first.get_mut().take(most - taken, &mut take);
            taken += count;
            if first.get().count() == 0 {
                first.remove();
            } else if count == 0 {
                break;
            }
        }
        self.count -= taken;
        taken
    }

    /// Asks for chunks that are soon due, and for those of buckets that are being opened.
    pub fn read_ahead(&mut self, now_ms: u64, pages: &mut impl Pages, mut asked: impl FnMut(PageId)) {
        let soon_ms = now_ms + LEAD_MS;
        let soon = self.ready.range_mut(..=soon_ms).take(CHUNKS_AHEAD);
        soon.for_each(|(_, bucket)| bucket.ask_for(CHUNKS_AHEAD, pages, &mut asked));
        let opening = self.opening.iter_mut().take(OPENED_TOGETHER);
        opening.for_each(|bucket| bucket.ask_for(CHUNKS_AHEAD, pages, &mut asked));
    }

    /// Moves messages of buckets whose time comes to shorter stretches, and at most about so many. How many there were.
    pub fn open(&mut self, now_ms: u64, most: usize) -> usize {
        if self.look_at_ms <= now_ms {
            self.begin_to_open(now_ms);
        }
        let (mut moved, mut index) = (0, 0);
        while index < self.opening.len() && moved < most {
            // While it is out, its messages find shorter stretches than its own, and some of these are being opened, too.
            let mut bucket = self.opening.remove(index);
            while moved < most
                && let Some(count) = self.open_chunk(&mut bucket, now_ms, most - moved)
            {
                moved += count;
            }
            if bucket.count() > 0 {
                self.opening.insert(index, bucket);
                index += 1;
            }
        }
        moved
    }

    fn begin_to_open(&mut self, now_ms: u64) {
        let is_due = |(start_ms, bucket): (&u64, &Bucket)| (opens_at_ms(bucket) <= now_ms).then_some(*start_ms);
        let due: Vec<u64> = self.later.iter().filter_map(is_due).collect();
        self.opening.extend(due.into_iter().filter_map(|start_ms| self.later.remove(&start_ms)));
        self.opening.sort_by_key(Bucket::start_ms);
        self.look_at_ms = self.later.values().map(opens_at_ms).min().unwrap_or(NEVER);
    }

    /// Moves messages of a bucket's first chunk, or all of it at once. `None` when there is none, or it has to be read and is
    /// not in memory.
    fn open_chunk(&mut self, bucket: &mut Bucket, now_ms: u64, most: usize) -> Option<usize> {
        let below = bucket.level() - 1;
        let front = bucket.front()?;
        let (first_ms, last_ms) = front.due_ms();
        let lies_together = start_ms(first_ms, below) == start_ms(last_ms, below);
        let is_in_memory = front.is_in_memory();
        if lies_together && self.bucket_for(first_ms, now_ms, below).covers(last_ms) {
            let chunk = bucket.pop_chunk()?;
            self.bucket_for(first_ms, now_ms, below).push_chunk(chunk);
            self.note_growth(first_ms);
            return Some(1);
        }
        is_in_memory.then(|| {
            bucket.take(most, |found| {
                let due_ms = found.due_ms();
                let child = self.bucket_for(due_ms, now_ms, below);
                let began_chunk = match found {
                    Message::Packed(entry) => child.push(&entry),
                    Message::Large { message, sequence, due_ms } => {
                        child.push_large(message.clone(), sequence, due_ms);
                        true
                    }
                };
                if began_chunk {
                    self.note_growth(due_ms);
                }
            })
        })
    }

    /// What was asked for is here. Of a chunk that went meanwhile it is nothing.
    pub fn arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        let mut bytes = Some(bytes);
        let buckets = self.ready.values_mut().chain(&mut self.opening).chain(self.later.values_mut());
        for bucket in buckets {
            let Some(unclaimed) = bytes.take() else { break };
            bytes = bucket.arrived(page, unclaimed);
        }
    }

    /// Moves a chunk out of memory, the farthest first; whether there was one. Only those that are full, unless every one
    /// that is worth it is to go.
    pub fn page_out(&mut self, now_ms: u64, only_full: bool, pages: &mut impl Pages) -> bool {
        let least = if only_full { FULL_BYTES } else { PAGE_WORTH_BYTES };
        let soon_ms = now_ms + 2 * LEAD_MS;
        for bucket in self.later.values_mut().rev() {
            if bucket.page_out(least, 0, pages) {
                self.look_at_ms = self.look_at_ms.min(opens_at_ms(bucket));
                return true;
            }
        }
        // Its first ones are needed next.
        let needed = |start_ms: u64| if start_ms > soon_ms { 0 } else { CHUNKS_AHEAD };
        self.opening.iter_mut().rev().any(|bucket| bucket.page_out(least, CHUNKS_AHEAD, pages))
            || self.ready.iter_mut().rev().any(|(start_ms, bucket)| bucket.page_out(least, needed(*start_ms), pages))
    }

    /// Finds a message. What it may be in is asked for.
    pub fn find(&mut self, due_ms: u64, sequence: u64, pages: &mut impl Pages, mut asked: impl FnMut(PageId)) -> Found {
        for bucket in self.buckets_covering(due_ms) {
            for index in 0..bucket.chunks().len() {
                let chunk = &bucket.chunks()[index];
                if !chunk.may_hold(sequence, due_ms) {
                    continue;
                }
                if !chunk.is_in_memory() {
                    bucket.ask_for_at(index, pages).into_iter().for_each(&mut asked);
                    return Found::Away;
                }
                if chunk.holds(sequence, due_ms) {
                    return Found::Here;
                }
            }
        }
        Found::Nowhere
    }

    /// Takes a message out before its time, if it is in memory. Whether it was a persistent one; `None` when it is not there.
    pub fn cancel(&mut self, due_ms: u64, sequence: u64) -> Option<bool> {
        let holds = |chunk: &Chunk| chunk.may_hold(sequence, due_ms) && chunk.holds(sequence, due_ms);
        let persistent = self.buckets_covering(due_ms).find_map(|bucket| {
            let index = bucket.chunks().iter().position(holds)?;
            bucket.cancel(index, sequence, due_ms)
        })?;
        self.count -= 1;
        Some(persistent)
    }

    /// Those that may have a message which is due then: more than one while some are being opened.
    fn buckets_covering(&mut self, due_ms: u64) -> impl Iterator<Item = &mut Bucket> {
        let opening = self.opening.iter_mut().filter(move |bucket| bucket.covers(due_ms));
        let later = self.later.range_mut(..=due_ms).next_back().map(|(_, bucket)| bucket);
        opening.chain(later.filter(|bucket| bucket.covers(due_ms))).chain(self.ready.get_mut(&due_ms))
    }

    /// Whether the messages are in memory that [`look`](Self::look) would show. If not, they are asked for.
    pub fn bring(
        &mut self,
        skipped: usize,
        most: usize,
        pages: &mut impl Pages,
        mut asked: impl FnMut(PageId),
    ) -> bool {
        let Self { ready, later, opening, .. } = self;
        let mut buckets: Vec<_> = ready.values_mut().chain(opening).chain(later.values_mut()).collect();
        buckets.sort_by_key(|bucket| bucket.start_ms());
        let end = skipped.saturating_add(most);
        let (mut is_here, mut before) = (true, 0);
        for bucket in buckets {
            let mut position = before;
            before += bucket.count();
            if before <= skipped {
                continue;
            }
            if position >= end {
                break;
            }
            for index in 0..bucket.chunks().len() {
                let first = position;
                position += bucket.chunks()[index].count();
                if position > skipped && first < end && !bucket.chunks()[index].is_in_memory() {
                    is_here = false;
                    bucket.ask_for_at(index, pages).into_iter().for_each(&mut asked);
                }
            }
        }
        is_here
    }

    /// Shows up to `most` messages behind the first `skipped`, stretch after stretch and in each as they came. Those that are
    /// not in memory are left out.
    pub fn look(&self, skipped: usize, most: usize, mut look: impl FnMut(&Message<'_>)) {
        let mut buckets: Vec<_> = self.ready.values().chain(&self.opening).chain(self.later.values()).collect();
        buckets.sort_by_key(|bucket| bucket.start_ms());
        let end = skipped.saturating_add(most);
        let mut position = 0;
        for chunk in buckets.iter().flat_map(|bucket| bucket.chunks()) {
            if position >= end {
                break;
            }
            let mut index = position;
            position += chunk.count();
            if position <= skipped {
                continue;
            }
            chunk.look(|message| {
                if index >= skipped {
                    look(&message);
                }
                index += 1;
                index < end
            });
        }
    }

    /// Takes a chunk out for good, and whether there was one.
    pub fn discard_one(&mut self, pages: &mut impl Pages) -> bool {
        let Self { ready, later, opening, .. } = self;
        let gone = |bucket: &mut Bucket, pages: &mut _| !bucket.discard_one(pages);
        while let Some(mut first) = ready.first_entry() {
            if !gone(first.get_mut(), pages) {
                return true;
            }
            first.remove();
        }
        while let Some(mut first) = later.first_entry() {
            if !gone(first.get_mut(), pages) {
                return true;
            }
            first.remove();
        }
        while let Some(last) = opening.last_mut() {
            if !gone(last, pages) {
                return true;
            }
            opening.pop();
        }
        false
    }
}
