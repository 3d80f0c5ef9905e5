//! Content headers: the properties of a message, written from and rendered to the notation.

use super::fields::{Reader, put_number, put_short_string, put_table};
use super::notation::{Arguments, number, quote, string};

/// The properties of class 60 in the order of their flags, the first at bit 15. Kinds as in the table of methods.
const PROPERTIES: &[(&str, &str)] = &[
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("headers", "t"),
    ("delivery_mode", "1"),
    ("priority", "1"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "8"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
];

/// The payload of a content header frame; `class`, `weight` and `flags` can be set wrong on purpose.
pub fn encode(body_size: u64, arguments: &mut Arguments) -> Vec<u8> {
    let mut flags = 0;
    let mut values = Vec::new();
    for (position, (name, kind)) in PROPERTIES.iter().enumerate() {
        let Some(text) = arguments.take(name) else { continue };
        flags |= 0x8000 >> position;
        match *kind {
            "s" => put_short_string(&mut values, &string(&text)),
            "t" => put_table(&mut values, &text),
            width => put_number(&mut values, number(&text), width.parse().expect("a width in bytes")),
        }
    }
    let mut payload = Vec::new();
    put_number(&mut payload, arguments.take_number("class").unwrap_or(60), 2);
    put_number(&mut payload, arguments.take_number("weight").unwrap_or(0), 2);
    put_number(&mut payload, body_size, 8);
    put_number(&mut payload, arguments.take_number("flags").unwrap_or(flags), 2);
    payload.extend(values);
    payload.extend(arguments.take_string("raw_properties").unwrap_or_default());
    payload
}

/// A content header as a broker sent it.
pub struct Received {
    pub body_size: u64,
    pub reply_to: Option<String>,
    rendered: String,
}

impl Received {
    pub fn decode(payload: &[u8]) -> Self {
        let mut reader = Reader(payload);
        assert_eq!(reader.number(2), 60, "class of the content header");
        assert_eq!(reader.number(2), 0, "weight of the content header");
        let body_size = reader.number(8);
        let flags = reader.number(2);
        assert_eq!(flags & 3, 0, "flags {flags:#06x} announce more than the protocol has");
        let mut shown = vec![format!("size={body_size}")];
        let mut reply_to = None;
        for (position, (name, kind)) in PROPERTIES.iter().enumerate() {
            if flags & (0x8000 >> position) == 0 {
                continue;
            }
            let value = match *kind {
                "s" => quote(reader.short_string()),
                "t" => reader.table(),
                width => reader.number(width.parse().expect("a width in bytes")).to_string(),
            };
            if *name == "reply_to" {
                reply_to = Some(value[1..value.len() - 1].to_owned());
            }
            shown.push(format!("{name}={value}"));
        }
        assert!(reader.0.is_empty(), "{} bytes after the properties", reader.0.len());
        Self { body_size, reply_to, rendered: format!("header({})", shown.join(", ")) }
    }

    pub fn render(&self) -> &str {
        &self.rendered
    }
}
