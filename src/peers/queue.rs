//! What waits to be sent to a peer: bounded, and dropped where it would be more.
//!
//! Whoever puts something in never waits. Whoever takes it out does, on a thread of its own.

pub use crate::cluster::message::Lane;
use crate::cluster::message::Part;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

impl Lane {
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Bulk => 1,
        }
    }

    /// What may wait in it, in bytes. One message more than that may, so that the longest goes, too.
    fn most_bytes(self) -> usize {
        match self {
            Self::Control => 4 << 20,
            Self::Bulk => 64 << 20,
        }
    }
}

/// Messages that may wait in a lane, however short they are.
const MESSAGES_MAX: usize = 4096;

/// A message, in the places where it lies.
#[derive(Clone, Debug)]
pub struct Outgoing(pub Vec<Part>);

impl Outgoing {
    /// What it holds of memory until it is sent.
    fn held_bytes(&self) -> usize {
        let held = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Body(body) => body.bytes().len(),
            Part::Stored(_) | Part::File { .. } => 0,
        };
        self.0.iter().map(held).sum()
    }
}

/// What comes out.
#[derive(Debug)]
pub enum Next {
    Message(Outgoing),
    /// Nothing was put in for as long as was waited.
    Nothing,
    /// Whoever takes is not wanted any more.
    Closed,
}

pub struct Queue {
    lane: Lane,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Outgoing>,
    held_bytes: usize,
    /// Whose turn it is to take; `None` while nobody is connected.
    taker: Option<u64>,
}

impl Queue {
    pub fn new(lane: Lane) -> Self {
        Self { lane, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Whoever comes with this number takes from now on, and nobody else.
    pub fn open(&self, taker: u64) {
        *self.state() = State { taker: Some(taker), ..State::default() };
        self.changed.notify_all();
    }

    /// Nobody takes any more, and what waits is dropped.
    pub fn close(&self) {
        *self.state() = State::default();
        self.changed.notify_all();
    }

    /// Puts a message in. False when it is dropped: nobody is connected, or too much waits.
    pub fn put(&self, message: Outgoing) -> bool {
        let bytes = message.held_bytes();
        let mut state = self.state();
        let is_full = state.held_bytes > self.lane.most_bytes() || state.waiting.len() >= MESSAGES_MAX;
        if state.taker.is_none() || is_full {
            return false;
        }
        state.held_bytes += bytes;
        state.waiting.push_back(message);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Waits for a message, and at most for so long.
    pub fn take(&self, taker: u64, timeout: Duration) -> Next {
        let waits = |state: &mut State| state.taker == Some(taker) && state.waiting.is_empty();
        let waited = self.changed.wait_timeout_while(self.state(), timeout, waits);
        let (mut state, _) = waited.expect("nobody panics with it");
        if state.taker != Some(taker) {
            return Next::Closed;
        }
        match state.waiting.pop_front() {
            Some(message) => {
                state.held_bytes -= message.held_bytes();
                Next::Message(message)
            }
            None => Next::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(count: usize) -> Outgoing {
        Outgoing(vec![Part::Bytes(vec![7; count])])
    }

    #[test]
    fn what_is_too_much_is_dropped() {
        let queue = Queue::new(Lane::Control);
        assert!(!queue.put(of_bytes(1)), "nobody is connected");
        queue.open(1);
        assert!(queue.put(of_bytes(Lane::Control.most_bytes() + 1)), "one that is long goes");
        assert!(!queue.put(of_bytes(1)));
        assert!(matches!(queue.take(1, Duration::ZERO), Next::Message(_)));
        assert!((0..MESSAGES_MAX).all(|_| queue.put(of_bytes(0))));
        assert!(!queue.put(of_bytes(0)));
        assert!(matches!(queue.take(1, Duration::ZERO), Next::Message(_)));
        assert!(queue.put(of_bytes(0)), "there is room again");
    }

    #[test]
    fn only_who_is_connected_takes() {
        let queue = Queue::new(Lane::Bulk);
        queue.open(1);
        queue.put(of_bytes(1));
        queue.open(2);
        assert!(matches!(queue.take(1, Duration::MAX), Next::Closed));
        assert!(matches!(queue.take(2, Duration::ZERO), Next::Nothing), "what was for another is dropped");
        queue.put(of_bytes(1));
        queue.close();
        assert!(matches!(queue.take(2, Duration::MAX), Next::Closed));
    }
}
