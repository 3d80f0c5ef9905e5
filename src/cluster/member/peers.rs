//! The other nodes as this one knows them: who is connected, what they said of themselves, and how much is on the way to
//! them.
//!
//! A node is known by its place in the sorted names of the settings; which member its data folder is, it says itself. What
//! a member says counts only when it comes from the node that is that member now.

use super::super::message::{Condition, Hello, Part};
use crate::storage::MemberId;
use std::collections::VecDeque;

/// Bodies in memory that one peer may hold up, in bytes: beyond it whoever sends reads them from the disk.
const HELD_UP_MAX_BYTES: usize = 16 << 20;

/// What was not tried again for so long counts as if it had never failed.
const TRIED_AGAIN_WITHIN_MS: u64 = 10_000;

/// A node, by its place in the sorted names of the settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeNumber(pub u8);

#[derive(Default)]
pub struct Peer {
    pub is_connected: bool,
    pub hello: Option<Hello>,
    pub condition: Option<Condition>,
    /// Index and bytes of bodies in memory that it was sent and did not say it has.
    on_the_way: VecDeque<(u64, usize)>,
    on_the_way_bytes: usize,
    /// What could not be read for it, and has to be.
    unread: Option<Unreadable>,
}

struct Unreadable {
    part: Part,
    /// The first time of those that followed each other, and the last.
    since_ms: u64,
    last_ms: u64,
}

pub struct Peers {
    pub me: NodeNumber,
    /// Sorted; the numbers of nodes are places in it.
    names: Vec<String>,
    peers: Vec<Peer>,
}

impl Peers {
    /// `names` are those of all nodes, this one's included.
    pub fn new(me: NodeNumber, names: Vec<String>) -> Self {
        debug_assert!(names.is_sorted() && usize::from(me.0) < names.len());
        let peers = names.iter().map(|_| Peer::default()).collect();
        Self { me, names, peers }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn name(&self, node: NodeNumber) -> &str {
        &self.names[usize::from(node.0)]
    }

    pub fn peer_mut(&mut self, node: NodeNumber) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(node.0)).filter(|_| node != self.me)
    }

    /// Who is connected, with what he said of himself.
    pub fn known(&self) -> impl Iterator<Item = (NodeNumber, &Hello)> {
        let numbers = (0..).map(NodeNumber);
        numbers
            .zip(&self.peers)
            .filter(|(_, peer)| peer.is_connected)
            .filter_map(|(node, peer)| peer.hello.as_ref().map(|hello| (node, hello)))
    }

    pub fn hello(&self, node: NodeNumber) -> Option<&Hello> {
        self.known().find(|(number, _)| *number == node).map(|(_, hello)| hello)
    }

    pub fn condition(&self, node: NodeNumber) -> Option<Condition> {
        self.peers.get(usize::from(node.0)).filter(|peer| peer.is_connected).and_then(|peer| peer.condition)
    }

    /// The node that is this member.
    pub fn node_of(&self, member: MemberId) -> Option<NodeNumber> {
        self.known().find(|(_, hello)| hello.member == member).map(|(node, _)| node)
    }

    pub fn is_connected(&self, node: NodeNumber) -> bool {
        self.peers.get(usize::from(node.0)).is_some_and(|peer| peer.is_connected)
    }

    /// Everybody but this node.
    pub fn others(&self) -> impl Iterator<Item = NodeNumber> + use<> {
        let me = self.me;
        (0..self.names.len() as u8).map(NodeNumber).filter(move |node| *node != me)
    }
}

impl Peer {
    /// Nothing is on the way any more.
    pub fn disconnected(&mut self) {
        *self = Self::default();
    }

    /// Whether it holds up so much that bodies are better read again.
    pub fn holds_up_much(&self) -> bool {
        self.on_the_way_bytes > HELD_UP_MAX_BYTES
    }

    /// This could not be read for it; says for how long it has been tried in vain. Of several parts, as of a file that is sent
    /// piece by piece, the first one counts.
    pub fn not_read(&mut self, part: &Part, now_ms: u64) -> u64 {
        let is_tried = |unread: &&mut Unreadable| now_ms.saturating_sub(unread.last_ms) < TRIED_AGAIN_WITHIN_MS;
        match self.unread.as_mut().filter(is_tried) {
            Some(unread) if unread.part == *part => {
                unread.last_ms = now_ms;
                now_ms.saturating_sub(unread.since_ms)
            }
            Some(_) => 0,
            None => {
                self.unread = Some(Unreadable { part: part.clone(), since_ms: now_ms, last_ms: now_ms });
                0
            }
        }
    }

    /// What could not be read before was now.
    pub fn was_read(&mut self, part: &Part) {
        self.unread.take_if(|unread| unread.part == *part);
    }

    /// What is said again counts once.
    pub fn sent(&mut self, index: u64, bytes: usize) {
        if self.on_the_way.back().is_none_or(|(last, _)| *last < index) {
            self.on_the_way.push_back((index, bytes));
            self.on_the_way_bytes += bytes;
        }
    }

    /// It has everything up to here.
    pub fn has(&mut self, matched: u64) {
        while let Some((_, bytes)) = self.on_the_way.front().filter(|(index, _)| *index <= matched) {
            self.on_the_way_bytes -= bytes;
            self.on_the_way.pop_front();
        }
    }
}
