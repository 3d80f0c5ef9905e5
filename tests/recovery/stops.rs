//! SIGTERM: what stays, stays to the last message; what was never meant to stay is gone.

use crate::message::{Message, take_all};
use crate::node::{DataFolder, Node, ask, depth};

/// Publishes messages 1 to `count` of a publisher to a queue, and waits until they are confirmed.
pub fn publish_confirmed(node: &Node, publisher: u32, queue: &str, delivery_mode: u8, count: u32) -> Vec<Message> {
    let mut client = node.client();
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    let messages: Vec<_> = (1..=count).map(|number| Message { publisher, number, length: 100 }).collect();
    for message in &messages {
        client.send_bytes(&message.publish(&format!("routing_key={queue}"), delivery_mode));
    }
    client.expects(&format!("acks {count}"));
    messages
}

#[test]
fn an_orderly_stop_keeps_persistent_messages_and_no_others() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "queue.declare queue=kept durable", "queue.declare-ok"));
    assert!(ask(&mut client, "queue.declare queue=passing", "queue.declare-ok"));
    let persistent = publish_confirmed(&node, 1, "kept", 2, 100);
    publish_confirmed(&node, 2, "kept", 1, 50);
    publish_confirmed(&node, 3, "passing", 2, 10);
    let taken = take_all(&mut client, "kept");
    assert_eq!(taken.len(), 150);
    assert!(taken.iter().all(|delivery| !delivery.redelivered), "nothing was delivered before");
    // Twenty-one persistent ones and nine others are done with, in two ways; the rest are in the consumer's hands when the broker stops.
    client.send("basic.ack delivery_tag=20 multiple ; 10x basic.reject delivery_tag=10%");
    client.expects("(nothing)");

    assert_eq!(node.stop().code(), Some(0));
    let close = client.read_like(0, "connection.close 320 …");
    assert_eq!(close, "connection.close 320 …");

    let node = folder.start();
    assert!(node.said.contains("recovered 79 messages after an orderly stop"), "{}", node.said);
    let mut client = node.client();
    let found: Vec<_> = take_all(&mut client, "kept").iter().map(|delivery| delivery.message).collect();
    assert_eq!(found, persistent[20..99]);
    assert_eq!(depth(&mut client, "passing"), None);
}

#[test]
fn two_orderly_stops_in_a_row_change_nothing() {
    let folder = DataFolder::new();
    let node = folder.start();
    assert!(ask(&mut node.client(), "queue.declare queue=kept durable", "queue.declare-ok"));
    let published = publish_confirmed(&node, 1, "kept", 2, 10);
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(folder.start().stop().code(), Some(0));
    let node = folder.start();
    let found: Vec<_> = take_all(&mut node.client(), "kept").iter().map(|delivery| delivery.message).collect();
    assert_eq!(found, published);
}
