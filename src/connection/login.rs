//! Logging in: what is asked of the doorkeeper, and what follows from its answer, which may take its time.
//!
//! Nothing that a client sends is handled while its login is checked: what came with it is kept, and its caller reads no
//! more than it wants kept. The handshake's deadline goes on meanwhile.

use super::sasl::{self, Credentials, Mechanism};
use super::{CloseReason, Connection, Context, Phase};
use crate::broker::ConnectionId;
use crate::broker::store::Store;
use crate::protocol::method::connection;
use crate::protocol::{AmqpError, Method, ReplyCode};
// From `core`, which has addresses and no sockets.
use core::net::IpAddr;

/// What a client wants to be let in with.
pub struct LoginRequest {
    pub ticket: LoginTicket,
    pub credentials: Credentials,
    pub peer: IpAddr,
}

/// Names one login. No other has it, though the connection's id is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoginTicket {
    pub connection: ConnectionId,
    pub serial: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allowed,
    Refused,
}

/// Decides who is let in.
pub trait Doorkeeper {
    /// Says whether these credentials let a client in that comes from there. `None`: it [will say so later](Self::next_verdict),
    /// once, by the request's ticket. The client may be gone by then.
    fn ask(&self, request: LoginRequest) -> Option<Verdict>;

    /// A verdict that was not there when it was asked for. Each turn takes some.
    fn next_verdict(&self) -> Option<(LoginTicket, Verdict)> {
        None
    }
}

/// How far a login has come.
pub(super) enum Login {
    /// The client was asked for the password of this user.
    Challenged { user: Box<[u8]> },
    /// The doorkeeper was asked.
    Pending(PendingLogin),
}

/// A login that is being checked.
pub(super) struct PendingLogin {
    serial: u64,
    mechanism: Mechanism,
    user: Box<str>,
}

impl Connection {
    /// Asks the client for the password of the user that it wants to be.
    pub(super) fn challenge<S: Store>(&mut self, user: Box<[u8]>, context: &mut Context<'_, S>) {
        self.login = Some(Box::new(Login::Challenged { user }));
        let secure = Method::ConnectionSecure(connection::Secure { challenge: sasl::CHALLENGE });
        context.outboxes.method(self.id, 0, &secure);
        self.phase = Phase::AwaitingSecureOk;
    }

    pub(super) fn secure_ok<S: Store>(&mut self, secure_ok: &connection::SecureOk<'_>, context: &mut Context<'_, S>) {
        let credentials = match self.login.take().map(|login| *login) {
            Some(Login::Challenged { user }) => sasl::second_response(user, secure_ok.response),
            _ => None,
        };
        match credentials {
            Some(credentials) => self.ask_for_login(credentials, context),
            None => self.doom("its answer to the challenge was malformed", context),
        }
    }

    /// Asks whether the credentials let the client in.
    pub(super) fn ask_for_login<S: Store>(&mut self, credentials: Credentials, context: &mut Context<'_, S>) {
        *context.logins += 1;
        let ticket = LoginTicket { connection: self.id, serial: *context.logins };
        let user = String::from_utf8_lossy(&credentials.user).into();
        let pending = PendingLogin { serial: ticket.serial, mechanism: credentials.mechanism, user };
        self.login = Some(Box::new(Login::Pending(pending)));
        self.phase = Phase::AwaitingLogin;
        let request = LoginRequest { ticket, credentials, peer: self.peer.ip() };
        if let Some(verdict) = context.settings.doorkeeper.ask(request) {
            self.login_answered(ticket, verdict, context);
        }
    }

    /// The doorkeeper's answer. False when nobody waits for it any more. What was kept can be handled then: see
    /// [`take_kept`](Self::take_kept).
    pub fn login_answered<S: Store>(
        &mut self,
        ticket: LoginTicket,
        verdict: Verdict,
        context: &mut Context<'_, S>,
    ) -> bool {
        // It may have run out of time or been closed since, and another may have its id.
        let is_awaited =
            |login: &mut Box<Login>| matches!(&**login, Login::Pending(pending) if pending.serial == ticket.serial);
        let Some(Login::Pending(login)) = self.login.take_if(is_awaited).map(|login| *login) else { return false };
        debug_assert_eq!(self.phase, Phase::AwaitingLogin);
        match verdict {
            Verdict::Allowed => self.offer_tuning(login, context),
            Verdict::Refused => self.refuse_login(&login, context),
        }
        true
    }

    fn offer_tuning<S: Store>(&mut self, login: PendingLogin, context: &mut Context<'_, S>) {
        self.user = Some(login.user);
        self.auth_mechanism = login.mechanism.name();
        let tune = Method::ConnectionTune(connection::Tune {
            channel_max: context.settings.channel_max,
            frame_max: context.settings.frame_max,
            heartbeat: context.settings.heartbeat_s,
        });
        context.outboxes.method(self.id, 0, &tune);
        self.phase = Phase::AwaitingTuneOk;
    }

    fn refuse_login<S: Store>(&mut self, login: &PendingLogin, context: &mut Context<'_, S>) {
        let PendingLogin { mechanism, user, .. } = login;
        let mechanism = mechanism.name();
        log::warn!("{}: login refused for user {user:?} using {mechanism}", self.name());
        if !self.capabilities.authentication_failure_close {
            return self.doom("its login was refused", context);
        }
        let explanation = format!(
            "Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
        );
        let error = AmqpError::connection(ReplyCode::AccessRefused, explanation).without_method();
        self.send_close(&error, (0, 0), context);
        // RabbitMQ hangs up without waiting for close-ok. A client that finds the socket closed when it wants to send
        // close-ok reports that, and not why; so this waits a little. What is not close-ok is ignored meanwhile.
        self.phase = Phase::Closing;
        self.deadline_ms = Some(context.now_ms + context.settings.authentication_failure_delay_ms);
        self.close_reason = Some(CloseReason::Handshake("its login was refused"));
    }
}
