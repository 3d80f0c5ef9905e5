//! Walks received bytes frame by frame without allocating: counts messages, shows their tags and the start of their
//! bodies, hands every other method to the visitor. Owns the receive buffer; never touches a socket.

use crate::wire::{BASIC_DELIVER, FRAME_BODY, FRAME_END, FRAME_HEAD, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD};
use std::io;

/// Receive buffer, in bytes.
pub const RECEIVE_BUFFER: usize = 256 * 1024;
/// Receive buffer of one of very many connections, in bytes.
pub const SMALL_RECEIVE_BUFFER: usize = 16 * 1024;
/// How much of a body the visitor sees, in bytes: room for a stamp.
pub const BODY_PREFIX: usize = 16;
/// Messages up to this many bytes are walked as runs of equal shape; larger ones frame by frame, skipping bodies.
const RUN_MESSAGE_MAX: usize = 32 * 1024;

/// Sees what the walker finds.
pub trait Visitor {
    /// A whole message has arrived. `body` is its start: at most [`BODY_PREFIX`] bytes are promised.
    fn message(&mut self, delivery_tag: u64, body: &[u8]);
    /// A method that starts no message; `payload` follows the class and method ids.
    fn method(&mut self, class_method: u32, payload: &[u8]) -> io::Result<()>;
}

/// The frames of one message in its buffer. While the next message has the same sizes in the same places, it is
/// recognised by comparing, and the processor need not wait for one size to find the next.
#[derive(Clone, Copy)]
struct Shape {
    method_len: usize,
    header_len: usize,
    total_len: usize,
    /// Type, channel, size and the class id's first byte.
    method_start: u64,
    /// Size, class id and method id.
    method_ids: u64,
    consumer_tag_len: u8,
    header_start: u64,
    body_size: u64,
    /// Type, channel and size, the last byte masked.
    body_start: u64,
}

const MASK_7_BYTES: u64 = !0xFF;

/// The message whose frames are arriving.
#[derive(Default)]
struct Arriving {
    delivery_tag: u64,
    body_left: u64,
    prefix: [u8; BODY_PREFIX],
    prefix_len: usize,
    /// The last body frame has begun, its tail is being skipped.
    completes_after_skip: bool,
}

pub struct FrameWalker {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of a body frame yet to be passed over, its end octet included.
    skip: usize,
    /// Class and method id of the method that starts a message.
    message_method: u32,
    arriving: Arriving,
    method_seen: Option<(usize, u64, u64, u8)>,
    header_seen: Option<(usize, u64, u64)>,
    shape: Option<Shape>,
}

#[inline]
fn be_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[inline]
fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn bad(explanation: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, explanation.to_owned())
}

impl FrameWalker {
    /// `message_method` starts a message: `basic.deliver`, or `basic.publish` behind a relay.
    pub fn new(message_method: u32, already_received: &[u8]) -> Self {
        Self::with_buffer(RECEIVE_BUFFER, message_method, already_received)
    }

    /// As `new`, with a buffer of this many bytes: it must hold any frame but a body.
    pub fn with_buffer(buffer_len: usize, message_method: u32, already_received: &[u8]) -> Self {
        let mut buffer = vec![0; buffer_len.max(already_received.len())].into_boxed_slice();
        buffer[..already_received.len()].copy_from_slice(already_received);
        Self {
            buffer,
            start: 0,
            end: already_received.len(),
            skip: 0,
            message_method,
            arriving: Arriving::default(),
            method_seen: None,
            header_seen: None,
            shape: None,
        }
    }

    /// Where to receive into. Never empty: a partial frame that fills the buffer has been refused before.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// `len` bytes have been received into [`Self::space`].
    pub fn received(&mut self, len: usize) {
        self.end += len;
    }

    /// Whether no byte is left over: the stream is between frames.
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.skip == 0
    }

    /// Exchanges its buffer for this one, unless it holds bytes. So many walkers that are most often between frames share
    /// one buffer, which stays in the processor's cache.
    pub fn exchange_buffer(&mut self, buffer: &mut Box<[u8]>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            std::mem::swap(&mut self.buffer, buffer);
        }
    }

    /// Shows the visitor everything that is complete.
    pub fn walk(&mut self, visitor: &mut impl Visitor) -> io::Result<()> {
        loop {
            if self.skip > 0 && !self.pass_over(visitor)? {
                return Ok(());
            }
            if let Some(shape) = self.shape {
                self.walk_run(&shape, visitor);
            }
            if !self.walk_frame(visitor)? {
                return Ok(());
            }
        }
    }

    /// Takes messages as long as they have the shape of the last one.
    #[inline]
    fn walk_run(&mut self, shape: &Shape, visitor: &mut impl Visitor) {
        // Only between messages may a run start.
        if self.method_seen.is_some() {
            return;
        }
        while let Some(message) = self.buffer[self.start..self.end].get(..shape.total_len) {
            let body_frame_at = shape.method_len + shape.header_len;
            let same = be_u64(message, 0) == shape.method_start
                && be_u64(message, 3) == shape.method_ids
                && message[11] == shape.consumer_tag_len
                && message[shape.method_len - 1] == FRAME_END
                && be_u64(message, shape.method_len) == shape.header_start
                && be_u64(message, shape.method_len + FRAME_HEAD + 4) == shape.body_size
                && message[body_frame_at - 1] == FRAME_END
                && be_u64(message, body_frame_at) & MASK_7_BYTES == shape.body_start
                && message[shape.total_len - 1] == FRAME_END;
            if !same {
                return;
            }
            let delivery_tag = delivery_tag(message, self.message_method);
            visitor.message(delivery_tag, &message[body_frame_at + FRAME_HEAD..shape.total_len - 1]);
            self.start += shape.total_len;
        }
    }

    /// Takes one frame. `false` when more bytes are needed.
    fn walk_frame(&mut self, visitor: &mut impl Visitor) -> io::Result<bool> {
        let bytes = &self.buffer[self.start..self.end];
        if bytes.len() < FRAME_HEAD {
            return Ok(false);
        }
        let kind = bytes[0];
        let size = be_u32(bytes, 3) as usize;
        let frame_len = size + FRAME_OVERHEAD;
        if kind == FRAME_BODY {
            return self.walk_body(size, visitor);
        }
        if frame_len > self.buffer.len() {
            return Err(bad("a frame is larger than the receive buffer"));
        }
        let Some(frame) = bytes.get(..frame_len) else { return Ok(false) };
        if frame[frame_len - 1] != FRAME_END {
            return Err(bad("a frame has no end octet"));
        }
        match kind {
            FRAME_METHOD if size >= 4 => {
                let class_method = be_u32(frame, FRAME_HEAD);
                if class_method == self.message_method {
                    if class_method == BASIC_DELIVER && (size < 13 || usize::from(frame[11]) + 13 > size) {
                        return Err(bad("a delivery is too short for its delivery tag"));
                    }
                    self.arriving = Arriving { delivery_tag: delivery_tag(frame, class_method), ..Arriving::default() };
                    self.method_seen = Some((frame_len, be_u64(frame, 0), be_u64(frame, 3), frame[11]));
                } else {
                    visitor.method(class_method, &frame[FRAME_HEAD + 4..frame_len - 1])?;
                }
            }
            FRAME_HEADER if size >= 14 => {
                self.arriving.body_left = be_u64(frame, FRAME_HEAD + 4);
                self.header_seen = Some((frame_len, be_u64(frame, 0), self.arriving.body_left));
                if self.arriving.body_left == 0 {
                    self.complete(visitor);
                }
            }
            FRAME_METHOD | FRAME_HEADER => return Err(bad("a frame is too short for its type")),
            _ => {} // a heartbeat
        }
        self.start += frame_len;
        Ok(true)
    }

    fn walk_body(&mut self, size: usize, visitor: &mut impl Visitor) -> io::Result<bool> {
        let bytes = &self.buffer[self.start..self.end];
        let wanted = size.min(BODY_PREFIX);
        let Some(prefix) = bytes.get(FRAME_HEAD..FRAME_HEAD + wanted) else { return Ok(false) };
        if self.arriving.prefix_len == 0 {
            self.arriving.prefix[..wanted].copy_from_slice(prefix);
            self.arriving.prefix_len = wanted;
        }
        let Some(body_left) = self.arriving.body_left.checked_sub(size as u64) else {
            return Err(bad("a body is longer than its header says"));
        };
        self.arriving.body_left = body_left;
        self.arriving.completes_after_skip = body_left == 0;
        if let (Some(method), Some(header)) = (self.method_seen, self.header_seen) {
            let total_len = method.0 + header.0 + size + FRAME_OVERHEAD;
            let whole = header.2 == size as u64 && size > 0 && total_len <= RUN_MESSAGE_MAX;
            self.shape = whole.then(|| Shape {
                method_len: method.0,
                header_len: header.0,
                total_len,
                method_start: method.1,
                method_ids: method.2,
                consumer_tag_len: method.3,
                header_start: header.1,
                body_size: header.2,
                body_start: be_u64(bytes, 0) & MASK_7_BYTES,
            });
        }
        self.start += FRAME_HEAD;
        self.skip = size + 1;
        self.pass_over(visitor)
    }

    /// Passes over the rest of a body frame. `false` when more bytes are needed.
    fn pass_over(&mut self, visitor: &mut impl Visitor) -> io::Result<bool> {
        let passed = self.skip.min(self.end - self.start);
        self.start += passed;
        self.skip -= passed;
        if self.skip > 0 {
            return Ok(false);
        }
        if self.buffer[self.start - 1] != FRAME_END {
            return Err(bad("a body frame has no end octet"));
        }
        if self.arriving.completes_after_skip {
            self.complete(visitor);
        }
        Ok(true)
    }

    fn complete(&mut self, visitor: &mut impl Visitor) {
        self.method_seen = None;
        self.header_seen = None;
        self.arriving.completes_after_skip = false;
        visitor.message(self.arriving.delivery_tag, &self.arriving.prefix[..self.arriving.prefix_len]);
    }
}

/// The delivery tag behind the consumer tag of a `basic.deliver` frame; 0 for anything else.
#[inline]
fn delivery_tag(frame: &[u8], class_method: u32) -> u64 {
    if class_method == BASIC_DELIVER { be_u64(frame, 12 + usize::from(frame[11])) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PublishShape, append_delivery, append_frame, append_publish};

    #[derive(Default, PartialEq, Debug)]
    struct Seen {
        messages: Vec<(u64, usize)>,
        methods: Vec<u32>,
    }

    impl Visitor for Seen {
        fn message(&mut self, delivery_tag: u64, body: &[u8]) {
            self.messages.push((delivery_tag, body.len().min(BODY_PREFIX)));
        }
        fn method(&mut self, class_method: u32, _: &[u8]) -> io::Result<()> {
            self.methods.push(class_method);
            Ok(())
        }
    }

    /// Deliveries of changing sizes, a heartbeat and a foreign method among them.
    fn transcript() -> (Vec<u8>, Seen) {
        let mut bytes = Vec::new();
        let mut expected = Seen::default();
        for (index, &body_len) in [16, 16, 16, 0, 0, 100, 16, 16, 9000, 9000, 3, 16, 16].iter().enumerate() {
            let shape = PublishShape { routing_key: "q".into(), body_len, frame_max: 4096, ..PublishShape::default() };
            append_delivery(&mut bytes, &shape, "tag", index as u64);
            expected.messages.push((index as u64, body_len.min(BODY_PREFIX)));
            if index == 6 {
                append_frame(&mut bytes, 8, 0, |_| {});
                append_frame(&mut bytes, 1, 1, |out| out.extend_from_slice(b"\x00\x3c\x00\x50\x01"));
                expected.methods.push(crate::wire::BASIC_ACK);
            }
        }
        (bytes, expected)
    }

    #[test]
    fn every_message_is_seen_wherever_the_bytes_are_cut() {
        let (bytes, expected) = transcript();
        for piece in [1, 2, 7, 8, 64, 99, 1000, 4096, bytes.len()] {
            let mut walker = FrameWalker::new(BASIC_DELIVER, &[]);
            let mut seen = Seen::default();
            for chunk in bytes.chunks(piece) {
                walker.space()[..chunk.len()].copy_from_slice(chunk);
                walker.received(chunk.len());
                walker.walk(&mut seen).unwrap();
            }
            assert_eq!(seen, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn what_came_with_the_handshake_is_not_lost() {
        let (bytes, expected) = transcript();
        let mut walker = FrameWalker::new(BASIC_DELIVER, &bytes);
        let mut seen = Seen::default();
        walker.walk(&mut seen).unwrap();
        assert_eq!(seen, expected);
    }

    #[test]
    fn publishes_are_messages_behind_a_relay() {
        let shape = PublishShape { routing_key: "q".into(), body_len: 16, frame_max: 4096, ..PublishShape::default() };
        let mut bytes = Vec::new();
        for _ in 0..3 {
            append_publish(&mut bytes, &shape);
        }
        let mut walker = FrameWalker::new(crate::wire::BASIC_PUBLISH, &bytes);
        let mut seen = Seen::default();
        walker.walk(&mut seen).unwrap();
        assert_eq!(seen.messages, [(0, 16); 3]);
    }

    #[test]
    fn a_missing_end_octet_is_an_error_in_a_run_too() {
        let (mut bytes, _) = transcript();
        let first_len = bytes.iter().position(|&byte| byte == FRAME_END).unwrap() + 1;
        bytes[first_len - 1] = 0;
        let mut walker = FrameWalker::new(BASIC_DELIVER, &bytes);
        assert!(walker.walk(&mut Seen::default()).is_err());

        let shape = PublishShape { body_len: 16, frame_max: 4096, ..PublishShape::default() };
        let mut run = Vec::new();
        append_delivery(&mut run, &shape, "tag", 1);
        append_delivery(&mut run, &shape, "tag", 2);
        *run.last_mut().unwrap() = 0;
        let mut walker = FrameWalker::new(BASIC_DELIVER, &run);
        assert!(walker.walk(&mut Seen::default()).is_err());
    }

    #[test]
    fn hostile_bytes_are_errors_not_panics() {
        for bytes in [
            &b"\x01\x00\x01\xff\xff\xff\xff"[..],
            b"\x01\x00\x01\x00\x00\x00\x00\xce",
            b"\x02\x00\x01\x00\x00\x00\x01\x00\xce",
            b"\x03\x00\x01\x00\x00\x00\x01x\xce",
            b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x3c\xce",
        ] {
            let mut walker = FrameWalker::new(BASIC_DELIVER, bytes);
            assert!(walker.walk(&mut Seen::default()).is_err(), "{bytes:02x?}");
        }
    }
}
