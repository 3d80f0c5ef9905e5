//! Where a message would go, and what leads where.

use crate::server::Server;
use serde_json::{Value, json};

fn server() -> Server {
    let server = Server::start();
    let dead = json!({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"});
    for (method, path, body) in [
        ("PUT", "queues/%2F/dead", json!({})),
        ("PUT", "queues/%2F/q", json!({"arguments": dead})),
        ("PUT", "queues/%2F/r", json!({})),
        ("PUT", "exchanges/%2F/last", json!({"type": "fanout"})),
        ("PUT", "exchanges/%2F/first", json!({"type": "topic", "arguments": {"alternate-exchange": "last"}})),
        ("PUT", "exchanges/%2F/second", json!({"type": "headers"})),
        ("PUT", "policies/%2F/p", json!({"pattern": "^r$", "definition": {"dead-letter-exchange": "last"}})),
        ("POST", "bindings/%2F/e/first/q/q", json!({"routing_key": "a.*"})),
        ("POST", "bindings/%2F/e/first/q/q", json!({"routing_key": "a.#"})),
        ("POST", "bindings/%2F/e/first/e/second", json!({"routing_key": "a.#"})),
        ("POST", "bindings/%2F/e/second/q/r", json!({"arguments": {"x-match": "all", "n": 1}})),
        ("POST", "bindings/%2F/e/last/q/r", json!({})),
    ] {
        let answer = server.ask(method, &format!("/api/{path}"), &body.to_string());
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
    }
    server
}

fn test_route(server: &Server, exchange: &str, body: &Value) -> Value {
    server.ask("POST", &format!("/api/exchanges/%2F/{exchange}/route"), &body.to_string()).json()
}

#[test]
fn a_route_is_tested_and_explained_and_nothing_is_published() {
    let server = server();
    let tested = test_route(&server, "first", &json!({"routing_key": "a.b", "headers": {"n": 1}}));
    assert_eq!((&tested["routed"], &tested["queue_count"], &tested["cut"]), (&json!(true), &json!(2), &json!(false)));
    let mut queues: Vec<_> = tested["queues"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    queues.sort_unstable();
    assert_eq!(queues, ["q", "r"]);
    let steps = tested["steps"].as_array().unwrap();
    let of = |step: &Value| (step["exchange"].clone(), step["by"].clone(), step["bindings"].as_array().unwrap().len());
    let expected = [(json!("first"), json!("publish"), 3), (json!("second"), json!("binding"), 1)];
    assert_eq!(steps.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(steps[1]["bindings"][0]["arguments"], json!({"x-match": "all", "n": 1}));

    let tested = test_route(&server, "first", &json!({"routing_key": "b"}));
    assert_eq!((&tested["queues"], &tested["steps"][0]["alternate"]), (&json!(["r"]), &json!("last")));
    assert_eq!(tested["steps"][1]["by"], "alternate");
    let tested = test_route(&server, "amq.default", &json!({"routing_key": "none"}));
    assert_eq!((&tested["routed"], &tested["queues"]), (&json!(false), &json!([])));
    let status =
        |exchange: &str, body: &str| server.ask("POST", &format!("/api/exchanges/%2F/{exchange}/route"), body).status;
    assert_eq!([status("none", "{}"), status("first", r#"{"headers":5}"#), status("first", "{}")], [404, 400, 200]);
    assert_eq!(server.get("/api/queues/%2F/q").json()["messages"], 0);
}

#[test]
fn a_topology_has_what_leads_where_up_to_a_bound() {
    let server = server();
    let drawn = server.get("/api/topology/%2F").json();
    assert_eq!((&drawn["queues"], &drawn["exchanges"], &drawn["bindings"]), (&json!(3), &json!(10), &json!(5)));
    assert_eq!((drawn["nodes"].as_array().unwrap().len(), &drawn["cut"]), (13, &json!(false)));
    let edge = |from: &str, to: &str, kind: &str, count: u64, keys: &[&str]| json!({"from": from, "to": to, "kind": kind, "count": count, "routing_keys": keys});
    let expected = [
        edge("exchange:first", "exchange:last", "alternate", 1, &[]),
        edge("exchange:first", "exchange:second", "binding", 1, &["a.#"]),
        edge("exchange:first", "queue:q", "binding", 2, &["a.*", "a.#"]),
        edge("exchange:last", "queue:r", "binding", 1, &[""]),
        edge("exchange:second", "queue:r", "binding", 1, &[""]),
        edge("queue:q", "queue:dead", "dead-letter", 1, &["dead"]),
        edge("queue:r", "exchange:last", "dead-letter", 1, &[]),
    ];
    assert_eq!(drawn["edges"], json!(expected));
    let queue = drawn["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "queue:q").unwrap();
    assert_eq!((&queue["kind"], &queue["type"], &queue["messages"]), (&json!("queue"), &json!("classic"), &json!(0)));

    let some = server.get("/api/topology/%2F?limit=4").json();
    let ids: Vec<_> = some["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), &some["cut"]), (4, &json!(true)));
    for bound in ["exchange:first", "exchange:second", "exchange:last"] {
        assert!(ids.contains(&bound), "{ids:?}");
    }
    // Of queues those are drawn that are asked for.
    let named = server.get("/api/topology/%2F?name=DEA").json();
    let queues: Vec<_> = named["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["kind"] == "queue")
        .map(|node| &node["id"])
        .collect();
    assert_eq!((queues, &named["queues"]), (vec![&json!("queue:dead")], &json!(1)));
    assert_eq!(server.get("/api/topology/%2F?name=(&use_regex=true").status, 400);
    assert_eq!(server.get("/api/topology/%2F?limit=x").status, 400);
    assert_eq!(server.get("/api/topology/none").status, 404);
}
