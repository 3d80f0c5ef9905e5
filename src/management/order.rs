//! What administrators alone may have changed: users, virtual hosts, permissions and limits.
//!
//! An order carries where its answer goes, and is answered when the disk has it. Passwords are hashed and patterns compiled
//! before they come here: neither is for the loop to do. As text an order is what the log says of it, after who gave it.

use super::Reply;
use crate::access::{PasswordHash, Pattern, Tags};
use crate::broker::import::Import;
use crate::broker::parameters::TooManyParameters;
use crate::protocol::ShortString;
use std::fmt;
use std::sync::Arc;

pub enum Order {
    /// Makes a user or gives the one of that name another password and other tags. Answers whether it is new.
    PutUser {
        name: ShortString,
        password: PasswordHash,
        tags: Tags,
        limits: UserLimitChange,
        /// Also if nobody is an administrator then.
        force: bool,
        reply: Reply<Result<bool, LastAdministrator>>,
    },
    /// Answers whether there was such a user.
    DeleteUser {
        name: ShortString,
        /// Also if it is the last administrator.
        force: bool,
        reply: Reply<Result<bool, LastAdministrator>>,
    },
    /// Answers whether there is such a user.
    LimitUser { name: ShortString, limits: UserLimitChange, reply: Reply<bool> },
    /// Makes a virtual host, in which the asker may do everything, or says other things of the one of that name. Answers
    /// whether it is new.
    PutVhost {
        name: ShortString,
        description: Box<str>,
        tags: Vec<Box<str>>,
        default_queue_type: Option<Box<str>>,
        /// `None`: as it is.
        tracing: Option<bool>,
        reply: Reply<bool>,
    },
    /// Answers whether there was such a virtual host.
    DeleteVhost { name: ShortString, reply: Reply<Result<bool, ProtectedVhost>> },
    /// Has a virtual host not deleted, or deleted again when somebody wants that. Answers whether there is such a one.
    ProtectVhost { name: ShortString, is_protected: bool, reply: Reply<bool> },
    /// Answers whether there is such a virtual host.
    LimitVhost { name: ShortString, limits: VhostLimitChange, reply: Reply<bool> },
    /// Answers whether the user could not enter the virtual host before.
    Permit {
        place: UserPlace,
        configure: Pattern,
        write: Pattern,
        read: Pattern,
        reply: Reply<Result<bool, NowhereToBe>>,
    },
    /// Answers whether there was something to clear.
    Forbid { place: UserPlace, reply: Reply<Result<bool, NowhereToBe>> },
    /// Answers whether these are the user's first in the virtual host.
    PermitTopics {
        place: UserPlace,
        exchange: ShortString,
        write: Pattern,
        read: Pattern,
        reply: Reply<Result<bool, NowhereToBe>>,
    },
    /// Has publishers read with other limits of memory and disk, until the broker ends or reads its settings again.
    LimitResources { limits: ResourceLimitChange, reply: Reply<()> },
    /// Clears those of an exchange, or all. Answers whether there was something to clear.
    ForbidTopics { place: UserPlace, exchange: Option<ShortString>, reply: Reply<Result<bool, NowhereToBe>> },
    /// Has everything asked again that is known of logins and permissions.
    ForgetAnswers { reply: Reply<()> },
    /// Makes all of it or nothing. Answers what is wrong with it. It may take several turns.
    Import { import: Box<Import>, reply: Reply<Result<(), String>> },
    /// Sets a global parameter, to a value that is JSON. Answers whether there was none of that name.
    PutGlobalParameter { name: ShortString, value: Arc<str>, reply: Reply<Result<bool, TooManyParameters>> },
    /// Answers whether there was one of that name.
    DeleteGlobalParameter { name: ShortString, reply: Reply<bool> },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutUser { name, tags, .. } => {
                let tags: Vec<&str> = tags.iter().collect();
                write!(f, "put user '{name}' with tags [{}]", tags.join(", "))
            }
            Self::DeleteUser { name, .. } => write!(f, "deleted user '{name}'"),
            Self::LimitUser { name, limits: UserLimitChange { connections_max, channels_max }, .. } => {
                write!(f, "changed limits of user '{name}':")?;
                limit(f, "connections", *connections_max)?;
                limit(f, "channels", *channels_max)
            }
            Self::PutVhost { name, .. } => write!(f, "put virtual host '{name}'"),
            Self::DeleteVhost { name, .. } => write!(f, "deleted virtual host '{name}'"),
            Self::ProtectVhost { name, is_protected: true, .. } => {
                write!(f, "protected virtual host '{name}' from deletion")
            }
            Self::ProtectVhost { name, is_protected: false, .. } => {
                write!(f, "took the protection from deletion from virtual host '{name}'")
            }
            Self::LimitVhost { name, limits: VhostLimitChange { connections_max, queues_max }, .. } => {
                write!(f, "changed limits of virtual host '{name}':")?;
                limit(f, "connections", *connections_max)?;
                limit(f, "queues", *queues_max)
            }
            Self::Permit { place, configure, write, read, .. } => {
                let [configure, write, read] = [configure, write, read].map(Pattern::as_str);
                write!(f, "permitted {place}: configure '{configure}', write '{write}', read '{read}'")
            }
            Self::Forbid { place, .. } => write!(f, "cleared permissions of {place}"),
            Self::PermitTopics { place, exchange, write, read, .. } => {
                let [write, read] = [write, read].map(Pattern::as_str);
                write!(f, "permitted topics of exchange '{exchange}' to {place}: write '{write}', read '{read}'")
            }
            Self::LimitResources { limits: ResourceLimitChange { memory_watermark, disk_free_limit }, .. } => {
                f.write_str("changed limits of resources:")?;
                memory_watermark.map_or(Ok(()), |watermark| write!(f, " memory watermark {watermark}"))?;
                disk_free_limit.map_or(Ok(()), |limit| write!(f, " free disk {limit}"))
            }
            Self::ForbidTopics { place, exchange: Some(exchange), .. } => {
                write!(f, "cleared topic permissions for exchange '{exchange}' of {place}")
            }
            Self::ForbidTopics { place, exchange: None, .. } => write!(f, "cleared topic permissions of {place}"),
            Self::ForgetAnswers { .. } => f.write_str("cleared what is known of logins and permissions"),
            Self::Import { import, .. } => write!(f, "imported {} definitions", import.len()),
            Self::PutGlobalParameter { name, .. } => write!(f, "set global parameter '{name}'"),
            Self::DeleteGlobalParameter { name, .. } => write!(f, "cleared global parameter '{name}'"),
        }
    }
}

/// Nothing is said of one that stays.
fn limit(f: &mut fmt::Formatter<'_>, of: &str, change: Option<Option<u64>>) -> fmt::Result {
    match change {
        None => Ok(()),
        Some(None) => write!(f, " any number of {of}"),
        Some(Some(limit)) => write!(f, " at most {limit} {of}"),
    }
}

/// How much of a resource.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Amount {
    Bytes(u64),
    /// So much of the memory that the broker can have; 1 is all of it.
    OfMemory(f64),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::OfMemory(share) => write!(f, "{share:?} of the memory"),
        }
    }
}

/// Limits of resources that change; `None` for those that stay as they are.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ResourceLimitChange {
    /// Memory of messages above which publishers are not read.
    pub memory_watermark: Option<Amount>,
    /// Room on the disk below which they are not.
    pub disk_free_limit: Option<Amount>,
}

/// A user in a virtual host.
#[derive(Clone)]
pub struct UserPlace {
    pub user: ShortString,
    pub vhost: ShortString,
}

impl fmt::Display for UserPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user '{}' in virtual host '{}'", self.user, self.vhost)
    }
}

/// There is no such user, or no such virtual host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NowhereToBe;

/// Nobody would be an administrator any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastAdministrator;

/// It is not to be deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtectedVhost;

/// Limits that change; `None` for those that stay as they are. `Some(None)` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UserLimitChange {
    pub connections_max: Option<Option<u64>>,
    pub channels_max: Option<Option<u64>>,
}

/// As [`UserLimitChange`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VhostLimitChange {
    pub connections_max: Option<Option<u64>>,
    pub queues_max: Option<Option<u64>>,
}
