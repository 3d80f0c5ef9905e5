//! Little room on the disk: publishers wait, everybody else goes on, and it ends when there is room again.

use crate::node::DataFolder;
use std::fs;

/// More than any disk has.
const ALWAYS_LOW: &str = "[limits]\ndisk_free_limit_bytes = 9_000_000_000_000_000_000\n";
const NEVER_LOW: &str = "[limits]\ndisk_free_limit_bytes = 0\n";

#[test]
fn a_disk_that_is_nearly_full_blocks_publishers_and_nobody_else() {
    let folder = DataFolder::new();
    fs::create_dir_all(folder.path()).expect("a temporary folder");
    let config = folder.path().join("leveret.toml");
    fs::write(&config, ALWAYS_LOW).expect("a temporary file");
    let node = folder.start_with(&["--config", config.to_str().expect("a path")]);
    // Definitions, deliveries and acknowledgements go on, also durable ones.
    let mut consumer = node.client();
    consumer.send("queue.declare queue=q durable ; basic.consume queue=q consumer_tag=c");
    consumer
        .expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0) → basic.consume-ok(consumer_tag='c')");
    let mut publisher = node.client();
    publisher.send("confirm.select ; publish routing_key=q delivery_mode=2 body='first'");
    publisher.expects_on(0, "connection.blocked(reason='low on disk')");
    // What was read before it was told is taken in full.
    publisher.expects("confirm.select-ok → basic.ack(delivery_tag=1, multiple=false)");
    consumer.expects("deliveries c#1=first");
    publisher.send("publish routing_key=q delivery_mode=2 body='second'");
    consumer.send("basic.ack delivery_tag=1");
    consumer.expects("(nothing)");

    fs::write(&config, NEVER_LOW).expect("a temporary file");
    node.reload();
    publisher.expects_on(0, "connection.unblocked");
    publisher.expects("basic.ack(delivery_tag=2, multiple=false)");
    consumer.expects("deliveries c#2=second");
}
