//! Counters that are sums over many things, some of which go while they are added up.
//!
//! What is gone is asked for first, so that nothing is counted twice. What goes before its page comes is missed, until the
//! next time: then the sum is less than it was, and what was told before is told again. A counter that fell would be taken
//! for one that began anew.

use super::super::question::ConnectionSums;
use crate::broker::snapshot::{QueueKind, TotalsSnapshot};
use crate::broker::sums::{ChannelSums, QueueSums};
use crate::broker::{QueueCounters, Totals};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Counted {
    /// By kind of queue.
    pub kinds: [QueueCounters; QueueKind::ALL.len()],
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Publishes under confirms, whether anything was said of them yet or not.
    pub received_confirm: u64,
}

impl Counted {
    pub fn of(
        totals: &TotalsSnapshot,
        queues: &QueueSums,
        channels: &ChannelSums,
        connections: &ConnectionSums,
    ) -> Self {
        let mut kinds = totals.gone;
        kinds.iter_mut().zip(&queues.counters).for_each(|(sum, there)| sum.add(there));
        let Totals { confirmed, nacked, left_unconfirmed, .. } = totals.totals;
        Self {
            kinds,
            received_bytes: connections.received_bytes,
            sent_bytes: connections.sent_bytes,
            received_confirm: confirmed + nacked + left_unconfirmed + channels.unconfirmed,
        }
    }

    /// Messages that queues were given, dead letters among them; one that went to two queues counts as two.
    pub fn routed(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.published).sum()
    }

    fn figures(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { kinds, received_bytes, sent_bytes, received_confirm } = self;
        let of_kinds = kinds.iter_mut().flat_map(QueueCounters::figures);
        of_kinds.chain([received_bytes, sent_bytes, received_confirm])
    }
}

/// What was told last.
#[derive(Default)]
pub struct Floor(Mutex<Counted>);

impl Floor {
    /// What is to be told where this was found.
    pub fn raise(&self, mut found: Counted) -> Counted {
        let mut floor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (found, floor) in found.figures().zip(floor.figures()) {
            *found = (*found).max(*floor);
            *floor = *found;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_this_time_does_not_make_a_counter_fall() {
        let floor = Floor::default();
        let found = |published, sent_bytes| {
            let mut counted = Counted { sent_bytes, ..Counted::default() };
            counted.kinds[1].published = published;
            counted
        };
        assert_eq!(floor.raise(found(5, 10)), found(5, 10));
        assert_eq!(floor.raise(found(3, 20)), found(5, 20));
        assert_eq!(floor.raise(found(7, 15)), found(7, 20));
        assert_eq!(found(7, 0).routed(), 7);
    }
}
