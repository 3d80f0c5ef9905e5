//! What of the log is kept for others, whatever checkpoints need. On one machine that is nothing.

use super::super::segment::SegmentNumber;

/// Segments that are neither freed nor emptied.
#[derive(Debug)]
pub(in super::super) struct Held {
    /// From here on all: for followers that lag.
    pub newest_from: SegmentNumber,
}

impl Default for Held {
    fn default() -> Self {
        Self { newest_from: SegmentNumber::MAX }
    }
}

impl Held {
    pub fn contains(&self, number: SegmentNumber) -> bool {
        number >= self.newest_from
    }
}
