//! Transcripts of the HTTP API: requests and answers in text files, and their player.
//!
//! ```text
//! == a name
//! > guest PUT /api/users/wf.u {"tags":""}     who asks for what, with which body; `-` says no password
//! > - POST /api/login form username=guest      a body that is a form and not JSON
//! < 204                                       the status, and the body where it matters
//! < 200 {"name":"wf.u","limits":"(any)"}      `(any)` stands for whatever is there
//! | 201                                       or this
//! ~ 404 (any)                                 what RabbitMQ 3.10.8 says instead
//! # a remark
//! ```
//!
//! Names beginning with `wf.` get a prefix of their own in every play. A user's password is `pw`, unless one is said:
//! `name:password`; guest's is its own. `LEVERET_TEST_MANAGEMENT_URI=127.0.0.1:15672` plays them against the RabbitMQ there.

use crate::server::{Answer, Server, ask_at, basic};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whom transcripts are played against.
enum Stage {
    Leveret(Server),
    RabbitMq(SocketAddr),
}

impl Stage {
    fn set() -> Self {
        match std::env::var("LEVERET_TEST_MANAGEMENT_URI") {
            Ok(uri) => Self::RabbitMq(uri.parse().expect("HOST:PORT")),
            Err(_) => Self::Leveret(Server::start()),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Leveret(server) => server.management,
            Self::RabbitMq(address) => *address,
        }
    }

    fn is_rabbitmq(&self) -> bool {
        matches!(self, Self::RabbitMq(_))
    }
}

/// How many scenarios there were, of all files.
static PLAYED: AtomicU32 = AtomicU32::new(0);

/// Plays a file.
pub fn play(text: &str) {
    let stage = Stage::set();
    let mut scenario = String::new();
    let mut lines = text.lines().enumerate().peekable();
    let mut prefix = String::new();
    let mut scenarios = 0;
    while let Some((number, line)) = lines.next() {
        if let Some(name) = line.strip_prefix("== ") {
            scenario = name.to_owned();
            scenarios += 1;
            prefix = format!("t{}-{}.", std::process::id(), PLAYED.fetch_add(1, Ordering::Relaxed));
        }
        let Some(request) = line.strip_prefix("> ") else { continue };
        let said = |line: &str| line.replace("wf.", &prefix);
        let (mut accepted, mut reference) = (Vec::new(), None);
        while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(['<', '|', '~'])) {
            let expected = said(line[1..].trim());
            if line.starts_with('~') { reference = Some(expected) } else { accepted.push(expected) }
        }
        assert!(!accepted.is_empty(), "line {}: nothing is expected", number + 1);
        if let (true, Some(reference)) = (stage.is_rabbitmq(), reference) {
            accepted = vec![reference];
        }
        let answer = send(&stage, &said(request));
        let fits = accepted.iter().any(|expected| fits(expected, &answer));
        assert!(
            fits,
            "{scenario}, line {}: {}\n expected {accepted:#?}\n and heard {} {}",
            number + 1,
            said(request),
            answer.status,
            answer.text
        );
    }
    assert!(scenarios > 0);
}

fn send(stage: &Stage, request: &str) -> Answer {
    let mut parts = request.splitn(4, ' ');
    let (who, method, path) = (parts.next().unwrap(), parts.next().expect("a method"), parts.next().expect("a path"));
    let credentials = match who {
        "guest" => "guest:guest".to_owned(),
        who if who.contains(':') => who.to_owned(),
        who => format!("{who}:pw"),
    };
    let authorization = basic(&credentials);
    let body = parts.next().unwrap_or_default();
    let (content_type, body) = match body.strip_prefix("form ") {
        Some(form) => ("application/x-www-form-urlencoded", form),
        None => ("application/json", body),
    };
    let headers = [("content-type", content_type), ("authorization", authorization.as_str())];
    let headers = if who == "-" { &headers[..1] } else { &headers[..] };
    ask_at(stage.address(), method, path, body, headers)
}

/// Whether an answer is what was expected.
fn fits(expected: &str, answer: &Answer) -> bool {
    let (status, body) = expected.split_once(' ').unwrap_or((expected, ""));
    if status != answer.status.to_string() {
        return false;
    }
    if body.is_empty() || body == "(any)" {
        return body == "(any)" || answer.text.is_empty();
    }
    let expected: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    is_like(&expected, &answer.json())
}

fn is_like(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(any), _) if any == "(any)" => true,
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| is_like(expected, actual))
        }
        (Value::Object(expected), Value::Object(actual)) => {
            expected.len() == actual.len()
                && expected.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| is_like(value, actual)))
        }
        (expected, actual) => expected == actual,
    }
}
