//! One connection: the bytes of the wire to plain ones and back, through rustls's unbuffered interface.
//!
//! It keeps nothing of either: bytes that are not whole records stay with the caller, who brings them again with those
//! that follow, and what is to be sent is written to an [`Outgoing`] of the caller's. So a connection on which nothing
//! happens holds no buffer.

use super::Encryption;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, ServerConfig};
use std::ops::Deref;
use std::sync::Arc;

/// The largest record on the wire, with its head and what encryption may add to it.
pub const RECORD_MAX_BYTES: usize = 5 + 16_384 + 2048;
/// The most that a record of ours adds to what is in it.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// What goes into one record.
const RECORD_PLAIN_BYTES: usize = 16_384;
/// The most that a message of the handshake may hold back, in records of its own: a client's certificates are the largest.
pub const MESSAGE_MAX_BYTES: usize = 64 << 10;

/// Bytes for the wire.
#[derive(Default, Debug)]
pub struct Outgoing {
    /// Grows to the most that was ever written, and never shrinks: its unused part needs no clearing.
    buffer: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Room for so many bytes more.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let needed = self.filled + bytes;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        &mut self.buffer[self.filled..]
    }
}

/// What became of bytes of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// So many are done with. The others are to be brought again, with what follows them.
    pub consumed: usize,
    /// The client said that nothing more will come.
    pub ended: bool,
}

/// What rustls has for one side of a connection.
pub trait Side: Deref<Target: Deref<Target = CommonState>> {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// A connection that somebody accepted, or, with another [`Side`], made.
pub struct Session<S = UnbufferedServerConnection> {
    connection: S,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        let connection = UnbufferedServerConnection::new(config).expect("a configuration without limits on records");
        Self { connection }
    }
}

impl<S: Side> Session<S> {
    pub(super) fn of(connection: S) -> Self {
        Self { connection }
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// How it is encrypted, once the handshake is done.
    pub fn encryption(&self) -> Encryption {
        Encryption::of(&self.connection)
    }

    /// Takes what came over the wire: `plain` is given what was in it, and the answers that TLS itself has are written to
    /// `outgoing`. Of a stream that broke the rules, the last of them says so to the client.
    ///
    /// # Errors
    /// When the client broke the rules. Nothing more can be received or sent.
    pub fn open(
        &mut self,
        incoming: &mut [u8],
        mut plain: impl FnMut(&[u8]),
        outgoing: &mut Outgoing,
    ) -> Result<Opened, rustls::Error> {
        let mut consumed = 0;
        loop {
            let status = self.connection.process(&mut incoming[consumed..]);
            let mut discard = status.discard;
            let done = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, outgoing);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(true),
                // More must come, be it of the handshake or not. Early data is not asked for.
                Ok(_) => Some(false),
                Err(error) => {
                    self.tell_alert(&mut incoming[consumed + discard..], outgoing);
                    return Err(error);
                }
            };
            consumed += discard;
            if let Some(ended) = done {
                return Ok(Opened { consumed, ended });
            }
        }
    }

    /// Encrypts `bytes` to `outgoing`. `held` is what the last [`open`](Self::open) left over.
    ///
    /// # Errors
    /// When nothing more can be sent.
    pub fn seal(&mut self, held: &mut [u8], bytes: &[u8], outgoing: &mut Outgoing) -> Result<(), rustls::Error> {
        let records = bytes.len().div_ceil(RECORD_PLAIN_BYTES);
        let mut room = bytes.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(held, outgoing, |traffic, outgoing| {
            loop {
                match traffic.encrypt(bytes, outgoing.room(room)) {
                    Ok(count) => {
                        outgoing.filled += count;
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        debug_assert!(required_size > room);
                        room = required_size;
                    }
                    Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
                }
            }
        })
    }

    /// Says to the client that nothing more will be sent.
    pub fn seal_end(&mut self, held: &mut [u8], outgoing: &mut Outgoing) {
        const END_ROOM_BYTES: usize = 1024;
        // A stream that broke has no orderly end.
        let _ = self.write(held, outgoing, |traffic, outgoing| {
            if let Ok(count) = traffic.queue_close_notify(outgoing.room(END_ROOM_BYTES)) {
                outgoing.filled += count;
            }
            Ok(())
        });
    }

    /// Has `write` do its work in the state in which that may be done. What is left over of the incoming bytes is shown to
    /// rustls again, which counts on it.
    fn write(
        &mut self,
        held: &mut [u8],
        outgoing: &mut Outgoing,
        write: impl FnOnce(&mut WriteTraffic<'_, S::Data>, &mut Outgoing) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        loop {
            match self.connection.process(held).state? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, outgoing),
                ConnectionState::EncodeTlsData(data) => encode(data, outgoing),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
    }

    /// What is said of a broken rule, if anything. It waits before all that came, and rustls must not be asked for more: it
    /// would look at what came behind, and break over a second mistake.
    fn tell_alert(&mut self, rest: &mut [u8], outgoing: &mut Outgoing) {
        if let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process(rest).state {
            encode(data, outgoing);
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Outgoing) {
    // It tells its size when asked for too much, and keeps what it has.
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) else {
        return;
    };
    if let Ok(count) = data.encode(outgoing.room(required_size)) {
        outgoing.filled += count;
    }
}
