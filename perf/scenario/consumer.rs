//! One consuming connection at full speed: big reads, frames walked in place, acknowledgements coalesced as asked.

use super::producer::STOP_CHECK;
use crate::client::{Client, interruption};
use crate::measure::Counter;
use crate::report::latency_histogram;
use crate::socket::is_pause;
use crate::walker::{FrameWalker, Visitor};
use crate::wire::{ACK_FRAME_BYTES, BASIC_DELIVER, append_ack};
use hdrhistogram::Histogram;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub struct Consumer<'a> {
    pub client: Client,
    /// Deliveries per acknowledgement; 0 when the broker acknowledges.
    pub ack_every: u32,
    /// Each acknowledgement is a write of its own.
    pub lone_acks: bool,
    pub check: Option<OrderCheck>,
    pub latencies: Option<Latencies<'a>>,
    /// After each read.
    pub pause: Duration,
    pub counter: &'a Counter,
    pub stop: &'a AtomicBool,
}

/// What a consumer saw in the bodies.
pub struct Consumed {
    /// Messages that broke the order that was to be checked.
    pub violations: u64,
    /// Nanoseconds from when messages were due.
    pub latencies: Option<Histogram<u64>>,
}

impl Consumer<'_> {
    /// Consumes until stopped.
    ///
    /// Acknowledgements never block: a broker that waits for us to read before it reads would wait forever.
    pub fn run(mut self) -> io::Result<Consumed> {
        self.client.stream().socket().set_read_timeout(Some(STOP_CHECK))?;
        let mut walker = FrameWalker::new(BASIC_DELIVER, &self.client.take_received());
        let mut tally = Tally {
            ack_every: self.ack_every,
            check: self.check.take(),
            latencies: self.latencies.take(),
            ..Tally::default()
        };
        walker.walk(&mut tally)?;
        while !self.stop.load(Ordering::Relaxed) {
            self.send_acks(&mut tally)?;
            if tally.acks.is_empty() || self.client.stream().wait_ready(true, STOP_CHECK)? {
                self.receive(&mut walker, &mut tally)?;
                if !self.pause.is_zero() {
                    std::thread::sleep(self.pause);
                }
            }
        }
        tally.ack_rest();
        self.send_acks(&mut tally)?;
        if walker.is_empty() && tally.acks.is_empty() {
            self.client.close()?;
        }
        Ok(Consumed {
            violations: tally.check.map_or(0, |check| check.violations),
            latencies: tally.latencies.map(Latencies::into_histogram),
        })
    }

    fn receive(&self, walker: &mut FrameWalker, tally: &mut Tally<'_>) -> io::Result<()> {
        match self.client.stream().read(walker.space()) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up on a consumer")),
            Ok(len) => walker.received(len),
            Err(error) if is_pause(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(latencies) = &mut tally.latencies {
            latencies.received();
        }
        walker.walk(tally)?;
        self.counter.set(tally.consumed);
        Ok(())
    }

    fn send_acks(&self, tally: &mut Tally) -> io::Result<()> {
        let mut sent = 0;
        while sent < tally.acks.len() {
            let left = tally.acks.len() - sent;
            // What a full socket left of one goes by itself.
            let write_bytes = if self.lone_acks { (left - 1) % ACK_FRAME_BYTES + 1 } else { left };
            let count = self.client.stream().send_now(&tally.acks[sent..sent + write_bytes])?;
            sent += count;
            if count < write_bytes {
                break;
            }
        }
        tally.acks.drain(..sent);
        Ok(())
    }
}

/// What a consumer counts, and the acknowledgements it owes.
#[derive(Default)]
struct Tally<'a> {
    consumed: u64,
    ack_every: u32,
    unacked: u32,
    last_delivery_tag: u64,
    acks: Vec<u8>,
    check: Option<OrderCheck>,
    latencies: Option<Latencies<'a>>,
}

impl Tally<'_> {
    fn ack_rest(&mut self) {
        if self.unacked > 0 {
            append_ack(&mut self.acks, self.last_delivery_tag, true);
            self.unacked = 0;
        }
    }
}

impl Visitor for Tally<'_> {
    #[inline]
    fn message(&mut self, delivery_tag: u64, body: &[u8]) {
        self.consumed += 1;
        if self.ack_every > 0 {
            self.unacked += 1;
            self.last_delivery_tag = delivery_tag;
            if self.unacked == self.ack_every {
                append_ack(&mut self.acks, delivery_tag, self.ack_every > 1);
                self.unacked = 0;
            }
        }
        if let Some(check) = &mut self.check {
            check.see(body);
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.see(body);
        }
    }

    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        interruption(class_method, arguments).map_or(Ok(()), Err)
    }
}

/// Compares the times that producers wrote into the bodies with the time of their arrival.
pub struct Latencies<'a> {
    epoch: Instant,
    /// Only what arrives while this is set counts.
    measuring: &'a AtomicBool,
    now_ns: Option<u64>,
    histogram: Histogram<u64>,
}

impl<'a> Latencies<'a> {
    pub fn new(epoch: Instant, measuring: &'a AtomicBool) -> Self {
        Self { epoch, measuring, now_ns: None, histogram: latency_histogram() }
    }

    pub fn into_histogram(self) -> Histogram<u64> {
        self.histogram
    }

    /// Bytes have arrived; the messages in them are seen next.
    pub fn received(&mut self) {
        let measuring = self.measuring.load(Ordering::Relaxed);
        self.now_ns = measuring.then(|| self.epoch.elapsed().as_nanos() as u64);
    }

    #[inline]
    pub fn see(&mut self, body: &[u8]) {
        let due_ns = body.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        if let (Some(now_ns), Some(due_ns)) = (self.now_ns, due_ns) {
            self.histogram.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }
}

/// Follows the numbers that producers wrote into the bodies.
#[derive(Clone, Debug)]
pub struct OrderCheck {
    /// The next number of each producer.
    next: Vec<u64>,
    /// Whether this consumer has its queue to itself and so must see every number.
    gapless: bool,
    violations: u64,
}

impl OrderCheck {
    pub fn new(producers: usize, gapless: bool) -> Self {
        Self { next: vec![0; producers], gapless, violations: 0 }
    }

    fn see(&mut self, body: &[u8]) {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        let numbers = body.get(..8).and_then(number).zip(body.get(8..16).and_then(number));
        let next = numbers.and_then(|(producer, _)| self.next.get_mut(usize::try_from(producer).ok()?));
        match (numbers, next) {
            (Some((_, sequence)), Some(next)) => {
                let in_order = if self.gapless { sequence == *next } else { sequence >= *next };
                self.violations += u64::from(!in_order);
                *next = sequence + 1;
            }
            _ => self.violations += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(gapless: bool, seen: &[(u64, u64)]) -> u64 {
        let mut check = OrderCheck::new(2, gapless);
        for (producer, sequence) in seen {
            check.see(&[producer.to_be_bytes(), sequence.to_be_bytes()].concat());
        }
        check.violations
    }

    #[test]
    fn order_is_checked_per_producer() {
        assert_eq!(violations(true, &[(0, 0), (1, 0), (1, 1), (0, 1)]), 0);
        assert_eq!(violations(true, &[(0, 0), (0, 2)]), 1, "a lost message");
        assert_eq!(violations(true, &[(0, 0), (0, 0)]), 1, "a doubled message");
        assert_eq!(violations(false, &[(0, 0), (0, 2)]), 0, "another consumer had it");
        assert_eq!(violations(false, &[(0, 2), (0, 1)]), 1, "out of order");
        assert_eq!(violations(true, &[(2, 0)]), 1, "nobody's message");
    }

    #[test]
    fn acknowledgements_are_coalesced() {
        let mut tally = Tally { ack_every: 3, ..Tally::default() };
        for delivery_tag in 1..=7 {
            tally.message(delivery_tag, b"");
        }
        tally.ack_rest();
        let mut expected = Vec::new();
        for delivery_tag in [3, 6, 7] {
            append_ack(&mut expected, delivery_tag, true);
        }
        assert_eq!(tally.acks, expected);
    }
}
