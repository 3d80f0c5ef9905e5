//! A stream whose bytes are encrypted: a socket, its TLS session, and what lies between the two.
//!
//! Records are read into, and written from, buffers that all streams of a thread share. A stream keeps for itself only what
//! could not be done with at once, and gives its room back afterwards:
//!
//! ```text
//! socket ─► shared buffer ─► session ─► the caller's buffer
//!               └ held: the beginning of a record     └ surplus: what the caller had no room for
//!
//! the caller's bytes ─► session ─► shared buffer ─► socket
//!                                       └ unsent: what the socket did not take
//! ```
//! Bytes that were encrypted count as sent only when the socket took their last record: until then their owner keeps them,
//! and offers them again, as with a plain stream. So what waits for a client is counted in one place.

use super::transport::{Received, Sent, received, sent};
use crate::tls::{
    Encryption, MESSAGE_MAX_BYTES, Outgoing, RECORD_MAX_BYTES, RECORD_PLAIN_BYTES, Session, handshake_failure,
};
use mio::net::TcpStream;
use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};

/// Bytes of the wire that are read at once, beside what is held.
const READ_MAX_BYTES: usize = 256 << 10;
/// Plain bytes that are encrypted and sent with one system call: as many records of the largest size.
const SEND_MAX_BYTES: usize = 8 * RECORD_PLAIN_BYTES;
/// Parts of them, at most.
const SEND_PARTS_MAX: usize = 64;
/// What a client may send in a handshake, in bytes.
const HANDSHAKE_MAX_BYTES: usize = 2 * MESSAGE_MAX_BYTES;
/// What a stream may hold of records that are not whole, or not whole messages of TLS.
const HELD_MAX_BYTES: usize = MESSAGE_MAX_BYTES + RECORD_MAX_BYTES;

/// What is said of a stream whose end TLS did not announce.
const CUT_SHORT: &str = "its TLS stream was cut short";

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

/// What all streams of a thread share. It grows when the first of them is used.
#[derive(Default)]
struct Shared {
    incoming: Vec<u8>,
    outgoing: Outgoing,
}

#[derive(Debug)]
pub(super) struct Encrypted {
    stream: TcpStream,
    session: Session,
    /// What came and is no whole record, or no whole message of TLS.
    held: Vec<u8>,
    /// Plain bytes that nobody had room for, and how many of them were taken since.
    surplus: Vec<u8>,
    surplus_taken: usize,
    /// The client said that nothing more will come.
    ended: bool,
    /// Bytes for the wire that the socket did not take, and how many of them it took since.
    unsent: Vec<u8>,
    unsent_taken: usize,
    /// Plain bytes of its owner's that are among them, and that the owner still offers.
    ahead: usize,
    /// What came over the wire until the handshake was done.
    handshake_bytes: usize,
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Handshake {
    /// The client's next words, or room for ours, will be an edge.
    Waits,
    Done,
    /// Why there will be none.
    Failed(String),
}

impl Encrypted {
    pub fn new(stream: TcpStream, session: Session) -> Self {
        Self {
            stream,
            session,
            held: Vec::new(),
            surplus: Vec::new(),
            surplus_taken: 0,
            ended: false,
            unsent: Vec::new(),
            unsent_taken: 0,
            ahead: 0,
            handshake_bytes: 0,
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub fn encryption(&self) -> Option<Encryption> {
        self.session.encryption().cloned()
    }

    /// Goes on with the handshake, as far as it can go now.
    pub fn shake_hands(&mut self) -> Handshake {
        SHARED.with_borrow_mut(|shared| {
            loop {
                match self.send_unsent() {
                    Ok(true) => {}
                    Ok(false) => return Handshake::Waits,
                    Err(error) => return Handshake::Failed(error.to_string()),
                }
                if !self.session.is_handshaking() {
                    return Handshake::Done;
                }
                let count = match self.read_wire(shared, RECORD_MAX_BYTES) {
                    Received::Bytes { count, .. } => count,
                    Received::WouldBlock => return Handshake::Waits,
                    Received::Closed => return Handshake::Failed("the client closed its socket".to_owned()),
                    Received::Failed(error) => return Handshake::Failed(error.to_string()),
                };
                let is_first = self.handshake_bytes == 0;
                self.handshake_bytes += count;
                if self.handshake_bytes > HANDSHAKE_MAX_BYTES {
                    return Handshake::Failed("its handshake is too long".to_owned());
                }
                if is_first && shared.incoming.starts_with(b"AMQP") {
                    return Handshake::Failed("it speaks AMQP without TLS: this port is for AMQP over TLS".to_owned());
                }
                let filled = self.held.len() + count;
                let surplus = &mut self.surplus;
                match open(&mut self.session, shared, filled, |plain| surplus.extend_from_slice(plain)) {
                    Ok((consumed, ended)) => {
                        self.ended |= ended;
                        self.hold(&shared.incoming[consumed..filled]);
                        self.unsent.extend_from_slice(shared.outgoing.bytes());
                    }
                    Err(error) => {
                        // The client is told why, if it is there to hear it.
                        let _ = self.stream.write(shared.outgoing.bytes());
                        return Handshake::Failed(handshake_failure(&error));
                    }
                }
            }
        })
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let mut filled = 0;
        let room = buffer.len();
        self.receive_into(room, |plain| {
            let count = plain.len().min(room - filled);
            buffer[filled..filled + count].copy_from_slice(&plain[..count]);
            filled += count;
            count
        })
    }

    pub fn receive_onto(&mut self, body: &mut Vec<u8>, limit_bytes: usize, overflow: &mut [u8]) -> Received {
        let mut share = limit_bytes.min(body.capacity() - body.len());
        let mut filled = 0;
        self.receive_into(share + overflow.len(), |plain| {
            let own = plain.len().min(share);
            body.extend_from_slice(&plain[..own]);
            share -= own;
            let rest = plain.len().min(own + overflow.len() - filled) - own;
            overflow[filled..filled + rest].copy_from_slice(&plain[own..own + rest]);
            filled += rest;
            own + rest
        })
    }

    /// Receives once. `put` takes as much of what it is given as it has room for, which is `room` in all.
    fn receive_into(&mut self, room: usize, mut put: impl FnMut(&[u8]) -> usize) -> Received {
        if self.surplus_taken < self.surplus.len() {
            let count = put(&self.surplus[self.surplus_taken..]);
            self.surplus_taken += count;
            if self.surplus_taken == self.surplus.len() {
                (self.surplus, self.surplus_taken) = (Vec::new(), 0);
            }
            return Received::Bytes { count, drained: false };
        }
        if self.ended {
            return Received::Closed;
        }
        SHARED.with_borrow_mut(|shared| {
            // What is in so many bytes is never more than they are: with room for a record, there is room for all.
            let most = room.max(RECORD_MAX_BYTES).saturating_sub(self.held.len()).clamp(1, READ_MAX_BYTES);
            let (count, drained) = match self.read_wire(shared, most) {
                Received::Bytes { count, drained } => (count, drained),
                // An end that TLS did not announce: somebody may have cut the stream short.
                Received::Closed => return Received::Failed(io::Error::new(io::ErrorKind::UnexpectedEof, CUT_SHORT)),
                other => return other,
            };
            let filled = self.held.len() + count;
            let mut taken = 0;
            let surplus = &mut self.surplus;
            let opened = open(&mut self.session, shared, filled, |plain| {
                let count = put(plain);
                taken += count;
                surplus.extend_from_slice(&plain[count..]);
            });
            let outcome = match opened {
                Ok((consumed, ended)) => {
                    self.ended = ended;
                    self.hold(&shared.incoming[consumed..filled]);
                    match self.held.len() > HELD_MAX_BYTES {
                        true => Err(io::Error::other("its message of TLS is too long")),
                        false => Ok(()),
                    }
                }
                Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            // Answers of TLS itself, an alert or two in all. If they don't go now, they go with what is next sent.
            self.unsent.extend_from_slice(shared.outgoing.bytes());
            match outcome.and(self.send_unsent().map(drop)) {
                Err(error) => Received::Failed(error),
                Ok(()) if taken == 0 && self.ended => Received::Closed,
                Ok(()) => {
                    let drained = drained && !self.ended && self.surplus.is_empty();
                    Received::Bytes { count: taken, drained }
                }
            }
        })
    }

    /// Reads behind what is held.
    fn read_wire(&mut self, shared: &mut Shared, most: usize) -> Received {
        let Self { stream, held, .. } = self;
        let needed = held.len() + most;
        if shared.incoming.len() < needed {
            shared.incoming.resize(needed, 0);
        }
        shared.incoming[..held.len()].copy_from_slice(held);
        let space = &mut shared.incoming[held.len()..needed];
        received(most, || stream.read(space))
    }

    fn hold(&mut self, rest: &[u8]) {
        if rest.is_empty() && !self.held.is_empty() {
            self.held = Vec::new();
        } else {
            self.held.clear();
            self.held.extend_from_slice(rest);
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.send_parts(&[&bytes[..bytes.len().min(SEND_MAX_BYTES)]])
    }

    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        let mut gathered: [&[u8]; SEND_PARTS_MAX] = [&[]; SEND_PARTS_MAX];
        let mut room = SEND_MAX_BYTES;
        let mut filled = 0;
        for (part, place) in parts.iter().zip(&mut gathered) {
            *place = &part[..part.len().min(room)];
            room -= place.len();
            filled += 1;
        }
        self.send_parts(&gathered[..filled])
    }

    /// Encrypts all of these and sends them.
    fn send_parts(&mut self, parts: &[&[u8]]) -> Sent {
        match self.send_unsent() {
            Ok(true) if self.ahead > 0 => return Sent::Bytes { count: std::mem::take(&mut self.ahead), full: false },
            Ok(true) => {}
            Ok(false) => return Sent::WouldBlock,
            Err(error) => return failed(error),
        }
        let count = parts.iter().map(|part| part.len()).sum();
        SHARED.with_borrow_mut(|shared| {
            shared.outgoing.clear();
            if let Err(error) = self.session.seal(parts, &mut shared.outgoing) {
                return Sent::Failed(io::Error::other(error));
            }
            let bytes = shared.outgoing.bytes();
            let taken = match sent(bytes.len(), || self.stream.write(bytes)) {
                Sent::Bytes { full: false, .. } => return Sent::Bytes { count, full: false },
                Sent::Bytes { count, .. } => count,
                Sent::WouldBlock => 0,
                other => return other,
            };
            self.unsent.extend_from_slice(&bytes[taken..]);
            self.ahead = count;
            Sent::WouldBlock
        })
    }

    /// Sends what the socket did not take before. False when it takes no more.
    fn send_unsent(&mut self) -> io::Result<bool> {
        let Self { stream, unsent, unsent_taken, .. } = self;
        let waiting = &unsent[*unsent_taken..];
        if waiting.is_empty() {
            return Ok(true);
        }
        match sent(waiting.len(), || stream.write(waiting)) {
            Sent::Bytes { full: false, .. } => {
                (*unsent, *unsent_taken) = (Vec::new(), 0);
                Ok(true)
            }
            Sent::Bytes { count, .. } => {
                *unsent_taken += count;
                Ok(false)
            }
            Sent::WouldBlock => Ok(false),
            Sent::Closed => Err(io::ErrorKind::BrokenPipe.into()),
            Sent::Failed(error) => Err(error),
        }
    }

    /// Tells the client, if it takes that, that nothing more will be sent.
    pub fn send_end(&mut self) {
        SHARED.with_borrow_mut(|shared| {
            shared.outgoing.clear();
            self.session.seal_end(&mut shared.outgoing);
            self.unsent.extend_from_slice(shared.outgoing.bytes());
        });
        // A client that does not read learns of the end from its socket.
        let _ = self.send_unsent();
    }
}

/// Decrypts the first `filled` bytes of the shared buffer. Says how many were done with, and whether that was all.
fn open(
    session: &mut Session,
    shared: &mut Shared,
    filled: usize,
    plain: impl FnMut(&[u8]),
) -> Result<(usize, bool), rustls::Error> {
    shared.outgoing.clear();
    let opened = session.open(&mut shared.incoming[..filled], plain, &mut shared.outgoing)?;
    Ok((opened.consumed, opened.ended))
}

fn failed(error: io::Error) -> Sent {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Sent::Closed,
        _ => Sent::Failed(error),
    }
}
