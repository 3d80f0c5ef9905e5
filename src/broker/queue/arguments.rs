//! The `x-` arguments of `queue.declare`: what they may be, with RabbitMQ's words for what they may not.
//!
//! Unknown arguments are kept and ignored, as RabbitMQ does. Arguments to which a RabbitMQ of 3.13 to 4.x gives a meaning
//! and this version does not are refused rather than ignored. Those that ask how a queue is kept or on which node, like
//! `x-queue-mode` and `x-queue-leader-locator`, are taken: here there is one way and one node.

use super::wishes::{Overflow, QueueKind, Wishes};
use crate::broker::equivalence::{integer, type_name};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};
use std::fmt::Display;

/// Longest time to live or expiry, in milliseconds: ten years, RabbitMQ's limit.
pub const EXPIRY_MAX_MS: u64 = 315_360_000_000;

/// The arguments that change what the broker does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueArguments {
    /// `x-queue-type`
    pub kind: QueueKind,
    /// What a policy may ask for as well.
    pub wishes: Wishes,
    /// `x-max-priority`
    pub max_priority: Option<u8>,
    /// `x-single-active-consumer`
    pub single_active_consumer: bool,
}

/// Arguments whose difference makes a redeclaration inequivalent; all others are not compared.
pub const COMPARED: [&str; 13] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-master-locator",
    "x-queue-type",
];

/// Known to RabbitMQ's classic queues, not honoured yet.
const UNSUPPORTED: [&str; 2] = ["x-consumer-timeout", "x-name-prefix"];

/// Known to other queue types only.
const OF_OTHER_TYPES: [&str; 14] = [
    "x-delivery-limit",
    "x-dead-letter-strategy",
    "x-max-age",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-quorum-initial-group-size",
    "x-initial-cluster-size",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-member-placement-tag",
    "x-consumer-disconnected-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
];

/// Reads the arguments of a classic queue's declaration.
pub fn parse(arguments: &FieldTable, queue: &str, vhost: &str) -> Result<QueueArguments, AmqpError> {
    let check = Check { arguments, queue, vhost };
    let kind = check.queue_type()?;
    let message_ttl_ms = check.bounded_integer("x-message-ttl", 0, EXPIRY_MAX_MS)?;
    let expires_ms = check.bounded_integer("x-expires", 1, EXPIRY_MAX_MS)?;
    check.others(kind)?;
    let short_string = |argument| Ok(check.long_string(argument)?.map(ShortString::truncated));
    let wishes = Wishes {
        message_ttl_ms,
        expires_ms,
        max_length: check.bounded_integer("x-max-length", 0, u64::MAX)?,
        max_length_bytes: check.bounded_integer("x-max-length-bytes", 0, u64::MAX)?,
        overflow: check.long_string("x-overflow")?.and_then(Overflow::from_name),
        dead_letter_exchange: short_string("x-dead-letter-exchange")?,
        dead_letter_routing_key: short_string("x-dead-letter-routing-key")?,
        ..Wishes::default()
    };
    let max_priority = check.bounded_integer("x-max-priority", 0, u64::from(u8::MAX))?.map(|most| most as u8);
    let single_active_consumer = matches!(arguments.get(b"x-single-active-consumer"), Some(FieldValue::Boolean(true)));
    Ok(QueueArguments { kind, wishes, max_priority, single_active_consumer })
}

/// Reads the arguments of a queue that is there already, as far as this version takes them; and what it would say to a
/// client who asked for the others.
pub fn understood(arguments: &FieldTable, queue: &str, vhost: &str) -> (QueueArguments, Option<AmqpError>) {
    let refusal = match parse(arguments, queue, vhost) {
        Ok(settings) => return (settings, None),
        Err(refusal) => refusal,
    };
    let check = Check { arguments, queue, vhost };
    let wishes = Wishes {
        message_ttl_ms: check.bounded_integer("x-message-ttl", 0, EXPIRY_MAX_MS).unwrap_or_default(),
        expires_ms: check.bounded_integer("x-expires", 1, EXPIRY_MAX_MS).unwrap_or_default(),
        ..Wishes::default()
    };
    (QueueArguments { wishes, ..QueueArguments::default() }, Some(refusal))
}

struct Check<'a> {
    arguments: &'a FieldTable,
    queue: &'a str,
    vhost: &'a str,
}

/// What is said of a queue that would be of another type than classic.
pub fn unsupported_type(kind: &str, queue: &str, vhost: &str) -> AmqpError {
    let explanation =
        format!("queue type '{kind}' of queue '{queue}' in vhost '{vhost}' is not supported by this version");
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

impl Check<'_> {
    fn invalid(&self, argument: &str, reason: impl Display) -> AmqpError {
        let Self { queue, vhost, .. } = self;
        AmqpError::channel(
            ReplyCode::PreconditionFailed,
            format!("invalid arg '{argument}' for queue '{queue}' in vhost '{vhost}': {reason}"),
        )
    }

    fn refused(&self, explanation: String) -> AmqpError {
        AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
    }

    fn queue_type(&self) -> Result<QueueKind, AmqpError> {
        let Self { queue, vhost, .. } = self;
        match self.long_string("x-queue-type")? {
            None => Ok(QueueKind::Classic),
            Some(known) if let Some(kind) = QueueKind::from_name(known) => Ok(kind),
            Some(known @ b"stream") => Err(unsupported_type(&String::from_utf8_lossy(known), queue, vhost)),
            Some(other) => {
                let reason = format!("\"unsupported queue type '{}'\"", String::from_utf8_lossy(other));
                Err(self.invalid("x-queue-type", reason))
            }
        }
    }

    fn others(&self, kind: QueueKind) -> Result<(), AmqpError> {
        self.bounded_integer("x-max-length", 0, u64::MAX)?;
        self.bounded_integer("x-max-length-bytes", 0, u64::MAX)?;
        self.max_priority()?;
        self.overflow()?;
        self.dead_letter()?;
        self.queue_mode()?;
        self.queue_version()?;
        self.leader_locator()?;
        match self.arguments.get(b"x-single-active-consumer") {
            None | Some(FieldValue::Boolean(_)) => {}
            Some(other) => return Err(self.unacceptable_type("x-single-active-consumer", other)),
        }
        self.supported(kind)
    }

    /// What a well-formed argument may still not be.
    fn supported(&self, kind: QueueKind) -> Result<(), AmqpError> {
        let Self { queue, vhost, .. } = self;
        for argument in OF_OTHER_TYPES {
            if kind == QueueKind::Classic && self.arguments.get(argument.as_bytes()).is_some() {
                return Err(self.refused(format!(
                    "invalid arg '{argument}' for queue '{queue}' in vhost '{vhost}' of queue type rabbit_classic_queue"
                )));
            }
        }
        for argument in UNSUPPORTED {
            match self.arguments.get(argument.as_bytes()) {
                None => {}
                Some(_) => {
                    return Err(self.refused(format!(
                        "arg '{argument}' for queue '{queue}' in vhost '{vhost}' is not supported by this version"
                    )));
                }
            }
        }
        Ok(())
    }

    fn bounded_integer(&self, argument: &str, minimum: u64, maximum: u64) -> Result<Option<u64>, AmqpError> {
        let Some(value) = self.arguments.get(argument.as_bytes()) else { return Ok(None) };
        let number = self.integer(argument, value)?;
        match u64::try_from(number) {
            Err(_) => Err(self.invalid(argument, format!("{{value_negative,{number}}}"))),
            Ok(number) if number < minimum => Err(self.invalid(argument, format!("{{value_zero,{number}}}"))),
            Ok(number) if number > maximum => Err(self.invalid(argument, format!("{{value_too_large,{number}}}"))),
            Ok(number) => Ok(Some(number)),
        }
    }

    fn integer(&self, argument: &str, value: &FieldValue) -> Result<i64, AmqpError> {
        integer(value).ok_or_else(|| self.invalid(argument, format!("\"expected integer, got {}\"", type_name(value))))
    }

    fn long_string(&self, argument: &str) -> Result<Option<&[u8]>, AmqpError> {
        match self.arguments.get(argument.as_bytes()) {
            None => Ok(None),
            Some(FieldValue::LongString(text)) => Ok(Some(text)),
            Some(other) => Err(self.unacceptable_type(argument, other)),
        }
    }

    fn unacceptable_type(&self, argument: &str, value: &FieldValue) -> AmqpError {
        self.invalid(argument, format!("{{unacceptable_type,{}}}", type_name(value)))
    }

    fn max_priority(&self) -> Result<(), AmqpError> {
        match self.bounded_integer("x-max-priority", 0, u64::MAX)? {
            Some(number) if number > u64::from(u8::MAX) => {
                Err(self.invalid("x-max-priority", format!("{{max_value_exceeded,{number}}}")))
            }
            _ => Ok(()),
        }
    }

    fn overflow(&self) -> Result<(), AmqpError> {
        match self.long_string("x-overflow")? {
            None | Some(b"drop-head" | b"reject-publish" | b"reject-publish-dlx") => Ok(()),
            Some(_) => Err(self.invalid("x-overflow", "invalid_overflow")),
        }
    }

    fn dead_letter(&self) -> Result<(), AmqpError> {
        let Self { queue, vhost, .. } = self;
        let exchange = self.arguments.get(b"x-dead-letter-exchange");
        if let Some(value) = exchange
            && !matches!(value, FieldValue::LongString(_))
        {
            return Err(self.refused(format!(
                "invalid type '{}' for arg 'x-dead-letter-exchange' in queue '{queue}' in vhost '{vhost}'",
                type_name(value)
            )));
        }
        match self.long_string("x-dead-letter-routing-key")? {
            Some(_) if exchange.is_none() => {
                Err(self.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"))
            }
            _ => Ok(()),
        }
    }

    fn queue_mode(&self) -> Result<(), AmqpError> {
        match self.long_string("x-queue-mode")? {
            None | Some(b"default" | b"lazy") => Ok(()),
            Some(other) => {
                let reason = format!("\"unsupported queue mode '{}'\"", String::from_utf8_lossy(other));
                Err(self.invalid("x-queue-mode", reason))
            }
        }
    }

    fn queue_version(&self) -> Result<(), AmqpError> {
        let Some(value) = self.arguments.get(b"x-queue-version") else { return Ok(()) };
        match self.integer("x-queue-version", value)? {
            1 | 2 => Ok(()),
            negative if negative < 0 => Err(self.invalid("x-queue-version", format!("{{value_negative,{negative}}}"))),
            other => Err(self.invalid("x-queue-version", format!("\"unsupported queue version '{other}'\""))),
        }
    }

    fn leader_locator(&self) -> Result<(), AmqpError> {
        match self.long_string("x-queue-leader-locator")? {
            None | Some(b"client-local" | b"balanced" | b"random" | b"least-leaders") => Ok(()),
            Some(_) => Err(self.invalid("x-queue-leader-locator", "invalid_queue_locator_arg")),
        }
    }
}
