//! What the cluster is called, and how often somebody wanted to be let in.

use crate::server::{Server, basic};
use crate::support::client::Client;
use crate::transcript::play;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn names_and_attempts() {
    play(include_str!("transcripts/cluster.txt"));
}

/// What a client is greeted with.
fn greeting(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.amqp).expect("it listens");
    stream.write_all(b"AMQP\0\0\x09\x01").expect("a socket");
    let mut head = [0; 7];
    stream.read_exact(&mut head).expect("a frame");
    let length = u32::from_be_bytes(head[3..].try_into().expect("four bytes"));
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).expect("its payload");
    String::from_utf8_lossy(&payload).into_owned()
}

#[test]
fn everybody_is_told_what_the_cluster_is_called() {
    let server = Server::start();
    let node = "leveret@localhost";
    let told = |name: &str| {
        let mut value = format!("cluster_nameS\0\0\0{}", name.len() as u8 as char);
        value.push_str(name);
        assert!(greeting(&server).contains(&value), "{:?}", greeting(&server));
        assert_eq!(server.get("/api/cluster-name").json()["name"], name);
        assert_eq!(server.get("/api/overview").json()["cluster_name"], name);
        assert_eq!(server.get("/api/definitions").json()["original_cluster_name"], name);
        assert!(server.get("/metrics").text.contains(&format!("rabbitmq_cluster=\"{name}\"")));
    };
    told(node);
    assert_eq!(server.ask("PUT", "/api/cluster-name", r#"{"name":"hares"}"#).status, 204);
    told("hares");
    let (code, said, _) = server.ctl(&["set_cluster_name", "rabbits"]);
    assert_eq!((code, &*said), (0, "Setting cluster name to rabbits ...\n"));
    told("rabbits");
    assert_eq!(server.ask("PUT", "/api/global-parameters/cluster_name", r#"{"value":{"no":"name"}}"#).status, 204);
    told(node);
    let definitions = json!({"global_parameters": [{"name": "cluster_name", "value": "imported"}]}).to_string();
    let headers = [("authorization", &*basic("guest:guest")), ("content-type", "application/json")];
    assert_eq!(server.ask_with("POST", "/api/definitions", &definitions, &headers).status, 204);
    told("imported");
    assert_eq!(server.ask("DELETE", "/api/global-parameters/cluster_name", "").status, 204);
    told(node);
    let long = json!({"name": "x".repeat(256)}).to_string();
    assert_eq!(server.ask("PUT", "/api/cluster-name", &long).status, 400);
}

#[test]
fn what_tells_the_cluster_from_others_goes_with_definitions() {
    let server = Server::start();
    let told = || server.get("/api/global-parameters/internal_cluster_id").json()["value"].clone();
    let own = told();
    let id = own.as_str().and_then(|value| value.strip_prefix("rabbitmq-cluster-id-")).expect("RabbitMQ's form");
    assert_eq!(id.len(), 22, "sixteen bytes in base64: {id}");
    let exported = server.get("/api/definitions").json();
    let parameters = exported["global_parameters"].as_array().expect("a list");
    assert!(parameters.contains(&json!({"name": "internal_cluster_id", "value": own})), "{exported}");
    assert_ne!(Server::start().get("/api/global-parameters/internal_cluster_id").json()["value"], own);
    let definitions = json!({"global_parameters": [{"name": "internal_cluster_id", "value": "imported"}]}).to_string();
    let headers = [("authorization", &*basic("guest:guest")), ("content-type", "application/json")];
    assert_eq!(server.ask_with("POST", "/api/definitions", &definitions, &headers).status, 204);
    assert_eq!(told(), "imported");
}

#[test]
fn who_wanted_to_be_let_in_is_counted_by_protocol_until_that_is_forgotten() {
    let server = Server::start();
    let path = "/api/auth/attempts/leveret@localhost";
    let row = |protocol: &str, succeeded: u64, failed: u64| {
        json!({
            "protocol": protocol,
            "auth_attempts": succeeded + failed,
            "auth_attempts_failed": failed,
            "auth_attempts_succeeded": succeeded,
        })
    };
    let wrong = [("authorization", &*basic("guest:wrong"))];
    assert_eq!(server.ask_with("GET", "/api/whoami", "", &wrong).status, 401);
    assert_eq!(server.ask_with("GET", "/api/whoami", "", &[]).status, 401, "who says nothing attempts nothing");
    drop(Client::connect(server.amqp, ""));
    assert_eq!(server.get(path).json(), json!([row("http", 1, 1), row("amqp091", 1, 0)]));
    assert_eq!(server.get(&format!("{path}/source")).json(), json!([]));
    assert_eq!(server.ask("DELETE", path, "").status, 204);
    assert_eq!(server.get(path).json(), json!([row("http", 1, 0)]));
    drop(Client::connect(server.amqp, ""));
    assert_eq!(server.ask("DELETE", &format!("{path}/source"), "").status, 204);
    assert_eq!(server.get(path).json(), json!([row("http", 1, 0)]), "RabbitMQ forgets all of it here, too");
}
