//! How a connection is encrypted, and who is at its other end, in RabbitMQ's words.

use super::certificate::{self, LoginName};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, ProtocolVersion};

/// What is known of a connection's encryption when its handshake is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encryption {
    /// `tlsv1.3`.
    pub protocol: &'static str,
    /// `ecdhe_rsa`; `any` with TLS 1.3.
    pub key_exchange: &'static str,
    /// `aes_256_gcm`.
    pub cipher: &'static str,
    /// `aead`.
    pub hash: &'static str,
    /// What the client showed of itself, if it did.
    pub peer: Option<PeerCertificate>,
}

/// A client's certificate, which was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerCertificate {
    /// `CN=client,O=Example`, as RFC 4514 has it.
    pub subject: String,
    pub issuer: String,
    /// `2026-01-01T00:00:00Z - 2027-01-01T00:00:00Z`.
    pub validity: String,
    der: Box<[u8]>,
}

impl Encryption {
    pub(super) fn of(state: &CommonState) -> Self {
        let protocol = match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "tlsv1.3",
            _ => "tlsv1.2",
        };
        let (key_exchange, cipher) = match state.negotiated_cipher_suite().map(|suite| suite.suite()) {
            Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => ("any", "aes_256_gcm"),
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => ("any", "aes_128_gcm"),
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => ("any", "chacha20_poly1305"),
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => ("ecdhe_ecdsa", "aes_256_gcm"),
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => ("ecdhe_ecdsa", "aes_128_gcm"),
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => ("ecdhe_ecdsa", "chacha20_poly1305"),
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => ("ecdhe_rsa", "aes_256_gcm"),
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => ("ecdhe_rsa", "aes_128_gcm"),
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => ("ecdhe_rsa", "chacha20_poly1305"),
            _ => ("", ""),
        };
        let peer = state.peer_certificates().and_then(<[_]>::first).map(PeerCertificate::of);
        Self { protocol, key_exchange, cipher, hash: "aead", peer }
    }
}

impl PeerCertificate {
    fn of(der: &CertificateDer<'_>) -> Self {
        let (subject, issuer) = certificate::subject_and_issuer(der).unwrap_or_default();
        let validity = certificate::validity(der).map(|(from, until)| format!("{} - {}", from.text, until.text));
        Self { subject, issuer, validity: validity.unwrap_or_default(), der: der.as_ref().into() }
    }

    /// Whom the certificate says that the client is. `None` when it has no such name.
    pub fn login_name(&self, from: LoginName) -> Option<String> {
        certificate::login_name(&self.der, from)
    }
}
