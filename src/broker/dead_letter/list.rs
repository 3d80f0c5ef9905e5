//! The list of dead letters: those that wait, the one that is underway, those that nobody has taken yet, and who is held up
//! by them. It publishes nothing.

use super::desk::Desk;
use crate::broker::deduplication::Noted;
use crate::broker::message::{MessageRef, NEVER, without_delivery_count};
use crate::broker::queue::{DeadLetterStrategy, DeadLettering, Taken};
use crate::broker::unacknowledged::Delivered;
use crate::broker::{QueueKey, VhostKey};
use crate::protocol::ShortString;
use std::collections::VecDeque;
use std::rc::Rc;

/// Queues that letters may enter in one turn; each letter counts as one more.
pub(super) const ENTRIES_PER_TURN: usize = 4096;

/// How long letters wait that were not taken, in milliseconds, before they are tried again.
pub(super) const RETRY_MS: u64 = 1000;

/// Letters that are tried again each time; one more for each that is taken.
pub(super) const RETRIES: usize = 1024;

/// Why a message is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) enum Reason {
    Rejected,
    Expired,
    /// The queue had as much as it may have.
    MaxLength,
    /// It came back too often.
    DeliveryLimit,
}

impl Reason {
    /// As headers name it.
    pub(in crate::broker) fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// The queue that a letter left, which may be gone.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) queue: QueueKey,
    pub(super) vhost: VhostKey,
    pub(super) name: ShortString,
    pub(super) to: Rc<DeadLettering>,
}

impl Source {
    /// It is the same queue, which sends its letters the same way.
    #[inline]
    pub(super) fn is(&self, other: &Self) -> bool {
        self.queue == other.queue && Rc::ptr_eq(&self.to, &other.to)
    }
}

/// A message on its way.
pub(super) struct DeadLetter {
    pub(super) source: Rc<Source>,
    pub(super) taken: Taken,
    pub(super) reason: Reason,
    /// It was in the queue: the log is told that it left.
    pub(super) was_there: bool,
}

impl DeadLetter {
    /// It stays its queue's until every queue that it is for has it.
    pub(super) fn is_sure(&self) -> bool {
        self.source.to.strategy == DeadLetterStrategy::AtLeastOnce && self.reason != Reason::MaxLength
    }
}

/// Letters that wait to be published.
pub(super) enum Waiting {
    One(DeadLetter),
    /// Deliveries that a client rejected together, as it held them.
    Run {
        source: Rc<Source>,
        rejected: VecDeque<Option<Delivered>>,
    },
}

impl Waiting {
    pub(super) fn source(&self) -> &Rc<Source> {
        match self {
            Self::One(letter) => &letter.source,
            Self::Run { source, .. } => source,
        }
    }
}

/// A letter that somebody has yet to take.
pub(super) struct Untaken {
    pub(super) letter: DeadLetter,
    /// The queues that have it.
    pub(super) taken_by: Vec<QueueKey>,
}

/// A letter that is for more queues than it has entered.
pub(super) struct Underway {
    pub(super) letter: DeadLetter,
    pub(super) message: MessageRef,
    pub(super) queues: Vec<QueueKey>,
    pub(super) entered: usize,
    /// Whether one refused it.
    pub(super) refused: bool,
    /// The queues that have it, of a letter that has to know.
    pub(super) taken_by: Vec<QueueKey>,
}

pub(in crate::broker) struct DeadLetters {
    pub(super) waiting: VecDeque<Waiting>,
    /// How many letters those are.
    pub(super) length: usize,
    pub(super) underway: Option<Underway>,
    /// Letters to try again, which nobody took or not everybody.
    pub(super) untaken: VecDeque<Untaken>,
    /// How many of them are tried now.
    pub(super) retries_left: usize,
    /// When they are tried again; [`NEVER`] while there are none.
    pub(super) retry_at_ms: u64,
    /// Queues that may still be entered in this turn.
    pub(super) entries_left: usize,
    /// Queues that wait until the list is shorter.
    pub(super) held_up: VecDeque<QueueKey>,
    pub(super) desk: Desk,
    /// What exchanges remember of the letter that is underway.
    pub(super) noted: Vec<Noted>,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            length: 0,
            underway: None,
            untaken: VecDeque::new(),
            retries_left: 0,
            retry_at_ms: NEVER,
            entries_left: 0,
            held_up: VecDeque::new(),
            desk: Desk::default(),
            noted: Vec::new(),
        }
    }
}

impl DeadLetters {
    /// There is nothing to do now.
    #[inline]
    pub(in crate::broker) fn is_empty(&self) -> bool {
        (self.length | self.held_up.len() | self.retries_left) == 0 && self.underway.is_none()
    }

    /// When [`come_due`](Self::come_due) has something to do.
    pub(in crate::broker) fn next_due_ms(&self) -> Option<u64> {
        (self.retry_at_ms != NEVER).then_some(self.retry_at_ms)
    }

    /// Letters that were not taken are tried again when their time has come.
    pub(in crate::broker) fn come_due(&mut self, now_ms: u64) {
        if self.retry_at_ms <= now_ms {
            self.retry_at_ms = NEVER;
            self.retries_left = self.untaken.len().min(RETRIES);
        }
    }

    pub(super) fn next_waiting(&mut self) -> Option<DeadLetter> {
        loop {
            let mut letter = match self.waiting.front_mut()? {
                Waiting::Run { source, rejected } => match rejected.pop_front() {
                    Some(Some(Delivered { taken, .. })) => {
                        DeadLetter { source: Rc::clone(source), taken, reason: Reason::Rejected, was_there: true }
                    }
                    Some(None) => continue,
                    None => {
                        self.waiting.pop_front();
                        continue;
                    }
                },
                Waiting::One(_) => match self.waiting.pop_front()? {
                    Waiting::One(letter) => letter,
                    Waiting::Run { .. } => unreachable!("it was looked at"),
                },
            };
            self.length -= 1;
            if letter.taken.returns.times() > 0 {
                letter.taken.message = without_delivery_count(&letter.taken.message);
            }
            return Some(letter);
        }
    }

    pub(super) fn next_untaken(&mut self, now_ms: u64) -> Option<Untaken> {
        self.retries_left = self.retries_left.checked_sub(1)?;
        let untaken = self.untaken.pop_front();
        if !self.untaken.is_empty() {
            self.retry_at_ms = self.retry_at_ms.min(now_ms + RETRY_MS);
        }
        untaken
    }

    /// One of them is gone, so that one more is tried.
    pub(super) fn went(&mut self) {
        self.retries_left = self.untaken.len().min(self.retries_left + 1);
    }

    pub(super) fn keep(&mut self, untaken: Untaken, now_ms: u64) {
        self.untaken.push_back(untaken);
        self.retry_at_ms = self.retry_at_ms.min(now_ms + RETRY_MS);
    }

    /// Whether some can still be published in this turn.
    pub(in crate::broker) fn go_on(&self) -> bool {
        self.entries_left > 0 && !self.is_empty()
    }

    /// A turn begins.
    pub(in crate::broker) fn start_turn(&mut self) {
        self.entries_left = ENTRIES_PER_TURN;
    }
}
