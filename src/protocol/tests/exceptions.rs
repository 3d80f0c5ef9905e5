//! What malformed frames and methods are answered with, as read off RabbitMQ.

use super::fixture::octets;
use crate::protocol::frame::parse_frame;
use crate::protocol::{AmqpError, ContentHeader, ErrorScope, Method, PropertiesRef};

/// The exception for frames, read with a frame_max of 4096.
fn frame_exception(wire: &str) -> AmqpError {
    parse_frame(&octets(wire), 4096).expect_err("the frame is malformed").to_amqp_error()
}

fn method_exception(payload: &str) -> AmqpError {
    let payload = octets(payload);
    Method::decode(&payload).expect_err("the method is malformed").to_amqp_error(&payload)
}

fn assert_connection_close(exception: AmqpError, text: &str, names_method: bool) {
    assert_eq!(exception.scope, ErrorScope::Connection);
    assert_eq!(exception.to_string(), text);
    assert_eq!(exception.names_method, names_method);
}

#[test]
fn malformed_frames_close_the_connection() {
    for (wire, text) in [
        ("08 0001 00000003 'abc' CE", "501 FRAME_ERROR - type 8, all octets = <<\"abc\">>: unknown_frame"),
        ("08 0000 00000003 'abc' CE", "501 FRAME_ERROR - type 8, all octets = <<\"abc\">>: unknown_frame"),
        ("08 0001 00000000 CE", "505 UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        ("00 0001 00000004 'abcd' CE", "501 FRAME_ERROR - type 0, all octets = <<\"abcd\">>: unknown_frame"),
        ("04 0001 00000004 'abcd' CE", "501 FRAME_ERROR - type 4, all octets = <<\"abcd\">>: unknown_frame"),
        ("FF 0001 00000004 'abcd' CE", "501 FRAME_ERROR - type 255, all octets = <<\"abcd\">>: unknown_frame"),
        (
            "09 0000 00000014 'abcdefghijabcdefghij' CE",
            "501 FRAME_ERROR - type 9, first 16 octets = <<\"abcdefghijabcdef\">>: unknown_frame",
        ),
        (
            "09 0001 0000000B 'a' 22 'b' 5C 09 0A 1B 08 0B 0C 0D CE",
            r#"501 FRAME_ERROR - type 9, all octets = <<"a\"b\\\t\n\e\b\v\f\r">>: unknown_frame"#,
        ),
        ("09 0001 00000002 'a' 7F CE", "501 FRAME_ERROR - type 9, all octets = <<97,127>>: unknown_frame"),
        ("09 0001 00000003 'aé' CE", "501 FRAME_ERROR - type 9, all octets = <<\"aé\">>: unknown_frame"),
        (
            "01 0001 0000000B 003C000A 00000000 0000 00 00",
            "501 FRAME_ERROR - type 1, all octets = <<0,60,0,10,0,0,0,0,0,0,0>>: {invalid_frame_end_marker,0}",
        ),
        (
            "09 0001 00000003 'abc' 07",
            "501 FRAME_ERROR - type 9, all octets = <<\"abc\">>: {invalid_frame_end_marker,7}",
        ),
        ("03 0001 00001388", "501 FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,5000,4088}"),
        ("01 0000 FFFFFFFF", "501 FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,4088}"),
    ] {
        assert_connection_close(frame_exception(wire), text, false);
    }
}

#[test]
fn content_on_channel_zero_is_unexpected() {
    for (wire, text) in [
        (
            "02 0000 0000000E 003C 0000 0000000000000000 0000 CE",
            "505 UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,0,0,0>>",
        ),
        ("03 0000 00000003 'abc' CE", "505 UNEXPECTED_FRAME - type 3, all octets = <<\"abc\">>"),
        (
            "02 0000 00000011 'aaaaaaaaaaaaaaaaa' CE",
            "505 UNEXPECTED_FRAME - type 2, first 16 octets = <<\"aaaaaaaaaaaaaaaa\">>",
        ),
    ] {
        let wire = octets(wire);
        let frame = parse_frame(&wire, 4096).unwrap().unwrap();
        assert_connection_close(frame.unexpected(), text, false);
    }
}

#[test]
fn a_method_frame_without_ids_is_an_unknown_frame() {
    for (payload, text) in [
        ("", "501 FRAME_ERROR - type 1, all octets = <<>>: unknown_frame"),
        ("00 32 00", "501 FRAME_ERROR - type 1, all octets = <<0,50,0>>: unknown_frame"),
    ] {
        assert_connection_close(method_exception(payload), text, false);
    }
}

#[test]
fn arguments_that_do_not_fit_are_shown() {
    for (payload, ids, text) in [
        ("0032 000A 0000 03 'abc' 00 00", (50, 10), "501 FRAME_ERROR - cannot decode <<0,0,3,97,98,99,0,0>>"),
        (
            "0032 000A 0000 04 'wf.x' 04 00000000 'abcd'",
            (50, 10),
            "501 FRAME_ERROR - cannot decode <<0,0,4,119,102,46,120,4,0,0,0,0,97,98,99,100>>",
        ),
        ("003C 0050 'abc'", (60, 80), "501 FRAME_ERROR - cannot decode <<97,98,99>>"),
        ("0055 000A 00 'abc'", (85, 10), "501 FRAME_ERROR - cannot decode <<0,97,98,99>>"),
        ("005A 000A 'abc'", (90, 10), "501 FRAME_ERROR - cannot decode <<97,98,99>>"),
    ] {
        assert_eq!(Method::decode(&octets(payload)).unwrap_err().ids(), ids);
        assert_connection_close(method_exception(payload), text, true);
    }
}

#[test]
fn long_arguments_are_cut_to_a_short_string() {
    let payload = [octets("0032 000A 0000 C8"), b"abc".repeat(60)].concat();
    let text = Method::decode(&payload).unwrap_err().to_amqp_error(&payload).reply_text();
    assert_eq!(text.len(), 255);
    assert!(text.starts_with("FRAME_ERROR - cannot decode <<0,0,200,97,98,99,"));
    assert!(text.ends_with(",97,98,9..."));
}

#[test]
fn unknown_methods_are_named() {
    for (payload, ids) in [("0063 000A", (99, 10)), ("003C 00C7", (60, 199)), ("0000 0000", (0, 0))] {
        assert_eq!(Method::decode(&octets(payload)).unwrap_err().ids(), ids);
        assert_connection_close(method_exception(payload), "503 COMMAND_INVALID - unimplemented method", true);
    }
}

#[test]
fn short_strings_that_are_not_utf8_are_refused_but_for_those_of_a_publish() {
    for payload in [
        "0032 000A 0000 02 FFFE 00 00000000",
        "0028 000A 0000 01 FF 06 'direct' 00 00000000",
        "0028 000A 0000 01 'x' 01 FF 00 00000000",
        "003C 0014 0000 01 'q' 01 FF 00 00000000",
        "003C 001E 01 FF 00",
        "003C 0046 0000 01 FF 00",
        "0032 0014 0000 01 'q' 01 'x' 02 FFFE 00 00000000",
    ] {
        assert_connection_close(method_exception(payload), "501 FRAME_ERROR - Malformed UTF-8 in shortstr", false);
    }
    assert!(Method::decode(&octets("003C 0028 0000 01 FF 02 FFFE 00")).is_ok());
}

#[test]
fn a_content_header_without_its_fixed_fields_is_an_unknown_frame() {
    let payload = octets("003C");
    let exception = ContentHeader::parse(&payload).unwrap_err().to_amqp_error();
    assert_connection_close(exception, "501 FRAME_ERROR - type 2, all octets = <<0,60>>: unknown_frame", false);
}

#[test]
fn malformed_properties_have_no_text() {
    assert_connection_close(PropertiesRef::malformed(), "541 INTERNAL_ERROR", false);
}
