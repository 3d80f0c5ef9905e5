//! Pages: a stretch of one queue as bytes, for messages that are waiting elsewhere than in memory.
//!
//! ```text
//! entry    │ flags u8 │ sequence − the one before │ [expires at] │ [priority u8] │ [head] │ body length │ body
//! head     │ address length │ header frame length │ address │ header frame      not there when it is the one before's
//! body     the body frame, or the bytes of a shared body
//! ```
//! Numbers are varints. Messages of one publisher mostly share exchange, routing key, properties and size, so that a
//! small one costs little more than its body. A page is scratch: this program wrote it and reads it, and nothing else.

use super::message::{Attributes, Content, MessageRef, Parts};
use super::queue::NEVER;
use crate::varint::{Cursor, put_varint};
use bytes::Bytes;
use std::ops::Range;

const FLAG_PERSISTENT: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_PRIORITY: u8 = 4;
/// Address and header frame are those of the entry before.
const FLAG_SAME_HEAD: u8 = 8;
const FLAG_SHARED_BODY: u8 = 16;

/// A message on its way into a page.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Above those of all entries before it.
    pub sequence: u64,
    /// On the broker's clock; [`NEVER`] without a time to live.
    pub expires_at_ms: u64,
    pub persistent: bool,
    pub priority: u8,
    /// As in [`Content`].
    pub address: &'a [u8],
    pub frames: &'a [u8],
    pub header_frame_length: usize,
    pub shared_body: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    pub fn of(message: &'a MessageRef, sequence: u64, expires_at_ms: u64) -> Self {
        let Content { address, frames, header_frame_length, shared_body } = message.content();
        Self {
            sequence,
            expires_at_ms,
            persistent: message.is_persistent(),
            priority: message.priority(),
            address,
            frames,
            header_frame_length,
            shared_body: shared_body.map(|body| &**body),
        }
    }
}

/// A message out of a page.
#[derive(Debug)]
pub struct Unpacked {
    pub sequence: u64,
    pub expires_at_ms: u64,
    pub message: MessageRef,
}

/// What is known of a page without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSummary {
    pub count: usize,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// When its first message expires; [`NEVER`] without a time to live.
    pub first_expires_at_ms: u64,
}

/// A page and what is known of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub summary: PageSummary,
    pub bytes: Vec<u8>,
}

impl Page {
    /// Its messages, in order.
    pub fn unpack(self) -> Unpacking {
        Unpacking::new(self.bytes)
    }
}

/// A page in the making.
pub struct PageBuilder {
    bytes: Vec<u8>,
    summary: Option<PageSummary>,
    /// Where the last written address and header frame lie in `bytes`.
    head: Range<usize>,
    address_length: usize,
}

impl PageBuilder {
    /// Writes into `buffer`, whatever it held.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer, summary: None, head: 0..0, address_length: 0 }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.summary.is_none()
    }

    pub fn summary(&self) -> Option<PageSummary> {
        self.summary
    }

    #[inline]
    pub fn push(&mut self, entry: &Entry<'_>) {
        let Entry { sequence, expires_at_ms, persistent, priority, address, frames, .. } = *entry;
        let (header_frame, body_frame) = frames.split_at(entry.header_frame_length);
        let out = &mut self.bytes;
        let before = match &mut self.summary {
            Some(summary) => {
                debug_assert!(sequence > summary.last_sequence);
                summary.count += 1;
                std::mem::replace(&mut summary.last_sequence, sequence)
            }
            None => {
                self.summary = Some(PageSummary {
                    count: 1,
                    first_sequence: sequence,
                    last_sequence: sequence,
                    first_expires_at_ms: expires_at_ms,
                });
                0
            }
        };
        let (last_address, last_header_frame) = out[self.head.clone()].split_at(self.address_length);
        let same_head = last_address == address && last_header_frame == header_frame;
        let mut flags = if persistent { FLAG_PERSISTENT } else { 0 };
        flags |= if expires_at_ms != NEVER { FLAG_EXPIRES } else { 0 };
        flags |= if priority != 0 { FLAG_PRIORITY } else { 0 };
        flags |= if same_head { FLAG_SAME_HEAD } else { 0 };
        flags |= if entry.shared_body.is_some() { FLAG_SHARED_BODY } else { 0 };
        out.push(flags);
        put_varint(out, sequence - before);
        if expires_at_ms != NEVER {
            put_varint(out, expires_at_ms);
        }
        if priority != 0 {
            out.push(priority);
        }
        if !same_head {
            put_varint(out, address.len() as u64);
            put_varint(out, header_frame.len() as u64);
            self.head = out.len()..out.len() + address.len() + header_frame.len();
            self.address_length = address.len();
            out.extend_from_slice(address);
            out.extend_from_slice(header_frame);
        }
        let body = entry.shared_body.unwrap_or(body_frame);
        put_varint(out, body.len() as u64);
        out.extend_from_slice(body);
    }

    /// `None` when nothing was pushed.
    pub fn finish(self) -> Option<Page> {
        Some(Page { summary: self.summary?, bytes: self.bytes })
    }
}

/// The messages of a page, one after the other. It ends early when the bytes are not what [`PageBuilder`] wrote.
pub struct Unpacking {
    /// Large bodies are slices of it.
    page: Bytes,
    position: usize,
    sequence: u64,
    head: Range<usize>,
    address_length: usize,
}

impl Unpacking {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { page: Bytes::from(bytes), position: 0, sequence: 0, head: 0..0, address_length: 0 }
    }

    fn read(&mut self) -> Option<Unpacked> {
        let bytes: &[u8] = &self.page;
        let offset_of = |cursor: &Cursor<'_>| bytes.len() - cursor.rest().len();
        let mut cursor = Cursor::new(bytes.get(self.position..)?);
        let flags = cursor.u8()?;
        let sequence = self.sequence.checked_add(cursor.varint()?)?;
        let expires_at_ms = if flags & FLAG_EXPIRES != 0 { cursor.varint()? } else { NEVER };
        let priority = if flags & FLAG_PRIORITY != 0 { cursor.u8()? } else { 0 };
        if flags & FLAG_SAME_HEAD == 0 {
            let address_length = usize::try_from(cursor.varint()?).ok()?;
            let header_frame_length = usize::try_from(cursor.varint()?).ok()?;
            let start = offset_of(&cursor);
            cursor.bytes(address_length.checked_add(header_frame_length)?)?;
            self.head = start..offset_of(&cursor);
            self.address_length = address_length;
        }
        let body_length = usize::try_from(cursor.varint()?).ok()?;
        let body_start = offset_of(&cursor);
        let body = cursor.bytes(body_length)?;
        let (address, header_frame) = bytes.get(self.head.clone())?.split_at_checked(self.address_length)?;
        let is_shared = flags & FLAG_SHARED_BODY != 0;
        let parts = Parts {
            address,
            header_frame,
            body_frame: if is_shared { &[] } else { body },
            shared_body: is_shared.then(|| self.page.slice(body_start..body_start + body_length)),
        };
        let persistent = flags & FLAG_PERSISTENT != 0;
        let message = MessageRef::of_parts(parts, Attributes { persistent, priority, expiration_ms: None });
        self.position = body_start + body_length;
        self.sequence = sequence;
        Some(Unpacked { sequence, expires_at_ms, message })
    }
}

impl Iterator for Unpacking {
    type Item = Unpacked;

    #[inline]
    fn next(&mut self) -> Option<Unpacked> {
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Sample {
        gap: u64,
        expires_at_ms: u64,
        persistent: bool,
        priority: u8,
        routing_key: u8,
        body: Vec<u8>,
        shared: bool,
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let body = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), Just(vec![7; 5000])];
        let expiry = prop_oneof![3 => Just(NEVER), 1 => 0..1_000_000_u64];
        let sample =
            (1..300_u64, expiry, any::<bool>(), prop_oneof![Just(0), any::<u8>()], 0..3_u8, body, any::<bool>())
                .prop_map(|(gap, expires_at_ms, persistent, priority, routing_key, body, shared)| Sample {
                    gap,
                    expires_at_ms,
                    persistent,
                    priority,
                    routing_key,
                    body,
                    shared,
                });
        prop::collection::vec(sample, 1..50)
    }

    fn message(sample: &Sample) -> MessageRef {
        let address = [0, 1, b'a' + sample.routing_key, 0xCE];
        let mut frames = vec![0; 22];
        frames[18] = sample.body.len() as u8;
        let shared = Bytes::copy_from_slice(&sample.body);
        if !sample.shared {
            frames.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0]);
            frames.extend_from_slice(&sample.body);
            frames.push(0xCE);
        }
        let content = Content {
            address: &address,
            frames: &frames,
            header_frame_length: 22,
            shared_body: sample.shared.then_some(&shared),
        };
        let attributes = Attributes { persistent: sample.persistent, priority: sample.priority, expiration_ms: None };
        MessageRef::new(&content, attributes)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(samples in samples()) {
            let mut builder = PageBuilder::new(Vec::new());
            let mut sequence = 0;
            for sample in &samples {
                sequence += sample.gap;
                builder.push(&Entry::of(&message(sample), sequence, sample.expires_at_ms));
            }
            let page = builder.finish().unwrap();
            prop_assert_eq!(page.summary.count, samples.len());
            prop_assert_eq!(page.summary.first_sequence, samples[0].gap);
            prop_assert_eq!(page.summary.last_sequence, sequence);
            prop_assert_eq!(page.summary.first_expires_at_ms, samples[0].expires_at_ms);
            let unpacked: Vec<_> = page.unpack().collect();
            prop_assert_eq!(unpacked.len(), samples.len());
            let mut sequence = 0;
            for (sample, unpacked) in samples.iter().zip(unpacked) {
                sequence += sample.gap;
                let expected = message(sample);
                prop_assert_eq!(unpacked.sequence, sequence);
                prop_assert_eq!(unpacked.expires_at_ms, sample.expires_at_ms);
                prop_assert_eq!(unpacked.message.image(), expected.image());
                prop_assert_eq!(unpacked.message.content().body(), expected.content().body());
                prop_assert_eq!(unpacked.message.is_persistent(), sample.persistent);
                prop_assert_eq!(unpacked.message.priority(), sample.priority);
            }
        }

        #[test]
        fn any_bytes_end_somewhere(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            prop_assert!(Unpacking::new(bytes).count() <= length);
        }
    }

    #[test]
    fn a_small_message_like_the_one_before_costs_its_body_and_a_few_bytes() {
        let sample = Sample {
            gap: 1,
            expires_at_ms: NEVER,
            persistent: true,
            priority: 0,
            routing_key: 0,
            body: vec![1; 16],
            shared: false,
        };
        let mut builder = PageBuilder::new(Vec::new());
        builder.push(&Entry::of(&message(&sample), 1, NEVER));
        let first = builder.len();
        builder.push(&Entry::of(&message(&sample), 2, NEVER));
        assert_eq!(builder.len() - first, 3 + 7 + 16 + 1);
    }
}
