//! Requests over direct reply-to, one at a time: what one round trip through the broker and back costs.

use super::Context;
use super::bare::{BARE_FRAME_MAX, Exchange};
use super::topology::{Topology, unique_name};
use crate::client::{Client, DIRECT_REPLY_TO};
use crate::measure::{Counter, Counters};
use crate::options::Rpc;
use crate::report::{Outcome, latency_histogram};
use crate::unit::Unit;
use crate::wire::{PublishShape, append_publish, reply_properties};
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The correlation id that asks the server to end.
const LAST_REQUEST: &str = "last";
/// A reply address as long as brokers make them.
const BARE_REPLY_ADDRESS: &str =
    "amq.rabbitmq.reply-to.g1hkABByZXBseUAxMjM0NTY3ODkAAAKXAAAAAGcY0Jo=.AbCdEfGhIjKlMnOpQrStUg==";

pub fn run(context: &Context, rpc: &Rpc) -> io::Result<Outcome> {
    if rpc.bare {
        return run_bare(context, rpc.size);
    }
    let declared = Topology::one_queue(false).declare(&context.broker)?;
    let mut server = Client::connect(&context.broker)?;
    server.consume(declared.queue(0), 0, true)?;
    let mut client = Client::connect(&context.broker)?;
    client.consume(DIRECT_REPLY_TO, 0, true)?;
    let request = request(declared.queue(0).to_owned(), rpc.size, client.frame_max);
    measured(context, |asking| ask(client, &request, asking), || serve(server), || Ok(None))
}

fn request(queue: String, body_len: usize, frame_max: usize) -> PublishShape {
    PublishShape {
        routing_key: queue,
        reply_to: Some(DIRECT_REPLY_TO.to_owned()),
        correlation_id: Some("request".to_owned()),
        body_len,
        frame_max,
        ..PublishShape::default()
    }
}

/// The same bytes, between a client and a server that know nothing but how many there are, through a loop that knows not
/// even that: the wake-ups and system calls of four hops, and nothing else.
fn run_bare(context: &Context, size: usize) -> io::Result<Outcome> {
    let exchange = Exchange::start()?;
    let (mut client, mut server) = (exchange.one.try_clone()?, exchange.other.try_clone()?);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    append_publish(&mut asked, &request(unique_name("0"), size, BARE_FRAME_MAX));
    append_publish(
        &mut answered,
        &PublishShape {
            routing_key: BARE_REPLY_ADDRESS.to_owned(),
            reply_to: None,
            ..request(String::new(), size, BARE_FRAME_MAX)
        },
    );
    let (mut received, mut reply) = (vec![0; asked.len()], vec![0; answered.len()]);
    let asking = |asking: Asking<'_>| {
        let asked = asking.one_after_the_other(|| {
            client.write_all(&asked)?;
            client.read_exact(&mut reply)
        });
        // The loop and the server end with it.
        client.shutdown(Shutdown::Both)?;
        asked
    };
    let serving = || {
        loop {
            match server.read_exact(&mut received) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
                Ok(()) => server.write_all(&answered)?,
            }
        }
    };
    let outcome = measured(context, asking, serving, || exchange.cpu().map(Some))?;
    exchange.stop()?;
    Ok(outcome)
}

/// Asks and serves, each in a thread of its own, for the measuring time. `loop_cpu` is that of a loop in this program
/// between the two.
fn measured(
    context: &Context,
    ask: impl FnOnce(Asking<'_>) -> io::Result<Histogram<u64>> + Send,
    serve: impl FnOnce() -> io::Result<()> + Send,
    loop_cpu: impl Fn() -> io::Result<Option<Duration>>,
) -> io::Result<Outcome> {
    let counters = Counters::new(1, 1);
    let (measuring, stop, failed) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let asking = Asking { counter: &counters.consumed[0], measuring: &measuring, stop: &stop };
    let (window, latencies, loop_cpu) = std::thread::scope(|scope| -> io::Result<_> {
        let serving = scope.spawn(serve);
        let asking = scope.spawn(|| {
            let asked = ask(asking);
            failed.fetch_or(asked.is_err(), Ordering::Relaxed);
            asked
        });
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        measuring.store(true, Ordering::Relaxed);
        let cpu_before = loop_cpu()?;
        let window = context.run.measure(context.common.duration, &counters, failed);
        let cpu_after = loop_cpu()?;
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| io::Error::other("the client panicked"))?;
        let served = serving.join().map_err(|_| io::Error::other("the server panicked"))?;
        let latencies = asked?;
        served?;
        Ok((window, latencies, cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before))))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("requests_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("round_trip", &latencies);
    if let Some(cpu) = loop_cpu {
        let each = cpu.as_secs_f64() * 1e6 / window.consumed().max(1) as f64;
        outcome.row("loop_cpu_us_per_request", each, Unit::Microseconds);
    }
    outcome.costs(&window, window.consumed(), "request");
    Ok(outcome)
}

/// What a client that asks is told, and tells.
struct Asking<'a> {
    counter: &'a Counter,
    measuring: &'a AtomicBool,
    stop: &'a AtomicBool,
}

impl Asking<'_> {
    /// Makes one round trip after the other until stopped.
    fn one_after_the_other(&self, mut round_trip: impl FnMut() -> io::Result<()>) -> io::Result<Histogram<u64>> {
        let mut latencies = latency_histogram();
        let mut answered = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let asked_at = Instant::now();
            round_trip()?;
            answered += 1;
            self.counter.set(answered);
            if self.measuring.load(Ordering::Relaxed) {
                latencies.saturating_record(asked_at.elapsed().as_nanos() as u64);
            }
        }
        Ok(latencies)
    }
}

/// Answers requests with their own bodies' size, until the last.
fn serve(mut server: Client) -> io::Result<()> {
    let mut reply = Vec::new();
    loop {
        let message = server.next_message()?;
        let (correlation_id, reply_to) = reply_properties(&message.header)
            .ok_or_else(|| io::Error::other("a request came without its reply-to as it was sent"))?;
        let last = correlation_id.as_deref() == Some(LAST_REQUEST);
        let shape = PublishShape {
            routing_key: reply_to,
            correlation_id,
            body_len: message.body.len(),
            frame_max: server.frame_max,
            ..PublishShape::default()
        };
        reply.clear();
        append_publish(&mut reply, &shape);
        server.stream().write_all(&reply)?;
        if last {
            return server.close();
        }
    }
}

fn ask(mut client: Client, request: &PublishShape, asking: Asking<'_>) -> io::Result<Histogram<u64>> {
    let mut bytes = Vec::new();
    append_publish(&mut bytes, request);
    let latencies = asking.one_after_the_other(|| {
        client.stream().write_all(&bytes)?;
        client.next_message().map(|_| ())
    })?;
    bytes.clear();
    append_publish(&mut bytes, &PublishShape { correlation_id: Some(LAST_REQUEST.to_owned()), ..request.clone() });
    client.stream().write_all(&bytes)?;
    client.next_message()?;
    client.close()?;
    Ok(latencies)
}
