//! A peer's two connections. It is up when both are, and gone when one of them is.
//!
//! ```text
//!          one comes            the other comes
//!   down ───────────► half up ─────────────────► up: Event::Connected
//!     ▲                 │ ▲                       │
//!     │   it ends       │ │ one that comes again  │ one of them ends, or is silent for too long
//!     ├─────────────────┘ └── takes its place     ├─► both end: Event::Gone
//!     └───────────────────────────────────────────┘
//! ```
//! Each connection has two threads: one waits for what the peer says, the other for what is to be said and is not sent at once. What was received
//! and not taken yet is bounded for each peer: then it is read no further.

use super::frame;
use super::queue::{Lane, Next, Outgoing, Queue};
use crate::cluster::message::{Part, Unread};
use crate::storage::entry::EntryBody;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long nothing is said before a sign of life is given.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// How long a peer may be silent before it is gone, and how long it may take nothing of what is sent.
const SILENCE: Duration = Duration::from_millis(2_500);
/// What of a peer's may wait to be taken, in bytes; one message more may.
const RECEIVED_MOST_BYTES: usize = 32 << 20;
/// Parts that could not be read, of which it is told when they can: as many as are sent of a snapshot before anything is heard.
const UNREAD_MOST: usize = 16;
/// What is put together before it is sent, in bytes.
const TOGETHER_BYTES: usize = 64 << 10;

/// What there is of peers to know, in the order in which it was for each of them.
pub enum Event {
    /// What is sent to it from now on arrives, or it is gone.
    Connected {
        node: Arc<str>,
    },
    Gone {
        node: Arc<str>,
    },
    Message {
        node: Arc<str>,
        bytes: Vec<u8>,
        receipt: Receipt,
    },
    /// A message to it was not sent, as this part of it could not be read.
    Unread {
        node: Arc<str>,
        part: Part,
        why: Unread,
    },
    /// A part that could not be read before was read.
    Read {
        node: Arc<str>,
        part: Part,
    },
}

/// Whoever takes a message drops this when it needs it no more: then the peer is read on.
///
/// Dropping it may take the peer's lock, under which messages are told of. So nothing may drop a message where it is told of, as a
/// channel does whose other end is gone: whoever takes messages goes only after the transport, which closes all peers first.
pub struct Receipt {
    peer: Arc<Peer>,
    bytes: usize,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt of {} bytes", self.bytes)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let before = self.peer.received_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        // Nobody waits for anything else: the lock, and telling him, are two system calls that most need not pay for.
        if before > RECEIVED_MOST_BYTES && before - self.bytes <= RECEIVED_MOST_BYTES {
            drop(self.peer.state());
            self.peer.changed.notify_all();
        }
    }
}

/// Reads a part of a message that lies on the disk.
pub type Reader = Box<dyn FnMut(&Part) -> Result<EntryBody, Unread> + Send>;

/// What links need of those around them.
pub struct Around {
    pub tell: Box<dyn Fn(Event) + Send + Sync>,
    /// Called after a message was told, with no lock held: it may be dealt with here, and the next one is read after that.
    pub after_message: Box<dyn Fn() + Send + Sync>,
    /// Makes what reads parts of messages: each thread that sends has its own.
    pub reader: Box<dyn Fn() -> Reader + Send + Sync>,
}

pub struct Peer {
    pub name: Arc<str>,
    queues: [Queue; 2],
    state: Mutex<State>,
    changed: Condvar,
    /// Of messages that were told and not taken yet.
    received_bytes: AtomicUsize,
}

#[derive(Default)]
struct State {
    lanes: [Option<Connected>; 2],
    is_up: bool,
    /// Nobody is let in any more.
    is_closed: bool,
    next_serial: u64,
}

struct Connected {
    serial: u64,
    stream: TcpStream,
}

impl Peer {
    pub fn new(name: &str) -> Self {
        let queues = Lane::ALL.map(Queue::new);
        Self {
            name: name.into(),
            queues,
            state: Mutex::default(),
            changed: Condvar::new(),
            received_bytes: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    pub fn is_up(&self) -> bool {
        self.state().is_up
    }

    /// False when some are dropped.
    pub fn send(&self, lane: Lane, messages: Vec<Outgoing>) -> bool {
        self.queues[lane.index()].put(messages)
    }

    /// Ends what there is, and whatever comes.
    pub fn close(&self, around: &Around) {
        let mut state = self.state();
        state.is_closed = true;
        self.take_down(&mut state, around);
    }

    /// Speaks over this connection until it ends.
    pub fn speak(self: &Arc<Self>, lane: Lane, stream: TcpStream, around: &Arc<Around>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let (to_send, reading) = (stream.try_clone()?, stream.try_clone()?);
        let Some(serial) = self.come(lane, stream, around) else { return Ok(()) };
        let outcome = self.start_sender(lane, serial, to_send, around).and_then(|sender| {
            let read = self.read_all(lane, serial, &reading, around);
            self.end(lane, serial, around);
            // It ends, as its queue and its stream have.
            let _ = sender.join();
            read
        });
        self.end(lane, serial, around);
        outcome
    }

    fn start_sender(
        self: &Arc<Self>,
        lane: Lane,
        serial: u64,
        stream: TcpStream,
        around: &Arc<Around>,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let (peer, around) = (Arc::clone(self), Arc::clone(around));
        let name = format!("to {} {}", self.name, lane.name());
        std::thread::Builder::new().name(name).spawn(move || {
            if let Err(error) = peer.send_all(lane, serial, &stream, &around) {
                tracing::debug!(target: "cluster", "{}: {error}", peer.name);
            }
            peer.end(lane, serial, &around);
        })
    }

    /// A connection is there. `None`: it is not wanted.
    fn come(&self, lane: Lane, stream: TcpStream, around: &Around) -> Option<u64> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        if state.lanes[lane.index()].is_some() {
            // The peer has lost it, or it would not make another.
            self.take_down(&mut state, around);
        }
        let serial = state.next_serial;
        state.next_serial += 1;
        state.lanes[lane.index()] = Some(Connected { serial, stream });
        if let [Some(control), Some(bulk)] = &state.lanes {
            for (queue, connected) in self.queues.iter().zip([control, bulk]) {
                queue.open(connected.serial, connected.stream.try_clone().ok());
            }
            state.is_up = true;
            // With the lock held, so that nothing is told before.
            (around.tell)(Event::Connected { node: Arc::clone(&self.name) });
        }
        self.changed.notify_all();
        Some(serial)
    }

    /// A connection has ended, if it is still there.
    fn end(&self, lane: Lane, serial: u64, around: &Around) {
        let mut state = self.state();
        if state.lanes[lane.index()].as_ref().is_some_and(|connected| connected.serial == serial) {
            self.take_down(&mut state, around);
        }
    }

    fn take_down(&self, state: &mut State, around: &Around) {
        for connected in state.lanes.iter_mut().filter_map(Option::take) {
            // It may have ended by itself.
            let _ = connected.stream.shutdown(Shutdown::Both);
        }
        self.queues.iter().for_each(Queue::close);
        if std::mem::take(&mut state.is_up) {
            (around.tell)(Event::Gone { node: Arc::clone(&self.name) });
        }
        self.changed.notify_all();
    }

    fn is_current(state: &State, lane: Lane, serial: u64) -> bool {
        state.lanes[lane.index()].as_ref().is_some_and(|connected| connected.serial == serial)
    }

    fn read_all(self: &Arc<Self>, lane: Lane, serial: u64, stream: &TcpStream, around: &Around) -> io::Result<()> {
        let mut stream = BufReader::with_capacity(TOGETHER_BYTES, stream);
        loop {
            let bytes = frame::read_message(&mut stream)?;
            let waits = |state: &mut State| {
                let has_room = self.received_bytes.load(Ordering::Relaxed) <= RECEIVED_MOST_BYTES;
                Self::is_current(state, lane, serial) && !(state.is_up && has_room)
            };
            let state = self.changed.wait_while(self.state(), waits).expect("nobody panics with it");
            if !Self::is_current(&state, lane, serial) {
                return Ok(());
            }
            self.received_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            let receipt = Receipt { peer: Arc::clone(self), bytes: bytes.len() };
            (around.tell)(Event::Message { node: Arc::clone(&self.name), bytes, receipt });
            drop(state);
            (around.after_message)();
        }
    }

    fn send_all(&self, lane: Lane, serial: u64, stream: &TcpStream, around: &Around) -> io::Result<()> {
        let mut stream = BufWriter::with_capacity(TOGETHER_BYTES, stream);
        let outcome = self.send_to(&mut stream, lane, serial, around);
        // What is left goes nowhere: a peer that takes nothing would be waited for once more.
        let _ = stream.into_parts();
        outcome
    }

    fn send_to(&self, stream: &mut BufWriter<&TcpStream>, lane: Lane, serial: u64, around: &Around) -> io::Result<()> {
        // The first waits for the other connection, too, and is no sign of life to anybody yet.
        let waits = |state: &mut State| Self::is_current(state, lane, serial) && !state.is_up;
        while Self::is_current(&self.state(), lane, serial) {
            let waited = self.changed.wait_timeout_while(self.state(), SIGN_OF_LIFE, waits);
            if waited.expect("nobody panics with it").0.is_up {
                break;
            }
            frame::write_sign_of_life(stream)?;
            stream.flush()?;
        }
        let (queue, mut read) = (&self.queues[lane.index()], (around.reader)());
        let mut unread: VecDeque<Part> = VecDeque::new();
        loop {
            // Whatever waits is put together.
            let mut next = queue.take_more(serial);
            if matches!(next, Next::Nothing) {
                stream.flush()?;
                next = queue.wait(serial, SIGN_OF_LIFE);
            }
            match next {
                Next::Rest(bytes) => stream.write_all(&bytes)?,
                Next::Message(message) => {
                    let bodies = match bodies_of(&message, &mut read) {
                        Ok(bodies) => bodies,
                        Err((part, why)) => {
                            if !unread.contains(part) {
                                unread.push_back(part.clone());
                                unread.truncate(UNREAD_MOST);
                            }
                            (around.tell)(Event::Unread { node: Arc::clone(&self.name), part: part.clone(), why });
                            continue;
                        }
                    };
                    if let Some(at) = unread.iter().position(|unread| message.0.contains(unread))
                        && let Some(part) = unread.remove(at)
                    {
                        (around.tell)(Event::Read { node: Arc::clone(&self.name), part });
                    }
                    let parts = message.0.iter().zip(&bodies).map(|(part, body)| bytes_of(part, body));
                    frame::write_message(stream, &parts.collect::<Vec<_>>())?;
                }
                Next::Nothing => {
                    frame::write_sign_of_life(stream)?;
                    stream.flush()?;
                }
                Next::Closed => return Ok(()),
            }
        }
    }
}

/// What is to be read for a message, or the part of it that can't be.
fn bodies_of<'a>(message: &'a Outgoing, read: &mut Reader) -> Result<Vec<Option<EntryBody>>, (&'a Part, Unread)> {
    let body = |part: &'a Part| match part {
        Part::Stored(_) | Part::File { .. } => read(part).map(Some).map_err(|why| (part, why)),
        Part::Bytes(_) | Part::Body(_) => Ok(None),
    };
    message.0.iter().map(body).collect()
}

fn bytes_of<'a>(part: &'a Part, body: &'a Option<EntryBody>) -> &'a [u8] {
    match (part, body) {
        (Part::Bytes(bytes), _) => bytes,
        (Part::Body(body), _) | (_, Some(body)) => body.bytes(),
        (_, None) => unreachable!("all were read"),
    }
}
