//! Frames: how a connection's bytes are cut into methods, content headers, content bodies and heartbeats.
//!
//! ```text
//! frame           ┌──────┬─────────┬──────────────┬─────────────────┬──────┐
//!                 │ type │ channel │ payload size │ payload         │ 0xCE │
//!                 │  u8  │   u16   │     u32      │ `size` octets   │  u8  │
//!                 └──────┴─────────┴──────────────┴─────────────────┴──────┘
//!                 └ FRAME_HEADER_LENGTH = 7 octets┘
//!
//! method  (1)     ┌──────────┬───────────┬───────────┐
//!                 │ class id │ method id │ arguments │
//!                 │   u16    │    u16    │           │
//!                 └──────────┴───────────┴───────────┘
//! header  (2)     ┌──────────┬────────┬───────────┬────────────────┬─────────────────┐
//!                 │ class id │ weight │ body size │ property flags │ property list   │
//!                 │   u16    │  u16   │    u64    │   u16 (…)      │ what flags name │
//!                 └──────────┴────────┴───────────┴────────────────┴─────────────────┘
//! body    (3)     a part of the content: any octets
//! heartbeat (8)   empty, on channel 0
//! ```
//!
//! Integers are big-endian. This module knows where a frame begins and ends and which frames can never be right; what
//! a frame means for its channel is for the connection to say.

use super::encoder::{begin_length, end_length, put_u8, put_u16};
use super::octets::Snippet;
use super::{AmqpError, ReplyCode};

/// What a client sends first, and what the server answers to a header that it does not speak.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The octet that ends every frame.
pub const FRAME_END: u8 = 0xCE;

/// Octets before the payload: type, channel, payload size.
pub const FRAME_HEADER_LENGTH: usize = 7;

/// Octets of a frame that are not payload: the header and the end octet.
pub const FRAME_OVERHEAD: usize = FRAME_HEADER_LENGTH + 1;

/// The smallest frame_max that may be negotiated, in octets.
pub const FRAME_MIN_SIZE: u32 = 4096;

/// Octets by which a payload may exceed `frame_max - FRAME_OVERHEAD`. RabbitMQ forgives clients that take frame_max for
/// the size of the payload; so a whole frame is at most `frame_max + FRAME_OVERHEAD` octets.
pub const FRAME_SIZE_TOLERANCE: u32 = FRAME_OVERHEAD as u32;

/// The types of frame that exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameType {
    Method = 1,
    Header = 2,
    Body = 3,
    Heartbeat = 8,
}

impl FrameType {
    #[inline]
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// The first seven octets of a frame, as they came: the type may be one that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub frame_type: u8,
    pub channel: u16,
    pub payload_size: u32,
}

impl FrameHeader {
    #[inline]
    pub fn parse(octets: &[u8; FRAME_HEADER_LENGTH]) -> Self {
        let [frame_type, c0, c1, s0, s1, s2, s3] = *octets;
        Self { frame_type, channel: u16::from_be_bytes([c0, c1]), payload_size: u32::from_be_bytes([s0, s1, s2, s3]) }
    }

    /// Refuses a payload that the negotiated `frame_max` (in octets, never 0) does not allow.
    #[inline]
    pub fn check_size(&self, frame_max: u32) -> Result<(), FrameError<'static>> {
        let limit = frame_max.saturating_sub(FRAME_OVERHEAD as u32);
        if self.payload_size <= limit.saturating_add(FRAME_SIZE_TOLERANCE) {
            return Ok(());
        }
        Err(FrameError::TooLarge { frame_type: self.frame_type, payload_size: self.payload_size, limit })
    }
}

/// One complete frame, still in the buffer that it was received into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawFrame<'a> {
    pub frame_type: FrameType,
    pub channel: u16,
    pub payload: &'a [u8],
}

impl RawFrame<'_> {
    /// How many octets of the input this frame took.
    #[inline]
    pub fn wire_size(&self) -> usize {
        self.payload.len() + FRAME_OVERHEAD
    }

    /// The exception for a well-formed frame in a place where its type has no meaning, such as a body on channel 0.
    pub fn unexpected(&self) -> AmqpError {
        unexpected_frame(self.frame_type as u8, self.payload)
    }
}

/// Octets that can never become a frame, with what the exception shows of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError<'a> {
    /// The header announces more than the negotiated maximum. Found before the payload has arrived.
    TooLarge { frame_type: u8, payload_size: u32, limit: u32 },
    /// Another octet stands where [`FRAME_END`] must be.
    InvalidEnd { frame_type: u8, payload: &'a [u8], end: u8 },
    /// A type that does not exist, a heartbeat with a payload, a method frame without room for a method's ids, or a
    /// content header frame that ends before its properties.
    Unknown { frame_type: u8, payload: &'a [u8] },
    /// A heartbeat on a channel other than 0.
    HeartbeatOnChannel,
}

impl FrameError<'_> {
    /// The connection exception, with the text that RabbitMQ gives it.
    pub fn to_amqp_error(&self) -> AmqpError {
        let (frame_type, payload, reason) = match *self {
            Self::TooLarge { frame_type, payload_size, limit } => {
                (frame_type, &[][..], format!("{{frame_too_large,{payload_size},{limit}}}"))
            }
            Self::InvalidEnd { frame_type, payload, end } => {
                (frame_type, payload, format!("{{invalid_frame_end_marker,{end}}}"))
            }
            Self::Unknown { frame_type, payload } => (frame_type, payload, "unknown_frame".to_owned()),
            Self::HeartbeatOnChannel => return unexpected_frame(FrameType::Heartbeat as u8, &[]),
        };
        let explanation = format!("type {frame_type}, {}: {reason}", Snippet(payload));
        AmqpError::connection(ReplyCode::FrameError, explanation).without_method()
    }
}

fn unexpected_frame(frame_type: u8, payload: &[u8]) -> AmqpError {
    let explanation = format!("type {frame_type}, {}", Snippet(payload));
    AmqpError::connection(ReplyCode::UnexpectedFrame, explanation).without_method()
}

/// The header of the frame at the start of `input`: `None` while it is incomplete, an error when its payload would be
/// too large.
#[inline]
pub fn parse_frame_header(input: &[u8], frame_max: u32) -> Result<Option<FrameHeader>, FrameError<'static>> {
    let Some(octets) = input.first_chunk::<FRAME_HEADER_LENGTH>() else { return Ok(None) };
    let header = FrameHeader::parse(octets);
    header.check_size(frame_max)?;
    Ok(Some(header))
}

/// The frame at the start of `input`: `None` while it is incomplete, an error when it can never be one.
#[inline]
pub fn parse_frame(input: &[u8], frame_max: u32) -> Result<Option<RawFrame<'_>>, FrameError<'_>> {
    let Some(header) = parse_frame_header(input, frame_max)? else { return Ok(None) };
    let after_header = &input[FRAME_HEADER_LENGTH..];
    let payload_size = header.payload_size as usize;
    let Some(&end) = after_header.get(payload_size) else { return Ok(None) };
    let payload = &after_header[..payload_size];
    if end != FRAME_END {
        return Err(FrameError::InvalidEnd { frame_type: header.frame_type, payload, end });
    }
    let Some(frame_type) = FrameType::from_octet(header.frame_type) else {
        return Err(FrameError::Unknown { frame_type: header.frame_type, payload });
    };
    if frame_type == FrameType::Heartbeat {
        if !payload.is_empty() {
            return Err(FrameError::Unknown { frame_type: header.frame_type, payload });
        }
        if header.channel != 0 {
            return Err(FrameError::HeartbeatOnChannel);
        }
    }
    Ok(Some(RawFrame { frame_type, channel: header.channel, payload }))
}

/// Where a frame that is being written keeps its payload size.
#[derive(Debug)]
#[must_use = "a frame that was begun must be ended"]
pub struct OpenFrame {
    size_at: usize,
}

/// Writes a frame's header with the size still to come.
#[inline]
pub fn begin_frame(out: &mut Vec<u8>, frame_type: FrameType, channel: u16) -> OpenFrame {
    put_u8(out, frame_type as u8);
    put_u16(out, channel);
    OpenFrame { size_at: begin_length(out) }
}

/// Patches the size of the frame that [`begin_frame`] began and writes its end octet.
#[inline]
pub fn end_frame(out: &mut Vec<u8>, frame: OpenFrame) {
    end_length(out, frame.size_at);
    put_u8(out, FRAME_END);
}

/// Writes one whole content body frame.
#[inline]
pub fn write_body_frame(out: &mut Vec<u8>, channel: u16, body: &[u8]) {
    let frame = begin_frame(out, FrameType::Body, channel);
    out.extend_from_slice(body);
    end_frame(out, frame);
}

/// Writes one heartbeat frame.
pub fn write_heartbeat(out: &mut Vec<u8>) {
    let frame = begin_frame(out, FrameType::Heartbeat, 0);
    end_frame(out, frame);
}
