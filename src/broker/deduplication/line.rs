//! Values in the order in which they came, in chunks: a long line is never moved as a whole.

use super::DeduplicationKey;
use super::allowance::{Allowance, Share};
use super::gone;
use std::collections::VecDeque;

/// Values in a chunk: few, as a virtual host may exceed its limit by less than a chunk for each line.
const CHUNK_VALUES: usize = 256;
/// What one more chunk takes, in bytes.
pub(super) const CHUNK_BYTES: usize = CHUNK_VALUES * size_of::<DeduplicationKey>();

#[derive(Debug)]
pub(super) struct Line {
    /// None is empty but for the part of the first one that was taken. Only the first one there ever was grew.
    chunks: VecDeque<Vec<DeduplicationKey>>,
    /// How many of the first chunk were taken.
    taken: usize,
    share: Share,
}

impl Line {
    pub fn new(allowance: Allowance) -> Self {
        Self { chunks: VecDeque::new(), taken: 0, share: Share::of(allowance) }
    }

    pub fn push(&mut self, key: DeduplicationKey) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK_VALUES) {
            let room = if self.chunks.is_empty() { 0 } else { CHUNK_VALUES };
            self.chunks.push_back(Vec::with_capacity(room));
        }
        let Some(last) = self.chunks.back_mut() else { return };
        let room = last.capacity();
        last.push(key);
        if last.capacity() != room || last.len() == 1 {
            self.account();
        }
    }

    pub fn first(&self) -> Option<DeduplicationKey> {
        self.chunks.front()?.get(self.taken).copied()
    }

    pub fn pop(&mut self) -> Option<DeduplicationKey> {
        let first = self.first()?;
        self.taken += 1;
        if self.chunks.front().is_some_and(|chunk| chunk.len() == self.taken) {
            self.chunks.pop_front();
            self.taken = 0;
            self.account();
        }
        Some(first)
    }

    fn account(&mut self) {
        let room = match (self.chunks.front(), self.chunks.len()) {
            (Some(first), length) => first.capacity() + (length - 1) * CHUNK_VALUES,
            (None, _) => 0,
        };
        self.share.set(room * size_of::<DeduplicationKey>());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.chunks.len() > 1 {
            gone::leave(std::mem::take(&mut self.chunks).into_iter());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_their_order_and_leave_no_room_behind() {
        let key = |number: u32| DeduplicationKey::of_bytes(1, &number.to_be_bytes());
        let allowance = Allowance::default();
        let mut line = Line::new(allowance.clone());
        line.push(key(0));
        assert!(allowance.taken_bytes() <= 8 * size_of::<DeduplicationKey>(), "a short one takes little");
        for number in 1..10_000 {
            line.push(key(number));
            assert!(number % 3 != 0 || line.pop() == Some(key(number / 3 - 1)));
        }
        for number in 3333..10_000 {
            assert_eq!(line.first(), Some(key(number)));
            assert_eq!(line.pop(), Some(key(number)));
        }
        assert_eq!((line.pop(), allowance.taken_bytes()), (None, 0));
    }
}
