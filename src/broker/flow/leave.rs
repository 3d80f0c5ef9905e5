//! Out of a queue: given to a client, which may be for good, or gone another way.

use super::discarded::Discarded;
use super::ledger::Books;
use crate::broker::dead_letter::Reason;
use crate::broker::deduplication::SeenInQueue;
use crate::broker::done::count;
use crate::broker::exchange::QueueId;
use crate::broker::queue::{Queue, Taken};
use crate::broker::store::{DurableQueueId, Store};
use crate::broker::unacknowledged::DeliveredRun;
use crate::broker::{Broker, ChannelId};

/// How a single message left its queue for good, when it was not by being given away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) enum Departure {
    Acknowledged,
    Rejected,
    Expired,
    /// The queue had as much as it may have.
    Overflowed,
    /// It came back too often.
    LimitReached,
}

impl Departure {
    /// Why it is a dead letter, if it is one.
    fn reason(self) -> Option<Reason> {
        match self {
            Self::Acknowledged => None,
            Self::Rejected => Some(Reason::Rejected),
            Self::Expired => Some(Reason::Expired),
            Self::Overflowed => Some(Reason::MaxLength),
            Self::LimitReached => Some(Reason::DeliveryLimit),
        }
    }
}

/// Messages of a backlog that went to one consumer.
pub(in crate::broker) struct Given {
    pub no_ack: bool,
    pub count: usize,
    /// Of these, how many were given to somebody before.
    pub redelivered: usize,
}

/// Who is told of what leaves a queue for good.
struct Followers<'a> {
    log: Option<DurableQueueId>,
    /// The log has transient messages as well.
    logs_all: bool,
    seen: Option<&'a SeenInQueue>,
}

impl<'a> Followers<'a> {
    #[inline]
    fn of(queue: &'a Queue) -> Self {
        Self { log: queue.durable_id, logs_all: queue.logs_all(), seen: queue.seen.as_deref() }
    }

    #[inline]
    fn tell(&self, store: &mut impl Store, taken: &Taken) {
        if let Some(seen) = self.seen {
            seen.forget(taken);
        }
        if let Some(queue) = self.log
            && (self.logs_all || taken.message.is_persistent())
        {
            store.removed(queue.level(taken.level), taken.sequence);
        }
    }
}

/// Tells the store of a message that left for good, and whoever remembers it.
#[inline]
pub(in crate::broker) fn tell_removed(store: &mut impl Store, queue: &Queue, taken: &Taken) {
    if queue.is_followed() {
        Followers::of(queue).tell(store, taken);
    }
}

impl Books {
    /// A direct reply was delivered, through no queue.
    pub fn replied(&mut self) {
        self.replies += 1;
        self.totals.delivered_auto_ack += 1;
    }

    /// Messages that were published to an empty queue went straight to a consumer, which does not acknowledge.
    #[inline]
    pub fn passed_through(&mut self, queue: &mut Queue, count: u64) {
        queue.backlog.pass_through(count);
        queue.drain.count_take(count);
        queue.ledger.counters.delivered_auto_ack += count;
        self.totals.delivered_auto_ack += count;
    }

    /// A message that was published to an empty queue went straight to a consumer, which will acknowledge it. Says its
    /// sequence.
    #[inline]
    pub fn handed_over(&mut self, queue: &mut Queue) -> u64 {
        queue.drain.count_take(1);
        queue.ledger.counters.delivered_manual_ack += 1;
        self.totals.delivered_manual_ack += 1;
        self.hold(queue, 1);
        queue.backlog.pass_through(1)
    }

    /// Messages of a queue's backlog were delivered.
    #[inline]
    pub fn delivered(&mut self, queue: &mut Queue, given: &Given) {
        let &Given { no_ack, count, redelivered } = given;
        self.taken(queue, count, redelivered);
        let counters = &mut queue.ledger.counters;
        if no_ack {
            counters.delivered_auto_ack += count as u64;
            self.totals.delivered_auto_ack += count as u64;
        } else {
            counters.delivered_manual_ack += count as u64;
            self.totals.delivered_manual_ack += count as u64;
            self.hold(queue, count);
        }
    }

    /// `basic.get` took a message of a queue's backlog.
    pub fn got(&mut self, queue: &mut Queue, no_ack: bool, redelivered: bool) {
        self.taken(queue, 1, usize::from(redelivered));
        let counters = &mut queue.ledger.counters;
        if no_ack {
            counters.got_auto_ack += 1;
            self.totals.got_auto_ack += 1;
        } else {
            counters.got_manual_ack += 1;
            self.totals.got_manual_ack += 1;
            self.hold(queue, 1);
        }
    }

    /// `basic.get` found nothing.
    pub fn got_nothing(&mut self, queue: &mut Queue) {
        queue.ledger.counters.get_empty += 1;
        self.totals.get_empty += 1;
    }

    #[inline]
    fn taken(&mut self, queue: &mut Queue, count: usize, redelivered: usize) {
        self.ready -= count;
        queue.drain.count_take(count as u64);
        queue.ledger.counters.redelivered += redelivered as u64;
        self.totals.redelivered += redelivered as u64;
    }

    #[inline]
    fn hold(&mut self, queue: &mut Queue, count: usize) {
        queue.ledger.unacknowledged += count;
        self.unacknowledged += count;
    }

    #[inline]
    pub(super) fn release(&mut self, queue: &mut Queue, count: usize) {
        queue.ledger.unacknowledged -= count;
        self.unacknowledged -= count;
    }

    #[inline]
    fn depart(&mut self, queue: &mut Queue, count: usize, departure: Departure) {
        if let Some(reason) = departure.reason() {
            self.dead_letters.count(queue, reason, count as u64);
        }
        match departure {
            Departure::Acknowledged => {
                queue.ledger.counters.acknowledged += count as u64;
                self.totals.acknowledged += count as u64;
            }
            Departure::Rejected | Departure::Overflowed | Departure::LimitReached => {
                queue.ledger.dropped += count as u64;
            }
            Departure::Expired => queue.ledger.counters.expired += count as u64,
        }
    }
}

impl<S: Store> Broker<S> {
    /// A message that was given to a client is acknowledged, and leaves for good.
    #[inline]
    pub(in crate::broker) fn settled(&mut self, id: QueueId, taken: &Taken) {
        let Self { queues, books, store, .. } = self;
        let queue = &mut queues[id.0 as usize];
        books.release(queue, 1);
        books.depart(queue, 1, Departure::Acknowledged);
        tell_removed(store, queue, taken);
    }

    /// A message that was given to a client leaves for good without having been acknowledged.
    pub(in crate::broker) fn settled_dead(&mut self, id: QueueId, taken: Taken, departure: Departure) {
        let Self { queues, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        books.release(queue, 1);
        books.depart(queue, 1, departure);
        self.depart_dead(id, taken, departure);
    }

    /// As [`settled`](Self::settled), for the next run of a channel's deliveries up to `delivery_tag`. Says how many those
    /// were.
    pub(in crate::broker) fn settled_run(
        &mut self,
        channel: ChannelId,
        delivery_tag: u64,
        run: DeliveredRun,
        departure: Departure,
    ) -> usize {
        let Self { channels, queues, books, store, .. } = self;
        let unacknowledged = &mut channels[channel.0 as usize].unacknowledged;
        let queue = &mut queues[run.0.0 as usize];
        let followers = Followers::of(queue);
        let count = match queue.is_followed() {
            true => unacknowledged.drop_run(delivery_tag, run, |taken| followers.tell(store, taken)),
            false => unacknowledged.drop_run(delivery_tag, run, |_| {}),
        };
        books.release(queue, count);
        books.depart(queue, count, departure);
        count
    }

    /// As [`settled_dead`](Self::settled_dead), for the next run of a channel's deliveries up to `delivery_tag` that a client
    /// rejected, of a queue with a dead-letter exchange. Says how many those were.
    pub(in crate::broker) fn settled_run_dead(
        &mut self,
        channel: ChannelId,
        delivery_tag: u64,
        run: DeliveredRun,
    ) -> usize {
        let Self { channels, queues, books, .. } = self;
        let (rejected, count) = channels[channel.0 as usize].unacknowledged.take_run(delivery_tag, run);
        let queue = &mut queues[run.0.0 as usize];
        books.release(queue, count);
        books.depart(queue, count, Departure::Rejected);
        if let Some(seen) = &queue.seen {
            rejected.iter().flatten().for_each(|delivered| seen.forget(&delivered.taken));
        }
        self.dead_letters_of_run(run.0, rejected, count);
        count
    }

    /// A message of a deleted queue is settled, in whatever way. The last one takes the queue's slot along.
    #[cold]
    pub(in crate::broker) fn settled_too_late(&mut self, id: QueueId) {
        let Self { queues, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        books.release(queue, 1);
        queue.ledger.dropped += 1;
        self.forget_deleted(id);
    }

    /// Frees a deleted queue's slot once nothing of it is unacknowledged, and nothing leads to it.
    pub(in crate::broker) fn forget_deleted(&mut self, id: QueueId) {
        let queue = self.queue(id);
        if queue.ledger.unacknowledged == 0 && !self.router(queue.properties.vhost).has_queue(id) {
            let queue = self.queues.remove(id.0 as usize);
            self.vhosts[queue.properties.vhost].queues -= 1;
            self.books.gone[queue.behaviour.kind as usize].add(&queue.ledger.counters);
        }
    }

    /// A message that was taken off a backlog leaves for good: it is expired, or too much.
    pub(in crate::broker) fn dropped(&mut self, id: QueueId, taken: Taken, departure: Departure) {
        let Self { queues, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        books.ready -= 1;
        books.depart(queue, 1, departure);
        self.depart_dead(id, taken, departure);
    }

    /// A message that was counted out of its queue is removed at once, or when it was published as a dead letter.
    fn depart_dead(&mut self, id: QueueId, taken: Taken, departure: Departure) {
        let queue = &self.queues[id.0 as usize];
        match (&queue.behaviour.dead_letters, departure.reason()) {
            (Some(_), Some(reason)) => {
                if let Some(seen) = &queue.seen {
                    seen.forget(&taken);
                }
                self.dead_letter(id, taken, reason);
            }
            _ => tell_removed(&mut self.store, queue, &taken),
        }
    }

    /// Drops a queue's waiting messages, and says how many. The log is told at once, unless many had come back: see
    /// [`Discarded`](super::Discarded).
    pub(in crate::broker) fn purge(&mut self, id: QueueId) -> u32 {
        let queue = &mut self.queues[id.0 as usize];
        let length = queue.backlog.len();
        let retries = queue.retries.take();
        let retry_count = retries.as_ref().map_or(0, |retries| retries.len());
        let mut nothing_else = true;
        if let Some(durable_id) = queue.durable_id {
            nothing_else = queue.ledger.unacknowledged == 0 && queue.dead_letters == 0;
            for backlog in queue.backlog.levels() {
                let durable_id = durable_id.level(backlog.level());
                match backlog.next_sequence().checked_sub(1) {
                    Some(last) if nothing_else => _ = self.store.purged(durable_id, last),
                    _ => {
                        // Transient messages among them are none of the log's, and it takes no notice.
                        if let Some((first, last)) = backlog.ring_range() {
                            self.store.removed_range(durable_id, first, last);
                        }
                    }
                }
            }
        }
        let to_tell = queue.durable_id.filter(|_| !nothing_else || retry_count > 0).map(|_| queue.key(id));
        queue.ledger.dropped += (length + retry_count) as u64;
        // Those of messages that clients hold as well, as the plugin has it.
        if let Some(seen) = &queue.seen {
            seen.clear();
        }
        self.books.ready -= length;
        let backlogs = self.empty_backlog(id);
        self.discard(Discarded { to_tell, backlogs, retries });
        count(length + retry_count)
    }

    /// So many messages of an earlier run never came.
    pub(super) fn lose(&mut self, id: QueueId, count: usize) {
        self.queues[id.0 as usize].ledger.dropped += count as u64;
        self.books.ready -= count;
    }

    /// A queue's head is another one: more of it may have to come back to memory, and it may expire sooner.
    pub(in crate::broker) fn head_moved(&mut self, id: QueueId) {
        self.read_ahead(id);
        self.schedule_expiry(id);
    }
}
