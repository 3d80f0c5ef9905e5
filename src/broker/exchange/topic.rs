//! The topic exchange: patterns compiled into a trie of words, walked once per key.
//!
//! A key is walked with the set of all trie nodes that it can be at, each at most once per word. So the work is at most
//! words × nodes whatever the patterns are; there is no backtracking for a hostile `#.a.#.a…` to explode.

use super::Destination;
use super::destinations::Destinations;
use super::stamps::Stamps;
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::BuildHasher;

/// Index of a trie node; the root is 0.
type NodeId = u32;

const ROOT: NodeId = 0;
/// No such child. The root is nobody's child.
const NONE: NodeId = 0;

/// Spreads a parent's index over the bits of a word's hash.
const PARENT_SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// All patterns of one topic exchange.
pub(super) struct Trie {
    nodes: Slab<Node>,
    /// Children by (parent, literal word); the words themselves lie in the child nodes.
    edges: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
}

struct Node {
    /// Child reached by `*`.
    star: NodeId,
    /// Child reached by `#`; it has no `#` child of its own, since patterns are normalised.
    hash: NodeId,
    /// How many children are reached by a literal word.
    literals: u32,
    /// Reached by `#`: any further word stays here.
    stays: bool,
    destinations: Destinations,
    parent: NodeId,
    word: Word,
}

/// The edge from a parent, owned.
enum Word {
    Star,
    Hash,
    Literal { word: Box<[u8]>, edge_hash: u64 },
}

/// A word of a pattern.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Step<'a> {
    Star,
    Hash,
    Literal(&'a [u8]),
}

/// Scratch space of a walk, kept between walks.
#[derive(Default)]
pub(super) struct Walk {
    active: Vec<NodeId>,
    next: Vec<NodeId>,
    seen: Stamps,
    /// How many (node, word) pairs were looked at.
    #[cfg(test)]
    pub(super) steps: usize,
}

/// Words of a pattern or key: none in the empty one, else what lies between dots, possibly empty.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = (!text.is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (word, after) = match memchr::memchr(b'.', text) {
            Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(word)
    })
}

/// The steps of a pattern. A run of wildcards means "at least this many words", so it is brought into one form: its
/// stars first, then one `#` if it had any.
fn steps(pattern: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut open_ended = false;
    for word in words(pattern) {
        match word {
            b"#" => open_ended = true,
            b"*" => steps.push(Step::Star),
            literal => {
                if std::mem::take(&mut open_ended) {
                    steps.push(Step::Hash);
                }
                steps.push(Step::Literal(literal));
            }
        }
    }
    if open_ended {
        steps.push(Step::Hash);
    }
    steps
}

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Slab::new();
        // The root's own edge is never looked at.
        nodes.insert(Node::new(NONE, Word::Star));
        Self { nodes, edges: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl Node {
    fn new(parent: NodeId, word: Word) -> Self {
        let stays = matches!(word, Word::Hash);
        Self { star: NONE, hash: NONE, literals: 0, stays, destinations: Destinations::None, parent, word }
    }

    fn is_unused(&self) -> bool {
        self.destinations.is_empty() && self.literals == 0 && self.star == NONE && self.hash == NONE
    }
}

impl Trie {
    pub(super) fn insert(&mut self, pattern: &[u8], destination: Destination) {
        let mut node = ROOT;
        for step in steps(pattern) {
            node = match self.child(node, step) {
                NONE => self.grow(node, step),
                child => child,
            };
        }
        self.nodes[node as usize].destinations.add(destination);
    }

    /// Removes what an insert of the same pattern and destination added, and the branch it no longer needs.
    pub(super) fn remove(&mut self, pattern: &[u8], destination: Destination) {
        let mut node = ROOT;
        for step in steps(pattern) {
            node = self.child(node, step);
            assert!(node != NONE, "a removed pattern was inserted");
        }
        self.nodes[node as usize].destinations.remove(destination);
        while node != ROOT && self.nodes[node as usize].is_unused() {
            node = self.cut(node);
        }
    }

    /// Calls `found` with the destinations of every pattern that matches. A destination may come several times.
    #[inline]
    pub(super) fn matching<'a>(&'a self, key: &[u8], walk: &mut Walk, mut found: impl FnMut(&'a Destinations)) {
        let Walk {
            active,
            next,
            seen,
            #[cfg(test)]
            steps,
        } = walk;
        // They change places without being moved.
        let (mut active, mut next) = (active, next);
        active.clear();
        seen.clear();
        self.enter(ROOT, active, seen);
        for word in words(key) {
            next.clear();
            seen.clear();
            // Hashed when the first node with literal children asks.
            let mut word_hash = None;
            for &id in &*active {
                #[cfg(test)]
                {
                    *steps += 1;
                }
                let node = &self.nodes[id as usize];
                if node.stays && seen.insert(id) {
                    next.push(id);
                }
                if node.star != NONE {
                    self.enter(node.star, next, seen);
                }
                if node.literals > 0 {
                    let word_hash = *word_hash.get_or_insert_with(|| self.hasher.hash_one(word));
                    if let Some(child) = self.literal_child(id, word, word_hash) {
                        self.enter(child, next, seen);
                    }
                }
            }
            std::mem::swap(&mut active, &mut next);
            if active.is_empty() {
                return;
            }
        }
        for &id in &*active {
            let destinations = &self.nodes[id as usize].destinations;
            if !destinations.is_empty() {
                found(destinations);
            }
        }
    }

    /// Makes a node active, and its `#` child with it: `#` also stands for no word.
    #[inline]
    fn enter(&self, id: NodeId, active: &mut Vec<NodeId>, seen: &mut Stamps) {
        if seen.insert(id) {
            active.push(id);
        }
        let hash = self.nodes[id as usize].hash;
        if hash != NONE && seen.insert(hash) {
            active.push(hash);
        }
    }

    #[inline]
    fn literal_child(&self, parent: NodeId, word: &[u8], word_hash: u64) -> Option<NodeId> {
        let is_it = |&id: &NodeId| {
            let node = &self.nodes[id as usize];
            node.parent == parent && matches!(&node.word, Word::Literal { word: own, .. } if **own == *word)
        };
        self.edges.find(edge_hash(parent, word_hash), is_it).copied()
    }

    fn child(&self, parent: NodeId, step: Step<'_>) -> NodeId {
        match step {
            Step::Star => self.nodes[parent as usize].star,
            Step::Hash => self.nodes[parent as usize].hash,
            Step::Literal(word) => self.literal_child(parent, word, self.hasher.hash_one(word)).unwrap_or(NONE),
        }
    }

    fn grow(&mut self, parent: NodeId, step: Step<'_>) -> NodeId {
        let word = match step {
            Step::Star => Word::Star,
            Step::Hash => Word::Hash,
            Step::Literal(word) => {
                Word::Literal { word: word.into(), edge_hash: edge_hash(parent, self.hasher.hash_one(word)) }
            }
        };
        let id = self.nodes.insert(Node::new(parent, word)) as NodeId;
        match step {
            Step::Star => self.nodes[parent as usize].star = id,
            Step::Hash => self.nodes[parent as usize].hash = id,
            Step::Literal(_) => {
                self.nodes[parent as usize].literals += 1;
                let nodes = &self.nodes;
                self.edges.insert_unique(nodes[id as usize].edge_hash(), id, |&id| nodes[id as usize].edge_hash());
            }
        }
        id
    }

    /// Removes an unused node; returns its parent.
    fn cut(&mut self, id: NodeId) -> NodeId {
        let node = self.nodes.remove(id as usize);
        let parent = &mut self.nodes[node.parent as usize];
        match node.word {
            Word::Star => parent.star = NONE,
            Word::Hash => parent.hash = NONE,
            Word::Literal { edge_hash, .. } => {
                parent.literals -= 1;
                self.edges
                    .find_entry(edge_hash, |&child| child == id)
                    .expect("every literal child has an edge")
                    .remove();
            }
        }
        node.parent
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

impl Node {
    fn edge_hash(&self) -> u64 {
        match self.word {
            Word::Literal { edge_hash, .. } => edge_hash,
            Word::Star | Word::Hash => unreachable!("only literal words are edges of the table"),
        }
    }
}

fn edge_hash(parent: NodeId, word_hash: u64) -> u64 {
    word_hash ^ u64::from(parent).wrapping_mul(PARENT_SPREAD)
}
