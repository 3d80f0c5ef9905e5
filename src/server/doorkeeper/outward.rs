//! Whom a doorkeeper trusts that asks others over HTTPS.

use std::io::{self, Read};
use std::path::Path;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

/// The longest file with certificates or a key, in bytes.
const PEM_FILE_BYTES_MAX: usize = 4 << 20;

/// Files by which two ends of a connection know each other; an empty path is none.
pub struct Trust<'a> {
    /// The settings that name them.
    pub what: &'static str,
    /// Whom to trust. Else those whom everybody trusts.
    pub ca_file: &'a Path,
    /// What to show, and its key.
    pub certificate: Option<(&'a Path, &'a Path)>,
    /// Whether the other end has to be somebody whom to trust.
    pub verifies: bool,
}

/// What connections to others are made with.
///
/// # Errors
/// A file can't be read, or there is nothing in it that can be used.
pub fn tls(trust: &Trust<'_>) -> io::Result<TlsConfig> {
    let what = trust.what;
    let mut tls = TlsConfig::builder().disable_verification(!trust.verifies);
    if is_given(trust.ca_file) {
        tls = tls.root_certs(RootCerts::from(certificates(what, trust.ca_file)?));
    }
    if let Some((file, key_file)) = trust.certificate.filter(|(file, _)| is_given(file)) {
        let pem = read(key_file, PEM_FILE_BYTES_MAX, what)?;
        let named = |reason| io::Error::other(format!("{what}: {}: {reason}", key_file.display()));
        let key = PrivateKey::from_pem(&pem).map_err(|_| named("there is no key in it"))?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(what, file)?, key)));
    }
    Ok(tls.build())
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn certificates(what: &str, path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = read(path, PEM_FILE_BYTES_MAX, what)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(io::Error::other(format!("{what}: {}: there is no certificate in it", path.display()))),
        false => Ok(certificates),
    }
}

/// What is in a file that a setting names, `what`.
///
/// # Errors
/// It can't be read, or is longer than that.
#[allow(clippy::disallowed_methods, reason = "keys and certificates, at the start and when they are read again")]
pub fn read(path: &Path, bytes_max: usize, what: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut text));
    match read {
        Ok(length) if length <= bytes_max => Ok(text),
        Ok(_) => Err(io::Error::other(format!("{what}: {}: it has more than {bytes_max} bytes", path.display()))),
        Err(error) => Err(io::Error::new(error.kind(), format!("{what}: {}: {error}", path.display()))),
    }
}
