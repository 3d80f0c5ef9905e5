//! Logging in: what is asked of the doorkeeper, and what follows from its answer, which may take its time.
//!
//! Nothing that a client sends is handled while its login is checked: what came with it is kept, and its caller reads no
//! more than it wants kept. The handshake's deadline goes on meanwhile.

use super::sasl::{self, Credentials, Mechanism};
use super::{CloseReason, Connection, Context, Phase};
use crate::access::{Answer, Bearer, Inquiry, PasswordHash, Tags};
use crate::broker::store::Store;
use crate::broker::{Broker, ConnectionId, UserKey};
use crate::protocol::method::connection;
use crate::protocol::{AmqpError, Method, ReplyCode};
// From `core`, which has addresses and no sockets.
use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

/// Characters of the name of a user who is not let in that events tell.
const TOLD_NAME_CHARS_MAX: usize = 255;

/// What somebody wants to be let in with.
#[derive(Clone)]
pub struct LoginRequest {
    pub ticket: LoginTicket,
    pub credentials: Credentials,
    /// What is kept of the user's password. `None` when nobody has that name.
    pub password: Option<Arc<PasswordHash>>,
    /// The user's, if there is one of that name.
    pub tags: Option<Arc<Tags>>,
    /// The virtual host that it wants to see, where it says that at once.
    pub vhost: Option<Box<str>>,
    pub peer: IpAddr,
    /// The caller's clock, in milliseconds.
    pub now_ms: u64,
}

/// Names one login. No other has it, though a connection's id is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoginTicket {
    /// Whose it is. `None`: of somebody who asks over something else than AMQP.
    pub connection: Option<ConnectionId>,
    pub serial: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allowed,
    /// Others vouch for it: it is who they say, whoever it said to be.
    Bearer(Arc<Bearer>),
    Refused(Refusal),
    /// What somebody elsewhere says to an [inquiry](Doorkeeper::inquire).
    Answered(Arc<Inquiry>, Answer),
}

/// Why somebody is not let in. The log says it, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such user, or it has another password or none.
    InvalidCredentials,
    /// The user may come from the broker's machine only.
    NotFromThere,
    /// It wanted its certificate to say who it is, and has none.
    NoCertificate,
    /// Its certificate has no such name.
    NoName,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidCredentials => "invalid credentials",
            Self::NotFromThere => "can only connect via localhost",
            Self::NoCertificate => "connection peer presented no TLS (x.509) certificate",
            Self::NoName => "no name found",
        })
    }
}

impl Refusal {
    /// RabbitMQ's text about a user.
    fn about(self, user: &str) -> String {
        let user: String = user.chars().take(TOLD_NAME_CHARS_MAX).collect();
        match self {
            Self::InvalidCredentials => format!("user '{user}' - {self}"),
            Self::NotFromThere => format!("user '{user}' {self}"),
            Self::NoCertificate | Self::NoName => self.to_string(),
        }
    }
}

/// Decides who is let in.
pub trait Doorkeeper {
    /// Says whether these credentials let a client in that comes from there. `None`: it [will say so later](Self::next_verdict),
    /// once, by the request's ticket. The client may be gone by then.
    fn ask(&self, request: LoginRequest) -> Option<Verdict>;

    /// Has somebody elsewhere asked about a user for whom that vouched. Its answer is a verdict.
    fn inquire(&self, _ticket: LoginTicket, _inquiry: Inquiry) {
        unreachable!("nobody's permissions are kept elsewhere");
    }

    /// Nobody waits for the answer to this any more.
    fn forget(&self, _ticket: LoginTicket) {}

    /// Whatever was found out of anybody is found out again.
    fn forget_known(&self) {}

    /// A verdict that was not there when it was asked for. Each turn takes some.
    fn next_verdict(&self, _now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        None
    }

    /// Whether a verdict is there that nobody took.
    fn has_verdict(&self) -> bool {
        false
    }
}

/// A user as it was when somebody asked to be let in as that.
pub struct Claim {
    key: UserKey,
    name: Arc<str>,
    password: Arc<PasswordHash>,
    tags: Arc<Tags>,
}

impl Claim {
    /// To be the user of that name. `None` when nobody has it.
    pub fn of<S: Store>(name: &[u8], broker: &Broker<S>) -> Option<Self> {
        let key = broker.find_user(name)?;
        let user = broker.user(key)?;
        let (name, password, tags) = (Arc::clone(&user.name), Arc::clone(&user.password), Arc::clone(&user.tags));
        Some(Self { key, name, password, tags })
    }

    /// What the doorkeeper is to compare with.
    pub fn password(&self) -> Arc<PasswordHash> {
        Arc::clone(&self.password)
    }

    pub fn tags(&self) -> Arc<Tags> {
        Arc::clone(&self.tags)
    }

    /// Whether the user is still there, with the password that was compared. A password that was changed while it was
    /// checked lets nobody in.
    pub fn holds<S: Store>(&self, broker: &Broker<S>) -> bool {
        broker.user(self.key).is_some_and(|user| Arc::ptr_eq(&user.password, &self.password))
    }

    pub fn user(&self) -> UserKey {
        self.key
    }
}

/// How far a login has come.
pub(super) enum Login {
    /// The client was asked for the password of this user.
    Challenged { user: Box<[u8]> },
    /// The doorkeeper was asked.
    Pending(PendingLogin),
    /// It was asked about the token that is to follow one that let the client in.
    Renewal { serial: u64, verdict: Option<Verdict> },
    /// Somebody elsewhere is asked about what a command needs that [waits](super::judged) since then.
    Inquiry { serial: u64, since_ms: u64 },
    /// It was, and the command is given again.
    Judged { since_ms: u64 },
}

/// A login that is being checked.
pub(super) struct PendingLogin {
    serial: u64,
    mechanism: Mechanism,
    /// Who it says that it is, for the log.
    name: Box<[u8]>,
    /// `None` when there is no such user.
    claim: Option<Claim>,
}

/// Whom a connection acts for, once that is known.
pub(super) struct LoggedIn {
    pub who: Who,
    pub name: Arc<str>,
}

pub(super) enum Who {
    User(UserKey),
    /// Who becomes a user of the broker's when it enters a virtual host.
    Bearer(Arc<Bearer>),
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

    /// The client's certificate says which user it is: that there is one, and that it may come from there, is all that is
    /// asked of the doorkeeper.
    pub(super) fn log_in_by_certificate<S: Store>(&mut self, context: &mut Context<'_, S>) {
        let mechanism = Mechanism::External;
        let peer = self.encryption.as_ref().and_then(|encryption| encryption.peer.as_ref());
        match peer.map(|peer| peer.login_name(context.settings.certificate_name)) {
            Some(Some(name)) => {
                let user = name.into_bytes().into();
                self.ask_for_login(Credentials { mechanism, user, password: Box::default() }, context);
            }
            Some(None) => self.refuse_login(mechanism, b"", Refusal::NoName, context),
            None => self.refuse_login(mechanism, b"", Refusal::NoCertificate, context),
        }
    }

    /// Asks whether the credentials let the client in.
    pub(super) fn ask_for_login<S: Store>(&mut self, credentials: Credentials, context: &mut Context<'_, S>) {
        let ticket = self.next_ticket(context);
        let claim = Claim::of(&credentials.user, context.broker);
        let (password, tags) = (claim.as_ref().map(Claim::password), claim.as_ref().map(Claim::tags));
        let (mechanism, name) = (credentials.mechanism, credentials.user.clone());
        self.login = Some(Box::new(Login::Pending(PendingLogin { serial: ticket.serial, mechanism, name, claim })));
        self.phase = Phase::AwaitingLogin;
        let (peer, now_ms) = (self.peer.ip(), context.now_ms);
        let request = LoginRequest { ticket, credentials, password, tags, vhost: None, peer, now_ms };
        if let Some(verdict) = context.settings.doorkeeper.ask(request) {
            self.login_answered(ticket, verdict, context);
        }
    }

    pub(super) fn next_ticket<S: Store>(&self, context: &mut Context<'_, S>) -> LoginTicket {
        *context.logins += 1;
        LoginTicket { connection: Some(self.id), serial: *context.logins }
    }

    /// The client is gone, or its time is up: whatever the doorkeeper finds out is for nobody.
    pub(super) fn withdraw_login<S: Store>(&mut self, context: &mut Context<'_, S>) {
        let serial = match self.login.take().map(|login| *login) {
            Some(
                Login::Pending(PendingLogin { serial, .. })
                | Login::Renewal { serial, verdict: None }
                | Login::Inquiry { serial, .. },
            ) => serial,
            _ => return,
        };
        context.settings.doorkeeper.forget(LoginTicket { connection: Some(self.id), serial });
    }

    /// The doorkeeper's answer. False when nobody waits for it any more. What was kept can be handled then: see
    /// [`take_kept`](Self::take_kept), and [`resume`](Self::resume) for the answer to a renewal.
    pub fn login_answered<S: Store>(
        &mut self,
        ticket: LoginTicket,
        verdict: Verdict,
        context: &mut Context<'_, S>,
    ) -> bool {
        if self.note_renewal(ticket, &verdict) || self.note_answer(ticket) {
            return true;
        }
        // It may have run out of time or been closed since, and another may have its id.
        let is_awaited =
            |login: &mut Box<Login>| matches!(&**login, Login::Pending(pending) if pending.serial == ticket.serial);
        let Some(Login::Pending(login)) = self.login.take_if(is_awaited).map(|login| *login) else { return false };
        debug_assert_eq!(self.phase, Phase::AwaitingLogin);
        let PendingLogin { mechanism, name, claim, .. } = login;
        match (verdict, claim) {
            (Verdict::Allowed, Some(claim)) if claim.holds(context.broker) => {
                let logged_in = LoggedIn { who: Who::User(claim.key), name: claim.name };
                self.offer_tuning(mechanism, logged_in, context);
            }
            (Verdict::Bearer(bearer), _) => {
                let name = Arc::clone(&bearer.name);
                self.offer_tuning(mechanism, LoggedIn { who: Who::Bearer(bearer), name }, context);
            }
            (Verdict::Allowed | Verdict::Answered(..), _) => {
                self.refuse_login(mechanism, &name, Refusal::InvalidCredentials, context);
            }
            (Verdict::Refused(why), _) => self.refuse_login(mechanism, &name, why, context),
        }
        true
    }

    fn offer_tuning<S: Store>(&mut self, mechanism: Mechanism, logged_in: LoggedIn, context: &mut Context<'_, S>) {
        self.auth_mechanism = mechanism.name();
        context.broker.count_login(true);
        if context.broker.hears_events() {
            context.broker.tell_login(&self.details(), logged_in.name.as_bytes(), None);
        }
        self.user = Some(logged_in);
        let tune = Method::ConnectionTune(connection::Tune {
            channel_max: context.settings.channel_max,
            frame_max: context.settings.frame_max,
            heartbeat: context.settings.heartbeat_s,
        });
        context.outboxes.method(self.id, 0, &tune);
        self.phase = Phase::AwaitingTuneOk;
    }

    fn refuse_login<S: Store>(
        &mut self,
        mechanism: Mechanism,
        name: &[u8],
        why: Refusal,
        context: &mut Context<'_, S>,
    ) {
        self.auth_mechanism = mechanism.name();
        let (mechanism, name) = (mechanism.name(), String::from_utf8_lossy(name));
        context.broker.count_login(false);
        let refusal = why.about(&name);
        if context.broker.hears_events() {
            context.broker.tell_login(&self.details(), name.as_bytes(), Some(&refusal));
        }
        self.tell_login_refused(mechanism, &name, &refusal);
        if !self.capabilities.authentication_failure_close {
            return self.doom_silently("its login was refused", context);
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
