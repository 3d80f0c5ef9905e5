//! What is kept of a delayed message: what its publisher sent, with the delay turned round, and the keys of blind copies,
//! which nobody else may see but which are routed to when it is due.

use crate::broker::exchange::DELAY_HEADER;
use crate::broker::message::{Content, PROPERTIES_OFFSET};
use crate::protocol::encoder::{begin_length, end_length};
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD};
use crate::protocol::{PropertiesRef, ShortString, TableRef, TableWriter};

/// Makes in `frames` what is kept of a content that is delayed: its header `x-delay` is negative, so that nobody delays it
/// again, and blind copies are in it as their publisher put them. Returns the length of the content header frame.
pub(super) fn kept_frames(content: &Content<'_>, blind: &[ShortString], delay_ms: u64, frames: &mut Vec<u8>) -> usize {
    let properties = content.properties();
    frames.clear();
    frames.extend_from_slice(&content.frames[..PROPERTIES_OFFSET]);
    let headers = PropertiesRef::parse(properties).ok().and_then(|properties| properties.headers);
    match headers.and_then(|headers| Some((headers, headers.entries().next()?.2))) {
        Some((headers, first)) => {
            let start = first.as_ptr().addr() - properties.as_ptr().addr();
            let end = start + headers.size_bytes();
            frames.extend_from_slice(&properties[..start - size_of::<u32>()]);
            put_headers(frames, headers, blind, delay_ms);
            frames.extend_from_slice(&properties[end..]);
        }
        None => frames.extend_from_slice(properties),
    }
    frames.push(FRAME_END);
    let length = frames.len();
    frames[3..FRAME_HEADER_LENGTH].copy_from_slice(&((length - FRAME_OVERHEAD) as u32).to_be_bytes());
    frames.extend_from_slice(&content.frames[content.header_frame_length..]);
    length
}

fn put_headers(out: &mut Vec<u8>, headers: TableRef<'_>, blind: &[ShortString], delay_ms: u64) {
    let start = begin_length(out);
    let mut is_turned = false;
    for (name, _, entry) in headers.entries() {
        if name == DELAY_HEADER && !is_turned {
            is_turned = true;
            TableWriter::new(out).integer(name, -delay_ms.cast_signed());
        } else {
            out.extend_from_slice(entry);
        }
    }
    if !blind.is_empty() {
        TableWriter::new(out).array(b"BCC", |keys| blind.iter().for_each(|key| keys.long_string(key)));
    }
    end_length(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::delay_ms;
    use crate::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue};

    /// The frames of a content with a body, and the length of its header frame.
    fn frames_of(properties: &BasicProperties) -> (Vec<u8>, usize) {
        let mut encoded = Vec::new();
        properties.encode(&mut encoded);
        let mut frames = Vec::new();
        ContentHeader { class_id: 60, weight: 0, body_size: 5, properties: &encoded }.encode_frame(0, &mut frames);
        let length = frames.len();
        crate::protocol::frame::write_body_frame(&mut frames, 0, b"hello");
        (frames, length)
    }

    #[test]
    fn the_delay_is_turned_round_and_all_else_stays() {
        let text = |text: &str| FieldValue::LongString(text.as_bytes().into());
        for delay in [FieldValue::I8(100), FieldValue::I32(100), FieldValue::I64(100), text("100")] {
            let headers = FieldTable(vec![
                ("a".into(), text("before")),
                ("x-delay".into(), delay),
                ("x-delay".into(), FieldValue::I32(7)),
                ("b".into(), FieldValue::Boolean(true)),
            ]);
            let properties = BasicProperties {
                content_type: Some("text/plain".into()),
                headers: Some(headers),
                message_id: Some("m".into()),
                ..BasicProperties::default()
            };
            let (sent, header_frame_length) = frames_of(&properties);
            let content = Content { address: b"\0\0\xCE", frames: &sent, header_frame_length, shared_body: None };
            for blind in [&[][..], &["k".into()]] {
                let mut frames = Vec::new();
                let header_frame_length = kept_frames(&content, blind, 100, &mut frames);
                let kept = Content { frames: &frames, header_frame_length, ..content };
                assert_eq!(kept.body(), b"hello");
                let mut expected = properties.clone();
                let headers = expected.headers.as_mut().unwrap();
                headers.0[1].1 = FieldValue::I64(-100);
                if !blind.is_empty() {
                    headers.0.push(("BCC".into(), FieldValue::Array(vec![text("k")])));
                }
                let read = PropertiesRef::parse(kept.properties()).unwrap();
                assert_eq!(delay_ms(read.headers.unwrap()), None);
                assert_eq!(read.to_owned(), expected);
                let expected = frames_of(&expected);
                assert_eq!((frames, header_frame_length), expected);
            }
        }
    }
}
