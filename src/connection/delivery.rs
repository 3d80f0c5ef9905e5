//! From the broker's effects to bytes in outboxes: deliveries, returns, confirms, cancellations.
//!
//! A delivery is one prefix, the message's image, and channel numbers patched in two places:
//! ```text
//! 01 ch ch size size size size  00 3C 00 3C  len consumer-tag  delivery-tag(8)  redelivered   ← written
//! len exchange  len routing-key  CE                                                          ← copied: address
//! 02 ch ch …content header… CE   03 ch ch …body… CE                                          ← copied: frames
//! ```

use super::lane::{copy_short, make_room};
use super::outbox::{Outbox, Outboxes};
use crate::broker::message::Content;
use crate::broker::{ConnectionId, Effects, Got, Recipient, Room};
use crate::protocol::Method;
use crate::protocol::ReplyCode;
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD, FrameType};
use crate::protocol::method::basic;

/// class 60, method 60.
const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Of a `basic.deliver` frame, what is neither consumer tag nor address, in bytes.
const DELIVER_FIXED_BYTES: usize = FRAME_HEADER_LENGTH + BASIC_DELIVER.len() + 1 + 8 + 1;

impl Effects for Outboxes {
    #[inline]
    fn deliver(
        &mut self,
        recipient: Recipient<'_>,
        delivery_tag: u64,
        redelivered: bool,
        content: &Content<'_>,
    ) -> Room {
        let length = DELIVER_FIXED_BYTES + recipient.consumer_tag.len() + content.address.len() + content.frames.len();
        let high_water_bytes = self.high_water_bytes();
        let outbox = self.write_with_room(recipient.connection, length);
        append_delivery(outbox, recipient, delivery_tag, redelivered, content);
        if outbox.len() < high_water_bytes { Room::Left } else { Room::Full }
    }

    fn return_unroutable(&mut self, connection: ConnectionId, channel_number: u16, content: &Content<'_>) {
        let method = Method::BasicReturn(basic::Return {
            reply_code: ReplyCode::NoRoute.number(),
            reply_text: ReplyCode::NoRoute.name().as_bytes(),
            exchange: content.exchange(),
            routing_key: content.routing_key(),
        });
        self.method(connection, channel_number, &method);
        append_content(self.write_with_room(connection, content.frames.len()), channel_number, content);
    }

    fn confirm(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        self.method(connection, channel_number, &Method::BasicAck(basic::Ack { delivery_tag, multiple }));
    }

    fn reject(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        // It says nothing in a nack to a publisher, and is the protocol's default, as RabbitMQ sends it.
        let requeue = true;
        let method = Method::BasicNack(basic::Nack { delivery_tag, multiple, requeue });
        self.method(connection, channel_number, &method);
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
        append_content(self.write_with_room(connection, content.frames.len()), channel_number, &content);
    }
}

#[inline]
fn frame_header(frame_type: FrameType, channel_number: u16, payload_size: u32) -> [u8; FRAME_HEADER_LENGTH] {
    let [c0, c1] = channel_number.to_be_bytes();
    let [s0, s1, s2, s3] = payload_size.to_be_bytes();
    [frame_type as u8, c0, c1, s0, s1, s2, s3]
}

/// Appends a `basic.deliver` with its content.
#[inline]
fn append_delivery(
    outbox: &mut Outbox,
    recipient: Recipient<'_>,
    delivery_tag: u64,
    redelivered: bool,
    content: &Content<'_>,
) {
    let Recipient { channel_number, consumer_tag, .. } = recipient;
    let is_whole = is_sent_whole(outbox, content);
    let frames = if is_whole { content.frames } else { &[] };
    let method_length = DELIVER_FIXED_BYTES + consumer_tag.len() + content.address.len();
    let method_size = (method_length - FRAME_OVERHEAD) as u32;
    let buffer = outbox.buffer();
    make_room(buffer, method_length + frames.len());
    let start = buffer.len();
    // SAFETY: there is room for the method frame and the frames; every byte of that is written before it is
    // counted, and none behind it: the fixed bytes, the consumer tag and the address are what `method_length` adds up.
    // The channel numbers lie at offset 1 of frames that are longer than that.
    unsafe {
        let mut target = buffer.as_mut_ptr().add(start);
        let header = frame_header(FrameType::Method, channel_number, method_size);
        target.cast::<[u8; FRAME_HEADER_LENGTH]>().write_unaligned(header);
        target.add(FRAME_HEADER_LENGTH).cast::<[u8; 4]>().write_unaligned(BASIC_DELIVER);
        target = target.add(FRAME_HEADER_LENGTH + BASIC_DELIVER.len());
        target.write(consumer_tag.len() as u8);
        copy_short(consumer_tag.as_ptr(), target.add(1), consumer_tag.len());
        target = target.add(1 + consumer_tag.len());
        target.cast::<[u8; 8]>().write_unaligned(delivery_tag.to_be_bytes());
        target.add(8).write(u8::from(redelivered));
        target = target.add(9);
        copy_short(content.address.as_ptr(), target, content.address.len());
        target = target.add(content.address.len());
        copy_short(frames.as_ptr(), target, frames.len());
        buffer.set_len(start + method_length + frames.len());
    }
    match is_whole {
        true => set_channel(&mut buffer[start + method_length..], channel_number, content.header_frame_length),
        false => append_large_content(outbox, channel_number, content),
    }
}

/// Whether the frames can go out as they are stored.
#[inline]
fn is_sent_whole(outbox: &Outbox, content: &Content<'_>) -> bool {
    let body_frame_length = content.frames.len() - content.header_frame_length;
    content.shared_body.is_none() && body_frame_length <= outbox.frame_max() as usize
}

/// Writes the channel number into a content header frame and a body frame behind it, if there is one.
#[inline]
fn set_channel(frames: &mut [u8], channel_number: u16, header_frame_length: usize) {
    // An array is written at once, where a slice is a call.
    let set = |frame: &mut [u8]| {
        if let Some(place) = frame.get_mut(1..).and_then(<[u8]>::first_chunk_mut) {
            *place = channel_number.to_be_bytes();
        }
    };
    set(frames);
    set(&mut frames[header_frame_length..]);
}

/// Appends content header and body on a channel, in frames that the client takes.
fn append_content(outbox: &mut Outbox, channel_number: u16, content: &Content<'_>) {
    if !is_sent_whole(outbox, content) {
        return append_large_content(outbox, channel_number, content);
    }
    let buffer = outbox.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(content.frames);
    set_channel(&mut buffer[start..], channel_number, content.header_frame_length);
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
