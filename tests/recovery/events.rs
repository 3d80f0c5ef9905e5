//! Who is bound to the exchange of events hears them after a restart, too.

use crate::node::{DataFolder, ask, depth};

const SETTINGS: &str = "event_exchange = true\n";

#[test]
fn a_durable_binding_to_events_comes_back_with_what_was_told() {
    let folder = DataFolder::new();
    let node = folder.start_with_settings(SETTINGS);
    let mut client = node.client();
    for (line, answer) in [
        ("queue.declare queue=told durable", "queue.declare-ok"),
        ("queue.bind queue=told exchange=amq.rabbitmq.event routing_key=queue.*", "queue.bind-ok"),
        ("queue.declare queue=before durable", "queue.declare-ok"),
        ("confirm.select", "confirm.select-ok"),
    ] {
        assert!(ask(&mut client, line, answer), "{line}");
    }
    // Whoever waits for this waits for what the log was told before.
    client.send("publish routing_key=before delivery_mode=2 body=x");
    client.expects("acks 1");
    node.kill();

    let node = folder.start_with_settings(SETTINGS);
    let mut client = node.client();
    assert_eq!(depth(&mut client, "told"), Some(1), "what comes back is no news");
    assert!(ask(&mut client, "queue.declare queue=after durable", "queue.declare-ok"));
    for name in ["before", "after"] {
        client.send("basic.get queue=told no_ack");
        client.expects(&format!(
            "basic.get-ok(…routing_key='queue.created'…) → header(size=0, headers={{…name=S:'{name}'…}}…)"
        ));
    }
    node.kill();

    // Without the exchange there is nothing to be bound to.
    let node = folder.start();
    let mut client = node.client();
    let told = depth(&mut client, "told");
    assert!(told.is_some());
    assert!(ask(&mut client, "queue.declare queue=more durable", "queue.declare-ok"));
    assert_eq!(depth(&mut client, "told"), told);
}
