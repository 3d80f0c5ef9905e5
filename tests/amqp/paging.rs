//! Queues longer than the memory for messages: everything is as it is with short ones.

use crate::support::broker::Broker;
use crate::support::client::{Client, Event};
use std::time::Duration;

/// Far more than the broker's memory for messages, with the bodies below.
const MESSAGES: usize = 4_000;
const BODY_BYTES: usize = 2_000;
/// So many that each turn looks at all queues for messages that nobody takes.
const OTHER_QUEUES: usize = 31;

/// A broker that keeps messages of 1 MiB in memory, and a client.
fn broker() -> (Broker, Client) {
    let broker = Broker::start("[limits]\nmessage_memory_bytes = 1_048_576\n");
    let client = Client::connect(broker.address, "");
    (broker, client)
}

fn body(number: usize) -> String {
    format!("{number:0>BODY_BYTES$}")
}

/// Publishes the messages to a durable queue `long` and waits until the broker has them.
fn fill(client: &mut Client, properties: &str) {
    client.send("queue.declare queue=long durable");
    client.expects("queue.declare-ok…");
    client.send("confirm.select");
    client.expects("confirm.select-ok");
    for number in 0..MESSAGES {
        client.send(&format!("publish routing_key=long body={} {properties}", body(number)));
    }
    let mut confirmed = 0;
    while confirmed < MESSAGES {
        match client.next(1, Duration::from_secs(20)) {
            Event::Method(method) if method.name == "basic.ack" => {
                confirmed = method.field("delivery_tag").parse().expect("a number");
            }
            _ => panic!("{confirmed} messages were confirmed"),
        }
    }
}

/// The number in the next message's body, and whether it was redelivered.
fn take(client: &mut Client) -> (usize, bool) {
    let Event::Method(method) = client.next(1, Duration::from_secs(20)) else { panic!("no delivery came") };
    let Event::Header(_) = client.next(1, Duration::from_secs(20)) else { panic!("no header came") };
    let Event::Body(bytes) = client.next(1, Duration::from_secs(20)) else { panic!("no body came") };
    assert_eq!(bytes.len(), BODY_BYTES);
    let number = String::from_utf8(bytes).expect("digits").parse().expect("a number");
    (number, method.field("redelivered") == "true")
}

#[test]
fn a_long_queue_is_delivered_in_order() {
    let (_broker, mut client) = broker();
    fill(&mut client, "");
    client.send("queue.declare queue=long passive");
    client.expects(&format!("queue.declare-ok(queue='long', message_count={MESSAGES}, consumer_count=0)"));
    client.send("basic.consume queue=long no_ack consumer_tag=all");
    client.expects("basic.consume-ok…");
    for number in 0..MESSAGES {
        assert_eq!(take(&mut client), (number, false));
    }
}

#[test]
fn what_is_requeued_comes_back_before_what_waits_on_disk() {
    let (broker, mut client) = broker();
    fill(&mut client, "delivery_mode=2");
    let mut lost = Client::connect(broker.address, "");
    lost.send("basic.consume queue=long");
    lost.expects("basic.consume-ok…");
    for number in 0..MESSAGES / 2 {
        assert_eq!(take(&mut lost), (number, false));
    }
    lost.send("channel.close");
    while !matches!(lost.next(1, Duration::from_secs(20)), Event::Method(method) if method.name == "channel.close-ok") {
    }
    client.send("basic.qos prefetch_count=7 ; basic.consume queue=long consumer_tag=all");
    client.expects("basic.qos-ok → basic.consume-ok…");
    for number in 0..MESSAGES {
        let (taken, redelivered) = take(&mut client);
        assert_eq!(taken, number);
        assert!(redelivered || number >= MESSAGES / 2);
        client.send(&format!("basic.ack delivery_tag={}", number + 1));
    }
    client.send("queue.delete queue=long if_empty");
    client.expects("queue.delete-ok(message_count=0)");
}

#[test]
fn getting_waits_for_the_disk_and_nothing_overtakes_it() {
    let (_broker, mut client) = broker();
    client.send("queue.declare queue=short");
    client.expects("queue.declare-ok…");
    fill(&mut client, "");
    for number in 0..MESSAGES {
        client.send("basic.get queue=long no_ack ; basic.get queue=short");
        assert_eq!(take(&mut client), (number, false));
        client.expects("basic.get-empty…");
    }
    client.send("basic.get queue=long");
    client.expects("basic.get-empty…");
}

/// Nothing of a queue that nobody consumes from stays in memory then, and the sweep comes by in every turn where there are
/// some queues: who waits for a message has it all the same when it is there.
#[test]
fn getting_goes_on_while_clients_hold_more_than_there_is_memory_for() {
    let (_broker, mut client) = broker();
    for other in 0..OTHER_QUEUES {
        client.send(&format!("queue.declare queue=other{other}"));
        client.expects("queue.declare-ok…");
    }
    fill(&mut client, "");
    for number in 0..MESSAGES {
        client.send("basic.get queue=long");
        assert_eq!(take(&mut client), (number, false));
    }
}

#[test]
fn purging_and_deleting_count_what_is_on_disk() {
    let (_broker, mut client) = broker();
    fill(&mut client, "");
    client.send("queue.purge queue=long");
    client.expects(&format!("queue.purge-ok(message_count={MESSAGES})"));
    client.send("basic.get queue=long");
    client.expects("basic.get-empty…");
}

#[test]
fn messages_expire_on_disk_too() {
    let (_broker, mut client) = broker();
    fill(&mut client, "expiration=1");
    let mut left = MESSAGES;
    while left > 0 {
        client.send("queue.declare queue=long passive");
        let Event::Method(declared) = client.next(1, Duration::from_secs(20)) else { panic!("no answer came") };
        let count = declared.field("message_count").parse().expect("a number");
        assert!(count <= left);
        left = count;
    }
    client.send("publish routing_key=long body=last ; basic.get queue=long no_ack");
    client.expects("deliveries get#1=last");
}
