//! Bounds on what clients may take. Units are in the names: `_bytes`, `_ms`, `_s`, `_messages`; the others count.

use super::error::in_range;
use super::{ConfigError, MemoryWatermark};
use serde::{Deserialize, Serialize};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// AMQP lets no peer insist on frames smaller than this.
const FRAME_MAX_LEAST_BYTES: u32 = 4096;
/// Larger frames gain nothing and make every connection's partial frame a risk.
const FRAME_MAX_MOST_BYTES: u32 = 16 * MIB as u32;
/// The largest message RabbitMQ can be configured for, too.
const MESSAGE_SIZE_MOST_BYTES: usize = 512 * MIB;
/// Buffers smaller than this make a system call out of every few frames.
const BUFFER_LEAST_BYTES: usize = 4 * KIB;
const BUFFER_MOST_BYTES: usize = 64 * MIB;
/// The largest message, written as base64 in JSON, with room for its properties.
const MANAGEMENT_BODY_MOST_BYTES: usize = 1024 * MIB;
/// With less there is hardly a page at the head of each queue.
const MESSAGE_MEMORY_LEAST_BYTES: usize = MIB;
/// Timeouts of more than an hour are mistakes of unit.
const TIMEOUT_MOST_MS: u64 = 60 * 60 * 1000;
/// Who stays away for more than a month logs in again.
const SESSION_MOST_S: u64 = 31 * 24 * 60 * 60;

/// Bounds on what clients may take. Where 0 means "no limit", the field says so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time. The descriptors the system grants may be fewer.
    pub connections_max: usize,
    /// Channels per connection, as offered in `connection.tune`; 0 offers as many as AMQP can count.
    pub channel_max: u16,
    /// The largest frame, as offered in `connection.tune`.
    pub frame_max_bytes: u32,
    /// The largest body of a message; a larger one closes its channel.
    pub message_size_max_bytes: usize,
    /// How long a client may take from connecting to an open connection.
    pub handshake_timeout_ms: u64,
    /// How long a client with wrong credentials waits before its connection closes.
    pub authentication_failure_delay_ms: u64,
    /// The heartbeat interval, as offered in `connection.tune`; 0 asks for none.
    pub heartbeat_s: u16,
    /// What one connection may send into the broker in one turn of the loop.
    pub read_budget_bytes: usize,
    /// The buffer all connections receive into, one after the other.
    pub receive_buffer_bytes: usize,
    /// What may wait to be sent to a client before its consumers get no more deliveries.
    pub outbox_high_water_bytes: usize,
    /// What may wait to be sent to a client before its connection is given up.
    pub outbox_max_bytes: usize,
    /// What the uncommitted publishes of one transaction may hold.
    pub transaction_max_bytes: usize,
    /// The memory of messages beyond which they wait on disk.
    pub message_memory_bytes: usize,
    /// The memory in use beyond which publishers are not read.
    pub memory_watermark: MemoryWatermark,
    /// The memory of values by which messages are known again, in each virtual host; 0 for a quarter of the watermark.
    pub deduplication_memory_bytes: usize,
    /// The room on the disk of the data folder below which publishers are not read.
    pub disk_free_limit_bytes: u64,
    /// Queues in all; 0 for no limit.
    pub queues_max: usize,
    /// Exchanges in all; 0 for no limit.
    pub exchanges_max: usize,
    /// Bindings in all; 0 for no limit.
    pub bindings_max: usize,
    /// Consumers in all; 0 for no limit.
    pub consumers_max: usize,
    /// Messages in a queue with reading consumers that are too many, however fast they are: those who publish to it wait.
    pub queue_backlog_soft_limit_messages: usize,
    /// Consumers who take fewer a second hold their publishers back for a second at most, and no further than to this.
    pub publisher_floor_messages_per_s: u64,
    /// Connections of the management interface at a time; those beyond wait to be accepted.
    pub management_connections_max: usize,
    /// The largest body of a request to the management interface.
    pub management_body_max_bytes: usize,
    /// How long a client of the management interface may take to send the head of a request, to send its body, and to take
    /// a part of the answer.
    pub management_timeout_ms: u64,
    /// How long a login at the page of the management interface lasts.
    pub management_session_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            channel_max: 2047,
            frame_max_bytes: 128 * KIB as u32,
            message_size_max_bytes: 128 * MIB,
            handshake_timeout_ms: 10_000,
            authentication_failure_delay_ms: 3_000,
            heartbeat_s: 60,
            read_budget_bytes: 128 * KIB,
            receive_buffer_bytes: 256 * KIB,
            outbox_high_water_bytes: 256 * KIB,
            outbox_max_bytes: 256 * MIB,
            transaction_max_bytes: 256 * MIB,
            message_memory_bytes: 256 * MIB,
            memory_watermark: MemoryWatermark::Fraction(0.6),
            deduplication_memory_bytes: 0,
            disk_free_limit_bytes: 50_000_000,
            queues_max: 1_000_000,
            exchanges_max: 1_000_000,
            bindings_max: 10_000_000,
            consumers_max: 1_000_000,
            queue_backlog_soft_limit_messages: 16_384,
            publisher_floor_messages_per_s: 20_000,
            management_connections_max: 1024,
            management_body_max_bytes: 32 * MIB,
            management_timeout_ms: 30_000,
            management_session_s: 8 * 60 * 60,
        }
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        in_range("limits.connections_max", self.connections_max, 1..=16 * MIB)?;
        in_range("limits.frame_max_bytes", self.frame_max_bytes, FRAME_MAX_LEAST_BYTES..=FRAME_MAX_MOST_BYTES)?;
        in_range("limits.message_size_max_bytes", self.message_size_max_bytes, 1..=MESSAGE_SIZE_MOST_BYTES)?;
        in_range("limits.handshake_timeout_ms", self.handshake_timeout_ms, 1..=TIMEOUT_MOST_MS)?;
        in_range("limits.authentication_failure_delay_ms", self.authentication_failure_delay_ms, 0..=TIMEOUT_MOST_MS)?;
        for (key, bytes) in [
            ("limits.read_budget_bytes", self.read_budget_bytes),
            ("limits.receive_buffer_bytes", self.receive_buffer_bytes),
            ("limits.outbox_high_water_bytes", self.outbox_high_water_bytes),
        ] {
            in_range(key, bytes, BUFFER_LEAST_BYTES..=BUFFER_MOST_BYTES)?;
        }
        // One message may pass the high-water mark whole; that must not end the connection.
        let outbox_least_bytes = self.outbox_high_water_bytes + self.message_size_max_bytes;
        at_least(
            "limits.outbox_max_bytes",
            self.outbox_max_bytes,
            outbox_least_bytes,
            "limits.outbox_high_water_bytes + limits.message_size_max_bytes",
        )?;
        at_least(
            "limits.transaction_max_bytes",
            self.transaction_max_bytes,
            self.message_size_max_bytes,
            "limits.message_size_max_bytes",
        )?;
        in_range("limits.message_memory_bytes", self.message_memory_bytes, MESSAGE_MEMORY_LEAST_BYTES..=usize::MAX)?;
        let watermark_makes_sense = match self.memory_watermark {
            MemoryWatermark::Fraction(fraction) => fraction > 0.0 && fraction <= 1.0,
            MemoryWatermark::Bytes(bytes) => bytes > 0,
        };
        if !watermark_makes_sense {
            return Err(ConfigError::out_of_range(
                "limits.memory_watermark",
                self.memory_watermark,
                "a fraction above 0.0 and at most 1.0, or a positive whole number of bytes",
            ));
        }
        in_range("limits.queue_backlog_soft_limit_messages", self.queue_backlog_soft_limit_messages, 1..=usize::MAX)?;
        in_range("limits.management_connections_max", self.management_connections_max, 1..=16 * MIB)?;
        in_range(
            "limits.management_body_max_bytes",
            self.management_body_max_bytes,
            BUFFER_LEAST_BYTES..=MANAGEMENT_BODY_MOST_BYTES,
        )?;
        in_range("limits.management_timeout_ms", self.management_timeout_ms, 1..=TIMEOUT_MOST_MS)?;
        in_range("limits.management_session_s", self.management_session_s, 1..=SESSION_MOST_S)
    }
}

fn at_least(key: &'static str, value: usize, least: usize, because: &str) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    Err(ConfigError::out_of_range(key, value, format!("at least {because}, which is {least}")))
}
