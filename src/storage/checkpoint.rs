//! Checkpoints: the state on disk, so that recovery reads the log from there on and nothing before it but live messages.
//!
//! ```text
//!   0  magic "LEVERCKP"
//!   8  format version u32, zero u32
//!  16  cluster id, 16 bytes
//!  32  number u64                   higher is newer
//!  40  serial u64                   of the last batch that is in it
//!  48  position u64                 of the last record that is in it
//!  56  term u64, index u64          of the last entry that is in it
//!  72  commit u64                   what was known to be committed, never more than the index
//!  80  vote u64                     the member that got this one's vote in the term; 0 for none
//!  88  segment u64, offset u64      where the next batch is
//! 104  body length u64
//! 112  body crc u32
//! 116  crc of the 116 bytes before
//! 120  term of the vote, configuration (counted, and empty on one machine) │ highest queue number │ definitions │ segments │ queues: number, next sequence, runs of live messages
//!     │ a record for each live message that came back
//! ```
//! The newest two are kept. A segment is freed only when neither needs it, so that the older one is worth as much when
//! the newest turns out to be damaged. A checkpoint holds no message: it names segment and sequence of every live one.

use super::batch::NUMBERS_END;
use super::chore::{Chore, Work};
use super::disk::Disk;
use super::error::StorageError;
use super::live_set::{LiveSet, Run};
use super::log_writer::LogWriter;
use super::membership::Membership;
use super::record::{Record, put_returned, read_record};
use super::segment::{FILE_NUMBER_MAX, FreeSegment, SEGMENT_HEADER_BYTES, SegmentNumber};
use super::sequences::Sequences;
use super::state::{SegmentUse, State};
use super::{ClusterId, FORMAT_VERSION, MemberId};
use crate::broker::store::DurableQueueId;
use crate::varint::{Cursor, put_varint};
use std::collections::BTreeSet;
use std::num::NonZeroU64;

const MAGIC: &[u8; 8] = b"LEVERCKP";
/// Bytes before a checkpoint's body.
pub const CHECKPOINT_HEADER_BYTES: usize = 120;
const CRC_AT: usize = CHECKPOINT_HEADER_BYTES - size_of::<u32>();
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
    pub cluster: ClusterId,
    pub number: u64,
    pub sequences: Sequences,
    pub membership: Membership,
    pub start: Start,
    pub state: State,
}

/// Where the first batch after a checkpoint is, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub segment: SegmentNumber,
    pub offset: u64,
}

/// The first batch that is not in the state yet, of a log that others have to agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unapplied {
    /// Those of the state, and the serial of the batch before.
    pub sequences: Sequences,
    pub start: Start,
}

/// What must stay on disk for a checkpoint's sake.
#[derive(Clone, Debug)]
pub struct Needed {
    pub number: u64,
    /// Of the last entry that is in it.
    pub index: u64,
    /// With live messages.
    segments: BTreeSet<SegmentNumber>,
    /// From here on everything.
    from: SegmentNumber,
}

impl Needed {
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self::new(checkpoint.number, checkpoint.sequences.index, &checkpoint.state, checkpoint.start)
    }

    fn new(number: u64, index: u64, state: &State, start: Start) -> Self {
        let alive = state.segments.iter().filter(|(_, segment)| segment.live > 0);
        Self { number, index, segments: alive.map(|(number, _)| *number).collect(), from: start.segment }
    }

    pub(super) fn needs(&self, number: SegmentNumber) -> bool {
        number >= self.from || self.segments.contains(&number)
    }
}

pub fn checkpoint_name(number: u64) -> String {
    format!("{number:016}{FILE_SUFFIX}")
}

/// The number in a checkpoint's name; `None` for a file that is none.
pub fn checkpoint_number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(FILE_SUFFIX)?.parse().ok()?;
    (number <= FILE_NUMBER_MAX && checkpoint_name(number) == name).then_some(number)
}

/// What a checkpoint's header says that its state does not.
pub(super) struct Label<'a> {
    pub cluster: ClusterId,
    pub number: u64,
    pub sequences: Sequences,
    pub membership: &'a Membership,
    pub start: Start,
}

/// The checkpoint's file.
pub(super) fn encode(state: &State, label: &Label<'_>) -> Vec<u8> {
    let Label { cluster, number, sequences, membership, start } = *label;
    let mut out = vec![0; CHECKPOINT_HEADER_BYTES];
    membership.put(&mut out);
    put_varint(&mut out, state.max_queue_id);
    let mut definitions = Vec::new();
    let count = state.put_definitions(&mut definitions);
    put_varint(&mut out, count);
    out.append(&mut definitions);
    let segments = || state.segments.iter().filter(|(number, segment)| segment.live > 0 || **number >= start.segment);
    put_varint(&mut out, segments().count() as u64);
    for (number, segment) in segments() {
        for value in [*number, segment.generation, segment.end, segment.total] {
            put_varint(&mut out, value);
        }
    }
    let queues = state.queues_in_order();
    put_varint(&mut out, queues.len() as u64);
    let mut runs = Vec::new();
    for &(id, queue) in &queues {
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
    for (id, queue) in queues {
        queue.returns.iter().for_each(|(sequence, returns)| put_returned(&mut out, id, *sequence, *returns));
    }
    let body_crc = crc32c::crc32c(&out[CHECKPOINT_HEADER_BYTES..]);
    let body_length = (out.len() - CHECKPOINT_HEADER_BYTES) as u64;
    let vote = membership.vote.member.map_or(0, |member| member.0.get());
    let Sequences { serial, position, term, index, commit, .. } = sequences;
    let numbers = [number, serial, position, term, index, commit, vote, start.segment, start.offset, body_length];
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&cluster.0);
    for (at, value) in (32..).step_by(8).zip(numbers) {
        out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    out[112..CRC_AT].copy_from_slice(&body_crc.to_le_bytes());
    let crc = crc32c::crc32c(&out[..CRC_AT]);
    out[CRC_AT..CHECKPOINT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

impl Checkpoint {
    /// Reads a checkpoint's file; `None` when it is damaged, or its numbers contradict each other.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(CHECKPOINT_HEADER_BYTES)?;
        let mut cursor = Cursor::new(header);
        if cursor.bytes(8)? != MAGIC || cursor.u32()? != FORMAT_VERSION {
            return None;
        }
        cursor.u32()?;
        let cluster = ClusterId(*cursor.bytes(16)?.first_chunk()?);
        let number = cursor.u64()?;
        let (serial, position) = (cursor.u64()?, cursor.u64()?);
        let (term, index, commit) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let vote = NonZeroU64::new(cursor.u64()?).map(MemberId);
        let start = Start { segment: cursor.u64()?, offset: cursor.u64()? };
        let body_length = cursor.u64()?;
        let body_crc = cursor.u32()?;
        let header_is_whole = cursor.u32()? == crc32c::crc32c(&header[..CRC_AT]);
        if !header_is_whole || body_length != body.len() as u64 || body_crc != crc32c::crc32c(body) {
            return None;
        }
        let numbers_are_sound = [serial, position, term, index].iter().all(|number| *number < NUMBERS_END);
        let start_is_sound = start.segment <= FILE_NUMBER_MAX && start.offset >= SEGMENT_HEADER_BYTES as u64;
        if !numbers_are_sound || !start_is_sound || commit > index {
            return None;
        }
        // It was written after everything before it was synced.
        let sequences = Sequences { serial, synced_serial: serial, term, index, position, commit };
        let mut cursor = Cursor::new(body);
        let membership = Membership::read(&mut cursor, vote)?;
        Some(Self { cluster, number, sequences, membership, start, state: decode_state(cursor)? })
    }
}

fn decode_state(mut cursor: Cursor<'_>) -> Option<State> {
    let mut state = State::new(cursor.varint()?);
    for _ in 0..cursor.varint()? {
        match read_record(&mut cursor).ok()? {
            Record::Definition(definition) => state.define(definition),
            _ => return None,
        }
    }
    for _ in 0..cursor.varint()? {
        let number = cursor.varint().filter(|number| *number <= FILE_NUMBER_MAX)?;
        let generation = cursor.varint()?;
        let end = cursor.varint()?;
        let total = cursor.varint()?;
        state.segments.insert(number, SegmentUse { generation, end, total, live: 0 });
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
        let queue = state.queue_mut(id)?;
        queue.live = live;
        queue.next_sequence = next_sequence;
    }
    while !cursor.is_empty() {
        match read_record(&mut cursor).ok()? {
            Record::Returned { queue, sequence, returns } => state.returned(queue, sequence, returns),
            _ => return None,
        }
    }
    Some(state)
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
        let is_dead = |number| Some(number) != active && !is_alive(number) && !self.is_held(number);
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
        let Unapplied { sequences, start } = self.unapplied.unwrap_or_else(|| self.end());
        let number = self.checkpoint_number;
        let (cluster, membership) = (self.meta.ids.cluster, &self.membership);
        let bytes = encode(&self.state, &Label { cluster, number, sequences, membership, start });
        let kept = (self.checkpoints.len() + 1).saturating_sub(KEPT);
        let keep_from = self.checkpoints.get(kept).map_or(number, |needed| needed.number);
        let needed = Needed::new(number, sequences.index, &self.state, start);
        Ok(Chore(Work::Checkpoint { needed, bytes, keep_from }))
    }

    /// Where the log ends, as a checkpoint of everything says it.
    fn end(&self) -> Unapplied {
        let start = match &self.active {
            Some(active) => Start { segment: active.number(), offset: active.offset() },
            None => Start { segment: self.next_number, offset: SEGMENT_HEADER_BYTES as u64 },
        };
        Unapplied { sequences: self.sequences, start }
    }

    /// A checkpoint is on disk, and old ones are not any more.
    pub(super) fn checkpointed(&mut self, needed: Needed) {
        self.checkpoint_is_out = false;
        self.checkpoint_had_no_room = false;
        self.checkpoint_number += 1;
        self.totals.checkpoints += 1;
        self.checkpoints.push(needed);
        self.checkpoints.drain(..self.checkpoints.len().saturating_sub(KEPT));
        self.free_segments();
    }

    /// Gives up the segments that no checkpoint needs.
    fn free_segments(&mut self) {
        let needed = |number| self.checkpoints.iter().any(|needed| needed.needs(number)) || self.is_held(number);
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

#[cfg(test)]
mod tests {
    use super::super::entry::Vote;
    use super::*;

    const START: Start = Start { segment: 7, offset: 300 };

    fn sequences() -> Sequences {
        Sequences { serial: 90, synced_serial: 90, term: 2, index: 60, position: 500, commit: 58 }
    }

    fn encoded(sequences: Sequences, membership: &Membership, start: Start) -> Vec<u8> {
        encode(&State::new(4), &Label { cluster: ClusterId([8; 16]), number: 3, sequences, membership, start })
    }

    #[test]
    fn what_a_cluster_would_make_of_this_node_comes_back() {
        let alone = Membership::default();
        let vote = Vote { term: 3, member: NonZeroU64::new(77).map(MemberId) };
        let member = Membership { vote, configuration: b"three of us".to_vec() };
        for membership in [alone, member] {
            let read = Checkpoint::decode(&encoded(sequences(), &membership, START)).unwrap();
            assert_eq!((read.cluster, read.number, read.start), (ClusterId([8; 16]), 3, START));
            assert_eq!((read.sequences, read.membership, read.state.max_queue_id), (sequences(), membership, 4));
        }
    }

    #[test]
    fn numbers_that_contradict_each_other_are_no_checkpoint() {
        let sound = |sequences, start| Checkpoint::decode(&encoded(sequences, &Membership::default(), start)).is_some();
        assert!(sound(Sequences { commit: 60, ..sequences() }, START));
        assert!(!sound(Sequences { commit: 61, ..sequences() }, START));
        assert!(!sound(Sequences { serial: u64::MAX, ..sequences() }, START));
        assert!(!sound(Sequences { position: u64::MAX, ..sequences() }, START));
        assert!(!sound(sequences(), Start { segment: u64::MAX, ..START }));
        assert!(!sound(sequences(), Start { offset: 3, ..START }));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = encoded(sequences(), &Membership::default(), START);
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&bytes).is_none(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(Checkpoint::decode(&whole[..length]).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn names_are_numbers_with_room_for_one_more() {
        assert_eq!(checkpoint_number_of(&checkpoint_name(42)), Some(42));
        assert_eq!(checkpoint_number_of("18446744073709551615.checkpoint"), None);
    }
}
