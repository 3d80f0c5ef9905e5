//! Many deliveries in a row to the same consumer: what they have in common is written once.
//!
//! Between two deliveries of a run only the delivery tag and the content differ. A [`Lane`] keeps the rest of the bytes
//! as a template, so that a delivery is two short copies into an outbox that is known to have room.

use super::outbox::{Outbox, Outboxes};
use crate::broker::{ConnectionId, Recipient, Room};
use crate::protocol::frame::{FRAME_HEADER_LENGTH, FRAME_OVERHEAD, FrameType};

/// class 60, method 60.
const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Copies bytes that are most often few. A call of the system's copy costs more than copying this much.
///
/// # Safety
/// `source` must be readable and `target` writable for `length` bytes, and they must not overlap.
#[inline(always)]
pub(super) unsafe fn copy_short(source: *const u8, target: *mut u8, length: usize) {
    type Half = [u8; 32];
    type Quarter = [u8; 16];
    // SAFETY: every access lies within the first `length` bytes; unaligned access is what the types are read with.
    unsafe {
        if (size_of::<Half>()..=2 * size_of::<Half>()).contains(&length) {
            let last = length - size_of::<Half>();
            let (front, back) =
                (source.cast::<Half>().read_unaligned(), source.add(last).cast::<Half>().read_unaligned());
            target.cast::<Half>().write_unaligned(front);
            target.add(last).cast::<Half>().write_unaligned(back);
        } else if (size_of::<Quarter>()..size_of::<Half>()).contains(&length) {
            let last = length - size_of::<Quarter>();
            let (front, back) =
                (source.cast::<Quarter>().read_unaligned(), source.add(last).cast::<Quarter>().read_unaligned());
            target.cast::<Quarter>().write_unaligned(front);
            target.add(last).cast::<Quarter>().write_unaligned(back);
        } else {
            source.copy_to_nonoverlapping(target, length);
        }
    }
}

/// Makes room for so many more bytes. Mostly there is some, and a call of `reserve` costs more than finding that out.
#[inline(always)]
pub(super) fn make_room(buffer: &mut Vec<u8>, additional: usize) {
    #[cold]
    #[inline(never)]
    fn grow(buffer: &mut Vec<u8>, additional: usize) {
        buffer.reserve(additional);
    }
    if buffer.capacity() - buffer.len() < additional {
        grow(buffer, additional);
    }
}

/// Everything of a `basic.deliver` frame, with the delivery tag still to be set.
pub(super) struct Template {
    bytes: Vec<u8>,
    delivery_tag_at: usize,
    channel: [u8; 2],
}

impl Template {
    /// `address` is exchange and routing key as short strings, and the frame end.
    pub fn new(recipient: Recipient<'_>, address: &[u8]) -> Self {
        let tag = recipient.consumer_tag;
        let channel = recipient.channel_number.to_be_bytes();
        let size = (BASIC_DELIVER.len() + 1 + tag.len() + 8 + 1 + address.len() - 1) as u32;
        let mut bytes = Vec::with_capacity(FRAME_HEADER_LENGTH + size as usize + 1);
        bytes.push(FrameType::Method as u8);
        bytes.extend_from_slice(&channel);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&BASIC_DELIVER);
        bytes.push(tag.len() as u8);
        bytes.extend_from_slice(tag);
        let delivery_tag_at = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(u8::from(false));
        bytes.extend_from_slice(address);
        Self { bytes, delivery_tag_at, channel }
    }

    /// Whether it was made for this recipient and address.
    pub fn is_for(&self, recipient: Recipient<'_>, address: &[u8]) -> bool {
        let tag_at = FRAME_HEADER_LENGTH + BASIC_DELIVER.len() + 1;
        self.channel == recipient.channel_number.to_be_bytes()
            && self.bytes[tag_at..self.delivery_tag_at] == *recipient.consumer_tag
            && self.bytes[self.delivery_tag_at + 9..] == *address
    }
}

/// Deliveries to one consumer into one outbox.
pub(super) struct Lane<'a> {
    outbox: &'a mut Outbox,
    template: &'a Template,
    high_water_bytes: usize,
}

impl<'a> Lane<'a> {
    /// Into the outbox of `connection`, with room for about `estimate` bytes.
    pub fn new(outboxes: &'a mut Outboxes, connection: ConnectionId, template: &'a Template, estimate: usize) -> Self {
        let estimate = estimate.min(outboxes.high_water_bytes());
        outboxes.write_with_room(connection, estimate);
        // Making room may have made memory scarce.
        let high_water_bytes = outboxes.high_water_bytes();
        Self { outbox: outboxes.get_mut(connection), template, high_water_bytes }
    }

    /// A content header frame and a small body's frame fit the client's frames.
    #[inline]
    pub fn takes(&self, frames_length: usize, header_frame_length: usize) -> bool {
        let frame_max = self.outbox.frame_max() as usize;
        frames_length - header_frame_length <= frame_max && header_frame_length <= frame_max + FRAME_OVERHEAD
    }

    /// Appends one delivery, whose content [`takes`](Self::takes) must have allowed.
    #[inline(always)]
    pub fn deliver(&mut self, delivery_tag: u64, frames: &[u8], header_frame_length: usize) -> Room {
        let Template { bytes, delivery_tag_at, channel } = self.template;
        let buffer = self.outbox.buffer();
        let length = bytes.len() + frames.len();
        make_room(buffer, length);
        let start = buffer.len();
        debug_assert!(delivery_tag_at + 8 <= bytes.len());
        debug_assert!(header_frame_length <= frames.len() && header_frame_length > FRAME_OVERHEAD);
        // SAFETY: there is room for `length` more bytes, all of which are written: the template, with the tag
        // inside it, and the frames behind it. The channel numbers lie at offset 1 of frames that are at least
        // FRAME_OVERHEAD long.
        unsafe {
            let target = buffer.as_mut_ptr().add(start);
            copy_short(bytes.as_ptr(), target, bytes.len());
            target.add(*delivery_tag_at).cast::<[u8; 8]>().write_unaligned(delivery_tag.to_be_bytes());
            let content = target.add(bytes.len());
            copy_short(frames.as_ptr(), content, frames.len());
            content.add(1).cast::<[u8; 2]>().write_unaligned(*channel);
            if frames.len() > header_frame_length + FRAME_OVERHEAD {
                content.add(header_frame_length + 1).cast::<[u8; 2]>().write_unaligned(*channel);
            }
            buffer.set_len(start + length);
        }
        if self.outbox.len() < self.high_water_bytes { Room::Left } else { Room::Full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_copies_copy_every_length() {
        let source: Vec<u8> = (0..200).collect();
        for length in 0..200 {
            let mut target = vec![0xFF; 200];
            // SAFETY: both are 200 bytes long.
            unsafe { copy_short(source.as_ptr(), target.as_mut_ptr(), length) };
            assert_eq!(target[..length], source[..length]);
            assert!(target[length..].iter().all(|byte| *byte == 0xFF), "{length} bytes and not one more");
        }
    }
}
