//! Deleted users and vhosts: their connections are closed, and what was in a vhost goes, a slice in each turn.
//!
//! A connection whose turn has not come is closed before anything is done of what it sends: to clients, all are closed at
//! once.

use super::{Connections, Hub};
use crate::broker::store::Store;
use crate::broker::{ConnectionId, Done, UserId, VhostId, VhostKey};
use crate::connection::Connection;
use std::collections::VecDeque;

/// Slots of connections that one turn looks at.
const SLOTS_PER_TURN: usize = 256;

/// What is still to be done of deletions.
#[derive(Default)]
pub(super) struct Evictions {
    /// The slot of a connection that is looked at next.
    next_slot: usize,
    /// Slots to look at until all were looked at since the last deletion, of so many.
    slots_left: usize,
    slots: usize,
    /// Those whose queues and exchanges are still there.
    vhosts: VecDeque<VhostKey>,
}

impl Evictions {
    pub fn are_pending(&self) -> bool {
        self.slots_left > 0 || !self.vhosts.is_empty()
    }

    /// Everybody who is connected is to be looked at.
    fn look_at_all(&mut self, connections: &Connections) {
        self.slots = connections.slots();
        self.slots_left = self.slots;
    }

    /// The next slots to look at. Who connected since the deletion may have made them more, and their slots lie in the way
    /// from the last one to the first.
    fn take_slots(&mut self, connections: &Connections) -> (usize, usize) {
        self.slots_left += connections.slots() - self.slots;
        self.slots = connections.slots();
        if self.next_slot >= connections.slots() {
            self.next_slot = 0;
        }
        let (from, count) = (self.next_slot, self.slots_left.min(SLOTS_PER_TURN));
        self.slots_left -= count.min(connections.slots() - from);
        self.next_slot += count;
        (from, count)
    }
}

impl<S: Store> Hub<S> {
    /// Deletes a user; its connections are closed in the turns that follow.
    pub fn delete_user(&mut self, id: UserId) -> Done<()> {
        self.evictions.look_at_all(&self.connections);
        self.ground.broker.delete_user(id)
    }

    /// Deletes a vhost; its connections are closed in the turns that follow, and then everything goes that was in it.
    pub fn delete_vhost(&mut self, id: VhostId) -> Done<()> {
        let deleted = self.ground.broker.delete_vhost(id);
        self.evictions.look_at_all(&self.connections);
        self.evictions.vhosts.push_back(deleted.value);
        deleted.map(|_| ())
    }

    /// Closes a connection that is to be closed, and has something to say before its turn comes.
    #[cold]
    pub(super) fn evict_if_meant(&mut self, id: ConnectionId) {
        if let Some(explanation) = self.ground.broker.why_evicted(id) {
            self.force_close(id, &explanation);
        }
    }

    /// Does a slice of what is still to be done.
    pub(super) fn go_on_evicting(&mut self) {
        if self.evictions.slots_left > 0 {
            let (from, count) = self.evictions.take_slots(&self.connections);
            let (connections, _) = self.connections.page(from, count);
            let ids: Vec<ConnectionId> = connections.map(Connection::id).collect();
            ids.into_iter().for_each(|id| self.evict_if_meant(id));
        }
        if let Some(&vhost) = self.evictions.vhosts.front()
            && self.ground.broker.clear_vhost(vhost, &mut self.ground.outboxes)
        {
            self.evictions.vhosts.pop_front();
        }
    }
}
