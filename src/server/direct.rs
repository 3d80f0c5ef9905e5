//! Commands that come from the broker's own interfaces rather than from a client.

use crate::broker::message::Content;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, ConnectionId, Effects, Recipient, Room};
use crate::connection::Outboxes;

/// A channel of no client's, open for as long as one command takes.
pub struct Direct<'a, S: Store> {
    pub broker: &'a mut Broker<S>,
    pub caller: Caller,
    pub effects: DirectEffects<'a>,
    /// The largest body of a message, in bytes.
    pub message_size_max: usize,
}

/// What concerns others goes to their outboxes; what concerns the command's own connection is noted here.
pub struct DirectEffects<'a> {
    own: ConnectionId,
    outboxes: &'a mut Outboxes,
    returned: bool,
}

impl<'a> DirectEffects<'a> {
    pub(super) fn new(own: ConnectionId, outboxes: &'a mut Outboxes) -> Self {
        Self { own, outboxes, returned: false }
    }

    /// A mandatory message of the command came back.
    pub fn returned(&self) -> bool {
        self.returned
    }
}

impl Effects for DirectEffects<'_> {
    fn deliver(
        &mut self,
        recipient: Recipient<'_>,
        delivery_tag: u64,
        redelivered: bool,
        content: &Content<'_>,
    ) -> Room {
        debug_assert_ne!(recipient.connection, self.own, "direct commands don't consume");
        self.outboxes.deliver(recipient, delivery_tag, redelivered, content)
    }

    fn return_unroutable(&mut self, connection: ConnectionId, channel_number: u16, content: &Content<'_>) {
        if connection == self.own {
            self.returned = true;
        } else {
            self.outboxes.return_unroutable(connection, channel_number, content);
        }
    }

    fn reject(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        self.outboxes.reject(connection, channel_number, delivery_tag, multiple);
    }

    fn confirm(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        debug_assert_ne!(connection, self.own, "direct commands don't ask for confirms");
        self.outboxes.confirm(connection, channel_number, delivery_tag, multiple);
    }

    fn cancel_consumer(&mut self, recipient: Recipient<'_>) {
        self.outboxes.cancel_consumer(recipient);
    }
}
