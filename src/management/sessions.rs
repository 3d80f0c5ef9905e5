//! Sessions of people at the page: who logged in there, for as long as the browser shows the cookie that it got.
//!
//! What somebody logged in with is kept sealed, and nothing but the cookie opens it, of which nothing is kept: whoever reads
//! this memory learns no password and can't show a cookie. A request by cookie is checked as one that says user and password,
//! so that a session never lets in who would not be let in otherwise. Sessions are nowhere but here: they end with the
//! process. What such a request must look like is [`admission`](super::admission)'s.

use super::admission::Credentials;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Sessions at a time. Who logs in when there are more ends the oldest.
const SESSIONS_MAX: usize = 1024;
/// Sessions of one user at a time; the same.
const SESSIONS_OF_USER_MAX: usize = 16;

const SECRET_BYTES: usize = 32;

/// What a cookie holds.
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A secret of bytes that nobody can guess.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// What a cookie says, if that may be one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn digest(&self, purpose: &[u8]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(purpose);
        context.update(&self.0);
        context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Under what a session is kept: how far a guess agrees with it tells nothing of the secret.
    fn id(&self) -> Id {
        Id(self.digest(b"id"))
    }

    /// What opens what the session keeps.
    fn key(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.digest(b"key"));
        LessSafeKey::new(key.expect("the key is as long as it must be"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id([u8; 32]);

struct Session {
    user: Arc<str>,
    /// On the loop's clock.
    opened_ms: u64,
    /// How long the name is that is in there, before the password.
    name_bytes: usize,
    sealed: Box<[u8]>,
}

pub struct Sessions {
    lifetime: Duration,
    open: HashMap<Id, Session>,
}

impl Sessions {
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, open: HashMap::new() }
    }

    /// How long a session lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Opens a session of a user, who logged in with this.
    pub fn open(&mut self, secret: &Secret, user: Arc<str>, credentials: Credentials, now_ms: u64) {
        self.end_old_ones(now_ms);
        if self.open.values().filter(|session| session.user == user).count() >= SESSIONS_OF_USER_MAX {
            self.end_oldest(|session| session.user == user);
        } else if self.open.len() >= SESSIONS_MAX {
            self.end_oldest(|_| true);
        }
        let Credentials { name, password } = credentials;
        let name_bytes = name.len();
        let mut sealed = name;
        sealed.extend(password);
        // A secret is of one session, and its key seals this alone.
        let sole = Nonce::assume_unique_for_key([0; 12]);
        secret.key().seal_in_place_append_tag(sole, Aad::empty(), &mut sealed).expect("it is short enough");
        self.open.insert(secret.id(), Session { user, opened_ms: now_ms, name_bytes, sealed: sealed.into() });
    }

    /// What somebody logged in with whose session this is. `None`: there is none, or it is over.
    pub fn credentials(&mut self, secret: &Secret, now_ms: u64) -> Option<Credentials> {
        self.end_old_ones(now_ms);
        let session = self.open.get(&secret.id())?;
        let mut sealed = session.sealed.to_vec();
        let sole = Nonce::assume_unique_for_key([0; 12]);
        let opened = secret.key().open_in_place(sole, Aad::empty(), &mut sealed).ok()?;
        let (name, password) = opened.split_at_checked(session.name_bytes)?;
        Some(Credentials { name: name.to_vec(), password: password.to_vec() })
    }

    /// Ends a session, if it is there.
    pub fn close(&mut self, secret: &Secret) {
        self.open.remove(&secret.id());
    }

    /// Ends all sessions of a user, who is another one now.
    pub fn forget(&mut self, user: &str) {
        self.open.retain(|_, session| *session.user != *user);
    }

    fn end_old_ones(&mut self, now_ms: u64) {
        let lifetime_ms = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        self.open.retain(|_, session| now_ms.saturating_sub(session.opened_ms) < lifetime_ms);
    }

    fn end_oldest(&mut self, is_meant: impl Fn(&Session) -> bool) {
        let meant = self.open.iter().filter(|(_, session)| is_meant(session));
        let oldest = meant.min_by_key(|(_, session)| session.opened_ms).map(|(id, _)| *id);
        oldest.map(|id| self.open.remove(&id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME_MS: u64 = 60_000;

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_millis(LIFETIME_MS))
    }

    fn secret(number: usize) -> Secret {
        let mut bytes = [0; SECRET_BYTES];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Secret::new(bytes)
    }

    fn open(sessions: &mut Sessions, number: usize, user: &str, now_ms: u64) {
        let credentials = Credentials { name: user.into(), password: format!("sesame {number}").into() };
        sessions.open(&secret(number), user.into(), credentials, now_ms);
    }

    fn is_open(sessions: &mut Sessions, number: usize, now_ms: u64) -> bool {
        sessions.credentials(&secret(number), now_ms).is_some()
    }

    #[test]
    fn a_session_gives_back_what_it_was_opened_with_to_who_has_its_secret() {
        let mut sessions = sessions();
        open(&mut sessions, 1, "ann", 0);
        open(&mut sessions, 2, "", 0);
        let Credentials { name, password } = sessions.credentials(&secret(1), 1).expect("it is open");
        assert_eq!((&name[..], &password[..]), (&b"ann"[..], &b"sesame 1"[..]));
        let Credentials { name, password } = sessions.credentials(&secret(2), 1).expect("it is open");
        assert_eq!((&name[..], &password[..]), (&b""[..], &b"sesame 2"[..]));
        assert!(!is_open(&mut sessions, 3, 1));
        sessions.close(&secret(1));
        assert!(!is_open(&mut sessions, 1, 1) && is_open(&mut sessions, 2, 1));
    }

    #[test]
    fn neither_password_nor_secret_can_be_read_from_what_is_kept() {
        let mut sessions = sessions();
        open(&mut sessions, 7, "ann", 0);
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        for (id, session) in &sessions.open {
            assert!(!has(&session.sealed, b"sesame") && !has(&id.0, &secret(7).0[..8]));
        }
    }

    #[test]
    fn a_session_is_over_in_time() {
        let mut sessions = sessions();
        open(&mut sessions, 1, "ann", 10);
        assert!(is_open(&mut sessions, 1, 10 + LIFETIME_MS - 1));
        assert!(!is_open(&mut sessions, 1, 10 + LIFETIME_MS));
        assert!(sessions.open.is_empty());
    }

    #[test]
    fn who_logs_in_over_and_over_ends_their_own_oldest_session() {
        let mut sessions = sessions();
        open(&mut sessions, 0, "bob", 0);
        for number in 1..=SESSIONS_OF_USER_MAX + 1 {
            open(&mut sessions, number, "ann", number as u64);
        }
        assert_eq!(sessions.open.len(), 1 + SESSIONS_OF_USER_MAX);
        assert!(is_open(&mut sessions, 0, 100) && !is_open(&mut sessions, 1, 100) && is_open(&mut sessions, 2, 100));
        for number in 1..=SESSIONS_MAX {
            open(&mut sessions, 1000 + number, &format!("user {number}"), 200);
        }
        assert_eq!(sessions.open.len(), SESSIONS_MAX);
        assert!(!is_open(&mut sessions, 0, 300) && is_open(&mut sessions, 1000 + SESSIONS_MAX, 300));
    }

    #[test]
    fn a_user_who_is_another_one_has_no_session() {
        let mut sessions = sessions();
        open(&mut sessions, 1, "ann", 0);
        open(&mut sessions, 2, "ann", 0);
        open(&mut sessions, 3, "bob", 0);
        sessions.forget("ann");
        assert!(!is_open(&mut sessions, 1, 0) && !is_open(&mut sessions, 2, 0) && is_open(&mut sessions, 3, 0));
    }

    #[test]
    fn what_is_no_secret_is_none() {
        let text = secret(5).text();
        assert_eq!(Secret::parse(text.as_bytes()).map(|secret| secret.0), Some(secret(5).0));
        for wrong in ["", "AAAA", "not base64!", &text[1..], &format!("{text}AAAA")] {
            assert!(Secret::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
