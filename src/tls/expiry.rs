//! When the certificates that were loaded expire, file by file.
//!
//! Whether that is soon is for others to say: there is no clock here.

use super::certificate::{self, Expiry};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};

/// A file, and when each certificate that was read from it expires.
#[derive(Clone, Debug)]
pub struct DatedFile {
    pub path: PathBuf,
    pub expiries: Vec<Expiry>,
}

impl DatedFile {
    pub(super) fn new(path: &Path, certificates: &[CertificateDer<'_>]) -> Self {
        let expiries = certificates.iter().filter_map(|der| certificate::expiry(der)).collect();
        Self { path: path.to_owned(), expiries }
    }
}

/// Those of all files that handshakes are made with.
#[derive(Clone, Debug)]
pub struct Expiries {
    /// What clients are shown.
    pub certfiles: Vec<DatedFile>,
    /// Who stands behind clients. Without certificates where no client is asked for one: then the file is not read.
    pub cacertfile: DatedFile,
}
