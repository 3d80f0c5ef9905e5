//! The HTTP API's commands, which need what the methods need that they stand for.

use super::Needs::{self, Exchange, LaterTopic, Queue, Topic};
use super::{Bench, CONFIGURE, READ, WRITE};
use serde_json::{Value, json};

/// How a refusal is put.
#[derive(Clone, Copy)]
enum Refusal {
    /// 401, and no word of why.
    Silent,
    /// 401 with what AMQP says.
    Told,
    /// 400 with what AMQP says: RabbitMQ takes it for the fault of the message.
    BadRequest,
}
use Refusal::{BadRequest, Silent, Told};

struct Command {
    method: &'static str,
    path: &'static str,
    body: fn(&Bench) -> Value,
    status: u16,
    refusal: Refusal,
    needs: &'static [Needs],
}

const fn command(method: &'static str, path: &'static str, body: fn(&Bench) -> Value, status: u16) -> Command {
    Command { method, path, body, status, refusal: Silent, needs: &[] }
}

impl Command {
    const fn needs(self, needs: &'static [Needs]) -> Self {
        Self { needs, ..self }
    }

    const fn refused(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    fn run(&self, bench: &Bench) -> (u16, String) {
        let user = format!("{}:secret", bench.named("wf.user"));
        let (status, text) = bench.api.ask_as(&user, self.method, &bench.named(self.path), &(self.body)(bench));
        (status, bench.unnamed(&text))
    }

    /// What a lack of permission is answered with.
    fn refusal(&self, bench: &Bench, lacked: Needs) -> (u16, String) {
        let text = bench.as_it_says(&lacked.refusal());
        let text = text.strip_prefix("channel.close ").expect("a refusal by AMQP");
        match self.refusal {
            Silent => (401, r#"{"error":"not_authorised","reason":"Access refused."}"#.to_owned()),
            Told => (401, json!({ "error": "not_authorised", "reason": text.trim_start_matches("403 ") }).to_string()),
            BadRequest => (400, json!({ "error": "bad_request", "reason": text }).to_string()),
        }
    }
}

fn nothing(_: &Bench) -> Value {
    Value::Null
}

fn empty(_: &Bench) -> Value {
    json!({})
}

fn durable(_: &Bench) -> Value {
    json!({ "durable": true })
}

fn with_key_bound(_: &Bench) -> Value {
    json!({ "routing_key": "bound" })
}

fn with_key_k(_: &Bench) -> Value {
    json!({ "routing_key": "k" })
}

fn message(routing_key: &str, headers: &Value) -> Value {
    json!({ "routing_key": routing_key, "properties": { "headers": headers }, "payload": "x", "payload_encoding": "string" })
}

const COMMANDS: [Command; 17] = [
    command("PUT", "/queues/%2F/wf.new", empty, 201).needs(&[Queue(CONFIGURE, "wf.new")]),
    command("PUT", "/queues/%2F/wf.queue", durable, 204).needs(&[Queue(CONFIGURE, "wf.queue")]),
    command("DELETE", "/queues/%2F/wf.queue", nothing, 204).needs(&[Queue(CONFIGURE, "wf.queue")]),
    command("DELETE", "/queues/%2F/wf.queue/contents", nothing, 204).needs(&[Queue(READ, "wf.queue")]),
    command(
        "POST",
        "/queues/%2F/wf.queue/get",
        |_| json!({ "count": 1, "ackmode": "ack_requeue_false", "encoding": "auto" }),
        200,
    )
    .refused(Told)
    .needs(&[Queue(READ, "wf.queue")]),
    command("PUT", "/exchanges/%2F/wf.new", |_| json!({ "type": "topic" }), 201)
        .needs(&[Exchange(CONFIGURE, "wf.new")]),
    command(
        "PUT",
        "/exchanges/%2F/wf.new",
        |bench| json!({ "type": "topic", "arguments": { "alternate-exchange": bench.named("wf.else") } }),
        201,
    )
    .needs(&[Exchange(CONFIGURE, "wf.new"), Exchange(READ, "wf.new"), Exchange(WRITE, "wf.else")]),
    command("DELETE", "/exchanges/%2F/wf.direct", nothing, 204).needs(&[Exchange(CONFIGURE, "wf.direct")]),
    command("POST", "/bindings/%2F/e/wf.direct/q/wf.queue", with_key_k, 201)
        .needs(&[Queue(WRITE, "wf.queue"), Exchange(READ, "wf.direct")]),
    command("POST", "/bindings/%2F/e/wf.topic/q/wf.queue", with_key_k, 201).needs(&[
        Queue(WRITE, "wf.queue"),
        Exchange(READ, "wf.topic"),
        Topic(READ, "k"),
    ]),
    command("DELETE", "/bindings/%2F/e/wf.topic/q/wf.queue/bound", nothing, 204).needs(&[
        Queue(WRITE, "wf.queue"),
        Exchange(READ, "wf.topic"),
        Topic(READ, "bound"),
    ]),
    command("POST", "/bindings/%2F/e/wf.topic/e/wf.direct", with_key_bound, 201).needs(&[
        Exchange(WRITE, "wf.direct"),
        Exchange(READ, "wf.topic"),
        Topic(READ, "bound"),
    ]),
    command("DELETE", "/bindings/%2F/e/wf.direct/e/wf.fanout/bound", nothing, 204)
        .needs(&[Exchange(WRITE, "wf.fanout"), Exchange(READ, "wf.direct")]),
    command("POST", "/exchanges/%2F/wf.fanout/publish", |_| message("k", &json!({})), 200)
        .refused(BadRequest)
        .needs(&[Exchange(WRITE, "wf.fanout")]),
    command("POST", "/exchanges/%2F/amq.default/publish", |bench| message(&bench.named("wf.queue"), &json!({})), 200)
        .refused(BadRequest)
        .needs(&[Exchange(WRITE, "amq.default")]),
    command("POST", "/exchanges/%2F/wf.topic/publish", |_| message("bound", &json!({})), 200)
        .refused(BadRequest)
        .needs(&[Exchange(WRITE, "wf.topic"), Topic(WRITE, "bound")]),
    command("POST", "/exchanges/%2F/wf.topic/publish", |_| message("free", &json!({ "CC": ["bound"] })), 200)
        .refused(BadRequest)
        .needs(&[Exchange(WRITE, "wf.topic"), Topic(WRITE, "free"), LaterTopic(WRITE, "bound")]),
];

#[test]
fn who_has_what_a_command_needs_may_give_it() {
    let Some(bench) = Bench::new("commands") else { return };
    for command in &COMMANDS {
        bench.set_up();
        bench.permit(command.needs);
        let (status, text) = command.run(&bench);
        assert_eq!(status, command.status, "{} {}: {text}", command.method, command.path);
    }
    bench.clean_up();
}

#[test]
fn who_lacks_any_of_it_has_changed_nothing_by_a_command() {
    let Some(bench) = Bench::new("refused") else { return };
    for command in &COMMANDS {
        for &lacked in command.needs.iter().filter(|need| !bench.broker.is_reference() || !need.later()) {
            bench.permit(&command.needs.iter().copied().filter(|need| *need != lacked).collect::<Vec<_>>());
            let before = bench.look();
            assert_eq!(command.run(&bench), command.refusal(&bench, lacked), "{} {}", command.method, command.path);
            assert_eq!(bench.look(), before, "{} {}", command.method, command.path);
        }
    }
    bench.clean_up();
}
