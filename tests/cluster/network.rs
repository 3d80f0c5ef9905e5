//! The connections between nodes: two for each pair, in order within each; messages may be dropped, and a direction cut.

use super::chance::Chance;
use leveret::cluster::message::Lane;
use std::collections::BTreeMap;

pub const NODES: usize = 3;

pub struct Packet {
    pub from: usize,
    pub to: usize,
    /// Of the run of the sender and of the receiver: what one of them did not live to see is lost.
    pub lives: (u64, u64),
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub struct Network {
    /// By the time that it arrives, and the order that it was sent in.
    on_the_way: BTreeMap<(u64, u64), Packet>,
    sent: u64,
    last_arrival_ms: BTreeMap<(usize, usize, bool), u64>,
    cut: [[bool; NODES]; NODES],
    /// One message in so many is lost.
    pub loses_one_in: Option<u64>,
}

impl Network {
    pub fn send(&mut self, packet: Packet, lane: Lane, now_ms: u64, chance: &mut Chance) {
        if self.loses_one_in.is_some_and(|times| chance.one_in(times)) {
            return;
        }
        // Large ones take longer.
        let delay_ms = 1 + chance.below(3) + packet.bytes.len() as u64 / 100_000;
        let last_ms = self.last_arrival_ms.entry((packet.from, packet.to, lane == Lane::Bulk)).or_default();
        let at_ms = (*last_ms).max(now_ms + delay_ms);
        *last_ms = at_ms;
        self.put(packet, at_ms);
    }

    /// It arrives then, behind what arrives then already.
    pub fn put(&mut self, packet: Packet, at_ms: u64) {
        self.sent += 1;
        self.on_the_way.insert((at_ms, self.sent), packet);
    }

    /// What arrives now, but for what is cut off.
    pub fn arriving(&mut self, now_ms: u64) -> Option<Packet> {
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let packet = entry.remove();
            if !self.cut[packet.from][packet.to] {
                return Some(packet);
            }
        }
        None
    }

    /// What is on the way between these two is lost.
    pub fn lose(&mut self, one: usize, other: usize) {
        self.on_the_way
            .retain(|_, packet| (packet.from, packet.to) != (one, other) && (packet.from, packet.to) != (other, one));
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    pub fn isolate(&mut self, node: usize) {
        for other in 0..NODES {
            self.cut[node][other] = true;
            self.cut[other][node] = true;
        }
    }

    pub fn heal(&mut self) {
        self.cut = Default::default();
    }
}
