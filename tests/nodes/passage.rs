//! Clients of nodes that don't lead: passed to the one that does, and judged by where they come from in truth.

use crate::cluster::{Cluster, NODES, PATIENCE, SECRET, name};
use crate::support::client::{Client, Event};
use leveret::peers::{Caller, ClientKind, ClusterSecret, Purpose};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

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
    let mut served = Vec::new();
    for node in NODES {
        let (status, _) = cluster.http(node).ask_as("guest:guest", "GET", health, &Value::Null);
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
