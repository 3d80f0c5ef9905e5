//! Field tables where they lie: views of validated bytes that are walked without a copy.
//!
//! A [`TableRef`] or [`ArrayRef`] exists only over bytes that were checked from end to end, so walking one cannot fail.

use super::decoder::{DecodeError, Reader};
use super::field_table::{FieldTable, FieldValue, TABLE_DEPTH_MAX, tag};
use super::short_string::ShortString;

/// A field table as bytes: its entries, without the length before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableRef<'a> {
    entries: &'a [u8],
}

/// A field array as bytes, without the length before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArrayRef<'a> {
    values: &'a [u8],
}

/// One value of a [`TableRef`]. The variants are those of [`FieldValue`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FieldValueRef<'a> {
    Boolean(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal { scale: u8, value: u32 },
    LongString(&'a [u8]),
    Array(ArrayRef<'a>),
    Timestamp(u64),
    Table(TableRef<'a>),
    Void,
    Bytes(&'a [u8]),
}

impl<'a> TableRef<'a> {
    /// Checks the structure of all entries, nested ones too, and the depth of nesting. Allocates nothing.
    pub fn parse(entries: &'a [u8]) -> Result<Self, DecodeError> {
        validate_table(entries, 1)?;
        Ok(Self { entries })
    }

    /// In bytes, of all entries.
    pub fn size_bytes(&self) -> usize {
        self.entries.len()
    }

    /// The entries in the order of the wire.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], FieldValueRef<'a>)> + use<'a> {
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || (!reader.is_empty()).then(|| read_entry(&mut reader).expect(VALIDATED)))
    }

    /// The entries with the bytes that each of them is, name and tag included.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = (&'a [u8], FieldValueRef<'a>, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || {
            let before = reader.rest();
            let (name, value) = (!before.is_empty()).then(|| read_entry(&mut reader).expect(VALIDATED))?;
            Some((name, value, &before[..before.len() - reader.rest().len()]))
        })
    }

    /// The first entry of that name: RabbitMQ keeps the first of duplicate keys.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<FieldValueRef<'a>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether any value in here, nested ones too, has the tag `L`. Told apart by the tag alone: it reads as `l`.
    #[inline]
    pub fn holds_unsigned_long(&self) -> bool {
        // Most tables don't even have that letter in them.
        memchr::memchr(tag::I64_ALIAS, self.entries).is_some() && holds_unsigned_long(self.entries, true)
    }

    pub fn to_owned(&self) -> FieldTable {
        let entry = |(key, value): (&[u8], FieldValueRef<'_>)| (ShortString::truncated(key), value.to_owned());
        FieldTable(self.iter().map(entry).collect())
    }
}

impl<'a> ArrayRef<'a> {
    /// In bytes, of all values.
    pub fn size_bytes(&self) -> usize {
        self.values.len()
    }

    /// The values in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = FieldValueRef<'a>> + use<'a> {
        let mut reader = Reader::new(self.values);
        std::iter::from_fn(move || (!reader.is_empty()).then(|| read_value(&mut reader).expect(VALIDATED)))
    }
}

impl FieldValueRef<'_> {
    /// The value of any of the integer types; a time is none of them.
    pub fn integer(self) -> Option<i64> {
        Some(match self {
            Self::I8(value) => value.into(),
            Self::U8(value) => value.into(),
            Self::I16(value) => value.into(),
            Self::U16(value) => value.into(),
            Self::I32(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::I64(value) => value,
            _ => return None,
        })
    }

    pub fn to_owned(&self) -> FieldValue {
        match *self {
            Self::Boolean(value) => FieldValue::Boolean(value),
            Self::I8(value) => FieldValue::I8(value),
            Self::U8(value) => FieldValue::U8(value),
            Self::I16(value) => FieldValue::I16(value),
            Self::U16(value) => FieldValue::U16(value),
            Self::I32(value) => FieldValue::I32(value),
            Self::U32(value) => FieldValue::U32(value),
            Self::I64(value) => FieldValue::I64(value),
            Self::F32(value) => FieldValue::F32(value),
            Self::F64(value) => FieldValue::F64(value),
            Self::Decimal { scale, value } => FieldValue::Decimal { scale, value },
            Self::LongString(bytes) => FieldValue::LongString(bytes.into()),
            Self::Array(array) => FieldValue::Array(array.iter().map(|value| value.to_owned()).collect()),
            Self::Timestamp(seconds) => FieldValue::Timestamp(seconds),
            Self::Table(table) => FieldValue::Table(table.to_owned()),
            Self::Void => FieldValue::Void,
            Self::Bytes(bytes) => FieldValue::Bytes(bytes.into()),
        }
    }
}

/// Why walking a view cannot fail: both views are made in this module only, out of bytes that were walked before.
const VALIDATED: &str = "a table is validated before it is viewed";

fn validate_table(entries: &[u8], depth: usize) -> Result<(), DecodeError> {
    if depth > TABLE_DEPTH_MAX {
        return Err(DecodeError::TableTooDeep);
    }
    let mut reader = Reader::new(entries);
    while !reader.is_empty() {
        let (_, value) = read_entry(&mut reader)?;
        validate_nested(value, depth)?;
    }
    Ok(())
}

fn validate_array(values: &[u8], depth: usize) -> Result<(), DecodeError> {
    if depth > TABLE_DEPTH_MAX {
        return Err(DecodeError::TableTooDeep);
    }
    let mut reader = Reader::new(values);
    while !reader.is_empty() {
        let value = read_value(&mut reader)?;
        validate_nested(value, depth)?;
    }
    Ok(())
}

/// Looks into a value that stands at `depth`; scalars were already checked by reading them.
#[inline]
fn validate_nested(value: FieldValueRef<'_>, depth: usize) -> Result<(), DecodeError> {
    match value {
        FieldValueRef::Table(table) => validate_table(table.entries, depth + 1),
        FieldValueRef::Array(array) => validate_array(array.values, depth + 1),
        _ => Ok(()),
    }
}

/// Looks for the tag `L` in validated entries of a table, or values of an array.
#[cold]
fn holds_unsigned_long(bytes: &[u8], with_keys: bool) -> bool {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        if with_keys {
            reader.short_string().expect(VALIDATED);
        }
        if reader.rest().first() == Some(&tag::I64_ALIAS) {
            return true;
        }
        let found = match read_value(&mut reader).expect(VALIDATED) {
            FieldValueRef::Table(table) => holds_unsigned_long(table.entries, true),
            FieldValueRef::Array(array) => holds_unsigned_long(array.values, false),
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}

#[inline]
fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], FieldValueRef<'a>), DecodeError> {
    let key = reader.short_string()?;
    Ok((key, read_value(reader)?))
}

/// Reads one value; what a table or an array holds is not looked into.
#[inline]
fn read_value<'a>(reader: &mut Reader<'a>) -> Result<FieldValueRef<'a>, DecodeError> {
    Ok(match reader.u8()? {
        tag::LONG_STRING => FieldValueRef::LongString(reader.long_string()?),
        tag::I32 => FieldValueRef::I32(reader.u32()?.cast_signed()),
        tag::I64 | tag::I64_ALIAS => FieldValueRef::I64(reader.u64()?.cast_signed()),
        tag::BOOLEAN => FieldValueRef::Boolean(reader.u8()? != 0),
        tag::TABLE => FieldValueRef::Table(TableRef { entries: reader.long_string()? }),
        tag::ARRAY => FieldValueRef::Array(ArrayRef { values: reader.long_string()? }),
        tag::TIMESTAMP => FieldValueRef::Timestamp(reader.u64()?),
        tag::VOID => FieldValueRef::Void,
        tag::I8 => FieldValueRef::I8(reader.u8()?.cast_signed()),
        tag::U8 => FieldValueRef::U8(reader.u8()?),
        tag::I16 => FieldValueRef::I16(reader.u16()?.cast_signed()),
        tag::U16 => FieldValueRef::U16(reader.u16()?),
        tag::U32 => FieldValueRef::U32(reader.u32()?),
        tag::F32 => FieldValueRef::F32(f32::from_bits(reader.u32()?)),
        tag::F64 => FieldValueRef::F64(f64::from_bits(reader.u64()?)),
        tag::DECIMAL => FieldValueRef::Decimal { scale: reader.u8()?, value: reader.u32()? },
        tag::BYTES => FieldValueRef::Bytes(reader.long_string()?),
        unknown => return Err(DecodeError::UnknownFieldTag(unknown)),
    })
}
