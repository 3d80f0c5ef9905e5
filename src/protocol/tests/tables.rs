//! Field tables: every tag, spelled by hand.

use super::fixture::octets;
use crate::protocol::decoder::Reader;
use crate::protocol::encoder::put_table;
use crate::protocol::{FieldTable, FieldValue, FieldValueRef, TableRef};

/// One value of every tag: key, octets of tag and value, value.
fn every_tag() -> Vec<(&'static str, &'static str, FieldValue)> {
    let nested = FieldTable(vec![("a".into(), FieldValue::I32(1))]);
    vec![
        ("bool", "'t' 01", FieldValue::Boolean(true)),
        ("i8", "'b' FB", FieldValue::I8(-5)),
        ("u8", "'B' FA", FieldValue::U8(250)),
        ("i16", "'s' FFFD", FieldValue::I16(-3)),
        ("u16", "'u' FDE8", FieldValue::U16(65000)),
        ("i32", "'I' FFFFFFF7", FieldValue::I32(-9)),
        ("u32", "'i' EE6B2800", FieldValue::U32(4_000_000_000)),
        ("i64", "'l' FFFFFF0000000000", FieldValue::I64(-1_099_511_627_776)),
        ("f32", "'f' 3FC00000", FieldValue::F32(1.5)),
        ("f64", "'d' 4002000000000000", FieldValue::F64(2.25)),
        ("decimal", "'D' 02 0000013A", FieldValue::Decimal { scale: 2, value: 314 }),
        ("string", "'S' 00000003 'str'", FieldValue::LongString(b"str"[..].into())),
        (
            "array",
            "'A' 0000000B 'I' 00000001 'S' 00000001 'z'",
            FieldValue::Array(vec![FieldValue::I32(1), FieldValue::LongString(b"z"[..].into())]),
        ),
        ("time", "'T' 000000006553F100", FieldValue::Timestamp(1_700_000_000)),
        ("table", "'F' 00000007 01'a' 'I' 00000001", FieldValue::Table(nested)),
        ("void", "'V'", FieldValue::Void),
        ("bytes", "'x' 00000002 0001", FieldValue::Bytes([0, 1][..].into())),
    ]
}

#[test]
fn every_tag_is_read_and_written_as_it_came() {
    for (key, wire, value) in every_tag() {
        let entries = [&[key.len() as u8][..], key.as_bytes(), &octets(wire)].concat();
        let table = FieldTable(vec![(key.into(), value)]);
        assert_eq!(FieldTable::decode_entries(&entries).as_ref(), Ok(&table), "{key}");

        let mut encoded = Vec::new();
        table.encode_entries(&mut encoded);
        assert_eq!(encoded, entries, "{key}");
    }
}

#[test]
fn a_table_has_its_length_before_it() {
    let table = FieldTable(every_tag().into_iter().map(|(key, _, value)| (key.into(), value)).collect());
    let mut wire = octets("AA");
    put_table(&mut wire, &table);
    let length = u32::try_from(wire.len() - 5).unwrap();
    assert_eq!(wire[1..5], length.to_be_bytes());

    wire.extend_from_slice(b"next");
    let mut reader = Reader::new(&wire[1..]);
    assert_eq!(reader.table(), Ok(table));
    assert_eq!(reader.rest(), b"next");
}

#[test]
fn the_unsigned_64_bit_tag_is_read_as_signed_and_written_so() {
    let table = FieldTable::decode_entries(&octets("01'n' 'L' 8000000000000005")).unwrap();
    assert_eq!(table.get(b"n"), Some(&FieldValue::I64(-9_223_372_036_854_775_803)));
    let mut encoded = Vec::new();
    table.encode_entries(&mut encoded);
    assert_eq!(encoded, octets("01'n' 'l' 8000000000000005"));
}

#[test]
fn any_octet_but_zero_is_true() {
    let table = FieldTable::decode_entries(&octets("01'a' 't' 07 01'b' 't' 00")).unwrap();
    assert_eq!(table.get(b"a"), Some(&FieldValue::Boolean(true)));
    assert_eq!(table.get(b"b"), Some(&FieldValue::Boolean(false)));
}

#[test]
fn the_first_of_duplicate_keys_is_found_and_all_are_kept() {
    let entries = octets("01'a' 'B' 01 01'a' 'B' 02");
    let table = TableRef::parse(&entries).unwrap();
    assert_eq!(table.get(b"a"), Some(FieldValueRef::U8(1)));
    assert_eq!(table.iter().count(), 2);
    assert_eq!(table.to_owned().get(b"a"), Some(&FieldValue::U8(1)));
    assert_eq!(table.to_owned().len(), 2);
}

#[test]
fn a_view_walks_entries_and_nested_values_where_they_lie() {
    let entries = octets("01'F' 'F' 00000004 01'k' 't' 01   01'A' 'A' 00000003 'B' 09 'V'   01'S' 'S' 00000002 'hi'");
    let table = TableRef::parse(&entries).unwrap();
    let keys: Vec<&[u8]> = table.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"F", b"A", b"S"]);

    let Some(FieldValueRef::Table(nested)) = table.get(b"F") else { panic!("a table") };
    assert_eq!(nested.get(b"k"), Some(FieldValueRef::Boolean(true)));
    assert_eq!(nested.iter().count(), 1);
    let Some(FieldValueRef::Array(array)) = table.get(b"A") else { panic!("an array") };
    assert_eq!(array.iter().collect::<Vec<_>>(), [FieldValueRef::U8(9), FieldValueRef::Void]);
    assert_eq!(table.get(b"S"), Some(FieldValueRef::LongString(b"hi")));
    assert_eq!(table.get(b"nothing"), None);
}

#[test]
fn an_empty_table_is_four_zero_octets() {
    let mut wire = Vec::new();
    put_table(&mut wire, &FieldTable::default());
    assert_eq!(wire, octets("00000000"));
    assert_eq!(Reader::new(&wire).table(), Ok(FieldTable::default()));
    assert_eq!(TableRef::parse(&[]).unwrap().iter().count(), 0);
}

#[test]
fn the_unsigned_64_bit_tag_is_found_wherever_it_stands() {
    let holds = |entries: &str| TableRef::parse(&octets(entries)).unwrap().holds_unsigned_long();
    assert!(holds("01'n' 'L' 0000000000000005"));
    assert!(holds("01'a' 'A' 0000000a 'V' 'L' 0000000000000005"));
    assert!(holds("01'f' 'F' 0000000b 01'n' 'L' 0000000000000005"));
    assert!(!holds("01'L' 'S' 00000001 'L' 01'n' 'l' 0000000000000005"));
    assert!(!holds(""));
}
