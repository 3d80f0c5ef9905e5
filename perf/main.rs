//! `leveret-perf`: loads a broker and says what it did and what it cost.
//!
//! The hot path (`wire`, `walker`, `scenario::producer`, `scenario::consumer`) is raw bytes of its own, so that it is
//! never the bottleneck and shares no mistake with the broker's codec; everything else goes through `client`.
//!
//! "Published" counts what the kernel took for a broker. With many producers and a slow broker megabytes of it wait in
//! socket buffers, so the rate that a broker should be judged by is what was consumed.

#![allow(clippy::disallowed_methods, reason = "a load generator measures time and opens sockets")]

mod client;
mod confirms;
mod extensions;
mod measure;
mod options;
mod process;
mod report;
mod scenario;
mod socket;
mod target;
mod unit;
mod walker;
mod wire;
mod wire_stream;

use clap::Parser;
use leveret::tls::{Connector, Trust};
use options::{Options, Scenario};
use report::Report;
use scenario::{Context, Prepared};
use std::io;
use std::process::ExitCode;

const AMQP_URI: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
const NATS_URI: &str = "nats://127.0.0.1:4222";

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What connections over TLS are made with, where they are asked for.
fn connector(target: &target::Target, common: &options::Common) -> io::Result<Option<Connector>> {
    if target.scheme != target::Scheme::Amqps {
        return Ok(None);
    }
    let trust = match &common.cacert {
        Some(path) => Trust::Authorities(path),
        None if common.insecure => Trust::Anybody,
        None => return Err(io::Error::other("amqps:// needs --cacert FILE, or --insecure to take any certificate")),
    };
    Connector::load(trust, &|path| std::fs::read(path)).map(Some).map_err(io::Error::other)
}

fn run(options: Options) -> io::Result<()> {
    let prepared = Prepared::new(&options.scenario)?;
    let default_uri = if matches!(options.scenario, Scenario::NatsThroughput(_)) { NATS_URI } else { AMQP_URI };
    let uri = options.common.uri.as_deref().unwrap_or(default_uri);
    let target = target::Target::parse(uri).map_err(io::Error::other)?;
    let address = target.resolve(options.common.allow_remote)?;
    let context = Context {
        run: measure::Run::new(options.common.pid, options.common.live)?,
        broker: client::Broker { connector: connector(&target, &options.common)?, target, address },
        common: options.common,
    };
    let mut report = Report {
        scenario: prepared.name.to_owned(),
        target: if options.scenario.is_bare() { "no broker".to_owned() } else { address.to_string() },
        parameters: prepared.parameters,
        outcomes: Vec::new(),
    };
    for _ in 0..context.common.repeat {
        let outcome = (prepared.run)(&context);
        context.run.clear_live_line();
        report.outcomes.push(outcome?);
        if context.run.interrupted() {
            break;
        }
    }
    let json = format!("{:#}\n", report.to_json());
    if let Some(path) = &context.common.output {
        std::fs::write(path, &json)?;
    }
    print!("{}", if context.common.json { json } else { report.to_table() });
    Ok(())
}
