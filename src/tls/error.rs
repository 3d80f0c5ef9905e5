//! Why certificates and keys are refused, in one line that names the file; and why clients are.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why no handshake can be made with what is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsError {
    /// A file can't be read.
    Unreadable { path: PathBuf, reason: String },
    /// A file is not what it should be.
    Useless { path: PathBuf, reason: String },
    /// The key is not that of the certificate.
    Mismatch { certfile: PathBuf, keyfile: PathBuf },
    /// The settings contradict each other.
    Contradiction(&'static str),
}

impl TlsError {
    pub(super) fn useless(path: &Path, reason: impl Into<String>) -> Self {
        Self::Useless { path: path.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "cannot read {}: {reason}", path.display()),
            Self::Useless { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Mismatch { certfile, keyfile } => {
                write!(f, "the key in {} is not that of the certificate in {}", keyfile.display(), certfile.display())
            }
            Self::Contradiction(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for TlsError {}

/// Why a handshake failed, where rustls has no words for it that somebody understands.
pub fn handshake_failure(error: &dyn fmt::Display) -> String {
    let said = error.to_string();
    match said.contains("UnsupportedCertVersion") {
        true => "the client's certificate is of version 1 of X.509, and only version 3 is taken".to_owned(),
        false => said,
    }
}
