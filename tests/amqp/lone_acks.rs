//! Clients that acknowledge each message in a packet of its own: they get all there is, and anything else that they say
//! is heard as soon as ever.

use crate::support::broker::Broker;
use crate::support::client::Client;
use std::sync::Arc;

const PREFETCH: usize = 100;
const MESSAGES: usize = 5_000;
/// An acknowledgement that comes when the broker waits for more of them.
const ODD: usize = 7;

/// A client that consumes a long queue, and how many messages it has read.
struct Consumer {
    client: Client,
    _broker: Arc<Broker>,
    read: usize,
}

impl Consumer {
    fn new(queue: &str) -> Self {
        let broker = Broker::shared();
        let mut client = Client::connect(broker.address, "");
        client.send(&format!("queue.declare queue={queue}"));
        client.send(&format!("{MESSAGES}x publish routing_key={queue} body=a"));
        client.send(&format!("basic.qos prefetch_count={PREFETCH} ; basic.consume queue={queue} consumer_tag=c"));
        client.expects("queue.declare-ok… → basic.qos-ok → basic.consume-ok…");
        Self { client, _broker: broker, read: 0 }
    }

    fn read(&mut self, count: usize) {
        for _ in 0..count {
            self.read += 1;
            self.client.expects(&format!("deliveries c#{}=a", self.read));
        }
    }

    fn acknowledge(&mut self, tag: usize) {
        self.client.send(&format!("basic.ack delivery_tag={tag}"));
    }
}

#[test]
fn every_message_comes_to_who_acknowledges_one_by_one() {
    let mut consumer = Consumer::new("lone_acks_all");
    for tag in 1..=MESSAGES {
        consumer.read(1);
        consumer.acknowledge(tag);
    }
    consumer.client.send("queue.delete queue=lone_acks_all if_empty");
    consumer.client.expects("queue.delete-ok(message_count=0)");
}

#[test]
fn who_waits_for_more_before_it_acknowledges_more_gets_it() {
    let mut consumer = Consumer::new("lone_acks_odd");
    consumer.read(PREFETCH);
    for tag in 1..=MESSAGES / 2 {
        consumer.acknowledge(tag);
        consumer.read(1);
    }
    let settled = MESSAGES / 2;
    (settled + 1..=settled + ODD).for_each(|tag| consumer.acknowledge(tag));
    consumer.read(ODD);
    consumer.client.send("queue.delete queue=lone_acks_odd");
    consumer.client.expects("queue.delete-ok…");
}

#[test]
fn a_command_in_the_middle_of_it_is_answered() {
    let mut consumer = Consumer::new("lone_acks_command");
    for tag in 1..=MESSAGES / 2 {
        consumer.read(1);
        consumer.acknowledge(tag);
    }
    consumer.client.send("basic.cancel consumer_tag=c");
    while consumer.client.read_like(1, "basic.cancel-ok…") != "basic.cancel-ok…" {}
    consumer.client.send("queue.delete queue=lone_acks_command");
    consumer.client.expects("queue.delete-ok…");
}
