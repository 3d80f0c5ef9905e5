//! Hashes of passwords: our own, argon2id, and the two of RabbitMQ that its definitions bring along.
//!
//! A hash is written down as one line of text, which says how it was made:
//!
//! ```text
//! absent                                      nobody logs in with a password
//! $argon2id$v=19$m=19456,t=2,p=1$SALT$TAG     as argon2's own programs write it
//! salted-sha256:BASE64                        RabbitMQ's: four bytes of salt, then the hash of salt and password
//! salted-sha512:BASE64
//! ```
//!
//! Nothing here prints one by accident: `Debug` says which kind it is and no more. They are compared in constant time.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use subtle::ConstantTimeEq;

/// What our own hashes cost: what OWASP recommends, some 20 ms of a core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const TAG_BYTES: usize = 32;

/// The most that a hash of others may ask for: whoever brings it would decide what each login costs. A hash at both limits
/// takes some 150 ms of a core.
const MEMORY_MAX_KIB: u32 = 64 * 1024;
const PASSES_TIMES_MEMORY_MAX_KIB: u64 = 256 * 1024;
const LANES_MAX: u32 = 16;
/// Of a salt, and of the tag that comes out. Argon2 itself asks for eight bytes of salt, and a tag shorter than sixteen could
/// be guessed.
const SALT_BYTES_MIN: usize = 8;
const TAG_BYTES_MIN: usize = 16;
const SALT_OR_TAG_BYTES_MAX: usize = 64;

/// The longest line that can be a hash, in bytes.
const TEXT_BYTES_MAX: usize = 256;

const ABSENT: &str = "absent";
const SHA256_PREFIX: &str = "salted-sha256:";
const SHA512_PREFIX: &str = "salted-sha512:";

/// What RabbitMQ calls its algorithms in definitions and in its HTTP API.
const RABBITMQ_SHA256: &str = "rabbit_password_hashing_sha256";
const RABBITMQ_SHA512: &str = "rabbit_password_hashing_sha512";
/// What we call ours there. RabbitMQ knows none of that name, and lets nobody log in by it.
const LEVERET_ARGON2ID: &str = "leveret_password_hashing_argon2id";

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// There is none: nobody can log in with a password.
    Absent,
    Argon2id(Argon2id),
    SaltedSha256 {
        salt: [u8; 4],
        digest: [u8; 32],
    },
    SaltedSha512 {
        salt: [u8; 4],
        digest: [u8; 64],
    },
}

/// A hash of argon2id, and what it was made with. All of it is within the limits.
#[derive(Clone, PartialEq, Eq)]
pub struct Argon2id {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Box<[u8]>,
    tag: Box<[u8]>,
}

impl Argon2id {
    fn new(memory_kib: u32, passes: u32, lanes: u32, salt: &[u8], tag: &[u8]) -> Option<Self> {
        let cost = u64::from(memory_kib) * u64::from(passes);
        let affordable = memory_kib <= MEMORY_MAX_KIB && cost <= PASSES_TIMES_MEMORY_MAX_KIB && lanes <= LANES_MAX;
        let salt_fits = (SALT_BYTES_MIN..=SALT_OR_TAG_BYTES_MAX).contains(&salt.len());
        let tag_fits = (TAG_BYTES_MIN..=SALT_OR_TAG_BYTES_MAX).contains(&tag.len());
        // Argon2 has rules of its own: a pass, a lane, and memory for each lane at least.
        let possible = Params::new(memory_kib, passes, lanes, Some(tag.len())).is_ok();
        let sound = affordable && salt_fits && tag_fits && possible;
        sound.then(|| Self { memory_kib, passes, lanes, salt: salt.into(), tag: tag.into() })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs_of = costs.split(',');
        let mut cost = |name: &str| costs_of.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        if costs_of.next().is_some() || parts.next().is_some() {
            return None;
        }
        let bytes_of = |text: &str| STANDARD_NO_PAD.decode(text).ok();
        Self::new(memory_kib, passes, lanes, &bytes_of(salt)?, &bytes_of(tag)?)
    }

    /// What these costs and this salt make of a password: as many bytes as `tag` has room for.
    fn fill(memory_kib: u32, passes: u32, lanes: u32, salt: &[u8], password: &[u8], tag: &mut [u8]) {
        let params = Params::new(memory_kib, passes, lanes, Some(tag.len())).expect("costs that were looked at");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password, salt, tag).expect("a salt and a tag of the right sizes");
    }

    fn is_of(&self, password: &[u8]) -> bool {
        let mut tag = [0; SALT_OR_TAG_BYTES_MAX];
        let tag = &mut tag[..self.tag.len()];
        Self::fill(self.memory_kib, self.passes, self.lanes, &self.salt, password, tag);
        tag.ct_eq(&*self.tag).into()
    }
}

impl fmt::Display for Argon2id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes, salt, tag } = self;
        let (salt, tag) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag));
        write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${tag}")
    }
}

impl PasswordHash {
    /// Hashes a password for good. It takes some 20 ms and 19 MiB: nothing for the loop's thread. Nobody can log in with an
    /// empty password, whatever its hash.
    pub fn argon2id(password: &[u8], salt: [u8; 16]) -> Self {
        let mut tag = [0; TAG_BYTES];
        Argon2id::fill(MEMORY_KIB, PASSES, LANES, &salt, password, &mut tag);
        Self::Argon2id(Argon2id::new(MEMORY_KIB, PASSES, LANES, &salt, &tag).expect("our own are within the limits"))
    }

    /// Hashes a password as RabbitMQ does if nothing else is said: quick to check, and quick to guess.
    pub fn salted_sha256(password: &[u8], salt: [u8; 4]) -> Self {
        Self::SaltedSha256 { salt, digest: salted_sha256(salt, password) }
    }

    /// Hashes a password as RabbitMQ does where `rabbit_password_hashing_sha512` is chosen.
    pub fn salted_sha512(password: &[u8], salt: [u8; 4]) -> Self {
        Self::SaltedSha512 { salt, digest: salted_sha512(salt, password) }
    }

    /// What definitions say of a user: `password_hash` and `hashing_algorithm`. An empty hash is that of no password.
    pub fn of_rabbitmq(base64: &str, algorithm: &str) -> Option<Self> {
        // Four characters stand for three bytes.
        if base64.len() > TEXT_BYTES_MAX * 4 / 3 + 4 {
            return None;
        }
        let bytes = STANDARD.decode(base64).ok()?;
        match algorithm {
            RABBITMQ_SHA256 | RABBITMQ_SHA512 | LEVERET_ARGON2ID if bytes.is_empty() => Some(Self::Absent),
            RABBITMQ_SHA256 => Self::sha256_of(&bytes),
            RABBITMQ_SHA512 => Self::sha512_of(&bytes),
            LEVERET_ARGON2ID => Argon2id::parse(std::str::from_utf8(&bytes).ok()?).map(Self::Argon2id),
            _ => None,
        }
    }

    /// `password_hash` and `hashing_algorithm`, as definitions say them.
    pub fn rabbitmq_form(&self) -> (String, &'static str) {
        match self {
            Self::Absent => (String::new(), RABBITMQ_SHA256),
            Self::Argon2id(hash) => (STANDARD.encode(hash.to_string()), LEVERET_ARGON2ID),
            Self::SaltedSha256 { salt, digest } => (salt_and_digest(salt, digest), RABBITMQ_SHA256),
            Self::SaltedSha512 { salt, digest } => (salt_and_digest(salt, digest), RABBITMQ_SHA512),
        }
    }

    /// Reads a line that `Display` wrote. `None`: it is none, or one that would cost too much to check.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        if text == ABSENT {
            return Some(Self::Absent);
        }
        if let Some(base64) = text.strip_prefix(SHA256_PREFIX) {
            return Self::sha256_of(&STANDARD.decode(base64).ok()?);
        }
        if let Some(base64) = text.strip_prefix(SHA512_PREFIX) {
            return Self::sha512_of(&STANDARD.decode(base64).ok()?);
        }
        Argon2id::parse(text).map(Self::Argon2id)
    }

    fn sha256_of(bytes: &[u8]) -> Option<Self> {
        let (salt, digest) = bytes.split_first_chunk()?;
        Some(Self::SaltedSha256 { salt: *salt, digest: digest.try_into().ok()? })
    }

    fn sha512_of(bytes: &[u8]) -> Option<Self> {
        let (salt, digest) = bytes.split_first_chunk()?;
        Some(Self::SaltedSha512 { salt: *salt, digest: digest.try_into().ok()? })
    }

    /// Whether checking a password takes microseconds, so that the loop may do it itself.
    pub fn is_quick(&self) -> bool {
        !matches!(self, Self::Argon2id(_))
    }

    /// Whether it is the hash of this password. An empty one is nobody's.
    pub fn is_of(&self, password: &[u8]) -> bool {
        !password.is_empty()
            && match self {
                Self::Absent => false,
                Self::Argon2id(hash) => hash.is_of(password),
                Self::SaltedSha256 { salt, digest } => salted_sha256(*salt, password).ct_eq(digest).into(),
                Self::SaltedSha512 { salt, digest } => salted_sha512(*salt, password).ct_eq(digest).into(),
            }
    }
}

fn salted_sha256(salt: [u8; 4], password: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password).finalize().into()
}

fn salted_sha512(salt: [u8; 4], password: &[u8]) -> [u8; 64] {
    Sha512::new().chain_update(salt).chain_update(password).finalize().into()
}

fn salt_and_digest(salt: &[u8; 4], digest: &[u8]) -> String {
    STANDARD.encode([salt, digest].concat())
}

/// The line that is kept.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(ABSENT),
            Self::Argon2id(hash) => write!(f, "{hash}"),
            Self::SaltedSha256 { salt, digest } => write!(f, "{SHA256_PREFIX}{}", salt_and_digest(salt, digest)),
            Self::SaltedSha512 { salt, digest } => write!(f, "{SHA512_PREFIX}{}", salt_and_digest(salt, digest)),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "PasswordHash(absent)",
            Self::Argon2id(_) => "PasswordHash(argon2id)",
            Self::SaltedSha256 { .. } => "PasswordHash(salted SHA-256)",
            Self::SaltedSha512 { .. } => "PasswordHash(salted SHA-512)",
        })
    }
}

impl fmt::Debug for Argon2id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Argon2id(secret)")
    }
}

#[cfg(test)]
mod tests;
