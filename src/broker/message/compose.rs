//! Messages that the broker's own interfaces publish: from values to the image that the queues keep, and to the queues.

use super::image::{Content, INLINE_BODY_MAX};
use super::properties::apply_rules;
use crate::broker::memory::shared_body;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, Effects, Origin, Publication, Target, oversized};
use crate::protocol::encoder::put_short_string;
use crate::protocol::frame::{FRAME_END, write_body_frame};
use crate::protocol::properties::BASIC_CLASS_ID;
use crate::protocol::{AmqpError, BasicProperties, ContentHeader, ShortString};
use bytes::Bytes;

/// A message in wire form that no client sent.
pub struct ComposedMessage {
    address: Vec<u8>,
    frames: Vec<u8>,
    header_frame_length: usize,
    shared_body: Option<Bytes>,
}

impl ComposedMessage {
    pub fn new(exchange: &ShortString, routing_key: &ShortString, properties: &BasicProperties, body: Bytes) -> Self {
        let mut encoded = Vec::new();
        properties.encode(&mut encoded);
        Self::in_wire_form(exchange, routing_key, &encoded, body)
    }

    /// The same, of properties in wire form.
    pub fn in_wire_form(exchange: &ShortString, routing_key: &ShortString, properties: &[u8], body: Bytes) -> Self {
        let mut address = Vec::new();
        put_short_string(&mut address, exchange);
        put_short_string(&mut address, routing_key);
        address.push(FRAME_END);
        let header = ContentHeader { class_id: BASIC_CLASS_ID, weight: 0, body_size: body.len() as u64, properties };
        let mut frames = Vec::new();
        header.encode_frame(0, &mut frames);
        let header_frame_length = frames.len();
        let inline = body.len() <= INLINE_BODY_MAX;
        if inline && !body.is_empty() {
            write_body_frame(&mut frames, 0, &body);
        }
        Self { address, frames, header_frame_length, shared_body: (!inline).then(|| shared_body(body.to_vec())) }
    }

    /// Publishes it as `caller`, mandatory, under the rules for what clients publish. Says whether a queue refused it.
    ///
    /// # Errors
    /// 406 for what is larger than `size_max`, 404 and 403 for the exchange, and those of properties.
    pub fn publish<S: Store>(
        mut self,
        caller: Caller,
        size_max: usize,
        broker: &mut Broker<S>,
        effects: &mut impl Effects,
    ) -> Result<bool, AmqpError> {
        let size = self.content().body().len();
        if size > size_max {
            return Err(oversized(size as u64, size_max));
        }
        let content = self.content();
        let exchange = broker.exchange_to_publish(caller, content.exchange(), content.routing_key())?.id;
        let (attributes, extra_keys) =
            apply_rules(&mut self.frames, &mut self.header_frame_length, caller, exchange, broker)?;
        let publication = Publication { content: self.content(), attributes, mandatory: true };
        let target = Target { exchange, extra_keys: &extra_keys };
        let mut refused = false;
        let origin = Origin::Management { target, refused: &mut refused };
        broker.publish_from(origin, caller, &publication, effects)?;
        Ok(refused)
    }

    pub(in crate::broker) fn content(&self) -> Content<'_> {
        Content {
            address: &self.address,
            frames: &self.frames,
            header_frame_length: self.header_frame_length,
            shared_body: self.shared_body.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(body: &[u8]) -> ComposedMessage {
        let properties = BasicProperties { content_type: Some("text/plain".into()), ..BasicProperties::default() };
        ComposedMessage::new(&"x".into(), &"a.b".into(), &properties, Bytes::copy_from_slice(body))
    }

    #[test]
    fn what_was_composed_reads_back() {
        for length in [0, 1, INLINE_BODY_MAX, INLINE_BODY_MAX + 1] {
            let body = vec![7; length];
            let message = composed(&body);
            let content = message.content();
            assert_eq!((content.exchange(), content.routing_key()), (&b"x"[..], &b"a.b"[..]));
            assert_eq!(content.body(), body, "{length} bytes");
            assert_eq!(content.shared_body.is_some(), length > INLINE_BODY_MAX);
            assert_eq!(&content.properties()[2..], b"\x0atext/plain");
        }
    }
}
