//! Whole turns of what every broker does: messages to queues, by exchanges or not, durable or not, as guest or as somebody.

use crate::hub::{Log, Loop, acknowledge, publishes, publishes_with};
use crate::{ROUND, SMALL, repeat};
use leveret::access::{PasswordHash, Pattern, Tags};
use leveret::broker::store::LogPosition;
use leveret::broker::{ConnectionId, Permissions, VhostAttributes};
use leveret::protocol::method::{basic, confirm, exchange, queue};
use leveret::protocol::{FieldTable, FieldValue, Method};
use leveret::storage::{LogOptions, LogStore};

pub fn declare(name: &str, durable: bool) -> Method<'_> {
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), durable, ..queue::Declare::default() })
}

pub fn consume(name: &str, no_ack: bool) -> Method<'_> {
    Method::BasicConsume(basic::Consume { queue: name.as_bytes(), no_ack, ..basic::Consume::default() })
}

pub fn select() -> Method<'static> {
    Method::ConfirmSelect(confirm::Select::default())
}

pub fn prefetch_1000() -> Method<'static> {
    Method::BasicQos(basic::Qos { prefetch_count: 1000, ..basic::Qos::default() })
}

/// One publisher to the default exchange, one consumer without acknowledgements.
pub fn automatic(turns: Loop, rounds: usize, body_size: usize, publisher_says: &[Method<'_>]) -> usize {
    automatic_from(turns, declare("hello", false), rounds, body_size, publisher_says)
}

/// As `automatic`, from a queue that this declares.
pub fn automatic_from(
    mut turns: Loop,
    declare: Method<'_>,
    rounds: usize,
    body_size: usize,
    publisher_says: &[Method<'_>],
) -> usize {
    let consumer = turns.client(&[declare, consume("hello", true)]);
    let publisher = turns.client(publisher_says);
    // A round is a turn: what one receive brings.
    let count = (64 * 1024 / (body_size + 72)).max(2);
    let wire = publishes(b"", (0..count).map(|_| &b"hello"[..]), body_size);
    turns.take_sent(consumer);
    repeat(rounds, count, || {
        turns.turn(publisher, &wire);
        assert!(turns.take_sent(consumer) > count * body_size, "all of them were delivered");
    })
}

pub fn acknowledged(mut turns: Loop, rounds: usize, every: u64) -> usize {
    let consumer = turns.client(&[declare("hello", false), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, every)
}

/// As `acknowledged`, by a consumer who may hold less than a turn brings: most messages wait in the queue first.
pub fn from_backlog(rounds: usize) -> usize {
    const HELD: u64 = 100;
    let mut turns = Loop::new();
    let prefetch = Method::BasicQos(basic::Qos { prefetch_count: HELD as u16, ..basic::Qos::default() });
    let consumer = turns.client(&[declare("hello", false), prefetch, consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    let (mut acks, mut settled) = (Vec::new(), 0);
    let messages = repeat(rounds, ROUND, || {
        turns.turn(publisher, &wire);
        for _ in 0..ROUND as u64 / HELD {
            acknowledge(&mut acks, settled, HELD, HELD);
            turns.turn(consumer, &acks);
            settled += HELD;
        }
    });
    assert_eq!(turns.totals().acknowledged, settled, "all of them were delivered and acknowledged");
    messages
}

/// Rounds of a turn of publishes and a turn of their acknowledgements.
pub fn play_acknowledged<S: Log>(
    turns: &mut Loop<S>,
    publisher: ConnectionId,
    consumer: ConnectionId,
    wire: &[u8],
    rounds: usize,
    every: u64,
) -> usize {
    let (mut acks, mut settled) = (Vec::new(), 0);
    let messages = repeat(rounds, ROUND, || {
        turns.turn(publisher, wire);
        acknowledge(&mut acks, settled, ROUND as u64, every);
        turns.turn(consumer, &acks);
        settled += ROUND as u64;
    });
    assert_eq!(turns.totals().acknowledged, settled, "all of them were delivered and acknowledged");
    messages
}

pub fn by_second_word(number: usize) -> String {
    format!("*.{number}.#")
}

/// Queues on an exchange, each with a consumer of its own; messages with so many keys in turn.
pub fn through(
    mut turns: Loop,
    rounds: usize,
    exchange: &str,
    queues: usize,
    binding: fn(usize) -> String,
    keys: usize,
) -> usize {
    if exchange.starts_with("x-") {
        let declare = exchange::Declare {
            exchange: exchange.as_bytes(),
            exchange_type: exchange.as_bytes(),
            ..exchange::Declare::default()
        };
        turns.client(&[Method::ExchangeDeclare(declare)]);
    }
    let consumers: Vec<ConnectionId> = (0..queues)
        .map(|number| {
            let (name, routing_key) = (format!("queue-{number}"), binding(number));
            let bind = queue::Bind {
                queue: name.as_bytes(),
                exchange: exchange.as_bytes(),
                routing_key: routing_key.as_bytes(),
                ..queue::Bind::default()
            };
            turns.client(&[declare(&name, false), Method::QueueBind(bind), consume(&name, true)])
        })
        .collect();
    let publisher = turns.client(&[]);
    let keys: Vec<String> = (0..keys).map(|number| format!("a.{}.{:05}", number % queues, number)).collect();
    // Few keys come again within a round, many take many rounds.
    let keys_in_rounds: Vec<&String> = keys.iter().cycle().take(keys.len().max(ROUND)).collect();
    let wires: Vec<Vec<u8>> = keys_in_rounds
        .chunks_exact(ROUND)
        .map(|keys| publishes(exchange.as_bytes(), keys.iter().map(|key| key.as_bytes()), SMALL))
        .collect();
    let mut wires = wires.iter().cycle();
    for consumer in &consumers {
        turns.take_sent(*consumer);
    }
    repeat(rounds, ROUND, || {
        turns.turn(publisher, wires.next().expect("a cycle has no end"));
        assert!(consumers.iter().all(|consumer| turns.take_sent(*consumer) > 0), "every queue had some");
    })
}

/// Fifty virtual hosts, and clients that are not guest: they log in to one of those, with permissions there for the names
/// that they use.
pub fn for_tenants<S: Log>(mut turns: Loop<S>) -> Loop<S> {
    let broker = turns.hub.broker_mut();
    for number in 0..50 {
        broker.put_vhost(&format!("vhost-{number}"), VhostAttributes::default());
    }
    broker.put_user("tenant", PasswordHash::salted_sha256(b"secret", [1; 4]), Tags::default());
    let user = broker.find_user(b"tenant").and_then(|key| broker.user_of(key)).expect("it was made");
    let vhost = broker.vhost_named(b"vhost-37").expect("it was made");
    let names = || Pattern::new("^(hello|queue-[0-9]+|amq\\.(default|topic))$").expect("a pattern").into();
    broker.set_permissions(user, vhost, Permissions { configure: names(), write: names(), read: names() });
    (turns.login, turns.virtual_host) = (b"\0tenant\0secret", b"vhost-37");
    turns
}

pub fn logged() -> Loop<LogStore> {
    Loop::with_store(LogStore::new(LogOptions::default(), LogPosition(0)))
}

pub fn declare_of_type<'a>(name: &'a str, kind: &'static str) -> Method<'a> {
    let arguments = FieldTable(vec![("x-queue-type".into(), FieldValue::LongString(kind.as_bytes().into()))]);
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), durable: true, arguments, ..Default::default() })
}

/// The loop's part of a durable message's life: into the log, confirmed, delivered, acknowledged.
pub fn durable(mut turns: Loop<LogStore>, kind: &'static str, rounds: usize) -> usize {
    const PERSISTENT: [u8; 3] = [0x10, 0x00, 2];
    let consumer = turns.client(&[declare_of_type("hello", kind), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[select()]);
    let wire = publishes_with(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL, &PERSISTENT);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}
