//! What a queue does with its messages and with itself beyond keeping them.
//!
//! It is worked out from what was asked for by its arguments, by the policy and by the operator policy that apply to it,
//! here and nowhere else, and applied by `apply_behaviour` in `expiry`. Whoever is on the path of a message asks
//! [`is_plain`](Behaviour::is_plain) once and then, of a plain queue, nothing more.

use super::arguments::QueueArguments;
use super::delivery_limit::DeliveryLimit;
use super::wishes::{DeadLetterStrategy, Overflow, QueueKind, RetryDelays, Wishes, stricter_delivery_limit};
use crate::broker::message::NEVER;
use crate::broker::store::Returns;
use crate::protocol::ShortString;
use std::rc::Rc;

/// How much may be ready in a queue, and what happens to what is more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most ready messages.
    pub length: Option<u64>,
    /// Most bytes of the bodies of ready messages.
    pub bytes: Option<u64>,
    pub overflow: Overflow,
}

/// Where messages go that nobody took.
#[derive(PartialEq, Eq, Debug)]
pub struct DeadLettering {
    /// It is looked for when there is something for it.
    pub exchange: ShortString,
    /// Instead of the message's own.
    pub routing_key: Option<ShortString>,
    pub strategy: DeadLetterStrategy,
}

/// How long messages wait that came back, in milliseconds: the more often they did, the longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryDelay {
    /// Never [`Disabled`](RetryDelays::Disabled).
    pub which: RetryDelays,
    pub min_ms: u64,
    pub max_ms: u64,
}

impl RetryDelay {
    /// How long a message waits that came back so often; `None` when it does not, as it `failed` or as it did not.
    pub fn of(self, returns: Returns, failed: bool) -> Option<u64> {
        let waits = match self.which {
            RetryDelays::Disabled => false,
            RetryDelays::All => true,
            RetryDelays::Failed => failed,
            RetryDelays::Returned => !failed,
        };
        waits.then(|| self.min_ms.saturating_mul(u64::from(returns.times())).min(self.max_ms))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behaviour {
    is_plain: bool,
    is_plain_but_for_levels: bool,
    has_lanes: bool,
    /// It may not always deliver.
    may_pause: bool,
    /// Of a queue that [is held](Self::hold), or [tailed](Self::tail): what the four would be otherwise.
    own: Option<[bool; 4]>,
    is_held: bool,
    is_tailed: bool,
    pub kind: QueueKind,
    /// How long a message may wait, in milliseconds.
    message_ttl_ms: Option<u64>,
    /// How long the queue may be unused, in milliseconds, before it goes.
    pub expires_ms: Option<u64>,
    pub limits: Option<Limits>,
    pub dead_letters: Option<Rc<DeadLettering>>,
    /// Messages have priorities up to this.
    pub max_priority: Option<u8>,
    pub delivery_limit: DeliveryLimit,
    /// How long a delivery may be unacknowledged, in milliseconds.
    pub consumer_timeout_ms: Option<u64>,
    pub retry_delay: Option<RetryDelay>,
    /// A message with the value of one that is there is refused.
    pub deduplicates: bool,
}

impl Behaviour {
    /// Arguments and policies combine as RabbitMQ combines them, key by key: of numbers mostly the lower one counts, of
    /// what dead letters are to do the argument's, and of the rest a quorum queue takes the policy's and a classic one the
    /// argument's.
    pub fn of(arguments: &QueueArguments, policy: &Wishes, operator: &Wishes) -> Self {
        let &QueueArguments { kind, ref wishes, max_priority, .. } = arguments;
        let policy = policy.under(operator);
        let least = |of: fn(&Wishes) -> Option<u64>| [of(wishes), of(&policy)].into_iter().flatten().min();
        let message_ttl_ms = least(|side| side.message_ttl_ms);
        let (length, bytes) = (least(|side| side.max_length), least(|side| side.max_length_bytes));
        let overflow = match kind {
            QueueKind::Classic => wishes.overflow.or(policy.overflow).unwrap_or_default(),
            // It knows two of them.
            QueueKind::Quorum => match policy.overflow.or(wishes.overflow) {
                Some(Overflow::RejectPublish) => Overflow::RejectPublish,
                Some(Overflow::DropHead | Overflow::RejectPublishDlx) | None => Overflow::DropHead,
            },
        };
        let limits = (length.is_some() || bytes.is_some()).then_some(Limits { length, bytes, overflow });
        let exchange = wishes.dead_letter_exchange.as_ref().or(policy.dead_letter_exchange.as_ref());
        let dead_letters = exchange.cloned().map(|exchange| {
            let routing_key = wishes.dead_letter_routing_key.clone().or(policy.dead_letter_routing_key.clone());
            let asked_for = wishes.dead_letter_strategy.or(policy.dead_letter_strategy).unwrap_or_default();
            // A queue that drops messages from its head can't keep them until others have them.
            let can_wait = kind == QueueKind::Quorum && overflow == Overflow::RejectPublish;
            let strategy = if can_wait { asked_for } else { DeadLetterStrategy::AtMostOnce };
            Rc::new(DeadLettering { exchange, routing_key, strategy })
        });
        // The plugin asks the policy first, and has it for classic queues alone.
        let deduplicates =
            kind == QueueKind::Classic && policy.deduplicates.or(wishes.deduplicates).unwrap_or_default();
        let is_plain_but_for_levels = limits.is_none() && !deduplicates;
        let refuses = limits.is_some_and(|limits| limits.overflow != Overflow::DropHead);
        Self {
            is_plain: is_plain_but_for_levels && arguments.levels().top == 0,
            is_plain_but_for_levels,
            has_lanes: !refuses && !deduplicates,
            may_pause: dead_letters.is_some(),
            own: None,
            is_held: false,
            is_tailed: false,
            deduplicates,
            kind,
            message_ttl_ms,
            expires_ms: least(|side| side.expires_ms),
            limits,
            dead_letters,
            max_priority,
            delivery_limit: DeliveryLimit::of(
                kind,
                stricter_delivery_limit(policy.delivery_limit, wishes.delivery_limit),
            ),
            consumer_timeout_ms: least(|side| side.consumer_timeout_ms),
            retry_delay: match kind {
                QueueKind::Classic => None,
                QueueKind::Quorum => retry_delay(wishes, &policy),
            },
        }
    }

    /// The queue does nothing to a message that comes, and to one that waits but that its time may be over, which is known
    /// when it comes. What is done to messages that leave is asked when they leave.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Messages may go by a lane to a consumer that waits, as none is refused. Levels of priority, a time to live and a limit
    /// by which the oldest go are for those that have to wait.
    #[inline]
    pub fn has_lanes(&self) -> bool {
        self.has_lanes
    }

    /// What comes back is behind what came back before it, and not where it was.
    #[inline]
    pub fn returns_behind(&self) -> bool {
        self.kind == QueueKind::Quorum
    }

    /// As [`is_plain`](Self::is_plain), within each of its levels of priority.
    #[inline]
    pub fn is_plain_but_for_levels(&self) -> bool {
        self.is_plain_but_for_levels
    }

    /// Whether it has to be asked whether the queue delivers now.
    #[inline]
    pub fn may_pause(&self) -> bool {
        self.may_pause
    }

    /// Messages are on their way back to the queue that belong before those that it has: it delivers nothing, and what comes
    /// waits.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Begins or ends to be [held](Self::is_held). Nobody who publishes to a queue that is not, or delivers, has more to ask.
    pub fn hold(&mut self, held: bool) {
        self.is_held = held;
        self.refrain();
    }

    /// Somebody looks at every message that enters: see [`observe`](crate::broker::observe).
    pub fn is_tailed(&self) -> bool {
        self.is_tailed
    }

    /// Begins or ends to be [tailed](Self::is_tailed). Nobody who publishes to a queue that is not has more to ask.
    pub fn tail(&mut self, tailed: bool) {
        self.is_tailed = tailed;
        self.refrain();
    }

    /// A queue that is held or tailed is not plain.
    fn refrain(&mut self) {
        let now = [self.is_plain, self.is_plain_but_for_levels, self.has_lanes, self.may_pause];
        let own = self.own.take().unwrap_or(now);
        let refrains = self.is_held || self.is_tailed;
        self.own = refrains.then_some(own);
        let now = if refrains { [false, false, false, own[3] || self.is_held] } else { own };
        [self.is_plain, self.is_plain_but_for_levels, self.has_lanes, self.may_pause] = now;
    }

    /// When a message that begins to wait now expires: the lower of the queue's and its own time to live.
    #[inline]
    pub fn expires_at_ms(&self, expiration_ms: Option<u64>, now_ms: u64) -> u64 {
        if self.message_ttl_ms.is_none() && expiration_ms.is_none() {
            return NEVER;
        }
        let least_ms = self.message_ttl_ms.into_iter().chain(expiration_ms).min();
        least_ms.map_or(NEVER, |least_ms| now_ms.saturating_add(least_ms))
    }
}

fn retry_delay(arguments: &Wishes, policy: &Wishes) -> Option<RetryDelay> {
    let which = policy.retry_delays.or(arguments.retry_delays).filter(|which| *which != RetryDelays::Disabled)?;
    let least = |of: fn(&Wishes) -> Option<u64>| [of(arguments), of(policy)].into_iter().flatten().min();
    let min_ms = least(|side| side.retry_delay_min_ms)?;
    Some(RetryDelay { which, min_ms, max_ms: least(|side| side.retry_delay_max_ms).unwrap_or(min_ms) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FieldTable, FieldValue, ShortString};

    /// Wishes as a policy says them, with spaces between them.
    fn wishes(said: &str) -> Wishes {
        let value = |text: &str| match text.parse() {
            Ok(number) => FieldValue::I64(number),
            Err(_) => FieldValue::LongString(text.as_bytes().into()),
        };
        let entries = said.split_whitespace().map(|entry| entry.split_once('=').expect("a key and a value"));
        let entries = entries.map(|(key, said)| (ShortString::truncated(key.as_bytes()), value(said)));
        Wishes::of(&FieldTable(entries.collect()), "")
    }

    fn behaviour(kind: QueueKind, [arguments, policy, operator]: [&str; 3]) -> Behaviour {
        let arguments = QueueArguments { kind, wishes: wishes(arguments), ..QueueArguments::default() };
        Behaviour::of(&arguments, &wishes(policy), &wishes(operator))
    }

    #[test]
    fn of_times_and_lengths_the_lower_one_counts() {
        for (argument, policy, operator, as_if) in [
            (Some(5), Some(7), Some(9), Some(5)),
            (Some(9), Some(7), Some(5), Some(5)),
            (None, Some(7), Some(9), Some(7)),
            (None, None, Some(9), Some(9)),
            (Some(5), None, None, Some(5)),
            (None, None, None, None),
        ] {
            for key in ["message-ttl", "expires", "max-length", "max-length-bytes"] {
                let said = |value: Option<u64>| value.map(|value| format!("{key}={value}")).unwrap_or_default();
                let [argument, policy, operator, as_if] = [argument, policy, operator, as_if].map(said);
                for kind in [QueueKind::Classic, QueueKind::Quorum] {
                    let combined = behaviour(kind, [&argument, &policy, &operator]);
                    assert_eq!(combined, behaviour(kind, [&as_if, "", ""]), "{argument} {policy} {operator}");
                }
            }
        }
    }

    /// What an argument, a policy and an operator policy say, and what is as if the argument alone said it.
    #[test]
    fn what_else_is_asked_for_combines_key_by_key() {
        use QueueKind::{Classic, Quorum};
        const LIMITED: &str = "max-length=1";
        const DEAD: &str = "dead-letter-exchange=x";
        const REFUSES: &str = "max-length=1 overflow=reject-publish";
        for (kind, [argument, policy, operator], as_if) in [
            // A classic queue's own overflow counts, a quorum queue's policy's.
            (Classic, [REFUSES, "overflow=drop-head", ""], REFUSES),
            (Quorum, [REFUSES, "overflow=drop-head", ""], LIMITED),
            (Classic, [LIMITED, "overflow=drop-head", "overflow=reject-publish"], REFUSES),
            (Classic, [LIMITED, "overflow=reject-publish-dlx", ""], "max-length=1 overflow=reject-publish-dlx"),
            (Quorum, [LIMITED, "overflow=reject-publish-dlx", ""], LIMITED),
            // Each of what dead letters do is the argument's, and where that is silent, the policy's.
            (
                Classic,
                [DEAD, "dead-letter-exchange=y dead-letter-routing-key=k", ""],
                "dead-letter-exchange=x dead-letter-routing-key=k",
            ),
            (
                Quorum,
                ["dead-letter-exchange=x dead-letter-routing-key=a", "dead-letter-routing-key=k", ""],
                "dead-letter-exchange=x dead-letter-routing-key=a",
            ),
            (Quorum, ["dead-letter-routing-key=a", "", ""], ""),
            (
                Quorum,
                [
                    "dead-letter-exchange=x dead-letter-strategy=at-least-once max-length=1",
                    "",
                    "overflow=reject-publish",
                ],
                "dead-letter-exchange=x dead-letter-strategy=at-least-once max-length=1 overflow=reject-publish",
            ),
            (Quorum, ["dead-letter-exchange=x dead-letter-strategy=at-least-once", "overflow=drop-head", ""], DEAD),
            (Classic, [DEAD, "dead-letter-strategy=at-least-once overflow=reject-publish", ""], DEAD),
            // The lower limit, unless there is none on one side.
            (Quorum, ["delivery-limit=5", "delivery-limit=7", ""], "delivery-limit=5"),
            (Quorum, ["delivery-limit=-1", "delivery-limit=7", ""], "delivery-limit=7"),
            (Quorum, ["delivery-limit=5", "delivery-limit=-1", "delivery-limit=-2"], "delivery-limit=5"),
            (Quorum, ["", "delivery-limit=0", ""], "delivery-limit=0"),
            (Classic, ["", "delivery-limit=5", ""], ""),
            (Classic, ["consumer-timeout=9", "consumer-timeout=7", ""], "consumer-timeout=7"),
            // Whether a retry waits is the policy's; how long, the lower one, but an operator may make it longer.
            (
                Quorum,
                ["delayed-retry-type=all delayed-retry-min=5", "delayed-retry-type=failed delayed-retry-max=9", ""],
                "delayed-retry-type=failed delayed-retry-min=5 delayed-retry-max=9",
            ),
            (Quorum, ["delayed-retry-type=all delayed-retry-min=5", "delayed-retry-type=disabled", ""], ""),
            (
                Quorum,
                ["", "delayed-retry-type=all delayed-retry-min=5", "delayed-retry-min=8"],
                "delayed-retry-type=all delayed-retry-min=8 delayed-retry-max=8",
            ),
            (Quorum, ["delayed-retry-type=all", "", ""], ""),
        ] {
            let combined = behaviour(kind, [argument, policy, operator]);
            assert_eq!(combined, behaviour(kind, [as_if, "", ""]), "{argument} {policy} {operator}");
        }
    }

    #[test]
    fn only_what_may_refuse_a_message_has_no_lanes() {
        for (arguments, has_lanes) in [
            ("", true),
            ("message-ttl=0", true),
            ("max-length=0", true),
            ("max-length-bytes=1", true),
            ("max-length=1 overflow=reject-publish", false),
            ("max-length=1 overflow=reject-publish-dlx", false),
            ("overflow=reject-publish", true),
        ] {
            let behaviour = behaviour(QueueKind::Classic, [arguments, "", ""]);
            assert_eq!(behaviour.has_lanes(), has_lanes, "{arguments}");
        }
    }

    #[test]
    fn who_comes_back_oftener_waits_longer_up_to_the_most() {
        let delay =
            |which, times, failed| RetryDelay { which, min_ms: 300, max_ms: 700 }.of(Returns::new(times, 0), failed);
        let all = [1, 2, 3, 1000].map(|times| delay(RetryDelays::All, times, times % 2 == 0));
        assert_eq!(all, [Some(300), Some(600), Some(700), Some(700)]);
        let of_one = |which| [true, false].map(|failed| delay(which, 1, failed));
        assert_eq!(of_one(RetryDelays::Failed), [Some(300), None]);
        assert_eq!(of_one(RetryDelays::Returned), [None, Some(300)]);
    }

    #[test]
    fn the_lower_time_to_live_counts() {
        const NOW_MS: u64 = 1000;
        for (queue_ms, message_ms, expires_at_ms) in [
            (None, None, NEVER),
            (None, Some(7), NOW_MS + 7),
            (Some(5), None, NOW_MS + 5),
            (Some(5), Some(7), NOW_MS + 5),
            (Some(9), Some(7), NOW_MS + 7),
            (Some(0), Some(7), NOW_MS),
            (None, Some(u64::MAX - 1), NEVER),
        ] {
            let wishes = Wishes { message_ttl_ms: queue_ms, expires_ms: Some(1), ..Wishes::default() };
            let arguments = QueueArguments { wishes, ..QueueArguments::default() };
            let behaviour = Behaviour::of(&arguments, &Wishes::default(), &Wishes::default());
            assert!(behaviour.is_plain());
            assert_eq!(behaviour.expires_at_ms(message_ms, NOW_MS), expires_at_ms);
        }
    }
}
