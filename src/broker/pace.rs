//! How fast a consumer settles one message at a time: whether waiting for more of its acknowledgements takes long.

/// Who settled so many messages in this millisecond or the one before, each by itself, is fast.
pub const FAST_MESSAGES: u32 = 128;

/// How long a consumer that was waited for in vain is not waited for again, in milliseconds.
const SLOW_MS: u64 = 20;

/// What a client says in one go: what became of one message, or of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    OfOne,
    /// Nobody knows what the next words will be about: a few may be about all that the consumer holds.
    OfSeveral,
}

/// How many messages a consumer settled by themselves, in the millisecond under way and in the one before, and since it
/// last settled several at once.
#[derive(Default)]
pub struct Pace {
    now_ms: u64,
    count: u32,
    count_before: u32,
    /// Until then it is not fast, whatever it does.
    slow_until_ms: u64,
}

impl Pace {
    #[inline]
    pub fn note(&mut self, said: Said, now_ms: u64) {
        if said == Said::OfSeveral {
            (self.count, self.count_before) = (0, 0);
            return;
        }
        if self.now_ms != now_ms {
            self.count_before = if self.now_ms + 1 == now_ms { self.count } else { 0 };
            self.count = 0;
            self.now_ms = now_ms;
        }
        self.count = self.count.saturating_add(1);
    }

    /// It was taken for fast, and then said nothing for a while: it may work on many messages at a time.
    pub fn was_waited_for_in_vain(&mut self, now_ms: u64) {
        self.slow_until_ms = now_ms + SLOW_MS;
    }

    pub fn is_fast(&self, now_ms: u64) -> bool {
        if now_ms < self.slow_until_ms {
            return false;
        }
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

    fn note_alone(pace: &mut Pace, count: u32, now_ms: u64) {
        (0..count).for_each(|_| pace.note(Said::OfOne, now_ms));
    }

    #[test]
    fn who_is_fast_in_a_millisecond_is_fast_in_the_next_and_no_longer() {
        let mut pace = Pace::default();
        note_alone(&mut pace, FAST_MESSAGES - 1, 10);
        assert!(!pace.is_fast(10));
        note_alone(&mut pace, 1, 10);
        assert!(pace.is_fast(10) && pace.is_fast(11) && !pace.is_fast(12));
        note_alone(&mut pace, 1, 11);
        assert!(pace.is_fast(11), "it was in the one before");
        assert!(!pace.is_fast(12));
        note_alone(&mut pace, FAST_MESSAGES, 20);
        note_alone(&mut pace, 1, 22);
        assert!(!pace.is_fast(22), "nothing came for a whole one");
    }

    #[test]
    fn who_was_waited_for_in_vain_is_slow_for_a_while() {
        let mut pace = Pace::default();
        note_alone(&mut pace, FAST_MESSAGES, 10);
        pace.was_waited_for_in_vain(10);
        assert!(!pace.is_fast(10));
        for (now_ms, is_fast) in [(9 + SLOW_MS, false), (10 + SLOW_MS, true)] {
            note_alone(&mut pace, FAST_MESSAGES, now_ms);
            assert_eq!(pace.is_fast(now_ms), is_fast);
        }
    }

    #[test]
    fn who_settles_several_at_once_is_not_fast_at_it() {
        let mut pace = Pace::default();
        note_alone(&mut pace, FAST_MESSAGES, 10);
        pace.note(Said::OfSeveral, 10);
        assert!(!pace.is_fast(10) && !pace.is_fast(11));
        note_alone(&mut pace, FAST_MESSAGES, 11);
        assert!(pace.is_fast(11), "it changed its mind");
    }
}
