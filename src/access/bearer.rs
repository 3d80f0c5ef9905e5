//! Somebody for whom others vouch: an issuer who signed its token, or a server that knows its password. All that the broker
//! knows of such a user is what those say.

use super::{Scopes, Tags};
// From `core`, which has addresses and no sockets.
use core::net::IpAddr;
use std::sync::Arc;

/// Who it is, what it may do, and for how long.
#[derive(PartialEq, Eq, Debug)]
pub struct Bearer {
    pub name: Arc<str>,
    pub tags: Arc<Tags>,
    pub powers: Powers,
    /// Until then, in milliseconds since 1970; `None` for as long as it likes.
    pub expires_unix_ms: Option<u64>,
}

/// Where what it may do is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Powers {
    /// In the token that it showed.
    Scopes(Scopes),
    /// By a server that is [asked](super::Inquiry) each time.
    Elsewhere {
        /// Where it comes from.
        peer: IpAddr,
    },
}

impl Bearer {
    /// Whether somebody else is asked what it may.
    pub fn is_judged_elsewhere(&self) -> bool {
        matches!(self.powers, Powers::Elsewhere { .. })
    }
}
