//! Producers to queues to consumers at full speed: throughput, acked, confirmed, fanout, topic, fan-in. Owns who talks
//! to which queue, the measuring window, and the question whether everything published was consumed.

use super::Context;
use super::backlog::{fill, settled_count};
use super::consumer::{Consumed, Consumer, Latencies, OrderCheck};
use super::preset::Preset;
use super::producer::{Produced, Producer, Stamp, pace_sleep};
use super::topology::{Declared, Exchange, Queue, Topology, unique_name};
use crate::client::Client;
use crate::extensions::{Deduplication, Extensions, Overflow};
use crate::measure::{Counters, Window};
use crate::options::{Backlog, ExchangeType, Load};
use crate::report::{Outcome, latency_histogram};
use crate::unit::Unit;
use crate::wire::PublishShape;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Longest run for a number of messages.
const MESSAGES_LIMIT: Duration = Duration::from_secs(600);
/// Most consuming connections, each with a thread.
const CONSUMERS_MAX: u32 = 1024;
/// What a dead consumer holds for ever.
const DEAD_PREFETCH: u16 = 100;
/// Longest time to fill the queue of `--backlog`.
const BACKLOG_LIMIT: Duration = Duration::from_secs(600);
/// How many values for duplicates each producer has to itself.
const VALUES_OF_PRODUCER: u64 = 1 << 48;
/// How long nothing must come for consumers to have all that a queue of limited length gives them.
const QUIET: Duration = Duration::from_millis(300);
/// Below this share of what was published, consumers are said to lag.
const LAG_SHARE: f64 = 0.95;

/// A scenario with every question answered.
pub struct Flow {
    load: Load,
    producers: usize,
    queues: usize,
    consumers: usize,
    exchange_type: ExchangeType,
    prefetch: u16,
    ack_every: u32,
    confirm_window: u32,
}

impl Flow {
    /// Fills in what the command line leaves open. More queues given alone bring as many consumers, if the scenario
    /// has one for each.
    pub fn new(load: &Load, preset: Preset) -> io::Result<Self> {
        let queues = load.queues.unwrap_or(preset.queues);
        let one_each = preset.queues == u32::from(preset.consumers) && !load.spread;
        let consumers = load.consumers.map_or(if one_each { queues } else { preset.consumers.into() }, u32::from);
        if consumers > CONSUMERS_MAX {
            return Err(io::Error::other("so many queues need --spread, or --consumers"));
        }
        let flow = Self {
            load: load.clone(),
            producers: load.producers.unwrap_or(preset.producers).into(),
            queues: queues as usize,
            consumers: consumers as usize,
            exchange_type: load.exchange_type.unwrap_or(match load.extensions.deduplication {
                Some(Deduplication::Exchange) => ExchangeType::MessageDeduplication,
                _ => preset.exchange_type,
            }),
            prefetch: load.prefetch.unwrap_or(preset.prefetch),
            ack_every: load.ack_every.unwrap_or(preset.ack_every),
            confirm_window: load.confirm_window.unwrap_or(preset.confirm_window),
        };
        if flow.prefetch > 0 && u32::from(flow.prefetch) < flow.ack_every {
            return Err(io::Error::other("--ack-every above --prefetch would wait forever for deliveries"));
        }
        if (load.check || load.latency) && load.size < 16 {
            return Err(io::Error::other("--check and --latency need bodies of 16 bytes or more"));
        }
        if load.extensions.priorities > 0 && load.check {
            return Err(io::Error::other("--check asks for messages in order, which --priorities changes"));
        }
        if load.extensions.deduplication == Some(Deduplication::Exchange)
            && flow.exchange_type != ExchangeType::MessageDeduplication
        {
            return Err(io::Error::other("duplicates are looked for by an exchange of a type of its own"));
        }
        if load.spread && load.check {
            return Err(io::Error::other("--check follows one queue for each producer, and --spread has many"));
        }
        let bound_by_key =
            matches!(flow.exchange_type, ExchangeType::Default | ExchangeType::Direct | ExchangeType::Delayed);
        if load.keys > 1 && bound_by_key {
            return Err(io::Error::other("--keys needs an exchange whose bindings match many keys"));
        }
        if load.bindings > 0 && flow.exchange_type == ExchangeType::Default {
            return Err(io::Error::other("--bindings needs an --exchange-type"));
        }
        if flow.exchange_type == ExchangeType::ConsistentHash {
            if load.bindings > 0 || load.check {
                return Err(io::Error::other("which queue a hash leads to is not known: no --bindings and no --check"));
            }
            if flow.consumers > 0 && flow.consumed_queues() < flow.queues {
                return Err(io::Error::other("a hash leads to every queue: each needs a consumer, or none"));
            }
        }
        Ok(flow)
    }

    pub fn parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        let parameters = serde_json::json!({
            "size": self.load.size,
            "producers": self.producers,
            "queues": self.queues,
            "consumers": self.consumers,
            "exchange": self.exchange_type.name(),
            "delay": self.load.delay,
            "prefetch": self.prefetch,
            "ack_every": self.ack_every,
            "lone_acks": self.load.lone_acks,
            "confirm_window": self.confirm_window,
            "durable": self.is_durable(),
            "persistent": self.load.persistent,
            "spread": self.load.spread,
            "keys": self.load.keys,
            "bindings": self.load.bindings,
            "backlog": self.load.backlog,
            "rate": self.load.rate,
        });
        let mut parameters = parameters.as_object().cloned().unwrap_or_default();
        parameters.extend(self.extensions().parameters());
        parameters
    }

    fn extensions(&self) -> &Extensions {
        &self.load.extensions
    }

    fn is_durable(&self) -> bool {
        self.load.durable || self.extensions().is_quorum()
    }

    /// Whether a queue may drop or refuse what it gets, so that it is not known what consumers will have.
    fn is_limited(&self) -> bool {
        self.extensions().max_length.is_some()
    }

    /// Whether every queue gets every message.
    fn copies_to_all(&self) -> bool {
        use ExchangeType::{Fanout, Headers, MessageDeduplication};
        matches!(self.exchange_type, Fanout | Headers | MessageDeduplication)
    }

    /// How many queues somebody consumes.
    fn consumed_queues(&self) -> usize {
        if self.load.spread && self.consumers > 0 { self.queues } else { self.consumers.min(self.queues) }
    }

    /// How many consumed queues a message of this producer reaches.
    fn copies(&self, producer: usize) -> u64 {
        let consumed_queues = self.consumed_queues();
        if self.exchange_type == ExchangeType::ConsistentHash {
            return u64::from(consumed_queues > 0);
        }
        if self.copies_to_all() { consumed_queues as u64 } else { u64::from(producer % self.queues < consumed_queues) }
    }

    fn topology(&self) -> Topology {
        let exchange = match self.exchange_type {
            ExchangeType::Default => None,
            exchange_type => Some(Exchange {
                name: unique_name("x"),
                exchange_type,
                arguments: self.extensions().exchange_arguments(exchange_type),
            }),
        };
        let queue = |index: usize| Queue {
            name: unique_name(&self.number(index)),
            binding_key: match self.exchange_type {
                ExchangeType::Topic => format!("*.{}.#", self.number(index)),
                ExchangeType::ConsistentHash => "1".to_owned(),
                _ => self.number(index),
            },
        };
        Topology {
            exchange,
            queues: (0..self.queues).map(queue).collect(),
            further_bindings: self.load.bindings,
            durable: self.is_durable(),
            arguments: self.extensions().queue_arguments(),
        }
    }

    /// A queue's number in names: of one length where publishes to several must be.
    fn number(&self, queue: usize) -> String {
        if self.load.spread { format!("{queue:05}") } else { queue.to_string() }
    }

    /// What a producer publishes, in turn. It begins with a queue of its own, though it may go on to all.
    fn shapes(&self, declared: &Declared, producer: usize, frame_max: usize) -> Vec<PublishShape> {
        let queues = if self.load.spread { self.queues } else { 1 };
        let shapes = (0..self.load.keys as usize)
            .flat_map(|key| (0..queues).map(move |offset| ((producer + offset) % self.queues, key)))
            .map(|(queue, key)| self.shape(declared, queue, key, frame_max));
        let priorities = self.extensions().priorities;
        if priorities == 0 {
            return shapes.collect();
        }
        let with_priorities = |shape: PublishShape| {
            (0..priorities).map(move |priority| PublishShape { priority: Some(priority), ..shape.clone() })
        };
        shapes.flat_map(with_priorities).collect()
    }

    fn shape(&self, declared: &Declared, queue: usize, key: usize, frame_max: usize) -> PublishShape {
        let number = self.number(queue);
        let (exchange, routing_key) = match self.exchange_type {
            ExchangeType::Default => (String::new(), declared.queue(queue).to_owned()),
            ExchangeType::Topic if self.load.keys > 1 => (unique_name("x"), format!("perf.{number}.{key:05}")),
            ExchangeType::Topic => (unique_name("x"), format!("perf.{number}.load")),
            ExchangeType::ConsistentHash => (unique_name("x"), format!("{number}.{key:05}")),
            _ if self.load.keys > 1 => (unique_name("x"), format!("{key:05}")),
            _ => (unique_name("x"), number),
        };
        PublishShape {
            exchange,
            routing_key,
            persistent: self.load.persistent,
            delay_ms: (self.exchange_type == ExchangeType::Delayed).then_some(self.load.delay),
            expiration: self.extensions().expiration.map(|ms| ms.to_string()),
            deduplicated: self.extensions().deduplication.is_some(),
            body_len: self.load.size,
            frame_max,
            ..PublishShape::default()
        }
    }

    pub fn run(&self, context: &Context) -> io::Result<Outcome> {
        let declared = self.topology().declare(&context.broker)?;
        let _backlog = self.backlog(context)?;
        let counters = Counters::new(self.producers, self.consumers);
        let signals = Signals::new();
        std::thread::scope(|scope| {
            let running = self.start(scope, context, &declared, &counters, &signals);
            let outcome = running.and_then(|running| self.observe(context, &counters, &signals, running));
            signals.stop_producing.store(true, Ordering::Relaxed);
            signals.stop_consuming.store(true, Ordering::Relaxed);
            let mut outcome = outcome?;
            if let (Some(most), 0) = (self.extensions().max_length, self.consumers) {
                let waiting = settled_count(context, declared.queue(0), most.into())?;
                if waiting != u64::from(most) {
                    outcome.warn(format!("the queue holds {waiting} messages, and its limit is {most}"));
                }
            }
            Ok(outcome)
        })
    }

    /// Fills a queue that nobody reads, beside the others.
    fn backlog(&self, context: &Context) -> io::Result<Option<Declared>> {
        if self.load.backlog == 0 {
            return Ok(None);
        }
        let queue = Queue { name: unique_name("backlog"), binding_key: String::new() };
        let topology = Topology { queues: vec![queue], durable: self.load.durable, ..Topology::default() };
        let declared = topology.declare(&context.broker)?;
        let backlog = Backlog {
            size: self.load.size,
            messages: self.load.backlog,
            durable: self.load.durable,
            persistent: self.load.persistent,
            prefetch: 0,
            ack_every: 0,
            lone_acks: false,
            keep: false,
            expiration: None,
            limit: BACKLOG_LIMIT,
        };
        let filled = fill(context, &backlog, declared.queue(0), &mut Outcome::default())?;
        let waiting = settled_count(context, declared.queue(0), filled)?;
        if waiting != self.load.backlog {
            return Err(io::Error::other(format!("the backlog has {waiting} of {} messages", self.load.backlog)));
        }
        Ok(Some(declared))
    }

    /// Connects everyone before anyone starts.
    fn start<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        context: &Context,
        declared: &Declared,
        counters: &'scope Arc<Counters>,
        signals: &'scope Signals,
    ) -> io::Result<Running<'scope>> {
        let mut consumers = Vec::new();
        for index in 0..self.consumers {
            let mut client = Client::connect(&context.broker)?;
            let own: Vec<&str> = match self.load.spread && self.consumers < self.queues {
                true => (index..self.queues).step_by(self.consumers).map(|queue| declared.queue(queue)).collect(),
                false => vec![declared.queue(index % self.queues)],
            };
            client.consume_all(&own, self.prefetch, self.ack_every == 0)?;
            let gapless = self.consumers <= self.queues;
            let check = self.load.check.then(|| OrderCheck::new(self.producers, gapless));
            let (counter, stop) = (&counters.consumed[index], &signals.stop_consuming);
            let pause = Duration::from_micros(self.load.consumer_pause);
            let latencies = self.load.latency.then(|| Latencies::new(signals.epoch, &signals.measuring));
            let (ack_every, lone_acks) = (self.ack_every, self.load.lone_acks);
            consumers.push(Consumer { client, ack_every, lone_acks, check, latencies, pause, counter, stop });
        }
        let mut dead = Vec::new();
        for index in 0..self.load.dead_consumers.into() {
            let mut client = Client::connect(&context.broker)?;
            client.consume(declared.queue(index % self.queues), DEAD_PREFETCH, false)?;
            dead.push(client);
        }
        let mut producers = Vec::new();
        for index in 0..self.producers {
            let mut client = Client::connect(&context.broker)?;
            if self.confirm_window > 0 {
                client.select_confirms()?;
            }
            let share = |messages: u64| {
                messages / self.producers as u64 + u64::from((index as u64) < messages % self.producers as u64)
            };
            producers.push(Producer {
                shapes: self.shapes(declared, index, client.frame_max),
                client,
                write_bytes: self.load.write_bytes,
                confirm_window: self.confirm_window.into(),
                rate: self.load.rate.map(|rate| rate as f64 / self.producers as f64),
                sleep: pace_sleep(self.producers),
                messages: self.load.messages.map(share),
                stamp: match (self.load.check, self.load.latency) {
                    (true, _) => Stamp::Number(index as u64),
                    (_, true) => Stamp::Time(signals.epoch),
                    _ => Stamp::Nothing,
                },
                values_from: self.extensions().deduplication.map(|_| index as u64 * VALUES_OF_PRODUCER),
                counter: &counters.published[index],
                stop: &signals.stop_producing,
            });
        }
        let consumers = consumers.into_iter().map(|consumer| scope.spawn(|| signals.watch(consumer.run()))).collect();
        let producers = producers.into_iter().map(|producer| scope.spawn(|| signals.watch(producer.run()))).collect();
        Ok(Running { producers, consumers, dead })
    }

    /// Warms up, measures, stops the producers, lets the consumers catch up, stops them.
    fn observe(
        &self,
        context: &Context,
        counters: &Counters,
        signals: &Signals,
        running: Running<'_>,
    ) -> io::Result<Outcome> {
        let run = &context.run;
        let expected = || -> u64 {
            counters.published.iter().enumerate().map(|(index, counter)| counter.get() * self.copies(index)).sum()
        };
        let failed = || signals.failed.load(Ordering::Relaxed);
        signals.measuring.store(self.load.messages.is_some(), Ordering::Relaxed);
        let window = match self.load.messages {
            Some(messages) => run.measure(MESSAGES_LIMIT, counters, || {
                failed() || (counters.published() == messages && counters.consumed() >= expected())
            }),
            None => {
                run.wait(context.common.warmup, counters, failed);
                signals.measuring.store(true, Ordering::Relaxed);
                run.measure(context.common.duration, counters, failed)
            }
        };
        signals.measuring.store(false, Ordering::Relaxed);
        let backlog = expected().saturating_sub(counters.consumed());
        signals.stop_producing.store(true, Ordering::Relaxed);
        let stopped_at = Instant::now();
        let mut produced = Vec::new();
        for producer in running.producers {
            produced.push(producer.join().map_err(|_| io::Error::other("a producer panicked"))??);
        }
        drop(running.dead);
        let mut last = (counters.consumed(), Instant::now());
        run.wait(context.common.drain_timeout, counters, || {
            if counters.consumed() > last.0 {
                last = (counters.consumed(), Instant::now());
            }
            let quiet = self.is_limited() && last.1.elapsed() >= QUIET;
            failed() || quiet || counters.consumed() >= expected()
        });
        let drained_in = stopped_at.elapsed();
        signals.stop_consuming.store(true, Ordering::Relaxed);
        let mut violations = 0;
        let mut latencies = latency_histogram();
        for consumer in running.consumers {
            let seen = consumer.join().map_err(|_| io::Error::other("a consumer panicked"))??;
            violations += seen.violations;
            latencies.add(seen.latencies.unwrap_or_else(latency_histogram)).map_err(io::Error::other)?;
        }
        let mut outcome = self.outcome(&window, &produced);
        if self.load.latency {
            outcome.latencies("latency", &latencies);
        }
        if self.consumers > 0 {
            outcome.row("backlog_at_stop", backlog as f64, Unit::Count);
            outcome.row("drain_seconds", drained_in.as_secs_f64(), Unit::Seconds);
        }
        if self.load.check {
            outcome.row("order_violations", violations as f64, Unit::Count);
        }
        if violations > 0 {
            outcome.warn(format!("{violations} messages were lost, doubled or out of order"));
        }
        let (expected, consumed) = (expected(), counters.consumed());
        if self.is_limited() {
            return Ok(outcome);
        }
        outcome.row("total_expected", expected as f64, Unit::Count);
        outcome.row("total_consumed", consumed as f64, Unit::Count);
        if consumed != expected {
            outcome.warn(format!("consumed {consumed} of {expected} messages in all"));
        }
        Ok(outcome)
    }

    fn outcome(&self, window: &Window, produced: &[Produced]) -> Outcome {
        let mut outcome = Outcome::default();
        let (published, consumed) = (window.published(), window.consumed());
        outcome.row("publish_per_s", published as f64 / window.seconds(), Unit::PerSecond);
        outcome.row("consume_per_s", consumed as f64 / window.seconds(), Unit::PerSecond);
        outcome.row(
            "consume_bytes_per_s",
            (consumed * self.load.size as u64) as f64 / window.seconds(),
            Unit::BytesPerSecond,
        );
        outcome.row("published", published as f64, Unit::Count);
        outcome.row("consumed", consumed as f64, Unit::Count);
        outcome.row("seconds", window.seconds(), Unit::Seconds);
        outcome.costs(window, published, "message");
        let reached =
            if self.copies_to_all() { self.copies(0) } else { u64::from(self.consumed_queues() == self.queues) };
        if (consumed as f64) < LAG_SHARE * (published * reached) as f64 {
            let share = 100.0 * consumed as f64 / (published * reached) as f64;
            outcome.warn(format!("consumers lagged: {share:.0} % of what was published came out meanwhile"));
        }
        let unsettled = produced.iter().filter(|produced| !produced.settled).count();
        if unsettled > 0 {
            outcome.warn(format!("{unsettled} producers were given up before the broker had taken all that they sent"));
        }
        let mut confirms = latency_histogram();
        for latencies in produced.iter().filter_map(|produced| produced.confirm_latencies.as_ref()) {
            confirms.add(latencies).expect("both have the same range");
        }
        if self.confirm_window > 0 {
            outcome.latencies("confirm", &confirms);
        }
        let sum = |pick: fn(&Produced) -> u64| produced.iter().map(pick).sum::<u64>();
        let rejected = sum(|p| p.rejected);
        let refuses = self.extensions().overflow.is_some_and(|overflow| overflow != Overflow::DropHead);
        if refuses && self.confirm_window > 0 {
            outcome.row("refused_share", rejected as f64 / sum(|p| p.published).max(1) as f64, Unit::Ratio);
        }
        for (what, number) in [("never confirmed", sum(|p| p.unconfirmed)), ("rejected", rejected)] {
            if number > 0 && !(refuses && what == "rejected") {
                outcome.warn(format!("{number} of {} messages were {what}", sum(|p| p.published)));
            }
        }
        outcome
    }
}

/// What the threads of a flow tell each other.
struct Signals {
    /// Times in bodies count from here.
    epoch: Instant,
    measuring: AtomicBool,
    stop_producing: AtomicBool,
    stop_consuming: AtomicBool,
    failed: AtomicBool,
}

impl Signals {
    fn new() -> Self {
        let [measuring, stop_producing, stop_consuming, failed] = [const { AtomicBool::new(false) }; 4];
        Self { epoch: Instant::now(), measuring, stop_producing, stop_consuming, failed }
    }

    /// Ends the run early when a thread failed.
    fn watch<Value>(&self, result: io::Result<Value>) -> io::Result<Value> {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

struct Running<'scope> {
    producers: Vec<ScopedJoinHandle<'scope, io::Result<Produced>>>,
    consumers: Vec<ScopedJoinHandle<'scope, io::Result<Consumed>>>,
    dead: Vec<Client>,
}
