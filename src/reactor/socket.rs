//! One client's socket: its transport, and who is at both ends.
//!
//! It owns the connection's descriptor and nothing else: buffers belong to the caller, and what the bytes mean is unknown
//! here. What moving bytes comes to is the [transport](super::transport)'s to say.

use super::encrypted::Handshake;
use super::event_loop::delegate_source;
use super::proxy_header::{self, PROXY_HEADER_MAX_BYTES, ProxyHeader};
use super::transport::{Received, Sent, Transport};
use crate::tls::{Encryption, Session};
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;

/// A connected client.
#[derive(Debug)]
pub struct Socket {
    transport: Transport,
    peer: SocketAddr,
    local: SocketAddr,
}

delegate_source!(Socket, transport.stream_mut());

impl Socket {
    /// Takes an accepted stream over. `stream` must be non-blocking, as mio's are, and without Nagle's delay.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { transport: Transport::Plain(stream), peer, local }
    }

    /// Begins to connect to somebody: it is connected when it is writable and [has not failed](Self::take_error).
    #[allow(clippy::disallowed_methods, reason = "the one place that connects without waiting")]
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        // Whoever has no address yet is told one when it matters.
        let local = stream.local_addr().unwrap_or(to);
        Ok(Self::new(stream, to, local))
    }

    /// What became of connecting, if it failed. Without Nagle's delay from then on.
    pub fn take_error(&mut self) -> io::Result<()> {
        let stream = self.transport.stream_mut();
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        stream.peer_addr()?;
        stream.set_nodelay(true)
    }

    /// The client whose stream somebody else passes on: these are its own address and the one that it connected to.
    pub fn of_client(self, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer, local, ..self }
    }

    /// The stream alone, for who waits for it on a thread of its own. `None` when it is encrypted.
    pub fn into_blocking(self) -> io::Result<Option<std::net::TcpStream>> {
        let Transport::Plain(stream) = self.transport else { return Ok(None) };
        let stream = std::net::TcpStream::from(stream);
        stream.set_nonblocking(false)?;
        Ok(Some(stream))
    }

    /// The same client, spoken to over TLS from the next byte on: [`shake_hands`](Self::shake_hands) comes first.
    pub fn encrypt(self, session: Session) -> Self {
        Self { transport: self.transport.encrypt(session), ..self }
    }

    /// Takes what a proxy says of the client off the front of the stream: its addresses are the socket's from then on. To be
    /// called again at every edge until it is done, and before anything else is received.
    pub fn take_proxy_header(&mut self) -> Handshake {
        let mut bytes = [0; PROXY_HEADER_MAX_BYTES];
        let stream = self.transport.stream_mut();
        let seen = match stream.peek(&mut bytes) {
            Ok(0) => return Handshake::Failed("the client closed its socket".to_owned()),
            Ok(seen) => seen,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Handshake::Waits;
            }
            Err(error) => return Handshake::Failed(error.to_string()),
        };
        match proxy_header::parse(&bytes[..seen]) {
            ProxyHeader::Incomplete => Handshake::Waits,
            ProxyHeader::Malformed(why) => Handshake::Failed(why.to_owned()),
            ProxyHeader::Complete { length_bytes, addresses } => {
                if let Err(error) = stream.read_exact(&mut bytes[..length_bytes]) {
                    return Handshake::Failed(error.to_string());
                }
                if let Some((peer, local)) = addresses {
                    (self.peer, self.local) = (peer, local);
                }
                Handshake::Done
            }
        }
    }

    /// Goes on with the handshake of TLS. To be called again at every edge until it is done.
    pub fn shake_hands(&mut self) -> Handshake {
        self.transport.shake_hands()
    }

    /// How the connection is encrypted, if it is: known when the handshake is done.
    pub fn encryption(&self) -> Option<Encryption> {
        self.transport.encryption()
    }

    /// Receives into `buffer`, which must not be empty.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        debug_assert!(!buffer.is_empty(), "an empty buffer would look like the end of the stream");
        self.transport.receive(buffer)
    }

    /// Appends at most `limit_bytes` to `body`, within the capacity it has, and puts what follows into `overflow`. The
    /// count has both: `body` has grown by the smaller of it and its share.
    ///
    /// This is how a large body goes straight into the memory its message will keep while the frames behind it land
    /// in the shared buffer.
    pub fn receive_onto(&mut self, body: &mut Vec<u8>, limit_bytes: usize, overflow: &mut [u8]) -> Received {
        self.transport.receive_onto(body, limit_bytes, overflow)
    }

    /// Sends the beginning of `bytes`, which must not be empty.
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.transport.send(bytes)
    }

    /// Like [`send`](Self::send), for the last bytes before our side is ended: they are kept back for a moment, so that
    /// they leave in one packet with the end of the stream.
    pub fn send_last(&mut self, bytes: &[u8]) -> Sent {
        self.transport.send_last(bytes)
    }

    /// Sends the beginning of `parts`, in order. At most `IOV_MAX` (1024) parts are looked at.
    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        self.transport.send_vectored(parts)
    }

    /// Says that nothing more will be sent; what was sent before still arrives. Receiving goes on.
    pub fn shutdown_send(&mut self) -> io::Result<()> {
        self.transport.shutdown_send()
    }

    /// Makes dropping the socket reset the stream at once instead of closing it in good order: unsent bytes are thrown
    /// away and the peer sees a reset.
    pub fn set_linger_zero(&self) -> io::Result<()> {
        self.transport.set_linger_zero()
    }

    /// Lets the poll keep quiet until so many bytes are waiting, or the peer ends its side: 1 or more. Lowered, it makes
    /// the poll report what is waiting already.
    pub fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        self.transport.set_low_water(bytes)
    }

    /// Who is at the other end; behind a proxy that says so, the client.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// The address of ours that the client connected to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// Sends what a stream takes at once that somebody else's thread waits for: how many bytes that was.
///
/// # Errors
/// The system's; that it takes nothing at once is one.
pub fn send_without_waiting(stream: &std::net::TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket2::SockRef::from(stream).send_with_flags(bytes, libc::MSG_DONTWAIT)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clients in these tests are plain standard sockets")]
mod tests {
    use super::*;
    use crate::reactor::{Accepted, Listener};
    use socket2::SockRef;
    use std::io::Write;
    use std::net::TcpStream as Client;
    use std::time::Duration;

    /// A socket and the client at its other end. The client's bytes are on the loopback when its write returns, so
    /// these tests need no poll.
    fn pair() -> (Socket, Client) {
        pair_through("127.0.0.1:0")
    }

    fn pair_through(listen: &str) -> (Socket, Client) {
        let mut listener = Listener::bind(listen.parse().unwrap()).unwrap();
        let client = Client::connect(("127.0.0.1", listener.local_address().port())).unwrap();
        loop {
            match listener.accept() {
                Accepted::Client(socket) => return (socket, client),
                // It is connected, so it will be there; a plain standard listener would wait for it.
                Accepted::WouldBlock => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nagle_is_off_and_both_addresses_are_known() {
        for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
            let (mut socket, client) = pair_through(listen);
            assert!(socket.transport.stream_mut().nodelay().unwrap());
            assert_eq!(socket.peer_address(), client.local_addr().unwrap());
            assert_eq!(socket.local_address(), client.peer_addr().unwrap());
        }
    }

    #[test]
    fn last_words_arrive_with_the_end_of_the_stream() {
        let (mut socket, mut client) = pair();
        assert!(matches!(socket.send_last(b"farewell"), Sent::Bytes { count: 8, full: false }));
        drop(socket);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"farewell");
    }

    #[test]
    fn a_body_takes_its_share_and_the_rest_overflows() {
        let (mut socket, mut client) = pair();
        client.write_all(b"0123456789").unwrap();
        let mut body = Vec::with_capacity(64);
        body.push(b'>');
        let mut overflow = [0; 16];
        assert!(matches!(
            socket.receive_onto(&mut body, 6, &mut overflow),
            Received::Bytes { count: 10, drained: true }
        ));
        assert_eq!((&body[..], &overflow[..4]), (&b">012345"[..], &b"6789"[..]));
        assert!(matches!(socket.receive_onto(&mut body, 6, &mut overflow), Received::WouldBlock));
        assert_eq!(body, b">012345");
    }

    #[test]
    fn a_body_never_grows_past_its_capacity() {
        let (mut socket, mut client) = pair();
        client.write_all(b"0123456789").unwrap();
        let mut body = Vec::with_capacity(4);
        let capacity = body.capacity();
        assert!(
            matches!(socket.receive_onto(&mut body, 1000, &mut []), Received::Bytes { count, drained: false } if count == capacity)
        );
        assert_eq!(body, b"0123456789"[..capacity]);
        assert_eq!(body.capacity(), capacity);
    }

    #[test]
    fn vectored_send_keeps_the_order_of_its_parts() {
        let (mut socket, mut client) = pair();
        assert!(matches!(
            socket.send_vectored(&[IoSlice::new(b"header "), IoSlice::new(b"body")]),
            Sent::Bytes { count: 11, full: false }
        ));
        let mut received = [0; 11];
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"header body");
    }

    #[test]
    fn ending_our_side_leaves_the_other_open() {
        let (mut socket, mut client) = pair();
        socket.shutdown_send().unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        client.write_all(b"last words").unwrap();
        assert!(matches!(socket.receive(&mut [0; 16]), Received::Bytes { count: 10, drained: true }));
    }

    #[test]
    fn lingering_for_zero_seconds_resets_the_peer() {
        let (socket, mut client) = pair();
        socket.set_linger_zero().unwrap();
        drop(socket);
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_reset_by_the_peer_fails_receives_and_closes_sends() {
        let (mut socket, client) = pair();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let Received::Failed(error) = socket.receive(&mut [0; 8]) else { panic!("the stream was reset") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(socket.send(b"anybody there?"), Sent::Closed));
    }

    #[test]
    fn a_stream_is_drained_when_less_came_than_there_was_room_for() {
        let (mut socket, mut client) = pair();
        client.write_all(b"0123456789").unwrap();
        assert!(matches!(socket.receive(&mut [0; 4]), Received::Bytes { count: 4, drained: false }));
        let mut body = Vec::with_capacity(64);
        assert!(matches!(socket.receive_onto(&mut body, 2, &mut [0; 1]), Received::Bytes { count: 3, drained: false }));
        assert!(matches!(socket.receive_onto(&mut body, 2, &mut [0; 2]), Received::Bytes { count: 3, drained: true }));
    }

    #[test]
    fn a_stream_that_takes_only_a_part_is_full() {
        let chunk = vec![b'x'; 16 << 20];
        let (mut whole, _client) = pair();
        let (mut parts, _other) = pair();
        let (mut last, _third) = pair();
        let halves = [IoSlice::new(&chunk[..chunk.len() / 2]), IoSlice::new(&chunk[chunk.len() / 2..])];
        for sent in [whole.send(&chunk), parts.send_vectored(&halves), last.send_last(&chunk)] {
            assert!(matches!(sent, Sent::Bytes { count, full: true } if count < chunk.len()), "{sent:?}");
        }
    }
}
