//! What management changes, clients see, and the other way round.

use crate::server::{Server, basic};
use crate::support::client::Client;
use serde_json::{Value, json};

#[test]
fn queues_are_declared_and_deleted() {
    let server = Server::start();
    let path = "/api/queues/%2F/q";
    assert_eq!(server.ask("PUT", path, r#"{"durable":true,"arguments":{"x-expires":60000}}"#).status, 201);
    assert_eq!(server.ask("PUT", path, r#"{"durable":true,"arguments":{"x-expires":60000}}"#).status, 204);
    let refused = server.ask("PUT", path, "{}");
    let reason = "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'";
    assert_eq!((refused.status, refused.json()), (400, json!({"error": "bad_request", "reason": reason})));
    let mut client = Client::connect(server.amqp, "");
    client.send("basic.consume queue=q consumer_tag=c");
    client.expects("basic.consume-ok(consumer_tag='c')");
    let refused = server.ask("DELETE", &format!("{path}?if-unused=true"), "");
    assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!("queue 'q' in vhost '/' in use")));
    assert_eq!(server.ask("DELETE", path, "").status, 204);
    client.expects("basic.cancel(consumer_tag='c', nowait=true)");
    assert_eq!(server.get(path).status, 404);
}

#[test]
fn exchanges_are_declared_and_deleted() {
    let server = Server::start();
    let path = "/api/exchanges/%2F/x";
    assert_eq!(server.ask("PUT", path, r#"{"type":"topic","durable":true}"#).status, 201);
    assert_eq!(server.ask("PUT", path, r#"{"type":"topic","durable":true}"#).status, 204);
    assert_eq!(server.ask("PUT", path, r#"{"type":"direct","durable":true}"#).status, 400);
    let inequivalent =
        "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'direct' but current is 'topic'";
    assert_eq!(server.ask("PUT", path, "{}").json()["reason"], inequivalent, "what doesn't say its type is direct");
    assert_eq!(server.ask("PUT", "/api/exchanges/%2F/plain", "").status, 201);
    assert_eq!(server.get("/api/exchanges/%2F/plain").json()["type"], "direct");
    for (kind, reason) in [("null", "invalid exchange type 'null'"), (r#""no""#, "unknown exchange type 'no'")] {
        let refused = server.ask("PUT", "/api/exchanges/%2F/y", &format!(r#"{{"type":{kind}}}"#));
        assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!(reason)));
    }
    let exchange = server.get(path).json();
    let expected = json!({
        "name": "x", "vhost": "/", "type": "topic", "durable": true, "auto_delete": false, "internal": false,
        "arguments": {}, "policy": null,
    });
    assert_eq!(exchange, expected);
    assert_eq!(server.ask("DELETE", path, "").status, 204);
    assert_eq!(server.ask("DELETE", "/api/exchanges/%2F/amq.topic", "").status, 401, "RabbitMQ refuses it so");
    assert_eq!(server.get("/api/exchanges/%2F/amq.default").json()["name"], "");
}

#[test]
fn bindings_are_made_found_and_removed() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let path = "/api/bindings/%2F/e/amq.topic/q/q";
    let plain = server.ask("POST", path, r##"{"routing_key":"a.#"}"##);
    assert_eq!((plain.status, plain.header.as_deref()), (201, Some("q/a.%2523")));
    let with_arguments = server.ask("POST", path, r##"{"routing_key":"a.#","arguments":{"n":1}}"##);
    let location = with_arguments.header.expect("a location");
    let keys = server.get(&format!("{path}?columns=properties_key,arguments")).json();
    assert_eq!(keys.as_array().unwrap().len(), 2);
    let binding = server.get(&format!("/api/bindings/%2F/e/amq.topic/q/{location}")).json();
    let expected = json!({
        "source": "amq.topic", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "a.#",
        "arguments": {"n": 1}, "properties_key": binding["properties_key"],
    });
    assert_eq!(binding, expected);
    assert_eq!(server.ask("DELETE", &format!("/api/bindings/%2F/e/amq.topic/q/{location}"), "").status, 204);
    assert_eq!(server.ask("DELETE", &format!("{path}/a.%2523"), "").status, 204);
    assert_eq!(server.get(path).json(), json!([]));
    for (ends, missing) in [("no/q/q", "exchange"), ("amq.topic/q/no", "queue")] {
        let refused = server.ask("POST", &format!("/api/bindings/%2F/e/{ends}"), "{}");
        let reason = format!("no {missing} 'no' in vhost '/'");
        assert_eq!((refused.status, refused.json()), (404, json!({"error": "not_found", "reason": reason})));
    }
    assert_eq!(server.get("/api/queues/%2F/q/bindings").json()[0]["source"], "", "the default exchange's is left");
}

#[test]
fn exchanges_are_bound_to_exchanges() {
    let server = Server::start();
    let bound = server.ask("POST", "/api/bindings/%2F/e/amq.topic/e/amq.fanout", r#"{"routing_key":"k"}"#);
    assert_eq!(bound.status, 201);
    let from = server.get("/api/exchanges/%2F/amq.topic/bindings/source").json();
    let to = server.get("/api/exchanges/%2F/amq.fanout/bindings/destination").json();
    assert_eq!((&from, &from[0]["destination_type"]), (&to, &json!("exchange")));
}

#[test]
fn what_is_the_brokers_own_stays_as_it_is() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    for (method, path) in [
        ("DELETE", "exchanges/%2F/amq.topic"),
        ("DELETE", "exchanges/%2F/amq.default"),
        ("PUT", "exchanges/%2F/amq.new"),
        ("PUT", "queues/%2F/amq.new"),
        ("POST", "bindings/%2F/e/amq.default/q/q"),
        ("DELETE", "bindings/%2F/e/amq.default/q/q/q"),
    ] {
        let refused = server.ask(method, &format!("/api/{path}"), "{}");
        let expected = json!({"error": "not_authorised", "reason": "Access refused."});
        assert_eq!((refused.status, refused.json()), (401, expected), "{method} {path}");
    }
    assert_eq!(server.ask("DELETE", "/api/bindings/%2F/e/amq.default/q/no/no", "").status, 404);
}

#[test]
fn a_queue_of_one_connection_is_not_for_others() {
    let server = Server::start();
    let mut owner = Client::connect(server.amqp, "");
    owner.send("queue.declare queue=mine exclusive ; queue.bind queue=mine exchange=amq.topic routing_key=k");
    owner.read_like(1, "queue.declare-ok");
    owner.read_like(1, "queue.bind-ok");
    let publish = r#"{"routing_key":"k","payload":"x","payload_encoding":"string","properties":{}}"#;
    assert_eq!(server.ask("POST", "/api/exchanges/%2F/amq.topic/publish", publish).json(), json!({"routed": true}));
    let locked = "cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on \
                  another connection or the exclusive property value does not match that of the original declaration.";
    let get = r#"{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}"#;
    for (method, path, body, code) in [
        ("PUT", "queues/%2F/mine", "{}", ""),
        ("DELETE", "queues/%2F/mine/contents", "", ""),
        ("DELETE", "queues/%2F/mine", "", ""),
        ("POST", "queues/%2F/mine/get", get, "405 RESOURCE_LOCKED - "),
        ("POST", "bindings/%2F/e/amq.topic/q/mine", r#"{"routing_key":"other"}"#, ""),
        ("DELETE", "bindings/%2F/e/amq.topic/q/mine/k", "", ""),
    ] {
        let refused = server.ask(method, &format!("/api/{path}"), body);
        let expected = json!({"error": "bad_request", "reason": format!("{code}{locked}")});
        assert_eq!((refused.status, refused.json()), (400, expected), "{method} {path}");
    }
    let missing = server.ask("POST", "/api/bindings/%2F/e/no/q/mine", "{}");
    assert_eq!((missing.status, &missing.json()["reason"]), (404, &json!("no exchange 'no' in vhost '/'")));
    assert_eq!(server.ask("DELETE", "/api/bindings/%2F/e/amq.topic/q/mine/no", "").status, 404);
    assert_eq!(server.get("/api/queues/%2F/mine").json()["messages"], 1);
    assert_eq!(server.get("/api/bindings/%2F/e/amq.topic/q/mine").json()[0]["routing_key"], "k");
}

#[test]
fn messages_are_published_and_looked_at() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let publish = |body: &str| server.ask("POST", "/api/exchanges/%2F/amq.default/publish", body).json();
    let first = r#"{"routing_key":"q","payload":"hello","properties":{"type":"t","headers":{"h":1}}}"#;
    assert_eq!(publish(first), json!({"routed": true}));
    assert_eq!(publish(r#"{"routing_key":"q","payload":"/wA=","payload_encoding":"base64"}"#), json!({"routed": true}));
    assert_eq!(publish(r#"{"routing_key":"no","payload":"lost"}"#), json!({"routed": false}));
    let get = |body: &str| server.ask("POST", "/api/queues/%2F/q/get", body).json();
    // Command lines send the count as text.
    let got = get(r#"{"count":"5","ackmode":"ack_requeue_true","encoding":"auto","truncate":3}"#);
    let expected = json!([
        {
            "payload": "hel", "payload_bytes": 5, "payload_encoding": "string", "redelivered": false, "exchange": "",
            "routing_key": "q", "message_count": 1, "properties": {"type": "t", "headers": {"h": 1}},
        },
        {
            "payload": "/wA=", "payload_bytes": 2, "payload_encoding": "base64", "redelivered": false, "exchange": "",
            "routing_key": "q", "message_count": 0, "properties": {},
        },
    ]);
    assert_eq!(got, expected);
    let again = get(r#"{"count":1,"ackmode":"ack_requeue_false","encoding":"base64"}"#);
    assert_eq!((&again[0]["payload"], &again[0]["redelivered"]), (&json!("aGVsbG8="), &json!(true)));
    assert_eq!(server.get("/api/queues/%2F/q").json()["messages"], 1);
    assert_eq!(server.ask("DELETE", "/api/queues/%2F/q/contents", "").status, 204);
    assert_eq!(get(r#"{"count":1,"ackmode":"reject_requeue_false","encoding":"auto"}"#), json!([]));
    let body = r#"{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    let refused = server.ask("POST", "/api/queues/%2F/no/get", body);
    let expected = json!({"error": "not_found", "reason": "NOT_FOUND - no queue 'no' in vhost '/'"});
    assert_eq!((refused.status, refused.json()), (404, expected));
}

#[test]
fn a_message_that_is_rejected_is_a_dead_letter() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/dead", "{}");
    let arguments = r#"{"arguments":{"x-dead-letter-exchange":"","x-dead-letter-routing-key":"dead"}}"#;
    assert_eq!(server.ask("PUT", "/api/queues/%2F/q", arguments).status, 201);
    server.ask(
        "POST",
        "/api/exchanges/%2F/amq.default/publish",
        r#"{"routing_key":"q","payload":"x","properties":{}}"#,
    );
    let get = |queue: &str, ackmode: &str| {
        let body = json!({"count": 1, "ackmode": ackmode, "encoding": "auto"}).to_string();
        server.ask("POST", &format!("/api/queues/%2F/{queue}/get"), &body).json()
    };
    assert_eq!(get("q", "reject_requeue_false")[0]["payload"], "x");
    let letter = &get("dead", "ack_requeue_false")[0];
    assert_eq!((&letter["payload"], &letter["routing_key"]), (&json!("x"), &json!("dead")));
    let death = &letter["properties"]["headers"]["x-death"][0];
    assert_eq!((&death["queue"], &death["reason"], &death["count"]), (&json!("q"), &json!("rejected"), &json!(1)));
}

/// A body for `publish`, to the queue `q1`.
fn publication(properties: &Value) -> String {
    json!({"routing_key": "q1", "payload": "x", "payload_encoding": "string", "properties": properties}).to_string()
}

#[test]
fn what_is_published_over_http_is_under_the_rules_for_clients() {
    let server = Server::start();
    for queue in ["q1", "q2", "q3"] {
        server.ask("PUT", &format!("/api/queues/%2F/{queue}"), "{}");
    }
    server.ask("PUT", "/api/exchanges/%2F/inside", r#"{"type":"fanout","internal":true}"#);
    let publish = |exchange: &str, properties: &Value| {
        server.ask("POST", &format!("/api/exchanges/%2F/{exchange}/publish"), &publication(properties))
    };
    let copies = json!({"headers": {"CC": ["q2"], "BCC": ["q3"], "other": 1}});
    assert_eq!(publish("amq.default", &copies).json(), json!({"routed": true}));
    assert_eq!(publish("amq.default", &json!({"user_id": "guest"})).json(), json!({"routed": true}));
    for (exchange, properties, reason) in [
        (
            "amq.default",
            json!({"headers": {"CC": "q2"}}),
            r#"406 PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}"#,
        ),
        (
            "amq.default",
            json!({"headers": {"BCC": 5}}),
            r#"406 PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"BCC",long}"#,
        ),
        (
            "amq.default",
            json!({"user_id": "nobody"}),
            "406 PRECONDITION_FAILED - user_id property set to 'nobody' but authenticated user was 'guest'",
        ),
        (
            "amq.default",
            json!({"expiration": "soon"}),
            "406 PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
        ),
        (
            "amq.default",
            json!({"reply_to": "amq.rabbitmq.reply-to"}),
            "406 PRECONDITION_FAILED - fast reply consumer does not exist",
        ),
        ("inside", json!({}), "403 ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'"),
    ] {
        let refused = publish(exchange, &properties);
        assert_eq!((refused.status, &refused.json()["reason"]), (400, &json!(reason)), "{properties}");
    }
    let get = |queue: &str| {
        let body = r#"{"count":9,"ackmode":"ack_requeue_false","encoding":"auto"}"#;
        let got = server.ask("POST", &format!("/api/queues/%2F/{queue}/get"), body).json();
        got.as_array().unwrap().iter().map(|message| message["properties"].clone()).collect::<Value>()
    };
    let copied = json!({"headers": {"CC": ["q2"], "other": 1}});
    assert_eq!(get("q1"), json!([copied, {"user_id": "guest"}]));
    assert_eq!((get("q2"), get("q3")), (json!([copied]), json!([copied])), "nobody is told who got a blind copy");
}

#[test]
fn what_is_published_over_http_has_a_largest_size() {
    let server = Server::start_with("[limits]\nmessage_size_max_bytes = 10\n");
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    let publish = |payload: &str| {
        let body = json!({"routing_key": "q", "payload": payload, "payload_encoding": "string", "properties": {}});
        server.ask("POST", "/api/exchanges/%2F/amq.default/publish", &body.to_string())
    };
    assert_eq!(publish("0123456789").json(), json!({"routed": true}));
    let refused = publish("0123456789!");
    let reason = "406 PRECONDITION_FAILED - message size 11 is larger than configured max size 10";
    assert_eq!((refused.status, refused.json()), (400, json!({"error": "bad_request", "reason": reason})));
}

#[test]
fn a_published_message_reaches_a_waiting_consumer() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; basic.consume queue=q consumer_tag=c no_ack");
    client.read_like(1, "queue.declare-ok");
    client.read_like(1, "basic.consume-ok");
    let body = r#"{"routing_key":"q","payload":"hello","properties":{"delivery_mode":2}}"#;
    server.ask("POST", "/api/exchanges/%2F/amq.default/publish", body);
    let delivery = client.read_like(1, "basic.deliver");
    assert!(delivery.starts_with("basic.deliver(consumer_tag='c', delivery_tag=1, redelivered=false"), "{delivery}");
    assert_eq!(server.get("/api/queues/%2F/q").json()["messages"], 0);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    for (method, path, body) in [
        ("PUT", "/api/queues/%2F/new", "not json"),
        ("PUT", "/api/queues/%2F/new", "[]"),
        ("PUT", "/api/queues/%2F/new", r#"{"durable":"maybe"}"#),
        ("PUT", "/api/queues/%2F/new", r#"{"arguments":"none"}"#),
        ("PUT", "/api/queues/%2F/new", r#"{"arguments":{"x-expires":-1}}"#),
        ("PUT", "/api/exchanges/%2F/new", r#"{"type":5}"#),
        ("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"payload":"x"}"#),
        ("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"q"}"#),
        (
            "POST",
            "/api/exchanges/%2F/amq.default/publish",
            r#"{"routing_key":"q","payload":"!","payload_encoding":"base64"}"#,
        ),
        (
            "POST",
            "/api/exchanges/%2F/amq.default/publish",
            r#"{"routing_key":"q","payload":"x","properties":{"expiration":"soon"}}"#,
        ),
        ("POST", "/api/queues/%2F/q/get", r#"{"ackmode":"ack_requeue_true","encoding":"auto"}"#),
        ("POST", "/api/queues/%2F/q/get", r#"{"count":1,"ackmode":"keep","encoding":"auto"}"#),
        ("GET", "/api/queues?page=none", ""),
    ] {
        let answer = server.ask(method, path, body);
        assert_eq!(answer.status, 400, "{method} {path} {body}: {}", answer.text);
        assert!(answer.json()["reason"].is_string(), "{}", answer.text);
    }
    assert_eq!(server.get("/api/queues?columns=name").json(), json!([{"name": "q"}]));
}

#[test]
fn a_connection_is_closed_with_a_reason() {
    let server = Server::start();
    for (reason, text) in [(None, "Closed via management plugin"), (Some("because"), "because")] {
        let mut client = Client::connect(server.amqp, "");
        let name = server.get("/api/connections").json()[0]["name"].as_str().unwrap().to_owned();
        let path = format!("/api/connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
        let authorization = basic("guest:guest");
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(reason.map(|reason| ("x-reason", reason)));
        assert_eq!(server.ask_with("DELETE", &path, "", &headers).status, 204);
        let close = client.read_like(0, "connection.close");
        assert_eq!(close, format!("connection.close 320 CONNECTION_FORCED - {text} (0,0)"));
    }
}
