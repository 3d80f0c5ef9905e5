//! Who is let in, and as whom: every request says user and password.
//!
//! The loop says who there is of that name; whether it is them is checked here, on a thread of its own where that takes
//! time. What a visitor may have is [`visit`](super::visit)'s.
//!
//! A password that was right is known again, as long as the user has it: clients of this API ask often, and each request is
//! a login. What is kept of it tells nobody the password.

use super::App;
use super::http::ApiError;
use super::line::{Asker, Declined};
use super::question::{Known, Question, Visitor};
use crate::access::PasswordHash;
use crate::broker::UserKey;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use subtle::ConstantTimeEq;

/// Users whose passwords are known again; when there are more, all are forgotten.
const KNOWN_USERS_MAX: usize = 1024;
/// The longest user name and the longest password that are looked at, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// Checks passwords.
pub struct Passwords {
    /// What makes what is kept of a password worth nothing elsewhere.
    key: [u8; 16],
    /// The hash of nobody's password: whoever names a user that there is not waits as long as for one that there is.
    decoy: Arc<PasswordHash>,
    known: Mutex<HashMap<Arc<str>, Remembered>>,
}

/// A password that was right.
struct Remembered {
    user: UserKey,
    /// The very hash that it was checked against.
    hash: Arc<PasswordHash>,
    digest: [u8; 32],
}

impl Passwords {
    /// `key` and `salt` are anything that nobody can guess.
    pub fn new(key: [u8; 16], salt: [u8; 16]) -> Self {
        let decoy = Arc::new(PasswordHash::argon2id(&key, salt));
        Self { key, decoy, known: Mutex::default() }
    }

    fn digest(&self, password: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.key).chain_update(password).finalize().into()
    }

    fn is_remembered(&self, name: &str, user: UserKey, hash: &Arc<PasswordHash>, digest: &[u8; 32]) -> bool {
        let known = self.known.lock().expect("nobody panics with it");
        known.get(name).is_some_and(|remembered| {
            remembered.user == user
                && Arc::ptr_eq(&remembered.hash, hash)
                && bool::from(remembered.digest.ct_eq(digest))
        })
    }

    fn remember(&self, name: Arc<str>, remembered: Remembered) {
        let mut known = self.known.lock().expect("nobody panics with it");
        if known.len() >= KNOWN_USERS_MAX {
            known.clear();
        }
        known.insert(name, remembered);
    }

    /// Whether it is this user's password.
    pub async fn are_of(&self, known: &Known, password: Vec<u8>) -> bool {
        let Known { visitor, password: hash } = known;
        let digest = self.digest(&password);
        if self.is_remembered(&visitor.name, visitor.user, hash, &digest) {
            return true;
        }
        let is_right = check(hash.clone(), password).await;
        if is_right && !hash.is_quick() {
            let remembered = Remembered { user: visitor.user, hash: hash.clone(), digest };
            self.remember(visitor.name.clone(), remembered);
        }
        is_right
    }

    /// Takes as long as a check of somebody's password.
    pub async fn pretend(&self, password: Vec<u8>) {
        check(self.decoy.clone(), password).await;
    }
}

/// What somebody says to be let in.
pub struct Credentials {
    pub name: Vec<u8>,
    pub password: Vec<u8>,
}

impl App {
    /// Who it is that says this, with what it sees of a virtual host. `None`: nobody has this name and this password.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn check(&self, credentials: Credentials, vhost: Option<Box<str>>) -> Result<Option<Visitor>, Declined> {
        let Credentials { name, password } = credentials;
        if name.len() > CREDENTIAL_BYTES_MAX || password.len() > CREDENTIAL_BYTES_MAX {
            return Ok(None);
        }
        let known = self.line.ask(Asker::Management, |reply| Question::WhoIs { name, vhost, reply }).await?;
        let Some(known) = known else {
            self.passwords.pretend(password).await;
            return Ok(None);
        };
        Ok(self.passwords.are_of(&known, password).await.then_some(known.visitor))
    }

    /// Hashes a password for good.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, ApiError> {
        let salt = self.chance()?;
        let hashed = tokio::task::spawn_blocking(move || PasswordHash::argon2id(password.as_bytes(), salt)).await;
        hashed.map_err(|_| ApiError::Unavailable)
    }

    /// Bytes that nobody can guess.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn chance(&self) -> Result<[u8; 16], ApiError> {
        (self.settings.chance)().map_err(|error| {
            log::error!("management: {error}");
            ApiError::Unavailable
        })
    }
}

/// Checks a password, elsewhere if that takes its time.
async fn check(hash: Arc<PasswordHash>, password: Vec<u8>) -> bool {
    if hash.is_quick() {
        return hash.is_of(&password);
    }
    tokio::task::spawn_blocking(move || hash.is_of(&password)).await.unwrap_or(false)
}

/// Lets only those in who know a user's password, and may come from where they are.
pub async fn authenticate(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let (vhost, wrong_path) = match RawPathParams::from_request_parts(&mut parts, &app).await {
        Ok(params) => (params.iter().find(|(name, _)| *name == "vhost").map(|(_, vhost)| vhost.into()), None),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(error)) => (None, Some(error.body_text())),
        // A path without parameters.
        Err(_) => (None, None),
    };
    let Some(authorization) = parts.headers.get(header::AUTHORIZATION) else {
        return ApiError::LoginFailed.into_response();
    };
    let visitor = match log_in(&app, authorization.as_bytes(), vhost, peer).await {
        Ok(visitor) => visitor,
        Err(error) => {
            if let ApiError::LoginFailed | ApiError::NotAuthorised(_) = error {
                log::warn!("management: {peer}: login refused");
            }
            return error.into_response();
        }
    };
    if let Some(reason) = wrong_path {
        return ApiError::BadRequest(reason).into_response();
    }
    parts.extensions.insert(visitor);
    next.run(Request::from_parts(parts, body)).await
}

async fn log_in(
    app: &App,
    authorization: &[u8],
    vhost: Option<Box<str>>,
    peer: SocketAddr,
) -> Result<Visitor, ApiError> {
    let credentials = basic_credentials(authorization).ok_or(ApiError::LoginFailed)?;
    let visitor = app.check(credentials, vhost).await?.ok_or(ApiError::LoginFailed)?;
    let is_local = peer.ip().to_canonical().is_loopback();
    if !is_local && app.settings.loopback_users.iter().any(|user| **user == *visitor.name) {
        return Err(ApiError::NotAuthorised("User can only log in via localhost".to_owned()));
    }
    if !visitor.tags.is_management_user() {
        return Err(ApiError::NotAuthorised("Not management user".to_owned()));
    }
    Ok(visitor)
}

/// User and password of `Basic` authorization (RFC 7617).
fn basic_credentials(authorization: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = authorization.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some(Credentials { name: decoded, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_split_at_the_first_colon() {
        let credentials = |authorization: &[u8]| {
            let Credentials { name, password } = basic_credentials(authorization)?;
            Some((String::from_utf8(name).unwrap(), String::from_utf8(password).unwrap()))
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(credentials(b"Basic Z3Vlc3Q6Z3Vlc3Q="), pair("guest", "guest"));
        assert_eq!(credentials(b"basic YTpiOmM="), pair("a", "b:c"));
        for wrong in [&b""[..], b"Basic", b"Basic !", b"Bearer Z3Vlc3Q6Z3Vlc3Q=", b"Basic Z3Vlc3Q="] {
            assert_eq!(credentials(wrong), None, "{wrong:?}");
        }
    }
}
