//! Things that come and go: connections, queues, bindings, each made and unmade again and again; and connections that
//! come and stay.

use super::Context;
use super::topology::{Topology, unique_name};
use crate::client::Client;
use crate::measure::Counters;
use crate::options::{Churn, Idle};
use crate::process::raise_open_file_limit;
use crate::report::{Outcome, Unit, latency_histogram};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Threads that open idle connections at once.
const OPENING_THREADS: u32 = 4;
/// File descriptors that are not idle connections.
const OTHER_FILES: u64 = 64;

/// What comes and goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Connection,
    Queue,
    Binding,
}

/// One client that makes and unmakes its subject.
struct Cycle<'a> {
    context: &'a Context,
    subject: Subject,
    client: Client,
    /// The queue of this client's own.
    queue: String,
    exchange: String,
    durable: bool,
}

impl Cycle<'_> {
    fn turn(&mut self) -> io::Result<()> {
        match self.subject {
            Subject::Connection => Client::connect(&self.context.broker)?.close(),
            Subject::Queue => {
                self.client.declare_queue(&self.queue, self.durable)?;
                self.client.delete_queue(&self.queue)
            }
            Subject::Binding => {
                self.client.bind(&self.queue, &self.exchange, "key")?;
                self.client.unbind(&self.queue, &self.exchange, "key")
            }
        }
    }
}

pub fn run(context: &Context, churn: &Churn, subject: Subject) -> io::Result<Outcome> {
    let mut topology = Topology { durable: churn.durable, ..Topology::default() };
    let queue = |index: u16| unique_name(&index.to_string());
    if subject == Subject::Binding {
        topology.exchange = Some((unique_name("x"), "direct"));
        let queues =
            (0..churn.clients).map(|index| super::topology::Queue { name: queue(index), binding_key: "kept".into() });
        topology.queues = queues.collect();
    }
    let _declared = topology.declare(&context.broker)?;
    let mut cycles = Vec::new();
    for index in 0..churn.clients {
        cycles.push(Cycle {
            context,
            subject,
            client: Client::connect(&context.broker)?,
            queue: queue(index),
            exchange: unique_name("x"),
            durable: churn.durable,
        });
    }
    let counters = Counters::new(0, cycles.len());
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (window, latencies) = std::thread::scope(|scope| -> io::Result<_> {
        let mut threads = Vec::new();
        for (mut cycle, counter) in cycles.into_iter().zip(&counters.consumed) {
            let (stop, failed) = (&stop, &failed);
            threads.push(scope.spawn(move || -> io::Result<_> {
                let mut latencies = latency_histogram();
                let mut turns = 0;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    cycle.turn().inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                    latencies.saturating_record(begun.elapsed().as_nanos() as u64);
                    turns += 1;
                    counter.set(turns);
                }
                cycle.client.close()?;
                Ok(latencies)
            }));
        }
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        let window = context.run.measure(context.common.duration, &counters, failed);
        stop.store(true, Ordering::Relaxed);
        let mut latencies = latency_histogram();
        for thread in threads {
            let of_one = thread.join().map_err(|_| io::Error::other("a client panicked"))??;
            latencies.add(of_one).map_err(io::Error::other)?;
        }
        Ok((window, latencies))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("cycles_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("cycle", &latencies);
    outcome.costs(&window, window.consumed(), "cycle");
    Ok(outcome)
}

/// Opens connections with a channel each and lets them be.
pub fn idle(context: &Context, idle: &Idle) -> io::Result<Outcome> {
    let files = raise_open_file_limit()?;
    if u64::from(idle.connections) + OTHER_FILES > files {
        return Err(io::Error::other(format!(
            "this process may open {files} files, too few for that many connections"
        )));
    }
    let mut outcome = Outcome::default();
    let before = context.run.broker_usage();
    let counters = Counters::new(0, 1);
    let failed = AtomicBool::new(false);
    let begun = Instant::now();
    let (opened, clients) = std::thread::scope(|scope| -> io::Result<_> {
        let mut threads = Vec::new();
        for thread in 0..OPENING_THREADS {
            let share = idle.connections / OPENING_THREADS + u32::from(thread < idle.connections % OPENING_THREADS);
            let (counters, failed) = (&counters, &failed);
            threads.push(scope.spawn(move || -> io::Result<Vec<Client>> {
                let mut clients = Vec::new();
                while (clients.len() as u32) < share && !context.run.interrupted() && !failed.load(Ordering::Relaxed) {
                    let opened = Client::connect(&context.broker);
                    clients.push(opened.inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
                    counters.consumed[0].add(1);
                }
                Ok(clients)
            }));
        }
        let mut clients = Vec::new();
        for thread in threads {
            clients.push(thread.join().map_err(|_| io::Error::other("an opening thread panicked"))??);
        }
        Ok((begun.elapsed(), clients))
    })?;
    let connections = counters.consumed();
    outcome.row("connections", connections as f64, Unit::Count);
    outcome.row("connections_opened_per_s", connections as f64 / opened.as_secs_f64(), Unit::PerSecond);
    let window = context.run.measure(context.common.duration, &counters, || false);
    if let (Some(before), Some(after), Some(cpu)) = (before, window.to.broker, window.broker_cpu()) {
        let grown = after.resident_bytes as f64 - before.resident_bytes as f64;
        outcome.row("resident_bytes_per_connection", grown / connections.max(1) as f64, Unit::Bytes);
        outcome.row("idle_broker_cpu_cores", cpu.as_secs_f64() / window.seconds(), Unit::Ratio);
    } else {
        outcome.warn("without --pid the memory of a connection is not known");
    }
    std::thread::scope(|scope| {
        for clients in clients {
            scope.spawn(|| clients.into_iter().try_for_each(Client::close));
        }
    });
    Ok(outcome)
}
