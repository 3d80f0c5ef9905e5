//! Things that come and go: connections, queues, bindings, each made and unmade again and again.

use super::Context;
use super::topology::{Exchange, Topology, unique_name};
use crate::client::Client;
use crate::measure::Counters;
use crate::options::{Churn, ExchangeType};
use crate::report::{Outcome, latency_histogram};
use crate::unit::Unit;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
    /// Queues of this client's own: one, or as many as come and go at once.
    queues: Vec<String>,
    /// Keys of bindings that come and go at once.
    keys: Vec<String>,
    exchange: String,
    durable: bool,
}

impl Cycle<'_> {
    /// Makes and unmakes as many as are made at once.
    fn turn(&mut self) -> io::Result<()> {
        let names: Vec<&str> = self.queues.iter().map(String::as_str).collect();
        match self.subject {
            Subject::Connection if self.keys.len() > 1 => Client::visit(&self.context.broker, self.keys.len()),
            Subject::Connection => Client::connect(&self.context.broker)?.close(),
            Subject::Queue => {
                self.client.declare_queues(&names, self.durable)?;
                self.client.delete_queues(&names)
            }
            Subject::Binding => {
                let bindings: Vec<(&str, &str)> = self.keys.iter().map(|key| (names[0], key.as_str())).collect();
                self.client.bind_all(&self.exchange, &bindings)?;
                self.client.unbind_all(&self.exchange, &bindings)
            }
        }
    }
}

pub fn run(context: &Context, churn: &Churn, subject: Subject) -> io::Result<Outcome> {
    let mut topology = Topology { durable: churn.durable, ..Topology::default() };
    let at_once = if subject == Subject::Queue { churn.pipeline } else { 1 };
    let queue = |index: u16, number: u16| unique_name(&format!("{index}-{number}"));
    if subject == Subject::Binding {
        topology.exchange =
            Some(Exchange { name: unique_name("x"), exchange_type: ExchangeType::Direct, arguments: Vec::new() });
        let queues = (0..churn.clients)
            .map(|index| super::topology::Queue { name: queue(index, 0), binding_key: "kept".into() });
        topology.queues = queues.collect();
    }
    let _declared = topology.declare(&context.broker)?;
    let mut cycles = Vec::new();
    for index in 0..churn.clients {
        cycles.push(Cycle {
            context,
            subject,
            client: Client::connect(&context.broker)?,
            queues: (0..at_once).map(|number| queue(index, number)).collect(),
            keys: (0..churn.pipeline).map(|number| format!("key-{number}")).collect(),
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
                    turns += u64::from(churn.pipeline);
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
