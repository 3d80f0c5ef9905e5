//! What Prometheus is told of a cluster: by its leader beside everything else, by the others alone. RabbitMQ has names for
//! what each of its quorum queues tells, of its own log; here there is one log.

use super::text::{Kind, Text, labels};
use super::{LEVERET_PREFIX, PREFIX};
use crate::management::elsewhere::{ClusterView, NodeView};

/// How many others a node can't reach. RabbitMQ has a name for that.
pub fn unreachable(view: Option<&ClusterView>) -> u64 {
    view.map_or(0, |view| view.nodes.iter().filter(|node| !node.is_running).count() as u64)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// What this node is to its cluster, and how far it and others are.
pub fn all(text: &mut Text, view: &ClusterView) {
    text.prefixed(PREFIX);
    text.alone("raft_term_total", Kind::Counter, "Current Raft term number", view.term);
    let mut gauge = |name, help, value: u64| text.alone(name, Kind::Gauge, help, value);
    gauge("raft_log_commit_index", "Raft log commit index", view.commit);
    gauge("raft_log_last_applied_index", "Raft log last applied index", view.applied);
    gauge("raft_log_last_written_index", "Raft log last written index", view.written);
    text.prefixed(LEVERET_PREFIX);
    text.alone("cluster_leader", Kind::Gauge, "is 1 if this node leads its cluster", u8::from(view.leads()));
    text.alone("cluster_in_maintenance", Kind::Gauge, "is 1 if this node serves nobody", u8::from(view.is_drained));
    let critical = "is 1 if nothing would be confirmed any more without this node";
    text.alone("cluster_quorum_critical", Kind::Gauge, critical, u8::from(view.is_critical()));
    text.alone("cluster_elections_won_total", Kind::Counter, "How often this node came to lead", view.elections);
    let leaderless = "How long nobody led, as far as this node knew";
    text.alone("cluster_leaderless_seconds_total", Kind::Counter, leaderless, seconds(view.leaderless_ms));
    let uncommitted = "What this node leads and most nodes don't have yet";
    text.alone("cluster_uncommitted_bytes", Kind::Gauge, uncommitted, view.uncommitted_bytes.unwrap_or(0));
    let full = "is 1 if this node has no room for what it is to write, and confirms nothing to the others";
    text.alone("cluster_disk_full", Kind::Gauge, full, u8::from(view.disk_is_full));
    let scrubs = "How often this node read its log through and found all as it was written";
    text.alone("cluster_log_scrubs_total", Kind::Counter, scrubs, view.scrubs);
    if view.leads() {
        followers(text, view);
    }
    text.prefixed(PREFIX);
}

/// How far behind the others are: only who leads knows.
fn followers(text: &mut Text, view: &ClusterView) {
    let mut of_each = |name, help, value: &dyn Fn(&NodeView) -> Option<f64>| {
        text.family(name, Kind::Gauge, help);
        for node in view.nodes.iter().filter(|node| node.name != view.node) {
            // What isn't known is left out.
            if let Some(value) = value(node) {
                text.value(name, &labels(&[("node", &node.name)]), value);
            }
        }
    };
    of_each("cluster_follower_running", "is 1 if the node that leads hears this one", &|node| {
        Some(f64::from(u8::from(node.is_running)))
    });
    of_each(
        "cluster_follower_lag_entries",
        "Entries that are committed and that a node is not known to have",
        &|node| Some(view.commit.saturating_sub(node.has?) as f64),
    );
    of_each(
        "cluster_follower_lag_bytes",
        "Bytes of the log that a node is not known to have, committed or not, as far as the node that leads knows",
        &|node| Some(node.behind_bytes? as f64),
    );
    of_each(
        "cluster_follower_lag_seconds",
        "For how long a node is not known to have had what is committed, to a second",
        &|node| Some(seconds(node.behind_ms?)),
    );
}
