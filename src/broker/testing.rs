//! What the broker's own tests share.

use super::effects::{Effects, Recipient, Room};
use super::exchange::QueueId;
use super::message::Content;
use super::store::{DurableQueueId, MemoryStore, Store};
use super::{
    Broker, Caller, ChannelId, ConnectionId, Founding, MessageMemory, RestoredQueue, Settings, UserId, VhostId,
    VhostLimits,
};
use crate::access::{PasswordHash, Tags};
use crate::protocol::FieldTable;

/// The one user and the one vhost of a [`broker`].
pub(super) const USER: UserId = UserId(0);
pub(super) const VHOST: VhostId = VhostId(0);

/// The smallest message, to the queue `q` by the default exchange.
pub(super) const CONTENT: Content<'static> =
    Content { address: b"\0\x01q\xCE", frames: &[0; 22], header_frame_length: 22, shared_body: None };

/// Nobody listens.
pub(super) struct Nobody;

impl Effects for Nobody {
    fn deliver(&mut self, _: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        Room::Left
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
    fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn reject(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

/// The consumer tags of deliveries, in their order; every one of them fills its outbox, or none does.
#[derive(Default)]
pub(super) struct Takers {
    pub tags: Vec<String>,
    pub fills: bool,
}

impl Effects for Takers {
    fn deliver(&mut self, recipient: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        self.tags.push(String::from_utf8_lossy(recipient.consumer_tag).into_owned());
        if self.fills { Room::Full } else { Room::Left }
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
    fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn reject(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

/// Gives a test's log, which has a `pages: MemoryStore`, the pages of that.
macro_rules! with_pages_of_memory {
    ($log:ty) => {
        impl Pages for $log {
            fn put_page(&mut self, bytes: Vec<u8>) -> PageId {
                self.pages.put_page(bytes)
            }
            fn read_page(&mut self, page: PageId) {
                self.pages.read_page(page);
            }
            fn discard_page(&mut self, page: PageId) {
                self.pages.discard_page(page);
            }
            fn take_arrived_page(&mut self) -> Option<(PageId, Vec<u8>)> {
                self.pages.take_arrived_page()
            }
            fn unwritten_page_bytes(&self) -> usize {
                self.pages.unwritten_page_bytes()
            }
        }
    };
}
pub(super) use with_pages_of_memory;

/// What every broker of a test is founded with: a quick password, and the vhost `/`.
fn founding() -> Founding {
    let password = PasswordHash::salted_sha256(b"guest", [0; 4]);
    Founding { vhost: "/".into(), user: "guest".into(), password, tags: Tags::administrator() }
}

/// With one user and one vhost.
pub(super) fn broker() -> Broker<MemoryStore> {
    broker_with(settings(), MemoryStore::default())
}

/// With one user and one vhost.
pub(super) fn broker_with<S: Store>(settings: Settings, store: S) -> Broker<S> {
    let mut broker = Broker::new(settings, store, 0);
    broker.found(founding());
    broker
}

/// No limits, in memory.
pub(super) fn settings() -> Settings {
    Settings {
        seed: [0; 32],
        unix_start_ms: 0,
        vhost_limits: VhostLimits::default(),
        event_vhost: None,
        default_queue_type: None,
        node_name: crate::broker::NODE_NAME.into(),
        transaction_max_bytes: usize::MAX,
        consumer_timeout_ms: None,
        message_memory: MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX },
    }
}

/// The durable queue `q` of an earlier run, whose messages are still to come.
pub(super) fn restored_queue<S: Store>(broker: &mut Broker<S>, arguments: FieldTable) -> QueueId {
    let (vhost, id, name) = (VHOST, DurableQueueId(7), "q".into());
    let restored = RestoredQueue { vhost, id, name, auto_delete: false, top_level: 0, arguments };
    let (queue, refusal) = broker.restore_queue(restored);
    assert!(refusal.is_none(), "{refusal:?}");
    queue
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
