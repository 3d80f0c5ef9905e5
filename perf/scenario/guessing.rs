//! Clients that guess passwords, each its own and as fast as they are refused: what do they keep from somebody who is
//! logged in and asks for small things?

use super::Context;
use super::topology::Topology;
use crate::client::{Broker, Client};
use crate::measure::Counters;
use crate::options::Guessing;
use crate::report::{Outcome, latency_histogram};
use crate::target::Target;
use crate::unit::Unit;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a broker's refusal says.
const ACCESS_REFUSED: &str = "403 ACCESS_REFUSED";
/// Between one question of the bystander and the next: it is the guessers who are to keep the broker busy.
const BETWEEN_QUESTIONS: Duration = Duration::from_micros(200);

pub fn run(context: &Context, guessing: &Guessing) -> io::Result<Outcome> {
    let declared = Topology::one_queue(false).declare(&context.broker)?;
    let mut bystander = Client::connect(&context.broker)?;
    let counters = Counters::new(0, usize::from(guessing.clients));
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let note_failure = |_: &io::Error| failed.store(true, Ordering::Relaxed);
    let goes_on = || !stop.load(Ordering::Relaxed);
    let (window, refusals, answers) = std::thread::scope(|scope| -> io::Result<_> {
        let mut guessers = Vec::new();
        for (index, counter) in counters.consumed.iter().enumerate() {
            guessers.push(scope.spawn(move || -> io::Result<_> {
                let mut latencies = latency_histogram();
                let mut guesses = 0;
                while goes_on() {
                    let begun = Instant::now();
                    guess(&context.broker, &format!("{index}-{guesses}")).inspect_err(note_failure)?;
                    latencies.saturating_record(begun.elapsed().as_nanos() as u64);
                    guesses += 1;
                    counter.set(guesses);
                }
                Ok(latencies)
            }));
        }
        let queue = declared.queue(0);
        let asked = scope.spawn(move || -> io::Result<_> {
            let mut latencies = latency_histogram();
            while goes_on() {
                let begun = Instant::now();
                bystander.message_count(queue).inspect_err(note_failure)?;
                latencies.saturating_record(begun.elapsed().as_nanos() as u64);
                std::thread::sleep(BETWEEN_QUESTIONS);
            }
            Ok(latencies)
        });
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        let window = context.run.measure(context.common.duration, &counters, failed);
        stop.store(true, Ordering::Relaxed);
        let panicked = |_| io::Error::other("a client panicked");
        let mut refusals = latency_histogram();
        for guesser in guessers {
            refusals.add(guesser.join().map_err(panicked)??).map_err(io::Error::other)?;
        }
        Ok((window, refusals, asked.join().map_err(panicked)??))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("guesses_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("refusal", &refusals);
    outcome.latencies("bystander_answer", &answers);
    outcome.costs(&window, window.consumed(), "guess");
    Ok(outcome)
}

/// Tries a password that nobody has.
fn guess(broker: &Broker, password: &str) -> io::Result<()> {
    let target = Target { password: format!("not it: {password}"), ..broker.target.clone() };
    match Client::connect(&Broker { target, address: broker.address, connector: broker.connector.clone() }) {
        Err(error) if error.to_string().contains(ACCESS_REFUSED) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("somebody has a password that was guessed")),
    }
}
