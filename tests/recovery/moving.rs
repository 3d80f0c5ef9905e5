//! Dead letters that are redriven while the broker is killed: each is in one of the two queues afterwards, or in both, and
//! those that were answered for are where they were moved to, once.

use crate::message::{Message, take_all};
use crate::node::{DataFolder, Node, PATIENCE, ask, depth};
use crate::stops::publish_confirmed;
use crate::{random::Random, seed_and_rounds};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

const COUNT: usize = 2000;

/// Sends a request to the HTTP API.
fn request(node: &Node, method: &str, path: &str, body: &str) -> TcpStream {
    let (_, rest) = node.said.split_once("listening for management at http://").expect("where it is");
    let address: SocketAddr = rest.lines().next().expect("a line").parse().expect("an address");
    let mut stream = TcpStream::connect(address).expect("a running broker");
    let head = format!(
        "{method} /api/{path} HTTP/1.1\r\nhost: a\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a running broker");
    stream
}

/// What is answered, if anything is.
fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// A broker whose queue `dead` has so many dead letters of the queue `alive`.
fn with_dead_letters(folder: &DataFolder) -> (Node, Vec<Message>) {
    let node = folder.start();
    let mut client = node.client();
    let dead_letters = "arguments={x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:'dead'}";
    assert!(ask(&mut client, "queue.declare queue=dead durable", "queue.declare-ok"));
    assert!(ask(&mut client, &format!("queue.declare queue=alive durable {dead_letters}"), "queue.declare-ok"));
    let messages = publish_confirmed(&node, 1, "alive", 2, COUNT as u32);
    client.send("basic.consume queue=alive consumer_tag=c");
    client.expects("basic.consume-ok(consumer_tag='c')");
    for _ in 0..COUNT {
        crate::message::next_delivery(&mut client).expect("a running broker");
    }
    client.send("basic.nack delivery_tag=0 multiple ; basic.cancel consumer_tag=c");
    client.expects("basic.cancel-ok(consumer_tag='c')");
    let deadline = Instant::now() + PATIENCE;
    while depth(&mut client, "dead") != Some(COUNT) {
        assert!(Instant::now() < deadline, "dead letters are missing");
    }
    (node, messages)
}

/// How often each message is in one of the two queues.
fn found(node: &Node) -> BTreeMap<Message, usize> {
    let mut found = BTreeMap::new();
    for queue in ["dead", "alive"] {
        // One that takes them all holds them until it goes.
        for delivery in take_all(&mut node.client(), queue) {
            *found.entry(delivery.message).or_default() += 1;
        }
    }
    found
}

#[test]
fn whoever_is_killed_while_they_move_has_all_of_them() {
    let (seed, rounds) = seed_and_rounds(3);
    let mut random = Random::new(seed);
    for round in 0..rounds {
        let folder = DataFolder::new();
        let (node, messages) = with_dead_letters(&folder);
        let stream = request(&node, "POST", "queues/%2F/dead/redrive", "");
        // Once so many have come, or all of them.
        let mut client = node.client();
        let enough = (random.next() % COUNT as u64) as usize;
        while depth(&mut client, "alive") < Some(enough) {}
        node.kill();
        let is_answered = answer(stream).contains("\"moved\"");
        let found = found(&folder.start());
        assert!(found.keys().eq(&messages), "round {round}, seed {seed}: some are lost");
        assert!(
            !is_answered || found.values().all(|times| *times == 1),
            "round {round}, seed {seed}: some are doubled"
        );
    }
}

#[test]
fn what_was_answered_for_is_there_and_nowhere_else() {
    let folder = DataFolder::new();
    let (node, messages) = with_dead_letters(&folder);
    let text = answer(request(&node, "POST", "queues/%2F/dead/redrive", ""));
    assert!(text.contains(&format!("\"moved\":{COUNT}")), "{text}");
    node.kill();
    let node = folder.start();
    assert_eq!(depth(&mut node.client(), "dead"), Some(0));
    let alive: Vec<Message> = take_all(&mut node.client(), "alive").iter().map(|delivery| delivery.message).collect();
    assert_eq!(alive, messages, "in their order");
}

/// The ids of the first dead letters.
fn ids(node: &Node) -> Vec<String> {
    let text = answer(request(node, "GET", "queues/%2F/dead/peek?count=100&truncate=0", ""));
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer");
    let peeked: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let items = peeked["items"].as_array().expect("dead letters");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// By ones that are not the oldest, while others before them stay.
#[test]
fn one_that_was_answered_for_is_where_it_belongs_and_one_that_was_not_is_somewhere() {
    let folder = DataFolder::new();
    let (node, messages) = with_dead_letters(&folder);
    let ids = ids(&node);
    let redrive =
        |at: usize| request(&node, "POST", "queues/%2F/dead/redrive", &format!(r#"{{"message":"{}"}}"#, ids[at]));
    let answered = [70, 3, 42];
    for at in answered {
        let text = answer(redrive(at));
        assert!(text.contains(r#""moved":1"#), "{text}");
    }
    let asked = [9, 98].map(|at| (at, redrive(at)));
    node.kill();
    drop(asked);
    let node = folder.start();
    let take = |queue| -> Vec<Message> {
        take_all(&mut node.client(), queue).iter().map(|delivery| delivery.message).collect()
    };
    let alive = take("alive");
    assert_eq!(alive[..3], answered.map(|at| messages[at]), "in the order in which they were asked for");
    let dead = take("dead");
    for (at, message) in messages.iter().enumerate() {
        let times = alive.iter().chain(&dead).filter(|other| *other == message).count();
        match [9, 98].contains(&at) {
            true => assert!((1..=2).contains(&times), "{at} is there {times} times"),
            false => assert_eq!((times, dead.contains(message)), (1, !answered.contains(&at)), "{at}"),
        }
    }
    let rest: Vec<Message> = messages.iter().filter(|message| dead.contains(message)).copied().collect();
    assert_eq!(dead, rest, "in their order");
}
