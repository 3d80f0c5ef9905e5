//! How often something changed that decides where a publish goes, or whether it may.

/// A point in the broker's history that is another one after every change of routing. What was found out at an epoch holds
/// as long as it lasts, so that a publish like the last one pays for one comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Something changed.
    pub(super) fn end(&mut self) {
        self.0 += 1;
    }
}
