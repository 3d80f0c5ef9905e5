//! What makes two bindings the same, and the key that names one of them in listings.

use super::{Destination, ExchangeId};
use crate::protocol::{FieldTable, FieldValue, ShortString};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt::Write;

/// One binding, as the router keeps it.
pub(super) struct Binding {
    pub(super) source: ExchangeId,
    pub(super) destination: Destination,
    pub(super) routing_key: ShortString,
    pub(super) arguments: FieldTable,
    /// [`fingerprint`] of the arguments: bindings that differ only in it are different bindings.
    pub(super) fingerprint: Box<[u8]>,
    /// Both ends are durable, so it outlives the broker.
    pub(super) durable: bool,
    /// Index in the source's `outgoing`.
    pub(super) outgoing_position: usize,
    /// Index in the destination's `incoming`.
    pub(super) incoming_position: usize,
}

/// A binding as listings show it.
#[derive(Clone, Copy, Debug)]
pub struct BindingInfo<'a> {
    /// Name of the source exchange; empty for the default exchange.
    pub source: &'a [u8],
    pub destination: Destination,
    /// Name of the destination queue or exchange.
    pub destination_name: &'a [u8],
    pub routing_key: &'a [u8],
    /// `None`: it has none.
    pub arguments: Option<&'a FieldTable>,
}

/// A binding that is gone.
pub struct LostBinding {
    source: ShortString,
    destination: Destination,
    destination_name: ShortString,
    routing_key: ShortString,
    arguments: FieldTable,
}

impl LostBinding {
    pub(super) fn of(info: &BindingInfo<'_>) -> Self {
        Self {
            source: ShortString::truncated(info.source),
            destination: info.destination,
            destination_name: ShortString::truncated(info.destination_name),
            routing_key: ShortString::truncated(info.routing_key),
            arguments: info.arguments.cloned().unwrap_or_default(),
        }
    }

    /// What it was.
    pub fn info(&self) -> BindingInfo<'_> {
        BindingInfo {
            source: &self.source,
            destination: self.destination,
            destination_name: &self.destination_name,
            routing_key: &self.routing_key,
            arguments: (!self.arguments.is_empty()).then_some(&self.arguments),
        }
    }

    /// The memory that it takes, but for what its arguments hold.
    pub fn held_bytes(&self) -> usize {
        let names = self.source.len() + self.destination_name.len() + self.routing_key.len();
        size_of::<Self>() + names + self.arguments.len() * size_of::<(ShortString, FieldValue)>()
    }
}

impl BindingInfo<'_> {
    /// `queue` or `exchange`, as listings call the kind of destination.
    pub fn destination_type(&self) -> &'static str {
        match self.destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        }
    }

    /// [`properties_key`] of this binding.
    pub fn properties_key(&self) -> String {
        properties_key(self.routing_key, self.arguments)
    }
}

/// The name of a binding among those of the same ends: the percent-encoded routing key, `~` when that is empty, and a hash
/// of the arguments when there are any.
pub fn properties_key(routing_key: &[u8], arguments: Option<&FieldTable>) -> String {
    let fingerprint = arguments.map(fingerprint).unwrap_or_default();
    if fingerprint.is_empty() && routing_key.is_empty() {
        return "~".to_owned();
    }
    let mut text = quoted(routing_key);
    if !fingerprint.is_empty() {
        text.push('~');
        text.push_str(&URL_SAFE_NO_PAD.encode(fnv_1a(&fingerprint).to_be_bytes()));
    }
    text
}

/// Percent-encodes for a path segment; `~` too, as it separates key and hash.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => text.push(byte.into()),
            b' ' => text.push('+'),
            // Writing into a String cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// 32-bit FNV-1a: it must be the same in every run and on every machine, as clients keep these keys.
fn fnv_1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The arguments sorted by name: their order does not tell bindings apart.
pub fn canonical(arguments: &FieldTable) -> FieldTable {
    let mut sorted = arguments.clone();
    sorted.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted
}

/// Bytes that are equal exactly when arguments are, types and order of nested tables included. Empty for no arguments.
/// Bytes rather than values, because a NaN must be equal to itself or its binding could never be removed.
pub(super) fn fingerprint(arguments: &FieldTable) -> Box<[u8]> {
    let mut bytes = Vec::new();
    if !arguments.is_empty() {
        write_table(&mut bytes, &canonical(arguments));
    }
    bytes.into()
}

fn write_table(bytes: &mut Vec<u8>, table: &FieldTable) {
    write_length(bytes, table.len());
    for (key, value) in &table.0 {
        write_bytes(bytes, key);
        write_value(bytes, value);
    }
}

fn write_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&(length as u64).to_be_bytes());
}

fn write_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    write_length(bytes, content.len());
    bytes.extend_from_slice(content);
}

fn write_value(bytes: &mut Vec<u8>, value: &FieldValue) {
    let mut plain = |tag: u8, content: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(content);
    };
    match value {
        FieldValue::Boolean(v) => plain(b't', &[u8::from(*v)]),
        FieldValue::I8(v) => plain(b'b', &v.to_be_bytes()),
        FieldValue::U8(v) => plain(b'B', &v.to_be_bytes()),
        FieldValue::I16(v) => plain(b's', &v.to_be_bytes()),
        FieldValue::U16(v) => plain(b'u', &v.to_be_bytes()),
        FieldValue::I32(v) => plain(b'I', &v.to_be_bytes()),
        FieldValue::U32(v) => plain(b'i', &v.to_be_bytes()),
        FieldValue::I64(v) => plain(b'l', &v.to_be_bytes()),
        FieldValue::F32(v) => plain(b'f', &v.to_be_bytes()),
        FieldValue::F64(v) => plain(b'd', &v.to_be_bytes()),
        FieldValue::Timestamp(v) => plain(b'T', &v.to_be_bytes()),
        FieldValue::Void => plain(b'V', &[]),
        FieldValue::Decimal { scale, value } => {
            plain(b'D', &[*scale]);
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        FieldValue::LongString(content) => {
            plain(b'S', &[]);
            write_bytes(bytes, content);
        }
        FieldValue::Bytes(content) => {
            plain(b'x', &[]);
            write_bytes(bytes, content);
        }
        FieldValue::Array(values) => {
            plain(b'A', &[]);
            write_length(bytes, values.len());
            values.iter().for_each(|value| write_value(bytes, value));
        }
        FieldValue::Table(table) => {
            plain(b'F', &[]);
            write_table(bytes, table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn properties_keys() {
        let properties_key = |routing_key: &str, arguments| properties_key(routing_key.as_bytes(), arguments);
        assert_eq!(properties_key("", None), "~");
        assert_eq!(properties_key("a.b", None), "a.b");
        assert_eq!(properties_key("a.#", None), "a.%23");
        assert_eq!(properties_key("foo~bar/bash", None), "foo%7Ebar%2Fbash");
        let arguments = FieldTable(vec![("a".into(), FieldValue::I32(1))]);
        assert_eq!(properties_key("", Some(&arguments)).len(), "~".len() + 6);
        assert_eq!(properties_key("k", Some(&FieldTable::default())), "k");
    }

    #[test]
    fn fingerprints_ignore_order_and_tell_types_apart() {
        let table = |entries: &[(&'static str, FieldValue)]| {
            FieldTable(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
        };
        let (one, two) = (("a", FieldValue::I32(1)), ("b", FieldValue::F64(f64::NAN)));
        let fingerprint = |entries: &[(&'static str, FieldValue)]| fingerprint(&table(entries));
        assert_eq!(fingerprint(&[one.clone(), two.clone()]), fingerprint(&[two, one.clone()]));
        assert_ne!(fingerprint(&[one]), fingerprint(&[("a", FieldValue::I64(1))]));
        assert!(fingerprint(&[]).is_empty());
    }
}
