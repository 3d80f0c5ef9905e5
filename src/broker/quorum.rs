//! What clients may ask of classic queues and not of queues of type quorum, with RabbitMQ's words.

use super::exchange::QueueId;
use super::queue::QueueKind;
use super::store::Store;
use super::{Broker, ChannelId};
use crate::protocol::{AmqpError, ReplyCode};

impl<S: Store> Broker<S> {
    pub(super) fn is_quorum(&self, id: QueueId) -> bool {
        self.queue(id).behaviour.kind == QueueKind::Quorum
    }

    /// # Errors
    /// 540 on the connection when it is of type quorum and either condition is made.
    pub(super) fn assert_deletes_with(&self, id: QueueId, if_unused: bool, if_empty: bool) -> Result<(), AmqpError> {
        let condition = match (if_unused, if_empty) {
            (true, _) => "if-unused",
            (false, true) => "if-empty",
            (false, false) => return Ok(()),
        };
        if !self.is_quorum(id) {
            return Ok(());
        }
        let properties = &self.queue(id).properties;
        let subject = self.subject("queue", properties.vhost, &properties.name);
        let explanation = format!(
            "cannot delete {subject}. queue.delete operations with {condition} flag set are not supported by quorum queues"
        );
        Err(AmqpError::connection(ReplyCode::NotImplemented, explanation))
    }

    /// # Errors
    /// 405 when it is of type quorum and has a single active consumer.
    pub(super) fn assert_gives(&self, id: QueueId) -> Result<(), AmqpError> {
        if !self.is_quorum(id) || !self.queue(id).gate.has_single_active() {
            return Ok(());
        }
        let properties = &self.queue(id).properties;
        let subject = self.subject("queue", properties.vhost, &properties.name);
        let explanation = format!(
            "cannot obtain access to locked {subject}. basic.get operations are not supported by quorum queues with single \
             active consumer"
        );
        Err(AmqpError::channel(ReplyCode::ResourceLocked, explanation))
    }

    /// # Errors
    /// 540 on the connection when it is of type quorum and the channel has a limit for all its consumers.
    pub(super) fn assert_consumes_on(&self, id: QueueId, channel: ChannelId) -> Result<(), AmqpError> {
        if !self.is_quorum(id) || self.channel(channel).channel_prefetch_count == 0 {
            return Ok(());
        }
        let properties = &self.queue(id).properties;
        let subject = self.subject("queue", properties.vhost, &properties.name);
        Err(AmqpError::connection(ReplyCode::NotImplemented, format!("{subject} does not support global qos")))
    }
}
