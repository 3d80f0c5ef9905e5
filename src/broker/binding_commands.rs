//! `queue.bind`, `queue.unbind`, `exchange.bind` and `exchange.unbind`.

use super::exchange::{Destination, ExchangeId, ExchangeKind, Router};
use super::queue::QueueKind;
use super::resolve::meant_key;
use super::store::{Definition, DurableBinding, DurableDestination, Store};
use super::{Broker, Caller, Done, UserId, VhostId};
use crate::protocol::{AmqpError, FieldTable, ReplyCode, ShortString};

/// # Errors
/// 406 for a queue that may be on several nodes, to the exchange that routes to those of its own.
pub(super) fn assert_local(kind: QueueKind) -> Result<(), AmqpError> {
    match kind {
        QueueKind::Classic => Ok(()),
        QueueKind::Quorum => {
            let explanation = "Queue type rabbit_quorum_queue not valid for this exchange type";
            Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation))
        }
    }
}

impl<S: Store> Broker<S> {
    /// `queue.bind`. True when the binding is new. [`tell_history`](Self::tell_history) follows.
    ///
    /// # Errors
    /// 403 also for the default exchange, 404, 406 for a key or arguments that make no sense to the exchange, 405.
    pub fn bind_queue(
        &mut self,
        caller: Caller,
        queue: &[u8],
        exchange: &[u8],
        routing_key: &[u8],
        arguments: FieldTable,
    ) -> Result<Done<bool>, AmqpError> {
        let (source, id) = self.ends_to_bind_queue(caller, queue, exchange, routing_key)?;
        let (name, destination) = (self.queue(id).properties.name.clone(), Destination::Queue(id));
        let routing_key = meant_key(queue, routing_key, &name);
        let is_local = self.router(caller.vhost).exchange(source).kind == ExchangeKind::LocalRandom;
        let is_locked = self.is_locked(caller, id);
        if is_local || is_locked {
            self.router(caller.vhost).check_bind(source, destination, routing_key, &arguments)?;
        }
        if is_local {
            assert_local(self.queue(id).arguments.kind)?;
        }
        if is_locked {
            return Err(self.locked(id));
        }
        self.bind((caller.vhost, Some(caller.user)), source, destination, routing_key, &arguments)
    }

    /// `queue.unbind`. Unbinding what isn't bound, or doesn't exist, is fine, whoever owns the queue.
    ///
    /// # Errors
    /// 403 also for the default exchange, 405.
    pub fn unbind_queue(
        &mut self,
        caller: Caller,
        queue: &[u8],
        exchange: &[u8],
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Done<()>, AmqpError> {
        let ends = self.ends_to_unbind_queue(caller, queue, exchange, routing_key)?;
        let Some((source, id)) = ends else { return Ok(self.done(())) };
        let name = self.queue(id).properties.name.clone();
        let routing_key = meant_key(queue, routing_key, &name);
        let destination = Destination::Queue(id);
        if self.is_locked(caller, id) && self.router(caller.vhost).is_bound(source, destination, routing_key, arguments)
        {
            return Err(self.locked(id));
        }
        Ok(self.unbind(caller, source, destination, routing_key, arguments))
    }

    /// `exchange.bind`. True when the binding is new. [`tell_history`](Self::tell_history) follows.
    ///
    /// # Errors
    /// 403 also for the default exchange, 404, 406 for a key or arguments that make no sense to the exchange.
    pub fn bind_exchange(
        &mut self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
        arguments: FieldTable,
    ) -> Result<Done<bool>, AmqpError> {
        let (source, destination) = self.ends_to_bind_exchange(caller, source, destination, routing_key)?;
        let place = (caller.vhost, Some(caller.user));
        self.bind(place, source, Destination::Exchange(destination), routing_key, &arguments)
    }

    /// `exchange.unbind`. Unbinding what isn't bound, or doesn't exist, is fine.
    ///
    /// # Errors
    /// 403 also for the default exchange.
    pub fn unbind_exchange(
        &mut self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Done<()>, AmqpError> {
        let ends = self.ends_to_unbind_exchange(caller, source, destination, routing_key)?;
        let Some((source, destination)) = ends else { return Ok(self.done(())) };
        Ok(self.unbind(caller, source, Destination::Exchange(destination), routing_key, arguments))
    }

    /// Binds what was found, whoever asks. True when the binding is new.
    ///
    /// # Errors
    /// 406.
    pub(super) fn bind(
        &mut self,
        (id, by): (VhostId, Option<UserId>),
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Done<bool>, AmqpError> {
        let vhost = &self.vhosts[id];
        vhost.assert_below(vhost.limits.bindings_max, vhost.router().binding_count(), "bind", "binding")?;
        let bound = self.change_routes(id, |router| router.bind(source, destination, routing_key, arguments))?;
        if bound.new {
            self.note_bound(id, source, destination);
            self.tell_binding_created((id, by), source, destination, routing_key, arguments);
        }
        if bound.new && bound.durable {
            let binding = self.durable_binding(id, source, destination, routing_key, arguments);
            self.define(&Definition::Bound(binding));
        }
        Ok(self.done_if(bound.durable, bound.new))
    }

    fn unbind(
        &mut self,
        caller: Caller,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Done<()> {
        let vhost = caller.vhost;
        // An exchange may go with its last binding, so its name is asked for before.
        let binding = self.durable_binding(vhost, source, destination, routing_key, arguments);
        let unbind = |router: &mut Router| router.unbind(source, destination, routing_key, arguments);
        let (unbound, lost) = self.change_routes_watched(vhost, unbind);
        if unbound.durable {
            self.define(&Definition::Unbound(binding));
        }
        self.unbound(vhost, unbound.emptied, lost, Some(caller.user));
        self.done(())
    }

    fn durable_binding(
        &self,
        vhost: VhostId,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> DurableBinding {
        let router = self.router(vhost);
        DurableBinding {
            vhost,
            source: router.exchange(source).name.clone(),
            destination: match destination {
                Destination::Queue(id) => DurableDestination::Queue(self.queue(id).properties.name.clone()),
                Destination::Exchange(id) => DurableDestination::Exchange(router.exchange(id).name.clone()),
            },
            routing_key: ShortString::truncated(routing_key),
            arguments: arguments.clone(),
        }
    }
}
