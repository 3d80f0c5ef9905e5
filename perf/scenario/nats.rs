//! Throughput over NATS's core protocol, one publisher to one subscriber, with loops as cheap as those for AMQP: the
//! same tool on the same machine gives the ratio.

use super::Context;
use super::producer::STOP_CHECK;
use super::topology::unique_name;
use crate::measure::{Counter, Counters};
use crate::report::Outcome;
use crate::socket::is_pause;
use crate::unit::Unit;
use crate::walker::RECEIVE_BUFFER;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes per write of the publisher.
const WRITE_BYTES: usize = 128 * 1024;
/// Longest wait for the server's greeting and its pong.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest protocol line; the server's greeting is about 500 bytes.
const LINE_MAX: usize = 8 * 1024;

pub fn run(context: &Context, size: usize) -> io::Result<Outcome> {
    let subject = unique_name("0");
    let mut subscriber = connect(context)?;
    greet(&mut subscriber, format!("SUB {subject} 1\r\n").as_bytes())?;
    let mut publisher = connect(context)?;
    greet(&mut publisher, b"")?;
    let mut message = format!("PUB {subject} {size}\r\n").into_bytes();
    message.resize(message.len() + size, b'x');
    message.extend_from_slice(b"\r\n");
    let messages = (WRITE_BYTES / message.len()).max(1);
    let block = message.repeat(messages);

    let counters = Counters::new(1, 1);
    let (stop_publishing, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let failed = AtomicBool::new(false);
    let window = std::thread::scope(|scope| -> io::Result<_> {
        let subscribing = scope.spawn(|| {
            let ended = subscribe(subscriber, &counters.consumed[0], &stop);
            failed.fetch_or(ended.is_err(), Ordering::Relaxed);
            ended
        });
        let publishing = scope.spawn(|| {
            let ended = publish(publisher, &block, messages as u64, &counters.published[0], &stop_publishing, &stop);
            failed.fetch_or(ended.is_err(), Ordering::Relaxed);
            ended
        });
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        let window = context.run.measure(context.common.duration, &counters, failed);
        stop_publishing.store(true, Ordering::Relaxed);
        let done = || failed() || (publishing.is_finished() && counters.consumed() >= counters.published());
        context.run.wait(context.common.drain_timeout, &counters, done);
        stop.store(true, Ordering::Relaxed);
        publishing.join().map_err(|_| io::Error::other("the publisher panicked"))??;
        subscribing.join().map_err(|_| io::Error::other("the subscriber panicked"))??;
        Ok(window)
    })?;
    let mut outcome = Outcome::default();
    outcome.row("publish_per_s", window.published() as f64 / window.seconds(), Unit::PerSecond);
    outcome.row("consume_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.row("published", window.published() as f64, Unit::Count);
    outcome.row("consumed", window.consumed() as f64, Unit::Count);
    outcome.row("seconds", window.seconds(), Unit::Seconds);
    outcome.costs(&window, window.published(), "message");
    let (published, consumed) = (counters.published(), counters.consumed());
    if consumed != published {
        outcome.warn(format!("consumed {consumed} of {published} messages in all"));
    }
    Ok(outcome)
}

fn connect(context: &Context) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&context.broker.address, GREETING_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
    stream.set_write_timeout(Some(STOP_CHECK))?;
    Ok(stream)
}

/// Says hello and what follows it, and waits for the pong that proves that the server has taken it.
fn greet(stream: &mut TcpStream, then: &[u8]) -> io::Result<()> {
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"0\"}\r\n")?;
    stream.write_all(then)?;
    stream.write_all(b"PING\r\n")?;
    let mut received = Vec::new();
    while !received.ends_with(b"PONG\r\n") {
        let mut piece = [0; 1024];
        let len = stream.read(&mut piece)?;
        if len == 0 || received.len() > LINE_MAX {
            let answer = String::from_utf8_lossy(&received).trim_end().to_owned();
            return Err(io::Error::other(format!("the NATS server does not answer as such: {answer}")));
        }
        received.extend_from_slice(&piece[..len]);
    }
    stream.set_read_timeout(Some(STOP_CHECK))
}

fn publish(
    mut stream: TcpStream,
    block: &[u8],
    messages: u64,
    counter: &Counter,
    stop: &AtomicBool,
    give_up: &AtomicBool,
) -> io::Result<()> {
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut written = 0;
        while written < block.len() {
            match stream.write(&block[written..]) {
                Ok(len) => written += len,
                Err(error) if is_pause(&error) && !give_up.load(Ordering::Relaxed) => {}
                Err(error) if is_pause(&error) => break,
                Err(error) => return Err(error),
            }
        }
        published += messages * written as u64 / block.len() as u64;
        counter.set(published);
    }
    // Closing now could discard what the server has not read. Its pong means that it has read everything.
    stream.write_all(b"PING\r\n")?;
    let mut received = Vec::new();
    while memchr::memmem::find(&received, b"PONG\r\n").is_none() && !give_up.load(Ordering::Relaxed) {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the NATS server hung up")),
            Ok(len) => received.extend_from_slice(&piece[..len]),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn subscribe(mut stream: TcpStream, counter: &Counter, stop: &AtomicBool) -> io::Result<()> {
    let mut lines = Lines::new();
    while !stop.load(Ordering::Relaxed) {
        match stream.read(lines.space()) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the NATS server hung up")),
            Ok(len) => lines.end += len,
            Err(error) if is_pause(&error) => continue,
            Err(error) => return Err(error),
        }
        for _ in 0..lines.walk()? {
            stream.write_all(b"PONG\r\n")?;
        }
        counter.set(lines.messages);
    }
    Ok(())
}

/// Walks `MSG` lines and their payloads in place.
struct Lines {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of a payload and its line end that are yet to come.
    skip: usize,
    messages: u64,
    /// The last `MSG` line, with its end, and its payload's length with its end: the next one is likely the same.
    last_line: Vec<u8>,
    last_payload: usize,
}

impl Lines {
    fn new() -> Self {
        let buffer = vec![0; RECEIVE_BUFFER].into_boxed_slice();
        Self { buffer, start: 0, end: 0, skip: 0, messages: 0, last_line: Vec::new(), last_payload: 0 }
    }

    fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.buffer[self.end..]
    }

    /// Takes all that is complete. Returns how many pings want a pong.
    fn walk(&mut self) -> io::Result<usize> {
        let mut pings = 0;
        loop {
            let passed = self.skip.min(self.end - self.start);
            self.start += passed;
            self.skip -= passed;
            if self.skip > 0 {
                return Ok(pings);
            }
            self.walk_run();
            let bytes = &self.buffer[self.start..self.end];
            let Some(newline) = memchr::memchr(b'\n', bytes) else {
                if bytes.len() > LINE_MAX {
                    return Err(io::Error::other("the NATS server sent an endless line"));
                }
                return Ok(pings);
            };
            let line = &bytes[..=newline];
            if line.starts_with(b"MSG ") {
                self.last_payload = payload_len(line)? + 2;
                self.last_line.clear();
                self.last_line.extend_from_slice(line);
                self.skip = self.last_payload;
                self.messages += 1;
            } else if line.starts_with(b"PING") {
                pings += 1;
            } else if line.starts_with(b"-ERR") {
                return Err(io::Error::other(String::from_utf8_lossy(line).trim_end().to_owned()));
            }
            self.start += newline + 1;
        }
    }

    fn walk_run(&mut self) {
        if self.last_line.is_empty() {
            return;
        }
        let total = self.last_line.len() + self.last_payload;
        while let Some(message) = self.buffer[self.start..self.end].get(..total) {
            if !message.starts_with(&self.last_line) || !message.ends_with(b"\r\n") {
                return;
            }
            self.messages += 1;
            self.start += total;
        }
    }
}

fn payload_len(line: &[u8]) -> io::Result<usize> {
    let number = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
        .filter(|&len: &usize| len < usize::MAX - 2)
        .ok_or_else(|| io::Error::other("a MSG line without a length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_the_bytes_are_cut() {
        let bytes =
            b"MSG s 1 3\r\nabc\r\nMSG s 1 3\r\nab\n\r\nPING\r\nMSG s 1 reply 0\r\n\r\n+OK\r\nMSG s 1 3\r\nabc\r\n";
        for piece in 1..bytes.len() {
            let mut lines = Lines::new();
            let mut pings = 0;
            for chunk in bytes.chunks(piece) {
                lines.space()[..chunk.len()].copy_from_slice(chunk);
                lines.end += chunk.len();
                pings += lines.walk().unwrap();
            }
            assert_eq!((lines.messages, pings), (4, 1), "pieces of {piece}");
        }
    }

    #[test]
    fn an_error_line_is_an_error() {
        for bytes in [&b"-ERR 'Slow Consumer'\r\n"[..], b"MSG s 1 x\r\n", b"MSG\x20\r\n"] {
            let mut lines = Lines::new();
            lines.space()[..bytes.len()].copy_from_slice(bytes);
            lines.end = bytes.len();
            assert!(lines.walk().is_err());
        }
    }
}
