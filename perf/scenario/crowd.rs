//! Very many connections with a queue and a consumer each, and a steady rate of messages over all of them: how many
//! clients can a broker serve at once, and how soon does each get its message?
//!
//! Two threads read all connections, each through a poll of its own. A thread for each would measure the scheduler.

use super::Context;
use super::consumer::Latencies;
use super::idle::{close_many, growth_per_thing, open_many};
use super::producer::{Producer, STOP_CHECK, Stamp};
use super::topology::{Queue, Topology, unique_name};
use crate::client::{Client, interruption};
use crate::measure::{Counter, Counters};
use crate::options::Crowd;
use crate::report::{Outcome, Unit, latency_histogram};
use crate::socket::is_pause;
use crate::walker::{FrameWalker, SMALL_RECEIVE_BUFFER, Visitor};
use crate::wire::{BASIC_DELIVER, PublishShape};
use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const READING_THREADS: usize = 2;
/// Bytes per write of the producer: little, as it is never in a hurry.
const WRITE_BYTES: usize = 16 * 1024;
/// Events taken from a poll at once.
const EVENTS: usize = 1024;

pub fn run(context: &Context, crowd: &Crowd) -> io::Result<Outcome> {
    if crowd.size < 16 {
        return Err(io::Error::other("crowd needs bodies of 16 bytes or more"));
    }
    let before = context.run.broker_usage();
    let names: Vec<String> = (0..crowd.connections).map(|number| unique_name(&format!("{number:05}"))).collect();
    let queue = |name: &String| Queue { name: name.clone(), binding_key: String::new() };
    let topology = Topology { queues: names.iter().map(queue).collect(), ..Topology::default() };
    let _declared = topology.declare(&context.broker)?;
    let opening = Counters::new(0, 1);
    let begun = Instant::now();
    let clients = open_many(context, crowd.connections, &opening, |index, client| {
        client.consume(&names[index], 0, true)?;
        client.stream().set_nonblocking(true)
    })?;
    let opened = begun.elapsed();
    let mut outcome = Outcome::default();
    outcome.row("connections", clients.len() as f64, Unit::Count);
    outcome.row("connections_opened_per_s", clients.len() as f64 / opened.as_secs_f64(), Unit::PerSecond);

    let producer_client = Client::connect(&context.broker)?;
    let shape = |name: &String| PublishShape {
        routing_key: name.clone(),
        body_len: crowd.size,
        frame_max: producer_client.frame_max,
        ..PublishShape::default()
    };
    let shapes = names.iter().map(shape).collect();
    let counters = Counters::new(1, READING_THREADS);
    let (stop_producing, stop_reading) = (AtomicBool::new(false), AtomicBool::new(false));
    let (failed, measuring) = (AtomicBool::new(false), AtomicBool::new(false));
    let epoch = Instant::now();
    let mut shares: Vec<Vec<Client>> = std::iter::repeat_with(Vec::new).take(READING_THREADS).collect();
    clients.into_iter().enumerate().for_each(|(index, client)| shares[index % READING_THREADS].push(client));
    let producer = Producer {
        client: producer_client,
        shapes,
        write_bytes: WRITE_BYTES,
        confirm_window: 0,
        rate: Some(crowd.rate as f64),
        messages: None,
        stamp: Stamp::Time(epoch),
        counter: &counters.published[0],
        stop: &stop_producing,
    };
    let window = std::thread::scope(|scope| -> io::Result<_> {
        let mut reading = Vec::new();
        for (clients, counter) in shares.into_iter().zip(&counters.consumed) {
            let (stop, failed, measuring) = (&stop_reading, &failed, &measuring);
            reading.push(scope.spawn(move || {
                let latencies = Latencies::new(epoch, measuring);
                read(clients, latencies, counter, stop).inspect_err(|_| failed.store(true, Ordering::Relaxed))
            }));
        }
        let producing = scope.spawn(|| producer.run().inspect_err(|_| failed.store(true, Ordering::Relaxed)));
        let has_failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, has_failed);
        measuring.store(true, Ordering::Relaxed);
        let window = context.run.measure(context.common.duration, &counters, has_failed);
        measuring.store(false, Ordering::Relaxed);
        stop_producing.store(true, Ordering::Relaxed);
        let produced = producing.join().map_err(|_| io::Error::other("the producer panicked"));
        let all_read = || has_failed() || counters.consumed() >= counters.published();
        context.run.wait(context.common.drain_timeout, &counters, all_read);
        stop_reading.store(true, Ordering::Relaxed);
        let mut latencies = latency_histogram();
        let mut clients = Vec::new();
        for thread in reading {
            let (seen, some) = thread.join().map_err(|_| io::Error::other("a reading thread panicked"))??;
            latencies.add(seen).map_err(io::Error::other)?;
            clients.extend(some);
        }
        produced??;
        outcome.row("publish_per_s", window.published() as f64 / window.seconds(), Unit::PerSecond);
        outcome.row("consume_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
        outcome.latencies("latency", &latencies);
        close_many(clients);
        Ok(window)
    })?;
    outcome.costs(&window, window.published(), "message");
    if let (Some(before), Some(after)) = (before, window.to.broker) {
        let growth = growth_per_thing(before, after, crowd.connections as usize);
        outcome.row("resident_bytes_per_connection", growth, Unit::Bytes);
    }
    let (published, consumed) = (counters.published(), counters.consumed());
    if consumed != published {
        outcome.warn(format!("consumed {consumed} of {published} messages in all"));
    }
    Ok(outcome)
}

struct Reader {
    client: Client,
    walker: FrameWalker,
}

struct Seen<'a> {
    consumed: u64,
    latencies: Latencies<'a>,
}

impl Visitor for Seen<'_> {
    fn message(&mut self, _: u64, body: &[u8]) {
        self.consumed += 1;
        self.latencies.see(body);
    }

    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        interruption(class_method, arguments).map_or(Ok(()), Err)
    }
}

/// Reads all these connections until stopped. Gives back those that can be closed in good order.
fn read(
    clients: Vec<Client>,
    latencies: Latencies<'_>,
    counter: &Counter,
    stop: &AtomicBool,
) -> io::Result<(Histogram<u64>, Vec<Client>)> {
    let mut poll = Poll::new()?;
    let mut seen = Seen { consumed: 0, latencies };
    let mut readers = Vec::with_capacity(clients.len());
    for mut client in clients {
        let received = client.take_received();
        let mut walker = FrameWalker::with_buffer(SMALL_RECEIVE_BUFFER, BASIC_DELIVER, &received);
        walker.walk(&mut seen)?;
        let descriptor = client.stream().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Token(readers.len()), Interest::READABLE)?;
        readers.push(Reader { client, walker });
    }
    let mut events = Events::with_capacity(EVENTS);
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(STOP_CHECK)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            receive(&mut readers[event.token().0], &mut seen)?;
        }
        counter.set(seen.consumed);
    }
    let mut clients = Vec::new();
    for reader in readers {
        reader.client.stream().set_nonblocking(false)?;
        if reader.walker.is_empty() {
            clients.push(reader.client);
        }
    }
    Ok((seen.latencies.into_histogram(), clients))
}

/// Everything that waits in one socket: its edge comes only once.
fn receive(reader: &mut Reader, seen: &mut Seen<'_>) -> io::Result<()> {
    loop {
        let space = reader.walker.space();
        let room = space.len();
        let len = match reader.client.stream().read(space) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up on a consumer")),
            Ok(len) => len,
            Err(error) if is_pause(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        reader.walker.received(len);
        seen.latencies.received();
        reader.walker.walk(seen)?;
        if len < room {
            return Ok(());
        }
    }
}
