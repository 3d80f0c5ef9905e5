//! Pages: a stretch of one queue as bytes: messages that wait in a long queue, in memory or elsewhere.
//!
//! ```text
//! entry    │ flags u8 │ sequence − the one before │ [expires at] │ [priority u8] │ [head] │ body length │ body
//! head     │ address length │ header frame length │ address │ header frame      not there when it is the one before's
//! ```
//! Numbers are varints. Messages of one publisher mostly share exchange, routing key, properties and size, so that a
//! small one costs little more than its body. A page is scratch: this program wrote it and reads it, and nothing else.

use super::memory::shared_body;
use super::message::{Attributes, Content, MessageRef, NEVER, Parts};
use crate::varint::{Cursor, VARINT_MAX_BYTES, put_varint};
use bytes::Bytes;
use std::ops::Range;

const FLAG_PERSISTENT: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_PRIORITY: u8 = 4;
/// Address and header frame are those of the entry before.
const FLAG_SAME_HEAD: u8 = 8;
const FLAG_SHARED_BODY: u8 = 16;

/// A message on its way into a page, or out of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Above those of all entries before it.
    pub sequence: u64,
    /// On the broker's clock; [`NEVER`] without a time to live.
    pub expires_at_ms: u64,
    pub persistent: bool,
    pub priority: u8,
    /// As in [`Content`].
    pub address: &'a [u8],
    pub header_frame: &'a [u8],
    /// Without its frame.
    pub body: &'a [u8],
    /// The body is one that messages share and not part of their image.
    pub has_shared_body: bool,
}

impl<'a> Entry<'a> {
    pub fn new(content: &Content<'a>, attributes: Attributes, sequence: u64, expires_at_ms: u64) -> Self {
        let Attributes { persistent, priority, .. } = attributes;
        Self {
            sequence,
            expires_at_ms,
            persistent,
            priority,
            address: content.address,
            header_frame: &content.frames[..content.header_frame_length],
            body: content.body(),
            has_shared_body: content.shared_body.is_some(),
        }
    }

    pub fn of(message: &'a MessageRef, sequence: u64, expires_at_ms: u64) -> Self {
        Self::new(&message.content(), message.attributes(), sequence, expires_at_ms)
    }

    /// Property flags and property list, as in [`Content`].
    pub fn properties(&self) -> &'a [u8] {
        self.head().properties()
    }

    /// All of the message but its body.
    pub fn head(&self) -> Content<'a> {
        let header_frame_length = self.header_frame.len();
        Content { address: self.address, frames: self.header_frame, header_frame_length, shared_body: None }
    }

    /// The most that it takes in a page, in bytes.
    pub fn most_bytes(&self) -> usize {
        2 + 5 * VARINT_MAX_BYTES + self.address.len() + self.header_frame.len() + self.body.len()
    }

    /// The message, with a body that is not shared.
    #[inline]
    pub fn to_message(&self) -> MessageRef {
        self.message_with(self.body, None)
    }

    #[inline]
    fn message_with(&self, body: &[u8], shared_body: Option<Bytes>) -> MessageRef {
        let Self { persistent, priority, address, header_frame, .. } = *self;
        let parts = Parts { address, header_frame, body, shared_body };
        MessageRef::of_parts(parts, Attributes { persistent, priority, expiration_ms: None })
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
    /// Some message has a body that is not part of its image.
    pub has_shared_bodies: bool,
    /// Bytes of all bodies.
    pub body_bytes: u64,
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
    /// With room for so many bytes, to begin with.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), summary: None, head: 0..0, address_length: 0 }
    }

    /// Goes on with a page.
    pub fn of_page(page: Page) -> Self {
        Self { bytes: page.bytes, summary: Some(page.summary), head: 0..0, address_length: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes so far.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for so many bytes in all.
    pub fn reserve_up_to(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.len()));
    }

    /// Gives back room that will not be needed.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    pub fn summary(&self) -> Option<PageSummary> {
        self.summary
    }

    #[inline]
    pub fn push(&mut self, entry: &Entry<'_>) {
        let Entry { sequence, expires_at_ms, persistent, priority, address, header_frame, body, has_shared_body } =
            *entry;
        let out = &mut self.bytes;
        let before = match &mut self.summary {
            Some(summary) => {
                debug_assert!(sequence > summary.last_sequence);
                summary.count += 1;
                summary.has_shared_bodies |= has_shared_body;
                summary.body_bytes += body.len() as u64;
                std::mem::replace(&mut summary.last_sequence, sequence)
            }
            None => {
                self.summary = Some(PageSummary {
                    count: 1,
                    first_sequence: sequence,
                    last_sequence: sequence,
                    first_expires_at_ms: expires_at_ms,
                    has_shared_bodies: has_shared_body,
                    body_bytes: body.len() as u64,
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
        flags |= if has_shared_body { FLAG_SHARED_BODY } else { 0 };
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
        put_varint(out, body.len() as u64);
        out.extend_from_slice(body);
    }

    /// `None` when nothing was pushed.
    pub fn finish(self) -> Option<Page> {
        Some(Page { summary: self.summary?, bytes: self.bytes })
    }
}

/// How far a page has been read. The bytes are handed in with every call.
#[derive(Clone, Default, Debug)]
pub struct PageReader {
    position: usize,
    sequence: u64,
    head: Range<usize>,
    address_length: usize,
}

impl PageReader {
    /// The next entry; `None` at the end, and for bytes that [`PageBuilder`] didn't write.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<Entry<'a>> {
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
        let body = cursor.bytes(body_length)?;
        let (address, header_frame) = bytes.get(self.head.clone())?.split_at_checked(self.address_length)?;
        self.position = offset_of(&cursor);
        self.sequence = sequence;
        Some(Entry {
            sequence,
            expires_at_ms,
            persistent: flags & FLAG_PERSISTENT != 0,
            priority,
            address,
            header_frame,
            body,
            has_shared_body: flags & FLAG_SHARED_BODY != 0,
        })
    }
}

/// The messages of a page, one after the other. It ends early when the bytes are not what [`PageBuilder`] wrote.
pub struct Unpacking {
    /// Bodies that are most of it are slices of it.
    page: Bytes,
    reader: PageReader,
}

impl Unpacking {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { page: shared_body(bytes), reader: PageReader::default() }
    }
}

impl Iterator for Unpacking {
    type Item = Unpacked;

    fn next(&mut self) -> Option<Unpacked> {
        let entry = self.reader.next(&self.page)?;
        let message = match entry.has_shared_body {
            // One message that stays must not keep a page of which it is a small part.
            true if 2 * entry.body.len() < self.page.len() => {
                entry.message_with(&[], Some(shared_body(entry.body.to_vec())))
            }
            true => entry.message_with(&[], Some(self.page.slice_ref(entry.body))),
            false => entry.to_message(),
        };
        Some(Unpacked { sequence: entry.sequence, expires_at_ms: entry.expires_at_ms, message })
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

    fn body_frame(body: &[u8]) -> Vec<u8> {
        [&[3, 0, 0], (body.len() as u32).to_be_bytes().as_slice(), body, &[0xCE]].concat()
    }

    fn message(sample: &Sample) -> MessageRef {
        let address = [0, 1, b'a' + sample.routing_key, 0xCE];
        let mut frames = vec![0; 22];
        frames[18] = sample.body.len() as u8;
        let shared = Bytes::copy_from_slice(&sample.body);
        if !sample.shared && !sample.body.is_empty() {
            frames.extend(body_frame(&sample.body));
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
            let mut builder = PageBuilder::with_capacity(0);
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
            let body_bytes: usize = samples.iter().map(|sample| sample.body.len()).sum();
            prop_assert_eq!(page.summary.body_bytes, body_bytes as u64);
            let unpacked: Vec<_> = page.unpack().collect();
            prop_assert_eq!(unpacked.len(), samples.len());
            let mut sequence = 0;
            for (sample, unpacked) in samples.iter().zip(unpacked) {
                sequence += sample.gap;
                let expected = message(sample);
                prop_assert_eq!(unpacked.sequence, sequence);
                prop_assert_eq!(unpacked.expires_at_ms, sample.expires_at_ms);
                prop_assert_eq!(unpacked.message.content(), expected.content());
                prop_assert_eq!(unpacked.message.is_persistent(), sample.persistent);
                prop_assert_eq!(unpacked.message.attributes().priority, sample.priority);
            }
        }

        #[test]
        fn any_bytes_end_somewhere(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            prop_assert!(Unpacking::new(bytes).count() <= length);
        }
    }

    #[test]
    fn a_body_keeps_its_page_only_where_it_is_most_of_it() {
        let sample = |length| Sample {
            gap: 1,
            expires_at_ms: NEVER,
            persistent: true,
            priority: 0,
            routing_key: 0,
            body: vec![7; length],
            shared: true,
        };
        for (lengths, keeps) in [([5000, 5000, 5000], [false; 3]), ([100, 50_000, 100], [false, true, false])] {
            let mut builder = PageBuilder::with_capacity(0);
            for (sequence, length) in (1..).zip(lengths) {
                builder.push(&Entry::of(&message(&sample(length)), sequence, NEVER));
            }
            let page = builder.finish().unwrap();
            let page_range = page.bytes.as_ptr_range();
            let unpacked =
                page.unpack().map(|unpacked| page_range.contains(&unpacked.message.content().body().as_ptr()));
            assert_eq!(unpacked.collect::<Vec<_>>(), keeps);
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
        let mut builder = PageBuilder::with_capacity(0);
        builder.push(&Entry::of(&message(&sample), 1, NEVER));
        let first = builder.size_bytes();
        builder.push(&Entry::of(&message(&sample), 2, NEVER));
        assert_eq!(builder.size_bytes() - first, 3 + 16);
    }
}
