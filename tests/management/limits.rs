//! What HTTP clients may take: connections, bytes and time, each at its edge.

use crate::server::{Server, basic};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What clients are given where some are to run out of it, and others are not on a busy machine.
const SHORT_TIMEOUT: &str = "management_timeout_ms = 2_000\n";

/// A client that writes its requests by hand.
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect(server.management).expect("a connection"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("room for a request");
    }

    /// The status of the next answer, which has no body or a small one that nobody reads.
    pub fn status(&mut self) -> u16 {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        let line = String::from_utf8(head).expect("text");
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("a status: {line}"))
    }

    /// The headers that follow the status.
    fn headers(&mut self) -> String {
        let mut headers = Vec::new();
        while !headers.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            headers.extend(byte);
        }
        String::from_utf8(headers).expect("text").to_lowercase()
    }

    /// Reads until the server ends the connection, in whichever way.
    pub fn ends(mut self) {
        if let Err(error) = io::copy(&mut self.stream, &mut io::sink()) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "it is still open");
        }
    }
}

/// The head of a request without its last, empty line.
fn head(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: {}\r\n", basic("guest:guest"))
}

fn whole(method: &str, path: &str) -> String {
    head(method, path) + "\r\n"
}

fn with(limits: &str) -> Server {
    Server::start_with(&format!("[limits]\n{limits}"))
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let server = with("management_connections_max = 2\n");
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let (mut first, mut second) = (Raw::connect(&server), Raw::connect(&server));
    first.send(&head("DELETE", "/api/queues/%2F/q"));
    second.send(&head("GET", "/api/whoami"));
    let mut third = Raw::connect(&server);
    third.send(&whole("GET", "/api/queues/%2F/q"));
    first.send("\r\n");
    assert_eq!(first.status(), 204, "two have a place");
    second.send("\r\n");
    assert_eq!(second.status(), 200);
    drop(second);
    assert_eq!(third.status(), 404, "the third came in when the queue was gone");
}

#[test]
fn whoever_takes_all_the_places_it_can_get_keeps_nobody_out_who_comes_from_elsewhere() {
    let server = with("management_connections_max = 4\n");
    let mut greedy = [(); 3].map(|()| Raw::connect(&server));
    for client in &mut greedy {
        client.send(&whole("GET", "/api/whoami"));
        assert_eq!(client.status(), 200, "and it stays open");
    }
    Raw::connect(&server).ends();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&"127.0.0.2:0".parse::<SocketAddr>().expect("an address").into()).expect("another address");
    socket.connect(&server.management.into()).expect("a connection");
    let mut other = Raw::over(socket.into());
    other.send(&whole("GET", "/api/whoami"));
    assert_eq!(other.status(), 200);
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let server = with(SHORT_TIMEOUT);
    let (silent, mut halfway, mut idle) = (Raw::connect(&server), Raw::connect(&server), Raw::connect(&server));
    halfway.send(&head("GET", "/api/whoami"));
    idle.send(&whole("GET", "/api/whoami"));
    assert_eq!(idle.status(), 200);
    for client in [silent, halfway, idle] {
        client.ends();
    }
}

#[test]
fn a_head_has_a_largest_size() {
    let server = Server::start();
    let mut client = Raw::connect(&server);
    client.send(&format!("{}x-long: {}", head("GET", "/api/whoami"), "x".repeat(64 << 10)));
    assert_eq!(client.status(), 431);
}

#[test]
fn a_body_has_a_largest_size() {
    let server = with("management_body_max_bytes = 4096\n");
    let body = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    assert_eq!(server.ask("PUT", "/api/queues/%2F/q", &body(4096)).status, 201);
    let refused = server.ask("PUT", "/api/queues/%2F/other", &body(4097));
    let reason = "Exceeded HTTP request body size limit";
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (400, Some(reason)));
    assert_eq!(server.get("/api/queues/%2F/other").status, 404);
    // One that doesn't say how long it will be.
    let mut client = Raw::connect(&server);
    let chunk = format!("{:x}\r\n{}\r\n", 4097, body(4097));
    client.send(&format!("{}transfer-encoding: chunked\r\n\r\n{chunk}", head("PUT", "/api/queues/%2F/other")));
    assert_eq!(client.status(), 400);
}

#[test]
fn no_more_large_bodies_come_in_than_there_is_room_for() {
    /// As large as one may be here; and as many of them as there is room for.
    const LARGE: usize = 128 << 10;
    const ROOM: usize = 4;
    let server = with(&format!("management_body_max_bytes = {LARGE}\n"));
    let announce = |length: &str| {
        let mut client = Raw::connect(&server);
        client.send(&format!("{}expect: 100-continue\r\n{length}\r\n\r\n", head("PUT", "/api/queues/%2F/q")));
        client
    };
    let length = format!("content-length: {LARGE}");
    let mut let_in: Vec<Raw> = (0..ROOM).map(|_| announce(&length)).collect();
    for client in &mut let_in {
        assert_eq!(client.status(), 100, "it may send its body");
    }
    let mut waiting = [announce(&length), announce("transfer-encoding: chunked")];
    assert_eq!(server.ask("PUT", "/api/queues/%2F/small", "{}").status, 201, "small ones need no room");
    assert_eq!(server.get("/api/whoami").status, 200);
    for client in &mut waiting {
        client.stream.set_nonblocking(true).expect("a mode");
        let heard = client.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::WouldBlock), "there is no room for its body");
        client.stream.set_nonblocking(false).expect("a mode");
    }
    let_in.truncate(ROOM - waiting.len());
    for client in &mut waiting {
        assert_eq!(client.status(), 100);
    }
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let server = with(SHORT_TIMEOUT);
    let mut client = Raw::connect(&server);
    client.send(&format!("{}content-length: 10\r\n\r\n{{", head("PUT", "/api/queues/%2F/q")));
    assert_eq!(client.status(), 408);
    client.ends();
    assert_eq!(server.get("/api/queues/%2F/q").status, 404);
}

#[test]
fn nobody_unknown_gets_a_body_read() {
    let server = Server::start();
    let mut client = Raw::connect(&server);
    client.send("PUT /api/queues/%2F/q HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n");
    assert_eq!(client.status(), 401, "before a byte of it came");
    // Who sends it nevertheless finds the connection closed, and is told so.
    assert!(client.headers().contains("connection: close\r\n"));
    let mut client = Raw::connect(&server);
    client.send("GET /api/queues/%2F/q HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.status(), 401);
    assert!(!client.headers().contains("connection: close"), "this one may go on");
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    /// Together these are longer than what the system keeps for two sockets.
    const ANSWERS: usize = 4_000;
    let server = with(&format!("{SHORT_TIMEOUT}management_connections_max = 1\n"));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(&server.management.into()).expect("a connection");
    let mut client = Raw::over(socket.into());
    client.stream.set_nonblocking(true).expect("a mode");
    for _ in 0..ANSWERS {
        // The server reads no further request while it can't answer the last one.
        if let Err(error) = client.stream.write_all(whole("GET", "/").as_bytes()) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            break;
        }
    }
    assert_eq!(server.get("/api/whoami").status, 200, "the one place is free again");
    client.stream.set_nonblocking(false).expect("a mode");
    client.ends();
}
