//! Delayed messages over HTTP and with leveretctl: listed, counted, cancelled, by those who may.

use crate::server::{Server, basic};
use crate::support::client::Client;
use serde_json::json;

const LONG_MS: u64 = 3_600_000;

/// A server with an exchange that keeps so many messages, an hour and more from being due.
fn with_delayed(count: u64) -> (Server, Client) {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send(
        "exchange.declare exchange=d type=x-delayed-message arguments={x-delayed-type=S:'fanout'} ; \
         queue.declare queue=q ; queue.bind queue=q exchange=d ; confirm.select",
    );
    client.expects(
        "exchange.declare-ok → queue.declare-ok(queue='q', message_count=0, consumer_count=0) → queue.bind-ok → \
         confirm.select-ok",
    );
    for number in 0..count {
        let delay_ms = LONG_MS + (count - number) * 1000;
        client.send(&format!(
            "publish exchange=d routing_key=k{number} message_id=m{number} headers={{x-delay=l:{delay_ms}}} body='12345'"
        ));
    }
    client.expects(&format!("acks {count}"));
    (server, client)
}

#[test]
fn they_are_listed_in_parts_counted_and_cancelled() {
    let (server, _client) = with_delayed(5);
    let path = "/api/delayed/%2F/d";
    assert_eq!(server.get("/api/exchanges/%2F/d").json()["messages_delayed"], 5);
    assert_eq!(server.get("/api/exchanges/%2F/amq.topic").json().get("messages_delayed"), None);
    assert_eq!(server.get(&format!("{path}/count")).json(), json!({"messages_delayed": 5}));
    let mut seen = Vec::new();
    for page in 1..=3 {
        let listed = server.get(&format!("{path}?page={page}&page_size=2")).json();
        assert_eq!((&listed["total_count"], &listed["page_count"]), (&json!(5), &json!(3)));
        let items = listed["items"].as_array().unwrap();
        assert!(items.is_sorted_by_key(|item| item["due_at"].as_u64()));
        seen.extend(items.clone());
    }
    let mut names: Vec<_> = seen.iter().map(|item| item["message_id"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    let one = seen.iter().find(|item| item["message_id"] == "m3").unwrap();
    assert_eq!((&one["exchange"], &one["routing_key"]), (&json!("d"), &json!("k3")));
    assert_eq!((&one["payload_bytes"], &one["persistent"]), (&json!(5), &json!(false)));
    let id = one["id"].as_str().unwrap();
    assert_eq!(server.ask("DELETE", &format!("{path}/{id}"), "").status, 204);
    assert_eq!(server.ask("DELETE", &format!("{path}/{id}"), "").status, 404);
    assert_eq!(server.ask("DELETE", &format!("{path}/soon"), "").status, 404);
    assert_eq!(server.get(&format!("{path}/count")).json(), json!({"messages_delayed": 4}));
    assert!(!server.get(path).text.contains("\"m3\""));
    assert_eq!(server.get(&format!("{path}?page=0")).status, 400);
    assert_eq!(server.get(&format!("{path}?page=1&page_size=501")).status, 400);
    assert_eq!(server.get("/api/delayed/%2F/none").status, 404);
    let refused = server.get("/api/delayed/%2F/amq.topic");
    let reason = "exchange 'amq.topic' in vhost '/' is not of type 'x-delayed-message'";
    assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!(reason)));
}

#[test]
fn who_may_read_sees_them_and_who_may_write_as_well_cancels() {
    let (server, _client) = with_delayed(1);
    let path = "/api/delayed/%2F/d";
    let id = server.get(path).json()["items"][0]["id"].as_str().unwrap().to_owned();
    for (name, write, read, listed, cancelled) in [
        ("none", "", "", 401, 401),
        ("writer", ".*", "", 401, 401),
        ("reader", "", ".*", 200, 401),
        ("both", "d", "d", 200, 204),
    ] {
        server.ask("PUT", &format!("/api/users/{name}"), r#"{"password":"pw","tags":"management"}"#);
        let rights = json!({"configure": "", "write": write, "read": read}).to_string();
        server.ask("PUT", &format!("/api/permissions/%2F/{name}"), &rights);
        let credentials = basic(&format!("{name}:pw"));
        let ask = |method, path: &str| server.ask_with(method, path, "", &[("authorization", &credentials)]).status;
        assert_eq!((ask("GET", path), ask("GET", &format!("{path}/count"))), (listed, listed), "{name}");
        assert_eq!(ask("DELETE", &format!("{path}/{id}")), cancelled, "{name}");
    }
}

#[test]
fn leveretctl_lists_counts_and_cancels() {
    let (server, _client) = with_delayed(2);
    let prints = |arguments: &[&str]| {
        let (code, output, error) = server.ctl(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        output
    };
    assert_eq!(prints(&["delayed", "count", "d"]), "messages_delayed\n2\n");
    let list = prints(&["delayed", "list", "d"]);
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("Listing delayed messages of exchange 'd' in vhost '/' ..."));
    assert_eq!(lines.next(), Some("id\tdue_at\trouting_key\tmessage_id\tpersistent\tpayload_bytes"));
    let first: Vec<_> = lines.next().unwrap().split('\t').collect();
    assert_eq!(first[2..], ["k1", "m1", "false", "5"], "it is due first");
    let announced = format!("Cancelling message {} of exchange 'd' in vhost '/' ...\n", first[0]);
    assert_eq!(prints(&["delayed", "cancel", "d", first[0]]), announced);
    assert_eq!(server.ctl(&["delayed", "cancel", "d", first[0]]).0, 69);
    assert_eq!(prints(&["delayed", "count", "d", "-s"]), "1\n");
    assert_eq!(prints(&["-q", "list_exchanges", "name", "messages_delayed"]).lines().last(), Some("d\t1"));
    assert_eq!(server.ctl(&["delayed", "list", "none"]).0, 69);
}
