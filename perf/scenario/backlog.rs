//! Fill a queue that nobody reads, then empty it: how fast, and what a waiting message costs in memory.

use super::Context;
use super::consumer::Consumer;
use super::producer::{PACE_SLEEP, Producer, Stamp};
use super::topology::Topology;
use crate::client::Client;
use crate::measure::{Counters, Window};
use crate::options::Backlog;
use crate::report::Outcome;
use crate::unit::Unit;
use crate::wire::PublishShape;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes per write of the producer.
const WRITE_BYTES: usize = 128 * 1024;
/// Longest wait for a queue to hold what was published.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked.
const SETTLE_INTERVAL: Duration = Duration::from_millis(5);

/// Publishes; consumes too if `drains`.
pub fn run(context: &Context, backlog: &Backlog, drains: bool) -> io::Result<Outcome> {
    let declared = Topology::one_queue(backlog.durable).declare(&context.broker)?;
    let queue = declared.queue(0);
    let mut outcome = Outcome::default();
    let before = context.run.broker_usage();
    let filled = fill(context, backlog, queue, &mut outcome)?;
    if let (Some(before), Some(after)) = (before, context.run.broker_usage()) {
        let grown = after.resident_bytes as f64 - before.resident_bytes as f64;
        outcome.row("resident_bytes_per_message", grown / filled.max(1) as f64, Unit::Bytes);
    }
    let waiting = settled_count(context, queue, filled)?;
    if waiting != filled {
        outcome.warn(format!("the queue holds {waiting} of {filled} messages"));
    }
    if drains && !context.run.interrupted() {
        drain(context, backlog, queue, filled, &mut outcome)?;
    }
    if backlog.keep {
        declared.keep();
    }
    Ok(outcome)
}

/// How many messages the queue holds, once that is as many as expected or does not change soon: a broker may queue
/// what a channel took a little after the channel's end.
pub fn settled_count(context: &Context, queue: &str, expected: u64) -> io::Result<u64> {
    let mut client = Client::connect(&context.broker)?;
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let waiting = u64::from(client.message_count(queue)?);
        if waiting == expected || Instant::now() >= deadline || context.run.interrupted() {
            client.close()?;
            return Ok(waiting);
        }
        std::thread::sleep(SETTLE_INTERVAL);
    }
}

/// Publishes until the broker has proved, by closing the channel, that it took everything.
pub fn fill(context: &Context, backlog: &Backlog, queue: &str, outcome: &mut Outcome) -> io::Result<u64> {
    let counters = Counters::new(1, 0);
    let stop = AtomicBool::new(false);
    let client = Client::connect(&context.broker)?;
    let producer = Producer {
        shapes: vec![PublishShape {
            routing_key: queue.to_owned(),
            persistent: backlog.persistent,
            expiration: backlog.expiration.map(|milliseconds| milliseconds.to_string()),
            body_len: backlog.size,
            frame_max: client.frame_max,
            ..PublishShape::default()
        }],
        client,
        write_bytes: WRITE_BYTES,
        confirm_window: 0,
        rate: None,
        sleep: PACE_SLEEP,
        messages: Some(backlog.messages),
        stamp: Stamp::Nothing,
        values_from: None,
        counter: &counters.published[0],
        stop: &stop,
    };
    let (window, produced, ended_at) = std::thread::scope(|scope| -> io::Result<_> {
        let producing = scope.spawn(|| (producer.run(), Instant::now()));
        let window = context.run.measure(backlog.limit, &counters, || producing.is_finished());
        stop.store(true, Ordering::Relaxed);
        let (produced, ended_at) = producing.join().map_err(|_| io::Error::other("the producer panicked"))?;
        Ok((window, produced?, ended_at))
    })?;
    half(outcome, "fill", &window, ended_at, produced.published);
    if produced.published < backlog.messages {
        outcome.warn(format!("only {} messages were published in time", produced.published));
    }
    Ok(produced.published)
}

fn drain(context: &Context, backlog: &Backlog, queue: &str, messages: u64, outcome: &mut Outcome) -> io::Result<()> {
    let counters = Counters::new(0, 1);
    let stop = AtomicBool::new(false);
    let mut client = Client::connect(&context.broker)?;
    let window = std::thread::scope(|scope| -> io::Result<Window> {
        let from = context.run.snapshot(&counters);
        client.consume(queue, backlog.prefetch, backlog.ack_every == 0)?;
        let consumer = Consumer {
            client,
            ack_every: backlog.ack_every,
            lone_acks: backlog.lone_acks,
            check: None,
            latencies: None,
            pause: Duration::ZERO,
            counter: &counters.consumed[0],
            stop: &stop,
        };
        let consuming = scope.spawn(|| consumer.run());
        let done = || consuming.is_finished() || counters.consumed() >= messages;
        context.run.wait(backlog.limit, &counters, done);
        let to = context.run.snapshot(&counters);
        stop.store(true, Ordering::Relaxed);
        consuming.join().map_err(|_| io::Error::other("the consumer panicked"))??;
        Ok(Window { from, to })
    })?;
    half(outcome, "drain", &window, window.to.at, window.consumed());
    if window.consumed() != messages {
        outcome.warn(format!("consumed {} of {messages} messages", window.consumed()));
    }
    Ok(())
}

fn half(outcome: &mut Outcome, name: &str, window: &Window, ended_at: Instant, messages: u64) {
    let seconds = ended_at.saturating_duration_since(window.from.at).as_secs_f64().max(1e-9);
    outcome.row(format!("{name}_per_s"), messages as f64 / seconds, Unit::PerSecond);
    outcome.row(format!("{name}_seconds"), seconds, Unit::Seconds);
    let per_message = |cpu: Duration| cpu.as_secs_f64() * 1e6 / messages.max(1) as f64;
    if let Some(cpu) = window.broker_cpu() {
        outcome.row(format!("{name}_broker_cpu_us_per_message"), per_message(cpu), Unit::Microseconds);
    }
    let own = per_message(window.own_cpu());
    outcome.row(format!("{name}_generator_cpu_us_per_message"), own, Unit::Microseconds);
}
