//! What the broker's own tests share.

use super::effects::{Effects, Recipient, Room};
use super::message::Content;
use super::store::Store;
use super::{Broker, Caller, ChannelId, ConnectionId, MessageMemory, Settings, UserId, VhostId, VhostLimits};

/// The one user and the one vhost of a broker with these [`settings`].
pub(super) const USER: UserId = UserId(0);
pub(super) const VHOST: VhostId = VhostId(0);

/// Nobody listens.
pub(super) struct Nobody;

impl Effects for Nobody {
    fn deliver(&mut self, _: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        Room::Left
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
    fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

/// The vhost `/` without limits.
pub(super) fn settings() -> Settings {
    Settings {
        vhost: "/".into(),
        user: "guest".into(),
        seed: [0; 32],
        unix_start_ms: 0,
        vhost_limits: VhostLimits::default(),
        transaction_max_bytes: usize::MAX,
        message_memory: MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX },
    }
}

/// A client connects, and opens its first channel.
pub(super) fn connect<S: Store>(broker: &mut Broker<S>, connection: ConnectionId) -> ChannelId {
    connect_to(broker, VHOST, connection)
}

/// A client connects to a vhost, and opens its first channel.
pub(super) fn connect_to<S: Store>(broker: &mut Broker<S>, vhost: VhostId, connection: ConnectionId) -> ChannelId {
    broker.open_connection(connection, USER, vhost);
    broker.open_channel(connection, 1)
}

/// Who asks, on the first channel that a connection opened.
pub(super) fn caller<S: Store>(broker: &Broker<S>, connection: ConnectionId) -> Caller {
    let state = broker.connections[connection.0 as usize].as_ref().expect("the test connected");
    broker.caller(state.channels[0])
}
