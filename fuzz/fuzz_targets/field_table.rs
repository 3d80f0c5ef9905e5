//! The view and the copy of a table agree on what is a table and on every value in it, to any depth that is allowed.
#![no_main]

use leveret::protocol::field_table::TABLE_DEPTH_MAX;
use leveret::protocol::{ArrayRef, FieldTable, FieldValue, FieldValueRef, TableRef};
use libfuzzer_sys::fuzz_target;

fn octets(value: &FieldValue) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

/// Compares octets and not values: a NaN is not equal to itself.
fn assert_same(view: FieldValueRef<'_>, owned: &FieldValue) {
    assert_eq!(octets(&view.to_owned()), octets(owned));
}

/// Walks a view to its leaves and says how many levels there were.
fn depth_of_table(table: TableRef<'_>) -> usize {
    1 + table.iter().map(|(_, value)| depth_of_value(value)).max().unwrap_or(0)
}

fn depth_of_array(array: ArrayRef<'_>) -> usize {
    1 + array.iter().map(depth_of_value).max().unwrap_or(0)
}

fn depth_of_value(value: FieldValueRef<'_>) -> usize {
    match value {
        FieldValueRef::Table(table) => depth_of_table(table),
        FieldValueRef::Array(array) => depth_of_array(array),
        _ => 0,
    }
}

fuzz_target!(|entries: &[u8]| {
    let (view, owned) = match (TableRef::parse(entries), FieldTable::decode_entries(entries)) {
        (Ok(view), Ok(owned)) => (view, owned),
        (Err(view), Err(owned)) => return assert_eq!(view, owned),
        (view, owned) => panic!("the view says {view:?}, the copy {owned:?}"),
    };
    assert!(depth_of_table(view) <= TABLE_DEPTH_MAX);
    assert_eq!(view.iter().count(), owned.len());
    for ((view_key, view_value), (key, value)) in view.iter().zip(&owned.0) {
        assert_eq!(view_key, key.as_bytes());
        assert_same(view_value, value);
        // Both find the first of duplicate keys.
        assert_same(view.get(view_key).expect("it is there"), owned.get(view_key).expect("it is there"));
    }
    let mut encoded = Vec::new();
    owned.encode_entries(&mut encoded);
    let again = FieldTable::decode_entries(&encoded).expect("what we encode, we decode");
    let mut twice = Vec::new();
    again.encode_entries(&mut twice);
    assert_eq!(encoded, twice);
});
