//! Logs too long to be loaded before the broker serves.

use crate::message::{Message, next_delivery};
use crate::node::{DataFolder, PATIENCE};
use crate::support::client::{Client, Event};

/// More bytes than are loaded before the start.
const MESSAGES: usize = 3_000;
const BODY_BYTES: usize = 50_000;
/// Messages to a confirm that is waited for.
const WINDOW: usize = 500;

fn message(number: usize) -> Message {
    Message { publisher: 1, number: u32::try_from(number).expect("a few thousand"), length: BODY_BYTES }
}

fn fill(client: &mut Client, from: usize, to: usize) {
    for number in from..to {
        client.send_bytes(&message(number).publish("routing_key=long", 2));
        if (number + 1) % WINDOW == 0 {
            confirmed(client, number + 1 - from);
        }
    }
}

fn confirmed(client: &mut Client, count: usize) {
    loop {
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "basic.ack" => {
                if method.field("delivery_tag").parse() == Ok(count) {
                    return;
                }
            }
            _ => panic!("message {count} was not confirmed"),
        }
    }
}

/// The next delivery is that message; whether it is flagged as redelivered.
fn takes(client: &mut Client, number: usize) -> bool {
    let delivery = next_delivery(client).expect("a running broker");
    assert_eq!(delivery.message, message(number));
    delivery.redelivered
}

/// A client that was given the queue's messages up to `taken`, all flagged, and acknowledged them.
fn consume(client: &mut Client, numbers: std::ops::Range<usize>, redelivered: bool) {
    client.send("basic.qos prefetch_count=10 ; basic.consume queue=long consumer_tag=t");
    client.expects("basic.qos-ok → basic.consume-ok(consumer_tag='t')");
    for (index, number) in numbers.enumerate() {
        assert_eq!(takes(client, number), redelivered);
        client.send(&format!("basic.ack delivery_tag={}", index + 1));
    }
    // The broker has got them all when it answers, behind messages that nobody asked for any more.
    client.send("channel.close");
    loop {
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "channel.close-ok" => return,
            Event::Closed | Event::Timeout => panic!("a running broker answers"),
            _ => {}
        }
    }
}

#[test]
fn a_long_queue_is_served_while_it_is_loaded_and_again_after_a_stop() {
    let folder = DataFolder::new();
    let node = folder.start_with_little_memory();
    let mut client = node.client();
    client.send("queue.declare queue=long durable ; confirm.select");
    client.expects("queue.declare-ok… → confirm.select-ok");
    fill(&mut client, 0, MESSAGES);
    node.kill();

    let node = folder.start_with_little_memory();
    let mut client = node.client();
    client.send("queue.declare queue=long passive ; confirm.select");
    client.expects(&format!(
        "queue.declare-ok(queue='long', message_count={MESSAGES}, consumer_count=0) → confirm.select-ok"
    ));
    // What is published before all is loaded comes behind it.
    fill(&mut client, MESSAGES, MESSAGES + WINDOW);
    let half = MESSAGES / 2;
    consume(&mut node.client(), 0..half, true);
    node.stop();

    let node = folder.start_with_little_memory();
    let mut client = node.client();
    client.send("queue.declare queue=long passive");
    let left = MESSAGES + WINDOW - half;
    client.expects(&format!("queue.declare-ok(queue='long', message_count={left}, consumer_count=0)"));
    client.send("basic.consume queue=long consumer_tag=t");
    client.expects("basic.consume-ok(consumer_tag='t')");
    let mut flagged = 0;
    for number in half..MESSAGES + WINDOW {
        let redelivered = takes(&mut client, number);
        // Those of the first broker were flagged from then on.
        assert!(redelivered || number >= MESSAGES);
        flagged += usize::from(redelivered && number >= MESSAGES);
    }
    assert_eq!(flagged, 0, "messages that nobody was given before an orderly stop");
}
