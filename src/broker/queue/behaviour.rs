//! What a queue does with its messages and with itself beyond keeping them.
//!
//! It is worked out from what was asked for by its arguments, by the policy and by the operator policy that apply to it,
//! here and nowhere else, and applied by `apply_behaviour` in `expiry`. Whoever is on the path of a message asks
//! [`is_plain`](Behaviour::is_plain) once and then, of a plain queue, nothing more.

use super::arguments::QueueArguments;
use super::wishes::{DeadLetterStrategy, Overflow, QueueKind, Wishes};
use crate::broker::message::NEVER;
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

#[derive(Clone, Debug)]
pub struct Behaviour {
    is_plain: bool,
    pub kind: QueueKind,
    /// How long a message may wait, in milliseconds.
    message_ttl_ms: Option<u64>,
    /// How long the queue may be unused, in milliseconds, before it goes.
    pub expires_ms: Option<u64>,
    pub limits: Option<Limits>,
    pub dead_letters: Option<Rc<DeadLettering>>,
    /// Messages have priorities up to this.
    pub max_priority: Option<u8>,
    /// How often a message may come back.
    pub delivery_limit: Option<u32>,
    /// How long a delivery may be unacknowledged, in milliseconds.
    pub consumer_timeout_ms: Option<u64>,
}

impl Behaviour {
    pub fn of(arguments: &QueueArguments, policy: &Wishes, operator: &Wishes) -> Self {
        let &QueueArguments { kind, ref wishes, max_priority, .. } = arguments;
        let sides = [wishes, policy, operator];
        let least = |of: fn(&Wishes) -> Option<u64>| sides.iter().filter_map(|side| of(side)).min();
        let message_ttl_ms = least(|side| side.message_ttl_ms);
        let (length, bytes) = (least(|side| side.max_length), least(|side| side.max_length_bytes));
        let overflow = sides.iter().find_map(|side| side.overflow).unwrap_or_default();
        let limits = (length.is_some() || bytes.is_some()).then_some(Limits { length, bytes, overflow });
        let dead_letters = sides.iter().find_map(|side| side.dead_letter_exchange.clone()).map(|exchange| {
            let routing_key = sides.iter().find_map(|side| side.dead_letter_routing_key.clone());
            let strategy = sides.iter().find_map(|side| side.dead_letter_strategy).unwrap_or_default();
            Rc::new(DeadLettering { exchange, routing_key, strategy })
        });
        let delivery_limit = sides.iter().filter_map(|side| side.delivery_limit).min();
        Self {
            is_plain: message_ttl_ms.is_none()
                && limits.is_none()
                && max_priority.is_none()
                && kind == QueueKind::Classic,
            kind,
            message_ttl_ms,
            expires_ms: least(|side| side.expires_ms),
            limits,
            dead_letters,
            max_priority,
            delivery_limit: delivery_limit.and_then(|limit| u32::try_from(limit).ok()),
            consumer_timeout_ms: least(|side| side.consumer_timeout_ms),
        }
    }

    /// The queue does nothing to a message that comes or waits: what happens to that is its own properties' business. What
    /// is done to messages that leave is asked when they leave.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// When a message that begins to wait now expires: the lower of the queue's and its own time to live.
    #[inline]
    pub fn expires_at_ms(&self, expiration_ms: Option<u64>, now_ms: u64) -> u64 {
        if self.is_plain() && expiration_ms.is_none() {
            return NEVER;
        }
        let least_ms = self.message_ttl_ms.into_iter().chain(expiration_ms).min();
        least_ms.map_or(NEVER, |least_ms| now_ms.saturating_add(least_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_time_to_live_counts_and_without_one_a_queue_is_plain() {
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
            assert_eq!(behaviour.is_plain(), queue_ms.is_none());
            assert_eq!(behaviour.expires_at_ms(message_ms, NOW_MS), expires_at_ms);
        }
    }
}
