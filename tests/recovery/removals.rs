//! What was deleted, purged and unbound stays so, once the broker has said that it is.

use crate::message::{next_delivery, take_all};
use crate::node::{DataFolder, Node, ask, depth, exchange_exists};
use crate::standing::reaches_a_queue;
use crate::stops::publish_confirmed;

/// A broker with queues and exchanges `a` and `b`, each bound to its namesake by `k`, and three messages in each queue.
fn furnished(folder: &DataFolder) -> Node {
    let node = folder.start();
    let mut client = node.client();
    for (publisher, name) in [(1, "a"), (2, "b")] {
        let declare = format!("exchange.declare exchange={name} type=direct durable");
        assert!(ask(&mut client, &format!("queue.declare queue={name} durable"), "queue.declare-ok"));
        assert!(ask(&mut client, &declare, "exchange.declare-ok"));
        assert!(ask(&mut client, &format!("queue.bind queue={name} exchange={name} routing_key=k"), "queue.bind-ok"));
        publish_confirmed(&node, publisher, name, 2, 3);
    }
    node
}

/// After `line` was answered and the broker killed: a new one on the same folder.
fn killed_after(line: &str, answer: &str) -> (DataFolder, Node) {
    let folder = DataFolder::new();
    let node = furnished(&folder);
    assert!(ask(&mut node.client(), line, answer));
    node.kill();
    let node = folder.start();
    (folder, node)
}

fn is_bound(node: &Node, exchange: &str) -> bool {
    let mut client = node.client();
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    reaches_a_queue(&mut client, exchange)
}

#[test]
fn a_deleted_queue_stays_gone_with_its_messages_and_bindings() {
    let (folder, node) = killed_after("queue.delete queue=a", "queue.delete-ok");
    let mut client = node.client();
    assert_eq!([depth(&mut client, "a"), depth(&mut client, "b")], [None, Some(3)]);
    assert!(!is_bound(&node, "a"));
    // One of the same name is another queue, and so it is after the next start.
    assert!(ask(&mut client, "queue.declare queue=a durable", "queue.declare-ok"));
    node.kill();
    let node = folder.start();
    assert_eq!(depth(&mut node.client(), "a"), Some(0));
    assert!(!is_bound(&node, "a"));
}

#[test]
fn a_purged_queue_stays_empty() {
    let (_folder, node) = killed_after("queue.purge queue=a", "queue.purge-ok");
    let mut client = node.client();
    assert_eq!([depth(&mut client, "a"), depth(&mut client, "b")], [Some(0), Some(3)]);
    assert!(is_bound(&node, "a"));
}

#[test]
fn a_purge_spares_what_a_consumer_holds_and_nothing_else() {
    let folder = DataFolder::new();
    let node = furnished(&folder);
    let mut client = node.client();
    client.send("basic.get queue=a");
    let held = next_delivery(&mut client).expect("a running broker").message;
    assert!(ask(&mut client, "queue.purge queue=a", "queue.purge-ok"));
    node.kill();
    let found = take_all(&mut folder.start().client(), "a");
    assert_eq!(found.iter().map(|delivery| delivery.message).collect::<Vec<_>>(), [held]);
}

#[test]
fn what_came_after_a_purge_stays() {
    let folder = DataFolder::new();
    let node = furnished(&folder);
    assert!(ask(&mut node.client(), "queue.purge queue=a", "queue.purge-ok"));
    publish_confirmed(&node, 3, "a", 2, 2);
    node.kill();
    assert_eq!(depth(&mut folder.start().client(), "a"), Some(2));
}

#[test]
fn an_unbound_queue_stays_unbound() {
    let (_folder, node) = killed_after("queue.unbind queue=a exchange=a routing_key=k", "queue.unbind-ok");
    assert_eq!([is_bound(&node, "a"), is_bound(&node, "b")], [false, true]);
}

/// It is known without them, and so must the log know it.
#[test]
fn an_exchange_deleted_by_a_name_with_a_line_break_stays_gone() {
    let (_folder, node) = killed_after("exchange.delete exchange='a\\n'", "exchange.delete-ok");
    let mut client = node.client();
    assert_eq!([exchange_exists(&mut client, "a"), exchange_exists(&mut client, "b")], [false, true]);
}

#[test]
fn a_deleted_exchange_stays_gone() {
    let (_folder, node) = killed_after("exchange.delete exchange=a", "exchange.delete-ok");
    let mut client = node.client();
    assert_eq!([exchange_exists(&mut client, "a"), exchange_exists(&mut client, "b")], [false, true]);
    assert_eq!(depth(&mut client, "a"), Some(3), "the queue is another matter");
}
