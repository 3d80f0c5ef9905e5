//! Into a queue that is not plain: what its behaviour asks for before a message enters, and after.

use super::Kept;
use crate::broker::Broker;
use crate::broker::dead_letter::Reason;
use crate::broker::deduplication::DeduplicationKey;
use crate::broker::dispatch::HandOver;
use crate::broker::effects::Effects;
use crate::broker::exchange::QueueId;
use crate::broker::message::{Attributes, Content, MessageRef};
use crate::broker::publish::Publication;
use crate::broker::queue::Overflow;
use crate::broker::store::Store;

impl<S: Store> Broker<S> {
    /// As [`enter`](Self::enter), for a queue that is not plain.
    #[inline(never)]
    pub(super) fn enter_special(
        &mut self,
        id: QueueId,
        publication: &Publication<'_>,
        is_only_queue: bool,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        if self.queues[id.0 as usize].behaviour.is_tailed() {
            self.tail_entering(id, publication);
        }
        let content = &publication.content;
        if self.refuses(id, content) {
            self.refuse(id, publication, kept);
            return;
        }
        let queue = &mut self.queues[id.0 as usize];
        let value = match &queue.seen {
            None => None,
            Some(_) => DeduplicationKey::of(content.properties()),
        };
        if let (Some(seen), Some(value)) = (&queue.seen, value)
            && seen.has(value, self.now_ms)
        {
            return self.refuse_duplicate(id, publication, kept);
        }
        queue.ledger.counters.published += 1;
        let handed_over = match queue.backlog.is_empty() {
            true if !queue.behaviour.is_held() => {
                queue.backlog.lead(queue.backlog.level_of(publication.attributes.priority, content));
                self.hand_over(id, content, effects)
            }
            // What the last bindings of a deleted queue lead to it goes with the rest.
            true if queue.deleted => {
                queue.ledger.dropped += 1;
                return;
            }
            _ => HandOver::NobodyReady,
        };
        if let (Some(value), HandOver::MustBeKept(_) | HandOver::NobodyReady) = (value, &handed_over) {
            self.note_value(id, value, publication);
        }
        let waits = match handed_over {
            HandOver::Done => return,
            HandOver::MustBeKept(_) => false,
            HandOver::NobodyReady => true,
        };
        self.enter_waiting::<true>(id, publication, is_only_queue, handed_over, kept, effects);
        if waits && let Some(limits) = self.queue(id).behaviour.limits {
            if limits.bytes.is_some() {
                let body = &mut self.queue_mut(id).backlog;
                let level = body.level_of(publication.attributes.priority, content);
                body.add_body_bytes(level, content.body_size() as u64);
            }
            self.drop_overflow(id);
        }
    }

    /// Whether a message would not be taken if it came now.
    pub(in crate::broker) fn would_refuse(&self, id: QueueId, content: &Content<'_>) -> bool {
        let is_there = self.queue(id).seen.as_ref().is_some_and(|seen| {
            DeduplicationKey::of(content.properties()).is_some_and(|value| seen.has(value, self.now_ms))
        });
        is_there || self.refuses(id, content)
    }

    /// The queue would have more than it may have, and takes no more then: not even what a consumer waits for.
    fn refuses(&self, id: QueueId, content: &Content<'_>) -> bool {
        let queue = &self.queues[id.0 as usize];
        let Some(limits) = queue.behaviour.limits else { return false };
        limits.overflow != Overflow::DropHead
            && (limits.length.is_some_and(|length| (queue.backlog.len() + queue.sure_dead_letters()) as u64 >= length)
                || limits.bytes.is_some_and(|bytes| queue.backlog.body_bytes() + content.body_size() as u64 > bytes))
    }

    /// A message with the next sequence, which is about to enter, has a value that no other may have meanwhile.
    #[cold]
    fn note_value(&mut self, id: QueueId, value: DeduplicationKey, publication: &Publication<'_>) {
        let queue = &self.queues[id.0 as usize];
        let Attributes { priority, expiration_ms, .. } = publication.attributes;
        let level = queue.backlog.level_of(priority, &publication.content);
        let until_ms = queue.behaviour.expires_at_ms(expiration_ms, self.now_ms);
        if let Some(seen) = &queue.seen {
            seen.insert(value, level, queue.backlog.next_sequence(level), until_ms);
        }
    }

    /// A message that would be more than the queue may have.
    fn refuse(&mut self, id: QueueId, publication: &Publication<'_>, kept: &mut Kept) {
        let limits = self.queue(id).behaviour.limits;
        let is_dead = limits.is_some_and(|limits| limits.overflow == Overflow::RejectPublishDlx);
        self.refuse_to_take(id, publication, is_dead, kept);
    }

    /// A message with the value of one that is there. RabbitMQ 4 nacks it and has it dead-lettered, where earlier ones leave
    /// its publisher without a word.
    #[cold]
    fn refuse_duplicate(&mut self, id: QueueId, publication: &Publication<'_>, kept: &mut Kept) {
        self.refuse_to_take(id, publication, true, kept);
    }

    /// A message that was routed here is not taken. It is a dead letter where the queue has an exchange for those.
    fn refuse_to_take(&mut self, id: QueueId, publication: &Publication<'_>, is_dead: bool, kept: &mut Kept) {
        let queue = &mut self.queues[id.0 as usize];
        queue.ledger.refused();
        kept.refused = true;
        if is_dead && queue.behaviour.dead_letters.is_some() {
            self.books.dead_letters_mut().count(queue, Reason::MaxLength, 1);
            let Publication { content, attributes, .. } = publication;
            let message = kept.message.get_or_insert_with(|| MessageRef::new(content, *attributes)).clone();
            self.dead_letter_refused(id, message);
        }
    }
}
