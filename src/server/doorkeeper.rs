//! Who may log in, over AMQP and over HTTP: those who know their user's password and come from where it may come from; and
//! those whose password is a [token](tokens), or for whom a server vouches that is asked over [HTTP](http), where that is set.
//!
//! A hash of RabbitMQ's is checked at once. One of argon2id takes a [checker](checker::Checker) of its own some 20 ms, so
//! whoever asks waits for it in a [line](waiting), and what was found right is [known](known) for a while:
//!
//! ```text
//! ask ──┬── a quick hash, and it is right; or known ──► allowed
//!       └── anything else ──► waiting ── its turn ──► checker ── right ──► known, allowed
//!                                                         └───── wrong ──► refused
//! ```
//! Whoever is refused has waited for a check of argon2id, whether or not there is such a user, and whatever was wrong: so
//! an answer tells nothing but that it is no. Nor does the time that it took: only those who say the same user and password
//! share a check, whether or not there is such a user. It never says a password, a hash or a fingerprint in a log line.

mod checker;
mod files;
mod http;
mod known;
mod lately;
mod outward;
#[cfg(test)]
mod tests;
mod tokens;
mod waiting;

pub use checker::{AtOnce, Checker, PasswordThread};
pub use files::{DoorkeeperFiles, ReadAgain};
pub use http::{FilesRenewer, HttpDoorkeeper};
pub use tokens::{KeyRenewer, TokenDoorkeeper};

use crate::access::{Fingerprint, FingerprintKey, PasswordHash};
use crate::connection::{Doorkeeper, LoginRequest, LoginTicket, Mechanism, Refusal, Verdict};
use crate::reactor::origin_of;
use known::Known;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use waiting::{ASKERS_MAX, Asker, Question, Waiting};

/// The hash that is checked for whoever can't be let in anyway.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGtub3dzIGl0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Asks passwords of those who log in.
pub struct PasswordDoorkeeper {
    /// Users who may come from this machine only.
    loopback_users: Vec<String>,
    key: FingerprintKey,
    nobodys: Arc<PasswordHash>,
    state: RefCell<State>,
}

struct State {
    checker: Box<dyn Checker>,
    /// What the checker is at.
    checked: Option<(Fingerprint, Question)>,
    waiting: Waiting,
    known: Known,
    /// Verdicts that nobody took yet.
    verdicts: VecDeque<(LoginTicket, Verdict)>,
}

impl PasswordDoorkeeper {
    /// `key` is what nobody can guess.
    pub fn new(loopback_users: &[String], key: [u8; 32], checker: Box<dyn Checker>) -> Self {
        Self {
            loopback_users: loopback_users.to_vec(),
            key: FingerprintKey::new(key),
            nobodys: Arc::new(PasswordHash::parse(NOBODYS).expect("a hash")),
            state: RefCell::new(State {
                checker,
                checked: None,
                waiting: Waiting::default(),
                known: Known::default(),
                verdicts: VecDeque::new(),
            }),
        }
    }

    /// Whether a user may come from there.
    fn may_come(&self, user: &[u8], peer: IpAddr) -> bool {
        may_come(&self.loopback_users, user, peer)
    }
}

/// Whether a user may come from there, if these may come from this machine only.
fn may_come(loopback_users: &[String], user: &[u8], peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback() || !loopback_users.iter().any(|name| name.as_bytes() == user)
}

impl Doorkeeper for PasswordDoorkeeper {
    fn ask(&self, request: LoginRequest) -> Option<Verdict> {
        let mut state = self.state.borrow_mut();
        let LoginRequest { ticket, credentials, password: hash, peer, now_ms, .. } = request;
        let mut if_right = match self.may_come(&credentials.user, peer) {
            true => Verdict::Allowed,
            false => Verdict::Refused(Refusal::NotFromThere),
        };
        if credentials.mechanism == Mechanism::External {
            // The handshake checked who it is: there need only be such a user.
            return Some(hash.map_or(Verdict::Refused(Refusal::InvalidCredentials), |_| if_right));
        }
        let mut if_wrong = Refusal::InvalidCredentials;
        let hash = match hash {
            Some(hash) if !hash.is_quick() => hash,
            hash => {
                if hash.is_some_and(|hash| hash.is_of(&credentials.password)) {
                    match if_right {
                        Verdict::Refused(refusal) => if_wrong = refusal,
                        allowed => return Some(allowed),
                    }
                }
                if_right = Verdict::Refused(if_wrong);
                Arc::clone(&self.nobodys)
            }
        };
        let asker = Asker { ticket, origin: origin_of(peer), if_right, if_wrong };
        let fingerprint = self.key.fingerprint(&credentials.user, &hash, &credentials.password);
        if asker.if_right == Verdict::Allowed && state.known.holds(&credentials.user, fingerprint, now_ms) {
            return Some(Verdict::Allowed);
        }
        let question = || Question::new(hash, credentials.user, credentials.password);
        state.ask(fingerprint, asker, question);
        state.go_on(now_ms);
        match state.verdicts.back() {
            Some((answered, verdict)) if *answered == ticket => {
                let verdict = verdict.clone();
                state.verdicts.pop_back();
                Some(verdict)
            }
            _ => None,
        }
    }

    fn forget(&self, ticket: LoginTicket) {
        let mut state = self.state.borrow_mut();
        if let Some((_, question)) = &mut state.checked {
            question.askers.remove(&ticket.serial);
        }
        state.waiting.forget(ticket);
    }

    fn forget_known(&self) {
        self.state.borrow_mut().known = Known::default();
    }

    fn next_verdict(&self, now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        let mut state = self.state.borrow_mut();
        state.go_on(now_ms);
        state.verdicts.pop_front()
    }

    fn has_verdict(&self) -> bool {
        !self.state.borrow().verdicts.is_empty()
    }
}

impl State {
    fn ask(&mut self, fingerprint: Fingerprint, asker: Asker, question: impl FnOnce() -> Question) {
        match &mut self.checked {
            Some((checked, shared)) if *checked == fingerprint && shared.askers.len() < ASKERS_MAX => {
                shared.askers.insert(asker.ticket.serial, asker);
            }
            _ => {
                for turned_away in self.waiting.add(fingerprint, asker, question) {
                    tracing::warn!(target: "auth", "a login from {} is refused: too many wait for theirs", turned_away.origin);
                    self.verdicts.push_back((turned_away.ticket, Verdict::Refused(Refusal::InvalidCredentials)));
                }
            }
        }
    }

    /// Takes what the checker found out, and gives it the next question.
    fn go_on(&mut self, now_ms: u64) {
        loop {
            match self.checked.take() {
                Some((fingerprint, question)) => match self.checker.outcome() {
                    Some(is_right) => self.answer(fingerprint, question, is_right, now_ms),
                    None => {
                        self.checked = Some((fingerprint, question));
                        return;
                    }
                },
                None => {
                    let Some((fingerprint, mut question)) = self.waiting.next() else { return };
                    self.checker.begin(Arc::clone(&question.hash), std::mem::take(&mut question.password));
                    self.checked = Some((fingerprint, question));
                }
            }
        }
    }

    fn answer(&mut self, fingerprint: Fingerprint, question: Question, is_right: bool, now_ms: u64) {
        let is_somebodys = |asker: &Asker| asker.if_right != Verdict::Refused(asker.if_wrong);
        if is_right && question.askers.values().any(is_somebodys) {
            self.known.note(question.user, fingerprint, now_ms);
        }
        for Asker { ticket, if_right, if_wrong, .. } in question.askers.into_values() {
            let verdict = if is_right { if_right } else { Verdict::Refused(if_wrong) };
            self.verdicts.push_back((ticket, verdict));
        }
    }
}
