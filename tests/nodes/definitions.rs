//! Definitions that the settings name: of a cluster that is new, and of nobody later.

use crate::cluster::{Cluster, NODES, name};
use serde_json::{Value, json};

/// guest, as the other tests know it, and a queue.
fn definitions() -> Value {
    json!({
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        "queues": [{"vhost": "/", "name": "imported", "durable": true, "auto_delete": false, "arguments": {}}],
    })
}

fn has_queue(cluster: &Cluster, node: usize) -> bool {
    cluster.http(node).ask_as("guest:guest", "GET", "/queues/%2F/imported", &Value::Null).0 == 200
}

#[test]
fn definitions_are_imported_when_a_cluster_is_founded_and_by_no_later_leader() {
    let mut cluster = Cluster::new("");
    cluster.load_definitions(&definitions().to_string());
    NODES.into_iter().for_each(|node| cluster.start(node));
    let first = cluster.wait_for_leader(0);
    assert!(has_queue(&cluster, first), "{}", cluster.said(first));
    cluster.http(first).change("DELETE", "/queues/%2F/imported", &Value::Null);
    // Nor does a file that broke end whoever comes to lead.
    cluster.break_definitions();
    cluster.kill(first);
    let asked = NODES.into_iter().find(|node| *node != first).expect("there are more");
    let second = cluster.wait_for_leader(asked);
    assert!(!has_queue(&cluster, second), "what was deleted since stays away");
    let said = cluster.said(second);
    assert!(said.contains("are for a new cluster, and this one has users or virtual hosts"), "{said}");
    let status = cluster.command(first).status().expect("the leveret program");
    let said = cluster.said(first);
    assert!(!status.success() && said.contains("leveret: can't load definitions from "), "{}: {said}", name(first));
}
