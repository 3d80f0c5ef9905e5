//! What enters a queue, or what an exchange routes, followed over HTTP as events.

use crate::server::{Server, basic};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;

/// Somebody who follows.
struct Follower {
    lines: std::io::Lines<BufReader<TcpStream>>,
    /// The head of the answer.
    head: Vec<String>,
}

impl Follower {
    fn new(server: &Server, path: &str) -> Self {
        let mut stream = TcpStream::connect(server.management).expect("a connection");
        let head = format!(
            "GET /api/{path} HTTP/1.1\r\nhost: leveret\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
            basic("guest:guest")
        );
        stream.write_all(head.as_bytes()).expect("it is taken");
        let mut lines = BufReader::new(stream).lines();
        let head = lines.by_ref().map(|line| line.expect("text")).take_while(|line| !line.is_empty()).collect();
        Self { lines, head }
    }

    /// The next event, whose lines are between those of chunked encoding. `None` when that was all.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut event = None;
        while let Some(Ok(line)) = self.lines.next() {
            if let Some(name) = line.strip_prefix("event: ") {
                event = Some(name.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((event.take()?, serde_json::from_str(data).expect("JSON")));
            }
        }
        None
    }

    /// The next one of that name.
    fn next_of(&mut self, name: &str) -> Value {
        loop {
            match self.next() {
                Some((event, data)) if event == name => return data,
                Some(_) => {}
                None => panic!("it ended before {name}"),
            }
        }
    }
}

fn publish(server: &Server, exchange: &str, key: &str, payload: &str) {
    let body = json!({"properties": {"headers": {"n": 1}}, "routing_key": key, "payload": payload}).to_string();
    let answer = server.ask("POST", &format!("/api/exchanges/%2F/{exchange}/publish"), &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn messages_of_a_queue_are_told_as_they_come_and_stay_there() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let mut follower = Follower::new(&server, "queues/%2F/q/tail?truncate=3&seconds=600");
    assert_eq!(follower.head[0], "HTTP/1.1 200 OK");
    assert!(follower.head.contains(&"content-type: text/event-stream".to_owned()), "{:?}", follower.head);
    publish(&server, "amq.default", "q", "line\nbreak");
    let mut told = follower.next_of("message");
    assert!(told["time"].take().as_u64().is_some());
    let expected = json!({
        "time": null, "exchange": "", "routing_key": "q", "properties": {"headers": {"n": 1}},
        "payload": "lin", "payload_encoding": "string", "payload_bytes": 10, "truncated": true, "queues": [],
    });
    assert_eq!(told, expected);
    let counts = json!({"seen": 1, "matched": 1, "told": 1, "passed_over": 0, "dropped": 0, "unread": 0});
    assert_eq!(follower.next_of("status"), counts);
    let get = r#"{"count":9,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    let got = server.ask("POST", "/api/queues/%2F/q/get", get).json();
    assert_eq!((got.as_array().unwrap().len(), &got[0]["redelivered"]), (1, &json!(false)));
    server.ask("DELETE", "/api/queues/%2F/q", "");
    assert_eq!(follower.next_of("end"), json!({"reason": "gone"}));
    assert_eq!(follower.next(), None);
}

#[test]
fn an_exchange_tells_where_messages_go_until_the_time_is_over() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    server.ask("POST", "/api/bindings/%2F/e/amq.topic/q/q", r##"{"routing_key":"#"}"##);
    let mut follower = Follower::new(&server, "exchanges/%2F/amq.topic/tail?routing_key=a.*&text=needle&seconds=1");
    for (key, payload) in [("a.b", "needle"), ("a.b", "hay"), ("b.a", "needle"), ("a.c", "a needle")] {
        publish(&server, "amq.topic", key, payload);
    }
    for key in ["a.b", "a.c"] {
        let told = follower.next_of("message");
        assert_eq!((&told["routing_key"], &told["queues"]), (&json!(key), &json!(["q"])));
    }
    assert_eq!(follower.next_of("end"), json!({"reason": "duration"}));
    assert_eq!(follower.next(), None);
    for wrong in ["?rate=x", "?seconds=-1", &format!("?routing_key={}", "k".repeat(256))] {
        assert_eq!(server.get(&format!("/api/exchanges/%2F/amq.topic/tail{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(server.get("/api/exchanges/%2F/none/tail").status, 404);
    assert_eq!(server.get("/api/queues/%2F/none/tail").status, 404);
    assert_eq!(server.get("/api/exchanges/%2F/amq.default/tail?seconds=0").status, 200);
}

#[test]
fn leveretctl_prints_what_comes_until_its_time_is_over() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/a%20queue", "{}");
    let spawn = |arguments: &[&str]| {
        let mut command = server.ctl_command();
        command.args(["tail", "queue", "a queue"]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
        (child, lines)
    };
    let (mut child, mut lines) = spawn(&["--for", "2s", "--text", "needle"]);
    assert_eq!(lines.next().unwrap(), "Following queue 'a queue' in vhost '/' ...");
    // It follows from when the broker says so, which this does not show: one of these is told.
    let line = std::thread::scope(|scope| {
        let line = scope.spawn(|| lines.next().unwrap());
        while !line.is_finished() {
            publish(&server, "amq.default", "a queue", "a needle");
        }
        line.join().unwrap()
    });
    assert!(line.ends_with("   a queue  8 B  a needle"), "{line}");
    let last = lines.last().unwrap();
    assert!(last.contains(" seen, ") && last.contains(" told"), "{last}");
    assert!(child.wait().unwrap().success());

    let (code, output, error) = server.ctl(&["-q", "tail", "queue", "a queue", "--for", "0", "--formatter", "csv"]);
    assert_eq!((code, output.as_str(), error.as_str()), (0, "", ""));
    let (code, _, error) = server.ctl(&["tail", "exchange", "none"]);
    assert_eq!((code, error.as_str()), (69, "Error:\nno exchange 'none' in vhost '/'\n"));
    let (code, ..) = server.ctl(&["tail", "exchange", "amq.topic", "--for", "1h"]);
    assert_eq!(code, 64);
}

#[test]
fn who_goes_makes_room_for_others() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let path = "queues/%2F/q/tail?seconds=600";
    let followers: Vec<_> = (0..8).map(|_| Follower::new(&server, path)).collect();
    let refused = server.get(&format!("/api/{path}"));
    let reason = "too many queues and exchanges are tailed";
    assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!(reason)));
    drop(followers);
    // It is noticed when something is to be said.
    let let_in = (0..100).any(|_| {
        Follower::new(&server, path).head[0] == "HTTP/1.1 200 OK" || {
            publish(&server, "amq.default", "q", "");
            false
        }
    });
    assert!(let_in);
}
