//! How a client's bytes cross the wire.
//!
//! It never blocks, retries calls that a signal interrupted, and says itself when it can do no more for now, because only it
//! knows: a short read of a plain stream means that nothing waits behind it, and that of an encrypted one means nothing.
//!
//! **Receiving.** Until a transport says `drained`, or that it would block, more may be waiting, and no edge of the poll
//! tells so again: whoever stops before that must come back by himself. After it an edge comes with the next bytes. It does
//! not speak of the end of the stream: whoever was told by the poll that the peer ended receives until that is `Closed`.
//!
//! **Sending.** When a transport says `full`, or that it would block, it is not to be sent anything before an edge says
//! that there is room. Otherwise it took all that was offered.

use super::encrypted::{Encrypted, Handshake};
use crate::tls::{Encryption, Session};
use mio::net::TcpStream;
use socket2::SockRef;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A connected stream, non-blocking, without Nagle's delay.
#[derive(Debug)]
pub(super) enum Transport {
    /// The bytes are sent as they are. Each call is one system call.
    Plain(TcpStream),
    /// Each call is one system call, too, unless something is left from the one before.
    Tls(Box<Encrypted>),
}

/// How receiving went.
#[derive(Debug)]
pub enum Received {
    /// So many bytes were put into the buffer: never 0, unless what came was TLS's own.
    Bytes {
        count: usize,
        /// Nothing more is waiting; the poll will tell when that changes.
        drained: bool,
    },
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
    /// So many bytes were taken.
    Bytes {
        count: usize,
        /// No more are taken; the poll will tell when there is room.
        full: bool,
    },
    /// The peer does not read fast enough; the poll will tell when there is room.
    WouldBlock,
    /// The peer is gone.
    Closed,
    /// The stream broke in another way.
    Failed(io::Error),
}

impl Transport {
    /// What the poll watches.
    pub fn stream_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(encrypted) => encrypted.stream_mut(),
        }
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(encrypted) => encrypted.stream(),
        }
    }

    /// The same stream, encrypted from its next byte on: the handshake is to be gone on with.
    pub fn encrypt(self, session: Session) -> Self {
        match self {
            Self::Plain(stream) => Self::Tls(Box::new(Encrypted::new(stream, session))),
            Self::Tls(_) => self,
        }
    }

    /// Goes on with the handshake. A plain stream has none.
    pub fn shake_hands(&mut self) -> Handshake {
        match self {
            Self::Plain(_) => Handshake::Done,
            Self::Tls(encrypted) => encrypted.shake_hands(),
        }
    }

    /// How it is encrypted, if it is.
    pub fn encryption(&self) -> Option<Encryption> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(encrypted) => encrypted.encryption(),
        }
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self {
            Self::Plain(stream) => received(buffer.len(), || stream.read(buffer)),
            Self::Tls(encrypted) => encrypted.receive(buffer),
        }
    }

    pub fn receive_onto(&mut self, body: &mut Vec<u8>, limit_bytes: usize, overflow: &mut [u8]) -> Received {
        match self {
            Self::Plain(stream) => receive_plain_onto(stream, body, limit_bytes, overflow),
            Self::Tls(encrypted) => encrypted.receive_onto(body, limit_bytes, overflow),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        match self {
            Self::Plain(stream) => sent(bytes.len(), || stream.write(bytes)),
            Self::Tls(encrypted) => encrypted.send(bytes),
        }
    }

    pub fn send_last(&mut self, bytes: &[u8]) -> Sent {
        const FLAGS: i32 = libc::MSG_MORE | libc::MSG_NOSIGNAL;
        match self {
            Self::Plain(stream) => sent(bytes.len(), || SockRef::from(&*stream).send_with_flags(bytes, FLAGS)),
            Self::Tls(encrypted) => encrypted.send(bytes),
        }
    }

    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        match self {
            Self::Plain(stream) => {
                let offered = parts.iter().map(|part| part.len()).sum();
                sent(offered, || stream.write_vectored(parts))
            }
            Self::Tls(encrypted) => encrypted.send_vectored(parts),
        }
    }

    pub fn shutdown_send(&mut self) -> io::Result<()> {
        if let Self::Tls(encrypted) = self {
            encrypted.send_end();
        }
        self.stream().shutdown(Shutdown::Write)
    }

    pub fn set_linger_zero(&self) -> io::Result<()> {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO))
    }

    pub fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let (descriptor, value) = (self.stream().as_raw_fd(), (&raw const bytes).cast());
        // SAFETY: `value` points to `length` bytes that live until the call returns, and the kernel only reads them. The
        // descriptor is open: `self` owns its stream.
        let outcome = unsafe { libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, length) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Receives with one system call into two places.
fn receive_plain_onto(stream: &TcpStream, body: &mut Vec<u8>, limit_bytes: usize, overflow: &mut [u8]) -> Received {
    let length_before = body.len();
    let spare = body.spare_capacity_mut();
    let share = spare.len().min(limit_bytes);
    debug_assert!(share > 0 || !overflow.is_empty(), "empty buffers would look like the end of the stream");
    let parts = [
        libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: share },
        libc::iovec { iov_base: overflow.as_mut_ptr().cast(), iov_len: overflow.len() },
    ];
    let descriptor = stream.as_raw_fd();
    let outcome = received(share + overflow.len(), || {
        // SAFETY: `parts` names two regions that are exclusively borrowed for the whole call and valid for writes of
        // the lengths given: the first `share` bytes of the spare capacity, and `overflow`. The kernel only writes
        // to them, so the first one being uninitialised is fine. The descriptor is open: `stream` owns it.
        let count = unsafe { libc::readv(descriptor, parts.as_ptr(), parts.len() as libc::c_int) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    });
    if let Received::Bytes { count, .. } = outcome {
        // SAFETY: readv fills its regions in order, so the first min(count, share) bytes of the spare capacity were
        // just written, and share is at most the spare capacity.
        unsafe { body.set_len(length_before + count.min(share)) };
    }
    outcome
}

/// `room` is that of the buffer: the system fills it as far as it can.
pub(super) fn received(room: usize, mut receive: impl FnMut() -> io::Result<usize>) -> Received {
    loop {
        match receive() {
            Ok(0) => return Received::Closed,
            Ok(count) => return Received::Bytes { count, drained: count < room },
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Received::WouldBlock,
                _ => return Received::Failed(error),
            },
        }
    }
}

/// Of what was `offered` the system takes as much as there is room for.
pub(super) fn sent(offered: usize, mut send: impl FnMut() -> io::Result<usize>) -> Sent {
    loop {
        match send() {
            Ok(count) => return Sent::Bytes { count, full: count < offered },
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Sent::WouldBlock,
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Sent::Closed,
                _ => return Sent::Failed(error),
            },
        }
    }
}
