//! What the codec costs: frames, methods, content headers, tables and properties.
//!
//! `cargo bench --bench codec`

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leveret::protocol::frame::{FrameType, parse_frame, write_body_frame};
use leveret::protocol::method::{Method, basic};
use leveret::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue, PropertiesRef, TableRef};
use std::hint::black_box;

const FRAME_MAX: u32 = 131_072;
const BATCH_MESSAGES: usize = 1000;
const BODY: [u8; 16] = *b"sixteen octets..";
const NO_PROPERTIES: [u8; 2] = [0, 0];

fn header(properties: &[u8]) -> ContentHeader<'_> {
    ContentHeader { class_id: 60, weight: 0, body_size: BODY.len() as u64, properties }
}

/// What a publisher without properties writes in one go.
fn batch_of_publishes() -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..BATCH_MESSAGES {
        let publish = basic::Publish { exchange: b"", routing_key: b"hello", mandatory: false, immediate: false };
        Method::BasicPublish(publish).encode_frame(1, &mut wire);
        header(&NO_PROPERTIES).encode_frame(1, &mut wire);
        write_body_frame(&mut wire, 1, &BODY);
    }
    wire
}

/// Cuts the batch into frames and looks into each; returns how much content it saw.
fn parse_batch(mut wire: &[u8]) -> u64 {
    let mut content = 0;
    while let Some(frame) = parse_frame(wire, FRAME_MAX).expect("the batch is well formed") {
        match frame.frame_type {
            FrameType::Method => {
                black_box(Method::decode(frame.payload).expect("a method"));
            }
            FrameType::Header => content += ContentHeader::parse(frame.payload).expect("a header").body_size,
            FrameType::Body => {
                black_box(frame.payload);
            }
            FrameType::Heartbeat => {}
        }
        wire = &wire[frame.wire_size()..];
    }
    content
}

fn headers() -> FieldTable {
    let string = |value: &[u8]| FieldValue::LongString(value.into());
    FieldTable(vec![
        ("x-match".into(), string(b"all")),
        ("tenant".into(), string(b"a-customer-of-ours")),
        ("attempt".into(), FieldValue::I32(3)),
        ("traced".into(), FieldValue::Boolean(true)),
        ("sent-at".into(), FieldValue::Timestamp(1_700_000_000)),
        ("path".into(), FieldValue::Array(vec![string(b"here"), string(b"there")])),
    ])
}

fn properties() -> BasicProperties {
    BasicProperties {
        content_type: Some("application/json".into()),
        headers: Some(headers()),
        delivery_mode: Some(2),
        correlation_id: Some("3b1f6a52-6a0e-4c1c-9d0f-0d8f2f7b7a10".into()),
        reply_to: Some("amq.rabbitmq.reply-to".into()),
        expiration: Some("60000".into()),
        timestamp: Some(1_700_000_000),
        ..Default::default()
    }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(BATCH_MESSAGES as u64));

    let wire = batch_of_publishes();
    group.bench_function("parse 1000 publishes of 16 B", |bencher| bencher.iter(|| parse_batch(black_box(&wire))));

    let mut out = Vec::with_capacity(2 * wire.len());
    group.bench_function("encode 1000 deliveries of 16 B", |bencher| {
        bencher.iter(|| {
            out.clear();
            for delivery_tag in 1..=BATCH_MESSAGES as u64 {
                let deliver = basic::Deliver {
                    consumer_tag: b"ctag1.0",
                    delivery_tag,
                    redelivered: false,
                    exchange: b"",
                    routing_key: b"hello",
                };
                Method::BasicDeliver(deliver).encode_frame(1, &mut out);
                header(&NO_PROPERTIES).encode_frame(1, &mut out);
                write_body_frame(&mut out, 1, &BODY);
            }
            black_box(out.len())
        });
    });
    group.finish();
}

fn tables_and_properties(criterion: &mut Criterion) {
    let mut entries = Vec::new();
    headers().encode_entries(&mut entries);
    criterion.bench_function("codec/copy a table of 6 headers", |bencher| {
        bencher.iter(|| FieldTable::decode_entries(black_box(&entries)));
    });
    criterion.bench_function("codec/view a table of 6 headers, find the last", |bencher| {
        bencher.iter(|| TableRef::parse(black_box(&entries)).map(|table| table.get(b"path").is_some()));
    });

    let mut list = Vec::new();
    properties().encode(&mut list);
    criterion.bench_function("codec/parse 7 properties", |bencher| {
        bencher.iter(|| PropertiesRef::parse(black_box(&list)).map(|properties| properties.expiration.is_some()));
    });
    let mut out = Vec::with_capacity(2 * list.len());
    let properties = properties();
    criterion.bench_function("codec/encode 7 properties", |bencher| {
        bencher.iter(|| {
            out.clear();
            properties.encode(&mut out);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, messages, tables_and_properties);
criterion_main!(benches);
