//! The bytes of the hot path: publishes built once and sent many times, deliveries for the self-test, acknowledgements.
//! Owns encoding of exactly these; never reads and never touches a socket.

pub const FRAME_METHOD: u8 = 1;
pub const FRAME_HEADER: u8 = 2;
pub const FRAME_BODY: u8 = 3;
pub const FRAME_END: u8 = 0xCE;
/// Type, channel and size before a payload, and the end octet after it, in bytes.
pub const FRAME_OVERHEAD: usize = 8;
/// Type, channel and size, in bytes.
pub const FRAME_HEAD: usize = 7;

/// Class and method id as the first four bytes of a method frame's payload.
pub const BASIC_PUBLISH: u32 = (60 << 16) | 40;
pub const BASIC_DELIVER: u32 = (60 << 16) | 60;
pub const BASIC_ACK: u32 = (60 << 16) | 80;
pub const BASIC_NACK: u32 = (60 << 16) | 120;

const BASIC_CLASS: u16 = 60;
const PROPERTY_HEADERS: u16 = 1 << 13;
const PROPERTY_DELIVERY_MODE: u16 = 1 << 12;
const PROPERTY_PRIORITY: u16 = 1 << 11;
const PROPERTY_CORRELATION_ID: u16 = 1 << 10;
const PROPERTY_REPLY_TO: u16 = 1 << 9;
const PROPERTY_EXPIRATION: u16 = 1 << 8;
const DELIVERY_MODE_PERSISTENT: u8 = 2;

/// The channel of every connection of this program.
pub const CHANNEL: u16 = 1;

/// Everything that decides the bytes of a publish.
#[derive(Clone, Debug, Default)]
pub struct PublishShape {
    pub exchange: String,
    pub routing_key: String,
    pub persistent: bool,
    /// The header `x-delay`, in milliseconds.
    pub delay_ms: Option<u32>,
    pub priority: Option<u8>,
    pub reply_to: Option<String>,
    pub correlation_id: Option<String>,
    /// Milliseconds, as the property has them.
    pub expiration: Option<String>,
    /// The header `x-deduplication-header` with a text of `VALUE_BYTES`, which is the sender's to fill in.
    pub deduplicated: bool,
    pub body_len: usize,
    /// Largest frame, in bytes, overhead included.
    pub frame_max: usize,
}

pub fn append_short_string(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).expect("names made here are at most 255 bytes");
    out.push(length);
    out.extend_from_slice(text.as_bytes());
}

/// Appends one frame whose payload `fill` writes.
pub fn append_frame(out: &mut Vec<u8>, kind: u8, channel: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    let size_at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let size = (out.len() - size_at - 4) as u32;
    out[size_at..size_at + 4].copy_from_slice(&size.to_be_bytes());
    out.push(FRAME_END);
}

/// Where in the bytes of a publish the things start that are written anew for each message.
pub struct Places {
    pub body: usize,
    /// The text of the header `x-deduplication-header`; 0 without one.
    pub value: usize,
}

/// Bytes of a value that no other message has.
pub const VALUE_BYTES: usize = 16;

/// Appends one publish: method, content header and as many body frames as `frame_max` asks for.
/// Returns where in `out` things of it start.
pub fn append_publish(out: &mut Vec<u8>, shape: &PublishShape) -> Places {
    append_frame(out, FRAME_METHOD, CHANNEL, |out| {
        out.extend_from_slice(&BASIC_PUBLISH.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        append_short_string(out, &shape.exchange);
        append_short_string(out, &shape.routing_key);
        out.push(0);
    });
    append_content(out, shape)
}

/// Appends one delivery as a broker would send it, for the self-test of the consumer.
pub fn append_delivery(out: &mut Vec<u8>, shape: &PublishShape, consumer_tag: &str, delivery_tag: u64) {
    append_frame(out, FRAME_METHOD, CHANNEL, |out| {
        out.extend_from_slice(&BASIC_DELIVER.to_be_bytes());
        append_short_string(out, consumer_tag);
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(0);
        append_short_string(out, &shape.exchange);
        append_short_string(out, &shape.routing_key);
    });
    append_content(out, shape);
}

fn append_content(out: &mut Vec<u8>, shape: &PublishShape) -> Places {
    let mut value = 0;
    append_frame(out, FRAME_HEADER, CHANNEL, |out| {
        out.extend_from_slice(&BASIC_CLASS.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(shape.body_len as u64).to_be_bytes());
        let mut flags = 0;
        flags |= if shape.delay_ms.is_some() || shape.deduplicated { PROPERTY_HEADERS } else { 0 };
        flags |= if shape.persistent { PROPERTY_DELIVERY_MODE } else { 0 };
        flags |= if shape.priority.is_some() { PROPERTY_PRIORITY } else { 0 };
        flags |= if shape.correlation_id.is_some() { PROPERTY_CORRELATION_ID } else { 0 };
        flags |= if shape.reply_to.is_some() { PROPERTY_REPLY_TO } else { 0 };
        flags |= if shape.expiration.is_some() { PROPERTY_EXPIRATION } else { 0 };
        out.extend_from_slice(&flags.to_be_bytes());
        if flags & PROPERTY_HEADERS != 0 {
            value = append_headers(out, shape);
        }
        if shape.persistent {
            out.push(DELIVERY_MODE_PERSISTENT);
        }
        out.extend(shape.priority);
        for text in [&shape.correlation_id, &shape.reply_to, &shape.expiration].into_iter().flatten() {
            append_short_string(out, text);
        }
    });
    let body = out.len() + FRAME_HEAD;
    let mut left = shape.body_len;
    while left > 0 {
        let piece = left.min(shape.frame_max - FRAME_OVERHEAD);
        append_frame(out, FRAME_BODY, CHANNEL, |out| out.resize(out.len() + piece, b'x'));
        left -= piece;
    }
    Places { body, value }
}

/// Appends the table of headers. Returns where in `out` the value by which duplicates are known starts.
fn append_headers(out: &mut Vec<u8>, shape: &PublishShape) -> usize {
    let mut headers = Vec::new();
    if let Some(delay_ms) = shape.delay_ms {
        headers.extend_from_slice(b"\x07x-delayI");
        headers.extend_from_slice(&delay_ms.to_be_bytes());
    }
    if shape.deduplicated {
        headers.extend_from_slice(b"\x16x-deduplication-headerS");
        headers.extend_from_slice(&(VALUE_BYTES as u32).to_be_bytes());
        headers.resize(headers.len() + VALUE_BYTES, b'0');
    }
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    out.extend_from_slice(&headers);
    if shape.deduplicated { out.len() - VALUE_BYTES } else { 0 }
}

/// What an acknowledgement takes: a frame's header and end, class and method, delivery tag, flags.
pub const ACK_FRAME_BYTES: usize = 8 + 4 + 8 + 1;

/// Appends `basic.ack`.
pub fn append_ack(out: &mut Vec<u8>, delivery_tag: u64, multiple: bool) {
    append_frame(out, FRAME_METHOD, CHANNEL, |out| {
        out.extend_from_slice(&BASIC_ACK.to_be_bytes());
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(u8::from(multiple));
    });
}

/// Reads `reply_to` and `correlation_id` out of a content header's payload, if these are its first properties.
/// That is how requests of this program look; a general parser would be the broker's own and hide its mistakes.
pub fn reply_properties(header_payload: &[u8]) -> Option<(Option<String>, String)> {
    let flags = u16::from_be_bytes(header_payload.get(12..14)?.try_into().ok()?);
    if flags & !(PROPERTY_CORRELATION_ID | PROPERTY_REPLY_TO) != 0 || flags & PROPERTY_REPLY_TO == 0 {
        return None;
    }
    let mut rest = header_payload.get(14..)?;
    let mut take = || {
        let (&length, tail) = rest.split_first()?;
        let text = String::from_utf8(tail.get(..usize::from(length))?.to_vec()).ok()?;
        rest = &tail[usize::from(length)..];
        Some(text)
    };
    let correlation_id = if flags & PROPERTY_CORRELATION_ID != 0 { Some(take()?) } else { None };
    Some((correlation_id, take()?))
}

/// Thousands of publishes of one length back to back, so that one write carries many: all of one shape, or of several
/// shapes in turn.
pub struct PublishBlock {
    pub bytes: Vec<u8>,
    pub message_len: usize,
    pub messages: usize,
    /// Different shapes in the block.
    shapes: usize,
    /// Most messages of one write.
    messages_per_write: usize,
    /// Where things start within a message.
    places: Places,
    body_len: usize,
}

impl PublishBlock {
    /// As many publishes as fit into `write_len` bytes, but at least one of each shape. The names in the shapes must
    /// be of one length.
    pub fn new(shapes: &[PublishShape], write_len: usize) -> Self {
        let mut bytes = Vec::new();
        let places = append_publish(&mut bytes, &shapes[0]);
        let message_len = bytes.len();
        for shape in &shapes[1..] {
            append_publish(&mut bytes, shape);
        }
        assert_eq!(bytes.len(), message_len * shapes.len(), "names of one length make publishes of one length");
        let messages_per_write = (write_len / message_len).max(1);
        let rounds = (messages_per_write / shapes.len()).max(1);
        Self {
            bytes: bytes.repeat(rounds),
            message_len,
            messages: rounds * shapes.len(),
            shapes: shapes.len(),
            messages_per_write,
            places,
            body_len: shapes[0].body_len,
        }
    }

    /// Where the publish after so many others lies.
    pub fn index(&self, published: u64) -> usize {
        if self.shapes == 1 { 0 } else { (published % self.messages as u64) as usize }
    }

    /// How many publishes a write that starts at this one may hold.
    pub fn room(&self, index: usize) -> usize {
        self.messages_per_write.min(self.messages - index)
    }

    /// Overwrites the start of the body of message `index`.
    #[inline]
    pub fn stamp(&mut self, index: usize, stamp: &[u8]) {
        debug_assert!(stamp.len() <= self.body_len);
        let at = index * self.message_len + self.places.body;
        self.bytes[at..at + stamp.len()].copy_from_slice(stamp);
    }

    /// Writes into the message `index` the value by which duplicates are known: this number, as text.
    #[inline]
    pub fn set_value(&mut self, index: usize, number: u64) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let at = index * self.message_len + self.places.value;
        for (place, digit) in self.bytes[at..at + VALUE_BYTES].iter_mut().enumerate() {
            *digit = DIGITS[(number >> (60 - 4 * place)) as usize & 0xF];
        }
    }

    /// So many publishes from this one on.
    pub fn range(&self, index: usize, messages: usize) -> &[u8] {
        &self.bytes[index * self.message_len..(index + messages) * self.message_len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(body_len: usize) -> PublishShape {
        PublishShape { routing_key: "queue".into(), body_len, frame_max: 4096, ..PublishShape::default() }
    }

    #[test]
    fn a_publish_is_these_bytes() {
        let mut bytes = Vec::new();
        let places = append_publish(&mut bytes, &PublishShape { persistent: true, ..shape(2) });
        let expected: &[u8] = b"\x01\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x28\x00\x00\x00\x05queue\x00\xce\
            \x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x10\x00\x02\xce\
            \x03\x00\x01\x00\x00\x00\x02xx\xce";
        assert_eq!(bytes, expected);
        assert_eq!(&bytes[places.body..places.body + 2], b"xx");
    }

    #[test]
    fn a_long_body_is_split_at_frame_max() {
        let mut whole = Vec::new();
        append_publish(&mut whole, &shape(4088));
        let mut split = Vec::new();
        append_publish(&mut split, &shape(4089));
        assert_eq!(split.len(), whole.len() + 1 + FRAME_OVERHEAD);
    }

    #[test]
    fn an_empty_body_has_no_body_frame() {
        let mut bytes = Vec::new();
        append_publish(&mut bytes, &shape(0));
        assert_eq!(bytes.len(), 22 + 22);
    }

    #[test]
    fn a_block_holds_equal_messages_which_can_be_stamped() {
        let mut block = PublishBlock::new(&[shape(16)], 1000);
        assert_eq!(block.messages, 1000 / block.message_len);
        block.stamp(1, b"stamp");
        let (first, rest) = block.bytes.split_at(block.message_len);
        assert!(!first.windows(5).any(|window| window == b"stamp"));
        assert!(rest[..block.message_len].ends_with(b"stampxxxxxxxxxxx\xce"));
    }

    #[test]
    fn every_message_of_a_block_can_have_a_value_of_its_own() {
        let shape = PublishShape { deduplicated: true, delay_ms: Some(1), ..shape(16) };
        let mut block = PublishBlock::new(&[shape], 1000);
        block.set_value(2, 0x0123_4567_89ab_cdef);
        let header = |value: &str| [b"\x16x-deduplication-headerS\x00\x00\x00\x10", value.as_bytes()].concat();
        let has = |index, value| {
            let header = header(value);
            block.range(index, 1).windows(header.len()).any(|window| window == header)
        };
        assert!(has(1, "0000000000000000") && has(2, "0123456789abcdef"));
    }

    #[test]
    fn a_block_of_several_shapes_has_them_in_turn() {
        let shapes = ["key-0", "key-1", "key-2"].map(|key| PublishShape { routing_key: key.into(), ..shape(0) });
        let block = PublishBlock::new(&shapes, 1000);
        assert_eq!(block.messages % 3, 0);
        // The key's last byte lies behind the frame's head, both ids, the reserved number, two lengths and "key-".
        let key = |published| char::from(block.range(block.index(published), 1)[FRAME_HEAD + 4 + 2 + 2 + 4]);
        assert_eq!([0, 1, 2, 3, 100].map(key), ['0', '1', '2', '0', '1']);
        assert_eq!(block.room(block.messages - 1), 1);
        assert_eq!(PublishBlock::new(&shapes, 1).messages, 3, "one of each, though a write holds one");
    }

    #[test]
    fn reply_properties_are_read_back() {
        let mut bytes = Vec::new();
        let request = PublishShape {
            reply_to: Some("amq.rabbitmq.reply-to.x".into()),
            correlation_id: Some("7".into()),
            ..shape(0)
        };
        append_publish(&mut bytes, &request);
        let payload = &bytes[22 + FRAME_HEAD..bytes.len() - 1];
        assert_eq!(reply_properties(payload), Some((Some("7".into()), "amq.rabbitmq.reply-to.x".into())));
        for cut in 0..payload.len() {
            assert_eq!(reply_properties(&payload[..cut]), None, "cut at {cut}");
        }
    }
}
