//! What `perf/guard/run` counts: the codec, the routing and the whole turn, each for a given number of rounds.
//!
//! `guard NAME ROUNDS` prepares a scenario, plays it for that many rounds and says how many messages those were. The
//! guard takes the instructions of twice the rounds less those of the rounds, so that the preparation is not in it.
//! Nothing here is random, and nothing measures time. Without a name every scenario is played for one round, which is
//! how `cargo bench` shows that they all work; `guard --list` names them.

mod hub;

use hub::{Log, Loop, acknowledge, publishes, publishes_with};
use leveret::access::{PasswordHash, Pattern, Tags};
use leveret::broker::exchange::{Declaration, Destination, ExchangeKind, QueueId, Router, Walks};
use leveret::broker::store::LogPosition;
use leveret::broker::{ConnectionId, Permissions, VhostAttributes};
use leveret::protocol::frame::{FrameType, parse_frame, write_body_frame};
use leveret::protocol::method::{basic, confirm, exchange, queue};
use leveret::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue, Method, PropertiesRef, ShortString};
use leveret::storage::{LogOptions, LogStore};
use std::hint::black_box;
use std::process::ExitCode;

/// As in the program.
#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// Messages of a round, unless its scenario says otherwise.
const ROUND: usize = 500;
/// Rounds in which pools, rings and caches find their sizes.
const WARM_UP_ROUNDS: usize = 4;
const SMALL: usize = 16;
const FRAME_MAX: u32 = 131_072;
/// More keys than the route cache has slots for, so that going through them in turn always misses.
const DISTINCT_KEYS: usize = 16_384;

/// Plays so many rounds and says how many messages they had.
type Scenario = fn(rounds: usize) -> usize;

const SCENARIOS: [(&str, Scenario); 34] = [
    ("codec: parse a publish, 16 B", parse_publishes),
    ("codec: encode a delivery, 16 B", encode_deliveries),
    ("codec: parse 7 properties", parse_properties),
    ("routing: direct, 1000 bindings", |rounds| route(rounds, "amq.direct", 1000, |n| format!("key-{n}"), 16, key)),
    ("routing: topic, 1000 bindings, 16 keys", |rounds| route(rounds, "amq.topic", 1000, pattern, 16, topic_key)),
    ("routing: topic, 1000 bindings, no key twice", |rounds| {
        route(rounds, "amq.topic", 1000, pattern, DISTINCT_KEYS, topic_key)
    }),
    ("routing: fanout, 10 bindings", |rounds| route(rounds, "amq.fanout", 10, |_| String::new(), 1, key)),
    ("routing: headers, 100 bindings", |rounds| route_by_headers(rounds, 100)),
    ("routing: headers, 1000 bindings", |rounds| route_by_headers(rounds, 1000)),
    ("routing: consistent hash, 10 queues", |rounds| {
        route(rounds, "x-consistent-hash", 10, |_| "1".to_owned(), DISTINCT_KEYS, key)
    }),
    ("routing: modulus hash, 10 queues", |rounds| {
        route(rounds, "x-modulus-hash", 10, |_| String::new(), DISTINCT_KEYS, key)
    }),
    ("turn: automatic acknowledgement, 16 B", |rounds| automatic(Loop::new(), rounds, SMALL, &[])),
    ("turn: automatic acknowledgement, 1 KiB", |rounds| automatic(Loop::new(), rounds, 1024, &[])),
    ("turn: automatic acknowledgement, 64 KiB", |rounds| automatic(Loop::new(), rounds, 64 * 1024, &[])),
    ("turn: acknowledged every 100, 16 B", |rounds| acknowledged(Loop::new(), rounds, 100)),
    ("turn: acknowledged each, 16 B", |rounds| acknowledged(Loop::new(), rounds, 1)),
    ("turn: ten priorities, acknowledged every 100, 16 B", |rounds| prioritised(rounds, 9)),
    ("turn: ten priorities, as a plain queue takes them, 16 B", |rounds| prioritised(rounds, 0)),
    ("turn: single active consumer, acknowledged every 100, 16 B", single_active),
    ("turn: confirmed, 16 B", |rounds| automatic(Loop::new(), rounds, SMALL, &[select()])),
    ("turn: fan-out to 10, 16 B", |rounds| through(Loop::new(), rounds, "amq.fanout", 10, |_| String::new(), 1)),
    ("turn: topic, 4 queues, 4 keys in turn, 16 B", |rounds| {
        through(Loop::new(), rounds, "amq.topic", 4, by_second_word, 4)
    }),
    ("turn: topic, 4 queues, no key twice, 16 B", |rounds| {
        through(Loop::new(), rounds, "amq.topic", 4, by_second_word, DISTINCT_KEYS)
    }),
    ("turn: consistent hash, 4 queues, no key twice, 16 B", |rounds| {
        through(Loop::new(), rounds, "x-consistent-hash", 4, |_| "1".to_owned(), DISTINCT_KEYS)
    }),
    ("turn: delayed, 16 B", |rounds| delayed(Loop::new(), rounds)),
    ("turn: durable, confirmed, acknowledged every 100, 16 B", |rounds| durable(logged(), "classic", rounds)),
    ("turn: quorum, confirmed, acknowledged every 100, 16 B", |rounds| durable(logged(), "quorum", rounds)),
    ("turn: quorum, nacked each and acknowledged, 16 B", nacked),
    // What others do with the same name, by a user with permissions on one virtual host of fifty.
    ("tenant: automatic acknowledgement, 16 B", |rounds| automatic(for_tenants(Loop::new()), rounds, SMALL, &[])),
    ("tenant: acknowledged every 100, 16 B", |rounds| acknowledged(for_tenants(Loop::new()), rounds, 100)),
    ("tenant: topic, 4 queues, no key twice, 16 B", |rounds| {
        through(for_tenants(Loop::new()), rounds, "amq.topic", 4, by_second_word, DISTINCT_KEYS)
    }),
    ("tenant: durable, confirmed, acknowledged every 100, 16 B", |rounds| {
        durable(for_tenants(logged()), "classic", rounds)
    }),
    ("turn: rejected to a dead-letter queue, 16 B", |rounds| dead_letters(rounds, false)),
    ("turn: expired to a dead-letter queue, 16 B", |rounds| dead_letters(rounds, true)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.get(1).and_then(|rounds| rounds.parse().ok());
    match (arguments.first().map(String::as_str), rounds) {
        (Some("--list"), _) => SCENARIOS.iter().for_each(|(name, _)| println!("{name}")),
        (Some(name), Some(rounds)) => {
            let Some((_, play)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
                eprintln!("guard: no scenario is called {name:?}");
                return ExitCode::FAILURE;
            };
            println!("{}", play(rounds));
        }
        _ => SCENARIOS.iter().for_each(|(name, play)| println!("guard: {name}: {} messages", play(1))),
    }
    ExitCode::SUCCESS
}

fn repeat(rounds: usize, messages: usize, mut round: impl FnMut()) -> usize {
    (0..WARM_UP_ROUNDS + rounds).for_each(|_| round());
    rounds * messages
}

fn parse_publishes(rounds: usize) -> usize {
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    repeat(rounds, ROUND, || {
        let mut rest = black_box(&wire[..]);
        while let Some(frame) = parse_frame(rest, FRAME_MAX).expect("well formed") {
            match frame.frame_type {
                FrameType::Method => drop(black_box(Method::decode(frame.payload).expect("a method"))),
                FrameType::Header => drop(black_box(ContentHeader::parse(frame.payload).expect("a header"))),
                FrameType::Body | FrameType::Heartbeat => {}
            }
            rest = &rest[frame.wire_size()..];
        }
    })
}

fn encode_deliveries(rounds: usize) -> usize {
    let mut out = Vec::with_capacity(64 * 1024);
    repeat(rounds, ROUND, || {
        out.clear();
        for delivery_tag in 1..=ROUND as u64 {
            let address = basic::Deliver {
                consumer_tag: b"ctag1.0",
                delivery_tag,
                redelivered: false,
                exchange: b"",
                routing_key: b"hello",
            };
            Method::BasicDeliver(address).encode_frame(1, &mut out);
            let header = ContentHeader { class_id: 60, weight: 0, body_size: SMALL as u64, properties: &[0, 0] };
            header.encode_frame(1, &mut out);
            write_body_frame(&mut out, 1, &[b'.'; SMALL]);
        }
        black_box(out.len());
    })
}

fn parse_properties(rounds: usize) -> usize {
    let headers =
        FieldTable(vec![("attempt".into(), FieldValue::I32(3)), ("traced".into(), FieldValue::Boolean(true))]);
    let properties = BasicProperties {
        content_type: Some("application/json".into()),
        headers: Some(headers),
        delivery_mode: Some(2),
        correlation_id: Some("3b1f6a52-6a0e-4c1c-9d0f-0d8f2f7b7a10".into()),
        reply_to: Some("amq.rabbitmq.reply-to".into()),
        expiration: Some("60000".into()),
        timestamp: Some(1_700_000_000),
        ..Default::default()
    };
    let mut list = Vec::new();
    properties.encode(&mut list);
    repeat(rounds, ROUND, || {
        for _ in 0..ROUND {
            let parsed = PropertiesRef::parse(black_box(&list)).expect("well formed");
            black_box(parsed.expiration.is_some());
        }
    })
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn topic_key(number: usize) -> String {
    format!("region-{}.device-{}.sensor-{number}", number % 32, number % 1000)
}

/// Patterns of three words, every fourth with a wildcard.
fn pattern(number: usize) -> String {
    match number % 8 {
        3 => format!("region-{}.*.sensor-{number}", number % 32),
        7 => format!("region-{}.device-{number}.#", number % 32),
        _ => topic_key(number),
    }
}

fn by_second_word(number: usize) -> String {
    format!("*.{number}.#")
}

/// Routes through an exchange with so many queues, each bound by the key that `binding` gives it; so many keys in turn.
fn route(
    rounds: usize,
    exchange: &str,
    bindings: usize,
    binding: fn(usize) -> String,
    keys: usize,
    routing_key: fn(usize) -> String,
) -> usize {
    let mut router = Router::default();
    let exchange = router.exchange_named(exchange.as_bytes()).unwrap_or_else(|| {
        let kind = ExchangeKind::from_name(exchange.as_bytes()).expect("a type of exchange, or a predeclared one");
        let arguments = &FieldTable::default();
        let declaration = Declaration { kind, durable: false, auto_delete: false, internal: false, arguments };
        router.add(ShortString::truncated(exchange.as_bytes()), &declaration, None)
    });
    for number in 0..bindings {
        let id = QueueId(number as u32);
        router.queue_added(&ShortString::truncated(format!("queue-{number}").as_bytes()), id, false);
        let (destination, key) = (Destination::Queue(id), binding(number));
        let bound = router.bind(exchange, destination, key.as_bytes(), &FieldTable::default());
        bound.expect("keys of any kind can be bound");
    }
    let keys: Vec<String> = (0..keys).map(routing_key).collect();
    let mut in_turn = keys.iter().cycle();
    let (mut reached, mut walks) = (Vec::new(), Walks::default());
    repeat(rounds, ROUND, || {
        for _ in 0..ROUND {
            reached.clear();
            let routing_key = black_box(in_turn.next().expect("a cycle has no end").as_bytes());
            router.route(&mut walks, exchange, routing_key, PropertiesRef::default, &mut reached);
            black_box(reached.last());
        }
    })
}

fn route_by_headers(rounds: usize, bindings: u32) -> usize {
    let numbered = |number: u32| FieldTable(vec![("number".into(), FieldValue::I32(number as i32))]);
    let mut router = Router::default();
    let id = router.exchange_named(b"amq.headers").expect("a predeclared exchange");
    for number in 0..bindings {
        router.queue_added(&ShortString::truncated(format!("queue-{number}").as_bytes()), QueueId(number), false);
        let bound = router.bind(id, Destination::Queue(QueueId(number)), b"", &numbered(number));
        bound.expect("numbers can be asked for");
    }
    let (mut reached, mut walks) = (Vec::new(), Walks::default());
    let mut properties = Vec::new();
    BasicProperties { headers: Some(numbered(50)), ..Default::default() }.encode(&mut properties);
    repeat(rounds, ROUND, || {
        for _ in 0..ROUND {
            reached.clear();
            let read = || PropertiesRef::parse(black_box(&properties)).expect("they were just written");
            router.route(&mut walks, id, b"", read, &mut reached);
            black_box(reached.last());
        }
    })
}

fn declare(name: &str, durable: bool) -> Method<'_> {
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), durable, ..queue::Declare::default() })
}

fn declare_of_type<'a>(name: &'a str, kind: &'static str) -> Method<'a> {
    let arguments = FieldTable(vec![("x-queue-type".into(), FieldValue::LongString(kind.as_bytes().into()))]);
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), durable: true, arguments, ..Default::default() })
}

fn consume(name: &str, no_ack: bool) -> Method<'_> {
    Method::BasicConsume(basic::Consume { queue: name.as_bytes(), no_ack, ..basic::Consume::default() })
}

fn select() -> Method<'static> {
    Method::ConfirmSelect(confirm::Select::default())
}

fn prefetch_1000() -> Method<'static> {
    Method::BasicQos(basic::Qos { prefetch_count: 1000, ..basic::Qos::default() })
}

/// One publisher to the default exchange, one consumer without acknowledgements.
fn automatic(mut turns: Loop, rounds: usize, body_size: usize, publisher_says: &[Method<'_>]) -> usize {
    let consumer = turns.client(&[declare("hello", false), consume("hello", true)]);
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

fn acknowledged(mut turns: Loop, rounds: usize, every: u64) -> usize {
    let consumer = turns.client(&[declare("hello", false), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, every)
}

fn declare_with<'a>(name: &'a str, argument: &'static str, value: FieldValue) -> Method<'a> {
    let arguments = FieldTable(vec![(argument.into(), value)]);
    Method::QueueDeclare(queue::Declare { queue: name.as_bytes(), arguments, ..queue::Declare::default() })
}

/// Messages with ten priorities in turn, to a queue that honours those up to `most`: a plain one for 0.
fn prioritised(rounds: usize, most: u8) -> usize {
    let mut turns = Loop::new();
    let declare = match most {
        0 => declare("hello", false),
        most => declare_with("hello", "x-max-priority", FieldValue::I32(most.into())),
    };
    let consumer = turns.client(&[declare, prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[]);
    // The flag of the property, and its value.
    let wire: Vec<u8> = (0..ROUND)
        .flat_map(|number| publishes_with(b"", [&b"hello"[..]], SMALL, &[0x08, 0, (number * 7 % 10) as u8]))
        .collect();
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

fn single_active(rounds: usize) -> usize {
    let mut turns = Loop::new();
    let declare = declare_with("hello", "x-single-active-consumer", FieldValue::Boolean(true));
    let consumer = turns.client(&[declare, prefetch_1000(), consume("hello", false)]);
    turns.client(&[consume("hello", false)]);
    let publisher = turns.client(&[]);
    let wire = publishes(b"", (0..ROUND).map(|_| &b"hello"[..]), SMALL);
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

/// Rounds of a turn of publishes and a turn of their acknowledgements.
fn play_acknowledged<S: Log>(
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

/// Messages that are rejected with one method, or that expire at once, and whose letters are consumed.
fn dead_letters(rounds: usize, expired: bool) -> usize {
    let mut turns = Loop::new();
    let mut arguments = FieldTable(vec![
        ("x-dead-letter-exchange".into(), FieldValue::LongString(b"".as_slice().into())),
        ("x-dead-letter-routing-key".into(), FieldValue::LongString(b"dead".as_slice().into())),
    ]);
    if expired {
        arguments.0.push(("x-message-ttl".into(), FieldValue::I32(0)));
    }
    let declare_source =
        Method::QueueDeclare(queue::Declare { queue: b"hello", arguments, ..queue::Declare::default() });
    let publisher = turns.client(&[declare_source, declare("dead", false)]);
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

/// Queues on an exchange, each with a consumer of its own; messages with so many keys in turn.
fn through(
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

/// Messages that are due in the turn after the one that they come in.
fn delayed(mut turns: Loop, rounds: usize) -> usize {
    let entry = |name, value| FieldTable(vec![(ShortString::new(name).expect("a short name"), value)]);
    let later = exchange::Declare {
        exchange: b"later",
        exchange_type: b"x-delayed-message",
        arguments: entry(b"x-delayed-type", FieldValue::LongString((*b"fanout").into())),
        ..exchange::Declare::default()
    };
    let bind = queue::Bind { queue: b"hello", exchange: b"later", ..queue::Bind::default() };
    let says =
        [Method::ExchangeDeclare(later), declare("hello", false), Method::QueueBind(bind), consume("hello", true)];
    let consumer = turns.client(&says);
    let publisher = turns.client(&[]);
    let headers = Some(entry(b"x-delay", FieldValue::I32(1)));
    let mut properties = Vec::new();
    BasicProperties { headers, ..BasicProperties::default() }.encode(&mut properties);
    let mut wire = Vec::new();
    for _ in 0..ROUND {
        let publish = basic::Publish { exchange: b"later", ..basic::Publish::default() };
        Method::BasicPublish(publish).encode_frame(1, &mut wire);
        let header = ContentHeader { class_id: 60, weight: 0, body_size: SMALL as u64, properties: &properties };
        header.encode_frame(1, &mut wire);
        write_body_frame(&mut wire, 1, &[b'.'; SMALL]);
    }
    turns.turn(publisher, &wire);
    turns.take_sent(consumer);
    repeat(rounds, ROUND, || {
        turns.now_ms += 1;
        turns.turn(publisher, &wire);
        assert!(turns.take_sent(consumer) > ROUND * SMALL, "all of the turn before are due");
    })
}

/// Fifty virtual hosts, and clients that are not guest: they log in to one of those, with permissions there for the names
/// that they use.
fn for_tenants<S: Log>(mut turns: Loop<S>) -> Loop<S> {
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

fn logged() -> Loop<LogStore> {
    Loop::with_store(LogStore::new(LogOptions::default(), LogPosition(0)))
}

/// The loop's part of a durable message's life: into the log, confirmed, delivered, acknowledged.
fn durable(mut turns: Loop<LogStore>, kind: &'static str, rounds: usize) -> usize {
    const PERSISTENT: [u8; 3] = [0x10, 0x00, 2];
    let consumer = turns.client(&[declare_of_type("hello", kind), prefetch_1000(), consume("hello", false)]);
    let publisher = turns.client(&[select()]);
    let mut wire = Vec::new();
    for _ in 0..ROUND {
        let publish = basic::Publish { routing_key: b"hello", ..basic::Publish::default() };
        Method::BasicPublish(publish).encode_frame(1, &mut wire);
        let header = ContentHeader { class_id: 60, weight: 0, body_size: SMALL as u64, properties: &PERSISTENT };
        header.encode_frame(1, &mut wire);
        write_body_frame(&mut wire, 1, &[b'.'; SMALL]);
    }
    play_acknowledged(&mut turns, publisher, consumer, &wire, rounds, 100)
}

/// Messages that come back once to a queue that counts it, and are acknowledged then.
fn nacked(rounds: usize) -> usize {
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
