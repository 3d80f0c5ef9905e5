//! How long a broker takes from its start until it has opened a channel, and from SIGTERM until it has ended.

use super::Context;
use crate::client::Client;
use crate::options::Start;
use crate::process::usage_of;
use crate::report::Outcome;
use crate::unit::Unit;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a broker that starts is tried.
const TRY_INTERVAL: Duration = Duration::from_micros(200);
/// How often a broker that ends is looked at.
const END_INTERVAL: Duration = Duration::from_millis(1);

/// A broker in a process group of its own, as its program may be a script. It never outlives this.
struct Started(Child);

impl Started {
    fn signal(&self, signal: libc::c_int) {
        if let Ok(group) = libc::pid_t::try_from(self.0.id()) {
            // SAFETY: kill takes numbers. The group is that of our own child, which has not been waited for.
            unsafe { libc::kill(-group, signal) };
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal(libc::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

pub fn run(context: &Context, start: &Start) -> io::Result<Outcome> {
    if Client::connect(&context.broker).is_ok() {
        return Err(io::Error::other("a broker is there already"));
    }
    let (program, arguments) = start.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut started = Started(command.spawn()?);
    let client = loop {
        match Client::connect(&context.broker) {
            Ok(client) => break client,
            Err(error) if begun.elapsed() > start.limit => return Err(error),
            Err(_) if context.run.interrupted() => return Err(io::Error::other("interrupted")),
            Err(_) => {}
        }
        if let Some(status) = started.0.try_wait()? {
            return Err(io::Error::other(format!("the broker ended: {status}")));
        }
        std::thread::sleep(TRY_INTERVAL);
    };
    let ready = begun.elapsed();
    let mut outcome = Outcome::default();
    outcome.row("ready_us", ready.as_secs_f64() * 1e6, Unit::Microseconds);
    if let Ok(usage) = usage_of(started.0.id()) {
        outcome.row("broker_resident_bytes", usage.resident_bytes as f64, Unit::Bytes);
        outcome.row("broker_cpu_us", usage.cpu.as_secs_f64() * 1e6, Unit::Microseconds);
    }
    client.close()?;
    let asked = Instant::now();
    started.signal(libc::SIGTERM);
    while started.0.try_wait()?.is_none() {
        if asked.elapsed() > start.limit {
            return Err(io::Error::other("the broker does not end"));
        }
        std::thread::sleep(END_INTERVAL);
    }
    outcome.row("end_us", asked.elapsed().as_secs_f64() * 1e6, Unit::Microseconds);
    Ok(outcome)
}
