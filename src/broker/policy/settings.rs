//! The keys of a policy's definition: what each may be, who may set it, which kinds of queue have it, and what a policy and
//! an operator policy make of it together.
//!
//! Keys that say on which nodes a queue is, or how it is kept, are looked at and taken, as its arguments are: here there is
//! one node, and one way.

use super::{PolicyKind, Thing};
use crate::broker::equivalence::{binary_term, integer};
use crate::broker::queue::{DEDUPLICATION, QueueKind, Wishes};
use crate::protocol::{FieldTable, FieldValue, ShortString};

/// RabbitMQ's longest segment of a stream, in bytes.
const SEGMENT_BYTES_MAX: i64 = 3_000_000_000;

/// What a value may be.
enum Is {
    Text,
    Integer,
    /// An integer from here on.
    AtLeast(i64),
    /// An integer from here to there.
    Within(i64, i64),
    OneOf(&'static [&'static str]),
    /// A number and a unit of time.
    Age,
    Boolean,
    /// What depends on other keys, and is looked at together.
    Mirrored,
}

struct Setting {
    key: &'static str,
    is: Is,
    /// What is said of any other value, behind the value.
    otherwise: &'static str,
    /// An operator may set it, too.
    for_operators: bool,
    /// A policy with it applies to no queue of these kinds.
    not_for: &'static [QueueKind],
}

const CLASSIC: &[QueueKind] = &[QueueKind::Classic];
const QUORUM: &[QueueKind] = &[QueueKind::Quorum];
const BOTH: &[QueueKind] = &[QueueKind::Classic, QueueKind::Quorum];

const fn of_users(key: &'static str, is: Is, otherwise: &'static str, not_for: &'static [QueueKind]) -> Setting {
    Setting { key, is, otherwise, for_operators: false, not_for }
}

const fn of_all(key: &'static str, is: Is, otherwise: &'static str, not_for: &'static [QueueKind]) -> Setting {
    Setting { key, is, otherwise, for_operators: true, not_for }
}

const LOCATORS: &[&str] = &["client-local", "balanced", "random", "least-leaders"];
const MASTER_LOCATORS: &[&str] = &["client-local", "min-masters", "random"];
const OVERFLOWS: &[&str] = &["drop-head", "reject-publish", "reject-publish-dlx"];
const RETRY_DELAYS: &[&str] = &["all", "failed", "returned", "disabled"];

const SETTINGS: [Setting; 36] = [
    of_users("alternate-exchange", Is::Text, "is not a valid alternate exchange name", &[]),
    of_users("consumer-disconnected-timeout", Is::AtLeast(0), "is not a valid consumer disconnected timeout", &[]),
    of_users("consumer-timeout", Is::AtLeast(0), "is not a valid consumer timeout", &[]),
    of_users("dead-letter-exchange", Is::Text, "is not a valid dead letter exchange name", &[]),
    of_users("dead-letter-routing-key", Is::Text, "is not a valid dead letter routing key", &[]),
    of_users(
        "dead-letter-strategy",
        Is::OneOf(&["at-most-once", "at-least-once"]),
        "is not a valid dead letter strategy",
        CLASSIC,
    ),
    of_all(
        "delayed-retry-max",
        Is::AtLeast(1),
        "is not a valid delayed retry maximum delay. Must be a positive integer",
        &[],
    ),
    of_all(
        "delayed-retry-min",
        Is::AtLeast(1),
        "is not a valid delayed retry minimum delay. Must be a positive integer",
        &[],
    ),
    of_all(
        "delayed-retry-type",
        Is::OneOf(RETRY_DELAYS),
        "is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
        &[],
    ),
    of_all("delivery-limit", Is::Integer, "is not a valid delivery limit", CLASSIC),
    of_all("expires", Is::AtLeast(1), "is not a valid queue expiry", &[]),
    of_all("ha-mode", Is::Mirrored, "", QUORUM),
    of_all("ha-params", Is::Mirrored, "", QUORUM),
    of_users("ha-promote-on-failure", Is::Mirrored, "", QUORUM),
    of_users("ha-promote-on-shutdown", Is::Mirrored, "", QUORUM),
    of_users("ha-sync-batch-size", Is::Mirrored, "", &[]),
    of_all("ha-sync-mode", Is::Mirrored, "", QUORUM),
    of_users("initial-cluster-size", Is::AtLeast(0), "is not a valid cluster size", BOTH),
    of_users("max-age", Is::Age, "is not a valid max age", BOTH),
    of_all("max-in-memory-bytes", Is::AtLeast(0), "is not a valid maximum memory in bytes", CLASSIC),
    of_all("max-in-memory-length", Is::AtLeast(0), "is not a valid maximum memory in bytes", CLASSIC),
    of_all("max-length", Is::AtLeast(0), "is not a valid maximum length", &[]),
    of_all("max-length-bytes", Is::AtLeast(0), "is not a valid maximum length in bytes", &[]),
    of_all("message-ttl", Is::AtLeast(0), "is not a valid message TTL", &[]),
    of_all("overflow", Is::OneOf(OVERFLOWS), "is not a valid overflow value", &[]),
    of_users("queue-leader-locator", Is::OneOf(LOCATORS), "is not a valid queue leader locator value", &[]),
    of_users("queue-master-locator", Is::OneOf(MASTER_LOCATORS), "invalid queue-master-locator value", QUORUM),
    of_users("queue-mode", Is::OneOf(&["default", "lazy"]), "is not a valid queue-mode value", QUORUM),
    of_all("queue-version", Is::Within(1, 2), "is not a valid queue-version value", &[]),
    of_users("stream-filter-size-bytes", Is::Within(16, 255), "is not a valid filter size. Valid range is 16-255", &[]),
    of_users("stream-max-segment-size-bytes", Is::Within(0, SEGMENT_BYTES_MAX), "is not a valid segment size", BOTH),
    of_all("target-group-size", Is::AtLeast(1), "is not a valid qq target count value", CLASSIC),
    of_users("x-cache-persistence", Is::OneOf(&["disk", "memory"]), r#"must be either "disk" or "memory", got"#, &[]),
    of_users("x-cache-size", Is::AtLeast(1), "must be an integer greater than 0, got", &[]),
    of_users("x-cache-ttl", Is::AtLeast(1), "must be an integer greater than 0, got", &[]),
    of_users(DEDUPLICATION, Is::Boolean, "must be a boolean, got", &[]),
];

fn setting(key: &[u8]) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key.as_bytes() == key)
}

/// Whether things of that sort have all the keys of a definition.
pub(super) fn all_known_to(thing: Thing, definition: &FieldTable) -> bool {
    let Thing::Queue(kind) = thing else { return true };
    definition.0.iter().all(|(key, _)| setting(key).is_none_or(|setting| !setting.not_for.contains(&kind)))
}

/// # Errors
/// What is wrong with a definition: the first value that can't be, else all keys that there are not.
pub(super) fn check(kind: PolicyKind, definition: &FieldTable) -> Result<(), String> {
    let is_known = |key: &[u8]| setting(key).filter(|setting| setting.for_operators || kind == PolicyKind::User);
    for (key, value) in &definition.0 {
        if let Some(Setting { is, otherwise, .. }) = is_known(key)
            && !is.met_by(value)
        {
            let key = String::from_utf8_lossy(key);
            // The plugin whose keys these are says it the other way round.
            return Err(match key.starts_with("x-") {
                true => format!("\"{key}\" {otherwise} {}", term(value)),
                false => format!("{} {otherwise}", term(value)),
            });
        }
    }
    check_retries(definition)?;
    let unknown = definition.0.iter().filter(|(key, _)| is_known(key).is_none());
    let unknown: Vec<_> = unknown.map(|(key, value)| format!("{{{},{}}}", binary_term(key), term(value))).collect();
    if unknown.is_empty() {
        check_mirrors(definition)
    } else {
        Err(format!("[{}] are not recognised policy settings", unknown.join(",")))
    }
}

impl Is {
    fn met_by(&self, value: &FieldValue) -> bool {
        match self {
            Self::Text => text(value).is_some(),
            Self::Integer => integer(value).is_some(),
            Self::AtLeast(least) => integer(value).is_some_and(|number| number >= *least),
            Self::Within(least, most) => integer(value).is_some_and(|number| (*least..=*most).contains(&number)),
            Self::OneOf(names) => text(value).is_some_and(|text| names.iter().any(|name| name.as_bytes() == text)),
            Self::Age => text(value).is_some_and(is_age),
            Self::Boolean => matches!(value, FieldValue::Boolean(_)),
            Self::Mirrored => true,
        }
    }
}

fn text(value: &FieldValue) -> Option<&[u8]> {
    match value {
        FieldValue::LongString(text) => Some(text),
        _ => None,
    }
}

fn is_age(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    number.iter().any(|digit| *digit != b'0') && matches!(unit, b"Y" | b"M" | b"D" | b"h" | b"m" | b"s")
}

/// # Errors
/// Keys of delayed retries that make no sense together.
fn check_retries(definition: &FieldTable) -> Result<(), String> {
    let number = |key: &[u8]| definition.get(key).and_then(integer);
    let (min, max) = (number(b"delayed-retry-min"), number(b"delayed-retry-max"));
    let which = definition.get(b"delayed-retry-type").and_then(text).filter(|which| *which != b"disabled");
    match (which, min, max) {
        (Some(which), None, _) => {
            let which = String::from_utf8_lossy(which);
            Err(format!("delayed-retry-min is required when delayed-retry-type is {which}"))
        }
        (_, Some(min), Some(max)) if max < min => {
            Err(format!("delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})"))
        }
        _ => Ok(()),
    }
}

/// Mirrors of classic queues: RabbitMQ has them up to 3.13, and many set a policy for them.
///
/// # Errors
/// Keys that make no sense, or not together.
fn check_mirrors(definition: &FieldTable) -> Result<(), String> {
    let said = |key: &str| definition.get(key.as_bytes());
    let is_one_of = |key: &str, names: [&str; 2]| match said(key) {
        Some(value) if !text(value).is_some_and(|text| names.iter().any(|name| name.as_bytes() == text)) => {
            Err(format!("{key} must be \"{}\" or \"{}\", got {}", names[0], names[1], term(value)))
        }
        _ => Ok(()),
    };
    let Some(mode) = said("ha-mode") else {
        let is_of_mirrors = |(key, _): &(ShortString, FieldValue)| key.starts_with(b"ha-");
        return match definition.0.iter().any(is_of_mirrors) {
            true => {
                Err("ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown".to_owned())
            }
            false => Ok(()),
        };
    };
    match (text(mode), said("ha-params")) {
        (Some(b"all"), None) => {}
        (Some(b"all"), Some(_)) => return Err("ha-mode=\"all\" does not take parameters".to_owned()),
        (Some(b"exactly"), Some(number)) if integer(number).is_some_and(|number| number > 0) => {}
        (Some(b"exactly"), other) => {
            let given = other.map_or_else(|| "none".to_owned(), term);
            return Err(format!("ha-mode=\"exactly\" takes an integer, {given} given"));
        }
        (Some(b"nodes"), Some(FieldValue::Array(nodes))) => {
            if nodes.is_empty() {
                return Err("ha-mode=\"nodes\" list must be non-empty".to_owned());
            }
            let others: Vec<_> = nodes.iter().filter(|node| text(node).is_none()).map(term).collect();
            if !others.is_empty() {
                let others = others.join(",");
                return Err(format!("ha-mode=\"nodes\" takes a list of strings, [{others}] was not a string"));
            }
        }
        (Some(b"nodes"), other) => {
            let given = other.map_or_else(|| "none".to_owned(), term);
            return Err(format!("ha-mode=\"nodes\" takes a list, {given} given"));
        }
        _ => return Err(format!("{} is not a valid ha-mode value", term(mode))),
    }
    is_one_of("ha-sync-mode", ["manual", "automatic"])?;
    if let Some(size) = said("ha-sync-batch-size")
        && integer(size).is_none_or(|size| size <= 0)
    {
        return Err(format!("ha-sync-batch-size takes an integer greater than 0, {} given", term(size)));
    }
    is_one_of("ha-promote-on-shutdown", ["always", "when-synced"])?;
    is_one_of("ha-promote-on-failure", ["always", "when-synced"])
}

/// What a policy and an operator policy say together.
pub(super) fn merged(policy: &FieldTable, operator: &FieldTable) -> FieldTable {
    let together = Wishes::of(policy, "").under(&Wishes::of(operator, ""));
    let number = |number: Option<u64>| number.and_then(|number| i64::try_from(number).ok());
    let mut merged = policy.clone();
    for (key, theirs) in &operator.0 {
        let Some((_, ours)) = merged.0.iter_mut().find(|(ours, _)| ours == key) else {
            merged.0.push((key.clone(), theirs.clone()));
            continue;
        };
        let chosen = match &**key {
            b"message-ttl" => number(together.message_ttl_ms),
            b"expires" => number(together.expires_ms),
            b"max-length" => number(together.max_length),
            b"max-length-bytes" => number(together.max_length_bytes),
            b"delivery-limit" => together.delivery_limit,
            b"delayed-retry-min" => number(together.retry_delay_min_ms),
            b"delayed-retry-max" => number(together.retry_delay_max_ms),
            b"max-in-memory-length" | b"max-in-memory-bytes" => integer(ours).min(integer(theirs)),
            b"target-group-size" => integer(ours).max(integer(theirs)),
            _ => None,
        };
        *ours = chosen.map_or_else(|| theirs.clone(), FieldValue::I64);
    }
    merged.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    merged
}

/// A value of JSON in Erlang's writing, as RabbitMQ quotes what is wrong.
pub(super) fn term(value: &FieldValue) -> String {
    let listed = |terms: Vec<String>| terms.join(",");
    match value {
        FieldValue::LongString(text) => binary_term(text),
        FieldValue::Void => "null".to_owned(),
        FieldValue::Boolean(value) => value.to_string(),
        FieldValue::F64(value) => format!("{value:?}"),
        FieldValue::Array(values) => format!("[{}]", listed(values.iter().map(term).collect())),
        FieldValue::Table(table) => {
            let entry = |(key, value): &(ShortString, FieldValue)| format!("{} => {}", binary_term(key), term(value));
            format!("#{{{}}}", listed(table.0.iter().map(entry).collect()))
        }
        other => integer(other).map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    }
}
