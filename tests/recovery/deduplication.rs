//! What exchanges remember on disk is known again: over kills and an orderly stop, for as long as it was to be, and no longer
//! than its exchange.

use crate::node::{DataFolder, PATIENCE, ask, depth};
use crate::support::client::Client;
use std::time::{Duration, Instant};

/// Longer than a confirm takes, so that the broker is down when the time is over.
const SHORT_TTL_MS: u64 = 150;
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const DECLARE: [(&str, &str); 3] = [
    (
        "exchange.declare exchange=once type=x-message-deduplication durable \
         arguments={x-cache-size=I:3, x-cache-persistence=S:'disk'}",
        "exchange.declare-ok",
    ),
    ("queue.declare queue=q durable", "queue.declare-ok"),
    ("queue.bind queue=q exchange=once", "queue.bind-ok"),
];

fn publish(value: &str, more: &str) -> String {
    format!("publish exchange=once {more} headers={{x-deduplication-header=S:'{value}'}} body='{value}'")
}

/// A client of a broker that was just started, which has confirms.
fn confirming(node: &crate::node::Node) -> Client {
    let mut client = node.client();
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client
}

#[test]
fn what_was_confirmed_comes_in_once_whatever_happens() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = confirming(&node);
    assert!(DECLARE.iter().all(|(line, answer)| ask(&mut client, line, answer)));
    // The first one is forgotten with the fourth.
    for value in ["a", "b", "c", "d"] {
        client.send(&publish(value, "delivery_mode=2"));
    }
    client.expects("acks 4");
    node.kill();

    let node = folder.start();
    let mut client = confirming(&node);
    assert_eq!(depth(&mut client, "q"), Some(4));
    for value in ["b", "c", "d"] {
        client.send(&publish(value, "delivery_mode=2"));
    }
    client.expects("acks 3");
    assert_eq!(depth(&mut client, "q"), Some(4));
    client.send(&publish("a", "delivery_mode=2"));
    client.expects("confirms +4");
    assert_eq!(depth(&mut client, "q"), Some(5), "there was no more room for it");
    // Its message does not last, and the value does.
    client.send(&publish("e", ""));
    client.expects("confirms +5");
    assert_eq!(depth(&mut client, "q"), Some(6));
    assert!(node.stop().success());

    let node = folder.start();
    let mut client = confirming(&node);
    assert_eq!(depth(&mut client, "q"), Some(5));
    for value in ["d", "a", "e"] {
        client.send(&publish(value, "delivery_mode=2"));
    }
    client.expects("acks 3");
    assert_eq!(depth(&mut client, "q"), Some(5));
    assert!(ask(&mut client, "exchange.delete exchange=once", "exchange.delete-ok"));
    assert!(DECLARE.iter().all(|(line, answer)| ask(&mut client, line, answer)));
    node.kill();

    let node = folder.start();
    let mut client = confirming(&node);
    client.send(&publish("e", "delivery_mode=2"));
    client.expects("acks 1");
    assert_eq!(depth(&mut client, "q"), Some(6), "what it remembered went with the exchange");
}

#[test]
fn time_goes_by_while_the_broker_is_down() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = confirming(&node);
    assert!(DECLARE.iter().all(|(line, answer)| ask(&mut client, line, answer)));
    let publish = |value: &str, ttl_ms: u64| {
        format!(
            "publish exchange=once delivery_mode=2 headers={{x-deduplication-header=S:'{value}', x-cache-ttl=l:{ttl_ms}}}"
        )
    };
    client.send(&publish("for-a-moment", SHORT_TTL_MS));
    client.send(&publish("for-an-hour", 3_600_000));
    client.expects("acks 2");
    let published = Instant::now();
    node.kill();
    while published.elapsed() < Duration::from_millis(SHORT_TTL_MS) {
        assert!(published.elapsed() < PATIENCE);
        std::thread::sleep(POLL_INTERVAL);
    }
    let node = folder.start();
    let mut client = confirming(&node);
    client.send(&publish("for-an-hour", 3_600_000));
    client.send(&publish("for-a-moment", SHORT_TTL_MS));
    client.expects("acks 2");
    assert_eq!(depth(&mut client, "q"), Some(3));
}
