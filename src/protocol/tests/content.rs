//! Content headers and properties, spelled by hand.

use super::fixture::octets;
use crate::protocol::{BasicProperties, ContentHeader, DecodeError, FieldTable, FieldValue, PropertiesRef};

/// A message with every property there is.
const ALL_PROPERTIES: &str = "FFFC
    0A'text/plain' 04'gzip' 00000004 01'x''t'01 02 09 01'c' 01'r' 05'60000' 01'm'
    000000006553F100 01't' 05'guest' 01'a' 01'z'";

fn all_properties() -> BasicProperties {
    BasicProperties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("gzip".into()),
        headers: Some(FieldTable(vec![("x".into(), FieldValue::Boolean(true))])),
        delivery_mode: Some(2),
        priority: Some(9),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        expiration: Some("60000".into()),
        message_id: Some("m".into()),
        timestamp: Some(1_700_000_000),
        message_type: Some("t".into()),
        user_id: Some("guest".into()),
        app_id: Some("a".into()),
        cluster_id: Some("z".into()),
    }
}

#[test]
fn a_content_header_without_properties() {
    let payload = octets("003C 0000 0000000000000010 0000");
    let header = ContentHeader::parse(&payload).unwrap();
    assert_eq!(header, ContentHeader { class_id: 60, weight: 0, body_size: 16, properties: &[0, 0] });
    assert_eq!(PropertiesRef::parse(header.properties), Ok(PropertiesRef::default()));

    let mut frame = Vec::new();
    header.encode_frame(1, &mut frame);
    assert_eq!(frame, octets("02 0001 0000000E 003C 0000 0000000000000010 0000 CE"));
}

#[test]
fn a_content_header_says_what_it_is_told() {
    let payload = octets("0063 0001 FFFFFFFFFFFFFFFF 0000");
    let header = ContentHeader::parse(&payload).unwrap();
    assert_eq!((header.class_id, header.weight, header.body_size), (99, 1, u64::MAX));
}

#[test]
fn all_properties_are_read_and_written_in_the_order_of_their_flags() {
    let wire = octets(ALL_PROPERTIES);
    assert_eq!(PropertiesRef::parse(&wire).unwrap().to_owned(), all_properties());
    let mut encoded = Vec::new();
    all_properties().encode(&mut encoded);
    assert_eq!(encoded, wire);
}

#[test]
fn each_flag_stands_for_one_property() {
    let string: Option<&[u8]> = Some(b"v");
    for (wire, properties) in [
        ("8000 01'v'", PropertiesRef { content_type: string, ..Default::default() }),
        ("4000 01'v'", PropertiesRef { content_encoding: string, ..Default::default() }),
        ("2000 00000000", PropertiesRef { headers: Some(Default::default()), ..Default::default() }),
        ("1000 01", PropertiesRef { delivery_mode: Some(1), ..Default::default() }),
        ("0800 FF", PropertiesRef { priority: Some(255), ..Default::default() }),
        ("0400 01'v'", PropertiesRef { correlation_id: string, ..Default::default() }),
        ("0200 01'v'", PropertiesRef { reply_to: string, ..Default::default() }),
        ("0100 01'v'", PropertiesRef { expiration: string, ..Default::default() }),
        ("0080 01'v'", PropertiesRef { message_id: string, ..Default::default() }),
        ("0040 8000000000000001", PropertiesRef { timestamp: Some((1 << 63) + 1), ..Default::default() }),
        ("0020 01'v'", PropertiesRef { message_type: string, ..Default::default() }),
        ("0010 01'v'", PropertiesRef { user_id: string, ..Default::default() }),
        ("0008 01'v'", PropertiesRef { app_id: string, ..Default::default() }),
        ("0004 01'v'", PropertiesRef { cluster_id: string, ..Default::default() }),
    ] {
        let wire = octets(wire);
        assert_eq!(PropertiesRef::parse(&wire), Ok(properties));
        let mut encoded = Vec::new();
        properties.to_owned().encode(&mut encoded);
        assert_eq!(encoded, wire);
    }
}

#[test]
fn the_lowest_two_flags_mean_nothing() {
    for wire in ["0001", "0002", "0003"] {
        assert_eq!(PropertiesRef::parse(&octets(wire)), Ok(PropertiesRef::default()));
    }
    let wire = octets("1003 02");
    assert_eq!(PropertiesRef::parse(&wire).unwrap().delivery_mode, Some(2));
}

#[test]
fn properties_end_where_their_flags_say() {
    for (wire, error) in [
        ("", DecodeError::Truncated),
        ("00", DecodeError::Truncated),
        ("8000", DecodeError::Truncated),
        ("8000 04'abc'", DecodeError::Truncated),
        ("0040 00000000", DecodeError::Truncated),
        ("0000 'abc'", DecodeError::TrailingBytes),
        ("8000 03'abc' 'xyz'", DecodeError::TrailingBytes),
        ("2000 00000003 01'a' 'Z'", DecodeError::UnknownFieldTag(b'Z')),
    ] {
        assert_eq!(PropertiesRef::parse(&octets(wire)), Err(error), "{wire}");
    }
}
