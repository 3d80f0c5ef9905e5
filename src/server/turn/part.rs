//! How we part with clients: in good order, late, or because they are gone.

use super::Server;
use crate::broker::ConnectionId;
use crate::connection::{CloseReason, Connection};
use crate::server::clients::Sending;

impl Server {
    /// The other side is gone.
    pub(super) fn lost(&mut self, id: ConnectionId, how: &str) {
        self.close(id, Some(how));
    }

    /// Everything was said. The socket stays open until the client hangs up, or its time is up: bytes of its that nobody
    /// read would make closing it a reset, which throws away what was said last.
    pub(super) fn finish(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.sending != Sending::Ended {
            client.sending = Sending::Ended;
            // If this fails the client is gone, and the next receive says so.
            let _ = client.socket.shutdown_send();
        }
    }

    /// Closes a socket whose client let its time run out. Who was silent is reset: the system would keep what it has taken,
    /// megabytes perhaps, for a client that doesn't read, and the end would wait behind it, so that a client that is merely
    /// stuck had no way of knowing. Who was told of a close before, and did not answer, still reads it.
    pub(super) fn close_late(&mut self, id: ConnectionId) {
        let reason = self.hub.connections().get(id).and_then(Connection::close_reason);
        if reason == Some(&CloseReason::MissedHeartbeats)
            && let Some(client) = self.clients.get_mut(id)
        {
            // If this fails the client is gone.
            let _ = client.socket.set_linger_zero();
        }
        self.close(id, None);
    }

    /// Closes a socket and gives back everything that its connection held.
    fn close(&mut self, id: ConnectionId, how: Option<&str>) {
        let Some(client) = self.clients.remove(id) else { return };
        if let Some(connection) = self.hub.connections().get(id) {
            connection.tell_gone(how, self.now_ms);
        }
        self.hub.disconnect(id);
        drop(client);
    }
}
