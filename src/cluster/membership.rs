//! Who the members of a cluster are: ids, the names of their nodes, and who of them votes.
//!
//! ```text
//!   version u8 │ cluster 16 bytes │ founders │ members        each: count, then id u64, role u8, counted name
//! ```
//! A configuration is replaced as a whole, by an entry of the log, and each differs from the one before by one change: so
//! any majority of one has a member in common with any majority of the other.
//!
//! ```text
//!   (nobody) ──joins──► Learner ──caught up──► Voter ──removed──► (nobody)
//! ```
//! A member is a *data folder*: whoever lost his is a new member of the same node, and never votes as the old one, as he
//! has forgotten what he promised.
//!
//! The *founders* are the members with which the cluster began, before its log's first entry. They are kept so that a node
//! that joins can follow all changes from the beginning. It knows no address: settings say where nodes are.

use crate::storage::{ClusterId, MemberId};
use crate::varint::{Cursor, put_counted_bytes, put_varint};
use std::num::NonZeroU64;

/// Members that a configuration may have; a node that is replaced is two of them for a while.
pub const MEMBERS_MAX: usize = 16;
/// Longest name of a node, in bytes.
pub const NODE_NAME_MAX_BYTES: usize = 128;
const VERSION: u8 = 1;

/// Whether a member has a say in what is committed and who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberRole {
    Voter,
    /// It gets every entry, and is not counted.
    Learner,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub id: MemberId,
    /// The node whose data folder it is.
    pub node: String,
    pub role: MemberRole,
}

/// Who the members are, from one entry of the log to the next that says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    pub cluster: ClusterId,
    founders: Vec<Listed>,
    members: Vec<Listed>,
}

impl Configuration {
    /// The first one: all of them vote. `None` when there are too many or none, or two have the same id.
    pub fn founding(cluster: ClusterId, members: impl IntoIterator<Item = (MemberId, String)>) -> Option<Self> {
        let listed = |(id, node)| Listed { id, node, role: MemberRole::Voter };
        let members: Vec<_> = members.into_iter().map(listed).collect();
        let founded = Self { cluster, founders: members.clone(), members };
        founded.is_sound().then_some(founded)
    }

    /// The one with which the cluster began.
    pub fn at_founding(&self) -> Self {
        Self { cluster: self.cluster, founders: self.founders.clone(), members: self.founders.clone() }
    }

    pub fn members(&self) -> &[Listed] {
        &self.members
    }

    pub fn member(&self, id: MemberId) -> Option<&Listed> {
        self.members.iter().find(|member| member.id == id)
    }

    pub fn ids_of(&self, role: MemberRole) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(move |member| member.role == role).map(|member| member.id)
    }

    pub fn is_voter(&self, id: MemberId) -> bool {
        self.member(id).is_some_and(|member| member.role == MemberRole::Voter)
    }

    /// How many voters are most of them.
    pub fn quorum(&self) -> usize {
        self.ids_of(MemberRole::Voter).count() / 2 + 1
    }

    /// With one member more, who does not vote yet. `None` when that is no change that may be made.
    pub fn with_learner(&self, id: MemberId, node: &str) -> Option<Self> {
        let mut next = self.clone();
        next.members.push(Listed { id, node: node.to_owned(), role: MemberRole::Learner });
        next.is_sound().then_some(next)
    }

    /// With a learner that votes from here on.
    pub fn with_vote(&self, id: MemberId) -> Option<Self> {
        let mut next = self.clone();
        let member = next.members.iter_mut().find(|member| member.id == id && member.role == MemberRole::Learner)?;
        member.role = MemberRole::Voter;
        next.is_sound().then_some(next)
    }

    /// Without one of its members.
    pub fn without(&self, id: MemberId) -> Option<Self> {
        let mut next = self.clone();
        next.members.retain(|member| member.id != id);
        (next.members.len() < self.members.len() && next.is_sound()).then_some(next)
    }

    /// Whether it is one that somebody could have made.
    fn is_sound(&self) -> bool {
        let lists = [&self.founders, &self.members];
        let names_are_sound = lists.iter().flat_map(|list| list.iter()).all(|member| is_node_name(&member.node));
        let ids_differ = lists.iter().all(|list| {
            list.iter().enumerate().all(|(at, member)| list[..at].iter().all(|other| other.id != member.id))
        });
        let counts_are_sound = lists.iter().all(|list| list.len() <= MEMBERS_MAX);
        let somebody_votes = lists.iter().all(|list| list.iter().any(|member| member.role == MemberRole::Voter));
        names_are_sound && ids_differ && counts_are_sound && somebody_votes
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.cluster.0);
        for list in [&self.founders, &self.members] {
            put_varint(&mut out, list.len() as u64);
            for Listed { id, node, role } in list {
                out.extend_from_slice(&id.0.get().to_le_bytes());
                out.push(match role {
                    MemberRole::Voter => 1,
                    MemberRole::Learner => 2,
                });
                put_counted_bytes(&mut out, node.as_bytes());
            }
        }
        out
    }

    /// `None` for bytes that are no configuration.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let configuration = Self::read(&mut cursor)?;
        cursor.is_empty().then_some(configuration)
    }

    /// Reads the one that the bytes begin with.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.u8()? != VERSION {
            return None;
        }
        let cluster = ClusterId(*cursor.bytes(size_of::<ClusterId>())?.first_chunk()?);
        let configuration = Self { cluster, founders: read_list(cursor)?, members: read_list(cursor)? };
        configuration.is_sound().then_some(configuration)
    }
}

fn read_list(cursor: &mut Cursor<'_>) -> Option<Vec<Listed>> {
    let count = usize::try_from(cursor.varint()?).ok().filter(|count| *count <= MEMBERS_MAX)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        let id = MemberId(NonZeroU64::new(cursor.u64()?)?);
        let role = match cursor.u8()? {
            1 => MemberRole::Voter,
            2 => MemberRole::Learner,
            _ => return None,
        };
        let node = std::str::from_utf8(cursor.counted_bytes()?).ok()?.to_owned();
        list.push(Listed { id, node, role });
    }
    Some(list)
}

/// Whether a node may be called so.
pub fn is_node_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NODE_NAME_MAX_BYTES && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u64) -> MemberId {
        MemberId(NonZeroU64::new(number).unwrap())
    }

    fn three() -> Configuration {
        let nodes = ["n1", "n2", "n3"].map(str::to_owned);
        Configuration::founding(ClusterId([7; 16]), (1..).map(id).zip(nodes)).unwrap()
    }

    #[test]
    fn a_wiped_node_is_replaced_step_by_step() {
        let founded = three();
        assert_eq!(founded.quorum(), 2);
        let joined = founded.with_learner(id(4), "n3").unwrap();
        assert_eq!(joined.quorum(), 2, "a learner is not counted");
        let left = joined.without(id(3)).unwrap();
        let whole = left.with_vote(id(4)).unwrap();
        assert!(whole.is_voter(id(4)) && !whole.is_voter(id(3)));
        assert_eq!(whole.at_founding(), founded);
        for configuration in [&founded, &joined, &left, &whole] {
            assert_eq!(Configuration::decode(&configuration.encode()).as_ref(), Some(configuration));
        }
    }

    #[test]
    fn what_nobody_could_have_made_is_refused() {
        let founded = three();
        assert_eq!(founded.with_learner(id(3), "n4"), None, "the id is taken");
        assert_eq!(founded.with_learner(id(4), ""), None);
        assert_eq!(founded.with_learner(id(4), &"n".repeat(NODE_NAME_MAX_BYTES + 1)), None);
        assert_eq!(founded.with_vote(id(3)), None, "votes already");
        assert_eq!(founded.without(id(9)), None, "is no member");
        let alone = founded.without(id(1)).unwrap().without(id(2)).unwrap();
        assert_eq!(alone.without(id(3)), None, "nobody would vote");
        assert_eq!(Configuration::founding(ClusterId([0; 16]), []), None);
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = three().encode();
        for length in 0..bytes.len() {
            assert_eq!(Configuration::decode(&bytes[..length]), None, "cut at {length}");
        }
        assert_eq!(Configuration::decode(&[&bytes[..], &[0]].concat()), None, "more behind it");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Configuration::decode(&bytes);
        }

        #[test]
        fn changed_bytes_are_read_or_refused(at in 0_usize..80, byte: u8) {
            let mut bytes = three().encode();
            let length = bytes.len();
            bytes[at % length] = byte;
            if let Some(read) = Configuration::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
