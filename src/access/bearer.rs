//! Somebody who showed a token: all that the broker knows of such a user is what the token says.

use super::{Scopes, Tags};
use std::sync::Arc;

/// Who it is, what it may do, and for how long.
#[derive(PartialEq, Eq, Debug)]
pub struct Bearer {
    pub name: Arc<str>,
    pub tags: Arc<Tags>,
    pub scopes: Scopes,
    /// Until then, in milliseconds since 1970; `None` for as long as it likes.
    pub expires_unix_ms: Option<u64>,
}
