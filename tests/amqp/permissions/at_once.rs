//! What a client may do while it does it: permissions that change under publishers, streams of messages with keys that may be
//! written and one that may not, and others' names on messages.
//!
//! RabbitMQ's channels remember for a while what they were allowed, so it plays only what does not change.

use super::Needs::{self, Exchange, Queue, Topic};
use super::{Bench, READ, WRITE};
use serde_json::json;

const TO_TOPIC: &[Needs] = &[Exchange(WRITE, "wf.topic"), Topic(WRITE, "bound")];

fn messages(bench: &Bench) -> u64 {
    let queue = bench.api.get(&bench.named("/queues/%2F/wf.queue"));
    queue["messages"].as_u64().expect("a count")
}

/// Publishes messages, of which one is `refused`, and so many before it are confirmed. RabbitMQ forgets to confirm them when
/// it closes the channel.
fn stream(bench: &Bench, parts: &str, confirmed: u64, refused: Needs) {
    let mut client = bench.connect();
    if !bench.broker.is_reference() {
        client.send("confirm.select");
        client.expects("confirm.select-ok");
    }
    client.send(&bench.named(parts));
    if !bench.broker.is_reference() {
        client.expects(&format!("acks {confirmed}"));
    }
    client.expects(&bench.named(&bench.as_it_says(&format!("{} (60,40)", refused.refusal()))));
}

#[test]
fn of_a_stream_with_many_keys_each_is_asked_for() {
    let Some(bench) = Bench::new("stream") else { return };
    bench.permit(&[
        Exchange(WRITE, "wf.topic"),
        Exchange(WRITE, "wf.fanout"),
        Topic(WRITE, "bound"),
        Topic(WRITE, "k"),
    ]);
    let streams = [
        // The same again and again, then another key.
        ("7x publish exchange=wf.topic routing_key=bound body=x", "publish exchange=wf.topic routing_key=b body=x", 7),
        // Keys in turn.
        (
            "3x publish exchange=wf.topic routing_key=bound body=x ; 2x publish exchange=wf.topic routing_key=k body=x ; \
             publish exchange=wf.topic routing_key=bound body=x",
            "publish exchange=wf.topic routing_key=b body=x",
            6,
        ),
        // Exchanges in turn, of which one has any key.
        (
            "publish exchange=wf.topic routing_key=bound body=x ; publish exchange=wf.fanout routing_key=b body=x ; \
             publish exchange=wf.topic routing_key=bound body=x ; publish exchange=wf.fanout routing_key=b body=x",
            "publish exchange=wf.topic routing_key=b body=x",
            4,
        ),
    ];
    for (allowed, refused, confirmed) in streams {
        let parts = format!("{allowed} ; {refused} ; 3x publish exchange=wf.fanout routing_key=k body=x");
        stream(&bench, &parts, confirmed, Topic(WRITE, "b"));
    }
    if !bench.broker.is_reference() {
        // Those that were confirmed, each of which went to the queue, but for two with the key k.
        assert_eq!(messages(&bench), 1 + 7 + (6 - 2) + 4);
    }
    bench.clean_up();
}

#[test]
fn a_transaction_with_a_message_that_is_refused_is_none() {
    let Some(bench) = Bench::new("transaction") else { return };
    bench.permit(TO_TOPIC);
    let before = bench.look();
    let mut client = bench.connect();
    client.send(&bench.named(
        "tx.select ; 3x publish exchange=wf.topic routing_key=bound body=x ; \
         publish exchange=wf.topic routing_key=b body=x ; tx.commit",
    ));
    let refusal = bench.as_it_says(&format!("{} (60,40)", Topic(WRITE, "b").refusal()));
    client.expects(&bench.named(&format!("tx.select-ok → {refusal}")));
    assert_eq!(bench.look(), before);
    bench.clean_up();
}

#[test]
fn what_is_taken_away_is_taken_from_open_channels() {
    let Some(bench) = Bench::new("taken").filter(|bench| !bench.broker.is_reference()) else { return };
    let publish = bench.named("publish exchange=wf.topic routing_key=bound body=x");
    let refusals: [(&[Needs], Needs); 2] = [
        (&[Topic(WRITE, "bound")], Exchange(WRITE, "wf.topic")),
        (&[Exchange(WRITE, "wf.topic"), Topic(WRITE, "another")], Topic(WRITE, "bound")),
    ];
    for (left, lacked) in refusals {
        bench.permit(TO_TOPIC);
        let mut client = bench.connect();
        client.send("confirm.select");
        client.expects("confirm.select-ok");
        client.send(&format!("3x {publish}"));
        client.expects("acks 3");
        bench.permit(left);
        let before = bench.look();
        client.send(&format!("3x {publish}"));
        client.expects(&bench.named(&format!("{} (60,40)", lacked.refusal())));
        assert_eq!(bench.look(), before);
        // And what is given is given to open connections.
        bench.permit(TO_TOPIC);
        client.send_on(2, "channel.open ; confirm.select");
        client.expects_on(2, "channel.open-ok(r1='') → confirm.select-ok");
        client.send_on(2, &publish);
        client.expects_on(2, "acks 1");
    }
}

#[test]
fn a_consumer_keeps_what_it_has_when_its_permission_goes() {
    let Some(bench) = Bench::new("consumer").filter(|bench| !bench.broker.is_reference()) else { return };
    bench.permit(&[Queue(READ, "wf.queue"), Exchange(WRITE, "amq.default")]);
    let mut client = bench.connect();
    client.send(&bench.named("basic.consume queue=wf.queue consumer_tag=t"));
    client.expects("basic.consume-ok(consumer_tag='t')");
    client.expects("deliveries t#1=m0");
    bench.permit(&[Exchange(WRITE, "amq.default")]);
    client.send(&bench.named("basic.ack delivery_tag=1 ; publish routing_key=wf.queue body=m1"));
    client.expects("deliveries t#2=m1");
    client.send(&bench.named("basic.consume queue=wf.queue consumer_tag=u"));
    client.expects(&bench.named(&format!("{} (60,20)", Queue(READ, "wf.queue").refusal())));
}

/// Replies go by the default exchange, whatever their address is.
#[test]
fn who_may_not_write_to_the_default_exchange_does_not_reply_either() {
    let Some(bench) = Bench::new("reply") else { return };
    let mut asker = crate::support::client::Client::connect(bench.broker.address, "");
    asker.send(&bench.named(
        "basic.consume queue=amq.rabbitmq.reply-to consumer_tag=t no_ack ; \
         publish routing_key=wf.queue body=m1 reply_to=amq.rabbitmq.reply-to",
    ));
    asker.expects("basic.consume-ok(consumer_tag='t')");
    bench.permit(&[Queue(READ, "wf.queue")]);
    let mut client = bench.connect();
    client.send(&bench.named("2x basic.get queue=wf.queue no_ack"));
    client.expects("deliveries get#1=m0 get#2=m1");
    let address = client.reply_to.clone().expect("an address");
    client.send(&format!("publish routing_key={address} body=x"));
    client.expects(&bench.as_it_says(&bench.named(&format!("{} (60,40)", Exchange(WRITE, "amq.default").refusal()))));
    bench.clean_up();
}

#[test]
fn only_an_impersonator_writes_another_name_on_a_message() {
    let Some(bench) = Bench::new("names") else { return };
    let publish = "confirm.select ; publish exchange=wf.fanout routing_key=k body=x user_id=";
    let claims = [
        ("", "wf.user", true),
        ("", "guest", false),
        ("administrator", "guest", false),
        ("impersonator", "guest", true),
        ("management,impersonator", "nobody", true),
    ];
    for (tags, claimed, allowed) in claims {
        bench.api.change("PUT", &bench.user_path("/users"), &json!({ "password": "secret", "tags": tags }));
        bench.permit(&[Exchange(WRITE, "wf.fanout")]);
        let mut client = bench.connect();
        client.send(&bench.named(&format!("{publish}{claimed}")));
        let refused = format!(
            "channel.close 406 PRECONDITION_FAILED - user_id property set to '{claimed}' but authenticated user was \
             'wf.user' (60,40)"
        );
        let answer = if allowed { "basic.ack(delivery_tag=1, multiple=false)" } else { &refused };
        client.expects(&bench.named(&format!("confirm.select-ok → {answer}")));
    }
    bench.clean_up();
}
