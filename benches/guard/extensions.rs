//! Whole turns of what RabbitMQ adds to AMQP: each is to be compared with the plain turn of the same shape.

use crate::hub::{Loop, publishes, publishes_with};
use crate::turns::{
    automatic_from, consume, declare, declare_of_type, logged, play_acknowledged, prefetch_1000, select,
};
use crate::{ROUND, SMALL, repeat};
use leveret::protocol::method::{basic, exchange, queue};
use leveret::protocol::{BasicProperties, FieldTable, FieldValue, Method};

/// An argument of a queue.
type Argument = (&'static str, FieldValue);

/// Longer than a run.
const MINUTE_MS: i32 = 60_000;

fn declare_with(arguments: &[Argument]) -> Method<'static> {
    let arguments = FieldTable(arguments.iter().map(|(name, value)| ((*name).into(), value.clone())).collect());
    Method::QueueDeclare(queue::Declare { queue: b"hello", arguments, ..queue::Declare::default() })
}

fn text(value: &str) -> FieldValue {
    FieldValue::LongString(value.as_bytes().into())
}

/// A queue with these arguments, and messages with a property, its flags before it; each is acknowledged.
fn acknowledged_from(rounds: usize, arguments: &[Argument], properties: &[u8]) -> usize {
    let mut turns = Loop::new();
    let consumer = turns.client(&[declare_with(arguments), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes_with(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL, properties);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

pub fn with_time_to_live(rounds: usize) -> usize {
    automatic_from(Loop::new(), declare_with(&[("x-message-ttl", FieldValue::I32(MINUTE_MS))]), rounds, SMALL, &[])
}

pub fn acknowledged_with_time_to_live(rounds: usize) -> usize {
    acknowledged_from(rounds, &[("x-message-ttl", FieldValue::I32(MINUTE_MS))], &[0, 0])
}

pub fn acknowledged_with_expiration(rounds: usize) -> usize {
    acknowledged_from(rounds, &[], b"\x01\x00\x0560000")
}

/// A queue that nobody consumes, and a publisher who asks for confirms: it grows, or has as many messages as it may have.
pub fn unread(rounds: usize, overflow: Option<&str>) -> usize {
    let mut turns = Loop::new();
    let limit = |overflow| [("x-max-length", FieldValue::I32(ROUND as i32)), ("x-overflow", text(overflow))];
    let arguments = overflow.map(limit);
    let publisher = turns.client(&[declare_with(arguments.as_ref().map_or(&[], |limit| limit)), select()]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    repeat(rounds, ROUND, || turns.turn(publisher, &wire))
}

/// Publishes with a value each by which duplicates are known.
fn valued(exchange: &[u8], routing_key: &[u8]) -> Vec<u8> {
    let publish = |number: usize| {
        let value = text(&format!("{number:016x}"));
        let headers = Some(FieldTable(vec![("x-deduplication-header".into(), value)]));
        let mut properties = Vec::new();
        BasicProperties { headers, ..BasicProperties::default() }.encode(&mut properties);
        publishes_with(exchange, [routing_key], SMALL, &properties)
    };
    (0..ROUND).flat_map(publish).collect()
}

pub fn deduplicated_by_queue(rounds: usize) -> usize {
    let mut turns = Loop::new();
    let declare = declare_with(&[("x-message-deduplication", FieldValue::Boolean(true))]);
    let consumer = turns.client(&[declare, prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    play_acknowledged(&mut turns, publisher, consumer, &valued(b"", b"hello"), rounds, 100)
}

/// The exchange remembers half of a round: the values that come again in the next one are forgotten by then.
pub fn deduplicated_by_exchange(rounds: usize) -> usize {
    let mut turns = Loop::new();
    let once = exchange::Declare {
        exchange: b"once",
        exchange_type: b"x-message-deduplication",
        arguments: FieldTable(vec![("x-cache-size".into(), FieldValue::I32(ROUND as i32 / 2))]),
        ..exchange::Declare::default()
    };
    let bind = queue::Bind { queue: b"hello", exchange: b"once", ..queue::Bind::default() };
    let says = [
        Method::ExchangeDeclare(once),
        declare("hello", false),
        Method::QueueBind(bind),
        prefetch_1000(),
        consume("hello", false),
    ];
    let consumer = turns.client(&says);
    let publisher = turns.client(&[]);
    play_acknowledged(&mut turns, publisher, consumer, &valued(b"once", b""), rounds, 100)
}

/// Messages with ten priorities in turn, to a queue that honours those up to `most`: a plain one for 0.
pub fn prioritised(rounds: usize, most: u8) -> usize {
    let mut turns = Loop::new();
    let declare = match most {
        0 => declare("hello", false),
        most => declare_with(&[("x-max-priority", FieldValue::I32(most.into()))]),
    };
    let consumer = turns.client(&[declare, prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    // The flag of the property, and its value.
    let wire: Vec<u8> = (0..ROUND)
        .flat_map(|number| publishes_with(b"", [&b"hello"[..]], SMALL, &[0x08, 0, (number * 7 % 10) as u8]))
        .collect();
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

pub fn single_active(rounds: usize) -> usize {
    let mut turns = Loop::new();
    let declare = declare_with(&[("x-single-active-consumer", FieldValue::Boolean(true))]);
    let consumer = turns.client(&[declare, prefetch_1000(), consume("hello", false)]);
    turns.client(&[consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

/// Messages that are rejected with one method, or that expire at once, and whose letters are consumed.
pub fn dead_letters(rounds: usize, expired: bool) -> usize {
    let mut turns = Loop::new();
    let mut arguments = vec![("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    if expired {
        arguments.push(("x-message-ttl", FieldValue::I32(0)));
    }
    let publisher = turns.client(&[declare_with(&arguments), declare("dead", false)]);
    let rejecter = turns.client(&[]);
    if !expired {
        let mut wire = Vec::new();
        consume("hello", false).encode_frame(1, &mut wire);
        turns.turn(rejecter, &wire);
    }
    let letters = turns.client(&[consume("dead", true)]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    let mut nack = Vec::new();
    let reject = basic::Nack { delivery_tag: 0, multiple: true, requeue: false };
    Method::BasicNack(reject).encode_frame(1, &mut nack);
    turns.take_sent(letters);
    repeat(rounds, ROUND, || {
        turns.turn(publisher, &wire);
        // What expires does so when the next turn begins.
        turns.turn(rejecter, if expired { &[8, 0, 0, 0, 0, 0, 0, 0xCE] } else { &nack });
        assert!(turns.take_sent(letters) > ROUND * SMALL, "all of them arrived");
    })
}

/// Messages that are due in the turn after the one that they come in.
pub fn delayed(mut turns: Loop, rounds: usize) -> usize {
    let entry = |name: &'static str, value| FieldTable(vec![(name.into(), value)]);
    let later = exchange::Declare {
        exchange: b"later",
        exchange_type: b"x-delayed-message",
        arguments: entry("x-delayed-type", text("fanout")),
        ..exchange::Declare::default()
    };
    let bind = queue::Bind { queue: b"hello", exchange: b"later", ..queue::Bind::default() };
    let says =
        [Method::ExchangeDeclare(later), declare("hello", false), Method::QueueBind(bind), consume("hello", true)];
    let consumer = turns.client(&says);
    let publisher = turns.client(&[]);
    let headers = Some(entry("x-delay", FieldValue::I32(1)));
    let mut properties = Vec::new();
    BasicProperties { headers, ..BasicProperties::default() }.encode(&mut properties);
    let wire = publishes_with(b"later", (0..ROUND).map(|_| &b""[..]), SMALL, &properties);
    turns.turn(publisher, &wire);
    turns.take_sent(consumer);
    repeat(rounds, ROUND, || {
        turns.now_ms += 1;
        turns.turn(publisher, &wire);
        assert!(turns.take_sent(consumer) > ROUND * SMALL, "all of the turn before are due");
    })
}

/// Messages that come back once to a queue that counts it, and are acknowledged then.
pub fn nacked(rounds: usize) -> usize {
    let mut turns = logged();
    let consumer = turns.client(&[declare_of_type("hello", "quorum"), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    let (mut delivered, mut says) = (0, Vec::new());
    repeat(rounds, ROUND, || {
        turns.turn(publisher, &wire);
        says.clear();
        delivered += ROUND as u64;
        let nack = basic::Nack { delivery_tag: delivered, multiple: true, requeue: true };
        Method::BasicNack(nack).encode_frame(1, &mut says);
        turns.turn(consumer, &says);
        says.clear();
        delivered += ROUND as u64;
        Method::BasicAck(basic::Ack { delivery_tag: delivered, multiple: true }).encode_frame(1, &mut says);
        turns.turn(consumer, &says);
        assert!(turns.take_sent(consumer) > 2 * ROUND * SMALL, "all of them were delivered twice");
    })
}
