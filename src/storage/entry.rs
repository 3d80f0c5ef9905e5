//! Entries: what nodes that replicate a log agree on, one after the other. Each is a [batch](super::batch) of the log.
//!
//! ```text
//! index    17            18                19                 20
//! term      3             3                 4                  4
//!          records       records           empty              configuration
//!          60–64         65                –                  –
//!                                          └ what a leader begins its term with
//! ```
//! An entry's body is shared by the writer, those who send it to others and the state that waits for its commit; nobody
//! changes it.

use super::MemberId;
use super::batch::BATCH_HEADER_BYTES;
use super::segment::SegmentNumber;
use std::sync::Arc;

/// What an entry says of itself, wherever it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryLabel {
    pub term: u64,
    /// 1 more than that of the entry before.
    pub index: u64,
    /// Of its first record, or of the next one there will be.
    pub first_position: u64,
    /// How many positions it takes.
    pub records: u32,
    pub kind: EntryKind,
}

/// What an entry's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// Effects, or none of them: what a leader begins its term with.
    Records,
    /// Who the members are from this entry on, in words of their own.
    Configuration,
}

/// An entry with all that is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub label: EntryLabel,
    pub body: EntryBody,
}

/// The bytes of an entry, behind room for a batch's header. Clones are of the same bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryBody(Arc<Vec<u8>>);

/// Where a node keeps an entry: the batch's header and its body behind that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub segment: SegmentNumber,
    pub offset: u64,
    /// Of the body.
    pub length: u32,
}

/// The latest term that a member knows of, and whom it gave its vote in that; others ask it in vain until a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vote {
    pub term: u64,
    pub member: Option<MemberId>,
}

impl Vote {
    /// Whether it may be said after the other one: terms do not go back, and in one of them there is one vote.
    pub(super) fn may_follow(&self, before: &Self) -> bool {
        self.term > before.term || self.term == before.term && (before.member.is_none() || self.member == before.member)
    }
}

impl EntryBody {
    /// Of a buffer that begins with room for a batch's header.
    pub fn of_buffer(buffer: Vec<u8>) -> Self {
        debug_assert!(buffer.len() >= BATCH_HEADER_BYTES);
        Self(Arc::new(buffer))
    }

    /// A copy of `bytes`.
    pub fn copied(bytes: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(BATCH_HEADER_BYTES + bytes.len());
        buffer.resize(BATCH_HEADER_BYTES, 0);
        buffer.extend_from_slice(bytes);
        Self(Arc::new(buffer))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0[BATCH_HEADER_BYTES..]
    }
}
