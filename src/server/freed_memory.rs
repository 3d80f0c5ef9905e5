//! When memory that messages and clients held goes back to the system.
//!
//! The allocator keeps what is freed for a while, as it may be wanted again, and looks at it only when more is freed. A
//! long queue that was deleted, or drained by a client that then rests, would hold its memory until then.

use crate::allocator;

/// So much less than before, in bytes, is worth giving back: looking for it takes the loop some milliseconds.
const WORTH_BYTES: usize = 32 << 20;
/// How long it must stay away first, in milliseconds: queues that fill and drain in turn need it again.
const UNUSED_MS: u64 = 1_000;

/// What messages and clients held, and do no more.
pub struct FreedMemory {
    /// The most that they held since memory was given back.
    most_bytes: usize,
    due_at_ms: Option<u64>,
    give_back: fn(),
}

impl FreedMemory {
    pub fn new() -> Self {
        Self::given_back_by(allocator::give_back)
    }

    fn given_back_by(give_back: fn()) -> Self {
        Self { most_bytes: 0, due_at_ms: None, give_back }
    }

    /// Messages and clients hold `held_bytes` of memory now.
    #[inline]
    pub fn follow(&mut self, held_bytes: usize, now_ms: u64) {
        self.most_bytes = self.most_bytes.max(held_bytes);
        if self.most_bytes - held_bytes < WORTH_BYTES {
            self.due_at_ms = None;
        } else if now_ms >= *self.due_at_ms.get_or_insert(now_ms + UNUSED_MS) {
            (self.give_back)();
            self.most_bytes = held_bytes;
            self.due_at_ms = None;
        }
    }

    /// When [`follow`](Self::follow) has something to do although nothing happens.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.due_at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static GIVEN_BACK: Cell<usize> = const { Cell::new(0) };
    }

    fn count() {
        GIVEN_BACK.set(GIVEN_BACK.get() + 1);
    }

    #[test]
    fn what_stays_unused_goes_back_once() {
        GIVEN_BACK.set(0);
        let mut freed = FreedMemory::given_back_by(count);
        freed.follow(3 * WORTH_BYTES, 0);
        assert_eq!(freed.next_deadline_ms(), None);
        freed.follow(WORTH_BYTES, 10);
        assert_eq!(freed.next_deadline_ms(), Some(10 + UNUSED_MS));
        freed.follow(WORTH_BYTES, 9 + UNUSED_MS);
        assert_eq!(GIVEN_BACK.get(), 0);
        freed.follow(WORTH_BYTES, 10 + UNUSED_MS);
        assert_eq!((GIVEN_BACK.get(), freed.next_deadline_ms()), (1, None));
        freed.follow(1, 5000);
        assert_eq!(freed.next_deadline_ms(), None, "a little less than before is not worth it");
        freed.follow(0, 5000);
        assert_eq!(freed.next_deadline_ms(), Some(5000 + UNUSED_MS));
    }

    #[test]
    fn what_is_used_again_in_time_does_not_go() {
        GIVEN_BACK.set(0);
        let mut freed = FreedMemory::given_back_by(count);
        for (held_bytes, now_ms) in [(WORTH_BYTES, 0), (0, 1), (1, 2), (0, 3), (1, 3 + UNUSED_MS), (0, 4 + UNUSED_MS)] {
            freed.follow(held_bytes, now_ms);
        }
        assert_eq!(freed.next_deadline_ms(), Some(4 + 2 * UNUSED_MS));
        assert_eq!(GIVEN_BACK.get(), 0);
    }
}
