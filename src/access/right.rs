//! What somebody may be allowed to do.

use std::fmt;

/// What a command does with a queue or an exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Right {
    /// Declare or delete it.
    Configure,
    /// Publish to it, or bind it to something.
    Write,
    /// Consume, get or purge what is in it, or bind something to it.
    Read,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}
