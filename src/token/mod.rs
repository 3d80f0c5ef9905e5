//! Tokens: JSON web tokens (RFC 7519) that an issuer signed, as RabbitMQ's plugin for OAuth 2 takes them.
//!
//! It owns what a token must be like to be believed, and what it says then. It is pure: keys, rules and the time are
//! arguments. It fetches nothing, and knows no user, virtual host or queue.
//!
//! ```text
//! token ── its header names a key and an algorithm that go together ── its signature is the key's
//!       ── it has not expired, has begun, and is for us ──► a bearer: name, tags, scopes
//! ```
//! What arrives here may come from anybody: whatever it is, reading it never panics, and takes no more time and memory than
//! the limits say. No error says anything of what is in a token.
//!
//! | file | owns |
//! |---|---|
//! | `algorithm` | signatures |
//! | `keys`, `pem` | keys, and the texts that they come in |
//! | `claims` | what a token says of its bearer |

mod algorithm;
mod claims;
mod keys;
mod pem;
#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, Key, UnknownAlgorithm};
pub use keys::{JWKS_BYTES_MAX, KEY_FILE_BYTES_MAX, Keys};

use crate::access::{Bearer, Powers};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Claims;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Which tokens are believed, and how they are read.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who we are to the issuer.
    pub resource_server_id: String,
    /// Whether a token must be for us.
    pub verify_aud: bool,
    /// Whether a token must expire.
    pub require_exp: bool,
    /// What our scopes begin with.
    pub scope_prefix: String,
    /// Paths of claims that have scopes, too, with spaces between them.
    pub additional_scopes_key: String,
    pub preferred_username_claims: Vec<String>,
    /// Scopes that stand for others.
    pub scope_aliases: HashMap<String, Vec<String>>,
    /// The name of the key of tokens that name none.
    pub default_key: Option<String>,
    /// Those that a token may be signed by.
    pub algorithms: Vec<Algorithm>,
    /// Who must have issued a token, if that matters.
    pub issuer: Option<String>,
    /// How far the issuer's clock may be from ours.
    pub leeway_s: u64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadToken {
    Malformed,
    TooLong,
    /// Its algorithm is not one of those that are taken.
    Algorithm,
    /// There is no key of the name that it says, which may be published meanwhile.
    UnknownKey,
    Signature,
    Expired,
    NeverExpires,
    NotYetValid,
    Audience,
    Issuer,
    TooManyScopes,
    Name,
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed",
            Self::TooLong => "it is too long",
            Self::Algorithm => "its algorithm is not taken",
            Self::UnknownKey => "there is no key of its name",
            Self::Signature => "its signature is wrong",
            Self::Expired => "it has expired",
            Self::NeverExpires => "it says no time when it expires",
            Self::NotYetValid => "it is not valid yet",
            Self::Audience => "it is for somebody else",
            Self::Issuer => "it is somebody else's",
            Self::TooManyScopes => "it has too many scopes or tags",
            Self::Name => "the user's name in it is empty or too long",
        })
    }
}

impl std::error::Error for BadToken {}

/// Whether a password may be a token: three texts of base64 with dots between them, of which the first begins an object.
pub fn is_like_a_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Rules {
    /// Whether to believe a token, and who shows it then.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, token: &[u8], keys: &Keys, now_unix_ms: u64) -> Result<Bearer, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let claims = self.signed_claims(token, keys)?;
        let expires_unix_ms = self.check_times(&claims, now_unix_ms)?;
        if self.verify_aud && !claims::is_for(&claims, &self.resource_server_id) {
            return Err(BadToken::Audience);
        }
        if self.issuer.as_deref().is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer)) {
            return Err(BadToken::Issuer);
        }
        let (scopes, tags) = claims::powers(&claims, self)?;
        let (name, powers) = (claims::name(&claims, self)?.into(), Powers::Scopes(scopes));
        Ok(Bearer { name, tags: Arc::new(tags), powers, expires_unix_ms })
    }

    /// What a token says that is signed.
    fn signed_claims(&self, token: &[u8], keys: &Keys) -> Result<Claims, BadToken> {
        let token = std::str::from_utf8(token).map_err(|_| BadToken::Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken::Malformed);
        let object = |text: &str| serde_json::from_slice::<Claims>(&decoded(text)?).map_err(|_| BadToken::Malformed);
        let header = object(header)?;
        // Nothing is understood that a token says must be (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(BadToken::Malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(BadToken::Malformed)?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| BadToken::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(BadToken::Algorithm);
        }
        let name = match header.get("kid") {
            None => self.default_key.as_deref(),
            Some(name) => Some(name.as_str().ok_or(BadToken::Malformed)?),
        };
        let named = keys.find(name).ok_or(BadToken::UnknownKey)?;
        if named.algorithm.is_some_and(|only| only != algorithm) {
            return Err(BadToken::Algorithm);
        }
        if !named.key.signed(algorithm, signed.as_bytes(), &decoded(signature)?) {
            return Err(BadToken::Signature);
        }
        object(payload)
    }

    /// Whether a token is valid now. Says until when it is.
    fn check_times(&self, claims: &Claims, now_unix_ms: u64) -> Result<Option<u64>, BadToken> {
        let time_ms = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            // What is beyond all time is its end.
            Some(value) => {
                value.as_f64().map(|seconds| Some((seconds.trunc() * 1000.0) as u64)).ok_or(BadToken::Malformed)
            }
        };
        let leeway_ms = self.leeway_s.saturating_mul(1000);
        let expires_ms = match time_ms("exp")? {
            None if self.require_exp => return Err(BadToken::NeverExpires),
            expires_ms => expires_ms.map(|expires_ms| expires_ms.saturating_add(leeway_ms)),
        };
        if expires_ms.is_some_and(|expires_ms| expires_ms <= now_unix_ms) {
            return Err(BadToken::Expired);
        }
        if time_ms("nbf")?.is_some_and(|begins_ms| begins_ms > now_unix_ms.saturating_add(leeway_ms)) {
            return Err(BadToken::NotYetValid);
        }
        Ok(expires_ms)
    }
}
