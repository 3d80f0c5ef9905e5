//! Entries of a field table written one after the other, without a [`FieldTable`](super::FieldTable) in between: for
//! headers that the broker adds to messages on their way.
//!
//! It writes only [the tags that every client reads alike](super::field_table).

use super::encoder::{begin_length, end_length, put_long_string, put_short_string, put_u8, put_u64};
use super::field_table::tag;

/// Writes the entries of a table onto the end of a buffer.
pub struct TableWriter<'a> {
    out: &'a mut Vec<u8>,
}

/// Writes the values of an array onto the end of a buffer.
pub struct ArrayWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> TableWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    fn key(&mut self, name: &[u8], tag: u8) {
        put_short_string(self.out, name);
        put_u8(self.out, tag);
    }

    pub fn long_string(&mut self, name: &[u8], value: &[u8]) {
        self.key(name, tag::LONG_STRING);
        put_long_string(self.out, value);
    }

    pub fn integer(&mut self, name: &[u8], value: i64) {
        self.key(name, tag::I64);
        put_u64(self.out, value.cast_unsigned());
    }

    /// Seconds since 1970.
    pub fn timestamp(&mut self, name: &[u8], seconds: u64) {
        self.key(name, tag::TIMESTAMP);
        put_u64(self.out, seconds);
    }

    pub fn array(&mut self, name: &[u8], write: impl FnOnce(&mut ArrayWriter<'_>)) {
        self.key(name, tag::ARRAY);
        let start = begin_length(self.out);
        write(&mut ArrayWriter { out: self.out });
        end_length(self.out, start);
    }
}

impl ArrayWriter<'_> {
    /// The length of the buffer, with all that was written before the array.
    pub fn buffer_length(&self) -> usize {
        self.out.len()
    }

    pub fn long_string(&mut self, value: &[u8]) {
        put_u8(self.out, tag::LONG_STRING);
        put_long_string(self.out, value);
    }

    pub fn table(&mut self, write: impl FnOnce(&mut TableWriter<'_>)) {
        put_u8(self.out, tag::TABLE);
        let start = begin_length(self.out);
        write(&mut TableWriter { out: self.out });
        end_length(self.out, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FieldTable, FieldValue};

    #[test]
    fn what_is_written_reads_as_a_table_of_the_same_values() {
        let mut written = Vec::new();
        let mut table = TableWriter::new(&mut written);
        table.long_string(b"s", b"value");
        table.integer(b"n", -2);
        table.timestamp(b"t", 7);
        table.array(b"a", |array| {
            array.long_string(b"first");
            array.table(|table| table.integer(b"inner", 1));
        });
        let inner = FieldTable(vec![("inner".into(), FieldValue::I64(1))]);
        let string = |value: &[u8]| FieldValue::LongString(value.into());
        let expected = FieldTable(vec![
            ("s".into(), string(b"value")),
            ("n".into(), FieldValue::I64(-2)),
            ("t".into(), FieldValue::Timestamp(7)),
            ("a".into(), FieldValue::Array(vec![string(b"first"), FieldValue::Table(inner)])),
        ]);
        assert_eq!(FieldTable::decode_entries(&written), Ok(expected));
    }
}
