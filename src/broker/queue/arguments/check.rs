//! What the value of an argument may be, and RabbitMQ's words for what it may not.

use super::{KNOWN, QUEUE_TYPE, kind_of, unsupported_type};
use crate::broker::equivalence::{integer, type_name};
use crate::broker::queue::QueueKind;
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode};
use std::fmt::Display;

/// Longest time to live or expiry, in milliseconds: ten years, RabbitMQ's limit.
pub const EXPIRY_MAX_MS: u64 = 315_360_000_000;

/// What a value may be.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// RabbitMQ doesn't look, and takes what makes no sense as nothing.
    Anything,
    Text,
    /// A text that makes sense with an exchange only.
    DeadLetterRoutingKey,
    /// One of these texts, and what is said of any other.
    OneOf(&'static [&'static str], &'static str),
    Boolean,
    NotNegative,
    Positive,
    /// Milliseconds that RabbitMQ's timers take.
    Expiry {
        minimum: u64,
    },
    Priority,
    Mode,
    Version,
}

/// The arguments of one declaration.
pub(super) struct Check<'a> {
    pub arguments: &'a FieldTable,
    pub queue: &'a str,
    pub vhost: &'a str,
}

impl Check<'_> {
    fn refused(&self, explanation: String) -> AmqpError {
        AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
    }

    fn invalid(&self, argument: &str, reason: impl Display) -> AmqpError {
        let Self { queue, vhost, .. } = self;
        self.refused(format!("invalid arg '{argument}' for queue '{queue}' in vhost '{vhost}': {reason}"))
    }

    /// # Errors
    /// 406 in words of its own: RabbitMQ asks for it before it looks at anything else.
    pub fn dead_letter_exchange(&self) -> Result<(), AmqpError> {
        const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
        let Self { queue, vhost, .. } = self;
        match self.arguments.get(DEAD_LETTER_EXCHANGE.as_bytes()) {
            None | Some(FieldValue::LongString(_)) => Ok(()),
            Some(other) => Err(self.refused(format!(
                "invalid type '{}' for arg '{DEAD_LETTER_EXCHANGE}' in queue '{queue}' in vhost '{vhost}'",
                type_name(other)
            ))),
        }
    }

    /// # Errors
    /// 406 for a type that there is not.
    pub fn kind(&self) -> Result<QueueKind, AmqpError> {
        if let Some(kind) = kind_of(self.arguments) {
            return Ok(kind);
        }
        let value = self.arguments.get(QUEUE_TYPE.as_bytes()).expect("without one a queue is classic");
        Err(match self.text(QUEUE_TYPE, value)? {
            b"stream" => unsupported_type("stream", self.queue, self.vhost),
            other => {
                let reason = format!("\"unsupported queue type '{}'\"", String::from_utf8_lossy(other));
                self.invalid(QUEUE_TYPE, reason)
            }
        })
    }

    /// # Errors
    /// 406 for the first argument that only queues of other kinds have.
    pub fn names(&self, kind: QueueKind) -> Result<(), AmqpError> {
        let Self { arguments, queue, vhost } = self;
        let is_of_others =
            |name: &[u8]| KNOWN.iter().any(|known| known.name.as_bytes() == name && !known.kinds.contains(&kind));
        match arguments.0.iter().find(|(name, _)| is_of_others(name)) {
            None => Ok(()),
            Some((argument, _)) => Err(self.refused(format!(
                "invalid arg '{argument}' for queue '{queue}' in vhost '{vhost}' of queue type {}",
                kind.module()
            ))),
        }
    }

    /// # Errors
    /// 406 for what RabbitMQ gives a meaning from 4.4 on, and this version does not.
    pub fn unsupported(&self) -> Result<(), AmqpError> {
        const UNSUPPORTED: &str = "x-name-prefix";
        let Self { arguments, queue, vhost } = self;
        match arguments.get(UNSUPPORTED.as_bytes()) {
            None => Ok(()),
            Some(_) => Err(self.refused(format!(
                "arg '{UNSUPPORTED}' for queue '{queue}' in vhost '{vhost}' is not supported by this version"
            ))),
        }
    }

    /// # Errors
    /// 406 for what the value may not be.
    pub fn value(&self, argument: &str, rule: Rule, value: &FieldValue) -> Result<(), AmqpError> {
        match rule {
            Rule::Anything => {}
            Rule::Text => drop(self.text(argument, value)?),
            Rule::DeadLetterRoutingKey => {
                self.text(argument, value)?;
                if self.arguments.get(b"x-dead-letter-exchange").is_none() {
                    return Err(self.invalid(argument, "routing_key_but_no_dlx_defined"));
                }
            }
            Rule::OneOf(names, otherwise) => {
                let text = self.text(argument, value)?;
                if !names.iter().any(|name| name.as_bytes() == text) {
                    return Err(self.invalid(argument, otherwise));
                }
            }
            Rule::Boolean if matches!(value, FieldValue::Boolean(_)) => {}
            Rule::Boolean => return Err(self.unacceptable_type(argument, value)),
            Rule::NotNegative => drop(self.number(argument, 0, value)?),
            Rule::Positive => drop(self.number(argument, 1, value)?),
            Rule::Expiry { minimum } => {
                let number = self.number(argument, minimum, value)?;
                if number > EXPIRY_MAX_MS {
                    return Err(self.invalid(argument, format!("{{value_too_large,{number}}}")));
                }
            }
            Rule::Priority => {
                let number = self.number(argument, 0, value)?;
                if number > u64::from(u8::MAX) {
                    return Err(self.invalid(argument, format!("{{max_value_exceeded,{number}}}")));
                }
            }
            Rule::Mode => match self.text(argument, value)? {
                b"default" | b"lazy" => {}
                other => {
                    let reason = format!("\"unsupported queue mode '{}'\"", String::from_utf8_lossy(other));
                    return Err(self.invalid(argument, reason));
                }
            },
            Rule::Version => match self.number(argument, 0, value)? {
                1 | 2 => {}
                other => return Err(self.invalid(argument, format!("\"unsupported queue version '{other}'\""))),
            },
        }
        Ok(())
    }

    fn number(&self, argument: &str, minimum: u64, value: &FieldValue) -> Result<u64, AmqpError> {
        let number = integer(value)
            .ok_or_else(|| self.invalid(argument, format!("\"expected integer, got {}\"", type_name(value))))?;
        match u64::try_from(number) {
            Err(_) => Err(self.invalid(argument, format!("{{value_negative,{number}}}"))),
            Ok(number) if number < minimum => Err(self.invalid(argument, format!("{{value_zero,{number}}}"))),
            Ok(number) => Ok(number),
        }
    }

    fn text<'a>(&self, argument: &str, value: &'a FieldValue) -> Result<&'a [u8], AmqpError> {
        match value {
            FieldValue::LongString(text) => Ok(text),
            other => Err(self.unacceptable_type(argument, other)),
        }
    }

    fn unacceptable_type(&self, argument: &str, value: &FieldValue) -> AmqpError {
        self.invalid(argument, format!("{{unacceptable_type,{}}}", type_name(value)))
    }
}

/// The value of an argument that is a number of one byte.
pub(super) fn octet(arguments: &FieldTable, name: &str) -> Option<u8> {
    u8::try_from(integer(arguments.get(name.as_bytes())?)?).ok()
}
