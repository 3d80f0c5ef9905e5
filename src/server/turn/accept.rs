//! New clients: who is let in, and when nobody is.

use super::{Server, Way};
use crate::reactor::Socket;
use crate::server::accepting::ACCEPTS_PER_TURN;
use crate::server::vestibule::Vestibule;

impl Server {
    /// Lets in those who wait at the doors, some of each.
    pub(super) fn accept(&mut self) {
        self.take_arrivals();
        let mut accepting = std::mem::take(&mut self.accepting);
        accepting.accept(self.now_ms, |way, socket| match (way, &self.vestibule) {
            (Way::ByVestibule { is_encrypted }, Some(vestibule)) => vestibule.entrance().let_in(socket, is_encrypted),
            _ => self.welcome(socket),
        });
        self.accepting = accepting;
    }

    /// Lets some of those in who speak AMQP by now.
    fn take_arrivals(&mut self) {
        self.more_arrivals = false;
        for taken in 1..=ACCEPTS_PER_TURN {
            let Some(socket) = self.vestibule.as_ref().and_then(Vestibule::next_arrival) else { return };
            self.welcome(socket);
            self.more_arrivals = taken == ACCEPTS_PER_TURN;
        }
    }

    fn welcome(&mut self, mut socket: Socket) {
        if self.hub.connections().count() >= self.connections_max {
            tracing::warn!(target: "connection", "{}: turned away: {} connections are open", socket.peer_address(), self.connections_max);
            return;
        }
        let peer = socket.peer_address();
        let id = self.hub.connect(peer, socket.local_address());
        if let Err(error) = self.poller.register(&mut socket, id.0 as usize) {
            tracing::error!(target: "connection", "{peer}: can't be polled: {error}");
            self.hub.disconnect(id);
            return;
        }
        let encryption = socket.encryption();
        self.clients.insert(id, socket);
        if let Some(encryption) = encryption {
            self.hub.connection_mut(id).encrypt(encryption);
            // What came with the end of the handshake is on no socket any more.
            self.clients.note_readable(id);
        }
    }
}
