//! Public keys in PEM files: `PUBLIC KEY`, `RSA PUBLIC KEY`, and the one in a `CERTIFICATE`.
//!
//! What is read is where the key is and nothing else: a certificate's dates and issuer mean nothing here, as with RabbitMQ.

use super::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
/// The version in a certificate.
const CONTEXT_0: u8 = 0xA0;

const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];

/// The key in the first block of a PEM file that may be one. `None` when there is none, or of a kind that signs nothing here.
pub fn key(text: &str) -> Option<Key> {
    blocks(text).find_map(|(label, der)| match label {
        "PUBLIC KEY" => public_key(&der),
        "RSA PUBLIC KEY" => rsa_key(&der),
        "CERTIFICATE" => public_key_of_certificate(&der),
        _ => None,
    })
}

fn blocks(text: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let body: String = body.split_whitespace().collect();
        Some((label, STANDARD.decode(body).ok()?))
    })
}

/// Takes a value of this type off the front. Lengths have four bytes at most.
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let [found, length, rest @ ..] = *input else { return None };
    let (length, rest) = match *length {
        short if short < 0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) =
                rest.split_at_checked(usize::from(long & 0x7F)).filter(|(bytes, _)| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    let (value, behind) = rest.split_at_checked(length)?;
    *input = behind;
    (*found == tag).then_some(value)
}

/// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
fn public_key(mut der: &[u8]) -> Option<Key> {
    let mut info = take(&mut der, SEQUENCE)?;
    let mut algorithm = take(&mut info, SEQUENCE)?;
    let [0, key @ ..] = take(&mut info, BIT_STRING)? else { return None };
    match take(&mut algorithm, OBJECT)? {
        RSA => rsa_key(key),
        ED25519 => Some(Key::Ed25519(key.into())),
        EC => match take(&mut algorithm, OBJECT)? {
            P256 => Some(Key::P256(key.into())),
            P384 => Some(Key::P384(key.into())),
            _ => None,
        },
        _ => None,
    }
}

/// RSAPublicKey (RFC 8017 §A.1.1).
fn rsa_key(mut der: &[u8]) -> Option<Key> {
    let mut key = take(&mut der, SEQUENCE)?;
    let mut number = || Some(without_zeros(take(&mut key, INTEGER)?));
    Some(Key::Rsa { modulus: number()?, exponent: number()? })
}

pub fn without_zeros(number: &[u8]) -> Box<[u8]> {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number[first..].into()
}

fn public_key_of_certificate(mut der: &[u8]) -> Option<Key> {
    let mut certificate = take(&mut der, SEQUENCE)?;
    let mut signed = take(&mut certificate, SEQUENCE)?;
    let mut behind_version = signed;
    if take(&mut behind_version, CONTEXT_0).is_some() {
        signed = behind_version;
    }
    take(&mut signed, INTEGER)?;
    // How it is signed, by whom, when it is valid, and whose it is.
    for _ in 0..4 {
        take(&mut signed, SEQUENCE)?;
    }
    public_key(signed)
}
