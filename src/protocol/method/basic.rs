//! Class `basic` (60): publishing, delivering and acknowledging.
//!
//! `Publish`, `Deliver`, `Return` and `GetOk` are followed by a content header and content bodies. The names in a publish
//! are not checked to be UTF-8: a name that is not cannot exist, and this is the hot path.

use super::wire::wire;
use crate::protocol::FieldTable;

/// Limits how many unacknowledged deliveries may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Qos {
    /// Most octets of unacknowledged deliveries; RabbitMQ and Leveret take nothing but 0, no limit.
    pub prefetch_size: u32,
    /// Most unacknowledged deliveries; 0 for no limit.
    pub prefetch_count: u16,
    /// For all consumers of the channel together, instead of for each that starts from now on.
    pub global: bool,
}

wire!(Qos { u32 prefetch_size; u16 prefetch_count; bits global; });

/// The limit holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QosOk;

wire!(QosOk {});

/// Subscribes to a queue. An empty tag asks the server for a tag.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Consume<'a> {
    pub queue: &'a [u8],
    pub consumer_tag: &'a [u8],
    pub no_local: bool,
    pub no_ack: bool,
    pub exclusive: bool,
    pub nowait: bool,
    pub arguments: FieldTable,
}

wire!(Consume<'a> { skip_u16; name queue; name consumer_tag; bits no_local no_ack exclusive nowait; table arguments; });

/// The subscription exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConsumeOk<'a> {
    pub consumer_tag: &'a [u8],
}

wire!(ConsumeOk<'a> { short_string consumer_tag; });

/// Ends a subscription. Both sides may send it: from the server it says that the consumer's queue is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cancel<'a> {
    pub consumer_tag: &'a [u8],
    pub nowait: bool,
}

wire!(Cancel<'a> { name consumer_tag; bits nowait; });

/// The subscription is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CancelOk<'a> {
    pub consumer_tag: &'a [u8],
}

wire!(CancelOk<'a> { short_string consumer_tag; });

/// Hands a message to an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Publish<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub mandatory: bool,
    pub immediate: bool,
}

wire!(Publish<'a> { skip_u16; short_string exchange; short_string routing_key; bits mandatory immediate; });

/// Gives back a message that could not be routed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Return<'a> {
    /// Why, as in [`ReplyCode`](crate::protocol::ReplyCode): 312 for no route.
    pub reply_code: u16,
    pub reply_text: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

wire!(Return<'a> { u16 reply_code; short_string reply_text; short_string exchange; short_string routing_key; });

/// Hands a message to a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deliver<'a> {
    pub consumer_tag: &'a [u8],
    /// Counts the deliveries and gets of the channel, from 1.
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

wire!(Deliver<'a> { short_string consumer_tag; u64 delivery_tag; bits redelivered; short_string exchange; short_string routing_key; });

/// Asks for one message of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Get<'a> {
    pub queue: &'a [u8],
    pub no_ack: bool,
}

wire!(Get<'a> { skip_u16; name queue; bits no_ack; });

/// Here is one; so many are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GetOk<'a> {
    /// Counts the deliveries and gets of the channel, from 1.
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// Ready messages left in the queue.
    pub message_count: u32,
}

wire!(GetOk<'a> { u64 delivery_tag; bits redelivered; short_string exchange; short_string routing_key; u32 message_count; });

/// There is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GetEmpty;

wire!(GetEmpty { skip_short_string; });

/// A delivery was dealt with; or, from the server, a publish was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ack {
    /// Of the delivery, or of the publish, on this channel, each counted from 1; 0 with `multiple` is all so far.
    pub delivery_tag: u64,
    /// All up to the tag, instead of it alone.
    pub multiple: bool,
}

wire!(Ack { u64 delivery_tag; bits multiple; });

/// One delivery was not dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reject {
    /// Of the delivery on this channel.
    pub delivery_tag: u64,
    pub requeue: bool,
}

wire!(Reject { u64 delivery_tag; bits requeue; });

/// As [`Recover`], without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecoverAsync {
    pub requeue: bool,
}

wire!(RecoverAsync { bits requeue; });

/// Asks for all unacknowledged deliveries of the channel again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recover {
    pub requeue: bool,
}

wire!(Recover { bits requeue; });

/// The deliveries are back in their queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecoverOk;

wire!(RecoverOk {});

/// Deliveries were not dealt with; or, from the server, publishes were not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nack {
    /// As in [`Ack`].
    pub delivery_tag: u64,
    /// All up to the tag, instead of it alone.
    pub multiple: bool,
    pub requeue: bool,
}

wire!(Nack { u64 delivery_tag; bits multiple requeue; });
