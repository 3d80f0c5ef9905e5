//! Replaying the log from a checkpoint on, or from its first record: batch after batch, up to where it ends.
//!
//! Where replay finds no further whole batch, the log ends, was cut there by an earlier recovery, or is damaged:
//!
//! * a segment of a later generation begins with the very serial that is expected: an earlier recovery cut the log
//!   here, and this segment goes on;
//! * a whole batch further on, even in a segment without a header, says that the expected serial was synced when it
//!   was written, or something there cannot be read: **damage**, and the start is refused, or with
//!   [`RecoveryMode::Salvage`] goes on with the next whole batch and says so;
//! * else nothing that anybody was promised can be missing: the torn tail is cut.
//!
//! So is a batch of the expected serial whose other numbers do not follow those before it.
//!
//! Nothing is looked for behind the last batch of a clean stop of the broker that opened the folder last.
//!
//! What was read last may not be on the disk, whatever the system shows: see [`Tail`].

use super::batch::{BATCH_HEADER_BYTES, Batch, BatchLabel, FLAG_CLEAN_STOP};
use super::checkpoint::{Checkpoint, Start};
use super::disk::{Disk, DiskFile, Folder};
use super::entry;
use super::error::StorageError;
use super::loader::{Loader, Unread, Verified};
use super::membership::Membership;
use super::record::{BadRecord, Record, read_record};
use super::recovery::{self, RecoveryMode};
use super::replica::ReplicaReplay;
use super::scan::{BAD_RECORD, BatchReader, Found, read_segment_header};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, file_name};
use super::sequences::Sequences;
use super::state::State;
use super::tail::Tail;
use crate::broker::store::DurableQueueId;
use crate::varint::Cursor;
use hashbrown::HashMap;

/// So many generations a segment without a whole header is tried as.
const GENERATIONS_TRIED: usize = 256;

/// The state in the making.
pub(super) struct Replay<'d, D: Disk> {
    disk: &'d D,
    mode: RecoveryMode,
    /// All segment files, ascending.
    numbers: Vec<SegmentNumber>,
    pub state: State,
    /// Of the last batch that was read.
    pub sequences: Sequences,
    /// Batches are missing before the next one, so that nobody knows its other numbers.
    is_after_hole: bool,
    pub membership: Membership,
    /// Of a node of a cluster.
    pub replica: Option<ReplicaReplay>,
    /// The last batch said so, …
    clean: bool,
    /// … and was of this generation, …
    last_generation: u64,
    /// … where the broker that opened the folder last was of this one.
    opened_last: u64,
    /// What the last clean stop said of its queues.
    pub delivered: HashMap<DurableQueueId, u64>,
    /// Of the segment that was read last.
    generation: u64,
    pub warnings: Vec<String>,
    pub damaged: Vec<SegmentNumber>,
    /// Of the segment with batches that was read last.
    pub tail: Option<Tail>,
}

/// A place in the log.
#[derive(Clone, Copy)]
struct Place {
    segment: SegmentNumber,
    offset: u64,
}

impl<'d, D: Disk> Replay<'d, D> {
    /// Of the segments of those numbers, ascending. The broker that opened the folder last was of generation
    /// `opened_last`.
    pub fn new(
        disk: &'d D,
        mode: RecoveryMode,
        numbers: Vec<SegmentNumber>,
        opened_last: u64,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            disk,
            mode,
            numbers,
            state: State::default(),
            sequences: Sequences::default(),
            is_after_hole: false,
            membership: Membership::default(),
            replica: None,
            clean: false,
            last_generation: 0,
            opened_last,
            delivered: HashMap::new(),
            generation: 0,
            warnings,
            damaged: Vec::new(),
            tail: None,
        }
    }

    /// From a checkpoint on; `any_damaged` says that another one, or the only one, was not whole.
    pub fn run(&mut self, checkpoint: Option<Checkpoint>, any_damaged: bool) -> Result<(), StorageError> {
        let mut start =
            Start { segment: self.numbers.first().copied().unwrap_or(1), offset: SEGMENT_HEADER_BYTES as u64 };
        match checkpoint {
            Some(checkpoint) => {
                self.state = checkpoint.state;
                self.sequences = checkpoint.sequences;
                self.membership = checkpoint.membership;
                start = checkpoint.start;
                match &mut self.replica {
                    Some(replica) => replica.begin(&self.sequences, start),
                    None if !self.membership.is_empty() => return Err(StorageError::OfCluster),
                    None => {}
                }
            }
            None if any_damaged => {
                self.damage(Folder::Checkpoint.path(), 0, "no checkpoint is whole")?;
            }
            None => {}
        }
        let mut at = Some(start);
        let mut buffer = Vec::new();
        while let Some(Start { segment, offset }) = at {
            (buffer, at) = self.segment(segment, offset, buffer)?;
        }
        Ok(())
    }

    /// Replays a segment from `offset` on, and says where the log goes on.
    fn segment(
        &mut self,
        number: SegmentNumber,
        offset: u64,
        buffer: Vec<u8>,
    ) -> Result<(Vec<u8>, Option<Start>), StorageError> {
        let is_there = self.numbers.binary_search(&number).is_ok();
        let mut place = Place { segment: number, offset };
        let mut spare = Vec::new();
        let mut reader = if is_there { self.open(number, buffer)? } else { None };
        if let Some(reader) = &mut reader {
            self.generation = self.generation.max(reader.header().generation);
            self.state.segments.entry(number).or_default().generation = reader.header().generation;
            self.tail = Some(Tail::new(number, offset));
            reader.go_to(offset);
            loop {
                place.offset = self.batches(reader)?;
                if self.continuation(number)?.is_some() || self.stopped_in_order() {
                    break;
                }
                let Some(evidence) = self.evidence(Some(reader), place)? else { break };
                self.damage(&Folder::Log.display(&file_name(number)), place.offset, &evidence)?;
                self.damaged.push(number);
                reader.go_to(place.offset);
                if !self.goes_on(reader)? {
                    break;
                }
            }
        }
        let is_headless = reader.is_none();
        if let Some(reader) = reader {
            spare = reader.into_buffer();
        }
        if let Some(next) = self.continuation(number)? {
            return Ok((spare, Some(next)));
        }
        if is_headless {
            let header = if is_there { read_segment_header(self.disk, number)?.err() } else { None };
            let what = header.unwrap_or_else(|| "the segment is missing".into());
            let display = Folder::Log.display(&file_name(number));
            if offset > SEGMENT_HEADER_BYTES as u64 {
                self.damage(&display, 0, &format!("{what}, and a checkpoint knows it synced up to byte {offset}"))?;
            } else if let Some(evidence) = self.evidence(None, place)? {
                self.damage(&display, 0, &format!("{what}: {evidence}"))?;
            }
        }
        // Salvaging: over the hole to the next segment.
        let next = if self.mode == RecoveryMode::Salvage { self.next_segment(number, |_, _| true)? } else { None };
        Ok((
            spare,
            next.map(|(segment, header)| {
                self.expect(header.first_serial);
                Start { segment, offset: SEGMENT_HEADER_BYTES as u64 }
            }),
        ))
    }

    /// Opens a segment; salvaging, also one without a whole header, by what its batches know.
    fn open(&mut self, number: SegmentNumber, buffer: Vec<u8>) -> Result<Option<BatchReader<D::File>>, StorageError> {
        let whole = BatchReader::open(self.disk, number, buffer)?;
        if whole.is_some() || self.mode == RecoveryMode::Strict {
            return Ok(whole);
        }
        let reader = self.open_headless(number)?;
        if reader.is_some()
            && let Err(reason) = read_segment_header(self.disk, number)?
        {
            self.damage(&Folder::Log.display(&file_name(number)), 0, &reason)?;
            self.damaged.push(number);
        }
        Ok(reader)
    }

    /// What is known of a segment that is there, as [`open`](Self::open) would.
    fn header(&self, number: SegmentNumber) -> Result<Option<SegmentHeader>, StorageError> {
        let whole = read_segment_header(self.disk, number)?.ok();
        if whole.is_some() || self.mode == RecoveryMode::Strict {
            return Ok(whole);
        }
        Ok(self.open_headless(number)?.map(|reader| *reader.header()))
    }

    fn open_headless(&self, number: SegmentNumber) -> Result<Option<BatchReader<D::File>>, StorageError> {
        let Some(mut reader) = BatchReader::open_headless(self.disk, number)? else { return Ok(None) };
        let is_found = reader.find_generation(&self.generations(number))?;
        Ok(is_found.then_some(reader))
    }

    /// The generations of which a segment without a whole header may be.
    fn generations(&self, number: SegmentNumber) -> Vec<u64> {
        if let Some(segment) = self.state.segments.get(&number) {
            return vec![segment.generation];
        }
        // Whoever wrote what is before it went on, or a broker that came later. Those that came and wrote nothing are
        // seldom many, and the last one is the likeliest.
        let mut generations: Vec<_> = (self.generation..self.opened_last).take(GENERATIONS_TRIED).collect();
        generations.push(self.opened_last);
        generations
    }

    /// Applies batches as long as they are whole and follow each other; says where they end.
    fn batches(&mut self, reader: &mut BatchReader<D::File>) -> Result<u64, StorageError> {
        let number = reader.number();
        let generation = reader.header().generation;
        loop {
            let Found::Batch { offset, batch } = reader.next()? else { return Ok(reader.offset()) };
            let label = batch.header.label;
            if label.serial != self.expected() {
                return Ok(offset);
            }
            if label.is_of_cluster() && self.replica.is_none() {
                return Err(StorageError::OfCluster);
            }
            if !std::mem::take(&mut self.is_after_hole)
                && let Some(reason) = self.contradiction(&label)
            {
                self.damage(&Folder::Log.display(&file_name(number)), offset, &reason)?;
                self.damaged.push(number);
            }
            let end = offset + BATCH_HEADER_BYTES as u64 + u64::from(batch.header.body_length);
            if let Some(tail) = &mut self.tail {
                tail.extend(&label, end);
            }
            self.clean = label.flags & FLAG_CLEAN_STOP != 0;
            self.last_generation = generation;
            if let Err(BadRecord) = self.apply(&batch, number, offset) {
                self.damage(&Folder::Log.display(&file_name(number)), offset, BAD_RECORD)?;
                self.damaged.push(number);
            }
            self.state.segments.entry(number).or_default().end = end;
        }
    }

    /// What of the numbers of the batch that comes next by its serial does not fit those before it, in words.
    fn contradiction(&self, label: &BatchLabel) -> Option<String> {
        match &self.replica {
            None => self.sequences.contradiction(label),
            Some(replica) => replica.pending.contradiction(label),
        }
    }

    fn apply(&mut self, batch: &Batch<'_>, segment: SegmentNumber, offset: u64) -> Result<(), BadRecord> {
        if let Some(replica) = &mut self.replica {
            let place = entry::Place { segment, offset, length: batch.header.body_length };
            return replica.take(batch, place, &mut self.state, &mut self.sequences, &mut self.membership);
        }
        self.sequences.follow(&batch.header.label);
        self.state.apply(batch.body, segment)?;
        if self.clean {
            self.delivered = delivered(batch.body)?;
        }
        Ok(())
    }

    /// The serial of the batch that comes next.
    fn expected(&self) -> u64 {
        self.sequences.serial + 1
    }

    /// Goes on over a hole with the batch of that serial, if it is none of those that were read.
    fn expect(&mut self, serial: u64) {
        if serial > self.expected() {
            self.sequences.serial = serial - 1;
            self.is_after_hole = true;
        }
    }

    /// Goes on behind damage: with the next whole batch of a higher serial in this segment, if there is one.
    fn goes_on(&mut self, reader: &mut BatchReader<D::File>) -> Result<bool, StorageError> {
        while reader.find_batch()? {
            let Found::Batch { offset, batch } = reader.next()? else { break };
            if batch.header.label.serial >= self.expected() {
                let serial = batch.header.label.serial;
                self.expect(serial);
                reader.go_to(offset);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the log ends with the last word of the broker that opened the folder last. A broker that came after the
    /// one that stopped in order may have delivered without a word in the log.
    pub fn stopped_in_order(&self) -> bool {
        self.clean && self.last_generation == self.opened_last
    }

    /// The segment in which the expected serial comes next.
    fn continuation(&self, after: SegmentNumber) -> Result<Option<Start>, StorageError> {
        let mut is_neighbour = true;
        let found = self.next_segment(after, |this, header| {
            let follows = header.first_serial == this.expected();
            // Over segments that an earlier recovery left behind only to one of a later start.
            let continues = follows && (is_neighbour || header.generation > this.generation);
            is_neighbour = false;
            continues
        })?;
        Ok(found.map(|(segment, _)| Start { segment, offset: SEGMENT_HEADER_BYTES as u64 }))
    }

    /// The first later segment with a [header](Self::header) that is `wanted`.
    fn next_segment(
        &self,
        after: SegmentNumber,
        mut wanted: impl FnMut(&Self, &SegmentHeader) -> bool,
    ) -> Result<Option<(SegmentNumber, SegmentHeader)>, StorageError> {
        for &number in self.numbers.iter().filter(|number| **number > after) {
            if let Some(header) = self.header(number)?
                && wanted(self, &header)
            {
                return Ok(Some((number, header)));
            }
        }
        Ok(None)
    }

    /// A batch behind `place` that says that the expected serial was synced, in words.
    fn evidence(
        &self,
        current: Option<&mut BatchReader<D::File>>,
        place: Place,
    ) -> Result<Option<String>, StorageError> {
        let from = place.segment + u64::from(current.is_some());
        if let Some(reader) = current {
            reader.go_to(place.offset);
            if let Some(found) = self.evidence_in(reader)? {
                return Ok(Some(found));
            }
        }
        let mut buffer = Vec::new();
        for &number in self.numbers.iter().filter(|number| **number >= from) {
            let Some(mut reader) = BatchReader::open(self.disk, number, std::mem::take(&mut buffer))? else {
                if let Some(found) = self.evidence_in_headless(number)? {
                    return Ok(Some(found));
                }
                continue;
            };
            if let Some(found) = self.evidence_in(&mut reader)? {
                return Ok(Some(found));
            }
            buffer = reader.into_buffer();
        }
        Ok(None)
    }

    /// A segment whose header is damaged still has its batches. What was cut short before its first sync has none that
    /// knows of it.
    fn evidence_in_headless(&self, number: SegmentNumber) -> Result<Option<String>, StorageError> {
        let Some(mut reader) = BatchReader::open_headless(self.disk, number)? else { return Ok(None) };
        let is_begun = reader.find_generation(&self.generations(number))?;
        reader.go_to(SEGMENT_HEADER_BYTES as u64);
        if !is_begun {
            return Ok(unknown_end(&reader, 0));
        }
        Ok(self.evidence_in(&mut reader)?.map(|found| format!("{found}, and has no whole header")))
    }

    /// Looks from where the reader is, and takes what cannot be read for evidence too: nobody knows what it was.
    fn evidence_in(&self, reader: &mut BatchReader<D::File>) -> Result<Option<String>, StorageError> {
        let file = Folder::Log.display(&file_name(reader.number()));
        let from = reader.offset();
        while reader.find_batch()? {
            let Found::Batch { offset, batch } = reader.next()? else { break };
            let synced = batch.header.label.synced_serial;
            if synced >= self.expected() {
                let unreadable = reader.unreadable_between(from, offset);
                let unreadable = unreadable.map_or(String::new(), |unreadable| format!("{unreadable}; "));
                let expected = self.expected();
                return Ok(Some(format!(
                    "{unreadable}batch {expected} should be here, as {file} at byte {offset} knows it synced up to \
                     {synced}"
                )));
            }
        }
        Ok(unknown_end(reader, from))
    }

    /// Refuses, or notes the damage and goes on.
    fn damage(&mut self, file: &str, offset: u64, reason: &str) -> Result<(), StorageError> {
        recovery::damage(self.mode, &mut self.warnings, file, offset, reason)
    }

    /// A loader of what is alive.
    pub fn loader(&self) -> Loader<D> {
        let unread = Unread::new(self.numbers.last().copied().unwrap_or(0));
        Loader::new(self.disk.clone(), self.mode, &self.state, unread)
    }

    /// Takes out of the state what could not be read.
    pub fn forget_lost(&mut self, verified: Verified) {
        for (segment, damage) in verified.damage {
            self.clean = false;
            self.warnings.push(damage);
            // Out of one that is gone there is nothing to be moved.
            if self.numbers.binary_search(&segment).is_ok() {
                self.damaged.push(segment);
            }
        }
        for of_queue in verified.lost.chunk_by(|a, b| a.0 == b.0) {
            let queue = of_queue[0].0;
            let count: u64 = of_queue.iter().map(|(_, run)| run.length).sum();
            self.warnings.push(format!("{count} messages of queue {} are lost", queue.0));
            of_queue.iter().for_each(|(_, run)| self.state.forget(queue, *run));
        }
    }
}

/// What of a segment cannot be read, and may be a part of the log.
fn unknown_end<F: DiskFile>(reader: &BatchReader<F>, from: u64) -> Option<String> {
    let unreadable = reader.unreadable_between(from, u64::MAX);
    unreadable.map(|unreadable| format!("nobody knows whether the log ends here, as {unreadable}"))
}

/// The marks in the batch of a clean stop.
fn delivered(records: &[u8]) -> Result<HashMap<DurableQueueId, u64>, BadRecord> {
    let mut records = Cursor::new(records);
    let mut marks = HashMap::new();
    while !records.is_empty() {
        if let Record::Delivered { queue, below } = read_record(&mut records)? {
            marks.insert(queue, below);
        }
    }
    Ok(marks)
}
