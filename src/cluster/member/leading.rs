//! What a leader tells its loop: that a batch is on the disk, and up to which position all is committed.
//!
//! ```text
//!   becomes leader ──► the term's own entry applied ──► Lead ──► batches, one in flight ──► deposed
//! ```
//! The loop hands over the next batch when it is told that the last one is done. That is when this disk has it, so that the
//! next one fills as long as a sync takes; and not while too much waits for the other disks, so that a leader is no faster
//! than most of its members.

use super::consensus::Consensus;
use crate::broker::store::LogPosition;
use crate::storage::entry::EntryBody;
use crate::storage::{SealedBatch, Written};
use std::collections::VecDeque;

/// Beyond this, of what is not committed yet, the loop waits: bytes ...
const UNCOMMITTED_MAX_BYTES: usize = 8 << 20;
/// ... and entries.
const UNCOMMITTED_MAX: usize = 64;

/// What the loop is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The batch in flight is written; hand over the next one.
    Done(Written),
    /// Others have more of it on their disks.
    Progress(Written),
}

/// One term of leading.
pub struct Leading {
    pub term: u64,
    /// The entry that the term began with.
    pub begins_at: u64,
    /// The loop knows.
    pub is_announced: bool,
    in_flight: Option<InFlight>,
    /// Waits for the end of a hand-over that failed.
    held_back: Option<SealedBatch>,
    /// Index and bytes, of what was proposed and is not committed.
    uncommitted: VecDeque<(u64, usize)>,
    uncommitted_bytes: usize,
    told: Written,
    /// A node whose members are to be members no more.
    pub forgets: Option<String>,
}

struct InFlight {
    index: u64,
    /// Nothing was written: whoever waits for it waits for what was before.
    waits_for_commit: bool,
}

impl Leading {
    pub fn new(term: u64, begins_at: u64) -> Self {
        Self {
            term,
            begins_at,
            is_announced: false,
            in_flight: None,
            held_back: None,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            told: Written::default(),
            forgets: None,
        }
    }

    /// The loop begins to lead; all that there is lasts.
    pub fn announce(&mut self, consensus: &Consensus) {
        let position = LogPosition(consensus.ledger().position_at(self.begins_at));
        self.told = Written { written: position, synced: position };
        self.is_announced = true;
    }

    /// Takes the loop's next batch.
    pub fn propose(&mut self, batch: SealedBatch, consensus: &mut Consensus) {
        debug_assert!(self.in_flight.is_none() && self.held_back.is_none(), "one batch is in flight");
        // What a node says for itself alone, as that it stops in order, is nothing that others agree on.
        if batch.records == 0 {
            let index = consensus.ledger().last().index;
            self.in_flight = Some(InFlight { index, waits_for_commit: true });
        } else {
            self.held_back = Some(batch);
            self.propose_held_back(consensus);
        }
    }

    /// Proposes what could not be proposed before.
    pub fn propose_held_back(&mut self, consensus: &mut Consensus) {
        let Some(SealedBatch { buffer, first_position, records, .. }) =
            self.held_back.take_if(|_| consensus.may_propose())
        else {
            return;
        };
        debug_assert_eq!(first_position, consensus.last_position() + 1);
        let body = EntryBody::of_buffer(buffer);
        let bytes = body.bytes().len();
        if let Some(index) = consensus.propose(body, first_position, records) {
            self.in_flight = Some(InFlight { index, waits_for_commit: false });
            self.uncommitted.push_back((index, bytes));
            self.uncommitted_bytes += bytes;
        }
    }

    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// What there is to tell, if anything is new.
    pub fn look(&mut self, consensus: &Consensus) -> Option<Told> {
        if !self.is_announced {
            return None;
        }
        let (committed, persisted) = (consensus.committed(), consensus.persisted());
        while let Some((_, bytes)) = self.uncommitted.front().filter(|(index, _)| *index <= committed) {
            self.uncommitted_bytes -= bytes;
            self.uncommitted.pop_front();
        }
        let position = |index| LogPosition(consensus.ledger().position_at(index));
        let written = Written {
            written: position(persisted).max(self.told.written),
            synced: position(committed).max(self.told.synced),
        };
        let has_room = self.uncommitted.len() <= UNCOMMITTED_MAX && self.uncommitted_bytes <= UNCOMMITTED_MAX_BYTES;
        let is_done = self.in_flight.as_ref().is_some_and(|batch| {
            let lasts = if batch.waits_for_commit { committed } else { persisted };
            lasts >= batch.index && has_room
        });
        if is_done {
            self.in_flight = None;
            self.told = written;
            return Some(Told::Done(written));
        }
        if written.synced > self.told.synced {
            self.told = written;
            return Some(Told::Progress(written));
        }
        None
    }
}
