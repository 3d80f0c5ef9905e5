//! Who may log in according to a server that is asked over HTTP, and what those may, as RabbitMQ's plugin asks it.
//!
//! ```text
//! ask ──► http ── allow ──► the user is let in; what it may is asked there, too, or is what its namesake here may
//!          │ deny, or it fails
//!          └──► the broker's own users, and tokens ──► refused          or the other way round, as the settings say
//! ```
//! Where the broker's own passwords are asked, and permissions there, whoever has the right one here is asked for there as
//! well. A server that fails is a refusal, and a log line says why. It never says a password.
//!
//! | file | owns |
//! |---|---|
//! | `http` | who is asked in which order, and what is known |
//! | `forms` | what a question and an answer look like |
//! | `asking` | what is asked now, and for whom |
//! | `threads` | the line of questions, and who asks them |
//! | `opening` | from the settings to all that |

mod asking;
mod forms;
mod opening;
#[cfg(test)]
mod tests;
mod threads;

pub use opening::{FilesRenewer, trust};
pub use threads::HttpThreads;

use super::lately::Lately;
use crate::access::{Answer, Bearer, Fingerprint, FingerprintKey, Inquiry, PasswordHash, Powers, Tags};
use crate::connection::{Doorkeeper, LoginRequest, LoginTicket, Mechanism, Refusal, Verdict};
use crate::reactor::origin_of;
use crate::token::is_like_a_token;
pub use asking::HttpServer;
#[cfg(test)]
use asking::Outcome;
use asking::{Asking, Task};
pub use forms::{Form, Page};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Who is asked, and in which order.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A server says who somebody is that the broker's own users are not; and who of them may log in as that.
    pub knows_users: Option<KnowsUsers>,
    /// Of those who have the right password here a server says what they may, and whether they may log in.
    pub judges_own: bool,
    /// How long what it says is not asked again, in milliseconds.
    pub known_for_ms: u64,
    /// Whether that goes for refusals, too.
    pub refusals_are_known: bool,
    /// Whether clients are told why they may not.
    pub discloses: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct KnowsUsers {
    /// It is asked before the broker's own passwords.
    pub before_passwords: bool,
    /// And before tokens.
    pub before_tokens: bool,
    /// It says what they may, too; else their namesakes here are asked for.
    pub judges: bool,
}

/// Asks a server, and others before or after it.
pub struct HttpDoorkeeper {
    /// The broker's own users, and tokens, if those are asked.
    own: Option<Box<dyn Doorkeeper>>,
    loopback_users: Vec<String>,
    terms: Terms,
    key: FingerprintKey,
    state: RefCell<State>,
}

/// How far a login has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Others are asked, and the server is still to be asked.
    OwnFirst,
    OwnLast,
    /// The server is asked, and others are still to be asked.
    HttpFirst,
    HttpLast,
    /// The password was right here. The server is asked what it makes of it.
    Vouch,
}

struct State {
    asking: Asking,
    /// Those of whom others are asked.
    with_own: HashMap<u64, (LoginRequest, Step)>,
    /// Who was let in lately, and who was refused (`None`).
    known: Lately<Option<Arc<Bearer>>>,
    verdicts: VecDeque<(LoginTicket, Verdict)>,
}

/// Somebody for whom the server is asked.
pub(super) struct Applicant {
    request: LoginRequest,
    step: Step,
}

impl HttpDoorkeeper {
    /// `key` is what nobody can guess.
    pub fn new(
        own: Option<Box<dyn Doorkeeper>>,
        loopback_users: &[String],
        terms: Terms,
        key: [u8; 32],
        server: Box<dyn HttpServer>,
    ) -> Self {
        let state = State {
            asking: Asking::new(server),
            with_own: HashMap::new(),
            known: Lately::new(terms.known_for_ms),
            verdicts: VecDeque::new(),
        };
        let key = FingerprintKey::new(key);
        Self { own, loopback_users: loopback_users.to_vec(), terms, key, state: RefCell::new(state) }
    }

    fn may_come(&self, user: &[u8], peer: IpAddr) -> bool {
        super::may_come(&self.loopback_users, user, peer)
    }

    fn first_step(&self, request: &LoginRequest) -> Step {
        let is_token = is_like_a_token(&request.credentials.password);
        match self.terms.knows_users {
            None => Step::OwnLast,
            Some(_) if self.own.is_none() => Step::HttpLast,
            Some(KnowsUsers { before_tokens: true, .. }) if is_token => Step::HttpFirst,
            Some(KnowsUsers { before_passwords: true, .. }) if !is_token => Step::HttpFirst,
            // Whom nobody knows here need not wait for that; who is refused there does.
            Some(_) if !is_token && request.password.is_none() => Step::HttpFirst,
            Some(_) => Step::OwnFirst,
        }
    }

    /// Goes a step of a login. `None` when somebody has to find something out for it.
    fn go(&self, state: &mut State, request: LoginRequest, step: Step) -> Option<Verdict> {
        match (step, &self.own) {
            (Step::OwnFirst | Step::OwnLast, Some(own)) => match own.ask(request.clone()) {
                Some(verdict) => self.own_said(state, verdict, request, step),
                None => {
                    state.with_own.insert(request.ticket.serial, (request, step));
                    None
                }
            },
            (Step::OwnFirst | Step::OwnLast, None) => Some(Verdict::Refused(Refusal::InvalidCredentials)),
            (Step::HttpFirst | Step::HttpLast | Step::Vouch, _) => self.ask_server(state, request, step),
        }
    }

    fn own_said(&self, state: &mut State, verdict: Verdict, request: LoginRequest, step: Step) -> Option<Verdict> {
        match verdict {
            Verdict::Allowed if self.terms.judges_own => self.go(state, request, Step::Vouch),
            Verdict::Refused(_) if step == Step::OwnFirst => self.go(state, request, Step::HttpLast),
            verdict => Some(verdict),
        }
    }

    fn ask_server(&self, state: &mut State, request: LoginRequest, step: Step) -> Option<Verdict> {
        let fingerprint = self.fingerprint(&request, step);
        if let Some(found) = state.known.find(fingerprint, request.now_ms) {
            return self.server_said(state, found, Applicant { request, step });
        }
        let (origin, form) = (origin_of(request.peer), Form::of_login(&request));
        match state.asking.log_in(fingerprint, form, origin, Applicant { request, step }) {
            Ok(()) => None,
            Err(applicant) => {
                let peer = applicant.request.peer;
                tracing::warn!(target: "auth", "a login from {peer} is not asked over HTTP: too many wait for theirs");
                self.server_said(state, None, *applicant)
            }
        }
    }

    /// What the server's answer is kept by: it may depend on all that it is told.
    fn fingerprint(&self, request: &LoginRequest, step: Step) -> Fingerprint {
        let LoginRequest { credentials, tags, vhost, peer, .. } = request;
        let by = match (step, credentials.mechanism) {
            // It has the tags that it has here: with others it is somebody else.
            (Step::Vouch, _) => format!("own {:?}", tags.iter().flat_map(|tags| tags.iter()).collect::<Vec<_>>()),
            (_, Mechanism::External) => "certificate".to_owned(),
            _ => "password".to_owned(),
        };
        let who = [&format!("{by} {peer} {vhost:?} ").into_bytes(), &*credentials.user].concat();
        self.key.fingerprint(&who, &PasswordHash::Absent, &credentials.password)
    }

    /// The server knows this user, or refused it, or failed.
    fn server_said(&self, state: &mut State, found: Option<Arc<Bearer>>, applicant: Applicant) -> Option<Verdict> {
        let Applicant { request, step } = applicant;
        let Some(bearer) = found else {
            return match step {
                Step::HttpFirst => self.go(state, request, Step::OwnLast),
                _ => Some(Verdict::Refused(Refusal::InvalidCredentials)),
            };
        };
        if !self.may_come(&request.credentials.user, request.peer) {
            return Some(Verdict::Refused(Refusal::NotFromThere));
        }
        let judges = step == Step::Vouch || self.terms.knows_users.is_some_and(|knows| knows.judges);
        Some(match judges {
            true => Verdict::Bearer(bearer),
            // It is its namesake here, whatever that one's password.
            false => request.password.map_or(Verdict::Refused(Refusal::InvalidCredentials), |_| Verdict::Allowed),
        })
    }

    /// Takes what the server said meanwhile.
    fn go_on(&self, state: &mut State, now_ms: u64) {
        while let Some((task, body)) = state.asking.next() {
            match task {
                Task::Login { fingerprint, applicants } => {
                    let Some((_, Applicant { request, step })) = applicants.first_key_value() else { continue };
                    let found = self.login_answered(request, body).and_then(|tags| {
                        let found = tags.and_then(|tags| bearer(request, *step, tags)).map(Arc::new);
                        if found.is_some() || self.terms.refusals_are_known {
                            state.known.note(fingerprint, found.clone(), None, now_ms);
                        }
                        found
                    });
                    for mut applicant in applicants.into_values() {
                        let ticket = applicant.request.ticket;
                        applicant.request.now_ms = now_ms;
                        let verdict = self.server_said(state, found.clone(), applicant);
                        state.verdicts.extend(verdict.map(|verdict| (ticket, verdict)));
                    }
                }
                Task::Permission { inquiry, tickets } => {
                    let answer = self.permission_answered(&inquiry, body);
                    let verdicts = tickets
                        .into_values()
                        .map(|ticket| (ticket, Verdict::Answered(Arc::clone(&inquiry), answer.clone())));
                    state.verdicts.extend(verdicts);
                }
            }
        }
    }

    /// The tags of whoever is let in; `None` when the server failed.
    fn login_answered(&self, request: &LoginRequest, body: Result<String, String>) -> Option<Option<Tags>> {
        let who = String::from_utf8_lossy(&request.credentials.user);
        match body.and_then(|body| forms::login(&body)) {
            Ok(forms::Said::Allow(tags)) => Some(Some(tags)),
            Ok(forms::Said::Deny(reason)) => {
                if !reason.is_empty() {
                    tracing::info!(target: "auth", "HTTP authentication denied for user '{who}': {reason}");
                }
                Some(None)
            }
            Err(reason) => {
                tracing::error!(target: "auth", "user '{who}' can't be authenticated over HTTP: {reason}");
                None
            }
        }
    }

    fn permission_answered(&self, inquiry: &Inquiry, body: Result<String, String>) -> Answer {
        let known_for_ms = self.terms.known_for_ms;
        match body.and_then(|body| forms::permission(&body)) {
            Ok(forms::Said::Allow(())) => Answer { is_allowed: true, told: Box::default(), known_for_ms },
            Ok(forms::Said::Deny(reason)) => {
                if !reason.is_empty() {
                    let what = forms::described(inquiry);
                    tracing::info!(target: "auth", "HTTP authorization denied for {what}: {reason}");
                }
                let told = match self.terms.discloses && !reason.is_empty() {
                    true => format!(" by backend rabbit_auth_backend_http: {reason}").into(),
                    false => Box::default(),
                };
                let known_for_ms = if self.terms.refusals_are_known { known_for_ms } else { 0 };
                Answer { is_allowed: false, told, known_for_ms }
            }
            Err(reason) => {
                let what = forms::described(inquiry);
                tracing::error!(target: "auth", "{what} can't be asked for over HTTP: {reason}");
                let told = format!(", backend rabbit_auth_backend_http returned an error: {reason}").into();
                Answer { is_allowed: false, told, known_for_ms: 0 }
            }
        }
    }

    /// Takes what others said meanwhile.
    fn next_of_own(&self, state: &mut State, now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        let own = self.own.as_ref()?;
        while let Some((ticket, verdict)) = own.next_verdict(now_ms) {
            let Some((mut request, step)) = state.with_own.remove(&ticket.serial) else { continue };
            request.now_ms = now_ms;
            if let Some(verdict) = self.own_said(state, verdict, request, step) {
                return Some((ticket, verdict));
            }
        }
        None
    }
}

/// Whom the server knows. The tags of the broker's own users are their own; `None` when there is none of that name any more.
fn bearer(request: &LoginRequest, step: Step, tags: Tags) -> Option<Bearer> {
    let tags = match step {
        Step::Vouch => Arc::clone(request.tags.as_ref()?),
        _ => Arc::new(tags),
    };
    let name = std::str::from_utf8(&request.credentials.user).ok()?.into();
    Some(Bearer { name, tags, powers: Powers::Elsewhere { peer: request.peer }, expires_unix_ms: None })
}

impl Doorkeeper for HttpDoorkeeper {
    fn ask(&self, request: LoginRequest) -> Option<Verdict> {
        let state = &mut *self.state.borrow_mut();
        let (step, ticket, now_ms) = (self.first_step(&request), request.ticket, request.now_ms);
        if std::str::from_utf8(&request.credentials.user).is_err() {
            return self.go(state, request, Step::OwnLast);
        }
        if let Some(verdict) = self.go(state, request, step) {
            return Some(verdict);
        }
        self.go_on(state, now_ms);
        match state.verdicts.back() {
            Some((answered, _)) if *answered == ticket => state.verdicts.pop_back().map(|(_, verdict)| verdict),
            _ => None,
        }
    }

    fn inquire(&self, ticket: LoginTicket, inquiry: Inquiry) {
        let state = &mut *self.state.borrow_mut();
        if let Err((inquiry, ticket)) = state.asking.inquire(inquiry, ticket) {
            let answer = self.permission_answered(&inquiry, Err("too many wait".to_owned()));
            state.verdicts.push_back((ticket, Verdict::Answered(inquiry, answer)));
        }
    }

    fn forget(&self, ticket: LoginTicket) {
        let state = &mut *self.state.borrow_mut();
        if state.with_own.remove(&ticket.serial).is_some()
            && let Some(own) = &self.own
        {
            own.forget(ticket);
        }
        state.asking.forget(ticket);
    }

    fn forget_known(&self) {
        self.state.borrow_mut().known.forget_all();
        self.own.iter().for_each(|own| own.forget_known());
    }

    fn next_verdict(&self, now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        let state = &mut *self.state.borrow_mut();
        self.go_on(state, now_ms);
        state.verdicts.pop_front().or_else(|| self.next_of_own(state, now_ms))
    }

    fn has_verdict(&self) -> bool {
        !self.state.borrow().verdicts.is_empty() || self.own.as_ref().is_some_and(|own| own.has_verdict())
    }
}
