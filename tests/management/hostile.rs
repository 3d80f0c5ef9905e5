//! Requests that mean one thing to a proxy in front and another one to the broker, and others that mean nothing.

use crate::limits::Raw;
use crate::server::{Server, basic};

/// What somebody hides behind a request.
fn hidden() -> String {
    let authorization = basic("guest:guest");
    format!(
        "PUT /api/queues/%2F/hidden HTTP/1.1\r\nhost: test\r\nauthorization: {authorization}\r\ncontent-length: 2\r\n\r\n{{}}"
    )
}

fn request(method: &str, path: &str, headers: &[&str]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: {}\r\n", basic("guest:guest"));
    headers.iter().for_each(|header| text += &format!("{header}\r\n"));
    text + "\r\n"
}

#[test]
fn nothing_is_hidden_behind_a_request() {
    let server = Server::start();
    let (hidden, put) = (hidden(), |headers: &[&str], body: &str| request("PUT", "/api/queues/%2F/a", headers) + body);
    let chunked = "transfer-encoding: chunked";
    let long = format!("content-length: {}", hidden.len() + 5);
    for (status, shape) in [
        // Its end is where the chunks end, and then the connection ends, too.
        (201, put(&[&long, chunked], &format!("0\r\n\r\n{hidden}"))),
        (204, put(&[chunked, "content-length: 4"], &format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}"))),
        (400, put(&["content-length: 2", "content-length: 3"], &format!("{{}}{hidden}"))),
        (400, put(&["content-length: 2, 2"], "{}")),
        (400, put(&["content-length: +2"], "{}")),
        (400, put(&["content-length: -1"], "{}")),
        (400, put(&["content-length: 99999999999999999999999"], "{}")),
        (400, put(&["content-length : 2"], "{}")),
        (400, put(&["transfer-encoding: xchunked"], &format!("{{}}{hidden}"))),
        (400, put(&["transfer-encoding: identity", "content-length: 2"], &format!("{{}}{hidden}"))),
        (400, put(&["transfer-encoding: chunked, identity"], &format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}"))),
        (400, put(&[chunked, chunked], &format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}"))),
        (400, put(&[chunked], &format!("ffffffffffffffffff\r\n{{}}\r\n0\r\n\r\n{hidden}"))),
        (400, put(&[chunked], &format!("-2\r\n{{}}\r\n0\r\n\r\n{hidden}"))),
        (400, put(&[chunked], "2\n{}\n0\n\n")),
        (400, put(&["x: a\r\n b", "content-length: 2"], "{}")),
        (400, put(&["x: a\0b", "content-length: 2"], "{}")),
        (400, put(&["host: other", "content-length: 2"], "{}")),
        (400, format!("PUT /api/queues/%2F/a HTTP/1.1\r\nauthorization: {}\r\n\r\n", basic("guest:guest"))),
        (400, "GET /api/overview\r\n\r\n".to_owned()),
        (400, "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03".to_owned() + &"\0".repeat(100)),
        (400, "AMQP\0\0\x09\x01".to_owned()),
    ] {
        let mut client = Raw::connect(&server);
        client.send(&shape);
        assert_eq!(client.status(), status, "{}", &shape[..shape.len().min(300)]);
        client.ends();
    }
    assert_eq!(server.get("/api/queues/%2F/hidden").status, 404);
}

#[test]
fn methods_and_paths_of_nobody_are_answered() {
    let server = Server::start();
    for (status, method, path) in [
        (404, "CONNECT", "test:80"),
        (405, "TRACE", "/api/whoami"),
        (404, "GET", "/api/../api/whoami"),
        (404, "GET", "/api/queues/%2F/%2e%2e"),
        (404, "GET", "/api/queues/%zz/q"),
        (400, "GET", "/api/queues/%ff/q"),
        (404, "GET", "//api//whoami"),
        (200, "GET", "http://elsewhere/api/whoami"),
    ] {
        let mut client = Raw::connect(&server);
        client.send(&request(method, path, &["connection: close"]));
        assert_eq!(client.status(), status, "{method} {path}");
        client.ends();
    }
}

#[test]
fn hundreds_of_idle_clients_keep_nobody_out() {
    let server = Server::start();
    // Of those that one origin may have.
    let idle: Vec<Raw> = (0..700).map(|_| Raw::connect(&server)).collect();
    assert_eq!(server.get("/api/whoami").status, 200);
    drop(idle);
    assert_eq!(server.get("/api/whoami").status, 200);
}
