//! Three brokers that keep one log, as processes on this machine, seen from outside alone.
//!
//! How nodes agree whatever the network and disks do is the simulation's part; here it is the program itself, killed, stopped
//! and paused, with clients on every node.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the suites that play transcripts, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;

#[expect(dead_code, reason = "shared with the suite about TLS, which has all kinds of certificates")]
#[path = "../tls/certificates.rs"]
mod certificates;

mod cluster;
mod complaints;
mod definitions;
mod disks;
mod forming;
#[cfg(target_os = "linux")]
mod hanging;
mod metrics;
mod operating;
mod passage;
mod taking_over;
