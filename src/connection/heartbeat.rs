//! A connection's deadlines: handshake, close, the end of its token, and heartbeats in both directions (AMQP 0-9-1 §4.2.7).
//!
//! A heartbeat is sent when nothing else was for half the interval. As RabbitMQ does, we look once an interval whether
//! the client sent anything; the second look in a row that finds nothing drops it without a close, as it is presumed
//! gone: two to three intervals after its last byte. Nobody looks while we don't read it.

use super::close::CloseReason;
use super::renewal::NEVER_MS;
use super::{Connection, Context, Phase};
use crate::broker::store::Store;

/// What a timer found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerOutcome {
    /// Call again at this time.
    At(u64),
    /// Nothing to wait for.
    Idle,
    /// The connection is over: close its socket now.
    Over,
    /// The token that let it in has expired: close it.
    Expired,
}

/// Looks in a row that find nothing after which a client is presumed gone.
const SILENT_LOOKS: u64 = 2;

impl Connection {
    /// When [`on_timer`](Self::on_timer) is to be called.
    pub fn next_timer_ms(&self) -> Option<u64> {
        if let Some(deadline_ms) = self.deadline_ms {
            return Some(deadline_ms);
        }
        if self.phase != Phase::Running {
            return None;
        }
        let heartbeat_ms = u64::from(self.heartbeat_s) * 1000;
        if heartbeat_ms == 0 {
            return (self.expires_ms != NEVER_MS).then_some(self.expires_ms);
        }
        let send_at = self.last_sent_ms + heartbeat_ms / 2;
        Some(send_at.min(self.presumed_gone_ms(heartbeat_ms)).min(self.expires_ms))
    }

    /// When a client that sends nothing more is dropped: the look after its last byte still finds that.
    fn presumed_gone_ms(&self, heartbeat_ms: u64) -> u64 {
        let looks_before = (self.last_received_ms - self.watched_from_ms) / heartbeat_ms;
        self.watched_from_ms + (looks_before + 1 + SILENT_LOOKS) * heartbeat_ms
    }

    /// Begins to look for silence, as if something had just come.
    pub(super) fn watch_from(&mut self, now_ms: u64) {
        self.watched_from_ms = now_ms;
        self.last_received_ms = now_ms;
    }

    /// So many bytes were written to the client's socket.
    pub fn note_sent(&mut self, count: usize, now_ms: u64) {
        self.traffic.sent_bytes += count as u64;
        self.last_sent_ms = now_ms;
    }

    /// It sent something that is left unread for now: whatever that is, it is no silence.
    pub fn note_unread(&mut self, now_ms: u64) {
        self.last_received_ms = now_ms;
    }

    /// It is not read for now, and not asked again before that is over.
    pub fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// It is to be read again.
    pub fn let_go_on(&mut self, now_ms: u64) {
        self.held_back = false;
        self.watch_from(now_ms);
    }

    pub fn is_held_back(&self) -> bool {
        self.held_back
    }

    pub fn on_timer<S: Store>(&mut self, context: &mut Context<'_, S>) -> TimerOutcome {
        let now_ms = context.now_ms;
        if let Some(deadline_ms) = self.deadline_ms {
            if now_ms < deadline_ms {
                return TimerOutcome::At(deadline_ms);
            }
            self.end(CloseReason::HandshakeTimeout, context);
            return TimerOutcome::Over;
        }
        if self.phase == Phase::Running && self.expires_ms <= now_ms {
            return TimerOutcome::Expired;
        }
        let heartbeat_ms = u64::from(self.heartbeat_s) * 1000;
        if heartbeat_ms > 0 && self.phase == Phase::Running {
            if self.blocked || self.held_back || self.has_command_waiting() {
                // What it sends isn't read, so its silence says nothing.
                self.watch_from(now_ms);
            }
            if self.presumed_gone_ms(heartbeat_ms) <= now_ms {
                self.release(context);
                self.end(CloseReason::MissedHeartbeats, context);
                return TimerOutcome::Over;
            }
            if self.last_sent_ms + heartbeat_ms / 2 <= now_ms {
                context.outboxes.heartbeat(self.id);
                self.last_sent_ms = now_ms;
            }
        }
        self.next_timer_ms().map_or(TimerOutcome::Idle, TimerOutcome::At)
    }
}
