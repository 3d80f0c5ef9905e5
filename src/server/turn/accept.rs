//! New clients: who is let in, and when nobody is.

use super::{Door, Server, Way};
use crate::reactor::{Accepted, Socket};
use crate::server::vestibule::Vestibule;

/// Clients accepted in one turn from one listener, so that a storm of them leaves time for the others.
const ACCEPTS_PER_TURN: usize = 128;
/// How long accepting rests when no descriptor is left, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

impl Server {
    /// Lets in those who wait at the listeners, some of each.
    pub(super) fn accept(&mut self) {
        self.take_arrivals();
        if self.accept_again_at_ms.is_some_and(|at_ms| self.now_ms < at_ms) {
            return;
        }
        self.accept_again_at_ms = None;
        for index in 0..self.doors.len() {
            if self.accepting[index] {
                self.accept_from(index);
            }
        }
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

    fn accept_from(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Door { listener, way } = &mut self.doors[index];
            match listener.accept() {
                Accepted::Client(socket) => match (*way, &self.vestibule) {
                    (Way::ByVestibule { is_encrypted }, Some(vestibule)) => {
                        vestibule.entrance().let_in(socket, is_encrypted);
                    }
                    _ => self.welcome(socket),
                },
                Accepted::WouldBlock => {
                    self.accepting[index] = false;
                    return;
                }
                Accepted::OutOfDescriptors => {
                    tracing::warn!(target: "connection", "no descriptors left: turning clients away for {ACCEPT_PAUSE_MS} ms");
                    self.accept_again_at_ms = Some(self.now_ms + ACCEPT_PAUSE_MS);
                    return;
                }
                Accepted::Failed(error) => {
                    tracing::error!(target: "connection", "accepting failed: {error}");
                    self.accept_again_at_ms = Some(self.now_ms + ACCEPT_PAUSE_MS);
                    return;
                }
            }
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
