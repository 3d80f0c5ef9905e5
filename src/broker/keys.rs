//! Which thing is meant: small numbers, each a type of its own.
//!
//! Nothing here knows what a thing is or where it is kept.

/// A client connection; the number is the caller's and is used again after the connection closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u32);

/// An open channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ChannelId(pub u32);

/// A running consumer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConsumerId(pub u32);

/// A queue, by its index in the broker's slab. Kept dense: scratch space is sized by the highest one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueId(pub u32);

/// A queue that may be gone when it is asked for again, and its slot another one's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QueueKey {
    pub(super) id: QueueId,
    /// [`Queue::serial`](super::queue::Queue::serial).
    pub(super) serial: u64,
}

/// A channel that may be closed when it is asked for again, and its slot another one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelKey {
    pub(super) id: ChannelId,
    /// [`Channel::serial`](super::Channel::serial).
    pub(super) serial: u64,
}

/// A connection that may be closed when it is asked for again, and its number another one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionKey {
    pub(super) id: ConnectionId,
    pub(super) serial: u64,
}

/// An exchange of one [`Router`](super::exchange::Router). Given again once its exchange is deleted, so it is valid only
/// while the [epoch](super::Epoch) lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExchangeId(pub u32);

/// A virtual host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VhostId(pub u32);

/// Somebody who may log in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserId(pub u32);
