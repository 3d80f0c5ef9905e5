//! What a [replay](super::super::replay) makes of batches of a log that several nodes agree on.
//!
//! ```text
//! entry 18, commit 17 │ entry 19, commit 17 │ moved, commit 18 │ vote │ entry 19', commit 18
//! pending: 18           18, 19                18 is applied,          19 is cut off
//!                                             then what was moved
//! ```
//! An entry is applied as soon as a batch knows it as committed, and before that batch: so the state is, at every batch,
//! what it was when that was written. Behind a checkpoint there may be moved records of before it: what was removed
//! until the checkpoint must not come back, and what was moved again is moved again further on.

use super::super::MemberId;
use super::super::batch::{Batch, FLAG_MOVED, FLAG_VOTE};
use super::super::checkpoint::{Start, Unapplied};
use super::super::entry::{EntryBody, EntryKind, EntryLabel, Place, Vote};
use super::super::membership::Membership;
use super::super::record::BadRecord;
use super::super::sequences::Sequences;
use super::super::state::State;
use super::pending::{Pending, Uncommitted};
use crate::varint::Cursor;
use std::num::NonZeroU64;

/// Bytes of a vote: the term, and the member or 0.
pub(super) const VOTE_BYTES: usize = 16;

pub(super) fn encode_vote(vote: &Vote) -> [u8; VOTE_BYTES] {
    let mut bytes = [0; VOTE_BYTES];
    bytes[..8].copy_from_slice(&vote.term.to_le_bytes());
    bytes[8..].copy_from_slice(&vote.member.map_or(0, |member| member.0.get()).to_le_bytes());
    bytes
}

fn decode_vote(body: &[u8]) -> Option<Vote> {
    let mut cursor = Cursor::new(body);
    let vote = Vote { term: cursor.u64()?, member: NonZeroU64::new(cursor.u64()?).map(MemberId) };
    cursor.is_empty().then_some(vote)
}

/// Entries on their way into the state.
#[derive(Default)]
pub(in super::super) struct ReplicaReplay {
    pub pending: Pending,
    /// All entries that were read and not cut off, by index.
    pub log: Vec<(EntryLabel, Place)>,
    /// The numbers that the checkpoint has, and where the next batch is.
    pub begun: Option<Unapplied>,
}

impl ReplicaReplay {
    /// Behind a checkpoint with those numbers.
    pub fn begin(&mut self, sequences: &Sequences, start: Start) {
        self.pending = Pending::new(sequences.reached());
        self.begun = Some(Unapplied { sequences: *sequences, start });
    }

    /// Takes the next batch.
    pub fn take(
        &mut self,
        batch: &Batch<'_>,
        place: Place,
        state: &mut State,
        sequences: &mut Sequences,
        membership: &mut Membership,
    ) -> Result<(), BadRecord> {
        let label = batch.header.label;
        sequences.serial = label.serial;
        sequences.synced_serial = sequences.synced_serial.max(label.synced_serial);
        while let Some(entry) = self.pending.take_committed(label.commit) {
            apply(&entry, state, membership)?;
        }
        if let Some(label) = label.entry() {
            self.pending.cut_off(label.index);
            self.log.truncate(self.log.partition_point(|(before, _)| before.index < label.index));
            self.log.push((label, place));
            let body = EntryBody::copied(batch.body);
            self.pending.push(Uncommitted { label, place, serial: sequences.serial, body });
        } else if label.flags == FLAG_MOVED {
            state.relocate(batch.body, place.segment)?;
        } else if label.flags == FLAG_VOTE {
            let vote = decode_vote(batch.body).ok_or(BadRecord)?;
            if vote.may_follow(&membership.vote) {
                membership.vote = vote;
            }
        }
        sequences.end_at(self.pending.last());
        sequences.commit = self.pending.applied().index;
        Ok(())
    }
}

/// Lets a committed entry become state.
pub(super) fn apply(entry: &Uncommitted, state: &mut State, membership: &mut Membership) -> Result<(), BadRecord> {
    match entry.label.kind {
        EntryKind::Records => state.apply(entry.body.bytes(), entry.place.segment),
        EntryKind::Configuration => {
            membership.configuration = entry.body.bytes().to_vec();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_comes_back_and_has_one_length() {
        for member in [None, NonZeroU64::new(u64::MAX).map(MemberId)] {
            let vote = Vote { term: 7, member };
            assert_eq!(decode_vote(&encode_vote(&vote)), Some(vote));
        }
        assert_eq!((decode_vote(&[1; VOTE_BYTES - 1]), decode_vote(&[1; VOTE_BYTES + 1])), (None, None));
    }

    #[test]
    fn terms_do_not_go_back_and_a_term_has_one_vote() {
        let vote = |term, member| Vote { term, member: NonZeroU64::new(member).map(MemberId) };
        for (before, next, may) in [
            (vote(3, 1), vote(4, 0), true),
            (vote(3, 1), vote(4, 2), true),
            (vote(3, 0), vote(3, 2), true),
            (vote(3, 2), vote(3, 2), true),
            (vote(3, 1), vote(3, 2), false),
            (vote(3, 1), vote(3, 0), false),
            (vote(3, 1), vote(2, 1), false),
        ] {
            assert_eq!(next.may_follow(&before), may, "{before:?} {next:?}");
        }
    }
}
