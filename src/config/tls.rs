//! The settings of TLS, under the names that RabbitMQ's `ssl_options` have for them.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What clients are shown over TLS, and what is asked of them. Off without a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate, with those that lead from it to its authority. Empty: there is no TLS.
    pub certfile: PathBuf,
    /// Its private key.
    pub keyfile: PathBuf,
    /// The authorities that stand behind clients' certificates.
    pub cacertfile: PathBuf,
    /// Whether clients are asked for certificates.
    pub verify: Verify,
    /// Whether those who have none are turned away.
    pub fail_if_no_peer_cert: bool,
    /// The versions that are spoken. Never empty.
    pub versions: Vec<TlsVersion>,
    /// Further certificates, for clients that connect to one of their names.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    pub certfile: PathBuf,
    pub keyfile: PathBuf,
}

/// Whether clients are asked for certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verify {
    #[serde(rename = "verify_none")]
    None,
    #[serde(rename = "verify_peer")]
    Peer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "tlsv1.3")]
    V1_3,
    #[serde(rename = "tlsv1.2")]
    V1_2,
}

/// Where in a client's certificate the name of its user is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertLoginFrom {
    CommonName,
    DistinguishedName,
    #[serde(alias = "subject_alt_name")]
    SubjectAlternativeName,
}

/// Which of the alternative names count for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertLoginSanType {
    Dns,
    Ip,
    Email,
    Uri,
    OtherName,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certfile: PathBuf::new(),
            keyfile: PathBuf::new(),
            cacertfile: PathBuf::new(),
            verify: Verify::None,
            fail_if_no_peer_cert: false,
            versions: vec![TlsVersion::V1_3, TlsVersion::V1_2],
            certificates: Vec::new(),
        }
    }
}

impl Tls {
    pub fn is_on(&self) -> bool {
        !self.certfile.as_os_str().is_empty()
    }

    /// `key` is where `versions` stands.
    pub(super) fn validate(&self, key: &'static str) -> Result<(), ConfigError> {
        let is_repeated = |(index, version)| self.versions[..index].contains(version);
        if self.versions.is_empty() || self.versions.iter().enumerate().any(is_repeated) {
            return Err(ConfigError::out_of_range(
                key,
                format!("{:?}", self.versions),
                "one version at least, and each once",
            ));
        }
        Ok(())
    }
}
