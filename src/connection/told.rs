//! What the log says of a connection, in RabbitMQ's words where it has some.
//!
//! Its fields are for who reads the log as JSON: `connection`, `client_name`, `peer`, `user`, `vhost`, `protocol`. What a
//! client proves itself with is in none of them.

use super::close::CloseReason;
use super::{Connection, Phase};
use crate::protocol::{AmqpError, FieldValue};
use std::fmt;

/// What is spoken here.
const PROTOCOL: &str = "AMQP 0-9-1";

impl Connection {
    /// The name that the client gave itself.
    fn client_name(&self) -> Option<String> {
        match self.client_properties().get(b"connection_name") {
            Some(FieldValue::LongString(name)) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        }
    }

    pub(super) fn tell_opened(&self) {
        tracing::info!(
            target: "connection",
            connection = %self.name(),
            client_name = self.client_name(),
            peer = %self.peer,
            user = self.user(),
            vhost = &*self.vhost_name,
            protocol = PROTOCOL,
            "connection {}: user '{}' authenticated and granted access to vhost '{}'",
            Label(self),
            self.user().unwrap_or_default(),
            self.vhost_name
        );
    }

    /// The first bytes came. Who only looks whether anybody listens is told of when it goes.
    pub(super) fn tell_accepted(&self) {
        tracing::info!(
            target: "connection",
            connection = %self.name(),
            peer = %self.peer,
            protocol = PROTOCOL,
            "accepting AMQP connection {}",
            Label(self)
        );
    }

    /// `reason` is the client's.
    pub(super) fn tell_secret_updated(&self, reason: &[u8]) {
        tracing::info!(
            target: "connection",
            connection = %self.name(),
            user = self.user(),
            "connection {}: user '{}' updated secret, reason: {}",
            Label(self),
            self.user().unwrap_or_default(),
            String::from_utf8_lossy(reason)
        );
    }

    /// The client is gone, or is to go now. `how` says how it went where it didn't say so itself. A health check that says
    /// nothing and goes is worth a line only to who looks closely.
    pub fn tell_gone(&self, how: Option<&str>, now_ms: u64) {
        macro_rules! closing {
            ($level:expr, $($because:tt)+) => {
                tracing::event!(
                    target: "connection",
                    $level,
                    connection = %self.name(),
                    client_name = self.client_name(),
                    peer = %self.peer,
                    user = self.user(),
                    vhost = (!self.vhost_name.is_empty()).then_some(&*self.vhost_name),
                    protocol = PROTOCOL,
                    duration_ms = self.lasted_ms(now_ms),
                    "closing AMQP connection ({}){}",
                    Circumstances { of: self, now_ms },
                    format_args!($($because)+)
                )
            };
        }
        use tracing::Level;
        match (&self.close_reason, how) {
            (None, how) if self.traffic.received_bytes == 0 && self.phase == Phase::AwaitingHeader => {
                closing!(
                    Level::DEBUG,
                    ": it sent nothing{}{}",
                    if how.is_some() { ", " } else { "" },
                    how.unwrap_or_default()
                );
            }
            (None, how) => {
                closing!(Level::WARN, ": client unexpectedly closed TCP connection ({})", how.unwrap_or("lost"));
            }
            (Some(CloseReason::ByClient), _) => closing!(Level::INFO, ""),
            (Some(CloseReason::MissedHeartbeats), _) => {
                closing!(Level::WARN, ": missed heartbeats from client, timeout: {}s", self.heartbeat_s);
            }
            (Some(reason), _) => closing!(Level::INFO, ": {reason}"),
        }
    }

    pub(super) fn tell_channel_error(&self, channel_number: u16, error: &AmqpError) {
        tracing::warn!(
            target: "connection",
            connection = %self.name(),
            user = self.user(),
            vhost = &*self.vhost_name,
            channel = u64::from(channel_number),
            "Channel error on connection {} (vhost: '{}', user: '{}'), channel {channel_number}: {error}",
            Label(self),
            self.vhost_name,
            self.user().unwrap_or_default()
        );
    }

    pub(super) fn tell_error(&self, error: &dyn fmt::Display) {
        tracing::warn!(
            target: "connection",
            connection = %self.name(),
            user = self.user(),
            "Error on AMQP connection {} ({}): {error}",
            Label(self),
            State(self)
        );
    }

    /// `refusal` is about the user, and why.
    pub(super) fn tell_login_refused(&self, mechanism: &str, user: &str, refusal: &str) {
        tracing::warn!(
            target: "auth",
            connection = %self.name(),
            client_name = self.client_name(),
            peer = %self.peer,
            user,
            mechanism,
            protocol = PROTOCOL,
            "Error on AMQP connection {} (state: starting): {mechanism} login refused: {refusal}",
            Label(self)
        );
    }

    pub(super) fn tell_of_queue(&self, what: &str, queue: &[u8]) {
        tracing::debug!(
            target: "queue",
            connection = %self.name(),
            vhost = &*self.vhost_name,
            queue = %String::from_utf8_lossy(queue),
            "user '{}' {what} queue '{}' in vhost '{}'",
            self.user().unwrap_or_default(),
            String::from_utf8_lossy(queue),
            self.vhost_name
        );
    }

    fn lasted_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.traffic.connected_at_ms)
    }
}

/// `127.0.0.1:50000 -> 127.0.0.1:5672`, and after a dash the name that the client gave itself.
pub(super) struct Label<'a>(pub &'a Connection);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.0.peer, self.0.local)?;
        self.0.client_name().map_or(Ok(()), |name| write!(f, " - {name}"))
    }
}

/// How far it came.
struct State<'a>(&'a Connection);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.vhost_name.is_empty() {
            write!(f, "vhost: '{}', ", self.0.vhost_name)?;
        }
        if let Some(user) = self.0.user() {
            write!(f, "user: '{user}', ")?;
        }
        f.write_str("state: ")?;
        f.write_str(match self.0.phase {
            Phase::AwaitingTuneOk => "tuning",
            Phase::AwaitingOpen => "opening",
            Phase::Running => "running",
            Phase::Closing | Phase::Closed | Phase::Doomed => "closing",
            _ => "starting",
        })
    }
}

struct Circumstances<'a> {
    of: &'a Connection,
    now_ms: u64,
}

impl fmt::Display for Circumstances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Label(self.of).fmt(f)?;
        if !self.of.vhost_name.is_empty() {
            write!(f, ", vhost: '{}'", self.of.vhost_name)?;
        }
        if let Some(user) = self.of.user() {
            write!(f, ", user: '{user}'")?;
        }
        write!(f, ", duration: '{}'", Duration(self.of.lasted_ms(self.now_ms)))
    }
}

/// As RabbitMQ writes it: `12ms`, `5s`, `1M, 5s`, `2H, 1M, 5s`, `3D, 2H, 1M, 5s`.
struct Duration(u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, m, h, d) = (self.0 / 1000 % 60, self.0 / 60_000 % 60, self.0 / 3_600_000 % 24, self.0 / 86_400_000);
        match (d, h, m) {
            _ if self.0 < 1000 => write!(f, "{}ms", self.0),
            (0, 0, 0) => write!(f, "{s}s"),
            (0, 0, _) => write!(f, "{m}M, {s}s"),
            (0, ..) => write!(f, "{h}H, {m}M, {s}s"),
            _ => write!(f, "{d}D, {h}H, {m}M, {s}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_rabbitmq_does() {
        for (ms, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (65_000, "1M, 5s"),
            (3_600_000, "1H, 0M, 0s"),
            (3 * 86_400_000 + 7_265_000, "3D, 2H, 1M, 5s"),
        ] {
            assert_eq!(Duration(ms).to_string(), expected);
        }
    }
}
