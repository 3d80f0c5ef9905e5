//! Times to live: messages that expire at the head of their queue, and queues that expire unused.

use super::Broker;
use super::effects::Effects;
use super::exchange::QueueId;
use super::flow::Departure;
use super::message::NEVER;
use super::queue_commands::DeletedQueue;
use super::store::Store;
use std::collections::BTreeSet;

/// Messages and queues that are dropped in one turn because their time is over: a million may expire in the same moment.
const EXPIRIES_PER_TURN: usize = 4096;

/// When to look at which queue: each is in it once at most, and a deleted one is not.
pub struct ExpiryQueue {
    deadlines: BTreeSet<(u64, QueueId)>,
    /// What may still be dropped in this turn, whoever comes upon it.
    left: usize,
}

impl Default for ExpiryQueue {
    fn default() -> Self {
        Self { deadlines: BTreeSet::new(), left: EXPIRIES_PER_TURN }
    }
}

impl ExpiryQueue {
    pub fn start_turn(&mut self) {
        self.left = EXPIRIES_PER_TURN;
    }

    /// Looks at `queue` at `to_ms` instead of at `from_ms`; [`NEVER`] is not at all.
    fn reschedule(&mut self, queue: QueueId, from_ms: u64, to_ms: u64) {
        if from_ms != NEVER {
            self.deadlines.remove(&(from_ms, queue));
        }
        if to_ms != NEVER {
            self.deadlines.insert((to_ms, queue));
        }
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<QueueId> {
        let &(deadline_ms, queue) = self.deadlines.first()?;
        (deadline_ms <= now_ms).then(|| {
            self.deadlines.pop_first();
            queue
        })
    }

    /// How many queues will be looked at.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }
}

impl<S: Store> Broker<S> {
    /// When [`expire`](Self::expire) has something to do next; `None` while nothing can expire.
    pub(super) fn next_expiry_ms(&self) -> Option<u64> {
        self.expiry.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Drops messages whose time has come and deletes queues that were unused for too long, as many as a turn may drop.
    /// The rest is due at once.
    pub(super) fn expire(&mut self, effects: &mut impl Effects) {
        while self.expiry.left > 0
            && let Some(id) = self.expiry.pop_due(self.now_ms)
        {
            self.expiry.left -= 1;
            self.queue_mut(id).scheduled_ms = NEVER;
            if self.has_outlived_its_use(id) {
                self.publish_letters_of(id, effects);
                let deleted = self.delete_queue_now(id, None);
                self.notify_cancelled(&deleted, effects);
            } else {
                self.expiry.left -= self.retry_some(id, self.expiry.left);
                self.drop_expired(id);
            }
        }
    }

    /// Tells consumers of a deleted queue.
    pub fn notify_cancelled(&mut self, deleted: &DeletedQueue, effects: &mut impl Effects) {
        for cancelled in &deleted.cancelled {
            effects.cancel_consumer(cancelled.recipient());
        }
    }

    fn has_outlived_its_use(&self, id: QueueId) -> bool {
        let queue = self.queue(id);
        let expires_ms = queue.behaviour.expires_ms;
        queue.is_unused() && expires_ms.is_some_and(|expires_ms| queue.last_used_ms + expires_ms <= self.now_ms)
    }

    /// Drops the expired messages at the head, as many as this turn may still drop. Those behind an unexpired one wait, as
    /// they do in RabbitMQ.
    pub(super) fn drop_expired(&mut self, id: QueueId) {
        while self.expiry.left > 0 && !self.is_held_up(id) {
            let now_ms = self.now_ms;
            if let Some(taken) = self.queue_mut(id).backlog.pop_expired(now_ms) {
                self.dropped(id, taken, Departure::Expired);
                self.expiry.left -= 1;
                continue;
            }
            if !self.has_expired_head(id) {
                break;
            }
            // It can only be dropped in memory; when it arrives this is tried again.
            self.bring_head_back(id);
            if self.queue(id).backlog.head_is_away() {
                break;
            }
        }
        self.schedule_expiry(id);
    }

    /// Whether its head is one of more messages that expired than a turn drops: what is behind them is there in a later one.
    pub(super) fn is_dropping(&mut self, id: QueueId) -> bool {
        self.has_expired_head(id) && !self.is_held_up(id)
    }

    /// Whether the message at the head is expired: nobody is to have it.
    pub(super) fn has_expired_head(&self, id: QueueId) -> bool {
        self.queue(id).backlog.head_expires_at_ms() <= self.now_ms
    }

    /// Brings about what a queue's behaviour asks for: called when the queue, or its behaviour, is new.
    pub(super) fn apply_behaviour(&mut self, id: QueueId) {
        if let Some(timeout_ms) = self.queue(id).behaviour.consumer_timeout_ms {
            self.note_timeout(timeout_ms);
        }
        self.apply_limits(id);
        let queue = &mut self.queues[id.0 as usize];
        queue.deduplicate(queue.behaviour.deduplicates, self.vhosts[queue.properties.vhost].router().allowance());
        self.schedule_expiry(id);
    }

    /// Makes sure that the queue is looked at when its head or the queue itself expires.
    pub(super) fn schedule_expiry(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        if queue.deleted {
            return;
        }
        let expires_ms = queue.behaviour.expires_ms.filter(|_| queue.is_unused());
        let queue_deadline = expires_ms.map_or(NEVER, |expires_ms| queue.last_used_ms.saturating_add(expires_ms));
        let head_deadline = if queue.held_up { NEVER } else { queue.backlog.head_expires_at_ms() };
        let retry = queue.retries.as_ref().map_or(NEVER, |retries| retries.first_ready_ms());
        let deadline_ms = head_deadline.min(queue_deadline).min(retry);
        if deadline_ms < queue.scheduled_ms {
            let before_ms = std::mem::replace(&mut queue.scheduled_ms, deadline_ms);
            self.expiry.reschedule(id, before_ms, deadline_ms);
        }
    }

    /// A queue that is deleted is looked at no more.
    pub(super) fn unschedule_expiry(&mut self, id: QueueId) {
        let before_ms = std::mem::replace(&mut self.queue_mut(id).scheduled_ms, NEVER);
        self.expiry.reschedule(id, before_ms, NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::DEFAULT_EXCHANGE;
    use crate::broker::message::Attributes;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ChannelId, ConnectionId, ConsumeRequest, DeclareRequest, GetOutcome, Publication};
    use crate::broker::{KnownRoute, Origin, Target};
    use crate::protocol::{FieldTable, FieldValue};

    const CLIENT: ConnectionId = ConnectionId(0);

    /// A broker with the queue `q`.
    fn broker(arguments: FieldTable) -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let request = DeclareRequest { name: b"q", durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(testing::caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        (broker, channel)
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, expiration_ms: Option<u64>) {
        let content = testing::CONTENT;
        let attributes = Attributes { expiration_ms, ..Attributes::default() };
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        broker.publish(channel, &Publication { content, attributes, mandatory: false }, &[queue], &mut Nobody);
    }

    #[test]
    fn a_message_that_becomes_the_head_expires_in_time() {
        let (mut broker, channel) = broker(FieldTable::default());
        publish(&mut broker, channel, None);
        publish(&mut broker, channel, Some(50));
        assert_eq!(broker.next_expiry_ms(), None, "the head never expires");
        assert!(matches!(broker.get(broker.caller(channel), b"q", false, &mut Nobody), Ok(GetOutcome::Got(_))));
        assert_eq!(broker.next_expiry_ms(), Some(50));
        broker.set_now(50);
        broker.expire(&mut Nobody);
        assert_eq!(broker.census().ready, 0);
    }

    #[test]
    fn what_expires_in_the_same_moment_goes_a_turns_share_at_a_time() {
        const MESSAGES: usize = 2 * EXPIRIES_PER_TURN + 1;
        let (mut broker, channel) = broker(FieldTable::default());
        (0..MESSAGES).for_each(|_| publish(&mut broker, channel, Some(50)));
        broker.set_now(50);
        let mut left = MESSAGES;
        while left > 0 {
            assert_eq!(broker.next_expiry_ms(), Some(50), "the rest is due");
            broker.set_now(50);
            broker.expire(&mut Nobody);
            assert!(left - broker.census().ready <= EXPIRIES_PER_TURN);
            left = broker.census().ready;
        }
        assert_eq!(broker.next_expiry_ms(), None);
    }

    #[test]
    fn who_gets_what_is_behind_messages_that_expire_waits_for_the_turns_in_which_they_go() {
        const MESSAGES: usize = 3 * EXPIRIES_PER_TURN;
        let (mut broker, channel) = broker(FieldTable::default());
        (0..MESSAGES).for_each(|_| publish(&mut broker, channel, Some(50)));
        publish(&mut broker, channel, None);
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        let key = broker.queue_key(queue);
        for turn in 1..=3 {
            broker.set_now(50);
            // However often somebody asks, and whoever looks at the queue.
            for _ in 0..3 {
                let got = broker.get(broker.caller(channel), b"q", true, &mut Nobody);
                assert!(turn == 3 || matches!(got, Ok(GetOutcome::Away(of)) if of == key), "{turn}");
                broker.expire(&mut Nobody);
            }
            let gone = MESSAGES - turn * EXPIRIES_PER_TURN;
            assert_eq!(broker.census().ready, gone + usize::from(turn < 3));
            assert_eq!(broker.head_is_away(key), turn < 3);
        }
    }

    #[test]
    fn an_unused_queue_expires_counted_from_its_last_use() {
        let (mut broker, channel) = broker(FieldTable(vec![("x-expires".into(), FieldValue::I32(100))]));
        let is_there_at = |broker: &mut Broker<MemoryStore>, now_ms| {
            broker.set_now(now_ms);
            broker.expire(&mut Nobody);
            broker.existing_queue(testing::VHOST, b"q").is_ok()
        };
        assert!(is_there_at(&mut broker, 99));
        let (durable, exclusive, auto_delete) = (false, false, false);
        let arguments = FieldTable(vec![("x-expires".into(), FieldValue::I32(100))]);
        let request = DeclareRequest { name: b"q", durable, exclusive, auto_delete, arguments };
        broker.declare_queue(testing::caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        assert!(is_there_at(&mut broker, 198), "it was declared again at 99");
        publish(&mut broker, channel, None);
        broker.get(broker.caller(channel), b"q", false, &mut Nobody).unwrap();
        assert!(is_there_at(&mut broker, 297), "it was got from at 198");
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue: b"q", consumer_tag: b"t", no_ack: true, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
        assert!(is_there_at(&mut broker, 10_000), "it has a consumer");
        broker.cancel(broker.caller(channel), b"t");
        assert!(is_there_at(&mut broker, 10_099));
        publish(&mut broker, channel, None);
        assert!(!is_there_at(&mut broker, 10_100), "a publish does not use it, and a message does not keep it");
    }

    #[test]
    fn an_expiration_counts_from_the_commit() {
        let (mut broker, channel) = broker(FieldTable::default());
        broker.select_transaction(channel).unwrap();
        let content = testing::CONTENT;
        let attributes = Attributes { expiration_ms: Some(50), ..Attributes::default() };
        let publication = Publication { content, attributes, mandatory: false };
        let target = Target { exchange: DEFAULT_EXCHANGE, extra_keys: &[] };
        let origin = Origin::Client { target, route: &mut KnownRoute::default() };
        broker.publish_from(origin, broker.caller(channel), &publication, &mut Nobody).unwrap();
        broker.set_now(1000);
        broker.commit(channel, &mut Nobody).unwrap();
        broker.set_now(1049);
        broker.expire(&mut Nobody);
        assert_eq!(broker.census().ready, 1);
        broker.set_now(1050);
        broker.expire(&mut Nobody);
        assert_eq!(broker.census().ready, 0);
    }

    #[test]
    fn a_queue_is_scheduled_once_and_not_after_its_end() {
        let (mut broker, channel) = broker(FieldTable(vec![("x-expires".into(), FieldValue::I32(1_000_000))]));
        // Each one expires sooner than the one before.
        for expiration_ms in (1..100).rev() {
            publish(&mut broker, channel, Some(expiration_ms));
            broker.get(broker.caller(channel), b"q", true, &mut Nobody).unwrap();
        }
        assert_eq!(broker.expiry.len(), 1);
        broker.delete_queue(testing::caller(&broker, CLIENT), b"q", false, false, &mut Nobody).unwrap();
        assert_eq!(broker.next_expiry_ms(), None);
    }
}
