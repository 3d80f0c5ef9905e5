//! Queues with everything that may be asked of them, as chance will have it.

use crate::random::Random;
use crate::wire::{Table, Value};
use leveret::protocol::{FieldTable, FieldValue};

/// How much may be in a queue, for how long, and what happens to more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    pub length: Option<u64>,
    pub bytes: Option<u64>,
    pub overflow: &'static str,
    pub ttl_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { length: None, bytes: None, overflow: "drop-head", ttl_ms: None }
    }
}

impl Limits {
    /// With what a policy says as well.
    pub fn and(&self, policy: &Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            length: least(self.length, policy.length),
            bytes: least(self.bytes, policy.bytes),
            overflow: self.overflow,
            ttl_ms: least(self.ttl_ms, policy.ttl_ms),
        }
    }
}

/// How messages of a life die by themselves, in one queue: in which order several queues come to let something go after a
/// restart is nobody's promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dying {
    /// In the second one.
    Expires,
    /// In the first one.
    IsTooMuch,
}

/// What a policy says of one queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub queue: usize,
    pub limits: Limits,
}

impl Rule {
    /// On a queue whose messages may be too much, if there is one.
    pub fn random(dying: Dying, specs: &[Spec], random: &mut Random) -> Option<Self> {
        let may_drop = |index: &usize| specs[*index].dead_letters.is_none() || dying == Dying::IsTooMuch && *index == 0;
        let queues: Vec<usize> = (0..NAMES.len()).filter(may_drop).collect();
        let queue = (!queues.is_empty()).then(|| *random.pick(&queues))?;
        let length = random.percent(60).then(|| *random.pick(&[0, 2, 5]));
        let bytes = (length.is_none() || random.percent(30)).then(|| *random.pick(&[30, 100]));
        Some(Self { queue, limits: Limits { length, bytes, ..Limits::default() } })
    }

    pub fn pattern(&self) -> String {
        format!("^{}$", NAMES[self.queue])
    }

    pub fn definition(&self) -> FieldTable {
        let number = |name: &'static str, value: Option<u64>| Some((name.into(), FieldValue::I64(value? as i64)));
        let Limits { length, bytes, .. } = self.limits;
        FieldTable([number("max-length", length), number("max-length-bytes", bytes)].into_iter().flatten().collect())
    }
}

#[derive(Clone, Debug)]
pub struct Spec {
    pub name: &'static str,
    pub is_quorum: bool,
    pub limits: Limits,
    /// Exchange, and the key instead of the message's own.
    pub dead_letters: Option<(&'static str, Option<&'static str>)>,
    pub max_priority: Option<u8>,
    /// How often a message may come back.
    pub delivery_limit: Option<u64>,
}

pub const NAMES: [&str; 5] = ["q0", "q1", "q2", "q3", "q4"];

/// Queues in the order in which they are declared, and so are looked at.
pub const DECLARED: [usize; 5] = [0, 1, 3, 2, 4];

/// Names and types of exchanges, and the queues that are bound to them, in this order; the default one leads by name.
pub const EXCHANGES: [(&str, &str, Option<&[usize]>); 4] = [
    ("", "direct", None),
    ("fan", "fanout", Some(&[0, 1, 3])),
    ("dead", "fanout", Some(&[2, 4])),
    ("late", "x-delayed-message", Some(&[0, 2])),
];

impl Spec {
    pub fn random(index: usize, dying: Dying, random: &mut Random) -> Self {
        let name = NAMES[index];
        let ttl_ms = (dying == Dying::Expires && index == 1 && random.percent(60)).then(|| *random.pick(&[0, 5, 50]));
        let dead_letters = random.percent(70).then(|| {
            let exchange = *random.pick(&["", "", "fan", "dead"]);
            let key = random.percent(60).then(|| *random.pick(&NAMES));
            (exchange, key)
        });
        let max_priority = random.percent(25).then(|| *random.pick(&[1, 3, 255]));
        let is_limited = random.percent(50) && max_priority.is_none();
        let length = (is_limited && random.percent(70)).then(|| *random.pick(&[0, 1, 3, 6]));
        let bytes = (is_limited && random.percent(40)).then(|| *random.pick(&[0, 20, 60, 200]));
        let is_quorum = random.percent(30);
        let overflow = match is_quorum {
            true => "drop-head",
            false => *random.pick(&["drop-head", "drop-head", "reject-publish", "reject-publish-dlx"]),
        };
        let drops = overflow == "drop-head" && (length.is_some() || bytes.is_some());
        let dead_letters = dead_letters.filter(|_| !drops || dying == Dying::IsTooMuch && index == 0);
        let delivery_limit = is_quorum.then(|| *random.pick(&[0, 1, 2]));
        let limits = Limits { length, bytes, overflow, ttl_ms };
        let max_priority = max_priority.filter(|_| !is_quorum);
        Self { name, is_quorum, limits, dead_letters, max_priority, delivery_limit }
    }

    pub fn arguments(&self) -> Table {
        let number = |name, value: Option<u64>| value.map(|value| (name, Value::Number(value as i32)));
        let text = |name, value: Option<&'static str>| value.map(|value| (name, Value::Text(value)));
        let (exchange, key) = self.dead_letters.unzip();
        [
            text("x-queue-type", self.is_quorum.then_some("quorum")),
            number("x-max-length", self.limits.length),
            number("x-max-length-bytes", self.limits.bytes),
            text("x-overflow", (self.limits.overflow != "drop-head").then_some(self.limits.overflow)),
            number("x-message-ttl", self.limits.ttl_ms),
            text("x-dead-letter-exchange", exchange),
            text("x-dead-letter-routing-key", key.flatten()),
            number("x-max-priority", self.max_priority.map(u64::from)),
            number("x-delivery-limit", self.delivery_limit),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
