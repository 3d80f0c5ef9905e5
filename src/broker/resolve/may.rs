//! Whether a caller may: the questions that are asked of [access](crate::broker::access), and what a refusal says.
//!
//! What somebody elsewhere has to be asked for first is refused, too, and there is an
//! [inquiry](Broker::take_inquiry) then: whoever gives the command puts it aside until that is answered.

use super::refused;
use crate::access::About;
use crate::broker::access::{KeyRules, Right};
use crate::broker::exchange::{ExchangeId, ExchangeKind};
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, UserId, VhostId};
use crate::protocol::{AmqpError, ReplyCode};

/// What the default exchange is called where permissions are given.
const DEFAULT_EXCHANGE_NAME: &[u8] = b"amq.default";

impl<S: Store> Broker<S> {
    /// # Errors
    /// 403 when the caller may not do that with a queue of this name.
    pub(super) fn may_with_queue(&self, caller: Caller, right: Right, name: &[u8]) -> Result<(), AmqpError> {
        self.may(caller, right, "queue", name)
    }

    /// # Errors
    /// 403 when the caller may not do that with an exchange of this name.
    pub(super) fn may_with_exchange(&self, caller: Caller, right: Right, name: &[u8]) -> Result<(), AmqpError> {
        let name = if name.is_empty() { DEFAULT_EXCHANGE_NAME } else { name };
        self.may(caller, right, "exchange", name)
    }

    /// Whether a user may do this with what has this name in a vhost, or would have it.
    pub(in crate::broker) fn user_may(&self, user: UserId, right: Right, vhost: VhostId, name: &[u8]) -> bool {
        self.access.may(user, right, self.vhost_key(vhost), name)
            || self.users.get(user).scopes().is_some_and(|scopes| scopes.allow(right, self.vhost_name(vhost), name))
    }

    fn may(&self, caller: Caller, right: Right, kind: &'static str, name: &[u8]) -> Result<(), AmqpError> {
        let Caller { user, vhost, .. } = caller;
        if self.user_may(user, right, vhost, name) {
            return Ok(());
        }
        let Err(told) = self.elsewhere(user, vhost, About::Resource { kind, name, right }) else { return Ok(()) };
        let (subject, user) = (self.subject(kind, vhost, name), self.user_name(user));
        Err(refused(ReplyCode::AccessRefused, format!("{right} access to {subject} refused for user '{user}'{told}")))
    }

    /// Whether the caller may do anything with what has this name. It is told that it may not configure it. Nobody elsewhere
    /// is asked that, as with RabbitMQ: it may.
    ///
    /// # Errors
    /// 403.
    pub(super) fn may_somehow(&self, caller: Caller, kind: &'static str, name: &[u8]) -> Result<(), AmqpError> {
        let Caller { user, vhost, .. } = caller;
        if self.is_judged_elsewhere(user) {
            return Ok(());
        }
        match [Right::Read, Right::Write].iter().any(|right| self.user_may(user, *right, vhost, name)) {
            true => Ok(()),
            false => self.may(caller, Right::Configure, kind, name),
        }
    }

    /// What restricts the keys that the caller may use with an exchange: only those of type topic can be restricted.
    fn key_rules_for(&self, caller: Caller, id: ExchangeId) -> Option<KeyRules<'_>> {
        let Caller { user, vhost, .. } = caller;
        let exchange = self.router(vhost).exchange(id);
        match exchange.kind {
            ExchangeKind::Topic => self.key_rules(user, vhost, &exchange.name),
            _ => None,
        }
    }

    /// # Errors
    /// 403 when the caller may not use this key so.
    fn may_with_key(&self, caller: Caller, right: Right, id: ExchangeId, key: &[u8]) -> Result<(), AmqpError> {
        if self.key_rules_for(caller, id).is_none_or(|rules| rules.allow(right, key)) {
            return Ok(());
        }
        let exchange = &*self.router(caller.vhost).exchange(id).name;
        let Err(told) = self.elsewhere(caller.user, caller.vhost, About::Key { exchange, right, key }) else {
            return Ok(());
        };
        let subject = self.subject("exchange", caller.vhost, exchange);
        let (key, user) = (String::from_utf8_lossy(key), self.user_name(caller.user));
        let explanation = format!("{right} access to topic '{key}' in {subject} refused for user '{user}'{told}");
        Err(refused(ReplyCode::AccessRefused, explanation))
    }

    /// # Errors
    /// 403 when the caller may not bind, or unbind, with this key. A source that is missing restricts nobody.
    pub(super) fn may_bind_with(&self, caller: Caller, source: &[u8], routing_key: &[u8]) -> Result<(), AmqpError> {
        let source = self.exchange_in(caller.vhost, source);
        source.map_or(Ok(()), |id| self.may_with_key(caller, Right::Read, id, routing_key))
    }

    /// Whether the caller may read what an exchange routes with whatever key.
    pub(in crate::broker) fn may_read_every_key(&self, caller: Caller, id: ExchangeId) -> bool {
        self.key_rules_for(caller, id).is_none_or(|rules| rules.allow_every_key(Right::Read))
    }

    /// Whether the caller may publish to an exchange with whatever key.
    pub(super) fn may_publish_with_any_key(&self, caller: Caller, id: ExchangeId) -> bool {
        self.key_rules_for(caller, id).is_none_or(|rules| rules.allow_every_key(Right::Write))
    }

    /// Whether the caller, who may publish to this exchange, may do so with this key.
    ///
    /// # Errors
    /// 403.
    pub fn may_publish_with(&self, caller: Caller, id: ExchangeId, routing_key: &[u8]) -> Result<(), AmqpError> {
        self.may_with_key(caller, Right::Write, id, routing_key)
    }
}
