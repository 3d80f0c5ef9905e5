//! Who may log in by a token: whoever it is good for.
//!
//! ```text
//! ask ──┬── it is like a token, and known ──────────────────────────────► its bearer is let in
//!       ├── it is like a token ──► thread token-checker ── it is good ──► known, its bearer is let in
//!       │                                               └─ it is not ─┐
//!       └── anything else ────────────────────────────────────────────┴─► passwords
//! ```
//! What passwords are like tells who is to be asked, whatever the order of backends: no token is a user's password, so who
//! asks one after the other comes to the same end, later. And whoever is refused has waited for what refuses passwords, so
//! that an answer tells nothing but that it is no. It never says a token in a log line.

mod checking;
mod jwks;
mod opening;
#[cfg(test)]
mod tests;
mod thread;

pub use jwks::Source;
pub use opening::{signing_keys, trust};
pub use thread::{KeyRenewer, TokenThread};

use super::PasswordDoorkeeper;
use super::lately::Lately;
use crate::access::{Bearer, Fingerprint, FingerprintKey, PasswordHash};
use crate::connection::{Doorkeeper, LoginRequest, LoginTicket, Refusal, Verdict};
use crate::token::{BadToken, is_like_a_token};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Tokens that wait to be checked, all together. Each takes less than a millisecond.
const WAITING_MAX: usize = 1024;

/// What came of checking a token, by the number that it was given with.
pub type Outcome = (u64, Result<Arc<Bearer>, BadToken>);

/// Checks tokens, several at a time.
pub trait TokenChecker {
    /// Begins to find out whether a token is good.
    fn begin(&mut self, serial: u64, token: Box<[u8]>);

    /// What came of one, once.
    fn next_outcome(&mut self) -> Option<Outcome>;
}

/// Asks tokens, and passwords, of those who log in.
pub struct TokenDoorkeeper {
    passwords: PasswordDoorkeeper,
    /// Whether a password lets anybody in.
    users_log_in: bool,
    key: FingerprintKey,
    state: RefCell<State>,
}

struct State {
    checker: Box<dyn TokenChecker>,
    /// Those whose tokens are being checked, by their tickets' serials.
    asked: HashMap<u64, (Fingerprint, LoginRequest)>,
    known: Lately<Arc<Bearer>>,
    unix_start_ms: u64,
    /// Verdicts that nobody took yet.
    verdicts: VecDeque<(LoginTicket, Verdict)>,
}

impl TokenDoorkeeper {
    /// `key` is what nobody can guess. What was found good is known for `known_for_ms`. `unix_start_ms` is the time at the
    /// zero of the clock of those who ask.
    pub fn new(
        passwords: PasswordDoorkeeper,
        users_log_in: bool,
        key: [u8; 32],
        checker: Box<dyn TokenChecker>,
        known_for_ms: u64,
        unix_start_ms: u64,
    ) -> Self {
        let state = State {
            checker,
            asked: HashMap::new(),
            known: Lately::new(known_for_ms),
            unix_start_ms,
            verdicts: VecDeque::new(),
        };
        Self { passwords, users_log_in, key: FingerprintKey::new(key), state: RefCell::new(state) }
    }

    /// Whoever isn't let in by a token.
    fn ask_passwords(&self, mut request: LoginRequest) -> Option<Verdict> {
        if !self.users_log_in {
            request.password = None;
        }
        self.passwords.ask(request)
    }

    fn go_on(&self, state: &mut State, now_ms: u64) {
        while let Some((serial, outcome)) = state.checker.next_outcome() {
            let Some((fingerprint, request)) = state.asked.remove(&serial) else { continue };
            let (ticket, peer) = (request.ticket, request.peer);
            let verdict = match outcome {
                Ok(bearer) if self.passwords.may_come(bearer.name.as_bytes(), peer) => {
                    let expires_ms = bearer.expires_unix_ms.map(|unix_ms| unix_ms.saturating_sub(state.unix_start_ms));
                    state.known.note(fingerprint, Arc::clone(&bearer), expires_ms, now_ms);
                    Some(Verdict::Bearer(bearer))
                }
                Ok(_) => {
                    tracing::warn!(target: "auth", "a token from {peer} is refused: {}", Refusal::NotFromThere);
                    self.ask_passwords(LoginRequest { password: None, now_ms, ..request })
                }
                Err(why) => {
                    tracing::warn!(target: "auth", "a token from {peer} is refused: {why}");
                    self.ask_passwords(LoginRequest { now_ms, ..request })
                }
            };
            state.verdicts.extend(verdict.map(|verdict| (ticket, verdict)));
        }
    }
}

impl Doorkeeper for TokenDoorkeeper {
    fn ask(&self, request: LoginRequest) -> Option<Verdict> {
        let LoginRequest { ticket, ref credentials, peer, now_ms, .. } = request;
        if !is_like_a_token(&credentials.password) {
            return self.ask_passwords(request);
        }
        let state = &mut *self.state.borrow_mut();
        let fingerprint = self.key.fingerprint(&[], &PasswordHash::Absent, &credentials.password);
        if let Some(bearer) = state.known.find(fingerprint, now_ms)
            && self.passwords.may_come(bearer.name.as_bytes(), peer)
        {
            return Some(Verdict::Bearer(bearer));
        }
        if state.asked.len() >= WAITING_MAX {
            tracing::warn!(target: "auth", "a login from {peer} is refused: too many wait for theirs");
            return Some(Verdict::Refused(Refusal::InvalidCredentials));
        }
        state.checker.begin(ticket.serial, credentials.password.clone());
        state.asked.insert(ticket.serial, (fingerprint, request));
        self.go_on(state, now_ms);
        match state.verdicts.back() {
            Some((answered, _)) if *answered == ticket => state.verdicts.pop_back().map(|(_, verdict)| verdict),
            _ => None,
        }
    }

    fn forget(&self, ticket: LoginTicket) {
        self.state.borrow_mut().asked.remove(&ticket.serial);
        self.passwords.forget(ticket);
    }

    fn forget_known(&self) {
        self.state.borrow_mut().known.forget_all();
        self.passwords.forget_known();
    }

    fn next_verdict(&self, now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        let state = &mut *self.state.borrow_mut();
        self.go_on(state, now_ms);
        state.verdicts.pop_front().or_else(|| self.passwords.next_verdict(now_ms))
    }

    fn has_verdict(&self) -> bool {
        !self.state.borrow().verdicts.is_empty() || self.passwords.has_verdict()
    }
}
