//! A set of small numbers that empties itself in one step: the "seen already" of every walk.

/// Marks of numbers; a mark counts only when it carries the current round.
#[derive(Default)]
pub(super) struct Stamps {
    marks: Vec<u32>,
    /// Never 0 while in use: 0 is what fresh marks carry.
    round: u32,
}

impl Stamps {
    /// Forgets every number, without touching them.
    pub(super) fn clear(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.marks.fill(0);
            self.round = 1;
        }
    }

    /// Adds the number; false when it was in already.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let index = number as usize;
        if index >= self.marks.len() {
            self.marks.resize(index + 1, 0);
        }
        let fresh = self.marks[index] != self.round;
        self.marks[index] = self.round;
        fresh
    }

    #[inline]
    pub(super) fn contains(&self, number: u32) -> bool {
        self.marks.get(number as usize) == Some(&self.round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_until_cleared_even_when_the_rounds_wrap() {
        let mut stamps = Stamps { marks: Vec::new(), round: u32::MAX - 1 };
        for _ in 0..4 {
            stamps.clear();
            assert!(!stamps.contains(3));
            assert!(stamps.insert(3));
            assert!(stamps.contains(3) && !stamps.contains(2) && !stamps.contains(u32::MAX));
            assert!(!stamps.insert(3));
            assert!(stamps.insert(0));
        }
    }
}
