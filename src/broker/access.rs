//! Who may do what with which names.
//!
//! It owns the users and their permissions, a set of three for each vhost. It is asked in `resolve` alone, before a name is
//! looked for, and knows nothing of what exists. What the patterns of names are written in is for whoever makes them.

use super::store::Store;
use super::{Broker, UserId, VhostId};
use std::fmt;

/// What a command does with a queue or an exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Right {
    /// Declare or delete it.
    Configure,
    /// Publish to it, or bind it to something.
    Write,
    /// Consume, get or purge what is in it, or bind something to it.
    Read,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

/// Whether a name is one of those that are meant.
pub type Matches = Box<dyn Fn(&[u8]) -> bool>;

/// Names of queues and exchanges.
pub enum Names {
    All,
    /// Those for which it holds.
    Matching(Matches),
}

impl Names {
    #[inline]
    fn contain(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Matching(matches) => matches(name),
        }
    }
}

/// What a user may do in a vhost. The default exchange goes by the name of `amq.default` here.
pub struct Permissions {
    pub configure: Names,
    pub write: Names,
    pub read: Names,
}

impl Permissions {
    /// Everything.
    pub fn all() -> Self {
        Self { configure: Names::All, write: Names::All, read: Names::All }
    }
}

struct User {
    name: Box<str>,
    /// By vhost. `None`: the user may not even enter it.
    permissions: Vec<Option<Box<Permissions>>>,
}

/// All users.
#[derive(Default)]
pub(super) struct Access {
    users: Vec<User>,
}

impl Access {
    pub fn add(&mut self, name: &str) -> UserId {
        assert!(self.named(name.as_bytes()).is_none(), "there is one user of a name");
        let id = UserId(u32::try_from(self.users.len()).expect("fewer than 2^32 users"));
        self.users.push(User { name: name.into(), permissions: Vec::new() });
        id
    }

    fn named(&self, name: &[u8]) -> Option<UserId> {
        let index = self.users.iter().position(|user| user.name.as_bytes() == name)?;
        Some(UserId(index as u32))
    }

    fn user(&self, id: UserId) -> &User {
        &self.users[id.0 as usize]
    }

    fn permissions(&self, user: UserId, vhost: VhostId) -> Option<&Permissions> {
        self.user(user).permissions.get(vhost.0 as usize)?.as_deref()
    }

    pub fn permit(&mut self, user: UserId, vhost: VhostId, permissions: Option<Permissions>) {
        let of_user = &mut self.users[user.0 as usize].permissions;
        let index = vhost.0 as usize;
        if of_user.len() <= index {
            of_user.resize_with(index + 1, || None);
        }
        of_user[index] = permissions.map(Box::new);
    }

    /// Whether a user may do this with what has this name in a vhost, or would have it.
    pub fn may(&self, user: UserId, right: Right, vhost: VhostId, name: &[u8]) -> bool {
        let names = |permissions: &Permissions| match right {
            Right::Configure => permissions.configure.contain(name),
            Right::Write => permissions.write.contain(name),
            Right::Read => permissions.read.contain(name),
        };
        self.permissions(user, vhost).is_some_and(names)
    }
}

impl<S: Store> Broker<S> {
    /// Makes a user, who may do nothing yet. There must be none of that name.
    pub fn add_user(&mut self, name: &str) -> UserId {
        self.access.add(name)
    }

    /// The user of that name.
    pub fn user_named(&self, name: &[u8]) -> Option<UserId> {
        self.access.named(name)
    }

    pub fn user_name(&self, id: UserId) -> &str {
        &self.access.user(id).name
    }

    /// From now on a user may do this in a vhost; with `None` nothing, not even enter it. The epoch ends, as what a
    /// publisher was allowed before it may not be any more.
    pub fn set_permissions(&mut self, user: UserId, vhost: VhostId, permissions: Option<Permissions>) {
        self.access.permit(user, vhost, permissions);
        self.epoch.end();
    }

    /// Whether a user has any permissions in a vhost.
    pub fn may_enter(&self, user: UserId, vhost: VhostId) -> bool {
        self.access.permissions(user, vhost).is_some()
    }
}
