//! The records of a connection whose hands were shaken, and what TLS itself still has to say in them.
//!
//! rustls shakes hands, keeps the secrets and decrypts; how records go through its connections costs two copies of every byte
//! in each direction, which is more than encrypting it. So its connection is taken apart when the handshake is done, as it is
//! for kernels that speak TLS, and records are taken apart and put together here:
//!
//! ```text
//! the wire's bytes ─► head, whole record ─► decrypted where it lies ─► application data: the caller's
//!                                                                   ├ alert: the end, or an error
//!                                                                   └ handshake: a new key; anything else is refused
//! the caller's bytes ─► encrypted where they are sent from
//! ```
//! Every record has a number of its own, counted from what rustls had counted, and 0 with every new key: numbers make nonces,
//! and none comes twice with a key. What a client may repeat without saying anything is bounded as rustls has it.

#[cfg(test)]
mod tests;

use super::outgoing::Outgoing;
use super::sealer::Sealer;
use super::session::{MESSAGE_MAX_BYTES, Opened, RECORD_HEAD_BYTES, RECORD_MAX_BYTES, RECORD_PLAIN_BYTES};
use rustls::crypto::cipher::{InboundOpaqueMessage, MessageDecrypter};
use rustls::kernel::KernelConnection;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, SupportedCipherSuite,
};

/// Keys that a client may change without sending anything between, and in what is [opened](Records::open) at once: another
/// key takes as long as hundreds of small records.
const IDLE_KEY_UPDATES_MAX: u8 = 32;
/// Warnings that are passed over. TLS 1.3 has none.
const WARNINGS_MAX: u8 = 4;
/// Second handshakes that are turned down. One more, and the connection is over.
const RENEGOTIATIONS_MAX: u8 = 1;

/// A key wears out by blocks, and what rustls says of records is meant for the largest: small ones are good for more.
const BLOCK_BYTES: usize = 16;
const RECORD_MAX_BLOCKS: u64 = (RECORD_PLAIN_BYTES / BLOCK_BYTES) as u64;
/// What each record takes beside its whole blocks: a last one, and the authentication's.
const RECORD_OWN_BLOCKS: u64 = 2;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// What such a message holds.
const KEY_UPDATE_BYTES: usize = 1;
/// A message that says: what follows is encrypted with the next key, and yours may stay.
const OWN_KEY_UPDATE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Server,
    Client,
}

/// A message of the handshake that may come when it is done.
#[derive(Clone, Copy)]
enum Message {
    KeyUpdate,
    Ticket,
    /// Somebody wants to begin again, as TLS 1.2 lets them ask.
    SecondHandshake,
}

pub struct Records<Data> {
    end: End,
    keys: KernelConnection<Data>,
    sealer: Sealer,
    /// Records encrypted with its key.
    encrypted: u64,
    /// How much that was, and what a key is good for: in blocks of the cipher.
    encrypted_blocks: u64,
    encrypted_blocks_max: u64,
    decrypter: Box<dyn MessageDecrypter>,
    /// Records decrypted with its key.
    decrypted: u64,
    /// The beginning of a message of the handshake, which came in records of its own.
    message: Vec<u8>,
    idle_key_updates: u8,
    /// Since they were counted, something was sent.
    data_was_heard: bool,
    warnings: u8,
    renegotiations: u8,
    /// A rule was broken, which its breaker was told: nothing more is received or sent.
    broken: Option<Error>,
}

impl<Data> Records<Data> {
    pub fn new(end: End, secrets: ExtractedSecrets, keys: KernelConnection<Data>) -> Result<Self, Error> {
        let ExtractedSecrets { tx: (encrypted, tx), rx: (decrypted, rx) } = secrets;
        let suite = keys.negotiated_cipher_suite();
        Ok(Self {
            end,
            sealer: Sealer::new(keys.protocol_version(), tx)?,
            keys,
            encrypted,
            encrypted_blocks: encrypted.saturating_mul(RECORD_MAX_BLOCKS),
            encrypted_blocks_max: confidentiality_limit(suite).saturating_mul(RECORD_MAX_BLOCKS),
            decrypter: decrypter(suite, rx)?,
            decrypted,
            message: Vec::new(),
            idle_key_updates: 0,
            data_was_heard: false,
            warnings: 0,
            renegotiations: 0,
            broken: None,
        })
    }

    /// As [`Session::open`](super::Session::open).
    pub fn open(
        &mut self,
        incoming: &mut [u8],
        plain: impl FnMut(&[u8]),
        outgoing: &mut Outgoing,
    ) -> Result<Opened, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.open_all(incoming, plain, outgoing).inspect_err(|error| {
            if let Some(alert) = alert_for(error) {
                // Where nothing can be sent any more, nothing is.
                let _ = self.put(ContentType::Alert, &[FATAL, alert.into()], outgoing);
            }
            self.broken = Some(error.clone());
        })
    }

    fn open_all(
        &mut self,
        incoming: &mut [u8],
        mut plain: impl FnMut(&[u8]),
        outgoing: &mut Outgoing,
    ) -> Result<Opened, Error> {
        if std::mem::take(&mut self.data_was_heard) {
            self.idle_key_updates = 0;
        }
        let mut consumed = 0;
        loop {
            let rest = &mut incoming[consumed..];
            let Some((&mut [kind, major, minor, high, low], body)) = rest.split_first_chunk_mut() else { break };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (kind, version) = (ContentType::from(kind), ProtocolVersion::from(u16::from_be_bytes([major, minor])));
            self.check_head(kind, major, length)?;
            let Some(body) = body.get_mut(..length) else { break };
            consumed += RECORD_HEAD_BYTES + length;
            let number = self.decrypted;
            // More than 2^64 records of one key.
            self.decrypted = number.checked_add(1).ok_or(Error::DecryptError)?;
            let record = self.decrypter.decrypt(InboundOpaqueMessage::new(kind, version, body), number)?;
            if !self.message.is_empty() && record.typ != ContentType::Handshake {
                return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
            }
            match record.typ {
                ContentType::ApplicationData => {
                    if !record.payload.is_empty() {
                        self.data_was_heard = true;
                        plain(record.payload);
                    }
                }
                ContentType::Alert => {
                    if self.hear_alert(record.payload)? {
                        return Ok(Opened { consumed: incoming.len(), ended: true });
                    }
                }
                ContentType::Handshake => {
                    self.hear_messages(record.payload, outgoing)?;
                }
                got_type => {
                    let expect_types = vec![ContentType::ApplicationData];
                    return Err(Error::InappropriateMessage { expect_types, got_type });
                }
            }
        }
        Ok(Opened { consumed, ended: false })
    }

    /// What a record's head may say before its body came.
    fn check_head(&self, kind: ContentType, version_major: u8, length: usize) -> Result<(), Error> {
        if version_major != 3 {
            return Err(InvalidMessage::UnknownProtocolVersion.into());
        }
        if length > RECORD_MAX_BYTES - RECORD_HEAD_BYTES {
            return Err(Error::PeerSentOversizedRecord);
        }
        // What a record of TLS 1.3 is, it says inside. Of TLS 1.2, all that may come has a head of its own.
        let expected = match self.is_tls_1_3() {
            true => &[ContentType::ApplicationData][..],
            false => &[ContentType::ApplicationData, ContentType::Alert, ContentType::Handshake],
        };
        match expected.contains(&kind) {
            true => Ok(()),
            false => Err(Error::InappropriateMessage { expect_types: expected.to_vec(), got_type: kind }),
        }
    }

    /// Whether it says that nothing more will come.
    fn hear_alert(&mut self, alert: &[u8]) -> Result<bool, Error> {
        let &[level, what] = alert else { return Err(InvalidMessage::MessageTooShort.into()) };
        let what = AlertDescription::from(what);
        if what == AlertDescription::CloseNotify {
            return Ok(true);
        }
        let may_be_passed_over = !self.is_tls_1_3() || what == AlertDescription::UserCanceled;
        if level != WARNING || !may_be_passed_over {
            return Err(Error::AlertReceived(what));
        }
        self.warnings += 1;
        match self.warnings > WARNINGS_MAX {
            true => Err(PeerMisbehaved::TooManyWarningAlertsReceived.into()),
            false => Ok(false),
        }
    }

    /// Messages of the handshake, which may begin and end anywhere in a record.
    fn hear_messages(&mut self, bytes: &[u8], outgoing: &mut Outgoing) -> Result<(), Error> {
        let mut messages = std::mem::take(&mut self.message);
        messages.extend_from_slice(bytes);
        let mut heard = 0;
        while let Some((&[kind, high, middle, low], behind)) = messages[heard..].split_first_chunk() {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let kind = self.check_message(kind, length)?;
            let Some((message, behind)) = behind.split_at_checked(length) else { break };
            self.hear_message(kind, message, behind.is_empty(), outgoing)?;
            heard = messages.len() - behind.len();
        }
        // Who says nothing more of the kind holds no room.
        if heard < messages.len() {
            messages.drain(..heard);
            self.message = messages;
        }
        Ok(())
    }

    /// What a message's head may say before its body came.
    fn check_message(&self, kind: u8, length: usize) -> Result<Message, Error> {
        if length > MESSAGE_MAX_BYTES {
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        match (kind, self.end, self.is_tls_1_3()) {
            (KEY_UPDATE, _, true) if length == KEY_UPDATE_BYTES => Ok(Message::KeyUpdate),
            (KEY_UPDATE, _, true) => Err(InvalidMessage::InvalidKeyUpdate.into()),
            (NEW_SESSION_TICKET, End::Client, true) => Ok(Message::Ticket),
            (CLIENT_HELLO, End::Server, false) | (HELLO_REQUEST, End::Client, false) => Ok(Message::SecondHandshake),
            _ => {
                let expect_types = vec![ContentType::ApplicationData];
                Err(Error::InappropriateMessage { expect_types, got_type: ContentType::Handshake })
            }
        }
    }

    /// `is_last`: nothing follows it in its record.
    fn hear_message(
        &mut self,
        kind: Message,
        message: &[u8],
        is_last: bool,
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        match kind {
            Message::KeyUpdate => {
                if !is_last {
                    return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                }
                let &[is_wanted @ (0 | 1)] = message else { return Err(InvalidMessage::InvalidKeyUpdate.into()) };
                self.idle_key_updates += 1;
                if self.idle_key_updates > IDLE_KEY_UPDATES_MAX {
                    return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into());
                }
                let (number, secrets) = self.keys.update_rx_secret()?;
                (self.decrypter, self.decrypted) = (decrypter(self.keys.negotiated_cipher_suite(), secrets)?, number);
                // A key that the other end has seen enough of is as good as worn out: it is changed before the next data.
                // So one change answers all who ask until then, and none waits for a client that does not read.
                if is_wanted == 1 {
                    self.encrypted_blocks = self.encrypted_blocks_max;
                }
                Ok(())
            }
            // Nobody who asks here comes back to an earlier session.
            Message::Ticket => Ok(()),
            Message::SecondHandshake => {
                self.renegotiations += 1;
                if self.renegotiations > RENEGOTIATIONS_MAX {
                    return Err(PeerMisbehaved::TooManyRenegotiationRequests.into());
                }
                let no = [WARNING, AlertDescription::NoRenegotiation.into()];
                self.put(ContentType::Alert, &no, outgoing)
            }
        }
    }

    /// Encrypts the bytes of all `parts`, in records as large as they may be.
    ///
    /// # Errors
    /// When nothing more can be sent.
    pub fn seal(&mut self, parts: &[&[u8]], outgoing: &mut Outgoing) -> Result<(), Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        let mut parts = Parts { parts, taken: 0 };
        while left > 0 {
            if self.encrypted_blocks >= self.encrypted_blocks_max {
                self.change_own_key(outgoing)?;
            }
            let count = left.min(RECORD_PLAIN_BYTES);
            self.put_record(ContentType::ApplicationData, count, |room| parts.write_to(room), outgoing)?;
            left -= count;
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub fn seal_end(&mut self, outgoing: &mut Outgoing) {
        // A stream that broke has no orderly end.
        if self.broken.is_none() {
            let end = [WARNING, AlertDescription::CloseNotify.into()];
            let _ = self.put(ContentType::Alert, &end, outgoing);
        }
    }

    fn put(&mut self, kind: ContentType, payload: &[u8], outgoing: &mut Outgoing) -> Result<(), Error> {
        self.put_record(kind, payload.len(), |room| room.copy_from_slice(payload), outgoing)
    }

    fn put_record(
        &mut self,
        kind: ContentType,
        plain_bytes: usize,
        write_plain: impl FnOnce(&mut [u8]),
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        let number = self.encrypted;
        // More than 2^64 records of one key.
        self.encrypted = number.checked_add(1).ok_or(Error::EncryptError)?;
        let blocks = (plain_bytes / BLOCK_BYTES) as u64 + RECORD_OWN_BLOCKS;
        self.encrypted_blocks = self.encrypted_blocks.saturating_add(blocks);
        self.sealer.seal(kind, number, plain_bytes, write_plain, outgoing)
    }

    /// With TLS 1.2 there is no other key, and the connection ends before the one it has is worn out.
    fn change_own_key(&mut self, outgoing: &mut Outgoing) -> Result<(), Error> {
        if !self.is_tls_1_3() {
            return Err(Error::General("the key of TLS 1.2 is worn out: TLS 1.3 has others".to_owned()));
        }
        self.put(ContentType::Handshake, &OWN_KEY_UPDATE, outgoing)?;
        let (number, secrets) = self.keys.update_tx_secret()?;
        (self.sealer, self.encrypted) = (Sealer::new(self.keys.protocol_version(), secrets)?, number);
        self.encrypted_blocks = 0;
        Ok(())
    }

    fn is_tls_1_3(&self) -> bool {
        self.keys.protocol_version() == ProtocolVersion::TLSv1_3
    }
}

/// What whoever broke a rule is told. Nothing, if it is over an alert.
fn alert_for(error: &Error) -> Option<AlertDescription> {
    Some(match error {
        Error::AlertReceived(_) => return None,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } => AlertDescription::UnexpectedMessage,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => AlertDescription::ProtocolVersion,
        Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => AlertDescription::IllegalParameter,
        Error::InvalidMessage(_) => AlertDescription::DecodeError,
        _ => AlertDescription::InternalError,
    })
}

fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
    }
}

fn decrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageDecrypter>, Error> {
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => return Err(Error::General("secrets of no known cipher".to_owned())),
    };
    Ok(match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        // The rest of it comes with each record.
        SupportedCipherSuite::Tls12(suite) => {
            suite.aead_alg.decrypter(key, &iv.as_ref()[..suite.aead_alg.key_block_shape().fixed_iv_len])
        }
    })
}

/// Bytes that lie in several places, taken in order.
struct Parts<'a> {
    parts: &'a [&'a [u8]],
    /// Of the first one.
    taken: usize,
}

impl Parts<'_> {
    /// Fills all of the room, which is no more than what is left.
    fn write_to(&mut self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let rest = &self.parts[0][self.taken..];
            let count = rest.len().min(room.len());
            let (filled, empty) = room.split_at_mut(count);
            filled.copy_from_slice(&rest[..count]);
            room = empty;
            self.taken += count;
            if self.taken == self.parts[0].len() {
                (self.parts, self.taken) = (&self.parts[1..], 0);
            }
        }
    }
}
