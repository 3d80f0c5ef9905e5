//! Metrics as Prometheus scrapes them.
//!
//! With `LEVERET_TEST_URI=127.0.0.1:5672` and `LEVERET_TEST_METRICS_URI=127.0.0.1:15692` the counters are those of the
//! RabbitMQ there.

mod operations;
mod page;

use crate::server::{Answer, Server, ask_at, basic};
use crate::support::client::Client;
use page::Page;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// RabbitMQ's families: whether they are told here, what they are, what they are called.
const FAMILIES: &str = include_str!("families.txt");

fn of_rabbitmq() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FAMILIES.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0], words[1], words[2])
    })
}

fn answer(metrics: SocketAddr, path: &str) -> Answer {
    ask_at(metrics, "GET", path, "", &[])
}

fn scrape(metrics: SocketAddr, path: &str) -> Page {
    let answer = answer(metrics, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    Page::parse(&answer.text)
}

/// A client that declares two queues, publishes to one, to the other and to none, gets, acknowledges and rejects.
fn busy_client(amqp: SocketAddr) -> Client {
    let mut client = Client::connect(amqp, "");
    client.send("queue.declare queue=plain");
    client.expects("queue.declare-ok(queue='plain', message_count=0, consumer_count=0)");
    client.send("queue.declare queue=strict durable arguments={x-queue-type=S:'quorum'}");
    client.expects("queue.declare-ok(queue='strict', message_count=0, consumer_count=0)");
    client.send("confirm.select ; 3x publish routing_key=plain body=m%");
    client.expects("confirm.select-ok");
    client.expects("acks 3");
    client.send("publish routing_key=strict body=s ; publish routing_key=nowhere body=n");
    client.expects("confirms +4 +5");
    client.send("basic.get queue=plain ; basic.get queue=plain no_ack ; basic.get queue=strict");
    client.expects("deliveries get#1=m0 get#2=m1 get#3=s");
    client.send("basic.ack delivery_tag=1 ; basic.reject delivery_tag=3 ; basic.get queue=strict");
    client.expects("basic.get-empty(cluster_id='')");
    client.send("queue.declare queue=plain passive");
    client.expects("queue.declare-ok(queue='plain', message_count=1, consumer_count=0)");
    client
}

/// What that one's doings add to counters, in both brokers.
const ADDED: &[(&str, f64)] = &[
    ("connections_opened_total", 1.0),
    ("connections_closed_total", 0.0),
    ("channels_opened_total", 1.0),
    ("queues_declared_total", 2.0),
    ("queues_created_total", 2.0),
    ("queues_deleted_total", 0.0),
    ("global_messages_received_total{protocol=\"amqp091\"}", 5.0),
    ("global_messages_received_confirm_total{protocol=\"amqp091\"}", 5.0),
    ("global_messages_confirmed_total{protocol=\"amqp091\"}", 5.0),
    ("global_messages_routed_total{protocol=\"amqp091\"}", 4.0),
    ("global_messages_unroutable_dropped_total{protocol=\"amqp091\"}", 1.0),
    ("global_messages_unroutable_returned_total{protocol=\"amqp091\"}", 0.0),
    ("global_messages_delivered_total{protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"}", 2.0),
    ("global_messages_delivered_total{protocol=\"amqp091\",queue_type=\"rabbit_quorum_queue\"}", 1.0),
    ("global_messages_delivered_get_manual_ack_total{protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"}", 1.0),
    ("global_messages_delivered_get_auto_ack_total{protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"}", 1.0),
    ("global_messages_delivered_get_manual_ack_total{protocol=\"amqp091\",queue_type=\"rabbit_quorum_queue\"}", 1.0),
    ("global_messages_get_empty_total{protocol=\"amqp091\",queue_type=\"rabbit_quorum_queue\"}", 1.0),
    ("global_messages_acknowledged_total{protocol=\"amqp091\",queue_type=\"rabbit_classic_queue\"}", 1.0),
    ("global_messages_acknowledged_total{protocol=\"amqp091\",queue_type=\"rabbit_quorum_queue\"}", 0.0),
    (
        "global_messages_dead_lettered_rejected_total{queue_type=\"rabbit_quorum_queue\",dead_letter_strategy=\"disabled\"}",
        1.0,
    ),
];

#[test]
fn counters_are_rabbitmqs() {
    let uri = |variable| std::env::var(variable).ok().map(|uri| uri.parse::<SocketAddr>().expect("IP:PORT"));
    let reference = uri("LEVERET_TEST_URI").zip(uri("LEVERET_TEST_METRICS_URI"));
    let server = reference.is_none().then(Server::start);
    let (amqp, metrics) = reference.unwrap_or_else(|| {
        let server = server.as_ref().expect("one of the two");
        (server.amqp, server.metrics)
    });
    let before = scrape(metrics, "/metrics");
    let mut client = busy_client(amqp);
    let after = scrape(metrics, "/metrics");
    for (sample, added) in ADDED {
        let sample = format!("rabbitmq_{sample}");
        assert_eq!(after.value(&sample) - before.value(&sample), *added, "{sample}");
    }
    client.send("queue.delete queue=plain ; queue.delete queue=strict");
    client.expects("queue.delete-ok(message_count=1) → queue.delete-ok(message_count=0)");
    let deleted = scrape(metrics, "/metrics");
    for (sample, added) in ADDED.iter().filter(|(sample, _)| sample.starts_with("global_")) {
        let sample = format!("rabbitmq_{sample}");
        assert_eq!(deleted.value(&sample) - before.value(&sample), *added, "{sample}: what is gone was counted");
    }
}

#[test]
fn families_are_rabbitmqs_and_nothing_is_made_up() {
    let server = Server::start();
    let _client = busy_client(server.amqp);
    let (page, each) = (scrape(server.metrics, "/metrics"), scrape(server.metrics, "/metrics/per-object"));
    let mut known = BTreeSet::new();
    for (told, kind, name) in of_rabbitmq() {
        known.insert(name);
        assert_eq!(page.families.contains_key(name), told == "told", "{name}");
        for page in [&page, &each] {
            let family = page.families.get(name);
            assert!(family.is_none_or(|family| family.kind == kind && !family.help.is_empty()), "{name}");
        }
        assert!(told == "left_out" || page.families.contains_key(name) || each.families.contains_key(name), "{name}");
    }
    for name in page.names().union(&each.names()) {
        let is_own = name.starts_with("leveret_") || *name == "process_start_time_seconds";
        assert!(is_own || known.contains(name), "{name} is none of RabbitMQ's");
    }
    assert!(page.families.keys().all(|name| page.samples.keys().any(|sample| sample.starts_with(name.as_str()))));
}

#[test]
fn the_node_and_all_queues_together_are_told() {
    let server = Server::start();
    let _client = busy_client(server.amqp);
    let page = scrape(server.metrics, "/metrics");
    let value = |sample: &str| page.value(&format!("rabbitmq_{sample}"));
    let counts =
        ["connections", "channels", "queues", "queue_messages_ready", "queue_messages", "queue_messages_unacked"];
    assert_eq!(counts.map(value), [1.0, 1.0, 2.0, 1.0, 1.0, 0.0]);
    assert_eq!((value("connection_channels"), value("queue_messages_ready_ram")), (1.0, 1.0));
    assert_eq!(value("global_publishers{protocol=\"amqp091\"}"), 1.0);
    assert_eq!(value("auth_attempts_succeeded_total{protocol=\"amqp091\"}"), 1.0);
    assert_eq!(value("auth_attempts_failed_total{protocol=\"amqp091\"}"), 0.0);
    assert_eq!((value("queue_messages_acked_total"), value("queue_messages_published_total")), (1.0, 4.0));
    for positive in [
        "connection_incoming_bytes_total",
        "connection_outgoing_bytes_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "resident_memory_limit_bytes",
        "disk_space_available_bytes",
        "erlang_uptime_seconds",
    ] {
        assert!(value(positive) > 0.0, "{positive}");
    }
    assert_eq!(value("alarms_memory_used_watermark") + value("alarms_free_disk_space_watermark"), 0.0);
    let identity = "identity_info{rabbitmq_node=\"leveret@localhost\",rabbitmq_cluster=\"leveret@localhost\",";
    assert_eq!(value(&format!("{identity}rabbitmq_endpoint=\"aggregated\"}}")), 1.0);
}

#[test]
fn what_went_over_a_connection_stays_counted_when_it_is_gone() {
    let server = Server::start();
    let client = busy_client(server.amqp);
    let bytes = |page: &Page| page.value("rabbitmq_connection_incoming_bytes_total");
    let before = bytes(&scrape(server.metrics, "/metrics"));
    drop(client);
    let after = loop {
        let page = scrape(server.metrics, "/metrics");
        if page.value("rabbitmq_connections_closed_total") == 1.0 {
            break page;
        }
    };
    assert!(bytes(&after) >= before && before > 0.0);
    assert_eq!(after.value("rabbitmq_connections"), 0.0);
    assert_eq!(after.value("rabbitmq_channels_closed_total"), 1.0);
}

#[test]
fn each_thing_is_told_with_its_labels() {
    let server = Server::start();
    let mut client = busy_client(server.amqp);
    client.send("queue.declare queue='a\"b'");
    client.expects("queue.declare-ok(queue='a\"b', message_count=0, consumer_count=0)");
    let page = scrape(server.metrics, "/metrics/per-object");
    let value = |sample: &str| page.value(&format!("rabbitmq_{sample}"));
    assert_eq!(value("queue_messages_ready{vhost=\"/\",queue=\"plain\"}"), 1.0);
    assert_eq!(value("queue_messages_ready{vhost=\"/\",queue=\"a\\\"b\"}"), 0.0);
    assert_eq!(value("queue_messages_acked_total{vhost=\"/\",queue=\"plain\"}"), 1.0);
    assert_eq!(value("queue_get_empty_total{vhost=\"/\",queue=\"strict\"}"), 1.0);
    let strict = "vhost=\"/\",queue=\"strict\",queue_type=\"rabbit_quorum_queue\",membership=\"leader\"";
    assert_eq!(value(&format!("queue_info{{{strict}}}")), 1.0);
    let of_a_client = |family: &str| {
        let begins = format!("rabbitmq_{family}=\"127.0.0.1:");
        page.samples.iter().find(|(sample, _)| sample.starts_with(&begins)).map(|(_, value)| *value)
    };
    assert_eq!(of_a_client("channel_messages_unacked{channel"), Some(0.0));
    assert_eq!(of_a_client("connection_channels{connection"), Some(1.0));
    assert!(page.value("rabbitmq_connections") == 1.0, "the node is told as well");
}

#[test]
fn families_virtual_hosts_and_queues_are_chosen() {
    let server = Server::start();
    let _client = busy_client(server.amqp);
    assert_eq!(server.ask("PUT", "/api/vhosts/other", "{}").status, 201);
    assert_eq!(server.ask("PUT", "/api/queues/other/plain", "{}").status, 201);
    let names = |path: &str| {
        let page = scrape(server.metrics, path);
        let names = page.samples.into_keys().filter(|name| !name.contains("_info{"));
        names.collect::<Vec<String>>()
    };
    assert_eq!(names("/metrics/detailed"), Vec::<String>::new(), "as RabbitMQ");
    let ready = |labels: &str| format!("rabbitmq_detailed_queue_messages_ready{{{labels}}}");
    let chosen = names("/metrics/detailed?family=queue_coarse_metrics&vhost=other");
    assert!(chosen.contains(&ready("vhost=\"other\",queue=\"plain\"")) && chosen.len() == 3, "{chosen:?}");
    let chosen = names("/metrics/detailed?family=queue_coarse_metrics&vhost=other&vhost=%2F&queue=%5Es.*t$");
    assert!(chosen.contains(&ready("vhost=\"/\",queue=\"strict\"")) && chosen.len() == 3, "{chosen:?}");
    let chosen = names("/metrics/detailed?family=queue_consumer_count&family=no_such&family=vhost_status&queue=plain");
    let expected = [
        "rabbitmq_cluster_vhost_status{vhost=\"/\"}",
        "rabbitmq_cluster_vhost_status{vhost=\"other\"}",
        "rabbitmq_detailed_queue_consumers{vhost=\"/\",queue=\"plain\"}",
        "rabbitmq_detailed_queue_consumers{vhost=\"other\",queue=\"plain\"}",
    ];
    assert_eq!(chosen, expected);
    let churn = scrape(server.metrics, "/metrics/detailed?family=connection_churn_metrics");
    assert_eq!(churn.value("rabbitmq_detailed_connections_opened_total"), 1.0);
    server.ask("POST", "/api/bindings/%2F/e/amq.fanout/q/plain", "{}");
    let bindings = scrape(server.metrics, "/metrics/detailed?family=exchange_bindings");
    let fanout = "rabbitmq_cluster_exchange_bindings{vhost=\"/\",exchange=\"amq.fanout\",type=\"fanout\"}";
    assert_eq!(bindings.value(fanout), 1.0);
    let wrong = answer(server.metrics, "/metrics/detailed?queue=(");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.starts_with("Invalid 'queue' regex"), "{}", wrong.text);
}

#[test]
fn the_times_of_a_queues_messages_are_told_on_request() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=waits ; queue.declare queue=other ; confirm.select");
    client.expects("queue.declare-ok(queue='waits', message_count=0, consumer_count=0)");
    client.expects("queue.declare-ok(queue='other', message_count=0, consumer_count=0)");
    client.expects("confirm.select-ok");
    // One of a thousand is measured, or more where little happens.
    client.send("2000x publish routing_key=waits body=m");
    client.expects("acks 2000");
    client.send("queue.purge queue=waits");
    client.expects("queue.purge-ok(message_count=2000)");
    let times = |path: &str| {
        let page = scrape(server.metrics, path);
        page.samples.into_iter().filter(|(name, _)| name.starts_with("leveret_queue_")).collect::<Vec<_>>()
    };
    let of_waits = times("/metrics/detailed?family=queue_durations&queue=waits");
    let value = |name: &str| of_waits.iter().find(|(sample, _)| sample == name).map(|(_, value)| *value);
    let labels = "vhost=\"/\",queue=\"waits\"";
    let count = value(&format!("leveret_queue_message_time_in_queue_seconds_count{{{labels}}}"));
    assert!(count.is_some_and(|count| count >= 1.0), "{of_waits:?}");
    assert_eq!(count, value(&format!("leveret_queue_message_time_in_queue_seconds_bucket{{{labels},le=\"+Inf\"}}")));
    assert_eq!(value(&format!("leveret_queue_delivery_to_acknowledgement_seconds_count{{{labels}}}")), Some(0.0));
    assert_eq!(times("/metrics/detailed?family=queue_durations&queue=other"), []);
    assert_eq!(times("/metrics/per-object"), [], "unasked");
}

#[test]
fn the_port_of_metrics_asks_nobody_who_they_are_and_that_of_management_does() {
    let server = Server::start();
    for path in ["/metrics", "/metrics/", "/metrics/per-object", "/metrics/detailed?family=queue_metrics"] {
        assert_eq!(answer(server.metrics, path).status, 200, "{path}");
        assert_eq!(answer(server.management, path).status, 401, "{path}");
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(answer(server.metrics, "/metrics/nothing").text, "Unknown Registry");
    for path in ["/", "/api/overview", "/metrics/nothing"] {
        assert_eq!(answer(server.metrics, path).status, 404, "{path}");
    }
    assert_eq!(ask_at(server.metrics, "POST", "/metrics", "{}", &[]).status, 405);
    for (user, tags, status) in [("m", "monitoring", 200), ("u", "management", 401)] {
        let body = format!(r#"{{"password":"pw","tags":"{tags}"}}"#);
        assert_eq!(server.ask("PUT", &format!("/api/users/{user}"), &body).status, 201);
        let authorization = basic(&format!("{user}:pw"));
        let headers = [("authorization", authorization.as_str())];
        assert_eq!(ask_at(server.management, "GET", "/metrics", "", &headers).status, status, "{tags}");
    }
}

#[test]
fn the_port_of_metrics_can_ask_for_a_login_and_tell_of_each_thing() {
    let server = Server::start_with("[prometheus]\nauthentication = true\nreturn_per_object_metrics = true");
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    assert_eq!(answer(server.metrics, "/metrics").status, 401);
    let headers = [("authorization", basic("guest:guest"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let page = Page::parse(&ask_at(server.metrics, "GET", "/metrics", "", &headers).text);
    assert_eq!(page.value("rabbitmq_queue_messages{vhost=\"/\",queue=\"q\"}"), 0.0);
}

#[test]
fn a_taken_port_is_named() {
    let server = Server::start();
    let taken = server.metrics.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0", "--prometheus-listen", &taken])
        .stdin(Stdio::null())
        .output()
        .expect("the leveret program");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("can't listen for metrics at {taken}")), "{text}");
}
