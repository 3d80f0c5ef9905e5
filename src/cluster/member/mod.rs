//! The state machine that a node of a cluster is: bytes of peers, words of the writer, time and batches come in, and what
//! is to be sent, written, told and decided comes out.
//!
//! ```text
//!   Forming ──founded──► Following ──elected, and the term's own entry applied──► Leading
//!                            ▲                                                     │
//!                            └────────── another term, or no quorum ◄──────────────┘
//! ```
//!
//! | file | owns |
//! |---|---|
//! | [`consensus`], `translation` | the seam to the crate that agrees |
//! | [`ledger`] | the log as that crate reads it |
//! | `writing` | what goes to the writer, one request at a time |
//! | `leading` | what the leader's loop is told |
//! | `sending`, `receiving`, `snapshots` | snapshots, for those who are too far behind |
//! | `greeting`, `conditions` | getting to know each other, and how each of them is |
//! | `handing_over` | giving the lead away, and stopping |
//! | `damage` | what becomes of what the disk does not give back |
//! | `peers`, `forming`, `joining` | who is there, how a cluster begins, who comes into it |
//!
//! The rule of the house holds: after each call all that came of it stands in [`Member::take_output`], in order. It never
//! waits, never sends, never reads or writes a file, and asks no clock.

mod conditions;
pub mod consensus;
mod damage;
mod forming;
mod greeting;
mod handing_over;
#[cfg(test)]
mod hostile_tests;
mod joining;
mod leading;
pub mod ledger;
mod peers;
mod receiving;
mod sending;
mod snapshots;
#[cfg(test)]
mod tests;
mod translation;
mod writing;

use super::membership::Configuration;
use super::message::{Condition, Message, Missed, Offer, Part, Point, RaftMessage, Says};
use super::snapshot::IncomingStep;
use crate::storage::entry::{EntryBody, Place, Vote};
use crate::storage::{ClusterId, MemberId, SealedBatch};
use consensus::{Consensus, Step};
use handing_over::{Order, Stop};
use leading::Leading;
use ledger::Known;
use peers::Peers;
use receiving::Receiving;
use sending::Sending;
use std::collections::VecDeque;
use writing::{Persisted, Writing};

pub use super::message::Lane;
pub use leading::Told;
pub use peers::NodeNumber;
pub use sending::Pinned;
pub use writing::Append;

/// Time from one tick to the next.
pub const TICK_MS: u64 = 50;
/// Bodies that wait for the disk, in bytes, beyond which a follower takes no more.
const UNWRITTEN_MAX_BYTES: usize = 64 << 20;
/// Who this node is it says again so often, as a message may have been lost.
const HELLO_MS: u64 = 1_000;

/// What a node is told of itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All nodes' names, sorted.
    pub nodes: Vec<String>,
    pub me: NodeNumber,
    /// Its data folder.
    pub member: MemberId,
    /// The cluster's id, if this node founds it.
    pub new_cluster: ClusterId,
    /// Decides when it campaigns: each node's is another.
    pub chance: u64,
    /// Its data folder was that of another member, which lost its log.
    pub rejoins: bool,
}

/// What the node is to its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It belongs to no cluster yet.
    Forming,
    /// Somebody else leads, or nobody.
    Follow { leader: Option<NodeNumber> },
    /// Everything up to this entry is applied: begin, with what the state says there, and propose in this term.
    Lead { term: u64, index: u64 },
}

/// What is to be done, by whoever drives the member.
#[derive(Debug)]
pub enum Output {
    /// One message, in parts.
    Send {
        to: NodeNumber,
        lane: Lane,
        parts: Vec<Part>,
    },
    /// For the writer; [`Member::persisted`] answers.
    Append(Append),
    /// For the writer: the state moves up to here.
    Commit(u64),
    /// For the writer: keep a checkpoint with at least this entry, and its files; [`Member::pinned`] answers.
    Pin {
        index: u64,
    },
    /// For the writer: nobody needs those files any more.
    Unpin(u64),
    /// A snapshot arrives; [`Member::incoming_performed`] answers each, in order.
    Incoming(IncomingStep),
    /// For the writer: files that have arrived become the log; [`Member::installed`] answers. If they cannot, the node has
    /// to start again.
    Install {
        last: Point,
        checkpoint: String,
        files: Vec<(String, u64)>,
    },
    /// For the leader's loop.
    Told(Told),
    Role(Role),
    /// Write down that the cluster begins; [`Member::founded`] answers.
    Found(Configuration),
    /// Who leads knows that this member said it had up to this entry, which it does not have: it forgot something, and must
    /// come back as another one.
    Forgot {
        said: u64,
    },
    /// Nothing more will come: the node may stop.
    Stopped,
}

pub struct Member {
    settings: Settings,
    peers: Peers,
    now_ms: u64,
    /// When the next tick is due.
    tick_at_ms: u64,
    hello_at_ms: u64,
    state: State,
    role: Role,
    stop: Option<Stop>,
    order: Option<Order>,
    /// What the others are told of this node.
    condition: Condition,
    output: VecDeque<Output>,
}

enum State {
    /// Without a log; `is_told` when the cluster's beginning is being written down.
    Forming {
        is_told: bool,
    },
    Founded(Box<Founded>),
}

/// A member with a log.
struct Founded {
    consensus: Consensus,
    writing: Writing,
    leading: Option<Leading>,
    sending: Sending,
    receiving: Receiving,
    /// A snapshot that is whole and offered to consensus, or being installed.
    whole: Option<Offer>,
    /// To be said when it is installed.
    then: Vec<RaftMessage>,
    /// Its disk did not give back what it was given.
    is_damaged: bool,
}

impl Founded {
    fn new(consensus: Consensus) -> Self {
        Self {
            consensus,
            writing: Writing::default(),
            leading: None,
            sending: Sending::default(),
            receiving: Receiving::default(),
            whole: None,
            then: Vec::new(),
            is_damaged: false,
        }
    }
}

impl Member {
    /// A node that starts; with what it knows of its log, unless it belongs to no cluster yet.
    pub fn start(settings: Settings, known: Option<Known>, now_ms: u64) -> Self {
        let peers = Peers::new(settings.me, settings.nodes.clone());
        let mut member = Self {
            settings,
            peers,
            now_ms,
            tick_at_ms: now_ms + TICK_MS,
            hello_at_ms: now_ms + HELLO_MS,
            state: State::Forming { is_told: false },
            role: Role::Forming,
            stop: None,
            order: None,
            condition: Condition::default(),
            output: VecDeque::new(),
        };
        if let Some(known) = known {
            member.begin(known);
        }
        member
    }

    fn begin(&mut self, known: Known) {
        let consensus = Consensus::start(known, self.settings.chance);
        self.state = State::Founded(Box::new(Founded::new(consensus)));
        self.campaign_if_allowed();
        self.settle();
    }

    /// The next thing to do.
    pub fn take_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// The member that another node is now, as it says while it is connected.
    pub fn member_of(&self, node: NodeNumber) -> Option<MemberId> {
        self.peers.hello(node).map(|hello| hello.member)
    }

    /// What it agrees by, for those who look at it.
    pub fn consensus(&self) -> Option<&Consensus> {
        match &self.state {
            State::Forming { .. } => None,
            State::Founded(founded) => Some(&founded.consensus),
        }
    }

    /// Bytes that a leader proposed and most do not have yet, for those who look at it.
    pub fn uncommitted_bytes(&self) -> Option<usize> {
        match &self.state {
            State::Founded(founded) => founded.leading.as_ref().map(Leading::uncommitted_bytes),
            State::Forming { .. } => None,
        }
    }

    fn founded_mut(&mut self) -> Option<&mut Founded> {
        match &mut self.state {
            State::Forming { .. } => None,
            State::Founded(founded) => Some(founded),
        }
    }

    /// Time has passed. After a pause it goes on as if there had been none: nothing is due twice.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.now_ms >= self.tick_at_ms {
            self.tick_at_ms = self.now_ms + TICK_MS;
            if let Some(founded) = self.founded_mut() {
                founded.consensus.tick();
            }
            self.hand_over_if_ordered();
            self.hand_over_if_stalled();
            if self.now_ms >= self.hello_at_ms {
                self.hello_at_ms = self.now_ms + HELLO_MS;
                self.say_hello();
                self.say_condition();
                self.hand_over_if_damaged();
            }
        }
        self.settle();
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_tick_ms(&self) -> u64 {
        self.tick_at_ms
    }

    /// A peer can be talked to, on both connections.
    pub fn connected(&mut self, node: NodeNumber) {
        let Some(peer) = self.peers.peer_mut(node) else { return };
        peer.disconnected();
        peer.is_connected = true;
        let hello = self.hello();
        self.send(node, Lane::Control, vec![Part::Bytes(hello.encode())]);
        self.send(node, Lane::Control, vec![Part::Bytes(Message::Condition(self.condition).encode())]);
        self.settle();
    }

    pub fn disconnected(&mut self, node: NodeNumber) {
        let member = self.peers.hello(node).map(|hello| hello.member);
        let Some(peer) = self.peers.peer_mut(node) else { return };
        peer.disconnected();
        self.lost_messages(member);
        if let (Some(founded), Some(member)) = (self.founded_mut(), member) {
            founded.consensus.lost_connection(member);
        }
        self.settle();
    }

    fn send(&mut self, to: NodeNumber, lane: Lane, parts: Vec<Part>) {
        if self.peers.is_connected(to) {
            self.output.push_back(Output::Send { to, lane, parts });
        }
    }

    /// A peer said something. What nobody could have said is passed over.
    pub fn received(&mut self, from: NodeNumber, bytes: Vec<u8>) {
        let Some(message) = Message::decode(bytes) else {
            tracing::warn!(target: "cluster", "node {} sent what is no message", self.peers.name(from));
            return;
        };
        match message {
            Message::Hello(hello) => self.greeted(from, hello),
            Message::Founding(configuration) => self.told_of_founding(from, &configuration),
            Message::Condition(condition) => self.told_condition(from, condition),
            Message::Raft(message, body) => self.receive_raft(from, &message, body),
            Message::Offer(offer) => self.offered(from, offer),
            Message::Wanted(wanted) => self.wanted(from, wanted),
            Message::Chunk(chunk) => self.take_chunk(from, chunk),
            Message::Missed(missed) => self.missed(from, missed),
        }
        self.settle();
    }

    fn receive_raft(&mut self, from: NodeNumber, message: &RaftMessage, body: Option<EntryBody>) {
        let Some(hello) = self.peers.hello(from).filter(|hello| hello.member == message.from) else { return };
        let theirs = hello.cluster;
        let State::Founded(founded) = &mut self.state else { return };
        if theirs != Some(founded.consensus.configuration().cluster) {
            return;
        }
        if let Some(said) = founded.consensus.is_missed(message) {
            let missed = Message::Missed(Missed { member: message.from, term: message.term, said });
            let name = self.peers.name(from);
            tracing::error!(target: "cluster", "node {name} said that it had entry {said}, and does not: it forgot it");
            self.send(from, Lane::Control, vec![Part::Bytes(missed.encode())]);
            return;
        }
        // The disk is behind; what is dropped here is sent again.
        let is_append = matches!(message.says, Says::Append { entry: Some(_), .. });
        if is_append && founded.writing.unwritten_bytes() > UNWRITTEN_MAX_BYTES {
            return;
        }
        if !founded.consensus.receive(message, body) {
            let name = self.peers.name(from);
            tracing::error!(target: "cluster", "node {name} says what cannot be, and is not heard: {message:?}");
            return;
        }
        if let (Some(reach), Some(peer)) = (founded.consensus.reach(message.from), self.peers.peer_mut(from)) {
            peer.has(reach.matched);
        }
    }

    /// Who leads misses something that this member said it had.
    fn missed(&mut self, from: NodeNumber, missed: Missed) {
        let leader = self.peers.hello(from).map(|hello| hello.member);
        let State::Founded(founded) = &self.state else { return };
        let consensus = &founded.consensus;
        let is_of_leader = leader.is_some() && leader == consensus.leader() && missed.term == consensus.term();
        if is_of_leader && missed.member == self.settings.member && consensus.ledger().last().index < missed.said {
            self.output.push_back(Output::Forgot { said: missed.said });
        }
    }

    /// The writer wrote and synced a request.
    pub fn persisted(&mut self, number: u64, places: &[(u64, Place)]) {
        if let Some(founded) = self.founded_mut()
            && let Some(persisted) = founded.writing.persisted(number, places)
        {
            self.take_persisted(persisted);
        }
        self.settle();
    }

    /// Entries below this index are gone from the disk.
    pub fn forgotten(&mut self, below: u64) {
        if let Some(founded) = self.founded_mut() {
            founded.consensus.forget_below(below);
        }
    }

    fn take_persisted(&mut self, persisted: Persisted) {
        let Persisted { number, entries, then } = persisted;
        if let Some(founded) = self.founded_mut() {
            founded.consensus.persisted_up_to(number, entries);
        }
        for message in then {
            self.send_raft(message, None);
        }
    }

    /// The leader's loop hands over a batch. One of another term is of a loop that has yet to learn that it leads no more.
    pub fn propose(&mut self, term: u64, batch: SealedBatch) {
        if let Some(Founded { consensus, leading: Some(leading), .. }) = self.founded_mut()
            && leading.is_announced
            && leading.term == term
        {
            leading.propose(batch, consensus);
        }
        self.settle();
    }

    /// Whose node is gone for good is a member no more, as soon as the members can be changed. `false` when this node does
    /// not lead, or the other one is this one, is connected, or has no member.
    pub fn forget(&mut self, node: NodeNumber) -> bool {
        let is_there = node == self.peers.me || self.peers.is_connected(node);
        let name = self.peers.names().get(usize::from(node.0)).filter(|_| !is_there).cloned();
        let (Some(name), State::Founded(founded)) = (name, &mut self.state) else { return false };
        let Founded { consensus, leading: Some(leading), .. } = &mut **founded else { return false };
        let has_member = consensus.configuration().members().iter().any(|member| member.node == name);
        if has_member {
            leading.forgets = Some(name);
            self.settle();
        }
        has_member
    }

    /// Does everything that follows from what has just happened.
    fn settle(&mut self) {
        self.found_if_due();
        self.hand_over_if_stopping();
        self.take_steps();
        self.propose_held_back();
        // What is proposed next follows what the ledger has.
        self.take_steps();
        self.propose_members();
        self.take_steps();
        let now_ms = self.now_ms;
        if let Some(append) = self.founded_mut().and_then(|founded| founded.writing.next(now_ms)) {
            self.output.push_back(Output::Append(append));
        }
        self.send_snapshots();
        self.settle_role();
        self.stop_if_due();
    }

    fn take_steps(&mut self) {
        while let Some(step) = self.founded_mut().and_then(|founded| founded.consensus.take_step()) {
            self.take_step(step);
        }
    }

    fn take_step(&mut self, mut step: Step) {
        for (message, part) in std::mem::take(&mut step.now) {
            self.send_raft(message, part);
        }
        let now_ms = self.now_ms;
        if let State::Founded(founded) = &mut self.state {
            let Founded { consensus, sending, .. } = &mut **founded;
            for member in &step.needs_snapshot {
                // Who is gone answers no offer, and as long as one is open nobody gets another snapshot.
                match self.peers.node_of(*member) {
                    Some(_) => sending.begin(*member, consensus, now_ms),
                    None => consensus.snapshot_ended(*member, false),
                }
            }
        }
        if let Some(last) = step.snapshot {
            self.install(last, &mut step);
            return;
        }
        if let Some(vote) = step.vote {
            self.tell_of_vote(vote);
        }
        let committed = step.committed;
        if step.reconfigures {
            // What is written notes what was committed before it: without this, all might forget in one moment who votes.
            step.vote = self.consensus().map(Consensus::vote);
        }
        let persisted = self.founded_mut().and_then(|founded| founded.writing.add(&mut step));
        if let Some(persisted) = persisted {
            self.take_persisted(persisted);
        }
        if step.reconfigures {
            self.tell_of_founding();
        }
        if let Some(index) = committed {
            self.output.push_back(Output::Commit(index));
            if let Some(founded) = self.founded_mut() {
                founded.consensus.trim();
            }
        }
    }

    /// Says in the log whom this node wants to lead.
    fn tell_of_vote(&self, vote: Vote) {
        let term = vote.term;
        match vote.member {
            Some(member) if member == self.settings.member => {
                tracing::info!(target: "cluster", "this node stands for election in term {term}");
            }
            Some(member) => {
                let name = self.peers.node_of(member).map_or("that is gone", |node| self.peers.name(node));
                tracing::info!(target: "cluster", "this node votes for node {name} in term {term}");
            }
            None => {}
        }
    }

    fn send_raft(&mut self, message: RaftMessage, part: Option<Part>) {
        let Some(node) = self.peers.node_of(message.to) else { return };
        let mut parts = vec![Part::Bytes(message.head())];
        let mut lane = Lane::Control;
        if let Says::Append { entry, .. } = message.says {
            lane = Lane::Bulk;
            parts.extend(part.map(|part| match entry {
                Some(entry) => self.held_up(node, Point { index: entry.index, term: entry.term }, part),
                None => part,
            }));
        }
        self.send(node, lane, parts);
    }

    /// A body for a peer; from the disk, when it holds up too much of the memory already.
    fn held_up(&mut self, node: NodeNumber, entry: Point, part: Part) -> Part {
        let State::Founded(founded) = &self.state else { return part };
        let (Part::Body(body), Some(peer)) = (&part, self.peers.peer_mut(node)) else { return part };
        if peer.holds_up_much()
            && let Some((_, part @ Part::Stored(_))) = founded.consensus.ledger().to_send(entry, true)
        {
            return part;
        }
        peer.sent(entry.index, body.bytes().len());
        part
    }

    /// A leader proposes what it could not before.
    fn propose_held_back(&mut self) {
        if let Some(Founded { consensus, leading: Some(leading), .. }) = self.founded_mut() {
            leading.propose_held_back(consensus);
        }
    }

    /// A leader looks whether somebody is to become a member, or to vote, or to go.
    fn propose_members(&mut self) {
        let State::Founded(founded) = &mut self.state else { return };
        // Whoever comes back on an empty folder is somebody new, and stays.
        let members = founded.consensus.configuration().members();
        if let Some(leading) = &mut founded.leading {
            leading.forgets.take_if(|name| members.iter().all(|member| member.node != *name));
        }
        let forgets = founded.leading.as_ref().and_then(|leading| leading.forgets.as_deref());
        if let Some(next) = joining::next(&founded.consensus, &self.peers, forgets)
            && founded.consensus.propose_configuration(&next).is_some()
        {
            let told = joining::told(founded.consensus.configuration(), &next);
            tracing::info!(target: "cluster", "{told}");
        }
    }

    fn settle_role(&mut self) {
        let State::Founded(founded) = &mut self.state else { return };
        let Founded { consensus, leading, .. } = &mut **founded;
        if leading.as_ref().is_some_and(|leading| !consensus.leads() || leading.term != consensus.term()) {
            *leading = None;
        }
        let mut role = Role::Follow { leader: consensus.leader().and_then(|leader| self.peers.node_of(leader)) };
        if consensus.leads() {
            let begins_at = consensus.ledger().last().index;
            let leading = leading.get_or_insert_with(|| Leading::new(consensus.term(), begins_at));
            if !leading.is_announced && consensus.applied() >= leading.begins_at {
                leading.announce(consensus);
            }
            role = match leading.is_announced {
                true => Role::Lead { term: leading.term, index: leading.begins_at },
                false => Role::Follow { leader: None },
            };
        }
        if role != self.role {
            self.role = role;
            self.output.push_back(Output::Role(role));
        }
        if let Some(told) = leading.as_mut().and_then(|leading| leading.look(consensus)) {
            self.output.push_back(Output::Told(told));
        }
    }
}
