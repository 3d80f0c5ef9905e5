//! Contents that come in pieces: header and body frames put together, until the publish is whole.
//!
//! What came in one piece doesn't pass here, but goes the [shorter way](super::publish).

use super::channel::{Channel, Incoming, IncomingBody};
use super::publish::{Framed, route_and_publish};
use super::{Connection, Context};
use crate::broker::memory::{ClientHolding, shared_body};
use crate::broker::message::{INLINE_BODY_MAX, PROPERTIES_OFFSET, apply_rules};
use crate::broker::oversized;
use crate::broker::store::Store;
use crate::protocol::frame::{FRAME_END, FRAME_OVERHEAD, FrameType};
use crate::protocol::properties::{BASIC_CLASS_ID, ContentHeader};
use crate::protocol::{AmqpError, RawFrame, ReplyCode};

/// What `basic.publish` is called in a close.
const BASIC_PUBLISH: (u16, u16) = (60, 40);
/// A body is given this much room at first, however much is announced, in bytes.
const BODY_ROOM_AT_FIRST: usize = 256 * 1024;

impl IncomingBody {
    /// It doesn't lie in one frame with its header.
    pub(super) fn is_large(&self) -> bool {
        self.body_size > INLINE_BODY_MAX as u64
    }

    /// Makes room for so many more bytes of a large body. It grows with what has arrived, not with what was announced,
    /// and never beyond that: the memory of messages is counted by their length.
    pub(super) fn make_room(&mut self, additional: usize) {
        let needed = self.large_body.len() + additional;
        if needed > self.large_body.capacity() {
            let announced = usize::try_from(self.body_size).unwrap_or(usize::MAX);
            let room = needed.max(announced.min(2 * self.large_body.capacity()));
            self.large_body.reserve_exact(room - self.large_body.len());
            self.count_memory();
        }
    }

    fn count_memory(&mut self) {
        self.memory.set(self.frames.capacity() + self.large_body.capacity());
    }
}

impl Connection {
    /// The content header of a publish.
    pub(super) fn content_header<S: Store>(
        &mut self,
        index: usize,
        frame: &RawFrame<'_>,
        wire: &[u8],
        context: &mut Context<'_, S>,
    ) {
        let header = match ContentHeader::parse(frame.payload) {
            Ok(header) => header,
            Err(error) => return self.raise_on_connection(&error.to_amqp_error(), (0, 0), context),
        };
        let unexpected = |what: String| {
            let explanation = format!("expected content header for class 60, got {what} instead");
            AmqpError::connection(ReplyCode::UnexpectedFrame, explanation)
        };
        if header.weight != 0 {
            let error = unexpected("non content header frame".into());
            return self.raise_on_connection(&error, BASIC_PUBLISH, context);
        }
        if header.class_id != BASIC_CLASS_ID {
            let error = unexpected(format!("one for class {}", header.class_id));
            return self.raise_on_connection(&error, BASIC_PUBLISH, context);
        }
        if self.channels[index].judged.is_some() && self.waits_to_publish(index, header.properties, context) {
            return;
        }
        let oversized = header.body_size > context.settings.message_size_max as u64;
        let mut body = IncomingBody {
            body_size: header.body_size,
            received: 0,
            frames: Vec::new(),
            header_frame_length: wire.len(),
            large_body: Vec::new(),
            memory: ClientHolding::default(),
            oversized,
        };
        if body.is_large() {
            // As RabbitMQ does; a small one is nearly here.
            self.block_if_alarmed(context);
        }
        if !oversized && body.is_large() {
            if !self.blocked {
                body.large_body.reserve_exact((header.body_size as usize).min(BODY_ROOM_AT_FIRST));
            }
            body.frames = wire.to_vec();
        } else if !oversized {
            let body_size = header.body_size as usize;
            body.frames.reserve_exact(wire.len() + body_size + FRAME_OVERHEAD);
            body.frames.extend_from_slice(wire);
            if body_size > 0 {
                body.frames.extend_from_slice(&[FrameType::Body as u8, 0, 0]);
                body.frames.extend_from_slice(&(body_size as u32).to_be_bytes());
            }
        }
        body.count_memory();
        let empty = header.body_size == 0;
        self.channels[index].incoming = Incoming::Body(body);
        if empty {
            self.content_progressed(index, context);
        }
    }

    /// A body frame of a publish.
    pub(super) fn content_body<S: Store>(&mut self, index: usize, payload: &[u8], context: &mut Context<'_, S>) {
        let Incoming::Body(body) = &mut self.channels[index].incoming else { return };
        if body.received + payload.len() as u64 > body.body_size {
            self.channels[index].incoming = Incoming::Overrun;
            return;
        }
        body.received += payload.len() as u64;
        if !body.oversized {
            if body.is_large() {
                body.make_room(payload.len());
                body.large_body.extend_from_slice(payload);
            } else {
                body.frames.extend_from_slice(payload);
            }
        }
        self.content_progressed(index, context);
    }

    /// More of a content arrived: publishes it when it is all there.
    pub(super) fn content_progressed<S: Store>(&mut self, index: usize, context: &mut Context<'_, S>) {
        let channel = &mut self.channels[index];
        let Incoming::Body(body) = &mut channel.incoming else { return };
        let result = if body.oversized && body.received > 0 {
            Err(oversized(body.body_size, context.settings.message_size_max))
        } else if body.received < body.body_size {
            return;
        } else {
            let Incoming::Body(body) = std::mem::take(&mut channel.incoming) else { return };
            finish(channel, body, context)
        };
        match result {
            Ok(()) => {
                self.published = true;
                self.block_if_alarmed(context);
            }
            Err(error) => {
                let number = self.channels[index].number;
                self.raise(number, &error, BASIC_PUBLISH, context);
            }
        }
    }
}

/// Publishes an assembled content.
fn finish<S: Store>(channel: &mut Channel, body: IncomingBody, context: &mut Context<'_, S>) -> Result<(), AmqpError> {
    let last = &mut channel.last_publish;
    let mut frames = body.frames;
    let mut header_frame_length = body.header_frame_length;
    if frames.len() > header_frame_length {
        frames.push(FRAME_END);
    }
    if last.immediate {
        return Err(AmqpError::connection(ReplyCode::NotImplemented, "immediate=true"));
    }
    let mut resolve = |context: &mut Context<'_, S>| {
        let exchange = last.resolve_exchange(channel.caller, context.broker)?;
        let properties_bytes = &frames[PROPERTIES_OFFSET..header_frame_length - 1];
        let (attributes, extra_keys) = match last.known_attributes(properties_bytes) {
            Some(attributes) => (attributes, Vec::new()),
            None => apply_rules(&mut frames, &mut header_frame_length, channel.caller, exchange, context.broker)?,
        };
        Ok((exchange, attributes, extra_keys))
    };
    let (exchange, attributes, extra_keys) = match &mut channel.judged {
        None => resolve(context),
        Some(judged) => judged.resolved(context, resolve),
    }?;
    let shared_body = (!body.large_body.is_empty()).then(|| shared_body(body.large_body));
    let shared_body = shared_body.as_ref();
    context.broker.publishes_to(channel.caller.vhost, exchange);
    let content = Framed { frames: &frames, header_frame_length, shared_body, attributes, extra_keys: &extra_keys };
    route_and_publish(channel.caller, last, exchange, content, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_ends_with_the_room_that_was_announced() {
        const PAYLOAD_BYTES: usize = 4000;
        for body_size in [BODY_ROOM_AT_FIRST + 1, 4 * BODY_ROOM_AT_FIRST + 1, 1_000_000] {
            let mut body = IncomingBody {
                body_size: body_size as u64,
                received: 0,
                frames: Vec::new(),
                header_frame_length: 0,
                large_body: Vec::with_capacity(BODY_ROOM_AT_FIRST),
                memory: ClientHolding::default(),
                oversized: false,
            };
            while body.large_body.len() < body_size {
                let payload = vec![7; PAYLOAD_BYTES.min(body_size - body.large_body.len())];
                body.make_room(payload.len());
                body.large_body.extend(payload);
                assert!(body.large_body.capacity() <= BODY_ROOM_AT_FIRST.max(2 * body.large_body.len()));
            }
            assert_eq!(body.large_body.capacity(), body_size);
        }
    }
}
