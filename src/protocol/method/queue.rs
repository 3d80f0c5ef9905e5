//! Class `queue` (50): queues and their bindings.

use super::wire::wire;
use crate::protocol::FieldTable;

/// Creates a queue, or checks one. An empty name asks the server for a name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Declare<'a> {
    pub queue: &'a [u8],
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Declare<'a> { skip_u16; name queue; bits passive durable exclusive auto_delete nowait; table arguments; });

/// The queue exists, with that many ready messages and consumers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeclareOk<'a> {
    pub queue: &'a [u8],
    /// Ready messages: those given to consumers and not acknowledged are not counted.
    pub message_count: u32,
    /// Consumers of the queue.
    pub consumer_count: u32,
}

wire!(DeclareOk<'a> { short_string queue; u32 message_count; u32 consumer_count; });

/// Binds a queue to an exchange.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bind<'a> {
    pub queue: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Bind<'a> { skip_u16; name queue; name exchange; name routing_key; bits nowait; table arguments; });

/// The binding exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BindOk;

wire!(BindOk {});

/// Removes the ready messages of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Purge<'a> {
    pub queue: &'a [u8],
    pub nowait: bool,
}

wire!(Purge<'a> { skip_u16; name queue; bits nowait; });

/// How many messages were removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PurgeOk {
    /// Ready messages that were removed.
    pub message_count: u32,
}

wire!(PurgeOk { u32 message_count; });

/// Deletes a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delete<'a> {
    pub queue: &'a [u8],
    pub if_unused: bool,
    pub if_empty: bool,
    pub nowait: bool,
}

wire!(Delete<'a> { skip_u16; name queue; bits if_unused if_empty nowait; });

/// The queue is gone, and that many ready messages with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeleteOk {
    /// Ready messages that went with it.
    pub message_count: u32,
}

wire!(DeleteOk { u32 message_count; });

/// Removes a binding of a queue. There is no nowait here.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Unbind<'a> {
    pub queue: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub arguments: FieldTable,
}

wire!(Unbind<'a> { skip_u16; name queue; name exchange; name routing_key; table arguments; });

/// The binding is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnbindOk;

wire!(UnbindOk {});
