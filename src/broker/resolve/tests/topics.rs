//! Which routing keys a user may use, and what is said first of a message of which everything is wrong.

use super::*;

/// What the restricted user may do with keys of `amq.topic`.
fn restrict_topics(bench: &mut Bench, write: &str, read: &str) {
    let user = bench.caller.user;
    let permissions = bench.broker.topic_permissions_for(user, VHOST, write, read).unwrap();
    bench.broker.set_topic_permissions(user, VHOST, "amq.topic".into(), permissions);
}

fn with_header(name: &'static str, keys: &[&str]) -> BasicProperties {
    let keys = FieldValue::Array(keys.iter().map(|key| long_string(key)).collect());
    BasicProperties { headers: Some(table(name, keys)), ..BasicProperties::default() }
}

#[test]
fn routing_keys_of_topics_are_asked_for() {
    let mut bench = Bench::new();
    restrict_topics(&mut bench, "^a", "^(b|q)");
    let caller = bench.caller;
    bench
        .broker
        .bind_exchange(testing::caller(&bench.broker, ConnectionId(0)), b"amq.topic", b"y", b"c", none())
        .unwrap();
    let write = |key: &str| {
        format!("write access to topic '{key}' in exchange 'amq.topic' in vhost '/' refused for user 'restricted'")
    };
    let read = |key: &str| {
        format!("read access to topic '{key}' in exchange 'amq.topic' in vhost '/' refused for user 'restricted'")
    };
    let before = bench.look();
    let broker = &mut bench.broker;
    refused(publish(broker, caller, "amq.topic", "b"), ReplyCode::AccessRefused, &write("b"));
    refused(publish(broker, caller, "amq.topic", ""), ReplyCode::AccessRefused, &write(""));
    for header in ["CC", "BCC"] {
        let refusal = publish_with(broker, caller, "amq.topic", "a", &with_header(header, &["a.b", "c"]));
        refused(refusal, ReplyCode::AccessRefused, &write("c"));
    }
    refused(
        broker.bind_queue(caller, b"q", b"amq.topic", b"a", none()).map(drop),
        ReplyCode::AccessRefused,
        &read("a"),
    );
    refused(
        broker.bind_queue(caller, b"q", b"amq.topic", b"#", none()).map(drop),
        ReplyCode::AccessRefused,
        &read("#"),
    );
    refused(
        broker.bind_queue(caller, b"noq", b"amq.topic", b"a", none()).map(drop),
        ReplyCode::AccessRefused,
        &read("a"),
    );
    refused(
        broker.unbind_queue(caller, b"q", b"amq.topic", b"a", &none()).map(drop),
        ReplyCode::AccessRefused,
        &read("a"),
    );
    refused(
        broker.bind_exchange(caller, b"amq.topic", b"x", b"a", none()).map(drop),
        ReplyCode::AccessRefused,
        &read("a"),
    );
    refused(
        broker.unbind_exchange(caller, b"amq.topic", b"y", b"c", &none()).map(drop),
        ReplyCode::AccessRefused,
        &read("c"),
    );
    assert_eq!(bench.look(), before);

    let broker = &mut bench.broker;
    publish(broker, caller, "amq.topic", "a.b").unwrap();
    publish_with(broker, caller, "amq.topic", "a", &with_header("CC", &["a.c"])).unwrap();
    broker.bind_queue(caller, b"q", b"amq.topic", b"b.#", none()).unwrap();
    // Without a name and a key it is the queue's name that is bound.
    broker.bind_queue(caller, b"", b"amq.topic", b"", none()).unwrap();
    broker.unbind_queue(caller, b"q", b"amq.topic", b"b.#", &none()).unwrap();
    broker.bind_exchange(caller, b"amq.topic", b"x", b"b", none()).unwrap();
    restrict_topics(&mut bench, "^a", "^b");
    let last = bench.broker.bind_queue(caller, b"", b"amq.topic", b"", none()).map(drop);
    refused(last, ReplyCode::AccessRefused, &read("q"));
}

#[test]
fn topic_permissions_are_for_one_exchange_of_that_type_and_one_user() {
    let mut bench = Bench::new();
    restrict_topics(&mut bench, "^$", "^$");
    let (user, caller) = (bench.caller.user, bench.caller);
    let nothing = bench.broker.topic_permissions_for(user, VHOST, "^$", "^$").unwrap();
    bench.broker.set_topic_permissions(user, VHOST, "x".into(), nothing);
    let nothing = bench.broker.topic_permissions_for(user, VHOST, "^$", "^$").unwrap();
    bench.broker.set_topic_permissions(user, VHOST, "nothing".into(), nothing);
    let owner = testing::caller(&bench.broker, ConnectionId(0));
    let broker = &mut bench.broker;
    publish(broker, owner, "amq.topic", "a").unwrap();
    publish(broker, caller, "x", "a").unwrap();
    publish(broker, caller, "amq.direct", "a").unwrap();
    broker.bind_queue(caller, b"q", b"x", b"a", none()).unwrap();
    assert!(!broker.exchange_to_publish(caller, b"amq.topic", b"").unwrap().with_any_key);
    assert!(broker.exchange_to_publish(caller, b"x", b"k").unwrap().with_any_key);
    assert!(broker.exchange_to_publish(owner, b"amq.topic", b"k").unwrap().with_any_key);
    // What is missing is missing, and restricts nobody.
    let missing = "no exchange 'nothing' in vhost '/'";
    refused(publish(broker, caller, "nothing", "a"), ReplyCode::NotFound, missing);
    refused(broker.bind_queue(caller, b"q", b"nothing", b"a", none()).map(drop), ReplyCode::NotFound, missing);
    broker.unbind_queue(caller, b"q", b"nothing", b"a", &none()).unwrap();
    broker.clear_topic_permissions(user, VHOST, Some(b"amq.topic"));
    publish(broker, caller, "amq.topic", "a").unwrap();
}

#[test]
fn what_may_be_written_comes_before_what_is_there_and_that_before_keys() {
    let mut bench = Bench::new();
    restrict_topics(&mut bench, "^a", "^a");
    let caller = bench.caller;
    bench.deny([(Right::Write, "amq.topic"), (Right::Read, "amq.topic")]);
    let broker = &mut bench.broker;
    let text = |right| format!("{right} access to exchange 'amq.topic' in vhost '/' refused for user 'restricted'");
    refused(publish(broker, caller, "amq.topic", "b"), ReplyCode::AccessRefused, &text(Right::Write));
    let bound = broker.bind_queue(caller, b"q", b"amq.topic", b"b", none()).map(drop);
    refused(bound, ReplyCode::AccessRefused, &text(Right::Read));
}

/// The order in which RabbitMQ 3.10.8 says what is wrong with a message, of which everything is.
#[test]
fn what_is_wrong_with_properties_is_said_in_an_order() {
    let mut bench = Bench::new();
    restrict_topics(&mut bench, "^a", "^a");
    let caller = bench.caller;
    let mut properties = with_header("CC", &["c"]);
    properties.reply_to = Some(ShortString::truncated(REPLY_TO));
    properties.user_id = Some("guest".into());
    properties.expiration = Some("x".into());
    let mut says = |key: &str, properties: &BasicProperties| {
        publish_with(&mut bench.broker, caller, "amq.topic", key, properties).unwrap_err().explanation
    };
    let topic = |key| {
        format!("write access to topic '{key}' in exchange 'amq.topic' in vhost '/' refused for user 'restricted'")
    };
    assert_eq!(says("b", &properties), topic("b"));
    assert_eq!(says("a", &properties), "fast reply consumer does not exist");
    properties.reply_to = None;
    assert_eq!(says("a", &properties), "user_id property set to 'guest' but authenticated user was 'restricted'");
    properties.user_id = None;
    assert!(says("a", &properties).starts_with("invalid expiration 'x'"));
    properties.expiration = None;
    assert_eq!(says("a", &properties), topic("c"));
}
