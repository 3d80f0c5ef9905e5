//! What people complain of in clusters of other brokers, and that it is not so here. The table in docs/CLUSTER.md has all of it:
//! disks that hang are in [`hanging`](crate::hanging), and what is about time is the simulation's (tests/cluster), which is the
//! better judge of that.

use crate::cluster::{Cluster, NODES, name, others, publish, take, take_all, wait_until};
use crate::support::client::Client;

const QUEUES: usize = 300;

fn declare(client: &mut Client, queue: &str, messages: usize) {
    client.send(&format!("queue.declare queue={queue} durable"));
    client.expects(&format!("queue.declare-ok(queue='{queue}', message_count={messages}, consumer_count=0)"));
}

fn lead(cluster: &Cluster, node: usize) {
    let asked = cluster.wait_until_whole();
    if asked != node {
        let output = cluster.ctl(asked, &["transfer_leadership", &name(node)]);
        assert!(output.status.success(), "{output:?}");
    }
    wait_until("it leads", || cluster.wait_for_leader(node) == node);
}

#[test]
fn no_queue_is_left_without_a_leader() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let mut client = cluster.client(leader);
    let declared = |number: usize| {
        let arguments = if number.is_multiple_of(2) { " arguments={x-queue-type=S:'quorum'}" } else { "" };
        format!("queue.declare queue=q{number} durable{arguments}")
    };
    client.send(&(0..QUEUES).map(declared).collect::<Vec<_>>().join(" ; "));
    for number in 0..QUEUES {
        client.expects(&format!("queue.declare-ok(queue='q{number}', message_count=0, consumer_count=0)"));
    }
    let mut last = leader;
    for times in 1..=2 {
        cluster.kill(last);
        cluster.wait_for_another(last);
        for node in others(last) {
            let mut client = cluster.client(node);
            client.send("confirm.select");
            client.expects("confirm.select-ok");
            client.send(&format!("{QUEUES}x publish exchange='' routing_key=q% mandatory delivery_mode=2 body='x'"));
            client.expects(&format!("acks {QUEUES}"));
        }
        let listed = cluster.http(others(last)[0]).get("/queues?columns=name,state,messages");
        let rows = listed.as_array().expect("a list");
        assert_eq!(rows.len(), QUEUES);
        assert!(rows.iter().all(|row| row["state"] == "running"), "{listed}");
        let mut client = cluster.client(others(last)[1]);
        client.send("queue.declare queue=q7 durable passive");
        client.expects(&format!("queue.declare-ok(queue='q7', message_count={}, consumer_count=0)", 2 * times));
        cluster.start(last);
        last = cluster.wait_until_whole();
    }
}

#[test]
fn what_was_taken_does_not_come_back_with_a_node_that_was_away() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let [away, wiped] = others(leader);
    let mut client = cluster.client(leader);
    declare(&mut client, "gone", 0);
    client.send("publish exchange='' routing_key=gone delivery_mode=2 body='old'");
    declare(&mut client, "q", 0);
    assert_eq!(publish(&mut client, 0..30).len(), 30);
    cluster.wait_until_whole();
    // It has 30 messages and two queues, and what happens to them passes it by.
    cluster.lose(away, leader);
    assert_eq!(take(&mut client, 20), (0..20).collect::<Vec<_>>());
    client.send("queue.delete queue=gone");
    client.expects("queue.delete-ok(message_count=1)");
    assert_eq!(publish(&mut client, 30..40).len(), 10);
    cluster.start(away);
    lead(&cluster, away);
    let mut client = cluster.client(away);
    client.send("queue.declare queue=q durable passive");
    client.expects("queue.declare-ok(queue='q', message_count=20, consumer_count=0)");
    let queues = cluster.http(away).get("/queues?columns=name");
    assert_eq!(queues, serde_json::json!([{ "name": "q" }]));
    // The same of one that gets all of it anew.
    cluster.lose(wiped, away);
    assert_eq!(take(&mut client, 5), (20..25).collect::<Vec<_>>());
    assert_eq!(publish(&mut client, 40..50).len(), 10);
    cluster.wipe(wiped);
    cluster.start(wiped);
    lead(&cluster, wiped);
    assert_eq!(take_all(&mut cluster.client(wiped)), (25..50).collect::<Vec<_>>());
}

#[test]
fn after_a_power_cut_any_two_nodes_serve_whichever_comes_first() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let [behind, last] = others(leader);
    let mut client = cluster.client(leader);
    declare(&mut client, "q", 0);
    let mut count = publish(&mut client, 0..10).len();
    cluster.lose(behind, leader);
    count += publish(&mut client, 10..20).len();
    [last, leader].into_iter().for_each(|node| cluster.kill(node));
    // First those that lack something, and were down before the others were.
    for [first, second] in [[behind, leader], [last, behind], [leader, last]] {
        cluster.start(first);
        cluster.start(second);
        let mut client = cluster.client(first);
        client.send("queue.declare queue=q durable passive");
        client.expects(&format!("queue.declare-ok(queue='q', message_count={count}, consumer_count=0)"));
        count += publish(&mut client, count..count + 10).len();
        [first, second].into_iter().for_each(|node| cluster.kill(node));
    }
    NODES.into_iter().for_each(|node| cluster.start(node));
    cluster.wait_until_whole();
    assert_eq!(take_all(&mut cluster.client(last)), (0..50).collect::<Vec<_>>());
}

#[test]
fn nodes_know_each_other_by_no_host_name_address_or_home() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let mut client = cluster.client(leader);
    declare(&mut client, "q", 0);
    assert_eq!(publish(&mut client, 0..10).len(), 10);
    NODES.into_iter().for_each(|node| cluster.kill(node));
    cluster.move_elsewhere();
    for node in NODES {
        let mut command = cluster.command(node);
        // No HOME, no HOSTNAME, no USER.
        command.env_clear();
        cluster.start_as(node, command);
    }
    cluster.wait_until_whole();
    assert_eq!(take_all(&mut cluster.client(leader)), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_node_with_another_secret_is_told_so_and_disturbs_nobody() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_until_whole();
    let mut client = cluster.client(leader);
    declare(&mut client, "q", 0);
    // Who of two connects to the other goes by their names.
    for odd in others(leader) {
        let other = "another secret, of another cluster";
        let own = std::fs::read_to_string(cluster.secret_file()).unwrap();
        cluster.kill(odd);
        std::fs::write(cluster.secret_file(), other).unwrap();
        cluster.start(odd);
        let [caller, host] = [odd.min(leader), odd.max(leader)];
        let hung_up = format!(
            "node {} at {} can't be reached: it hung up on this node's proof: do both have the same secret?",
            name(host),
            cluster.for_nodes(host)
        );
        wait_until("who connects says why", || cluster.said(caller).contains(&hung_up));
        let turned_away = "turned away from the cluster's port: it doesn't know the cluster's secret";
        wait_until("and so does the other", || cluster.said(host).contains(turned_away));
        std::fs::write(cluster.secret_file(), own).unwrap();
        let confirmed = publish(&mut client, 0..5);
        assert_eq!(confirmed.len(), 5, "the others go on");
        cluster.kill(odd);
        cluster.start(odd);
        assert_eq!(cluster.wait_until_whole(), leader);
    }
}
