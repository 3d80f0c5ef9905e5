//! A queue's waiting messages: a ring in publish order, and the returned ones with the places they came from.
//!
//! Sequences are given in publish order. A message that was taken keeps its sequence, so that it returns to
//! its original place: ahead of everything that was never taken. This module never looks at consumers.

use crate::broker::message::MessageRef;
use std::collections::{BTreeMap, VecDeque};

/// `expires_at_ms` of a message that never expires.
pub const NEVER: u64 = u64::MAX;

/// Messages to a chunk of the ring. A long queue grows by chunks and gives them back, so that no push moves the others.
const CHUNK_LENGTH: usize = 1024;

/// A message in its place.
#[derive(Debug)]
pub struct Waiting {
    pub message: MessageRef,
    /// Given by the backlog.
    sequence: u64,
    /// On the caller's clock; [`NEVER`] without a time to live.
    pub expires_at_ms: u64,
}

/// A message that left its place, with what is needed to return it there.
#[derive(Debug)]
pub struct Taken {
    pub message: MessageRef,
    pub expires_at_ms: u64,
    pub sequence: u64,
    /// It was given to a consumer before.
    pub redelivered: bool,
}

#[derive(Default)]
pub struct Backlog {
    /// Never-taken messages in order. No chunk but the only one is empty.
    chunks: VecDeque<VecDeque<Waiting>>,
    /// An emptied chunk, kept so that a queue that breathes doesn't allocate.
    spare: Option<VecDeque<Waiting>>,
    /// Messages in `chunks`.
    ring_length: usize,
    /// The sequence that the next message gets.
    next_sequence: u64,
    /// Messages that came back, by sequence. All of them are older than the ring's.
    returned: BTreeMap<u64, Waiting>,
    /// Messages below this sequence may have been delivered in an earlier run of the broker.
    redelivered_below: u64,
}

impl Backlog {
    #[inline]
    pub fn len(&self) -> usize {
        self.ring_length + self.returned.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring_length == 0 && self.returned.is_empty()
    }

    /// Numbers messages that are handed over without waiting, and says the first one's sequence. Only for an empty
    /// backlog.
    #[inline]
    pub fn pass_through(&mut self, count: u64) -> u64 {
        debug_assert!(self.is_empty());
        let sequence = self.next_sequence;
        self.next_sequence += count;
        sequence
    }

    /// The sequence that the next message gets.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Appends a message and says its sequence.
    #[inline]
    pub fn push(&mut self, message: MessageRef, expires_at_ms: u64) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.append(Waiting { message, sequence, expires_at_ms });
        sequence
    }

    /// Appends a message of an earlier run of the broker, whose sequence is above those of all before it.
    pub fn restore(&mut self, message: MessageRef, sequence: u64, expires_at_ms: u64) {
        debug_assert!(sequence >= self.next_sequence);
        self.next_sequence = sequence + 1;
        self.append(Waiting { message, sequence, expires_at_ms });
    }

    /// Ends restoring: numbering goes on at `next_sequence`, and what is there now may have been delivered before.
    pub fn restored(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
        self.redelivered_below = self.next_sequence;
    }

    #[inline]
    fn append(&mut self, waiting: Waiting) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_LENGTH => chunk.push_back(waiting),
            _ => self.push_to_new_chunk(waiting),
        }
        self.ring_length += 1;
    }

    #[cold]
    fn push_to_new_chunk(&mut self, waiting: Waiting) {
        let mut chunk = match self.spare.take() {
            Some(spare) => spare,
            // The first chunk grows with the queue: most queues are short.
            None if self.chunks.is_empty() => VecDeque::new(),
            None => VecDeque::with_capacity(CHUNK_LENGTH),
        };
        chunk.push_back(waiting);
        self.chunks.push_back(chunk);
    }

    /// Takes the message at the head.
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        if !self.returned.is_empty() {
            return self.pop_returned();
        }
        let chunk = self.chunks.front_mut()?;
        let Waiting { message, sequence, expires_at_ms } = chunk.pop_front()?;
        self.ring_length -= 1;
        if chunk.is_empty() && self.chunks.len() > 1 {
            self.spare = self.chunks.pop_front();
        }
        Some(Taken { message, expires_at_ms, sequence, redelivered: sequence < self.redelivered_below })
    }

    #[cold]
    fn pop_returned(&mut self) -> Option<Taken> {
        let (sequence, Waiting { message, expires_at_ms, .. }) = self.returned.pop_first()?;
        Some(Taken { message, expires_at_ms, sequence, redelivered: true })
    }

    /// Returns a taken message to its place.
    pub fn put_back(&mut self, taken: Taken) {
        let Taken { message, expires_at_ms, sequence, .. } = taken;
        let previous = self.returned.insert(sequence, Waiting { message, sequence, expires_at_ms });
        debug_assert!(previous.is_none(), "a sequence is in one place at a time");
    }

    /// When the head expires: [`NEVER`] for an empty backlog or a head that doesn't.
    pub fn head_expires_at_ms(&self) -> u64 {
        let returned = self.returned.first_key_value().map(|(_, waiting)| waiting);
        let ring = || self.chunks.front().and_then(VecDeque::front);
        returned.or_else(ring).map_or(NEVER, |waiting| waiting.expires_at_ms)
    }

    /// Gives back what memory an emptied queue still holds.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.chunks = VecDeque::new();
            self.spare = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{Attributes, Content};
    use proptest::prelude::*;

    fn message() -> MessageRef {
        let content = Content { address: b"\0\0\xCE", frames: &[0; 22], header_frame_length: 22, shared_body: None };
        MessageRef::new(&content, Attributes::default())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        /// Return the taken message of this index.
        PutBack(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![3 => Just(Step::Push), 2 => Just(Step::Pop), 1 => any::<prop::sample::Index>().prop_map(Step::PutBack)];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        /// Against the obvious model: a sorted set of sequences.
        #[test]
        fn the_lowest_sequence_is_always_the_head(steps in steps()) {
            let mut backlog = Backlog::default();
            let mut model = std::collections::BTreeSet::new();
            let mut taken: Vec<Taken> = Vec::new();
            let mut ever_taken = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Push => { model.insert(backlog.push(message(), NEVER)); }
                    Step::Pop => {
                        let popped = backlog.pop();
                        prop_assert_eq!(popped.as_ref().map(|taken| taken.sequence), model.pop_first());
                        if let Some(popped) = popped {
                            prop_assert_eq!(popped.redelivered, !ever_taken.insert(popped.sequence));
                            taken.push(popped);
                        }
                    }
                    Step::PutBack(index) if !taken.is_empty() => {
                        let back = taken.swap_remove(index.index(taken.len()));
                        model.insert(back.sequence);
                        backlog.put_back(back);
                    }
                    Step::PutBack(_) => {}
                }
                prop_assert_eq!(backlog.len(), model.len());
                prop_assert_eq!(backlog.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn a_long_queue_drains_in_order_over_many_chunks() {
        let mut backlog = Backlog::default();
        for sequence in 0..5 * CHUNK_LENGTH as u64 {
            assert_eq!(backlog.push(message(), NEVER), sequence);
        }
        for sequence in 0..5 * CHUNK_LENGTH as u64 {
            assert_eq!(backlog.pop().map(|taken| taken.sequence), Some(sequence));
        }
        assert!(backlog.pop().is_none());
        assert_eq!(backlog.push(message(), NEVER), 5 * CHUNK_LENGTH as u64);
    }
}
