//! The management interface over TLS, and the tool that asks it.

use crate::certificates::Authority;
use crate::node::{BOTH, Node};
use crate::support::http::Api;
use crate::support::ports::free_addresses;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn node() -> (Node, SocketAddr) {
    let [address] = free_addresses();
    let tls = "[management_tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'";
    (Node::start(&format!("management_tls_listen = '{address}'"), tls), address)
}

fn stream(node: &Node, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(node.authority.client_config(&BOTH, None), name).expect("a client");
    StreamOwned::new(session, TcpStream::connect(address).expect("it listens"))
}

fn ask(node: &Node, address: SocketAddr, request: &str) -> String {
    let mut stream = stream(node, address);
    stream.write_all(request.as_bytes()).expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an orderly end");
    answer
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
    let request =
        "GET /api/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nconnection: close\r\n\r\n";
    let answer = ask(&node, address, request);
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
fn the_tools_take_the_options_for_tls_of_rabbitmqadmin() {
    let (node, address) = node();
    let port = address.port().to_string();
    let admin = node.folder.path().join("rabbitmqadmin");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_leveretctl"), &admin).expect("a link");
    let run = |program: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(node.folder.path())
            .env("HOME", node.folder.path())
            .env_remove("LEVERET_URI");
        command.output().expect("leveretctl")
    };
    let listed = ["-P", &port, "-f", "tsv", "list", "vhosts", "name"];
    for (options, works) in [
        (&["--ssl", "--ssl-ca-cert-file", "ca.pem"][..], true),
        (&["-s", "--ssl-ca-cert-file=ca.pem", "--ssl-cert-file=server.pem", "--ssl-key-file=server.key"], true),
        (&["--use-tls", "--tls-ca-cert-file", "ca.pem"], true),
        (&["--ssl", "-k"], true),
        (&["--ssl", "--ssl-insecure"], true),
        (&["--ssl"], false),
        (&["--ssl", "--ssl-ca-cert-file", "server.key"], false),
        (&["--ssl", "--ssl-ca-cert-file", "ca.pem", "--ssl-cert-file", "ca.pem"], false),
        (&["--ssl", "--ssl-ca-cert-file", "ca.pem", "--ssl-disable-hostname-verification"], false),
        (&[], false),
    ] {
        let output = run(&admin, &[options, &listed[..]].concat());
        assert_eq!(output.status.success(), works, "{options:?}: {output:?}");
        assert!(!works || String::from_utf8_lossy(&output.stdout).starts_with("name\n/"), "{options:?}: {output:?}");
    }
    let uri = format!("https://localhost:{port}");
    let ctl = std::path::Path::new(env!("CARGO_BIN_EXE_leveretctl"));
    assert!(run(ctl, &["--uri", &uri, "--ssl-insecure", "list_users"]).status.success());
    assert!(!run(ctl, &["--uri", &uri, "list_users"]).status.success());
}

#[test]
fn the_cookie_of_a_session_that_was_opened_over_tls_goes_over_nothing_else() {
    let (node, address) = node();
    let form = "username=guest&password=guest";
    let request = format!(
        "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{form}",
        form.len()
    );
    let answer = ask(&node, address, &request);
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie: ")).expect("a cookie");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
}

#[test]
fn metrics_are_served_over_tls_at_a_port_of_their_own() {
    let [address] = free_addresses();
    let node = Node::start(
        "",
        &format!(
            "[prometheus]\ntls_listen = '{address}'\n[prometheus.tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'"
        ),
    );
    let answer = ask(&node, address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\nrabbitmq_connections 0\n"), "{answer}");
    let api = ask(&node, address, "GET /api/overview HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(api.starts_with("HTTP/1.1 404"), "{api}");

    let overview = Api(node.management).get("/overview");
    let listeners = overview["listeners"].as_array().expect("a list");
    let port = u64::from(address.port());
    assert!(listeners.iter().any(|one| one["protocol"] == "https/prometheus" && one["port"] == port), "{listeners:?}");
    let check = |path: &str| Api(node.management).get(&format!("/health/checks/{path}"))["status"].clone();
    assert_eq!(check(&format!("port-listener/{port}")), "ok");
    let (status, expiring) = Api(node.management).ask_as(
        "guest:guest",
        "GET",
        "/health/checks/certificate-expiration/9999/years",
        &Value::Null,
    );
    assert!(status == 503 && expiring.contains("\"https/prometheus\""), "{status} {expiring}");

    let successor = Authority::new();
    node.folder.write_certificate("server", &successor.host(&["localhost"]));
    let sent = Command::new("kill").args(["-HUP", &node.pid().to_string()]).status();
    assert!(sent.expect("kill").success());
    node.wait_for_line("configuration read again");
    let mut refused = stream(&node, address);
    let error = refused.write_all(b"GET").expect_err("another authority stands behind the new certificate");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn leveretctl_trusts_nobody_whom_it_was_not_told_to_trust() {
    let (node, address) = node();
    node.folder.write("others.pem", &Authority::new().pem);
    let refused = list_users(&node, address.port(), "others.pem");
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("certificate"), "{refused:?}");
    node.wait_for_line("TLS handshake failed");
    assert_eq!(list_users(&node, address.port(), "none.pem").status.code(), Some(64));
    assert_eq!(list_users(&node, address.port(), "server.key").status.code(), Some(64));
}

#[test]
fn who_speaks_http_there_or_nothing_is_gone_and_others_are_served() {
    let [address] = free_addresses();
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
