//! Management as its clients see it: HTTP against a running broker, and leveretctl's output.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the suites that play transcripts, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;

mod alarms;
mod changes;
mod cluster;
mod ctl;
mod ctl_tools;
mod ctl_transcript;
mod definitions;
mod delayed;
mod exchange_stats;
mod history;
mod hostile;
mod http_auth;
mod limits;
mod listings;
mod login;
mod matrix;
mod metrics;
mod openapi;
mod probes;
mod server;
mod session;
mod tail;
mod tokens;
mod topology;
mod transcript;
mod waiting;
mod who_may;
