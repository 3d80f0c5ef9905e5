//! What Prometheus is told of a cluster: by its leader beside everything else, by the others alone.

use super::text::{Kind, Text, labels};
use super::{LEVERET_PREFIX, PREFIX};
use crate::management::elsewhere::ClusterView;

/// How many others a node can't reach. RabbitMQ has a name for that.
pub fn unreachable(view: Option<&ClusterView>) -> u64 {
    view.map_or(0, |view| view.nodes.iter().filter(|node| !node.is_running).count() as u64)
}

/// What this node is to its cluster, and how far it and others are.
pub fn all(text: &mut Text, view: &ClusterView) {
    text.prefixed(LEVERET_PREFIX);
    text.alone("cluster_leader", Kind::Gauge, "is 1 if this node leads its cluster", u8::from(view.leads()));
    let mut gauge = |name, help, value: u64| text.alone(name, Kind::Gauge, help, value);
    gauge("cluster_term", "How often nodes of the cluster began to elect a leader", view.term);
    gauge(
        "cluster_commit_index",
        "The last entry of the log that most nodes have, as far as this one knows",
        view.commit,
    );
    gauge("cluster_applied_index", "The last entry of the log that the state of this node has", view.applied);
    text.alone("cluster_elections_won_total", Kind::Counter, "How often this node came to lead", view.elections);
    if view.leads() {
        const LAG: &str = "cluster_follower_lag_entries";
        text.family(LAG, Kind::Gauge, "Entries that are committed and that a node is not known to have");
        for node in view.nodes.iter().filter(|node| node.name != view.node) {
            let lag = view.commit.saturating_sub(node.has.unwrap_or(0));
            text.value(LAG, &labels(&[("node", &node.name)]), lag);
        }
    }
    text.prefixed(PREFIX);
}
