//! Clients that rest: not read before several of their acknowledgements are waiting.
//!
//! A client that acknowledges one message at a time, each in a packet of its own, would wake the loop for each of them,
//! which costs both of them more than the message does. While all that it can say is acknowledgements, and it has more
//! than enough messages to go on with, its socket reports nothing before as many are waiting as [bring the next
//! messages][awaited].
//!
//! ```text
//!           its consumers are fast, and hold enough to go on with
//!   awake ────────────────────────────────────────────────────────────► resting
//!     ▲                                                                    │
//!     ├── it published, or a consumer holds little ◄───────────────────────┤
//!     └── nobody said anything for QUIET, or it did not for REST_MS ◄──────┘
//! ```
//!
//! So whatever else a client says waits for as long at most; and who rested in vain does not rest again soon.
//!
//! [awaited]: crate::broker::Broker::acknowledgements_awaited

use super::Server;
use crate::broker::ConnectionId;
use crate::connection::Connection;
use crate::server::clients::Sending;
use std::io;
use std::time::Duration;

/// Most clients that rest at a time: with more of them the loop has enough to read whenever it looks.
const RESTING_MAX: usize = 64;
/// Waiting for fewer acknowledgements is not worth it.
const ACKNOWLEDGEMENTS_MIN: usize = 4;
/// What `basic.ack` takes on the wire: a frame's header and end, class and method, delivery tag, flags.
const ACKNOWLEDGEMENT_BYTES: usize = 8 + 4 + 8 + 1;
/// How long the loop waits for those who rest while others speak, in milliseconds.
const REST_MS: u64 = 1;
/// How long it waits when nobody does: what the slowest of the fast takes for what is awaited.
const QUIET: Duration = Duration::from_micros(300);

/// Those who rest. Some are awake again, and one who fell asleep again is named twice until the next look.
#[derive(Default)]
pub struct Resting {
    ids: Vec<ConnectionId>,
    look_at_ms: u64,
}

impl Resting {
    pub fn next_deadline_ms(&self) -> Option<u64> {
        (!self.ids.is_empty()).then_some(self.look_at_ms)
    }
}

impl Server {
    /// A client was sent what there was for it: it may rest, or must not any more.
    pub(super) fn rest_or_wake(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let was_resting = client.rest.low_water_bytes > 0;
        let has_room = was_resting || self.resting.ids.len() < RESTING_MAX;
        let awaited = match self.hub.connections().get(id).is_some_and(Connection::has_published)
            || client.sending != Sending::Open
            || !has_room
        {
            true => 0,
            false => self.hub.broker().acknowledgements_awaited(id),
        };
        let low_water_bytes = if awaited < ACKNOWLEDGEMENTS_MIN { 0 } else { awaited * ACKNOWLEDGEMENT_BYTES };
        client.rest.set_low_water(&client.socket, low_water_bytes);
        if client.rest.low_water_bytes > 0 && !was_resting {
            if self.resting.ids.is_empty() {
                self.resting.look_at_ms = self.now_ms + REST_MS;
            }
            self.resting.ids.push(id);
        }
    }

    /// Waits for something to do. True when nobody said anything although somebody should have.
    pub(super) fn wait(&mut self) -> io::Result<bool> {
        let timeout = self.timeout();
        let is_awaited = !self.resting.ids.is_empty() || self.hub.broker().awaits_acknowledgements();
        if is_awaited && timeout != Some(Duration::ZERO) {
            return Ok(!self.poller.poll_briefly(QUIET)?);
        }
        self.poller.poll(timeout)?;
        Ok(false)
    }

    /// Wakes those who rest when it `is_quiet`, and otherwise those who said nothing for too long.
    pub(super) fn wake(&mut self, is_quiet: bool) {
        if is_quiet {
            self.hub.broker_mut().stop_awaiting_acknowledgements();
        } else if self.resting.next_deadline_ms().is_none_or(|look_at_ms| look_at_ms > self.now_ms) {
            return;
        }
        let Self { resting, clients, hub, now_ms, .. } = self;
        resting.look_at_ms = *now_ms + REST_MS;
        resting.ids.sort_unstable();
        resting.ids.dedup();
        resting.ids.retain(|id| {
            let Some(client) = clients.get_mut(*id) else { return false };
            let rests = client.rest.low_water_bytes > 0;
            if rests && (is_quiet || client.rest.read_at_ms + REST_MS < *now_ms) {
                client.rest.set_low_water(&client.socket, 0);
                hub.broker_mut().awaited_in_vain(*id);
            }
            client.rest.low_water_bytes > 0
        });
    }
}
