//! How many took how long, in buckets that are the same everywhere, so that histograms can be compared and added.

/// The buckets' upper ends, in microseconds; what takes longer has one of its own.
pub const BOUNDS_US: [u64; 22] = [
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len()],
    longer: u64,
    sum_us: u64,
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound_us| *bound_us < us);
        *self.counts.get_mut(bucket).unwrap_or(&mut self.longer) += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many took no longer than each bound.
    pub fn up_to_each(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS_US.into_iter().zip(counts)
    }

    /// How many took longer than the bound before and no longer than each, and after those, how many took longer than all.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().chain([self.longer])
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_in_the_bucket_that_it_just_fits() {
        let mut histogram = Histogram::default();
        for us in [0, 10, 11, 3_600_000_000, 3_600_000_001] {
            histogram.record(us);
        }
        let up_to: Vec<(u64, u64)> = histogram.up_to_each().collect();
        assert_eq!((up_to[0], up_to[1], up_to[20]), ((10, 2), (25, 3), (600_000_000, 3)));
        assert_eq!(histogram.buckets().collect::<Vec<u64>>()[19..], [0, 0, 1, 1]);
        assert_eq!((up_to[21].1, histogram.count(), histogram.sum_us()), (4, 5, 7_200_000_022));
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_US.is_sorted_by(|one, next| one < next));
    }
}
