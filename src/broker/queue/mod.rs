//! One queue, in four parts.
//!
//! | part | owns |
//! |---|---|
//! | shell | name, owner, what was said when it was declared, and in which of the broker's lists it is |
//! | [`Body`] | the waiting messages, wherever they are |
//! | [`Gate`] | who consumes, and who is next |
//! | [`Behaviour`] | what the queue does with its messages beyond keeping them |
//!
//! They own their state and small transitions. Choosing a consumer, delivering and settling run over several of the
//! broker's tables and are in `dispatch` and `settle`; what is counted is in `flow`.

pub mod arguments;
mod backlog;
mod behaviour;
mod body;
mod chunks;
mod delivery_limit;
mod drain;
mod gate;
mod line;
mod packed;
mod paged;
mod retries;
mod waiting;
mod wishes;

pub use arguments::QueueArguments;
pub use backlog::{Backlog, Looked, NotTaken, PageOut, Seen, Taken, TakenFrom};
pub use behaviour::{Behaviour, DeadLettering, Limits, RetryDelay};
pub use body::{Body, Levels};
pub use delivery_limit::DeliveryLimit;
pub use drain::Drain;
pub use gate::{Gate, Successor};
pub use line::Line;
pub use paged::AskedFor;
pub use retries::Retries;
pub use waiting::{CHUNK_BYTES, Waiting};
pub use wishes::{DEDUPLICATION, DeadLetterStrategy, Overflow, QueueKind, RetryDelays, Wishes};

use super::deduplication::{Allowance, SeenInQueue};
use super::exchange::QueueId;
use super::flow::Ledger;
use super::message::{Content, NEVER};
use super::policy::Applied;
use super::store::DurableQueueId;
use super::{ConnectionId, QueueKey, VhostId};
use crate::protocol::{FieldTable, ShortString};

/// What a queue is, as declared.
pub struct QueueProperties {
    pub vhost: VhostId,
    pub name: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that it belongs to and dies with.
    pub exclusive_owner: Option<ConnectionId>,
    pub arguments: FieldTable,
}

pub struct Queue {
    /// Tells it from an earlier queue of the same name or slot.
    pub serial: u64,
    pub properties: QueueProperties,
    /// What its arguments ask for, for when a policy changes what it does.
    pub arguments: QueueArguments,
    pub policies: Applied,
    pub behaviour: Behaviour,
    /// What the log calls it; `None` for a queue that doesn't survive a restart.
    pub durable_id: Option<DurableQueueId>,
    pub backlog: Body,
    /// The values of its messages, where a second one of a value is refused.
    pub seen: Option<Box<SeenInQueue>>,
    /// Somebody else is told of what leaves it: the log, or `seen`.
    is_followed: bool,
    /// What came in and how it went out.
    pub ledger: Ledger,
    /// Who consumes, and who is next.
    pub gate: Gate,
    /// In the broker's list of queues that may be able to deliver.
    pub touched: bool,
    /// In the broker's list of queues that have more than they may have.
    pub overflowing: bool,
    /// In the broker's list of queues that may have messages to move out of memory.
    pub grown: bool,
    /// It is in the list of those that want pages for which there is no memory.
    pub starved: bool,
    /// So often its head, which somebody waits for, is not moved out of memory again.
    pub spared_sweeps: u8,
    /// Its dead letters that are on their way: in the log they are still its messages.
    pub dead_letters: usize,
    /// It makes no dead letters now, and so it delivers nothing and drops nothing, as there are many.
    pub held_up: bool,
    /// So many commands and closed channels are giving it messages back.
    pub holders: u32,
    /// Deleted, and kept only for what is still unacknowledged.
    pub deleted: bool,
    /// When it was last declared, got from or consumed from, for `x-expires`.
    pub last_used_ms: u64,
    /// When the broker looks at it for expiry next; [`NEVER`] when nothing is scheduled.
    pub scheduled_ms: u64,
    pub drain: Drain,
    /// Messages that came back and are not ready again yet, if there are any.
    pub retries: Option<Box<Retries>>,
}

impl Queue {
    pub fn new(
        serial: u64,
        properties: QueueProperties,
        arguments: QueueArguments,
        durable_id: Option<DurableQueueId>,
        now_ms: u64,
    ) -> Self {
        let (levels, single_active) = (arguments.levels(), arguments.single_active_consumer);
        Self {
            serial,
            properties,
            behaviour: Behaviour::of(&arguments, &Wishes::default(), &Wishes::default()),
            arguments,
            policies: Applied::default(),
            durable_id,
            seen: None,
            is_followed: durable_id.is_some(),
            backlog: Body::with_levels(levels),
            ledger: Ledger::default(),
            gate: Gate::new(single_active),
            touched: false,
            overflowing: false,
            grown: false,
            starved: false,
            spared_sweeps: 0,
            dead_letters: 0,
            held_up: false,
            holders: 0,
            deleted: false,
            last_used_ms: now_ms,
            scheduled_ms: NEVER,
            drain: Drain::new(now_ms),
            retries: None,
        }
    }

    /// How many messages came back and are not ready again yet.
    pub fn retry_count(&self) -> usize {
        self.retries.as_ref().map_or(0, |retries| retries.len())
    }

    /// Whether a second message of a value is refused from now on, or no longer. What is there already is not looked at, as
    /// the plugin has it.
    pub fn deduplicate(&mut self, does: bool, allowance: &Allowance) {
        if does != self.seen.is_some() {
            self.seen = does.then(|| Box::new(SeenInQueue::new(allowance.clone())));
        }
        self.is_followed = self.durable_id.is_some() || self.seen.is_some();
    }

    /// Somebody else is told of what leaves it.
    #[inline]
    pub fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// A message with this priority enters as it does into a plain queue: it is of the level at the front. Messages without
    /// a priority mostly are, as long as nobody sends others.
    #[inline]
    pub fn takes_plainly(&self, priority: u8, content: &Content<'_>) -> bool {
        self.behaviour.is_plain_but_for_levels() && self.backlog.is_front(self.backlog.level_of(priority, content))
    }

    /// What the log calls it, if the log has its messages of that persistence.
    #[inline]
    pub fn id_in_log(&self, persistent: bool) -> Option<DurableQueueId> {
        self.durable_id.filter(|_| persistent || self.logs_all())
    }

    /// The log has all of its messages, if it has any.
    #[inline]
    pub fn logs_all(&self) -> bool {
        self.behaviour.kind == QueueKind::Quorum
    }

    /// Other policies apply to it.
    pub fn apply(&mut self, policies: Applied) {
        if policies.is_none() && self.policies.is_none() {
            return;
        }
        let [policy, operator] = policies.wishes();
        let is_tailed = self.behaviour.is_tailed();
        self.behaviour = Behaviour::of(&self.arguments, &policy, &operator);
        self.behaviour.hold(self.holders > 0);
        self.behaviour.tail(is_tailed);
        self.policies = policies;
    }

    /// Its dead letters that go out at least once: a limit counts them, so that those that nobody takes are bounded.
    pub fn sure_dead_letters(&self) -> usize {
        match &self.behaviour.dead_letters {
            Some(to) if to.strategy == DeadLetterStrategy::AtLeastOnce => self.dead_letters,
            _ => 0,
        }
    }

    /// What to keep of it where it may be deleted meanwhile.
    pub fn key(&self, id: QueueId) -> QueueKey {
        QueueKey { id, serial: self.serial }
    }

    /// Nobody consumes and nobody may start to without declaring it anew: what `if_unused` asks.
    pub fn is_unused(&self) -> bool {
        self.gate.is_unused()
    }
}
