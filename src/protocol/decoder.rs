//! A bounded cursor over bytes of a peer. It lends slices of its input, never allocates but for owned tables, and
//! answers every shortage with a [`DecodeError`]: no length that a peer announces is trusted before it was compared
//! with what is there.

use super::field_table::{FieldTable, TableRef};
use std::fmt;

/// Why bytes are not what they claim to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The input ends inside a value, or an inner length reaches beyond the outer one.
    Truncated,
    /// The value is complete and bytes are left over.
    TrailingBytes,
    /// A field value with a type tag that nobody defined.
    UnknownFieldTag(u8),
    /// Tables and arrays nested deeper than [`super::field_table::TABLE_DEPTH_MAX`].
    TableTooDeep,
    /// A short string of a method that must be UTF-8 is not.
    InvalidUtf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end inside a value"),
            Self::TrailingBytes => f.write_str("bytes are left over after the last value"),
            Self::UnknownFieldTag(tag) => write!(f, "unknown field type tag {tag}"),
            Self::TableTooDeep => f.write_str("tables are nested too deeply"),
            Self::InvalidUtf8 => f.write_str("a short string is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The bytes not yet read. After an error it stays where it was, so what is left is still meaningful.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading: anything left over is an error.
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    #[inline]
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// One octet of length, then as many bytes of any value.
    #[inline]
    pub fn short_string(&mut self) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let length = ahead.u8()?;
        let string = ahead.bytes(usize::from(length))?;
        *self = ahead;
        Ok(string)
    }

    /// A short string that must be UTF-8: every one that a client's methods carry, but for those of `basic.publish`.
    #[inline]
    pub fn name(&mut self) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let name = ahead.short_string()?;
        std::str::from_utf8(name).map_err(|_| DecodeError::InvalidUtf8)?;
        *self = ahead;
        Ok(name)
    }

    /// Four octets of length, then as many bytes of any value.
    #[inline]
    pub fn long_string(&mut self) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let length = ahead.u32()?;
        let string = ahead.bytes(length as usize)?;
        *self = ahead;
        Ok(string)
    }

    /// The entries of a table without its length, not looked into.
    #[inline]
    pub fn table_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.long_string()
    }

    /// A whole table, copied.
    pub fn table(&mut self) -> Result<FieldTable, DecodeError> {
        let mut ahead = *self;
        let table = TableRef::parse(ahead.table_bytes()?)?.to_owned();
        *self = ahead;
        Ok(table)
    }
}
