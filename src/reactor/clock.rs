//! The only place that asks what time it is.
//!
//! Everybody else gets time as an argument, so that it can be advanced in tests. The loop reads this clock once a turn.

#![allow(clippy::disallowed_methods, reason = "the one module that may read the clock")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that counts from its creation, and the calendar beside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that reads 0 ms now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Milliseconds since the clock started: never goes back, whatever happens to the calendar.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the clock started: for waits too short to count in milliseconds.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970, by the calendar, which may be set back. For timestamps only, never for deadlines.
    pub fn unix_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_starts_near_zero_and_never_goes_back() {
        let clock = Clock::start();
        let first = clock.now_ms();
        assert!(first < 60_000, "a clock just started reads {first} ms");
        assert!(clock.now_ms() >= first);
    }

    #[test]
    fn calendar_time_is_after_2020() {
        const START_OF_2020_MS: u64 = 1_577_836_800_000;
        assert!(Clock::start().unix_ms() > START_OF_2020_MS);
    }
}
