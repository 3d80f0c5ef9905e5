//! From the settings to a doorkeeper that asks over HTTP.

use super::threads::{Client, ClientRenewer, addresses};
use super::{HttpDoorkeeper, HttpThreads, KnowsUsers, Page, Terms};
use crate::config::{AuthMethod, Config, HttpAuth, HttpMethod, Verify};
use crate::connection::Doorkeeper;
use crate::reactor::Clock;
use crate::server::doorkeeper::outward::{self, Trust};
use std::io;
use std::time::Duration;
use ureq::tls::TlsConfig;

/// Has the server asked with other certificates and authorities.
pub struct FilesRenewer {
    settings: HttpAuth,
    client: ClientRenewer,
}

impl FilesRenewer {
    pub fn renew(&self, trust: TlsConfig) {
        self.client.renew(client(&self.settings, trust));
    }
}

impl HttpDoorkeeper {
    /// With threads of its own, and what has them know the server by something else than `trust`. `own` asks the broker's own
    /// users, and tokens, if those are asked. `key` is what nobody can guess. `wake` is called when something was found out.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn open(
        config: &Config,
        trust: TlsConfig,
        own: Option<Box<dyn Doorkeeper>>,
        key: [u8; 32],
        clock: Clock,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<(Self, FilesRenewer)> {
        let settings = &config.auth.http;
        let client = client(settings, trust);
        let waits_at_most = Duration::from_millis(settings.request_timeout_ms);
        let threads = HttpThreads::start(client, settings.connections, waits_at_most, clock, wake)?;
        let renewer = FilesRenewer { settings: settings.clone(), client: threads.renewer() };
        Ok((Self::new(own, &config.loopback_users, terms(config), key, Box::new(threads)), renewer))
    }
}

fn terms(config: &Config) -> Terms {
    let backends = &config.auth.backends;
    let place = |authn| backends.iter().position(|backend| backend.authn == authn);
    let http = place(AuthMethod::Http);
    let is_before = |other| http < place(other).or(Some(backends.len()));
    let judges = |authn| backends.iter().any(|backend| backend.authn == authn && backend.authz == AuthMethod::Http);
    Terms {
        knows_users: http.map(|_| KnowsUsers {
            before_passwords: is_before(AuthMethod::Internal),
            before_tokens: is_before(AuthMethod::Oauth),
            judges: judges(AuthMethod::Http),
        }),
        judges_own: judges(AuthMethod::Internal),
        known_for_ms: config.auth.cache_ttl_ms,
        refusals_are_known: config.auth.cache_refusals,
        discloses: config.auth.http.authorization_failure_disclosure,
    }
}

/// By what the server is known, and this broker to it.
///
/// # Errors
/// A file that the settings name can't be used.
pub fn trust(settings: &HttpAuth) -> io::Result<TlsConfig> {
    outward::tls(&Trust {
        what: "auth.http",
        ca_file: &settings.cacertfile,
        certificate: Some((&settings.certfile, &settings.keyfile)),
        verifies: settings.verify == Verify::Peer,
    })
}

fn client(settings: &HttpAuth, trust: TlsConfig) -> Client {
    let addresses = addresses(|page| match page {
        Page::User => settings.user_path.clone(),
        Page::Vhost => settings.vhost_path.clone(),
        Page::Resource => settings.resource_path.clone(),
        Page::Topic => settings.topic_path.clone(),
    });
    if settings.verify == Verify::None && addresses.iter().any(|address| address.starts_with("https:")) {
        tracing::warn!(target: "auth", "auth.http.verify = \"verify_none\": whoever is on the way can say who may log in");
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(settings.request_timeout_ms)))
        .timeout_connect(Some(Duration::from_millis(settings.connection_timeout_ms)))
        // Nobody sends passwords to where nobody configured.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .max_idle_connections(settings.connections)
        .max_idle_connections_per_host(settings.connections)
        .tls_config(trust)
        .build();
    Client { agent: config.new_agent(), addresses, posts: settings.method == HttpMethod::Post }
}
