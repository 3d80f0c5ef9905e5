//! One connection: the bytes of the wire to plain ones and back.
//!
//! rustls's unbuffered interface shakes hands; after that, [`Records`] goes on with the secrets. Neither keeps bytes: those
//! that are not whole records stay with the caller, who brings them again with those that follow, and what is to be sent is
//! written to an [`Outgoing`] of the caller's. So a connection on which nothing happens holds no buffer.

use super::Encryption;
use super::outgoing::Outgoing;
use super::records::{End, Records};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus};
use rustls::{CommonState, ExtractedSecrets, ServerConfig};
use std::ops::Deref;
use std::sync::Arc;

/// What a record begins with: kind, version and length.
pub const RECORD_HEAD_BYTES: usize = 5;
/// What goes into one record.
pub const RECORD_PLAIN_BYTES: usize = 16_384;
/// The largest record on the wire, with its head and what encryption may add to it.
pub const RECORD_MAX_BYTES: usize = RECORD_HEAD_BYTES + RECORD_PLAIN_BYTES + 2048;
/// The most that a message of the handshake may hold back, in records of its own: a client's certificates are the largest.
pub const MESSAGE_MAX_BYTES: usize = 64 << 10;

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
    const END: End;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What goes on when the handshake is done.
    fn into_secrets(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const END: End = End::Server;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn into_secrets(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error> {
        self.dangerous_into_kernel_connection()
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const END: End = End::Client;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn into_secrets(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), rustls::Error> {
        self.dangerous_into_kernel_connection()
    }
}

/// A connection that somebody accepted, or, with another [`Side`], made.
pub struct Session<S: Side = UnbufferedServerConnection> {
    stage: Stage<S>,
}

/// ```text
/// Handshake ── it is done ──► Records
///         └─── it failed ──► Failed
/// ```
enum Stage<S: Side> {
    /// And how many bytes of whole records rustls has seen that it wants to see again.
    Handshake(Box<S>, usize),
    Records(Box<Records<S::Data>>, Encryption),
    Failed(rustls::Error),
}

impl<S: Side> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self::of(UnbufferedServerConnection::new(config).expect("a configuration without limits on records"))
    }
}

impl<S: Side> Session<S> {
    pub(super) fn of(connection: S) -> Self {
        Self { stage: Stage::Handshake(Box::new(connection), 0) }
    }

    #[cfg(test)]
    pub(super) fn into_records(self) -> Box<Records<S::Data>> {
        match self.stage {
            Stage::Records(records, _) => records,
            Stage::Handshake(..) | Stage::Failed(_) => panic!("hands are not shaken"),
        }
    }

    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Handshake(..))
    }

    /// How it is encrypted, once the handshake is done.
    pub fn encryption(&self) -> Option<&Encryption> {
        match &self.stage {
            Stage::Records(_, encryption) => Some(encryption),
            Stage::Handshake(..) | Stage::Failed(_) => None,
        }
    }

    /// Takes what came over the wire: `plain` is given what was in it, and the answers that TLS itself has are written to
    /// `outgoing`. Of a stream that broke the rules, the last of them says so to the client.
    ///
    /// # Errors
    /// When the client broke the rules. Nothing more can be received or sent.
    pub fn open(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        outgoing: &mut Outgoing,
    ) -> Result<Opened, rustls::Error> {
        match &mut self.stage {
            Stage::Records(records, _) => records.open(incoming, plain, outgoing),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Handshake(connection, shown) => {
                let opened = shake_hands(&mut **connection, shown, incoming, outgoing)
                    .inspect_err(|error| self.stage = Stage::Failed(error.clone()))?;
                self.go_on()?;
                match &mut self.stage {
                    Stage::Records(records, _) if !opened.ended => {
                        let behind = records.open(&mut incoming[opened.consumed..], plain, outgoing)?;
                        Ok(Opened { consumed: opened.consumed + behind.consumed, ended: behind.ended })
                    }
                    _ => Ok(opened),
                }
            }
        }
    }

    /// Leaves the handshake behind, if it is done.
    fn go_on(&mut self) -> Result<(), rustls::Error> {
        match std::mem::replace(&mut self.stage, Stage::Failed(rustls::Error::HandshakeNotComplete)) {
            Stage::Handshake(connection, _) if !connection.is_handshaking() => {
                let encryption = Encryption::of(&connection);
                let (secrets, keys) = connection.into_secrets()?;
                self.stage = Stage::Records(Box::new(Records::new(S::END, secrets, keys)?), encryption);
            }
            stage => self.stage = stage,
        }
        Ok(())
    }

    /// Encrypts the bytes of all `parts`.
    ///
    /// # Errors
    /// When nothing more can be sent, or nothing yet.
    pub fn seal(&mut self, parts: &[&[u8]], outgoing: &mut Outgoing) -> Result<(), rustls::Error> {
        match &mut self.stage {
            Stage::Records(records, _) => records.seal(parts, outgoing),
            Stage::Handshake(..) => Err(rustls::Error::HandshakeNotComplete),
            Stage::Failed(error) => Err(error.clone()),
        }
    }

    /// Says to the client that nothing more will be sent.
    pub fn seal_end(&mut self, outgoing: &mut Outgoing) {
        if let Stage::Records(records, _) = &mut self.stage {
            records.seal_end(outgoing);
        }
    }
}

/// Goes on with the handshake, and stops where it is done: what comes behind it is for [`Records`]. If rustls took it, it would
/// have answers that go with it. So it is shown one record more only when it does not know enough, and `shown` counts what it
/// saw of whole records and did not let go of.
fn shake_hands<S: Side>(
    connection: &mut S,
    shown: &mut usize,
    incoming: &mut [u8],
    outgoing: &mut Outgoing,
) -> Result<Opened, rustls::Error> {
    let mut consumed = 0;
    let mut visible = *shown;
    loop {
        let status = connection.process(&mut incoming[consumed..visible]);
        let discard = status.discard;
        let ended = match status.state {
            Ok(ConnectionState::EncodeTlsData(data)) => {
                encode(data, outgoing);
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(true),
            // It has said all, and must hear more or is done. Early data is not asked for.
            Ok(_) => Some(false),
            Err(error) => {
                // What is said of it waits before all that came, and rustls must not be asked for more: it would look at
                // what came behind, and break over a second mistake.
                if let Ok(ConnectionState::EncodeTlsData(data)) =
                    connection.process(&mut incoming[consumed + discard..visible]).state
                {
                    encode(data, outgoing);
                }
                return Err(error);
            }
        };
        consumed += discard;
        *shown -= discard;
        let Some(ended) = ended else { continue };
        if ended || !connection.is_handshaking() || visible == incoming.len() {
            return Ok(Opened { consumed, ended });
        }
        match first_record_bytes(&incoming[visible..]) {
            Some(bytes) => {
                visible += bytes;
                *shown += bytes;
            }
            // What is wrong with a head is said before its record is whole.
            None => visible = incoming.len(),
        }
    }
}

/// How long the first record is, if all of it is there.
fn first_record_bytes(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = bytes.first_chunk::<RECORD_HEAD_BYTES>()?;
    let length = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    (length <= bytes.len()).then_some(length)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Outgoing) {
    // It tells its size when asked for too much, and keeps what it has.
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) else {
        return;
    };
    if let Ok(count) = data.encode(outgoing.room(required_size)) {
        outgoing.fill(count);
    }
}
