//! Queues of type quorum keep all that they hold, and how often it came back.

use crate::node::{DataFolder, ask};

const DECLARE: &str = "queue.declare queue=q durable arguments={x-queue-type=S:'quorum'}";

#[test]
fn transient_messages_and_their_counts_survive_a_kill() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, DECLARE, "queue.declare-ok"));
    assert!(ask(&mut client, "confirm.select", "confirm.select-ok"));
    client.send("2x publish routing_key=q delivery_mode=1 body=m%");
    client.expects("acks 2");
    client.send(
        "basic.get queue=q ; basic.nack delivery_tag=1 requeue ; basic.get queue=q ; basic.nack delivery_tag=2 requeue",
    );
    client.expects("deliveries get#1=m0 get#2R=m0");
    // The log was told of the count before it is told of this.
    client.send("publish routing_key=q body=last");
    client.expects("confirms +3");
    node.kill();

    let node = folder.start();
    let mut client = node.client();
    client.send("basic.get queue=q");
    client.expects(
        "basic.get-ok(delivery_tag=1, redelivered=true, exchange='', routing_key='q', message_count=2) → \
         header(size=2, headers={x-delivery-count=l:2}, delivery_mode=1) → body('m0')",
    );
    client.send("2x basic.get queue=q");
    client.expects("deliveries get#2R=m1 get#3R=last");
}

#[test]
fn what_a_stop_takes_from_clients_came_back() {
    let folder = DataFolder::new();
    for restart in 0..3 {
        let node = folder.start();
        let mut client = node.client();
        if restart == 0 {
            assert!(ask(&mut client, DECLARE, "queue.declare-ok"));
            client.send("publish routing_key=q body=x");
        }
        client.send("basic.get queue=q");
        let (redelivered, headers) = match restart {
            0 => (false, String::new()),
            count => (true, format!(", headers={{x-delivery-count=l:{count}}}")),
        };
        client.expects(&format!(
            "basic.get-ok(delivery_tag=1, redelivered={redelivered}, exchange='', routing_key='q', message_count=0) → \
             header(size=1{headers}) → body('x')"
        ));
        assert!(node.stop().success());
    }
}
