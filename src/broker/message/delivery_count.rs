//! How often a message came back to a queue of type quorum, where clients look for it: in a header.

use super::edit::{remove_header, replace_properties};
use super::image::{Content, MessageRef};
use crate::protocol::{BasicProperties, FieldValue, PropertiesRef, ShortString};

const HEADER: &str = "x-delivery-count";

/// The message with the header, instead of one that its publisher gave it.
pub fn with_delivery_count(message: &MessageRef, times: u32) -> MessageRef {
    edited(message, |properties| {
        remove_header(properties, HEADER.as_bytes());
        let headers = &mut properties.headers.get_or_insert_default().0;
        headers.push((ShortString::from(HEADER), FieldValue::I64(i64::from(times))));
    })
}

/// The message as it was, for who is not told how often it came back: what becomes of a dead letter.
pub fn without_delivery_count(message: &MessageRef) -> MessageRef {
    edited(message, |properties| {
        remove_header(properties, HEADER.as_bytes());
        properties.headers = properties.headers.take().filter(|headers| !headers.0.is_empty());
    })
}

fn edited(message: &MessageRef, edit: impl FnOnce(&mut BasicProperties)) -> MessageRef {
    let content = message.content();
    // What was published was looked at then: it is whole.
    let Ok(parsed) = PropertiesRef::parse(content.properties()) else { return message.clone() };
    let mut properties = parsed.to_owned();
    edit(&mut properties);
    let mut encoded = Vec::new();
    properties.encode(&mut encoded);
    let mut frames = content.frames.to_vec();
    let header_frame_length = replace_properties(&mut frames, content.header_frame_length, &encoded);
    MessageRef::new(&Content { frames: &frames, header_frame_length, ..content }, message.attributes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Attributes;
    use crate::protocol::FieldTable;

    /// No properties, body `hello`.
    const EMPTY: &[u8] = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\xCE\
                           \x03\x00\x00\x00\x00\x00\x05hello\xCE";

    fn message(headers: Option<FieldTable>) -> MessageRef {
        let properties = BasicProperties { headers, priority: Some(3), ..BasicProperties::default() };
        let mut frames = EMPTY.to_vec();
        let mut encoded = Vec::new();
        properties.encode(&mut encoded);
        let header_frame_length = replace_properties(&mut frames, 22, &encoded);
        let content = Content { address: b"\x01x\x03key\xCE", frames: &frames, header_frame_length, shared_body: None };
        MessageRef::new(&content, Attributes { priority: 3, ..Attributes::default() })
    }

    fn headers(message: &MessageRef) -> Option<FieldTable> {
        let content = message.content();
        assert_eq!((content.routing_key(), content.body()), (&b"key"[..], &b"hello"[..]));
        assert_eq!(message.attributes().priority, 3);
        let properties = PropertiesRef::parse(content.properties()).unwrap().to_owned();
        assert_eq!(properties.priority, Some(3));
        properties.headers
    }

    #[test]
    fn the_count_comes_and_goes_and_the_rest_stays() {
        let count = |times| (ShortString::from(HEADER), FieldValue::I64(times));
        let own = (ShortString::from("a"), FieldValue::Boolean(true));
        for (before, expected, after) in [
            (None, vec![count(7)], None),
            (Some(vec![own.clone()]), vec![own.clone(), count(7)], Some(vec![own.clone()])),
            (Some(vec![count(1), own.clone()]), vec![own.clone(), count(7)], Some(vec![own])),
        ] {
            let counted = with_delivery_count(&message(before.map(FieldTable)), 7);
            assert_eq!(headers(&counted), Some(FieldTable(expected)));
            assert_eq!(headers(&without_delivery_count(&counted)), after.map(FieldTable));
        }
    }
}
