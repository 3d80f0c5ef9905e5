//! Field tables (AMQP 0-9-1 §4.2.5.5, with RabbitMQ's type tags).
//!
//! [`FieldTable`] owns its entries: the arguments of declarations and bindings. [`TableRef`] borrows them from validated
//! bytes: the headers of messages, which are looked into without a copy. Every tag that any client sends is read.
//! A value is written with the tag of its variant, so what a client sent comes back as it was (`L` as `l`). **Values of
//! our own use only the tags that every client reads alike: `t I l S T F A V d`.** py-amqp takes `s` for a string, and
//! several clients know no unsigned integers.

use super::ShortString;
use super::decoder::DecodeError;
use super::encoder::put_u64;
use super::encoder::{
    begin_length, end_length, put_long_string, put_short_string, put_table, put_u8, put_u16, put_u32,
};

pub use super::table_ref::{ArrayRef, FieldValueRef, TableRef};

/// How deep tables and arrays may nest, the outermost table being the first level. RabbitMQ sets no limit, and a
/// 128 KiB frame has room for 26,000 levels: enough to end a thread whose stack recurses with them.
pub const TABLE_DEPTH_MAX: usize = 100;

/// The type tags of field values on the wire.
pub(super) mod tag {
    pub const BOOLEAN: u8 = b't';
    pub const I8: u8 = b'b';
    pub const U8: u8 = b'B';
    pub const I16: u8 = b's';
    pub const U16: u8 = b'u';
    pub const I32: u8 = b'I';
    pub const U32: u8 = b'i';
    pub const I64: u8 = b'l';
    /// Unsigned by its definition; RabbitMQ gives it back signed.
    pub const I64_ALIAS: u8 = b'L';
    pub const F32: u8 = b'f';
    pub const F64: u8 = b'd';
    pub const DECIMAL: u8 = b'D';
    pub const LONG_STRING: u8 = b'S';
    pub const ARRAY: u8 = b'A';
    pub const TIMESTAMP: u8 = b'T';
    pub const TABLE: u8 = b'F';
    pub const VOID: u8 = b'V';
    pub const BYTES: u8 = b'x';
}

/// One value of a field table. The comment names RabbitMQ's tag on the wire.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldValue {
    /// `t`
    Boolean(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L`, which RabbitMQ reads as signed too
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`
    Decimal { scale: u8, value: u32 },
    /// `S`
    LongString(Box<[u8]>),
    /// `A`
    Array(Vec<FieldValue>),
    /// `T`, seconds since 1970
    Timestamp(u64),
    /// `F`
    Table(FieldTable),
    /// `V`
    Void,
    /// `x`
    Bytes(Box<[u8]>),
}

/// A decoded field table: its entries in the order of the wire.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FieldTable(pub Vec<(ShortString, FieldValue)>);

impl FieldTable {
    /// The first entry of that name: RabbitMQ keeps the first of duplicate keys.
    pub fn get(&self, name: &[u8]) -> Option<&FieldValue> {
        self.0.iter().find(|(key, _)| key.as_bytes() == name).map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FieldTable {
    /// Copies a table from its entries without the length before them. (That is how AMQPLAIN's response comes.)
    pub fn decode_entries(entries: &[u8]) -> Result<Self, DecodeError> {
        Ok(TableRef::parse(entries)?.to_owned())
    }

    /// Writes the entries without the length before them.
    pub fn encode_entries(&self, out: &mut Vec<u8>) {
        for (key, value) in &self.0 {
            put_short_string(out, key);
            value.encode(out);
        }
    }
}

impl FieldValue {
    /// Writes the type tag and the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, self.tag());
        match self {
            Self::Boolean(value) => put_u8(out, u8::from(*value)),
            Self::I8(value) => put_u8(out, value.cast_unsigned()),
            Self::U8(value) => put_u8(out, *value),
            Self::I16(value) => put_u16(out, value.cast_unsigned()),
            Self::U16(value) => put_u16(out, *value),
            Self::I32(value) => put_u32(out, value.cast_unsigned()),
            Self::U32(value) => put_u32(out, *value),
            Self::I64(value) => put_u64(out, value.cast_unsigned()),
            Self::F32(value) => put_u32(out, value.to_bits()),
            Self::F64(value) => put_u64(out, value.to_bits()),
            Self::Decimal { scale, value } => {
                put_u8(out, *scale);
                put_u32(out, *value);
            }
            Self::LongString(bytes) | Self::Bytes(bytes) => put_long_string(out, bytes),
            Self::Array(values) => {
                let start = begin_length(out);
                values.iter().for_each(|value| value.encode(out));
                end_length(out, start);
            }
            Self::Timestamp(seconds) => put_u64(out, *seconds),
            Self::Table(table) => put_table(out, table),
            Self::Void => {}
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Boolean(_) => tag::BOOLEAN,
            Self::I8(_) => tag::I8,
            Self::U8(_) => tag::U8,
            Self::I16(_) => tag::I16,
            Self::U16(_) => tag::U16,
            Self::I32(_) => tag::I32,
            Self::U32(_) => tag::U32,
            Self::I64(_) => tag::I64,
            Self::F32(_) => tag::F32,
            Self::F64(_) => tag::F64,
            Self::Decimal { .. } => tag::DECIMAL,
            Self::LongString(_) => tag::LONG_STRING,
            Self::Array(_) => tag::ARRAY,
            Self::Timestamp(_) => tag::TIMESTAMP,
            Self::Table(_) => tag::TABLE,
            Self::Void => tag::VOID,
            Self::Bytes(_) => tag::BYTES,
        }
    }
}
