//! AMQP over TLS: certificates, handshakes, what clients see of it, and those who break it.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the suites that play transcripts, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;

mod auth_server;
mod certificates;
mod expiry;
mod external;
mod handshakes;
mod hostile;
mod https;
mod loading;
mod node;
mod proxies;
mod records;
