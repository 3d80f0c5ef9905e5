//! What the broker asks of the outside while it carries out a command: deliveries, returns, confirms, cancellations.
//!
//! An implementation writes them down at once. It may not call back, wait or fail: a client that is gone or too slow is
//! the implementation's business, and what it says back is only whether there is room for more.

use super::ConnectionId;
use super::message::Content;

/// Whether a connection's outbox takes more deliveries this turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    Left,
    /// The outbox is above its high-water mark. The broker stops delivering until
    /// [`connection_drained`](super::Broker::connection_drained).
    Full,
}

/// Where a delivery goes.
#[derive(Clone, Copy)]
pub struct Recipient<'a> {
    pub connection: ConnectionId,
    pub channel_number: u16,
    pub consumer_tag: &'a [u8],
}

/// The outside, as the broker sees it.
pub trait Effects {
    /// `basic.deliver` with its content.
    fn deliver(
        &mut self,
        recipient: Recipient<'_>,
        delivery_tag: u64,
        redelivered: bool,
        content: &Content<'_>,
    ) -> Room;

    /// `basic.return` 312 NO_ROUTE with its content.
    fn return_unroutable(&mut self, connection: ConnectionId, channel_number: u16, content: &Content<'_>);

    /// `basic.ack` to a publisher.
    fn confirm(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool);

    /// `basic.nack` to a publisher: its messages were refused.
    fn reject(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool);

    /// `basic.cancel` to a consumer whose queue is gone, where the client announced that it understands it.
    fn cancel_consumer(&mut self, recipient: Recipient<'_>);
}
