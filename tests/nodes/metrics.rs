//! What Prometheus is told of a cluster, by the node that leads and by the others.

use crate::cluster::{Cluster, name, publish, wait_until};
use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page, by series.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

#[test]
fn metrics_say_who_leads_and_how_far_behind_others_are() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [lost, follower] = [(leader + 1) % 3, (leader + 2) % 3];
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    cluster.kill(lost);
    assert_eq!(publish(&mut client, 0..20).len(), 20);
    let of_lost = |family: &str| format!("leveret_cluster_follower_{family}{{node=\"{}\"}}", name(lost));
    let mut page = String::new();
    wait_until("the lost one lags", || {
        page = cluster.metrics(leader);
        let samples = samples(&page);
        let is_more = |family, than| samples.get(of_lost(family).as_str()).is_some_and(|value| *value > than);
        is_more("lag_entries", 0.0) && is_more("lag_bytes", 100.0) && is_more("lag_seconds", 0.5)
    });
    let told = samples(&page);
    assert_eq!((told["leveret_cluster_leader"], told["leveret_cluster_elections_won_total"]), (1.0, 1.0));
    assert_eq!((told[of_lost("running").as_str()], told["leveret_cluster_quorum_critical"]), (0.0, 1.0));
    assert!(told["rabbitmq_raft_term_total"] >= 1.0 && told["rabbitmq_raft_log_commit_index"] > 1.0);
    assert!(told["leveret_cluster_leaderless_seconds_total"] > 0.0);
    // The dashboard and the alerts name nothing of a cluster that isn't told.
    let texts = [include_str!("../../ops/grafana/leveret.json"), include_str!("../../ops/prometheus/alerts.yml")];
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = texts.iter().flat_map(|text| text.split(|character| !is_of_a_name(character)));
    let is_of_clusters = |word: &&str| word.starts_with("leveret_cluster_") || word.starts_with("rabbitmq_raft_");
    let named: BTreeSet<&str> = words.filter(is_of_clusters).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(told.keys().any(|series| series.split('{').next() == Some(name)), "{name} is not told");
    }
    let page = cluster.metrics(follower);
    let told = samples(&page);
    assert_eq!((told["leveret_cluster_leader"], told["rabbitmq_unreachable_cluster_peers_count"]), (0.0, 1.0));
    assert!(!page.contains("leveret_cluster_follower_"), "only who leads knows");
}
