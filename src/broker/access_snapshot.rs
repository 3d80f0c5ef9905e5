//! Listings of users, vhosts and permissions for management: plain owned copies that may leave the thread.

use super::access::Permissions;
use super::snapshot::{Page, PageStart};
use super::store::Store;
use super::users::{User, UserKey, UserLimits};
use super::vhost::VhostAttributes;
use super::{Broker, UserId, VhostId};
use crate::access::{PasswordHash, Tags};
use crate::protocol::ShortString;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub struct UserSnapshot {
    pub key: UserKey,
    pub name: Arc<str>,
    pub password: Arc<PasswordHash>,
    pub tags: Arc<Tags>,
    pub limits: UserLimits,
}

#[derive(Clone, PartialEq, Debug)]
pub struct VhostSnapshot {
    /// By which its queues' figures know it.
    pub id: VhostId,
    pub name: Arc<str>,
    pub attributes: VhostAttributes,
    /// Queues that can be named.
    pub queues: usize,
    /// Predeclared ones included.
    pub exchanges: usize,
    /// Connections that are open.
    pub connections: usize,
}

/// What a user may do in a vhost, as patterns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PermissionsSnapshot {
    pub user: Arc<str>,
    pub vhost: Arc<str>,
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// With which routing keys a user may use an exchange, as patterns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicPermissionsSnapshot {
    pub user: Arc<str>,
    pub vhost: Arc<str>,
    pub exchange: ShortString,
    pub write: String,
    pub read: String,
}

impl<S: Store> Broker<S> {
    pub fn snapshot_users(&self, from: PageStart) -> Page<UserSnapshot> {
        Page::of_slots(from, self.users.slots(), |slots| {
            let users = slots.filter_map(|slot| self.users.in_slot(slot)).filter(|(_, user)| !user.is_bearer());
            users.map(|(id, user)| self.copy_user(id, user)).collect()
        })
    }

    pub fn snapshot_user(&self, name: &[u8]) -> Option<UserSnapshot> {
        self.users.named(name).map(|id| self.copy_user(id, self.users.get(id)))
    }

    pub fn snapshot_vhosts(&self, from: PageStart) -> Page<VhostSnapshot> {
        Page::of_slots(from, self.vhosts.slots(), |slots| {
            slots.filter_map(|slot| self.vhosts.in_slot(slot)).map(|(id, _)| self.snapshot_vhost(id)).collect()
        })
    }

    pub fn snapshot_vhost(&self, id: VhostId) -> VhostSnapshot {
        let vhost = &self.vhosts[id];
        let default_queue_type = self.default_queue_type(id).map(Box::from);
        VhostSnapshot {
            id,
            name: Arc::clone(&vhost.name),
            attributes: VhostAttributes { default_queue_type, ..vhost.attributes.clone() },
            queues: vhost.router().queue_count(),
            exchanges: vhost.router().exchange_count(),
            connections: vhost.connections,
        }
    }

    /// The names of the vhosts that a user may enter.
    pub fn vhosts_of(&self, user: UserId, from: PageStart) -> Page<Arc<str>> {
        Page::of_slots(from, self.vhosts.slots(), |slots| {
            let vhosts = slots.filter_map(|slot| self.vhosts.in_slot(slot));
            vhosts.filter(|(id, _)| self.may_enter(user, *id)).map(|(_, vhost)| Arc::clone(&vhost.name)).collect()
        })
    }

    /// What everybody may do: one vhost after the other, and in each one user after the other.
    pub fn snapshot_permissions(&self, from: PageStart) -> Page<PermissionsSnapshot> {
        Page::of_vhosts(
            &self.vhosts,
            from,
            |_| self.users.slots(),
            |id, slots| {
                slots.filter_map(|slot| self.snapshot_permissions_of(self.users.in_slot(slot)?.0, id)).collect()
            },
        )
    }

    /// What a user may do in a vhost; `None` when it may not even enter it.
    pub fn snapshot_permissions_of(&self, user: UserId, vhost: VhostId) -> Option<PermissionsSnapshot> {
        let Permissions { configure, write, read } = self.permissions(user, vhost)?;
        Some(PermissionsSnapshot {
            user: Arc::clone(&self.users.get(user).name),
            vhost: Arc::clone(&self.vhosts[vhost].name),
            configure: configure.text().to_owned(),
            write: write.text().to_owned(),
            read: read.text().to_owned(),
        })
    }

    /// What restricts everybody's routing keys: one vhost after the other, and in each one user after the other.
    pub fn snapshot_topic_permissions(&self, from: PageStart) -> Page<TopicPermissionsSnapshot> {
        Page::of_vhosts(
            &self.vhosts,
            from,
            |_| self.users.slots(),
            |id, slots| {
                let users = slots.filter_map(|slot| self.users.in_slot(slot));
                users.flat_map(|(user, _)| self.snapshot_topic_permissions_of(user, id)).collect()
            },
        )
    }

    /// What restricts a user's routing keys in a vhost, by exchange.
    pub fn snapshot_topic_permissions_of(&self, user: UserId, vhost: VhostId) -> Vec<TopicPermissionsSnapshot> {
        let all = self.access.all_topic_permissions(user, self.vhost_key(vhost));
        let (user, vhost) = (&self.users.get(user).name, &self.vhosts[vhost].name);
        all.map(|(exchange, permissions)| TopicPermissionsSnapshot {
            user: Arc::clone(user),
            vhost: Arc::clone(vhost),
            exchange: exchange.clone(),
            write: permissions.write.as_str().to_owned(),
            read: permissions.read.as_str().to_owned(),
        })
        .collect()
    }

    fn copy_user(&self, id: UserId, user: &User) -> UserSnapshot {
        UserSnapshot {
            key: self.user_key(id),
            name: Arc::clone(&user.name),
            password: Arc::clone(&user.password),
            tags: Arc::clone(&user.tags),
            limits: user.limits,
        }
    }
}
