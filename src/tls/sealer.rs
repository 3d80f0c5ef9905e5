//! Encrypts records where they are to be sent from.
//!
//! rustls's own encrypters put each record into memory of its own, from which it is copied again: at a kilobyte a message,
//! that is more than encryption itself takes. What a record is made of is the same here: rustls says which nonce and which
//! additional data it has, and ring encrypts.

use super::outgoing::Outgoing;
use super::session::RECORD_HEAD_BYTES;
use ring::aead;
use rustls::crypto::cipher::{Iv, Nonce, make_tls12_aad, make_tls13_aad};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

/// What stands for the version in every record, that of TLS 1.3 as well.
const VERSION: ProtocolVersion = ProtocolVersion::TLSv1_2;
/// What of the nonce is in each record of AES-GCM with TLS 1.2.
const EXPLICIT_NONCE_BYTES: usize = 8;

pub struct Sealer {
    key: aead::LessSafeKey,
    iv: Iv,
    form: Form,
}

/// How a record looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Head, encrypted text and kind, tag. The head says that it is application data.
    Tls13,
    /// Head, a part of the nonce, encrypted text, tag.
    Tls12Gcm,
    /// Head, encrypted text, tag.
    Tls12Chacha20,
}

impl Sealer {
    pub fn new(version: ProtocolVersion, secrets: ConnectionTrafficSecrets) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&aead::CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("secrets of no known cipher".to_owned())),
        };
        let form = match version {
            ProtocolVersion::TLSv1_3 => Form::Tls13,
            _ if algorithm == &aead::CHACHA20_POLY1305 => Form::Tls12Chacha20,
            _ => Form::Tls12Gcm,
        };
        let key = aead::UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        Ok(Self { key: aead::LessSafeKey::new(key), iv, form })
    }

    /// Appends the record with this number, which no other one has had, to `outgoing`. `write_plain` writes its
    /// `plain_bytes` bytes, which it is given room for.
    pub fn seal(
        &self,
        kind: ContentType,
        number: u64,
        plain_bytes: usize,
        write_plain: impl FnOnce(&mut [u8]),
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        let tag_bytes = self.key.algorithm().tag_len();
        let (before, behind) = match self.form {
            Form::Tls13 => (0, 1),
            Form::Tls12Gcm => (EXPLICIT_NONCE_BYTES, 0),
            Form::Tls12Chacha20 => (0, 0),
        };
        let length = before + plain_bytes + behind + tag_bytes;
        let nonce = Nonce::new(&self.iv, number).0;
        let (shown_kind, tls13_aad, tls12_aad);
        let aad: &[u8] = match self.form {
            Form::Tls13 => {
                (shown_kind, tls13_aad) = (ContentType::ApplicationData, make_tls13_aad(length));
                &tls13_aad
            }
            Form::Tls12Gcm | Form::Tls12Chacha20 => {
                (shown_kind, tls12_aad) = (kind, make_tls12_aad(number, kind, VERSION, plain_bytes));
                &tls12_aad
            }
        };

        let record = outgoing.room(RECORD_HEAD_BYTES + length);
        let (head, body) = record.split_at_mut(RECORD_HEAD_BYTES);
        head[0] = shown_kind.into();
        head[1..3].copy_from_slice(&u16::from(VERSION).to_be_bytes());
        head[3..].copy_from_slice(&u16::try_from(length).map_err(|_| Error::EncryptError)?.to_be_bytes());
        let (explicit_nonce, body) = body.split_at_mut(before);
        explicit_nonce.copy_from_slice(&nonce[nonce.len() - before..]);
        let (text, tag) = body.split_at_mut(plain_bytes + behind);
        write_plain(&mut text[..plain_bytes]);
        if let [inner_kind] = &mut text[plain_bytes..] {
            *inner_kind = kind.into();
        }
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), text);
        tag.copy_from_slice(sealed.map_err(|_| Error::EncryptError)?.as_ref());
        outgoing.fill(RECORD_HEAD_BYTES + length);
        Ok(())
    }
}
