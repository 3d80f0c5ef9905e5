//! Field tables (AMQP 0-9-1 §4.2.5.5, with RabbitMQ's type tags).

use super::ShortString;

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
