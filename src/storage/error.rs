//! What goes wrong with a data folder, in words that an operator can act on.

use std::fmt;
use std::io;

/// Why the log cannot be opened, written or trusted.
#[derive(Debug)]
pub enum StorageError {
    /// The disk refused.
    Io { doing: String, error: io::Error },
    /// Another broker holds the lock.
    Locked { folder: String },
    /// The data was written by a version of Leveret that knows more.
    NewerFormat { found: u32, known: u32 },
    /// The folder holds something that is not Leveret's data.
    NotOurs { file: String, reason: String },
    /// What was known to be on disk is not what was written.
    Corrupt { file: String, offset: u64, reason: String },
    /// An earlier write or sync failed; nothing is written after it.
    Poisoned,
}

impl StorageError {
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }

    pub fn corrupt(file: impl Into<String>, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), offset, reason: reason.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, error } => write!(f, "cannot {doing}: {error}"),
            Self::Locked { folder } => write!(f, "the data folder {folder} is in use by another broker"),
            Self::NewerFormat { found, known } => write!(
                f,
                "the data was written by a newer version of Leveret (format {found}; this version knows up to {known})"
            ),
            Self::NotOurs { file, reason } => write!(f, "{file} is not Leveret's: {reason}"),
            Self::Corrupt { file, offset, reason } => write!(
                f,
                "{file} is damaged at byte {offset}: {reason}. Start with --salvage to keep what is whole, or restore \
                 the data folder"
            ),
            Self::Poisoned => f.write_str("the log stopped at an earlier failure"),
        }
    }
}

impl std::error::Error for StorageError {}
