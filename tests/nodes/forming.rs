//! How three nodes become one cluster, and what they say of it.

use crate::cluster::{Cluster, NODES, name, wait_until};
use crate::support::client::Client;
use serde_json::{Value, json};

#[test]
fn empty_folders_become_a_cluster_and_every_node_says_so() {
    let cluster = Cluster::formed();
    let all: Vec<String> = NODES.map(name).to_vec();
    let leader = name(cluster.wait_for_leader(0));
    for node in NODES {
        wait_until("all see each other", || cluster.view(node).is_some_and(|view| running(&view) == all));
        assert_eq!(name(cluster.wait_for_leader(node)), leader);
        let output = cluster.ctl(node, &["cluster_status", "--formatter", "json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let status: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
        assert_eq!((&status["running_nodes"], &status["disk_nodes"]), (&json!(all), &json!(all)));
        assert_eq!((&status["leader"], &status["cluster_name"]), (&json!(leader), &json!("c")));
        assert_eq!(status["versions"].as_object().expect("of who says it").keys().collect::<Vec<_>>(), [&leader]);
        let rows = cluster.http(node).get("/nodes");
        let row = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["running"] == true);
        let rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
        assert_eq!(rows, all.iter().map(|name| (name.clone(), true)).collect::<Vec<_>>());
        let other = cluster.http(node).get("/nodes/n2");
        assert_eq!(other["name"], "n2");
        for check in ["is-in-service", "ready-to-serve-clients", "node-is-quorum-critical"] {
            // Load balancers have no password. Each node hears by itself that somebody serves.
            let path = format!("/health/checks/{check}");
            wait_until(check, || cluster.http(node).ask_as("nobody:", "GET", &path, &Value::Null).0 == 200);
        }
        for command in [&["await_online_nodes", "3", "-t", "20"][..], &["check_if_node_is_quorum_critical"]] {
            let output = cluster.ctl(node, command);
            assert!(output.status.success(), "{command:?}: {output:?}");
        }
    }
}

#[test]
fn a_node_that_the_others_need_says_so() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [one, other] = NODES.into_iter().filter(|node| *node != leader).collect::<Vec<_>>()[..] else { unreachable!() };
    cluster.kill(other);
    for node in [leader, one] {
        let health = "/health/checks/node-is-quorum-critical";
        wait_until("it is missed", || cluster.http(node).ask_as("guest:guest", "GET", health, &Value::Null).0 == 503);
        let output = cluster.ctl(node, &["check_if_node_is_quorum_critical"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(&format!("Node {} reported", name(node))), "{said}");
    }
    let output = cluster.ctl(leader, &["await_online_nodes", "3", "-t", "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Not enough nodes joined"), "{output:?}");
    assert!(cluster.ctl(leader, &["await_online_nodes", "2", "-t", "1"]).status.success());
}

fn running(view: &Value) -> Vec<String> {
    let nodes = view["nodes"].as_array().expect("a list").iter();
    nodes.filter(|node| node["running"] == true).map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_node_without_the_others_serves_nobody_and_says_why() {
    let mut cluster = Cluster::new("");
    cluster.start(0);
    let health = "/health/checks/is-in-service";
    assert_eq!(cluster.http(0).ask_as("guest:guest", "GET", health, &Value::Null).0, 503);
    let (status, text) = cluster.http(0).ask_as("guest:guest", "GET", "/overview", &Value::Null);
    assert!(status == 503 && text.contains("no node of the cluster leads"), "{status} {text}");
    let output = cluster.ctl(0, &["cluster_status", "--formatter", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&status["running_nodes"], &status["leader"]), (&json!(["n1"]), &Value::Null));
    cluster.start(1);
    wait_until("two see each other", || cluster.view(0).is_some_and(|view| running(&view).len() == 2));
    assert_eq!(cluster.view(0).unwrap()["leader"], Value::Null, "two of three may be a part of something else");
    cluster.start(2);
    cluster.wait_for_leader(2);
    drop(Client::connect(cluster.amqp(1), ""));
}

#[test]
fn a_secret_that_others_may_read_and_a_folder_of_a_broker_that_was_alone_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::new("");
    std::fs::set_permissions(cluster.secret_file(), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(!cluster.command(0).status().unwrap().success());
    assert!(cluster.said(0).contains("others than its owner may use the file"), "{}", cluster.said(0));
    std::fs::set_permissions(cluster.secret_file(), PermissionsExt::from_mode(0o600)).unwrap();
    let salvaging = cluster.command(1).arg("--salvage").status().unwrap();
    assert!(!salvaging.success() && cluster.said(1).contains("--salvage is for a broker that is alone"));
}
