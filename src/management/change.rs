//! What management may have changed: the commands that AMQP has, and closing a connection.
//!
//! A change carries where its answer goes. What lasts is answered when the disk has it; what is refused changed nothing.
//! Whoever asks for one in a virtual host needs the permissions that AMQP asks for. Whose connections somebody may close is
//! asked by the path, before it comes here.

use super::Reply;
use super::question::Held;
use crate::broker::policy::{Policy, PolicyKind, TooManyPolicies};
use crate::broker::{
    DelayedId, DelayedPage, HeldId, HeldMessage, HeldPage, MoveSpec, Moved, PeekSpec, Peeked, TailCounts, TailId,
    TailListener, TailSpec,
};
use crate::protocol::{AmqpError, BasicProperties, FieldTable, ShortString};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// Something that is to be otherwise, or somewhere else: getting messages is one, too.
pub enum Change {
    /// In the virtual host of that name.
    InVhost { vhost: Box<str>, change: VhostChange },
    /// In the virtual host of that name, by somebody who makes policies there.
    Policy { vhost: Box<str>, kind: PolicyKind, change: PolicyChange },
    /// Answers whether there was such a connection.
    CloseConnection { peer: SocketAddr, local: SocketAddr, reason: String, reply: Reply<bool> },
}

/// A change of policies, which are looked at and compiled before they come here.
pub enum PolicyChange {
    /// Answers whether it is new.
    Put { policy: Arc<Policy>, reply: Reply<Result<bool, TooManyPolicies>> },
    /// Answers whether there was one of that name.
    Delete { name: ShortString, reply: Reply<bool> },
}

/// A change in a virtual host, of those that AMQP has.
pub enum VhostChange {
    /// Answers whether the queue is new.
    DeclareQueue {
        name: ShortString,
        attributes: QueueAttributes,
        reply: Reply<Result<bool, AmqpError>>,
    },
    DeleteQueue {
        name: ShortString,
        if_unused: bool,
        if_empty: bool,
        reply: Reply<Result<(), AmqpError>>,
    },
    PurgeQueue {
        name: ShortString,
        reply: Reply<Result<(), AmqpError>>,
    },
    /// Answers whether the exchange is new.
    DeclareExchange {
        name: ShortString,
        attributes: ExchangeAttributes,
        reply: Reply<Result<bool, AmqpError>>,
    },
    DeleteExchange {
        name: ShortString,
        if_unused: bool,
        reply: Reply<Result<(), AmqpError>>,
    },
    Bind {
        binding: BindingSpec,
        reply: Reply<Result<(), AmqpError>>,
    },
    Unbind {
        binding: BindingSpec,
        reply: Reply<Result<(), AmqpError>>,
    },
    /// Answers whether the message went to any queue.
    Publish {
        publish: Box<PublishSpec>,
        reply: Reply<Result<PublishOutcome, AmqpError>>,
    },
    /// Some of the messages that an exchange keeps for later: up to `most`, behind the first `skipped`.
    ListDelayed {
        exchange: ShortString,
        skipped: usize,
        most: usize,
        reply: Reply<Result<DelayedPage, AmqpError>>,
    },
    /// How many those are.
    CountDelayed {
        exchange: ShortString,
        reply: Reply<Result<usize, AmqpError>>,
    },
    /// Answers whether there was such a message.
    CancelDelayed {
        exchange: ShortString,
        id: DelayedId,
        reply: Reply<Result<bool, AmqpError>>,
    },
    Get {
        get: GetSpec,
        reply: Reply<Result<Vec<GotMessage>, AmqpError>>,
    },
    /// Looks at messages of a queue, and leaves them as they are.
    Peek {
        queue: ShortString,
        peek: PeekSpec,
        reply: Reply<Result<Peeked, AmqpError>>,
    },
    /// Some of a queue's messages that clients hold: up to `most`, behind that one.
    ListHeld {
        queue: ShortString,
        after: Option<HeldId>,
        most: usize,
        reply: Reply<Result<HeldPage<Held<HeldMessage>>, AmqpError>>,
    },
    /// Takes a message away from its holder: back to its place, or rejected. Answers whether it was still held.
    SettleHeld {
        queue: ShortString,
        id: HeldId,
        requeue: bool,
        reply: Reply<Result<bool, AmqpError>>,
    },
    /// Moves messages of a queue elsewhere. It may take several turns.
    Move {
        spec: Box<MoveSpec>,
        reply: Reply<Result<Moved, AmqpError>>,
    },
    /// Follows a queue or an exchange: whoever asks needs to be let read it.
    StartTail {
        tail: Box<TailSpec>,
        listener: Box<dyn TailListener + Send>,
        reply: Reply<Result<TailId, AmqpError>>,
    },
    /// Answers what it has told so far, and nothing when what it follows is gone.
    CountTail {
        id: TailId,
        reply: Reply<Result<Option<TailCounts>, AmqpError>>,
    },
    EndTail {
        id: TailId,
        reply: Reply<Result<(), AmqpError>>,
    },
}

pub struct QueueAttributes {
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

pub struct ExchangeAttributes {
    pub kind: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

pub struct BindingSpec {
    pub source: ShortString,
    pub destination: ShortString,
    pub to_queue: bool,
    pub routing_key: ShortString,
    pub arguments: FieldTable,
}

pub struct PublishSpec {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub properties: BasicProperties,
    pub body: Bytes,
}

/// What became of a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishOutcome {
    Routed,
    /// There is no queue for it.
    Returned,
    /// A queue refused it.
    Refused,
}

pub struct GetSpec {
    pub queue: ShortString,
    pub count: usize,
    pub mode: GetMode,
    /// Most bytes of each body that are wanted.
    pub truncate: usize,
}

/// What becomes of messages that management looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GetMode {
    /// They return to their places, redelivered.
    Requeue,
    /// They are taken.
    Take,
    /// They are rejected for good.
    Reject,
}

pub struct GotMessage {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub redelivered: bool,
    pub message_count: u32,
    pub properties: BasicProperties,
    pub body_size: usize,
    /// As much of it as was asked for.
    pub body: Vec<u8>,
}
