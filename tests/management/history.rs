//! What the node uses, what its log writes, and how long things take: now, and in the last while.

use crate::server::{Server, ask_at};
use serde_json::{Value, json};

const NODE: &str = "/api/nodes/leveret@localhost";
const LOG_FIGURES: [(&str, &str); 3] = [
    ("io_write_count", "rabbitmq_io_write_ops_total"),
    ("io_write_bytes", "rabbitmq_io_write_bytes_total"),
    ("io_sync_count", "rabbitmq_io_sync_ops_total"),
];

/// Publishes a message that is answered for when it is durable.
fn publish(server: &Server, payload: &str) {
    let message = json!({"properties": {"delivery_mode": 2}, "routing_key": "q", "payload": payload, "payload_encoding": "string"});
    let answer = server.ask("POST", "/api/exchanges/%2F/amq.default/publish", &message.to_string());
    assert_eq!((answer.status, answer.json()), (200, json!({"routed": true})));
}

#[test]
fn what_was_written_to_the_log_and_synced_is_told_of_the_node() {
    const PAYLOAD_BYTES: u64 = 10_000;
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", r#"{"durable":true}"#);
    let told = || {
        let node = server.get(NODE).json();
        LOG_FIGURES.map(|(name, _)| node[name].as_u64().unwrap_or_else(|| panic!("{name} in {node}")))
    };
    let before = told();
    publish(&server, &"x".repeat(PAYLOAD_BYTES as usize));
    let after = told();
    let [writes, bytes, syncs] = [0, 1, 2].map(|index| after[index] - before[index]);
    assert_eq!((writes, syncs), (1, 1), "one batch, and who waits for it waits for its sync");
    assert!((PAYLOAD_BYTES..PAYLOAD_BYTES + 1000).contains(&bytes), "{bytes} bytes");
    // Prometheus is told the same.
    for path in ["/metrics", "/metrics/per-object"] {
        let page = ask_at(server.metrics, "GET", path, "", &[]).text;
        for ((_, family), value) in LOG_FIGURES.into_iter().zip(after) {
            assert!(page.contains(&format!("\n{family} {value}\n")), "{family} is not {value} in {path}");
        }
    }
    // Every node's list has them, too.
    assert_eq!(server.get("/api/nodes").json()[0]["io_write_bytes"], after[1]);
}

#[test]
fn how_the_node_was_is_told_to_who_asks_for_it() {
    let server = Server::start();
    // The first look is taken at the start.
    let node = loop {
        let node = server.get(&format!("{NODE}?node_stats_age=60&node_stats_incr=5")).json();
        if node["mem_used_details"]["samples"].is_array() {
            break node;
        }
        std::thread::yield_now();
    };
    let figures =
        ["mem_used", "message_memory", "disk_free", "sockets_used", "io_write_count", "io_sync_count", "queue_created"];
    for name in figures {
        let details = &node[format!("{name}_details")];
        assert!(node[name].is_u64() && details["samples"][0]["sample"].is_u64(), "{name} in {node}");
        assert!(details["samples"][0]["timestamp"].as_u64() > Some(1_700_000_000_000), "{name}");
    }
    assert!(node["mem_used_details"]["samples"][0]["sample"].as_u64() > Some(1 << 20));
    let unasked = server.get(NODE).json();
    assert!(unasked["mem_used_details"]["samples"].is_null());
}

#[test]
fn how_long_things_took_is_told_of_each_moment() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", r#"{"durable":true}"#);
    // Until something was seen twice, five seconds apart.
    let durations = loop {
        publish(&server, "hello");
        let durations = server.get(&format!("{NODE}/durations?node_stats_age=60&node_stats_incr=1")).json();
        let turns = durations["samples"]["turn"].as_array().expect("samples");
        let counted: u64 =
            turns.iter().flat_map(|sample| sample["counts"].as_array().unwrap()).filter_map(Value::as_u64).sum();
        if counted > 0 {
            break durations;
        }
    };
    let buckets = durations["bounds_us"].as_array().expect("bounds").len() + 1;
    for name in ["turn", "time_in_queue", "delivery_to_acknowledgement", "publish_to_confirm"] {
        let samples = durations["samples"][name].as_array().unwrap_or_else(|| panic!("{name}"));
        let at: Vec<u64> = samples.iter().map(|sample| sample["timestamp"].as_u64().unwrap()).collect();
        assert!(at.windows(2).all(|pair| pair[0] == pair[1] + 1000), "the last one first: {at:?}");
        assert!(samples.iter().all(|sample| sample["counts"].as_array().unwrap().len() == buckets), "{name}");
    }
    let unasked = server.get(&format!("{NODE}/durations")).json();
    assert_eq!(unasked["samples"]["turn"], json!([]));
    assert_eq!(server.get("/api/nodes/other@host/durations").status, 404);
}
