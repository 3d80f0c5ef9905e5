//! How tokens are signed (RFC 7518 §3, RFC 8037), and what a signature is checked with.
//!
//! An algorithm goes with one kind of key and no other: a public key that everybody has is never taken for the secret of
//! HS256. `none` is no algorithm here.

use ring::{hmac, signature};
use std::fmt;
use std::str::FromStr;

/// As `alg` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    /// With a secret that was configured by hand.
    Hs256,
}

const NAMES: [(Algorithm, &str); 10] = [
    (Algorithm::Rs256, "RS256"),
    (Algorithm::Rs384, "RS384"),
    (Algorithm::Rs512, "RS512"),
    (Algorithm::Ps256, "PS256"),
    (Algorithm::Ps384, "PS384"),
    (Algorithm::Ps512, "PS512"),
    (Algorithm::Es256, "ES256"),
    (Algorithm::Es384, "ES384"),
    (Algorithm::EdDsa, "EdDSA"),
    (Algorithm::Hs256, "HS256"),
];

/// A name that is none of an algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = NAMES.iter().find(|(algorithm, _)| algorithm == self).expect("all have names");
        f.write_str(name)
    }
}

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// Modulus and exponent, without zeros before them.
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// A point of the curve P-256, uncompressed.
    P256(Box<[u8]>),
    /// A point of the curve P-384, uncompressed.
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
    Secret(Box<[u8]>),
}

/// What kind it is, and nothing of what it is.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "Secret",
        })
    }
}

impl Key {
    /// Whether a message was signed with it, by this algorithm. A key of another kind signed nothing.
    pub fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let ec = |by: &'static signature::EcdsaVerificationAlgorithm, point: &[u8]| {
            signature::UnparsedPublicKey::new(by, point).verify(message, signature).is_ok()
        };
        match (algorithm, self) {
            (Algorithm::Es256, Self::P256(point)) => ec(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Algorithm::Es384, Self::P384(point)) => ec(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Algorithm::EdDsa, Self::Ed25519(key)) => {
                signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
            }
            (Algorithm::Hs256, Self::Secret(secret)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature).is_ok()
            }
            (_, Self::Rsa { modulus, exponent }) => rsa(algorithm).is_some_and(|by| {
                let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(by, message, signature).is_ok()
            }),
            _ => false,
        }
    }
}

/// All take keys of 2048 bits at least.
fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa | Algorithm::Hs256 => return None,
    })
}
