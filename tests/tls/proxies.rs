//! Clients behind a proxy that says who they are, and those who only say so.

use crate::node::{BOTH, Encrypted, Node};
use crate::support::client::Client;
use crate::support::http::Api;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5672\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xc3\x50\x16\x28";
const TRUSTING: &str = "proxy_protocol_from = ['127.0.0.0/8']\n";

/// A socket over which a proxy has said this.
fn through(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the broker listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a TCP socket");
    socket.write_all(header).expect("a socket");
    socket
}

#[track_caller]
fn assert_is_the_client(node: &Node) {
    let connections = Api(node.management).get("/connections");
    let connection = &connections[0];
    assert_eq!(connection["name"], "192.0.2.7:50000 -> 198.51.100.1:5672");
    assert_eq!((&connection["peer_host"], &connection["peer_port"]), (&"192.0.2.7".into(), &50000.into()));
}

#[test]
fn a_proxy_that_is_believed_names_its_clients() {
    let node = Node::start(&format!("{TRUSTING}loopback_users = []\n"), "");
    for header in [LINE, BINARY] {
        let client = Client::over(through(node.plain, header)).open("");
        assert_is_the_client(&node);
        drop(client);
        node.wait_for_line("client unexpectedly closed TCP connection");
        let config = node.authority.client_config(&BOTH, None);
        let client = Client::over(Encrypted(node.stream_over(through(node.tls, header), &config))).open("");
        assert_is_the_client(&node);
        drop(client);
        node.wait_for_line("client unexpectedly closed TCP connection");
    }
}

/// The proxy is on the broker's machine, and its client is not.
#[test]
fn a_loopback_user_behind_a_proxy_comes_from_where_the_client_is() {
    let node = Node::start(TRUSTING, "");
    let mut client = Client::over(through(node.plain, LINE));
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    client.expects_on(0, "connection.start…");
    client.send("connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US client_properties={}");
    node.wait_for_line("user 'guest' can only connect via localhost");
}

#[test]
fn a_proxy_has_to_say_something_that_makes_sense_and_soon() {
    let node = Node::start(&format!("{TRUSTING}[limits]\nhandshake_timeout_ms = 1000\n"), "");
    for (address, said, why) in [
        (node.plain, &b"AMQP\0\0\x09\x01"[..], "PROXY header refused: it begins with no PROXY header"),
        (node.tls, b"\x16\x03\x01\0\x05hello", "PROXY header refused: it begins with no PROXY header"),
        (node.plain, &[b'P'; 200], "PROXY header refused: it begins with no PROXY header"),
        (node.plain, &LINE[..LINE.len() - 1], "PROXY header refused: it takes too long"),
        (node.tls, &BINARY[..20], "PROXY header refused: it takes too long"),
        (node.tls, LINE, "TLS handshake failed: it takes too long"),
    ] {
        let mut socket = through(address, said);
        let _ = socket.read_to_end(&mut Vec::new());
        node.wait_for_line(why);
    }
}

#[test]
fn whoever_is_not_believed_is_what_it_is() {
    let node = Node::start("proxy_protocol_from = ['203.0.113.0/24']\n", "");
    Client::connect(node.plain, "").expects("(nothing)");
    node.any_client().open("").expects("(nothing)");
    let mut answer = Vec::new();
    let _ = through(node.plain, LINE).read_to_end(&mut answer);
    assert_eq!(answer, b"AMQP\0\0\x09\x01", "it speaks another protocol");
}
