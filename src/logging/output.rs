//! Where lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Stdout,
    Stderr,
    /// Appended to.
    File(PathBuf),
}

/// Where lines go, ready to be written to.
pub type Opened = Box<dyn Write + Send>;

impl Output {
    /// # Errors
    /// When there is no such file and it can't be made, or it can't be written to.
    pub fn open(&self) -> io::Result<Opened> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::Stderr => Box::new(io::stderr()),
            Self::File(path) => Box::new(open_to_append(path).map_err(|error| {
                io::Error::new(error.kind(), format!("can't log into {}: {error}", path.display()))
            })?),
        })
    }

    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::File(_) => false,
        }
    }
}

/// Names of users, hosts and queues are in a log: it is for its owner and group.
#[allow(clippy::disallowed_methods, reason = "the one file that this room writes")]
fn open_to_append(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}
