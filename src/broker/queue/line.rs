//! Consumers who wait in an order: by priority, and those of one priority in turns.
//!
//! A line knows ids and priorities. A consumer that was cancelled stays in it until it comes to the front or the line is
//! swept, so that cancelling costs nothing that grows with the line.

use crate::broker::ConsumerId;
use std::collections::VecDeque;

/// Consumers in line, by priority, each level served round robin.
#[derive(Default)]
pub struct Line {
    /// Levels by falling priority. An empty level stays until the line is rebuilt: levels are few.
    levels: Vec<Level>,
    /// Entries of all levels, of which a hostile client may make a million.
    length: usize,
    /// Entries that name a cancelled consumer.
    cancelled: usize,
}

struct Level {
    priority: i64,
    consumers: VecDeque<ConsumerId>,
}

/// Cancelled entries are swept out when they are more than this and more than the living.
const CANCELLED_MIN: usize = 16;

impl Line {
    /// Puts a consumer behind the others of its priority.
    pub fn join(&mut self, priority: i64, consumer: ConsumerId) {
        self.length += 1;
        let index = self.levels.partition_point(|level| level.priority > priority);
        match self.levels.get_mut(index) {
            Some(level) if level.priority == priority => level.consumers.push_back(consumer),
            _ => self.levels.insert(index, Level { priority, consumers: VecDeque::from([consumer]) }),
        }
    }

    /// Who is served next.
    #[inline]
    pub fn front(&self) -> Option<ConsumerId> {
        self.levels.iter().find_map(|level| level.consumers.front().copied())
    }

    /// The front, if nobody else is in line.
    #[inline]
    pub fn sole(&self) -> Option<ConsumerId> {
        match &self.levels[..] {
            [level] if level.consumers.len() == 1 => level.consumers.front().copied(),
            _ => None,
        }
    }

    /// Sends the front to the back of its level, after it was served.
    #[inline]
    pub fn rotate(&mut self) {
        if let Some(level) = self.levels.iter_mut().find(|level| !level.consumers.is_empty())
            && level.consumers.len() > 1
        {
            level.consumers.rotate_left(1);
        }
    }

    /// Takes the front out of the line.
    pub fn leave(&mut self) -> Option<ConsumerId> {
        let level = self.levels.iter_mut().find(|level| !level.consumers.is_empty())?;
        let consumer = level.consumers.pop_front();
        self.length -= usize::from(consumer.is_some());
        if level.consumers.is_empty() && self.levels.len() > 1 {
            self.levels.retain(|level| !level.consumers.is_empty());
        }
        consumer
    }

    /// A cancelled entry was met at the front and taken out.
    pub fn cancelled_left(&mut self) {
        self.cancelled -= 1;
    }

    /// Notes that one entry names a consumer that was cancelled. True when it is time to [`sweep`](Self::sweep).
    pub fn note_cancelled(&mut self) -> bool {
        self.cancelled += 1;
        self.cancelled > CANCELLED_MIN && self.cancelled * 2 > self.length || self.cancelled == self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn contains(&self, consumer: ConsumerId) -> bool {
        self.levels.iter().any(|level| level.consumers.contains(&consumer))
    }

    /// Takes out all entries for which `is_cancelled` holds and hands them to `freed`.
    pub fn sweep(&mut self, is_cancelled: impl Fn(ConsumerId) -> bool, mut freed: impl FnMut(ConsumerId)) {
        for level in &mut self.levels {
            level.consumers.retain(|&consumer| {
                let cancelled = is_cancelled(consumer);
                if cancelled {
                    freed(consumer);
                }
                !cancelled
            });
        }
        self.levels.retain(|level| !level.consumers.is_empty());
        self.length = self.levels.iter().map(|level| level.consumers.len()).sum();
        self.cancelled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_take_turns_and_higher_priorities_go_first() {
        let mut line = Line::default();
        line.join(0, ConsumerId(1));
        line.join(0, ConsumerId(2));
        line.join(5, ConsumerId(3));
        assert_eq!(line.front(), Some(ConsumerId(3)));
        line.rotate();
        assert_eq!(line.front(), Some(ConsumerId(3)), "alone on its level");
        assert_eq!(line.leave(), Some(ConsumerId(3)));
        assert_eq!(line.front(), Some(ConsumerId(1)));
        line.rotate();
        assert_eq!(line.front(), Some(ConsumerId(2)));
        line.rotate();
        assert_eq!(line.front(), Some(ConsumerId(1)));
    }

    #[test]
    fn a_line_of_cancelled_consumers_is_swept() {
        let mut line = Line::default();
        for id in 0..10 {
            line.join(0, ConsumerId(id));
        }
        for _ in 0..9 {
            assert!(!line.note_cancelled());
        }
        assert!(line.note_cancelled(), "nobody is left");
        line.join(7, ConsumerId(10));
        assert_eq!(line.leave(), Some(ConsumerId(10)));
        let mut freed = 0;
        line.sweep(|_| true, |_| freed += 1);
        assert_eq!((freed, line.front()), (10, None));
        line.join(0, ConsumerId(11));
        assert!(line.note_cancelled(), "it is alone");
    }
}
