//! Replies to reply addresses: delivered to the channel that asked, or lost.

use super::Publication;
use crate::broker::effects::{Effects, Recipient};
use crate::broker::flow::Kept;
use crate::broker::message::Content;
use crate::broker::store::Store;
use crate::broker::{Broker, ChannelId};
use crate::protocol::{AmqpError, ReplyCode};

/// The queue name that stands for direct reply-to.
pub const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";

impl<S: Store> Broker<S> {
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

    /// Delivers a reply to the reply consumer that it names, as RabbitMQ does: never queued, and returned when mandatory.
    pub(super) fn publish_reply(
        &mut self,
        channel: ChannelId,
        reply_channel: ChannelId,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) {
        self.deliver_reply(reply_channel, &publication.content, effects);
        self.books.totals.received += 1;
        self.books.copies -= 1;
        if publication.mandatory {
            self.return_unroutable(channel, &publication.content, effects);
        }
        self.count_for_confirm(channel, &Kept::default());
    }

    /// Delivers to a reply consumer.
    pub(in crate::broker) fn deliver_reply(
        &mut self,
        channel: ChannelId,
        content: &Content<'_>,
        effects: &mut impl Effects,
    ) {
        let recipient_channel = &mut self.channels[channel.0 as usize];
        let delivery_tag = recipient_channel.next_delivery_tag();
        if let Some(consumer) = &recipient_channel.reply_consumer {
            let recipient = Recipient {
                connection: recipient_channel.connection,
                channel_number: recipient_channel.number,
                consumer_tag: &consumer.tag,
            };
            // A reply is not held back: the requester bounds how many are under way.
            let _ = effects.deliver(recipient, delivery_tag, false, content);
            self.books.replied();
        }
    }
}
