//! The other end: sessions of those who connect to a broker.

use super::acceptor::{Files, certificates};
use super::{Session, TlsError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// A connection that somebody made.
pub type ClientSession = Session<UnbufferedClientConnection>;

/// Whom a client takes for the broker.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Whoever shows a certificate of these authorities, for the name that the client connects to.
    Authorities(&'a Path),
    /// Anybody.
    Anybody,
}

/// What connections are made with.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// # Errors
    /// When the file of the authorities is not there or not what it should be.
    pub fn load(trust: Trust<'_>, files: Files<'_>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(Anybody(Arc::clone(&provider))),
            Trust::Authorities(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path, files)? {
                    let useless = |error| TlsError::useless(path, format!("holds an authority of no use: {error}"));
                    roots.add(authority).map_err(useless)?;
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| TlsError::useless(path, error.to_string()))?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Contradiction("no cipher suite is left for these versions"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config) })
    }

    /// The state of a connection to the host of that name, over which nothing was said yet.
    ///
    /// # Errors
    /// When no host can have such a name.
    pub fn connect(&self, host: &str) -> Result<ClientSession, TlsError> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Contradiction("a host of no such name"))?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name);
        let connection = connection.map_err(|_| TlsError::Contradiction("a host of no such name"))?;
        Ok(Session::of(connection))
    }
}

/// Takes anybody for the broker: what is measured is no secret.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
