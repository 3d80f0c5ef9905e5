//! Messages with priorities: each level of a queue comes back in its order, whatever was in memory.

use crate::message::{Message, take_all};
use crate::node::{DataFolder, Node, ask, depth};
use crate::support::client::Client;

const TOP: u32 = 5;
const DECLARE: &str = "queue.declare queue=ranks durable arguments={x-max-priority=I:5}";

/// Publishes messages from `first` on whose priorities go up and down, the number of each being its priority and when it
/// came, and waits until all are confirmed.
fn publish(node: &Node, first: u32, count: u32, length: usize) {
    let mut client = node.client();
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    for at in first..first + count {
        let priority = at * 7 % (TOP + 1);
        let message = Message { publisher: TOP - priority, number: at, length };
        // One that asks for more than there is has the highest.
        let asked = if priority == TOP { 200 } else { priority };
        client.send_bytes(&message.publish_with("routing_key=ranks", 2, &format!("priority={asked}")));
    }
    client.expects(&format!("acks {count}"));
}

/// Takes all, which comes in the order of publishers and numbers: the highest priority first, and then as published.
fn takes_in_order(client: &mut Client, count: usize) -> Vec<Message> {
    let taken: Vec<_> = take_all(client, "ranks").into_iter().map(|delivery| delivery.message).collect();
    assert_eq!(taken.len(), count);
    assert!(taken.is_sorted(), "{taken:?}");
    taken
}

#[test]
fn each_level_comes_back_in_its_order_after_kills_and_stops() {
    let folder = DataFolder::new();
    let node = folder.start();
    assert!(ask(&mut node.client(), DECLARE, "queue.declare-ok"));
    assert!(ask(&mut node.client(), "queue.declare queue=beside durable", "queue.declare-ok"));
    publish(&node, 0, 200, 100);
    node.kill();

    let node = folder.start();
    let mut client = node.client();
    let taken = takes_in_order(&mut client, 200);
    // Some of the highest and some of a lower level are done with; the others are in the consumer's hands.
    client.send("basic.ack delivery_tag=20 multiple ; 10x basic.ack delivery_tag=15%");
    client.expects("(nothing)");
    publish(&node, 200, 50, 100);
    assert_eq!(node.stop().code(), Some(0));

    let node = folder.start();
    assert!(node.said.contains("recovered 220 messages"), "{}", node.said);
    let again = takes_in_order(&mut node.client(), 220);
    let is_done = |at: usize| at < 20 || (149..159).contains(&at);
    for (at, message) in taken.iter().enumerate() {
        assert_eq!(again.contains(message), !is_done(at), "message {at}: {message:?}");
    }
    assert!(ask(&mut node.client(), "queue.purge queue=ranks", "queue.purge-ok"));
    node.kill();

    let node = folder.start();
    assert!(ask(&mut node.client(), "queue.purge queue=ranks", "queue.purge-ok"));
    assert!(ask(&mut node.client(), "queue.delete queue=ranks", "queue.delete-ok"));
    // What is declared now has numbers of its own, and nothing of the old levels.
    assert!(ask(&mut node.client(), DECLARE, "queue.declare-ok"));
    publish(&node, 0, 10, 100);
    node.kill();
    let node = folder.start();
    takes_in_order(&mut node.client(), 10);
    assert_eq!(depth(&mut node.client(), "beside"), Some(0));
}

#[test]
fn levels_longer_than_memory_come_in_their_order_and_so_they_do_after_a_kill() {
    let folder = DataFolder::new();
    let node = folder.start_with_little_memory();
    assert!(ask(&mut node.client(), DECLARE, "queue.declare-ok"));
    publish(&node, 0, 1200, 4000);
    let client = &mut node.client();
    takes_in_order(client, 1200);
    // It holds all of them and lets go of them at once.
    client.send("basic.recover requeue");
    node.kill();
    let node = folder.start_with_little_memory();
    takes_in_order(&mut node.client(), 1200);
}
