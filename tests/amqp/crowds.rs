//! Clients that read nothing of what they are sent: they stop nobody.

use crate::support::broker::Broker;
use crate::support::client::{Client, FRAME_MAX, encode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(8);
/// A few with large outboxes stand for very many.
const DEAF: usize = 4;
/// Far more than the system's buffers hold, and as much more as would bring about the alarm of this broker.
const BATCHES: usize = 12;
const BATCH: usize = 1000;
const LIMITS: &str =
    "[limits]\noutbox_high_water_bytes = 16_777_216\nmemory_watermark = 8_000_000\nmessage_memory_bytes = 1_048_576\n";

/// A client that consumes from the queue `crowd` and reads no message.
fn deaf(broker: &Broker) -> TcpStream {
    const CONSUME_OK: &[u8] = b"\x01\x00\x01\x00\x00\x00\x09\x00\x3C\x00\x15\x04deaf\xCE";
    let mut socket = TcpStream::connect(broker.address).expect("the broker listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let line = "bytes 'AMQP\\0\\0\\x09\\x01' ; connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US ; \
                connection.tune-ok channel_max=10 frame_max=131072 heartbeat=0 ; connection.open virtual_host=/";
    socket.write_all(&encode(0, line, FRAME_MAX)).expect("room for a few frames");
    let line = "channel.open ; basic.consume queue=crowd consumer_tag=deaf no_ack";
    socket.write_all(&encode(1, line, FRAME_MAX)).expect("room for a few frames");
    let mut received = Vec::new();
    let mut octet = [0];
    while !received.ends_with(CONSUME_OK) {
        socket.read_exact(&mut octet).expect("an answer");
        received.push(octet[0]);
    }
    socket
}

#[test]
fn consumers_that_read_nothing_do_not_bring_about_the_alarm() {
    let broker = Broker::start(LIMITS);
    let mut publisher = Client::connect(broker.address, "");
    publisher.send("queue.declare queue=crowd ; confirm.select");
    publisher.expects("queue.declare-ok… → confirm.select-ok");
    let crowd: Vec<TcpStream> = (0..DEAF).map(|_| deaf(&broker)).collect();
    for _ in 0..BATCHES {
        publisher.send(&format!("{BATCH}x publish routing_key=crowd body='x'*4000"));
    }
    publisher.expects(&format!("acks {}", BATCHES * BATCH));
    drop(crowd);
}
