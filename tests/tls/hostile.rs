//! Those who break a handshake, or never finish it, and what the others notice: nothing.

use crate::node::{BOTH, Node};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, pki_types::ServerName};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// Those who connect and say half a word.
const SLOW_CLIENTS: usize = 1000;

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the broker listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    socket
}

/// Waits for the end of a stream, whatever comes before it.
#[track_caller]
fn assert_ends(mut socket: &TcpStream) {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

/// What a client says first.
fn hello(node: &Node) -> Vec<u8> {
    let config = node.authority.client_config(&BOTH, None);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut said = Vec::new();
    client.write_tls(&mut said).expect("memory");
    said
}

/// A round trip of somebody who is not to notice anything.
fn assert_is_well(node: &Node) {
    node.any_client().open("").expects("(nothing)");
}

#[test]
fn a_handshake_that_ends_after_any_byte_is_no_harm() {
    let node = Node::start("", "");
    let hello = hello(&node);
    for end in 0..hello.len() {
        let mut socket = connect(node.tls);
        socket.write_all(&hello[..end]).expect("a socket");
        socket.shutdown(Shutdown::Write).expect("a socket");
        assert_ends(&socket);
    }
    assert_is_well(&node);
}

/// The second half of a handshake, which the broker has answered once.
#[test]
fn a_handshake_that_ends_in_its_second_half_is_no_harm() {
    let node = Node::start("", "");
    for version in [&TLS12, &TLS13] {
        let config = node.authority.client_config(&[version], None);
        let finish = |end: Option<usize>| {
            let name = ServerName::try_from("localhost").expect("a name");
            let mut client = ClientConnection::new(Arc::clone(&config), name).expect("a client");
            let mut socket = connect(node.tls);
            client.write_tls(&mut socket).expect("a socket");
            while !client.wants_write() {
                client.read_tls(&mut socket).expect("a socket");
                client.process_new_packets().expect("the broker's words");
            }
            let mut said = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut said).expect("memory");
            }
            let end = end.unwrap_or(said.len());
            socket.write_all(&said[..end]).expect("a socket");
            socket.shutdown(Shutdown::Write).expect("a socket");
            assert_ends(&socket);
            said.len()
        };
        let length = finish(None);
        (0..length).for_each(|end| _ = finish(Some(end)));
    }
    assert_is_well(&node);
}

#[test]
fn garbage_is_told_what_is_wrong_and_goes() {
    let node = Node::start("", "");
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 300], &[0xff; 300], b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\0\x04abcd"]
    {
        let mut socket = connect(node.tls);
        socket.write_all(garbage).expect("a socket");
        assert_ends(&socket);
        node.wait_for_line("TLS handshake failed: ");
    }
    assert_is_well(&node);
}

#[test]
fn who_takes_the_wrong_port_is_told_apart_in_the_log() {
    let node = Node::start("", "");
    let mut plain = connect(node.tls);
    plain.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
    assert_ends(&plain);
    node.wait_for_line("it speaks AMQP without TLS: this port is for AMQP over TLS");
    let mut encrypted = connect(node.plain);
    encrypted.write_all(&hello(&node)).expect("a socket");
    encrypted.shutdown(Shutdown::Write).expect("a socket");
    assert_ends(&encrypted);
    node.wait_for_line("it speaks TLS: this port is for AMQP without it");
}

#[test]
fn a_thousand_who_never_finish_are_gone_in_time_and_disturb_nobody() {
    let node = Node::start("[limits]\nhandshake_timeout_ms = 1500\n", "");
    let hello = hello(&node);
    let memory_before = resident_bytes(node.pid());
    let slow: Vec<TcpStream> = (0..SLOW_CLIENTS)
        .map(|number| {
            let mut socket = connect(node.tls);
            socket.write_all(&hello[..number % hello.len()]).expect("a socket");
            socket
        })
        .collect();
    assert_is_well(&node);
    let memory = resident_bytes(node.pid()) - memory_before;
    assert!(memory < SLOW_CLIENTS * 32 * 1024, "they take {memory} bytes");
    slow.iter().for_each(assert_ends);
    node.wait_for_line("TLS handshake failed: it takes too long");
    assert_is_well(&node);
}

/// What the system says that a process holds.
fn resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// AMQP's own close decides what is an orderly end; TLS's is welcome, and its absence is told.
#[test]
fn a_stream_that_is_cut_short_is_no_orderly_close() {
    let node = Node::start("", "");
    let config = node.authority.client_config(&BOTH, None);
    let mut orderly = node.client(&config).open("");
    orderly.send_on(0, "connection.close code=200 text=bye");
    orderly.expects_on(0, "connection.close-ok → <closed>");
    drop(orderly);
    let line = node.wait_for_line("clos");
    assert!(line.contains("INFO") && line.contains("closing AMQP connection"), "{line}");

    let mut stream = node.stream(&config);
    stream.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
    stream.flush().expect("a socket");
    stream.read_exact(&mut [0; 8]).expect("connection.start");
    stream.conn.send_close_notify();
    stream.flush().expect("a socket");
    node.wait_for_line("client unexpectedly closed TCP connection");

    let mut cut = node.stream(&config);
    cut.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
    cut.flush().expect("a socket");
    cut.read_exact(&mut [0; 8]).expect("connection.start");
    cut.sock.shutdown(Shutdown::Both).expect("a socket");
    node.wait_for_line("client unexpectedly closed TCP connection (its TLS stream was cut short)");
}

/// In the middle of a connection: rules are broken, and the client is told by TLS before the end.
#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection() {
    let node = Node::start("", "");
    for version in [&TLS12, &TLS13] {
        let mut stream = node.stream(&node.authority.client_config(&[version], None));
        stream.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
        stream.flush().expect("a socket");
        stream.read_exact(&mut [0; 8]).expect("connection.start");
        stream.conn.writer().write_all(b"something").expect("memory");
        let mut record = Vec::new();
        stream.conn.write_tls(&mut record).expect("memory");
        *record.last_mut().expect("a record") ^= 1;
        stream.sock.write_all(&record).expect("a socket");
        node.wait_for_line("client unexpectedly closed TCP connection (");
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).is_err(), "an alert");
    }
    assert_is_well(&node);
}

/// TLS 1.2 has a second handshake in the middle of a connection, which is not made: its request is turned down.
#[test]
fn nobody_renegotiates() {
    let node = Node::start("", "");
    let config = node.authority.client_config(&[&TLS12], None);
    let mut stream = node.stream(&config);
    stream.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
    stream.flush().expect("a socket");
    stream.read_exact(&mut [0; 8]).expect("connection.start");
    // A hello without encryption, in the middle of what is encrypted.
    stream.sock.write_all(&hello(&node)).expect("a socket");
    node.wait_for_line("client unexpectedly closed TCP connection (");
    assert_is_well(&node);
}
