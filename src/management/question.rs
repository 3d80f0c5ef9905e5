//! What management may ask of the loop, and what it is told: plain owned copies.
//!
//! A question changes nothing. It carries where its answer goes.

use super::Reply;
use crate::access::Tags;
use crate::broker::access_snapshot::{PermissionsSnapshot, TopicPermissionsSnapshot, UserSnapshot, VhostSnapshot};
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::{
    BindingSnapshot, ChannelSnapshot, ConsumerSnapshot, ExchangeSnapshot, Page, PageStart, PolicySnapshot,
    QueueFigures, QueueSnapshot, TotalsSnapshot,
};
use crate::broker::sums::{ChannelSums, QueueSums};
use crate::broker::{Durations, ExchangeFigures, QueueDurationsSnapshot, RouteTest, Totals, UserKey};
use crate::connection::Alarm;
use crate::protocol::{FieldTable, ShortString};
use crate::tls::Encryption;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is there, and how it is. Lists come a page at a time, from a slot on.
pub enum Question {
    /// Who somebody is that wants to be let in. The answer may take its time.
    LogIn(Login),
    Overview(Reply<Overview>),
    /// What is in the virtual host of that name.
    InVhost {
        vhost: Box<str>,
        question: VhostQuestion,
    },
    Queues {
        from: PageStart,
        reply: Reply<Page<Held<QueueSnapshot>>>,
    },
    /// What of each queue changes with every message.
    QueueFigures {
        from: PageStart,
        reply: Reply<Page<QueueFigures>>,
    },
    /// How long turns and messages took.
    Durations(Reply<Durations>),
    /// The same of messages of single queues, of those that were measured.
    QueueDurations {
        from: PageStart,
        reply: Reply<Page<QueueDurationsSnapshot>>,
    },
    /// What queues come to together, those of a page in one item; the same of channels, and of connections.
    SumOfQueues {
        from: PageStart,
        reply: Reply<Page<QueueSums>>,
    },
    SumOfChannels {
        from: PageStart,
        reply: Reply<Page<ChannelSums>>,
    },
    SumOfConnections {
        from: PageStart,
        reply: Reply<Page<ConnectionSums>>,
    },
    /// What went through each exchange that was published to.
    ExchangeFigures {
        from: PageStart,
        reply: Reply<Page<ExchangeFigures>>,
    },
    Exchanges {
        from: PageStart,
        reply: Reply<Page<ExchangeSnapshot>>,
    },
    Bindings {
        from: PageStart,
        reply: Reply<Page<BindingSnapshot>>,
    },
    Connections {
        from: PageStart,
        reply: Reply<Page<ConnectionSnapshot>>,
    },
    /// What went over each connection.
    ConnectionFigures {
        from: PageStart,
        reply: Reply<Page<ConnectionFigures>>,
    },
    Channels {
        from: PageStart,
        reply: Reply<Page<Held<ChannelSnapshot>>>,
    },
    Consumers {
        from: PageStart,
        reply: Reply<Page<Held<ConsumerSnapshot>>>,
    },
    Vhosts {
        from: PageStart,
        reply: Reply<Page<VhostSnapshot>>,
    },
    /// The names of those that the asker may enter.
    OpenVhosts {
        from: PageStart,
        reply: Reply<Page<Arc<str>>>,
    },
    Users {
        from: PageStart,
        reply: Reply<Page<UserSnapshot>>,
    },
    User {
        name: ShortString,
        reply: Reply<Option<UserSnapshot>>,
    },
    Permissions {
        from: PageStart,
        reply: Reply<Page<PermissionsSnapshot>>,
    },
    Policies {
        kind: PolicyKind,
        from: PageStart,
        reply: Reply<Page<PolicySnapshot>>,
    },
    TopicPermissions {
        from: PageStart,
        reply: Reply<Page<TopicPermissionsSnapshot>>,
    },
    /// All of them by name, with values that are JSON.
    GlobalParameters(Reply<Vec<(ShortString, Arc<str>)>>),
}

/// What is in a virtual host.
pub enum VhostQuestion {
    Itself(Reply<VhostSnapshot>),
    Queue {
        name: ShortString,
        reply: Reply<Option<Held<QueueSnapshot>>>,
    },
    Exchange {
        name: ShortString,
        reply: Reply<Option<ExchangeSnapshot>>,
    },
    /// What would become of a message, with properties in wire form.
    TestRoute {
        exchange: ShortString,
        routing_key: ShortString,
        properties: Box<[u8]>,
        reply: Reply<Option<RouteTest>>,
    },
    BindingsToQueue {
        name: ShortString,
        reply: Reply<Vec<BindingSnapshot>>,
    },
    BindingsToExchange {
        name: ShortString,
        reply: Reply<Vec<BindingSnapshot>>,
    },
    ConsumersOfQueue {
        queue: ShortString,
        from: PageStart,
        reply: Reply<Page<Held<ConsumerSnapshot>>>,
    },
    Policy {
        kind: PolicyKind,
        name: ShortString,
        reply: Reply<Option<PolicySnapshot>>,
    },
    /// `None`: the user may not enter it, or there is no such user.
    PermissionsOf {
        user: ShortString,
        reply: Reply<Option<PermissionsSnapshot>>,
    },
    TopicPermissionsOf {
        user: ShortString,
        reply: Reply<Vec<TopicPermissionsSnapshot>>,
    },
}

/// What somebody says to be let in.
pub struct Login {
    pub name: Vec<u8>,
    pub password: Vec<u8>,
    pub peer: IpAddr,
    /// The virtual host that it is about.
    pub vhost: Option<Box<str>>,
    pub reply: Reply<Result<Visitor, NotLetIn>>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotLetIn {
    /// Nobody has this name and this password.
    Unknown,
    /// The user may come from the broker's machine only.
    NotFromThere,
}

/// Somebody who is let in for one request.
#[derive(Clone)]
pub struct Visitor {
    pub user: UserKey,
    pub name: Arc<str>,
    pub tags: Arc<Tags>,
    /// The virtual host that the request is about, if it is about one.
    pub vhost: Option<(Box<str>, Sight)>,
}

/// What somebody sees of a virtual host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// There is none of that name.
    Missing,
    /// There is one that the user may not enter.
    Closed,
    Open,
}

/// How many of everything, and how the node is.
pub struct Overview {
    pub totals: TotalsSnapshot,
    /// Clients, those included that have not logged in.
    pub connections: usize,
    /// Why publishers are not read.
    pub alarm: Option<Alarm>,
    /// Room on the disk of the data folder, in bytes. `None` when the system doesn't tell.
    pub disk_free_bytes: Option<u64>,
    /// Room below which publishers are not read, in bytes.
    pub disk_free_limit_bytes: u64,
    /// Memory of messages above which publishers are not read, in bytes.
    pub memory_watermark_bytes: usize,
    /// Memory that messages take, and that messages and clients take, which is compared with that; in bytes.
    pub message_memory_bytes: usize,
    pub held_memory_bytes: usize,
    pub log: LogWrites,
    /// Since the start, in milliseconds.
    pub uptime_ms: u64,
    /// What went over connections that are gone.
    pub gone_connections: ConnectionSums,
}

/// What the writer of the log had done by its last batch since the start.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct LogWrites {
    /// Each is one write.
    pub batches: u64,
    pub bytes: u64,
    pub syncs: u64,
}

/// What several connections come to together.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct ConnectionSums {
    /// As [`ConnectionFigures`] has them.
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub channels: usize,
    /// Channels that something was published on.
    pub publishers: usize,
}

impl ConnectionSums {
    pub fn add(&mut self, other: &Self) {
        let Self { received_bytes, sent_bytes, channels, publishers } = self;
        *received_bytes += other.received_bytes;
        *sent_bytes += other.sent_bytes;
        *channels += other.channels;
        *publishers += other.publishers;
    }
}

impl Overview {
    /// What happened since the start.
    pub fn events(&self) -> &Totals {
        &self.totals.totals
    }

    pub fn memory_alarm(&self) -> bool {
        self.alarm.is_some_and(Alarm::is_of_memory)
    }

    pub fn disk_alarm(&self) -> bool {
        self.alarm.is_some_and(Alarm::is_of_disk)
    }
}

/// Something that belongs to a connection, or may.
pub struct Held<T> {
    pub item: T,
    pub holder: Option<ConnectionLabel>,
}

/// What tells a connection from others.
#[derive(Clone)]
pub struct ConnectionLabel {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub user: String,
}

impl ConnectionLabel {
    /// As RabbitMQ names connections.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.peer, self.local)
    }
}

/// What went over a connection since it is there.
#[derive(Clone, Copy)]
pub struct ConnectionFigures {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// On the loop's clock.
    pub connected_at_ms: u64,
    /// Bytes that came from it, but for the beginning of a frame whose end hasn't come.
    pub received_bytes: u64,
    /// Bytes that its socket took, not those that still wait.
    pub sent_bytes: u64,
}

pub struct ConnectionSnapshot {
    pub label: ConnectionLabel,
    /// `None` when it is not encrypted.
    pub encryption: Option<Arc<Encryption>>,
    /// `None` when it is closing.
    pub vhost: Option<Arc<str>>,
    pub state: ConnectionState,
    /// Those that are open, or wait for the client's close-ok.
    pub channels: usize,
    /// As agreed on with the client; 0 for no limit.
    pub channel_max: u16,
    /// Largest frame, in bytes, as agreed on.
    pub frame_max: u32,
    /// As agreed on, in seconds; 0 for no heartbeats.
    pub heartbeat_s: u16,
    pub client_properties: FieldTable,
    pub auth_mechanism: &'static str,
    pub figures: ConnectionFigures,
    /// Bytes that wait to be sent.
    pub send_pending: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionState {
    Running,
    /// It published during an alarm and is not read.
    Blocked,
    Closing,
}
