//! A token that follows another one: `connection.update-secret`.
//!
//! The command waits for the doorkeeper, and what the client sends behind it waits with it, so that all of that is done with
//! what the new token allows. Whoever logged in with a password may say anything: as with RabbitMQ, nobody asks.

use super::login::{Login, LoginRequest, LoginTicket, Verdict, Who};
use super::sasl::{Credentials, Mechanism};
use super::{Awaited, Connection, Context};
use crate::access::Bearer;
use crate::broker::Broker;
use crate::broker::store::Store;
use crate::protocol::method::connection;
use crate::protocol::{AmqpError, Method, ReplyCode};

/// A token that never expires does so at this time.
pub(super) const NEVER_MS: u64 = u64::MAX;

/// When a token expires, on the broker's clock.
pub(super) fn expires_ms<S: Store>(bearer: &Bearer, broker: &Broker<S>) -> u64 {
    bearer.expires_unix_ms.map_or(NEVER_MS, |unix_ms| unix_ms.saturating_sub(broker.unix_start_ms()))
}

impl Connection {
    pub(super) fn update_secret<S: Store>(
        &mut self,
        update: &connection::UpdateSecret<'_>,
        context: &mut Context<'_, S>,
    ) {
        if !context.broker.showed_token(self.id) {
            return self.secret_updated(update, context);
        }
        match self.login.take().map(|login| *login) {
            Some(Login::Renewal { verdict: Some(verdict), .. }) => self.renewed(verdict, update, context),
            _ => self.ask_for_renewal(update, context),
        }
    }

    fn ask_for_renewal<S: Store>(&mut self, update: &connection::UpdateSecret<'_>, context: &mut Context<'_, S>) {
        let ticket = self.next_ticket(context);
        let user = self.user().unwrap_or_default().as_bytes().into();
        let credentials = Credentials { mechanism: Mechanism::Plain, user, password: update.new_secret.into() };
        // Nobody's password will do.
        let (peer, now_ms) = (self.peer.ip(), context.now_ms);
        let request = LoginRequest { ticket, credentials, password: None, tags: None, vhost: None, peer, now_ms };
        match context.settings.doorkeeper.ask(request) {
            Some(verdict) => self.renewed(verdict, update, context),
            None => {
                self.login = Some(Box::new(Login::Renewal { serial: ticket.serial, verdict: None }));
                self.awaits = Some(Awaited::Verdict);
            }
        }
    }

    /// Whether the doorkeeper's answer is about a token that follows another one: then it is kept for the command.
    pub(super) fn note_renewal(&mut self, ticket: LoginTicket, found: &Verdict) -> bool {
        match self.login.as_deref_mut() {
            Some(Login::Renewal { serial, verdict }) if *serial == ticket.serial => {
                *verdict = Some(found.clone());
                true
            }
            _ => false,
        }
    }

    /// Whether the command that waits for the doorkeeper need not wait any more.
    pub(super) fn has_verdict(login: Option<&Login>) -> bool {
        !matches!(login, Some(Login::Renewal { verdict: None, .. } | Login::Inquiry { .. }))
    }

    fn renewed<S: Store>(
        &mut self,
        verdict: Verdict,
        update: &connection::UpdateSecret<'_>,
        context: &mut Context<'_, S>,
    ) {
        const UPDATE_SECRET: (u16, u16) = (10, 70);
        let bearer = match verdict {
            Verdict::Bearer(bearer) if Some(&*bearer.name) == self.user() => bearer,
            _ => {
                let refused = "New secret was refused by one of the backends";
                let error = AmqpError::connection(ReplyCode::NotAllowed, refused);
                return self.raise_on_connection(&error, UPDATE_SECRET, context);
            }
        };
        match context.broker.renew(self.id, &bearer) {
            Ok(()) => {
                self.expires_ms = expires_ms(&bearer, context.broker);
                self.secret_updated(update, context);
            }
            Err(error) => self.raise_on_connection(&error, UPDATE_SECRET, context),
        }
    }

    fn secret_updated<S: Store>(&mut self, update: &connection::UpdateSecret<'_>, context: &mut Context<'_, S>) {
        self.tell_secret_updated(update.reason);
        let answer = Method::ConnectionUpdateSecretOk(connection::UpdateSecretOk);
        context.outboxes.method(self.id, 0, &answer);
    }

    /// Who showed a token enters a virtual host, and is a user from now on.
    pub(super) fn enter_as<S: Store>(
        &mut self,
        bearer: &Bearer,
        vhost_name: &[u8],
        context: &mut Context<'_, S>,
    ) -> Entered {
        let vhost = context.broker.admit_bearer(bearer, vhost_name)?;
        let user = context.broker.welcome(bearer, vhost);
        self.expires_ms = expires_ms(bearer, context.broker);
        if let Some(logged_in) = &mut self.user {
            logged_in.who = Who::User(context.broker.user_key(user));
        }
        Ok((user, vhost))
    }
}

/// As whom and where, or why not.
type Entered = Result<(crate::broker::UserId, crate::broker::VhostId), AmqpError>;
