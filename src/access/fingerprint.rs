//! Telling a login from others without keeping its password.

use super::PasswordHash;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::{self, Write};

/// What fingerprints are made with. Whoever doesn't know it can't tell what they were made of, nor make any.
#[derive(Clone)]
pub struct FingerprintKey(Hmac<Sha256>);

impl FingerprintKey {
    /// A key of bytes that nobody can guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&bytes).expect("any size will do"))
    }

    /// The fingerprint of a user who is said to have this hash, and of a password. It takes a microsecond, whatever the
    /// hash.
    pub fn fingerprint(&self, user: &[u8], hash: &PasswordHash, password: &[u8]) -> Fingerprint {
        let mut text = Digested(self.0.clone());
        write!(text, "{hash}").expect("it takes everything");
        let Digested(mut mac) = text;
        // No hash has one in its text. Behind it, its length tells the user from the password.
        mac.update(&[0]);
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user);
        mac.update(password);
        Fingerprint(mac.finalize().into_bytes().into())
    }
}

/// Stands for a user, a hash and a password: the same for the same three, and for no others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

struct Digested(Hmac<Sha256>);

impl Write for Digested {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_another_password_another_hash_and_another_key_are_another_fingerprint() {
        let [key, other_key] = [1, 2].map(|byte| FingerprintKey::new([byte; 32]));
        let hash = |salt| PasswordHash::salted_sha256(b"secret", [salt; 4]);
        let fingerprints = [
            key.fingerprint(b"bob", &hash(1), b"secret"),
            key.fingerprint(b"bob", &hash(1), b"secret\0"),
            key.fingerprint(b"bob", &hash(1), b""),
            key.fingerprint(b"bob", &hash(2), b"secret"),
            key.fingerprint(b"bob", &PasswordHash::salted_sha512(b"secret", [1; 4]), b"secret"),
            key.fingerprint(b"bob", &PasswordHash::Absent, b"secret"),
            key.fingerprint(b"bo", &hash(1), b"bsecret"),
            key.fingerprint(b"alice", &hash(1), b"secret"),
            other_key.fingerprint(b"bob", &hash(1), b"secret"),
        ];
        for (index, fingerprint) in fingerprints.iter().enumerate() {
            assert!(!fingerprints[..index].contains(fingerprint), "{index}");
        }
        assert_eq!(fingerprints[0], key.fingerprint(b"bob", &hash(1), b"secret"));
        assert_eq!(format!("{:?}", fingerprints[0]), "Fingerprint");
    }
}
