//! All of it: nodes, network, time, and what befalls them.

use super::chance::Chance;
use super::complaint::must;
use super::fate::{Fate, Mutation, OfLeader};
use super::network::{NODES, Network, Packet};
use super::node::{Node, Saying};
use super::truth::Truth;
use leveret::cluster::member::{Member, NodeNumber};
use leveret::storage::MemberId;
use std::fmt;
use std::num::NonZeroU64;

/// Something may happen so often.
const FATE_MS: u64 = 50;
/// How long a disk hangs.
const HANG_MS: u64 = 3_500;
/// Who votes is on a disk this long after a node learns it.
const NOTED_WITHIN_MS: u64 = 20;
/// How long one node is cut off, or there, while it comes and goes: longer than any election takes.
const COMES_AND_GOES_MS: u64 = 2_200;

pub struct World {
    fate: Fate,
    seed: u64,
    chance: Chance,
    now_ms: u64,
    nodes: Vec<Node>,
    network: Network,
    truth: Truth,
    no_leader_since_ms: Option<u64>,
    /// Who came in place of a folder that was lost, until it votes.
    newcomer: Option<MemberId>,
    /// Whose disk hangs, and until when.
    hangs: Option<(usize, u64)>,
    /// Who comes and goes.
    comes_and_goes: Option<usize>,
    confirmed_at_ms: u64,
    outcome: Outcome,
}

/// What came of runs.
#[derive(Default)]
pub struct Outcome {
    pub seeds: u64,
    pub steps: u64,
    pub confirmed: u64,
    pub entries: u64,
    pub leaders: u64,
    pub crashes: u64,
    pub wipes: u64,
    pub rots: u64,
    pub snapshots: u64,
    pub longest_without_leader_ms: u64,
    /// From the first confirm on.
    pub longest_without_confirm_ms: u64,
    /// Of the last run.
    pub voters: usize,
    pub trace: u64,
}

impl World {
    pub fn new(seed: u64, fate: Fate) -> Self {
        let mut chance = Chance::new(seed);
        let percent = fate.clocks_differ_percent;
        let nodes = (0..NODES).map(|number| {
            let member = member_of(&mut chance);
            let clock_percent = chance.between(100 - percent, 100 + percent);
            Node::new(number, fate.is_real, member, clock_percent, fate.mutation)
        });
        Self {
            nodes: nodes.collect(),
            fate,
            seed,
            chance,
            now_ms: 0,
            network: Network::default(),
            truth: Truth::default(),
            no_leader_since_ms: None,
            newcomer: None,
            hangs: None,
            comes_and_goes: None,
            confirmed_at_ms: 0,
            outcome: Outcome { seeds: 1, ..Outcome::default() },
        }
    }

    pub fn run(mut self) -> Outcome {
        (0..NODES).for_each(|node| self.start(node));
        while self.now_ms < self.fate.run_ms {
            self.now_ms += 1;
            self.befall();
            while let Some(packet) = self.network.arriving(self.now_ms) {
                self.arrive(packet);
            }
            for node in 0..NODES {
                if self.nodes[node].is_up(self.now_ms) {
                    self.turn(node);
                }
            }
            self.look_for_leader();
        }
        self.end()
    }

    fn turn(&mut self, node: usize) {
        let publishes = self.now_ms + self.fate.silence_ms < self.fate.run_ms;
        let said = self.nodes[node].turn(self.now_ms, publishes, &mut self.truth, &mut self.chance);
        for Saying { to, lane, bytes } in said {
            let lives = (self.nodes[node].life, self.nodes[to].life);
            let packet = Packet { from: node, to, lives, bytes };
            self.network.send(packet, lane, self.now_ms, &mut self.chance);
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, lives, .. } = packet;
        if lives != (self.nodes[from].life, self.nodes[to].life) || self.nodes[to].running.is_none() {
            return;
        }
        if !self.nodes[to].is_up(self.now_ms) {
            let at_ms = self.nodes[to].paused_until_ms;
            self.network.put(packet, at_ms);
            return;
        }
        self.outcome.steps += 1;
        self.nodes[to].received(from, packet.bytes);
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].running.is_some() || self.nodes[node].is_gone {
            return;
        }
        self.nodes[node].start(self.seed, self.now_ms);
        for other in (0..NODES).filter(|other| *other != node) {
            self.with_member(other, |member| member.connected(NodeNumber(node as u8)));
            if self.nodes[other].running.is_some() {
                self.with_member(node, |member| member.connected(NodeNumber(other as u8)));
            }
        }
    }

    /// Whether a node may lose everything, as the others have everything.
    fn may_lose(&self, node: usize) -> bool {
        // As long as another one does not know that it votes, that one and those whom it knows are what is left of most.
        let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != node);
        if let Some(newcomer) = self.newcomer
            && !others.all(|(_, other)| other.knows_voter_for_good(newcomer))
        {
            return false;
        }
        let is_founded = self.truth.last_applied().index > 0 && self.nodes.iter().all(Node::belongs);
        !self.nodes[node].is_gone && is_founded
    }

    /// What a node's disk gives back is not what was written.
    fn rot(&mut self, node: usize) {
        // After a power cut there may be no evidence of what was synced last.
        if self.nodes[node].running.is_none() || !self.may_lose(node) {
            return;
        }
        let member = member_of(&mut self.chance);
        self.ends(node);
        self.nodes[node].rot(member, &mut self.chance);
        self.outcome.rots += 1;
        self.start(node);
        // There may have been nothing where it rotted.
        if self.nodes[node].is(member) {
            self.newcomer = Some(member);
        }
    }

    fn wipe(&mut self, node: usize) {
        if !self.may_lose(node) {
            return;
        }
        self.crash(node);
        let before = self.nodes[node].member().filter(|_| self.fate.mutation == Mutation::ReuseId);
        let member = before.unwrap_or_else(|| member_of(&mut self.chance));
        self.nodes[node].wipe(member);
        self.newcomer = Some(member);
        self.outcome.wipes += 1;
        self.start(node);
    }

    fn crash(&mut self, node: usize) {
        if self.nodes[node].running.is_none() {
            return;
        }
        self.outcome.crashes += 1;
        self.ends(node);
        self.nodes[node].crash(&mut self.truth, &mut self.chance);
    }

    /// The connections between two nodes end, and others take their place.
    fn break_connection(&mut self, one: usize, other: usize) {
        if one == other || [one, other].iter().any(|node| self.nodes[*node].running.is_none()) {
            return;
        }
        self.network.lose(one, other);
        for (node, peer) in [(one, other), (other, one)] {
            self.with_member(node, |member| member.disconnected(NodeNumber(peer as u8)));
        }
        for (node, peer) in [(one, other), (other, one)] {
            self.with_member(node, |member| member.connected(NodeNumber(peer as u8)));
        }
    }

    /// A process that runs will have ended.
    fn ends(&mut self, node: usize) {
        let Some(running) = &self.nodes[node].running else { return };
        self.outcome.snapshots += running.snapshots;
        for other in (0..NODES).filter(|other| *other != node) {
            self.with_member(other, |member| member.disconnected(NodeNumber(node as u8)));
        }
    }

    fn with_member(&mut self, node: usize, call: impl FnOnce(&mut Member)) {
        if let Some(running) = &mut self.nodes[node].running {
            call(&mut running.member);
        }
    }

    /// What is in store for the leader happens when there is one.
    fn befall_leader(&mut self) {
        let leader = (0..NODES).find(|node| self.nodes[*node].leads());
        if let Some((at_ms, what)) = self.fate.of_leader
            && at_ms <= self.now_ms
            && let Some(leader) = leader
        {
            self.fate.of_leader = None;
            match what {
                OfLeader::IsLost => {
                    self.crash(leader);
                    self.nodes[leader].is_gone = true;
                }
                OfLeader::DiskHangs => {
                    self.nodes[leader].hang_disk(true);
                    self.hangs = Some((leader, self.now_ms + HANG_MS));
                }
                OfLeader::Stops => self.with_member(leader, Member::stop),
                OfLeader::ForgetsAnother => {
                    let gone = (leader + 1) % NODES;
                    let number = NodeNumber(gone as u8);
                    self.with_member(leader, |member| assert!(!member.forget(number), "who is there stays"));
                    self.crash(gone);
                    self.nodes[gone].is_gone = true;
                    self.with_member(leader, |member| assert!(member.forget(number), "who is gone goes"));
                }
                OfLeader::LosesAnotherAgainAndAgain => self.comes_and_goes = Some((leader + 1) % NODES),
                OfLeader::CopiesAllToAnother => {
                    // What was said is forgotten, so that it has to be a copy.
                    self.nodes[leader].checkpoint(self.now_ms);
                    self.wipe((leader + 1) % NODES);
                }
                OfLeader::IsLostOnceAnotherVotes => {
                    if self.newcomer.is_none() {
                        self.wipe((leader + 1) % NODES);
                    }
                    let votes = |node: &Node| self.newcomer.is_some_and(|newcomer| node.knows_voter(newcomer));
                    self.fate.of_leader = match self.nodes.iter().all(votes) {
                        true => Some((self.now_ms + NOTED_WITHIN_MS, OfLeader::IsLostWithAllPower)),
                        false => Some((self.now_ms, what)),
                    };
                }
                OfLeader::IsLostWithAllPower => {
                    let knows = |node: &Node| self.newcomer.is_some_and(|newcomer| node.knows_voter_for_good(newcomer));
                    must!(self.nodes.iter().all(knows), "not everybody has noted who votes");
                    self.nodes[leader].is_gone = true;
                    (0..NODES).for_each(|node| self.crash(node));
                    (0..NODES).for_each(|node| self.start(node));
                }
            }
        }
        if let Some((node, _)) = self.hangs.take_if(|(_, until_ms)| *until_ms <= self.now_ms) {
            self.nodes[node].hang_disk(false);
        }
        self.come_and_go();
        let stopped = |node: &usize| self.nodes[*node].running.as_ref().is_some_and(|running| running.has_stopped);
        if let Some(stopped) = (0..NODES).find(stopped) {
            self.crash(stopped);
            self.start(stopped);
        }
    }

    /// Somebody is cut off, there, deaf, and there again, until there is silence.
    fn come_and_go(&mut self) {
        let Some(node) = self.comes_and_goes.filter(|_| self.now_ms.is_multiple_of(COMES_AND_GOES_MS)) else { return };
        self.network.heal();
        if self.now_ms + self.fate.silence_ms >= self.fate.run_ms {
            self.comes_and_goes = None;
            return;
        }
        match self.now_ms / COMES_AND_GOES_MS % 4 {
            0 => self.network.isolate(node),
            2 => (0..NODES).for_each(|other| self.network.cut(other, node)),
            _ => {}
        }
    }

    /// Something happens, or nothing.
    fn befall(&mut self) {
        self.befall_leader();
        if self.now_ms == self.fate.calm_from_ms {
            self.calm();
        }
        if self.now_ms >= self.fate.calm_from_ms || !self.now_ms.is_multiple_of(FATE_MS) {
            return;
        }
        let node = self.chance.below(NODES as u64) as usize;
        let other = self.chance.below(NODES as u64) as usize;
        match self.chance.below(60) {
            0..=2 if self.fate.crashes => match self.nodes[node].running {
                Some(_) => self.crash(node),
                None => self.start(node),
            },
            3..=6 => (0..NODES).for_each(|node| self.start(node)),
            7 | 8 if self.fate.partitions => self.network.isolate(node),
            9 | 10 if self.fate.partitions => self.network.cut(node, other),
            11..=16 => self.network.heal(),
            17 if self.fate.partitions => self.network.loses_one_in = Some(self.chance.between(3, 30)),
            18 => self.network.loses_one_in = None,
            19 | 20 if self.fate.pauses => {
                self.nodes[node].paused_until_ms = self.now_ms + self.chance.between(100, 3_000);
            }
            21 if self.fate.slow_disks => {
                let slow_ms = self.chance.below(2_500);
                self.nodes[node].slow_disk(slow_ms);
            }
            22 | 23 => self.nodes.iter_mut().for_each(|node| node.slow_disk(0)),
            24 if self.fate.crashes => {
                // The power of all of them.
                (0..NODES).for_each(|node| self.crash(node));
                (0..NODES).for_each(|node| self.start(node));
            }
            25..=27 if self.fate.checkpoints => self.nodes[node].checkpoint(self.now_ms),
            28 if self.fate.wipes => self.wipe(node),
            31 if self.fate.rots => self.rot(node),
            32 if self.fate.full_disks && self.nodes[node].belongs() => self.nodes[node].fill_disk(true),
            33..=35 => self.nodes.iter_mut().for_each(|node| node.fill_disk(false)),
            36 | 37 if self.fate.partitions => self.break_connection(node, other),
            29 | 30 if self.fate.hand_overs => {
                let to = NodeNumber(other as u8);
                self.with_member(node, |member| member.hand_over(Some(to)));
            }
            _ => {}
        }
    }

    fn calm(&mut self) {
        self.network.heal();
        self.network.loses_one_in = None;
        for node in 0..NODES {
            self.nodes[node].paused_until_ms = 0;
            self.start(node);
            self.nodes[node].slow_disk(0);
            self.nodes[node].fill_disk(false);
        }
    }

    fn look_for_leader(&mut self) {
        if self.truth.confirmed_records > self.outcome.confirmed {
            self.outcome.confirmed = self.truth.confirmed_records;
            self.confirmed_at_ms = self.now_ms;
        }
        if self.now_ms <= self.fate.calm_from_ms {
            return;
        }
        if self.now_ms + self.fate.silence_ms < self.fate.run_ms && self.outcome.confirmed > 0 {
            let longest_ms = &mut self.outcome.longest_without_confirm_ms;
            *longest_ms = (*longest_ms).max(self.now_ms - self.confirmed_at_ms);
        }
        let has_leader = self.nodes.iter().any(|node| node.is_up(self.now_ms) && node.leads());
        let longest_ms = &mut self.outcome.longest_without_leader_ms;
        match (has_leader, self.no_leader_since_ms) {
            (true, Some(since_ms)) => {
                *longest_ms = (*longest_ms).max(self.now_ms - since_ms);
                self.no_leader_since_ms = None;
            }
            (false, None) => self.no_leader_since_ms = Some(self.now_ms),
            _ => {}
        }
    }

    fn end(mut self) -> Outcome {
        self.truth.nothing_is_lost();
        let last = self.truth.last_applied();
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.is_gone) {
            let applied = node.applied();
            let is_whole = applied == Some(last.index);
            let all = || self.nodes.iter().map(Node::describe).collect::<Vec<_>>();
            must!(is_whole, "node {number} lacks some of {} in the end: {:#?}", last.index, all());
        }
        must!(self.nodes.iter().any(Node::leads), "nobody leads in the end");
        self.outcome.voters = self.nodes.iter().map(Node::voters).max().unwrap_or(0);
        self.outcome.snapshots +=
            self.nodes.iter().filter_map(|node| Some(node.running.as_ref()?.snapshots)).sum::<u64>();
        let states: Vec<_> = self.nodes.iter_mut().filter_map(Node::state).collect();
        if let Some(first) = states.first() {
            must!(states.iter().all(|state| state == first), "states differ: {states:?}");
            let messages = self.truth.messages();
            must!(first.contains(&format!(", {messages})]")), "{messages} messages are alive, and not {first}");
        }
        let pins = self.nodes.iter().map(Node::pins).sum::<usize>();
        must!(pins <= 1, "one is kept for a moment longer than it is needed, and not {pins}");
        self.outcome.confirmed = self.truth.confirmed_records;
        self.outcome.entries = last.index;
        self.outcome.leaders = self.truth.terms_with_leader();
        self.outcome.trace = self.truth.trace;
        self.outcome
    }
}

fn member_of(chance: &mut Chance) -> MemberId {
    MemberId(NonZeroU64::new(chance.next() | 1).expect("odd"))
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.confirmed += other.confirmed;
        self.entries += other.entries;
        self.leaders += other.leaders;
        self.crashes += other.crashes;
        self.wipes += other.wipes;
        self.rots += other.rots;
        self.snapshots += other.snapshots;
        self.longest_without_leader_ms = self.longest_without_leader_ms.max(other.longest_without_leader_ms);
        self.longest_without_confirm_ms = self.longest_without_confirm_ms.max(other.longest_without_confirm_ms);
        self.voters = other.voters;
        self.trace = self.trace.rotate_left(5) ^ other.trace;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} messages, {} entries, {} records confirmed, {} leaders, {} crashes, {} folders lost, {} \
             rotten, {} snapshots, {} ms without a leader and {} ms without a confirm at most, trace {:016x}",
            self.seeds,
            self.steps,
            self.entries,
            self.confirmed,
            self.leaders,
            self.crashes,
            self.wipes,
            self.rots,
            self.snapshots,
            self.longest_without_leader_ms,
            self.longest_without_confirm_ms,
            self.trace,
        )
    }
}
