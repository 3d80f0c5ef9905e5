//! Whom this tool trusts to stand behind the certificate of a broker at `https://`, and what it shows of itself.

use crate::api::Failure;
use crate::whereabouts::Whereabouts;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, parse_pem};

/// Where systems keep the authorities that they trust.
const OF_THE_SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What rabbitmqadmin and rabbitmqctl's like call it, older and newer ones.
#[derive(Args, Default)]
pub struct TlsOptions {
    /// The authorities, as PEM, behind the certificate of a broker at https:// [default: those of the system]
    #[arg(
        long = "cacert",
        visible_alias = "ssl-ca-cert-file",
        alias = "tls-ca-cert-file",
        global = true,
        value_name = "FILE"
    )]
    pub cacert: Option<PathBuf>,

    /// The certificate, as PEM, that a broker is shown which wants one
    #[arg(long = "ssl-cert-file", alias = "tls-cert-file", global = true, value_name = "FILE")]
    pub certificate: Option<PathBuf>,

    /// Its key, as PEM [default: in the same file]
    #[arg(long = "ssl-key-file", alias = "tls-key-file", global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Trust whoever answers, whatever certificate it shows
    #[arg(long = "ssl-insecure", aliases = ["insecure", "disable-tls-peer-verification"], global = true)]
    pub trusts_anybody: bool,

    /// Not to be had by itself: see --ssl-insecure
    #[arg(long = "ssl-disable-hostname-verification", global = true, hide = true)]
    pub trusts_any_name: bool,
}

/// Whom to trust, and what to show.
#[derive(Default)]
pub struct Trust {
    pub authorities: Vec<Certificate<'static>>,
    pub certificate: Option<ClientCert>,
    pub is_blind: bool,
}

/// What the options say; nothing where there is no TLS.
///
/// # Errors
/// When a file can't be read, or does not hold what it should. A system without any authorities trusts nobody.
pub fn needed(whereabouts: &Whereabouts, options: &TlsOptions) -> Result<Trust, Failure> {
    if whereabouts.scheme != "https" {
        return Ok(Trust::default());
    }
    if options.trusts_any_name && !options.trusts_anybody {
        let why = "the name in a certificate is verified with the rest of it: --ssl-insecure verifies nothing";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(Trust {
        authorities: authorities(options.cacert.as_deref())?,
        certificate: options.certificate.as_ref().map(|file| own(file, options.key.as_deref())).transpose()?,
        is_blind: options.trusts_anybody,
    })
}

fn authorities(file: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    let Some(path) = file else {
        let of_the_system = OF_THE_SYSTEM.iter().find_map(|path| fs::read(path).ok());
        return Ok(of_the_system.map_or_else(Vec::new, |text| certificates(&text)));
    };
    match certificates(&read(path)?) {
        none if none.is_empty() => Err(Failure::Usage(format!("{} holds no certificate", path.display()))),
        certificates => Ok(certificates),
    }
}

/// A certificate with those behind it, and its key.
fn own(file: &Path, key_file: Option<&Path>) -> Result<ClientCert, Failure> {
    let chain = certificates(&read(file)?);
    if chain.is_empty() {
        return Err(Failure::Usage(format!("{} holds no certificate", file.display())));
    }
    let path = key_file.unwrap_or(file);
    let key = key(&read(path)?).ok_or_else(|| Failure::Usage(format!("{} holds no key", path.display())))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn certificates(text: &[u8]) -> Vec<Certificate<'static>> {
    let is_certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(text).filter_map(is_certificate).collect()
}

fn key(text: &[u8]) -> Option<PrivateKey<'static>> {
    parse_pem(text).find_map(|item| match item {
        Ok(PemItem::PrivateKey(key)) => Some(key),
        _ => None,
    })
}
