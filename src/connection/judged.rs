//! Clients whose permissions somebody else has: a command that needs one that is not known waits until that is answered, and
//! what the client sends behind it waits with it. Then it is given again.
//!
//! A publish waits at its content header, before anything of it is kept: whether it may is known when all of it is there.

use super::login::{Login, LoginTicket, Who};
use super::{Awaited, Connection, Context};
use crate::broker::message::may_copy;
use crate::broker::store::Store;
use crate::broker::{Broker, Judging};
use crate::protocol::AmqpError;

/// Of a channel of such a client.
#[derive(Default)]
pub struct Judged {
    /// Why what is being received may not be published.
    refusal: Option<AmqpError>,
}

impl Connection {
    /// Whether the command that was just refused only has to wait until somebody else is asked.
    pub(super) fn waits_for_answer<S: Store>(&mut self, context: &mut Context<'_, S>) -> bool {
        if !self.is_judged(context.broker) {
            return false;
        }
        let Some(inquiry) = context.broker.take_inquiry() else { return false };
        let since_ms = match self.login.as_deref() {
            Some(Login::Judged { since_ms }) => *since_ms,
            _ => context.now_ms,
        };
        let ticket = self.next_ticket(context);
        context.settings.doorkeeper.inquire(ticket, inquiry);
        self.login = Some(Box::new(Login::Inquiry { serial: ticket.serial, since_ms }));
        self.awaits = Some(Awaited::Verdict);
        true
    }

    /// Whether somebody else has the permissions of whoever is here.
    fn is_judged<S: Store>(&self, broker: &Broker<S>) -> bool {
        match self.user.as_ref().map(|logged_in| &logged_in.who) {
            Some(Who::Bearer(bearer)) => bearer.is_judged_elsewhere(),
            Some(Who::User(user)) => broker.user_of(*user).is_some_and(|user| broker.is_judged_elsewhere(user)),
            None => false,
        }
    }

    /// Whether somebody else's answer is for the command that waits here.
    pub(super) fn note_answer(&mut self, ticket: LoginTicket) -> bool {
        match self.login.as_deref() {
            Some(Login::Inquiry { serial, since_ms }) if *serial == ticket.serial => {
                self.login = Some(Box::new(Login::Judged { since_ms: *since_ms }));
                true
            }
            _ => false,
        }
    }

    /// The command that waited for somebody's answer is given again: it is judged as it would have been at first.
    pub(super) fn begin_judging<S: Store>(&mut self, context: &mut Context<'_, S>) {
        if let Some(Login::Judged { since_ms }) = self.login.as_deref() {
            context.broker.judge(Judging::AsOf(*since_ms));
        }
    }

    /// What waited was given again, and may wait for something else now.
    pub fn end_judging<S: Store>(&mut self, context: &mut Context<'_, S>) {
        self.login.take_if(|login| matches!(**login, Login::Judged { .. }));
        context.broker.judge(Judging::Now);
    }

    /// Whether the publish whose content header came has to wait until somebody is asked.
    pub(super) fn waits_to_publish<S: Store>(
        &mut self,
        index: usize,
        properties: &[u8],
        context: &mut Context<'_, S>,
    ) -> bool {
        context.broker.drop_inquiries();
        let channel = &mut *self.channels[index];
        let Some(judged) = &mut channel.judged else { return false };
        let exchange = channel.last_publish.resolve_exchange(channel.caller, context.broker);
        let may = exchange.and_then(|exchange| may_copy(properties, channel.caller, exchange, context.broker));
        judged.refusal = may.err();
        judged.refusal.is_some() && self.waits_for_answer(context)
    }
}

impl Judged {
    /// All of a publish is there: what was found out at its beginning counts.
    pub(super) fn resolved<S: Store, T>(
        &mut self,
        context: &mut Context<'_, S>,
        resolve: impl FnOnce(&mut Context<'_, S>) -> Result<T, AmqpError>,
    ) -> Result<T, AmqpError> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        context.broker.judge(Judging::Trusting);
        let resolved = resolve(context);
        context.broker.judge(Judging::Now);
        resolved
    }
}
