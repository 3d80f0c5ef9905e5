//! Every method of AMQP.

use super::Needs::{self, Exchange, LaterTopic, Queue, Topic};
use super::{Bench, CONFIGURE, READ, WRITE};

/// A method, what answers it when it may be done, and its class and method id.
struct Method {
    sent: &'static str,
    answer: &'static str,
    ids: &'static str,
    needs: &'static [Needs],
}

const fn method(sent: &'static str, answer: &'static str, ids: &'static str, needs: &'static [Needs]) -> Method {
    Method { sent, answer, ids, needs }
}

const METHODS: [Method; 41] = [
    method(
        "queue.declare queue=wf.new",
        "queue.declare-ok(queue='wf.new', message_count=0, consumer_count=0)",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.new")],
    ),
    method(
        "queue.declare queue=wf.queue durable",
        "queue.declare-ok(queue='wf.queue', message_count=1, consumer_count=0)",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.queue")],
    ),
    method(
        "queue.declare queue=wf.queue durable exclusive",
        "channel.close 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'wf.queue' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration. (50,10)",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.queue")],
    ),
    method(
        "queue.declare queue='wf.\\nnew'",
        "queue.declare-ok(queue='wf.new', message_count=0, consumer_count=0)",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.new")],
    ),
    method(
        "queue.declare queue=wf.new arguments={x-dead-letter-exchange=S:wf.dead, x-queue-type=S:bogus}",
        "channel.close 406…",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.new"), Queue(READ, "wf.new"), Exchange(WRITE, "wf.dead")],
    ),
    method(
        "queue.declare queue=wf.queue durable arguments={x-dead-letter-exchange=S:wf.dead}",
        "channel.close 406 PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'wf.queue' in vhost '/': received the value 'wf.dead' of type 'longstr' but current is none (50,10)",
        "(50,10)",
        &[Queue(CONFIGURE, "wf.queue")],
    ),
    method(
        "queue.delete queue=wf.queue",
        "queue.delete-ok(message_count=1)",
        "(50,40)",
        &[Queue(CONFIGURE, "wf.queue")],
    ),
    method(
        "queue.delete queue=wf.missing",
        "queue.delete-ok(message_count=0)",
        "(50,40)",
        &[Queue(CONFIGURE, "wf.missing")],
    ),
    method("queue.purge queue=wf.queue", "queue.purge-ok(message_count=1)", "(50,30)", &[Queue(READ, "wf.queue")]),
    method(
        "queue.purge queue=wf.missing",
        "channel.close 404 NOT_FOUND - no queue 'wf.missing' in vhost '/' (50,30)",
        "(50,30)",
        &[Queue(READ, "wf.missing")],
    ),
    method(
        "queue.bind queue=wf.queue exchange=wf.direct routing_key=k",
        "queue.bind-ok",
        "(50,20)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.direct")],
    ),
    method(
        "queue.bind queue=wf.missing exchange=wf.nowhere routing_key=k",
        "channel.close 404 NOT_FOUND - no exchange 'wf.nowhere' in vhost '/' (50,20)",
        "(50,20)",
        &[Queue(WRITE, "wf.missing"), Exchange(READ, "wf.nowhere")],
    ),
    method(
        "queue.bind queue=wf.queue exchange='wf.dir\\nect' routing_key=k",
        "queue.bind-ok",
        "(50,20)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.direct")],
    ),
    method(
        "queue.bind queue=wf.queue exchange=wf.topic routing_key=a.#",
        "queue.bind-ok",
        "(50,20)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.topic"), Topic(READ, "a.#")],
    ),
    method(
        "queue.bind queue=wf.queue exchange=wf.topic routing_key=''",
        "queue.bind-ok",
        "(50,20)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.topic"), Topic(READ, "")],
    ),
    method(
        "queue.bind queue=wf.missing exchange=wf.topic routing_key=a",
        "channel.close 404 NOT_FOUND - no queue 'wf.missing' in vhost '/' (50,20)",
        "(50,20)",
        &[Queue(WRITE, "wf.missing"), Exchange(READ, "wf.topic"), Topic(READ, "a")],
    ),
    method(
        "queue.unbind queue=wf.queue exchange=wf.fanout routing_key=bound",
        "queue.unbind-ok",
        "(50,50)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.fanout")],
    ),
    method(
        "queue.unbind queue=wf.queue exchange=wf.topic routing_key=bound",
        "queue.unbind-ok",
        "(50,50)",
        &[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.topic"), Topic(READ, "bound")],
    ),
    method(
        "queue.unbind queue=wf.missing exchange=wf.nowhere routing_key=k",
        "queue.unbind-ok",
        "(50,50)",
        &[Queue(WRITE, "wf.missing"), Exchange(READ, "wf.nowhere")],
    ),
    method(
        "exchange.declare exchange=wf.new type=direct",
        "exchange.declare-ok",
        "(40,10)",
        &[Exchange(CONFIGURE, "wf.new")],
    ),
    method(
        "exchange.declare exchange=wf.direct type=direct durable",
        "exchange.declare-ok",
        "(40,10)",
        &[Exchange(CONFIGURE, "wf.direct")],
    ),
    method(
        "exchange.declare exchange=wf.direct type=topic durable",
        "channel.close 406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'wf.direct' in vhost '/': received 'topic' but current is 'direct' (40,10)",
        "(40,10)",
        &[Exchange(CONFIGURE, "wf.direct")],
    ),
    method(
        "exchange.declare exchange=wf.new type=fanout arguments={alternate-exchange=S:wf.else}",
        "exchange.declare-ok",
        "(40,10)",
        &[Exchange(CONFIGURE, "wf.new"), Exchange(READ, "wf.new"), Exchange(WRITE, "wf.else")],
    ),
    method(
        "exchange.declare exchange=wf.new type=fanout arguments={alternate-exchange=S:''}",
        "exchange.declare-ok",
        "(40,10)",
        &[Exchange(CONFIGURE, "wf.new"), Exchange(READ, "wf.new"), Exchange(WRITE, "amq.default")],
    ),
    method("exchange.delete exchange=wf.direct", "exchange.delete-ok", "(40,20)", &[Exchange(CONFIGURE, "wf.direct")]),
    method(
        "exchange.delete exchange=wf.nowhere",
        "exchange.delete-ok",
        "(40,20)",
        &[Exchange(CONFIGURE, "wf.nowhere")],
    ),
    method(
        "exchange.bind source=wf.direct destination=wf.fanout routing_key=k",
        "exchange.bind-ok",
        "(40,30)",
        &[Exchange(WRITE, "wf.fanout"), Exchange(READ, "wf.direct")],
    ),
    method(
        "exchange.bind source=wf.topic destination=wf.fanout routing_key=a.*",
        "exchange.bind-ok",
        "(40,30)",
        &[Exchange(WRITE, "wf.fanout"), Exchange(READ, "wf.topic"), Topic(READ, "a.*")],
    ),
    method(
        "exchange.unbind source=wf.direct destination=wf.fanout routing_key=bound",
        "exchange.unbind-ok",
        "(40,40)",
        &[Exchange(WRITE, "wf.fanout"), Exchange(READ, "wf.direct")],
    ),
    method(
        "exchange.unbind source=wf.topic destination=wf.fanout routing_key=bound",
        "exchange.unbind-ok",
        "(40,40)",
        &[Exchange(WRITE, "wf.fanout"), Exchange(READ, "wf.topic"), Topic(READ, "bound")],
    ),
    method("publish exchange=wf.fanout routing_key=k body=x", "acks 1", "(60,40)", &[Exchange(WRITE, "wf.fanout")]),
    method("publish routing_key=wf.queue body=x", "acks 1", "(60,40)", &[Exchange(WRITE, "amq.default")]),
    method(
        "publish exchange=wf.nowhere routing_key=k body=x",
        "channel.close 404 NOT_FOUND - no exchange 'wf.nowhere' in vhost '/' (60,40)",
        "(60,40)",
        &[Exchange(WRITE, "wf.nowhere")],
    ),
    method(
        "publish exchange=wf.topic routing_key=bound body=x",
        "acks 1",
        "(60,40)",
        &[Exchange(WRITE, "wf.topic"), Topic(WRITE, "bound")],
    ),
    method(
        "publish exchange=wf.topic routing_key='' body=x",
        "acks 1",
        "(60,40)",
        &[Exchange(WRITE, "wf.topic"), Topic(WRITE, "")],
    ),
    method(
        "publish exchange=wf.topic routing_key=bound headers={CC=A:[S:also]} body=x",
        "acks 1",
        "(60,40)",
        &[Exchange(WRITE, "wf.topic"), Topic(WRITE, "bound"), LaterTopic(WRITE, "also")],
    ),
    method(
        "publish exchange=wf.topic routing_key=free headers={BCC=A:[S:bound]} body=x",
        "acks 1",
        "(60,40)",
        &[Exchange(WRITE, "wf.topic"), Topic(WRITE, "free"), LaterTopic(WRITE, "bound")],
    ),
    method("basic.get queue=wf.queue", "deliveries get#1=m0", "(60,70)", &[Queue(READ, "wf.queue")]),
    method(
        "basic.get queue=wf.missing",
        "channel.close 404 NOT_FOUND - no queue 'wf.missing' in vhost '/' (60,70)",
        "(60,70)",
        &[Queue(READ, "wf.missing")],
    ),
    method(
        "basic.consume queue=wf.queue consumer_tag=t",
        "basic.consume-ok(consumer_tag='t') → basic.deliver…",
        "(60,20)",
        &[Queue(READ, "wf.queue")],
    ),
    method(
        "basic.consume queue=wf.missing consumer_tag=t",
        "channel.close 404 NOT_FOUND - no queue 'wf.missing' in vhost '/' (60,20)",
        "(60,20)",
        &[Queue(READ, "wf.missing")],
    ),
];

/// What needs no permission but to be there.
const FREE: [(&str, &str); 12] = [
    ("basic.qos prefetch_count=1", "basic.qos-ok"),
    ("basic.cancel consumer_tag=nobody", "basic.cancel-ok(consumer_tag='nobody')"),
    ("basic.recover requeue", "basic.recover-ok"),
    ("channel.flow active", "channel.flow-ok(active=true)"),
    ("confirm.select", "confirm.select-ok"),
    ("tx.select ; tx.commit ; tx.rollback", "tx.select-ok → tx.commit-ok → tx.rollback-ok"),
    (
        "queue.declare queue=amq.rabbitmq.reply-to passive",
        "queue.declare-ok(queue='amq.rabbitmq.reply-to', message_count=0, consumer_count=1)",
    ),
    (
        "queue.declare queue=amq.rabbitmq.reply-to",
        "queue.declare-ok(queue='amq.rabbitmq.reply-to', message_count=0, consumer_count=1)",
    ),
    ("basic.consume queue=amq.rabbitmq.reply-to consumer_tag=t no_ack", "basic.consume-ok(consumer_tag='t')"),
    (
        "exchange.declare exchange='' passive",
        "channel.close 403 ACCESS_REFUSED - operation not permitted on the default exchange (40,10)",
    ),
    (
        "queue.declare queue=amq.mine",
        "channel.close 403 ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*' (50,10)",
    ),
    (
        "queue.bind exchange=amq.direct routing_key=k",
        "channel.close 404 NOT_FOUND - no previously declared queue (50,20)",
    ),
];

impl Method {
    /// What the user is told. Reads as much as the expected answer describes.
    fn run(&self, bench: &Bench, answer: &str) -> String {
        let mut client = bench.connect();
        if self.ids == "(60,40)" {
            client.send("confirm.select");
            client.expects("confirm.select-ok");
        }
        client.send(&bench.named(self.sent));
        bench.unnamed(&client.read_like(1, &bench.named(answer)))
    }
}

#[test]
fn who_has_what_a_method_needs_may_use_it() {
    let Some(bench) = Bench::new("may") else { return };
    for method in &METHODS {
        bench.set_up();
        bench.permit(method.needs);
        let answer = method.run(&bench, method.answer);
        assert_eq!(answer, method.answer, "{}", method.sent);
    }
    bench.clean_up();
}

#[test]
fn who_lacks_any_of_it_is_told_so_and_has_changed_nothing() {
    let Some(bench) = Bench::new("lacks") else { return };
    for method in &METHODS {
        for lacked in method.needs {
            if bench.broker.is_reference() && lacked.later() {
                continue;
            }
            let needs: Vec<Needs> = method.needs.iter().copied().filter(|need| need != lacked).collect();
            bench.permit(&needs);
            let before = bench.look();
            let refusal = bench.as_it_says(&format!("{} {}", lacked.refusal(), method.ids));
            assert_eq!(method.run(&bench, &refusal), refusal, "{}", method.sent);
            assert_eq!(bench.look(), before, "{}", method.sent);
        }
    }
    bench.clean_up();
}

#[test]
fn what_names_nothing_needs_no_permission() {
    let Some(bench) = Bench::new("free") else { return };
    bench.permit(&[]);
    for (sent, answer) in FREE {
        let mut client = bench.connect();
        client.send(sent);
        client.expects(answer);
    }
    bench.clean_up();
}

#[test]
fn a_queue_that_the_broker_names_is_asked_for_by_that_name() {
    let Some(bench) = Bench::new("named") else { return };
    bench.permit(&[]);
    let mut client = bench.connect();
    client.send("queue.declare");
    let refused = "configure access to queue 'amq.gen-…' in vhost '/' refused for user 'wf.user'";
    let text = bench.as_it_says(&bench.named(&format!("channel.close 403 ACCESS_REFUSED - {refused} (50,10)")));
    client.expects(&text);
    bench.clean_up();
}

/// RabbitMQ asks since 4.3; before it told everybody what there is.
#[test]
fn a_passive_declaration_needs_any_permission() {
    let Some(bench) = Bench::new("passive") else { return };
    let there = "queue.declare-ok(queue='wf.queue', message_count=1, consumer_count=0)";
    let declarations = [
        ("queue.declare queue=wf.queue passive", "queue", "wf.queue", there, "(50,10)"),
        ("queue.declare queue='wf.que\\nue' passive", "queue", "wf.queue", there, "(50,10)"),
        (
            "queue.declare queue=wf.missing passive",
            "queue",
            "wf.missing",
            "channel.close 404 NOT_FOUND - no queue 'wf.missing' in vhost '/' (50,10)",
            "(50,10)",
        ),
        ("exchange.declare exchange=wf.direct passive", "exchange", "wf.direct", "exchange.declare-ok", "(40,10)"),
        (
            "exchange.declare exchange=wf.nowhere passive",
            "exchange",
            "wf.nowhere",
            "channel.close 404 NOT_FOUND - no exchange 'wf.nowhere' in vhost '/' (40,10)",
            "(40,10)",
        ),
    ];
    for (sent, kind, name, answer, ids) in declarations {
        let method = Method { sent, answer, ids, needs: &[] };
        for right in [CONFIGURE, WRITE, READ] {
            bench.permit(&[Queue(right, name)]);
            assert_eq!(method.run(&bench, answer), answer, "{sent} with {right}");
        }
        if !bench.broker.is_reference() {
            bench.permit(&[Queue(CONFIGURE, "wf.other"), Queue(WRITE, "wf.other"), Queue(READ, "wf.other")]);
            let (needs, before) =
                (if kind == "queue" { Queue(CONFIGURE, name) } else { Exchange(CONFIGURE, name) }, bench.look());
            let refusal = format!("{} {ids}", needs.refusal());
            assert_eq!(method.run(&bench, &refusal), refusal, "{sent}");
            assert_eq!(bench.look(), before, "{sent}");
        }
    }
    bench.clean_up();
}
