//! From the settings to a doorkeeper that takes tokens.

use super::super::outward::{self, Trust, read};
use super::checking::{Checking, Intervals};
use super::{KeyRenewer, PasswordDoorkeeper, Source, TokenDoorkeeper, TokenThread};
use crate::config::{AuthMethod, Config, Oauth};
use crate::reactor::Clock;
use crate::token::{KEY_FILE_BYTES_MAX, Keys, Rules};
use std::io;
use std::time::Duration;
use ureq::tls::TlsConfig;

impl TokenDoorkeeper {
    /// With threads of its own, and what gives those other keys. Those from files are good at first, and whoever publishes
    /// others is known by that trust. `key` is what nobody can guess. `wake` is called when something was found out.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn open(
        config: &Config,
        (keys, trust): (Keys, TlsConfig),
        passwords: PasswordDoorkeeper,
        key: [u8; 32],
        clock: Clock,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<(Self, KeyRenewer)> {
        let settings = &config.oauth;
        let intervals = (!settings.jwks_uri.is_empty()).then_some(Intervals {
            refresh_ms: settings.jwks_refresh_s * 1000,
            least_ms: settings.jwks_min_interval_s * 1000,
        });
        let checking = Checking::new(rules(settings), keys, intervals);
        let thread = TokenThread::start(checking, source(settings, trust), clock, wake)?;
        let renewer = thread.renewer();
        let users_log_in = config.auth.asks(AuthMethod::Internal);
        let known_for_ms = config.auth.cache_ttl_ms;
        let keeper = Self::new(passwords, users_log_in, key, Box::new(thread), known_for_ms, clock.unix_start_ms());
        Ok((keeper, renewer))
    }
}

fn rules(settings: &Oauth) -> Rules {
    let algorithms = settings.algorithms.iter();
    Rules {
        resource_server_id: settings.resource_server_id.clone(),
        verify_aud: settings.verify_aud,
        require_exp: settings.require_exp,
        scope_prefix: settings.scope_prefix.replace("{resource_server_id}", &settings.resource_server_id),
        additional_scopes_key: settings.additional_scopes_key.clone(),
        preferred_username_claims: settings.preferred_username_claims.clone(),
        scope_aliases: settings.scope_aliases.clone().into_iter().collect(),
        default_key: given(&settings.default_key),
        algorithms: algorithms.map(|name| name.parse().expect("the settings were looked at")).collect(),
        issuer: given(&settings.issuer),
        leeway_s: settings.leeway_s,
    }
}

/// What is set, unless it is nothing.
fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The keys in the files that the settings name.
///
/// # Errors
/// One can't be used.
pub fn signing_keys(settings: &Oauth) -> io::Result<Keys> {
    let mut keys = Keys::default();
    for (name, path) in &settings.signing_keys {
        let what = format!("signing key '{name}'");
        let text = read(path, KEY_FILE_BYTES_MAX, &what)?;
        let added = std::str::from_utf8(&text).map_err(|_| "it is no text").and_then(|text| keys.add(name, text));
        added.map_err(|reason| io::Error::other(format!("{what}: {}: {reason}", path.display())))?;
    }
    Ok(keys)
}

/// By what those are known who publish keys.
///
/// # Errors
/// A file that the settings name can't be used.
pub fn trust(settings: &Oauth) -> io::Result<TlsConfig> {
    let what = "oauth.jwks_ca_file";
    outward::tls(&Trust { what, ca_file: &settings.jwks_ca_file, certificate: None, verifies: true })
}

fn source(settings: &Oauth, trust: TlsConfig) -> Option<Source> {
    let uri = &settings.jwks_uri;
    if uri.is_empty() {
        return None;
    }
    if uri.starts_with("http://") {
        tracing::warn!(target: "auth", "{uri}: whoever is on the way can publish keys, too");
    }
    Some(Source::new(uri, trust, Duration::from_millis(settings.jwks_timeout_ms)))
}
