//! When the kernel may give the program huge pages.
//!
//! The allocator asks for them wherever it can. Hundreds of megabytes of messages and buffers that many gigabytes a
//! second go through are the better for it: one fault instead of five hundred, and fewer misses of address translation.
//! For a broker that does and holds little, and many idle clients most of all, they are waste: blocks of every size have
//! places of their own, and the first byte in each place takes two megabytes. So they are for times in which messages
//! hold much memory, or come in floods, and for what is made anew of very many things.

use crate::reactor::process::set_huge_pages;

/// Memory of messages from which huge pages pay, in bytes.
const ALLOWED_FROM_BYTES: usize = 32 << 20;
/// Below this they are forbidden again, in bytes: well below, as changing it is a system call.
const FORBIDDEN_BELOW_BYTES: usize = ALLOWED_FROM_BYTES / 4;
/// Who sends this much at once, in bytes, is in full flood. Buffers are about to be made.
const FLOOD_BYTES: usize = 32 * 1024;
/// So many queues and other things take some tens of megabytes.
const MANY_THINGS: usize = 20_000;
/// How long a flood is remembered, in milliseconds.
const FLOOD_MS: u64 = 1_000;

/// The switch, and who sets it.
pub struct HugePages {
    allowed: bool,
    flood_until_ms: u64,
    set: fn(bool) -> bool,
}

impl HugePages {
    /// Forbids them, until there is a use for them.
    pub fn forbidden() -> Self {
        Self::set_by(set_huge_pages)
    }

    fn set_by(set: fn(bool) -> bool) -> Self {
        set(false);
        Self { allowed: false, flood_until_ms: 0, set }
    }

    /// So many things of a log are about to be put into a broker: until its first turn.
    pub fn restores(&mut self, things: usize) {
        if things >= MANY_THINGS {
            self.allow(true);
        }
    }

    /// A client sent so many bytes at once.
    #[inline]
    pub fn received(&mut self, count: usize, now_ms: u64) {
        if count >= FLOOD_BYTES {
            self.flood_until_ms = now_ms + FLOOD_MS;
            self.allow(true);
        }
    }

    /// Messages hold `message_bytes` of memory now.
    #[inline]
    pub fn follow(&mut self, message_bytes: usize, now_ms: u64) {
        let pays_from_bytes = if self.allowed { FORBIDDEN_BELOW_BYTES } else { ALLOWED_FROM_BYTES };
        self.allow(message_bytes >= pays_from_bytes || now_ms < self.flood_until_ms);
    }

    #[inline]
    fn allow(&mut self, allowed: bool) {
        if allowed != self.allowed {
            self.allowed = allowed;
            // A system that refuses has none to give, or gives them as it likes.
            (self.set)(allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static SET: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    }

    fn remember(allowed: bool) -> bool {
        SET.with_borrow_mut(|set| set.push(allowed));
        true
    }

    fn set_since() -> Vec<bool> {
        SET.take()
    }

    #[test]
    fn huge_pages_come_with_many_messages_and_go_well_after_them() {
        let mut huge_pages = HugePages::set_by(remember);
        assert_eq!(set_since(), [false], "from the start");
        for (message_bytes, expected) in [
            (ALLOWED_FROM_BYTES - 1, None),
            (ALLOWED_FROM_BYTES, Some(true)),
            (ALLOWED_FROM_BYTES - 1, None),
            (FORBIDDEN_BELOW_BYTES, None),
            (FORBIDDEN_BELOW_BYTES - 1, Some(false)),
            (ALLOWED_FROM_BYTES - 1, None),
        ] {
            huge_pages.follow(message_bytes, 0);
            assert_eq!(set_since(), Vec::from_iter(expected), "at {message_bytes} bytes");
        }
    }

    #[test]
    fn very_many_things_are_put_back_into_huge_pages() {
        let mut huge_pages = HugePages::set_by(remember);
        set_since();
        huge_pages.restores(MANY_THINGS - 1);
        assert!(set_since().is_empty(), "not for a few");
        huge_pages.restores(MANY_THINGS);
        assert_eq!(set_since(), [true]);
        huge_pages.follow(0, 0);
        assert_eq!(set_since(), [false], "from the first turn on");
    }

    #[test]
    fn a_flood_brings_huge_pages_before_it_is_handled_and_for_a_while() {
        let mut huge_pages = HugePages::set_by(remember);
        set_since();
        huge_pages.received(FLOOD_BYTES - 1, 10);
        assert!(set_since().is_empty(), "not for a little");
        huge_pages.received(FLOOD_BYTES, 10);
        huge_pages.received(FLOOD_BYTES, 20);
        assert_eq!(set_since(), [true]);
        huge_pages.follow(0, 20 + FLOOD_MS - 1);
        assert!(set_since().is_empty(), "the next one may be near");
        huge_pages.follow(0, 20 + FLOOD_MS);
        assert_eq!(set_since(), [false]);
    }
}
