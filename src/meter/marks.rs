//! What was marked and is waited for.
//!
//! The young ones, which are few, are looked at with every turn, so that short times are told apart; those that take longer
//! a few at a time, so that no turn grows with them.

use std::collections::VecDeque;

/// So many are looked at each time.
pub const YOUNG_MAX: usize = 8;
/// What takes longer than this, in microseconds, is looked at less often.
pub const YOUNG_US: u64 = 10_000;
/// Most that wait beside the young ones; further ones are not marked.
pub const OLD_MAX: usize = 8 * 1024;
/// Of those, so many are looked at in a millisecond: all of them in half a second.
pub const OLD_PER_LOOK: usize = 16;
const OLD_EVERY_US: u64 = 1_000;

/// What became of something marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Waits,
    /// What it was marked for is over.
    Over,
    /// It will never be known.
    Lost,
}

struct Mark<T> {
    thing: T,
    at_us: u64,
}

pub struct Marks<T> {
    young: Vec<Mark<T>>,
    old: VecDeque<Mark<T>>,
    old_due_us: u64,
}

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self { young: Vec::new(), old: VecDeque::new(), old_due_us: 0 }
    }
}

impl<T> Marks<T> {
    /// Waits for something that began then, if there is room.
    pub fn mark(&mut self, thing: T, at_us: u64) {
        if self.young.len() < YOUNG_MAX {
            self.young.push(Mark { thing, at_us });
        }
    }

    /// Looks at some of them: `over` is told of those that are over, and how long they took, in microseconds.
    #[inline]
    pub fn look(&mut self, now_us: u64, fate: impl Fn(&T) -> Fate, over: impl FnMut(&T, u64)) {
        if !self.young.is_empty() || now_us >= self.old_due_us && !self.old.is_empty() {
            self.look_at_some(now_us, fate, over);
        }
    }

    fn look_at_some(&mut self, now_us: u64, fate: impl Fn(&T) -> Fate, mut over: impl FnMut(&T, u64)) {
        let mut waits = |mark: &Mark<T>| {
            let fate = fate(&mark.thing);
            if fate == Fate::Over {
                over(&mark.thing, now_us.saturating_sub(mark.at_us));
            }
            fate == Fate::Waits
        };
        self.young.retain(&mut waits);
        if now_us >= self.old_due_us {
            self.old_due_us = now_us + OLD_EVERY_US;
            for _ in 0..self.old.len().min(OLD_PER_LOOK) {
                let Some(mark) = self.old.pop_front() else { break };
                if waits(&mark) {
                    self.old.push_back(mark);
                }
            }
        }
        while self.young.first().is_some_and(|mark| now_us.saturating_sub(mark.at_us) > YOUNG_US) {
            let mark = self.young.remove(0);
            if self.old.len() < OLD_MAX {
                self.old.push_back(mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(marks: &mut Marks<u64>, now_us: u64, reached: u64) -> Vec<u64> {
        let mut all = Vec::new();
        marks.look(now_us, |thing| if *thing <= reached { Fate::Over } else { Fate::Waits }, |_, us| all.push(us));
        all
    }

    #[test]
    fn what_is_over_is_told_once_with_its_time() {
        let mut marks = Marks::default();
        marks.mark(1, 100);
        marks.mark(2, 150);
        assert_eq!(over(&mut marks, 160, 0), [0; 0]);
        assert_eq!(over(&mut marks, 170, 1), [70]);
        assert_eq!(over(&mut marks, 250, 2), [100]);
        assert_eq!(over(&mut marks, 300, 9), [0; 0]);
    }

    #[test]
    fn what_takes_long_makes_room_and_is_still_told() {
        let mut marks = Marks::default();
        for round in 0..4 {
            let at_us = round * 2 * YOUNG_US;
            (0..YOUNG_MAX).for_each(|_| marks.mark(1, at_us));
            marks.mark(0, at_us);
            assert_eq!(over(&mut marks, at_us + YOUNG_US + 1, 0), [0; 0], "there was no room for one more");
        }
        let mut told = Vec::new();
        let mut now_us = 100 * YOUNG_US;
        while told.len() < 4 * YOUNG_MAX {
            let some = over(&mut marks, now_us, 99);
            assert!(some.len() <= OLD_PER_LOOK && !some.is_empty(), "{some:?} after {told:?}");
            told.extend(some);
            now_us += OLD_EVERY_US;
        }
    }

    #[test]
    fn what_is_lost_is_not_told() {
        let mut marks = Marks::default();
        marks.mark(1, 0);
        marks.look(5, |_| Fate::Lost, |_, _| panic!("nobody knows"));
        marks.look(6, |_| panic!("it is gone"), |_, _| {});
    }

    #[test]
    fn there_is_a_limit() {
        let mut marks = Marks::default();
        for round in 0..2 * OLD_MAX as u64 {
            marks.mark(round + 1, 0);
            assert_eq!(over(&mut marks, YOUNG_US + 1, 0), [0; 0]);
        }
        assert_eq!(marks.old.len(), OLD_MAX);
    }
}
