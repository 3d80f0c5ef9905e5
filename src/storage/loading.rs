//! The last step of recovery: live messages out of their segments, into queues.

use super::batch::Batch;
use super::error::StorageError;
use super::record::{Enqueue, Record, Route};
use super::recovery::{RecoveredMessage, RecoveredQueue};
use super::scan::for_each_record;
use super::segment::SegmentNumber;
use super::state::{QueueState, State};
use crate::broker::message::{Attributes, Content, MessageRef};
use crate::broker::store::DurableQueueId;
use bytes::Bytes;
use hashbrown::HashMap;

/// Queues that are being filled.
pub(super) struct Loading {
    queues: Vec<RecoveredQueue>,
    index: HashMap<DurableQueueId, usize>,
}

impl Loading {
    pub(super) fn new(state: &State) -> Self {
        let in_order = state.queues_in_order();
        let index = in_order.iter().enumerate().map(|(index, (id, _))| (*id, index)).collect();
        let queue = |(id, queue): &(DurableQueueId, &QueueState)| RecoveredQueue {
            id: *id,
            next_sequence: queue.next_sequence,
            messages: Vec::with_capacity(usize::try_from(queue.live.len()).unwrap_or_default()),
        };
        Self { queues: in_order.iter().map(queue).collect(), index }
    }

    /// Takes the live messages of a batch; says how many, one for each queue.
    pub(super) fn batch(
        &mut self,
        state: &State,
        batch: &Batch<'_>,
        number: SegmentNumber,
        offset: usize,
    ) -> Result<u64, StorageError> {
        let mut taken = 0;
        for_each_record(batch, number, offset, |record| {
            if let Record::Enqueue(enqueue) = record {
                let mut message = None;
                for route in enqueue.routes {
                    if state.segment_of(route.queue, route.sequence) == Some(number) {
                        let message = message.get_or_insert_with(|| stored(&enqueue));
                        self.push(route, message.clone());
                        taken += 1;
                    }
                }
            }
        })?;
        Ok(taken)
    }

    fn push(&mut self, route: Route, message: MessageRef) {
        let Route { queue, sequence, expires_at_ms } = route;
        if let Some(&index) = self.index.get(&queue) {
            self.queues[index].messages.push(RecoveredMessage { sequence, message, expires_at_ms });
        }
    }

    /// Moved messages come after younger ones.
    pub(super) fn finish(mut self) -> Vec<RecoveredQueue> {
        for queue in &mut self.queues {
            if !queue.messages.is_sorted_by_key(|message| message.sequence) {
                queue.messages.sort_unstable_by_key(|message| message.sequence);
            }
            queue.messages.dedup_by_key(|message| message.sequence);
        }
        self.queues
    }
}

fn stored(enqueue: &Enqueue<'_>) -> MessageRef {
    let body = enqueue.body.map(Bytes::copy_from_slice);
    let content = Content {
        address: enqueue.address,
        frames: enqueue.frames,
        header_frame_length: enqueue.header_frame_length,
        shared_body: body.as_ref(),
    };
    MessageRef::new(&content, Attributes { persistent: true, priority: enqueue.priority, expiration_ms: None })
}
