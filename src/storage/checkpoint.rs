//! Checkpoints: the state on disk, so that recovery reads the log from there on and nothing before it but live messages.
//!
//! ```text
//!  0  magic "LEVERCKP"
//!  8  format version u32, zero u32
//! 16  node id, 16 bytes
//! 32  serial u64                   higher is newer
//! 40  position u64                 of the last record that is in it
//! 48  segment u64, offset u64      where the next batch is
//! 64  body length u64
//! 72  body crc u32
//! 76  crc of the 76 bytes before
//! 80  highest queue number │ definitions │ segments │ queues: number, next sequence, runs of live messages
//! ```
//! The newest two are kept. A segment is freed only when neither needs it, so that the older one is worth as much when
//! the newest turns out to be damaged. A checkpoint holds no message: it names segment and sequence of every live one.

use super::chore::{Chore, Work};
use super::disk::Disk;
use super::error::StorageError;
use super::live_set::{LiveSet, Run};
use super::log_writer::LogWriter;
use super::record::{Record, read_record};
use super::segment::{FreeSegment, SEGMENT_HEADER_BYTES, SegmentNumber};
use super::state::{SegmentUse, State};
use super::{FORMAT_VERSION, NodeId};
use crate::broker::store::DurableQueueId;
use crate::varint::{Cursor, put_varint};
use std::collections::BTreeSet;

const MAGIC: &[u8; 8] = b"LEVERCKP";
const HEADER_BYTES: usize = 80;
const FILE_SUFFIX: &str = ".checkpoint";
/// Checkpoints kept.
const KEPT: usize = 2;
/// Segments in which nothing is alive any more are let be up to this multiple of the bytes from one checkpoint to the
/// next: a backlog dies by few bytes, and its segments wait for two checkpoints that do not need them.
const DEAD_FACTOR: u64 = 4;
/// Free segments that are kept for use again when the disk is nearly full.
const FREE_SEGMENTS_WHEN_LOW: usize = 1;

/// A decoded checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    pub node_id: NodeId,
    pub serial: u64,
    pub position: u64,
    pub start: Start,
    pub state: State,
}

/// Where the first batch after a checkpoint is, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub segment: SegmentNumber,
    pub offset: u64,
}

/// What must stay on disk for a checkpoint's sake.
#[derive(Clone, Debug)]
pub struct Needed {
    pub serial: u64,
    /// With live messages.
    segments: BTreeSet<SegmentNumber>,
    /// From here on everything.
    from: SegmentNumber,
}

impl Needed {
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self::new(checkpoint.serial, &checkpoint.state, checkpoint.start)
    }

    fn new(serial: u64, state: &State, start: Start) -> Self {
        let alive = state.segments.iter().filter(|(_, segment)| segment.live > 0);
        Self { serial, segments: alive.map(|(number, _)| *number).collect(), from: start.segment }
    }

    fn needs(&self, number: SegmentNumber) -> bool {
        number >= self.from || self.segments.contains(&number)
    }
}

pub fn checkpoint_name(serial: u64) -> String {
    format!("{serial:016}{FILE_SUFFIX}")
}

/// The serial in a checkpoint's name; `None` for a file that is none.
pub fn serial_of(name: &str) -> Option<u64> {
    name.strip_suffix(FILE_SUFFIX)?.parse().ok().filter(|serial| checkpoint_name(*serial) == name)
}

/// The checkpoint's file.
fn encode(state: &State, node_id: NodeId, serial: u64, position: u64, start: Start) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    put_varint(&mut out, state.max_queue_id);
    let mut definitions = Vec::new();
    let count = state.put_definitions(&mut definitions);
    put_varint(&mut out, count);
    out.append(&mut definitions);
    let segments = || state.segments.iter().filter(|(number, segment)| segment.live > 0 || **number >= start.segment);
    put_varint(&mut out, segments().count() as u64);
    for (number, segment) in segments() {
        for value in [*number, segment.generation, segment.first_position, segment.end, segment.total] {
            put_varint(&mut out, value);
        }
    }
    let queues = state.queues_in_order();
    put_varint(&mut out, queues.len() as u64);
    let mut runs = Vec::new();
    for (id, queue) in queues {
        runs.clear();
        queue.live.for_each_run(|run| runs.push(run));
        put_varint(&mut out, id.0);
        put_varint(&mut out, queue.next_sequence);
        put_varint(&mut out, runs.len() as u64);
        let mut next = 0;
        for Run { first, length, segment } in &runs {
            put_varint(&mut out, first - next);
            put_varint(&mut out, *length);
            put_varint(&mut out, *segment);
            next = first + length;
        }
    }
    let body_crc = crc32c::crc32c(&out[HEADER_BYTES..]);
    let body_length = (out.len() - HEADER_BYTES) as u64;
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&node_id.0);
    for (at, value) in [(32, serial), (40, position), (48, start.segment), (56, start.offset), (64, body_length)] {
        out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    out[72..76].copy_from_slice(&body_crc.to_le_bytes());
    let crc = crc32c::crc32c(&out[..76]);
    out[76..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

impl Checkpoint {
    /// Reads a checkpoint's file; `None` when it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let mut cursor = Cursor::new(header);
        if cursor.bytes(8)? != MAGIC || cursor.u32()? != FORMAT_VERSION {
            return None;
        }
        cursor.u32()?;
        let node_id = NodeId(*cursor.bytes(16)?.first_chunk()?);
        let serial = cursor.u64()?;
        let position = cursor.u64()?;
        let start = Start { segment: cursor.u64()?, offset: cursor.u64()? };
        let body_length = cursor.u64()?;
        let body_crc = cursor.u32()?;
        let header_is_whole = cursor.u32()? == crc32c::crc32c(&header[..76]);
        if !header_is_whole || body_length != body.len() as u64 || body_crc != crc32c::crc32c(body) {
            return None;
        }
        Some(Self { node_id, serial, position, start, state: decode_state(body)? })
    }
}

fn decode_state(body: &[u8]) -> Option<State> {
    let mut cursor = Cursor::new(body);
    let mut state = State::new(cursor.varint()?);
    for _ in 0..cursor.varint()? {
        match read_record(&mut cursor).ok()? {
            Record::Definition(definition) => state.define(definition),
            _ => return None,
        }
    }
    for _ in 0..cursor.varint()? {
        let number = cursor.varint()?;
        let generation = cursor.varint()?;
        let first_position = cursor.varint()?;
        let end = cursor.varint()?;
        let total = cursor.varint()?;
        state.segments.insert(number, SegmentUse { generation, first_position, end, total, live: 0 });
    }
    for _ in 0..cursor.varint()? {
        let id = DurableQueueId(cursor.varint()?);
        let next_sequence = cursor.varint()?;
        let mut live = LiveSet::default();
        let mut next = 0_u64;
        for _ in 0..cursor.varint()? {
            let first = next.checked_add(cursor.varint()?)?;
            let length = cursor.varint()?;
            let segment = cursor.varint()?;
            next = first.checked_add(length)?;
            let place = state.segments.get_mut(&segment)?;
            // A message takes more than a byte, and no segment holds more live messages than it ever held.
            if length > place.total - place.live.min(place.total) || place.total > place.end {
                return None;
            }
            place.live += length;
            live.append(Run { first, length, segment });
        }
        let queue = state.queues.get_mut(&id)?;
        queue.live = live;
        queue.next_sequence = next_sequence;
    }
    cursor.is_empty().then_some(state)
}

impl<D: Disk> LogWriter<D> {
    /// Whether enough was written since the last checkpoint, or enough would be freed.
    pub fn checkpoint_is_due(&self) -> bool {
        let interval_bytes = self.options.checkpoint_interval_bytes;
        let frees_enough =
            || !self.checkpoint_had_no_room && self.dead_bytes() >= interval_bytes.saturating_mul(DEAD_FACTOR);
        !self.is_poisoned()
            && !self.checkpoint_is_out
            && (self.bytes_since_checkpoint >= interval_bytes || frees_enough())
    }

    /// Bytes of segments that two checkpoints from now nothing needs.
    fn dead_bytes(&self) -> u64 {
        let active = self.active.as_ref().map(|active| active.number());
        let is_alive = |number: SegmentNumber| self.state.segments.get(&number).is_some_and(|segment| segment.live > 0);
        let is_dead = |number| Some(number) != active && !is_alive(number) && !self.unread.contains(number);
        self.file_bytes.iter().filter(|(number, _)| is_dead(**number)).map(|(_, bytes)| bytes).sum()
    }

    /// The disk is nearly full: gives back what the log can do without. It may take a checkpoint or two, so that it is to
    /// be called again and again until there is room.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn make_room(&mut self) -> Result<(), StorageError> {
        if self.free.len() > FREE_SEGMENTS_WHEN_LOW {
            let given_back = self.free.drain(FREE_SEGMENTS_WHEN_LOW..).map(|free| free.number).collect();
            self.chores.push_back(Chore(Work::Remove(given_back)));
        }
        if !self.is_poisoned() && !self.checkpoint_is_out && self.dead_bytes() > 0 {
            let begun = self.begin_checkpoint();
            let chore = self.poison_on_error(begun)?;
            self.chores.push_back(chore);
        }
        Ok(())
    }

    /// Whether a checkpoint is under way elsewhere.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpoint_is_out
    }

    /// Writes a checkpoint of everything written so far here and now, and frees what is no longer needed. None may be
    /// under way elsewhere. A disk that is full is no failure: the checkpoint is left for later.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub fn checkpoint(&mut self) -> Result<(), StorageError> {
        if self.is_poisoned() {
            return Err(StorageError::Poisoned);
        }
        let begun = self.begin_checkpoint();
        let done = self.poison_on_error(begun)?.run(&self.disk);
        self.chore_done(done)
    }

    /// The chore of a checkpoint of everything written so far.
    pub(super) fn begin_checkpoint(&mut self) -> Result<Chore, StorageError> {
        debug_assert!(!self.checkpoint_is_out);
        self.absorb();
        // It must not be on disk without what it says was written.
        self.sync()?;
        self.bytes_since_checkpoint = 0;
        self.checkpoint_is_out = true;
        let start = match &self.active {
            Some(active) => Start { segment: active.number(), offset: active.offset() },
            None => Start { segment: self.next_number, offset: SEGMENT_HEADER_BYTES as u64 },
        };
        let serial = self.checkpoint_serial;
        let bytes = encode(&self.state, self.meta.node_id, serial, self.progress.written.0, start);
        let kept = (self.checkpoints.len() + 1).saturating_sub(KEPT);
        let keep_from = self.checkpoints.get(kept).map_or(serial, |needed| needed.serial);
        Ok(Chore(Work::Checkpoint { needed: Needed::new(serial, &self.state, start), bytes, keep_from }))
    }

    /// A checkpoint is on disk, and old ones are not any more.
    pub(super) fn checkpointed(&mut self, needed: Needed) {
        self.checkpoint_is_out = false;
        self.checkpoint_had_no_room = false;
        self.checkpoint_serial += 1;
        self.totals.checkpoints += 1;
        self.checkpoints.push(needed);
        self.checkpoints.drain(..self.checkpoints.len().saturating_sub(KEPT));
        self.free_segments();
    }

    /// Gives up the segments that no checkpoint needs.
    fn free_segments(&mut self) {
        let needed =
            |number| self.checkpoints.iter().any(|needed| needed.needs(number)) || self.unread.contains(number);
        let unneeded = |number: &SegmentNumber| !needed(*number);
        let freed: Vec<_> = self.file_bytes.keys().copied().filter(unneeded).collect();
        let mut removed = Vec::new();
        for number in freed {
            let bytes = self.file_bytes.remove(&number);
            let written = self.state.segments.remove(&number).map_or(0, |segment| segment.end);
            let is_ordinary = bytes == Some(self.options.segment_bytes) && !self.damaged.remove(&number);
            if is_ordinary && self.free.len() < self.options.free_segments_max {
                self.free.push(FreeSegment { number, written });
            } else {
                removed.push(number);
            }
        }
        if !removed.is_empty() {
            self.chores.push_back(Chore(Work::Remove(removed)));
        }
    }
}
