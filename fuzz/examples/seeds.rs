//! Writes the corpora that the fuzz targets start from: `cargo run --example seeds` in this folder.
//!
//! They are made with the codec, so that they are always of today's format, and no binary file has to be kept.

use leveret::protocol::frame::FrameType;
use leveret::protocol::method::{basic, channel, confirm, connection, exchange, queue, tx};
use leveret::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue, Method};
use leveret_fuzz::{challenged_handshake, frame, handshake};
use std::fs;
use std::path::Path;

const NO_PROPERTIES: [u8; 2] = [0, 0];
/// Kinds of client in the target `connection`.
const FROM_THE_START: u8 = 0;
const AFTER_THE_HANDSHAKE: u8 = 1;
const STEPS: u8 = 2;
/// Ways to split a stream.
const WHOLE: u8 = 0;
const EVERY_BYTE: u8 = 1;
const MANY_SIZES: u8 = 7;

fn text(value: &str) -> FieldValue {
    FieldValue::LongString(value.as_bytes().into())
}

/// One value of every type, and nesting.
fn every_type() -> FieldTable {
    let inner = FieldTable(vec![("x-match".into(), text("any")), ("void".into(), FieldValue::Void)]);
    FieldTable(vec![
        ("t".into(), FieldValue::Boolean(true)),
        ("b".into(), FieldValue::I8(-1)),
        ("B".into(), FieldValue::U8(1)),
        ("s".into(), FieldValue::I16(-1)),
        ("u".into(), FieldValue::U16(1)),
        ("I".into(), FieldValue::I32(-1)),
        ("i".into(), FieldValue::U32(1)),
        ("l".into(), FieldValue::I64(-1)),
        ("f".into(), FieldValue::F32(f32::NAN)),
        ("d".into(), FieldValue::F64(0.5)),
        ("D".into(), FieldValue::Decimal { scale: 2, value: 314 }),
        ("S".into(), text("long")),
        ("T".into(), FieldValue::Timestamp(1_700_000_000)),
        ("x".into(), FieldValue::Bytes([0, 255].into())),
        ("A".into(), FieldValue::Array(vec![text("here"), FieldValue::Array(vec![]), FieldValue::I32(7)])),
        ("F".into(), FieldValue::Table(inner)),
        ("F".into(), FieldValue::Table(FieldTable::default())),
    ])
}

fn queue_arguments() -> FieldTable {
    FieldTable(vec![
        ("x-message-ttl".into(), FieldValue::I32(100)),
        ("x-expires".into(), FieldValue::I32(10_000)),
        ("x-max-priority".into(), FieldValue::I32(4)),
    ])
}

fn properties() -> Vec<u8> {
    let mut list = Vec::new();
    BasicProperties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("utf-8".into()),
        headers: Some(FieldTable(vec![
            ("CC".into(), FieldValue::Array(vec![text("q"), text("a.b.c")])),
            ("BCC".into(), FieldValue::Array(vec![text("q")])),
        ])),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: Some("1".into()),
        reply_to: Some("amq.rabbitmq.reply-to".into()),
        expiration: Some("50".into()),
        message_id: Some("m".into()),
        timestamp: Some(1),
        message_type: Some("t".into()),
        user_id: Some("guest".into()),
        app_id: Some("a".into()),
        cluster_id: Some("c".into()),
    }
    .encode(&mut list);
    list
}

/// What can be done on a channel, more or less in an order that makes sense.
fn methods() -> Vec<Method<'static>> {
    let none = FieldTable::default;
    vec![
        Method::ChannelOpen(channel::Open),
        Method::ExchangeDeclare(exchange::Declare {
            exchange: b"x",
            exchange_type: b"topic",
            arguments: FieldTable(vec![("alternate-exchange".into(), text("amq.fanout"))]),
            ..Default::default()
        }),
        Method::ExchangeBind(exchange::Bind {
            destination: b"x",
            source: b"amq.topic",
            routing_key: b"a.#",
            nowait: false,
            arguments: none(),
        }),
        Method::QueueDeclare(queue::Declare { queue: b"q", ..Default::default() }),
        Method::QueueDeclare(queue::Declare {
            queue: b"",
            exclusive: true,
            arguments: queue_arguments(),
            ..Default::default()
        }),
        Method::QueueBind(queue::Bind {
            queue: b"q",
            exchange: b"x",
            routing_key: b"a.*.#",
            nowait: true,
            arguments: none(),
        }),
        Method::QueueBind(queue::Bind {
            queue: b"q",
            exchange: b"amq.headers",
            routing_key: b"",
            nowait: true,
            arguments: every_type(),
        }),
        Method::BasicQos(basic::Qos { prefetch_size: 0, prefetch_count: 2, global: false }),
        Method::BasicConsume(basic::Consume { queue: b"q", consumer_tag: b"c", ..Default::default() }),
        Method::BasicConsume(basic::Consume { queue: b"amq.rabbitmq.reply-to", no_ack: true, ..Default::default() }),
        Method::BasicGet(basic::Get { queue: b"q", no_ack: false }),
        Method::BasicAck(basic::Ack { delivery_tag: 1, multiple: false }),
        Method::BasicNack(basic::Nack { delivery_tag: 2, multiple: false, requeue: true }),
        Method::BasicReject(basic::Reject { delivery_tag: 3, requeue: true }),
        Method::BasicRecover(basic::Recover { requeue: true }),
        Method::BasicAck(basic::Ack { delivery_tag: 0, multiple: true }),
        Method::BasicCancel(basic::Cancel { consumer_tag: b"c", nowait: false }),
        Method::QueuePurge(queue::Purge { queue: b"q", nowait: false }),
        Method::ChannelFlow(channel::Flow { active: true }),
        Method::QueueUnbind(queue::Unbind { queue: b"q", exchange: b"x", routing_key: b"a.*.#", arguments: none() }),
        Method::ExchangeUnbind(exchange::Unbind {
            destination: b"x",
            source: b"amq.topic",
            routing_key: b"a.#",
            nowait: false,
            arguments: none(),
        }),
        Method::QueueDelete(queue::Delete { queue: b"q", ..Default::default() }),
        Method::ExchangeDelete(exchange::Delete { exchange: b"x", if_unused: true, nowait: false }),
        Method::ConfirmSelect(confirm::Select { nowait: false }),
        Method::TxSelect(tx::Select),
        Method::TxCommit(tx::Commit),
        Method::TxRollback(tx::Rollback),
        Method::ChannelClose(channel::Close { reply_code: 200, reply_text: b"bye", class_id: 0, method_id: 0 }),
        Method::ChannelCloseOk(channel::CloseOk),
        Method::ConnectionClose(connection::Close { reply_code: 200, reply_text: b"bye", class_id: 0, method_id: 0 }),
        Method::BasicPublish(basic::Publish {
            exchange: b"x",
            routing_key: b"a.b.c",
            mandatory: true,
            immediate: false,
        }),
    ]
}

fn payload(method: &Method<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    method.encode_payload(&mut payload);
    payload
}

fn content_header(body_size: u64, properties: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    ContentHeader { class_id: 60, weight: 0, body_size, properties }.encode_payload(&mut payload);
    payload
}

/// A step of the target `connection`.
fn step(frame_type: FrameType, channel: u8, payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).expect("a step's payload is short");
    [&[frame_type as u8, channel, size], payload].concat()
}

fn publish_steps(exchange: &[u8], routing_key: &[u8], mandatory: bool, properties: &[u8]) -> Vec<u8> {
    let publish = Method::BasicPublish(basic::Publish { exchange, routing_key, mandatory, immediate: false });
    [
        step(FrameType::Method, 1, &payload(&publish)),
        step(FrameType::Header, 1, &content_header(5, properties)),
        step(FrameType::Body, 1, b"hello"),
    ]
    .concat()
}

/// Whole sessions in steps, each with one thing at its centre.
fn sessions() -> Vec<(&'static str, Vec<u8>)> {
    let all = methods();
    let method = |name: &str| {
        let method = all.iter().find(|method| method.name() == name).expect("one of the seeds");
        step(FrameType::Method, 1, &payload(method))
    };
    let open = || [method("channel.open"), method("queue.declare")].concat();
    let publish = publish_steps(b"", b"q", false, &NO_PROPERTIES);
    let declare_expiring =
        Method::QueueDeclare(queue::Declare { queue: b"q", arguments: queue_arguments(), ..Default::default() });
    let large = Method::BasicPublish(basic::Publish { routing_key: b"q", ..Default::default() });
    vec![
        (
            "acks",
            [
                open(),
                method("basic.qos"),
                method("basic.consume"),
                publish.repeat(3),
                method("basic.ack"),
                method("basic.nack"),
                b"O\0\0".to_vec(),
            ]
            .concat(),
        ),
        (
            "gets",
            [
                open(),
                publish.repeat(3),
                method("basic.get").repeat(3),
                method("basic.reject"),
                method("basic.recover"),
                method("channel.close"),
            ]
            .concat(),
        ),
        (
            "confirms",
            [open(), method("confirm.select"), publish.repeat(4), publish_steps(b"", b"nowhere", true, &NO_PROPERTIES)]
                .concat(),
        ),
        (
            "transaction",
            [
                open(),
                method("tx.select"),
                publish.repeat(2),
                method("tx.commit"),
                method("basic.get"),
                method("basic.ack"),
                method("tx.rollback"),
            ]
            .concat(),
        ),
        (
            "topology",
            all.iter()
                .filter(|method| method.class_id() == 20 || method.class_id() == 40 || method.class_id() == 50)
                .flat_map(|method| step(FrameType::Method, 1, &payload(method)))
                .collect(),
        ),
        (
            "properties",
            [
                open(),
                method("exchange.declare"),
                method("queue.bind"),
                publish_steps(b"x", b"a.b.c", true, &properties()),
            ]
            .concat(),
        ),
        (
            "expiry",
            [
                method("channel.open"),
                step(FrameType::Method, 1, &payload(&declare_expiring)),
                publish.repeat(2),
                b"T\0\x08T\x03\xFF".to_vec(),
            ]
            .concat(),
        ),
        (
            "large",
            [
                open(),
                method("basic.consume"),
                step(FrameType::Method, 1, &payload(&large)),
                step(FrameType::Header, 1, &content_header(40_960, &NO_PROPERTIES)),
                b"B\x01\x50B\x01\x50O\0\0".to_vec(),
            ]
            .concat(),
        ),
        (
            "replies",
            [
                method("channel.open"),
                step(
                    FrameType::Method,
                    1,
                    &payload(&Method::BasicConsume(basic::Consume {
                        queue: b"amq.rabbitmq.reply-to",
                        no_ack: true,
                        ..Default::default()
                    })),
                ),
                publish_steps(
                    b"",
                    b"q",
                    false,
                    &[
                        0x02, 0, 21, b'a', b'm', b'q', b'.', b'r', b'a', b'b', b'b', b'i', b't', b'm', b'q', b'.',
                        b'r', b'e', b'p', b'l', b'y', b'-', b't', b'o',
                    ],
                ),
            ]
            .concat(),
        ),
        (
            "bystander",
            [
                method("channel.open"),
                publish_steps(b"", b"bystander", true, &NO_PROPERTIES),
                step(
                    FrameType::Method,
                    1,
                    &payload(&Method::QueuePurge(queue::Purge { queue: b"bystander", nowait: false })),
                ),
            ]
            .concat(),
        ),
    ]
}

/// A session as it goes over the wire.
fn wire_of(mut steps: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    while let Some((&[what, channel, size], rest)) = steps.split_first_chunk() {
        steps = rest;
        if FrameType::from_octet(what).is_some() {
            let (payload, rest) = rest.split_at(usize::from(size));
            wire.extend(frame(what, u16::from(channel), payload));
            steps = rest;
        }
    }
    wire
}

fn write(target: &str, seeds: impl IntoIterator<Item = (String, Vec<u8>)>) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (name, seed) in seeds {
        fs::write(folder.join(format!("seed-{name}")), seed)?;
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let streams = || sessions().into_iter().map(|(name, steps)| (name.to_owned(), wire_of(&steps)));
    let prefixed = |prefix: [u8; 2]| move |(name, stream): (String, Vec<u8>)| (name, [&prefix[..], &stream].concat());
    write("frame", streams().map(prefixed([MANY_SIZES, 0])))?;
    write("method", methods().iter().map(|method| (method.name().to_owned(), payload(method))))?;

    let mut table = Vec::new();
    every_type().encode_entries(&mut table);
    write(
        "field_table",
        [("every-type".to_owned(), table), ("nested".to_owned(), b"\x01kA\0\0\0\x0aA\0\0\0\x05A\0\0\0\0".to_vec())],
    )?;
    write(
        "properties",
        [("none".to_owned(), content_header(0, &NO_PROPERTIES)), ("all".to_owned(), content_header(5, &properties()))],
    )?;

    let topics = [
        "a.b.c\na.*.c\n#.c\na.#\n-a.#",
        "a..b\n*..*\n#.#.#\n*.#.*",
        "\n#\n*\n",
        "stock.usd.nyse\n*.*.nyse\nstock.#.nyse\n#.usd.#\n-#.usd.#",
    ];
    let hostile = [vec!["a"; 120].join("."), vec!["#.a"; 60].join("."), format!("{}b", "#.".repeat(60))].join("\n");
    let topics = topics.map(str::to_owned).into_iter().chain([hostile]);
    write("topic_pattern", topics.enumerate().map(|(number, seed)| (number.to_string(), seed.into_bytes())))?;

    let access = [
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n",
        "BjGE6UShfVAN+kvIjQeE/JmjhMXwb78jj6KVOne77SbdTYDv\nrabbit_password_hashing_sha256\n",
        "salted-sha256:BjGE6UShfVAN+kvIjQeE/JmjhMXwb78jj6KVOne77SbdTYDv\n\n",
        "^{username}\\.[[:alpha:]_-]+(a|b{2,3})*?$\na.b\na.b",
        "(?i)[^]\\w-.]\\b{,2}|\\x41\\Z\n{vhost}\n{vhost}",
    ];
    write("access", access.iter().enumerate().map(|(number, seed)| (number.to_string(), seed.as_bytes().to_vec())))?;

    let (disk, _) = leveret_fuzz::log::written(leveret_fuzz::log::Shape::Killed);
    write(
        "record",
        leveret_fuzz::log::batches(&disk).into_iter().enumerate().map(|(at, body)| (at.to_string(), body)),
    )?;
    let scripts = (0..9u8).flat_map(|kind| (0..6u8).map(move |file| [kind % 6, kind, file, 0, 100, 1, 2, 3, 4]));
    write("recovery", scripts.enumerate().map(|(at, script)| (at.to_string(), script.to_vec())))?;

    for (name, said) in [("handshake", handshake()), ("challenged-handshake", challenged_handshake())] {
        write("connection", [(name.to_owned(), [&[FROM_THE_START, EVERY_BYTE], &said[..]].concat())])?;
    }
    write(
        "connection",
        streams().map(|(name, stream)| {
            (format!("{name}-from-the-start"), [&[FROM_THE_START, MANY_SIZES], &handshake()[..], &stream].concat())
        }),
    )?;
    write(
        "connection",
        streams().map(prefixed([AFTER_THE_HANDSHAKE, WHOLE])).map(|(name, seed)| (format!("{name}-stream"), seed)),
    )?;
    write(
        "connection",
        sessions().into_iter().map(|(name, steps)| (name.to_owned(), [&[STEPS, WHOLE], &steps[..]].concat())),
    )
}
