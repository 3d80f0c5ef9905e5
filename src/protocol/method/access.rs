//! Class `access` (30): withdrawn from AMQP 0-9-1, still asked for by old clients, and always granted.

use super::wire::wire;

/// Asks for access to a realm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request<'a> {
    pub realm: &'a [u8],
    pub exclusive: bool,
    pub passive: bool,
    pub active: bool,
    pub write: bool,
    pub read: bool,
}

wire!(Request<'a> { name realm; bits exclusive passive active write read; });

/// Grants a ticket, which nothing looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestOk {
    /// Any number.
    pub ticket: u16,
}

wire!(RequestOk { u16 ticket; });
