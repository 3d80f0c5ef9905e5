//! What waits to be sent to a peer: bounded, and dropped where it would be more.
//!
//! ```text
//!   put ──► nobody sends, and all of it is short and in memory ──► straight to the stream, as far as that takes it
//!       │                                                         └► the rest ─┐
//!       └─► otherwise ──► waits ───────────────────────────────────────────────┴► the thread that takes: wait, take_more
//! ```
//! Whoever puts something in never waits. Whoever takes it out does, on a thread of its own; waking that takes as long as a sync of
//! a good disk, so what is short goes without it.

use super::frame;
pub use crate::cluster::message::Lane;
use crate::cluster::message::Part;
use crate::reactor::send_without_waiting;
use std::collections::VecDeque;
use std::net::TcpStream;
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
/// What goes straight to the stream, in bytes: more than that is copied and summed up elsewhere.
const STRAIGHT_MAX_BYTES: usize = 64 << 10;

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

    /// Its parts' bytes, if all are in memory.
    fn in_memory<'a>(&'a self) -> Option<Vec<&'a [u8]>> {
        let bytes = |part: &'a Part| match part {
            Part::Bytes(bytes) => Some(&bytes[..]),
            Part::Body(body) => Some(body.bytes()),
            Part::Stored(_) | Part::File { .. } => None,
        };
        self.0.iter().map(bytes).collect()
    }
}

/// What comes out.
#[derive(Debug)]
pub enum Next {
    Message(Outgoing),
    /// The end of what went straight to the stream and was not taken there; before any message.
    Rest(Vec<u8>),
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
    /// Where what is put goes, while whoever takes waits.
    stream: Option<TcpStream>,
    /// Whoever takes has nothing in hand, and all that it took is with the system.
    taker_waits: bool,
    /// What the stream did not take.
    rest: Vec<u8>,
    /// Kept for what goes straight there.
    buffer: Vec<u8>,
}

impl State {
    /// Sends as many as can be without waiting, and whatever is before them: nothing. Says how many that were.
    fn send_straight(&mut self, messages: &[Outgoing]) -> usize {
        let Self { stream: Some(stream), taker_waits: true, waiting, rest, buffer, .. } = self else { return 0 };
        if !waiting.is_empty() || !rest.is_empty() {
            return 0;
        }
        buffer.clear();
        let mut count = 0;
        for message in messages {
            let held_bytes = message.held_bytes();
            let Some(parts) = message.in_memory().filter(|_| buffer.len() + held_bytes <= STRAIGHT_MAX_BYTES) else {
                break;
            };
            frame::write_message(buffer, &parts).expect("memory takes all");
            count += 1;
        }
        if count > 0 {
            // What fails now fails again for whoever takes, who says so.
            let sent = send_without_waiting(stream, buffer).unwrap_or(0);
            rest.extend_from_slice(&buffer[sent..]);
        }
        count
    }
}

impl Queue {
    pub fn new(lane: Lane) -> Self {
        Self { lane, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Whoever comes with this number takes from now on, and nobody else. What is short goes straight to the stream, if there is
    /// one, while it waits.
    pub fn open(&self, taker: u64, stream: Option<TcpStream>) {
        self.begin_anew(State { taker: Some(taker), stream, ..State::default() });
    }

    /// Nobody takes any more, and what waits is dropped.
    pub fn close(&self) {
        self.begin_anew(State::default());
    }

    /// What waited may be much, and whoever puts something in does not wait until it is freed.
    fn begin_anew(&self, next: State) {
        let before = std::mem::replace(&mut *self.state(), next);
        self.changed.notify_all();
        drop(before);
    }

    /// Puts messages in. False when one is dropped, and those after it: nobody is connected, or too much waits.
    pub fn put(&self, mut messages: Vec<Outgoing>) -> bool {
        let mut state = self.state();
        let straight = state.send_straight(&messages);
        if straight == messages.len() && state.rest.is_empty() {
            return true;
        }
        let mut takes_all = true;
        for message in messages.drain(straight..) {
            let is_full = state.held_bytes > self.lane.most_bytes() || state.waiting.len() >= MESSAGES_MAX;
            if state.taker.is_none() || is_full {
                takes_all = false;
                break;
            }
            state.held_bytes += message.held_bytes();
            state.waiting.push_back(message);
        }
        let is_waited_for = state.taker_waits;
        drop(state);
        if is_waited_for {
            self.changed.notify_all();
        }
        takes_all
    }

    /// Waits for what is to be sent, and at most for so long. All that was taken before is with the system.
    pub fn wait(&self, taker: u64, timeout: Duration) -> Next {
        let mut state = self.state();
        if state.taker == Some(taker) {
            state.taker_waits = true;
        }
        let waits = |state: &mut State| state.taker == Some(taker) && state.waiting.is_empty() && state.rest.is_empty();
        let waited = self.changed.wait_timeout_while(state, timeout, waits);
        let (mut state, _) = waited.expect("nobody panics with it");
        Self::next(&mut state, taker)
    }

    /// What else there is to be sent.
    pub fn take_more(&self, taker: u64) -> Next {
        Self::next(&mut self.state(), taker)
    }

    fn next(state: &mut State, taker: u64) -> Next {
        if state.taker != Some(taker) {
            return Next::Closed;
        }
        state.taker_waits = false;
        if !state.rest.is_empty() {
            return Next::Rest(std::mem::take(&mut state.rest));
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
    use std::io::Read;

    fn of_bytes(count: usize) -> Outgoing {
        Outgoing(vec![Part::Bytes(vec![7; count])])
    }

    fn put(queue: &Queue, count: usize) -> bool {
        queue.put(vec![of_bytes(count)])
    }

    #[test]
    fn what_is_too_much_is_dropped() {
        let queue = Queue::new(Lane::Control);
        assert!(!put(&queue, 1), "nobody is connected");
        queue.open(1, None);
        assert!(put(&queue, Lane::Control.most_bytes() + 1), "one that is long goes");
        assert!(!put(&queue, 1));
        assert!(matches!(queue.take_more(1), Next::Message(_)));
        assert!((0..MESSAGES_MAX).all(|_| put(&queue, 0)));
        assert!(!put(&queue, 0));
        assert!(matches!(queue.take_more(1), Next::Message(_)));
        assert!(put(&queue, 0), "there is room again");
    }

    #[test]
    fn only_who_is_connected_takes() {
        let queue = Queue::new(Lane::Bulk);
        queue.open(1, None);
        put(&queue, 1);
        queue.open(2, None);
        assert!(matches!(queue.wait(1, Duration::MAX), Next::Closed));
        assert!(matches!(queue.wait(2, Duration::ZERO), Next::Nothing), "what was for another is dropped");
        put(&queue, 1);
        queue.close();
        assert!(matches!(queue.wait(2, Duration::MAX), Next::Closed));
    }

    /// Both ends of a stream.
    #[allow(clippy::disallowed_methods, reason = "plain standard sockets, both in this test")]
    fn streams() -> (TcpStream, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    fn text_of(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut bytes = bytes;
        std::iter::from_fn(|| frame::read_message(&mut bytes).ok()).collect()
    }

    #[test]
    fn what_is_short_goes_straight_while_whoever_takes_waits() {
        let queue = Queue::new(Lane::Control);
        let (stream, mut peer) = streams();
        queue.open(1, Some(stream));
        assert!(put(&queue, 1), "it has not waited yet");
        assert!(matches!(queue.wait(1, Duration::ZERO), Next::Message(_)));
        assert!(put(&queue, 2), "it has something in hand");
        assert!(matches!(queue.take_more(1), Next::Message(_)));
        assert!(matches!(queue.take_more(1), Next::Nothing));
        assert!(matches!(queue.wait(1, Duration::ZERO), Next::Nothing));
        assert!(put(&queue, 3), "it is about to say that it is alive");
        assert!(matches!(queue.take_more(1), Next::Message(_)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait(1, Duration::MAX));
            while !queue.state().taker_waits {
                std::thread::yield_now();
            }
            let stored = Part::Stored(crate::storage::entry::Place { segment: 1, offset: 0, length: 9 });
            let messages = [of_bytes(4), of_bytes(5), Outgoing(vec![stored]), of_bytes(6)];
            assert!(queue.put(messages.to_vec()));
            assert!(
                matches!(waiting.join().unwrap(), Next::Message(Outgoing(parts)) if matches!(parts[..], [Part::Stored(_)]))
            );
        });
        assert!(matches!(queue.take_more(1), Next::Message(_)));
        queue.close();
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        assert_eq!(text_of(&came), [vec![7; 4], vec![7; 5]]);
    }

    #[test]
    fn what_the_stream_does_not_take_is_sent_by_whoever_takes() {
        let queue = Queue::new(Lane::Control);
        let (stream, mut peer) = streams();
        queue.open(1, Some(stream));
        let (rest, count) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.wait(1, Duration::MAX));
            while !queue.state().taker_waits {
                std::thread::yield_now();
            }
            let mut count = 0;
            while !waiting.is_finished() && queue.state().rest.is_empty() && queue.state().taker_waits {
                assert!(put(&queue, 10_000));
                count += 1;
            }
            match waiting.join().unwrap() {
                Next::Rest(rest) => (rest, count),
                other => panic!("{other:?}"),
            }
        });
        assert!(put(&queue, 1));
        assert!(matches!(queue.take_more(1), Next::Message(_)), "in order");
        queue.close();
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        came.extend_from_slice(&rest);
        let messages = text_of(&came);
        assert_eq!(messages.len(), count);
        assert!(messages.iter().all(|message| *message == [7; 10_000]));
    }
}
