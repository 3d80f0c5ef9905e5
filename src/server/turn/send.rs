//! What waits for clients, out of their outboxes into their sockets.

use super::Server;
use crate::broker::ConnectionId;
use crate::connection::{CloseReason, Connection};
use crate::reactor::Sent;
use crate::server::clients::Sending;
use std::io::IoSlice;

/// Parts of an outbox that go to the system in one call.
const SEND_PARTS_MAX: usize = 64;

impl Server {
    /// Delivers and sends until there is nothing to do, or others have waited long enough.
    pub(super) fn pump_and_flush(&mut self) {
        while let Some(id) = self.hub.next_to_flush() {
            self.flush(id);
        }
    }

    /// Sends what waits for one client, as far as its socket takes it.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let reason = self.hub.connections().get(id).and_then(Connection::close_reason);
        let is_leaving = reason == Some(&CloseReason::ByClient);
        while client.sending == Sending::Open && self.hub.outboxes().get(id).is_sendable() {
            let outbox = self.hub.outboxes().get(id);
            let contiguous = outbox.contiguous();
            let sent = match contiguous {
                // The client asked for the close, and this is all that it should hear.
                Some(bytes) if is_leaving && bytes.len() == outbox.len() => client.socket.send_last(bytes),
                Some(bytes) => client.socket.send(bytes),
                None => {
                    let mut parts = [IoSlice::new(&[]); SEND_PARTS_MAX];
                    let filled = outbox.io_slices(&mut parts);
                    client.socket.send_vectored(&parts[..filled])
                }
            };
            match sent {
                Sent::Bytes { count, full } => {
                    self.hub.sent(id, count);
                    if full {
                        client.sending = Sending::Full;
                    }
                }
                Sent::WouldBlock => client.sending = Sending::Full,
                Sent::Closed => return self.lost(id, "the client closed its socket"),
                Sent::Failed(error) => return self.lost(id, &error.to_string()),
            }
        }
        self.rest_or_wake(id);
        if self.hub.outboxes().get(id).len() > self.outbox_max_bytes {
            return self.lost(id, "it doesn't read what it is sent");
        }
        if self.hub.outboxes().get(id).is_finished() {
            self.finish(id);
        }
    }
}
