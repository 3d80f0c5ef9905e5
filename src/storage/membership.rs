//! What a node is to others: its vote, and who the members are. Of a broker that is alone there is nothing of it, and
//! nothing of it on the disk.

use super::MemberId;
use super::entry::Vote;
use crate::varint::{Cursor, put_counted_bytes, put_varint};

/// What checkpoints carry from one to the next.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Membership {
    pub vote: Vote,
    /// Who the members are, in words of their own.
    pub configuration: Vec<u8>,
}

impl Membership {
    /// Whether it is that of a broker that is alone, or of a node that does not belong to a cluster yet.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes, counted, the term of the vote and the configuration; no byte of them when it [is empty](Self::is_empty).
    /// Who got the vote is in a checkpoint's header.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        if !self.is_empty() {
            put_varint(&mut bytes, self.vote.term);
            bytes.extend_from_slice(&self.configuration);
        }
        put_counted_bytes(out, &bytes);
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, member: Option<MemberId>) -> Option<Self> {
        let mut cursor = Cursor::new(cursor.counted_bytes()?);
        let term = if cursor.is_empty() { 0 } else { cursor.varint()? };
        let configuration = cursor.rest().to_vec();
        Some(Self { vote: Vote { term, member }, configuration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn it_comes_back_and_is_a_single_byte_when_there_is_none() {
        let member = NonZeroU64::new(9).map(MemberId);
        for (vote, configuration) in [
            (Vote::default(), &b""[..]),
            (Vote { term: 300, member: None }, b""),
            (Vote { term: 0, member: None }, b"three of us"),
            (Vote { term: 300, member }, b"three of us"),
        ] {
            let membership = Membership { vote, configuration: configuration.to_vec() };
            let mut out = Vec::new();
            membership.put(&mut out);
            assert_eq!(Membership::read(&mut Cursor::new(&out), vote.member), Some(membership.clone()));
            assert_eq!(out == [0], membership.is_empty());
        }
    }
}
