//! What exchanges keep for later is durable: over a kill, an orderly stop, and while the broker is down.

use crate::node::{DataFolder, PATIENCE, ask, depth};
use crate::support::client::Client;
use std::time::{Duration, Instant};

/// Longer than a confirm takes, so that the broker is down when the time is over.
const SHORT_DELAY_MS: u64 = 150;
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const DECLARE: [(&str, &str); 3] = [
    (
        "exchange.declare exchange=later type=x-delayed-message durable arguments={x-delayed-type=S:'direct'}",
        "exchange.declare-ok",
    ),
    ("queue.declare queue=q durable", "queue.declare-ok"),
    ("queue.bind queue=q exchange=later routing_key=k", "queue.bind-ok"),
];

fn publish(delay_ms: u64, body: &str) -> String {
    format!("publish exchange=later routing_key=k delivery_mode=2 headers={{x-delay=l:{delay_ms}}} body='{body}'")
}

#[test]
fn delayed_messages_survive_kills_and_come_once() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(DECLARE.iter().all(|(line, answer)| ask(&mut client, line, answer)));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client.send(&publish(SHORT_DELAY_MS, "due-while-down"));
    client.send(&publish(3_600_000, "in-an-hour"));
    client.send("publish exchange=later routing_key=k headers={x-delay=l:3600000} body='transient'");
    client.expects("acks 3");
    let published = Instant::now();
    node.kill();
    while published.elapsed() < Duration::from_millis(SHORT_DELAY_MS) {
        std::thread::sleep(POLL_INTERVAL);
    }

    let node = folder.start();
    let mut client = node.client();
    wait_for(&mut client, 1);
    client.send("basic.get queue=q no_ack");
    client.expects("deliveries get#1=due-while-down");
    // With what was routed and taken, it is gone.
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client.send(&publish(1, "again"));
    client.expects("acks 1");
    wait_for(&mut client, 1);
    node.kill();
    let node = folder.start();
    let mut client = node.client();
    wait_for(&mut client, 1);
    client.send("basic.get queue=q no_ack");
    // Who is killed between routing it and the disk's word for that routes it again, and it was never given to anybody.
    let got = client.read_like(1, "deliveries get#1=again");
    assert!(["deliveries get#1=again", "deliveries get#1R=again"].contains(&got.as_str()), "{got}");
    assert!(ask(&mut client, "exchange.delete exchange=later", "exchange.delete-ok"));
    node.kill();
    // What it kept went with it, and does not come back with one of its name.
    let node = folder.start();
    let mut client = node.client();
    assert!(DECLARE.iter().all(|(line, answer)| ask(&mut client, line, answer)));
    assert_eq!(depth(&mut client, "q"), Some(0));
}

fn wait_for(client: &mut Client, messages: usize) {
    let deadline = Instant::now() + PATIENCE;
    while depth(client, "q") != Some(messages) {
        assert!(Instant::now() < deadline, "no message comes");
        std::thread::sleep(POLL_INTERVAL);
    }
}
