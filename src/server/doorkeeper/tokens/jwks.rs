//! Where an issuer's keys are fetched: from a file, or over HTTP. It takes its time, on the thread `jwks`.

use crate::token::{JWKS_BYTES_MAX, Keys};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Places that one answer may send to, one after the other.
const REDIRECTS_MAX: u32 = 3;

/// Where keys are published.
pub enum Source {
    File(PathBuf),
    Url { agent: ureq::Agent, url: String },
}

impl Source {
    /// `file:`, `http:` or `https:`, where those who are in `ca_pem` are trusted, or everybody whom everybody trusts. Nobody
    /// who is asked in secret sends to where it is not.
    ///
    /// # Errors
    /// There is no certificate in `ca_pem`.
    pub fn new(uri: &str, ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Self, String> {
        if let Some(path) = uri.strip_prefix("file://") {
            return Ok(Self::File(path.into()));
        }
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(pem) = ca_pem {
            let certificates: Vec<_> = ureq::tls::parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err("there is no certificate in it".to_owned());
            }
            tls = tls.root_certs(ureq::tls::RootCerts::from(certificates));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(REDIRECTS_MAX)
            .https_only(uri.starts_with("https://"))
            .proxy(None)
            .tls_config(tls.build())
            .build();
        Ok(Self::Url { agent: config.new_agent(), url: uri.to_owned() })
    }

    /// Fetches the keys.
    ///
    /// # Errors
    /// Why not.
    pub fn fetch(&self) -> Result<Keys, String> {
        let text = match self {
            Self::File(path) => read(path),
            Self::Url { agent, url } => get(agent, url),
        }?;
        Keys::published(&text).map_err(str::to_owned)
    }
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
