//! Changes to messages in wire form: other properties in a content header frame, headers taken out.
//!
//! It does what it is told; what has to be changed, and why, is for `properties` to say.

use crate::protocol::BasicProperties;
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD};

/// Where in a content header frame the properties begin: class id (2), weight (2) and body size (8) come before.
pub const PROPERTIES_OFFSET: usize = FRAME_HEADER_LENGTH + 12;

/// Puts other properties into a content header frame. Returns the frame's new length.
pub fn replace_properties(frames: &mut Vec<u8>, header_frame_length: usize, properties: &[u8]) -> usize {
    frames.splice(PROPERTIES_OFFSET..header_frame_length - 1, properties.iter().copied());
    let length = PROPERTIES_OFFSET + properties.len() + 1;
    let size = (length - FRAME_OVERHEAD) as u32;
    frames[3..FRAME_HEADER_LENGTH].copy_from_slice(&size.to_be_bytes());
    length
}

/// Ends a content header frame at the end of `frames`, which begins at `start` and to which properties of another length
/// were written. Returns its length.
pub fn end_header_frame(frames: &mut Vec<u8>, start: usize) -> usize {
    frames.push(FRAME_END);
    let length = frames.len() - start;
    let size = (length - FRAME_OVERHEAD) as u32;
    frames[start + 3..start + FRAME_HEADER_LENGTH].copy_from_slice(&size.to_be_bytes());
    length
}

/// Takes every header of this name out.
pub fn remove_header(properties: &mut BasicProperties, name: &[u8]) {
    if let Some(headers) = &mut properties.headers {
        headers.0.retain(|(header, _)| header.as_bytes() != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Content;

    #[test]
    fn a_content_with_other_properties_is_one_whose_frames_are_whole() {
        /// No properties, body `hello`.
        const FRAMES: &[u8] =
            b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\xCE\
                                \x03\x00\x00\x00\x00\x00\x05hello\xCE";
        let mut frames = FRAMES.to_vec();
        let mut header_frame_length = 22;
        for properties in [&b"\x10\x00\x02"[..], b"\x80\x00\x0atext/plain", b"\x00\x00"] {
            header_frame_length = replace_properties(&mut frames, header_frame_length, properties);
            let content = Content { address: b"\0\0\xCE", frames: &frames, header_frame_length, shared_body: None };
            assert_eq!((content.properties(), content.body()), (properties, &b"hello"[..]));
            let payload_length = u32::from_be_bytes(*frames[3..].first_chunk().unwrap()) as usize;
            assert_eq!((payload_length + FRAME_OVERHEAD, frames[header_frame_length - 1]), (header_frame_length, 0xCE));
        }
        assert_eq!(frames, FRAMES);
    }
}
