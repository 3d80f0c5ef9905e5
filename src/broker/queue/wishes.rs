//! What may be asked of a queue beyond keeping messages: by the arguments of its declaration, by a policy and by an
//! operator policy, each in the same words. How they combine is for [`Behaviour`](super::Behaviour) to say.

use crate::broker::equivalence::integer;
use crate::protocol::{FieldTable, FieldValue, ShortString};

/// How a queue keeps its messages, as clients name it in `x-queue-type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum QueueKind {
    #[default]
    Classic,
    /// Every message is in the log, whatever its delivery mode, and it is counted how often one came back.
    Quorum,
}

impl QueueKind {
    pub const ALL: [Self; 2] = [Self::Classic, Self::Quorum];

    /// The name that clients declare it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// RabbitMQ's module for it, as texts name it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}

/// What a queue does that has as much as it may have (`x-overflow`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// The oldest messages go.
    #[default]
    DropHead,
    /// New ones are refused: nacked, under confirms.
    RejectPublish,
    /// As `RejectPublish`, and what is refused is dead-lettered.
    RejectPublishDlx,
}

impl Overflow {
    pub fn name(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDlx => "reject-publish-dlx",
        }
    }

    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::DropHead, Self::RejectPublish, Self::RejectPublishDlx]
            .into_iter()
            .find(|overflow| overflow.name().as_bytes() == name)
    }
}

/// How sure a dead letter must be (`x-dead-letter-strategy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DeadLetterStrategy {
    /// It leaves its queue whether anybody takes it or not.
    #[default]
    AtMostOnce,
    /// It stays its queue's until every queue that it is for has it.
    AtLeastOnce,
}

impl DeadLetterStrategy {
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"at-most-once" => Some(Self::AtMostOnce),
            b"at-least-once" => Some(Self::AtLeastOnce),
            _ => None,
        }
    }
}

/// Which messages wait before they are delivered again (`x-delayed-retry-type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryDelays {
    /// None.
    Disabled,
    /// All that come back.
    All,
    /// Those of which it is counted that they failed.
    Failed,
    /// The others.
    Returned,
}

impl RetryDelays {
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"disabled" => Some(Self::Disabled),
            b"all" => Some(Self::All),
            b"failed" => Some(Self::Failed),
            b"returned" => Some(Self::Returned),
            _ => None,
        }
    }
}

/// A plugin's argument and policy, which bear one name.
pub const DEDUPLICATION: &str = "x-message-deduplication";

/// What is said of one queue from one side. `None`: nothing is said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// How long a message may wait, in milliseconds.
    pub message_ttl_ms: Option<u64>,
    /// The queue goes when it was unused for so long, in milliseconds.
    pub expires_ms: Option<u64>,
    /// Most ready messages.
    pub max_length: Option<u64>,
    /// Most bytes of the bodies of ready messages.
    pub max_length_bytes: Option<u64>,
    pub overflow: Option<Overflow>,
    pub dead_letter_exchange: Option<ShortString>,
    pub dead_letter_routing_key: Option<ShortString>,
    pub dead_letter_strategy: Option<DeadLetterStrategy>,
    /// How often a message may come back; below zero: as often as it likes.
    pub delivery_limit: Option<i64>,
    /// How long a delivery may be unacknowledged, in milliseconds.
    pub consumer_timeout_ms: Option<u64>,
    pub retry_delays: Option<RetryDelays>,
    /// A message with the value of one that is there is refused.
    pub deduplicates: Option<bool>,
    /// How long a message waits that came back once, in milliseconds; and each time so much longer.
    pub retry_delay_min_ms: Option<u64>,
    /// No longer than this.
    pub retry_delay_max_ms: Option<u64>,
}

impl Wishes {
    /// What a table asks for, under names that begin with `prefix`. What is not as it has to be says nothing.
    pub fn of(table: &FieldTable, prefix: &str) -> Self {
        // Most ask for nothing.
        if table.is_empty() {
            return Self::default();
        }
        let is = |key: &ShortString, name: &str| {
            key.as_bytes().strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest == name.as_bytes())
        };
        let value = |name: &str| table.0.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value);
        let number = |name| value(name).and_then(integer);
        let positive = |name, minimum| number(name).and_then(|n| u64::try_from(n).ok()).filter(|n| *n >= minimum);
        let not_negative = |name| positive(name, 0);
        let text = |name| match value(name) {
            Some(FieldValue::LongString(text)) => Some(&**text),
            _ => None,
        };
        Self {
            message_ttl_ms: not_negative("message-ttl"),
            expires_ms: positive("expires", 1),
            max_length: not_negative("max-length"),
            max_length_bytes: not_negative("max-length-bytes"),
            overflow: text("overflow").and_then(Overflow::from_name),
            dead_letter_exchange: text("dead-letter-exchange").map(ShortString::truncated),
            dead_letter_routing_key: text("dead-letter-routing-key").map(ShortString::truncated),
            dead_letter_strategy: text("dead-letter-strategy").and_then(DeadLetterStrategy::from_name),
            delivery_limit: number("delivery-limit"),
            consumer_timeout_ms: not_negative("consumer-timeout"),
            // Its name is the same in both.
            deduplicates: match table.get(DEDUPLICATION.as_bytes()) {
                Some(FieldValue::Boolean(truth)) => Some(*truth),
                _ => None,
            },
            retry_delays: text("delayed-retry-type").and_then(RetryDelays::from_name),
            retry_delay_min_ms: positive("delayed-retry-min", 1),
            retry_delay_max_ms: positive("delayed-retry-max", 1),
        }
    }

    /// A policy and what an operator's policy makes of it.
    pub fn under(&self, operator: &Self) -> Self {
        let least = |of: fn(&Self) -> Option<u64>| [of(self), of(operator)].into_iter().flatten().min();
        let greatest = |of: fn(&Self) -> Option<u64>| [of(self), of(operator)].into_iter().flatten().max();
        Self {
            message_ttl_ms: least(|side| side.message_ttl_ms),
            expires_ms: least(|side| side.expires_ms),
            max_length: least(|side| side.max_length),
            max_length_bytes: least(|side| side.max_length_bytes),
            overflow: operator.overflow.or(self.overflow),
            dead_letter_exchange: self.dead_letter_exchange.clone(),
            dead_letter_routing_key: self.dead_letter_routing_key.clone(),
            dead_letter_strategy: self.dead_letter_strategy,
            delivery_limit: stricter_delivery_limit(self.delivery_limit, operator.delivery_limit),
            consumer_timeout_ms: self.consumer_timeout_ms,
            deduplicates: self.deduplicates,
            retry_delays: operator.retry_delays.or(self.retry_delays),
            retry_delay_min_ms: greatest(|side| side.retry_delay_min_ms),
            retry_delay_max_ms: least(|side| side.retry_delay_max_ms),
        }
    }
}

/// The lower one; and one that there is, where the other one is none.
pub(super) fn stricter_delivery_limit(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) if a < 0 || b < 0 => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
