//! Things that come and stay: connections with a channel each and queues, that nobody uses. What does one cost?

use super::Context;
use super::topology::unique_name;
use crate::client::Client;
use crate::measure::{Counters, Window};
use crate::options::{Idle, IdleQueues};
use crate::process::{Usage, raise_open_file_limit};
use crate::report::Outcome;
use crate::unit::Unit;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Threads that open or close connections at once.
const OPENING_THREADS: usize = 4;
/// File descriptors that are not such connections.
pub const OTHER_FILES: u64 = 64;

/// Opens so many connections, each prepared with its number, and counts them as they come.
pub fn open_many(
    context: &Context,
    number: u32,
    counters: &Counters,
    prepare: impl Fn(usize, &mut Client) -> io::Result<()> + Sync,
) -> io::Result<Vec<Client>> {
    let files = raise_open_file_limit()?;
    if u64::from(number) + OTHER_FILES > files {
        return Err(io::Error::other(format!(
            "this process may open {files} files, too few for that many connections"
        )));
    }
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..OPENING_THREADS)
            .map(|thread| {
                let (failed, prepare) = (&failed, &prepare);
                scope.spawn(move || -> io::Result<Vec<Client>> {
                    let mut clients = Vec::new();
                    for index in (thread..number as usize).step_by(OPENING_THREADS) {
                        if context.run.interrupted() || failed.load(Ordering::Relaxed) {
                            break;
                        }
                        let opened = Client::connect(&context.broker)
                            .and_then(|mut client| prepare(index, &mut client).map(|()| client));
                        clients.push(opened.inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
                        counters.consumed[0].add(1);
                    }
                    Ok(clients)
                })
            })
            .collect();
        let mut clients = Vec::new();
        for thread in threads {
            clients.extend(thread.join().map_err(|_| io::Error::other("an opening thread panicked"))??);
        }
        Ok(clients)
    })
}

/// Closes connections. One that fails to close is gone, too.
pub fn close_many(mut clients: Vec<Client>) {
    let share = clients.len().div_ceil(OPENING_THREADS).max(1);
    std::thread::scope(|scope| {
        while !clients.is_empty() {
            let some = clients.split_off(clients.len().saturating_sub(share));
            scope.spawn(|| some.into_iter().try_for_each(Client::close));
        }
    });
}

/// Opens connections with a channel each and lets them be.
pub fn connections(context: &Context, idle: &Idle) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let before = context.run.broker_usage();
    let counters = Counters::new(0, 1);
    let begun = Instant::now();
    let clients = open_many(context, idle.connections, &counters, |_, _| Ok(()))?;
    let opened = begun.elapsed();
    outcome.row("connections", clients.len() as f64, Unit::Count);
    outcome.row("connections_opened_per_s", clients.len() as f64 / opened.as_secs_f64(), Unit::PerSecond);
    let window = context.run.measure(context.common.duration, &counters, || false);
    at_rest(&mut outcome, before, &window, clients.len(), "connection");
    close_many(clients);
    Ok(outcome)
}

/// Declares queues and lets them be.
pub fn queues(context: &Context, idle: &IdleQueues) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let names: Vec<String> = (0..idle.queues).map(|number| unique_name(&format!("idle-{number}"))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut client = Client::connect(&context.broker)?;
    let before = context.run.broker_usage();
    let begun = Instant::now();
    client.declare_queues(&names, idle.durable)?;
    let declared = begun.elapsed();
    outcome.row("queues", names.len() as f64, Unit::Count);
    outcome.row("queues_declared_per_s", names.len() as f64 / declared.as_secs_f64(), Unit::PerSecond);
    let window = context.run.measure(context.common.duration, &Counters::new(0, 0), || false);
    at_rest(&mut outcome, before, &window, names.len(), "queue");
    if !idle.keep {
        let begun = Instant::now();
        client.delete_queues(&names)?;
        let rate = names.len() as f64 / begun.elapsed().as_secs_f64();
        outcome.row("queues_deleted_per_s", rate, Unit::PerSecond);
    }
    client.close()?;
    Ok(outcome)
}

/// What the broker holds and does for things that do nothing.
fn at_rest(outcome: &mut Outcome, before: Option<Usage>, window: &Window, number: usize, thing: &str) {
    let (Some(before), Some(after), Some(cpu)) = (before, window.to.broker, window.broker_cpu()) else {
        return outcome.warn(format!("without --pid the memory of a {thing} is not known"));
    };
    outcome.row("broker_resident_bytes", after.resident_bytes as f64, Unit::Bytes);
    outcome.row(format!("resident_bytes_per_{thing}"), growth_per_thing(before, after, number), Unit::Bytes);
    outcome.row("broker_cpu_cores", cpu.as_secs_f64() / window.seconds(), Unit::Ratio);
}

/// Bytes by which a process has grown, for each of so many things.
pub fn growth_per_thing(before: Usage, after: Usage, number: usize) -> f64 {
    (after.resident_bytes as f64 - before.resident_bytes as f64) / number.max(1) as f64
}
