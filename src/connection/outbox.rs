//! What waits to be sent to the clients: one outbox a connection, written to all turn and flushed once.
//!
//! Small things are appended to one contiguous buffer; large bodies are kept by reference and interleaved with it, so
//! that they are never copied. Buffers come from a pool and go back when they are sent: an idle connection holds none.
//! This module owns order and size; it does not know a socket.

use super::scarcity::Scarcity;
use crate::broker::ConnectionId;
use crate::broker::store::LogPosition;
use crate::protocol::Method;
use crate::protocol::frame::write_heartbeat;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Buffers that an outbox starts with when it last sent little.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;
/// Emptied buffers kept for the next outbox, of each size.
const POOLED_BUFFERS_MAX: usize = 64;

/// A body that goes out by reference, in front of the buffer's byte `at`.
struct Shared {
    at: usize,
    bytes: Bytes,
}

/// Bytes on their way to one client, in order.
#[derive(Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are sent.
    sent: usize,
    /// Rising in `at`, all of them at or after `sent`.
    shared: VecDeque<Shared>,
    shared_bytes: usize,
    /// (offset in `buffer`, position): what lies behind the offset is not sent before the position is durable. Rising.
    holds: VecDeque<(usize, LogPosition)>,
    /// The room of `buffer` that is in the account.
    counted_bytes: usize,
    /// What the client sent waits unread until less waits here.
    holds_input_back: bool,
    /// In the list of outboxes to flush.
    touched: bool,
    /// The last turn needed more than a small buffer.
    was_large: bool,
    open: bool,
    /// The connection is over: nothing more is written.
    pub(super) is_last: bool,
    /// Largest frame, in bytes, that the client takes.
    frame_max: u32,
    /// The client announced the capability `consumer_cancel_notify`.
    pub understands_cancel: bool,
}

impl Outbox {
    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.sent + self.shared_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its client was sent everything that it should hear: nothing more comes.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.is_last && self.is_empty()
    }

    /// Where sending stops for now, as an offset in `buffer`.
    #[inline]
    fn send_limit(&self) -> usize {
        self.holds.front().map_or(self.buffer.len(), |(at, _)| *at)
    }

    /// Whether something can be sent now.
    #[inline]
    pub fn is_sendable(&self) -> bool {
        let limit = self.send_limit();
        self.sent < limit || self.shared.front().is_some_and(|shared| shared.at <= limit)
    }

    pub fn frame_max(&self) -> u32 {
        self.frame_max
    }

    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Puts another buffer, which is in the account, in the place of this one.
    #[inline]
    fn set_buffer(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        self.counted_bytes = buffer.capacity();
        std::mem::replace(&mut self.buffer, buffer)
    }

    /// Appends bytes without copying them.
    pub(super) fn push_shared(&mut self, bytes: Bytes) {
        self.shared_bytes += bytes.len();
        self.shared.push_back(Shared { at: self.buffer.len(), bytes });
    }

    /// Fills `slices` with what waits, front first, as far as there is room for it.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut position = self.sent;
        let mut add = |bytes: &'a [u8]| {
            if !bytes.is_empty() && filled < slices.len() {
                slices[filled] = IoSlice::new(bytes);
                filled += 1;
            }
        };
        let limit = self.send_limit();
        for shared in self.shared.iter().take_while(|shared| shared.at <= limit) {
            add(&self.buffer[position..shared.at]);
            add(&shared.bytes);
            position = shared.at;
        }
        add(&self.buffer[position..limit]);
        filled
    }

    /// A copy of all that waits, what is held back among it, from its byte `from` on. For who looks and sends nothing.
    pub fn peek(&self, from: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len().saturating_sub(from));
        let mut before = 0;
        let mut add = |part: &[u8]| {
            bytes.extend_from_slice(&part[from.saturating_sub(before).min(part.len())..]);
            before += part.len();
        };
        let mut position = self.sent;
        for shared in &self.shared {
            add(&self.buffer[position..shared.at]);
            add(&shared.bytes);
            position = shared.at;
        }
        add(&self.buffer[position..]);
        bytes
    }

    /// The bytes that can be sent, when they lie in one piece.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.buffer[self.sent..self.send_limit()])
    }

    /// Takes `count` bytes off the front, which were sent.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let before_shared = self.shared.front().map_or(self.buffer.len(), |shared| shared.at) - self.sent;
            let from_buffer = count.min(before_shared);
            self.sent += from_buffer;
            count -= from_buffer;
            if count == 0 {
                break;
            }
            let shared = self.shared.front_mut().expect("no more is sent than waited");
            let from_shared = count.min(shared.bytes.len());
            count -= from_shared;
            self.shared_bytes -= from_shared;
            if from_shared == shared.bytes.len() {
                self.shared.pop_front();
            } else {
                let _ = shared.bytes.split_to(from_shared);
            }
        }
    }
}

/// All outboxes, the list of those to flush, and the pool of buffers.
pub struct Outboxes {
    outboxes: Vec<Outbox>,
    touched: Vec<ConnectionId>,
    /// Those with holds; some may be closed since.
    held: Vec<ConnectionId>,
    /// What is durable up to there was let go.
    released: LogPosition,
    scarcity: Scarcity,
    small_buffers: Vec<Vec<u8>>,
    large_buffers: Vec<Vec<u8>>,
    large_buffer_bytes: usize,
}

impl Outboxes {
    /// Above `high_water_bytes` an outbox takes no more deliveries until it drained. Memory is scarce above
    /// `memory_max_bytes`, and above a share of that in outboxes.
    pub fn new(high_water_bytes: usize, memory_max_bytes: usize) -> Self {
        Self {
            outboxes: Vec::new(),
            touched: Vec::new(),
            held: Vec::new(),
            released: LogPosition::default(),
            scarcity: Scarcity::new(high_water_bytes, memory_max_bytes),
            small_buffers: Vec::new(),
            large_buffers: Vec::new(),
            // One message may pass the mark: its inline part is small.
            large_buffer_bytes: high_water_bytes + high_water_bytes / 4,
        }
    }

    /// Opens the outbox of a new connection.
    pub fn open(&mut self, id: ConnectionId, frame_max: u32) {
        let index = id.0 as usize;
        if self.outboxes.len() <= index {
            self.outboxes.resize_with(index + 1, Outbox::default);
        }
        debug_assert!(!self.outboxes[index].open);
        self.recycle_buffer(id);
        let outbox = &mut self.outboxes[index];
        *outbox = Outbox { open: true, frame_max, touched: outbox.touched, ..Outbox::default() };
    }

    /// Drops what still waits: the connection is gone.
    pub fn close(&mut self, id: ConnectionId) {
        self.recycle_buffer(id);
        let outbox = &mut self.outboxes[id.0 as usize];
        *outbox = Outbox { touched: outbox.touched, ..Outbox::default() };
    }

    pub fn get(&self, id: ConnectionId) -> &Outbox {
        &self.outboxes[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> &mut Outbox {
        &mut self.outboxes[id.0 as usize]
    }

    /// The outbox for appending; it will be flushed at the end of the turn.
    #[inline]
    pub(super) fn write_to(&mut self, id: ConnectionId) -> &mut Outbox {
        if !self.outboxes[id.0 as usize].touched {
            self.touch(id);
        }
        &mut self.outboxes[id.0 as usize]
    }

    #[cold]
    fn touch(&mut self, id: ConnectionId) {
        let outbox = &mut self.outboxes[id.0 as usize];
        outbox.touched = true;
        if outbox.buffer.capacity() == 0 {
            let is_large = outbox.was_large && self.may_take_large();
            let buffer = self.take_buffer(is_large);
            self.outboxes[id.0 as usize].set_buffer(buffer);
        }
        self.touched.push(id);
    }

    /// Whether there is a large buffer for an outbox, or room for one more; memory is scarce otherwise.
    fn may_take_large(&mut self) -> bool {
        if self.large_buffers.is_empty() {
            self.scarcity.look_for_room(self.large_buffer_bytes);
        }
        !self.scarcity.is_scarce()
    }

    /// An empty buffer, out of the pool if there is one.
    fn take_buffer(&mut self, is_large: bool) -> Vec<u8> {
        let (pool, room) = match is_large {
            true => (&mut self.large_buffers, self.large_buffer_bytes),
            false => (&mut self.small_buffers, SMALL_BUFFER_BYTES),
        };
        pool.pop().unwrap_or_else(|| {
            self.scarcity.count(0, room);
            Vec::with_capacity(room)
        })
    }

    /// Brings the account up to date with the room of an outbox's buffer.
    #[inline]
    fn count(&mut self, id: ConnectionId) {
        let outbox = &self.outboxes[id.0 as usize];
        if outbox.buffer.capacity() != outbox.counted_bytes {
            self.recount(id);
        }
    }

    #[cold]
    fn recount(&mut self, id: ConnectionId) {
        let outbox = &mut self.outboxes[id.0 as usize];
        let room = outbox.buffer.capacity();
        self.scarcity.count(std::mem::replace(&mut outbox.counted_bytes, room), room);
    }

    /// Everybody holds `held_bytes` of memory: finds out whether it is scarce. Called once a turn.
    #[inline]
    pub fn follow_memory(&mut self, held_bytes: usize) {
        if self.scarcity.follow(held_bytes) {
            self.empty_pools();
        }
    }

    #[cold]
    fn empty_pools(&mut self) {
        for buffer in self.small_buffers.drain(..).chain(self.large_buffers.drain(..)) {
            self.scarcity.count(buffer.capacity(), 0);
        }
    }

    /// What all outboxes hold, and the pools of their buffers.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        self.scarcity.outboxes_bytes()
    }

    /// What everybody may hold from now on.
    pub fn set_memory_max(&mut self, bytes: usize) {
        self.scarcity.set_memory_max(bytes);
    }

    /// Whether a client that asks for messages must read what waits for it first.
    pub(super) fn answers_wait(&self, id: ConnectionId) -> bool {
        self.scarcity.holds_answers_back(self.outboxes[id.0 as usize].len())
    }

    /// Whether an outbox takes deliveries.
    #[inline]
    pub fn has_room(&self, id: ConnectionId) -> bool {
        self.outboxes[id.0 as usize].len() < self.scarcity.high_water_bytes()
    }

    /// Whether an outbox takes no deliveries, and what its client sends is not to be read before it does.
    pub fn holds_input_back_if_full(&mut self, id: ConnectionId) -> bool {
        let is_full = !self.has_room(id);
        self.outboxes[id.0 as usize].holds_input_back = is_full;
        is_full
    }

    /// An outbox takes deliveries again: whether what its client sent waited for that.
    pub fn let_input_go_on(&mut self, id: ConnectionId) -> bool {
        std::mem::take(&mut self.outboxes[id.0 as usize].holds_input_back)
    }

    /// The outbox for appending `additional` bytes, for which there is room; growing goes straight to a large buffer.
    #[inline]
    pub(super) fn write_with_room(&mut self, id: ConnectionId, additional: usize) -> &mut Outbox {
        let outbox = self.write_to(id);
        if outbox.buffer.capacity() - outbox.buffer.len() < additional {
            self.grow(id, additional);
        }
        &mut self.outboxes[id.0 as usize]
    }

    #[cold]
    fn grow(&mut self, id: ConnectionId, additional: usize) {
        let may_take_large = self.may_take_large();
        let outbox = &mut self.outboxes[id.0 as usize];
        if !may_take_large || outbox.buffer.len() + additional > self.large_buffer_bytes {
            outbox.buffer.reserve(additional);
            return self.count(id);
        }
        outbox.was_large = true;
        let mut large = self.take_buffer(true);
        large.extend_from_slice(&self.outboxes[id.0 as usize].buffer);
        self.recycle_buffer(id);
        self.outboxes[id.0 as usize].set_buffer(large);
    }

    /// Takes the buffer of an outbox away, and keeps it for the next one.
    fn recycle_buffer(&mut self, id: ConnectionId) {
        self.count(id);
        let mut buffer = self.outboxes[id.0 as usize].set_buffer(Vec::new());
        buffer.clear();
        let pool = match buffer.capacity() {
            SMALL_BUFFER_BYTES => Some(&mut self.small_buffers),
            room if room == self.large_buffer_bytes => Some(&mut self.large_buffers),
            // Grown beyond the usual: given back to the system.
            _ => None,
        };
        match pool.filter(|pool| pool.len() < POOLED_BUFFERS_MAX) {
            Some(pool) => pool.push(buffer),
            None => self.scarcity.count(buffer.capacity(), 0),
        }
    }

    /// What waits in an outbox that takes no more deliveries, in bytes.
    pub(super) fn high_water_bytes(&self) -> usize {
        self.scarcity.high_water_bytes()
    }

    /// Appends a method frame.
    pub fn method(&mut self, id: ConnectionId, channel_number: u16, method: &Method<'_>) {
        let outbox = self.write_to(id);
        if outbox.open {
            method.encode_frame(channel_number, &mut outbox.buffer);
        }
    }

    /// What is appended from now on waits until `position` is durable.
    pub fn hold(&mut self, id: ConnectionId, position: LogPosition) {
        let outbox = &mut self.outboxes[id.0 as usize];
        if outbox.holds.is_empty() {
            self.held.push(id);
        }
        outbox.holds.push_back((outbox.buffer.len(), position));
    }

    /// Everything up to `durable` is durable: lets go of what waited for it.
    pub fn release(&mut self, durable: LogPosition) {
        if std::mem::replace(&mut self.released, durable) == durable {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.retain(|id| {
            let outbox = &mut self.outboxes[id.0 as usize];
            while outbox.holds.front().is_some_and(|(_, position)| *position <= durable) {
                outbox.holds.pop_front();
            }
            let still_held = !outbox.holds.is_empty();
            self.write_to(*id);
            still_held
        });
        self.held.append(&mut held);
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.write_to(id).buffer.extend_from_slice(bytes);
    }

    pub fn heartbeat(&mut self, id: ConnectionId) {
        write_heartbeat(&mut self.write_to(id).buffer);
    }

    /// The next outbox that was written to since it was last flushed.
    pub fn next_touched(&mut self) -> Option<ConnectionId> {
        let id = self.touched.pop()?;
        self.outboxes[id.0 as usize].touched = false;
        self.count(id);
        Some(id)
    }

    /// Called after `count` bytes of an outbox were sent. True when nothing is left; its buffer is then given back.
    pub fn sent(&mut self, id: ConnectionId, count: usize) -> bool {
        let outbox = &mut self.outboxes[id.0 as usize];
        outbox.advance(count);
        if outbox.is_empty() {
            outbox.was_large = outbox.buffer.len() > SMALL_BUFFER_BYTES;
            outbox.sent = 0;
            self.recycle_buffer(id);
            return true;
        }
        // What was sent of a buffer that drains slowly is given up once it is most of it.
        if outbox.sent > outbox.buffer.len() / 2 && outbox.sent > SMALL_BUFFER_BYTES {
            let sent = outbox.sent;
            outbox.buffer.drain(..sent);
            outbox.shared.iter_mut().for_each(|shared| shared.at -= sent);
            outbox.holds.iter_mut().for_each(|(at, _)| *at -= sent);
            outbox.sent = 0;
        }
        false
    }
}

#[cfg(test)]
mod tests;
