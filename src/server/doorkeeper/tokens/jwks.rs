//! Where an issuer's keys are fetched: from a file, or over HTTP. It takes its time, on the thread `jwks`.

use crate::token::{JWKS_BYTES_MAX, Keys};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use ureq::tls::TlsConfig;

/// Places that one answer may send to, one after the other.
const REDIRECTS_MAX: u32 = 3;

/// Where keys are published.
pub enum Source {
    File(PathBuf),
    Url { agent: ureq::Agent, url: String, timeout: Duration },
}

impl Source {
    /// `file:`, `http:` or `https:`. Nobody who is asked in secret sends to where it is not.
    pub fn new(uri: &str, tls: TlsConfig, timeout: Duration) -> Self {
        if let Some(path) = uri.strip_prefix("file://") {
            return Self::File(path.into());
        }
        Self::Url { agent: agent(uri, tls, timeout), url: uri.to_owned(), timeout }
    }

    /// Whoever publishes them is known by this from now on.
    pub fn trust(&mut self, tls: TlsConfig) {
        if let Self::Url { agent: before, url, timeout } = self {
            *before = agent(url, tls, *timeout);
        }
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// Why not.
    pub fn fetch(&self) -> Result<Keys, String> {
        let text = match self {
            Self::File(path) => read(path),
            Self::Url { agent, url, .. } => get(agent, url),
        }?;
        Keys::published(&text).map_err(str::to_owned)
    }
}

fn agent(url: &str, tls: TlsConfig, timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(REDIRECTS_MAX)
        .https_only(url.starts_with("https://"))
        .proxy(None)
        .tls_config(tls)
        .build();
    config.new_agent()
}

#[allow(clippy::disallowed_methods, reason = "keys come from where the operator says")]
fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn get(agent: &ureq::Agent, url: &str) -> Result<Vec<u8>, String> {
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    answer.body_mut().with_config().limit(JWKS_BYTES_MAX as u64).read_to_vec().map_err(|error| error.to_string())
}
