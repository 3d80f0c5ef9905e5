//! Requests over direct reply-to, one at a time: what one round trip through the broker and back costs.

use super::Context;
use super::topology::Topology;
use crate::client::{Client, DIRECT_REPLY_TO};
use crate::measure::{Counter, Counters};
use crate::report::{Outcome, Unit, latency_histogram};
use crate::wire::{PublishShape, append_publish, reply_properties};
use hdrhistogram::Histogram;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The correlation id that asks the server to end.
const LAST_REQUEST: &str = "last";

pub fn run(context: &Context, size: usize) -> io::Result<Outcome> {
    let declared = Topology::one_queue(false).declare(&context.broker)?;
    let mut server = Client::connect(&context.broker)?;
    server.consume(declared.queue(0), 0, true)?;
    let mut client = Client::connect(&context.broker)?;
    client.consume(DIRECT_REPLY_TO, 0, true)?;
    let request = PublishShape {
        routing_key: declared.queue(0).to_owned(),
        reply_to: Some(DIRECT_REPLY_TO.to_owned()),
        correlation_id: Some("request".to_owned()),
        body_len: size,
        frame_max: client.frame_max,
        ..PublishShape::default()
    };
    let counters = Counters::new(1, 1);
    let (measuring, stop, failed) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (window, latencies) = std::thread::scope(|scope| -> io::Result<_> {
        let serving = scope.spawn(|| serve(server));
        let asking = scope.spawn(|| {
            let asked = ask(client, &request, &counters.consumed[0], &measuring, &stop);
            failed.fetch_or(asked.is_err(), Ordering::Relaxed);
            asked
        });
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        measuring.store(true, Ordering::Relaxed);
        let window = context.run.measure(context.common.duration, &counters, failed);
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| io::Error::other("the client panicked"))?;
        let served = serving.join().map_err(|_| io::Error::other("the server panicked"))?;
        let latencies = asked?;
        served?;
        Ok((window, latencies))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("requests_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("round_trip", &latencies);
    outcome.costs(&window, window.consumed(), "request");
    Ok(outcome)
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

fn ask(
    mut client: Client,
    request: &PublishShape,
    counter: &Counter,
    measuring: &AtomicBool,
    stop: &AtomicBool,
) -> io::Result<Histogram<u64>> {
    let mut bytes = Vec::new();
    append_publish(&mut bytes, request);
    let mut latencies = latency_histogram();
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let asked_at = Instant::now();
        client.stream().write_all(&bytes)?;
        client.next_message()?;
        answered += 1;
        counter.set(answered);
        if measuring.load(Ordering::Relaxed) {
            latencies.saturating_record(asked_at.elapsed().as_nanos() as u64);
        }
    }
    bytes.clear();
    append_publish(&mut bytes, &PublishShape { correlation_id: Some(LAST_REQUEST.to_owned()), ..request.clone() });
    client.stream().write_all(&bytes)?;
    client.next_message()?;
    client.close()?;
    Ok(latencies)
}
