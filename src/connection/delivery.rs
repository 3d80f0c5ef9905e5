//! From the broker's effects to bytes in outboxes: deliveries, returns, confirms, cancellations.
//!
//! A delivery is one prefix, the message's image, and channel numbers patched in two places:
//! ```text
//! 01 ch ch size size size size  00 3C 00 3C  len consumer-tag  delivery-tag(8)  redelivered   ← written
//! len exchange  len routing-key  CE                                                          ← copied: address
//! 02 ch ch …content header… CE   03 ch ch …body… CE                                          ← copied: frames
//! ```

use super::lane::copy_short;
use super::outbox::{Outbox, Outboxes};
use crate::broker::message::Content;
use crate::broker::{ConnectionId, Effects, Got, Recipient, Room};
use crate::protocol::Method;
use crate::protocol::ReplyCode;
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD, FrameType};
use crate::protocol::method::basic;

/// class 60, method 60.
const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];

impl Effects for Outboxes {
    #[inline]
    fn deliver(
        &mut self,
        recipient: Recipient<'_>,
        delivery_tag: u64,
        redelivered: bool,
        content: &Content<'_>,
    ) -> Room {
        let Recipient { connection, channel_number, consumer_tag } = recipient;
        let frames_length = content.frames.len();
        let prefix_length = FRAME_HEADER_LENGTH + 4 + 1 + consumer_tag.len() + 8 + 1;
        self.write_to(connection);
        self.reserve(connection, prefix_length + content.address.len() + frames_length);
        let outbox = self.write_to(connection);
        let buffer = outbox.buffer();
        let method_size = (prefix_length - FRAME_HEADER_LENGTH + content.address.len() - 1) as u32;
        let mut head = [0; FRAME_HEADER_LENGTH + 5];
        head[..FRAME_HEADER_LENGTH].copy_from_slice(&frame_header(FrameType::Method, channel_number, method_size));
        head[FRAME_HEADER_LENGTH..FRAME_HEADER_LENGTH + 4].copy_from_slice(&BASIC_DELIVER);
        head[FRAME_HEADER_LENGTH + 4] = consumer_tag.len() as u8;
        buffer.extend_from_slice(&head);
        append_short(buffer, consumer_tag);
        let mut tail = [0; 9];
        tail[..8].copy_from_slice(&delivery_tag.to_be_bytes());
        tail[8] = u8::from(redelivered);
        buffer.extend_from_slice(&tail);
        append_short(buffer, content.address);
        append_content(outbox, channel_number, content);
        self.room(connection)
    }

    fn return_unroutable(&mut self, connection: ConnectionId, channel_number: u16, content: &Content<'_>) {
        let method = Method::BasicReturn(basic::Return {
            reply_code: ReplyCode::NoRoute.number(),
            reply_text: ReplyCode::NoRoute.name().as_bytes(),
            exchange: content.exchange(),
            routing_key: content.routing_key(),
        });
        self.method(connection, channel_number, &method);
        append_content(self.write_to(connection), channel_number, content);
    }

    fn confirm(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        self.method(connection, channel_number, &Method::BasicAck(basic::Ack { delivery_tag, multiple }));
    }

    fn cancel_consumer(&mut self, recipient: Recipient<'_>) {
        let Recipient { connection, channel_number, consumer_tag } = recipient;
        if self.get(connection).understands_cancel {
            let method = Method::BasicCancel(basic::Cancel { consumer_tag, nowait: true });
            self.method(connection, channel_number, &method);
        }
    }
}

impl Outboxes {
    /// `basic.get-ok` with its content.
    pub(super) fn got(&mut self, connection: ConnectionId, channel_number: u16, got: &Got) {
        let content = got.message.content();
        let method = Method::BasicGetOk(basic::GetOk {
            delivery_tag: got.delivery_tag,
            redelivered: got.redelivered,
            exchange: content.exchange(),
            routing_key: content.routing_key(),
            message_count: got.message_count,
        });
        self.method(connection, channel_number, &method);
        append_content(self.write_to(connection), channel_number, &content);
    }
}

/// Appends bytes that are most often few, without a call of the system's copy.
#[inline(always)]
fn append_short(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.reserve(bytes.len());
    let start = buffer.len();
    // SAFETY: there is room for as many bytes as are copied behind the buffer's end.
    unsafe {
        copy_short(bytes.as_ptr(), buffer.as_mut_ptr().add(start), bytes.len());
        buffer.set_len(start + bytes.len());
    }
}

#[inline]
fn frame_header(frame_type: FrameType, channel_number: u16, payload_size: u32) -> [u8; FRAME_HEADER_LENGTH] {
    let [c0, c1] = channel_number.to_be_bytes();
    let [s0, s1, s2, s3] = payload_size.to_be_bytes();
    [frame_type as u8, c0, c1, s0, s1, s2, s3]
}

/// Appends content header and body on a channel, in frames that the client takes.
#[inline]
fn append_content(outbox: &mut Outbox, channel_number: u16, content: &Content<'_>) {
    let body_frame_max = outbox.frame_max() as usize;
    let fits = content.frames.len() - content.header_frame_length <= body_frame_max;
    if content.shared_body.is_some() || !fits {
        return append_large_content(outbox, channel_number, content);
    }
    let channel = channel_number.to_be_bytes();
    let buffer = outbox.buffer();
    let start = buffer.len();
    append_short(buffer, content.frames);
    buffer[start + 1..start + 3].copy_from_slice(&channel);
    let body = start + content.header_frame_length;
    if body < buffer.len() {
        buffer[body + 1..body + 3].copy_from_slice(&channel);
    }
}

/// Bodies that have to be cut, or are shared.
fn append_large_content(outbox: &mut Outbox, channel_number: u16, content: &Content<'_>) {
    let payload_max = outbox.frame_max() as usize - FRAME_OVERHEAD;
    let buffer = outbox.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(&content.frames[..content.header_frame_length]);
    buffer[start + 1..start + 3].copy_from_slice(&channel_number.to_be_bytes());
    let body = content.body();
    let mut offset = 0;
    while offset < body.len() {
        let end = body.len().min(offset + payload_max);
        let header = frame_header(FrameType::Body, channel_number, (end - offset) as u32);
        outbox.buffer().extend_from_slice(&header);
        match content.shared_body {
            Some(shared) => outbox.push_shared(shared.slice(offset..end)),
            None => outbox.buffer().extend_from_slice(&body[offset..end]),
        }
        outbox.buffer().push(FRAME_END);
        offset = end;
    }
}
