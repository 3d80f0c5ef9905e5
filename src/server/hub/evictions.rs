//! Deleted users and vhosts: their connections are closed, and what was in a vhost goes, a slice in each turn.
//!
//! Whoever is still connected can do nothing meanwhile: the broker took all permissions away when it deleted the user or
//! the vhost. So it doesn't matter when a connection's turn comes.

use super::Hub;
use crate::broker::store::Store;
use crate::broker::{ConnectionId, Done, UserId, VhostId, Whose};
use crate::connection::Connection;
use std::collections::VecDeque;

/// Slots of connections that one turn looks at.
const SLOTS_PER_TURN: usize = 256;

/// Those whose connections are still to be closed.
#[derive(Default)]
pub(super) struct Evictions {
    pending: VecDeque<Eviction>,
}

struct Eviction {
    whose: Whose,
    /// What clients are told.
    explanation: String,
    /// The slots of connections before it were looked at. Nobody comes into those: the name is gone.
    next_slot: usize,
}

impl Evictions {
    pub fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

impl<S: Store> Hub<S> {
    /// Deletes a user; its connections are closed in the turns that follow.
    pub fn delete_user(&mut self, id: UserId) -> Done<()> {
        let broker = &mut self.ground.broker;
        let (key, name) = (broker.user_key(id), broker.user_name(id));
        let explanation = format!("user '{name}' is deleted");
        let deleted = broker.delete_user(id);
        self.evict(Whose::User(key), explanation);
        deleted
    }

    /// Deletes a vhost; its connections are closed in the turns that follow, and then everything goes that was in it.
    pub fn delete_vhost(&mut self, id: VhostId) -> Done<()> {
        let broker = &mut self.ground.broker;
        let explanation = format!("vhost '{}' is deleted", broker.vhost_name(id));
        let deleted = broker.delete_vhost(id);
        self.evict(Whose::Vhost(deleted.value), explanation);
        deleted.map(drop)
    }

    fn evict(&mut self, whose: Whose, explanation: String) {
        self.evictions.pending.push_back(Eviction { whose, explanation, next_slot: 0 });
    }

    /// Goes on with the one who waits for longest.
    pub(super) fn go_on_evicting(&mut self) {
        let Some(eviction) = self.evictions.pending.front_mut() else { return };
        let (connections, next) = self.connections.page(eviction.next_slot, SLOTS_PER_TURN);
        let whose = eviction.whose;
        let are_meant = |id: &ConnectionId| self.ground.broker.is_of(*id, whose);
        let meant: Vec<ConnectionId> = connections.map(Connection::id).filter(are_meant).collect();
        eviction.next_slot = next.unwrap_or(usize::MAX);
        let explanation = std::mem::take(&mut eviction.explanation);
        meant.into_iter().for_each(|id| self.force_close(id, &explanation));
        let is_over = match whose {
            _ if next.is_some() => false,
            Whose::User(_) => true,
            Whose::Vhost(vhost) => {
                let ground = &mut self.ground;
                ground.broker.clear_vhost(vhost, &mut ground.outboxes)
            }
        };
        let eviction = self.evictions.pending.front_mut().expect("nobody is taken out but here");
        eviction.explanation = explanation;
        if is_over {
            self.evictions.pending.pop_front();
        }
    }
}
