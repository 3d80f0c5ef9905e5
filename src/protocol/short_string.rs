//! AMQP's short string: at most 255 bytes (AMQP 0-9-1 §4.2.5.3), used for every name and routing key.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// Longest short string, in bytes: its length travels in one octet.
pub const SHORT_STRING_MAX: usize = 255;

/// An owned short string. Its bytes need not be UTF-8: RabbitMQ routes keys as bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortString(Box<[u8]>);

impl ShortString {
    /// Copies `bytes`; `None` when they are more than [`SHORT_STRING_MAX`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= SHORT_STRING_MAX).then(|| Self(bytes.into()))
    }

    /// Copies the first [`SHORT_STRING_MAX`] bytes and drops the rest.
    pub fn truncated(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(SHORT_STRING_MAX)].into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for ShortString {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Hashes as the slice does, so that maps can be asked with borrowed bytes.
impl Borrow<[u8]> for ShortString {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&'static str> for ShortString {
    /// For literals of our own; a longer one is a mistake of ours.
    fn from(literal: &'static str) -> Self {
        Self::new(literal.as_bytes()).expect("a literal short string is at most 255 bytes")
    }
}

impl fmt::Display for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
