//! What a queue does with its messages and with itself beyond keeping them.
//!
//! It is worked out from what was asked for, here and nowhere else, and applied by `apply_behaviour` in `expiry`. Whoever
//! is on the path of a message asks [`is_plain`](Behaviour::is_plain) once and then, of a plain queue, nothing more.

use super::arguments::QueueArguments;
use crate::broker::message::NEVER;

#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// How long a message may wait, in milliseconds.
    message_ttl_ms: Option<u64>,
    /// How long the queue may be unused, in milliseconds, before it goes.
    pub expires_ms: Option<u64>,
    is_plain: bool,
}

impl Behaviour {
    pub fn of(arguments: &QueueArguments) -> Self {
        let &QueueArguments { message_ttl_ms, expires_ms } = arguments;
        Self { message_ttl_ms, expires_ms, is_plain: message_ttl_ms.is_none() }
    }

    /// The queue does nothing to a message that waits in it: what happens to that is its own properties' business. A
    /// message that passes to a consumer without waiting is as plain in any queue.
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
            let behaviour = Behaviour::of(&QueueArguments { message_ttl_ms: queue_ms, expires_ms: Some(1) });
            assert_eq!(behaviour.is_plain(), queue_ms.is_none());
            assert_eq!(behaviour.expires_at_ms(message_ms, NOW_MS), expires_at_ms);
        }
    }
}
