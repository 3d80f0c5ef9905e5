//! Declaring and deleting exchanges: the checks, in RabbitMQ's order and words.

use super::matcher::Matcher;
use super::router::{Exchange, Router, refuse_default_exchange};
use super::{ExchangeId, ExchangeKind};
use crate::broker::equivalence::{assert_same_argument, assert_same_attribute, invalid_argument_type};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
/// Only the broker's own exchanges have names like this.
const RESERVED_PREFIX: &[u8] = b"amq.";

/// What a declare came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Declared {
    pub id: ExchangeId,
    /// It was not there before.
    pub new: bool,
}

/// What a delete took away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deleted {
    /// False: there was no such exchange, which is fine.
    pub existed: bool,
    /// Auto-delete exchanges that lost their last binding with it. Replaying the delete deletes them again.
    pub auto_deleted: Vec<ShortString>,
}

impl Router {
    /// Declares an exchange: a new one, or one that is there already with the same attributes.
    pub fn declare(
        &mut self,
        name: &[u8],
        kind: &[u8],
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: &FieldTable,
    ) -> Result<Declared, AmqpError> {
        let kind = known_kind(kind)?;
        refuse_default_exchange(name)?;
        if let Some(id) = self.exchange(name) {
            let current = self.exchange_info(id);
            let subject = self.subject(name);
            assert_same_attribute(subject, "type", kind, current.kind)?;
            assert_same_attribute(subject, "durable", durable, current.durable)?;
            assert_same_attribute(subject, "auto_delete", auto_delete, current.auto_delete)?;
            assert_same_attribute(subject, "internal", internal, current.internal)?;
            // The one argument that RabbitMQ compares.
            let alternate = |table: &'_ FieldTable| table.get(ALTERNATE_EXCHANGE.as_bytes()).cloned();
            let (received, current) = (alternate(arguments), alternate(&current.arguments));
            assert_same_argument(subject, ALTERNATE_EXCHANGE, received.as_ref(), current.as_ref())?;
            return Ok(Declared { id, new: false });
        }
        self.refuse_reserved(name)?;
        let alternate = match arguments.get(ALTERNATE_EXCHANGE.as_bytes()) {
            None => None,
            // The default exchange routes what is published to it and nothing that reaches it on another way.
            Some(FieldValue::LongString(alternate)) if alternate.is_empty() => None,
            Some(FieldValue::LongString(alternate)) => Some(ShortString::truncated(alternate)),
            Some(other) => return Err(invalid_argument_type(self.subject(name), ALTERNATE_EXCHANGE, other)),
        };
        let id = self.add_exchange(Exchange {
            name: ShortString::truncated(name),
            kind,
            durable,
            auto_delete,
            internal,
            arguments: arguments.clone(),
            alternate,
            matcher: Matcher::new(kind),
            outgoing: Vec::new(),
            incoming: Vec::new(),
        });
        Ok(Declared { id, new: true })
    }

    /// Asks whether an exchange is there; its type and attributes do not matter.
    pub fn declare_passive(&self, name: &[u8]) -> Result<ExchangeId, AmqpError> {
        refuse_default_exchange(name)?;
        self.exchange(name).ok_or_else(|| self.no_exchange(name))
    }

    /// Deletes an exchange and every binding from it and to it. One that is missing is deleted already.
    pub fn delete(&mut self, name: &[u8], if_unused: bool) -> Result<Deleted, AmqpError> {
        refuse_default_exchange(name)?;
        if name.starts_with(RESERVED_PREFIX) {
            let explanation = format!("deletion of system {} not allowed", self.subject(name));
            return Err(AmqpError::channel(ReplyCode::AccessRefused, explanation));
        }
        let Some(id) = self.exchange(name) else {
            return Ok(Deleted::default());
        };
        if if_unused && !self.exchange_info(id).outgoing.is_empty() {
            let explanation = format!("{} in use", self.subject(name));
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
        }
        let auto_deleted = self.remove_exchange(id);
        Ok(Deleted { existed: true, auto_deleted })
    }

    fn refuse_reserved(&self, name: &[u8]) -> Result<(), AmqpError> {
        if !name.starts_with(RESERVED_PREFIX) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name);
        let explanation = format!("exchange name '{name}' contains reserved prefix 'amq.*'");
        Err(AmqpError::channel(ReplyCode::AccessRefused, explanation))
    }
}

fn known_kind(name: &[u8]) -> Result<ExchangeKind, AmqpError> {
    ExchangeKind::from_name(name).ok_or_else(|| {
        let complaint = if name.is_empty() { "invalid" } else { "unknown" };
        let name = String::from_utf8_lossy(name);
        AmqpError::channel(ReplyCode::PreconditionFailed, format!("{complaint} exchange type '{name}'"))
    })
}
