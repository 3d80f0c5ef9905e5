//! Very many connections with a queue and a consumer each, and a steady rate of messages over all of them: how many
//! clients can a broker serve at once, and how soon does each get its message?
//!
//! Two threads read all connections, each through a poll of its own. A thread for each would measure the scheduler.

use super::Context;
use super::bare::{BARE_FRAME_MAX, Distributor, bare_shape};
use super::consumer::Latencies;
use super::idle::{OTHER_FILES, close_many, growth_per_thing, open_many};
use super::producer::{PACE_SLEEP, Producer, STOP_CHECK, Stamp};
use super::topology::{Queue, Topology, unique_name};
use crate::client::{Client, interruption};
use crate::measure::{Counter, Counters, Window};
use crate::options::Crowd;
use crate::process::{raise_open_file_limit, sharpen_sleep};
use crate::report::{Outcome, latency_histogram};
use crate::socket::is_pause;
use crate::unit::Unit;
use crate::walker::{BODY_PREFIX, FrameWalker, SMALL_RECEIVE_BUFFER, Visitor};
use crate::wire::{BASIC_DELIVER, FRAME_OVERHEAD, PublishBlock, PublishShape};
use hdrhistogram::Histogram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READING_THREADS: usize = 2;
/// Bytes per write of the producer: little, as it is never in a hurry.
const WRITE_BYTES: usize = 16 * 1024;
/// Largest body of a bare loop, in bytes.
const BARE_BODY_MAX: usize = BARE_FRAME_MAX - FRAME_OVERHEAD;
/// Events taken from a poll at once.
const EVENTS: usize = 1024;

pub fn run(context: &Context, crowd: &Crowd) -> io::Result<Outcome> {
    if crowd.size < BODY_PREFIX {
        return Err(io::Error::other("crowd needs bodies of 16 bytes or more"));
    }
    if crowd.bare {
        return run_bare(context, crowd);
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
        client.stream().as_plain()?.set_nonblocking(true)
    })?;
    let opened = begun.elapsed();
    let mut outcome = Outcome::default();
    outcome.row("connections", clients.len() as f64, Unit::Count);
    outcome.row("connections_opened_per_s", clients.len() as f64 / opened.as_secs_f64(), Unit::PerSecond);

    let client = Client::connect(&context.broker)?;
    let shape = |name: &String| PublishShape {
        routing_key: name.clone(),
        body_len: crowd.size,
        frame_max: client.frame_max,
        ..PublishShape::default()
    };
    let shapes = names.iter().map(shape).collect();
    let produce = |Producing { epoch, counter, stop }: Producing<'_>| {
        let producer = Producer {
            client,
            shapes,
            write_bytes: WRITE_BYTES,
            confirm_window: 0,
            rate: Some(crowd.rate as f64),
            sleep: PACE_SLEEP,
            messages: None,
            stamp: Stamp::Time(epoch),
            values_from: None,
            counter,
            stop,
        };
        producer.run().map(|_| ())
    };
    let (window, _, clients) = measured(context, &mut outcome, clients, produce, || Ok(None))?;
    close_many(clients);
    outcome.costs(&window, window.published(), "message");
    if let (Some(before), Some(after)) = (before, window.to.broker) {
        let growth = growth_per_thing(before, after, crowd.connections as usize);
        outcome.row("resident_bytes_per_connection", growth, Unit::Bytes);
    }
    Ok(outcome)
}

/// The same bytes from a loop that writes each message to the next connection, and nothing else.
fn run_bare(context: &Context, crowd: &Crowd) -> io::Result<Outcome> {
    let files = raise_open_file_limit()?;
    if u64::from(crowd.connections) * 2 + OTHER_FILES > files {
        return Err(io::Error::other(format!("this process may open {files} files, two for each connection")));
    }
    let shape = bare_shape(crowd.size);
    if crowd.size > BARE_BODY_MAX {
        return Err(io::Error::other("a bare loop's bodies are of one frame"));
    }
    let mut distributor = Distributor::start(crowd.connections as usize, &shape)?;
    let sender = distributor.sender.try_clone()?;
    let receivers = std::mem::take(&mut distributor.receivers);
    receivers.iter().try_for_each(|receiver| receiver.set_nonblocking(true))?;
    let produce = |producing: Producing<'_>| feed(sender, &shape, crowd.rate, producing);
    let mut outcome = Outcome::default();
    outcome.row("connections", receivers.len() as f64, Unit::Count);
    let (window, cpu, receivers) = measured(context, &mut outcome, receivers, produce, || distributor.cpu().map(Some))?;
    drop(receivers);
    if let Some(cpu) = cpu {
        let each = cpu.as_secs_f64() * 1e6 / window.published().max(1) as f64;
        outcome.row("loop_cpu_us_per_message", each, Unit::Microseconds);
    }
    outcome.costs(&window, window.published(), "message");
    distributor.stop()?;
    Ok(outcome)
}

/// Sends publishes of one shape at a steady rate, each with the time at which it was due.
fn feed(mut stream: TcpStream, shape: &PublishShape, rate: u64, producing: Producing<'_>) -> io::Result<()> {
    sharpen_sleep();
    stream.set_write_timeout(None)?;
    let Producing { epoch, counter, stop } = producing;
    let mut block = PublishBlock::new(std::slice::from_ref(shape), WRITE_BYTES);
    let begun_ns = epoch.elapsed().as_nanos() as u64;
    let due_ns = |message: u64| begun_ns + (u128::from(message) * 1_000_000_000 / u128::from(rate)) as u64;
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) {
        let now_ns = epoch.elapsed().as_nanos() as u64;
        let mut batch = 0;
        while batch < block.messages && due_ns(published + batch as u64) <= now_ns {
            let mut stamp = [0; BODY_PREFIX];
            stamp[8..].copy_from_slice(&due_ns(published + batch as u64).to_be_bytes());
            block.stamp(batch, &stamp);
            batch += 1;
        }
        if batch == 0 {
            std::thread::sleep(PACE_SLEEP);
            continue;
        }
        stream.write_all(block.range(0, batch))?;
        published += batch as u64;
        counter.set(published);
    }
    Ok(())
}

/// What whoever produces is told, and tells.
struct Producing<'a> {
    /// Stamps count from here.
    epoch: Instant,
    counter: &'a Counter,
    stop: &'a AtomicBool,
}

/// Reads all ends while somebody produces, for the measuring time and until everything has come. Gives back the ends that
/// can be closed in good order, and the CPU time of a loop in this program, where there is one.
fn measured<E: End>(
    context: &Context,
    outcome: &mut Outcome,
    ends: Vec<E>,
    produce: impl FnOnce(Producing<'_>) -> io::Result<()> + Send,
    loop_cpu: impl Fn() -> io::Result<Option<Duration>>,
) -> io::Result<(Window, Option<Duration>, Vec<E>)> {
    let counters = Counters::new(1, READING_THREADS);
    let (stop_producing, stop_reading) = (AtomicBool::new(false), AtomicBool::new(false));
    let (failed, measuring) = (AtomicBool::new(false), AtomicBool::new(false));
    let epoch = Instant::now();
    let mut shares: Vec<Vec<E>> = std::iter::repeat_with(Vec::new).take(READING_THREADS).collect();
    ends.into_iter().enumerate().for_each(|(index, end)| shares[index % READING_THREADS].push(end));
    let producing = Producing { epoch, counter: &counters.published[0], stop: &stop_producing };
    let measured = std::thread::scope(|scope| -> io::Result<_> {
        let mut reading = Vec::new();
        for (ends, counter) in shares.into_iter().zip(&counters.consumed) {
            let (stop, failed, measuring) = (&stop_reading, &failed, &measuring);
            reading.push(scope.spawn(move || {
                let latencies = Latencies::new(epoch, measuring);
                read(ends, latencies, counter, stop).inspect_err(|_| failed.store(true, Ordering::Relaxed))
            }));
        }
        let producing = scope.spawn(|| produce(producing).inspect_err(|_| failed.store(true, Ordering::Relaxed)));
        let has_failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, has_failed);
        measuring.store(true, Ordering::Relaxed);
        let cpu_before = loop_cpu()?;
        let window = context.run.measure(context.common.duration, &counters, has_failed);
        let cpu_after = loop_cpu()?;
        measuring.store(false, Ordering::Relaxed);
        stop_producing.store(true, Ordering::Relaxed);
        let produced = producing.join().map_err(|_| io::Error::other("the producer panicked"));
        let all_read = || has_failed() || counters.consumed() >= counters.published();
        context.run.wait(context.common.drain_timeout, &counters, all_read);
        stop_reading.store(true, Ordering::Relaxed);
        let mut latencies = latency_histogram();
        let mut ends = Vec::new();
        for thread in reading {
            let (seen, some) = thread.join().map_err(|_| io::Error::other("a reading thread panicked"))??;
            latencies.add(seen).map_err(io::Error::other)?;
            ends.extend(some);
        }
        produced??;
        outcome.row("publish_per_s", window.published() as f64 / window.seconds(), Unit::PerSecond);
        outcome.row("consume_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
        outcome.latencies("latency", &latencies);
        Ok((window, cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before)), ends))
    })?;
    let (published, consumed) = (counters.published(), counters.consumed());
    if consumed != published {
        outcome.warn(format!("consumed {consumed} of {published} messages in all"));
    }
    Ok(measured)
}

/// Where deliveries arrive.
trait End: Send {
    fn stream(&self) -> &TcpStream;
    /// What was received before.
    fn take_received(&mut self) -> Vec<u8>;
}

impl End for Client {
    fn stream(&self) -> &TcpStream {
        self.stream().socket()
    }

    fn take_received(&mut self) -> Vec<u8> {
        self.take_received()
    }
}

impl End for TcpStream {
    fn stream(&self) -> &TcpStream {
        self
    }

    fn take_received(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

struct Reader<E> {
    end: E,
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
fn read<E: End>(
    ends: Vec<E>,
    latencies: Latencies<'_>,
    counter: &Counter,
    stop: &AtomicBool,
) -> io::Result<(Histogram<u64>, Vec<E>)> {
    let mut poll = Poll::new()?;
    let mut seen = Seen { consumed: 0, latencies };
    let mut readers = Vec::with_capacity(ends.len());
    for mut end in ends {
        let received = end.take_received();
        let mut walker = FrameWalker::with_buffer(SMALL_RECEIVE_BUFFER, BASIC_DELIVER, &received);
        walker.walk(&mut seen)?;
        walker.exchange_buffer(&mut Box::default());
        let descriptor = end.stream().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Token(readers.len()), Interest::READABLE)?;
        readers.push(Reader { end, walker });
    }
    let mut events = Events::with_capacity(EVENTS);
    let mut shared = Box::default();
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(STOP_CHECK)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            receive(&mut readers[event.token().0], &mut shared, &mut seen)?;
        }
        counter.set(seen.consumed);
    }
    let mut ends = Vec::new();
    for reader in readers {
        reader.end.stream().set_nonblocking(false)?;
        if reader.walker.is_empty() {
            ends.push(reader.end);
        }
    }
    Ok((seen.latencies.into_histogram(), ends))
}

/// Everything that waits in one socket: its edge comes only once. Whoever is left with part of a frame keeps the `shared`
/// buffer.
fn receive<E: End>(reader: &mut Reader<E>, shared: &mut Box<[u8]>, seen: &mut Seen<'_>) -> io::Result<()> {
    if shared.is_empty() {
        *shared = vec![0; SMALL_RECEIVE_BUFFER].into_boxed_slice();
    }
    reader.walker.exchange_buffer(shared);
    loop {
        let space = reader.walker.space();
        let room = space.len();
        let len = match reader.end.stream().read(space) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up on a consumer")),
            Ok(len) => len,
            Err(error) if is_pause(&error) => break,
            Err(error) => return Err(error),
        };
        reader.walker.received(len);
        seen.latencies.received();
        reader.walker.walk(seen)?;
        if len < room {
            break;
        }
    }
    reader.walker.exchange_buffer(shared);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::bare::socket_pair;
    use crate::wire::append_delivery;

    #[test]
    fn readers_share_a_buffer_and_keep_what_is_not_whole() {
        let mut delivery = Vec::new();
        append_delivery(&mut delivery, &bare_shape(BODY_PREFIX), crate::client::CONSUMER_TAG, 1);
        let measuring = AtomicBool::new(false);
        let mut seen = Seen { consumed: 0, latencies: Latencies::new(Instant::now(), &measuring) };
        let mut shared = Box::default();
        let mut ends = [(); 2].map(|()| {
            let (end, sender) = socket_pair().unwrap();
            let walker = FrameWalker::with_buffer(0, BASIC_DELIVER, &[]);
            (Reader { end, walker }, sender)
        });
        // Each gets its messages in pieces, in turn with the other.
        let pieces = [0, 3, 30, delivery.len() - 1, delivery.len()];
        for _ in 0..2 {
            for piece in pieces.windows(2) {
                for (reader, sender) in &mut ends {
                    sender.write_all(&delivery[piece[0]..piece[1]]).unwrap();
                    receive(reader, &mut shared, &mut seen).unwrap();
                }
            }
        }
        assert_eq!(seen.consumed, 4);
        assert!(ends.iter().all(|(reader, _)| reader.walker.is_empty()));
    }
}
