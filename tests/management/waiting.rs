//! Messages where they wait and where they are held: looked at, given back, redriven, moved.

use crate::server::{Answer, Server, basic};
use crate::support::client::Client;
use serde_json::{Value, json};

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.ask("POST", &format!("/api/{path}"), &body.to_string())
}

fn publish(server: &Server, key: &str, payload: &str) {
    let body =
        json!({"properties": {"message_id": payload, "delivery_mode": 2}, "routing_key": key, "payload": payload});
    assert_eq!(post(server, "exchanges/%2F/amq.default/publish", &body).status, 200);
}

fn depth(server: &Server, queue: &str) -> (u64, u64) {
    let queue = server.get(&format!("/api/queues/%2F/{queue}")).json();
    let count = |name: &str| queue[name].as_u64().unwrap();
    (count("messages_ready"), count("messages_unacknowledged"))
}

#[test]
fn peeking_shows_messages_and_changes_nothing() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    for number in 0..5 {
        publish(&server, "q", &format!("number {number}"));
    }
    for _ in 0..2 {
        let peeked = server.get("/api/queues/%2F/q/peek?from=1&count=2&truncate=3").json();
        // An id begins with when the broker started.
        let (run, _) = peeked["items"][0]["id"].as_str().and_then(|id| id.split_once('-')).expect("an id");
        assert!(run.parse::<u64>().is_ok_and(|run| run > 0), "{run}");
        let item = |position: u64| {
            json!({
                "position": position, "id": format!("{run}-1-0-{position}"), "redelivered": false,
                "exchange": "", "routing_key": "q",
                "properties": {"message_id": format!("number {position}"), "delivery_mode": 2},
                "payload": "num", "payload_encoding": "string", "payload_bytes": 8, "truncated": true,
            })
        };
        let expected = json!({"items": [item(1), item(2)], "messages_ready": 5, "next": 3, "away": false});
        assert_eq!(peeked, expected);
    }
    assert_eq!(server.get("/api/queues/%2F/q/peek?from=4").json()["next"], Value::Null);
    assert_eq!(server.get("/api/queues/%2F/q/peek?count=x").status, 400);
    assert_eq!(server.get("/api/queues/%2F/q/peek?from=100001").status, 400);
    assert_eq!(server.get("/api/queues/%2F/none/peek").status, 404);
}

#[test]
fn what_a_client_holds_is_listed_and_can_be_taken_away_from_it() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send(
        "queue.declare queue=dead ; queue.declare queue=q arguments={x-dead-letter-exchange=S:'', \
         x-dead-letter-routing-key=S:'dead'}",
    );
    client.expects(
        "queue.declare-ok(queue='dead', message_count=0, consumer_count=0) → \
         queue.declare-ok(queue='q', message_count=0, consumer_count=0)",
    );
    for payload in ["a", "b", "c"] {
        publish(&server, "q", payload);
    }
    client.send("basic.qos prefetch_count=3 ; basic.consume queue=q consumer_tag=worker");
    client.expects("basic.qos-ok → basic.consume-ok(consumer_tag='worker')");
    let held = loop {
        let held = server.get("/api/queues/%2F/q/unacked?count=2").json();
        if held["messages_unacknowledged"] == 3 {
            break held;
        }
    };
    let items = held["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["consumer_tag"], &items[0]["delivery_tag"]), (&json!("worker"), &json!(1)));
    assert_eq!((&items[0]["held_ms"], &items[0]["payload_bytes"]), (&Value::Null, &json!(1)));
    assert!(items[0]["held_at_most_ms"].as_u64() < Some(60_000), "not longer than the broker runs: {}", items[0]);
    assert_eq!(items[1]["properties"]["message_id"], "b");
    assert_eq!(items[0]["channel_details"]["user"], "guest");
    let rest = format!("/api/queues/%2F/q/unacked?after={}", held["next"].as_str().unwrap());
    let rest = server.get(&rest).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    let settle = |item: &Value, action: &str| {
        let id = item["id"].as_str().unwrap();
        post(&server, &format!("queues/%2F/q/unacked/{id}"), &json!({"action": action})).status
    };
    client.send("basic.cancel consumer_tag=worker");
    assert_eq!(settle(&items[0], "reject"), 204);
    assert_eq!(settle(&items[0], "reject"), 404);
    assert_eq!(settle(&items[1], "requeue"), 204);
    assert_eq!(settle(&rest["items"][0], "keep"), 400);
    assert_eq!((depth(&server, "dead"), depth(&server, "q")), ((1, 0), (1, 1)));
    assert_eq!(server.get("/api/queues/%2F/q/peek").json()["items"][0]["redelivered"], true);
    for wrong in ["1", "1-2-x"] {
        assert_eq!(post(&server, &format!("queues/%2F/q/unacked/{wrong}"), &json!({"action": "reject"})).status, 404);
    }
    assert_eq!(server.get("/api/queues/%2F/q/unacked?after=x").status, 400);
    // It may settle what was taken away from it, and what was not.
    client.send("basic.ack delivery_tag=1 ; basic.ack delivery_tag=3 multiple ; queue.purge queue=dead");
    client.read_like(1, "queue.purge-ok(message_count=1)");
    assert_eq!(depth(&server, "q"), (1, 0));
}

#[test]
fn dead_letters_are_redriven_and_messages_moved() {
    let server = Server::start();
    let mortal = json!({"arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}}).to_string();
    server.ask("PUT", "/api/queues/%2F/a", &mortal);
    for queue in ["dead", "b"] {
        server.ask("PUT", &format!("/api/queues/%2F/{queue}"), "{}");
    }
    for payload in ["1", "2", "3"] {
        publish(&server, "a", payload);
    }
    publish(&server, "dead", "no letter");
    let reject = json!({"count": 9, "ackmode": "reject_requeue_false", "encoding": "auto"});
    assert_eq!(post(&server, "queues/%2F/a/get", &reject).json().as_array().unwrap().len(), 3);
    while depth(&server, "dead").0 < 4 {}
    let redriven = post(&server, "queues/%2F/dead/redrive", &json!({"count": 2}));
    let one_stays = json!([{"reason": "it is no dead letter", "count": 1}]);
    assert_eq!(redriven.json(), json!({"moved": 1, "skipped": one_stays, "left": 3}), "{}", redriven.text);
    let redriven = post(&server, "queues/%2F/dead/redrive", &json!({}));
    assert_eq!(redriven.json(), json!({"moved": 2, "skipped": one_stays, "left": 1}));
    assert_eq!((depth(&server, "a"), depth(&server, "dead")), ((3, 0), (1, 0)));
    let bodies = server.get("/api/queues/%2F/a/peek").json();
    let bodies: Vec<_> = bodies["items"].as_array().unwrap().iter().map(|item| item["payload"].clone()).collect();
    assert_eq!(bodies, ["1", "2", "3"]);

    // One that is not the oldest, by its id.
    assert_eq!(post(&server, "queues/%2F/a/get", &reject).json().as_array().unwrap().len(), 3);
    while depth(&server, "dead").0 < 4 {}
    let peeked = server.get("/api/queues/%2F/dead/peek").json();
    let id = |payload: &str| {
        let items = peeked["items"].as_array().unwrap();
        items.iter().find(|item| item["payload"] == payload).unwrap()["id"].clone()
    };
    let redriven = post(&server, "queues/%2F/dead/redrive", &json!({"message": id("2")}));
    assert_eq!(redriven.json(), json!({"moved": 1, "skipped": [], "left": 3}), "{}", redriven.text);
    let redriven = post(&server, "queues/%2F/dead/redrive", &json!({"message": id("2")}));
    let is_gone = json!([{"reason": "it is there no more", "count": 1}]);
    assert_eq!(redriven.json(), json!({"moved": 0, "skipped": is_gone, "left": 3}));
    let redriven = post(&server, "queues/%2F/dead/redrive", &json!({"message": id("no letter")}));
    assert_eq!(redriven.json(), json!({"moved": 0, "skipped": one_stays, "left": 3}));
    for (wrong, body) in [("dead", json!({"message": "1-2"})), ("dead", json!({"message": id("1"), "count": 1}))] {
        assert_eq!(post(&server, &format!("queues/%2F/{wrong}/redrive"), &body).status, 400, "{body}");
    }
    assert_eq!(post(&server, "queues/%2F/dead/redrive", &json!({})).json()["moved"], 2);
    let bodies = server.get("/api/queues/%2F/a/peek").json();
    let bodies: Vec<_> = bodies["items"].as_array().unwrap().iter().map(|item| item["payload"].clone()).collect();
    assert_eq!(bodies, ["2", "1", "3"]);

    let moved = post(&server, "queues/%2F/a/move", &json!({"destination": "b", "count": 2}));
    assert_eq!(moved.json(), json!({"moved": 2, "skipped": [], "left": 1}));
    assert_eq!(depth(&server, "b"), (2, 0));
    for (path, body, status) in [
        ("queues/%2F/a/move", json!({}), 400),
        ("queues/%2F/a/move", json!({"destination": "none"}), 404),
        ("queues/%2F/none/move", json!({"destination": "b"}), 404),
        ("queues/%2F/a/redrive", json!({"target": "moon"}), 400),
        ("queues/%2F/a/redrive", json!({"count": -1}), 400),
    ] {
        assert_eq!(post(&server, path, &body).status, status, "{path} {body}");
    }
    // Reading alone is not enough to move.
    server.ask("PUT", "/api/users/reader", r#"{"password":"pw","tags":"management"}"#);
    server.ask("PUT", "/api/permissions/%2F/reader", r#"{"configure":"","write":"","read":".*"}"#);
    let headers = [("authorization", basic("reader:pw"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = server.ask_with("POST", "/api/queues/%2F/a/move", r#"{"destination":"b"}"#, &headers);
    assert_eq!(refused.status, 401);
    assert_eq!(server.ask_with("GET", "/api/queues/%2F/a/peek", "", &headers).status, 200);
}
