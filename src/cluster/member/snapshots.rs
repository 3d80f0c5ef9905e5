//! A member and its snapshots: what goes from peers to [`Receiving`](super::receiving::Receiving) and
//! [`Sending`](super::sending::Sending), and from there to consensus, the writer and the disk.
//!
//! ```text
//!   whole ──► offered to consensus ──taken──► Install ──► installed ──► everything goes on
//!                     └──not wanted──► Discard
//! ```

use super::super::message::{Chunk, Lane, Message, Offer, Part, Point, Wanted};
use super::super::snapshot::CHECKPOINT_FILE;
use super::consensus::Step;
use super::peers::NodeNumber;
use super::receiving::Received;
use super::sending::{Ask, Pinned};
use super::writing::Append;
use super::{Member, Output, State};
use crate::storage::MemberId;

impl Member {
    /// A leader has a snapshot for this node.
    pub(super) fn offered(&mut self, from: NodeNumber, offer: Offer) {
        let leader = self.peers.hello(from).map(|hello| hello.member);
        let now_ms = self.now_ms;
        let Some(founded) = self.founded_mut() else { return };
        let is_of_leader = leader.is_some() && leader == founded.consensus.leader();
        if !is_of_leader || offer.term != founded.consensus.term() || founded.whole.is_some() {
            return;
        }
        let Some(leader) = leader else { return };
        let answer = if offer.last.index <= founded.consensus.committed() {
            Err(Wanted { snapshot: offer.snapshot, at: offer.total_bytes() })
        } else {
            // One that was bad lately is not asked for again at once.
            let Some(answer) = founded.receiving.offered(leader, offer, now_ms) else { return };
            answer
        };
        match answer {
            Ok(step) => self.output.push_back(Output::Incoming(step)),
            Err(wanted) => self.send(from, Lane::Control, vec![Part::Bytes(Message::Wanted(wanted).encode())]),
        }
    }

    pub(super) fn wanted(&mut self, from: NodeNumber, wanted: Wanted) {
        let now_ms = self.now_ms;
        let member = self.peers.hello(from).map(|hello| hello.member);
        if let (Some(founded), Some(member)) = (self.founded_mut(), member) {
            founded.sending.wanted(member, wanted, &mut founded.consensus, now_ms);
        }
    }

    pub(super) fn take_chunk(&mut self, from: NodeNumber, chunk: Chunk) {
        let member = self.peers.hello(from).map(|hello| hello.member);
        if let (Some(founded), Some(member)) = (self.founded_mut(), member)
            && let Some(step) = founded.receiving.chunk(member, chunk)
        {
            self.output.push_back(Output::Incoming(step));
        }
    }

    /// The oldest step of receiving a snapshot that was not answered is done, or failed.
    pub fn incoming_performed(&mut self, succeeded: bool) {
        let now_ms = self.now_ms;
        let Some(founded) = self.founded_mut() else { return };
        let (received, step) = founded.receiving.performed(succeeded, now_ms);
        self.output.extend(step.map(Output::Incoming));
        match received {
            None => {}
            Some(Received::Say(leader, wanted)) => self.say_wanted(leader, wanted),
            Some(Received::Whole(leader, offer)) => {
                self.say_wanted(leader, Wanted { snapshot: offer.snapshot, at: offer.total_bytes() });
                self.take_snapshot(leader, offer);
            }
        }
        self.settle();
    }

    fn say_wanted(&mut self, leader: MemberId, wanted: Wanted) {
        if let Some(node) = self.peers.node_of(leader) {
            self.send(node, Lane::Control, vec![Part::Bytes(Message::Wanted(wanted).encode())]);
        }
    }

    /// All of a snapshot has arrived: it is installed, unless consensus has no use for it by now.
    fn take_snapshot(&mut self, leader: MemberId, offer: Offer) {
        let Some(founded) = self.founded_mut() else { return };
        founded.consensus.receive_snapshot(leader, offer.term, offer.last, &offer.configuration);
        founded.whole = Some(offer);
        self.take_steps();
        if let Some(founded) = self.founded_mut()
            && !founded.consensus.is_held()
        {
            founded.whole = None;
            let step = founded.receiving.give_up();
            self.output.extend(step.map(Output::Incoming));
        }
    }

    /// What had arrived is the log now. `position` is that of its last record.
    pub fn installed(&mut self, last: Point, position: u64) {
        let Some(founded) = self.founded_mut() else { return };
        let Some(offer) = founded.whole.take_if(|offer| offer.last == last) else { return };
        founded.consensus.installed(last, position, offer.configuration);
        tracing::info!(target: "cluster", "a snapshot up to entry {} is installed", last.index);
        for message in std::mem::take(&mut founded.then) {
            self.send_raft(message, None);
        }
        self.settle();
    }

    /// The writer keeps a checkpoint.
    pub fn pinned(&mut self, pinned: Pinned) {
        let now_ms = self.now_ms;
        match &mut self.state {
            State::Founded(founded) => founded.sending.pinned(pinned, &mut founded.consensus, now_ms),
            State::Forming { .. } => self.output.push_back(Output::Unpin(pinned.id)),
        }
        self.settle();
    }

    pub(super) fn send_snapshots(&mut self) {
        let (now_ms, is_disk_low) = (self.now_ms, self.condition.is_disk_low);
        let Some(founded) = self.founded_mut() else { return };
        founded.sending.look(&mut founded.consensus, is_disk_low, now_ms);
        for ask in founded.sending.take_asks() {
            match ask {
                Ask::Pin { index } => self.output.push_back(Output::Pin { index }),
                Ask::Unpin(id) => self.output.push_back(Output::Unpin(id)),
                Ask::Say { to, lane, parts } => {
                    if let Some(node) = self.peers.node_of(to) {
                        self.send(node, lane, parts);
                    }
                }
            }
        }
    }

    /// Consensus takes a snapshot: nothing else is done until it is the log.
    pub(super) fn install(&mut self, last: Point, step: &mut Step) {
        let Some(founded) = self.founded_mut() else { return };
        founded.then = std::mem::take(&mut step.then);
        let unwritten = founded.writing.give_up_waiting();
        let vote = step.vote.take().map(|vote| Append { number: step.number, entries: Vec::new(), vote: Some(vote) });
        let offer = founded.whole.as_ref().expect("a snapshot is whole before consensus is told of it");
        let files = offer.files.iter().filter(|(name, _)| name != CHECKPOINT_FILE).cloned().collect();
        let install = Output::Install { last, checkpoint: CHECKPOINT_FILE.to_owned(), files };
        self.output.extend(unwritten.into_iter().chain(vote).map(Output::Append));
        self.output.push_back(install);
    }
}
