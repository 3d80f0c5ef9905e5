//! The seam to storage: what the broker tells a [`Log`], and what it gives to and takes from [`Pages`]. [`Store`] is both.
//! Messages are read back when a start loads them; to read one while the broker runs would be a third part beside these
//! two, and nothing asks for it yet.
//!
//! Records are effects, not commands: replaying them needs neither routing nor a clock. The broker numbers durable
//! queues ([`DurableQueueId`]) and the messages in them (their sequence) itself, so that a log can name both for ever.

use super::exchange::ExchangeKind;
pub use super::keys::VhostId;
use super::message::Content;
pub use super::policy::{ApplyTo, PolicyKind};
pub use super::returns::Returns;
use crate::protocol::{FieldTable, ShortString};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A durable queue's number, never used again for another queue. A queue with levels of priority has one for each of
/// them, the lowest level first, and is named by that of its lowest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DurableQueueId(pub u64);

impl DurableQueueId {
    /// The number of a level of the queue with this one.
    #[inline]
    pub fn level(self, level: u8) -> Self {
        Self(self.0 + u64::from(level))
    }
}

/// A position in the log. What was appended at or below [`Log::durable`] survives a power cut. Zero is before
/// everything: nobody has to wait for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition(pub u64);

/// A message's place in a durable queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub queue: DurableQueueId,
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// A page that the store keeps, never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PageId(pub u64);

/// A change of what exists, apart from messages. Names are those of a virtual host.
#[derive(Clone, PartialEq, Debug)]
pub enum Definition {
    QueueDeclared {
        id: DurableQueueId,
        vhost: VhostId,
        name: ShortString,
        auto_delete: bool,
        arguments: FieldTable,
        /// Its highest level of priority: 0 for a queue with one level, else it has the numbers from `id` on to this many
        /// more.
        top_level: u8,
    },
    /// The queue is gone with its messages, those of all its levels, and bindings.
    QueueDeleted {
        id: DurableQueueId,
    },
    ExchangeDeclared {
        vhost: VhostId,
        name: ShortString,
        kind: ExchangeKind,
        auto_delete: bool,
        internal: bool,
        arguments: FieldTable,
    },
    /// From now on an exchange keeps messages for later, under this number.
    DelayedDeclared {
        id: DurableQueueId,
        vhost: VhostId,
        exchange: ShortString,
    },
    /// From now on the values that an exchange remembers are in the log, under this number.
    ValuesDeclared {
        id: DurableQueueId,
        vhost: VhostId,
        exchange: ShortString,
    },
    /// The exchange is gone with the bindings that start or end at it, with what it keeps, and with what it remembers.
    ExchangeDeleted {
        vhost: VhostId,
        name: ShortString,
    },
    Bound(DurableBinding),
    Unbound(DurableBinding),
    /// Also said again, when an attribute changes. The name never does.
    VhostDeclared(VhostDefinition),
    /// Everything in it is gone: queues, exchanges, bindings, and what users were permitted there. Another one may have
    /// its id from now on.
    VhostDeleted {
        vhost: VhostId,
    },
    /// Also said again, when anything of it changes.
    UserDeclared(UserDefinition),
    /// What the user was permitted is gone, too.
    UserDeleted {
        name: ShortString,
    },
    /// What a user may do in a virtual host, as three patterns of names; instead of what was permitted before.
    Permitted {
        user: ShortString,
        vhost: VhostId,
        configure: Box<str>,
        write: Box<str>,
        read: Box<str>,
    },
    /// The user may no longer enter the virtual host. What was said of topics stays.
    Forbidden {
        user: ShortString,
        vhost: VhostId,
    },
    /// With which routing keys a user may publish to a topic exchange, or bind to it.
    TopicPermitted {
        user: ShortString,
        vhost: VhostId,
        exchange: ShortString,
        write: Box<str>,
        read: Box<str>,
    },
    /// Also said again, when anything of it changes.
    PolicyPut(PolicyDefinition),
    PolicyDeleted {
        vhost: VhostId,
        kind: PolicyKind,
        name: ShortString,
    },
    /// A parameter of no virtual host's, whose value is JSON. Also said again, when that changes.
    GlobalParameterPut {
        name: ShortString,
        value: Arc<str>,
    },
    GlobalParameterDeleted {
        name: ShortString,
    },
    /// Routing keys are not looked at any more.
    TopicForbidden {
        user: ShortString,
        vhost: VhostId,
        /// `None`: of all exchanges of the virtual host.
        exchange: Option<ShortString>,
    },
}

impl Definition {
    /// Whose names it speaks of, where it names anything.
    pub fn vhost(&self) -> Option<VhostId> {
        match self {
            Self::QueueDeclared { vhost, .. }
            | Self::ExchangeDeclared { vhost, .. }
            | Self::DelayedDeclared { vhost, .. }
            | Self::ValuesDeclared { vhost, .. }
            | Self::ExchangeDeleted { vhost, .. }
            | Self::Bound(DurableBinding { vhost, .. })
            | Self::Unbound(DurableBinding { vhost, .. })
            | Self::VhostDeclared(VhostDefinition { id: vhost, .. })
            | Self::VhostDeleted { vhost }
            | Self::Permitted { vhost, .. }
            | Self::Forbidden { vhost, .. }
            | Self::TopicPermitted { vhost, .. }
            | Self::PolicyPut(PolicyDefinition { vhost, .. })
            | Self::PolicyDeleted { vhost, .. }
            | Self::TopicForbidden { vhost, .. } => Some(*vhost),
            Self::QueueDeleted { .. }
            | Self::UserDeclared(_)
            | Self::UserDeleted { .. }
            | Self::GlobalParameterPut { .. }
            | Self::GlobalParameterDeleted { .. } => None,
        }
    }
}

/// A virtual host and what is said of it. `None` is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VhostDefinition {
    pub id: VhostId,
    pub name: ShortString,
    pub description: Box<str>,
    pub tags: Vec<Box<str>>,
    pub default_queue_type: Option<Box<str>>,
    pub tracing: bool,
    pub max_queues: Option<u64>,
    pub max_connections: Option<u64>,
    pub is_protected: bool,
}

/// What is asked of queues and exchanges by their names.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyDefinition {
    pub vhost: VhostId,
    pub kind: PolicyKind,
    pub name: ShortString,
    pub pattern: Box<str>,
    pub apply_to: ApplyTo,
    pub priority: i64,
    /// By ascending key.
    pub settings: FieldTable,
}

/// Somebody who may log in. `None` is no limit.
#[derive(Clone, PartialEq, Eq)]
pub struct UserDefinition {
    pub name: ShortString,
    /// Its hash, as text.
    pub password: Box<str>,
    pub tags: Vec<Box<str>>,
    pub max_connections: Option<u64>,
    pub max_channels: Option<u64>,
}

impl fmt::Debug for UserDefinition {
    /// All but the hash, which has no business where somebody reads along.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, password: _, tags, max_connections, max_channels } = self;
        let mut shown = f.debug_struct("UserDefinition");
        shown.field("name", name).field("tags", tags);
        shown.field("max_connections", max_connections).field("max_channels", max_channels).finish_non_exhaustive()
    }
}

/// A binding between durable ends of one virtual host.
#[derive(Clone, PartialEq, Debug)]
pub struct DurableBinding {
    pub vhost: VhostId,
    pub source: ShortString,
    pub destination: DurableDestination,
    pub routing_key: ShortString,
    pub arguments: FieldTable,
}

/// Where a [`DurableBinding`] ends.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DurableDestination {
    Queue(ShortString),
    Exchange(ShortString),
}

/// Where durable effects go.
pub trait Log {
    /// A persistent message entered one durable queue. A message that is routed to several queues is told once for each
    /// of them, `beside` what was answered for the one before, so that it is kept once; for the first one that is zero.
    fn enqueued(&mut self, route: Route, content: &Content<'_>, priority: u8, beside: LogPosition) -> LogPosition;

    /// The same of what must not last without what was told just before it: they are durable in the same moment, as far as
    /// that still can be, and never this one alone.
    fn enqueued_together(&mut self, route: Route, content: &Content<'_>) -> LogPosition {
        Log::enqueued(self, route, content, 0, LogPosition::default())
    }

    /// A persistent message left its durable queue for good: acknowledged, rejected, purged or expired. Whoever
    /// waits for it to be durable asks for [`everything`](Self::everything).
    fn removed(&mut self, queue: DurableQueueId, sequence: u64);

    /// Whatever of the sequences from `first` to `last` was in a durable queue left it for good.
    fn removed_range(&mut self, queue: DurableQueueId, first: u64, last: u64);

    /// All messages of a durable queue at or below `up_to` left it for good.
    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition;

    /// A message of a durable queue came back to it, and how often it has by now.
    fn returned(&mut self, queue: DurableQueueId, sequence: u64, returns: Returns) -> LogPosition;

    /// The position at which all that was told so far is durable, removals among it.
    fn everything(&mut self) -> LogPosition;

    /// What exists changed.
    fn define(&mut self, definition: &Definition) -> LogPosition;

    /// From now on, until it is told that no longer, what it is told is durable in the same moment or not at all. That is
    /// within one turn.
    fn keep_together(&mut self, _keeps: bool) {}

    /// Somebody waits for everything up to `position` to be durable.
    fn awaited(&mut self, position: LogPosition);

    /// Everything appended up to here survives a crash.
    fn durable(&self) -> LogPosition;

    /// Bytes appended that nobody has begun to write: the figure for back-pressure.
    fn pending_bytes(&self) -> usize;
}

/// Where messages wait that take too much memory.
pub trait Pages {
    /// Keeps a page outside of memory. It doesn't survive a restart.
    fn put_page(&mut self, bytes: Vec<u8>) -> PageId;

    /// Asks for a page, which [arrives](Self::take_arrived_page) later and is kept no more. Pages arrive in the order
    /// in which they were asked for.
    fn read_page(&mut self, page: PageId);

    /// A page that is needed no more.
    fn discard_page(&mut self, page: PageId);

    /// A page that was asked for.
    fn take_arrived_page(&mut self) -> Option<(PageId, Vec<u8>)>;

    /// Bytes of pages that are still in memory because they wait to be written: the figure for back-pressure.
    fn unwritten_page_bytes(&self) -> usize;
}

/// All that the broker asks of storage.
pub trait Store: Log + Pages {}

impl<S: Log + Pages> Store for S {}

/// Keeps nothing durable: every position counts as durable at once, and a restart starts empty.
///
/// Its pages are in memory, too, and arrive when they are asked for: for tests and for measuring.
#[derive(Default)]
pub struct MemoryStore {
    pages: HashMap<PageId, Vec<u8>>,
    next_page: u64,
    arrived: VecDeque<(PageId, Vec<u8>)>,
}

impl MemoryStore {
    /// How many pages it keeps.
    #[cfg(test)]
    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }
}

impl Log for MemoryStore {
    #[inline]
    fn enqueued(&mut self, _: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn removed(&mut self, _queue: DurableQueueId, _sequence: u64) {}

    fn removed_range(&mut self, _queue: DurableQueueId, _first: u64, _last: u64) {}

    #[inline]
    fn purged(&mut self, _queue: DurableQueueId, _up_to: u64) -> LogPosition {
        LogPosition(0)
    }

    fn returned(&mut self, _queue: DurableQueueId, _sequence: u64, _returns: Returns) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn everything(&mut self) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn define(&mut self, _definition: &Definition) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn awaited(&mut self, _position: LogPosition) {}

    #[inline]
    fn durable(&self) -> LogPosition {
        LogPosition(0)
    }

    #[inline]
    fn pending_bytes(&self) -> usize {
        0
    }
}

impl Pages for MemoryStore {
    fn put_page(&mut self, bytes: Vec<u8>) -> PageId {
        let page = PageId(self.next_page);
        self.next_page += 1;
        self.pages.insert(page, bytes);
        page
    }

    fn read_page(&mut self, page: PageId) {
        let bytes = self.pages.remove(&page).expect("only pages that are kept are asked for");
        self.arrived.push_back((page, bytes));
    }

    fn discard_page(&mut self, page: PageId) {
        self.pages.remove(&page).expect("only pages that are kept are discarded");
    }

    #[inline]
    fn take_arrived_page(&mut self) -> Option<(PageId, Vec<u8>)> {
        self.arrived.pop_front()
    }

    fn unwritten_page_bytes(&self) -> usize {
        0
    }
}
