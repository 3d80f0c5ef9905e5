//! AMQP behaviour as a client sees it: transcripts over a real loopback socket against a running broker.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod crowds;
mod hostile;
mod logins;
mod lone_acks;
mod paging;
mod permissions;
mod wire_facts;
