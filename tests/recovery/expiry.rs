//! Time goes on while the broker is down.

use crate::node::{DataFolder, PATIENCE, ask, depth};
use crate::support::client::Event;
use std::time::{Duration, Instant};

/// Longer than a confirm takes, so that the broker is down when the time is over.
const TIME_TO_LIVE_MS: u64 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

#[test]
fn messages_expire_while_the_broker_is_down() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    let declare = format!("queue.declare queue=short durable arguments={{x-message-ttl=I:{TIME_TO_LIVE_MS}}}");
    assert!(ask(&mut client, &declare, "queue.declare-ok"));
    assert!(ask(&mut client, "queue.declare queue=own durable", "queue.declare-ok"));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client.send("2x publish routing_key=short delivery_mode=2 body='short'");
    client.send(&format!("publish routing_key=own delivery_mode=2 expiration='{TIME_TO_LIVE_MS}' body='short'"));
    client.send("publish routing_key=own delivery_mode=2 expiration='3600000' body='long'");
    client.send("publish routing_key=own delivery_mode=2 body='lasting'");
    client.expects("acks 5");
    let published = Instant::now();
    node.kill();
    while published.elapsed() < Duration::from_millis(TIME_TO_LIVE_MS) {
        std::thread::sleep(POLL_INTERVAL);
    }

    let node = folder.start();
    let mut client = node.client();
    assert_eq!([depth(&mut client, "short"), depth(&mut client, "own")], [Some(0), Some(2)]);
    client.send("basic.get queue=short");
    client.expects("basic.get-empty(cluster_id='')");
    client.send("2x basic.get queue=own no_ack");
    client.expects("deliveries get#1R=long get#2R=lasting");
}

#[test]
fn what_expired_stays_gone() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=q durable", "queue.declare-ok"));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client.send("publish routing_key=q delivery_mode=2 expiration='1' body='a' ; publish routing_key=q delivery_mode=2 body='b'");
    client.expects("acks 2");
    let deadline = Instant::now() + PATIENCE;
    while depth(&mut client, "q") != Some(1) {
        assert!(Instant::now() < deadline, "the first message does not expire");
        std::thread::sleep(POLL_INTERVAL);
    }
    node.kill();
    let node = folder.start();
    let mut client = node.client();
    client.send("2x basic.get queue=q no_ack");
    client.expects("deliveries get#1R=b");
    client.expects("basic.get-empty(cluster_id='')");
}

#[test]
fn an_unused_queue_expires_after_a_restart_and_stays_gone() {
    let folder = DataFolder::new();
    let node = folder.start();
    let declare = "queue.declare queue=idle durable arguments={x-expires=I:150}";
    assert!(ask(&mut node.client(), declare, "queue.declare-ok"));
    node.kill();

    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    // Publishing is no use of a queue, so asking this way does not keep it.
    let deadline = Instant::now() + PATIENCE;
    let mut is_there = true;
    while is_there {
        assert!(Instant::now() < deadline, "the queue does not expire");
        std::thread::sleep(POLL_INTERVAL);
        client.send("publish routing_key=idle mandatory body='x'");
        loop {
            match client.next(1, PATIENCE) {
                Event::Method(method) if method.name == "basic.return" => is_there = false,
                Event::Method(method) if method.name == "basic.ack" => break,
                Event::Method(method) => panic!("{}", method.render()),
                Event::Header(_) | Event::Body(_) => {}
                _ => panic!("no confirm"),
            }
        }
    }
    // Once it is durable that another queue exists, it is that the first one does not.
    assert!(ask(&mut client, "queue.declare queue=later durable", "queue.declare-ok"));
    node.kill();
    let node = folder.start();
    let mut client = node.client();
    assert_eq!([depth(&mut client, "idle"), depth(&mut client, "later")], [None, Some(0)]);
}
