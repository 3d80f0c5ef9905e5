//! How long messages of single queues take, for who asks for that.
//!
//! Nothing more is measured for it: what was measured of a queue's messages is counted for the queue as well. Queues come
//! first that are measured first; there is room for [`QUEUES_MAX`], and queues that are gone make room when there is none.

use crate::broker::exchange::QueueId;
use crate::broker::snapshot::{Page, PageStart};
use crate::broker::store::Store;
use crate::broker::{Broker, QueueKey};
use crate::meter::Histogram;
use crate::protocol::ShortString;
use hashbrown::HashMap;
use std::sync::Arc;

/// Queues whose times are kept, at about 400 bytes each.
pub const QUEUES_MAX: usize = 1024;

/// What was measured of a queue's messages, one of many.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct QueueDurations {
    /// From when they came in until they left in whatever way.
    pub in_queue: Histogram,
    /// From a delivery until the client said what becomes of it.
    pub to_acknowledgement: Histogram,
}

/// The same, with which queue it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueDurationsSnapshot {
    pub vhost: Arc<str>,
    pub name: ShortString,
    pub durations: QueueDurations,
}

#[derive(Default)]
pub(super) struct OfQueues {
    /// By slot, with the serial number of the queue that it was measured for.
    durations: HashMap<QueueId, (u64, Box<QueueDurations>)>,
    /// How many queues had gone when there was no room: until more have, there is none.
    full_when_gone: Option<u64>,
}

impl OfQueues {
    pub fn get(&self, queue: QueueKey) -> Option<&QueueDurations> {
        let (serial, durations) = self.durations.get(&queue.id)?;
        (*serial == queue.serial).then_some(&**durations)
    }

    /// Those of a queue, if there is room. When there is none, `is_there` is asked of the others, once for each time that
    /// there are more `gone`: queues that have gone until now.
    pub fn of(
        &mut self,
        queue: QueueKey,
        gone: u64,
        is_there: impl Fn(QueueKey) -> bool,
    ) -> Option<&mut QueueDurations> {
        if self.durations.len() >= QUEUES_MAX && !self.durations.contains_key(&queue.id) {
            if self.full_when_gone == Some(gone) {
                return None;
            }
            self.durations.retain(|id, (serial, _)| is_there(QueueKey { id: *id, serial: *serial }));
            if self.durations.len() >= QUEUES_MAX {
                self.full_when_gone = Some(gone);
                return None;
            }
        }
        let (serial, durations) = self.durations.entry(queue.id).or_insert_with(|| (queue.serial, Box::default()));
        if *serial != queue.serial {
            // Of another queue, which had the slot before.
            (*serial, **durations) = (queue.serial, QueueDurations::default());
        }
        Some(durations)
    }
}

impl<S: Store> Broker<S> {
    /// A page of queues of which something was measured.
    pub fn snapshot_queue_durations(&self, from: PageStart) -> Page<QueueDurationsSnapshot> {
        let copy = |slot: usize| {
            let (id, queue) = (QueueId(slot as u32), self.queues.get(slot).filter(|queue| !queue.deleted)?);
            let durations = *self.metering.of_queues.get(queue.key(id))?;
            let properties = &queue.properties;
            let vhost = Arc::clone(&self.vhosts[properties.vhost].name);
            Some(QueueDurationsSnapshot { vhost, name: properties.name.clone(), durations })
        };
        Page::of_slots(from, self.queues.capacity(), |slots| slots.filter_map(copy).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32, serial: u64) -> QueueKey {
        QueueKey { id: QueueId(slot), serial }
    }

    #[test]
    fn a_queue_is_not_taken_for_the_one_that_had_its_slot() {
        let mut of_queues = OfQueues::default();
        of_queues.of(key(1, 1), 0, |_| true).unwrap().in_queue.record(5);
        assert_eq!(of_queues.get(key(1, 1)).unwrap().in_queue.count(), 1);
        assert_eq!(of_queues.get(key(1, 2)), None);
        assert_eq!(of_queues.of(key(1, 2), 0, |_| true).unwrap().in_queue.count(), 0);
        assert_eq!(of_queues.get(key(1, 1)), None);
    }

    #[test]
    fn queues_that_are_gone_make_room() {
        let mut of_queues = OfQueues::default();
        for slot in 0..QUEUES_MAX as u32 {
            assert!(of_queues.of(key(slot, 1), 0, |_| true).is_some());
        }
        assert!(of_queues.of(key(u32::MAX, 1), 0, |_| true).is_none(), "there is no room");
        assert!(of_queues.of(key(u32::MAX, 1), 0, |_| panic!("none has gone since")).is_none());
        assert!(of_queues.of(key(7, 1), 1, |_| false).is_some(), "a known one needs none");
        assert!(of_queues.of(key(u32::MAX, 1), 1, |queue| queue.id != QueueId(7)).is_some());
        assert_eq!(of_queues.get(key(7, 1)), None);
    }
}
