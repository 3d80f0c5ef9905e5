//! Methods to the broker's commands: connection, channel, access, exchange, queue, confirm, tx.

use super::channel::{Channel, Deleted};
use super::{Alarm, Awaited, Connection, Context, Phase};
use crate::broker::store::{LogPosition, Store};
use crate::broker::{
    Caller, DeclareRequest, DeletedQueue, Done, ExchangeRequest, PressureLimits, QueuePressure, ShortQueue,
};
use crate::protocol::method::{access, channel, confirm, connection, exchange, queue, tx};
use crate::protocol::{AmqpError, Method, ReplyCode};

/// What a command on a channel leads to.
pub(super) type Outcome = Result<(), AmqpError>;

/// What `access.request-ok` always says: tickets mean nothing any more.
const TICKET: u16 = 1;

impl Connection {
    /// A method on channel 0 of an open connection.
    pub(super) fn method_on_connection<S: Store>(&mut self, method: Method<'_>, context: &mut Context<'_, S>) {
        match method {
            Method::ConnectionClose(_) => self.close_received(context),
            Method::ConnectionUpdateSecret(update) => self.update_secret(&update, context),
            method => {
                let error =
                    AmqpError::connection(ReplyCode::ChannelError, "unexpected method in connection state running");
                self.raise_on_connection(&error, (method.class_id(), method.method_id()), context);
            }
        }
    }

    pub(super) fn open_channel<S: Store>(&mut self, number: u16, context: &mut Context<'_, S>) {
        // It may have been closed just now; and those that were don't count.
        self.forget_closed_channels();
        let limit = usize::from(self.channel_max);
        if limit != 0 && self.channels.len() >= limit {
            let explanation =
                format!("number of channels opened ({limit}) has reached the negotiated channel_max ({limit})");
            let error = AmqpError::connection(ReplyCode::NotAllowed, explanation).without_method();
            return self.raise_on_connection(&error, (0, 0), context);
        }
        if let Err(error) = context.broker.assert_room_for_channel(self.id) {
            return self.raise_on_connection(&error, (0, 0), context);
        }
        let id = context.broker.open_channel(self.id, number);
        let mut channel = Channel::new(number, context.broker.caller(id));
        channel.judged = context.broker.is_judged_elsewhere(channel.caller.user).then(Box::default);
        let index = self.channels.partition_point(|open| open.number < number);
        if self.channels.len() == self.channels.capacity() && self.channels.len() < 4 {
            // Most connections have one or a few channels: grow by what is needed.
            self.channels.reserve_exact(1);
        }
        self.channels.insert(index, Box::new(channel));
        self.last_channel = index;
        context.outboxes.method(self.id, number, &Method::ChannelOpenOk(channel::OpenOk));
    }

    pub(super) fn answer_channel_close<S: Store>(&mut self, number: u16, context: &mut Context<'_, S>) {
        context.outboxes.method(self.id, number, &Method::ChannelCloseOk(channel::CloseOk));
    }

    /// A method on an open channel that expects one.
    pub(super) fn method_on_channel<S: Store>(
        &mut self,
        index: usize,
        method: Method<'_>,
        context: &mut Context<'_, S>,
    ) {
        let number = self.channels[index].number;
        let ids = (method.class_id(), method.method_id());
        if let Err(error) = self.command(index, method, context)
            && !self.waits_for_answer(context)
        {
            self.raise(number, &error, ids, context);
        }
    }

    fn command<S: Store>(&mut self, index: usize, method: Method<'_>, context: &mut Context<'_, S>) -> Outcome {
        let number = self.channels[index].number;
        match method {
            Method::BasicAck(_)
            | Method::BasicNack(_)
            | Method::BasicReject(_)
            | Method::BasicConsume(_)
            | Method::BasicCancel(_)
            | Method::BasicGet(_)
            | Method::BasicQos(_)
            | Method::BasicRecover(_)
            | Method::BasicRecoverAsync(_) => self.basic_command(index, method, context),
            Method::QueueDeclare(_)
            | Method::QueueBind(_)
            | Method::QueueUnbind(_)
            | Method::QueuePurge(_)
            | Method::QueueDelete(_) => self.queue_command(index, method, context),
            Method::ExchangeDeclare(_)
            | Method::ExchangeDelete(_)
            | Method::ExchangeBind(_)
            | Method::ExchangeUnbind(_) => self.exchange_command(index, method, context),
            Method::ConfirmSelect(confirm::Select { nowait }) => {
                context.broker.select_confirms(self.channels[index].caller.channel)?;
                self.answer(number, nowait, &Method::ConfirmSelectOk(confirm::SelectOk), context);
                Ok(())
            }
            Method::TxSelect(_) | Method::TxCommit(_) | Method::TxRollback(_) => {
                self.transaction_command(index, &method, context)
            }
            Method::ChannelClose(_) => {
                self.channel_close_received(index, context);
                Ok(())
            }
            Method::ChannelFlow(channel::Flow { active: true }) => {
                let answer = Method::ChannelFlowOk(channel::FlowOk { active: true });
                self.answer(number, false, &answer, context);
                Ok(())
            }
            Method::ChannelFlow(channel::Flow { active: false }) => {
                Err(AmqpError::connection(ReplyCode::NotImplemented, "active=false"))
            }
            Method::ChannelOpen(_) => Err(AmqpError::connection(ReplyCode::ChannelError, "second 'channel.open' seen")),
            Method::AccessRequest(_) => {
                let answer = Method::AccessRequestOk(access::RequestOk { ticket: TICKET });
                self.answer(number, false, &answer, context);
                Ok(())
            }
            // RabbitMQ ignores this one, and refuses everything else that only servers send.
            Method::BasicDeliver(_) => Ok(()),
            _ => Err(AmqpError::connection(ReplyCode::CommandInvalid, "unimplemented method")),
        }
    }

    /// Sends the answer to a command, unless the client didn't want one.
    pub(super) fn answer<S: Store>(
        &self,
        channel_number: u16,
        nowait: bool,
        method: &Method<'_>,
        context: &mut Context<'_, S>,
    ) {
        if !nowait {
            context.outboxes.method(self.id, channel_number, method);
        }
    }

    /// Sends the answer to a command that changed what lasts, unless the client didn't want one. It leaves when that is
    /// durable, and everything written after it leaves behind it.
    fn answer_when<S: Store>(
        &self,
        channel_number: u16,
        nowait: bool,
        answer: &Done<Method<'_>>,
        context: &mut Context<'_, S>,
    ) {
        let awaited = context.broker.await_durable(answer.durable_at);
        if let Some(position) = awaited.filter(|_| !nowait) {
            context.outboxes.hold(self.id, position);
        }
        self.answer(channel_number, nowait, &answer.value, context);
    }

    /// Whether to bind something to an exchange has to wait until that has told others what it keeps.
    fn waits_for_teller<S: Store>(&mut self, index: usize, exchange: &[u8], context: &Context<'_, S>) -> bool {
        let teller = context.broker.teller(self.channels[index].caller.vhost, exchange);
        self.awaits = teller.map(|(vhost, exchange)| Awaited::Teller(vhost, exchange));
        self.awaits.is_some()
    }

    /// Deletes something, and waits until nothing leads to it any more: the command is handled again then.
    fn delete<S: Store>(
        &mut self,
        index: usize,
        context: &mut Context<'_, S>,
        delete: impl FnOnce(&mut Context<'_, S>) -> Result<Done<DeletedQueue>, AmqpError>,
    ) -> Result<Option<Done<DeletedQueue>>, AmqpError> {
        let deleted = match self.channels[index].deleted.take() {
            Some(deleted) => deleted,
            None => {
                let done = delete(context)?;
                Box::new(Deleted { number: context.broker.last_leaver(), done })
            }
        };
        if context.broker.has_left(deleted.number) {
            return Ok(Some(deleted.done));
        }
        self.awaits = Some(Awaited::Leavers(deleted.number));
        self.channels[index].deleted = Some(deleted);
        Ok(None)
    }

    fn queue_command<S: Store>(&mut self, index: usize, method: Method<'_>, context: &mut Context<'_, S>) -> Outcome {
        context.broker.drop_inquiries();
        let Channel { number, caller, .. } = *self.channels[index];
        match method {
            Method::QueueDeclare(declare) => self.declare_queue(index, declare, context),
            Method::QueueBind(bind) => {
                if self.waits_for_teller(index, bind.exchange, context) {
                    return Ok(());
                }
                let queue::Bind { queue, exchange, routing_key, arguments, .. } = bind;
                let done = context.broker.bind_queue(caller, queue, exchange, routing_key, arguments)?;
                context.broker.tell_history(context.outboxes);
                self.answer_when(number, bind.nowait, &done.map(|_| Method::QueueBindOk(queue::BindOk)), context);
                Ok(())
            }
            Method::QueueUnbind(unbind) => {
                let queue::Unbind { queue, exchange, routing_key, arguments, .. } = unbind;
                let done = context.broker.unbind_queue(caller, queue, exchange, routing_key, &arguments)?;
                self.answer_when(number, false, &done.map(|_| Method::QueueUnbindOk(queue::UnbindOk)), context);
                Ok(())
            }
            Method::QueuePurge(purge) => {
                let Done { value: message_count, durable_at } =
                    context.broker.purge_queue(caller, purge.queue, context.outboxes)?;
                let answer = Method::QueuePurgeOk(queue::PurgeOk { message_count });
                self.answer_when(number, purge.nowait, &Done { value: answer, durable_at }, context);
                Ok(())
            }
            Method::QueueDelete(delete) => {
                let queue::Delete { queue, if_unused, if_empty, .. } = delete;
                let deleted = self.delete(index, context, |Context { broker, outboxes, .. }| {
                    broker.delete_queue(caller, queue, if_unused, if_empty, *outboxes)
                })?;
                let Some(Done { value: deleted, durable_at }) = deleted else { return Ok(()) };
                let answer = Method::QueueDeleteOk(queue::DeleteOk { message_count: deleted.message_count });
                self.answer_when(number, delete.nowait, &Done { value: answer, durable_at }, context);
                context.broker.notify_cancelled(&deleted, context.outboxes);
                self.tell_of_queue("deleted", delete.queue);
                Ok(())
            }
            _ => unreachable!("only queue methods are sent here"),
        }
    }

    fn declare_queue<S: Store>(
        &mut self,
        index: usize,
        declare: queue::Declare<'_>,
        context: &mut Context<'_, S>,
    ) -> Outcome {
        let Channel { number, caller, .. } = *self.channels[index];
        let queue::Declare { queue: name, passive, durable, exclusive, auto_delete, nowait, arguments } = declare;
        let Done { value: declared, durable_at } = if passive {
            context.broker.declare_queue_passively(caller, name, context.outboxes)?
        } else {
            let request = DeclareRequest { name, durable, exclusive, auto_delete, arguments };
            context.broker.declare_queue(caller, request, context.outboxes)?
        };
        let answer = Method::QueueDeclareOk(queue::DeclareOk {
            queue: &declared.name,
            message_count: declared.message_count,
            consumer_count: declared.consumer_count,
        });
        self.answer_when(number, nowait, &Done { value: answer, durable_at }, context);
        if !passive {
            self.tell_of_queue("declared", &declared.name);
        }
        Ok(())
    }

    fn exchange_command<S: Store>(
        &mut self,
        index: usize,
        method: Method<'_>,
        context: &mut Context<'_, S>,
    ) -> Outcome {
        context.broker.drop_inquiries();
        let Channel { number, caller, .. } = *self.channels[index];
        match method {
            Method::ExchangeDeclare(declare) => {
                let nowait = declare.nowait;
                let durable_at = if declare.passive {
                    context.broker.declare_exchange_passively(caller, declare.exchange)?.durable_at
                } else {
                    let exchange::Declare { exchange: name, exchange_type: kind, .. } = declare;
                    let exchange::Declare { durable, auto_delete, internal, arguments, .. } = declare;
                    let request = ExchangeRequest { name, kind, durable, auto_delete, internal, arguments };
                    context.broker.declare_exchange(caller, request)?.durable_at
                };
                let answer = Done { value: Method::ExchangeDeclareOk(exchange::DeclareOk), durable_at };
                self.answer_when(number, nowait, &answer, context);
            }
            Method::ExchangeDelete(delete) => {
                let deleted = self.delete(index, context, |Context { broker, .. }| {
                    let done = broker.delete_exchange(caller, delete.exchange, delete.if_unused)?;
                    Ok(done.map(|()| DeletedQueue::default()))
                })?;
                let Some(done) = deleted else { return Ok(()) };
                self.answer_when(
                    number,
                    delete.nowait,
                    &done.map(|_| Method::ExchangeDeleteOk(exchange::DeleteOk)),
                    context,
                );
            }
            Method::ExchangeBind(bind) => {
                if self.waits_for_teller(index, bind.source, context) {
                    return Ok(());
                }
                let exchange::Bind { source, destination, routing_key, arguments, .. } = bind;
                let done = context.broker.bind_exchange(caller, source, destination, routing_key, arguments)?;
                context.broker.tell_history(context.outboxes);
                self.answer_when(number, bind.nowait, &done.map(|_| Method::ExchangeBindOk(exchange::BindOk)), context);
            }
            Method::ExchangeUnbind(unbind) => {
                let done = context.broker.unbind_exchange(
                    caller,
                    unbind.source,
                    unbind.destination,
                    unbind.routing_key,
                    &unbind.arguments,
                )?;
                self.answer_when(
                    number,
                    unbind.nowait,
                    &done.map(|_| Method::ExchangeUnbindOk(exchange::UnbindOk)),
                    context,
                );
            }
            _ => unreachable!("only exchange methods are sent here"),
        }
        Ok(())
    }

    fn transaction_command<S: Store>(
        &mut self,
        index: usize,
        method: &Method<'_>,
        context: &mut Context<'_, S>,
    ) -> Outcome {
        let Channel { number, caller: Caller { channel: id, .. }, .. } = *self.channels[index];
        let mut durable_at = LogPosition::default();
        let answer = match method {
            Method::TxSelect(_) => {
                context.broker.select_transaction(id)?;
                // Publishes go another way from now on.
                self.channels[index].last_publish.route.forget();
                Method::TxSelectOk(tx::SelectOk)
            }
            Method::TxCommit(_) => {
                let done = context.broker.commit(id, context.outboxes)?;
                self.go_on_later(done.value)?;
                durable_at = done.durable_at;
                Method::TxCommitOk(tx::CommitOk)
            }
            _ => {
                let progress = context.broker.roll_back(id)?;
                self.go_on_later(progress)?;
                Method::TxRollbackOk(tx::RollbackOk)
            }
        };
        if self.awaits.is_some() {
            return Ok(());
        }
        self.answer_when(number, false, &Done { value: answer, durable_at }, context);
        Ok(())
    }

    /// After a publish: during an alarm the client is told, and its socket is read no more.
    pub fn block_if_alarmed<S: Store>(&mut self, context: &mut Context<'_, S>) {
        if let Some(alarm) = context.alarm
            && !self.blocked
        {
            self.blocked = true;
            self.tell_blocked(alarm, context);
        }
    }

    fn tell_blocked<S: Store>(&mut self, alarm: Alarm, context: &mut Context<'_, S>) {
        if self.capabilities.connection_blocked && self.phase == Phase::Running {
            let blocked = Method::ConnectionBlocked(connection::Blocked { reason: alarm.reason().as_bytes() });
            context.outboxes.method(self.id, 0, &blocked);
            self.told_blocked = true;
        }
    }

    /// All alarms are over. True when the socket is to be read again.
    pub fn unblock<S: Store>(&mut self, context: &mut Context<'_, S>) -> bool {
        if std::mem::take(&mut self.told_blocked) && self.phase == Phase::Running {
            context.outboxes.method(self.id, 0, &Method::ConnectionUnblocked(connection::Unblocked));
        }
        if self.blocked {
            self.watch_from(context.now_ms);
        }
        std::mem::take(&mut self.blocked)
    }

    /// How hard the client just pressed on the queues that it published to. One that consumes too is never held back, as
    /// its acknowledgements must be read.
    pub fn pressure_on_queues<S: Store>(
        &self,
        limits: PressureLimits,
        short: &mut Option<ShortQueue>,
        context: &mut Context<'_, S>,
    ) -> QueuePressure {
        let Some(channel) = self.channels.get(self.last_channel) else { return QueuePressure::None };
        if !self.published || context.broker.has_consumers(self.id) {
            return QueuePressure::None;
        }
        context.broker.pressure_on(&channel.last_publish.route, limits, short)
    }
}
