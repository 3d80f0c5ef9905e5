//! What of the log is kept for others, whatever checkpoints need. On one machine that is nothing.

use super::super::checkpoint::Needed;
use super::super::segment::SegmentNumber;
use super::pin::PinId;
use std::collections::BTreeMap;

/// The newest segments that are kept for followers that lag, in bytes: those are sent what they lack, and no more.
pub const KEPT_FOR_FOLLOWERS_BYTES: u64 = 256 << 20;

/// Segments that are neither freed nor emptied.
#[derive(Debug)]
pub(in super::super) struct Held {
    /// From here on all: for followers that lag.
    pub newest_from: SegmentNumber,
    /// What is being sent.
    pub pins: Vec<(PinId, Needed)>,
}

impl Default for Held {
    fn default() -> Self {
        Self { newest_from: SegmentNumber::MAX, pins: Vec::new() }
    }
}

impl Held {
    pub fn contains(&self, number: SegmentNumber) -> bool {
        number >= self.newest_from || self.pins.iter().any(|(_, needed)| needed.needs(number))
    }
}

/// From which segment on the newest ones have at least so many bytes; all there are, if that is less.
pub(super) fn newest_from(segments: &BTreeMap<SegmentNumber, u64>, bytes: u64) -> SegmentNumber {
    let mut left = bytes;
    for (number, size) in segments.iter().rev() {
        if *size >= left {
            return *number;
        }
        left -= size;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_as_many_as_have_the_bytes() {
        let segments = BTreeMap::from([(3, 10), (5, 10), (6, 30), (9, 10)]);
        for (bytes, from) in [(0, 9), (10, 9), (11, 6), (40, 6), (41, 5), (60, 3), (61, 0)] {
            assert_eq!(newest_from(&segments, bytes), from, "{bytes}");
        }
        assert_eq!(newest_from(&BTreeMap::new(), 10), 0);
    }
}
