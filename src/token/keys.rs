//! Keys by their names: those that were configured, and those that an issuer publishes (RFC 7517).

use super::{Algorithm, Key, pem};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::collections::HashMap;

/// The longest text of published keys that is read, in bytes.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// The longest file with one key that is read, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;
/// Published keys that are looked at.
const KEYS_MAX: usize = 256;

/// A key, and how it may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedKey {
    pub key: Key,
    /// The one algorithm that it is for, if it says so.
    pub algorithm: Option<Algorithm>,
}

/// Keys by `kid`. One may have no name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Keys(HashMap<Option<Box<str>>, NamedKey>);

impl Keys {
    /// What an issuer publishes, but for what can't check a signature here. No secret is among them, whatever it says:
    /// everybody knows what is published.
    ///
    /// # Errors
    /// It is no such text, or there is no key in it, as part of a sentence.
    pub fn published(text: &[u8]) -> Result<Self, &'static str> {
        if text.len() > JWKS_BYTES_MAX {
            return Err("it is too long");
        }
        let set: Value = serde_json::from_slice(text).map_err(|_| "it is no JSON")?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("it has no \"keys\"")?;
        let usable = keys.iter().take(KEYS_MAX).filter_map(|jwk| {
            let name = jwk.get("kid").and_then(Value::as_str).map(Box::from);
            Some((name, named_key(jwk).filter(|named| !matches!(named.key, Key::Secret(_)))?))
        });
        let keys = Self(usable.collect());
        if keys.0.is_empty() { Err("there is no key in it that can be used") } else { Ok(keys) }
    }

    /// Adds a key that was configured: PEM, or a JWK.
    ///
    /// # Errors
    /// It is neither, or of a kind that is not used here, as part of a sentence.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), &'static str> {
        let named = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).ok().and_then(|jwk| named_key(&jwk)),
            false => pem::key(text).map(|key| NamedKey { key, algorithm: None }),
        };
        self.0.insert(Some(name.into()), named.ok_or("there is no key in it that can be used")?);
        Ok(())
    }

    /// These, and of the others those that have another name.
    pub fn and(&self, others: &Self) -> Self {
        let mut all = others.0.clone();
        all.extend(self.0.iter().map(|(name, key)| (name.clone(), key.clone())));
        Self(all)
    }

    pub fn find(&self, name: Option<&str>) -> Option<&NamedKey> {
        self.0.get(&name.map(Box::from))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A JSON web key, unless it is for something else than signatures, or for an algorithm that there is not.
fn named_key(jwk: &Value) -> Option<NamedKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if text("use").is_some_and(|used_for| used_for != "sig") {
        return None;
    }
    // On the wire coordinates have all their zeros; some write them without.
    let point = |length: usize| {
        let mut point = vec![4];
        for name in ["x", "y"] {
            let coordinate = bytes(name).filter(|bytes| bytes.len() <= length)?;
            point.resize(point.len() + length - coordinate.len(), 0);
            point.extend(coordinate);
        }
        Some(point.into_boxed_slice())
    };
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            Key::Rsa { modulus: pem::without_zeros(&bytes("n")?), exponent: pem::without_zeros(&bytes("e")?) }
        }
        ("EC", Some("P-256")) => Key::P256(point(32)?),
        ("EC", Some("P-384")) => Key::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Key::Ed25519(bytes("x")?.into()),
        ("oct", _) => Key::Secret(bytes("k").filter(|secret| !secret.is_empty())?.into()),
        _ => return None,
    };
    let algorithm = text("alg").map(str::parse).transpose().ok()?;
    Some(NamedKey { key, algorithm })
}
