//! How fast a consumer is: whether waiting for more of its acknowledgements takes long.

/// Who settled so many messages in this millisecond or the one before is fast.
pub const FAST_MESSAGES: u32 = 64;

/// How many messages a consumer settled, in the millisecond under way and in the one before.
#[derive(Default)]
pub struct Pace {
    now_ms: u64,
    count: u32,
    count_before: u32,
}

impl Pace {
    #[inline]
    pub fn note(&mut self, count: u32, now_ms: u64) {
        if self.now_ms != now_ms {
            self.count_before = if self.now_ms + 1 == now_ms { self.count } else { 0 };
            self.count = 0;
            self.now_ms = now_ms;
        }
        self.count = self.count.saturating_add(count);
    }

    pub fn is_fast(&self, now_ms: u64) -> bool {
        match now_ms.saturating_sub(self.now_ms) {
            0 => self.count.max(self.count_before) >= FAST_MESSAGES,
            1 => self.count >= FAST_MESSAGES,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_fast_in_a_millisecond_is_fast_in_the_next_and_no_longer() {
        let mut pace = Pace::default();
        pace.note(FAST_MESSAGES - 1, 10);
        assert!(!pace.is_fast(10));
        pace.note(1, 10);
        assert!(pace.is_fast(10) && pace.is_fast(11) && !pace.is_fast(12));
        pace.note(1, 11);
        assert!(pace.is_fast(11), "it was in the one before");
        assert!(!pace.is_fast(12));
        pace.note(FAST_MESSAGES, 20);
        pace.note(1, 22);
        assert!(!pace.is_fast(22), "nothing came for a whole one");
    }
}
