//! What becomes of deliveries, and of everything that a queue, channel or connection takes along.

use super::{ClientId, ConsumerKey, Count, Kept, Mode, Model, Pending, QueueKey, Unacked};
use crate::command::Outcome;

impl Model {
    /// Settles what was taken out of a channel's unacked.
    fn settle_delivery(&mut self, unacked: Unacked, outcome: Outcome) {
        let Unacked { queue, sequence, mut entry, consumer } = unacked;
        if outcome == Outcome::Requeued
            && let Some(queue) = self.queues.get_mut(&queue)
        {
            entry.delivered = true;
            entry.fresh = false;
            queue.ready.insert(sequence, entry);
        }
        if let Some(consumer) = consumer.and_then(|key| self.consumers.get_mut(&key)) {
            if consumer.unacked >= usize::from(consumer.prefetch_count) {
                consumer.short_since_ms = Some(self.now_ms);
            }
            consumer.unacked -= 1;
        }
    }

    /// ack, nack and reject. 406 for a tag that isn't there.
    pub(super) fn settle(
        &mut self,
        client: ClientId,
        number: u16,
        (delivery_tag, multiple): (u64, bool),
        outcome: Outcome,
    ) -> Result<(), u16> {
        let channel = self.channel(client, number);
        let tags: Vec<u64> = match (multiple, delivery_tag) {
            (true, 0) => channel.unacked.keys().copied().collect(),
            (_, tag) if !channel.unacked.contains_key(&tag) => return Err(406),
            (true, tag) => channel.unacked.range(..=tag).map(|(tag, _)| *tag).collect(),
            (false, tag) => vec![tag],
        };
        for delivery_tag in tags {
            let channel = self.channel(client, number);
            let unacked = channel.unacked.remove(&delivery_tag).expect("its tag was listed");
            match &mut channel.mode {
                Mode::Transaction { settlements, .. } => {
                    settlements.push(Pending { delivery_tag, unacked, outcome });
                }
                _ => self.settle_delivery(unacked, outcome),
            }
        }
        Ok(())
    }

    pub(super) fn recover(&mut self, client: ClientId, number: u16) {
        for unacked in std::mem::take(&mut self.channel(client, number).unacked).into_values() {
            self.settle_delivery(unacked, Outcome::Requeued);
        }
    }

    /// tx.commit publishes first, and consumers may get that before anything is settled: the rest is for
    /// [`finish_commit`](Self::finish_commit).
    pub(super) fn commit(&mut self, client: ClientId, number: u16) -> Result<(), u16> {
        let (publishes, settlements) = self.take_transaction(client, number)?;
        for Kept { message, routed } in publishes {
            // A queue that was deleted, or the one that was declared in its place.
            let namesake = |key: QueueKey| {
                let (vhost, name) = &self.all_names[key];
                self.names.get(&(*vhost, name.clone()?)).copied()
            };
            let there = |key| if self.queues.contains_key(&key) { Some(key) } else { namesake(key) };
            let queues = routed.into_iter().filter_map(there).collect();
            self.enqueue(client, number, &message, queues);
        }
        self.committing = settlements;
        Ok(())
    }

    /// Settles what the last commit was to settle.
    pub fn finish_commit(&mut self) {
        self.end_freshness();
        self.begin_doubts();
        for pending in std::mem::take(&mut self.committing) {
            if pending.outcome != Outcome::Requeued {
                self.lasting.remove(pending.unacked.queue, pending.unacked.sequence);
            }
            self.settle_delivery(pending.unacked, pending.outcome);
        }
    }

    pub(super) fn roll_back(&mut self, client: ClientId, number: u16) -> Result<(), u16> {
        let (_, settlements) = self.take_transaction(client, number)?;
        let restored = settlements.into_iter().map(|pending| (pending.delivery_tag, pending.unacked));
        self.channel(client, number).unacked.extend(restored);
        Ok(())
    }

    fn take_transaction(&mut self, client: ClientId, number: u16) -> Result<(Vec<Kept>, Vec<Pending>), u16> {
        match &mut self.channel(client, number).mode {
            Mode::Transaction { publishes, settlements } => {
                Ok((std::mem::take(publishes), std::mem::take(settlements)))
            }
            _ => Err(406),
        }
    }

    /// A consumer leaves its queue; the last one takes an auto-delete queue along.
    pub(super) fn remove_consumer(&mut self, key: ConsumerKey) {
        let consumer = self.consumers.remove(&key).expect("it was listed");
        if let Some(channel) =
            self.clients.get_mut(&consumer.client).and_then(|c| c.channels.get_mut(&consumer.channel))
        {
            channel.consumers.retain(|other| *other != key);
        }
        let now_ms = self.now_ms;
        let queue = self.queues.get_mut(&consumer.queue).expect("a consumer's queue lives");
        queue.consumers.retain(|other| *other != key);
        if queue.consumers.is_empty() {
            queue.last_used_ms = now_ms;
            if queue.declare.auto_delete {
                self.delete_queue(consumer.queue);
            }
        }
    }

    /// Deletes a queue and tells those who consumed from it. Says how many messages it had.
    pub(super) fn delete_queue(&mut self, key: QueueKey) -> Count {
        let queue = self.queues.remove(&key).expect("it was found");
        let count = queue.count();
        if let Some(name) = &queue.name {
            self.names.remove(&(queue.vhost, name.clone()));
        }
        self.routings.get_mut(&queue.vhost).expect("a queue's virtual host stays").queue_gone(key);
        for consumer in queue.consumers {
            let consumer = self.consumers.remove(&consumer).expect("it was listed");
            let client = self.clients.get_mut(&consumer.client).expect("a consumer's client is there");
            let channel = client.channels.get_mut(&consumer.channel).expect("a consumer's channel is open");
            channel.consumers.retain(|other| self.consumers.contains_key(other));
            if client.understands_cancel {
                // The queue can only go under a consumer by a command that was sent after consume-ok was written.
                client.cancellations.insert((consumer.channel, consumer.tag.unwrap_or_default()));
            }
        }
        count
    }

    /// A channel ends: its consumers go, what it held returns to its place.
    pub(super) fn end_channel(&mut self, client: ClientId, number: u16) {
        for consumer in self.channel(client, number).consumers.clone() {
            self.remove_consumer(consumer);
        }
        let channel = self.channel(client, number);
        let pending = match std::mem::replace(&mut channel.mode, Mode::Plain) {
            Mode::Transaction { settlements, .. } => settlements,
            _ => Vec::new(),
        };
        let unacked = std::mem::take(&mut channel.unacked);
        for unacked in pending.into_iter().map(|pending| pending.unacked).chain(unacked.into_values()) {
            self.settle_delivery(unacked, Outcome::Requeued);
        }
        let gone = |(channel, _): &(u16, String)| *channel != number;
        self.clients.get_mut(&client).expect("it has a channel").cancellations.retain(gone);
    }

    /// A connection ends, whatever way: its channels end, its exclusive queues go.
    pub(super) fn end_connection(&mut self, client: ClientId) {
        let state = self.clients.get_mut(&client).expect("it was there");
        state.open = false;
        let numbers: Vec<u16> =
            state.channels.iter().filter(|(_, channel)| !channel.closing).map(|(n, _)| *n).collect();
        for number in numbers {
            self.end_channel(client, number);
        }
        let exclusive = self.queues.iter().filter(|(_, queue)| queue.owner == Some(client)).map(|(key, _)| *key);
        for key in exclusive.collect::<Vec<_>>() {
            self.delete_queue(key);
        }
        self.clients.get_mut(&client).expect("it was there").channels.clear();
        self.clear_vhosts();
    }

    /// The client's socket is gone.
    pub fn disconnect(&mut self, client: ClientId) {
        self.lasting.begin_act();
        self.begin_doubts();
        self.end_connection(client);
        self.clients.remove(&client);
        self.end_act();
    }
}
