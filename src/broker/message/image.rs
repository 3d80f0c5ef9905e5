//! Messages as the broker keeps them: one allocation each, in the form in which they will leave.
//!
//! ```text
//! MessageRef ──► ┌────────┬───────────────────────────────┬──────────────────────┬──────────────────┐
//!                │ Header │ exchange, routing key, 0xCE   │ content header frame │ small body frame │
//!                └────────┴───────────────────────────────┴──────────────────────┴──────────────────┘
//!                           address                         frames
//! ```
//! The bytes are opaque here: the room `connection` writes them and copies them out again, so that a delivery costs one
//! prefix, one copy and two patched channel numbers. A body above [`INLINE_BODY_MAX`] is not in the image but shared
//! as [`Bytes`].
//!
//! References are counted without atomics: one thread owns every message. This module owns the layout; it never looks at
//! what a message says.

use super::edit::PROPERTIES_OFFSET;
use super::properties::Attributes;
use crate::broker::memory::{add_message, remove_message};
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD, FrameType};
use crate::protocol::properties::flag;
use bytes::Bytes;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Largest body, in bytes, that lies in the image; its frame fits the smallest frame-max a client may ask for (4096).
pub const INLINE_BODY_MAX: usize = 4096 - 8;

/// When a message without a time to live expires.
pub const NEVER: u64 = u64::MAX;

/// A message's parts, borrowed from the receive buffer or from a stored message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content<'a> {
    /// Exchange and routing key as short strings and the frame end after them: the tail of `basic.deliver`.
    pub address: &'a [u8],
    /// The content header frame and, when the body is small, its one body frame. Channel numbers in it mean nothing.
    pub frames: &'a [u8],
    /// Length of the content header frame at the front of `frames`.
    pub header_frame_length: usize,
    /// A body that is not in `frames`; [in the account](crate::broker::memory::shared_body) by itself.
    pub shared_body: Option<&'a Bytes>,
}

impl<'a> Content<'a> {
    /// The exchange that the message was published to.
    pub fn exchange(&self) -> &'a [u8] {
        let length = usize::from(self.address[0]);
        &self.address[1..1 + length]
    }

    pub fn routing_key(&self) -> &'a [u8] {
        let start = 1 + usize::from(self.address[0]);
        let length = usize::from(self.address[start]);
        &self.address[start + 1..start + 1 + length]
    }

    /// Property flags and property list as the publisher sent them.
    pub fn properties(&self) -> &'a [u8] {
        &self.frames[PROPERTIES_OFFSET..self.header_frame_length - 1]
    }

    /// Whether there is a priority among its properties.
    pub fn says_priority(&self) -> bool {
        /// In the first octet of the flags.
        const PRIORITY_FLAG: u8 = (flag::PRIORITY >> 8) as u8;
        self.properties().first().is_some_and(|flags| flags & PRIORITY_FLAG != 0)
    }

    pub fn body(&self) -> &'a [u8] {
        match self.shared_body {
            Some(body) => body,
            None => framed_body(&self.frames[self.header_frame_length..]),
        }
    }

    pub fn body_size(&self) -> usize {
        self.body().len()
    }
}

/// What a whole body frame carries. No frame is an empty body.
pub fn framed_body(frame: &[u8]) -> &[u8] {
    if frame.is_empty() { frame } else { &frame[FRAME_HEADER_LENGTH..frame.len() - 1] }
}

/// A message's parts where header frame and body lie apart.
pub struct Parts<'a> {
    pub address: &'a [u8],
    pub header_frame: &'a [u8],
    /// What its one body frame carries; empty with an empty body, and with a shared one.
    pub body: &'a [u8],
    pub shared_body: Option<Bytes>,
}

struct Header {
    references: Cell<u32>,
    address_length: u16,
    persistent: bool,
    priority: u8,
    frames_length: u32,
    header_frame_length: u32,
    /// Boxed, as only large messages have one.
    shared_body: Option<Box<Bytes>>,
}

/// A counted reference to a message. `Clone` shares, `Drop` of the last one frees.
pub struct MessageRef {
    header: NonNull<Header>,
    /// Not `Send`, not `Sync`: the count is a plain cell.
    _owned_by_one_thread: PhantomData<*mut Header>,
}

impl MessageRef {
    /// Copies `content` into one allocation.
    #[inline]
    pub fn new(content: &Content<'_>, attributes: Attributes) -> Self {
        let Content { address, frames, header_frame_length, shared_body } = *content;
        Self::of_slices([address, frames], address.len(), header_frame_length, shared_body.cloned(), attributes)
    }

    /// Copies the parts into one allocation, the body in a frame.
    #[inline]
    pub fn of_parts(parts: Parts<'_>, attributes: Attributes) -> Self {
        let Parts { address, header_frame, body, shared_body } = parts;
        if body.is_empty() {
            return Self::of_slices(
                [address, header_frame],
                address.len(),
                header_frame.len(),
                shared_body,
                attributes,
            );
        }
        let [b0, b1, b2, b3] = (body.len() as u32).to_be_bytes();
        let frame_header = [FrameType::Body as u8, 0, 0, b0, b1, b2, b3];
        let slices = [address, header_frame, &frame_header, body, &[FRAME_END]];
        Self::of_slices(slices, address.len(), header_frame.len(), shared_body, attributes)
    }

    /// Copies address and frames, in whatever pieces, into one allocation.
    #[inline]
    fn of_slices<const COUNT: usize>(
        slices: [&[u8]; COUNT],
        address_length: usize,
        header_frame_length: usize,
        shared_body: Option<Bytes>,
        attributes: Attributes,
    ) -> Self {
        let frames_length = slices.iter().map(|slice| slice.len()).sum::<usize>() - address_length;
        let layout = Self::layout(address_length, frames_length);
        // SAFETY: the layout's size is at least that of a header, so it isn't zero.
        let pointer = unsafe { alloc(layout) };
        let Some(header) = NonNull::new(pointer.cast::<Header>()) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is fresh, aligned for a header, and large enough for it and all byte strings.
        unsafe {
            header.as_ptr().write(Header {
                references: Cell::new(1),
                address_length: address_length as u16,
                persistent: attributes.persistent,
                priority: attributes.priority,
                frames_length: frames_length as u32,
                header_frame_length: header_frame_length as u32,
                shared_body: shared_body.map(Box::new),
            });
            let mut image = pointer.add(size_of::<Header>());
            for slice in slices {
                image.copy_from_nonoverlapping(slice.as_ptr(), slice.len());
                image = image.add(slice.len());
            }
        }
        let message = Self { header, _owned_by_one_thread: PhantomData };
        add_message(message.image_bytes());
        message
    }

    fn layout(address_length: usize, frames_length: usize) -> Layout {
        Layout::from_size_align(size_of::<Header>() + address_length + frames_length, align_of::<Header>())
            .expect("a message image is smaller than the address space")
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the allocation lives as long as any reference to it.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub fn content(&self) -> Content<'_> {
        let header = self.header();
        let address_length = usize::from(header.address_length);
        // SAFETY: `new` wrote address and frames of these lengths right behind the header.
        let (address, frames) = unsafe {
            let image = self.header.as_ptr().cast::<u8>().add(size_of::<Header>());
            (
                std::slice::from_raw_parts(image, address_length),
                std::slice::from_raw_parts(image.add(address_length), header.frames_length as usize),
            )
        };
        Content {
            address,
            frames,
            header_frame_length: header.header_frame_length as usize,
            shared_body: header.shared_body.as_deref(),
        }
    }

    /// delivery_mode 2: the log keeps it when its queue is durable.
    pub fn is_persistent(&self) -> bool {
        self.header().persistent
    }

    /// What the queues must know of it, but for an expiration: its queues have made a time of that.
    pub fn attributes(&self) -> Attributes {
        let Header { persistent, priority, .. } = *self.header();
        Attributes { persistent, priority, expiration_ms: None }
    }

    /// Bytes of its body.
    #[inline]
    pub fn body_bytes(&self) -> u64 {
        let header = self.header();
        match &header.shared_body {
            Some(body) => body.len() as u64,
            // Of a frame what is neither its header nor its end; no frame is an empty body.
            None => u64::from(header.frames_length - header.header_frame_length).saturating_sub(FRAME_OVERHEAD as u64),
        }
    }

    /// What this message holds, in bytes, however many queues share it.
    pub fn memory_bytes(&self) -> usize {
        self.image_bytes() + self.header().shared_body.as_ref().map_or(0, |body| body.len())
    }

    /// Without a shared body.
    #[inline]
    fn image_bytes(&self) -> usize {
        let header = self.header();
        size_of::<Header>() + usize::from(header.address_length) + header.frames_length as usize
    }
}

impl Clone for MessageRef {
    #[inline]
    fn clone(&self) -> Self {
        let references = &self.header().references;
        let count = references.get().checked_add(1).expect("fewer than 2^32 queues share a message");
        references.set(count);
        Self { header: self.header, _owned_by_one_thread: PhantomData }
    }
}

impl Drop for MessageRef {
    #[inline]
    fn drop(&mut self) {
        let references = &self.header().references;
        let count = references.get() - 1;
        references.set(count);
        if count == 0 {
            self.free();
        }
    }
}

impl MessageRef {
    fn free(&mut self) {
        remove_message(self.image_bytes());
        let header = self.header();
        let layout = Self::layout(usize::from(header.address_length), header.frames_length as usize);
        // SAFETY: the count is zero, so this is the last reference; the layout is the one `new` allocated with.
        unsafe {
            self.header.as_ptr().drop_in_place();
            dealloc(self.header.as_ptr().cast::<u8>(), layout);
        }
    }
}

impl std::fmt::Debug for MessageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = self.content();
        f.debug_struct("Message")
            .field("exchange", &String::from_utf8_lossy(content.exchange()))
            .field("routing_key", &String::from_utf8_lossy(content.routing_key()))
            .field("body_size", &content.body_size())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::{message_memory_bytes, shared_body};

    /// Exchange `x`, key `key`, no properties, body `hello`.
    const ADDRESS: &[u8] = b"\x01x\x03key\xCE";
    const FRAMES: &[u8] = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\xCE\
                            \x03\x00\x00\x00\x00\x00\x05hello\xCE";

    fn content() -> Content<'static> {
        Content { address: ADDRESS, frames: FRAMES, header_frame_length: 22, shared_body: None }
    }

    #[test]
    fn parts_are_found_again_in_the_stored_image() {
        let message = MessageRef::new(&content(), Attributes { persistent: true, priority: 7, expiration_ms: None });
        let stored = message.content();
        assert_eq!(stored.exchange(), b"x");
        assert_eq!(stored.routing_key(), b"key");
        assert_eq!(stored.properties(), [0, 0]);
        assert_eq!(stored.body(), b"hello");
        assert!(message.is_persistent());
        assert_eq!(message.attributes().priority, 7);
    }

    #[test]
    fn memory_is_given_back_with_the_last_reference() {
        let before = message_memory_bytes();
        let body = shared_body(vec![7; 100_000]);
        let large = Content { frames: &FRAMES[..22], shared_body: Some(&body), ..content() };
        let first = MessageRef::new(&large, Attributes::default());
        let second = first.clone();
        assert!(message_memory_bytes() >= before + 100_000);
        drop((first, body));
        assert_eq!(second.content().body_size(), 100_000);
        drop(second);
        assert_eq!(message_memory_bytes(), before);
    }
}
