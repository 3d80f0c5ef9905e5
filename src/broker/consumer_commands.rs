//! `basic.consume`, `basic.cancel`, `basic.get` and `basic.qos`.

use super::channel::ReplyConsumer;
use super::consumer::{Consumer, ConsumerState};
use super::consumer_arguments::ConsumerArguments;
use super::done::count;
use super::effects::Effects;
use super::exchange::QueueId;
use super::flow::tell_removed;
use super::message::MessageRef;
use super::pace::Pace;
use super::store::Store;
use super::unacknowledged::Delivered;
use super::{Broker, Caller, ChannelId, ConsumerId, QueueKey};
use crate::protocol::{AmqpError, FieldTable, ReplyCode, ShortString};

/// `basic.consume`.
pub struct ConsumeRequest<'a> {
    pub queue: &'a [u8],
    /// Empty: the broker makes one up.
    pub consumer_tag: &'a [u8],
    pub no_ack: bool,
    pub exclusive: bool,
    pub arguments: FieldTable,
}

/// What `basic.get` finds.
pub enum GetOutcome {
    Got(Got),
    Empty,
    /// The message at the head is on its way back, to memory or to its queue: ask again when it
    /// [is not away](Broker::head_is_away) any more.
    Away(QueueKey),
}

/// `basic.get-ok`.
pub struct Got {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub message: MessageRef,
    /// Messages that still wait.
    pub message_count: u32,
}

impl<S: Store> Broker<S> {
    /// `basic.consume`: says the consumer's tag. Deliveries follow with the next [`pump`](Self::pump), so that they come
    /// after consume-ok.
    ///
    /// # Errors
    /// 403 also when the queue is in exclusive use, 404, 405, 406 for arguments; on the connection 530 for a tag in use and
    /// 540 where the queue knows no limit for a channel as a whole.
    pub fn consume(&mut self, caller: Caller, request: ConsumeRequest<'_>) -> Result<ShortString, AmqpError> {
        let Caller { connection, channel: id, .. } = caller;
        if self.means_replies(caller, request.queue)? {
            return self.consume_replies(id, &request);
        }
        let tag = self.new_consumer_tag(id, request.consumer_tag)?;
        let queue_id = self.queue_to_read(caller, request.queue)?;
        let channel = self.channel(id);
        let (channel_number, prefetch_count) = (channel.number, channel.consumer_prefetch_count);
        let ConsumerArguments { priority, timeout_ms } = self.consumer_arguments(queue_id, &request.arguments)?;
        self.assert_consumes_on(queue_id, id)?;
        // A queue of type quorum is never in exclusive use, whatever is asked for.
        let exclusive = request.exclusive && !self.is_quorum(queue_id);
        let queue = &self.queues[queue_id.0 as usize];
        if !queue.gate.admits(exclusive) {
            let explanation =
                format!("{} in exclusive use", self.subject("queue", caller.vhost, &queue.properties.name));
            return Err(AmqpError::channel(ReplyCode::AccessRefused, explanation));
        }
        let doing = format!("consume from queue '{}'", queue.properties.name);
        let vhost = &mut self.vhosts[caller.vhost];
        vhost.assert_below(vhost.limits.consumers_max, vhost.consumers, &doing, "consumer")?;
        vhost.consumers += 1;
        let consumer = Consumer {
            connection,
            channel: id,
            channel_number,
            queue: queue_id,
            tag: tag.clone(),
            no_ack: request.no_ack,
            exclusive: request.exclusive,
            priority,
            prefetch_count,
            unacknowledged: 0,
            state: ConsumerState::InLine,
            listed: true,
            awaits_more: false,
            pace: Pace::default(),
            place_in_queue: 0,
            arguments: request.arguments,
            timeout_ms,
        };
        if let Some(timeout_ms) = timeout_ms {
            self.note_timeout(timeout_ms);
        }
        let consumer_id =
            ConsumerId(u32::try_from(self.consumers.insert(consumer)).expect("fewer than 2^32 consumers"));
        let place = self.queue_mut(queue_id).gate.register(consumer_id, priority, exclusive);
        self.consumers[consumer_id.0 as usize].place_in_queue = place;
        self.channel_mut(id).consumers.insert(tag.clone(), consumer_id);
        self.tell_consumer_created(consumer_id);
        if self.queue(queue_id).gate.is_active(consumer_id) {
            self.rejoin(consumer_id);
        } else {
            self.wait_to_be_active(consumer_id);
        }
        Ok(tag)
    }

    fn new_consumer_tag(&mut self, id: ChannelId, tag: &[u8]) -> Result<ShortString, AmqpError> {
        if tag.is_empty() {
            return Ok(self.names.consumer_tag());
        }
        let channel = self.channel(id);
        let is_reply_consumer = channel.reply_consumer.as_ref().is_some_and(|consumer| &*consumer.tag == tag);
        if is_reply_consumer || channel.consumers.contains_key(tag) {
            let tag = String::from_utf8_lossy(tag);
            let explanation = format!("attempt to reuse consumer tag '{tag}'");
            return Err(AmqpError::connection(ReplyCode::NotAllowed, explanation));
        }
        Ok(ShortString::truncated(tag))
    }

    fn consume_replies(&mut self, id: ChannelId, request: &ConsumeRequest<'_>) -> Result<ShortString, AmqpError> {
        let refuse = |why: &str| Err(AmqpError::channel(ReplyCode::PreconditionFailed, why));
        if self.channel(id).reply_consumer.is_some() {
            return refuse("reply consumer already set");
        }
        if !request.no_ack {
            return refuse("reply consumer cannot acknowledge");
        }
        let tag = self.new_consumer_tag(id, request.consumer_tag)?;
        let token: Box<str> = format!("{}.{}", self.names.token(), self.names.token()).into();
        self.reply_channels.insert(token.clone(), id);
        self.channel_mut(id).reply_consumer = Some(ReplyConsumer { tag: tag.clone(), token });
        Ok(tag)
    }

    /// `basic.cancel`. Cancelling an unknown tag is fine. What was delivered stays unacknowledged.
    pub fn cancel(&mut self, caller: Caller, tag: &[u8]) {
        let channel = self.channel_mut(caller.channel);
        if let Some(consumer) = channel.consumers.remove(tag) {
            self.tell_consumer_deleted(consumer, Some(caller.user));
            self.remove_consumer(consumer);
        } else if channel.reply_consumer.as_ref().is_some_and(|consumer| &*consumer.tag == tag) {
            self.forget_reply_consumer(caller.channel);
        }
    }

    pub(super) fn forget_reply_consumer(&mut self, id: ChannelId) {
        if let Some(consumer) = self.channel_mut(id).reply_consumer.take() {
            self.reply_channels.remove(&consumer.token);
        }
    }

    /// Takes a consumer off its queue; the last one takes an auto-delete queue along.
    pub(super) fn remove_consumer(&mut self, id: ConsumerId) {
        let consumer = &mut self.consumers[id.0 as usize];
        let (queue_id, place, state) = (consumer.queue, consumer.place_in_queue, consumer.state);
        let (channel, connection, priority) = (consumer.channel, consumer.connection, consumer.priority);
        consumer.state = ConsumerState::Cancelled;
        // It counts no more, and may live on in what is unacknowledged.
        consumer.arguments = FieldTable::default();
        let leaves_deliveries = consumer.unacknowledged > 0;
        let in_line = state == ConsumerState::InLine;
        // Lines let go of the cancelled when they come to them.
        consumer.listed = state != ConsumerState::PrefetchReached;
        self.forget_cancelled(id);
        if leaves_deliveries {
            self.note_source(channel, queue_id);
        }
        match state {
            ConsumerState::ChannelPrefetchReached => self.cancel_waiting(channel, queue_id),
            ConsumerState::OutboxFull => self.cancel_stalled(connection),
            ConsumerState::Waiting => self.cancel_successor(queue_id),
            _ => {}
        }

        let queue = &mut self.queues[queue_id.0 as usize];
        self.vhosts[queue.properties.vhost].consumers -= 1;
        queue.gate.deregister(place, priority);
        queue.gate.close_up(|moved, place| self.consumers[moved.0 as usize].place_in_queue = place);
        if in_line && queue.gate.line.note_cancelled() {
            self.sweep_line(queue_id);
        }
        self.activate_successor(queue_id);
        let queue = self.queue(queue_id);
        if queue.gate.is_unused() {
            if queue.properties.auto_delete {
                self.delete_queue_now(queue_id, None);
            } else {
                self.use_queue(queue_id);
            }
        }
    }

    /// Takes cancelled consumers out of a queue's line.
    pub(super) fn sweep_line(&mut self, id: QueueId) {
        let Self { queues, consumers, .. } = self;
        let mut freed = Vec::new();
        let is_cancelled = |id: ConsumerId| consumers[id.0 as usize].state == ConsumerState::Cancelled;
        let gate = &mut queues[id.0 as usize].gate;
        gate.line.sweep(is_cancelled, |id| freed.push(id));
        if let Some(successors) = gate.successors() {
            successors.sweep(is_cancelled, |id| freed.push(id));
        }
        freed.into_iter().for_each(|id| self.unlist_cancelled(id));
    }

    /// `basic.get`: the message at the head.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub fn get(
        &mut self,
        caller: Caller,
        queue: &[u8],
        no_ack: bool,
        effects: &mut impl Effects,
    ) -> Result<GetOutcome, AmqpError> {
        let queue_id = self.queue_to_read(caller, queue)?;
        self.assert_gives(queue_id)?;
        self.settle_deliveries(queue_id, effects);
        self.use_queue(queue_id);
        if self.queue(queue_id).behaviour.is_held() || self.brings_head_back(queue_id) || self.is_dropping(queue_id) {
            return Ok(GetOutcome::Away(self.queue_key(queue_id)));
        }
        let is_expired = self.has_expired_head(queue_id);
        let queue = &mut self.queues[queue_id.0 as usize];
        let Some(taken) = (!is_expired).then(|| queue.backlog.pop()).flatten() else {
            self.books.got_nothing(queue);
            return Ok(GetOutcome::Empty);
        };
        let (redelivered, message) = (taken.redelivered, taken.message.clone());
        self.books.got(queue, no_ack, redelivered);
        let channel = &mut self.channels[caller.channel.0 as usize];
        let delivery_tag = channel.next_delivery_tag();
        if no_ack {
            tell_removed(&mut self.store, queue, &taken);
        } else {
            channel.unacknowledged.push(delivery_tag, Delivered { taken, queue: queue_id, consumer: None });
            self.note_source(caller.channel, queue_id);
        }
        self.head_moved(queue_id);
        // What this one kept from expiring does not count as left.
        self.drop_expired(queue_id);
        if self.is_traced(caller.vhost) {
            let name = self.queue(queue_id).properties.name.clone();
            self.trace_delivery(caller.channel, &name, redelivered, &message.content(), effects);
        }
        let message_count = count(self.queue(queue_id).backlog.len());
        Ok(GetOutcome::Got(Got { delivery_tag, redelivered, message, message_count }))
    }

    /// `basic.qos(global = false)`: for the consumers that start after it. 0 for no limit.
    pub fn set_consumer_prefetch(&mut self, id: ChannelId, prefetch_count: u16) {
        self.channel_mut(id).consumer_prefetch_count = prefetch_count;
    }

    /// Gives the channel's running consumers the prefetch count of those that start later, for clients that read
    /// `basic.qos` as the specification has it: as a property of the channel.
    pub fn apply_consumer_prefetch(&mut self, id: ChannelId) {
        let channel = &self.channels[id.0 as usize];
        let prefetch_count = channel.consumer_prefetch_count;
        let consumers: Vec<ConsumerId> = channel.consumers.values().copied().collect();
        for id in consumers {
            let consumer = &mut self.consumers[id.0 as usize];
            consumer.prefetch_count = prefetch_count;
            if consumer.state == ConsumerState::PrefetchReached {
                self.replenish_or_wait(id);
            }
        }
    }

    /// `basic.qos(global = true)`: for the channel as a whole, at once. 0 for no limit.
    pub fn set_channel_prefetch(&mut self, id: ChannelId, prefetch_count: u16) {
        self.channel_mut(id).channel_prefetch_count = prefetch_count;
        self.channel_mut(id).allow_by_turns();
        self.await_turns(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ConnectionId;
    use crate::broker::snapshot::PageStart;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{Census, ConnectionClosed, DeclareRequest, Publication, Settlement};

    const CLIENT: ConnectionId = ConnectionId(0);

    fn broker() -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        (broker, channel)
    }

    fn declare(broker: &mut Broker<MemoryStore>, name: &[u8], exclusive: bool, auto_delete: bool) {
        let arguments = FieldTable::default();
        let request = DeclareRequest { name, durable: false, exclusive, auto_delete, arguments };
        broker.declare_queue(testing::caller(broker, CLIENT), request, &mut Nobody).unwrap();
    }

    fn consume(broker: &mut Broker<MemoryStore>, channel: ChannelId, queue: &[u8], consumer_tag: &[u8]) {
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue, consumer_tag, no_ack: false, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
    }

    #[test]
    fn nothing_stays_of_a_consumer_that_was_cancelled_before_its_queue_was_deleted() {
        let (mut broker, channel) = broker();
        declare(&mut broker, b"q", false, false);
        consume(&mut broker, channel, b"q", b"cancelled");
        consume(&mut broker, channel, b"q", b"staying");
        broker.cancel(broker.caller(channel), b"cancelled");
        broker.delete_queue(testing::caller(&broker, CLIENT), b"q", false, false, &mut Nobody).unwrap();
        assert_eq!(broker.consumers.len(), 0);
        broker.census();
    }

    #[test]
    fn consumers_that_wait_for_their_channel_go_with_their_queue_and_others_wait_on() {
        let (mut broker, channel) = broker();
        broker.set_channel_prefetch(channel, 1);
        let content = testing::CONTENT;
        let publication = Publication { content, attributes: Default::default(), mandatory: false };
        for name in [b"q".as_slice(), b"r"] {
            declare(&mut broker, name, false, false);
            let queue = broker.existing_queue(testing::VHOST, name).unwrap();
            for consumer_tag in ["1", "2", "3"] {
                consume(&mut broker, channel, name, &[name, consumer_tag.as_bytes()].concat());
            }
            for _ in 0..2 {
                broker.publish(channel, &publication, &[queue], &mut Nobody);
            }
        }
        assert_eq!(broker.channel(channel).turns.len(), 2);
        broker.delete_queue(testing::caller(&broker, CLIENT), b"r", false, false, &mut Nobody).unwrap();
        assert_eq!(broker.channel(channel).turns.len(), 1);
        broker.census();
        broker.settle(channel, 1, false, Settlement::Acknowledged).unwrap();
        broker.pump(&mut Nobody);
        assert_eq!(
            broker.census(),
            Census { connections: 1, channels: 1, queues: 1, consumers: 3, ready: 0, unacknowledged: 1 }
        );
    }

    #[test]
    fn exclusive_queues_end_with_their_connection_or_before_it_with_their_last_consumer() {
        let (mut broker, channel) = broker();
        for (name, auto_delete) in [(b"q".as_slice(), true), (b"r", false), (b"s", true)] {
            declare(&mut broker, name, true, auto_delete);
            consume(&mut broker, channel, name, name);
        }
        assert_eq!(broker.close_connection(CLIENT, &mut Nobody), ConnectionClosed { channels: 1, exclusive_queues: 1 });
        assert_eq!(broker.census(), Census::default());
        assert_eq!(broker.queues.len(), 0);
    }

    /// Who takes what, and where things come to lie, after something was done to many consumers at once.
    fn story() -> (Vec<u32>, Vec<ShortString>) {
        const QUEUES: [&[u8]; 12] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i", b"j", b"k", b"l"];
        let (mut broker, channel) = broker();
        for name in QUEUES {
            declare(&mut broker, name, false, true);
            consume(&mut broker, channel, name, name);
        }
        declare(&mut broker, b"shared", false, false);
        broker.set_consumer_prefetch(channel, 1);
        QUEUES.iter().for_each(|name| consume(&mut broker, channel, b"shared", &[name, b"s".as_slice()].concat()));
        let queue = broker.existing_queue(testing::VHOST, b"shared").unwrap();
        let content = testing::CONTENT;
        let publication = Publication { content, attributes: Default::default(), mandatory: false };
        // All have what they may have, and get leave for more together.
        (0..2 * QUEUES.len()).for_each(|_| broker.publish(channel, &publication, &[queue], &mut Nobody));
        broker.set_consumer_prefetch(channel, 2);
        broker.apply_consumer_prefetch(channel);
        broker.pump(&mut Nobody);
        let takers = broker.channel(channel).unacknowledged.iter();
        let takers = takers.map(|(_, delivered)| delivered.consumer.expect("a consumer has it").0).collect();
        // The queues go with their consumers, and others take their places.
        broker.close_channel(channel);
        broker.open_channel(CLIENT, 1);
        QUEUES.iter().for_each(|name| declare(&mut broker, &[name, b"2".as_slice()].concat(), false, false));
        let places = broker.snapshot_queues(PageStart::default()).items.into_iter().map(|queue| queue.name);
        (takers, places.collect())
    }

    #[test]
    fn the_same_commands_tell_the_same_story_in_every_run() {
        let first = story();
        (0..3).for_each(|_| assert_eq!(story(), first));
    }
}
