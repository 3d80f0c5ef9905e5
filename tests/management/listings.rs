//! What is where, and what it looks like.

use crate::server::Server;
use crate::support::client::Client;
use serde_json::{Value, json};

/// The answer's fields of these names.
fn fields(row: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect()
}

#[test]
fn the_overview_counts_everything() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    client.send("basic.consume queue=q consumer_tag=c");
    client.expects("basic.consume-ok(consumer_tag='c')");
    let overview = server.get("/api/overview").json();
    assert_eq!(
        overview["object_totals"],
        json!({"channels": 1, "connections": 1, "consumers": 1, "exchanges": 7, "queues": 1})
    );
    assert_eq!(overview["queue_totals"], json!({"messages": 0, "messages_ready": 0, "messages_unacknowledged": 0}));
    assert_eq!(overview["rabbitmq_version"], "3.13.7");
    assert_eq!(overview["product_name"], "Leveret");
    let ports: Vec<_> = overview["listeners"].as_array().unwrap().iter().map(|listener| &listener["port"]).collect();
    assert_eq!(ports, [server.amqp, server.management, server.metrics].map(|address| json!(address.port())).each_ref());
    let node = &server.get("/api/nodes").json()[0];
    assert_eq!((&node["name"], &node["running"], &node["mem_alarm"]), (&overview["node"], &json!(true), &json!(false)));
}

#[test]
fn the_overview_says_of_which_type_queues_are_that_do_not_say() {
    let of = |server: Server| server.get("/api/overview").json()["default_queue_type"].clone();
    assert_eq!(of(Server::start()), "classic");
    assert_eq!(of(Server::start_with("default_queue_type = \"quorum\"")), "quorum");
}

#[test]
fn a_queue_of_type_quorum_shows_that_it_is_and_where() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    let arguments = "x-queue-type=S:'quorum', x-delayed-retry-type=S:'all', x-delayed-retry-min=I:600000";
    client.send(&format!("queue.declare queue=q durable arguments={{{arguments}}}"));
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    client.send("publish routing_key=q body=x ; 2x basic.get queue=q");
    client.expects("deliveries get#1=x basic.get-empty(cluster_id='')");
    client.send("basic.nack delivery_tag=1 requeue ; basic.get queue=q");
    client.expects("basic.get-empty(cluster_id='')");
    let queue = server.get("/api/queues/%2F/q").json();
    let node = &queue["node"];
    let shown = fields(&queue, &["type", "leader", "members", "online", "delivery_limit", "messages_delayed"]);
    let expected = json!({
        "type": "quorum", "leader": node, "members": [node], "online": [node], "delivery_limit": 20, "messages_delayed": 1,
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_queue_says_how_many_bytes_wait_where_that_is_known() {
    const FIELDS: [&str; 3] = ["message_bytes", "message_bytes_ready", "message_bytes_unacknowledged"];
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; queue.declare queue=bounded arguments={x-max-length-bytes=I:1000}");
    client.expects("queue.declare-ok(queue='q', …) → queue.declare-ok(queue='bounded', …)");
    let alone = |name: &str| fields(&server.get(&format!("/api/queues/%2F/{name}")).json(), &FIELDS);
    let listed = |name: &str| {
        let queues = server.get("/api/queues").json();
        fields(queues.as_array().unwrap().iter().find(|queue| queue["name"] == name).expect("it is listed"), &FIELDS)
    };
    let known =
        |ready: u64| json!({"message_bytes": ready, "message_bytes_ready": ready, "message_bytes_unacknowledged": 0});
    assert_eq!((alone("q"), listed("q")), (known(0), known(0)));
    client.send("publish routing_key=q body=hare ; publish routing_key=q body=hounds");
    client.expects("(nothing)");
    assert_eq!((alone("q"), listed("q")), (known(10), known(10)));
    // What a client holds the queue does not count.
    client.send("basic.get queue=q");
    client.expects("deliveries get#1=hare");
    let of_ready = json!({"message_bytes": null, "message_bytes_ready": 6, "message_bytes_unacknowledged": null});
    assert_eq!((alone("q"), listed("q")), (of_ready.clone(), of_ready));
    client.send("basic.nack delivery_tag=1 requeue ; 20x publish routing_key=q body=leveret");
    client.send("20x publish routing_key=bounded body=leveret");
    client.expects("(nothing)");
    assert_eq!(alone("q"), known(150));
    assert_eq!(listed("q")["message_bytes_ready"], json!(null), "a list goes over few messages");
    assert_eq!(listed("bounded"), known(140), "a limit of bytes wants them counted");
}

#[test]
fn a_queue_shows_what_it_was_declared_with_and_holds() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q auto_delete arguments={x-message-ttl=I:60000}");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    server.ask("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"q","payload":"1"}"#);
    server.ask("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"q","payload":"2"}"#);
    client.send("basic.get queue=q");
    client.read_like(1, "basic.get-ok");
    let queue = server.get("/api/queues/%2F/q").json();
    let shown = fields(&queue, &["durable", "auto_delete", "exclusive", "arguments", "type", "state", "vhost"]);
    let expected = json!({
        "durable": false, "auto_delete": true, "exclusive": false, "arguments": {"x-message-ttl": 60000},
        "type": "classic", "state": "running", "vhost": "/",
    });
    assert_eq!(shown, expected);
    let counts = fields(&queue, &["messages", "messages_ready", "messages_unacknowledged", "consumers"]);
    assert_eq!(counts, json!({"messages": 2, "messages_ready": 1, "messages_unacknowledged": 1, "consumers": 0}));
    assert_eq!(queue["message_stats"]["publish"], 2);
    assert_eq!(queue["consumer_details"], json!([]));
    let mut listed = queue;
    listed.as_object_mut().unwrap().remove("consumer_details");
    assert_eq!(server.get("/api/queues").json(), json!([listed]), "lists don't go into details");
}

#[test]
fn a_quorum_queue_says_what_it_is_and_who_has_it() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", r#"{"durable":true,"arguments":{"x-queue-type":"quorum"}}"#);
    let queue = server.get("/api/queues/%2F/q").json();
    let node = "leveret@localhost";
    let expected = json!({"type": "quorum", "leader": node, "members": [node], "online": [node]});
    assert_eq!(fields(&queue, &["type", "leader", "members", "online"]), expected);
}

/// NServiceBus does not start on a broker without `stream_queue`.
#[test]
fn features_are_enabled() {
    let server = Server::start();
    let flags = server.get("/api/feature-flags").json();
    let flags = flags.as_array().unwrap();
    for name in ["quorum_queue", "stream_queue"] {
        let flag = flags.iter().find(|flag| flag["name"] == name).expect(name);
        assert_eq!(fields(flag, &["state", "stability"]), json!({"state": "enabled", "stability": "stable"}));
        assert_eq!(server.ask("PUT", &format!("/api/feature-flags/{name}/enable"), "{}").status, 204);
    }
    let unknown = server.ask("PUT", "/api/feature-flags/wings/enable", "{}");
    assert_eq!((unknown.status, unknown.json()["reason"].as_str()), (400, Some("unsupported")));
}

#[test]
fn the_time_of_a_queues_first_message_is_told() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q");
    client.read_like(1, "queue.declare-ok");
    let first = || server.get("/api/queues/%2F/q").json()["head_message_timestamp"].clone();
    assert_eq!(first(), Value::Null, "there is none");
    for properties in ["timestamp=1234", "timestamp=5678", ""] {
        client.send(&format!("publish routing_key=q {properties} body='x'"));
    }
    for (expected, tag) in [(json!(1234), 1), (json!(5678), 3), (Value::Null, 5)] {
        client.send("queue.declare queue=q passive");
        client.read_like(1, "queue.declare-ok");
        assert_eq!(first(), expected);
        client.send("basic.get queue=q");
        client.read_like(1, "deliveries get");
        client.send(&format!("basic.reject delivery_tag={tag} requeue"));
        client.send("queue.declare queue=q passive");
        client.read_like(1, "queue.declare-ok");
        assert_eq!(first(), expected, "it went back to its place");
        client.send("basic.get queue=q no_ack");
        client.read_like(1, "deliveries get");
    }
}

#[test]
fn what_became_of_messages_is_counted_by_rabbitmqs_names() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; confirm.select");
    client.read_like(1, "queue.declare-ok");
    client.read_like(1, "confirm.select-ok");
    for _ in 0..5 {
        client.send("publish routing_key=q body='x'");
        client.read_like(1, "basic.ack");
    }
    for (tag, get) in [(1, "no_ack"), (2, "no_ack"), (3, ""), (4, "")] {
        client.send(&format!("basic.get queue=q {get}"));
        client.expects(&format!("deliveries get#{tag}=x"));
    }
    client.send("basic.ack delivery_tag=3 ; basic.reject delivery_tag=4 ; basic.consume queue=q consumer_tag=c no_ack");
    client.expects("basic.consume-ok(consumer_tag='c')");
    client.expects("deliveries c#5=x");
    client.send("basic.get queue=q");
    client.expects("basic.get-empty(cluster_id='')");
    let of_queue = json!({
        "publish": 5, "deliver": 0, "deliver_no_ack": 1, "get": 2, "get_no_ack": 2, "deliver_get": 5, "redeliver": 0,
        "ack": 1,
    });
    assert_eq!(server.get("/api/queues/%2F/q").json()["message_stats"], of_queue);
    let mut of_all = of_queue;
    for (name, count) in [("confirm", 5), ("return_unroutable", 0), ("drop_unroutable", 0), ("get_empty", 1)] {
        of_all[name] = json!(count);
    }
    assert_eq!(server.get("/api/overview").json()["message_stats"], of_all);
}

#[test]
fn a_queue_names_its_consumers() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; queue.declare queue=other ; basic.consume queue=other consumer_tag=not");
    for expected in ["queue.declare-ok", "queue.declare-ok", "basic.consume-ok"] {
        client.read_like(1, expected);
    }
    for tag in ["a", "b"] {
        client.send(&format!("basic.consume queue=q consumer_tag={tag}"));
        client.read_like(1, "basic.consume-ok");
    }
    let mut consumers = server.get("/api/consumers").json();
    consumers.as_array_mut().unwrap().retain(|consumer| consumer["queue"]["name"] == "q");
    assert_eq!(consumers.as_array().unwrap().len(), 2);
    assert_eq!(server.get("/api/queues/%2F/q").json()["consumer_details"], consumers);
}

#[test]
fn a_queue_names_its_single_active_consumer_and_its_consumers_say_who_waits() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q arguments={x-single-active-consumer=t:true}");
    client.read_like(1, "queue.declare-ok");
    let said = |tag: &str| {
        let queue = server.get("/api/queues/%2F/q").json();
        let of_consumer = |consumer: &Value| fields(consumer, &["consumer_tag", "active", "activity_status"]);
        let consumers: Vec<_> = queue["consumer_details"].as_array().unwrap().iter().map(of_consumer).collect();
        let named = fields(&queue, &["exclusive_consumer_tag", "single_active_consumer_tag"]);
        assert_eq!(named, json!({"exclusive_consumer_tag": null, "single_active_consumer_tag": tag}));
        consumers
    };
    for tag in ["a", "b"] {
        client.send(&format!("basic.consume queue=q consumer_tag={tag}"));
        client.read_like(1, "basic.consume-ok");
    }
    let waiting = json!({"consumer_tag": "b", "active": false, "activity_status": "waiting"});
    assert_eq!(said("a"), [json!({"consumer_tag": "a", "active": true, "activity_status": "single_active"}), waiting]);
    client.send("basic.cancel consumer_tag=a");
    client.read_like(1, "basic.cancel-ok");
    assert_eq!(said("b"), [json!({"consumer_tag": "b", "active": true, "activity_status": "single_active"})]);
}

#[test]
fn what_goes_over_a_connection_is_counted() {
    /// A passive declaration of `q` without arguments, and its answer.
    const DECLARE_BYTES: u64 = 8 + 13;
    const DECLARE_OK_BYTES: u64 = 8 + 14;
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    let mut declare = |how: &str| {
        client.send(&format!("queue.declare queue=q {how}"));
        client.read_like(1, "queue.declare-ok");
        server.get("/api/connections").json()[0].clone()
    };
    let (before, after) = (declare(""), declare("passive"));
    let grown = |field: &str| after[field].as_u64().unwrap() - before[field].as_u64().unwrap();
    assert_eq!((grown("recv_oct"), grown("send_oct")), (DECLARE_BYTES, DECLARE_OK_BYTES));
    assert_eq!(before["auth_mechanism"], "PLAIN");
}

#[test]
fn an_exclusive_queue_names_its_owner() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=mine exclusive");
    client.expects("queue.declare-ok(queue='mine', message_count=0, consumer_count=0)");
    let connection = server.get("/api/connections").json()[0].clone();
    let queue = server.get("/api/queues/%2F/mine").json();
    assert_eq!((&queue["exclusive"], &queue["owner_pid_details"]["name"]), (&json!(true), &connection["name"]));
}

#[test]
fn clients_show_their_connection_channels_and_consumers() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "frame_max=4096 heartbeat=30");
    client.send("queue.declare queue=q ; basic.qos prefetch_count=7 ; basic.consume queue=q consumer_tag=c");
    for expected in ["queue.declare-ok", "basic.qos-ok", "basic.consume-ok"] {
        client.read_like(1, expected);
    }
    let connection = server.get("/api/connections").json()[0].clone();
    let shown = fields(&connection, &["user", "vhost", "state", "channels", "frame_max", "timeout", "protocol"]);
    let expected = json!({
        "user": "guest", "vhost": "/", "state": "running", "channels": 1, "frame_max": 4096, "timeout": 30,
        "protocol": "AMQP 0-9-1",
    });
    assert_eq!(shown, expected);
    let name = connection["name"].as_str().unwrap();
    let channel = &server.get("/api/channels").json()[0];
    let shown = fields(channel, &["name", "number", "prefetch_count", "consumer_count", "confirm", "transactional"]);
    let expected = json!({
        "name": format!("{name} (1)"), "number": 1, "prefetch_count": 7, "consumer_count": 1, "confirm": false,
        "transactional": false,
    });
    assert_eq!(shown, expected);
    let consumer = &server.get("/api/consumers/%2F").json()[0];
    assert_eq!((&consumer["queue"]["name"], &consumer["consumer_tag"]), (&json!("q"), &json!("c")));
    assert_eq!((&consumer["prefetch_count"], &consumer["ack_required"]), (&json!(7), &json!(true)));
    assert_eq!(consumer["channel_details"]["connection_name"], name);
    let path = format!("/api/connections/{}/channels", name.replace(' ', "%20").replace('>', "%3E"));
    assert_eq!(server.get(&path).json()[0]["name"], format!("{name} (1)"));
}

#[test]
fn what_does_not_exist_is_not_found() {
    let server = Server::start();
    let not_found = json!({"error": "Object Not Found", "reason": "Not Found"});
    for path in [
        "/api/nothing",
        "/nothing",
        "/api/queues/%2F/no",
        "/api/queues/no/q",
        "/api/exchanges/%2F/no",
        "/api/bindings/no",
        "/api/bindings/%2F/e/no/q/no/no",
        "/api/bindings/%2F/e/amq.default/q/no/no",
        "/api/exchanges/no/amq.topic/bindings/source",
        "/api/bindings/%2F/e/amq.topic/x/no",
        "/api/vhosts/no",
        "/api/vhosts/no/permissions",
        "/api/policies/no",
        "/api/nodes/no",
        "/api/nodes/no/memory",
        "/api/healthchecks/node/no",
        "/api/users/no",
        "/api/users/no/permissions",
        "/api/users/no/topic-permissions",
        "/api/connections/no",
        "/api/channels/no",
        &format!("/api/queues/%2F/{}", "x".repeat(256)),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.json()), (404, not_found.clone()), "{path}");
    }
    for path in ["/api/queues/%2F/no", "/api/exchanges/%2F/no", "/api/queues/%2F/no/contents", "/api/connections/no"] {
        assert_eq!(server.ask("DELETE", path, "").status, 404, "{path}");
    }
    assert_eq!(server.ask("PATCH", "/api/overview", "").status, 405);
    assert_eq!(server.ask("OPTIONS", "/api/overview", "").status, 200);
}

#[test]
fn what_is_asked_of_what_does_not_exist_may_be_empty() {
    let server = Server::start();
    let implicit = json!([{
        "source": "", "vhost": "/", "destination": "no", "destination_type": "queue", "routing_key": "no", "arguments": {},
        "properties_key": "no",
    }]);
    let nothing = json!([]);
    for (path, expected) in [
        // RabbitMQ takes the default exchange's binding for granted.
        ("queues/%2F/no/bindings", &implicit),
        ("bindings/%2F/e/amq.default/q/no", &implicit),
        ("bindings/%2F/e/no/q/no", &nothing),
        ("bindings/%2F/e/amq.topic/q/no", &nothing),
        ("exchanges/%2F/no/bindings/source", &nothing),
        ("exchanges/%2F/no/bindings/destination", &nothing),
        ("connections/username/no", &nothing),
    ] {
        let answer = server.get(&format!("/api/{path}"));
        assert_eq!((answer.status, &answer.json()), (200, expected), "{path}");
    }
}

#[test]
fn the_one_user_has_every_permission() {
    let server = Server::start();
    let permission = json!({"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"});
    assert_eq!(server.get("/api/permissions/%2F/guest").json(), permission);
    for path in ["permissions", "users/guest/permissions", "vhosts/%2F/permissions"] {
        assert_eq!(server.get(&format!("/api/{path}")).json(), json!([permission]), "{path}");
    }
    assert_eq!(server.get("/api/users/guest/topic-permissions").json(), json!([]));
}

#[test]
fn the_node_tells_its_memory() {
    let server = Server::start();
    let memory = server.get("/api/nodes/leveret@localhost/memory").json();
    assert_eq!(memory["memory"]["strategy"], "rss");
    assert!(memory["memory"]["total"]["rss"].as_u64().is_some_and(|bytes| bytes > 0), "{memory}");
    let relative = server.get("/api/nodes/leveret@localhost/memory/relative").json();
    assert_eq!(relative, json!({"memory": "not_available"}), "its parts are not measured");
}

#[test]
fn every_path_may_end_with_a_slash() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q");
    client.read_like(1, "queue.declare-ok");
    let connection = server.get("/api/connections").json()[0]["name"].as_str().unwrap().replace(' ', "%20");
    let connection = connection.replace('>', "%3E");
    for path in [
        "overview",
        "whoami",
        "nodes",
        "nodes/leveret@localhost",
        "vhosts",
        "vhosts/%2F",
        "users/guest/permissions",
        "permissions/%2F/guest",
        "queues",
        "queues/%2F",
        "queues/%2F/q",
        "queues/%2F/q/bindings",
        "exchanges",
        "exchanges/%2F/amq.topic",
        "exchanges/%2F/amq.topic/bindings/source",
        "bindings",
        "bindings/%2F/e/amq.default/q/q",
        "bindings/%2F/e/amq.default/q/q/q",
        "connections",
        &format!("connections/{connection}"),
        &format!("connections/{connection}/channels"),
        "channels",
        "consumers/%2F",
        "health/checks/alarms",
        "aliveness-test/%2F",
    ] {
        assert_eq!(server.get(&format!("/api/{path}")).status, 200, "{path}");
        assert_eq!(server.get(&format!("/api/{path}/")).status, 200, "{path}/");
        assert_eq!(server.get(&format!("/api/{path}//")).status, 404, "{path}//");
    }
    assert_eq!(
        server.get("/api/queues/?columns=name&page=1").json()["items"],
        json!([{"name": "aliveness-test"}, {"name": "q"}])
    );
    assert_eq!(server.ask("PUT", "/api/queues/%2F/new/", "{}").status, 201);
    assert_eq!(server.get("/api/queues/%2F/new").json()["name"], "new");
    assert_eq!(server.ask("DELETE", "/api/queues/%2F/new/", "").status, 204);
}

#[test]
fn names_are_what_they_are() {
    let server = Server::start();
    let names = [
        "a/b",
        "<script>alert(1)</script>",
        "100%",
        "grün",
        "a b+c",
        "..",
        "\"quoted\"\\",
        "q?x=1#y",
        "orders/../../api/overview",
        "nul\0",
        "🐰",
    ];
    for name in names {
        let path = format!("/api/queues/%2F/{}", name.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>());
        assert_eq!(server.ask("PUT", &path, "{}").status, 201, "{name}");
        assert_eq!(server.get(&path).json()["name"], name);
    }
    // With a name that no list can show, every list would fail.
    assert_eq!(server.ask("PUT", "/api/queues/%2F/%FF%FE", "{}").status, 400);
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let listed = server.get("/api/queues?columns=name").json();
    assert_eq!(listed, expected.iter().map(|name| json!({"name": name})).collect::<Value>());
}

#[test]
fn lists_come_sorted_in_pages_with_some_columns() {
    let server = Server::start();
    for name in ["c", "a", "bb", "b"] {
        server.ask("PUT", &format!("/api/queues/%2F/{name}"), "{}");
    }
    server.ask("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"b","payload":"x"}"#);
    let names = |query: &str| {
        let rows = server.get(&format!("/api/queues?columns=name&{query}")).json();
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["a", "b", "bb", "c"]);
    assert_eq!(names("sort=name&sort_reverse=true"), ["c", "bb", "b", "a"]);
    assert_eq!(names("sort=messages&sort_reverse=true")[0], "b");
    let page = server.get("/api/queues?page=2&page_size=3&columns=name").json();
    let expected = json!({
        "filtered_count": 4, "item_count": 1, "items": [{"name": "c"}], "page": 2, "page_count": 2, "page_size": 3,
        "total_count": 4,
    });
    assert_eq!(page, expected);
    // What KEDA asks for.
    let chosen =
        server.get("/api/queues/%2F?page=1&use_regex=true&pagination=false&name=%5EB%2B%24&page_size=100").json();
    let chosen: Vec<_> = chosen["items"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(chosen, ["b", "bb"]);
    assert_eq!(server.get("/api/queues?page=1&use_regex=true&name=(").status, 400);
    let beyond = server.get("/api/queues?page=3&page_size=3");
    assert_eq!((beyond.status, &beyond.json()["error"]), (400, &json!("page_out_of_range")));
}

#[test]
fn columns_of_one_thing() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; publish routing_key=q body=x ; basic.get queue=q no_ack");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    client.expects("deliveries get#1=x");
    for (path, expected) in [
        ("queues/%2F/q?columns=name,messages", json!({"name": "q", "messages": 0})),
        ("exchanges/%2F/amq.topic?columns=type", json!({"type": "topic"})),
        ("overview?columns=object_totals.queues", json!({"object_totals": {"queues": 1}})),
        ("nodes?columns=running", json!([{"running": true}])),
        ("vhosts?columns=name", json!([{"name": "/"}])),
        ("vhosts/%2F?columns=messages", json!({"messages": 0})),
        ("queues/%2F/q?columns=nothing", json!({})),
    ] {
        assert_eq!(server.get(&format!("/api/{path}")).json(), expected, "{path}");
    }
    let name = server.get("/api/connections?columns=name").json()[0]["name"].as_str().expect("a name").to_owned();
    let path = name.replace(' ', "%20").replace('>', "%3E");
    assert_eq!(server.get(&format!("/api/connections/{path}?columns=state")).json(), json!({"state": "running"}));
    assert_eq!(server.get(&format!("/api/channels/{path}%20(1)?columns=number")).json(), json!({"number": 1}));
}

#[test]
fn a_queue_counts_what_clients_hold_apart_from_what_waits() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; 3x publish routing_key=q body=m% ; basic.get queue=q");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    client.expects("deliveries get#1=m0");
    let counts = ["messages", "messages_ready", "messages_unacknowledged"];
    let expected = json!({"messages": 3, "messages_ready": 2, "messages_unacknowledged": 1});
    assert_eq!(fields(&server.get("/api/queues/%2F/q").json(), &counts), expected);
    assert_eq!(server.get("/api/overview").json()["queue_totals"], expected);
    client.send("queue.declare queue=q passive");
    client.expects("queue.declare-ok(queue='q', message_count=2, consumer_count=0)");
}

#[test]
fn a_list_longer_than_a_page_of_the_loop_is_whole() {
    const QUEUES: usize = 2_100;
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    for number in 0..QUEUES {
        client.send(&format!("queue.declare queue=q{number:04} nowait"));
    }
    client.send("queue.declare queue=q0000 passive");
    client.read_like(1, "queue.declare-ok");
    let queues = server.get("/api/queues?columns=name").json();
    let names: Vec<_> = queues.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, (0..QUEUES).map(|number| format!("q{number:04}")).collect::<Vec<_>>());
    assert_eq!(server.get("/api/bindings").json().as_array().unwrap().len(), QUEUES);
}

#[test]
fn health_checks_say_what_is_missing() {
    let server = Server::start();
    for check in ["alarms", "local-alarms", "virtual-hosts", "ready-to-serve-clients"] {
        let answer = server.get(&format!("/api/health/checks/{check}"));
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})), "{check}");
    }
    let amqp = server.amqp.port();
    let answer = server.get(&format!("/api/health/checks/port-listener/{amqp}"));
    assert_eq!(answer.json(), json!({"status": "ok", "port": amqp}));
    let missing = server.get("/api/health/checks/port-listener/1");
    assert_eq!((missing.status, &missing.json()["missing"]), (503, &json!(1)));
    let missing = server.get("/api/health/checks/protocol-listener/mqtt");
    assert_eq!((missing.status, &missing.json()["reason"]), (503, &json!("No active listener")));
    let certificates = server.get("/api/health/checks/certificate-expiration/1/months");
    assert_eq!((certificates.status, certificates.json()), (200, json!({"status": "ok"})));
    let alive = server.get("/api/aliveness-test/%2F");
    assert_eq!((alive.status, alive.json()), (200, json!({"status": "ok"})));
}

#[test]
fn paths_that_change_little_are_as_rabbitmq_has_them() {
    crate::transcript::play(include_str!("transcripts/shapes.txt"));
}

#[test]
fn samples_are_told_to_who_asks_for_them() {
    let server = Server::start();
    let asked = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5";
    // The first look at the counters is taken at the start.
    let overview = loop {
        let overview = server.get(&format!("/api/overview?{asked}")).json();
        if overview["queue_totals"]["messages_details"]["samples"].is_array() {
            break overview;
        }
        std::thread::yield_now();
    };
    for (part, figure) in [("queue_totals", "messages"), ("message_stats", "publish"), ("churn_rates", "queue_created")]
    {
        let details = &overview[part][format!("{figure}_details")];
        assert_eq!(details["samples"][0]["sample"], 0, "{part}");
        assert!(details["samples"][0]["timestamp"].as_u64() > Some(1_700_000_000_000), "{part}");
        assert_eq!((&details["avg"], &details["avg_rate"]), (&json!(0.0), &json!(0.0)), "{part}");
    }
    let unasked = server.get("/api/overview?lengths_age=x&lengths_incr=5").json();
    assert!(unasked["queue_totals"]["messages_details"]["samples"].is_null());
}

#[test]
fn queues_are_listed_without_statistics() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", r#"{"durable":true}"#);
    let listed = |query: &str| {
        let queues = server.get(&format!("/api/queues?{query}")).json();
        let names = queues[0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        names.join(" ")
    };
    let basic = "arguments auto_delete durable exclusive name node state type vhost";
    assert_eq!(listed("disable_stats=true"), basic);
    let with_totals = "arguments auto_delete durable exclusive messages messages_ready messages_unacknowledged name node state type vhost";
    assert_eq!(listed("disable_stats=true&enable_queue_totals=true"), with_totals);
    assert!(listed("").contains("message_stats"));
}

#[test]
fn a_long_list_is_whole_in_pieces_and_in_order_and_others_are_answered_meanwhile() {
    const QUEUES: usize = 2_500;
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    for first in (0..QUEUES).step_by(100) {
        let declare = |number| format!("queue.declare queue=q{number:05} nowait");
        client.send(&(first..first + 100).map(declare).collect::<Vec<_>>().join(" ; "));
    }
    client.send("queue.declare queue=last");
    client.expects("queue.declare-ok(queue='last', message_count=0, consumer_count=0)");
    let names = |answer: &Value| -> Vec<String> {
        let rows = answer.as_array().expect("a list").iter();
        rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let mut expected: Vec<String> = (0..QUEUES).map(|number| format!("q{number:05}")).collect();
    expected.insert(0, "last".to_owned());
    std::thread::scope(|scope| {
        let lists: Vec<_> = (0..6).map(|_| scope.spawn(|| server.get("/api/queues"))).collect();
        assert_eq!(server.get("/api/whoami").status, 200);
        for list in lists {
            let list = list.join().expect("an answer");
            assert_eq!(names(&list.json()), expected);
            assert_eq!(list.named("content-length"), None, "it goes as it is written");
        }
    });
    expected.reverse();
    assert_eq!(names(&server.get("/api/queues?sort=name&sort_reverse=true&columns=name").json()), expected);
    let page = server.get("/api/queues?page=26&page_size=100&sort=name").json();
    assert_eq!((&page["item_count"], &page["items"][0]["name"]), (&json!(1), &json!("q02499")));
}
