//! Live messages out of their segments, into pages of their queues: the last part of a start, most of which goes on while
//! the broker serves.
//!
//! ```text
//! segment 7 ── batches, checked ──► those that are alive, and alive *here* ──► an open page for each queue ──► Loaded
//! ```
//! It reads every segment with live messages once, in the order of the log, and knows by the account as of recovery what
//! it has to find there: a removal since then is not its business, and neither is a message that was moved since.
//!
//! Pages of one queue do not overlap: between the first and the last sequence of a page there is no live message of that
//! queue but those in it. A moved message lies behind younger ones, so the page of its neighbours ends where it is
//! missing. No page waits for more than the rest of a segment.
//!
//! Values that exchanges remember come before all else, out of their segments alone: without them a broker must not serve, as
//! it would take duplicates in. So a segment may be read twice.
//!
//! The writer frees no segment that the loader has not read yet; [`Unread`] says which.

use super::disk::{Disk, Folder, is_unreadable};
use super::error::StorageError;
use super::live_set::Run;
use super::record::{BadRecord, Enqueue, Record, read_record};
use super::recovery::RecoveryMode;
use super::scan::{BAD_RECORD, BatchReader, Found, read_segment_header};
use super::segment::{SegmentHeader, SegmentNumber, file_name};
use super::state::{SegmentUse, State};
use super::unloaded::Unloaded;
use crate::broker::message::{NEVER, framed_body};
use crate::broker::page::{Entry, Page, PageBuilder};
use crate::broker::store::{DurableQueueId, Route};
use crate::varint::Cursor;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of messages in a page, unless a single one has more, …
const PAGE_MESSAGE_BYTES_MAX: usize = 128 << 10;
/// … and how many messages.
const PAGE_MESSAGES_MAX: usize = 1024;

/// A page of a durable queue.
#[derive(Debug)]
pub struct Loaded {
    pub queue: DurableQueueId,
    pub page: Page,
    /// With this page, all live messages of the queue with a lower sequence were loaded; `u64::MAX` when all were.
    pub complete_below: u64,
}

/// Which segments a loader still reads.
#[derive(Clone, Debug)]
pub struct Unread {
    from: Arc<AtomicU64>,
    /// The last one that was there when the loader was made.
    to: SegmentNumber,
}

impl Unread {
    pub(super) fn new(to: SegmentNumber) -> Self {
        Self { from: Arc::new(AtomicU64::new(0)), to }
    }

    pub fn contains(&self, number: SegmentNumber) -> bool {
        number <= self.to && number >= self.from.load(Ordering::Acquire)
    }

    /// All below `number` was read.
    fn advance(&self, number: SegmentNumber) {
        self.from.store(number, Ordering::Release);
    }
}

/// Loads what was alive when it was made.
pub struct Loader<D: Disk> {
    /// Loads values before this one loads anything.
    first: Option<Box<Self>>,
    disk: D,
    mode: RecoveryMode,
    /// With live messages, still to be read, ascending.
    segments: VecDeque<(SegmentNumber, SegmentUse)>,
    reader: Option<BatchReader<D::File>>,
    /// Live messages that are still to be found in the segment that is being read.
    expected: u64,
    packer: Packer,
    unread: Unread,
    bytes_read: u64,
    /// What it stepped over: [`RecoveryMode::Salvage`].
    damage: Vec<(SegmentNumber, String)>,
    buffer: Vec<u8>,
}

impl<D: Disk> Loader<D> {
    pub(super) fn new(disk: D, mode: RecoveryMode, state: &State, unread: Unread) -> Self {
        Self::of(disk, mode, state, unread, |_| true)
    }

    /// Values come first, where there are any.
    pub(super) fn values_first(mut self, state: &State) -> Self
    where
        D: Clone,
    {
        if !state.keeps_any() {
            return self;
        }
        // Nobody waits for what it reads: until it is done, this one has read nothing.
        let first = Self::of(self.disk.clone(), self.mode, state, Unread::new(0), |id| state.are_values(id));
        self.packer.queues.retain(|id, _| !state.are_values(*id));
        for (number, values) in &first.segments {
            if let Ok(place) = self.segments.binary_search_by_key(number, |(own, _)| *own) {
                self.segments[place].1.live -= values.live;
            }
        }
        self.segments.retain(|(_, segment)| segment.live > 0);
        self.first = Some(Box::new(first)).filter(|first| !first.is_done());
        self
    }

    fn of(
        disk: D,
        mode: RecoveryMode,
        state: &State,
        unread: Unread,
        is_wanted: impl Fn(DurableQueueId) -> bool,
    ) -> Self {
        let mut segments: BTreeMap<SegmentNumber, SegmentUse> = BTreeMap::new();
        let mut queues = HashMap::new();
        for (id, queue) in state.queues.iter().filter(|(id, queue)| !queue.live.is_empty() && is_wanted(**id)) {
            queues.insert(*id, LoadingQueue::new(Unloaded::new(&queue.live)));
            queue.live.for_each_run(|run| {
                let known = state.segments.get(&run.segment).copied().unwrap_or_default();
                segments.entry(run.segment).or_insert(SegmentUse { live: 0, ..known }).live += run.length;
            });
        }
        Self {
            first: None,
            disk,
            mode,
            segments: segments.into_iter().collect(),
            reader: None,
            expected: 0,
            packer: Packer { queues, open: Vec::new(), ready: VecDeque::new(), unix_start_ms: 0 },
            unread,
            bytes_read: 0,
            damage: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Lets messages expire on a clock that began at `unix_start_ms`, instead of in 1970.
    pub fn on_clock(mut self, unix_start_ms: u64) -> Self {
        self.packer.unix_start_ms = unix_start_ms;
        self.first = self.first.take().map(|first| Box::new(first.on_clock(unix_start_ms)));
        self
    }

    /// The next page; `None` when all are loaded.
    ///
    /// # Errors
    /// The disk's, or damage. There is no point in going on.
    pub fn next_page(&mut self) -> Result<Option<Loaded>, StorageError> {
        if let Some(first) = &mut self.first {
            if let Some(loaded) = first.next_page()? {
                return Ok(Some(loaded));
            }
            self.first = None;
        }
        loop {
            if let Some(loaded) = self.packer.ready.pop_front() {
                return Ok(Some(loaded));
            }
            if !self.read_on()? {
                return Ok(None);
            }
        }
    }

    /// The next page as long as the broker is not to serve without it: `None` when `enough_bytes` were read, or all.
    ///
    /// # Errors
    /// As [`next_page`](Self::next_page).
    pub fn next_page_before_ready(&mut self, enough_bytes: u64) -> Result<Option<Loaded>, StorageError> {
        if self.first.is_none() && self.packer.ready.is_empty() && self.bytes_read >= enough_bytes {
            return Ok(None);
        }
        self.next_page()
    }

    /// Whether all is loaded.
    pub fn is_done(&self) -> bool {
        self.first.is_none() && self.packer.ready.is_empty() && self.reader.is_none() && self.segments.is_empty()
    }

    pub(super) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// Makes sure that every segment that is needed is there, which costs little before a start and saves much after it.
    ///
    /// # Errors
    /// The disk's, or, unless salvaging, the damage.
    pub(super) fn look(&self) -> Result<(), StorageError> {
        for (number, segment) in &self.segments {
            if self.mode == RecoveryMode::Strict
                && let Some(reason) = open(&self.disk, *number, segment, Vec::new())?.damage
            {
                return Err(StorageError::corrupt(Folder::Log.display(&file_name(*number)), 0, reason));
            }
        }
        Ok(())
    }

    /// Reads everything only to see what cannot be read: the damage, and the live messages that are lost.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn verify(mut self) -> Result<Verified, StorageError> {
        while self.next_page()?.is_some() {}
        let mut lost = Vec::new();
        for (id, queue) in &self.packer.queues {
            queue.unloaded.for_each_run(|run| lost.push((*id, run)));
        }
        lost.sort_unstable_by_key(|(id, run)| (*id, run.first));
        Ok(Verified { damage: std::mem::take(&mut self.damage), lost })
    }

    /// Reads one batch, or goes on to the next segment; `false` when there is none.
    fn read_on(&mut self) -> Result<bool, StorageError> {
        let Some(reader) = &mut self.reader else { return self.begin_segment() };
        let number = reader.number();
        match reader.next()? {
            Found::Batch { offset, batch } => {
                self.bytes_read += batch.body.len() as u64;
                match self.packer.pack(batch.records(), number) {
                    Ok(found) => self.expected = self.expected.saturating_sub(found),
                    Err(BadRecord) => self.damaged(number, offset, BAD_RECORD)?,
                }
            }
            Found::Damage { offset } => {
                let unreadable = reader.pass_damage()?;
                let reason = unreadable.as_deref().unwrap_or("a batch with live messages is not whole");
                self.damaged(number, offset, reason)?;
                return Ok(true);
            }
            Found::End => {
                let reason = format!("{} of its live messages are not in it", self.expected);
                self.damaged(number, 0, &reason)?;
                self.expected = 0;
            }
        }
        if self.expected == 0 {
            self.packer.close_all();
            self.unread.advance(number + 1);
            self.buffer = self.reader.take().map(BatchReader::into_buffer).unwrap_or_default();
        }
        Ok(true)
    }

    fn begin_segment(&mut self) -> Result<bool, StorageError> {
        let Some((number, segment)) = self.segments.pop_front() else {
            self.unread.advance(SegmentNumber::MAX);
            return Ok(false);
        };
        self.unread.advance(number);
        let Opened { reader, damage } = open(&self.disk, number, &segment, std::mem::take(&mut self.buffer))?;
        if let Some(reason) = damage {
            self.damaged(number, 0, &reason)?;
        }
        if reader.is_some() {
            self.reader = reader;
            self.expected = segment.live;
        }
        Ok(true)
    }

    /// Refuses, or notes the damage and goes on.
    fn damaged(&mut self, number: SegmentNumber, offset: u64, reason: &str) -> Result<(), StorageError> {
        let file = Folder::Log.display(&file_name(number));
        match self.mode {
            RecoveryMode::Strict => Err(StorageError::corrupt(file, offset, reason)),
            RecoveryMode::Salvage => {
                self.damage.push((number, format!("{file} is damaged at byte {offset}: {reason}")));
                Ok(())
            }
        }
    }
}

impl<D: Disk> Drop for Loader<D> {
    /// What is not loaded by now never will be.
    fn drop(&mut self) {
        self.unread.advance(SegmentNumber::MAX);
    }
}

/// What [`Loader::verify`] found.
pub(super) struct Verified {
    /// In which segments, and in words.
    pub damage: Vec<(SegmentNumber, String)>,
    pub lost: Vec<(DurableQueueId, Run)>,
}

/// A segment with live messages, as far as it is there.
struct Opened<F> {
    /// By what its batches know, when the header is damaged.
    reader: Option<BatchReader<F>>,
    damage: Option<String>,
}

fn open<D: Disk>(
    disk: &D,
    number: SegmentNumber,
    segment: &SegmentUse,
    buffer: Vec<u8>,
) -> Result<Opened<D::File>, StorageError> {
    let name = file_name(number);
    let lost = |what: String| Opened { reader: None, damage: Some(format!("{what} and holds live messages")) };
    let file = match disk.open(Folder::Log, &name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(lost("the segment is missing".into())),
        Err(error) if is_unreadable(&error) => return Ok(lost(format!("the segment cannot be opened ({error})"))),
        opened => opened.map_err(StorageError::io(format!("open {}", Folder::Log.display(&name))))?,
    };
    let header = SegmentHeader::known_by_batches(number, segment.generation);
    let reader = Some(BatchReader::new(file, header, segment.end, buffer));
    let damage = match read_segment_header(disk, number)? {
        Ok(header) if header.generation == segment.generation => None,
        Ok(_) => Some("the segment's header is another start's".into()),
        Err(damage) => Some(damage),
    };
    Ok(Opened { reader, damage: damage.map(|damage| format!("{damage} and it holds live messages")) })
}

/// A queue with messages that are not loaded.
struct LoadingQueue {
    unloaded: Unloaded,
    page: Option<OpenPage>,
    /// It is in [`Packer::open`].
    is_open: bool,
    /// Room that its last page took.
    room_bytes: usize,
}

struct OpenPage {
    builder: PageBuilder,
    messages: usize,
    message_bytes: usize,
    last_sequence: u64,
}

impl LoadingQueue {
    fn new(unloaded: Unloaded) -> Self {
        Self { unloaded, page: None, is_open: false, room_bytes: 0 }
    }

    /// Whether the next message goes into the page that is open.
    fn joins(&self, page: &OpenPage, sequence: u64, message_bytes: usize) -> bool {
        page.messages < PAGE_MESSAGES_MAX
            && page.message_bytes + message_bytes <= PAGE_MESSAGE_BYTES_MAX
            && sequence > page.last_sequence
            && !self.unloaded.any_between(page.last_sequence, sequence)
    }

    fn close(&mut self, queue: DurableQueueId, ready: &mut VecDeque<Loaded>) {
        let Some(mut page) = self.page.take().and_then(|page| page.builder.finish()) else { return };
        self.room_bytes = page.bytes.len();
        if page.bytes.capacity() > 2 * page.bytes.len() {
            page.bytes.shrink_to_fit();
        }
        ready.push_back(Loaded { queue, page, complete_below: self.unloaded.first_left().unwrap_or(u64::MAX) });
    }
}

/// Puts live messages into pages.
struct Packer {
    queues: HashMap<DurableQueueId, LoadingQueue>,
    /// Queues that may have an open page, in the order in which they got one.
    open: Vec<DurableQueueId>,
    ready: VecDeque<Loaded>,
    unix_start_ms: u64,
}

impl Packer {
    /// Packs the live messages of a batch; says how many, one for each queue.
    fn pack(&mut self, body: &[u8], number: SegmentNumber) -> Result<u64, BadRecord> {
        let mut records = Cursor::new(body);
        let mut found = 0;
        while !records.is_empty() {
            let Record::Enqueue(enqueue) = read_record(&mut records)? else { continue };
            for route in enqueue.routes {
                found += u64::from(self.message(&enqueue, route, number));
            }
        }
        Ok(found)
    }

    #[inline]
    fn message(&mut self, enqueue: &Enqueue<'_>, route: Route, number: SegmentNumber) -> bool {
        let Self { queues, open, ready, unix_start_ms } = self;
        let Route { queue: id, sequence, expires_at_ms } = route;
        let Some(queue) = queues.get_mut(&id) else { return false };
        if !queue.unloaded.is_in(sequence, number) {
            return false;
        }
        let message_bytes = enqueue.address.len() + enqueue.frames.len() + enqueue.body.map_or(0, <[u8]>::len);
        if let Some(page) = &queue.page
            && !queue.joins(page, sequence, message_bytes)
        {
            queue.close(id, ready);
        }
        queue.unloaded.meet(sequence);
        if !queue.is_open {
            queue.is_open = true;
            open.push(id);
        }
        let page = queue.page.get_or_insert_with(|| OpenPage {
            builder: PageBuilder::with_capacity(queue.room_bytes),
            messages: 0,
            message_bytes: 0,
            last_sequence: 0,
        });
        page.messages += 1;
        page.message_bytes += message_bytes;
        page.last_sequence = sequence;
        let (header_frame, body_frame) = enqueue.frames.split_at(enqueue.header_frame_length);
        page.builder.push(&Entry {
            sequence,
            expires_at_ms: expires_at_ms.map_or(NEVER, |unix_ms| unix_ms.saturating_sub(*unix_start_ms)),
            persistent: true,
            priority: enqueue.priority,
            address: enqueue.address,
            header_frame,
            body: enqueue.body.unwrap_or_else(|| framed_body(body_frame)),
            has_shared_body: enqueue.body.is_some(),
        });
        true
    }

    /// Closes all open pages, which bounds what they take with many queues.
    fn close_all(&mut self) {
        for id in self.open.drain(..) {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.is_open = false;
                queue.close(id, &mut self.ready);
            }
        }
    }
}
