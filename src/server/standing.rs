//! What a node remembers of how its cluster went: who led and since when, how long nobody did, and when how much was committed.
//!
//! It counts, and decides nothing. Time comes in.

use std::collections::VecDeque;

/// Moments that are kept; when there are more, every other one goes.
const MARKS_MAX: usize = 1024;
/// From one of them to the next, at least, in milliseconds.
const MARK_MS: u64 = 1_000;

/// A leader that this node knows of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Led {
    pub leader: String,
    pub term: u64,
    pub since_ms: u64,
}

#[derive(Default)]
pub struct Standing {
    led: Option<Led>,
    /// Since when nobody is known to lead; nothing while somebody does.
    leaderless_since_ms: Option<u64>,
    /// Of all times before that.
    leaderless_ms: u64,
    /// How much was committed at a moment, oldest first: both grow.
    marks: VecDeque<(u64, u64)>,
}

impl Standing {
    pub fn new(now_ms: u64) -> Self {
        Self { leaderless_since_ms: Some(now_ms), ..Self::default() }
    }

    /// Somebody leads from now on; says for how long nobody did, and who led before that.
    pub fn led_by(&mut self, leader: &str, term: u64, now_ms: u64) -> (u64, Option<Led>) {
        let since_ms = self.leaderless_since_ms.take();
        let without_ms = since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        self.leaderless_ms += without_ms;
        (without_ms, self.led.replace(Led { leader: leader.to_owned(), term, since_ms: now_ms }))
    }

    /// Nobody leads from now on; says who did until now.
    pub fn led_by_nobody(&mut self, now_ms: u64) -> Option<&Led> {
        if self.leaderless_since_ms.is_some() {
            return None;
        }
        self.leaderless_since_ms = Some(now_ms);
        self.led.as_ref()
    }

    /// How long nobody led, all in all.
    pub fn leaderless_ms(&self, now_ms: u64) -> u64 {
        self.leaderless_ms + self.leaderless_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// So much is committed.
    pub fn committed(&mut self, index: u64, now_ms: u64) {
        let is_due = |(at_ms, before): &(u64, u64)| index > *before && now_ms >= at_ms + MARK_MS;
        if self.marks.back().is_none_or(is_due) {
            self.marks.push_back((now_ms, index));
        }
        if self.marks.len() > MARKS_MAX {
            let mut number = 0_usize;
            self.marks.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
        }
    }

    /// For how long somebody who has everything up to an entry has lacked what is committed: to a second, and less exact of
    /// what is long ago.
    pub fn behind_ms(&self, has: u64, now_ms: u64) -> u64 {
        let lacking = self.marks.partition_point(|(_, index)| *index <= has);
        self.marks.get(lacking).map_or(0, |(at_ms, _)| now_ms.saturating_sub(*at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_a_leader_is_added_up() {
        let mut standing = Standing::new(1_000);
        assert_eq!(standing.led_by("n2", 1, 1_500), (500, None));
        assert_eq!(standing.leaderless_ms(9_000), 500);
        let led = Led { leader: "n2".to_owned(), term: 1, since_ms: 1_500 };
        assert_eq!(standing.led_by_nobody(10_000), Some(&led));
        assert_eq!(standing.led_by_nobody(10_100), None, "it is known already");
        assert_eq!(standing.leaderless_ms(10_400), 900);
        assert_eq!(standing.led_by("n3", 2, 10_700), (700, Some(led)));
        assert_eq!(standing.led_by("n1", 3, 11_000).0, 0, "one after the other");
        assert_eq!(standing.leaderless_ms(99_000), 1_200);
    }

    #[test]
    fn who_lags_does_so_since_there_was_what_it_lacks() {
        let mut standing = Standing::default();
        assert_eq!(standing.behind_ms(0, 5_000), 0, "nothing is committed");
        for second in 0..10 {
            standing.committed(10 * second + 10, 1_000 * second);
            standing.committed(10 * second + 11, 1_000 * second + 10);
        }
        assert_eq!(standing.behind_ms(100, 9_500), 0);
        assert_eq!(standing.behind_ms(99, 9_500), 500);
        assert_eq!(standing.behind_ms(45, 9_500), 5_500, "50 was there at 4 s");
        assert_eq!(standing.behind_ms(0, 9_500), 9_500);
    }

    #[test]
    fn marks_are_bounded_and_the_youngest_stay() {
        let mut standing = Standing::default();
        for second in 0..10 * MARKS_MAX as u64 {
            standing.committed(second + 1, second * MARK_MS);
            assert!(standing.marks.len() <= MARKS_MAX);
        }
        let last = 10 * MARKS_MAX as u64;
        assert_eq!(standing.behind_ms(last - 1, last * MARK_MS), MARK_MS);
        assert!(standing.behind_ms(0, last * MARK_MS) > MARK_MS * MARKS_MAX as u64);
    }
}
