//! Writing AMQP's primitive values onto the end of a buffer.
//!
//! Lengths that are known only afterwards are written as zero and patched ([`begin_length`], [`end_length`]), so that
//! nothing is measured twice and nothing is copied.

use super::field_table::FieldTable;
use super::short_string::SHORT_STRING_MAX;

#[inline]
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

#[inline]
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Writes a short string. Bytes past [`SHORT_STRING_MAX`] are dropped: a shorter text is better than a wrong length.
#[inline]
pub fn put_short_string(out: &mut Vec<u8>, string: &[u8]) {
    let string = &string[..string.len().min(SHORT_STRING_MAX)];
    out.push(string.len() as u8);
    out.extend_from_slice(string);
}

pub fn put_long_string(out: &mut Vec<u8>, string: &[u8]) {
    put_u32(out, length_u32(string.len()));
    out.extend_from_slice(string);
}

/// Writes a table with its length.
pub fn put_table(out: &mut Vec<u8>, table: &FieldTable) {
    let start = begin_length(out);
    table.encode_entries(out);
    end_length(out, start);
}

/// Leaves room for a 32-bit length and returns where it is.
#[inline]
pub fn begin_length(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    put_u32(out, 0);
    start
}

/// Writes the length of what was put since [`begin_length`] returned `start`.
#[inline]
pub fn end_length(out: &mut [u8], start: usize) {
    let content = start + size_of::<u32>();
    let length = length_u32(out.len() - content);
    out[start..content].copy_from_slice(&length.to_be_bytes());
}

/// Everything that is encoded was bounded by a frame or a message size before, far below 4 GiB.
#[inline]
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("what is encoded fits a 32-bit length")
}
