//! How fast consumers take a queue's messages.

/// How long messages are counted for a rate, in milliseconds.
const WINDOW_MS: u64 = 100;
/// A rate of what the window under way has seen so far is worth something after this long.
const WINDOW_LEAST_MS: u64 = 20;

/// How long publishers wait for a queue with slow consumers until nobody does any more, in milliseconds. What they
/// waited is forgotten when they have not waited for as long.
const PATIENCE_MS: u64 = 1000;
/// Publishers that wait ask again sooner than this, in milliseconds.
const ASKED_AGAIN_MS: u64 = 10;

/// What went in and out of a queue in the window under way, and the rate of the window before. Counting is per message;
/// rates are worked out when somebody asks, which is between reads.
#[derive(Default)]
pub struct Drain {
    window_start_ms: u64,
    taken: u64,
    /// Messages published until the window began.
    published_before: u64,
    last_messages_per_s: u64,
    /// How long publishers waited, and when they did last.
    waited_ms: u64,
    last_wait_ms: u64,
}

impl Drain {
    pub fn new(now_ms: u64) -> Self {
        Self { window_start_ms: now_ms, ..Self::default() }
    }

    /// Counts messages that left for a consumer.
    #[inline]
    pub fn count_take(&mut self, count: u64) {
        self.taken += count;
    }

    /// What consumers take in a second, as they did lately. `published` is the count of all messages published so far.
    pub fn messages_per_s(&mut self, published: u64, now_ms: u64) -> u64 {
        let elapsed_ms = now_ms - self.window_start_ms;
        if elapsed_ms >= WINDOW_MS {
            self.last_messages_per_s = self.taken * 1000 / elapsed_ms;
            self.taken = 0;
            self.window_start_ms = now_ms;
            self.published_before = published;
            return self.last_messages_per_s;
        }
        self.last_messages_per_s.max(self.taken * 1000 / elapsed_ms.max(WINDOW_LEAST_MS))
    }

    /// A publisher waits, and would rather not.
    pub fn wait(&mut self, now_ms: u64) {
        let since_ms = now_ms - self.last_wait_ms;
        self.waited_ms += if since_ms <= ASKED_AGAIN_MS { since_ms } else { 1 };
        self.last_wait_ms = now_ms;
    }

    /// Publishers have waited long enough: no more until the queue is short.
    pub fn was_waited_for(&self) -> bool {
        self.waited_ms >= PATIENCE_MS
    }

    /// The queue is short: it may be waited for again when it got there by itself, or was not waited for lately.
    pub fn is_short(&mut self, now_ms: u64) {
        if self.was_waited_for() || now_ms - self.last_wait_ms > PATIENCE_MS {
            self.waited_ms = 0;
        }
    }

    /// Messages that consumers took in the window under way.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Messages that were published in the window under way, and how long it is, in milliseconds.
    pub fn published(&self, published: u64, now_ms: u64) -> (u64, u64) {
        (published - self.published_before, now_ms - self.window_start_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_window_or_of_the_one_under_way_if_that_is_faster() {
        let mut drain = Drain::new(0);
        drain.count_take(10);
        assert_eq!(drain.messages_per_s(0, 1), 500, "too little time has passed to say 10,000");
        assert_eq!(drain.messages_per_s(0, 50), 200);
        assert_eq!(drain.messages_per_s(7, 100), 100);
        assert_eq!(drain.published(9, 101), (2, 1));
        assert_eq!(drain.messages_per_s(9, 199), 100);
        drain.count_take(30);
        assert_eq!(drain.messages_per_s(9, 150), 600);
        assert_eq!(drain.messages_per_s(9, 300), 150);
        assert_eq!(drain.messages_per_s(9, 10_300), 0);
    }
}
