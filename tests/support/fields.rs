//! Bytes on the wire and field tables, written from and rendered to the notation `{key=S:'value', n=I:5}`.
//!
//! Each value carries its wire tag: `S:` long string, `t:` boolean, `I:` 32 bits, `l:` 64 bits, `A:[…]` array,
//! `F:{…}` table, `D:(scale, value)` decimal, `V:None`, and so on.

use super::notation::{Cursor, quote};

/// Reads what a broker sent; running off the end is the broker's mistake and fails the test.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        assert!(length <= self.0.len(), "{length} bytes announced, {} left", self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub fn number(&mut self, width: usize) -> u64 {
        self.take(width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub fn short_string(&mut self) -> &'a [u8] {
        let length = self.number(1) as usize;
        self.take(length)
    }

    pub fn long_string(&mut self) -> &'a [u8] {
        let length = self.number(4) as usize;
        self.take(length)
    }

    pub fn table(&mut self) -> String {
        let mut entries = Reader(self.long_string());
        let mut rendered = Vec::new();
        while !entries.0.is_empty() {
            let name = String::from_utf8_lossy(entries.short_string()).into_owned();
            rendered.push(format!("{name}={}", entries.value()));
        }
        format!("{{{}}}", rendered.join(", "))
    }

    fn value(&mut self) -> String {
        let tag = self.number(1) as u8 as char;
        let value = match tag {
            't' => (self.number(1) != 0).to_string(),
            'b' => (self.number(1) as i8).to_string(),
            'B' => self.number(1).to_string(),
            's' => (self.number(2) as i16).to_string(),
            'u' => self.number(2).to_string(),
            'I' => (self.number(4) as i32).to_string(),
            'i' => self.number(4).to_string(),
            'l' => (self.number(8) as i64).to_string(),
            'L' | 'T' => self.number(8).to_string(),
            'f' => f32::from_bits(self.number(4) as u32).to_string(),
            'd' => f64::from_bits(self.number(8)).to_string(),
            'D' => format!("({}, {})", self.number(1), self.number(4)),
            'S' | 'x' => quote(self.long_string()),
            'F' => self.table(),
            'V' => "None".to_owned(),
            'A' => {
                let mut items = Reader(self.long_string());
                let mut rendered = Vec::new();
                while !items.0.is_empty() {
                    rendered.push(items.value());
                }
                format!("[{}]", rendered.join(", "))
            }
            unknown => panic!("the broker sent a field of type {unknown:?}"),
        };
        format!("{tag}:{value}")
    }
}

pub fn put_number(out: &mut Vec<u8>, value: u64, width: usize) {
    out.extend_from_slice(&value.to_be_bytes()[8 - width..]);
}

pub fn put_short_string(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() <= 255, "a short string of {} bytes", bytes.len());
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

pub fn put_long_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64, 4);
    out.extend_from_slice(bytes);
}

/// Writes a table from its notation.
pub fn put_table(out: &mut Vec<u8>, notation: &str) {
    let mut cursor = Cursor::new(notation);
    put_long_string(out, &table_entries(&mut cursor));
    assert!(cursor.at_end(), "something follows the table in {notation}");
}

/// The bytes of a table's entries without the length before them, which is also AMQPLAIN's response.
pub fn table_entries(cursor: &mut Cursor) -> Vec<u8> {
    let mut entries = Vec::new();
    cursor.expect(b'{');
    cursor.skip_spaces();
    while cursor.peek() != b'}' {
        let name = if cursor.peek() == b'\'' { cursor.quoted() } else { cursor.word().as_bytes().to_vec() };
        put_short_string(&mut entries, &name);
        cursor.expect(b'=');
        put_value(&mut entries, cursor);
        skip_separator(cursor);
    }
    cursor.expect(b'}');
    entries
}

fn skip_separator(cursor: &mut Cursor) {
    if cursor.peek() == b',' {
        cursor.expect(b',');
    }
    cursor.skip_spaces();
}

fn put_value(out: &mut Vec<u8>, cursor: &mut Cursor) {
    let tag = cursor.next();
    out.push(tag);
    cursor.expect(b':');
    match tag {
        b'S' | b'x' => {
            let bytes = if cursor.peek() == b'\'' { cursor.quoted() } else { cursor.word().as_bytes().to_vec() };
            put_long_string(out, &bytes);
        }
        b'F' => {
            let entries = table_entries(cursor);
            put_long_string(out, &entries);
        }
        b'A' => {
            let mut items = Vec::new();
            cursor.expect(b'[');
            while cursor.peek() != b']' {
                put_value(&mut items, cursor);
                skip_separator(cursor);
            }
            cursor.expect(b']');
            put_long_string(out, &items);
        }
        b'D' => {
            cursor.expect(b'(');
            put_integer(out, cursor.word(), 1);
            skip_separator(cursor);
            put_integer(out, cursor.word(), 4);
            cursor.expect(b')');
        }
        b't' => out.push(u8::from(cursor.word() == "true")),
        b'f' => out.extend_from_slice(&cursor.word().parse::<f32>().expect("a float").to_be_bytes()),
        b'd' => out.extend_from_slice(&cursor.word().parse::<f64>().expect("a double").to_be_bytes()),
        b'V' => assert_eq!(cursor.word(), "None", "a void value is written V:None"),
        b'b' | b'B' => put_integer(out, cursor.word(), 1),
        b's' | b'u' => put_integer(out, cursor.word(), 2),
        b'I' | b'i' => put_integer(out, cursor.word(), 4),
        b'l' | b'L' | b'T' => put_integer(out, cursor.word(), 8),
        unknown => panic!("no such field type in the notation: {:?}", unknown as char),
    }
}

fn put_integer(out: &mut Vec<u8>, text: &str, width: usize) {
    let value: i128 = text.parse().unwrap_or_else(|_| panic!("not an integer: {text}"));
    put_number(out, value as u64, width);
}
