//! Declaring and deleting exchanges: what they are declared as, and whether that is what they are.

use super::matcher::Matcher;
use super::router::{Exchange, Router};
use super::{ExchangeId, ExchangeKind};
use crate::broker::equivalence::{Subject, assert_same_argument, assert_same_attribute, invalid_argument_type};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// What an exchange is declared as, apart from its name.
#[derive(Clone, Copy, Debug)]
pub struct Declaration<'a> {
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: &'a FieldTable,
}

impl ExchangeKind {
    /// The type that a declaration names.
    ///
    /// # Errors
    /// 406 for what is no type.
    pub fn declared(name: &[u8]) -> Result<Self, AmqpError> {
        Self::from_name(name).ok_or_else(|| {
            let complaint = if name.is_empty() { "invalid" } else { "unknown" };
            let name = String::from_utf8_lossy(name);
            AmqpError::channel(ReplyCode::PreconditionFailed, format!("{complaint} exchange type '{name}'"))
        })
    }
}

/// The exchange that a declaration names for what matches no binding.
///
/// # Errors
/// 406 when it is no name.
pub fn alternate_exchange<'a>(arguments: &'a FieldTable, subject: Subject<'_>) -> Result<Option<&'a [u8]>, AmqpError> {
    match arguments.get(ALTERNATE_EXCHANGE.as_bytes()) {
        None => Ok(None),
        Some(FieldValue::LongString(alternate)) => Ok(Some(alternate)),
        Some(other) => Err(invalid_argument_type(subject, ALTERNATE_EXCHANGE, other)),
    }
}

impl Router {
    /// # Errors
    /// 406 when an exchange that is there is not what it is declared as.
    pub fn assert_equivalent(
        &self,
        id: ExchangeId,
        declaration: &Declaration<'_>,
        subject: Subject<'_>,
    ) -> Result<(), AmqpError> {
        let current = self.exchange(id);
        assert_same_attribute(subject, "type", declaration.kind, current.kind)?;
        assert_same_attribute(subject, "durable", declaration.durable, current.durable)?;
        assert_same_attribute(subject, "auto_delete", declaration.auto_delete, current.auto_delete)?;
        assert_same_attribute(subject, "internal", declaration.internal, current.internal)?;
        // The one argument that RabbitMQ compares.
        let alternate = |table: &'_ FieldTable| table.get(ALTERNATE_EXCHANGE.as_bytes()).cloned();
        let (received, current) = (alternate(declaration.arguments), alternate(&current.arguments));
        assert_same_argument(subject, ALTERNATE_EXCHANGE, received.as_ref(), current.as_ref())
    }

    /// Makes an exchange. There must be none of that name. `alternate` gets what no binding matches.
    pub fn add(
        &mut self,
        name: ShortString,
        declaration: &Declaration<'_>,
        alternate: Option<ShortString>,
    ) -> ExchangeId {
        let &Declaration { kind, durable, auto_delete, internal, arguments } = declaration;
        self.add_exchange(Exchange {
            name,
            kind,
            durable,
            auto_delete,
            internal,
            arguments: arguments.clone(),
            alternate,
            matcher: Matcher::new(kind),
            outgoing: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// Whether anything is bound to an exchange: what `if_unused` asks.
    pub fn has_bindings_from(&self, id: ExchangeId) -> bool {
        !self.exchange(id).outgoing.is_empty()
    }
}
