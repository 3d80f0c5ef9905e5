//! Declaring and deleting exchanges: what they are declared as, and whether that is what they are.

use super::matcher::Matcher;
use super::router::{Exchange, Router};
use super::{DEFAULT_EXCHANGE, Destination, ExchangeId, ExchangeKind, QueueId};
use crate::broker::ExchangeCounters;
use crate::broker::deduplication::{Bounds, SeenByExchange};
use crate::broker::equivalence::{
    Subject, assert_same_argument, assert_same_attribute, integer, invalid_argument_type, value_term,
};
use crate::broker::policy::Applied;
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// How an exchange that delays messages routes them.
const DELAYED_TYPE: &[u8] = b"x-delayed-type";

/// A type that RabbitMQ has for its JMS client alone.
const JMS_TOPIC: &[u8] = b"x-jms-topic";

const HISTORY_LENGTH: &[u8] = b"x-recent-history-length";
const HISTORY_LENGTH_DEFAULT: usize = 20;
/// Most messages that an exchange keeps, whatever it asks for: all of them go to a queue at once when that is bound.
const HISTORY_LENGTH_MAX: usize = 10_000;

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
            let text = String::from_utf8_lossy(name);
            refused(match name {
                b"" => "invalid exchange type ''".to_owned(),
                JMS_TOPIC => format!("exchange type '{text}' is not supported by this version"),
                _ => format!("unknown exchange type '{text}'"),
            })
        })
    }

    /// How an exchange of the type `x-delayed-message` routes what is due, by its arguments.
    ///
    /// # Errors
    /// 406 when they do not say so.
    pub(super) fn when_due(arguments: &FieldTable) -> Result<Self, AmqpError> {
        let name = match arguments.get(DELAYED_TYPE) {
            Some(FieldValue::LongString(name) | FieldValue::Bytes(name)) => name,
            _ => {
                let explanation = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
                return Err(refused(explanation.to_owned()));
            }
        };
        match Self::declared(name)? {
            Self::Delayed => {
                let explanation = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
                Err(refused(explanation.to_owned()))
            }
            kind => Ok(kind),
        }
    }

    /// Its name as Erlang writes it, which is how it stands in texts: in quotes when it is more than one word.
    fn term(self) -> String {
        let name = self.name();
        if name.contains('-') { format!("'{name}'") } else { name.to_owned() }
    }

    /// Whether an exchange of this type may have these arguments.
    ///
    /// # Errors
    /// 406.
    pub fn check_arguments(self, arguments: &FieldTable, subject: Subject<'_>) -> Result<(), AmqpError> {
        Matcher::new(self, arguments, subject).map(|_| ())
    }

    /// Whether something may be bound so to an exchange of this type that was declared with these arguments.
    ///
    /// # Errors
    /// 406.
    pub fn check_binding(
        self,
        declared_with: &FieldTable,
        to_queue: bool,
        routing_key: &[u8],
        arguments: &FieldTable,
        subject: Subject<'_>,
    ) -> Result<(), AmqpError> {
        // Only which of the two it is counts.
        let to = if to_queue { Destination::Queue(QueueId(0)) } else { Destination::Exchange(DEFAULT_EXCHANGE) };
        Matcher::new(self, declared_with, subject)?.compile(to, routing_key, arguments).map(|_| ())
    }
}

/// How many messages an exchange of the type `x-recent-history` keeps.
///
/// # Errors
/// 406 when it is no number of messages.
pub(super) fn history_length(arguments: &FieldTable) -> Result<usize, AmqpError> {
    let Some(value) = arguments.get(HISTORY_LENGTH) else { return Ok(HISTORY_LENGTH_DEFAULT) };
    let length = match value {
        FieldValue::I8(_) | FieldValue::I16(_) | FieldValue::I32(_) | FieldValue::I64(_) => integer(value),
        _ => None,
    };
    match length {
        Some(length @ 1..) => Ok(usize::try_from(length).unwrap_or(usize::MAX).min(HISTORY_LENGTH_MAX)),
        _ => {
            let value = value_term(value);
            Err(refused(format!("Invalid argument {value}, 'x-recent-history-length' must be a positive integer")))
        }
    }
}

/// What an exchange of the type `x-message-deduplication` remembers.
///
/// # Errors
/// 406 in the plugin's words.
pub(super) fn deduplication_cache(arguments: &FieldTable) -> Result<SeenByExchange, AmqpError> {
    let positive = |name: &str| match arguments.get(name.as_bytes()) {
        None => Ok(None),
        Some(value) => positive_number(value).map(Some).ok_or(()),
    };
    let Ok(Some(size)) = positive("x-cache-size") else {
        let text = "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0";
        return Err(refused(text.to_owned()));
    };
    let Ok(ttl_ms) = positive("x-cache-ttl") else {
        return Err(refused("Invalid argument, 'x-cache-ttl' must be an integer greater than 0".to_owned()));
    };
    let bounds = Bounds { size, ttl_ms };
    let is_on_disk = match arguments.get(b"x-cache-persistence") {
        None => false,
        Some(FieldValue::LongString(text)) if &**text == b"memory" => false,
        Some(FieldValue::LongString(text)) if &**text == b"disk" => true,
        Some(_) => {
            let text = "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'";
            return Err(refused(text.to_owned()));
        }
    };
    Ok(SeenByExchange::new(bounds, is_on_disk))
}

/// Above 0, as a number or as its text.
fn positive_number(value: &FieldValue) -> Option<u64> {
    let number = match value {
        FieldValue::LongString(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        value => u64::try_from(integer(value)?).ok()?,
    };
    (number > 0).then_some(number)
}

fn refused(explanation: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
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
        assert_same_attribute(subject, "type", declaration.kind.term(), current.kind.term())?;
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
        let subject = Subject { kind: "exchange", name: &name, vhost: b"" };
        let matcher = Matcher::new(kind, arguments, subject).expect("arguments are checked before");
        if let Some(cache) = matcher.cache() {
            cache.allow(self.allowance.clone(), durable);
        }
        self.add_exchange(Exchange {
            name,
            kind,
            durable,
            auto_delete,
            internal,
            arguments: arguments.clone(),
            alternate,
            policies: Applied::default(),
            matcher,
            serial: 0,
            counters: ExchangeCounters::default(),
            leaves_with: None,
            outgoing: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// Other policies apply to an exchange. Where its declaration names none, one of them may name an alternate exchange. What
    /// they say of what it remembers goes before its arguments.
    pub fn apply_policies(&mut self, id: ExchangeId, policies: Applied) {
        let exchange = &mut self.exchanges[id.0 as usize];
        if exchange.arguments.get(ALTERNATE_EXCHANGE.as_bytes()).is_none()
            && exchange.alternate.as_ref() != policies.alternate_exchange()
        {
            exchange.alternate = policies.alternate_exchange().cloned();
            self.generation += 1;
        }
        if let Some(cache) = exchange.matcher.cache() {
            cache.bound(policies.remembered());
        }
        exchange.policies = policies;
    }

    /// Whether anything is bound to an exchange: what `if_unused` asks.
    pub fn has_bindings_from(&self, id: ExchangeId) -> bool {
        !self.exchange(id).outgoing.is_empty()
    }
}
