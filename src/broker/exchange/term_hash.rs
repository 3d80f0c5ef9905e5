//! The hash that RabbitMQ spreads messages by, Erlang's `phash2`, which is the same in each of its versions.
//!
//! An exchange that hashes as RabbitMQ's does sends every key to the queue where RabbitMQ sent it, so that nobody's
//! order of messages changes when they move. It is not meant for tables: clients can make up keys of one hash.

use crate::broker::equivalence::{integer, type_name};
use crate::protocol::FieldValue;

/// One more than the greatest hash.
pub(super) const TERM_HASH_RANGE: u32 = 1 << 27;

/// The golden ratio. Each kind of term has a multiple of it.
const GOLDEN: u32 = 0x9e37_79b9;
const SMALL: u32 = GOLDEN;
const NIL_IN_TERM: u32 = GOLDEN.wrapping_mul(2);
const ATOM_IN_TERM: u32 = GOLDEN.wrapping_mul(3);
const TUPLE: u32 = GOLDEN.wrapping_mul(9);
const NEGATIVE: u32 = GOLDEN.wrapping_mul(10);
const POSITIVE: u32 = GOLDEN.wrapping_mul(11);
const FLOAT: u32 = GOLDEN.wrapping_mul(12);
const BINARY: u32 = GOLDEN.wrapping_mul(13);
/// What stands for the empty list in a hash: its type's number when it is inside of a term, this one when it is alone.
const NIL_TYPE: u32 = 2;
const NIL_ALONE: u32 = 3_468_870_702;

/// Integers of that many bits, sign included, are hashed as one word.
const SMALL_BITS: u32 = 28;
const BLOCK_BYTES: usize = 12;

/// A hash under way: terms are said from left to right.
#[derive(Default)]
pub(super) struct TermHash(u32);

impl TermHash {
    #[inline]
    pub(super) fn finish(self) -> u32 {
        self.0 % TERM_HASH_RANGE
    }

    /// Words that Erlang knows by name: `true`, `undefined`.
    pub(super) fn atom(mut self, name: &str) -> Self {
        let hash = atom_hash(name);
        match self.0 {
            0 => self.0 = hash,
            _ => self.words(hash, 0, ATOM_IN_TERM),
        }
        self
    }

    #[inline]
    pub(super) fn binary(mut self, bytes: &[u8]) -> Self {
        let initial = BINARY.wrapping_add(self.0);
        self.0 = if bytes.is_empty() { initial } else { block_hash(bytes, initial) };
        self
    }

    pub(super) fn integer(mut self, value: i128) -> Self {
        if value >> (SMALL_BITS - 1) == 0 || value >> (SMALL_BITS - 1) == -1 {
            let word = value as i32;
            if word < 0 {
                self.words(word.unsigned_abs(), 0, SMALL);
            }
            self.words(word.cast_unsigned(), 0, SMALL);
        } else {
            let size = value.unsigned_abs() as u64;
            self.words(size as u32, (size >> 32) as u32, if value < 0 { NEGATIVE } else { POSITIVE });
        }
        self
    }

    pub(super) fn float(mut self, value: f64) -> Self {
        let bits = if value == 0.0 { 0 } else { value.to_bits() };
        self.words((bits >> 32) as u32, bits as u32, FLOAT);
        self
    }

    /// A tuple; its elements follow.
    pub(super) fn tuple(mut self, arity: u32) -> Self {
        self.words(arity, 0, TUPLE);
        self
    }

    /// The end of a list, whose elements came before. (Elements that are bytes would be packed.)
    pub(super) fn nil(mut self) -> Self {
        match self.0 {
            0 => self.0 = NIL_ALONE,
            _ => self.words(NIL_TYPE, 0, NIL_IN_TERM),
        }
        self
    }

    /// A value of a table as RabbitMQ keeps it in Erlang, after its type.
    pub(super) fn value(self, value: &FieldValue) -> Self {
        match value {
            FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => self.binary(bytes),
            FieldValue::Boolean(value) => self.atom(if *value { "true" } else { "false" }),
            FieldValue::Void => self.atom("undefined"),
            FieldValue::F32(value) => self.float((*value).into()),
            FieldValue::F64(value) => self.float(*value),
            FieldValue::Decimal { scale, value } => self.tuple(2).integer((*scale).into()).integer((*value).into()),
            FieldValue::Timestamp(seconds) => self.integer((*seconds).into()),
            FieldValue::Array(values) => values.iter().fold(self, |hash, value| hash.typed(value)).nil(),
            FieldValue::Table(table) => table.0.iter().fold(self, |hash, (key, value)| hash.entry(key, value)).nil(),
            integers => self.integer(integer(integers).unwrap_or_default().into()),
        }
    }

    /// An element of an array: type and value.
    pub(super) fn typed(self, value: &FieldValue) -> Self {
        self.tuple(2).atom(type_name(value)).value(value)
    }

    /// An entry of a table: key, type and value.
    pub(super) fn entry(self, key: &[u8], value: &FieldValue) -> Self {
        self.tuple(3).binary(key).atom(type_name(value)).value(value)
    }

    #[inline]
    fn words(&mut self, first: u32, second: u32, kind: u32) {
        let (_, _, hash) = mix(kind.wrapping_add(first), kind.wrapping_add(second), self.0);
        self.0 = hash;
    }
}

/// Bob Jenkins's mix of three words.
#[inline]
fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 13);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 8);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 13);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 12);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 16);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 5);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 3);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 10);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 15);
    (a, b, c)
}

#[inline]
fn block_hash(bytes: &[u8], initial: u32) -> u32 {
    let (mut a, mut b, mut c) = (GOLDEN, GOLDEN, initial);
    let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
    for block in &mut blocks {
        let (first, second) = block.split_at(size_of::<u64>());
        let first = little_endian(first);
        let second = little_endian(second);
        (a, b, c) =
            mix(a.wrapping_add(first as u32), b.wrapping_add((first >> 32) as u32), c.wrapping_add(second as u32));
    }
    let (first, second) = blocks.remainder().split_at(blocks.remainder().len().min(size_of::<u64>()));
    let (first, second) = (little_endian(first), little_endian(second));
    // The lowest byte is the length's.
    let third = (second as u32) << 8;
    let third = third.wrapping_add(bytes.len() as u32);
    mix(a.wrapping_add(first as u32), b.wrapping_add((first >> 32) as u32), c.wrapping_add(third)).2
}

/// At most eight bytes as a number, the first being the least. Without a copy of a length that varies: what is read twice
/// is the same both times.
#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => word(first) | word(last) << (8 * (bytes.len() - 4)),
        _ => bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    }
}

/// The hash of P. J. Weinberger, which Erlang keeps beside every atom.
fn atom_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let top = hash & 0xf000_0000;
        hash ^ (top >> 24) ^ top
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FieldTable;

    fn hash() -> TermHash {
        TermHash::default()
    }

    /// What `erlang:phash2` says.
    #[test]
    fn as_erlang_hashes() {
        let binaries: [(&[u8], u32); 17] = [
            (b"", 13_708_901),
            (b"a", 112_802_447),
            (b"ab", 127_597_802),
            (b"abc", 98_228_475),
            (b"abcd", 132_321_803),
            (b"hello", 47_480_723),
            (b"abcdef", 73_218_198),
            (b"abcdefg", 60_600_463),
            (b"abcdefgh", 72_227_102),
            (b"abcdefghi", 74_573_224),
            (b"abcdefghij", 53_651_200),
            (b"abcdefghijk", 96_993_671),
            (b"0123456789ab", 115_360_506),
            (b"0123456789abc", 67_923_675),
            (b"0123456789abcdefghi", 91_191_900),
            (b"0123456789abcdefghijk", 106_305_782),
            (b"0123456789abcdefghijklmnopqrstuvwxyz", 91_488_717),
        ];
        for (bytes, expected) in binaries {
            assert_eq!(hash().binary(bytes).finish(), expected, "{bytes:?}");
        }
        for (atom, expected) in [("undefined", 45_914_356), ("true", 506_293), ("false", 7_111_573)] {
            assert_eq!(hash().atom(atom).finish(), expected, "{atom}");
        }
        let integers = [
            (0, 88_723_725),
            (1, 2_614_250),
            (2, 27_494_836),
            (-1, 44_071_773),
            (256, 37_021_655),
            (134_217_727, 112_602_999),
            (134_217_728, 12_354_923),
            (-134_217_728, 69_672_967),
            (-134_217_729, 76_739_502),
            (4_294_967_296, 95_057_355),
            (-1_234_567_890_123_456_789, 27_041_501),
            (i64::MAX.into(), 28_179_613),
            (i64::MIN.into(), 126_213_383),
        ];
        for (integer, expected) in integers {
            assert_eq!(hash().integer(integer).finish(), expected, "{integer}");
        }
        for (float, expected) in [(1.5, 10_380_315), (0.0, 20_875_736), (-0.0, 20_875_736)] {
            assert_eq!(hash().float(float).finish(), expected, "{float}");
        }
    }

    #[test]
    fn terms_in_terms() {
        let text = |text: &str| FieldValue::LongString(text.as_bytes().into());
        assert_eq!(hash().nil().finish(), 113_427_502);
        assert_eq!(hash().binary(b"").nil().finish(), 38_220_213);
        assert_eq!(hash().binary(b"a").nil().finish(), 53_691_870);
        assert_eq!(hash().binary(b"a").binary(b"b").nil().finish(), 3_094_894);
        assert_eq!(hash().tuple(2).integer(1).integer(2).finish(), 91_564_110);
        assert_eq!(hash().typed(&text("a")).finish(), 65_711_459);
        assert_eq!(hash().value(&FieldValue::Array(vec![text("a")])).finish(), 21_877_881);
        let table = FieldTable(vec![("k".into(), text("v"))]);
        assert_eq!(hash().value(&FieldValue::Table(table)).finish(), 8_768_580);
    }
}
