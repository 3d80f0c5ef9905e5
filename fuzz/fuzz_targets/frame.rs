//! A stream of frames gives the same frames, or the same error, wherever it is split.
//!
//! Input: one octet that chooses the pieces, one that chooses frame_max, then the stream.
#![no_main]

use leveret::protocol::frame::{FRAME_MIN_SIZE, FrameType, parse_frame, parse_frame_header};
use leveret_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: u32 = 131_072;

/// What a connection would see of a stream.
#[derive(PartialEq, Debug, Default)]
struct Seen {
    frames: Vec<(FrameType, u16, Vec<u8>)>,
    error: Option<String>,
}

impl Seen {
    /// Takes the frames off the front of `buffer`. Returns how many octets they were.
    fn take(&mut self, buffer: &[u8], frame_max: u32) -> usize {
        let mut position = 0;
        while self.error.is_none() {
            let rest = &buffer[position..];
            match parse_frame(rest, frame_max) {
                Ok(Some(frame)) => {
                    let header = parse_frame_header(rest, frame_max).expect("a frame has a header").expect("all of it");
                    assert_eq!(header.payload_size as usize, frame.payload.len());
                    self.frames.push((frame.frame_type, frame.channel, frame.payload.to_vec()));
                    position += frame.wire_size();
                }
                Ok(None) => break,
                Err(error) => self.error = Some(error.to_amqp_error().reply_text()),
            }
        }
        position
    }
}

fuzz_target!(|input: &[u8]| {
    let [how, small, stream @ ..] = input else { return };
    let frame_max = if small % 2 == 0 { FRAME_MAX } else { FRAME_MIN_SIZE };

    let mut whole = Seen::default();
    whole.take(stream, frame_max);

    let mut split = Seen::default();
    let mut buffer = Vec::new();
    for piece in pieces(*how, stream) {
        buffer.extend_from_slice(piece);
        let taken = split.take(&buffer, frame_max);
        buffer.drain(..taken);
    }
    assert_eq!(whole, split);
});
