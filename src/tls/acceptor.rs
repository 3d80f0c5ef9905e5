//! Settings and files to what a handshake is made with.
//!
//! Whatever would only come to light when a client connects is found here: a key of another certificate, dates that are
//! over, a list of authorities with nobody in it.

use super::certificate;
use super::expiry::{DatedFile, Expiries};
use super::resolver::Resolver;
use super::{Session, TlsError};
use crate::config::{Tls, TlsVersion, Verify};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// How files are read: whoever may touch the disk gives this.
pub type Files<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// What handshakes are made with. A new one of these changes nothing for those who are connected.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    expiries: Arc<Expiries>,
}

impl Acceptor {
    /// Reads what `settings` name. `now_unix_s` is the calendar's time, in seconds since 1970.
    ///
    /// # Errors
    /// When a file is not there or not what it should be, or a certificate's time is over or still to come.
    pub fn load(settings: &Tls, files: Files<'_>, now_unix_s: u64) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let first = certified_key(&settings.certfile, &settings.keyfile, &provider, files, now_unix_s)?;
        let mut certfiles = vec![DatedFile::new(&settings.certfile, &first.cert)];
        let mut resolver = Resolver::new(first);
        for more in &settings.certificates {
            let key = certified_key(&more.certfile, &more.keyfile, &provider, files, now_unix_s)?;
            certfiles.push(DatedFile::new(&more.certfile, &key.cert));
            resolver.add(key);
        }
        let authorities = authorities(settings, files)?;
        let cacertfile = DatedFile::new(&settings.cacertfile, &authorities);
        let verifier = client_verifier(settings, authorities, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&settings.versions))
            .map_err(|_| TlsError::Contradiction("no cipher suite is left for these versions"))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        // For our own records: they go nowhere else.
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), expiries: Arc::new(Expiries { certfiles, cacertfile }) })
    }

    /// The state of a connection whose client has said nothing yet.
    pub fn accept(&self) -> Session {
        Session::new(Arc::clone(&self.config))
    }

    /// For those who speak TLS by other means than a [`Session`].
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    pub fn expiries(&self) -> &Expiries {
        &self.expiries
    }
}

/// What handshakes are made with from now on, by however many threads.
#[derive(Debug)]
pub struct Renewable(RwLock<Acceptor>);

impl Renewable {
    pub fn new(acceptor: Acceptor) -> Self {
        Self(RwLock::new(acceptor))
    }

    pub fn current(&self) -> Acceptor {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn renew(&self, acceptor: Acceptor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }
}

fn versions(configured: &[TlsVersion]) -> Vec<&'static SupportedProtocolVersion> {
    let version = |version: &TlsVersion| match version {
        TlsVersion::V1_2 => &rustls::version::TLS12,
        TlsVersion::V1_3 => &rustls::version::TLS13,
    };
    configured.iter().map(version).collect()
}

fn read(path: &Path, files: Files<'_>) -> Result<Vec<u8>, TlsError> {
    files(path).map_err(|error| TlsError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

pub(super) fn certificates(path: &Path, files: Files<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, files)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| TlsError::useless(path, format!("is no PEM file: {error}")))?;
    match certificates.is_empty() {
        true => Err(TlsError::useless(path, "holds no certificate")),
        false => Ok(certificates),
    }
}

fn private_key(path: &Path, files: Files<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path, files)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
        let reason = match error {
            pem::Error::NoItemsFound if is_encrypted => {
                "holds a key behind a password, which is not supported".to_owned()
            }
            pem::Error::NoItemsFound => "holds no private key".to_owned(),
            error => format!("is no PEM file: {error}"),
        };
        TlsError::useless(path, reason)
    })
}

/// A certificate with those that lead from it to its authority, and its key.
fn certified_key(
    certfile: &Path,
    keyfile: &Path,
    provider: &CryptoProvider,
    files: Files<'_>,
    now_unix_s: u64,
) -> Result<CertifiedKey, TlsError> {
    if keyfile.as_os_str().is_empty() {
        return Err(TlsError::Contradiction("there is a certfile and no keyfile"));
    }
    let chain = certificates(certfile, files)?;
    let useless = |reason: String| TlsError::useless(certfile, reason);
    let (from, until) = certificate::validity(&chain[0])
        .ok_or_else(|| useless("holds something else than a certificate".to_owned()))?;
    if now_unix_s > until.unix_s {
        return Err(useless(format!("its certificate expired at {}", until.text)));
    }
    if now_unix_s < from.unix_s {
        return Err(useless(format!("its certificate is not valid before {}", from.text)));
    }
    let key = private_key(keyfile, files)?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| TlsError::useless(keyfile, format!("holds a key of no known kind: {error}")))?;
    let certified = CertifiedKey::new(chain, key);
    // rustls compares them for certificates of version 3 alone, and a host may show an older one.
    let is_of_key =
        |public: SubjectPublicKeyInfoDer<'_>| certificate::public_key(&certified.cert[0]).as_deref() == Some(&*public);
    match certified.key.public_key().is_none_or(is_of_key) {
        true => Ok(certified),
        false => Err(TlsError::Mismatch { certfile: certfile.to_owned(), keyfile: keyfile.to_owned() }),
    }
}

/// Those behind clients' certificates: nobody, where no client is asked for one.
fn authorities(settings: &Tls, files: Files<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match settings.verify {
        Verify::None if settings.fail_if_no_peer_cert => {
            Err(TlsError::Contradiction("fail_if_no_peer_cert needs verify = \"verify_peer\""))
        }
        Verify::None => Ok(Vec::new()),
        Verify::Peer if settings.cacertfile.as_os_str().is_empty() => {
            Err(TlsError::Contradiction("verify = \"verify_peer\" needs a cacertfile"))
        }
        Verify::Peer => certificates(&settings.cacertfile, files),
    }
}

fn client_verifier(
    settings: &Tls,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if settings.verify == Verify::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let path = &settings.cacertfile;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|error| TlsError::useless(path, format!("holds an authority of no use: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = if settings.fail_if_no_peer_cert { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| TlsError::useless(path, error.to_string()))
}
