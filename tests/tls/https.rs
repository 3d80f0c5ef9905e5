//! The management interface over TLS, and the tool that asks it.

use crate::node::{BOTH, Node};
use crate::support::broker::free_addresses;
use crate::support::http::Api;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn node() -> (Node, SocketAddr) {
    let [address, _] = free_addresses();
    let tls = "[management_tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'";
    (Node::start(&format!("management_tls_listen = '{address}'"), tls), address)
}

fn list_users(node: &Node, port: u16, cacert: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leveretctl"))
        .args(["--uri", &format!("https://localhost:{port}"), "--user", "guest", "--password", "guest"])
        .args(["--cacert", cacert, "list_users"])
        .current_dir(node.folder.path())
        .output()
        .expect("leveretctl")
}

#[test]
fn the_api_is_served_over_tls_and_leveretctl_speaks_it() {
    let (node, address) = node();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(node.authority.client_config(&BOTH, None), name).expect("a client");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).expect("it listens"));
    let request =
        "GET /api/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an orderly end");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"name\":\"guest\""), "{answer}");

    let listed = list_users(&node, address.port(), "ca.pem");
    let said = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.status.success() && said.contains("guest\t[administrator]"), "{listed:?}");
    let overview = Api(node.management).get("/overview");
    let listeners = overview["listeners"].as_array().expect("a list");
    let port = u64::from(address.port());
    assert!(listeners.iter().any(|one| one["protocol"] == "https" && one["port"] == port), "{listeners:?}");
}

#[test]
fn the_cookie_of_a_session_that_was_opened_over_tls_goes_over_nothing_else() {
    let (node, address) = node();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(node.authority.client_config(&BOTH, None), name).expect("a client");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).expect("it listens"));
    let form = "username=guest&password=guest";
    let request = format!(
        "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an orderly end");
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie: ")).expect("a cookie");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
}

#[test]
fn leveretctl_trusts_nobody_whom_it_was_not_told_to_trust() {
    let (node, address) = node();
    node.folder.write("others.pem", &crate::certificates::Authority::new().pem);
    let refused = list_users(&node, address.port(), "others.pem");
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("certificate"), "{refused:?}");
    node.wait_for_line("TLS handshake failed");
    assert_eq!(list_users(&node, address.port(), "none.pem").status.code(), Some(64));
    assert_eq!(list_users(&node, address.port(), "server.key").status.code(), Some(64));
}

#[test]
fn who_speaks_http_there_or_nothing_is_gone_and_others_are_served() {
    let [address, _] = free_addresses();
    let settings = format!("management_tls_listen = '{address}'\n[limits]\nmanagement_timeout_ms = 1000\n");
    let node = Node::start(&settings, "[management_tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'");
    let mut plain = TcpStream::connect(address).expect("it listens");
    plain.set_read_timeout(Some(PATIENCE)).expect("a socket");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a socket");
    let _ = plain.read_to_end(&mut Vec::new());
    let silent = TcpStream::connect(address).expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("a socket");
    assert!(list_users(&node, address.port(), "ca.pem").status.success());
    assert_eq!((&silent).read_to_end(&mut Vec::new()).expect("an end"), 0);
    node.wait_for_line("TLS handshake failed: timed out");
}
