//! What went through exchanges: how much was published to each, and how much of that went on to queues.
//!
//! What is expected here RabbitMQ 3.10.8 says, too.

use crate::server::Server;
use crate::support::client::Client;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

/// `publish_in` and `publish_out` of an exchange; `None` of one to which nothing was published.
fn stats(server: &Server, exchange: &str) -> Option<(u64, u64)> {
    let name = if exchange.is_empty() { "amq.default" } else { exchange };
    let alone = server.get(&format!("/api/exchanges/%2F/{name}")).json();
    let listed = server.get("/api/exchanges/%2F").json();
    let row = listed.as_array().expect("a list").iter().find(|row| row["name"] == exchange).expect("it is listed");
    assert_eq!(row["message_stats"]["publish_in"], alone["message_stats"]["publish_in"]);
    let figure = |name: &str| alone["message_stats"][name].as_u64();
    Some((figure("publish_in")?, figure("publish_out")?))
}

/// A client with exchanges and queues: `x` leads to one queue, `y` to three; `e` to `x`, `a` to nowhere, with `y` as alternate.
fn client(server: &Server) -> Client {
    let mut client = Client::connect(server.amqp, "");
    for (exchange, kind) in [("x", "direct"), ("y", "fanout"), ("e", "fanout")] {
        client.send(&format!("exchange.declare exchange={exchange} type={kind}"));
        client.expects("exchange.declare-ok");
    }
    client.send("exchange.declare exchange=a type=direct arguments={alternate-exchange=S:'y'}");
    client.expects("exchange.declare-ok");
    for queue in ["q1", "q2", "q3"] {
        client.send(&format!("queue.declare queue={queue} ; queue.bind queue={queue} exchange=y"));
        client
            .expects(&format!("queue.declare-ok(queue='{queue}', message_count=0, consumer_count=0) → queue.bind-ok"));
    }
    client.send("queue.bind queue=q1 exchange=x routing_key=k ; exchange.bind destination=x source=e routing_key=k");
    client.expects("queue.bind-ok → exchange.bind-ok");
    client
}

#[test]
fn nothing_is_said_of_an_exchange_to_which_nothing_was_published() {
    let server = Server::start();
    let _client = client(&server);
    assert_eq!(["", "x", "amq.topic"].map(|exchange| stats(&server, exchange)), [None; 3]);
}

#[test]
fn what_comes_to_exchanges_in_turn_is_counted_for_each() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("3x publish exchange=x routing_key=k body=1 ; publish exchange=y body=2 ; 2x publish exchange=x routing_key=k body=3");
    client.send("publish routing_key=q1 body=4 ; publish exchange=y body=5");
    client.expects("(nothing)");
    assert_eq!(["x", "y", ""].map(|exchange| stats(&server, exchange)), [Some((5, 5)), Some((2, 6)), Some((1, 1))]);
    // The same goes on where something has come between that has to do with routes, or has not.
    client.send("publish exchange=x routing_key=k body=6 ; queue.declare queue=q4");
    client.expects("queue.declare-ok(queue='q4', message_count=0, consumer_count=0)");
    client.send("publish exchange=x routing_key=k body=7 ; queue.purge queue=q1");
    client.expects("queue.purge-ok(message_count=…)");
    client.send(&format!("publish exchange=x routing_key=k body={}", "8".repeat(10_000)));
    client.expects("(nothing)");
    assert_eq!(stats(&server, "x"), Some((8, 8)));
}

#[test]
fn what_reaches_no_queue_came_in_and_did_not_go_on() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("4x publish exchange=x routing_key=nowhere body=1 ; publish exchange=x routing_key=k body=2");
    client.send("publish exchange=x routing_key=nowhere mandatory body=3");
    client.read_like(1, "basic.return(…) → header → body");
    client.send("publish routing_key=nowhere body=4");
    client.expects("(nothing)");
    assert_eq!(["x", ""].map(|exchange| stats(&server, exchange)), [Some((6, 1)), Some((1, 0))]);
}

#[test]
fn messages_are_counted_where_they_were_published_and_not_where_bindings_lead_on() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("2x publish exchange=e routing_key=k body=1 ; 3x publish exchange=a routing_key=any body=2");
    client.expects("(nothing)");
    let told = ["e", "x", "a", "y"].map(|exchange| stats(&server, exchange));
    assert_eq!(told, [Some((2, 2)), None, Some((3, 9)), None]);
}

#[test]
fn a_transaction_counts_when_it_is_committed() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("tx.select ; 2x publish exchange=y body=1 ; publish exchange=x routing_key=k body=2 ; tx.rollback");
    client.expects("tx.select-ok → tx.rollback-ok");
    assert_eq!(["x", "y"].map(|exchange| stats(&server, exchange)), [None, None]);
    client.send("publish exchange=y body=3 ; 2x publish exchange=x routing_key=k body=4 ; publish exchange=y body=5 ; tx.commit");
    client.expects("tx.commit-ok");
    assert_eq!(["x", "y"].map(|exchange| stats(&server, exchange)), [Some((2, 2)), Some((2, 6))]);
}

#[test]
fn what_management_publishes_counts_as_what_clients_do() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("publish exchange=x routing_key=k body=1");
    client.expects("(nothing)");
    let body = json!({"properties": {}, "routing_key": "k", "payload": "2", "payload_encoding": "string"}).to_string();
    assert_eq!(server.ask("POST", "/api/exchanges/%2F/y/publish", &body).status, 200);
    client.send("publish exchange=x routing_key=k body=3");
    client.expects("(nothing)");
    assert_eq!(["x", "y"].map(|exchange| stats(&server, exchange)), [Some((2, 2)), Some((1, 3))]);
}

#[test]
fn an_exchange_of_the_same_name_is_another_one() {
    let server = Server::start();
    let mut client = client(&server);
    client.send("publish exchange=x routing_key=k body=1 ; exchange.delete exchange=x ; exchange.declare exchange=x type=fanout");
    client.expects("exchange.delete-ok → exchange.declare-ok");
    assert_eq!(stats(&server, "x"), None);
    client.send("publish exchange=x body=2");
    client.expects("(nothing)");
    assert_eq!(stats(&server, "x"), Some((1, 0)));
}

/// Exchange, routing key, and how many queues that leads to.
const TARGETS: [(&str, &str, u64); 8] = [
    ("x", "k", 1),
    ("x", "nowhere", 0),
    ("y", "", 3),
    ("e", "k", 1),
    ("e", "", 0),
    ("a", "k", 3),
    ("", "q2", 1),
    ("amq.topic", "k", 0),
];

/// A run of publishes of one client on one channel: to which target, how many, how large.
#[derive(Debug)]
struct Run {
    client: usize,
    channel: u16,
    target: usize,
    count: u64,
    size: usize,
    /// Something is declared behind it.
    declares: bool,
    /// What was sent is waited for.
    waits: bool,
}

fn run() -> impl Strategy<Value = Run> {
    let size = prop_oneof![Just(1_usize), Just(100), Just(9_000)];
    (0..2_usize, 1..=2_u16, 0..TARGETS.len(), 1..=5_u64, size, any::<bool>(), any::<bool>()).prop_map(
        |(client, channel, target, count, size, declares, waits)| Run {
            client,
            channel,
            target,
            count,
            size,
            declares,
            waits,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_publishes_confuses_one_exchange_with_another(runs in vec(run(), 1..80)) {
        let server = Server::start();
        let mut clients = [client(&server), Client::connect(server.amqp, "")];
        clients.iter_mut().for_each(|client| client.open_channel(2));
        let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for Run { client, channel, target, count, size, declares, waits } in runs {
            let (exchange, routing_key, queues) = TARGETS[target];
            let body = "b".repeat(size);
            let mut line = format!("{count}x publish exchange={exchange} routing_key={routing_key} body={body}");
            if declares {
                line.push_str(" ; exchange.declare exchange=another type=fanout nowait");
            }
            clients[client].send_on(channel, &line);
            if waits {
                clients[client].expects_on(channel, "(nothing)");
            }
            let (published_in, published_out) = expected.entry(exchange).or_default();
            (*published_in, *published_out) = (*published_in + count, *published_out + count * queues);
        }
        clients.iter_mut().for_each(|client| (1..=2).for_each(|channel| client.expects_on(channel, "(nothing)")));
        let told: BTreeMap<&str, (u64, u64)> =
            expected.keys().map(|exchange| (*exchange, stats(&server, exchange).unwrap_or_default())).collect();
        prop_assert_eq!(told, expected);
    }
}
