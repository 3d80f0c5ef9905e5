//! Consumers, and the lines that they wait in: a queue's is of those that could take a message now.

use super::effects::Recipient;
use super::exchange::QueueId;
use super::replenish::Pace;
use super::{ChannelId, ConnectionId, ConsumerId};
use crate::protocol::{FieldTable, ShortString};
use std::collections::VecDeque;

/// Why a consumer is, or is not, in its queue's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerState {
    /// In its queue's line.
    InLine,
    /// Its own prefetch count was used up; acknowledgements bring it back, see [`replenish`](super::replenish).
    PrefetchReached,
    /// Its channel's prefetch count is used up: it waits for its turn with others of the channel.
    ChannelPrefetchReached,
    /// Its connection's outbox is full: it waits in the connection's list.
    OutboxFull,
    /// Cancelled; its slot is freed when no line names it and nothing of it is unacknowledged.
    Cancelled,
}

/// `basic.consume`, running.
pub struct Consumer {
    pub connection: ConnectionId,
    pub channel: ChannelId,
    pub channel_number: u16,
    pub queue: QueueId,
    pub tag: ShortString,
    pub no_ack: bool,
    pub exclusive: bool,
    /// `x-priority`: higher ones are served first while they have credit.
    pub priority: i64,
    /// Most deliveries unacknowledged at once; 0 for no limit.
    pub prefetch_count: u16,
    pub unacknowledged: u32,
    pub state: ConsumerState,
    /// Named by a line or a waiting list, which must drop it before the slot is used again.
    pub listed: bool,
    /// Named by the list of those that wait for more credit, like `listed`.
    pub awaits_more: bool,
    pub pace: Pace,
    /// Its place at the queue's gate.
    pub place_in_queue: usize,
    pub arguments: FieldTable,
}

impl Consumer {
    #[inline]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient { connection: self.connection, channel_number: self.channel_number, consumer_tag: &self.tag }
    }

    /// How many more deliveries its own prefetch count allows.
    #[inline]
    pub fn credit(&self) -> usize {
        match self.prefetch_count {
            0 => usize::MAX,
            _ if self.no_ack => usize::MAX,
            count => usize::from(count).saturating_sub(self.unacknowledged as usize),
        }
    }

    /// Cancelled, and nothing names it any more: its slot may be used again.
    pub fn is_forgotten(&self) -> bool {
        self.state == ConsumerState::Cancelled && !self.listed && !self.awaits_more && self.unacknowledged == 0
    }

    /// Its own prefetch count allows one more delivery.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.credit() > 0
    }
}

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
