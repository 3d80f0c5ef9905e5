//! A channel as its connection sees it: what is expected next, and the last publish.

use super::judged::Judged;
use super::lane::Template;
use crate::broker::exchange::ExchangeId;
use crate::broker::memory::ClientHolding;
use crate::broker::message::Attributes;
use crate::broker::{Caller, DeletedQueue, Done, Epoch, KnownRoute};

/// The content that is being received after a `basic.publish`.
#[derive(Default)]
pub enum Incoming {
    /// A method is expected.
    #[default]
    Method,
    /// The content header of the publish in [`LastPublish`] is expected.
    Header,
    /// Body frames are expected.
    Body(IncomingBody),
    /// More came than was announced, or more than is allowed; the next frame shows what RabbitMQ says of it.
    Overrun,
}

/// A content whose header has arrived.
pub struct IncomingBody {
    /// As announced, in bytes.
    pub body_size: u64,
    pub received: u64,
    /// The content header frame; behind it the body frame as far as it has come, when the body is small.
    pub frames: Vec<u8>,
    pub header_frame_length: usize,
    /// A body too large for `frames`.
    pub large_body: Vec<u8>,
    /// The room of both.
    pub memory: ClientHolding,
    /// More than the largest message allowed: the bytes are not kept.
    pub oversized: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelState {
    Open,
    /// We sent `channel.close`: everything but its answer is ignored.
    Closing,
    /// The client closed it, and is answered when what it left behind is back.
    Leaving,
    /// The client closed it: what came in one piece with that is ignored.
    Closed,
}

/// A channel's previous publish. The same bytes again mean the same exchange, key, flags and route.
#[derive(Default)]
pub struct LastPublish {
    /// The whole method frame. Empty when there was none.
    pub method_frame: Vec<u8>,
    /// Exchange and routing key as short strings, and the frame end: the tail of the deliveries.
    pub address: Vec<u8>,
    pub mandatory: bool,
    pub immediate: bool,
    /// The exchange of `address`, as it still is while this epoch lasts.
    pub exchange: Option<(Epoch, ExchangeId)>,
    /// The same, when each routing key has to be asked for. One of the two is there at most.
    pub restricted_exchange: Option<(Epoch, ExchangeId)>,
    /// Where it went.
    pub route: KnownRoute,
    /// Property flags and list of the last message whose properties need nothing special, and what they say.
    pub properties: Vec<u8>,
    pub attributes: Attributes,
    /// `properties` and `attributes` hold something.
    pub properties_known: bool,
    /// The last run's deliveries, as far as they are alike.
    pub template: Option<Template>,
}

/// Property lists longer than this are read anew each time.
pub const KNOWN_PROPERTIES_MAX: usize = 128;

pub struct Channel {
    pub number: u16,
    /// The client on this channel, as it asks the broker.
    pub caller: Caller,
    pub state: ChannelState,
    pub incoming: Incoming,
    pub last_publish: LastPublish,
    /// What it has deleted, and will be told when that has left.
    pub deleted: Option<Box<Deleted>>,
    /// Of a client whose permissions somebody else has.
    pub judged: Option<Box<Judged>>,
}

/// Something that was deleted, and what to answer.
pub struct Deleted {
    pub number: u64,
    pub done: Done<DeletedQueue>,
}

impl Channel {
    pub fn new(number: u16, caller: Caller) -> Self {
        let (incoming, last_publish) = (Incoming::Method, LastPublish::default());
        Self { number, caller, state: ChannelState::Open, incoming, last_publish, deleted: None, judged: None }
    }

    /// Nothing that comes on it is a command or a content any more.
    pub fn ignore_from_now(&mut self, state: ChannelState) {
        self.state = state;
        self.incoming = Incoming::Method;
        self.last_publish = LastPublish::default();
    }
}
