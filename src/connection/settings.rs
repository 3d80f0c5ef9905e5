//! What connections are configured with.

use super::login::Doorkeeper;
use super::sasl::Mechanism;
use crate::tls::LoginName;

/// Which product clients are told that they speak to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Product `Leveret`, our own version.
    Leveret,
    /// Product `RabbitMQ` and the version that we are compatible with, for clients that insist.
    RabbitMq,
}

pub struct Settings {
    pub identity: Identity,
    /// What the cluster is called if nobody gave it a name.
    pub cluster_name: String,
    /// How clients may log in, in the order in which that is offered.
    pub mechanisms: Vec<Mechanism>,
    /// Where in a client's certificate the name of its user is.
    pub certificate_name: LoginName,
    pub doorkeeper: Box<dyn Doorkeeper>,
    /// Channels to offer; 0 for as many as there are numbers.
    pub channel_max: u16,
    /// Frame size to offer, in bytes.
    pub frame_max: u32,
    /// The largest frame before another size is agreed on, in bytes.
    pub first_frame_max: u32,
    /// Largest body, in bytes.
    pub message_size_max: usize,
    /// Heartbeat to offer, in seconds.
    pub heartbeat_s: u16,
    pub handshake_timeout_ms: u64,
    /// How long a refused client waits for nothing: it makes guessing passwords slow.
    pub authentication_failure_delay_ms: u64,
}
