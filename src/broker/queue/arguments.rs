//! The `x-` arguments of `queue.declare`: what they may be, with RabbitMQ's words for what they may not.
//!
//! Unknown arguments are kept and ignored, as RabbitMQ does. Those that ask how a queue is kept or on which node, like
//! `x-queue-mode` and `x-queue-leader-locator`, are looked at and taken: here there is one way and one node. What is known to
//! queues of another kind only is refused.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | which arguments each kind of queue has, and in which order they are looked at |
//! | `check` | what a value may be |

mod check;

use super::body::Levels;
use super::wishes::{QueueKind, Wishes};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};
use check::{Check, Rule};

pub use check::EXPIRY_MAX_MS;

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

impl QueueArguments {
    /// The levels of priority of a queue's messages. A highest priority of 0 is taken for 1, as RabbitMQ does since 3.11;
    /// a queue of type quorum that asks for none has those of RabbitMQ 4.3.
    pub fn levels(&self) -> Levels {
        match (self.max_priority, self.kind) {
            (Some(highest), _) => Levels { top: highest.max(1), unsaid: 0 },
            (None, QueueKind::Classic) => Levels::default(),
            (None, QueueKind::Quorum) => Levels { top: 31, unsaid: 4 },
        }
    }
}

/// The name of the argument that says of which kind a queue is.
pub const QUEUE_TYPE: &str = "x-queue-type";

/// An argument that RabbitMQ knows.
struct Known {
    name: &'static str,
    rule: Rule,
    /// Which kinds of queue have it. Streams have the rest.
    kinds: &'static [QueueKind],
}

const BOTH: &[QueueKind] = &[QueueKind::Classic, QueueKind::Quorum];
const CLASSIC: &[QueueKind] = &[QueueKind::Classic];
const QUORUM: &[QueueKind] = &[QueueKind::Quorum];
const NEITHER: &[QueueKind] = &[];

const fn known(name: &'static str, rule: Rule, kinds: &'static [QueueKind]) -> Known {
    Known { name, rule, kinds }
}

/// In the order in which RabbitMQ looks at them. A quorum queue's priorities are asked for as a classic one's are, where
/// RabbitMQ refuses to be asked.
const KNOWN: [Known; 29] = [
    known("x-expires", Rule::Expiry { minimum: 1 }, BOTH),
    known("x-message-ttl", Rule::Expiry { minimum: 0 }, BOTH),
    known("x-dead-letter-exchange", Rule::Text, BOTH),
    known("x-dead-letter-routing-key", Rule::DeadLetterRoutingKey, BOTH),
    known("x-dead-letter-strategy", Rule::OneOf(&["at-most-once", "at-least-once"], "invalid_dlx_strategy"), QUORUM),
    known("x-max-length", Rule::NotNegative, BOTH),
    known("x-max-length-bytes", Rule::NotNegative, BOTH),
    known("x-max-in-memory-length", Rule::NotNegative, QUORUM),
    known("x-max-in-memory-bytes", Rule::NotNegative, QUORUM),
    known("x-max-priority", Rule::Priority, BOTH),
    known("x-overflow", Rule::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"], "invalid_overflow"), BOTH),
    known("x-queue-mode", Rule::Mode, CLASSIC),
    known("x-queue-version", Rule::Version, CLASSIC),
    known("x-consumer-timeout", Rule::NotNegative, BOTH),
    known("x-consumer-disconnected-timeout", Rule::NotNegative, QUORUM),
    known("x-single-active-consumer", Rule::Boolean, BOTH),
    known("x-quorum-initial-group-size", Rule::Positive, QUORUM),
    known(
        "x-queue-leader-locator",
        Rule::OneOf(&["client-local", "balanced", "random", "least-leaders"], "invalid_queue_locator_arg"),
        BOTH,
    ),
    known("x-queue-master-locator", Rule::Anything, CLASSIC),
    known("x-delivery-limit", Rule::Anything, QUORUM),
    known("x-delayed-retry-type", Rule::Anything, QUORUM),
    known("x-delayed-retry-min", Rule::Anything, QUORUM),
    known("x-delayed-retry-max", Rule::Anything, QUORUM),
    known(QUEUE_TYPE, Rule::Anything, BOTH),
    known("x-max-age", Rule::Anything, NEITHER),
    known("x-stream-max-segment-size-bytes", Rule::Anything, NEITHER),
    known("x-stream-filter-size-bytes", Rule::Anything, NEITHER),
    known("x-initial-cluster-size", Rule::Anything, NEITHER),
    known("x-member-placement-tag", Rule::Text, QUORUM),
];

/// Arguments whose difference makes a redeclaration inequivalent, in the order in which they are compared; all others are
/// not.
pub fn compared(kind: QueueKind) -> &'static [&'static str] {
    const CLASSIC: [&str; 13] = [
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        QUEUE_TYPE,
        "x-queue-master-locator",
    ];
    const QUORUM: [&str; 21] = [
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        QUEUE_TYPE,
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
        "x-consumer-disconnected-timeout",
        "x-consumer-timeout",
        "x-delayed-retry-type",
        "x-delayed-retry-min",
        "x-delayed-retry-max",
        "x-max-priority",
    ];
    match kind {
        QueueKind::Classic => &CLASSIC,
        QueueKind::Quorum => &QUORUM,
    }
}

/// Reads the arguments of a queue's declaration.
///
/// # Errors
/// 406.
pub fn parse(arguments: &FieldTable, queue: &str, vhost: &str) -> Result<QueueArguments, AmqpError> {
    // Most have none.
    if arguments.is_empty() {
        return Ok(QueueArguments::default());
    }
    let check = Check { arguments, queue, vhost };
    check.dead_letter_exchange()?;
    let kind = check.kind()?;
    for Known { name, rule, kinds } in &KNOWN {
        if kinds.contains(&kind)
            && let Some(value) = arguments.get(name.as_bytes())
        {
            check.value(name, *rule, value)?;
        }
    }
    check.names(kind)?;
    check.unsupported()?;
    Ok(meant(kind, arguments))
}

/// Reads the arguments of a queue that is there already, as far as this version takes them; and what it would say to a
/// client who asked for the others.
pub fn understood(arguments: &FieldTable, queue: &ShortString, vhost: &str) -> (QueueArguments, Option<AmqpError>) {
    if arguments.is_empty() {
        return (QueueArguments::default(), None);
    }
    match parse(arguments, &queue.to_string(), vhost) {
        Ok(settings) => (settings, None),
        Err(refusal) => (meant(kind_of(arguments).unwrap_or_default(), arguments), Some(refusal)),
    }
}

/// What arguments say that are well-formed. What is not says nothing.
fn meant(kind: QueueKind, arguments: &FieldTable) -> QueueArguments {
    let is_true = |name: &str| matches!(arguments.get(name.as_bytes()), Some(FieldValue::Boolean(true)));
    QueueArguments {
        kind,
        wishes: Wishes::of(arguments, "x-"),
        max_priority: check::octet(arguments, "x-max-priority"),
        single_active_consumer: is_true("x-single-active-consumer"),
    }
}

/// The kind of queue that arguments ask for; `None` where they ask for none that there is.
fn kind_of(arguments: &FieldTable) -> Option<QueueKind> {
    match arguments.get(QUEUE_TYPE.as_bytes()) {
        None => Some(QueueKind::Classic),
        Some(FieldValue::LongString(name)) => QueueKind::from_name(name),
        Some(_) => None,
    }
}

/// What is said of a queue that would be of a type that there is none of here.
fn unsupported_type(kind: &str, queue: &str, vhost: &str) -> AmqpError {
    let explanation =
        format!("queue type '{kind}' of queue '{queue}' in vhost '{vhost}' is not supported by this version");
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

/// A queue that doesn't say of which type it is gets the default, and says so from then on. As with RabbitMQ it is classic
/// where it could not be of that type: transient, exclusive or deleted by itself.
pub fn add_default_type(
    arguments: &mut FieldTable,
    default: &str,
    (durable, exclusive, auto_delete): (bool, bool, bool),
) {
    if arguments.get(QUEUE_TYPE.as_bytes()).is_none() {
        let is_possible = durable && !exclusive && !auto_delete;
        let name = if is_possible { default } else { QueueKind::Classic.name() };
        arguments.0.push((QUEUE_TYPE.into(), FieldValue::LongString(name.as_bytes().into())));
    }
}

/// The broker makes up no names for queues that are to last.
///
/// # Errors
/// 406.
pub fn assert_may_be_nameless(arguments: &FieldTable) -> Result<(), AmqpError> {
    match kind_of(arguments) {
        Some(QueueKind::Classic) | None => Ok(()),
        Some(kind) => {
            let explanation = format!("Cannot declare a server-named queue for type {}", kind.module());
            Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation))
        }
    }
}

/// What else a queue is declared with that not every kind may have.
///
/// # Errors
/// 406.
pub fn assert_fits(
    kind: QueueKind,
    (durable, exclusive, auto_delete): (bool, bool, bool),
    queue: &str,
    vhost: &str,
) -> Result<(), AmqpError> {
    let wrong = match kind {
        QueueKind::Classic => return Ok(()),
        QueueKind::Quorum if auto_delete => "auto-delete",
        QueueKind::Quorum if exclusive => "exclusive-owner",
        QueueKind::Quorum if !durable => "non-durable",
        QueueKind::Quorum => return Ok(()),
    };
    let explanation = format!("invalid property '{wrong}' for queue '{queue}' in vhost '{vhost}'");
    Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::queue::Overflow;
    use crate::protocol::ShortString;

    fn table(entries: &[(&str, FieldValue)]) -> FieldTable {
        FieldTable(
            entries.iter().map(|(name, value)| (ShortString::truncated(name.as_bytes()), value.clone())).collect(),
        )
    }

    fn text(text: &str) -> FieldValue {
        FieldValue::LongString(text.as_bytes().into())
    }

    #[test]
    fn what_is_not_taken_says_nothing_and_the_rest_is_understood() {
        let arguments = table(&[
            (QUEUE_TYPE, text("quorum")),
            ("x-expires", FieldValue::I32(0)),
            ("x-max-length", FieldValue::I32(-1)),
            ("x-max-length-bytes", FieldValue::I64(7)),
            ("x-overflow", text("reject-publish")),
            ("x-delivery-limit", text("a")),
            ("x-max-priority", FieldValue::I32(256)),
        ]);
        let (understood, refusal) = understood(&arguments, &"q".into(), "/");
        let wishes = Wishes { max_length_bytes: Some(7), overflow: Some(Overflow::RejectPublish), ..Wishes::default() };
        assert_eq!(understood, QueueArguments { kind: QueueKind::Quorum, wishes, ..QueueArguments::default() });
        assert_eq!(refusal.unwrap().explanation, "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}");
    }

    #[test]
    fn every_argument_that_is_compared_is_known_to_its_kind() {
        for kind in *BOTH.first_chunk::<2>().unwrap() {
            for name in compared(kind) {
                let known = KNOWN.iter().find(|known| known.name == *name).expect("a known one");
                assert!(known.kinds.contains(&kind), "{name}");
            }
        }
    }
}
