//! The sockets of the connections, and which of them have something to read.

use crate::broker::ConnectionId;
use crate::reactor::Socket;
use std::collections::VecDeque;

/// What is known of a client's socket.
pub struct Client {
    pub socket: Socket,
    /// Bytes may be waiting: an edge said so, and no receive has drained the socket since.
    pub readable: bool,
    /// An edge said that the peer sends nothing more. There is no other edge for that, so a drained
    /// socket doesn't count: it stays readable until a receive says the same.
    pub ended: bool,
    /// In the list of those to be read.
    pub listed: bool,
    /// The socket is full; an edge will say when there is room.
    pub blocked_sending: bool,
    /// We ended our side of the stream and wait for the client's end, so that our last words aren't lost to a reset.
    pub we_ended: bool,
}

#[derive(Default)]
pub struct Clients {
    clients: Vec<Option<Client>>,
    /// Those that may have bytes waiting, each once, in the order in which they get their turn.
    to_read: VecDeque<ConnectionId>,
}

impl Clients {
    pub fn insert(&mut self, id: ConnectionId, socket: Socket) {
        let index = id.0 as usize;
        if self.clients.len() <= index {
            self.clients.resize_with(index + 1, || None);
        }
        self.clients[index] = Some(Client {
            socket,
            readable: false,
            ended: false,
            listed: false,
            blocked_sending: false,
            we_ended: false,
        });
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Client> {
        self.clients.get_mut(id.0 as usize)?.take()
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Client> {
        self.clients.get_mut(id.0 as usize)?.as_mut()
    }

    /// Lists a client that may have bytes waiting.
    pub fn list(&mut self, id: ConnectionId) {
        if let Some(client) = self.get_mut(id)
            && client.readable
            && !client.listed
        {
            client.listed = true;
            self.to_read.push_back(id);
        }
    }

    pub fn to_read_len(&self) -> usize {
        self.to_read.len()
    }

    /// The next client to read, no longer listed.
    pub fn next_to_read(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.to_read.pop_front()?;
            // It may be gone, or gone and come again, since it was listed.
            if let Some(client) = self.get_mut(id)
                && client.listed
            {
                client.listed = false;
                return Some(id);
            }
        }
    }
}
