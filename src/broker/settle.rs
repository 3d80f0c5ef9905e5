//! What becomes of deliveries: acknowledged, rejected, requeued, recovered; and transactions, which do it later.

use super::channel::{ChannelMode, PendingPublish, PendingSettlement, Settlement, Transaction};
use super::consumer::ConsumerState;
use super::effects::Effects;
use super::flow::Departure;
use super::pace::Said;
use super::publish::{Committed, Origin, Publication};
use super::settling::{Progress, RETURN_COST};
use super::store::Store;
use super::unacknowledged::Delivered;
use super::{Broker, ChannelId, ConsumerId, Done};
use crate::protocol::{AmqpError, ReplyCode};

impl<S: Store> Broker<S> {
    /// `basic.ack`, `basic.nack` and `basic.reject`: settles one delivery, or all up to the tag, many of them in several
    /// turns. Tag 0 with `multiple` means all there are.
    ///
    /// # Errors
    /// 406 `unknown delivery tag N`.
    pub fn settle(
        &mut self,
        id: ChannelId,
        delivery_tag: u64,
        multiple: bool,
        outcome: Settlement,
    ) -> Result<Progress, AmqpError> {
        let channel = self.channel_mut(id);
        if multiple {
            // The last one goes last, so that it is there as long as the command is unfinished.
            if delivery_tag != 0 && !channel.unacknowledged.contains(delivery_tag) {
                return self.settle_up_to_settled(id, delivery_tag, outcome);
            }
            let up_to = if delivery_tag == 0 { channel.all_tags() } else { delivery_tag };
            return Ok(self.settle_up_to(id, up_to, outcome));
        }
        let Some(delivered) = channel.unacknowledged.take(delivery_tag) else {
            return self.take_settled(id, delivery_tag);
        };
        self.settle_or_keep(id, delivery_tag, delivered, outcome, Said::OfOne);
        self.await_turns(id);
        Ok(Progress::Finished)
    }

    /// What a delivery that is not there was settled for its holder, who says it once more.
    #[cold]
    fn take_settled(&mut self, id: ChannelId, delivery_tag: u64) -> Result<Progress, AmqpError> {
        let settled_for = &mut self.channel_mut(id).settled_for;
        match settled_for.as_mut().is_some_and(|tags| tags.remove(&delivery_tag)) {
            true => Ok(Progress::Finished),
            false => Err(unknown_delivery_tag(delivery_tag)),
        }
    }

    /// The same, of one up to which all are meant.
    #[cold]
    fn settle_up_to_settled(
        &mut self,
        id: ChannelId,
        delivery_tag: u64,
        outcome: Settlement,
    ) -> Result<Progress, AmqpError> {
        if !self.channel(id).settled_for.as_ref().is_some_and(|tags| tags.contains(&delivery_tag)) {
            return Err(unknown_delivery_tag(delivery_tag));
        }
        let progress = self.settle_up_to(id, delivery_tag, outcome);
        if progress == Progress::Finished
            && let Some(tags) = &mut self.channel_mut(id).settled_for
        {
            **tags = tags.split_off(&(delivery_tag + 1));
        }
        Ok(progress)
    }

    /// As [`settle`](Self::settle) for all that a channel holds, in this turn: for the broker's own interfaces, who hold
    /// little.
    pub fn settle_at_once(&mut self, id: ChannelId, outcome: Settlement) {
        let left = std::mem::replace(&mut self.settling.left, usize::MAX);
        let progress = self.settle_up_to(id, u64::MAX, outcome);
        debug_assert_eq!(progress, Progress::Finished);
        self.settling.left = left;
    }

    fn settle_up_to(&mut self, id: ChannelId, delivery_tag: u64, outcome: Settlement) -> Progress {
        if let Some(departure) = departure(outcome)
            && !self.is_transactional(id)
        {
            self.settle_runs(id, delivery_tag, departure);
        }
        while self.settling.left > 0
            && let Some((tag, delivered)) = self.channel_mut(id).unacknowledged.take_next_up_to(delivery_tag)
        {
            self.settling.count(1, RETURN_COST);
            self.settle_or_keep(id, tag, delivered, outcome, Said::OfSeveral);
        }
        self.await_turns(id);
        if self.settling.left > 0 && self.channel(id).settles_up_to.is_none() {
            return Progress::Finished;
        }
        self.pause_or_finish(id, delivery_tag, departure(outcome).is_none())
    }

    /// Settles deliveries for good, a run of those of one queue and consumer at a time, as many as a turn does. Leaves those
    /// of deleted queues.
    fn settle_runs(&mut self, id: ChannelId, delivery_tag: u64, departure: Departure) {
        while self.settling.left > 0
            && let Some(run) = self.channel(id).unacknowledged.next_run(delivery_tag)
        {
            let queue = self.queue(run.0);
            let (most, cost) = self.settling.departures_left(queue.seen.is_some());
            let delivery_tag = self.channel(id).unacknowledged.tag_of_some(delivery_tag, most);
            let are_dead_letters = departure != Departure::Acknowledged && queue.behaviour.dead_letters.is_some();
            if queue.deleted {
                return;
            }
            let count = match are_dead_letters {
                true => self.settled_run_dead(id, delivery_tag, run),
                false => self.settled_run(id, delivery_tag, run, departure),
            };
            self.settling.count(count, cost);
            let count = count as u32;
            if let Some(consumer) = run.1 {
                self.channel_mut(id).consumer_deliveries -= count;
                self.give_credit_back(consumer, count, Said::OfSeveral);
            }
        }
    }

    /// Settles a delivery now, or with the transaction that is open.
    #[inline]
    fn settle_or_keep(
        &mut self,
        id: ChannelId,
        delivery_tag: u64,
        delivered: Delivered,
        outcome: Settlement,
        said: Said,
    ) {
        if let ChannelMode::Transaction(transaction) = &mut self.channel_mut(id).mode {
            transaction.settlements.push_back(PendingSettlement { delivery_tag, delivered, outcome });
        } else {
            self.settle_delivery(id, delivered, outcome, said);
        }
    }

    #[inline]
    pub(super) fn settle_delivery(&mut self, id: ChannelId, delivered: Delivered, outcome: Settlement, said: Said) {
        if delivered.consumer.is_some() {
            self.channels[id.0 as usize].consumer_deliveries -= 1;
        }
        self.settle_delivered(delivered, outcome, said);
    }

    /// Settles a delivery of whatever channel.
    #[inline]
    pub(super) fn settle_delivered(&mut self, delivered: Delivered, outcome: Settlement, said: Said) {
        let Delivered { taken, queue: queue_id, consumer } = delivered;
        if self.queue(queue_id).deleted {
            self.settled_too_late(queue_id);
        } else {
            match outcome {
                Settlement::Acknowledged => self.settled(queue_id, &taken),
                Settlement::Discarded => self.settled_dead(queue_id, taken, Departure::Rejected),
                Settlement::Requeued => self.put_back(queue_id, taken, false),
                Settlement::Failed => self.put_back(queue_id, taken, true),
            }
        }
        if let Some(consumer) = consumer {
            self.give_credit_back(consumer, 1, said);
        }
    }

    #[inline]
    fn give_credit_back(&mut self, id: ConsumerId, count: u32, said: Said) {
        let consumer = &mut self.consumers[id.0 as usize];
        consumer.unacknowledged -= count;
        consumer.pace.note(said, self.now_ms);
        match consumer.state {
            ConsumerState::PrefetchReached => self.replenish_or_wait(id),
            ConsumerState::Cancelled => self.forget_cancelled(id),
            _ => {}
        }
    }

    /// `basic.recover(requeue = true)`: everything unacknowledged goes back to its place, in several turns when it is much.
    pub fn recover(&mut self, id: ChannelId) -> Progress {
        let up_to = self.channel(id).all_tags();
        // Inside a transaction recovering is not undone by a rollback, in RabbitMQ either.
        while self.settling.left > 0
            && let Some((_, delivered)) = self.channel_mut(id).unacknowledged.take_next_up_to(up_to)
        {
            self.settling.count(1, RETURN_COST);
            self.settle_delivery(id, delivered, Settlement::Requeued, Said::OfSeveral);
        }
        self.await_turns(id);
        self.pause_or_finish(id, up_to, true)
    }

    /// `confirm.select`.
    ///
    /// # Errors
    /// 406 on a transactional channel.
    pub fn select_confirms(&mut self, id: ChannelId) -> Result<(), AmqpError> {
        let mode = &mut self.channel_mut(id).mode;
        match mode {
            ChannelMode::Plain => *mode = ChannelMode::Confirm(super::Confirms::default()),
            ChannelMode::Confirm(_) => {}
            ChannelMode::Transaction(_) => {
                return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "cannot switch from tx to confirm mode"));
            }
        }
        Ok(())
    }

    /// `tx.select`.
    ///
    /// # Errors
    /// 406 on a channel with confirms.
    pub fn select_transaction(&mut self, id: ChannelId) -> Result<(), AmqpError> {
        let mode = &mut self.channel_mut(id).mode;
        match mode {
            ChannelMode::Plain => *mode = ChannelMode::Transaction(Transaction::default()),
            ChannelMode::Transaction(_) => {}
            ChannelMode::Confirm(_) => {
                return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "cannot switch from confirm to tx mode"));
            }
        }
        Ok(())
    }

    pub fn is_transactional(&self, id: ChannelId) -> bool {
        matches!(self.channel(id).mode, ChannelMode::Transaction(_))
    }

    fn take_transaction(&mut self, id: ChannelId) -> Result<Transaction, AmqpError> {
        match &mut self.channel_mut(id).mode {
            ChannelMode::Transaction(transaction) => Ok(std::mem::take(transaction)),
            _ => Err(AmqpError::channel(ReplyCode::PreconditionFailed, "channel is not transactional")),
        }
    }

    /// `tx.commit`: publishes first, then what was settled, in several turns when it is much.
    ///
    /// # Errors
    /// 406 without `tx.select`, and when a queue refused something: all else of the transaction has happened then.
    pub fn commit(&mut self, id: ChannelId, effects: &mut impl Effects) -> Result<Done<Progress>, AmqpError> {
        let mut transaction = self.take_transaction(id)?;
        let (mut committed, caller) = (std::mem::take(&mut transaction.committed), self.caller(id));
        while self.settling.left > 0
            && let Some(pending) = transaction.publishes.pop_front()
        {
            self.settling.count(1 + pending.queues.len(), RETURN_COST);
            let PendingPublish { ref message, attributes, mandatory, .. } = pending;
            let publication = Publication { content: message.content(), attributes, mandatory };
            let origin = Origin::Transaction { pending: &pending, committed: &mut committed };
            self.publish_from(origin, caller, &publication, effects)?;
        }
        while self.settling.left > 0
            && let Some(pending) = transaction.settlements.pop_front()
        {
            self.settling.count(1, RETURN_COST);
            self.settle_delivery(id, pending.delivered, pending.outcome, Said::OfSeveral);
            committed.settles = true;
        }
        self.await_turns(id);
        transaction.committed = committed;
        let Some(transaction) = self.finish_transaction(id, transaction) else {
            return Ok(Done::at_once(Progress::Unfinished));
        };
        let Committed { mut durable_at, refused, settles } = transaction.committed;
        if settles {
            // By themselves acknowledgements wait for nothing, but the client was promised all of the transaction.
            durable_at = durable_at.max(self.store.everything());
        }
        if refused {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "partial tx completion"));
        }
        Ok(Done { value: Progress::Finished, durable_at })
    }

    /// `tx.rollback`: publishes are dropped, settled deliveries are unacknowledged again, in several turns when they are many.
    ///
    /// # Errors
    /// 406 without `tx.select`.
    pub fn roll_back(&mut self, id: ChannelId) -> Result<Progress, AmqpError> {
        let mut transaction = self.take_transaction(id)?;
        while self.settling.left > 0
            && let Some(pending) = transaction.settlements.pop_front()
        {
            self.settling.count(1, RETURN_COST);
            self.channel_mut(id).unacknowledged.restore(pending.delivery_tag, pending.delivered);
        }
        while self.settling.left > 0
            && let Some(pending) = transaction.publishes.pop_front()
        {
            self.settling.count(1, RETURN_COST);
            // It never was.
            let vhost = self.caller(id).vhost;
            self.take_values_back(vhost, &pending.noted);
        }
        let is_over = self.finish_transaction(id, transaction).is_some();
        Ok(if is_over { Progress::Finished } else { Progress::Unfinished })
    }

    /// Gives a transaction back that is over. One of which something is left goes on in the next turn.
    fn finish_transaction(&mut self, id: ChannelId, transaction: Transaction) -> Option<Transaction> {
        if transaction.publishes.is_empty() && transaction.settlements.is_empty() {
            self.release_holds(id);
            return Some(transaction);
        }
        // What is requeued goes before what is there.
        self.hold_sources(id);
        self.channel_mut(id).mode = ChannelMode::Transaction(transaction);
        None
    }
}

/// How a message leaves for good; `None` when it does not.
#[inline]
fn departure(outcome: Settlement) -> Option<Departure> {
    match outcome {
        Settlement::Acknowledged => Some(Departure::Acknowledged),
        Settlement::Discarded => Some(Departure::Rejected),
        Settlement::Requeued | Settlement::Failed => None,
    }
}

fn unknown_delivery_tag(delivery_tag: u64) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, format!("unknown delivery tag {delivery_tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ConnectionId, DeclareRequest, GetOutcome, Publication};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);

    /// Settles `count` messages, one by one or together, and says how many count as acknowledged: in all, and of the
    /// queue.
    fn acknowledged(outcome: Settlement, count: u64, multiple: bool, in_transaction: bool) -> (u64, u64) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let (name, arguments) = (b"q".as_slice(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(testing::caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        let queue = broker.existing_queue(testing::VHOST, name).unwrap();
        let content = testing::CONTENT;
        let publication = Publication { content, attributes: Default::default(), mandatory: false };
        (0..count).for_each(|_| broker.publish(channel, &publication, &[queue], &mut Nobody));
        for _ in 0..count {
            assert!(matches!(broker.get(broker.caller(channel), name, false, &mut Nobody), Ok(GetOutcome::Got(_))));
        }
        if in_transaction {
            broker.select_transaction(channel).unwrap();
        }
        if multiple {
            broker.settle(channel, count, true, outcome).unwrap();
        } else {
            (1..=count).for_each(|tag| _ = broker.settle(channel, tag, false, outcome).unwrap());
        }
        if in_transaction {
            assert_eq!(broker.totals().acknowledged, 0, "not before the commit");
            broker.commit(channel, &mut Nobody).unwrap();
        }
        broker.census();
        (broker.totals().acknowledged, broker.queue(queue).ledger.counters().acknowledged)
    }

    #[test]
    fn only_acknowledgements_count_as_acknowledged() {
        const COUNT: u64 = 3;
        for (multiple, in_transaction) in [(false, false), (true, false), (false, true), (true, true)] {
            let acknowledged = |outcome| acknowledged(outcome, COUNT, multiple, in_transaction);
            assert_eq!(acknowledged(Settlement::Acknowledged), (COUNT, COUNT), "{multiple} {in_transaction}");
            assert_eq!(acknowledged(Settlement::Discarded), (0, 0), "{multiple} {in_transaction}");
            assert_eq!(acknowledged(Settlement::Requeued), (0, 0), "{multiple} {in_transaction}");
        }
    }
}
