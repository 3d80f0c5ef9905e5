//! A queue's messages become dead letters at once, rejected or expired: how fast do they reach the other queue?

use super::Context;
use super::backlog::{fill, settled_count};
use super::topology::unique_name;
use crate::client::Client;
use crate::options::{Backlog, DeadLetters};
use crate::report::Outcome;
use crate::unit::Unit;
use std::io;
use std::time::{Duration, Instant};

/// How often it is asked how many have arrived.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Fills a queue, lets all of it die in one moment, and waits until the letters are there.
pub fn run(context: &Context, letters: &DeadLetters) -> io::Result<Outcome> {
    let (source, target) = (unique_name("source"), unique_name("dead"));
    let durable = letters.backlog.durable;
    let mut client = Client::connect(&context.broker)?;
    client.declare_dying(&source, &target, durable)?;
    client.declare_queues(&[&target], durable)?;
    let outcome = die(context, letters, &source, &target, &mut client);
    client.delete_queues(&[&source, &target])?;
    client.close()?;
    outcome
}

fn die(
    context: &Context,
    letters: &DeadLetters,
    source: &str,
    target: &str,
    client: &mut Client,
) -> io::Result<Outcome> {
    // What filling takes is another scenario's.
    let (mut outcome, mut filling) = (Outcome::default(), Outcome::default());
    let backlog = Backlog { expiration: letters.expired.then_some(1), ..letters.backlog.clone() };
    if letters.expired {
        // What does not expire keeps those behind it from being dropped, until it is taken.
        fill(context, &Backlog { messages: 1, ..letters.backlog.clone() }, source, &mut filling)?;
    }
    let filled = fill(context, &backlog, source, &mut filling)?;
    settled_count(context, source, filled + u64::from(letters.expired))?;
    let mut killer = Client::connect(&context.broker)?;
    if !letters.expired {
        killer.consume(source, 0, false)?;
        killer.skip_deliveries(filled)?;
    }
    let from = (Instant::now(), context.run.broker_usage());
    if letters.expired {
        killer.take_one(source)?;
    } else {
        killer.reject_all()?;
    }
    let deadline = Instant::now() + backlog.limit;
    let (mut arrived, mut longest_answer) = (0, Duration::ZERO);
    while arrived < filled && Instant::now() < deadline && !context.run.interrupted() {
        std::thread::sleep(POLL_INTERVAL);
        let asked = Instant::now();
        arrived = u64::from(client.message_count(target)?);
        longest_answer = longest_answer.max(asked.elapsed());
    }
    let seconds = from.0.elapsed().as_secs_f64().max(1e-9);
    outcome.row("dead_letters_per_s", arrived as f64 / seconds, Unit::PerSecond);
    if let (Some(before), Some(after)) = (from.1, context.run.broker_usage()) {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / arrived.max(1) as f64;
        outcome.row("broker_cpu_us_per_dead_letter", cpu, Unit::Microseconds);
    }
    outcome.row("longest_answer_us", longest_answer.as_secs_f64() * 1e6, Unit::Microseconds);
    if arrived != backlog.messages {
        outcome.warn(format!("{arrived} of {} messages arrived", backlog.messages));
    }
    killer.close()?;
    Ok(outcome)
}
