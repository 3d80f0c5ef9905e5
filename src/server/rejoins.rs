//! Why a node of a cluster ends that is to be started again.

use std::fmt;

/// It lost something of its log, which is set aside when it starts again, and it is a new member then. Whatever there is of the
/// process knows it as who it was.
#[derive(Debug)]
pub struct Rejoins {
    /// It is in maintenance, and stays so: nobody who takes care of it has started it.
    pub is_drained: bool,
}

impl fmt::Display for Rejoins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node lost something of its log, and starts again as a new member")
    }
}

impl std::error::Error for Rejoins {}
