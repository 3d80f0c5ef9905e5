//! One client without I/O: bytes to commands, effects to bytes.
//!
//! [`Connection::receive`] is given bytes as they arrive and calls the broker; what the client must be told is appended
//! to its `outbox`. No socket, no clock, no system call: time is an argument, and whoever owns the socket moves the
//! bytes.
//!
//! | file | owns |
//! |---|---|
//! | `receive` | frames: where they end, whose they are, what is left over |
//! | `handshake`, `sasl`, `login` | from the protocol header to an open virtual host |
//! | `renewal` | a token that follows another one |
//! | `dispatch`, `dispatch_basic` | methods to the broker's commands and their answers |
//! | `assemble` | the contents of publishes that come in pieces |
//! | `publish` | the shortest way of a publish from receive buffer to broker |
//! | `readdress` | a nearly as short one for a publish to the same exchange with another key |
//! | `close` | exceptions, and how channels and connections end |
//! | `heartbeat` | deadlines |
//! | `channel` | what a channel expects next, and its last publish |
//! | `outbox`, `delivery`, `lane` | what waits to be sent, and how deliveries are written |
//! | `scarcity` | how much may wait, for all of them together |
//! | `settings` | limits, and how the broker introduces itself |

mod assemble;
mod channel;
mod close;
mod delivery;
mod dispatch;
mod dispatch_basic;
mod handshake;
mod heartbeat;
mod judged;
mod lane;
mod login;
mod outbox;
mod publish;
mod readdress;
mod receive;
mod renewal;
mod sasl;
mod scarcity;
mod settings;
mod told;

pub use close::CloseReason;
pub use handshake::Greeting;
pub use heartbeat::TimerOutcome;
pub use login::{Claim, Doorkeeper, LoginRequest, LoginTicket, Refusal, Verdict};
pub use outbox::{Outbox, Outboxes};
pub use sasl::{Credentials, Mechanism};
pub use scarcity::SCARCE_HIGH_WATER_BYTES;
pub use settings::{Identity, Settings};

use crate::broker::memory::ClientHolding;
use crate::broker::store::Store;
use crate::broker::{Broker, ClientDetails, ConnectionId, ExchangeId, QueueKey, UserKey, VhostId};
use crate::protocol::FieldTable;
use crate::tls::Encryption;
use channel::{Channel, ChannelState};
// From `core`, which has addresses and no sockets.
use core::net::SocketAddr;
use std::sync::Arc;

/// What a connection works with while it handles bytes or a timer.
pub struct Context<'a, S: Store> {
    pub broker: &'a mut Broker<S>,
    pub outboxes: &'a mut Outboxes,
    pub settings: &'a Settings,
    /// That of the settings.
    pub greeting: &'a Greeting,
    /// Logins that were asked for so far: no two have the same number.
    pub logins: &'a mut u64,
    /// The caller's clock, in milliseconds.
    pub now_ms: u64,
    /// Why publishers are not read at the moment.
    pub alarm: Option<Alarm>,
}

/// A resource that ran low.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    Memory,
    Disk,
    MemoryAndDisk,
}

impl Alarm {
    /// The alarm for what is low, if anything is.
    pub fn of(memory: bool, disk: bool) -> Option<Self> {
        match (memory, disk) {
            (false, false) => None,
            (true, false) => Some(Self::Memory),
            (false, true) => Some(Self::Disk),
            (true, true) => Some(Self::MemoryAndDisk),
        }
    }

    pub fn is_of_memory(self) -> bool {
        self != Self::Disk
    }

    pub fn is_of_disk(self) -> bool {
        self != Self::Memory
    }

    /// The reason in `connection.blocked`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Memory => "low on memory",
            Self::Disk => "low on disk",
            Self::MemoryAndDisk => "low on memory & disk",
        }
    }
}

/// Since when a client is connected, and what went over its socket since.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// On the caller's clock.
    pub connected_at_ms: u64,
    /// Read from the socket, but for the beginning of a frame whose end hasn't come.
    pub received_bytes: u64,
    /// Taken by the socket, not what still waits in the outbox.
    pub sent_bytes: u64,
}

/// How far a connection has come.
///
/// ```text
/// AwaitingHeader ─► AwaitingStartOk ─┬──────────────────────►┬─ AwaitingLogin ─► AwaitingTuneOk ─► AwaitingOpen ─► Running
///                                    └─► AwaitingSecureOk ───┘
///
/// a handshake out of turn; a refused login, if the client takes no close for it ──► Doomed
/// a refused login or virtual host, an exception, an end that we want ──► Closing ── close-ok ──► Closed
/// another protocol; the client's own close; what is no method ──► Closed
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing but the eight bytes of a protocol header may come.
    AwaitingHeader,
    AwaitingStartOk,
    /// It was asked for a password.
    AwaitingSecureOk,
    /// Whether it is let in is being found out. What still comes is kept.
    AwaitingLogin,
    AwaitingTuneOk,
    AwaitingOpen,
    Running,
    /// We sent `connection.close`: everything but its answer is ignored.
    Closing,
    /// To be dropped without a word at the deadline; what still comes is ignored.
    Doomed,
    /// Over once the outbox is sent and the client hung up, or at the deadline; what still comes is ignored.
    Closed,
}

pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    local: SocketAddr,
    /// `None` when it is not encrypted.
    encryption: Option<Arc<Encryption>>,
    phase: Phase,
    /// The beginning of a frame whose end hasn't arrived.
    partial: Vec<u8>,
    /// Its room.
    partial_memory: ClientHolding,
    /// A large frame that is being received straight into its message, or is ignored.
    streaming: Option<receive::Streaming>,
    /// Open channels, by rising number.
    #[expect(clippy::vec_box, reason = "most connections have one channel, and a vector makes room for four at once")]
    channels: Vec<Box<Channel>>,
    /// Some of them were closed by what is being received.
    has_closed_channels: bool,
    /// The index of the channel of the last frame: the next one is most often its.
    last_channel: usize,
    channel_max: u16,
    frame_max: u32,
    heartbeat_s: u16,
    /// From the first that it said of who it is, until that is known.
    login: Option<Box<login::Login>>,
    user: Option<login::LoggedIn>,
    /// Where it was let in, for the log; empty before.
    vhost_name: Box<str>,
    /// How the user logged in; empty before.
    auth_mechanism: &'static str,
    /// As on the wire, without their length: they are kept for as long as the client stays, and seldom asked for.
    client_properties: Box<[u8]>,
    capabilities: Capabilities,
    traffic: Traffic,
    /// When it last sent anything, and was last written to.
    last_received_ms: u64,
    last_sent_ms: u64,
    /// Looks for its silence are counted from here; not after `last_received_ms`.
    watched_from_ms: u64,
    /// When a handshake, a close or a doom runs out.
    deadline_ms: Option<u64>,
    /// When the token that let it in expires.
    expires_ms: u64,
    /// It published during an alarm: its socket is not read.
    blocked: bool,
    /// It was told so by `connection.blocked`.
    told_blocked: bool,
    /// It published with what it sent last.
    published: bool,
    /// What it sent waits unread until memory is no longer low.
    held_back: bool,
    /// What its next command has to wait for: nothing is handled before.
    awaits: Option<Awaited>,
    close_reason: Option<CloseReason>,
    /// Whoever hears of events was told that it is gone.
    told_closed: bool,
}

/// What a command has to wait for.
enum Awaited {
    /// The head of this queue, on its way back to memory.
    HeadOf(QueueKey),
    /// The client to read what waits for it.
    Room,
    /// This exchange to have told others what it keeps.
    Teller(VhostId, ExchangeId),
    /// A turn in which more may be done: it did some of what it is to do.
    NextTurn,
    /// What its closed channels left behind to be back.
    LeftBehind,
    /// All to be gone that was deleted up to this number.
    Leavers(u64),
    /// The doorkeeper to say what it makes of a token, or whether the command may be given.
    Verdict,
}

/// What the client announced that it understands.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Capabilities {
    authentication_failure_close: bool,
    connection_blocked: bool,
    /// It takes us, by our product, for a broker of the specification's `basic.qos`: see the handshake.
    reads_qos_as_specified: bool,
}

/// Channels that a connection is given room for at first.
const CHANNELS_AT_FIRST: usize = 1;

impl Connection {
    /// A client that just connected from `peer` to `local`. Its outbox must be open.
    pub fn new(id: ConnectionId, peer: SocketAddr, local: SocketAddr, settings: &Settings, now_ms: u64) -> Self {
        Self {
            id,
            peer,
            local,
            encryption: None,
            phase: Phase::AwaitingHeader,
            partial: Vec::new(),
            partial_memory: ClientHolding::default(),
            streaming: None,
            channels: Vec::with_capacity(CHANNELS_AT_FIRST),
            has_closed_channels: false,
            last_channel: 0,
            channel_max: settings.channel_max,
            frame_max: settings.first_frame_max,
            heartbeat_s: 0,
            login: None,
            user: None,
            vhost_name: Box::default(),
            auth_mechanism: "",
            client_properties: Box::default(),
            capabilities: Capabilities::default(),
            traffic: Traffic { connected_at_ms: now_ms, received_bytes: 0, sent_bytes: 0 },
            last_received_ms: now_ms,
            last_sent_ms: now_ms,
            watched_from_ms: now_ms,
            deadline_ms: Some(now_ms + settings.handshake_timeout_ms),
            expires_ms: renewal::NEVER_MS,
            blocked: false,
            told_blocked: false,
            published: false,
            held_back: false,
            awaits: None,
            close_reason: None,
            told_closed: false,
        }
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// It came over TLS: to be said before it is heard.
    pub fn encrypt(&mut self, encryption: Encryption) {
        self.encryption = Some(Arc::new(encryption));
    }

    /// How it is encrypted, if it is.
    pub fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.encryption.as_ref()
    }

    /// The name of the user that it logged in as.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| &*user.name)
    }

    /// The user that it logged in as, and that may be deleted since; with a token, once it is in a virtual host.
    pub fn user_key(&self) -> Option<UserKey> {
        match self.user.as_ref()?.who {
            login::Who::User(user) => Some(user),
            login::Who::Bearer(_) => None,
        }
    }

    /// The SASL mechanism that the user logged in with; empty before.
    pub fn auth_mechanism(&self) -> &'static str {
        self.auth_mechanism
    }

    /// `127.0.0.1:50000 -> 127.0.0.1:5672`, as RabbitMQ names connections.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.peer, self.local)
    }

    pub fn client_properties(&self) -> FieldTable {
        FieldTable::decode_entries(&self.client_properties).unwrap_or_default()
    }

    /// Limits as negotiated: channels, frame size in bytes, heartbeat in seconds.
    pub fn tuning(&self) -> (u16, u32, u16) {
        (self.channel_max, self.frame_max, self.heartbeat_s)
    }

    /// What events tell of the client.
    fn details(&self) -> ClientDetails {
        ClientDetails {
            name: self.name(),
            peer: self.peer,
            local: self.local,
            encryption: self.encryption.clone(),
            client_properties: self.client_properties(),
            auth_mechanism: self.auth_mechanism,
            channel_max: self.channel_max,
            frame_max: self.frame_max,
            heartbeat_s: self.heartbeat_s,
            connected_at_ms: self.traffic.connected_at_ms,
        }
    }

    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub fn channel_count(&self) -> usize {
        self.channel_counts().0
    }

    /// As [`channel_count`](Self::channel_count), and on how many of those something was published.
    pub fn channel_counts(&self) -> (usize, usize) {
        let open = self.channels.iter().filter(|channel| channel.state != ChannelState::Closed);
        open.fold((0, 0), |(channels, publishers), channel| {
            (channels + 1, publishers + usize::from(!channel.last_publish.method_frame.is_empty()))
        })
    }

    /// Its socket isn't to be read: it published during an alarm.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether it published with what it sent last.
    pub fn has_published(&self) -> bool {
        self.published
    }

    /// Why it ended, once it did.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_ref()
    }
}
