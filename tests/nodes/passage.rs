//! Clients of nodes that don't lead: passed to the one that does, and judged by where they come from in truth.

use crate::certificates::Authority;
use crate::cluster::{Cluster, NODES, PATIENCE, SECRET, name, others, wait_until};
use crate::support::client::{Client, Event, Wire};
use leveret::peers::{Caller, ClientKind, ClusterSecret, Purpose};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn chance() -> std::io::Result<[u8; 32]> {
    Ok([7; 32])
}

/// A connection to the leader as one of the other nodes makes it for a client that comes from `peer`.
fn passed(cluster: &Cluster, leader: usize, kind: ClientKind, peer: &str) -> TcpStream {
    let node = name(NODES.into_iter().find(|node| *node != leader).unwrap());
    let caller = Caller { secret: ClusterSecret::of(SECRET.as_bytes()), cluster: "c".to_owned(), node, chance };
    let purpose = Purpose::Client { kind, peer: peer.parse().unwrap(), local: "192.0.2.1:5672".parse().unwrap() };
    let stream = caller.call(&name(leader), &cluster.for_nodes(leader).to_string(), purpose);
    let stream = stream.unwrap_or_else(|error| panic!("{error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn clients_come_with_the_addresses_that_they_have() {
    let cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let clients = NODES.map(|node| cluster.client(node));
    let listed = cluster.http(leader).get("/connections");
    let mut shown: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| (row["peer_host"].clone(), row["port"].clone())).collect();
    shown.sort_by_key(|(_, port)| port.as_u64());
    let mut expected = NODES.map(|node| (json!("127.0.0.1"), json!(cluster.amqp(node).port())));
    expected.sort_by_key(|(_, port)| port.as_u64());
    assert_eq!(shown, expected);
    drop(clients);
    // Who comes from elsewhere is no guest, whichever node lets it in.
    let mut client = Client::over(passed(&cluster, leader, ClientKind::Amqp, "192.0.2.7:50000"));
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    assert!(matches!(client.next(0, PATIENCE), Event::Method(method) if method.name == "connection.start"));
    client.send(
        "connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US \
         client_properties={capabilities=F:{authentication_failure_close=t:true}}",
    );
    assert!(matches!(client.next(0, PATIENCE), Event::Method(method) if method.name == "connection.close"));
    for (peer, status) in [("192.0.2.7:50000", "401"), ("127.0.0.1:50000", "200")] {
        let mut stream = passed(&cluster, leader, ClientKind::Http, peer);
        let request =
            "GET /api/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{peer}: {answer}");
    }
}

#[test]
fn what_is_changed_through_one_node_is_there_through_the_others() {
    let cluster = Cluster::formed();
    for node in NODES {
        cluster.wait_for_leader(node);
        let queue = format!("/queues/%2F/of-{}", name(node));
        cluster.http(node).change("PUT", &queue, &json!({"durable": true}));
        for other in NODES {
            assert_eq!(cluster.http(other).get(&queue)["durable"], true);
        }
        let (status, _) = cluster.http(node).ask_as("guest:wrong", "GET", "/overview", &Value::Null);
        assert_eq!(status, 401);
    }
    let large = "x".repeat(1 << 20);
    let body = json!({"properties": {}, "routing_key": "of-n1", "payload": large, "payload_encoding": "string"});
    for node in NODES {
        cluster.http(node).change("POST", "/exchanges/%2F/amq.default/publish", &body);
    }
    let got = json!({"count": 3, "ackmode": "ack_requeue_true", "encoding": "auto"});
    for node in NODES {
        let (status, text) = cluster.http(node).ask_as("guest:guest", "POST", "/queues/%2F/of-n1/get", &got);
        let messages: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, messages.as_array().unwrap().len()), (200, 3));
    }
}

#[test]
fn a_node_that_passes_nobody_refuses_clients_and_says_so() {
    let cluster = Cluster::formed_with("pass_through = false");
    let health = "/health/checks/is-in-service";
    let asked = |node: usize| cluster.http(node).ask_as("nobody:", "GET", health, &Value::Null).0;
    wait_until("one of them serves", || NODES.into_iter().any(|node| asked(node) == 200));
    let mut served = Vec::new();
    for node in NODES {
        let status = asked(node);
        if status == 200 {
            served.push(node);
            drop(Client::connect(cluster.amqp(node), ""));
            continue;
        }
        assert_eq!(status, 503);
        let mut refused = TcpStream::connect(cluster.amqp(node)).unwrap();
        refused.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = refused.write_all(b"AMQP\0\0\x09\x01");
        assert!(matches!(refused.read(&mut [0; 8]), Ok(0) | Err(_)));
        assert_eq!(cluster.http(node).ask_as("guest:guest", "GET", "/overview", &Value::Null).0, 503);
    }
    assert_eq!(served.len(), 1);
}

struct Encrypted(StreamOwned<ClientConnection, TcpStream>);

impl Read for Encrypted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Encrypted {
    fn set_read_timeout(&self, timeout: Duration) {
        self.0.sock.set_read_timeout(Some(timeout)).expect("a TCP socket");
    }
}

/// A stream to an address at which TLS is spoken, by who trusts an authority.
fn encrypted(to: SocketAddr, authority: &Authority) -> Encrypted {
    let config = authority.client_config(rustls::ALL_VERSIONS, None);
    let session = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Encrypted(StreamOwned::new(session, socket))
}

#[test]
fn clients_are_passed_over_tls_too() {
    let authority = Authority::new();
    let certificate = authority.host(&["localhost"]);
    let mut cluster = Cluster::new("");
    cluster.encrypt(&certificate.pem, &certificate.key_pem);
    NODES.into_iter().for_each(|node| cluster.start(node));
    for node in NODES {
        cluster.wait_for_leader(node);
        let [amqps, https] = cluster.over_tls(node);
        let mut client = Client::over(encrypted(amqps, &authority)).open("");
        client.send(&format!("queue.declare queue=over-{} durable", name(node)));
        let declared = format!("queue.declare-ok(queue='over-{}', message_count=0, consumer_count=0)", name(node));
        client.expects(&declared);
        let listed = cluster.http(node).get("/connections");
        let ssl: Vec<_> = listed.as_array().unwrap().iter().map(|row| row["ssl"].clone()).collect();
        assert_eq!(ssl, [json!(true)]);
        drop(client);
        let mut stream = encrypted(https, &authority);
        // A cookie that is given over TLS is for TLS alone, also when who leads gives it to another node's client.
        let login = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\
                     content-length: 29\r\n\r\nusername=guest&password=guest";
        stream.write_all(login.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 2") && answer.contains("secure"), "{answer}");
    }
}

#[test]
fn a_node_that_says_it_is_ready_has_its_clients_served_at_once() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [asked, _] = others(leader);
    let ready = |cluster: &Cluster| {
        cluster.http(asked).ask_as("nobody:", "GET", "/health/checks/ready-to-serve-clients", &Value::Null).0
    };
    wait_until("it is ready", || ready(&cluster) == 200);
    cluster.kill(leader);
    wait_until("nobody leads", || ready(&cluster) == 503);
    // The next one knows that it leads before it has made queues of what its log holds.
    wait_until("it is ready", || ready(&cluster) == 200);
    let (status, text) = cluster.http(asked).ask_as("guest:guest", "GET", "/overview", &Value::Null);
    assert_eq!(status, 200, "{text}");
    drop(Client::connect(cluster.amqp(asked), ""));
}
