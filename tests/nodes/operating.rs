//! What operators do with a cluster and see of it: another leader, nodes in maintenance, and a log that tells what happened.

use crate::cluster::{Cluster, NODES, PATIENCE, name, others, publish, take_all, wait_until};
use crate::support::client::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;

fn printed(output: &std::process::Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("it ended by itself"), text)
}

fn other_than(node: usize) -> usize {
    (node + 1) % NODES.len()
}

fn check(cluster: &Cluster, node: usize, name: &str) -> u16 {
    cluster.http(node).ask_as("guest:guest", "GET", &format!("/health/checks/{name}"), &Value::Null).0
}

#[test]
fn another_node_leads_when_an_operator_wants_that() {
    let cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [next, asked] = [other_than(leader), other_than(other_than(leader))];
    for node in NODES {
        wait_until("all see each other", || {
            cluster.ctl(node, &["-t", "1", "await_online_quorum_plus_one"]).status.success()
        });
    }
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let confirmed = publish(&mut client, 0..20);
    let (code, text) = printed(&cluster.ctl(asked, &["transfer_leadership", &name(next)]));
    assert!(code == 0 && text.ends_with(&format!("Node {} leads\n", name(next))), "{code} {text}");
    assert_eq!(cluster.wait_for_leader(asked), next);
    assert_eq!(take_all(&mut cluster.client(asked)).into_iter().collect::<BTreeSet<_>>(), confirmed);
    let (code, text) = printed(&cluster.ctl(asked, &["transfer_leadership", "n9"]));
    assert!(code == 65 && text.ends_with("Error:\nnode n9 is not in the cluster\n"), "{code} {text}");
    let story = cluster.said(next);
    let line = |text: &str| assert!(story.contains(text), "{text}:\n{story}");
    line(&format!("node {} leads since term ", name(leader)));
    line("this node stands for election in term ");
    line(&format!("; before it node {} did, since term ", name(leader)));
    let story = cluster.said(leader);
    assert!(story.contains(&format!("an operator wants {} to lead", name(next))), "{story}");
    // One of the others is enough; the second may hear that it leads before it is asked.
    let votes = format!("this node votes for node {} in term ", name(next));
    assert!(others(next).into_iter().any(|other| cluster.said(other).contains(&votes)), "{story}");
}

#[test]
fn a_node_in_maintenance_serves_nobody_and_keeps_the_log() {
    let cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let follower = other_than(leader);
    for node in NODES {
        wait_until("all see each other", || check(&cluster, node, "node-is-quorum-critical") == 200);
    }
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let confirmed = publish(&mut client, 0..20);
    for drained in [follower, leader] {
        // Who is no administrator can't.
        let path = "/cluster/self/maintenance";
        assert_eq!(cluster.http(drained).ask_as("guest:wrong", "PUT", path, &Value::Null).0, 401);
        wait_until("it serves", || check(&cluster, drained, "is-in-service") == 200);
        let (code, text) = printed(&cluster.ctl(drained, &["drain"]));
        assert!(code == 0 && text.starts_with(&format!("Will put node {} into", name(drained))), "{code} {text}");
        assert_eq!(
            (check(&cluster, drained, "is-in-service"), check(&cluster, drained, "ready-to-serve-clients")),
            (503, 503)
        );
        let (code, text) = printed(&cluster.ctl(drained, &["check_if_node_is_quorum_critical"]));
        assert!(code == 0 && text.contains("seems to be in maintenance mode"), "{code} {text}");
        let mut refused = TcpStream::connect(cluster.amqp(drained)).expect("it listens");
        refused.set_read_timeout(Some(PATIENCE)).expect("a socket");
        assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "it is closed without a word");
        let serving = other_than(drained);
        let leader = cluster.wait_for_leader(serving);
        assert_ne!(leader, drained);
        wait_until("the others know", || row(&cluster, serving, drained)["being_drained"] == true);
        assert_eq!(row(&cluster, serving, leader)["being_drained"], false);
        let (_, text) = printed(&cluster.ctl(serving, &["cluster_status", "--formatter", "json"]));
        let status: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(status["maintenance_status"][name(drained)], "marked for maintenance", "{status}");
        let (code, text) = printed(&cluster.ctl(serving, &["transfer_leadership", &name(drained)]));
        assert!(code != 0 && text.contains("is in maintenance"), "{code} {text}");
        wait_until("it sees who leads", || cluster.view(drained).is_some_and(|view| !view["leader"].is_null()));
        let (code, text) = printed(&cluster.ctl(drained, &["revive"]));
        assert_eq!(code, 0, "{text}");
        wait_until("it serves again", || check(&cluster, drained, "is-in-service") == 200);
        drop(Client::connect(cluster.amqp(drained), ""));
    }
    let leader = cluster.wait_for_leader(0);
    assert_eq!(take_all(&mut cluster.client(leader)).into_iter().collect::<BTreeSet<_>>(), confirmed);
}

/// What a node tells of another one.
fn row(cluster: &Cluster, asked: usize, node: usize) -> Value {
    cluster.http(asked).get(&format!("/nodes/{}", name(node)))
}

#[test]
fn who_is_in_maintenance_leaves_leading_to_others_and_nobody_speaks_for_who_is_gone() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [drained, next] = [other_than(leader), other_than(other_than(leader))];
    for node in NODES {
        wait_until("all see each other", || check(&cluster, node, "node-is-quorum-critical") == 200);
    }
    let (code, text) = printed(&cluster.ctl(drained, &["drain"]));
    assert_eq!(code, 0, "{text}");
    wait_until("it is known", || row(&cluster, leader, drained)["being_drained"] == true);
    cluster.kill(leader);
    assert_eq!(cluster.wait_for_leader(next), next);
    let said = cluster.said(drained);
    let (_, since_then) = said.split_once("put into maintenance").expect("it was");
    assert!(!since_then.contains("this node stands for election"), "{said}");
    wait_until("it is missed", || row(&cluster, next, leader)["running"] == false);
    assert_eq!(row(&cluster, next, leader)["being_drained"], Value::Null);
    assert_eq!(cluster.view(next).expect("it leads")["nodes"][leader]["alarms"], Value::Null);
}

#[test]
fn a_node_that_follows_tells_of_its_disk() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let follower = other_than(leader);
    wait_until("all see each other", || check(&cluster, leader, "node-is-quorum-critical") == 200);
    assert_eq!(check(&cluster, leader, "alarms"), 200);
    cluster.limit("disk_free_limit_bytes = 1152921504606846976");
    read_again(&mut cluster, follower);
    wait_until("its alarm is known", || check(&cluster, leader, "alarms") == 503);
    assert_eq!(check(&cluster, leader, "local-alarms"), 200);
    let (_, text) = cluster.http(leader).ask_as("guest:guest", "GET", "/health/checks/alarms", &Value::Null);
    let said: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said["alarms"], json!([{"node": name(follower), "resource": "disk space"}]));
    assert_eq!(row(&cluster, leader, follower)["disk_free_alarm"], true);
    assert_eq!(cluster.view(leader).expect("it leads")["nodes"][follower]["alarms"], json!(["disk"]));
    let (code, text) = printed(&cluster.ctl(leader, &["check_alarms"]));
    assert!(code != 0 && text.contains(&format!("Free disk space alarm on node {}", name(follower))), "{code} {text}");
    cluster.limit("");
    read_again(&mut cluster, follower);
    wait_until("it is over", || check(&cluster, leader, "alarms") == 200);
    let alarms = |node: usize| -> Vec<String> {
        let said = cluster.said(node);
        let lines = said.lines().filter(|line| line.contains("resource limit alarm"));
        lines.map(|line| line[line.find("disk resource").expect("no other one")..].to_owned()).collect()
    };
    let node = name(follower);
    let set = format!("disk resource limit alarm set on node {node}: less than 1152921504606846976 bytes are free");
    let cleared = format!("disk resource limit alarm cleared on node {node}");
    wait_until("it is said", || alarms(follower).len() == 2);
    let said = alarms(follower);
    assert!(said[0].starts_with(&set) && said[1].starts_with(&cleared), "{said:?}");
    assert_eq!(alarms(leader), [""; 0]);
}

#[test]
fn the_status_of_a_queue_is_that_of_the_log() {
    let cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=classic durable");
    client.expects("queue.declare-ok(queue='classic', message_count=0, consumer_count=0)");
    client.send("queue.declare queue=quorum durable arguments={x-queue-type=S:'quorum'}");
    client.expects("queue.declare-ok(queue='quorum', message_count=0, consumer_count=0)");
    let asked = other_than(leader);
    wait_until("it is shown how far the log is", || {
        cluster.view(leader).is_some_and(|view| view["commit_index"].as_u64() > Some(1))
    });
    let (code, text) = printed(&cluster.ctl(asked, &["quorum_status", "quorum", "--formatter", "json"]));
    assert_eq!(code, 0, "{text}");
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    let row =
        |node: usize| rows.as_array().unwrap().iter().find(|row| row["Node Name"] == name(node).as_str()).unwrap();
    assert_eq!((&row(leader)["Raft State"], &row(asked)["Raft State"]), (&"leader".into(), &"follower".into()));
    assert!(row(leader)["Commit Index"].as_u64() > Some(1), "{text}");
    assert_eq!(row(asked)["Commit Index"], "", "the node that leads doesn't know");
    let (code, text) = printed(&cluster.ctl(asked, &["-q", "quorum_status", "classic"]));
    assert_eq!((code, text.as_str()), (69, "Error:\nCannot get quorum status of a classic queue\n"));
    let (code, text) = printed(&cluster.ctl(asked, &["-q", "quorum_status", "none"]));
    assert_eq!((code, text.as_str()), (69, "Error:\nnot_found\n"));
}

#[test]
fn a_node_that_is_gone_for_good_is_forgotten_and_may_come_back_empty() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [lost, asked] = [other_than(leader), other_than(other_than(leader))];
    wait_until("all see each other", || check(&cluster, leader, "node-is-quorum-critical") == 200);
    let (code, text) = printed(&cluster.ctl(asked, &["forget_cluster_node", &name(lost)]));
    assert!(code == 69 && text.contains("must be stopped before it can be removed"), "{code} {text}");
    let (code, text) = printed(&cluster.ctl(asked, &["-q", "forget_cluster_node", "n9"]));
    assert_eq!((code, &*text), (69, "Error:\n{:not_a_cluster_node, 'The node selected is not in the cluster.'}\n"));
    cluster.kill(lost);
    wait_until("it is missed", || check(&cluster, leader, "node-is-quorum-critical") == 503);
    let (code, text) = printed(&cluster.ctl(asked, &["forget_cluster_node", &name(lost)]));
    assert_eq!((code, text), (0, format!("Removing node {} from the cluster\n", name(lost))));
    let (_, status) = printed(&cluster.ctl(asked, &["cluster_status", "--formatter", "json"]));
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["disk_nodes"].as_array().expect("a list").len(), 2, "{status}");
    cluster.wipe(lost);
    cluster.start(lost);
    wait_until("it votes again", || {
        cluster.view(leader).is_some_and(|view| view["nodes"][lost]["role"] == "voter" && view["quorum"] == 2)
    });
}

/// Has a node read its settings again.
fn read_again(cluster: &mut Cluster, node: usize) {
    const SAID: &str = "configuration read again";
    let times = |cluster: &Cluster| cluster.said(node).matches(SAID).count();
    let before = times(cluster);
    cluster.signal(node, libc::SIGHUP);
    wait_until("it read its settings again", || times(cluster) > before);
}

#[test]
fn what_was_read_again_holds_whoever_leads() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let next = other_than(leader);
    for node in NODES {
        wait_until("all see each other", || check(&cluster, node, "node-is-quorum-critical") == 200);
    }
    let free_limit = |cluster: &Cluster, node: usize| {
        cluster.http(node).get(&format!("/nodes/{}", name(node)))["disk_free_limit"].as_u64().expect("a number")
    };
    let lead = |cluster: &Cluster, node: usize| {
        // It may not have heard yet who leads since the last time.
        cluster.wait_for_leader(node);
        let (code, text) = printed(&cluster.ctl(node, &["transfer_leadership", &name(node)]));
        assert_eq!(code, 0, "{text}");
        assert_eq!(cluster.wait_for_leader(node), node);
    };
    // By one that follows, and then leads.
    cluster.limit("disk_free_limit_bytes = 11000000");
    read_again(&mut cluster, next);
    lead(&cluster, next);
    assert_eq!(free_limit(&cluster, next), 11_000_000);
    // By one that leads, and then doesn't, and then does.
    cluster.limit("disk_free_limit_bytes = 12000000");
    read_again(&mut cluster, next);
    lead(&cluster, leader);
    lead(&cluster, next);
    assert_eq!(free_limit(&cluster, next), 12_000_000);
    // What is no settings changes nothing.
    cluster.limit("disk_free_limit_bytes = -1");
    cluster.signal(next, libc::SIGHUP);
    wait_until("it says so", || cluster.said(next).contains("configuration not read again"));
    lead(&cluster, leader);
    lead(&cluster, next);
    assert_eq!(free_limit(&cluster, next), 12_000_000);
}

#[test]
fn events_and_traces_say_which_node_it_was() {
    let mut cluster = Cluster::new("");
    cluster.set("event_exchange = true");
    NODES.into_iter().for_each(|node| cluster.start(node));
    let leader = cluster.wait_for_leader(0);
    let http = cluster.http(leader);
    http.change("PUT", "/queues/%2F/heard", &json!({"durable": true}));
    for (exchange, key) in [("amq.rabbitmq.event", "vhost.created"), ("amq.rabbitmq.trace", "publish.#")] {
        http.change("POST", &format!("/bindings/%2F/e/{exchange}/q/heard"), &json!({"routing_key": key}));
    }
    http.change("PUT", "/vhosts/%2F", &json!({"tracing": true}));
    http.change("PUT", "/vhosts/other", &json!({}));
    let message = json!({"properties": {}, "routing_key": "heard", "payload": "", "payload_encoding": "string"});
    http.change("POST", "/exchanges/%2F/amq.default/publish", &message);
    let get = json!({"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"});
    let (status, text) = http.ask_as("guest:guest", "POST", "/queues/%2F/heard/get", &get);
    assert_eq!(status, 200, "{text}");
    let messages: Value = serde_json::from_str(&text).expect("JSON");
    let headers = |key: &str| {
        let heard = messages.as_array().expect("a list").iter().find(|message| message["routing_key"] == key);
        heard.unwrap_or_else(|| panic!("{key}: {text}"))["properties"]["headers"].clone()
    };
    assert_eq!(headers("vhost.created")["cluster_state"], json!({name(leader): "running"}));
    assert_eq!(headers("publish.")["node"], name(leader));
}
