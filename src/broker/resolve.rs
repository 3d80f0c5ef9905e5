//! From the names that a caller says to the things that it means: the one place where names are looked for.
//!
//! What is asked, and in which order, is RabbitMQ's:
//!
//! | command | of the queue | of the exchange |
//! |---|---|---|
//! | queue.declare, queue.delete | configure; a new one with a dead-letter exchange: read | write of that one |
//! | exchange.declare, exchange.delete | | configure; a new one with an alternate exchange: read, and write of that one |
//! | queue.bind, queue.unbind | write | read; of type topic: read with the routing key |
//! | exchange.bind, exchange.unbind | | write of the destination, read of the source; of type topic: read with the routing key |
//! | queue.purge, basic.get, basic.consume | read | |
//! | basic.publish | | write; of type topic: write with each routing key |
//! | delayed messages | | to see them read; to cancel one read and write |
//! | passive declarations | any of the three | any of the three |
//! | reply addresses | nothing | |
//!
//! Routing keys are free where no [topic permissions](super::access::TopicPermissions) are set for user and exchange.
//!
//! Whether the caller may comes before whether the thing is there, and that before whether it belongs to another
//! connection. Nothing is changed here.

mod ahead;
mod may;

pub use ahead::Ahead;

use super::access::Right;
use super::equivalence::Subject;
use super::exchange::{DEFAULT_EXCHANGE, ExchangeId, ExchangeKind, QueueId, alternate_exchange};
use super::names::without_line_breaks;
use super::publish::REPLY_TO;
use super::store::Store;
use super::{Broker, Caller, ChannelId, VhostId};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};
use std::borrow::Cow;

/// Queues and exchanges with names like this are the broker's.
pub(super) const RESERVED_PREFIX: &[u8] = b"amq.";

/// The argument of a queue that names an exchange for what it does not keep.
const DEAD_LETTER_EXCHANGE: &[u8] = b"x-dead-letter-exchange";

/// What an address of a reply consumer starts with.
const REPLY_ADDRESS_PREFIX: &[u8] = b"amq.rabbitmq.reply-to.";

/// What a name means of which a passive declaration asks.
pub(super) enum Found {
    Queue(QueueId),
    /// A reply address, or what stands for one.
    ReplyAddress(ShortString),
}

/// An exchange that may be published to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeToPublish {
    pub id: ExchangeId,
    /// With any other routing key, too, as long as the epoch lasts.
    pub with_any_key: bool,
}

/// An exchange that is to be declared.
pub(super) struct ExchangeToDeclare<'a> {
    pub name: Cow<'a, [u8]>,
    pub kind: ExchangeKind,
    /// It is there already.
    pub id: Option<ExchangeId>,
    /// Of one that is new.
    pub alternate: Option<ShortString>,
}

fn refused(code: ReplyCode, explanation: impl Into<String>) -> AmqpError {
    AmqpError::channel(code, explanation.into())
}

fn refuse_default_exchange(name: &[u8]) -> Result<(), AmqpError> {
    match name.is_empty() {
        true => Err(refused(ReplyCode::AccessRefused, "operation not permitted on the default exchange")),
        false => Ok(()),
    }
}

/// The default exchange routes what is published to it and nothing that reaches it on another way.
pub(super) fn meant_alternate(name: &[u8]) -> Option<ShortString> {
    (!name.is_empty()).then(|| ShortString::truncated(name))
}

fn refuse_reserved(kind: &str, name: &[u8]) -> Result<(), AmqpError> {
    if !name.starts_with(RESERVED_PREFIX) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(refused(ReplyCode::AccessRefused, format!("{kind} name '{name}' contains reserved prefix 'amq.*'")))
}

/// With neither a queue's name nor a key the key is the queue's name (AMQP 0-9-1, queue.bind).
pub(super) fn meant_key<'a>(queue: &[u8], routing_key: &'a [u8], queue_name: &'a [u8]) -> &'a [u8] {
    if queue.is_empty() && routing_key.is_empty() { queue_name } else { routing_key }
}

/// The names of a binding's two ends, as they are meant.
type BindingNames<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<S: Store> Broker<S> {
    /// The queue of that name in a vhost, whoever asks.
    pub fn queue_in(&self, vhost: VhostId, name: &[u8]) -> Option<QueueId> {
        self.router(vhost).queue_named(name)
    }

    /// The exchange of that name in a vhost, whoever asks.
    pub(super) fn exchange_in(&self, vhost: VhostId, name: &[u8]) -> Option<ExchangeId> {
        self.router(vhost).exchange_named(name)
    }

    /// The queue of that name in a vhost, whoever asks.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(super) fn existing_queue(&self, vhost: VhostId, name: &[u8]) -> Result<QueueId, AmqpError> {
        let missing = || refused(ReplyCode::NotFound, format!("no {}", self.subject("queue", vhost, name)));
        self.queue_in(vhost, name).ok_or_else(missing)
    }

    /// The exchange of that name in a vhost, whoever asks.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(super) fn existing_exchange(&self, vhost: VhostId, name: &[u8]) -> Result<ExchangeId, AmqpError> {
        let missing = || refused(ReplyCode::NotFound, format!("no {}", self.subject("exchange", vhost, name)));
        self.exchange_in(vhost, name).ok_or_else(missing)
    }

    /// A queue or an exchange, as texts put it.
    pub(super) fn subject<'a>(&'a self, kind: &'static str, vhost: VhostId, name: &'a [u8]) -> Subject<'a> {
        Subject { kind, name, vhost: self.vhost_name(vhost).as_bytes() }
    }

    /// The queue name that a method means: that of the channel's last declared queue when it is empty.
    ///
    /// # Errors
    /// 404 when it is empty and none was declared.
    fn meant_queue_name<'a>(&self, caller: Caller, name: &'a [u8]) -> Result<Cow<'a, [u8]>, AmqpError> {
        if !name.is_empty() {
            return Ok(Cow::Borrowed(name));
        }
        match &self.channel(caller.channel).last_queue {
            Some(last) => Ok(Cow::Owned(last.as_bytes().to_vec())),
            None => Err(refused(ReplyCode::NotFound, "no previously declared queue")),
        }
    }

    /// # Errors
    /// 405 when the queue is exclusive to another connection.
    pub(super) fn assert_not_locked(&self, caller: Caller, id: QueueId) -> Result<(), AmqpError> {
        if self.is_locked(caller, id) { Err(self.locked(id)) } else { Ok(()) }
    }

    /// Whether a queue is exclusive to another connection.
    pub(super) fn is_locked(&self, caller: Caller, id: QueueId) -> bool {
        self.queue(id).properties.exclusive_owner.is_some_and(|owner| owner != caller.connection)
    }

    /// The 405 for a queue that another connection has for itself.
    pub(super) fn locked(&self, id: QueueId) -> AmqpError {
        let properties = &self.queue(id).properties;
        let subject = self.subject("queue", properties.vhost, &properties.name);
        refused(
            ReplyCode::ResourceLocked,
            format!(
                "cannot obtain exclusive access to locked {subject}. It could be originally declared on another \
                 connection or the exclusive property value does not match that of the original declaration."
            ),
        )
    }

    /// The queue of a method that takes messages out: purge, get, consume. It takes names as they are.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub(super) fn queue_to_read(&self, caller: Caller, name: &[u8]) -> Result<QueueId, AmqpError> {
        let name = self.meant_queue_name(caller, name)?;
        self.may_with_queue(caller, Right::Read, &name)?;
        let id = self.existing_queue(caller.vhost, &name)?;
        self.assert_not_locked(caller, id)?;
        Ok(id)
    }

    /// The queue out of which messages are to go to other queues, as by the default exchange.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub(super) fn queue_to_move_from(&self, caller: Caller, name: &[u8]) -> Result<QueueId, AmqpError> {
        let id = self.queue_to_read(caller, name)?;
        self.may_with_exchange(caller, Right::Write, b"")?;
        Ok(id)
    }

    /// Whether who consumes from a queue of this name consumes the replies to its channel.
    ///
    /// # Errors
    /// 404 when the name is empty and no queue was declared.
    pub(super) fn means_replies(&self, caller: Caller, name: &[u8]) -> Result<bool, AmqpError> {
        Ok(*self.meant_queue_name(caller, name)? == *REPLY_TO)
    }

    /// What a passive declaration asks for, and what a declaration of a reply address does.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub(super) fn queue_passively(&self, caller: Caller, name: &[u8]) -> Result<Found, AmqpError> {
        let meant = &*without_line_breaks(name);
        // Line breaks don't make a reply address of a name.
        if name.starts_with(REPLY_TO) && (meant == REPLY_TO || self.is_reply_address(caller.vhost, meant)) {
            return Ok(Found::ReplyAddress(ShortString::truncated(meant)));
        }
        self.may_somehow(caller, "queue", meant)?;
        let id = self.existing_queue(caller.vhost, meant)?;
        self.assert_not_locked(caller, id)?;
        Ok(Found::Queue(id))
    }

    /// The name of a queue that is to be declared, and the queue if it is there. `made_up` is for one without a name.
    ///
    /// # Errors
    /// 403.
    pub(super) fn queue_to_declare(
        &self,
        caller: Caller,
        name: &[u8],
        made_up: Option<ShortString>,
        arguments: &FieldTable,
    ) -> Result<(ShortString, Option<QueueId>), AmqpError> {
        refuse_reserved("queue", name)?;
        let name = made_up.unwrap_or_else(|| ShortString::truncated(name));
        self.may_with_queue(caller, Right::Configure, &name)?;
        let id = self.queue_in(caller.vhost, &name);
        // What it would write there comes out of the queue.
        if let (None, Some(FieldValue::LongString(exchange))) = (id, arguments.get(DEAD_LETTER_EXCHANGE)) {
            self.may_with_queue(caller, Right::Read, &name)?;
            self.may_with_exchange(caller, Right::Write, exchange)?;
        }
        Ok((name, id))
    }

    /// The queue that is to be deleted, if it is there.
    ///
    /// # Errors
    /// 403, 405.
    pub(super) fn queue_to_delete(&self, caller: Caller, name: &[u8]) -> Result<Option<QueueId>, AmqpError> {
        let name = self.meant_queue_name(caller, name)?;
        let name = without_line_breaks(&name);
        self.may_with_queue(caller, Right::Configure, &name)?;
        let id = self.queue_in(caller.vhost, &name);
        id.map_or(Ok(()), |id| self.assert_not_locked(caller, id))?;
        Ok(id)
    }

    /// The ends of a binding of a queue that is to be made. The command looks whether the queue is locked.
    ///
    /// # Errors
    /// 403, 404.
    pub(super) fn ends_to_bind_queue(
        &self,
        caller: Caller,
        queue: &[u8],
        exchange: &[u8],
        routing_key: &[u8],
    ) -> Result<(ExchangeId, QueueId), AmqpError> {
        let (queue, exchange) = self.names_of_queue_binding(caller, queue, exchange, routing_key)?;
        // A missing exchange is reported first.
        let source = self.existing_exchange(caller.vhost, &exchange)?;
        Ok((source, self.existing_queue(caller.vhost, &queue)?))
    }

    /// The ends of a binding of a queue that is to go, if both are there. The command looks whether the queue is locked.
    ///
    /// # Errors
    /// 403.
    pub(super) fn ends_to_unbind_queue(
        &self,
        caller: Caller,
        queue: &[u8],
        exchange: &[u8],
        routing_key: &[u8],
    ) -> Result<Option<(ExchangeId, QueueId)>, AmqpError> {
        let (queue, exchange) = self.names_of_queue_binding(caller, queue, exchange, routing_key)?;
        Ok(self.exchange_in(caller.vhost, &exchange).zip(self.queue_in(caller.vhost, &queue)))
    }

    fn names_of_queue_binding<'a>(
        &self,
        caller: Caller,
        queue: &'a [u8],
        exchange: &'a [u8],
        routing_key: &[u8],
    ) -> Result<BindingNames<'a>, AmqpError> {
        let said = queue;
        let queue = match self.meant_queue_name(caller, queue)? {
            Cow::Borrowed(name) => without_line_breaks(name),
            // It was declared without them.
            last => last,
        };
        let exchange = without_line_breaks(exchange);
        self.may_with_queue(caller, Right::Write, &queue)?;
        refuse_default_exchange(&exchange)?;
        self.may_with_exchange(caller, Right::Read, &exchange)?;
        self.may_bind_with(caller, &exchange, meant_key(said, routing_key, &queue))?;
        Ok((queue, exchange))
    }

    /// Source and destination of a binding between exchanges that is to be made.
    ///
    /// # Errors
    /// 403, 404.
    pub(super) fn ends_to_bind_exchange(
        &self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
    ) -> Result<(ExchangeId, ExchangeId), AmqpError> {
        let (source, destination) = self.names_of_exchange_binding(caller, source, destination, routing_key)?;
        let source = self.existing_exchange(caller.vhost, &source)?;
        Ok((source, self.existing_exchange(caller.vhost, &destination)?))
    }

    /// Source and destination of a binding between exchanges that is to go, if both are there.
    ///
    /// # Errors
    /// 403.
    pub(super) fn ends_to_unbind_exchange(
        &self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
    ) -> Result<Option<(ExchangeId, ExchangeId)>, AmqpError> {
        let (source, destination) = self.names_of_exchange_binding(caller, source, destination, routing_key)?;
        Ok(self.exchange_in(caller.vhost, &source).zip(self.exchange_in(caller.vhost, &destination)))
    }

    fn names_of_exchange_binding<'a>(
        &self,
        caller: Caller,
        source: &'a [u8],
        destination: &'a [u8],
        routing_key: &[u8],
    ) -> Result<BindingNames<'a>, AmqpError> {
        let (source, destination) = (without_line_breaks(source), without_line_breaks(destination));
        self.may_with_exchange(caller, Right::Write, &destination)?;
        refuse_default_exchange(&destination)?;
        refuse_default_exchange(&source)?;
        self.may_with_exchange(caller, Right::Read, &source)?;
        self.may_bind_with(caller, &source, routing_key)?;
        Ok((source, destination))
    }

    /// The exchange of a publish.
    ///
    /// # Errors
    /// 403 when the caller may not write to it, or not with this key, or it is internal; 404.
    pub fn exchange_to_publish(
        &self,
        caller: Caller,
        name: &[u8],
        routing_key: &[u8],
    ) -> Result<ExchangeToPublish, AmqpError> {
        self.may_with_exchange(caller, Right::Write, name)?;
        let id = self.existing_exchange(caller.vhost, name)?;
        if self.router(caller.vhost).exchange(id).internal {
            let subject = self.subject("exchange", caller.vhost, name);
            return Err(refused(ReplyCode::AccessRefused, format!("cannot publish to internal {subject}")));
        }
        self.may_publish_with(caller, id, routing_key)?;
        Ok(ExchangeToPublish { id, with_any_key: self.may_publish_with_any_key(caller, id) })
    }

    /// An exchange whose messages the caller may see.
    ///
    /// # Errors
    /// 403, 404.
    pub(super) fn exchange_to_read(&self, caller: Caller, name: &[u8]) -> Result<ExchangeId, AmqpError> {
        self.may_with_exchange(caller, Right::Read, name)?;
        self.existing_exchange(caller.vhost, name)
    }

    /// Whether an exchange is one whose delayed messages the caller may see, or cancel.
    ///
    /// # Errors
    /// 403, 404, 406 when it is one that delays nothing.
    pub(super) fn delays_to_watch(&self, caller: Caller, name: &[u8], cancels: bool) -> Result<(), AmqpError> {
        self.may_with_exchange(caller, Right::Read, name)?;
        if cancels {
            self.may_with_exchange(caller, Right::Write, name)?;
        }
        let id = self.existing_exchange(caller.vhost, name)?;
        if self.router(caller.vhost).exchange(id).kind == ExchangeKind::Delayed {
            return Ok(());
        }
        let subject = self.subject("exchange", caller.vhost, name);
        Err(refused(ReplyCode::PreconditionFailed, format!("{subject} is not of type 'x-delayed-message'")))
    }

    /// What an exchange is declared as, and the exchange if it is there.
    ///
    /// # Errors
    /// 403, 406 for an unknown type and for an alternate exchange that is no name.
    pub(super) fn exchange_to_declare<'a>(
        &self,
        caller: Caller,
        name: &'a [u8],
        kind: &[u8],
        arguments: &FieldTable,
    ) -> Result<ExchangeToDeclare<'a>, AmqpError> {
        let name = without_line_breaks(name);
        let kind = ExchangeKind::declared(kind)?;
        refuse_default_exchange(&name)?;
        self.may_with_exchange(caller, Right::Configure, &name)?;
        let id = self.exchange_in(caller.vhost, &name);
        if id.is_some() {
            return Ok(ExchangeToDeclare { name, kind, id, alternate: None });
        }
        refuse_reserved("exchange", &name)?;
        let alternate = alternate_exchange(arguments, self.subject("exchange", caller.vhost, &name))?;
        if let Some(alternate) = alternate {
            self.may_with_exchange(caller, Right::Read, &name)?;
            self.may_with_exchange(caller, Right::Write, alternate)?;
        }
        kind.check_arguments(arguments, self.subject("exchange", caller.vhost, &name))?;
        Ok(ExchangeToDeclare { alternate: alternate.and_then(meant_alternate), name, kind, id })
    }

    /// The exchange of which a passive declaration asks.
    ///
    /// # Errors
    /// 403, 404.
    pub(super) fn exchange_passively(&self, caller: Caller, name: &[u8]) -> Result<ExchangeId, AmqpError> {
        let name = without_line_breaks(name);
        refuse_default_exchange(&name)?;
        self.may_somehow(caller, "exchange", &name)?;
        self.existing_exchange(caller.vhost, &name)
    }

    /// The exchange that is to be deleted, if it is there.
    ///
    /// # Errors
    /// 403.
    pub(super) fn exchange_to_delete(&self, caller: Caller, name: &[u8]) -> Result<Option<ExchangeId>, AmqpError> {
        let name = without_line_breaks(name);
        refuse_default_exchange(&name)?;
        if name.starts_with(RESERVED_PREFIX) {
            let subject = self.subject("exchange", caller.vhost, &name);
            let explanation = format!("deletion of system {subject} not allowed");
            return Err(refused(ReplyCode::AccessRefused, explanation));
        }
        self.may_with_exchange(caller, Right::Configure, &name)?;
        Ok(self.exchange_in(caller.vhost, &name))
    }

    /// The reply consumer that a routing key addresses.
    pub(super) fn reply_channel(&self, vhost: VhostId, exchange: ExchangeId, routing_key: &[u8]) -> Option<ChannelId> {
        let token = routing_key.strip_prefix(REPLY_ADDRESS_PREFIX)?;
        if exchange != DEFAULT_EXCHANGE {
            return None;
        }
        let channel = *self.reply_channels.get(std::str::from_utf8(token).ok()?)?;
        (self.caller(channel).vhost == vhost).then_some(channel)
    }

    /// Whether the default exchange gives messages with this key to a single connection's consumers: they are replies, or for
    /// an exclusive queue.
    pub(super) fn is_for_one_connection(&self, vhost: VhostId, routing_key: &[u8]) -> bool {
        let is_exclusive = |id| self.queue(id).properties.exclusive_owner.is_some();
        routing_key.starts_with(REPLY_ADDRESS_PREFIX) || self.queue_in(vhost, routing_key).is_some_and(is_exclusive)
    }

    /// Whether a queue of this name is a reply consumer's address that is in use.
    fn is_reply_address(&self, vhost: VhostId, name: &[u8]) -> bool {
        self.reply_channel(vhost, DEFAULT_EXCHANGE, name).is_some()
    }
}

#[cfg(test)]
mod tests;
