//! Who is connected, and who of them may be read again. It owns their slots, and nothing of why somebody waits.

use crate::broker::{ConnectionId, ShortQueue};
use crate::connection::{Connection, Traffic};
use crate::management::ConnectionSums;
use crate::reactor::TimerKey;
use slab::Slab;

pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) timer: Option<(TimerKey, u64)>,
    /// One that it published to lately: others do not hold it back for good meanwhile.
    pub(super) short_queue: Option<ShortQueue>,
    /// In the list of those who wait to finish what they are sending.
    pub(super) waits_to_finish: bool,
    /// What it had sent of it when it made room for others; 0 if it did not.
    pub(super) stepped_back_bytes: usize,
}

/// Those who are connected.
#[derive(Default)]
pub struct Connections {
    pub(super) members: Slab<Member>,
    /// Those who may be read again.
    pub(super) unblocked: Vec<ConnectionId>,
    /// What went over connections that are gone.
    gone: ConnectionSums,
}

impl Connections {
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// One past the last slot that may be taken.
    pub(super) fn slots(&self) -> usize {
        self.members.capacity()
    }

    /// What went over connections that are gone.
    pub fn gone(&self) -> ConnectionSums {
        self.gone
    }

    /// Takes one out that is gone.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Member {
        let member = self.members.remove(id.0 as usize);
        let Traffic { received_bytes, sent_bytes, .. } = member.connection.traffic();
        self.gone.add(&ConnectionSums { received_bytes, sent_bytes, ..ConnectionSums::default() });
        member
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.members.get(id.0 as usize).map(|member| &member.connection)
    }

    /// The connections in so many slots from one on, and where the next ones are.
    pub fn page(&self, from: usize, slots: usize) -> (impl Iterator<Item = &Connection>, Option<usize>) {
        let end = from.saturating_add(slots).min(self.members.capacity());
        let connections = (from..end).filter_map(|slot| self.members.get(slot)).map(|member| &member.connection);
        (connections, (end < self.members.capacity()).then_some(end))
    }

    #[inline]
    pub(super) fn member(&mut self, id: ConnectionId) -> &mut Member {
        &mut self.members[id.0 as usize]
    }

    /// It may be gone.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Member> {
        self.members.get_mut(id.0 as usize)
    }

    /// The id that the next one gets.
    pub(super) fn next_id(&self) -> ConnectionId {
        ConnectionId(u32::try_from(self.members.vacant_key()).expect("fewer than 2^32 connections"))
    }
}
