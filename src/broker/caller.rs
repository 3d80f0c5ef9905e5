//! Who asks for something.

use super::{ChannelId, ConnectionId, UserId, VhostId};

/// Whoever gives a command that names or changes something: no such command works without knowing who asks.
///
/// Everybody asks on a channel of some connection. What the broker's own interfaces are asked for comes on a channel that
/// is [open for as long as the command takes](super::Broker::open_connection), and is held to the same rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Whose exclusive queues it may use.
    pub connection: ConnectionId,
    /// Whose consumers, deliveries and last declared queue its commands mean.
    pub channel: ChannelId,
    /// Whose permissions it has.
    pub user: UserId,
    /// Where the names that it says are looked for.
    pub vhost: VhostId,
}
