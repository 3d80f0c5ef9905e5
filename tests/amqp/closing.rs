//! What was on its way when a connection closed: nobody acts on it, and to write it is no error.
//!
//! A socket that is closed with bytes unread, or gets some later, answers with a reset: the client's writes fail, and it
//! may never read why the connection was closed.

use crate::support::broker::Broker;
use crate::support::client::{FRAME_MAX, encode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(8);
/// Together more than the socket buffers on the way hold.
const PUBLISHES: usize = 80;
const BODY_BYTES: usize = 100_000;
const CHANNEL_OPEN_OK: &[u8] = b"\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0B\x00\x00\x00\x00\xCE";

/// A socket that has come to an open channel.
fn opened(broker: &Broker) -> TcpStream {
    opened_with_heartbeat(broker, 0)
}

fn opened_with_heartbeat(broker: &Broker, heartbeat_s: u16) -> TcpStream {
    let mut socket = TcpStream::connect(broker.address).expect("the broker listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    socket.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
    let line = format!(
        "bytes 'AMQP\\0\\0\\x09\\x01' ; connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US ; \
         connection.tune-ok channel_max=10 frame_max=131072 heartbeat={heartbeat_s} ; connection.open virtual_host=/"
    );
    socket.write_all(&encode(0, &line, FRAME_MAX)).expect("room for a few frames");
    socket.write_all(&encode(1, "channel.open", FRAME_MAX)).expect("room for a frame");
    read_to(&mut socket, CHANNEL_OPEN_OK);
    socket
}

/// Reads until `end` has come.
fn read_to(socket: &mut TcpStream, end: &[u8]) {
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !received.ends_with(end) {
        let count = socket.read(&mut buffer).expect("an answer and no reset");
        assert!(count > 0, "the end instead of an answer");
        received.extend_from_slice(&buffer[..count]);
    }
}

fn publishes() -> Vec<u8> {
    let line = format!("{PUBLISHES}x publish routing_key=nowhere body='x'*{BODY_BYTES}");
    encode(1, &line, FRAME_MAX)
}

/// Nothing more comes, and the end is no reset. RabbitMQ's sockets always end with one.
fn ends_in_good_order(mut socket: TcpStream, broker: &Broker) {
    if !broker.is_reference() {
        assert_eq!(socket.read_to_end(&mut Vec::new()).expect("no reset"), 0);
    }
}

#[test]
fn what_follows_the_clients_close_is_read_and_ignored() {
    let broker = Broker::shared();
    let close = encode(0, "connection.close code=200 text=bye", FRAME_MAX);
    let close_ok = encode(0, "connection.close-ok", FRAME_MAX);

    let mut at_once = opened(&broker);
    at_once.write_all(&[close.clone(), publishes()].concat()).expect("no broken pipe");
    read_to(&mut at_once, &close_ok);
    ends_in_good_order(at_once, &broker);

    let mut after_the_answer = opened(&broker);
    after_the_answer.write_all(&close).expect("room for a frame");
    read_to(&mut after_the_answer, &close_ok);
    after_the_answer.write_all(&publishes()).expect("no broken pipe");
    ends_in_good_order(after_the_answer, &broker);
}

#[test]
fn what_follows_the_servers_close_is_read_and_ignored() {
    const NOT_IMPLEMENTED_BY_BASIC_PUBLISH: &[u8] = b"immediate=true\x00\x3C\x00\x28\xCE";
    let broker = Broker::shared();
    let mut socket = opened(&broker);
    let publish = encode(1, "publish routing_key=nowhere immediate body=x", FRAME_MAX);
    socket.write_all(&[publish, publishes()].concat()).expect("no broken pipe");
    read_to(&mut socket, NOT_IMPLEMENTED_BY_BASIC_PUBLISH);
    socket.write_all(&publishes()).expect("no broken pipe");
    socket.write_all(&encode(0, "connection.close-ok", FRAME_MAX)).expect("no broken pipe");
    ends_in_good_order(socket, &broker);
}

/// Whether the stream is reset in time. Nothing is read for that.
fn is_reset(socket: &TcpStream) -> bool {
    let mut question = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one question about a descriptor that is open, with room for its answer.
    let answers = unsafe { libc::poll(&raw mut question, 1, PATIENCE.as_millis() as libc::c_int) };
    answers == 1 && question.revents & libc::POLLERR != 0
}

/// It may be stuck for good: what it doesn't read must not hide from it that nobody waits for it any more.
#[test]
fn a_silent_client_that_reads_nothing_is_reset() {
    let broker = Broker::shared();
    let mut socket = opened_with_heartbeat(&broker, 1);
    socket
        .write_all(&encode(1, "queue.declare queue=closing-silent auto_delete", FRAME_MAX))
        .expect("room for a frame");
    let line = format!("{PUBLISHES}x publish routing_key=closing-silent body='x'*{BODY_BYTES}");
    socket.write_all(&encode(1, &line, FRAME_MAX)).expect("the broker reads");
    socket.write_all(&encode(1, "basic.consume queue=closing-silent no_ack", FRAME_MAX)).expect("room for a frame");
    assert!(is_reset(&socket));
}
