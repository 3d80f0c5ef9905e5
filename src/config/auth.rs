//! Who says who somebody is, and how tokens are read.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Who is asked whether to let somebody in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthBackend {
    /// The broker's own users, with their passwords and permissions.
    Internal,
    /// Tokens that an issuer signed.
    Oauth,
}

/// `[auth]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// In this order. Never empty.
    pub backends: Vec<AuthBackend>,
    /// How long a token that was found good is not checked again.
    pub cache_ttl_s: u64,
}

impl Default for Auth {
    fn default() -> Self {
        Self { backends: vec![AuthBackend::Internal], cache_ttl_s: 300 }
    }
}

/// `[oauth]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oauth {
    /// Who the broker is to the issuer: what tokens must be for.
    pub resource_server_id: String,
    /// Whether tokens must be for it.
    pub verify_aud: bool,
    /// Whether tokens must expire.
    pub require_exp: bool,
    /// What the broker's scopes begin with; `{resource_server_id}` stands for that.
    pub scope_prefix: String,
    /// Paths of claims with more scopes, with spaces between them.
    pub additional_scopes_key: String,
    /// Claims that name the user, before `sub` and `client_id`.
    pub preferred_username_claims: Vec<String>,
    /// Scopes that stand for others.
    pub scope_aliases: BTreeMap<String, Vec<String>>,
    /// The name of the key of tokens that name none; empty: that they are good if a key has no name.
    pub default_key: String,
    /// Files with keys, by the names of those.
    pub signing_keys: BTreeMap<String, PathBuf>,
    /// Where the issuer publishes its keys: `https:`, `http:` or `file:`. Empty: nowhere.
    pub jwks_uri: String,
    /// Whom to trust there. Empty: those whom everybody trusts.
    pub jwks_ca_file: PathBuf,
    /// How often they are fetched again.
    pub jwks_refresh_s: u64,
    /// How long they are not fetched again, whatever keys tokens name.
    pub jwks_min_interval_s: u64,
    /// How long that may take.
    pub jwks_timeout_ms: u64,
    /// By what tokens may be signed.
    pub algorithms: Vec<String>,
    /// Who must have issued tokens. Empty: anybody who has a key.
    pub issuer: String,
    /// How far the issuer's clock may be from the broker's.
    pub leeway_s: u64,
}

/// All that there are.
const ALGORITHMS: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256"];

impl Default for Oauth {
    fn default() -> Self {
        Self {
            resource_server_id: String::new(),
            verify_aud: true,
            require_exp: true,
            scope_prefix: "{resource_server_id}.".to_owned(),
            additional_scopes_key: String::new(),
            preferred_username_claims: Vec::new(),
            scope_aliases: BTreeMap::new(),
            default_key: String::new(),
            signing_keys: BTreeMap::new(),
            jwks_uri: String::new(),
            jwks_ca_file: PathBuf::new(),
            jwks_refresh_s: 3600,
            jwks_min_interval_s: 10,
            jwks_timeout_ms: 10_000,
            algorithms: ALGORITHMS.map(str::to_owned).to_vec(),
            issuer: String::new(),
            leeway_s: 0,
        }
    }
}

impl Auth {
    /// What serde's types cannot say about the values.
    pub(super) fn validate(&self, oauth: &Oauth) -> Result<(), ConfigError> {
        /// What was right an hour ago need not be.
        const CACHE_TTL_MOST_S: u64 = 3600;
        let is_repeated = |(index, backend)| self.backends[..index].contains(backend);
        if self.backends.is_empty() || self.backends.iter().enumerate().any(is_repeated) {
            let value = format!("{:?}", self.backends);
            return Err(ConfigError::out_of_range("auth.backends", value, "one at least, and each once"));
        }
        if self.cache_ttl_s > CACHE_TTL_MOST_S {
            let reason = format!("between 0 and {CACHE_TTL_MOST_S}");
            return Err(ConfigError::out_of_range("auth.cache_ttl_s", self.cache_ttl_s, reason));
        }
        match self.backends.contains(&AuthBackend::Oauth) {
            true => oauth.validate(),
            false => Ok(()),
        }
    }
}

impl Oauth {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.resource_server_id.is_empty() {
            let reason = "a name: tokens must be for somebody";
            return Err(ConfigError::out_of_range("oauth.resource_server_id", "\"\"", reason));
        }
        if self.signing_keys.is_empty() && self.jwks_uri.is_empty() {
            let reason = "the place of keys, as long as there are no oauth.signing_keys";
            return Err(ConfigError::out_of_range("oauth.jwks_uri", "\"\"", reason));
        }
        let uri = &self.jwks_uri;
        if !uri.is_empty() && !["https://", "http://", "file://"].iter().any(|scheme| uri.starts_with(scheme)) {
            return Err(ConfigError::out_of_range("oauth.jwks_uri", uri, "a URL of https:, http: or file:"));
        }
        if let Some(unknown) = self.algorithms.iter().find(|algorithm| !ALGORITHMS.contains(&algorithm.as_str())) {
            let reason = format!("one of {}", ALGORITHMS.join(", "));
            return Err(ConfigError::out_of_range("oauth.algorithms", unknown, reason));
        }
        for (key, value, least, most) in [
            ("oauth.jwks_refresh_s", self.jwks_refresh_s, 10, 7 * 24 * 3600),
            ("oauth.jwks_min_interval_s", self.jwks_min_interval_s, 1, 3600),
            ("oauth.jwks_timeout_ms", self.jwks_timeout_ms, 100, 60_000),
            ("oauth.leeway_s", self.leeway_s, 0, 300),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::out_of_range(key, value, format!("between {least} and {most}")));
            }
        }
        Ok(())
    }
}
