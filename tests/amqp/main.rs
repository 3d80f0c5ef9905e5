//! AMQP behaviour as a client sees it: transcripts over a real loopback socket against a running broker.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod wire_facts;
