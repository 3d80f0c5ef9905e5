//! Whatever becomes of the node that leads, another takes over, and nothing that was confirmed is lost.

use crate::cluster::{Cluster, NODES, PATIENCE, name, others, publish, take_all, wait_until};
use crate::support::client::{Client, Event};
use std::collections::BTreeSet;
use std::time::Instant;

/// Who comes back with an empty folder is let in, the one that it was goes, and it votes: as long as that has not happened, its
/// old self is what is shown.
const CHANGES_OF_A_WIPE: u64 = 3;

fn assert_all_there(found: &[usize], confirmed: &BTreeSet<usize>, published: usize) {
    let found_once: BTreeSet<usize> = found.iter().copied().collect();
    assert_eq!(found.len(), found_once.len(), "each is there once");
    assert!(found.is_sorted(), "in the order in which they were published");
    let lost: Vec<_> = confirmed.difference(&found_once).collect();
    assert!(lost.is_empty(), "{lost:?} were confirmed");
    assert!(found_once.iter().all(|number| *number < published), "nobody published those");
}

#[test]
fn what_any_node_confirmed_survives_the_leaders_end() {
    let mut cluster = Cluster::formed();
    let mut confirmed = BTreeSet::new();
    cluster.client(0).send("queue.declare queue=q durable");
    for (node, numbers) in NODES.into_iter().zip([0..40, 40..80, 80..120]) {
        let mut client = cluster.client(node);
        client.send("queue.declare queue=q durable");
        client.expects(&format!("queue.declare-ok(queue='q', message_count={}, consumer_count=0)", numbers.start));
        confirmed.extend(publish(&mut client, numbers));
    }
    assert_eq!(confirmed.len(), 120);
    let leader = cluster.wait_for_leader(0);
    // Somebody publishes on while it ends.
    let [publishing, _] = others(leader);
    let mut client = cluster.client(publishing);
    let publisher = std::thread::spawn(move || publish(&mut client, 120..100_000));
    std::thread::sleep(std::time::Duration::from_millis(200));
    cluster.kill(leader);
    let began = Instant::now();
    let next = cluster.wait_for_another(leader);
    let took = began.elapsed();
    // Three seconds where nobody else wants the processors.
    assert!(took.as_secs() < 10, "it took {took:?}");
    confirmed.extend(publisher.join().expect("it only publishes"));
    let mut client = cluster.client(publishing);
    let found = take_all(&mut client);
    assert_all_there(&found, &confirmed, 100_000);
    cluster.start(leader);
    wait_until("it is back", || {
        let view = cluster.view(next).expect("it leads");
        view["nodes"][leader]["running"] == true && view["nodes"][leader]["index"] == view["commit_index"]
    });
    // With it the other one may go.
    let [gone] = others(leader).into_iter().filter(|node| *node != next).collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    cluster.kill(gone);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    assert_eq!(publish(&mut client, 0..5).len(), 5);
}

#[test]
fn whoever_stops_in_order_gives_the_lead_away() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let confirmed = publish(&mut client, 0..50);
    assert!(cluster.stop(leader).success(), "{}", cluster.said(leader));
    assert!(matches!(client.next(0, PATIENCE), Event::Method(method) if method.name == "connection.close"));
    let next = cluster.wait_for_another(leader);
    let found = take_all(&mut cluster.client(next));
    assert_all_there(&found, &confirmed, 50);
    cluster.start(leader);
    assert_eq!(cluster.wait_for_leader(leader), next, "who comes back follows");
    assert!(cluster.stop(leader).success(), "a follower stops, too");
}

/// A planned stop costs clients the time that it takes to connect anew: the next leader is there before they are closed, and what
/// they sent until then is confirmed to them.
#[test]
fn clients_of_whoever_stops_are_closed_when_another_leads() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [other, _] = others(leader);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    // Who came by way of another node is told why, too.
    let mut passed = cluster.client(other);
    let publisher = std::thread::spawn(move || {
        let confirmed = publish(&mut client, 0..100_000);
        (confirmed, Instant::now())
    });
    wait_until("it publishes", || cluster.view(leader).is_some_and(|view| view["commit_index"].as_u64() > Some(20)));
    cluster.signal(leader, libc::SIGTERM);
    let (mut confirmed, closed_at) = publisher.join().expect("it only publishes");
    // But by whoever leads now: that has no more to do with those it passed on, and hangs up.
    match passed.next(0, PATIENCE) {
        Event::Method(method) => assert_eq!(method.name, "connection.close"),
        end => assert!(matches!(end, Event::Closed) && cluster.wait_for_another(leader) == other),
    }
    drop(passed);
    let mut client = cluster.client(other);
    client.send("queue.declare queue=q durable passive");
    assert!(matches!(client.next(1, PATIENCE), Event::Method(method) if method.name == "queue.declare-ok"));
    let again = publish(&mut client, 100_000..100_001);
    println!("closed clients were confirmed something {} ms later", closed_at.elapsed().as_millis());
    confirmed.extend(again);
    assert!(cluster.wait(leader).success(), "{}", cluster.said(leader));
    let said = cluster.said(leader);
    let [stops, closes] =
        ["stopping: giving the lead away first", "stopping: closing 2 connections"].map(|line| said.find(line));
    let leads = said.rfind(" leads since term ");
    assert!(stops.is_some() && stops < leads && leads < closes, "{said}");
    println!("{}", said[leads.unwrap()..].lines().next().unwrap());
    let found = take_all(&mut client);
    assert_all_there(&found, &confirmed, 100_001);
    assert_eq!(found.len(), confirmed.len(), "what was taken was confirmed, or not taken");
}

#[test]
fn a_leader_that_was_away_finds_another_and_follows_it() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    assert_eq!(publish(&mut client, 0..10).len(), 10);
    cluster.signal(leader, libc::SIGSTOP);
    let next = cluster.wait_for_another(leader);
    assert_eq!(publish(&mut cluster.client(next), 10..20).len(), 10);
    cluster.signal(leader, libc::SIGCONT);
    // What it was sent while it was away is confirmed by nobody.
    client.send("publish exchange='' routing_key=q delivery_mode=2 body='99'");
    loop {
        match client.next(0, PATIENCE) {
            Event::Closed => break,
            Event::Method(method) if method.name == "connection.close" => break,
            Event::Timeout => panic!("its clients are closed"),
            _ => {}
        }
    }
    assert_eq!(cluster.wait_for_leader(leader), next, "it passes clients to {}", name(next));
    let found = take_all(&mut cluster.client(leader));
    assert_eq!(found, (0..20).collect::<Vec<_>>());
}

#[test]
fn without_most_nodes_nothing_is_confirmed() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    assert_eq!(publish(&mut client, 0..1).len(), 1);
    others(leader).into_iter().for_each(|node| cluster.kill(node));
    client.send("publish exchange='' routing_key=q delivery_mode=2 body='1'");
    let end = client.next(1, PATIENCE);
    assert!(!matches!(&end, Event::Method(method) if method.name == "basic.ack"), "it is confirmed to nobody");
    wait_until("it leads no more", || cluster.view(leader).is_some_and(|view| view["leader"].is_null()));
    others(leader).into_iter().for_each(|node| cluster.start(node));
    let found = take_all(&mut cluster.client(leader));
    assert!(found.starts_with(&[0]), "{found:?}");
}

#[test]
fn a_node_that_lost_its_folder_comes_back_as_a_new_member() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [wiped, kept] = others(leader);
    let mut client = cluster.client(leader);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let mut confirmed = publish(&mut client, 0..50);
    cluster.lose(wiped, leader);
    let committed = cluster.view(leader).expect("it leads")["commit_index"].as_u64().expect("a number");
    cluster.wipe(wiped);
    cluster.start(wiped);
    wait_until("it votes again and has all", || {
        let Some(view) = cluster.view(leader) else { return false };
        let row = &view["nodes"][wiped];
        let is_changed = view["commit_index"].as_u64() >= Some(committed + CHANGES_OF_A_WIPE);
        is_changed && row["running"] == true && row["role"] == "voter" && row["index"] == view["commit_index"]
    });
    let (said, wiped_name) = (cluster.said(leader), name(wiped));
    for line in [
        "is to become a member, which votes once it has everything",
        "has another data folder now: what it was before is to be no member any more",
        "has everything, and is to vote",
    ] {
        assert!(said.contains(&format!("node {wiped_name} {line}")), "{line}:\n{said}");
    }
    assert!(!said.contains("Listed"), "{said}");
    // The one that has everything from the beginning goes: what it alone would have is on the new one.
    cluster.kill(kept);
    confirmed.extend(publish(&mut client, 50..60));
    cluster.kill(leader);
    cluster.start(kept);
    let found = take_all(&mut cluster.client(wiped));
    assert_all_there(&found, &confirmed, 60);
}

/// Nothing is written after the newcomer got its vote, but for that it has.
#[test]
fn who_votes_is_known_though_the_leader_is_lost_for_ever_and_the_others_are_killed() {
    let mut cluster = Cluster::formed();
    let leader = cluster.wait_for_leader(0);
    let [wiped, kept] = others(leader);
    cluster.lose(wiped, leader);
    let committed = cluster.view(leader).expect("it leads")["commit_index"].as_u64().expect("a number");
    cluster.wipe(wiped);
    cluster.start(wiped);
    let mut last = 0;
    wait_until("it votes again", || {
        let Some(view) = cluster.view(leader) else { return false };
        let row = &view["nodes"][wiped];
        last = view["commit_index"].as_u64().expect("a number");
        last >= committed + CHANGES_OF_A_WIPE && row["running"] == true && row["role"] == "voter"
    });
    for node in [wiped, kept] {
        wait_until("it knows that, too", || {
            let page = cluster.metrics(node);
            let applied = page.lines().find_map(|line| line.strip_prefix("rabbitmq_raft_log_last_applied_index "));
            applied.is_some_and(|applied| applied.parse() == Ok(last))
        });
    }
    for node in [leader, wiped, kept] {
        cluster.kill(node);
    }
    cluster.start(wiped);
    cluster.start(kept);
    let next = cluster.wait_for_leader(kept);
    assert!([wiped, kept].contains(&next), "{next}");
    let mut client = cluster.client(kept);
    client.send("queue.declare queue=q durable");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    assert_eq!(publish(&mut client, 0..10).len(), 10);
}

#[test]
fn keys_that_broke_meanwhile_end_no_node_that_comes_to_lead() {
    const KEY: &str = r#"{"kty":"oct","alg":"HS256","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;
    let mut cluster = Cluster::new("");
    let sections = |file: &std::path::Path| {
        let (internal, file) = (r#""internal", "oauth""#, file.display());
        format!(
            "[auth]\nbackends = [{internal}]\n[oauth]\nresource_server_id = \"c\"\nsigning_keys = {{ k = \"{file}\" }}\n"
        )
    };
    cluster.add_sections(sections, KEY);
    NODES.into_iter().for_each(|node| cluster.start(node));
    let leader = cluster.wait_for_leader(0);
    cluster.write_beside("no key");
    cluster.kill(leader);
    let [asked, _] = others(leader);
    let next = cluster.wait_for_leader(asked);
    drop(Client::connect(cluster.amqp(next), ""));
    let said = cluster.said(next);
    assert!(said.contains("keys not read again, those from before are good on: signing key 'k'"), "{said}");
    // Nobody starts with them.
    let status = cluster.command(leader).status().expect("the leveret program");
    assert!(!status.success() && cluster.said(leader).contains("leveret: signing key 'k'"));
}
