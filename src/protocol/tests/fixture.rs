//! Notation for octets, and generators of values.

use crate::protocol::{BasicProperties, FieldTable, FieldValue, ShortString};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The octets that a fixture spells: pairs of hexadecimal digits, and text between quotes. Spaces only separate.
pub fn octets(fixture: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = fixture.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (text, after) = rest[1..].split_once('\'').expect("a quote ends");
            octets.extend_from_slice(text.as_bytes());
            rest = after.trim_start();
        } else {
            octets.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
            rest = rest[2..].trim_start();
        }
    }
    octets
}

/// The same cases in every run; the fuzz targets are for new ones.
pub fn deterministic() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(0x1e7e_4e70), failure_persistence: None, ..ProptestConfig::default() }
}

pub fn short_string() -> impl Strategy<Value = ShortString> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| ShortString::truncated(&bytes))
}

/// A name that every method takes: 60 characters of UTF-8 are at most 240 octets.
pub fn name() -> impl Strategy<Value = String> {
    "\\PC{0,60}"
}

pub fn field_value() -> impl Strategy<Value = FieldValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Vec::into_boxed_slice);
    let scalar = prop_oneof![
        any::<bool>().prop_map(FieldValue::Boolean),
        any::<i8>().prop_map(FieldValue::I8),
        any::<u8>().prop_map(FieldValue::U8),
        any::<i16>().prop_map(FieldValue::I16),
        any::<u16>().prop_map(FieldValue::U16),
        any::<i32>().prop_map(FieldValue::I32),
        any::<u32>().prop_map(FieldValue::U32),
        any::<i64>().prop_map(FieldValue::I64),
        any::<f32>().prop_map(FieldValue::F32),
        any::<f64>().prop_map(FieldValue::F64),
        any::<(u8, u32)>().prop_map(|(scale, value)| FieldValue::Decimal { scale, value }),
        bytes().prop_map(FieldValue::LongString),
        any::<u64>().prop_map(FieldValue::Timestamp),
        Just(FieldValue::Void),
        bytes().prop_map(FieldValue::Bytes),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(FieldValue::Array),
            prop::collection::vec((short_string(), inner), 0..5)
                .prop_map(|entries| FieldValue::Table(FieldTable(entries))),
        ]
    })
}

pub fn field_table() -> impl Strategy<Value = FieldTable> {
    prop::collection::vec((short_string(), field_value()), 0..6).prop_map(FieldTable)
}

pub fn basic_properties() -> impl Strategy<Value = BasicProperties> {
    let string = || prop::option::of(short_string());
    let numbers = (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>());
    let strings = (string(), string(), string(), string(), string(), string());
    let more_strings = (string(), string(), string(), string());
    (prop::option::of(field_table()), numbers, strings, more_strings).prop_map(
        |(headers, numbers, strings, more_strings)| {
            let (delivery_mode, priority, timestamp) = numbers;
            let (content_type, content_encoding, correlation_id, reply_to, expiration, message_id) = strings;
            let (message_type, user_id, app_id, cluster_id) = more_strings;
            BasicProperties {
                content_type,
                content_encoding,
                headers,
                delivery_mode,
                priority,
                correlation_id,
                reply_to,
                expiration,
                message_id,
                timestamp,
                message_type,
                user_id,
                app_id,
                cluster_id,
            }
        },
    )
}
