//! Who may do what, with users of the tests' own: everything with all the permissions that it needs, and with each of them
//! missing.
//!
//! What is refused says what RabbitMQ says, and nothing of what is there is another afterwards. RabbitMQ plays this with
//! `LEVERET_TEST_URI` and `LEVERET_TEST_MANAGEMENT_URI`.

mod at_once;
mod methods;
mod over_http;

use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::http::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use Needs::{Exchange, LaterTopic, Queue, Topic};

const CONFIGURE: &str = "configure";
const WRITE: &str = "write";
const READ: &str = "read";

/// What a method needs. Names begin with `wf.`, which stands for a prefix of the test's own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A right, of a queue.
    Queue(&'static str, &'static str),
    /// A right, of an exchange.
    Exchange(&'static str, &'static str),
    /// A right, of a routing key of `wf.topic`.
    Topic(&'static str, &'static str),
    /// The same, of which RabbitMQ 3.10.8 did not ask yet.
    LaterTopic(&'static str, &'static str),
}

impl Needs {
    fn later(self) -> bool {
        matches!(self, Self::LaterTopic(..))
    }

    fn refusal(self) -> String {
        let (access, subject) = match self {
            Self::Queue(right, name) => (right, format!("queue '{name}'")),
            Self::Exchange(right, name) => (right, format!("exchange '{name}'")),
            Self::Topic(right, key) | Self::LaterTopic(right, key) => {
                (right, format!("topic '{key}' in exchange 'wf.topic'"))
            }
        };
        format!(
            "channel.close 403 ACCESS_REFUSED - {access} access to {subject} in vhost '/' refused for user 'wf.user'"
        )
    }
}

/// A broker, somebody who may do everything, and a user who may do what a test says.
struct Bench {
    broker: Broker,
    api: Api,
    prefix: String,
}

impl Bench {
    /// `None` after saying that there is no way to make users.
    fn new(name: &str) -> Option<Self> {
        let broker = match std::env::var("LEVERET_TEST_URI") {
            Ok(uri) => Broker::running(&uri),
            Err(_) => Broker::start(""),
        };
        let Some(management) = broker.management else {
            eprintln!("SKIP: users are made at LEVERET_TEST_MANAGEMENT_URI");
            return None;
        };
        let bench = Self { broker, api: Api(management), prefix: format!("wf{}-{name}-", std::process::id()) };
        bench.api.change("PUT", &bench.user_path("/users"), &json!({ "password": "secret", "tags": "management" }));
        bench.set_up();
        Some(bench)
    }

    fn named(&self, text: &str) -> String {
        text.replace("wf.", &self.prefix)
    }

    fn unnamed(&self, text: &str) -> String {
        text.replace(&self.prefix, "wf.")
    }

    fn user_path(&self, folder: &str) -> String {
        format!("{folder}/{}", self.named("wf.user"))
    }

    /// Gives the user exactly these permissions.
    fn permit(&self, needs: &[Needs]) {
        let exactly = |names: BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
            if names.is_empty() { String::new() } else { format!("^({})$", names.join("|")) }
        };
        let names = |wanted: &str| {
            let named = needs.iter().filter_map(|need| match *need {
                Queue(right, name) | Exchange(right, name) if right == wanted => Some(self.named(name)),
                _ => None,
            });
            exactly(named.collect())
        };
        let permissions = json!({ "configure": names(CONFIGURE), "write": names(WRITE), "read": names(READ) });
        self.api.change("PUT", &self.user_path("/permissions/%2F"), &permissions);
        let keys = |wanted: &str| {
            let keys = needs.iter().filter_map(|need| match *need {
                Topic(right, key) | LaterTopic(right, key) if right == wanted => Some(key.to_owned()),
                _ => None,
            });
            exactly(keys.collect())
        };
        // The empty pattern permits the empty key.
        let none = |keys: String, wanted| {
            let empty_is_wanted = needs.iter().any(|need| matches!(need, Topic(right, "") if *right == wanted));
            if keys.is_empty() && !empty_is_wanted { "nothing".to_owned() } else { keys }
        };
        let (write, read) = (none(keys(WRITE), WRITE), none(keys(READ), READ));
        let topics = json!({ "exchange": self.named("wf.topic"), "write": write, "read": read });
        self.api.change("PUT", &self.user_path("/topic-permissions/%2F"), &topics);
    }

    /// Puts everything back to how it was in the beginning.
    fn set_up(&self) {
        let mut owner = Client::connect(self.broker.address, "");
        for kind in ["queue", "exchange"] {
            for name in ["new", "queue", "direct", "topic", "fanout"] {
                owner.send(&self.named(&format!("{kind}.delete {kind}=wf.{name}")));
                owner.read_like(1, if kind == "queue" { "queue.delete-ok…" } else { "exchange.delete-ok" });
            }
        }
        let declared = "queue.declare queue=wf.queue durable ; exchange.declare exchange=wf.direct type=direct durable ; \
                        exchange.declare exchange=wf.topic type=topic durable ; \
                        exchange.declare exchange=wf.fanout type=fanout durable ; \
                        queue.bind queue=wf.queue exchange=wf.fanout routing_key=bound ; \
                        queue.bind queue=wf.queue exchange=wf.topic routing_key=bound ; \
                        exchange.bind source=wf.direct destination=wf.fanout routing_key=bound ; \
                        exchange.bind source=wf.topic destination=wf.fanout routing_key=bound ; \
                        confirm.select ; publish routing_key=wf.queue body=m0 delivery_mode=2";
        owner.send(&self.named(declared));
        owner.expects(&self.named(
            "queue.declare-ok(queue='wf.queue', message_count=0, consumer_count=0) → exchange.declare-ok → \
             exchange.declare-ok → exchange.declare-ok → queue.bind-ok → queue.bind-ok → exchange.bind-ok → \
             exchange.bind-ok → confirm.select-ok → basic.ack(delivery_tag=1, multiple=false)",
        ));
    }

    /// What is there of the test's own. RabbitMQ counts messages when it comes to it.
    fn look(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let fields: [(&str, &[&str]); 3] = [
            ("/queues/%2F", &["name", "durable", "messages", "messages_ready", "consumers"]),
            ("/exchanges/%2F", &["name", "type", "durable", "arguments"]),
            ("/bindings/%2F", &["source", "destination", "destination_type", "routing_key"]),
        ];
        for (path, fields) in fields {
            let fields = fields.iter().filter(|field| {
                !self.broker.is_reference() || !field.starts_with("messages") && **field != "consumers"
            });
            let fields: Vec<_> = fields.collect();
            for item in self.api.get(path).as_array().expect("a list") {
                let values: Vec<&Value> = fields.iter().map(|field| &item[**field]).collect();
                let line = format!("{path} {values:?}");
                if line.contains(&self.prefix) {
                    seen.push(line);
                }
            }
        }
        seen.sort();
        seen
    }

    fn connect(&self) -> Client {
        Client::connect(self.broker.address, &self.named("user=wf.user password=secret"))
    }

    /// What RabbitMQ says of a refusal: until 4.0 it did not say which right was missing.
    fn as_it_says(&self, text: &str) -> String {
        match self.broker.is_reference() {
            true => ["configure", "write", "read"]
                .iter()
                .fold(text.to_owned(), |text, right| text.replace(&format!("{right} access to"), "access to")),
            false => text.to_owned(),
        }
    }

    fn clean_up(&self) {
        if self.broker.is_reference() {
            self.set_up();
            let mut owner = Client::connect(self.broker.address, "");
            for line in ["queue.delete queue=wf.queue", "exchange.delete exchange=wf.direct"] {
                owner.send(&self.named(line));
            }
            for name in ["topic", "fanout"] {
                owner.send(&self.named(&format!("exchange.delete exchange=wf.{name}")));
            }
            owner.read_like(1, "queue.delete-ok… → exchange.delete-ok → exchange.delete-ok → exchange.delete-ok");
            self.api.change("DELETE", &self.user_path("/users"), &Value::Null);
        }
    }
}
