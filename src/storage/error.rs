//! What goes wrong with a data folder, in words that an operator can act on.

use super::FORMAT_VERSION;
use std::fmt;
use std::io;

/// Why the log cannot be opened, written or trusted.
#[derive(Debug)]
pub enum StorageError {
    /// The disk refused.
    Io { doing: String, error: io::Error },
    /// The disk has no room for the next segment. Nothing of it was begun.
    NoRoom { doing: String, error: io::Error },
    /// Another broker holds the lock.
    Locked { folder: String },
    /// The data was written by a version of Leveret that writes otherwise.
    OtherFormat { found: u32 },
    /// The folder holds something that is not Leveret's data.
    NotOurs { file: String, reason: String },
    /// The folder is that of a node of a cluster, and this broker is alone.
    OfCluster,
    /// The folder is that of a broker that was alone, and this one is a node of a cluster.
    Alone,
    /// The folder is damaged, and nothing in it says that it is a node's: only of a node's others have what was lost.
    Nobodys { damage: String },
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

    /// What is damaged and how, in words, if that is what went wrong.
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Corrupt { file, offset, reason } => Some(format!("{file} is damaged at byte {offset}: {reason}")),
            _ => None,
        }
    }

    pub fn corrupt(file: impl Into<String>, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), offset, reason: reason.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, error } | Self::NoRoom { doing, error } => write!(f, "cannot {doing}: {error}"),
            Self::Locked { folder } => write!(f, "the data folder {folder} is in use by another broker"),
            Self::OtherFormat { found } if *found > FORMAT_VERSION => write!(
                f,
                "the data is in format {found}, of a newer version of Leveret; this one reads {FORMAT_VERSION}: start \
                 the newer version, or choose another data folder"
            ),
            Self::OtherFormat { found } => write!(
                f,
                "the data is in format {found}, of a version of Leveret before its first release; this one reads \
                 {FORMAT_VERSION}: empty the queues with the version that wrote them, and choose another data folder"
            ),
            Self::NotOurs { file, reason } => write!(f, "{file} is not Leveret's: {reason}"),
            Self::Corrupt { file, offset, reason } => write!(
                f,
                "{file} is damaged at byte {offset}: {reason}. Start with --salvage to keep what is whole, or restore \
                 the data folder"
            ),
            Self::OfCluster => f.write_str(
                "the data folder is that of a node of a cluster, and this broker is alone: give it the settings of its \
                 cluster, or choose another data folder",
            ),
            Self::Alone => f.write_str(
                "the data folder is that of a broker that was alone, and a node of a cluster begins with an empty one: \
                 choose another data folder, or start without [cluster]",
            ),
            Self::Nobodys { damage } => write!(
                f,
                "{damage}, and nothing in the data folder says that it is that of a node of a cluster. If a broker was \
                 alone here, nobody else has what is in it: choose another data folder for the node, or start without \
                 [cluster], where --salvage keeps what is whole. If it was a node's, choose an empty data folder, and it \
                 gets everything from the others"
            ),
            Self::Poisoned => f.write_str("the log stopped at an earlier failure"),
        }
    }
}

impl std::error::Error for StorageError {}
