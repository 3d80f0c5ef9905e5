//! What those hear who are bound to the exchange of events.

use super::HEARD_PER_TURN;
use crate::broker::Publication;
use crate::broker::store::{DurableBinding, DurableDestination, MemoryStore};
use crate::broker::testing::{self, Nobody, VHOST, caller, settings};
use crate::broker::{
    Broker, ClientDetails, ConnectionId, ConsumeRequest, DeclareRequest, ExchangeRequest, GetOutcome, Permissions,
    Settings, VhostAttributes,
};
use crate::protocol::{FieldTable, FieldValue, PropertiesRef};

const WATCHER: ConnectionId = ConnectionId(0);
const CLIENT: ConnectionId = ConnectionId(1);
const EVENTS: &[u8] = b"amq.rabbitmq.event";

fn broker() -> Broker<MemoryStore> {
    let settings = Settings { event_vhost: Some("/".into()), ..settings() };
    let mut broker = testing::broker_with(settings, MemoryStore::default());
    testing::connect(&mut broker, WATCHER);
    broker
}

fn details() -> ClientDetails {
    ClientDetails {
        name: "a -> b".to_owned(),
        peer: ([127, 0, 0, 1], 1).into(),
        local: ([127, 0, 0, 1], 5672).into(),
        encryption: None,
        client_properties: FieldTable::default(),
        auth_mechanism: "PLAIN",
        channel_max: 1,
        frame_max: 4096,
        heartbeat_s: 60,
        connected_at_ms: 0,
    }
}

fn declare(broker: &mut Broker<MemoryStore>, by: ConnectionId, name: &[u8], arguments: FieldTable) {
    let request = DeclareRequest { name, durable: true, exclusive: false, auto_delete: false, arguments };
    broker.declare_queue(caller(broker, by), request, &mut Nobody).unwrap();
}

fn watch(broker: &mut Broker<MemoryStore>) {
    declare(broker, WATCHER, b"t", FieldTable::default());
    broker.bind_queue(caller(broker, WATCHER), b"t", EVENTS, b"#", FieldTable::default()).unwrap();
}

/// The keys of what was heard, and the headers' names and values, but for the time.
fn heard(broker: &mut Broker<MemoryStore>) -> Vec<(String, FieldTable)> {
    while broker.has_touched() || broker.is_settling() {
        broker.set_now(0);
        broker.pump(&mut Nobody);
    }
    let mut all = Vec::new();
    while let GetOutcome::Got(got) = broker.get(caller(broker, WATCHER), b"t", true, &mut Nobody).unwrap() {
        let content = got.message.content();
        assert_eq!((content.exchange(), content.body()), (EVENTS, b"".as_slice()));
        let properties = PropertiesRef::parse(content.properties()).unwrap();
        assert_eq!(properties.delivery_mode, Some(2));
        let mut headers = properties.headers.unwrap().to_owned();
        assert_eq!(headers.0.pop().unwrap().0.as_bytes(), b"timestamp_in_ms");
        all.push((String::from_utf8_lossy(content.routing_key()).into_owned(), headers));
    }
    all
}

fn keys(broker: &mut Broker<MemoryStore>) -> Vec<String> {
    heard(broker).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_a_client_does_is_heard_in_its_order() {
    let mut broker = broker();
    watch(&mut broker);
    assert_eq!(keys(&mut broker), ["binding.created"]);
    broker.open_connection(CLIENT, testing::USER, VHOST);
    broker.name_connection(CLIENT, "a -> b");
    broker.tell_connection_created(CLIENT, &details());
    let channel = broker.open_channel(CLIENT, 1);
    assert_eq!(keys(&mut broker), ["connection.created", "channel.created"]);

    let (name, kind, arguments) = (b"x".as_slice(), b"fanout".as_slice(), FieldTable::default());
    let request = ExchangeRequest { name, kind, durable: false, auto_delete: true, internal: false, arguments };
    broker.declare_exchange(caller(&broker, CLIENT), request).unwrap();
    declare(&mut broker, CLIENT, b"q", FieldTable::default());
    declare(&mut broker, CLIENT, b"q", FieldTable::default());
    for _ in 0..2 {
        broker.bind_queue(caller(&broker, CLIENT), b"q", b"x", b"k", FieldTable::default()).unwrap();
    }
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: b"q", consumer_tag: b"c", no_ack: true, exclusive: false, arguments };
    broker.consume(broker.caller(channel), request).unwrap();
    assert_eq!(keys(&mut broker), ["exchange.created", "queue.created", "binding.created", "consumer.created"]);

    broker.delete_queue(caller(&broker, CLIENT), b"q", false, false, &mut Nobody).unwrap();
    let gone = ["exchange.deleted", "binding.deleted", "consumer.deleted", "queue.deleted"];
    assert_eq!(keys(&mut broker), gone);
    broker.close_connection(CLIENT, &mut Nobody);
    broker.tell_connection_closed(&details());
    assert_eq!(keys(&mut broker), ["channel.closed", "connection.closed"]);
}

#[test]
fn a_queue_is_told_with_the_headers_of_rabbitmq() {
    let text = |text: &str| FieldValue::LongString(text.as_bytes().into());
    let mut broker = broker();
    watch(&mut broker);
    keys(&mut broker);
    declare(&mut broker, WATCHER, b"q", FieldTable(vec![("x-message-ttl".into(), FieldValue::I32(5000))]));
    let expected = [
        ("type", text("rabbit_classic_queue")),
        ("user_who_performed_action", text("guest")),
        ("exclusive", FieldValue::Boolean(false)),
        ("owner_pid", text("")),
        ("arguments", FieldValue::Array(vec![text(r#"{<<"x-message-ttl">>,signedint,5000}"#)])),
        ("auto_delete", FieldValue::Boolean(false)),
        ("durable", FieldValue::Boolean(true)),
        ("name", text("q")),
        ("vhost", text("/")),
    ];
    let expected = FieldTable(expected.into_iter().map(|(name, value)| (name.into(), value)).collect());
    assert_eq!(heard(&mut broker), [("queue.created".to_owned(), expected)]);
}

#[test]
fn what_administrators_do_is_heard() {
    let mut broker = broker();
    watch(&mut broker);
    keys(&mut broker);
    broker.act_as(Some(testing::USER));
    broker.put_vhost("v", VhostAttributes { queues_max: Some(7), ..VhostAttributes::default() });
    let vhost = broker.vhost_named(b"v").unwrap();
    broker.set_permissions(testing::USER, vhost, Permissions::all());
    let mut expected = vec!["exchange.created"; 7];
    expected.extend(["vhost.created", "permission.created"]);
    assert_eq!(keys(&mut broker), expected);

    let gone = broker.delete_vhost(vhost).value;
    broker.act_as(None);
    while !broker.clear_vhost(gone, &mut Nobody) {}
    let heard = heard(&mut broker);
    let mut expected = vec!["permission.deleted"];
    expected.extend(["exchange.deleted"; 7]);
    expected.extend(["parameter.cleared", "vhost.limits.cleared", "vhost.deleted", "vhost.down"]);
    assert_eq!(heard.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), expected);
    for (key, headers) in &heard {
        let by = if key == "vhost.down" { "rmq-internal" } else { "guest" };
        let expected = FieldValue::LongString(by.as_bytes().into());
        assert_eq!(headers.get(b"user_who_performed_action"), Some(&expected), "{key}");
    }
}

#[test]
fn what_waits_has_a_limit_and_each_binding_that_went_is_heard_when_its_turn_comes() {
    const BINDINGS: usize = 3000;
    let mut broker = broker();
    declare(&mut broker, WATCHER, b"q", FieldTable::default());
    for number in 0..BINDINGS {
        let key = number.to_string();
        let by = caller(&broker, WATCHER);
        broker.bind_queue(by, b"q", b"amq.topic", key.as_bytes(), FieldTable::default()).unwrap();
    }
    watch(&mut broker);
    keys(&mut broker);
    broker.delete_queue(caller(&broker, WATCHER), b"q", false, false, &mut Nobody).unwrap();
    let waiting_bytes = broker.events.waiting_bytes();
    assert!((BINDINGS / 2 * 64..BINDINGS * 256).contains(&waiting_bytes), "{waiting_bytes}");
    broker.pump(&mut Nobody);
    assert!(broker.events.waiting_bytes() > waiting_bytes / 3, "a pump publishes some");
    let mut expected = vec!["binding.deleted"; BINDINGS];
    expected.push("queue.deleted");
    assert_eq!(keys(&mut broker), expected);
    assert_eq!(broker.events.waiting_bytes(), 0);

    // More than there is room for are lost.
    let name = vec![b'x'; 1 << 20];
    let attributes =
        VhostAttributes { description: String::from_utf8(name).unwrap().into(), ..VhostAttributes::default() };
    for _ in 0..40 {
        broker.put_vhost("v", attributes.clone());
    }
    assert!((20 << 20..40 << 20).contains(&broker.events.waiting_bytes()));
    broker.delete_queue(caller(&broker, WATCHER), b"t", false, false, &mut Nobody).unwrap();
    while broker.has_touched() {
        broker.pump(&mut Nobody);
    }
    assert_eq!(broker.events.waiting_bytes(), 0, "nobody hears them");
}

#[test]
fn nothing_is_noted_while_nobody_is_bound_and_a_binding_is_let_go_where_the_exchange_is_gone() {
    let mut broker = broker();
    declare(&mut broker, WATCHER, b"q", FieldTable::default());
    assert!(!broker.events.are_waiting());

    let mut without = testing::broker();
    testing::connect(&mut without, WATCHER);
    assert_eq!(without.exchange_in(VHOST, EVENTS), None);
    declare(&mut without, WATCHER, b"q", FieldTable::default());
    let (source, destination) = ("amq.rabbitmq.event".into(), DurableDestination::Queue("q".into()));
    let (routing_key, arguments) = ("#".into(), FieldTable::default());
    without.restore_binding(&DurableBinding { vhost: VHOST, source, destination, routing_key, arguments }).unwrap();
}

#[test]
fn a_long_queue_of_a_vhost_that_is_watched_is_told_of_a_slice_in_each_turn() {
    const MANY: usize = 4 * HEARD_PER_TURN;
    let mut broker = testing::broker();
    let channel = testing::connect(&mut broker, WATCHER);
    for name in [b"q".as_slice(), b"t"] {
        declare(&mut broker, WATCHER, name, FieldTable::default());
    }
    let queue = broker.existing_queue(VHOST, b"q").unwrap();
    broker
        .bind_queue(caller(&broker, WATCHER), b"t", b"amq.rabbitmq.trace", b"deliver.#", FieldTable::default())
        .unwrap();
    let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
    (0..MANY).for_each(|_| broker.publish(channel, &publication, &[queue], &mut Nobody));
    broker.put_vhost("/", VhostAttributes { tracing: true, ..VhostAttributes::default() });
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: b"q", consumer_tag: b"c", no_ack: true, exclusive: false, arguments };
    broker.consume(broker.caller(channel), request).unwrap();
    let mut told = 0;
    let mut turns = 0;
    while broker.has_touched() {
        broker.set_now(0);
        (0..10).for_each(|_| broker.pump(&mut Nobody));
        let now_told = broker.existing_queue(VHOST, b"t").map(|t| broker.queue(t).backlog.len()).unwrap();
        assert!(now_told - told <= 2 * HEARD_PER_TURN, "{told} to {now_told}");
        told = now_told;
        turns += 1;
    }
    assert_eq!(told, MANY);
    assert!(turns >= 3, "{turns} turns");
}
