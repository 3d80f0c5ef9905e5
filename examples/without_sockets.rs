//! The broker without a socket, a clock or a disk: what a client would send goes in as bytes, and what it would be sent
//! comes out as bytes. It drives the hub as the server's loop does.
//!
//! `cargo run --example without_sockets` prints what the client was sent.

use leveret::broker::store::MemoryStore;
use leveret::config::Config;
use leveret::protocol::frame::{PROTOCOL_HEADER, parse_frame, write_body_frame};
use leveret::protocol::method::{basic, channel, connection, queue};
use leveret::protocol::properties::BASIC_CLASS_ID;
use leveret::protocol::{ContentHeader, FrameType, Method};
use leveret::server::{Hub, hub_settings, quick_founding};
use std::net::{Ipv4Addr, SocketAddr};

const FRAME_MAX: u32 = 131_072;

fn main() {
    hello_world().iter().for_each(|line| println!("{line}"));
}

/// Logs in, declares a queue, publishes to it and consumes from it. Says what came of it.
fn hello_world() -> Vec<String> {
    let now_ms = 0;
    let config = Config::default();
    let settings = hub_settings(&config, [7; 32], 0);
    let mut hub = Hub::founded(settings, MemoryStore::default(), now_ms, quick_founding(&config));
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let client = hub.connect(address(50_000), address(5672));

    let mut wire = PROTOCOL_HEADER.to_vec();
    let login = connection::StartOk { mechanism: b"PLAIN", response: b"\0guest\0guest", ..Default::default() };
    let limits = connection::TuneOk { channel_max: 1, frame_max: FRAME_MAX, heartbeat: 0 };
    Method::ConnectionStartOk(login).encode_frame(0, &mut wire);
    Method::ConnectionTuneOk(limits).encode_frame(0, &mut wire);
    Method::ConnectionOpen(connection::Open { virtual_host: b"/" }).encode_frame(0, &mut wire);
    Method::ChannelOpen(channel::Open).encode_frame(1, &mut wire);
    Method::QueueDeclare(queue::Declare { queue: b"hello", ..Default::default() }).encode_frame(1, &mut wire);
    Method::BasicPublish(basic::Publish { routing_key: b"hello", ..Default::default() }).encode_frame(1, &mut wire);
    let header = ContentHeader { class_id: BASIC_CLASS_ID, weight: 0, body_size: 12, properties: &[0, 0] };
    header.encode_frame(1, &mut wire);
    write_body_frame(&mut wire, 1, b"Hello World!");
    let consume = basic::Consume { queue: b"hello", consumer_tag: b"me", no_ack: true, ..Default::default() };
    Method::BasicConsume(consume).encode_frame(1, &mut wire);

    // One turn of the loop: time, input, deliveries and output.
    hub.start_turn(now_ms);
    hub.receive(client, &wire);
    let mut sent = Vec::new();
    while let Some(client) = hub.next_to_flush() {
        let bytes = hub.outboxes().get(client).contiguous().expect("small bodies are copied").to_vec();
        hub.sent(client, bytes.len());
        sent.extend(bytes);
    }

    let mut lines = Vec::new();
    while let Some(frame) = parse_frame(&sent, FRAME_MAX).expect("frames") {
        match frame.frame_type {
            FrameType::Method => lines.push(Method::decode(frame.payload).expect("a method").name().to_owned()),
            FrameType::Body => lines.push(format!("    {}", String::from_utf8_lossy(frame.payload))),
            FrameType::Header | FrameType::Heartbeat => {}
        }
        let length = frame.wire_size();
        sent.drain(..length);
    }
    lines
}

#[test]
fn a_message_comes_out_as_it_went_in() {
    let lines = hello_world();
    assert_eq!(lines[..4], ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]);
    assert_eq!(lines[4..], ["queue.declare-ok", "basic.consume-ok", "basic.deliver", "    Hello World!"]);
}
