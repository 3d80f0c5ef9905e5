//! What is said when a resource is low: which one it is, in the words of RabbitMQ 3.10.8.

use crate::server::Server;
use crate::support::client::Client;
use serde_json::{Value, json};

const NODE: &str = "leveret@localhost";
/// More than any disk has.
const DISK_LOW: &str = "disk_free_limit_bytes = 9_000_000_000_000_000_000\n";
/// Any message is more than this.
const MEMORY_LOW: &str = "memory_watermark = 1\n";

/// A broker with these limits, once it has looked whether they are kept: a message waits in it.
fn node_with(limits: &str) -> Server {
    let server = Server::start_with(&format!("[limits]\n{limits}"));
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let publish = r#"{"routing_key":"q","payload":"x","payload_encoding":"string","properties":{}}"#;
    assert_eq!(server.ask("POST", "/api/exchanges/%2F/amq.default/publish", publish).json(), json!({"routed": true}));
    // Clients are answered at the end of a turn, and management at the beginning of the next, after the look at resources.
    Client::connect(server.amqp, "");
    server
}

/// What the checks say of `resources`, and `leveretctl` in `lines`.
fn assert_told(server: &Server, resources: &[&str], old_reason: &str, lines: &str) {
    let node = &server.get("/api/nodes").json()[0];
    let low = |resource: &str| Value::from(resources.contains(&resource));
    assert_eq!((&node["mem_alarm"], &node["disk_free_alarm"]), (&low("memory"), &low("disk space")));
    let alarms: Value = resources.iter().map(|resource| json!({"node": NODE, "resource": resource})).collect();
    for (check, place) in [("alarms", "in the cluster"), ("local-alarms", "on the node")] {
        let answer = server.get(&format!("/api/health/checks/{check}"));
        let reason = format!("There are alarms in effect {place}");
        let expected = json!({"status": "failed", "reason": reason, "alarms": alarms});
        assert_eq!((answer.status, answer.json()), (503, expected), "{check}");
    }
    let answer = server.get("/api/healthchecks/node");
    let expected = json!({"status": "failed", "reason": format!("resource alarm(s) in effect:{old_reason}")});
    assert_eq!((answer.status, answer.json()), (503, expected));
    // One of them says that it is an error.
    for (probe, before) in [("check_local_alarms", "Error:\n"), ("check_alarms", "")] {
        let (code, _, error) = server.ctl(&[probe]);
        assert_eq!((code, error), (69, format!("{before}{lines}\n")), "{probe}");
        assert_eq!(server.ctl(&["-s", probe]).2, "", "{probe}");
    }
    // It is alive and ready for everybody but publishers, and to restart it helps nobody.
    for probe in ["ping", "check_running", "check_virtual_hosts", "check_port_connectivity"] {
        assert_eq!(server.ctl(&[probe]).0, 0, "{probe}");
    }
    let (_, status, _) = server.ctl(&["status"]);
    assert!(status.contains(&format!("\nAlarms\n\n{lines}\n\nMemory\n")), "{status}");
}

#[test]
fn a_disk_that_is_low_is_told_as_a_disk() {
    let server = node_with(DISK_LOW);
    let old_reason = format!("[{{resource_limit,disk,{NODE}}}]");
    assert_told(&server, &["disk space"], &old_reason, &format!("Free disk space alarm on node {NODE}"));
    let node = &server.get("/api/nodes").json()[0];
    assert_eq!(node["disk_free_limit"], 9_000_000_000_000_000_000_u64);
    let free_bytes = node["disk_free"].as_u64().expect("the room on a disk that is there");
    assert!((1..9_000_000_000_000_000_000).contains(&free_bytes), "{free_bytes}");
}

#[test]
fn memory_that_is_low_is_told_as_memory() {
    let server = node_with(MEMORY_LOW);
    let old_reason = format!("[{{resource_limit,memory,{NODE}}}]");
    assert_told(&server, &["memory"], &old_reason, &format!("Memory alarm on node {NODE}"));
}

#[test]
fn both_are_told_disk_first() {
    let server = node_with(&format!("{DISK_LOW}{MEMORY_LOW}"));
    let old_reason = format!("[{{resource_limit,disk,{NODE}}},\n{}{{resource_limit,memory,{NODE}}}]", " ".repeat(29));
    let lines = format!("Free disk space alarm on node {NODE}\nMemory alarm on node {NODE}");
    assert_told(&server, &["disk space", "memory"], &old_reason, &lines);
}

#[test]
fn nothing_is_told_when_nothing_is_low() {
    let server = node_with("");
    for check in ["health/checks/alarms", "health/checks/local-alarms", "healthchecks/node"] {
        let answer = server.get(&format!("/api/{check}"));
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})), "{check}");
    }
    let node = &server.get("/api/nodes").json()[0];
    assert_eq!((&node["mem_alarm"], &node["disk_free_alarm"]), (&json!(false), &json!(false)));
    assert_eq!(server.ctl(&["check_local_alarms"]).0, 0);
}
