//! Peers without a broker: a one-thread TCP relay, a sink, a source, and the plain loops that load them. What they
//! reach is the machine's ceiling and this generator's.

use super::Context;
use super::producer::STOP_CHECK;
use crate::client::interruption;
use crate::measure::{Counter, Counters, Run};
use crate::process::{task_cpu, thread_cpu};
use crate::report::Outcome;
use crate::socket::is_pause;
use crate::unit::Unit;
use crate::walker::{BODY_PREFIX, FrameWalker, RECEIVE_BUFFER, Visitor};
use crate::wire::{BASIC_DELIVER, BASIC_PUBLISH, PublishBlock, PublishShape, append_delivery};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes per write of whatever feeds a bare peer.
const WRITE_BYTES: usize = 128 * 1024;
/// Largest frame of a message that no broker limits, in bytes; RabbitMQ's default.
pub const BARE_FRAME_MAX: usize = 128 * 1024;
const SOURCE: Token = Token(0);
const DESTINATION: Token = Token(1);

/// The publish that bare peers carry: as long as one to a queue of a scenario.
pub fn bare_shape(body_len: usize) -> PublishShape {
    PublishShape {
        routing_key: super::topology::unique_name("0"),
        body_len,
        frame_max: BARE_FRAME_MAX,
        ..PublishShape::default()
    }
}

/// Two ends of a loopback connection.
pub fn socket_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STOP_CHECK))?;
        stream.set_write_timeout(Some(STOP_CHECK))?;
    }
    Ok((near, far))
}

/// A thread that carries bytes from one connection to another, and nothing else. It ends when its source does.
pub struct Relay {
    pub sender: TcpStream,
    pub receiver: TcpStream,
    task: libc::pid_t,
    thread: JoinHandle<io::Result<()>>,
}

impl Relay {
    pub fn start() -> io::Result<Self> {
        let (sender, source) = socket_pair()?;
        let (receiver, destination) = socket_pair()?;
        let (task, thread) = spawn_known(move || carry(source, destination))?;
        Ok(Self { sender, receiver, task, thread })
    }

    pub fn stop(self) -> io::Result<()> {
        drop((self.sender, self.receiver));
        self.thread.join().map_err(|_| io::Error::other("the relay panicked"))?
    }
}

fn carry(source: TcpStream, destination: TcpStream) -> io::Result<()> {
    source.set_nonblocking(true)?;
    destination.set_nonblocking(true)?;
    let (mut source, mut destination) =
        (mio::net::TcpStream::from_std(source), mio::net::TcpStream::from_std(destination));
    let mut poll = Poll::new()?;
    poll.registry().register(&mut source, SOURCE, Interest::READABLE)?;
    poll.registry().register(&mut destination, DESTINATION, Interest::WRITABLE)?;
    let mut events = Events::with_capacity(8);
    let mut buffer = vec![0; RECEIVE_BUFFER];
    let (mut start, mut end) = (0, 0);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        loop {
            while start < end {
                match destination.write(&buffer[start..end]) {
                    Ok(len) => start += len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Ok(()), // the reader has seen enough
                }
            }
            if start < end {
                break;
            }
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(len) => (start, end) = (0, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Ok(()),
            }
        }
    }
}

/// A thread that carries bytes between two connections, in both directions, and nothing else. It ends when one of them
/// does.
pub struct Exchange {
    pub one: TcpStream,
    pub other: TcpStream,
    task: libc::pid_t,
    thread: JoinHandle<io::Result<()>>,
}

impl Exchange {
    pub fn start() -> io::Result<Self> {
        let (one, near) = socket_pair()?;
        let (other, far) = socket_pair()?;
        // Whoever waits for an answer waits for as long as it takes.
        one.set_read_timeout(None)?;
        other.set_read_timeout(None)?;
        let (task, thread) = spawn_known(move || exchange([near, far]))?;
        Ok(Self { one, other, task, thread })
    }

    /// CPU time of the thread.
    pub fn cpu(&self) -> io::Result<Duration> {
        task_cpu(self.task)
    }

    pub fn stop(self) -> io::Result<()> {
        drop((self.one, self.other));
        self.thread.join().map_err(|_| io::Error::other("the exchange panicked"))?
    }
}

/// A thread, and the number by which its CPU time is known.
fn spawn_known(
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<(libc::pid_t, JoinHandle<io::Result<()>>)> {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // SAFETY: gettid only answers.
        let _ = tell.send(unsafe { libc::gettid() });
        run()
    });
    let task = told.recv().map_err(|_| io::Error::other("a bare thread did not start"))?;
    Ok((task, thread))
}

/// One wait, one read and one write for whatever comes. Little is on its way at a time, so that writes never block.
fn exchange(streams: [TcpStream; 2]) -> io::Result<()> {
    for stream in &streams {
        stream.set_nonblocking(true)?;
    }
    let mut streams = streams.map(mio::net::TcpStream::from_std);
    let mut poll = Poll::new()?;
    for (index, stream) in streams.iter_mut().enumerate() {
        poll.registry().register(stream, Token(index), Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(8);
    let mut buffer = vec![0; RECEIVE_BUFFER];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            let from = event.token().0;
            let len = match streams[from].read(&mut buffer) {
                Err(error) if is_pause(&error) => continue,
                Ok(0) | Err(_) => return Ok(()),
                Ok(len) => len,
            };
            streams[1 - from].write_all(&buffer[..len])?;
        }
    }
}

/// A thread that takes publishes from one connection and writes a delivery for each, to many connections in turn, one
/// write each.
pub struct Distributor {
    pub sender: TcpStream,
    pub receivers: Vec<TcpStream>,
    task: libc::pid_t,
    thread: JoinHandle<io::Result<()>>,
}

impl Distributor {
    /// `shape` is that of all the publishes; its body has room for a stamp and fits one frame.
    pub fn start(receivers: usize, shape: &PublishShape) -> io::Result<Self> {
        let (sender, source) = socket_pair()?;
        source.set_read_timeout(None)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (mut ours, mut theirs) = (Vec::with_capacity(receivers), Vec::with_capacity(receivers));
        for _ in 0..receivers {
            theirs.push(TcpStream::connect(listener.local_addr()?)?);
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            ours.push(stream);
        }
        let mut delivery = Vec::new();
        append_delivery(&mut delivery, shape, crate::client::CONSUMER_TAG, 1);
        let body_at = delivery.len() - 1 - shape.body_len;
        let (task, thread) = spawn_known(move || {
            distribute(source, Deliveries { streams: ours, next: 0, delivery, body_at, failed: None })
        })?;
        Ok(Self { sender, receivers: theirs, task, thread })
    }

    /// CPU time of the thread.
    pub fn cpu(&self) -> io::Result<Duration> {
        task_cpu(self.task)
    }

    /// The receivers must be gone.
    pub fn stop(self) -> io::Result<()> {
        drop((self.sender, self.receivers));
        self.thread.join().map_err(|_| io::Error::other("the distributor panicked"))?
    }
}

struct Deliveries {
    streams: Vec<TcpStream>,
    next: usize,
    /// With one frame of a body at its end.
    delivery: Vec<u8>,
    body_at: usize,
    failed: Option<io::Error>,
}

impl Visitor for Deliveries {
    fn message(&mut self, _: u64, body: &[u8]) {
        let stamp = &body[..BODY_PREFIX];
        self.delivery[self.body_at..self.body_at + stamp.len()].copy_from_slice(stamp);
        let sent = self.streams[self.next].write_all(&self.delivery);
        self.failed = self.failed.take().or(sent.err());
        self.next = (self.next + 1) % self.streams.len();
    }

    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        interruption(class_method, arguments).map_or(Ok(()), Err)
    }
}

fn distribute(mut source: TcpStream, mut deliveries: Deliveries) -> io::Result<()> {
    let mut walker = FrameWalker::new(BASIC_PUBLISH, &[]);
    loop {
        match source.read(walker.space())? {
            0 => return Ok(()),
            len => walker.received(len),
        }
        walker.walk(&mut deliveries)?;
        if let Some(error) = deliveries.failed.take() {
            return Err(error);
        }
    }
}

/// Writes the block again and again until stopped. Returns the CPU time this took.
fn feed(
    mut stream: TcpStream,
    block: &[u8],
    messages: u64,
    counter: &Counter,
    stop: &AtomicBool,
) -> io::Result<Duration> {
    let started = thread_cpu();
    let mut published = 0;
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&block[written..]) {
            Ok(len) => written += len,
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
        if written == block.len() {
            written = 0;
            published += messages;
            counter.set(published);
        }
    }
    Ok(thread_cpu().saturating_sub(started))
}

#[derive(Default)]
struct Count(u64);

impl Visitor for Count {
    #[inline]
    fn message(&mut self, _: u64, _: &[u8]) {
        self.0 += 1;
    }
    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        interruption(class_method, arguments).map_or(Ok(()), Err)
    }
}

/// Walks messages until stopped. Returns the CPU time this took.
fn walk(mut stream: TcpStream, method: u32, counter: &Counter, stop: &AtomicBool) -> io::Result<Duration> {
    let started = thread_cpu();
    let mut walker = FrameWalker::new(method, &[]);
    let mut count = Count::default();
    while !stop.load(Ordering::Relaxed) {
        match stream.read(walker.space()) {
            Ok(0) => break,
            Ok(len) => walker.received(len),
            Err(error) if is_pause(&error) => continue,
            Err(error) => return Err(error),
        }
        walker.walk(&mut count)?;
        counter.set(count.0);
    }
    Ok(thread_cpu().saturating_sub(started))
}

/// Reads and forgets until stopped.
fn discard(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if !is_pause(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Rate and CPU per message of the relay, one size after the other.
pub fn relay(context: &Context, sizes: &[usize]) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    for &size in sizes {
        let relay = Relay::start()?;
        let (sender, receiver) = (relay.sender.try_clone()?, relay.receiver.try_clone()?);
        let block = PublishBlock::new(&[bare_shape(size)], WRITE_BYTES);
        let counters = Counters::new(1, 1);
        let stop = AtomicBool::new(false);
        let (window, relay_cpu) = std::thread::scope(|scope| -> io::Result<_> {
            scope.spawn(|| feed(sender, &block.bytes, block.messages as u64, &counters.published[0], &stop));
            scope.spawn(|| walk(receiver, BASIC_PUBLISH, &counters.consumed[0], &stop));
            let measured = context.run.wait(context.common.warmup, &counters, || false);
            debug_assert!(!measured, "only time ends the warm-up");
            let cpu_before = task_cpu(relay.task);
            let window = context.run.measure(context.common.duration, &counters, || false);
            let cpu_after = task_cpu(relay.task);
            stop.store(true, Ordering::Relaxed);
            Ok((window, cpu_after? - cpu_before?))
        })?;
        relay.stop()?;
        let consumed = window.consumed().max(1) as f64;
        outcome.row(format!("relay_{size}_bytes_per_s"), consumed / window.seconds(), Unit::PerSecond);
        let cpu = relay_cpu.as_secs_f64() * 1e6 / consumed;
        outcome.row(format!("relay_{size}_bytes_cpu_us_per_message"), cpu, Unit::Microseconds);
        if context.run.interrupted() {
            break;
        }
    }
    Ok(outcome)
}

/// The rates of producer and consumer without a broker, and what one core gives when it runs both.
pub fn generator_ceiling(context: &Context, size: usize) -> io::Result<Outcome> {
    let shape = bare_shape(size);
    let block = PublishBlock::new(std::slice::from_ref(&shape), WRITE_BYTES);
    let mut deliveries = Vec::new();
    append_delivery(&mut deliveries, &shape, crate::client::CONSUMER_TAG, 1);
    let delivered = (WRITE_BYTES / deliveries.len()).max(1);
    let deliveries = deliveries.repeat(delivered);

    let mut outcome = Outcome::default();
    let (rate, producer_cpu) = against(&context.run, context, |near, far, counters, stop| {
        std::thread::scope(|scope| {
            scope.spawn(|| discard(far, stop));
            let cpu = feed(near, &block.bytes, block.messages as u64, &counters.published[0], stop);
            Ok((cpu?, counters.published()))
        })
    })?;
    outcome.row("producer_per_s", rate, Unit::PerSecond);
    outcome.row("producer_cpu_us_per_message", producer_cpu, Unit::Microseconds);
    let (rate, consumer_cpu) = against(&context.run, context, |near, far, counters, stop| {
        std::thread::scope(|scope| {
            scope.spawn(|| feed(far, &deliveries, delivered as u64, &counters.published[0], stop));
            let cpu = walk(near, BASIC_DELIVER, &counters.consumed[0], stop);
            Ok((cpu?, counters.consumed()))
        })
    })?;
    outcome.row("consumer_per_s", rate, Unit::PerSecond);
    outcome.row("consumer_cpu_us_per_message", consumer_cpu, Unit::Microseconds);
    outcome.row("both_on_one_core_per_s", 1e6 / (producer_cpu + consumer_cpu), Unit::PerSecond);
    Ok(outcome)
}

/// Runs one end of a loopback connection for the measuring time: its rate, and its CPU per message in microseconds.
fn against(
    run: &Run,
    context: &Context,
    ends: impl FnOnce(TcpStream, TcpStream, &Counters, &AtomicBool) -> io::Result<(Duration, u64)> + Send,
) -> io::Result<(f64, f64)> {
    let (near, far) = socket_pair()?;
    let counters = Counters::new(1, 1);
    let stop = AtomicBool::new(false);
    let (window, ended) = std::thread::scope(|scope| {
        let running = scope.spawn(|| ends(near, far, &counters, &stop));
        run.wait(context.common.warmup, &counters, || false);
        let window = run.measure(context.common.duration, &counters, || false);
        stop.store(true, Ordering::Relaxed);
        (window, running.join())
    });
    let (cpu, messages) = ended.map_err(|_| io::Error::other("a loop of the self-test panicked"))??;
    let in_window = window.published().max(window.consumed());
    Ok((in_window as f64 / window.seconds(), cpu.as_secs_f64() * 1e6 / messages.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(stream: &TcpStream) -> &TcpStream {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    #[test]
    fn an_exchange_carries_both_ways_until_one_end_is_gone() {
        let exchange = Exchange::start().unwrap();
        let (mut one, mut other) = (patient(&exchange.one), patient(&exchange.other));
        let mut received = [0; 7];
        one.write_all(b"request").unwrap();
        other.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"request");
        other.write_all(b"a reply").unwrap();
        one.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"a reply");
        exchange.stop().unwrap();
    }

    #[test]
    fn a_distributor_delivers_to_everybody_in_turn_and_keeps_the_stamps() {
        let shape = bare_shape(BODY_PREFIX);
        let distributor = Distributor::start(2, &shape).unwrap();
        let mut block = PublishBlock::new(std::slice::from_ref(&shape), WRITE_BYTES);
        (0..3).for_each(|number| block.stamp(number, &[b'0' + number as u8; BODY_PREFIX]));
        (&distributor.sender).write_all(block.range(0, 3)).unwrap();
        let mut delivery = Vec::new();
        append_delivery(&mut delivery, &shape, crate::client::CONSUMER_TAG, 1);
        for (receiver, numbers) in [(0, &b"02"[..]), (1, b"1")] {
            for number in numbers {
                let mut received = vec![0; delivery.len()];
                patient(&distributor.receivers[receiver]).read_exact(&mut received).unwrap();
                let body_at = received.len() - 1 - BODY_PREFIX;
                assert_eq!(received[..body_at], delivery[..body_at]);
                assert_eq!(received[body_at..received.len() - 1], [*number; BODY_PREFIX]);
            }
        }
        distributor.stop().unwrap();
    }
}
