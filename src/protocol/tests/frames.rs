//! Where frames begin and end.

use super::fixture::octets;
use crate::protocol::frame::{
    FRAME_MIN_SIZE, FRAME_OVERHEAD, FrameHeader, FrameType, RawFrame, begin_frame, end_frame, parse_frame,
    parse_frame_header, write_body_frame, write_heartbeat,
};

const FRAME_MAX: u32 = 131_072;

#[test]
fn a_heartbeat_is_eight_octets() {
    let wire = octets("08 0000 00000000 CE");
    let frame = RawFrame { frame_type: FrameType::Heartbeat, channel: 0, payload: &[] };
    assert_eq!(parse_frame(&wire, FRAME_MAX), Ok(Some(frame)));
    assert_eq!(frame.wire_size(), FRAME_OVERHEAD);

    let mut written = Vec::new();
    write_heartbeat(&mut written);
    assert_eq!(written, wire);
}

#[test]
fn frames_are_cut_one_after_the_other() {
    let wire = octets("01 0001 00000004 0055000B CE   02 0102 00000003 'abc' CE   03 FFFF 00000000 CE");
    let first = parse_frame(&wire, FRAME_MAX).unwrap().unwrap();
    assert_eq!((first.frame_type, first.channel, first.payload), (FrameType::Method, 1, &octets("0055 000B")[..]));
    let rest = &wire[first.wire_size()..];
    let second = parse_frame(rest, FRAME_MAX).unwrap().unwrap();
    assert_eq!((second.frame_type, second.channel, second.payload), (FrameType::Header, 0x0102, &b"abc"[..]));
    let rest = &rest[second.wire_size()..];
    let third = parse_frame(rest, FRAME_MAX).unwrap().unwrap();
    assert_eq!((third.frame_type, third.channel, third.payload), (FrameType::Body, 65535, &b""[..]));
    assert_eq!(rest.len(), third.wire_size());
}

#[test]
fn a_frame_is_incomplete_at_every_octet_but_the_last() {
    let wire = octets("01 0001 0000000B 003C000A 00000000 0001 00 CE");
    for end in 0..wire.len() {
        assert_eq!(parse_frame(&wire[..end], FRAME_MAX), Ok(None), "{end} octets");
    }
    assert!(parse_frame(&wire, FRAME_MAX).unwrap().is_some());
}

#[test]
fn a_frame_header_is_known_before_its_payload() {
    let wire = octets("03 0007 00001388");
    let header = FrameHeader { frame_type: 3, channel: 7, payload_size: 5000 };
    assert_eq!(parse_frame_header(&wire, FRAME_MAX), Ok(Some(header)));
    assert_eq!(parse_frame_header(&wire[..6], FRAME_MAX), Ok(None));
}

#[test]
fn a_payload_of_frame_max_is_forgiven_and_one_more_is_not() {
    let header = |size: u32| [&[3, 0, 1][..], &size.to_be_bytes()].concat();
    assert!(parse_frame_header(&header(FRAME_MIN_SIZE - 8), FRAME_MIN_SIZE).is_ok());
    assert!(parse_frame_header(&header(FRAME_MIN_SIZE), FRAME_MIN_SIZE).is_ok());
    assert!(parse_frame_header(&header(FRAME_MIN_SIZE + 1), FRAME_MIN_SIZE).is_err());
}

#[test]
fn frames_are_written_behind_what_is_there() {
    let mut out = octets("AA");
    let frame = begin_frame(&mut out, FrameType::Method, 0x0203);
    out.extend_from_slice(b"xyz");
    end_frame(&mut out, frame);
    write_body_frame(&mut out, 4, b"body");
    assert_eq!(out, octets("AA  01 0203 00000003 'xyz' CE  03 0004 00000004 'body' CE"));
}
