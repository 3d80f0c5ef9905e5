//! Policies: what is asked of queues and exchanges by their names, in place of arguments or beside them.
//!
//! A vhost has policies and operator policies. Of each, the one with the highest priority that fits a thing applies to it,
//! alone. What a policy and an operator policy ask for combines by [`Wishes::under`]; how that combines with a queue's
//! arguments is for [`Behaviour`](super::queue::Behaviour) to say.
//!
//! | file | owns |
//! |---|---|
//! | `policy` | policies, those of a vhost, and which one applies to what |
//! | `settings` | the keys of a definition, what each may be, and RabbitMQ's words for what it may not |
//! | `reading` | a policy out of what somebody said |
//!
//! Setting and deleting them, and applying them to what is there, is in `policy_commands`.

mod reading;
mod settings;
#[cfg(test)]
mod tests;

pub use reading::SaidPolicy;

use super::deduplication::SaidBounds;
use super::equivalence::integer;
use super::observe::PolicyChange;
use super::queue::{QueueKind, Wishes};
use crate::access::Pattern;
use crate::protocol::{FieldTable, FieldValue, ShortString};
use std::fmt;
use std::sync::Arc;

/// Policies, and operator policies, that a vhost may have of each kind: to declare a queue is to look at all of them.
pub const POLICIES_MAX: usize = 1000;

/// What the patterns of all policies of a vhost may take together, compiled: it bounds the time in which all are asked, to
/// about 70 µs for each 1024 bytes in the worst case that was found. Names and beginnings of names, `^orders\\.`, take nothing;
/// a hundred and more of others fit, of 512 or 1024 bytes each, and two of the costliest.
pub const PATTERNS_BYTES_MAX: usize = 128 * 1024;

/// The largest definition, in bytes of its log record.
pub const DEFINITION_BYTES_MAX: usize = 16 * 1024;

/// What a policy may apply to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ApplyTo {
    #[default]
    All,
    Queues,
    ClassicQueues,
    QuorumQueues,
    /// Of which there are none here.
    Streams,
    Exchanges,
}

impl ApplyTo {
    const ALL: [Self; 6] =
        [Self::All, Self::Queues, Self::ClassicQueues, Self::QuorumQueues, Self::Streams, Self::Exchanges];

    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
            Self::Exchanges => "exchanges",
        }
    }

    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|apply_to| apply_to.name().as_bytes() == name)
    }

    fn includes(self, thing: Thing) -> bool {
        match self {
            Self::All => true,
            Self::Queues => thing != Thing::Exchange,
            Self::ClassicQueues => thing == Thing::Queue(QueueKind::Classic),
            Self::QuorumQueues => thing == Thing::Queue(QueueKind::Quorum),
            Self::Streams => false,
            Self::Exchanges => thing == Thing::Exchange,
        }
    }
}

/// What a policy is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    Exchange,
    Queue(QueueKind),
}

/// Whose policy it is. Both kinds have names of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicyKind {
    /// A user's.
    User,
    /// An operator's, which bounds what users ask for.
    Operator,
}

/// A policy that can be: everything about it was looked at.
#[derive(PartialEq, Debug)]
pub struct Policy {
    pub name: ShortString,
    pub pattern: Pattern,
    pub apply_to: ApplyTo,
    pub priority: i64,
    /// By ascending key.
    pub definition: FieldTable,
    wishes: Wishes,
    /// Gets what no binding of an exchange matches.
    alternate_exchange: Option<ShortString>,
    /// What an exchange remembers.
    remembered: SaidBounds,
}

impl Policy {
    fn new(name: ShortString, pattern: Pattern, apply_to: ApplyTo, priority: i64, definition: FieldTable) -> Self {
        let alternate_exchange = match definition.get(b"alternate-exchange") {
            Some(FieldValue::LongString(name)) => Some(ShortString::truncated(name)),
            _ => None,
        };
        let wishes = Wishes::of(&definition, "");
        let number = |key: &[u8]| definition.get(key).and_then(integer).and_then(|number| u64::try_from(number).ok());
        let remembered = SaidBounds { size: number(b"x-cache-size"), ttl_ms: number(b"x-cache-ttl") };
        Self { name, pattern, apply_to, priority, definition, wishes, alternate_exchange, remembered }
    }

    /// Whether it may apply to something of that name. With a setting that a kind of queue does not have, it applies to no
    /// queue of that kind.
    fn fits(&self, thing: Thing, name: &[u8]) -> bool {
        self.apply_to.includes(thing) && settings::all_known_to(thing, &self.definition) && self.pattern.matches(name)
    }
}

/// The policies that apply to one thing.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Applied {
    pub policy: Option<Arc<Policy>>,
    pub operator: Option<Arc<Policy>>,
}

impl Applied {
    /// Whether it is the very same policies that apply.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Policy>>, b: &Option<Arc<Policy>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same(&self.policy, &other.policy) && same(&self.operator, &other.operator)
    }

    /// Whether none applies.
    pub fn is_none(&self) -> bool {
        self.policy.is_none() && self.operator.is_none()
    }

    /// What the policy and the operator policy ask of a queue.
    pub fn wishes(&self) -> [Wishes; 2] {
        let wishes = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.wishes.clone());
        [&self.policy, &self.operator].map(|policy| wishes(policy).unwrap_or_default())
    }

    /// Where an exchange sends what no binding matches. An operator has no say in that.
    pub fn alternate_exchange(&self) -> Option<&ShortString> {
        self.policy.as_ref()?.alternate_exchange.as_ref().filter(|name| !name.is_empty())
    }

    /// How much an exchange remembers, and how long. An operator has no say in that.
    pub fn remembered(&self) -> SaidBounds {
        self.policy.as_ref().map(|policy| policy.remembered).unwrap_or_default()
    }

    /// What both say together.
    pub fn definition(&self) -> FieldTable {
        match (&self.policy, &self.operator) {
            (None, None) => FieldTable::default(),
            (Some(policy), None) | (None, Some(policy)) => policy.definition.clone(),
            (Some(policy), Some(operator)) => settings::merged(&policy.definition, &operator.definition),
        }
    }
}

/// The policies of a vhost.
#[derive(Default)]
pub(super) struct Policies {
    /// In the order in which they are asked.
    of_users: Vec<Arc<Policy>>,
    of_operators: Vec<Arc<Policy>>,
    /// Exchanges and queues that are there and are still to be looked at, since one of them changed.
    pub round: Option<[Round; 2]>,
    /// Who changed them last, if somebody hears of what comes of it.
    pub last_change: Option<PolicyChange>,
}

/// A vhost already has as many policies as it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooManyPolicies {
    /// By number.
    OfKind,
    /// By what their patterns take.
    Patterns,
}

impl fmt::Display for TooManyPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfKind => write!(f, "a virtual host has at most {POLICIES_MAX} policies of a kind"),
            Self::Patterns => write!(
                f,
                "the patterns of a virtual host's policies may take at most {PATTERNS_BYTES_MAX} bytes together, compiled"
            ),
        }
    }
}

impl Policies {
    pub fn of(&self, kind: PolicyKind) -> &[Arc<Policy>] {
        match kind {
            PolicyKind::User => &self.of_users,
            PolicyKind::Operator => &self.of_operators,
        }
    }

    fn of_mut(&mut self, kind: PolicyKind) -> &mut Vec<Arc<Policy>> {
        match kind {
            PolicyKind::User => &mut self.of_users,
            PolicyKind::Operator => &mut self.of_operators,
        }
    }

    /// How many there are, of both kinds.
    pub fn len(&self) -> usize {
        self.of_users.len() + self.of_operators.len()
    }

    pub fn named(&self, kind: PolicyKind, name: &[u8]) -> Option<&Arc<Policy>> {
        self.of(kind).iter().find(|policy| *policy.name == *name)
    }

    /// What the patterns of all take, compiled.
    pub fn patterns_bytes(&self) -> usize {
        self.of_users.iter().chain(&self.of_operators).map(|policy| policy.pattern.compiled_bytes()).sum()
    }

    /// Puts one in, in place of the one of its name.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn put(&mut self, kind: PolicyKind, policy: Arc<Policy>) -> Result<(), TooManyPolicies> {
        let known = self.named(kind, &policy.name);
        if known.is_none() && self.of(kind).len() >= POLICIES_MAX {
            return Err(TooManyPolicies::OfKind);
        }
        let bytes = policy.pattern.compiled_bytes();
        let known_bytes = known.map_or(0, |known| known.pattern.compiled_bytes());
        // One that takes no more than the one before it is no worse.
        if bytes > known_bytes && self.patterns_bytes() - known_bytes + bytes > PATTERNS_BYTES_MAX {
            return Err(TooManyPolicies::Patterns);
        }
        self.restore(kind, policy);
        Ok(())
    }

    /// The same, of one for which there was room once.
    pub fn restore(&mut self, kind: PolicyKind, policy: Arc<Policy>) {
        let policies = self.of_mut(kind);
        policies.retain(|known| known.name != policy.name);
        let key = |policy: &Policy| (std::cmp::Reverse(policy.priority), policy.name.clone());
        let place = policies.partition_point(|known| key(known) < key(&policy));
        policies.insert(place, policy);
    }

    /// Takes one out; false when there is none of that name.
    pub fn remove(&mut self, kind: PolicyKind, name: &[u8]) -> bool {
        let policies = self.of_mut(kind);
        let place = policies.iter().position(|policy| *policy.name == *name);
        place.map(|place| policies.remove(place)).is_some()
    }

    /// Those that apply to something of that name.
    pub fn applying_to(&self, thing: Thing, name: &[u8]) -> Applied {
        let first = |policies: &[Arc<Policy>]| policies.iter().find(|policy| policy.fits(thing, name)).cloned();
        Applied { policy: first(&self.of_users), operator: first(&self.of_operators) }
    }
}

/// A walk over all slots of a vhost's exchanges, or queues, which goes on where it is when it has to begin again: whoever
/// changes policies all the time keeps nobody from being looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Round {
    next: usize,
    /// Where it began, and ends when it comes by again.
    begun_at: usize,
    has_wrapped: bool,
}

impl Round {
    /// Everything is to be looked at, from wherever an earlier round is.
    pub fn begin_again(self) -> Self {
        Self { begun_at: self.next, has_wrapped: false, ..self }
    }

    /// The next slot of `slots`; `None` when all were looked at.
    pub fn step(&mut self, slots: usize) -> Option<usize> {
        if !self.has_wrapped && self.next >= slots {
            (self.next, self.has_wrapped) = (0, true);
        }
        if self.has_wrapped && self.next >= self.begun_at.min(slots) {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}
