//! Who says who somebody is, and how tokens are read.

use super::{ConfigError, Verify};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Who is asked whether to let somebody in, or what it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// The broker's own users, with their passwords and permissions.
    Internal,
    /// Tokens that an issuer signed.
    Oauth,
    /// A server that is asked over HTTP.
    Http,
}

/// One of those who are asked, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "WrittenBackend", into = "WrittenBackend")]
pub struct AuthBackend {
    /// Who says whether somebody is who it says.
    pub authn: AuthMethod,
    /// And who says what it may then.
    pub authz: AuthMethod,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a backend is internal, oauth or http, or a table of those with authn and authz")]
enum WrittenBackend {
    Both(AuthMethod),
    #[serde(rename_all = "lowercase")]
    Each {
        authn: AuthMethod,
        authz: AuthMethod,
    },
}

impl From<WrittenBackend> for AuthBackend {
    fn from(written: WrittenBackend) -> Self {
        match written {
            WrittenBackend::Both(method) => Self { authn: method, authz: method },
            WrittenBackend::Each { authn, authz } => Self { authn, authz },
        }
    }
}

impl From<AuthBackend> for WrittenBackend {
    fn from(AuthBackend { authn, authz }: AuthBackend) -> Self {
        match authn == authz {
            true => Self::Both(authn),
            false => Self::Each { authn, authz },
        }
    }
}

/// `[auth]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// In this order. Never empty.
    pub backends: Vec<AuthBackend>,
    /// How long what others said is not asked again: a token that was found good, and what is asked over HTTP.
    pub cache_ttl_ms: u64,
    /// Whether that goes for refusals over HTTP, too.
    pub cache_refusals: bool,
    /// Who is asked over HTTP, and how.
    pub http: HttpAuth,
}

impl Default for Auth {
    fn default() -> Self {
        let internal = AuthBackend { authn: AuthMethod::Internal, authz: AuthMethod::Internal };
        Self { backends: vec![internal], cache_ttl_ms: 15_000, cache_refusals: false, http: HttpAuth::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpMethod {
    Get,
    Post,
}

/// `[auth.http]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpAuth {
    /// Whether parameters go into the query or the body.
    pub method: HttpMethod,
    /// Addresses, each of one question.
    pub user_path: String,
    pub vhost_path: String,
    pub resource_path: String,
    pub topic_path: String,
    /// How long an answer may take.
    pub request_timeout_ms: u64,
    /// How long connecting may take.
    pub connection_timeout_ms: u64,
    /// Questions that are asked at the same time.
    pub connections: usize,
    /// Whether clients are told why they may not.
    pub authorization_failure_disclosure: bool,
    /// Whether the server has to show who it is.
    pub verify: Verify,
    /// Whom to trust there. Empty: those whom everybody trusts.
    pub cacertfile: PathBuf,
    /// What to show there, and its key. Empty: nothing.
    pub certfile: PathBuf,
    pub keyfile: PathBuf,
}

impl Default for HttpAuth {
    fn default() -> Self {
        let path = |page| format!("http://localhost:8000/auth/{page}");
        Self {
            method: HttpMethod::Get,
            user_path: path("user"),
            vhost_path: path("vhost"),
            resource_path: path("resource"),
            topic_path: path("topic"),
            request_timeout_ms: 15_000,
            connection_timeout_ms: 15_000,
            connections: 8,
            authorization_failure_disclosure: false,
            verify: Verify::Peer,
            cacertfile: PathBuf::new(),
            certfile: PathBuf::new(),
            keyfile: PathBuf::new(),
        }
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
    /// Whether these are asked anything.
    pub fn asks(&self, method: AuthMethod) -> bool {
        self.backends.iter().any(|backend| backend.authn == method || backend.authz == method)
    }

    /// What serde's types cannot say about the values.
    pub(super) fn validate(&self, oauth: &Oauth) -> Result<(), ConfigError> {
        /// What was right an hour ago need not be.
        const CACHE_TTL_MOST_MS: u64 = 3_600_000;
        let is_repeated = |(index, backend): (usize, &AuthBackend)| {
            self.backends[..index].iter().any(|one| one.authn == backend.authn)
        };
        if self.backends.is_empty() || self.backends.iter().enumerate().any(is_repeated) {
            let value = format!("{:?}", self.backends.iter().map(|backend| backend.authn).collect::<Vec<_>>());
            return Err(ConfigError::out_of_range("auth.backends", value, "one at least, and each once"));
        }
        let is_apart = |backend: &&AuthBackend| {
            backend.authn != backend.authz && [backend.authn, backend.authz].contains(&AuthMethod::Oauth)
        };
        if let Some(AuthBackend { authn, authz }) = self.backends.iter().find(is_apart) {
            let value = format!("authn = {authn:?}, authz = {authz:?}");
            return Err(ConfigError::out_of_range("auth.backends", value, "authn and authz both oauth, or neither"));
        }
        if self.cache_ttl_ms > CACHE_TTL_MOST_MS {
            let reason = format!("between 0 and {CACHE_TTL_MOST_MS}");
            return Err(ConfigError::out_of_range("auth.cache_ttl_ms", self.cache_ttl_ms, reason));
        }
        if self.asks(AuthMethod::Http) {
            self.http.validate()?;
        }
        match self.asks(AuthMethod::Oauth) {
            true => oauth.validate(),
            false => Ok(()),
        }
    }
}

impl HttpAuth {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, address) in [
            ("auth.http.user_path", &self.user_path),
            ("auth.http.vhost_path", &self.vhost_path),
            ("auth.http.resource_path", &self.resource_path),
            ("auth.http.topic_path", &self.topic_path),
        ] {
            if !["https://", "http://"].iter().any(|scheme| address.starts_with(scheme)) {
                return Err(ConfigError::out_of_range(key, address, "a URL of http: or https:"));
            }
        }
        for (key, value, least, most) in [
            ("auth.http.request_timeout_ms", self.request_timeout_ms, 100, 60_000),
            ("auth.http.connection_timeout_ms", self.connection_timeout_ms, 100, 60_000),
            ("auth.http.connections", self.connections as u64, 1, 64),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::out_of_range(key, value, format!("between {least} and {most}")));
            }
        }
        if self.certfile.as_os_str().is_empty() != self.keyfile.as_os_str().is_empty() {
            let reason = "set together with auth.http.keyfile, or neither";
            return Err(ConfigError::out_of_range("auth.http.certfile", self.certfile.display(), reason));
        }
        Ok(())
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
