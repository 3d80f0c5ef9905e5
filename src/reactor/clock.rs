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

    /// Microseconds of a clock that is as coarse as the system's tick and costs next to nothing: for lengths of time alone.
    /// Never goes back.
    #[cfg(target_os = "linux")]
    pub fn about_now_us(&self) -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call fills one `timespec`, which is ours; this clock is there since Linux 2.6.32, and if it were not,
        // all lengths would be 0.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    }

    #[cfg(not(target_os = "linux"))]
    pub fn about_now_us(&self) -> u64 {
        self.now_us()
    }

    /// Milliseconds since 1970, by the calendar, which may be set back. For timestamps only, never for deadlines.
    pub fn unix_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    /// The calendar's milliseconds since 1970 at the moment this clock started, as the calendar is set now.
    ///
    /// Moments that are to be as far apart for people as they were are added to one reading of it.
    pub fn unix_start_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.saturating_sub(self.started.elapsed()).as_millis()).unwrap_or(u64::MAX)
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
    fn the_coarse_clock_goes_on_with_the_other() {
        let clock = Clock::start();
        let (began_us, began_ms) = (clock.about_now_us(), clock.now_ms());
        while clock.now_ms() < began_ms + 50 {}
        let took_us = clock.about_now_us() - began_us;
        // No system ticks more seldom than a hundred times a second.
        assert!(took_us >= 39_000, "{took_us} µs of 50 ms");
    }

    #[test]
    fn calendar_time_is_after_2020() {
        const START_OF_2020_MS: u64 = 1_577_836_800_000;
        assert!(Clock::start().unix_ms() > START_OF_2020_MS);
    }
}
