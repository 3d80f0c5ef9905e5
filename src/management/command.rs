//! What management may ask of the loop, and the line to it.
//!
//! Every command carries where its answer goes. The loop answers in its own time and never waits: an answer that nobody
//! waits for any more is dropped.

use crate::broker::Totals;
use crate::broker::snapshot::{
    BindingSnapshot, ChannelSnapshot, ConsumerSnapshot, ExchangeSnapshot, Page, QueueSnapshot, TotalsSnapshot,
};
use crate::connection::Alarm;
use crate::protocol::{AmqpError, BasicProperties, FieldTable, ShortString};
use crate::reactor::Waker;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Commands that may wait for the loop; those beyond are refused.
const WAITING_COMMANDS_MAX: usize = 1024;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// One question to the loop.
pub enum Command {
    Overview(Reply<Overview>),
    Queues {
        from: usize,
        reply: Reply<Page<Held<QueueSnapshot>>>,
    },
    Queue {
        name: ShortString,
        reply: Reply<Option<Held<QueueSnapshot>>>,
    },
    Exchanges {
        from: usize,
        reply: Reply<Page<ExchangeSnapshot>>,
    },
    Exchange {
        name: ShortString,
        reply: Reply<Option<ExchangeSnapshot>>,
    },
    Bindings {
        from: usize,
        reply: Reply<Page<BindingSnapshot>>,
    },
    BindingsToQueue {
        name: ShortString,
        reply: Reply<Vec<BindingSnapshot>>,
    },
    BindingsToExchange {
        name: ShortString,
        reply: Reply<Vec<BindingSnapshot>>,
    },
    Connections {
        from: usize,
        reply: Reply<Page<ConnectionSnapshot>>,
    },
    Channels {
        from: usize,
        reply: Reply<Page<Held<ChannelSnapshot>>>,
    },
    Consumers {
        from: usize,
        reply: Reply<Page<Held<ConsumerSnapshot>>>,
    },
    ConsumersOfQueue {
        queue: ShortString,
        from: usize,
        reply: Reply<Page<Held<ConsumerSnapshot>>>,
    },
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
        reply: Reply<Result<bool, AmqpError>>,
    },
    Get {
        get: GetSpec,
        reply: Reply<Result<Vec<GotMessage>, AmqpError>>,
    },
    /// Answers whether there was such a connection.
    CloseConnection {
        peer: SocketAddr,
        local: SocketAddr,
        reason: String,
        reply: Reply<bool>,
    },
}

/// How many of everything, and how the node is.
pub struct Overview {
    pub totals: TotalsSnapshot,
    pub connections: usize,
    /// Why publishers are not read.
    pub alarm: Option<Alarm>,
    /// Room on the disk of the data folder, in bytes. `None` when the system doesn't tell.
    pub disk_free_bytes: Option<u64>,
    /// Room below which publishers are not read, in bytes.
    pub disk_free_limit_bytes: u64,
    /// Memory of messages above which publishers are not read, in bytes.
    pub memory_watermark_bytes: usize,
    /// Since the start, in milliseconds.
    pub uptime_ms: u64,
}

impl Overview {
    /// What happened since the start.
    pub fn events(&self) -> &Totals {
        &self.totals.totals
    }

    pub fn memory_alarm(&self) -> bool {
        self.alarm.is_some_and(Alarm::is_of_memory)
    }

    pub fn disk_alarm(&self) -> bool {
        self.alarm.is_some_and(Alarm::is_of_disk)
    }
}

/// Something that belongs to a connection, or may.
pub struct Held<T> {
    pub item: T,
    pub holder: Option<ConnectionLabel>,
}

/// What tells a connection from others.
#[derive(Clone)]
pub struct ConnectionLabel {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub user: String,
}

impl ConnectionLabel {
    /// As RabbitMQ names connections.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.peer, self.local)
    }
}

pub struct ConnectionSnapshot {
    pub label: ConnectionLabel,
    pub state: ConnectionState,
    pub channels: usize,
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat_s: u16,
    pub client_properties: FieldTable,
    pub auth_mechanism: &'static str,
    /// On the loop's clock.
    pub connected_at_ms: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Bytes that wait to be sent.
    pub send_pending: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionState {
    Running,
    /// It published during an alarm and is not read.
    Blocked,
    Closing,
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
    /// Who publishes.
    pub user: String,
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub properties: BasicProperties,
    pub body: Bytes,
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

/// Management's end of the line to the loop.
#[derive(Clone)]
pub struct Line {
    commands: SyncSender<Command>,
    waker: Waker,
}

/// The loop didn't answer: it has too much to do, or is stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unanswered;

/// A line, and the loop's end of it.
pub fn line(waker: Waker) -> (Line, Receiver<Command>) {
    let (commands, receiver) = sync_channel(WAITING_COMMANDS_MAX);
    (Line { commands, waker }, receiver)
}

impl Line {
    /// Sends the command that `make` makes and waits for its answer.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(make(reply)).map_err(|_| Unanswered)?;
        self.waker.wake().map_err(|_| Unanswered)?;
        answer.await.map_err(|_| Unanswered)
    }

    /// Asks for all pages of a list, one after the other.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn ask_all<T>(&self, make: impl Fn(usize, Reply<Page<T>>) -> Command) -> Result<Vec<T>, Unanswered> {
        let mut items = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let page = self.ask(|reply| make(start, reply)).await?;
            items.extend(page.items);
            from = page.next;
        }
        Ok(items)
    }
}
