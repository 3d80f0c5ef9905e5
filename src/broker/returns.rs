//! How often a message came back to its queue, which a queue of type quorum counts.

/// `times`, and of those `failed`: refused, or left behind by a client that went away. Both stop at their highest value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Returns(u32);

/// Beside a message, in a word: few of a queue's messages ever come back.
const FAILED_BITS: u32 = 8;
const FAILED_MAX: u32 = (1 << FAILED_BITS) - 1;
const TIMES_MAX: u32 = u32::MAX >> FAILED_BITS;

impl Returns {
    pub fn new(times: u64, failed: u64) -> Self {
        let times = times.min(u64::from(TIMES_MAX)) as u32;
        let failed = failed.min(u64::from(FAILED_MAX)) as u32;
        Self(times << FAILED_BITS | failed)
    }

    /// Came back once more.
    pub fn once_more(self, failed: bool) -> Self {
        Self::new(u64::from(self.times()) + 1, u64::from(self.failed()) + u64::from(failed))
    }

    pub fn times(self) -> u32 {
        self.0 >> FAILED_BITS
    }

    pub fn failed(self) -> u32 {
        self.0 & FAILED_MAX
    }
}

impl std::fmt::Debug for Returns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Returns({}, {} failed)", self.times(), self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_counted_and_neither_runs_over() {
        let mut returns = Returns::default();
        for (times, failed) in [(1, false), (2, true), (3, true)] {
            returns = returns.once_more(failed);
            assert_eq!((returns.times(), returns.failed()), (times, times - 1));
        }
        let most = Returns::new(u64::MAX, u64::MAX);
        assert_eq!((most.times(), most.failed()), (TIMES_MAX, FAILED_MAX));
        assert_eq!(most.once_more(true), most);
    }
}
