//! `exchange.declare` and `exchange.delete`.

use super::exchange::{Declaration, Destination};
use super::store::{Definition, Store};
use super::{Broker, Caller, Done, UserId, VhostId};
use crate::protocol::{AmqpError, FieldTable, ReplyCode, ShortString};

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
    /// 403 also for reserved names, 406 for unknown types and inequivalent redeclarations.
    pub fn declare_exchange(&mut self, caller: Caller, request: ExchangeRequest<'_>) -> Result<Done<bool>, AmqpError> {
        let ExchangeRequest { name, kind, durable, auto_delete, internal, arguments } = request;
        let declared = self.exchange_to_declare(caller, name, kind, &arguments)?;
        let declaration = Declaration { kind: declared.kind, durable, auto_delete, internal, arguments: &arguments };
        if let Some(id) = declared.id {
            let subject = self.subject("exchange", caller.vhost, &declared.name);
            self.router(caller.vhost).assert_equivalent(id, &declaration, subject)?;
            return Ok(self.done_if(durable, false));
        }
        let name = ShortString::truncated(&declared.name);
        let alternate = declared.alternate;
        self.create_exchange((caller.vhost, Some(caller.user)), name, declaration, alternate)?;
        Ok(self.done_if(durable, true))
    }

    /// Makes an exchange that is not there, whoever asks.
    ///
    /// # Errors
    /// 406 at the limit.
    pub(super) fn create_exchange(
        &mut self,
        (id, by): (VhostId, Option<UserId>),
        name: ShortString,
        declaration: Declaration<'_>,
        alternate: Option<ShortString>,
    ) -> Result<(), AmqpError> {
        let vhost = &self.vhosts[id];
        let doing = format!("declare exchange '{name}'");
        vhost.assert_below(vhost.limits.exchanges_max, vhost.router().exchange_count(), &doing, "exchange")?;
        let policies = self.policies_of_exchange(id, &name);
        self.change_routes(id, |router| {
            let id = router.add(name.clone(), &declaration, alternate);
            router.apply_policies(id, policies);
        });
        self.tell_exchange_created(id, &name, by);
        let Declaration { kind, durable, auto_delete, internal, arguments } = declaration;
        if durable {
            let arguments = arguments.clone();
            self.define(&Definition::ExchangeDeclared { vhost: id, name, kind, auto_delete, internal, arguments });
        }
        Ok(())
    }

    /// `exchange.declare(passive = true)`.
    ///
    /// # Errors
    /// 403, 404.
    pub fn declare_exchange_passively(&mut self, caller: Caller, name: &[u8]) -> Result<Done<()>, AmqpError> {
        self.exchange_passively(caller, name)?;
        Ok(self.done(()))
    }

    /// `exchange.delete`. Deleting what doesn't exist is fine. The caller answers when it [has left](Self::has_left).
    ///
    /// # Errors
    /// 403 also for predeclared exchanges, 406 when it is in use and the client asked to be told.
    pub fn delete_exchange(&mut self, caller: Caller, name: &[u8], if_unused: bool) -> Result<Done<()>, AmqpError> {
        let Some(id) = self.exchange_to_delete(caller, name)? else { return Ok(self.done(())) };
        let vhost = caller.vhost;
        let router = self.router(vhost);
        let (name, durable) = (router.exchange(id).name.clone(), router.exchange(id).durable);
        if if_unused && router.has_bindings_from(id) {
            let explanation = format!("{} in use", self.subject("exchange", vhost, &name));
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
        }
        self.tell_exchange_deleted(vhost, &name, Some(caller.user));
        self.forget_delayed(vhost, &name);
        if durable {
            self.define(&Definition::ExchangeDeleted { vhost, name });
        }
        self.let_leave(vhost, Destination::Exchange(id), Some(caller.user));
        Ok(self.done(()))
    }
}
