//! One publishing connection at full speed: big writes of prebuilt publishes, paced or windowed by confirms if asked.

use crate::client::{Client, interruption};
use crate::confirms::Confirms;
use crate::measure::Counter;
use crate::process::sharpen_sleep;
use crate::report::latency_histogram;
use crate::socket::is_pause;
use crate::walker::{FrameWalker, Visitor};
use crate::wire::{BASIC_ACK, BASIC_DELIVER, BASIC_NACK, PublishBlock, PublishShape};
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a blocked socket operation takes to look at the stop flag.
pub const STOP_CHECK: Duration = Duration::from_millis(100);
/// How long a stopped producer tries to get its begun write out and its confirms in.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Shortest sleep of a paced producer. What becomes due meanwhile goes out together: a wake-up for each message of a high
/// rate would take the processor from the broker.
pub const PACE_SLEEP: Duration = Duration::from_micros(50);
/// The same of many producers: each sleeps so much longer that all together don't wake more often than one, up to this.
const PACE_SLEEP_OF_MANY: Duration = Duration::from_millis(1);

/// Shortest sleep of each of so many paced producers.
pub fn pace_sleep(producers: usize) -> Duration {
    PACE_SLEEP.saturating_mul(producers.try_into().unwrap_or(u32::MAX)).min(PACE_SLEEP_OF_MANY)
}

/// What is written into the start of every body.
#[derive(Clone, Copy)]
pub enum Stamp {
    Nothing,
    /// This producer's number, then the message's.
    Number(u64),
    /// When the message was due, or sent if there is no rate: nanoseconds since then.
    Time(Instant),
}

pub struct Producer<'a> {
    pub client: Client,
    /// One for every publish in turn; names of one length.
    pub shapes: Vec<PublishShape>,
    pub write_bytes: usize,
    /// Most unconfirmed publishes; 0 is without confirms.
    pub confirm_window: u64,
    pub rate: Option<f64>,
    /// Shortest sleep when paced.
    pub sleep: Duration,
    pub messages: Option<u64>,
    pub stamp: Stamp,
    /// The messages have values by which duplicates are known: they begin here, and no other message has them.
    pub values_from: Option<u64>,
    pub counter: &'a Counter,
    pub stop: &'a AtomicBool,
}

/// What a producer knows at its end.
pub struct Produced {
    pub published: u64,
    pub unconfirmed: u64,
    pub rejected: u64,
    /// How long confirms took, in nanoseconds, from before a write to after the read: of one message at a time, of all that
    /// were on their way. None without confirms.
    pub confirm_latencies: Option<Histogram<u64>>,
    /// The broker has answered the close of the channel, and so has taken everything.
    pub settled: bool,
}

impl Produced {
    fn without_confirms(published: u64) -> Self {
        Self { published, unconfirmed: 0, rejected: 0, confirm_latencies: None, settled: false }
    }
}

/// How many messages may be sent by now.
struct Pace {
    start: Instant,
    rate: Option<f64>,
    sleep: Duration,
}

impl Pace {
    fn allowance(&self, published: u64) -> u64 {
        match self.rate {
            None => u64::MAX,
            Some(rate) => ((self.start.elapsed().as_secs_f64() * rate) as u64).saturating_sub(published),
        }
    }

    /// When a message is due, and how long after it each next one, in nanoseconds since `epoch`: a line instead of a call
    /// for each message, as these are made by the million. Without a rate all are due now.
    fn due_ns(&self, message: u64, epoch: Instant) -> (f64, f64) {
        match self.rate {
            None => (epoch.elapsed().as_nanos() as f64, 0.0),
            Some(rate) => {
                let step_ns = 1e9 / rate;
                let start_ns = self.start.saturating_duration_since(epoch).as_nanos() as f64;
                (start_ns + (message + 1) as f64 * step_ns, step_ns)
            }
        }
    }

    /// How long to sleep for the next message, or until the stop flag wants to be looked at.
    fn pause(&self, published: u64) -> Duration {
        let (due_ns, _) = self.due_ns(published, self.start);
        Duration::from_nanos(due_ns as u64).saturating_sub(self.start.elapsed()).clamp(self.sleep, STOP_CHECK)
    }
}

impl Producer<'_> {
    /// Publishes until stopped or done, then closes the channel: its answer proves that the broker has taken all.
    pub fn run(mut self) -> io::Result<Produced> {
        let mut block = PublishBlock::new(&self.shapes, self.write_bytes);
        let produced =
            if self.confirm_window > 0 { self.publish_confirmed(&mut block) } else { self.publish(&mut block) };
        match produced {
            // The broker's own words explain a broken connection better than the write that failed.
            Err(error) => match (error.kind(), self.client.close_channel()) {
                (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset, Err(explanation)) => Err(explanation),
                _ => Err(error),
            },
            Ok((produced, false)) => Ok(produced),
            Ok((produced, true)) => match self.client.close_channel() {
                Ok(()) => self.client.close().map(|()| Produced { settled: true, ..produced }),
                // A broker may have taken in more than it can route in that time.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(produced),
                Err(error) => Err(error),
            },
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn left(&self, published: u64) -> u64 {
        self.messages.map_or(u64::MAX, |messages| messages - published)
    }

    fn stamp(&self, block: &mut PublishBlock, index: usize, messages: usize, first: u64, pace: &Pace) {
        let mut put = |number: usize, first_half: u64, second_half: u64| {
            let mut stamp = [0; 16];
            stamp[..8].copy_from_slice(&first_half.to_be_bytes());
            stamp[8..].copy_from_slice(&second_half.to_be_bytes());
            block.stamp(index + number, &stamp);
        };
        match self.stamp {
            Stamp::Nothing => {}
            Stamp::Number(producer) => (0..messages).for_each(|number| put(number, producer, first + number as u64)),
            Stamp::Time(epoch) => {
                let (first_ns, step_ns) = pace.due_ns(first, epoch);
                (0..messages).for_each(|number| put(number, 0, (first_ns + number as f64 * step_ns) as u64));
            }
        }
        if let Some(values_from) = self.values_from {
            (0..messages).for_each(|number| block.set_value(index + number, values_from + first + number as u64));
        }
    }

    /// Says, too, whether the last write ended at a message's end, so that the connection can be used further.
    fn publish(&self, block: &mut PublishBlock) -> io::Result<(Produced, bool)> {
        self.client.stream().socket().set_write_timeout(Some(STOP_CHECK))?;
        let pace = self.pace();
        let mut published = 0;
        while !self.stopped() && self.left(published) > 0 {
            let index = block.index(published);
            let batch = pace.allowance(published).min(self.left(published)).min(block.room(index) as u64) as usize;
            if batch == 0 {
                std::thread::sleep(pace.pause(published));
                continue;
            }
            self.stamp(block, index, batch, published, &pace);
            let bytes = block.range(index, batch);
            let written = self.write(bytes)?;
            published += (written / block.message_len) as u64;
            self.counter.set(published);
            if written < bytes.len() {
                return Ok((Produced::without_confirms(published), false));
            }
        }
        Ok((Produced::without_confirms(published), true))
    }

    /// Writes all of it, or what the broker takes within the grace once stopped.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        let mut give_up_at = None;
        while written < bytes.len() {
            match self.client.stream().write(&bytes[written..]) {
                Ok(len) => written += len,
                Err(error) if is_pause(&error) => {
                    let now = Instant::now();
                    if self.stopped() && now >= *give_up_at.get_or_insert(now + STOP_GRACE) {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn pace(&self) -> Pace {
        sharpen_sleep();
        Pace { start: Instant::now(), rate: self.rate, sleep: self.sleep }
    }

    fn publish_confirmed(&mut self, block: &mut PublishBlock) -> io::Result<(Produced, bool)> {
        self.client.stream().socket().set_nonblocking(true)?;
        let mut walker = FrameWalker::new(BASIC_DELIVER, &self.client.take_received());
        let mut confirms = Confirms::default();
        let pace = self.pace();
        let mut published = 0;
        // The write under way: where it starts, messages and bytes of it, and bytes already written.
        let (mut index, mut batch, mut batch_len, mut written) = (0, 0, 0, 0);
        let mut give_up_at = None;
        let mut latencies = latency_histogram();
        // The message whose confirm is timed, and since when.
        let mut timed: Option<(u64, Instant)> = None;
        loop {
            if written == batch_len {
                (batch, batch_len, written) = (0, 0, 0);
                if !self.stopped() {
                    let free = self.confirm_window.saturating_sub(confirms.outstanding());
                    let allowed = pace.allowance(published).min(self.left(published)).min(free);
                    index = block.index(published);
                    batch = allowed.min(block.room(index) as u64) as usize;
                    batch_len = batch * block.message_len;
                    self.stamp(block, index, batch, published, &pace);
                    // A broker may confirm the first messages of a write before the write has ended.
                    confirms.publish(batch as u64);
                    if batch > 0 && timed.is_none() {
                        timed = Some((published + 1, Instant::now()));
                    }
                } else if give_up_at.is_none() {
                    give_up_at = Some(Instant::now() + STOP_GRACE);
                }
                let finished = self.stopped() || self.left(published) == 0;
                if finished && batch == 0 && confirms.outstanding() == 0 {
                    break;
                }
            }
            if give_up_at.is_some_and(|at| Instant::now() >= at) {
                break;
            }
            if written < batch_len {
                match self.client.stream().write(&block.range(index, batch)[written..]) {
                    Ok(len) => written += len,
                    Err(error) if is_pause(&error) => {}
                    Err(error) => return Err(error),
                }
                if written == batch_len {
                    published += batch as u64;
                    self.counter.set(published);
                }
            }
            if receive_confirms(&self.client, &mut walker, &mut confirms)? {
                if let Some((_, since)) = timed.take_if(|(tag, _)| confirms.is_confirmed(*tag)) {
                    latencies.saturating_record(since.elapsed().as_nanos() as u64);
                }
            } else {
                let full = confirms.outstanding() >= self.confirm_window;
                let unfinished = written < batch_len;
                if unfinished || full || self.stopped() || self.left(published) == 0 {
                    self.client.stream().wait_ready(unfinished, STOP_CHECK)?;
                } else if pace.allowance(published) == 0 {
                    self.client.stream().wait_ready(false, pace.pause(published))?;
                }
            }
        }
        self.client.stream().socket().set_nonblocking(false)?;
        let produced = Produced {
            published,
            unconfirmed: confirms.outstanding(),
            rejected: confirms.rejected,
            confirm_latencies: Some(latencies),
            settled: false,
        };
        Ok((produced, written == batch_len && walker.is_empty()))
    }
}

/// Takes the confirms that have arrived. Says whether anything had.
fn receive_confirms(client: &Client, walker: &mut FrameWalker, confirms: &mut Confirms) -> io::Result<bool> {
    match client.stream().read(walker.space()) {
        Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up on a producer")),
        Ok(len) => walker.received(len),
        Err(error) if is_pause(&error) => return Ok(false),
        Err(error) => return Err(error),
    }
    walker.walk(confirms)?;
    Ok(true)
}

impl Visitor for Confirms {
    fn message(&mut self, _: u64, _: &[u8]) {}

    fn method(&mut self, class_method: u32, arguments: &[u8]) -> io::Result<()> {
        match (class_method, arguments) {
            (BASIC_ACK | BASIC_NACK, [tag @ .., bits]) if tag.len() == 8 => {
                let delivery_tag = u64::from_be_bytes(tag.try_into().expect("eight bytes"));
                self.settle(delivery_tag, bits & 1 != 0, class_method == BASIC_NACK);
                Ok(())
            }
            _ => interruption(class_method, arguments).map_or(Ok(()), Err),
        }
    }
}
