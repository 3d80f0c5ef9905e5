//! Input that nobody sends by accident: it becomes an error, soon, and never a panic.

use super::fixture::octets;
use crate::protocol::decoder::Reader;
use crate::protocol::field_table::TABLE_DEPTH_MAX;
use crate::protocol::frame::{FrameError, parse_frame, parse_frame_header};
use crate::protocol::{DecodeError, FieldTable, FieldValueRef, Method, MethodError, PropertiesRef, TableRef};

/// `depth` arrays or tables inside each other: the entries of a table, whose one value has `tag`.
fn nested(tag: u8, depth: usize) -> Vec<u8> {
    let header = if tag == b'F' { octets("01'k'") } else { vec![] };
    let mut innermost_first = Vec::new();
    for level in 0..depth {
        let length = u32::try_from(level * (header.len() + 5)).unwrap();
        let mut octets = [&header[..], &[tag], &length.to_be_bytes()].concat();
        octets.reverse();
        innermost_first.extend(octets);
    }
    innermost_first.reverse();
    if tag == b'F' { innermost_first } else { [octets("01'k'"), innermost_first].concat() }
}

#[test]
fn a_frame_of_four_gibibytes_is_refused_by_its_header() {
    let header = octets("03 0001 FFFFFFFF");
    let error = FrameError::TooLarge { frame_type: 3, payload_size: u32::MAX, limit: 4088 };
    assert_eq!(parse_frame_header(&header, 4096), Err(error));
    assert_eq!(parse_frame(&header, 4096), Err(error));
}

#[test]
fn twenty_six_thousand_nested_arrays_are_refused() {
    let entries = nested(b'A', 26_000);
    assert_eq!(TableRef::parse(&entries), Err(DecodeError::TableTooDeep));
    assert_eq!(FieldTable::decode_entries(&entries), Err(DecodeError::TableTooDeep));
}

#[test]
fn tables_nest_to_the_limit_and_no_further() {
    for tag in [b'A', b'F'] {
        assert!(FieldTable::decode_entries(&nested(tag, TABLE_DEPTH_MAX - 1)).is_ok());
        assert_eq!(TableRef::parse(&nested(tag, TABLE_DEPTH_MAX)), Err(DecodeError::TableTooDeep));
    }
}

#[test]
fn lengths_that_reach_too_far_are_refused() {
    for (entries, error) in [
        ("01'a' 'S' 000000FF 'x'", DecodeError::Truncated),
        ("01'a' 'S' FFFFFFFF", DecodeError::Truncated),
        ("01'a' 'x' FFFFFFFF 00", DecodeError::Truncated),
        ("01'a' 'F' 00000005 01'b' 't'", DecodeError::Truncated),
        // The inner table would need an octet of the outer one.
        ("01'a' 'F' 00000003 01'b' 't' 01", DecodeError::Truncated),
        ("01'a' 'A' 00000001 'I' 00000001", DecodeError::Truncated),
        ("01'a' 'D' 02 000001", DecodeError::Truncated),
        ("01'a'", DecodeError::Truncated),
        ("05'a'", DecodeError::Truncated),
        ("01'a' 'Z'", DecodeError::UnknownFieldTag(b'Z')),
        ("01'a' 'A' 00000001 00", DecodeError::UnknownFieldTag(0)),
    ] {
        assert_eq!(TableRef::parse(&octets(entries)), Err(error), "{entries}");
    }
}

#[test]
fn a_table_may_not_reach_beyond_its_method() {
    let payload = octets("0032 000A 0000 01'q' 00 00000100 01'x''t'01");
    let error = MethodError::Malformed { class_id: 50, method_id: 10, reason: DecodeError::Truncated };
    assert_eq!(Method::decode(&payload), Err(error));
}

#[test]
fn odd_numbers_come_back_as_the_octets_they_were() {
    let entries = octets(
        "01'n' 'd' 7FF8000000000001  01'm' 'f' FFC00001  01'i' 'd' 7FF0000000000000  01'z' 'd' 8000000000000000
         01't' 'T' FFFFFFFFFFFFFFFF",
    );
    let table = FieldTable::decode_entries(&entries).unwrap();
    let mut encoded = Vec::new();
    table.encode_entries(&mut encoded);
    assert_eq!(encoded, entries);
}

#[test]
fn strings_and_keys_in_tables_need_not_be_utf8() {
    let entries = octets("02 FFFE 'S' 00000002 C328");
    let table = TableRef::parse(&entries).unwrap();
    assert_eq!(table.get(&[0xFF, 0xFE]), Some(FieldValueRef::LongString(&[0xC3, 0x28])));
}

#[test]
fn twenty_thousand_headers_are_walked() {
    let entries = octets("01'a' 'V'").repeat(20_000);
    let properties = [octets("2000"), (entries.len() as u32).to_be_bytes().to_vec(), entries].concat();
    let headers = PropertiesRef::parse(&properties).unwrap().headers.unwrap();
    assert_eq!(headers.iter().count(), 20_000);
    assert_eq!(headers.get(b"b"), None);
}

#[test]
fn a_chain_of_flag_continuations_is_not_followed() {
    let chain = octets("0001").repeat(60_000);
    assert_eq!(PropertiesRef::parse(&chain), Err(DecodeError::TrailingBytes));
}

#[test]
fn a_reader_stays_where_it_was_when_a_string_is_cut() {
    let input = octets("05'abc'");
    let mut reader = Reader::new(&input);
    assert_eq!(reader.short_string(), Err(DecodeError::Truncated));
    assert_eq!(reader.rest(), input);
    let input = octets("00000005'abc'");
    let mut reader = Reader::new(&input);
    assert_eq!(reader.long_string(), Err(DecodeError::Truncated));
    assert_eq!(reader.rest(), input);
}
