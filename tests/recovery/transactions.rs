//! tx.commit-ok is a promise: all of the transaction survives, and nothing of one that was not committed.

use crate::message::{Message, next_delivery, take_all};
use crate::node::{DataFolder, Node, ask};
use crate::stops::publish_confirmed;
use crate::support::client::Client;

fn message(number: u32) -> Message {
    Message { publisher: 9, number, length: 5_000 }
}

fn send(client: &mut Client, queue: &str, number: u32) {
    client.send_bytes(&message(number).publish(&format!("routing_key={queue}"), 2));
}

fn numbers(node: &Node, queue: &str) -> Vec<u32> {
    take_all(&mut node.client(), queue).iter().map(|delivery| delivery.message.number).collect()
}

#[test]
fn a_committed_transaction_survives_a_kill_whole() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    for queue in ["one", "two", "in"] {
        assert!(ask(&mut client, &format!("queue.declare queue={queue} durable"), "queue.declare-ok"));
    }
    publish_confirmed(&node, 1, "in", 2, 3);
    assert!(ask(&mut client, "tx.select", "tx.select-ok"));
    client.send("basic.get queue=in");
    let first = next_delivery(&mut client).expect("a running broker");
    client.send(&format!("basic.ack delivery_tag={}", first.delivery_tag));
    (1..=50).for_each(|number| send(&mut client, if number % 2 == 0 { "two" } else { "one" }, number));
    assert!(ask(&mut client, "tx.commit", "tx.commit-ok"));
    node.kill();

    let node = folder.start();
    assert_eq!(numbers(&node, "one"), (1..=50).step_by(2).collect::<Vec<_>>());
    assert_eq!(numbers(&node, "two"), (2..=50).step_by(2).collect::<Vec<_>>());
    assert_eq!(numbers(&node, "in"), [2, 3], "the acknowledgement was committed");
}

#[test]
fn committed_acknowledgements_survive_a_kill_by_themselves() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=in durable", "queue.declare-ok"));
    publish_confirmed(&node, 1, "in", 2, 5);
    assert!(ask(&mut client, "tx.select", "tx.select-ok"));
    assert_eq!(take_all(&mut client, "in").len(), 5);
    client.send("basic.ack delivery_tag=4 multiple");
    assert!(ask(&mut client, "tx.commit", "tx.commit-ok"));
    node.kill();
    assert_eq!(numbers(&folder.start(), "in"), [5]);
}

#[test]
fn nothing_of_an_open_transaction_survives_a_kill() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=one durable", "queue.declare-ok"));
    assert!(ask(&mut client, "tx.select", "tx.select-ok"));
    send(&mut client, "one", 1);
    assert!(ask(&mut client, "tx.commit", "tx.commit-ok"));
    send(&mut client, "one", 2);
    assert!(ask(&mut client, "tx.rollback", "tx.rollback-ok"));
    send(&mut client, "one", 3);
    client.expects("(nothing)");
    node.kill();
    assert_eq!(numbers(&folder.start(), "one"), [1]);
}
