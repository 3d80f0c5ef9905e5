//! What becomes of a node whose disk gives back something else than was written.

use crate::cluster::{Cluster, NODES, name, others, publish, take_all, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes before a batch's records.
const BATCH_HEADER_BYTES: usize = 72;

/// The segments of a node, the oldest first.
fn segments(cluster: &Cluster, node: usize) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.data_folder(node).join("log")).expect("its folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
}

/// Changes a byte of a segment's batch, in its records.
fn flip(segment: &Path, batch: usize) {
    let bytes = std::fs::read(segment).expect("a segment");
    let at = memchr::memmem::find_iter(&bytes, b"LvBt").nth(batch).expect("so many batches") + BATCH_HEADER_BYTES + 3;
    let file = std::fs::File::options().write(true).open(segment).expect("a segment");
    // In its place, as somebody may have it open.
    file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("a segment");
}

/// Waits until a node is a member that it was not before, votes, and has everything.
fn wait_for_new_member(cluster: &Cluster, leader: usize, node: usize, committed: u64) {
    // It is let in, the one that it was goes, and it votes: as long as that has not happened, its old self is what is shown.
    const CHANGES: u64 = 3;
    wait_until("it finds the rot", || cluster.said(node).contains("the log is set aside in"));
    wait_until("it votes again and has all", || {
        let Some(view) = cluster.view(leader) else { return false };
        let row = &view["nodes"][node];
        let is_changed = view["commit_index"].as_u64() >= Some(committed + CHANGES);
        is_changed && row["running"] == true && row["role"] == "voter" && row["index"] == view["commit_index"]
    });
}

fn committed(cluster: &Cluster, leader: usize) -> u64 {
    cluster.view(leader).expect("it leads")["commit_index"].as_u64().expect("a number")
}

#[track_caller]
fn assert_all_there(found: &[usize], confirmed: &BTreeSet<usize>) {
    assert_eq!(found, confirmed.iter().copied().collect::<Vec<_>>());
}

#[test]
fn a_node_that_starts_on_a_rotten_log_comes_back_as_a_new_member() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [rotten, kept] = others(leader);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let mut confirmed = publish(&mut client, 0..50);
    wait_until("it has all", || {
        let view = cluster.view(leader).expect("it leads");
        view["nodes"][rotten]["index"] == view["commit_index"]
    });
    cluster.lose(rotten, leader);
    flip(segments(&cluster, rotten).last().expect("a segment"), 5);
    let before = committed(&cluster, leader);
    cluster.start(rotten);
    wait_for_new_member(&cluster, leader, rotten, before);
    let said = cluster.said(rotten);
    assert!(said.contains("is damaged at byte") && said.contains("the log is set aside in"), "{said}");
    assert!(cluster.data_folder(rotten).join("rotten/META").exists());
    // The one that has everything from the beginning goes: what it alone would have is on the new one.
    cluster.kill(kept);
    confirmed.extend(publish(&mut client, 50..60));
    cluster.kill(leader);
    cluster.start(kept);
    assert_all_there(&take_all(&mut cluster.client(rotten)), &confirmed);
    assert!(!cluster.said(kept).contains("set aside"), "{} is as it was", name(kept));
}

/// Every node begins another segment.
fn seal(cluster: &mut Cluster, confirmed: usize) {
    for node in NODES {
        assert!(cluster.stop(node).success(), "{}", cluster.said(node));
        cluster.start(node);
        wait_until("it has all", || {
            let leader = cluster.wait_for_leader(node);
            let Some(view) = cluster.view(leader) else { return false };
            node == leader || view["nodes"][node]["index"] == view["commit_index"]
        });
    }
    let mut client = cluster.client(0);
    client.send("queue.declare queue=q durable");
    client.expects(&format!("queue.declare-ok(queue='q', message_count={confirmed}, consumer_count=0)"));
}

#[test]
fn rot_that_nobody_reads_is_found_and_the_node_comes_back_as_a_new_member() {
    let mut cluster = Cluster::formed_with("scrub_interval_s = 1");
    let mut client = cluster.client(0);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let mut confirmed = publish(&mut client, 0..40);
    seal(&mut cluster, 40);
    let leader = cluster.wait_for_leader(0);
    let [rotten, _] = others(leader);
    let before = committed(&cluster, leader);
    flip(&segments(&cluster, rotten)[0], 5);
    wait_for_new_member(&cluster, leader, rotten, before);
    confirmed.extend(publish(&mut cluster.client(rotten), 40..50));
    // Who leads gives the lead away first, and its clients come back by themselves.
    let before = committed(&cluster, leader);
    flip(&segments(&cluster, leader)[0], 5);
    wait_until("another leads", || cluster.wait_for_leader(rotten) != leader);
    let next = cluster.wait_for_leader(rotten);
    wait_for_new_member(&cluster, next, leader, before);
    for node in [rotten, leader] {
        let said = cluster.said(node);
        assert_eq!(said.matches("This node must not go on with a log that lost something").count(), 1, "{said}");
        assert_eq!(said.matches("the log is set aside in").count(), 1, "{said}");
    }
    confirmed.extend(publish(&mut cluster.client(leader), 50..60));
    // What is on the disks of those that were rotten is all that there is.
    let [kept] = NODES.into_iter().filter(|node| ![rotten, leader].contains(node)).collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    cluster.kill(kept);
    assert_all_there(&take_all(&mut cluster.client(leader)), &confirmed);
}

#[test]
fn a_node_in_maintenance_stays_so_when_it_comes_back_as_a_new_member() {
    let mut cluster = Cluster::formed_with("scrub_interval_s = 1");
    let mut client = cluster.client(0);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    publish(&mut client, 0..20);
    seal(&mut cluster, 20);
    let leader = cluster.wait_for_leader(0);
    let [rotten, _] = others(leader);
    let service = |cluster: &Cluster| {
        cluster.http(rotten).ask_as("guest:guest", "GET", "/health/checks/is-in-service", &Value::Null).0
    };
    let output = cluster.ctl(rotten, &["drain"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(service(&cluster), 503);
    let before = committed(&cluster, leader);
    flip(&segments(&cluster, rotten)[0], 5);
    wait_for_new_member(&cluster, leader, rotten, before);
    assert_eq!(service(&cluster), 503);
    let told = || cluster.view(leader).expect("it leads")["nodes"][rotten]["being_drained"] == true;
    wait_until("the others know", told);
    let output = cluster.ctl(rotten, &["revive"]);
    assert!(output.status.success(), "{output:?}");
    wait_until("it serves again", || service(&cluster) == 200);
    // An operator who restarts it wants it back.
    let output = cluster.ctl(rotten, &["drain"]);
    assert!(output.status.success() && service(&cluster) == 503, "{output:?}");
    cluster.kill(rotten);
    cluster.start(rotten);
    wait_until("it serves again", || service(&cluster) == 200);
}
