//! Whom this tool trusts to stand behind the certificate of a broker at `https://`.

use crate::api::Failure;
use crate::whereabouts::Whereabouts;
use std::fs;
use std::path::Path;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where systems keep the authorities that they trust.
const OF_THE_SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Those of a file, or of the system; none where there is no TLS.
///
/// # Errors
/// When the file can't be read or holds no certificate. A system without any trusts nobody.
pub fn needed(whereabouts: &Whereabouts, file: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    if whereabouts.scheme != "https" {
        return Ok(Vec::new());
    }
    let Some(path) = file else {
        let of_the_system = OF_THE_SYSTEM.iter().find_map(|path| fs::read(path).ok());
        return Ok(of_the_system.map_or_else(Vec::new, |text| certificates(&text)));
    };
    let text = fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    match certificates(&text) {
        none if none.is_empty() => Err(Failure::Usage(format!("{} holds no certificate", path.display()))),
        certificates => Ok(certificates),
    }
}

fn certificates(text: &[u8]) -> Vec<Certificate<'static>> {
    let is_certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(text).filter_map(is_certificate).collect()
}
