//! Class `exchange` (40): exchanges and the bindings between them.

use super::wire::wire;
use crate::protocol::FieldTable;

/// Creates an exchange, or checks one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Declare<'a> {
    pub exchange: &'a [u8],
    pub exchange_type: &'a [u8],
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Declare<'a> { skip_u16; name exchange; name exchange_type; bits passive durable auto_delete internal nowait; table arguments; });

/// The exchange exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeclareOk;

wire!(DeclareOk {});

/// Deletes an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delete<'a> {
    pub exchange: &'a [u8],
    pub if_unused: bool,
    pub nowait: bool,
}

wire!(Delete<'a> { skip_u16; name exchange; bits if_unused nowait; });

/// The exchange is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeleteOk;

wire!(DeleteOk {});

/// Binds the exchange `destination` to the exchange `source`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bind<'a> {
    pub destination: &'a [u8],
    pub source: &'a [u8],
    pub routing_key: &'a [u8],
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Bind<'a> { skip_u16; name destination; name source; name routing_key; bits nowait; table arguments; });

/// The binding exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BindOk;

wire!(BindOk {});

/// Removes a binding between exchanges.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Unbind<'a> {
    pub destination: &'a [u8],
    pub source: &'a [u8],
    pub routing_key: &'a [u8],
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Unbind<'a> { skip_u16; name destination; name source; name routing_key; bits nowait; table arguments; });

/// The binding is gone. (Its method id is 51, not 41.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnbindOk;

wire!(UnbindOk {});
