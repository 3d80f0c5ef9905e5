//! The command line. Owns names, defaults and help texts; starts nothing.

use crate::extensions::Extensions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Load generator for any AMQP 0-9-1 broker.
///
/// Every scenario is named for what it stresses. Queues and exchanges are made at the start and deleted at the end;
/// ctrl-c ends a run early and prints what was measured. The generator's own CPU per message is printed with every
/// result, and `generator-ceiling` measures what it could do with an infinitely fast broker.
#[derive(Parser, Debug)]
#[command(name = "leveret-perf", version, max_term_width = 110)]
pub struct Options {
    #[command(subcommand)]
    pub scenario: Scenario,
    #[command(flatten)]
    pub common: Common,
}

/// What every scenario understands.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The broker to load (default: amqp://guest:guest@127.0.0.1:5672/%2f; also amqps://, or nats://127.0.0.1:4222)
    #[arg(long, global = true, value_name = "URI")]
    pub uri: Option<String>,
    /// The authorities, as PEM, behind the certificate of a broker at amqps://
    #[arg(long, global = true, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Take any certificate of a broker at amqps://
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Load a broker that is not on this machine
    #[arg(long, global = true)]
    pub allow_remote: bool,
    /// The broker's process: its CPU per message and memory are reported
    #[arg(long, global = true, value_name = "PID")]
    pub pid: Option<u32>,
    /// Seconds to measure
    #[arg(long, global = true, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Duration,
    /// Seconds to run before measuring
    #[arg(long, global = true, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub warmup: Duration,
    /// Longest wait for consumers to catch up once producers have stopped, in seconds
    #[arg(long, global = true, default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    pub drain_timeout: Duration,
    /// Run this many times; the table shows median, least and most
    #[arg(long, global = true, default_value = "1", value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// Print the result as JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Write the result as JSON to a file, too
    #[arg(long, global = true, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Show a live line although standard error is not a terminal
    #[arg(long, global = true)]
    pub live: bool,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Scenario {
    /// Publish and consume as fast as possible: 1 producer, 1 queue, 1 consumer, automatic acknowledgement
    Throughput(Load),
    /// As throughput, acknowledging: every 100 (multiple) with a prefetch of 1000
    Acked(Load),
    /// As throughput, with publisher confirms: at most 1000 unconfirmed
    Confirmed(Load),
    /// One fanout exchange to 10 queues with a consumer each; the rate is what comes out
    Fanout(Load),
    /// A topic exchange with wildcard bindings: 4 producers to 4 queues with a consumer each
    Topic(Load),
    /// An x-consistent-hash exchange with 10 queues of the same weight: 4 producers, and a consumer for each queue
    ConsistentHash(Load),
    /// Messages that an exchange keeps until they are due, while more come
    Delayed(Load),
    /// 64 producers into 1 queue with 1 consumer
    FanIn(Load),
    /// One-way latency at a steady rate, measured from when each message was due
    Latency(Paced),
    /// Requests over direct reply-to, one at a time
    Rpc(Rpc),
    /// Publish messages that nobody consumes
    Fill(Backlog),
    /// Publish messages, then consume them all
    Drain(Backlog),
    /// Publish messages, then reject them all at once, or let them expire: how fast are they in another queue?
    DeadLetters(DeadLetters),
    /// Many connections with a channel each that do nothing: what does one cost?
    IdleConnections(Idle),
    /// Many queues that nobody uses: what does one cost?
    IdleQueues(IdleQueues),
    /// Many connections with a queue and a consumer each, and a steady rate of messages over all of them
    Crowd(Crowd),
    /// Connect, open a channel, close, again
    ConnectionChurn(Churn),
    /// Declare a queue and delete it, again
    QueueChurn(Churn),
    /// Bind a queue and unbind it, again
    BindChurn(Churn),
    /// Many clients guess passwords while one asks for small things: what do they keep from it?
    Guessing(Guessing),
    /// Start a broker and end it, again: how long until it has opened a channel?
    Start(Start),
    /// The same as throughput over NATS's core protocol, for comparison
    NatsThroughput(Sized),
    /// The same bytes through a bare one-thread TCP relay inside this program: the machine's ceiling
    Relay(Relay),
    /// Write and fdatasync, one after the other, without a broker: what a confirm after the disk costs at least
    Fsync(Fsync),
    /// The producer against a sink and the consumer against a source inside this program: the generator's ceiling
    GeneratorCeiling(Sized),
}

/// A body size.
#[derive(Args, Clone, Debug)]
pub struct Sized {
    /// Body size in bytes
    #[arg(long, default_value_t = 16)]
    pub size: usize,
}

#[derive(Args, Clone, Debug)]
pub struct Rpc {
    /// Body size in bytes
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// Through a bare loop inside this program instead of a broker: what the same four hops cost at least
    #[arg(long)]
    pub bare: bool,
}

/// The shape of a flow of messages. What is left out depends on the scenario.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Body size in bytes
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// Publishing connections
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub producers: Option<u16>,
    /// Consuming connections; consumer i reads queue i modulo queues
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub consumers: Option<u16>,
    /// Queues; producer i publishes to queue i modulo queues
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queues: Option<u32>,
    /// Every producer publishes to all queues in turn, and the consumers share all queues among them
    #[arg(long)]
    pub spread: bool,
    /// Different routing keys per queue, in turn; for exchanges that bind by no whole key
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub keys: u32,
    /// Further bindings of the exchange, that match none of the messages
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub bindings: u32,
    /// Messages of the same size that wait in a queue beside those of the scenario
    #[arg(long, default_value_t = 0, value_name = "MESSAGES")]
    pub backlog: u64,
    /// Most unacknowledged deliveries per consumer; 0 is no limit
    #[arg(long)]
    pub prefetch: Option<u16>,
    /// Acknowledge every N deliveries at once; 0 lets the broker acknowledge
    #[arg(long, value_name = "N")]
    pub ack_every: Option<u32>,
    /// Send each acknowledgement in a packet of its own, as clients do that acknowledge in their handler
    #[arg(long)]
    pub lone_acks: bool,
    /// Let every consumer pause after each read: slow consumers
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    pub consumer_pause: u64,
    /// Further consumers that never acknowledge; what they hold comes back when the producers have stopped
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub dead_consumers: u16,
    /// Most unconfirmed publishes per producer; 0 asks for no confirms
    #[arg(long, value_name = "N")]
    pub confirm_window: Option<u32>,
    /// Publish this many messages per second, all producers together, instead of as many as possible
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<u64>,
    /// Publish this many messages instead of running for a duration
    #[arg(long)]
    pub messages: Option<u64>,
    /// Declare durable queues
    #[arg(long)]
    pub durable: bool,
    /// Publish persistent messages
    #[arg(long)]
    pub persistent: bool,
    /// Publish through an exchange of this type
    #[arg(long, value_enum)]
    pub exchange_type: Option<ExchangeType>,
    /// How long an exchange of type delayed keeps each message
    #[arg(long, default_value_t = 100, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    pub delay: u32,
    /// Number every message and verify that none is lost, doubled or out of order (bodies of 16 bytes or more)
    #[arg(long)]
    pub check: bool,
    /// Report latencies from when each message was due (or sent, without --rate); bodies of 16 bytes or more
    #[arg(long, conflicts_with = "check")]
    pub latency: bool,
    /// Bytes per write of a producer
    #[arg(long, default_value_t = 128 * 1024, value_name = "BYTES")]
    pub write_bytes: usize,
    #[command(flatten)]
    pub extensions: Extensions,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgumentValue {
    Number(i64),
    Boolean(bool),
    Text(String),
}

impl std::fmt::Display for ArgumentValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Boolean(boolean) => write!(formatter, "{boolean}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExchangeType {
    Default,
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
    Delayed,
    /// To all queues, unless it had a message of the same value
    MessageDeduplication,
}

impl Scenario {
    /// Whether the peer is inside this program.
    pub fn is_bare(&self) -> bool {
        matches!(
            self,
            Self::Relay(_)
                | Self::GeneratorCeiling(_)
                | Self::Fsync(_)
                | Self::Latency(Paced { bare: true, .. })
                | Self::Rpc(Rpc { bare: true, .. })
                | Self::Crowd(Crowd { bare: true, .. })
        )
    }
}

impl ExchangeType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::Delayed => "x-delayed-message",
            Self::MessageDeduplication => "x-message-deduplication",
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Paced {
    /// Body size in bytes, at least 16
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// Messages per second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: u64,
    /// Spin for the last microseconds before a message is due instead of trusting the timer alone
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    pub spin: u64,
    /// Through a bare relay inside this program instead of a broker: the machine's own latency
    #[arg(long)]
    pub bare: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Backlog {
    /// Body size in bytes
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Messages
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: u64,
    /// Declare a durable queue
    #[arg(long)]
    pub durable: bool,
    /// Publish persistent messages
    #[arg(long)]
    pub persistent: bool,
    /// Most unacknowledged deliveries; 0 is no limit
    #[arg(long, default_value_t = 0)]
    pub prefetch: u16,
    /// Acknowledge every N deliveries at once; 0 lets the broker acknowledge
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub ack_every: u32,
    /// Send each acknowledgement in a packet of its own, as clients do that acknowledge in their handler
    #[arg(long)]
    pub lone_acks: bool,
    /// Leave the queue and its messages to the broker instead of deleting them
    #[arg(long)]
    pub keep: bool,
    /// Publish with an expiration, in milliseconds
    #[arg(long, value_name = "MILLISECONDS")]
    pub expiration: Option<u32>,
    /// Longest time for either half, in seconds
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    pub limit: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct DeadLetters {
    #[command(flatten)]
    pub backlog: Backlog,
    /// They expire instead of being rejected
    #[arg(long)]
    pub expired: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Idle {
    /// Connections to open
    #[arg(long, default_value_t = 10_000)]
    pub connections: u32,
}

#[derive(Args, Clone, Debug)]
pub struct IdleQueues {
    /// Queues to declare
    #[arg(long, default_value_t = 100_000)]
    pub queues: u32,
    /// Declare durable queues
    #[arg(long)]
    pub durable: bool,
    /// Leave the queues to the broker instead of deleting them
    #[arg(long)]
    pub keep: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Crowd {
    /// Body size in bytes, at least 16
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// Connections, each with a queue and a consumer of it
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections: u32,
    /// Messages per second, over all queues in turn
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: u64,
    /// From a bare loop inside this program instead of a broker, with one write a message: what that costs at least.
    /// Both ends of each connection are files of this program then
    #[arg(long)]
    pub bare: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Start {
    /// The broker's program and its arguments; it must listen at --uri
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
    /// Longest wait until it is ready or has ended, in seconds
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    pub limit: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Fsync {
    /// Bytes per write
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub size: u32,
    /// The folder of the file: on the disk that a broker would use
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct Churn {
    /// How many each thread makes before it waits for the first answer; connections then say all they say in one write
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub pipeline: u16,
    /// Threads that do this at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub clients: u16,
    /// Declare durable queues
    #[arg(long)]
    pub durable: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Guessing {
    /// Clients that guess at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub clients: u16,
}

#[derive(Args, Clone, Debug)]
pub struct Relay {
    /// Body sizes in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [16, 100, 1024, 4096, 16 * 1024, 64 * 1024])]
    pub size: Vec<usize>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn common_options_may_follow_the_scenario() {
        let options = Options::try_parse_from(["leveret-perf", "fan-in", "--duration", "0.5", "--size", "1"]).unwrap();
        assert_eq!(options.common.duration, Duration::from_millis(500));
        assert!(matches!(options.scenario, Scenario::FanIn(Load { size: 1, .. })));
    }
}
