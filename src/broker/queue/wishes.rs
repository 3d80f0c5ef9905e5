//! What may be asked of a queue beyond keeping messages: by the arguments of its declaration, by a policy and by an
//! operator policy, each in the same words. How they combine is for [`Behaviour`](super::Behaviour) to say.

use crate::protocol::ShortString;

/// How a queue keeps its messages, as clients name it in `x-queue-type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum QueueKind {
    #[default]
    Classic,
    /// Every message is in the log, whatever its delivery mode, and it is counted how often one came back.
    Quorum,
}

impl QueueKind {
    /// The name that clients declare it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Classic, Self::Quorum].into_iter().find(|kind| kind.name().as_bytes() == name)
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
}
