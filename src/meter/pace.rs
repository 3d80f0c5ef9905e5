//! Whether it is time for another sample: one of so many, and one a second at least where little happens.

/// One of so many is looked at.
pub const ONE_OF: u64 = 1024;
/// Where fewer happen, one in so many microseconds is.
pub const AT_LEAST_EVERY_US: u64 = 1_000_000;

#[derive(Default, Debug)]
pub struct Pace {
    /// The count at the last sample, and its time.
    count: u64,
    at_us: u64,
}

impl Pace {
    /// Whether one of those that make up `count` by now is to be looked at.
    #[inline]
    pub fn is_due(&mut self, count: u64, now_us: u64) -> bool {
        let since = count - self.count;
        if since == 0 || since < ONE_OF && now_us < self.at_us + AT_LEAST_EVERY_US {
            return false;
        }
        (self.count, self.at_us) = (count, now_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thousand_and_one_a_second_are_due() {
        let mut pace = Pace { count: 0, at_us: 1_000 };
        assert!(!pace.is_due(ONE_OF - 1, 1_001));
        assert!(pace.is_due(ONE_OF, 1_001));
        assert!(!pace.is_due(ONE_OF, 1_001 + AT_LEAST_EVERY_US), "nothing happened");
        assert!(pace.is_due(ONE_OF + 1, 1_001 + AT_LEAST_EVERY_US));
    }
}
