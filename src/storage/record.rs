//! Records: one effect each, as bytes.
//!
//! ```text
//! record      │ length u32 │ kind u8 │ payload                                  length = kind and payload
//! enqueue     │ flags u8 │ priority u8 │ address length │ header frame length │ image length │ [body length]
//!             │ image = address, frames │ [body] │ route … to the end of the record
//! route       │ queue │ sequence │ expires at, 1 more than the milliseconds since 1970, or 0 for never
//! removed     │ queue │ (gap since the last one's end, length − 1) … to the end     ranges of sequences, ascending
//! purged      │ queue │ up to
//! delivered   │ queue │ below                    messages below may have been delivered; in the batch of a clean stop
//! returned    │ queue │ sequence │ how often the message came back │ how often of those delivering it failed
//! definition  │ one kind for each of them: see [`definition_record`](super::definition_record)
//! ```
//! Fixed numbers are little-endian, all others [varints](crate::varint). A message that goes to many queues is one
//! record with many routes: routes are appended to the record while it is the last one of its batch.
//!
//! Decoding never panics, whatever the bytes: a record is whole or it is [`BadRecord`].

use super::definition_record::decode_definition;
pub use super::definition_record::{put_bound, put_definition};
use crate::broker::message::Content;
use crate::broker::store::{Definition, DurableQueueId, Returns, Route};
use crate::varint::{Cursor, put_varint};

/// Smallest content header frame: frame header, class, weight, body size, flags, frame end.
const HEADER_FRAME_MIN_BYTES: usize = 7 + 12 + 2 + 1;
/// Frame header and frame end of a body frame.
const BODY_FRAME_OVERHEAD_BYTES: usize = 8;

/// A body follows the image.
const FLAG_BODY: u8 = 1;

pub(super) mod kind {
    pub const ENQUEUE: u8 = 1;
    pub const REMOVED: u8 = 2;
    pub const PURGED: u8 = 3;
    pub const QUEUE_DECLARED: u8 = 4;
    pub const QUEUE_DELETED: u8 = 5;
    pub const EXCHANGE_DECLARED: u8 = 6;
    pub const EXCHANGE_DELETED: u8 = 7;
    pub const BOUND: u8 = 8;
    pub const UNBOUND: u8 = 9;
    pub const DELIVERED: u8 = 10;
    pub const RETURNED: u8 = 11;
    pub const VHOST_DECLARED: u8 = 12;
    pub const VHOST_DELETED: u8 = 13;
    pub const USER_DECLARED: u8 = 16;
    pub const USER_DELETED: u8 = 17;
    pub const PERMITTED: u8 = 18;
    pub const FORBIDDEN: u8 = 19;
    pub const TOPIC_PERMITTED: u8 = 20;
    pub const TOPIC_FORBIDDEN: u8 = 21;
    pub const POLICY_PUT: u8 = 22;
    pub const POLICY_DELETED: u8 = 23;
    pub const QUEUE_DECLARED_WITH_LEVELS: u8 = 24;
    pub const DELAYED_DECLARED: u8 = 25;
    pub const VALUES_DECLARED: u8 = 26;
    pub const GLOBAL_PARAMETER_PUT: u8 = 27;
    pub const GLOBAL_PARAMETER_DELETED: u8 = 28;
}

/// Bytes that are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRecord;

/// One effect, borrowed from a batch.
#[derive(Debug)]
pub enum Record<'a> {
    Enqueue(Enqueue<'a>),
    Removed { queue: DurableQueueId, ranges: Ranges<'a> },
    Purged { queue: DurableQueueId, up_to: u64 },
    Delivered { queue: DurableQueueId, below: u64 },
    Returned { queue: DurableQueueId, sequence: u64, returns: Returns },
    Definition(Definition),
}

/// A message and the places it went to.
#[derive(Clone, Copy, Debug)]
pub struct Enqueue<'a> {
    pub priority: u8,
    pub header_frame_length: usize,
    pub address: &'a [u8],
    pub frames: &'a [u8],
    /// A body that is not in the frames.
    pub body: Option<&'a [u8]>,
    pub routes: Routes<'a>,
}

/// The routes of a record; they were checked when it was decoded.
#[derive(Clone, Copy, Debug)]
pub struct Routes<'a>(Cursor<'a>);

impl Iterator for Routes<'_> {
    type Item = Route;

    #[inline]
    fn next(&mut self) -> Option<Route> {
        let queue = DurableQueueId(self.0.varint()?);
        let sequence = self.0.varint()?;
        let expires_at_ms = self.0.varint()?.checked_sub(1);
        Some(Route { queue, sequence, expires_at_ms })
    }
}

/// Ranges of sequences as (first, last); they were checked when the record was decoded.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a> {
    cursor: Cursor<'a>,
    next: u64,
}

impl Iterator for Ranges<'_> {
    type Item = (u64, u64);

    #[inline]
    fn next(&mut self) -> Option<(u64, u64)> {
        let first = self.next.checked_add(self.cursor.varint()?)?;
        let last = first.checked_add(self.cursor.varint()?)?;
        self.next = last;
        Some((first, last))
    }
}

pub(super) fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    start
}

pub(super) fn end(out: &mut [u8], start: usize) {
    let length = out.len() - start - size_of::<u32>();
    let length = u32::try_from(length).expect("a record is smaller than 4 GiB: messages are bounded far below");
    // An array is written at once, where a slice is a call.
    let place: &mut [u8; size_of::<u32>()] = out[start..].first_chunk_mut().expect("begin made room for it");
    *place = length.to_le_bytes();
}

/// Writes an enqueue record with its first route and says where it starts.
#[inline]
pub fn put_enqueue(out: &mut Vec<u8>, content: &Content<'_>, priority: u8, route: Route) -> usize {
    let Content { address, frames, header_frame_length, shared_body } = *content;
    let start = out.len();
    let flags = if shared_body.is_some() { FLAG_BODY } else { 0 };
    out.extend_from_slice(&[0, 0, 0, 0, kind::ENQUEUE, flags, priority]);
    put_varint(out, address.len() as u64);
    put_varint(out, header_frame_length as u64);
    put_varint(out, (address.len() + frames.len()) as u64);
    if let Some(body) = shared_body {
        put_varint(out, body.len() as u64);
    }
    out.extend_from_slice(address);
    out.extend_from_slice(frames);
    if let Some(body) = shared_body {
        out.extend_from_slice(body);
    }
    put_route(out, start, route);
    start
}

/// Appends a route to the enqueue record at `start`, which must be the last one in `out`.
#[inline]
pub fn put_route(out: &mut Vec<u8>, start: usize, route: Route) {
    put_varint(out, route.queue.0);
    put_varint(out, route.sequence);
    put_varint(out, route.expires_at_ms.map_or(0, |at| at.saturating_add(1)));
    end(out, start);
}

/// Writes a record that was read, with other routes.
pub fn put_moved(out: &mut Vec<u8>, moved: &Enqueue<'_>, routes: impl Iterator<Item = Route>) {
    let start = begin(out, kind::ENQUEUE);
    out.extend_from_slice(&[if moved.body.is_some() { FLAG_BODY } else { 0 }, moved.priority]);
    put_varint(out, moved.address.len() as u64);
    put_varint(out, moved.header_frame_length as u64);
    put_varint(out, (moved.address.len() + moved.frames.len()) as u64);
    if let Some(body) = moved.body {
        put_varint(out, body.len() as u64);
    }
    out.extend_from_slice(moved.address);
    out.extend_from_slice(moved.frames);
    out.extend_from_slice(moved.body.unwrap_or_default());
    for route in routes {
        put_route(out, start, route);
    }
    end(out, start);
}

/// Writes one removed record; `ranges` are (first, last), ascending, and do not overlap.
pub fn put_removed(out: &mut Vec<u8>, queue: DurableQueueId, ranges: impl Iterator<Item = (u64, u64)>) {
    let start = begin(out, kind::REMOVED);
    put_varint(out, queue.0);
    let mut next = 0;
    for (first, last) in ranges {
        put_varint(out, first - next);
        put_varint(out, last - first);
        next = last;
    }
    end(out, start);
}

pub fn put_purged(out: &mut Vec<u8>, queue: DurableQueueId, up_to: u64) {
    let start = begin(out, kind::PURGED);
    put_varint(out, queue.0);
    put_varint(out, up_to);
    end(out, start);
}

pub fn put_delivered(out: &mut Vec<u8>, queue: DurableQueueId, below: u64) {
    let start = begin(out, kind::DELIVERED);
    put_varint(out, queue.0);
    put_varint(out, below);
    end(out, start);
}

pub fn put_returned(out: &mut Vec<u8>, queue: DurableQueueId, sequence: u64, returns: Returns) {
    let start = begin(out, kind::RETURNED);
    for number in [queue.0, sequence, u64::from(returns.times()), u64::from(returns.failed())] {
        put_varint(out, number);
    }
    end(out, start);
}

/// Takes the next record off `bytes`.
#[inline]
pub fn read_record<'a>(bytes: &mut Cursor<'a>) -> Result<Record<'a>, BadRecord> {
    let length = bytes.u32().ok_or(BadRecord)?;
    let content = bytes.bytes(length as usize).ok_or(BadRecord)?;
    decode(content).ok_or(BadRecord)
}

#[inline]
fn decode(content: &[u8]) -> Option<Record<'_>> {
    let mut cursor = Cursor::new(content);
    let kind = cursor.u8()?;
    let record = match kind {
        kind::ENQUEUE => return decode_enqueue(cursor).map(Record::Enqueue),
        kind::REMOVED => {
            let queue = DurableQueueId(cursor.varint()?);
            let ranges = Ranges { cursor, next: 0 };
            let mut walked = ranges;
            while !walked.cursor.is_empty() {
                walked.next()?;
            }
            return Some(Record::Removed { queue, ranges });
        }
        kind::PURGED => Record::Purged { queue: DurableQueueId(cursor.varint()?), up_to: cursor.varint()? },
        kind::DELIVERED => Record::Delivered { queue: DurableQueueId(cursor.varint()?), below: cursor.varint()? },
        kind::RETURNED => Record::Returned {
            queue: DurableQueueId(cursor.varint()?),
            sequence: cursor.varint()?,
            returns: Returns::new(cursor.varint()?, cursor.varint()?),
        },
        _ => Record::Definition(decode_definition(kind, &mut cursor)?),
    };
    cursor.is_empty().then_some(record)
}

#[inline]
fn decode_enqueue<'a>(mut cursor: Cursor<'a>) -> Option<Enqueue<'a>> {
    let flags = cursor.u8()?;
    let priority = cursor.u8()?;
    let address_length = usize::try_from(cursor.varint()?).ok()?;
    let header_frame_length = usize::try_from(cursor.varint()?).ok()?;
    let image_length = usize::try_from(cursor.varint()?).ok()?;
    let body_length = match flags {
        0 => None,
        FLAG_BODY => Some(usize::try_from(cursor.varint()?).ok()?),
        _ => return None,
    };
    let (address, frames) = cursor.bytes(image_length)?.split_at_checked(address_length)?;
    let body = match body_length {
        Some(length) => Some(cursor.bytes(length)?),
        None => None,
    };
    check_address(address)?;
    let body_frame = frames.len().checked_sub(header_frame_length)?;
    let body_frame_is_whole = body_frame == 0 || (body_frame >= BODY_FRAME_OVERHEAD_BYTES && body.is_none());
    if header_frame_length < HEADER_FRAME_MIN_BYTES || !body_frame_is_whole {
        return None;
    }
    let routes = Routes(cursor);
    let mut walked = routes;
    while !walked.0.is_empty() {
        walked.next()?;
    }
    Some(Enqueue { priority, header_frame_length, address, frames, body, routes })
}

/// Exchange and routing key as short strings, then the frame end.
#[inline]
fn check_address(address: &[u8]) -> Option<()> {
    let exchange_length = usize::from(*address.first()?);
    let key_length = usize::from(*address.get(1 + exchange_length)?);
    (address.len() == exchange_length + key_length + 3).then_some(())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
