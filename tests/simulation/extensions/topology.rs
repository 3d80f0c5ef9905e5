//! Queues with everything that may be asked of them, as chance will have it.

use crate::random::Random;
use crate::wire::{Table, Value};
use leveret::protocol::{FieldTable, FieldValue};

/// What is asked of a queue, by its arguments or by a policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    pub length: Option<u64>,
    pub bytes: Option<u64>,
    pub overflow: Option<&'static str>,
    pub ttl_ms: Option<u64>,
    pub dead_letter_exchange: Option<&'static str>,
    /// Instead of the message's own.
    pub dead_letter_key: Option<&'static str>,
    /// How often a message may come back; below zero: as often as it likes.
    pub delivery_limit: Option<i64>,
}

impl Wishes {
    /// The arguments that say so.
    fn arguments(&self) -> Table {
        let number = |name, value: Option<i64>| value.map(|value| (name, Value::Number(value as i32)));
        let count = |name, value: Option<u64>| number(name, value.map(|value| value as i64));
        let text = |name, value: Option<&'static str>| value.map(|value| (name, Value::Text(value)));
        [
            count("x-max-length", self.length),
            count("x-max-length-bytes", self.bytes),
            text("x-overflow", self.overflow),
            count("x-message-ttl", self.ttl_ms),
            text("x-dead-letter-exchange", self.dead_letter_exchange),
            text("x-dead-letter-routing-key", self.dead_letter_key),
            number("x-delivery-limit", self.delivery_limit),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The definition of a policy that says so.
    pub fn definition(&self) -> FieldTable {
        let mut entries: Vec<_> = self
            .arguments()
            .into_iter()
            .map(|(name, value)| {
                let name = name.strip_prefix("x-").expect("arguments are called so");
                let value = match value {
                    Value::Number(number) => FieldValue::I64(number.into()),
                    Value::Text(text) => FieldValue::LongString(text.as_bytes().into()),
                    _ => unreachable!("wishes are numbers and texts"),
                };
                (name, value)
            })
            .collect();
        entries.sort_by_key(|(name, _)| *name);
        FieldTable(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// What a queue does with its messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behaviour {
    pub length: Option<u64>,
    pub bytes: Option<u64>,
    pub overflow: &'static str,
    pub ttl_ms: Option<u64>,
    /// Exchange, and the key instead of the message's own.
    pub dead_letters: Option<(&'static str, Option<&'static str>)>,
    /// Its dead letters stay its own until somebody has them.
    pub is_sure: bool,
    pub delivery_limit: Option<u64>,
}

impl Behaviour {
    /// Arguments, the policy and the operator policy together.
    pub fn of(spec: &Spec, policy: &Wishes, operator: &Wishes) -> Self {
        let Wishes { overflow, dead_letter_exchange, dead_letter_key, .. } = spec.asks;
        let least = |of: fn(&Wishes) -> Option<u64>| [&spec.asks, policy, operator].into_iter().filter_map(of).min();
        let by_policy = operator.overflow.or(policy.overflow);
        let overflow = if spec.is_quorum { by_policy.or(overflow) } else { overflow.or(by_policy) };
        let overflow = overflow.filter(|overflow| !spec.is_quorum || *overflow == "reject-publish");
        let exchange = dead_letter_exchange.or(policy.dead_letter_exchange);
        let key = dead_letter_key.or(policy.dead_letter_key);
        let said = [policy, operator, &spec.asks].map(|wishes| wishes.delivery_limit).into_iter().flatten();
        // One that there is, where another one is none.
        let limit = said.clone().filter(|limit| *limit >= 0).min().or(said.clone().next());
        Self {
            length: least(|wishes| wishes.length),
            bytes: least(|wishes| wishes.bytes),
            overflow: overflow.unwrap_or("drop-head"),
            ttl_ms: least(|wishes| wishes.ttl_ms),
            dead_letters: exchange.map(|exchange| (exchange, key)),
            is_sure: spec.wants_at_least_once && exchange.is_some() && overflow == Some("reject-publish"),
            delivery_limit: limit.and_then(|limit| u64::try_from(limit).ok()).filter(|_| spec.is_quorum),
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
    pub wishes: Wishes,
}

impl Rule {
    /// What an operator, or another one, may say.
    pub fn random(is_operator: bool, dying: Dying, specs: &[Spec], random: &mut Random) -> Option<Self> {
        let queue = random.below(specs.len());
        let spec = &specs[queue];
        let mut wishes = Wishes::default();
        if spec.drops || spec.asks.overflow.is_some() {
            wishes.length = random.percent(50).then(|| *random.pick(&[0, 2, 5]));
            wishes.bytes = random.percent(30).then(|| *random.pick(&[30, 100]));
        }
        if spec.drops && random.percent(25) {
            wishes.overflow = Some(*random.pick(&["reject-publish", "drop-head"]));
        }
        if spec.may_have_letters(queue, dying) && !is_operator {
            wishes.dead_letter_exchange = random.percent(40).then(|| *random.pick(&["", "fan", "dead", "once"]));
            wishes.dead_letter_key = random.percent(40).then(|| *random.pick(&KEYS));
        }
        if spec.is_quorum {
            wishes.delivery_limit = random.percent(40).then(|| *random.pick(&[-1, 0, 1, 3]));
        }
        if spec.may_expire(queue, dying) {
            wishes.ttl_ms = random.percent(40).then(|| *random.pick(&[0, 5, 50]));
        }
        (wishes != Wishes::default()).then_some(Self { queue, wishes })
    }

    pub fn pattern(&self) -> String {
        format!("^{}$", NAMES[self.queue])
    }
}

#[derive(Clone, Debug)]
pub struct Spec {
    pub name: &'static str,
    pub is_quorum: bool,
    pub asks: Wishes,
    /// What is too much may be dropped there.
    drops: bool,
    pub max_priority: Option<u8>,
    pub has_single_active: bool,
    pub deduplicates: bool,
    wants_at_least_once: bool,
    /// How long what comes back waits, and at most, when it does so more often.
    pub retry_ms: Option<(u64, u64)>,
    /// How long it may be unused.
    pub expires_ms: Option<u64>,
}

pub const NAMES: [&str; 5] = ["q0", "q1", "q2", "q3", "q4"];
/// Routing keys of dead letters: not all of them lead somewhere.
const KEYS: [&str; 6] = ["q0", "q1", "q2", "q3", "q4", "nowhere"];

/// The one whose consumers may be without acknowledgements: in which order several queues give away what the log then
/// forgets is nobody's promise.
pub const GIVES_FOR_GOOD: usize = 3;

impl Spec {
    pub fn random(index: usize, dying: Dying, random: &mut Random) -> Self {
        let is_quorum = random.percent(35);
        let is_limited = random.percent(50);
        let may_refuse: &[_] = if is_quorum { &["reject-publish"] } else { &["reject-publish", "reject-publish-dlx"] };
        let overflow = random.percent(50).then(|| *random.pick(may_refuse));
        let max_priority = (!is_quorum && random.percent(25)).then(|| *random.pick(&[1, 3, 255]));
        let mut spec = Self {
            name: NAMES[index],
            is_quorum,
            asks: Wishes { overflow, ..Wishes::default() },
            drops: is_limited && overflow.is_none(),
            max_priority,
            has_single_active: random.percent(40),
            // Of two with one value on several levels, nobody says which is remembered after a restart.
            deduplicates: !is_quorum && max_priority.is_none() && random.percent(30),
            wants_at_least_once: is_quorum && random.percent(60),
            // In which order queues drop what is ready again is nobody's promise.
            retry_ms: (is_quorum && !(is_limited && overflow.is_none()) && random.percent(40))
                .then(|| *random.pick(&[(5, 5), (4, 9), (900, 1000)])),
            // Whether a queue or a message of another one goes first when both are over is nobody's promise.
            expires_ms: (dying == Dying::IsTooMuch && index == 4 && random.percent(50))
                .then(|| *random.pick(&[50, 1000])),
        };
        let asks = &mut spec.asks;
        if is_limited {
            asks.length = random.percent(70).then(|| *random.pick(&[0, 1, 3, 6]));
            asks.bytes = random.percent(40).then(|| *random.pick(&[0, 20, 60, 200]));
        }
        if is_quorum {
            asks.delivery_limit = random.percent(80).then(|| *random.pick(&[-1, 0, 1, 2]));
        }
        if spec.may_have_letters(index, dying) && random.percent(75) {
            spec.asks.dead_letter_exchange = Some(*random.pick(&["", "", "fan", "dead", "once"]));
            spec.asks.dead_letter_key = random.percent(60).then(|| *random.pick(&KEYS));
        }
        if spec.may_expire(index, dying) && random.percent(60) {
            spec.asks.ttl_ms = Some(*random.pick(&[0, 5, 50]));
        }
        spec
    }

    /// What dies by itself in a life dies in one queue.
    fn may_have_letters(&self, index: usize, dying: Dying) -> bool {
        !self.drops || dying == Dying::IsTooMuch && index == 0
    }

    fn may_expire(&self, index: usize, dying: Dying) -> bool {
        dying == Dying::Expires && index == 1
    }

    /// Whether `basic.get` is for it.
    pub fn gives(&self) -> bool {
        !self.is_quorum || !self.has_single_active
    }

    pub fn arguments(&self) -> Table {
        let flag = |name, is: bool| is.then_some((name, Value::Flag(true)));
        let mut arguments = self.asks.arguments();
        let more = [
            self.is_quorum.then_some(("x-queue-type", Value::Text("quorum"))),
            self.max_priority.map(|most| ("x-max-priority", Value::Number(most.into()))),
            flag("x-single-active-consumer", self.has_single_active),
            flag("x-message-deduplication", self.deduplicates),
            self.expires_ms.map(|expires_ms| ("x-expires", Value::Number(expires_ms as i32))),
            self.wants_at_least_once.then_some(("x-dead-letter-strategy", Value::Text("at-least-once"))),
        ];
        let retries = self.retry_ms.into_iter().flat_map(|(min_ms, max_ms)| {
            let number = |name, ms: u64| (name, Value::Number(ms as i32));
            let all = ("x-delayed-retry-type", Value::Text("all"));
            [all, number("x-delayed-retry-min", min_ms), number("x-delayed-retry-max", max_ms)]
        });
        arguments.extend(retries);
        arguments.extend(more.into_iter().flatten());
        arguments
    }
}
