//! One client's TCP stream: receive, send, close.
//!
//! It owns the descriptor and nothing else: buffers belong to the caller, and what the bytes mean is unknown here. It
//! never blocks, and retries calls that a signal interrupted.

use super::event_loop::delegate_source;
use mio::net::TcpStream;
use socket2::SockRef;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A connected client's stream, non-blocking, without Nagle's delay.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
}

/// How receiving went.
#[derive(Debug)]
pub enum Received {
    /// So many bytes, never 0, were put into the buffer. More may be waiting.
    Bytes(usize),
    /// Nothing is waiting; the poll will tell when that changes.
    WouldBlock,
    /// The peer ended its side in good order. There is nothing more to come.
    Closed,
    /// The stream broke (the peer reset it, or the network did).
    Failed(io::Error),
}

/// How sending went.
#[derive(Debug)]
pub enum Sent {
    /// So many bytes were taken, possibly fewer than offered.
    Bytes(usize),
    /// The peer does not read fast enough; the poll will tell when there is room.
    WouldBlock,
    /// The peer is gone.
    Closed,
    /// The stream broke in another way.
    Failed(io::Error),
}

delegate_source!(Socket, stream);

impl Socket {
    /// Takes an accepted stream over. `stream` must be non-blocking, as mio's are, and without Nagle's delay.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { stream, peer, local }
    }

    /// Receives into `buffer`, which must not be empty.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        debug_assert!(!buffer.is_empty(), "an empty buffer would look like the end of the stream");
        received(|| self.stream.read(buffer))
    }

    /// Appends at most `limit_bytes` to `body`, within the capacity it has, and puts what follows into `overflow`,
    /// with one system call. `Bytes` counts both: `body` has grown by the smaller of the count and its share.
    ///
    /// This is how a large body goes straight into the memory its message will keep while the frames behind it land
    /// in the shared buffer.
    pub fn receive_onto(&mut self, body: &mut Vec<u8>, limit_bytes: usize, overflow: &mut [u8]) -> Received {
        let length_before = body.len();
        let spare = body.spare_capacity_mut();
        let share = spare.len().min(limit_bytes);
        debug_assert!(share > 0 || !overflow.is_empty(), "empty buffers would look like the end of the stream");
        let parts = [
            libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: share },
            libc::iovec { iov_base: overflow.as_mut_ptr().cast(), iov_len: overflow.len() },
        ];
        let descriptor = self.stream.as_raw_fd();
        let outcome = received(|| {
            // SAFETY: `parts` names two regions that are exclusively borrowed for the whole call and valid for writes of
            // the lengths given: the first `share` bytes of the spare capacity, and `overflow`. The kernel only writes
            // to them, so the first one being uninitialised is fine. The descriptor is open: `self.stream` owns it.
            let count = unsafe { libc::readv(descriptor, parts.as_ptr(), parts.len() as libc::c_int) };
            usize::try_from(count).map_err(|_| io::Error::last_os_error())
        });
        if let Received::Bytes(count) = outcome {
            // SAFETY: readv fills its regions in order, so the first min(count, share) bytes of the spare capacity were
            // just written, and share is at most the spare capacity.
            unsafe { body.set_len(length_before + count.min(share)) };
        }
        outcome
    }

    /// Sends the beginning of `bytes`, which must not be empty.
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        sent(|| self.stream.write(bytes))
    }

    /// Like [`send`](Self::send), for the last bytes before our side is ended: the system keeps them back for a moment
    /// so that they leave in one packet with the end of the stream.
    pub fn send_last(&mut self, bytes: &[u8]) -> Sent {
        sent(|| SockRef::from(&self.stream).send_with_flags(bytes, libc::MSG_MORE | libc::MSG_NOSIGNAL))
    }

    /// Sends the beginning of `parts`, in order, with one system call. At most `IOV_MAX` (1024) parts are looked at.
    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        sent(|| self.stream.write_vectored(parts))
    }

    /// Says that nothing more will be sent; what was sent before still arrives. Receiving goes on.
    pub fn shutdown_send(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Makes dropping the socket reset the stream at once instead of closing it in good order: unsent bytes are thrown
    /// away and the peer sees a reset.
    pub fn set_linger_zero(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Who is at the other end.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// The address of ours that the client connected to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }
}

fn received(mut receive: impl FnMut() -> io::Result<usize>) -> Received {
    loop {
        match receive() {
            Ok(0) => return Received::Closed,
            Ok(count) => return Received::Bytes(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Received::WouldBlock,
                _ => return Received::Failed(error),
            },
        }
    }
}

fn sent(mut send: impl FnMut() -> io::Result<usize>) -> Sent {
    loop {
        match send() {
            Ok(count) => return Sent::Bytes(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Sent::WouldBlock,
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Sent::Closed,
                _ => return Sent::Failed(error),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clients in these tests are plain standard sockets")]
mod tests {
    use super::*;
    use crate::reactor::{Accepted, Listener};
    use std::net::TcpStream as Client;

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
            let (socket, client) = pair_through(listen);
            assert!(socket.stream.nodelay().unwrap());
            assert_eq!(socket.peer_address(), client.local_addr().unwrap());
            assert_eq!(socket.local_address(), client.peer_addr().unwrap());
        }
    }

    #[test]
    fn last_words_arrive_with_the_end_of_the_stream() {
        let (mut socket, mut client) = pair();
        assert!(matches!(socket.send_last(b"farewell"), Sent::Bytes(8)));
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
        assert!(matches!(socket.receive_onto(&mut body, 6, &mut overflow), Received::Bytes(10)));
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
        assert!(matches!(socket.receive_onto(&mut body, 1000, &mut []), Received::Bytes(count) if count == capacity));
        assert_eq!(body, b"0123456789"[..capacity]);
        assert_eq!(body.capacity(), capacity);
    }

    #[test]
    fn vectored_send_keeps_the_order_of_its_parts() {
        let (mut socket, mut client) = pair();
        assert!(matches!(socket.send_vectored(&[IoSlice::new(b"header "), IoSlice::new(b"body")]), Sent::Bytes(11)));
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
        assert!(matches!(socket.receive(&mut [0; 16]), Received::Bytes(10)));
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
}
