//! What clients do over TLS that they do without, and what they see of certificates.

use crate::certificates::{Authority, Certificate};
use crate::node::{BOTH, Folder, Node};
use crate::support::http::Api;
use rustls::version::{TLS12, TLS13};
use std::io::Write;
use std::process::Command;

#[test]
fn amqp_goes_over_both_versions() {
    let node = Node::start("", "");
    for version in [&TLS12, &TLS13] {
        let mut client = node.client(&node.authority.client_config(&[version], None)).open("");
        client.send("queue.declare queue='' exclusive ; basic.consume consumer_tag=t no_ack");
        client.expects("queue.declare-ok… → basic.consume-ok(consumer_tag='t')");
        let queue = client.generated_name.clone().expect("declared above");
        for body in ["small", "'x'*100", "'x'*20000", "'x'*300000"] {
            client.send(&format!("publish routing_key={queue} body={body}"));
            client.read_like(1, "basic.deliver… → header… → body…");
            if body.ends_with("300000") {
                client.read_like(1, "body… → body…");
            }
        }
        client.send("confirm.select ; 5000x publish routing_key=nowhere body='x'*1000");
        client.expects("confirm.select-ok");
        client.expects("acks 5000");
    }
}

/// More than sockets hold waits for a client that reads late, and comes whole.
#[test]
fn what_waits_for_a_client_that_reads_late_comes_whole() {
    const MESSAGES: usize = 60;
    let node = Node::start("", "");
    let (mut consumer, mut publisher) = (node.any_client().open(""), node.any_client().open(""));
    consumer.send("queue.declare queue=late exclusive=false ; basic.qos prefetch_count=0 ; basic.consume queue=late consumer_tag=t no_ack");
    consumer.expects("queue.declare-ok… → basic.qos-ok → basic.consume-ok(consumer_tag='t')");
    publisher.send("confirm.select");
    publisher.expects("confirm.select-ok");
    publisher.send(&format!("{MESSAGES}x publish routing_key=late body='x'*100000"));
    publisher.expects(&format!("acks {MESSAGES}"));
    for tag in 1..=MESSAGES {
        let expected = format!("basic.deliver(consumer_tag='t', delivery_tag={tag}…");
        assert!(consumer.read_like(1, "basic.deliver…").starts_with("basic.deliver"), "{expected}");
        consumer.expects("header(size=100000) → body(100000 bytes)");
    }
}

#[test]
fn only_configured_versions_are_spoken() {
    let node = Node::start("", "versions = ['tlsv1.3']");
    let mut refused = node.stream(&node.authority.client_config(&[&TLS12], None));
    let error =
        refused.write_all(b"AMQP\0\0\x09\x01").and_then(|()| refused.flush()).expect_err("no version in common");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    node.wait_for_line("TLS handshake failed");
    drop(node.client(&node.authority.client_config(&[&TLS13], None)).open(""));
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_connects_to() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("server", &authority.host(&["localhost"]));
    folder.write_certificate("second", &authority.host(&["Second.test", "*.many.test"]));
    let more = "[[tls.certificates]]\ncertfile = 'second.pem'\nkeyfile = 'second.key'\n";
    let node = Node::start_in(folder, authority, "", more);
    let config = node.authority.client_config(&BOTH, None);
    for name in ["localhost", "second.test", "SECOND.TEST", "one.many.test"] {
        let mut stream = node.stream_to(name, &config);
        stream.write_all(b"AMQP").unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for stranger in ["many.test", "a.b.many.test", "elsewhere.test"] {
        let error = node.stream_to(stranger, &config).write_all(b"AMQP").expect_err(stranger);
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
}

#[test]
fn listings_show_how_a_connection_is_encrypted() {
    let node = Node::start("", "");
    let _client = node.client(&node.authority.client_config(&[&TLS13], None)).open("");
    let api = Api(node.management);
    let connections = api.get("/connections");
    let connection = &connections[0];
    assert_eq!(connection["ssl"], true);
    assert_eq!(connection["ssl_protocol"], "tlsv1.3");
    assert_eq!(connection["ssl_key_exchange"], "any");
    assert_eq!(connection["ssl_cipher"], "aes_256_gcm");
    assert_eq!(connection["ssl_hash"], "aead");
    assert!(connection["peer_cert_subject"].is_null());
    let overview = api.get("/overview");
    let listeners = overview["listeners"].as_array().expect("a list");
    let port = u64::from(node.tls.port());
    assert!(listeners.iter().any(|one| one["protocol"] == "amqp/ssl" && one["port"] == port), "{listeners:?}");
}

/// The organisation and the name of a client, as a listing shows them.
fn shown_subject(node: &Node, certificate: &Certificate) -> String {
    let _client = node.client(&node.authority.client_config(&BOTH, Some(certificate))).open("");
    let connections = Api(node.management).get("/connections");
    let connection = connections.as_array().expect("a list").last().expect("one").clone();
    assert_eq!(connection["peer_cert_issuer"], "CN=authority");
    assert_eq!(connection["peer_cert_validity"], "1975-01-01T00:00:00Z - 4096-01-01T00:00:00Z");
    connection["peer_cert_subject"].as_str().expect("a name").to_owned()
}

#[test]
fn clients_are_asked_for_certificates_and_may_have_none() {
    let node = Node::start("", "cacertfile = 'ca.pem'\nverify = 'verify_peer'");
    assert_eq!(shown_subject(&node, &node.authority.client("ann", Vec::new())), "CN=ann,O=Example\\, Inc.");
    drop(node.any_client().open(""));
    let stranger = Authority::new().client("ann", Vec::new());
    let mut refused = node.stream(&node.authority.client_config(&[&TLS12], Some(&stranger)));
    refused.write_all(b"AMQP").and_then(|()| refused.flush()).expect_err("nobody stands behind it");
    node.wait_for_line("TLS handshake failed: invalid peer certificate: ");
}

#[test]
fn clients_without_a_certificate_are_turned_away_where_one_is_wanted() {
    let node = Node::start("", "cacertfile = 'ca.pem'\nverify = 'verify_peer'\nfail_if_no_peer_cert = true");
    let mut refused = node.stream(&node.authority.client_config(&[&TLS12], None));
    refused.write_all(b"AMQP").and_then(|()| refused.flush()).expect_err("it has none");
    node.wait_for_line("TLS handshake failed: peer sent no certificates");
    assert_eq!(shown_subject(&node, &node.authority.client("bob", Vec::new())), "CN=bob,O=Example\\, Inc.");
}

#[test]
fn a_client_is_told_in_the_log_that_its_certificate_is_too_old_a_kind() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("server", &authority.host(&["localhost"]));
    folder.write("old.pem", include_str!("version1.pem"));
    let node = Node::start_in(folder, authority, "", "cacertfile = 'old.pem'\nverify = 'verify_peer'");
    let certificate =
        Certificate { pem: include_str!("version1.pem").to_owned(), key_pem: include_str!("version1.key").to_owned() };
    let mut refused = node.stream(&node.authority.client_config(&[&TLS12], Some(&certificate)));
    refused.write_all(b"AMQP").and_then(|()| refused.flush()).expect_err("version 1");
    node.wait_for_line(
        "TLS handshake failed: the client's certificate is of version 1 of X.509, and only version 3 is taken",
    );
}

#[test]
fn certificates_are_read_again_and_nobody_is_dropped() {
    let node = Node::start("", "");
    let mut from_before = node.any_client().open("");
    let hang_up = || {
        let sent = Command::new("kill").args(["-HUP", &node.pid().to_string()]).status();
        assert!(sent.expect("kill").success());
    };

    let successor = Authority::new();
    node.folder.write_certificate("server", &successor.host(&["localhost"]));
    hang_up();
    node.wait_for_line("configuration read again");
    let config = successor.client_config(&BOTH, None);
    drop(node.client(&config).open(""));
    let old = node.authority.client_config(&BOTH, None);
    assert!(
        node.stream(&old).write_all(b"AMQP").is_err(),
        "the old authority does not stand behind the new certificate"
    );
    from_before.expects("(nothing)");

    node.folder.write("server.key", "nothing");
    hang_up();
    let line = node.wait_for_line("certificates not read again, those from before are shown on");
    assert!(line.contains("server.key: holds no private key"), "{line}");
    drop(node.client(&config).open(""));
    from_before.expects("(nothing)");
}

#[test]
fn a_broker_whose_certificate_will_not_do_does_not_start() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("server", &authority.host_between(2000, 2001));
    folder.write("leveret.toml", "[tls]\ncertfile = 'server.pem'\nkeyfile = 'server.key'\n");
    let ended = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--config", "leveret.toml", "--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"])
        .args(["--prometheus-listen", "off"])
        .current_dir(folder.path())
        .output()
        .expect("the leveret program");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("leveret: TLS: server.pem: its certificate expired at 2001-01-01T00:00:00Z"), "{said}");
}
