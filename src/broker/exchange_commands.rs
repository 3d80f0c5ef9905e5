//! `exchange.*`: declare, delete, bind and unbind. The rules are the router's.

use super::definitions::durable_binding;
use super::exchange::Exchange;
use super::names::without_line_breaks;
use super::store::{Definition, DurableDestination, Store};
use super::{Broker, Caller, Done, VhostId};
use crate::protocol::{AmqpError, FieldTable, ShortString};

/// `exchange.declare`.
pub struct ExchangeRequest<'a> {
    pub name: &'a [u8],
    /// The name of its type.
    pub kind: &'a [u8],
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

impl<S: Store> Broker<S> {
    /// `exchange.declare`. True when it is new.
    ///
    /// # Errors
    /// 403 for reserved names, 406 for unknown types and inequivalent redeclarations.
    pub fn declare_exchange(&mut self, caller: Caller, request: ExchangeRequest<'_>) -> Result<Done<bool>, AmqpError> {
        let ExchangeRequest { name, kind, durable, auto_delete, internal, arguments } = request;
        let name = &*without_line_breaks(name);
        let vhost = &self.vhosts[caller.vhost];
        if vhost.router().exchange(name).is_none() {
            let doing = format!("declare exchange '{}'", String::from_utf8_lossy(name));
            vhost.assert_below(vhost.limits.exchanges_max, vhost.router().exchange_count(), &doing, "exchange")?;
        }
        let declared = self.change_routes(caller.vhost, |router| {
            router.declare(name, kind, durable, auto_delete, internal, &arguments)
        })?;
        if declared.new && durable {
            let Exchange { name, kind, .. } = self.router(caller.vhost).exchange_info(declared.id);
            let (vhost, name, kind) = (caller.vhost, name.clone(), *kind);
            self.define(&Definition::ExchangeDeclared { vhost, name, kind, auto_delete, internal, arguments });
        }
        Ok(self.done_if(durable, declared.new))
    }

    /// `exchange.declare(passive = true)`.
    ///
    /// # Errors
    /// 404.
    pub fn declare_exchange_passively(&mut self, caller: Caller, name: &[u8]) -> Result<Done<()>, AmqpError> {
        self.router(caller.vhost).declare_passive(&without_line_breaks(name))?;
        Ok(self.done(()))
    }

    /// `exchange.delete`. Deleting what doesn't exist is fine.
    ///
    /// # Errors
    /// 403 for predeclared exchanges, 406 when it is in use and the client asked to be told.
    pub fn delete_exchange(&mut self, caller: Caller, name: &[u8], if_unused: bool) -> Result<Done<()>, AmqpError> {
        let name = &*without_line_breaks(name);
        let router = self.router(caller.vhost);
        let durable = router.exchange(name).is_some_and(|id| router.exchange_info(id).durable);
        let deleted = self.change_routes(caller.vhost, |router| router.delete(name, if_unused))?;
        if durable {
            self.define(&Definition::ExchangeDeleted { vhost: caller.vhost, name: ShortString::truncated(name) });
        }
        self.define_auto_deleted(caller.vhost, &deleted.auto_deleted);
        Ok(self.done(()))
    }

    /// `exchange.bind`.
    ///
    /// # Errors
    /// 403 for the default exchange, 404, 406 for headers arguments that make no sense.
    pub fn bind_exchange(
        &mut self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
        arguments: FieldTable,
    ) -> Result<Done<()>, AmqpError> {
        let (source, destination) = (&*without_line_breaks(source), &*without_line_breaks(destination));
        self.assert_room_for_binding(caller.vhost)?;
        let bound = self
            .change_routes(caller.vhost, |router| router.bind_exchange(source, destination, routing_key, &arguments))?;
        if bound.new && bound.durable {
            let destination = DurableDestination::Exchange(ShortString::truncated(destination));
            self.define(&Definition::Bound(durable_binding(
                caller.vhost,
                source,
                destination,
                routing_key,
                &arguments,
            )));
        }
        Ok(self.done_if(bound.durable, ()))
    }

    /// # Errors
    /// 406 when a vhost has as many bindings as it may have.
    pub(super) fn assert_room_for_binding(&self, id: VhostId) -> Result<(), AmqpError> {
        let vhost = &self.vhosts[id];
        vhost.assert_below(vhost.limits.bindings_max, vhost.router().binding_count(), "bind", "binding")
    }

    /// `exchange.unbind`. Unbinding what isn't bound is fine.
    ///
    /// # Errors
    /// 403 for the default exchange.
    pub fn unbind_exchange(
        &mut self,
        caller: Caller,
        source: &[u8],
        destination: &[u8],
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Done<()>, AmqpError> {
        let (source, destination) = (&*without_line_breaks(source), &*without_line_breaks(destination));
        let unbound = self.change_routes(caller.vhost, |router| {
            router.unbind_exchange(source, destination, routing_key, arguments)
        })?;
        if unbound.durable {
            let destination = DurableDestination::Exchange(ShortString::truncated(destination));
            self.define(&Definition::Unbound(durable_binding(
                caller.vhost,
                source,
                destination,
                routing_key,
                arguments,
            )));
        }
        self.define_auto_deleted(caller.vhost, &unbound.auto_deleted);
        Ok(self.done(()))
    }
}
