//! What one message costs from the receive buffer to the consumer's outbox, without sockets.
//!
//! `cargo bench --bench turn`. A turn takes 64 KiB of publishes; the times are those of **one message** that came in.

mod hub;

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use hub::{Loop, acknowledge, publishes};
use leveret::broker::ConnectionId;
use leveret::protocol::Method;
use leveret::protocol::method::{basic, confirm, queue};
use std::time::{Duration, Instant};

/// As in the program.
#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// What a turn takes in, in bytes.
const TURN_BYTES: usize = 64 * 1024;
/// What a publish to these queues adds to its body at most, in bytes.
const OVERHEAD_BYTES: usize = 72;

fn messages_in_turn(body_size: usize) -> usize {
    (TURN_BYTES / (body_size + OVERHEAD_BYTES)).max(2)
}

fn declare(name: &str) -> Method<'_> {
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), ..queue::Declare::default() })
}

fn bind<'a>(name: &'a str, exchange: &'a str, routing_key: &'a str) -> Method<'a> {
    Method::QueueBind(queue::Bind {
        queue: name.as_bytes(),
        exchange: exchange.as_bytes(),
        routing_key: routing_key.as_bytes(),
        ..queue::Bind::default()
    })
}

fn consume(name: &str, no_ack: bool) -> Method<'_> {
    Method::BasicConsume(basic::Consume { queue: name.as_bytes(), no_ack, ..basic::Consume::default() })
}

/// Measures turns, and reports them by message.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn time_by_message(bencher: &mut Bencher<'_>, messages_in_turn: usize, mut turn: impl FnMut()) {
    // Pools and rings find their sizes.
    (0..8).for_each(|_| turn());
    bencher.iter_custom(|messages| {
        let turns = messages.div_ceil(messages_in_turn as u64);
        let start = Instant::now();
        (0..turns).for_each(|_| turn());
        let nanoseconds = start.elapsed().as_nanos() * u128::from(messages);
        Duration::from_nanos((nanoseconds / (u128::from(turns) * messages_in_turn as u128)) as u64)
    });
}

/// One publisher to the default exchange, one consumer without acknowledgements.
fn auto_ack(bencher: &mut Bencher<'_>, body_size: usize, publisher_says: &[Method<'_>]) {
    let mut turns = Loop::new();
    let consumer = turns.client(&[declare("hello"), consume("hello", true)]);
    let publisher = turns.client(publisher_says);
    let count = messages_in_turn(body_size);
    let wire = publishes(b"", (0..count).map(|_| &b"hello"[..]), body_size);
    turns.take_sent(consumer);
    time_by_message(bencher, count, || {
        turns.turn(publisher, &wire);
        assert!(turns.take_sent(consumer) > count * body_size, "all of them were delivered");
    });
}

/// The consumer acknowledges every hundredth message and those before it.
fn ack_every_100(bencher: &mut Bencher<'_>) {
    const EVERY: u64 = 100;
    let mut turns = Loop::new();
    let qos = Method::BasicQos(basic::Qos { prefetch_count: 1000, ..basic::Qos::default() });
    let consumer = turns.client(&[declare("hello"), qos, consume("hello", false)]);
    let publisher = turns.client(&[]);
    let count = messages_in_turn(16) as u64 / EVERY * EVERY;
    let wire = publishes(b"", (0..count).map(|_| &b"hello"[..]), 16);
    let (mut acks, mut acknowledged) = (Vec::new(), 0);
    time_by_message(bencher, count as usize, || {
        turns.turn(publisher, &wire);
        acknowledge(&mut acks, acknowledged, count, EVERY);
        turns.turn(consumer, &acks);
        acknowledged += count;
    });
    assert_eq!(turns.totals().acknowledged, acknowledged);
}

/// `queues` queues on an exchange, each with a consumer of its own; messages with these routing keys in turn.
fn through_exchange(
    bencher: &mut Bencher<'_>,
    exchange: &str,
    queues: usize,
    binding: impl Fn(usize) -> String,
    keys: &[&str],
) {
    let mut turns = Loop::new();
    let consumers: Vec<ConnectionId> = (0..queues)
        .map(|number| {
            let (name, routing_key) = (format!("queue-{number}"), binding(number));
            turns.client(&[declare(&name), bind(&name, exchange, &routing_key), consume(&name, true)])
        })
        .collect();
    let publisher = turns.client(&[]);
    let count = messages_in_turn(16);
    let wire = publishes(exchange.as_bytes(), (0..count).map(|number| keys[number % keys.len()].as_bytes()), 16);
    time_by_message(bencher, count, || {
        turns.turn(publisher, &wire);
        assert!(consumers.iter().all(|consumer| turns.take_sent(*consumer) > 0));
    });
}

fn turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    group.throughput(Throughput::Elements(1));
    group.bench_function("16 B, auto-ack", |bencher| auto_ack(bencher, 16, &[]));
    group.bench_function("16 B, ack every 100", ack_every_100);
    let select = Method::ConfirmSelect(confirm::Select::default());
    group.bench_function("16 B, auto-ack, confirms", |bencher| auto_ack(bencher, 16, std::slice::from_ref(&select)));
    group.bench_function("16 B, topic, 4 keys to 4 queues", |bencher| {
        through_exchange(
            bencher,
            "amq.topic",
            4,
            |number| format!("*.{number}.#"),
            &["a.0.b", "a.1.b", "a.2.b", "a.3.b"],
        );
    });
    group.bench_function("1 KiB, auto-ack", |bencher| auto_ack(bencher, 1024, &[]));
    group.bench_function("64 KiB, auto-ack", |bencher| auto_ack(bencher, 64 * 1024, &[]));
    group.throughput(Throughput::Elements(10));
    group.bench_function("16 B, fan-out to 10", |bencher| {
        through_exchange(bencher, "amq.fanout", 10, |_| String::new(), &["hello"]);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = turn
}
criterion_main!(benches);
