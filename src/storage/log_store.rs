//! The loop's half of the log: records are appended to an open batch, and positions say what became of them.
//!
//! ```text
//! enqueued, define, …  ──► open batch ──take_batch──► one batch in flight ──batch_done──► durable moves
//! removed ──► ranges, written when the batch is closed
//! ```
//! A position is the number of a record. Appending costs one copy of the message's image; in the steady state nothing
//! is allocated, as buffers come back with [`BatchDone`]. Removals are collected as ranges, and written behind the
//! batch's other records: their order among these does not matter, as a sequence is enqueued once and removed after it.
//!
//! This half does no I/O and knows neither segments nor offsets.

use super::batch::{BATCH_HEADER_BYTES, FLAG_CLEAN_STOP};
use super::error::StorageError;
use super::page_queue::PageQueue;
use super::{LogOptions, record};
use crate::broker::message::Content;
use crate::broker::store::{Definition, DurableQueueId, Log, LogPosition, PageId, Pages, Returns, Route};
use std::collections::VecDeque;

/// Buffers kept for batches to come.
const SPARE_BUFFERS_MAX: usize = 3;
/// A spare buffer that grew beyond this multiple of a batch's size, for one large message, is given back.
const SPARE_BUFFER_SIZE_FACTOR: usize = 2;
/// Ranges of removals, in entries, after which a batch is closed.
const REMOVED_RANGES_MAX: usize = 1 << 16;

/// When a position counts as durable, and when the disk is told to sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// Durable is what was synced; a waiting client makes the next batch sync.
    Always,
    /// Durable is what was written; a sync follows within the sync interval.
    Interval,
    /// Durable is what was written; the operating system syncs when it likes.
    Os,
    /// Durable is what most nodes have; every batch is synced without being asked to.
    Replicated,
}

/// A closed batch on its way to the writer.
#[derive(Debug)]
pub struct SealedBatch {
    /// Room for a batch header, then records. Only the room when there is nothing to write but a sync to do.
    pub buffer: Vec<u8>,
    pub first_position: u64,
    /// How many positions it takes.
    pub records: u32,
    pub flags: u32,
    /// Sync this and everything before it.
    pub sync: bool,
    /// Holds more than removals, so that it must be synced in the end.
    holds_more_than_removals: bool,
}

impl SealedBatch {
    /// The position of its last record, or of the one before when it holds none.
    pub fn last_position(&self) -> LogPosition {
        LogPosition(self.first_position + u64::from(self.records) - 1)
    }
}

/// What the writer says of a batch.
#[derive(Debug)]
pub struct BatchDone {
    pub result: Result<Written, StorageError>,
    /// A buffer of an earlier batch.
    pub recycled: Option<Vec<u8>>,
}

/// How far the log is written and synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    pub written: LogPosition,
    pub synced: LogPosition,
}

/// The log as the broker knows it, and its pages: a [`Store`](crate::broker::store::Store).
pub struct LogStore {
    options: LogOptions,
    /// Bytes with which the open batch is closed before the next record: a batch's size, and none at all while what comes is
    /// kept together.
    closed_at_bytes: usize,
    /// How many want that, one within the other.
    together: u32,
    open: Vec<u8>,
    /// The position that the next record gets.
    next_position: u64,
    /// Records in the open batch.
    open_records: u32,
    /// The record that ends the open batch, as long as it can take more routes.
    last_enqueue: Option<LastEnqueue>,
    holds_more_than_removals: bool,
    /// (queue, first, last), not yet in the open batch.
    removed: Vec<(DurableQueueId, u64, u64)>,
    /// Closed batches that wait for the writer.
    sealed: VecDeque<SealedBatch>,
    sealed_bytes: usize,
    in_flight: bool,
    spare: Vec<Vec<u8>>,
    progress: Written,
    awaited: LogPosition,
    /// When the oldest unsynced message was handed to the writer.
    unsynced_since_ms: Option<u64>,
    failed: bool,
    pages: PageQueue,
}

struct LastEnqueue {
    start: usize,
    position: LogPosition,
}

impl LogStore {
    /// A store that goes on after `last_position`, where recovery ended; everything up to there is durable.
    pub fn new(options: LogOptions, last_position: LogPosition) -> Self {
        Self {
            open: vec![0; BATCH_HEADER_BYTES],
            next_position: last_position.0 + 1,
            open_records: 0,
            last_enqueue: None,
            holds_more_than_removals: false,
            removed: Vec::new(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            in_flight: false,
            spare: Vec::new(),
            progress: Written { written: last_position, synced: last_position },
            awaited: last_position,
            unsynced_since_ms: None,
            failed: false,
            pages: PageQueue::default(),
            closed_at_bytes: options.batch_max_bytes,
            together: 0,
            options,
        }
    }

    /// Bytes that the writer was not given yet: the figure for back-pressure.
    pub fn pending_bytes(&self) -> usize {
        self.sealed_bytes + self.open.len() - BATCH_HEADER_BYTES
    }

    /// Pages on their way to the pager and back.
    pub fn pages_mut(&mut self) -> &mut PageQueue {
        &mut self.pages
    }

    /// Whether a batch is with the writer.
    pub fn is_writing(&self) -> bool {
        self.in_flight
    }

    /// Whether everything appended was written, and synced where it must be.
    pub fn is_idle(&self) -> bool {
        let nothing_waits = !self.in_flight && self.sealed.is_empty() && self.open_is_empty();
        nothing_waits && self.unsynced_since_ms().is_none() && self.is_agreed()
    }

    /// Whether most nodes have all that they are to have: word of one batch may come while the next one is in flight.
    fn is_agreed(&self) -> bool {
        self.options.sync_policy != SyncPolicy::Replicated || self.progress.synced.0 + 1 >= self.next_position
    }

    fn open_is_empty(&self) -> bool {
        self.open_records == 0 && self.removed.is_empty()
    }

    /// When [`take_batch`](Self::take_batch) has a sync to do although nothing was appended, in the caller's clock.
    pub fn sync_wanted_by_ms(&self) -> Option<u64> {
        let since = self.unsynced_since_ms().filter(|_| self.options.sync_policy != SyncPolicy::Replicated)?;
        // Handed over at the end of time by a broker that stops.
        Some(since.saturating_add(self.options.sync_interval_ms))
    }

    /// Since when something is not synced that must be.
    fn unsynced_since_ms(&self) -> Option<u64> {
        self.unsynced_since_ms.filter(|_| self.options.sync_policy != SyncPolicy::Os)
    }

    /// The next batch for the writer, if it is idle and there is something to do.
    pub fn take_batch(&mut self, now_ms: u64) -> Option<SealedBatch> {
        if self.in_flight || self.failed {
            return None;
        }
        if self.sealed.is_empty() && !self.open_is_empty() {
            self.seal();
        }
        let sync = self.wants_sync(now_ms);
        let mut batch = match self.sealed.pop_front() {
            Some(batch) => batch,
            None if sync => self.empty_batch(0),
            None => return None,
        };
        self.sealed_bytes -= batch.buffer.len() - BATCH_HEADER_BYTES;
        if batch.holds_more_than_removals && self.unsynced_since_ms.is_none() {
            self.unsynced_since_ms = Some(now_ms);
        }
        batch.sync = sync;
        self.in_flight = true;
        Some(batch)
    }

    /// The last batch of a clean stop, once the store [is idle](Self::is_idle): it tells recovery that there is no more.
    /// A checkpoint for the stop is asked for before it, as recovery reads only what comes after one.
    ///
    /// `delivered` says of queues below which sequence messages may have been delivered; of queues that are not named
    /// none was. Nobody but this node's next start has a use for that, so its records take no positions.
    pub fn take_final_batch(&mut self, delivered: impl IntoIterator<Item = (DurableQueueId, u64)>) -> SealedBatch {
        debug_assert!(!self.in_flight && self.sealed.is_empty() && self.open_is_empty());
        self.in_flight = true;
        let mut batch = self.empty_batch(FLAG_CLEAN_STOP);
        for (queue, below) in delivered {
            record::put_delivered(&mut batch.buffer, queue, below);
        }
        batch.sync = true;
        batch
    }

    fn empty_batch(&mut self, flags: u32) -> SealedBatch {
        SealedBatch {
            buffer: self.fresh_buffer(),
            first_position: self.next_position,
            records: 0,
            flags,
            sync: false,
            holds_more_than_removals: false,
        }
    }

    fn wants_sync(&self, now_ms: u64) -> bool {
        let somebody_waits = self.options.sync_policy == SyncPolicy::Always && self.awaited > self.progress.synced;
        somebody_waits || self.sync_wanted_by_ms().is_some_and(|by| by <= now_ms)
    }

    /// Takes the writer's word for a batch.
    ///
    /// # Errors
    /// The writer's error. Nothing will be durable any more, and no further batch is handed out.
    pub fn batch_done(&mut self, done: BatchDone) -> Result<(), StorageError> {
        self.in_flight = false;
        if let Some(mut buffer) = done.recycled {
            let is_ordinary = buffer.capacity() <= SPARE_BUFFER_SIZE_FACTOR * self.options.batch_max_bytes;
            if is_ordinary && self.spare.len() < SPARE_BUFFERS_MAX {
                buffer.truncate(BATCH_HEADER_BYTES);
                self.spare.push(buffer);
            }
        }
        match done.result {
            Ok(progress) => {
                debug_assert!(progress.written >= self.progress.written && progress.synced >= self.progress.synced);
                if progress.synced >= progress.written {
                    self.unsynced_since_ms = None;
                }
                self.progress = progress;
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Takes the word that more is on the disks of most nodes, of whom this one may be none.
    pub fn committed(&mut self, position: LogPosition) {
        self.progress.synced = self.progress.synced.max(position);
        if self.progress.synced >= self.progress.written {
            self.unsynced_since_ms = None;
        }
    }

    fn fresh_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; BATCH_HEADER_BYTES])
    }

    /// Closes the open batch and begins another one.
    fn seal(&mut self) {
        self.last_enqueue = None;
        self.write_removed();
        let fresh = self.fresh_buffer();
        let buffer = std::mem::replace(&mut self.open, fresh);
        self.sealed_bytes += buffer.len() - BATCH_HEADER_BYTES;
        let records = std::mem::take(&mut self.open_records);
        self.sealed.push_back(SealedBatch {
            buffer,
            first_position: self.next_position - u64::from(records),
            records,
            flags: 0,
            sync: false,
            holds_more_than_removals: std::mem::take(&mut self.holds_more_than_removals),
        });
    }

    /// Writes one record for each queue that lost messages.
    fn write_removed(&mut self) {
        let mut removed = std::mem::take(&mut self.removed);
        if !removed.is_sorted() {
            removed.sort_unstable();
        }
        for of_queue in removed.chunk_by(|a, b| a.0 == b.0) {
            record::put_removed(&mut self.open, of_queue[0].0, Joined(of_queue));
            self.next_record();
        }
        removed.clear();
        self.removed = removed;
    }

    /// Gives a position to the record that was just put into the open batch.
    #[inline]
    fn next_record(&mut self) -> LogPosition {
        let position = LogPosition(self.next_position);
        self.next_position += 1;
        self.open_records += 1;
        position
    }

    #[inline]
    fn seal_if_large(&mut self) {
        if self.open.len() >= self.closed_at_bytes {
            self.seal();
        }
    }

    fn put_other(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> LogPosition {
        self.seal_if_large();
        self.last_enqueue = None;
        self.holds_more_than_removals = true;
        put(&mut self.open);
        self.next_record()
    }
}

/// Joins neighbouring ranges of one queue.
struct Joined<'a>(&'a [(DurableQueueId, u64, u64)]);

impl Iterator for Joined<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (&(_, first, mut last), mut rest) = self.0.split_first()?;
        while let Some((&(_, next_first, next_last), others)) = rest.split_first()
            && next_first == last + 1
        {
            last = next_last;
            rest = others;
        }
        self.0 = rest;
        Some((first, last))
    }
}

impl Log for LogStore {
    #[inline]
    fn enqueued(&mut self, route: Route, content: &Content<'_>, priority: u8, beside: LogPosition) -> LogPosition {
        if let Some(last) = &self.last_enqueue
            && last.position == beside
        {
            record::put_route(&mut self.open, last.start, route);
            return last.position;
        }
        self.seal_if_large();
        self.holds_more_than_removals = true;
        let start = record::put_enqueue(&mut self.open, content, priority, route);
        let position = self.next_record();
        self.last_enqueue = Some(LastEnqueue { start, position });
        position
    }

    /// The open batch is not closed before it, however large it is.
    fn enqueued_together(&mut self, route: Route, content: &Content<'_>) -> LogPosition {
        self.last_enqueue = None;
        self.holds_more_than_removals = true;
        record::put_enqueue(&mut self.open, content, 0, route);
        self.next_record()
    }

    #[inline]
    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        if let Some((last_queue, _, last)) = self.removed.last_mut()
            && *last_queue == queue
            && *last + 1 == sequence
        {
            *last = sequence;
            return;
        }
        if self.removed.len() >= REMOVED_RANGES_MAX {
            self.seal();
        }
        self.removed.push((queue, sequence, sequence));
    }

    fn removed_range(&mut self, queue: DurableQueueId, first: u64, last: u64) {
        self.removed.push((queue, first, last));
    }

    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition {
        self.put_other(|open| record::put_purged(open, queue, up_to))
    }

    fn returned(&mut self, queue: DurableQueueId, sequence: u64, returns: Returns) -> LogPosition {
        self.put_other(|open| record::put_returned(open, queue, sequence, returns))
    }

    fn everything(&mut self) -> LogPosition {
        if !self.removed.is_empty() {
            self.last_enqueue = None;
            self.write_removed();
        }
        LogPosition(self.next_position - 1)
    }

    fn define(&mut self, definition: &Definition) -> LogPosition {
        self.put_other(|open| record::put_definition(open, definition))
    }

    fn keep_together(&mut self, keeps: bool) {
        self.seal_if_large();
        self.together = if keeps { self.together + 1 } else { self.together - 1 };
        self.closed_at_bytes = if self.together > 0 { usize::MAX } else { self.options.batch_max_bytes };
    }

    #[inline]
    fn awaited(&mut self, position: LogPosition) {
        self.awaited = self.awaited.max(position);
    }

    #[inline]
    fn pending_bytes(&self) -> usize {
        self.pending_bytes()
    }

    fn durable(&self) -> LogPosition {
        match self.options.sync_policy {
            SyncPolicy::Always | SyncPolicy::Replicated => self.progress.synced,
            SyncPolicy::Interval | SyncPolicy::Os => self.progress.written,
        }
    }
}

impl Pages for LogStore {
    fn put_page(&mut self, bytes: Vec<u8>) -> PageId {
        self.pages.put(bytes)
    }

    fn read_page(&mut self, page: PageId) {
        self.pages.read(page);
    }

    fn discard_page(&mut self, page: PageId) {
        self.pages.discard(page);
    }

    fn take_arrived_page(&mut self) -> Option<(PageId, Vec<u8>)> {
        self.pages.take_arrived()
    }

    fn unwritten_page_bytes(&self) -> usize {
        self.pages.unwritten_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicated_store_waits_for_the_batch_that_others_do_not_have_yet() {
        let options = LogOptions { sync_policy: SyncPolicy::Replicated, ..LogOptions::default() };
        let mut store = LogStore::new(options, LogPosition(10));
        let done = |written, synced| {
            let written = Written { written: LogPosition(written), synced: LogPosition(synced) };
            BatchDone { result: Ok(written), recycled: None }
        };
        store.purged(DurableQueueId(1), 1);
        assert!(store.take_batch(0).is_some());
        store.batch_done(done(11, 10)).unwrap();
        store.purged(DurableQueueId(1), 2);
        assert!(store.take_batch(0).is_some());
        store.committed(LogPosition(11));
        store.batch_done(done(12, 11)).unwrap();
        assert!(!store.is_idle(), "the second batch is on this disk alone");
        store.committed(LogPosition(12));
        assert!(store.is_idle());
    }
}
