//! Clients that are passed to the node that leads: a connection there for each of them, and bytes both ways.
//!
//! ```text
//!   a client ══ its connection ══ this node ══ the leader's cluster port, with the client's addresses ══ the leader
//! ```
//! It has no thread: whoever has the poll tells it who is ready. What one side doesn't take yet keeps the other from being
//! read, so a passage holds little, and one that has much to say waits for its next turn. What passes is unknown here.
//!
//! Who leads decides how long a client may be silent. When its side has ended, the passage ends soon after, whatever the client
//! does.

use super::call::{CALL_MS, Caller};
use super::handshake::{ANSWER_BYTES, CallerSteps, NONCE_BYTES};
use super::preface::{Answer, ClientKind, Purpose};
use crate::reactor::{Poller, Readiness, Received, Sent, Socket, origin_of};
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What goes over one side at once, in bytes.
const AT_ONCE_BYTES: usize = 64 << 10;
/// How often that in one turn.
const ROUNDS_PER_TURN: usize = 8;
/// How long a client has to hang up that was told all that who leads said, in milliseconds.
const HANG_UP_MS: u64 = 2_000;
/// How long it has to take what who leads said last, in milliseconds.
const LAST_WORDS_MS: u64 = 30_000;
/// How long who led has to end its clients itself when another leads, in milliseconds: it tells them why, if it is there.
const FAREWELL_MS: u64 = 1_000;
/// One in so many passages is not for an origin that has all the others already.
const KEPT_FOR_OTHERS: usize = 4;

/// Where clients go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    pub node: String,
    pub address: SocketAddr,
}

/// All passages of a node.
pub struct Passages {
    caller: Caller,
    leader: Option<Leader>,
    most: usize,
    passages: Slab<Passage>,
    /// How many each origin has, of those that have any.
    of_origins: HashMap<IpAddr, usize>,
    /// Those who have more to say than a turn does.
    again: VecDeque<(usize, u64)>,
    /// Those who have to be through, or over, by then.
    deadlines: BTreeSet<(u64, usize, u64)>,
    buffer: Vec<u8>,
    next_serial: u64,
}

struct Passage {
    serial: u64,
    client: Socket,
    leader: Socket,
    origin: IpAddr,
    stage: Stage,
    /// To the leader, and to the client.
    ways: [Way; 2],
    is_listed: bool,
    /// The side of who leads has ended, or will once all that it said is taken.
    leader_ended: bool,
    /// Another node leads.
    is_over: bool,
    /// When its time is up, if that is limited.
    until_ms: Option<u64>,
}

enum Stage {
    Connecting(CallerSteps),
    /// The host's nonce is awaited, with what came of it.
    Called(CallerSteps, Vec<u8>),
    /// And its answer.
    Proved(CallerSteps, [u8; NONCE_BYTES], Vec<u8>),
    Open,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was received and not taken yet.
    pending: Vec<u8>,
    /// The side that speaks has ended, and that was passed on.
    ended: bool,
    passed_on: bool,
}

/// A passage is over, and why: its client is closed.
struct Over(&'static str);

impl Passages {
    /// So many at a time.
    pub fn new(caller: Caller, most: usize) -> Self {
        Self {
            caller,
            leader: None,
            most,
            passages: Slab::new(),
            of_origins: HashMap::new(),
            again: VecDeque::new(),
            deadlines: BTreeSet::new(),
            buffer: vec![0; AT_ONCE_BYTES],
            next_serial: 0,
        }
    }

    pub fn count(&self) -> usize {
        self.passages.len()
    }

    pub fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    /// Clients go there from now on. Those who are with another are closed soon, if that doesn't do it before: they connect
    /// again.
    pub fn lead_to(&mut self, leader: Option<Leader>, now_ms: u64) {
        if self.leader == leader {
            return;
        }
        self.leader = leader;
        let places: Vec<usize> = self.passages.iter().map(|(place, _)| place).collect();
        for place in places {
            self.passages[place].is_over = true;
            match self.passages[place].is_open() {
                true => self.limit(place, now_ms),
                false => self.end(place, "another node leads"),
            }
        }
    }

    /// Passes a client on. It is closed when nobody leads, or too many are on their way.
    pub fn pass(&mut self, client: Socket, kind: ClientKind, poller: &Poller, now_ms: u64) {
        let Some(leader) = &self.leader else { return };
        let from = client.peer_address();
        if self.passages.len() >= self.most {
            tracing::warn!(target: "connection", "{from}: turned away: {} clients are passed on", self.most);
            return;
        }
        let origin = origin_of(from.ip());
        let of_origin = self.of_origins.get(&origin).copied().unwrap_or_default();
        if of_origin >= self.most - self.most / KEPT_FOR_OTHERS {
            tracing::warn!(target: "connection", "{from}: turned away: {of_origin} clients from there are passed on");
            return;
        }
        let purpose = Purpose::Client { kind, peer: from, local: client.local_address() };
        let opened = Socket::connect(leader.address).and_then(|socket| Ok((socket, (self.caller.chance)()?)));
        let (socket, nonce) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(target: "connection", "{from}: can't be passed to node {}: {error}", leader.node);
                return;
            }
        };
        let steps = CallerSteps::new(nonce, &self.caller.preface(&leader.node, purpose));
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = self.passages.vacant_entry();
        let place = entry.key();
        let passage = entry.insert(Passage {
            serial,
            client,
            leader: socket,
            origin,
            stage: Stage::Connecting(steps),
            ways: Default::default(),
            is_listed: false,
            leader_ended: false,
            is_over: false,
            until_ms: Some(now_ms + CALL_MS),
        });
        let registered = poller
            .register(&mut passage.client, 2 * place)
            .and_then(|()| poller.register(&mut passage.leader, 2 * place + 1));
        if let Err(error) = registered {
            tracing::error!(target: "connection", "{from}: can't be polled: {error}");
            self.passages.remove(place);
            return;
        }
        self.of_origins.insert(origin, of_origin + 1);
        self.deadlines.insert((now_ms + CALL_MS, place, serial));
    }

    /// Somebody is ready.
    pub fn go_on(&mut self, readiness: Readiness, now_ms: u64) {
        let place = readiness.token / 2;
        let is_leaders = readiness.token % 2 == 1;
        if let Some(passage) = self.passages.get_mut(place).filter(|_| is_leaders && readiness.closed) {
            passage.leader_ended = true;
        }
        self.turn(place, now_ms);
    }

    /// Those who had more to say than their last turn did, and those whose time is up.
    pub fn go_on_with_more(&mut self, now_ms: u64) {
        for _ in 0..self.again.len() {
            if let Some((place, serial)) = self.again.pop_front()
                && let Some(passage) = self.passages.get_mut(place).filter(|passage| passage.serial == serial)
            {
                passage.is_listed = false;
                self.turn(place, now_ms);
            }
        }
        while let Some(&(_, place, _)) = self.deadlines.first().filter(|(at_ms, ..)| *at_ms <= now_ms) {
            self.end(place, "who leads doesn't answer");
        }
    }

    /// When [`go_on_with_more`](Self::go_on_with_more) has something to do although nothing happens.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        if !self.again.is_empty() {
            return Some(now_ms);
        }
        self.deadlines.first().map(|(at_ms, ..)| *at_ms)
    }

    fn turn(&mut self, place: usize, now_ms: u64) {
        let Some(passage) = self.passages.get_mut(place) else { return };
        match passage.turn(&self.caller, &mut self.buffer) {
            Ok(more) => {
                if more && !passage.is_listed {
                    passage.is_listed = true;
                    self.again.push_back((place, passage.serial));
                }
                self.limit(place, now_ms);
            }
            Err(Over(why)) => self.end(place, why),
        }
    }

    /// Keeps the list of those whose time is limited as it is.
    fn limit(&mut self, place: usize, now_ms: u64) {
        let passage = &mut self.passages[place];
        let until_ms = passage.limit(now_ms);
        let (before, serial) = (std::mem::replace(&mut passage.until_ms, until_ms), passage.serial);
        if before != until_ms {
            before.into_iter().for_each(|at_ms| _ = self.deadlines.remove(&(at_ms, place, serial)));
            until_ms.into_iter().for_each(|at_ms| _ = self.deadlines.insert((at_ms, place, serial)));
        }
    }

    fn end(&mut self, place: usize, why: &str) {
        let passage = self.passages.remove(place);
        passage.until_ms.into_iter().for_each(|at_ms| _ = self.deadlines.remove(&(at_ms, place, passage.serial)));
        if let Some(of_origin) = self.of_origins.get_mut(&passage.origin) {
            *of_origin -= 1;
            if *of_origin == 0 {
                self.of_origins.remove(&passage.origin);
            }
        }
        if !passage.is_open() {
            tracing::warn!(target: "connection", "{}: not passed on: {why}", passage.client.peer_address());
        }
    }
}

impl Passage {
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// When its time is up, as things are now.
    fn limit(&self, now_ms: u64) -> Option<u64> {
        if !self.is_open() {
            return self.until_ms;
        }
        let to_client = &self.ways[1];
        let given_ms = match to_client.passed_on {
            true => HANG_UP_MS,
            false if self.is_over => FAREWELL_MS,
            false if self.leader_ended || to_client.ended => LAST_WORDS_MS,
            false => return None,
        };
        // Nothing that happens meanwhile makes it longer.
        let until_ms = now_ms + given_ms;
        Some(self.until_ms.map_or(until_ms, |before_ms| before_ms.min(until_ms)))
    }

    /// Does what can be done without waiting. True when there is more.
    fn turn(&mut self, caller: &Caller, buffer: &mut [u8]) -> Result<bool, Over> {
        if !self.is_open() && !self.shake_hands(caller)? {
            return Ok(false);
        }
        let Self { client, leader, ways: [to_leader, to_client], .. } = self;
        // Both, whatever the first has to do.
        let more = [to_leader.carry(client, leader, buffer)?, to_client.carry(leader, client, buffer)?];
        match to_leader.passed_on && to_client.passed_on {
            true => Err(Over("both have ended")),
            false => Ok(more.contains(&true)),
        }
    }

    /// True when the way is open.
    fn shake_hands(&mut self, caller: &Caller) -> Result<bool, Over> {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Open) {
                Stage::Connecting(steps) => {
                    match self.leader.take_error() {
                        Ok(()) => {}
                        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => {
                            self.stage = Stage::Connecting(steps);
                            return Ok(false);
                        }
                        Err(_) => return self.fail(steps, "who leads can't be reached"),
                    }
                    if !is_sent(&mut self.leader, &steps.call()) {
                        return self.fail(steps, "who leads takes nothing");
                    }
                    Stage::Called(steps, Vec::new())
                }
                Stage::Called(steps, mut said) => {
                    if !fill::<NONCE_BYTES>(&mut self.leader, &mut said)? {
                        self.stage = Stage::Called(steps, said);
                        return Ok(false);
                    }
                    let nonce = *said.first_chunk().expect("it is filled");
                    if !is_sent(&mut self.leader, &steps.prove(&caller.secret, &nonce)) {
                        return self.fail(steps, "who leads takes nothing");
                    }
                    Stage::Proved(steps, nonce, Vec::new())
                }
                Stage::Proved(steps, nonce, mut said) => {
                    if !fill::<ANSWER_BYTES>(&mut self.leader, &mut said)? {
                        self.stage = Stage::Proved(steps, nonce, said);
                        return Ok(false);
                    }
                    let answer = said.first_chunk().expect("it is filled");
                    match steps.answered(&caller.secret, &nonce, answer) {
                        Some(Answer::Welcome) => return Ok(true),
                        Some(_) => return self.fail(steps, "it doesn't lead"),
                        None => return self.fail(steps, "who is there doesn't know the cluster's secret"),
                    }
                }
                Stage::Open => return Ok(true),
            }
        }
    }

    fn fail(&mut self, steps: CallerSteps, why: &'static str) -> Result<bool, Over> {
        // Not open: what is said of it then is why.
        self.stage = Stage::Connecting(steps);
        Err(Over(why))
    }
}

impl Way {
    /// Carries what there is, as far as `to` takes it. True when there is more.
    fn carry(&mut self, from: &mut Socket, to: &mut Socket, buffer: &mut [u8]) -> Result<bool, Over> {
        const GONE: Over = Over("one of them is gone");
        for _ in 0..ROUNDS_PER_TURN {
            if !self.pending.is_empty() {
                let taken = taken(to.send(&self.pending)).ok_or(GONE)?;
                self.pending.drain(..taken);
                if !self.pending.is_empty() {
                    return Ok(false);
                }
                self.pending = Vec::new();
            }
            if self.ended {
                if !self.passed_on {
                    to.shutdown_send().map_err(|_| GONE)?;
                    self.passed_on = true;
                }
                return Ok(false);
            }
            match from.receive(buffer) {
                Received::Bytes { count, .. } => {
                    let taken = taken(to.send(&buffer[..count])).ok_or(GONE)?;
                    self.pending.extend_from_slice(&buffer[taken..count]);
                }
                Received::WouldBlock => return Ok(false),
                Received::Closed => self.ended = true,
                Received::Failed(_) => return Err(GONE),
            }
        }
        Ok(true)
    }
}

/// `None`: it takes nothing any more.
fn taken(sent: Sent) -> Option<usize> {
    match sent {
        Sent::Bytes { count, .. } => Some(count),
        Sent::WouldBlock => Some(0),
        Sent::Closed | Sent::Failed(_) => None,
    }
}

/// What is said fits into the buffer of a stream on which next to nothing was said.
fn is_sent(socket: &mut Socket, bytes: &[u8]) -> bool {
    matches!(socket.send(bytes), Sent::Bytes { full: false, .. })
}

/// Receives until so much is there, and no more. True when it is.
fn fill<const BYTES: usize>(socket: &mut Socket, said: &mut Vec<u8>) -> Result<bool, Over> {
    while said.len() < BYTES {
        let mut buffer = [0; BYTES];
        match socket.receive(&mut buffer[said.len()..]) {
            Received::Bytes { count, .. } => {
                let at = said.len();
                said.extend_from_slice(&buffer[at..at + count]);
            }
            Received::WouldBlock => return Ok(false),
            Received::Closed | Received::Failed(_) => return Err(Over("it went")),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
