//! What clients say, as values that the model understands and as bytes that the broker does.

use crate::message::Message;
use crate::wire::{Table, Value, Writer, heartbeat_frame, method_frame, publish_frames};
use std::fmt;
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl ExchangeDeclare {
    pub fn arguments(&self) -> Table {
        self.alternate.map(|name| ("alternate-exchange", Value::Text(name))).into_iter().collect()
    }
}

impl QueueDeclare {
    pub fn arguments(&self) -> Table {
        let number = |name, value: Option<u32>| value.map(|value| (name, Value::Number(value as i32)));
        let (ttl, expires) = (number("x-message-ttl", self.ttl_ms), number("x-expires", self.expires_ms));
        let kind = self.is_given_type.then_some(("x-queue-type", Value::Text("classic")));
        ttl.into_iter().chain(expires).chain(kind).collect()
    }

    /// Whether it survives its broker.
    pub fn is_lasting(&self) -> bool {
        self.durable && !self.exclusive
    }
}

impl QueueDeclare {
    /// Asks whether it is there.
    pub fn passive(name: String) -> Self {
        Self {
            name,
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            ttl_ms: None,
            expires_ms: None,
            is_given_type: false,
        }
    }
}

impl Consume {
    /// As one among others.
    pub fn of(queue: String, consumer_tag: String, no_ack: bool) -> Self {
        Self { queue, consumer_tag, no_ack, exclusive: false, nowait: false, priority: None }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// An exchange or queue binding, as bind and unbind name it.
#[derive(Clone, PartialEq, Debug)]
pub struct BindingName {
    pub source: String,
    pub routing_key: String,
    pub arguments: Table,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ExchangeDeclare {
    pub name: String,
    pub kind: Kind,
    pub durable: bool,
    pub auto_delete: bool,
    pub alternate: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub struct QueueDeclare {
    /// Empty for a name of the broker's.
    pub name: String,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub nowait: bool,
    pub ttl_ms: Option<u32>,
    pub expires_ms: Option<u32>,
    /// It says no type, and was given that of its virtual host.
    pub is_given_type: bool,
}

#[derive(Clone, Debug)]
pub struct Consume {
    pub queue: String,
    /// Empty for a tag of the broker's.
    pub consumer_tag: String,
    pub no_ack: bool,
    pub exclusive: bool,
    pub nowait: bool,
    pub priority: Option<i32>,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Acked,
    Discarded,
    Requeued,
}

#[derive(Clone)]
pub enum Command {
    ProtocolHeader,
    StartOk { understands_cancel: bool, user: String, secret: String },
    TuneOk { frame_max: u32, heartbeat_s: u16 },
    Open { vhost: String },
    Close,
    CloseOk,
    Heartbeat,
    ChannelOpen,
    ChannelClose,
    ChannelCloseOk,
    ExchangeDeclare(ExchangeDeclare),
    ExchangeDelete { name: String, if_unused: bool },
    ExchangeBind { destination: String, binding: BindingName },
    ExchangeUnbind { destination: String, binding: BindingName },
    QueueDeclare(QueueDeclare),
    QueueBind { queue: String, binding: BindingName },
    QueueUnbind { queue: String, binding: BindingName },
    QueuePurge { queue: String },
    QueueDelete { queue: String, if_unused: bool, if_empty: bool, nowait: bool },
    Qos { prefetch_count: u16, global: bool },
    Consume(Consume),
    Cancel { consumer_tag: String, nowait: bool },
    Get { queue: String, no_ack: bool },
    Publish(Rc<Message>),
    Ack { delivery_tag: u64, multiple: bool },
    Nack { delivery_tag: u64, multiple: bool, requeue: bool },
    Reject { delivery_tag: u64, requeue: bool },
    Recover,
    ConfirmSelect,
    TxSelect,
    TxCommit,
    TxRollback,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProtocolHeader => write!(f, "protocol header"),
            Self::StartOk { understands_cancel, user, secret } => {
                write!(f, "start-ok as {user} with {secret} cancel_notify={understands_cancel}")
            }
            Self::TuneOk { frame_max, heartbeat_s } => {
                write!(f, "tune-ok frame_max={frame_max} heartbeat={heartbeat_s}")
            }
            Self::Open { vhost } => write!(f, "open {vhost}"),
            Self::Close => write!(f, "connection.close"),
            Self::CloseOk => write!(f, "connection.close-ok"),
            Self::Heartbeat => write!(f, "heartbeat"),
            Self::ChannelOpen => write!(f, "channel.open"),
            Self::ChannelClose => write!(f, "channel.close"),
            Self::ChannelCloseOk => write!(f, "channel.close-ok"),
            Self::ExchangeDeclare(declare) => write!(f, "exchange.declare {declare:?}"),
            Self::ExchangeDelete { name, if_unused } => write!(f, "exchange.delete {name} if_unused={if_unused}"),
            Self::ExchangeBind { destination, binding } => write!(f, "exchange.bind {destination} to {binding:?}"),
            Self::ExchangeUnbind { destination, binding } => {
                write!(f, "exchange.unbind {destination} from {binding:?}")
            }
            Self::QueueDeclare(declare) => write!(f, "queue.declare {declare:?}"),
            Self::QueueBind { queue, binding } => write!(f, "queue.bind {queue} to {binding:?}"),
            Self::QueueUnbind { queue, binding } => write!(f, "queue.unbind {queue} from {binding:?}"),
            Self::QueuePurge { queue } => write!(f, "queue.purge {queue}"),
            Self::QueueDelete { queue, if_unused, if_empty, nowait } => {
                write!(f, "queue.delete {queue} if_unused={if_unused} if_empty={if_empty} nowait={nowait}")
            }
            Self::Qos { prefetch_count, global } => write!(f, "qos {prefetch_count} global={global}"),
            Self::Consume(consume) => write!(f, "{consume:?}"),
            Self::Cancel { consumer_tag, .. } => write!(f, "cancel {consumer_tag}"),
            Self::Get { queue, no_ack } => write!(f, "get {queue} no_ack={no_ack}"),
            Self::Publish(message) => write!(
                f,
                "publish message {} to '{}' key '{}', {} bytes, mandatory={} headers={:?} expiration={:?}",
                message.id,
                message.exchange,
                message.routing_key,
                message.body.len(),
                message.mandatory,
                message.headers,
                message.expiration_ms
            ),
            Self::Ack { delivery_tag, multiple } => write!(f, "ack {delivery_tag} multiple={multiple}"),
            Self::Nack { delivery_tag, multiple, requeue } => {
                write!(f, "nack {delivery_tag} multiple={multiple} requeue={requeue}")
            }
            Self::Reject { delivery_tag, requeue } => write!(f, "reject {delivery_tag} requeue={requeue}"),
            Self::Recover => write!(f, "recover"),
            Self::ConfirmSelect => write!(f, "confirm.select"),
            Self::TxSelect => write!(f, "tx.select"),
            Self::TxCommit => write!(f, "tx.commit"),
            Self::TxRollback => write!(f, "tx.rollback"),
        }
    }
}

fn capabilities(understands_cancel: bool) -> Table {
    let flags = vec![
        ("consumer_cancel_notify", Value::Flag(understands_cancel)),
        ("connection.blocked", Value::Flag(true)),
        ("publisher_confirms", Value::Flag(true)),
        ("authentication_failure_close", Value::Flag(true)),
    ];
    vec![("product", Value::Text("simulation")), ("capabilities", Value::Table(flags))]
}

impl Command {
    /// The frames, which may be sent apart from each other.
    pub fn frames(&self, channel: u16, frame_max: usize) -> Vec<Vec<u8>> {
        if let Self::Publish(message) = self {
            return publish_frames(channel, message, frame_max);
        }
        vec![match self {
            Self::ProtocolHeader => b"AMQP\0\0\x09\x01".to_vec(),
            Self::Heartbeat => heartbeat_frame(),
            _ => {
                let (ids, arguments) = self.method();
                method_frame(channel, ids, arguments)
            }
        }]
    }

    /// Whether it means deliveries that it doesn't name, and is never answered: nobody can tell from what the broker
    /// says which deliveries came before it.
    pub fn settles_whatever_is_there(&self) -> bool {
        matches!(self, Self::Ack { delivery_tag: 0, .. } | Self::Nack { delivery_tag: 0, .. })
    }

    /// Class and method.
    pub fn ids(&self) -> (u16, u16) {
        match self {
            Self::Publish(_) => (60, 40),
            Self::ProtocolHeader | Self::Heartbeat => (0, 0),
            _ => self.method().0,
        }
    }

    fn method(&self) -> ((u16, u16), Writer) {
        let empty = Writer::default();
        match self {
            Self::ProtocolHeader | Self::Heartbeat | Self::Publish(_) => unreachable!("not one method"),
            Self::StartOk { understands_cancel, user, secret } => {
                let response = format!("\0{user}\0{secret}");
                let properties = capabilities(*understands_cancel);
                ((10, 11), empty.table(&properties).short("PLAIN").long(response.as_bytes()).short("en_US"))
            }
            Self::TuneOk { frame_max, heartbeat_s } => ((10, 31), empty.u16(2047).u32(*frame_max).u16(*heartbeat_s)),
            Self::Open { vhost } => ((10, 40), empty.short(vhost).short("").u8(0)),
            Self::Close => ((10, 50), empty.u16(200).short("done").u16(0).u16(0)),
            Self::CloseOk => ((10, 51), empty),
            Self::ChannelOpen => ((20, 10), empty.short("")),
            Self::ChannelClose => ((20, 40), empty.u16(200).short("done").u16(0).u16(0)),
            Self::ChannelCloseOk => ((20, 41), empty),
            Self::ExchangeDeclare(declare) => {
                let ExchangeDeclare { name, kind, durable, auto_delete, .. } = declare;
                let flags = [false, *durable, *auto_delete];
                ((40, 10), empty.u16(0).short(name).short(kind.name()).bits(&flags).table(&declare.arguments()))
            }
            Self::ExchangeDelete { name, if_unused } => ((40, 20), empty.u16(0).short(name).bits(&[*if_unused])),
            Self::ExchangeBind { destination, binding } => ((40, 30), exchange_binding(destination, binding)),
            Self::ExchangeUnbind { destination, binding } => ((40, 40), exchange_binding(destination, binding)),
            Self::QueueDeclare(declare) => ((50, 10), queue_declare(declare)),
            Self::QueueBind { queue, binding } => {
                let BindingName { source, routing_key, arguments } = binding;
                ((50, 20), empty.u16(0).short(queue).short(source).short(routing_key).u8(0).table(arguments))
            }
            Self::QueueUnbind { queue, binding } => {
                let BindingName { source, routing_key, arguments } = binding;
                ((50, 50), empty.u16(0).short(queue).short(source).short(routing_key).table(arguments))
            }
            Self::QueuePurge { queue } => ((50, 30), empty.u16(0).short(queue).u8(0)),
            Self::QueueDelete { queue, if_unused, if_empty, nowait } => {
                ((50, 40), empty.u16(0).short(queue).bits(&[*if_unused, *if_empty, *nowait]))
            }
            Self::Qos { prefetch_count, global } => ((60, 10), empty.u32(0).u16(*prefetch_count).bits(&[*global])),
            Self::Consume(consume) => ((60, 20), basic_consume(consume)),
            Self::Cancel { consumer_tag, nowait } => ((60, 30), empty.short(consumer_tag).bits(&[*nowait])),
            Self::Get { queue, no_ack } => ((60, 70), empty.u16(0).short(queue).bits(&[*no_ack])),
            Self::Ack { delivery_tag, multiple } => ((60, 80), empty.u64(*delivery_tag).bits(&[*multiple])),
            Self::Nack { delivery_tag, multiple, requeue } => {
                ((60, 120), empty.u64(*delivery_tag).bits(&[*multiple, *requeue]))
            }
            Self::Reject { delivery_tag, requeue } => ((60, 90), empty.u64(*delivery_tag).bits(&[*requeue])),
            Self::Recover => ((60, 110), empty.bits(&[true])),
            Self::ConfirmSelect => ((85, 10), empty.u8(0)),
            Self::TxSelect => ((90, 10), empty),
            Self::TxCommit => ((90, 20), empty),
            Self::TxRollback => ((90, 30), empty),
        }
    }
}

fn exchange_binding(destination: &str, BindingName { source, routing_key, arguments }: &BindingName) -> Writer {
    Writer::default().u16(0).short(destination).short(source).short(routing_key).u8(0).table(arguments)
}

fn queue_declare(declare: &QueueDeclare) -> Writer {
    let QueueDeclare { name, passive, durable, exclusive, auto_delete, nowait, .. } = declare;
    let flags = [*passive, *durable, *exclusive, *auto_delete, *nowait];
    Writer::default().u16(0).short(name).bits(&flags).table(&declare.arguments())
}

fn basic_consume(consume: &Consume) -> Writer {
    let Consume { queue, consumer_tag, no_ack, exclusive, nowait, priority } = consume;
    let arguments = priority.map(|priority| ("x-priority", Value::Number(priority))).into_iter().collect();
    let flags = [false, *no_ack, *exclusive, *nowait];
    Writer::default().u16(0).short(queue).short(consumer_tag).bits(&flags).table(&arguments)
}
