//! The thread on which others prove that they know the cluster's secret. Strangers come no further.
//!
//! ```text
//! listener ─► caller ── handshake ──► judged ──► a peer's connection, or a client that is passed on
//!                └── it fails, takes too long, or has to go when too many are in: closed
//! ```
//! Whoever knocks costs a place of few bytes for a few seconds, and is told nothing but chance; when all places are taken,
//! whoever has most of them gives one up. What is let in is somebody else's from then on: this thread waits for nobody.

use super::Chance;
use super::handshake::{HostSteps, Step};
use super::preface::{Answer, Preface, Purpose};
use super::queue::Lane;
use super::secret::ClusterSecret;
use crate::reactor::{
    Accepted, Clock, Entrants, Listener, Poller, Readiness, Received, Sent, Socket, Waker, origin_of,
};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Those who shake hands at a time.
const CALLERS_MAX: usize = 1024;
/// How long each may take, in milliseconds.
const HANDSHAKE_MS: u64 = 3_000;
/// Callers accepted before those are seen to who are in.
const ACCEPTS_AT_ONCE: usize = 32;
/// How long accepting rests when the system refuses it, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// The longest that a handshake waits for at once, in bytes.
const AT_ONCE_BYTES: usize = 1024;
const LISTENER_TOKEN: usize = usize::MAX - 1;
const WAKE_TOKEN: usize = usize::MAX - 2;

/// A client of another node's, as if it had connected here.
pub struct Passed {
    pub kind: super::ClientKind,
    pub socket: Socket,
}

/// Takes one of a peer's two connections, by the node's name.
pub type TakePeer = Box<dyn Fn(&str, Lane, TcpStream) + Send>;

/// Who those are let in by.
pub struct House {
    pub secret: ClusterSecret,
    pub chance: Chance,
    pub cluster: String,
    /// This node.
    pub node: String,
    /// Whether a node of that name is one of the others.
    pub is_other: Box<dyn Fn(&str) -> bool + Send>,
    /// Whether clients of others are wanted here.
    pub leads: Arc<AtomicBool>,
    pub peer: TakePeer,
    pub client: Box<dyn Fn(Passed) + Send>,
}

/// The porch stands until this is dropped.
pub struct Porch {
    waker: Waker,
    ended: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Porch {
    /// Opens it.
    ///
    /// # Errors
    /// The system has no thread or poll to give.
    pub fn open(mut listener: Listener, house: House, clock: Clock) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKE_TOKEN)?;
        let ended = Arc::new(AtomicBool::new(false));
        let address = listener.local_address();
        poller.register_readable(&mut listener, LISTENER_TOKEN)?;
        let mut room = Room {
            poller,
            clock,
            listener,
            is_accepting: true,
            accept_again_at_ms: None,
            callers: Entrants::new(CALLERS_MAX),
            house,
            ended: Arc::clone(&ended),
        };
        std::thread::Builder::new().name("porch".to_owned()).spawn(move || room.run())?;
        Ok(Self { waker, ended, address })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Porch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = self.waker.wake();
    }
}

struct Knocking {
    socket: Socket,
    steps: HostSteps,
}

struct Room {
    poller: Poller,
    clock: Clock,
    listener: Listener,
    is_accepting: bool,
    accept_again_at_ms: Option<u64>,
    callers: Entrants<Knocking>,
    house: House,
    ended: Arc<AtomicBool>,
}

impl Room {
    fn run(&mut self) {
        while !self.ended.load(Ordering::Acquire) {
            if let Err(error) = self.poller.poll(self.timeout()) {
                tracing::error!(target: "cluster", "no other node can connect any more: {error}");
                return;
            }
            let ready: Vec<Readiness> = self.poller.ready().collect();
            for Readiness { token, .. } in ready {
                match token {
                    WAKE_TOKEN => {}
                    LISTENER_TOKEN => self.is_accepting = true,
                    place => self.go_on(place),
                }
            }
            let now_ms = self.clock.now_ms();
            while let Some(place) = self.callers.overdue(now_ms) {
                self.turn_away(place, "it takes too long");
            }
            self.accept(now_ms);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.is_accepting && self.accept_again_at_ms.is_none() {
            return Some(Duration::ZERO);
        }
        let at_ms = [self.callers.next_deadline_ms(), self.accept_again_at_ms].into_iter().flatten().min()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.clock.now_ms())))
    }

    fn accept(&mut self, now_ms: u64) {
        if self.accept_again_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            return;
        }
        self.accept_again_at_ms = None;
        for _ in 0..ACCEPTS_AT_ONCE {
            if !self.is_accepting {
                return;
            }
            match self.listener.accept() {
                Accepted::Client(socket) => self.let_in(socket, now_ms),
                Accepted::WouldBlock => self.is_accepting = false,
                Accepted::OutOfDescriptors => {
                    tracing::warn!(target: "cluster", "no descriptors left for other nodes: trying again in {ACCEPT_PAUSE_MS} ms");
                    self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                    return;
                }
                Accepted::Failed(error) => {
                    tracing::error!(target: "cluster", "accepting other nodes failed: {error}");
                    self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                    return;
                }
            }
        }
    }

    fn let_in(&mut self, mut socket: Socket, now_ms: u64) {
        let nonce = match (self.house.chance)() {
            Ok(nonce) => nonce,
            Err(error) => {
                tracing::error!(target: "cluster", "{error}");
                return;
            }
        };
        let origin = origin_of(socket.peer_address().ip());
        if let Some(place) = self.callers.in_the_way_of(origin) {
            self.turn_away(place, "too many others knock");
        }
        let place = self.callers.next_place();
        if let Err(error) = self.poller.register(&mut socket, place) {
            tracing::error!(target: "cluster", "{}: can't be polled: {error}", socket.peer_address());
            return;
        }
        self.callers.insert(Knocking { socket, steps: HostSteps::new(nonce) }, origin, now_ms + HANDSHAKE_MS);
    }

    fn go_on(&mut self, place: usize) {
        let mut buffer = [0; AT_ONCE_BYTES];
        loop {
            let Some(Knocking { socket, steps }) = self.callers.get_mut(place) else { return };
            let wanted = steps.wanted().min(AT_ONCE_BYTES);
            let count = match socket.receive(&mut buffer[..wanted]) {
                Received::Bytes { count, .. } => count,
                Received::WouldBlock => return,
                Received::Closed => return self.turn_away(place, "it went"),
                Received::Failed(error) => return self.turn_away(place, &error.to_string()),
            };
            match steps.take(&self.house.secret, &buffer[..count]) {
                Step::Waits => {}
                Step::Send(nonce) => {
                    if !is_sent(socket, &nonce) {
                        return self.turn_away(place, "it takes nothing");
                    }
                }
                Step::Stranger(why) => return self.turn_away(place, why),
                Step::Came(preface) => return self.judge(place, preface),
            }
        }
    }

    fn judge(&mut self, place: usize, preface: Preface) {
        let Knocking { mut socket, steps } = self.callers.remove(place);
        let from = socket.peer_address();
        if let Err(error) = self.poller.deregister(&mut socket) {
            tracing::error!(target: "cluster", "{from}: can't be polled any more: {error}");
            return;
        }
        let answer = self.answer_to(&preface);
        let is_told = is_sent(&mut socket, &steps.answer(&self.house.secret, answer));
        let Preface { cluster, from: node, to, purpose } = preface;
        match (purpose, answer) {
            (_, Answer::OtherCluster | Answer::UnknownNode) => {
                tracing::warn!(target: "cluster", "{from}: refused: it is node {node:?} of cluster {cluster:?} and looks for node {to:?}");
            }
            (_, Answer::NotLeading) => {}
            _ if !is_told => tracing::warn!(target: "cluster", "{from}: it takes nothing"),
            (Purpose::Peer(lane), Answer::Welcome) => match socket.into_blocking() {
                Ok(Some(stream)) => (self.house.peer)(&node, lane, stream),
                Ok(None) => {}
                Err(error) => tracing::error!(target: "cluster", "{from}: {error}"),
            },
            (Purpose::Client { kind, peer, local }, Answer::Welcome) => {
                (self.house.client)(Passed { kind, socket: socket.of_client(peer, local) });
            }
        }
    }

    fn answer_to(&self, preface: &Preface) -> Answer {
        let House { cluster, node, is_other, leads, .. } = &self.house;
        if preface.cluster != *cluster {
            return Answer::OtherCluster;
        }
        if preface.to != *node || !is_other(&preface.from) {
            return Answer::UnknownNode;
        }
        match preface.purpose {
            Purpose::Client { .. } if !leads.load(Ordering::Acquire) => Answer::NotLeading,
            _ => Answer::Welcome,
        }
    }

    fn turn_away(&mut self, place: usize, why: &str) {
        let Knocking { socket, .. } = self.callers.remove(place);
        tracing::warn!(target: "cluster", "{}: turned away from the cluster's port: {why}", socket.peer_address());
    }
}

/// What is said fits into the buffer of a stream on which nothing was said.
fn is_sent(socket: &mut Socket, bytes: &[u8]) -> bool {
    matches!(socket.send(bytes), Sent::Bytes { full: false, .. })
}
