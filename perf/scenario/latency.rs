//! One-way latency at a steady rate. The schedule is open-loop: message i is due at i / rate whatever happened before,
//! and its latency counts from then, so that a pause is seen by every message that it delayed.

use super::Context;
use super::bare::{Relay, bare_shape};
use super::producer::STOP_CHECK;
use super::topology::Topology;
use crate::client::{Client, interruption};
use crate::measure::{Counter, Counters};
use crate::options::Paced;
use crate::process::sharpen_sleep;
use crate::report::{Outcome, latency_histogram};
use crate::socket::is_pause;
use crate::unit::Unit;
use crate::walker::{FrameWalker, Visitor};
use crate::wire::{BASIC_DELIVER, BASIC_PUBLISH, PublishBlock, PublishShape};
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most messages in one write, when the sender is behind its schedule.
const BATCH_BYTES: usize = 64 * 1024;

/// The two sockets between which the latency lies.
struct Ends {
    sender: TcpStream,
    receiver: TcpStream,
    already_received: Vec<u8>,
    shape: PublishShape,
    /// The method that starts a message at the receiver.
    method: u32,
}

/// What was due when. All times are nanoseconds since the start of the schedule.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u64,
    warmup_ns: u64,
    messages: u64,
    spin: Duration,
}

impl Schedule {
    fn due_ns(&self, message: u64) -> u64 {
        let (seconds, rest) = (message / self.rate, message % self.rate);
        seconds * 1_000_000_000 + rest * 1_000_000_000 / self.rate
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sleeps until shortly before the message is due, then spins.
    fn await_due(&self, message: u64) -> u64 {
        let due = self.due_ns(message);
        loop {
            let now = self.now_ns();
            if now >= due {
                return now;
            }
            let left = Duration::from_nanos(due - now);
            if left > self.spin { std::thread::sleep(left - self.spin) } else { std::hint::spin_loop() }
        }
    }
}

pub fn run(context: &Context, paced: &Paced) -> io::Result<Outcome> {
    if paced.size < 16 {
        return Err(io::Error::other("latency needs bodies of 16 bytes or more"));
    }
    if paced.bare {
        let relay = Relay::start()?;
        let ends = Ends {
            sender: relay.sender.try_clone()?,
            receiver: relay.receiver.try_clone()?,
            already_received: Vec::new(),
            shape: bare_shape(paced.size),
            method: BASIC_PUBLISH,
        };
        let outcome = between(context, paced, ends);
        relay.stop()?;
        return outcome;
    }
    let declared = Topology::one_queue(false).declare(&context.broker)?;
    let mut consumer = Client::connect(&context.broker)?;
    consumer.consume(declared.queue(0), 0, true)?;
    let producer = Client::connect(&context.broker)?;
    let shape = PublishShape {
        routing_key: declared.queue(0).to_owned(),
        body_len: paced.size,
        frame_max: producer.frame_max,
        ..PublishShape::default()
    };
    let ends = Ends {
        sender: producer.stream().as_plain()?.try_clone()?,
        receiver: consumer.stream().as_plain()?.try_clone()?,
        already_received: consumer.take_received(),
        shape,
        method: BASIC_DELIVER,
    };
    let outcome = between(context, paced, ends)?;
    if outcome.warnings.is_empty() {
        producer.close()?;
        consumer.close()?;
    }
    Ok(outcome)
}

fn between(context: &Context, paced: &Paced, ends: Ends) -> io::Result<Outcome> {
    let run = &context.run;
    let (warmup, duration) = (context.common.warmup, context.common.duration);
    let schedule = Schedule {
        start: Instant::now(),
        rate: paced.rate,
        warmup_ns: warmup.as_nanos() as u64,
        messages: ((warmup + duration).as_secs_f64() * paced.rate as f64) as u64,
        spin: Duration::from_micros(paced.spin),
    };
    let counters = Counters::new(1, 1);
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let Ends { sender, receiver, already_received, shape, method } = ends;
    let (window, late, seen) = std::thread::scope(|scope| -> io::Result<_> {
        let receiving = scope.spawn(|| {
            let seen =
                receive(receiver, FrameWalker::new(method, &already_received), schedule, &counters.consumed[0], &stop);
            failed.fetch_or(seen.is_err(), Ordering::Relaxed);
            seen
        });
        let sending = scope.spawn(|| {
            let late = send(sender, &shape, schedule, &counters.published[0], &stop);
            failed.fetch_or(late.is_err(), Ordering::Relaxed);
            late
        });
        let failed = || failed.load(Ordering::Relaxed);
        run.wait(warmup, &counters, failed);
        let window = run.measure(duration, &counters, failed);
        run.wait(context.common.drain_timeout, &counters, || failed() || counters.consumed() >= schedule.messages);
        stop.store(true, Ordering::Relaxed);
        let late = sending.join().map_err(|_| io::Error::other("the sender panicked"))??;
        Ok((window, late, receiving.join().map_err(|_| io::Error::other("the receiver panicked"))??))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("publish_per_s", window.published() as f64 / window.seconds(), Unit::PerSecond);
    outcome.row("consume_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("latency", &seen.since_due);
    outcome.row("latency_mean_us", seen.since_due.mean() / 1e3, Unit::Microseconds);
    outcome.latencies("from_send", &seen.since_sent);
    outcome.latencies("sender_late", &late);
    outcome.costs(&window, window.published(), "message");
    let (published, consumed) = (counters.published(), counters.consumed());
    if consumed < published {
        outcome.warn(format!("consumed {consumed} of {published} messages in all"));
    }
    if published < schedule.messages && !run.interrupted() {
        outcome.warn(format!("only {published} of {} scheduled messages could be sent", schedule.messages));
    }
    Ok(outcome)
}

/// Sends every message when it is due, late ones together. Returns how late they were.
fn send(
    mut stream: TcpStream,
    shape: &PublishShape,
    schedule: Schedule,
    counter: &Counter,
    stop: &AtomicBool,
) -> io::Result<Histogram<u64>> {
    sharpen_sleep();
    stream.set_write_timeout(Some(STOP_CHECK))?;
    let mut late = latency_histogram();
    let mut block = PublishBlock::new(std::slice::from_ref(shape), BATCH_BYTES);
    let mut sent = 0;
    while sent < schedule.messages && !stop.load(Ordering::Relaxed) {
        let now = schedule.await_due(sent);
        let mut batch = 0;
        while batch < block.messages && sent < schedule.messages {
            let due = schedule.due_ns(sent);
            if due > now {
                break;
            }
            let mut stamp = [0; 16];
            stamp[..8].copy_from_slice(&due.to_be_bytes());
            stamp[8..].copy_from_slice(&now.to_be_bytes());
            block.stamp(batch, &stamp);
            if due >= schedule.warmup_ns {
                late.saturating_record(now - due);
            }
            batch += 1;
            sent += 1;
        }
        let mut bytes = block.range(0, batch);
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if is_pause(&error) && !stop.load(Ordering::Relaxed) => {}
                Err(error) if is_pause(&error) => return Ok(late),
                Err(error) => return Err(error),
            }
        }
        counter.set(sent);
    }
    Ok(late)
}

/// Latencies of the messages that were due after the warm-up.
struct Seen {
    schedule: Schedule,
    now_ns: u64,
    consumed: u64,
    since_due: Histogram<u64>,
    since_sent: Histogram<u64>,
}

impl Visitor for Seen {
    fn message(&mut self, _: u64, body: &[u8]) {
        self.consumed += 1;
        let time = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        let times = body.get(..8).and_then(time).zip(body.get(8..16).and_then(time));
        if let Some((due, sent)) = times
            && due >= self.schedule.warmup_ns
        {
            self.since_due.saturating_record(self.now_ns.saturating_sub(due));
            self.since_sent.saturating_record(self.now_ns.saturating_sub(sent));
        }
    }

    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        interruption(class_method, arguments).map_or(Ok(()), Err)
    }
}

fn receive(
    mut stream: TcpStream,
    mut walker: FrameWalker,
    schedule: Schedule,
    counter: &Counter,
    stop: &AtomicBool,
) -> io::Result<Seen> {
    stream.set_read_timeout(Some(STOP_CHECK))?;
    let mut seen =
        Seen { schedule, now_ns: 0, consumed: 0, since_due: latency_histogram(), since_sent: latency_histogram() };
    while !stop.load(Ordering::Relaxed) {
        match stream.read(walker.space()) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the receiver was hung up on")),
            Ok(len) => walker.received(len),
            Err(error) if is_pause(&error) => continue,
            Err(error) => return Err(error),
        }
        seen.now_ns = schedule.now_ns();
        walker.walk(&mut seen)?;
        counter.set(seen.consumed);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_neither_drifts_nor_overflows() {
        let schedule = Schedule { start: Instant::now(), rate: 3, warmup_ns: 0, messages: 0, spin: Duration::ZERO };
        assert_eq!(schedule.due_ns(1), 333_333_333);
        assert_eq!(schedule.due_ns(3), 1_000_000_000);
        assert_eq!(schedule.due_ns(3_000_000_000), 1_000_000_000_000_000_000);
    }
}
