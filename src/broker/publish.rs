//! From a publish to its queues: routing, hand-over or enqueueing, returns, confirms, and replies to reply addresses.

use super::channel::{ChannelMode, PendingPublish};
use super::effects::{Effects, Recipient};
use super::exchange::{DEFAULT_EXCHANGE, ExchangeId, QueueId};
use super::flow::Kept;
use super::message::{Attributes, Content, MessageRef};
use super::store::{LogPosition, Store};
use super::{Broker, Caller, ChannelId, Epoch, VhostId};
use crate::protocol::{AmqpError, PropertiesRef, ReplyCode, ShortString};
use std::cell::Cell;

/// The queue name that stands for direct reply-to.
pub const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";

/// Where a message goes, and whether the next one with the same exchange and key goes there too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routing {
    /// The result holds for all messages of this exchange and key until the epoch ends.
    pub cacheable: bool,
    /// The reply consumer that the routing key addresses.
    pub reply_channel: Option<ChannelId>,
}

/// A publish whose content is complete.
pub struct Publication<'a> {
    pub content: Content<'a>,
    pub attributes: Attributes,
    /// Unroutable: return it.
    pub mandatory: bool,
}

/// A body of `body_size` bytes is more than `limit`.
pub fn oversized(body_size: u64, limit: usize) -> AmqpError {
    let explanation = format!("message size {body_size} is larger than configured max size {limit}");
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

impl<S: Store> Broker<S> {
    /// Ends with every change that could alter where a message goes.
    #[inline]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Fills `queues` with where a message goes. `extra_keys` are those of its CC and BCC headers, `properties` its
    /// property flags and list, read only when a headers exchange is on the way.
    pub fn route(
        &mut self,
        vhost: VhostId,
        exchange: ExchangeId,
        routing_key: &[u8],
        extra_keys: &[ShortString],
        properties: &[u8],
        queues: &mut Vec<QueueId>,
    ) -> Routing {
        queues.clear();
        let headers_asked = Cell::new(false);
        let headers = || {
            headers_asked.set(true);
            let headers = PropertiesRef::parse(properties).ok().and_then(|properties| properties.headers);
            headers.map(|headers| headers.to_owned()).unwrap_or_default()
        };
        if extra_keys.is_empty() {
            self.vhosts[vhost].route(exchange, routing_key, headers, queues);
        } else {
            let copies = extra_keys.iter().map(|key| &**key);
            let routing_keys: Vec<&[u8]> = std::iter::once(routing_key).chain(copies).collect();
            self.vhosts[vhost].route_with_copies(exchange, &routing_keys, headers, queues);
        }
        let reply_channel = if queues.is_empty() { self.reply_channel(vhost, exchange, routing_key) } else { None };
        Routing { cacheable: extra_keys.is_empty() && !headers_asked.get(), reply_channel }
    }

    /// The address that replaces `amq.rabbitmq.reply-to` in a message's reply_to.
    ///
    /// # Errors
    /// 406 when the channel has no reply consumer.
    pub fn reply_address(&self, channel: ChannelId) -> Result<String, AmqpError> {
        match &self.channel(channel).reply_consumer {
            Some(consumer) => Ok(format!("{}.{}", String::from_utf8_lossy(REPLY_TO), consumer.token)),
            None => Err(AmqpError::channel(ReplyCode::PreconditionFailed, "fast reply consumer does not exist")),
        }
    }

    /// Publishes to `queues` on a channel that is not in a transaction, and counts it for the channel's confirms.
    #[inline]
    pub fn publish(
        &mut self,
        channel: ChannelId,
        publication: &Publication<'_>,
        queues: &[QueueId],
        effects: &mut impl Effects,
    ) {
        let mut kept = Kept::default();
        match queues {
            [queue] => self.enter(*queue, publication, true, &mut kept, effects),
            _ => self.publish_to_many(channel, queues, publication, &mut kept, effects),
        }
        self.books.totals.received += 1;
        self.count_for_confirm(channel, kept.position);
    }

    /// Publishes to wherever `exchange` routes it, on a channel that is not in a transaction. Who publishes the same way
    /// again and again [keeps the route](Self::route).
    pub fn route_and_publish(
        &mut self,
        caller: Caller,
        exchange: ExchangeId,
        publication: &Publication<'_>,
        extra_keys: &[ShortString],
        effects: &mut impl Effects,
    ) {
        let mut queues = std::mem::take(&mut self.route_scratch);
        let content = &publication.content;
        let routing =
            self.route(caller.vhost, exchange, content.routing_key(), extra_keys, content.properties(), &mut queues);
        match routing.reply_channel {
            Some(reply_channel) => self.publish_reply(caller.channel, reply_channel, publication, effects),
            None => self.publish(caller.channel, publication, &queues, effects),
        }
        self.route_scratch = queues;
    }

    /// Counts publishes that went straight to a consumer for the channel's confirms.
    pub(super) fn count_many_for_confirm(&mut self, id: ChannelId, count: u64) {
        let channel = &mut self.channels[id.0 as usize];
        if let ChannelMode::Confirm(confirms) = &mut channel.mode {
            confirms.published_many(count);
            if !channel.confirms_touched {
                channel.confirms_touched = true;
                self.touched_confirms.push(id);
            }
        }
    }

    #[inline]
    fn count_for_confirm(&mut self, id: ChannelId, position: LogPosition) {
        let channel = &mut self.channels[id.0 as usize];
        if let ChannelMode::Confirm(confirms) = &mut channel.mode {
            let durable = self.store.durable();
            if position > durable {
                self.store.awaited(position);
            }
            confirms.published(position, durable);
            if !channel.confirms_touched {
                channel.confirms_touched = true;
                self.touched_confirms.push(id);
            }
        }
    }

    /// Delivers a reply to the reply consumer that it names, as RabbitMQ does: never queued, and returned when mandatory.
    pub fn publish_reply(
        &mut self,
        channel: ChannelId,
        reply_channel: ChannelId,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) {
        let recipient_channel = &mut self.channels[reply_channel.0 as usize];
        let delivery_tag = recipient_channel.next_delivery_tag();
        if let Some(consumer) = &recipient_channel.reply_consumer {
            let recipient = Recipient {
                connection: recipient_channel.connection,
                channel_number: recipient_channel.number,
                consumer_tag: &consumer.tag,
            };
            // A reply is not held back: the requester bounds how many are under way.
            let _ = effects.deliver(recipient, delivery_tag, false, &publication.content);
            self.books.replied();
        }
        self.books.totals.received += 1;
        if publication.mandatory {
            self.return_unroutable(channel, &publication.content, effects);
        }
        self.count_for_confirm(channel, LogPosition::default());
    }

    fn return_unroutable(&mut self, channel: ChannelId, content: &Content<'_>, effects: &mut impl Effects) {
        let channel = self.channel(channel);
        effects.return_unroutable(channel.connection, channel.number, content);
        self.books.totals.unroutable_returned += 1;
    }

    /// Publishes to any number of queues.
    fn publish_to_many(
        &mut self,
        channel: ChannelId,
        queues: &[QueueId],
        publication: &Publication<'_>,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        if queues.is_empty() {
            if publication.mandatory {
                self.return_unroutable(channel, &publication.content, effects);
            } else {
                self.books.totals.unroutable_dropped += 1;
            }
        }
        for &queue in queues {
            self.enter(queue, publication, queues.len() == 1, kept, effects);
        }
    }

    /// Keeps a publish for `tx.commit`. It goes where the bindings lead now, whatever becomes of them before the commit;
    /// the default exchange has none, so there its keys are looked up when it is committed.
    ///
    /// # Errors
    /// 506 on the channel when the open transaction holds more than its limit.
    pub fn publish_in_transaction(
        &mut self,
        channel: ChannelId,
        publication: &Publication<'_>,
        extra_keys: &[ShortString],
        queues: &[QueueId],
    ) -> Result<(), AmqpError> {
        let limit = self.settings.transaction_max_bytes;
        let content = &publication.content;
        let mut names: Vec<ShortString> = match content.exchange() {
            b"" => extra_keys.iter().cloned().chain([ShortString::truncated(content.routing_key())]).collect(),
            _ => queues.iter().map(|id| self.queue(*id).properties.name.clone()).collect(),
        };
        names.sort_unstable();
        names.dedup();
        let ChannelMode::Transaction(transaction) = &mut self.channel_mut(channel).mode else {
            unreachable!("the caller asked is_transactional");
        };
        let message = MessageRef::new(content, publication.attributes);
        let names_bytes: usize = names.iter().map(|name| size_of::<ShortString>() + name.len()).sum();
        transaction.bytes += message.memory_bytes() + names_bytes;
        if transaction.bytes > limit {
            let explanation = format!("transaction is larger than configured max size {limit}");
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
        }
        transaction.publishes.push(PendingPublish {
            message,
            attributes: publication.attributes,
            queues: names.into(),
            mandatory: publication.mandatory,
        });
        Ok(())
    }

    /// Publishes what a transaction kept; when all of its queues have gone since, it is unroutable. Says where the log
    /// has it.
    pub(super) fn publish_pending(
        &mut self,
        channel: ChannelId,
        pending: PendingPublish,
        effects: &mut impl Effects,
    ) -> LogPosition {
        let content = pending.message.content();
        let vhost = self.caller(channel).vhost;
        let mut queues = std::mem::take(&mut self.route_scratch);
        queues.clear();
        queues.extend(pending.queues.iter().filter_map(|name| self.queue_in(vhost, name)));
        let is_reply = queues.is_empty() && content.exchange().is_empty();
        let reply_channel =
            if is_reply { self.reply_channel(vhost, DEFAULT_EXCHANGE, content.routing_key()) } else { None };
        let publication = Publication { content, attributes: pending.attributes, mandatory: pending.mandatory };
        let mut kept = Kept { message: Some(pending.message.clone()), ..Kept::default() };
        match reply_channel {
            Some(reply_channel) => self.publish_reply(channel, reply_channel, &publication, effects),
            None => {
                self.publish_to_many(channel, &queues, &publication, &mut kept, effects);
                self.books.totals.received += 1;
            }
        }
        self.route_scratch = queues;
        kept.position
    }
}
