//! How many messages died, of what, and what their queues make of such messages: RabbitMQ's counters of dead letters.

use crate::broker::dead_letter::Reason;
use crate::broker::queue::{DeadLetterStrategy, Queue, QueueKind};

/// Counts since the start. Messages of queues without a dead-letter exchange are among them, under a strategy of their own.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct DeadLetterCounters {
    /// By kind of queue, strategy and reason.
    counts: [[[u64; Self::REASONS.len()]; Self::STRATEGIES.len()]; QueueKind::ALL.len()],
    /// Letters that every queue has that they were for, of queues that make sure of it.
    confirmed: u64,
}

impl DeadLetterCounters {
    /// What becomes of those that die, in RabbitMQ's words.
    pub const STRATEGIES: [&str; 3] = ["disabled", "at_most_once", "at_least_once"];
    /// What they die of.
    pub const REASONS: [&str; 4] = ["rejected", "expired", "maxlen", "delivery_limit"];

    #[inline]
    pub(in crate::broker) fn count(&mut self, queue: &Queue, reason: Reason, count: u64) {
        let strategy = match queue.behaviour.dead_letters.as_deref().map(|to| to.strategy) {
            None => 0,
            Some(DeadLetterStrategy::AtMostOnce) => 1,
            Some(DeadLetterStrategy::AtLeastOnce) => 2,
        };
        self.counts[queue.behaviour.kind as usize][strategy][reason as usize] += count;
    }

    pub(in crate::broker) fn confirm(&mut self) {
        self.confirmed += 1;
    }

    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Of queues of a kind: by strategy, and of each by reason.
    pub fn of_kind(&self, kind: QueueKind) -> &[[u64; Self::REASONS.len()]; Self::STRATEGIES.len()] {
        &self.counts[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_in_the_order_of_their_names() {
        for reason in [Reason::Rejected, Reason::Expired, Reason::MaxLength, Reason::DeliveryLimit] {
            assert_eq!(DeadLetterCounters::REASONS[reason as usize], reason.name());
        }
    }
}
