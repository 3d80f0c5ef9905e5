//! Parts of a message's way by themselves: the codec and the routing.

use crate::hub::publishes;
use crate::{FRAME_MAX, ROUND, SMALL, repeat};
use leveret::broker::exchange::{Declaration, Destination, ExchangeKind, QueueId, Router, Walks};
use leveret::protocol::frame::{FrameType, parse_frame, write_body_frame};
use leveret::protocol::method::basic;
use leveret::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue, Method, PropertiesRef, ShortString};
use std::hint::black_box;

pub fn parse_publishes(rounds: usize) -> usize {
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

pub fn encode_deliveries(rounds: usize) -> usize {
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

pub fn parse_properties(rounds: usize) -> usize {
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

pub fn key(number: usize) -> String {
    format!("key-{number}")
}

pub fn topic_key(number: usize) -> String {
    format!("region-{}.device-{}.sensor-{number}", number % 32, number % 1000)
}

/// Patterns of three words, every fourth with a wildcard.
pub fn pattern(number: usize) -> String {
    match number % 8 {
        3 => format!("region-{}.*.sensor-{number}", number % 32),
        7 => format!("region-{}.device-{number}.#", number % 32),
        _ => topic_key(number),
    }
}

/// Routes through an exchange with so many queues, each bound by the key that `binding` gives it; so many keys in turn.
pub fn route(
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

pub fn route_by_headers(rounds: usize, bindings: u32) -> usize {
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
