//! All peers: who connects to whom, again and again, and what is sent to which.

use super::call::Caller;
use super::link::{Around, Event, Peer, Reader};
use super::porch::{House, Passed, Porch};
use super::preface::Purpose;
use super::queue::{Lane, Outgoing};
use crate::reactor::{Clock, Listener};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How soon a peer is called again whose connection ended, in milliseconds. It is doubled with each call that fails.
const FIRST_WAIT_MS: u64 = 20;
/// The most there is between calls of one that was lost lately, in milliseconds: whoever starts again is found soon, as
/// nodes that have not found each other can't elect when a third one is lost.
const WAIT_MOST_MS: u64 = 100;
/// So many calls in a row to a machine where nobody listens are ten seconds, and its node is away for longer than it takes
/// to start again. What answers nothing at all sets its own pace.
const CALLS_OF_START: u32 = 100;
/// Between calls from then on, in milliseconds.
const LONG_WAIT_MS: u64 = 500;
/// A call that fails for the same reason as the one before is told once in so many.
const TOLD_ONCE_IN: u32 = 120;

pub struct Settings {
    pub caller: Caller,
    /// The other nodes, with the host and port at which they listen.
    pub others: BTreeMap<String, String>,
    /// Whether clients of others are wanted here.
    pub leads: Arc<AtomicBool>,
    /// What happens to peers.
    pub tell: Box<dyn Fn(Event) + Send + Sync>,
    /// Called after a message was told, by who read it and with no lock held, before the next one is read.
    pub after_message: Box<dyn Fn() + Send + Sync>,
    /// Makes what reads parts of messages that lie on the disk.
    pub reader: Box<dyn Fn() -> Reader + Send + Sync>,
    /// Takes clients of others.
    pub client: Box<dyn Fn(Passed) + Send>,
}

/// Connections to all peers. They end when this is dropped.
pub struct Transport {
    peers: BTreeMap<String, Arc<Peer>>,
    around: Arc<Around>,
    porch: Porch,
    /// Ends those who call, when it is dropped.
    callers: Mutex<Vec<Sender<()>>>,
}

impl Transport {
    /// Listens for peers and connects to them.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub fn start(listener: Listener, settings: Settings, clock: Clock) -> io::Result<Self> {
        let Settings { caller, others, leads, tell, after_message, reader, client } = settings;
        let around = Arc::new(Around { tell, after_message, reader });
        let peers: BTreeMap<String, Arc<Peer>> =
            others.keys().map(|name| (name.clone(), Arc::new(Peer::new(name)))).collect();
        let (known, known_too, around_porch) = (peers.clone(), peers.clone(), Arc::clone(&around));
        let house = House {
            secret: caller.secret.clone(),
            chance: caller.chance,
            cluster: caller.cluster.clone(),
            node: caller.node.clone(),
            is_other: Box::new(move |name| known.contains_key(name)),
            leads,
            peer: Box::new(move |name, lane, stream| {
                let (peer, around) = (Arc::clone(&known_too[name]), Arc::clone(&around_porch));
                let thread = std::thread::Builder::new().name(format!("of {name} {}", lane.name()));
                let spoken = thread.spawn(move || {
                    if let Err(error) = peer.speak(lane, stream, &around) {
                        tracing::debug!(target: "cluster", "{}: {error}", peer.name);
                    }
                });
                if let Err(error) = spoken {
                    tracing::error!(target: "cluster", "{name}: {error}");
                }
            }),
            client,
        };
        let porch = Porch::open(listener, house, clock)?;
        let mut callers = Vec::new();
        for (name, address) in others.into_iter().filter(|(name, _)| caller.node < *name) {
            for lane in Lane::ALL {
                let (end, ended) = channel();
                callers.push(end);
                let calling =
                    Calling { caller: caller.clone(), peer: Arc::clone(&peers[&name]), address: address.clone(), lane };
                let around = Arc::clone(&around);
                let thread = std::thread::Builder::new().name(format!("of {name} {}", lane.name()));
                thread.spawn(move || calling.run(&ended, &around))?;
            }
        }
        Ok(Self { peers, around, porch, callers: Mutex::new(callers) })
    }

    /// Where peers connect.
    pub fn local_address(&self) -> SocketAddr {
        self.porch.local_address()
    }

    /// Sends messages, unless the peer isn't there or takes too little: then the last ones are dropped, and this is false.
    pub fn send(&self, node: &str, lane: Lane, messages: Vec<Outgoing>) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.send(lane, messages))
    }

    pub fn is_up(&self, node: &str) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.is_up())
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.callers.lock().expect("nobody panics with it").clear();
        self.peers.values().for_each(|peer| peer.close(&self.around));
    }
}

/// One connection to a peer that this node makes.
struct Calling {
    caller: Caller,
    peer: Arc<Peer>,
    address: String,
    lane: Lane,
}

impl Calling {
    fn run(&self, ended: &Receiver<()>, around: &Arc<Around>) {
        let mut failures = 0;
        let mut told = String::new();
        loop {
            match self.caller.call(&self.peer.name, &self.address, Purpose::Peer(self.lane)) {
                Ok(stream) => {
                    failures = 0;
                    if let Err(error) = self.peer.speak(self.lane, stream, around) {
                        tracing::debug!(target: "cluster", "{}: {error}", self.peer.name);
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if self.lane == Lane::Control && (failures % TOLD_ONCE_IN == 0 || why != told) {
                        tracing::info!(target: "cluster", "node {} at {} can't be reached: {why}", self.peer.name, self.address);
                        told = why;
                    }
                    failures += 1;
                }
            }
            // Nobody sends anything there: what comes is the end.
            match ended.recv_timeout(Duration::from_millis(wait_ms(failures))) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// How long to wait after so many calls that failed, in milliseconds.
fn wait_ms(failures: u32) -> u64 {
    if failures < CALLS_OF_START {
        // Beyond these shifts it is the most in any case.
        (FIRST_WAIT_MS << failures.min(8)).min(WAIT_MOST_MS)
    } else {
        LONG_WAIT_MS
    }
}

#[cfg(test)]
mod tests;
