//! How nodes get to know each other: what each says of itself, and who is told that he is in a cluster.
//!
//! ```text
//!   Hello ──► belongs to nothing, and is a member ──► Founding ──► Found ──► founded ──► Hello
//! ```

use super::super::membership::Configuration;
use super::super::message::{Hello, Lane, Message, Part};
use super::consensus::Consensus;
use super::ledger::Known;
use super::peers::NodeNumber;
use super::{Member, Output, Settings, State, forming};

impl Member {
    pub(super) fn hello(&self) -> Message {
        let cluster = self.consensus().map(|consensus| consensus.configuration().cluster);
        let Settings { member, nodes, rejoins, .. } = self.settings.clone();
        Message::Hello(Hello { member, cluster, nodes, rejoins: rejoins && cluster.is_none() })
    }

    pub(super) fn say_hello(&mut self) {
        let hello = self.hello().encode();
        for node in self.peers.others() {
            self.send(node, Lane::Control, vec![Part::Bytes(hello.clone())]);
        }
    }

    pub(super) fn greeted(&mut self, from: NodeNumber, hello: Hello) {
        let is_news = self.peers.hello(from).is_none_or(|before| before.nodes != hello.nodes);
        if is_news && hello.nodes != self.settings.nodes {
            tracing::warn!(
                target: "cluster",
                "node {} was told of other nodes than this one: {:?}", self.peers.name(from), hello.nodes
            );
        }
        let is_first = self.peers.hello(from).is_none();
        let belongs_to_nothing = hello.cluster.is_none();
        let member = hello.member;
        if let Some(peer) = self.peers.peer_mut(from) {
            peer.hello = Some(hello);
        }
        if let Some(founded) = self.founded_mut().filter(|_| is_first) {
            founded.consensus.greet();
        }
        // Who is a member and does not know it lost its power in the moment that it was told, or is told now.
        let configuration = self.consensus().map(Consensus::configuration);
        if belongs_to_nothing && let Some(configuration) = configuration.filter(|all| all.member(member).is_some()) {
            let founding = Message::Founding(configuration.clone());
            self.send(from, Lane::Control, vec![Part::Bytes(founding.encode())]);
        }
    }

    pub(super) fn told_of_founding(&mut self, from: NodeNumber, configuration: &Configuration) {
        if self.peers.hello(from).is_none_or(|hello| hello.cluster != Some(configuration.cluster)) {
            return;
        }
        if let State::Forming { is_told: is_told @ false } = &mut self.state
            && configuration.member(self.settings.member).is_some()
        {
            *is_told = true;
            self.output.push_back(Output::Found(configuration.at_founding()));
        }
    }

    /// The cluster's beginning is written down.
    pub fn founded(&mut self, known: Known) {
        if !matches!(self.state, State::Forming { .. }) {
            return;
        }
        self.begin(known);
        self.say_hello();
        self.tell_of_founding();
        self.settle();
    }

    /// Tells everybody who is a member and does not know it.
    pub(super) fn tell_of_founding(&mut self) {
        let Some(configuration) = self.consensus().map(|consensus| consensus.configuration().clone()) else { return };
        let outside = self.peers.known().filter(|(_, hello)| hello.cluster.is_none());
        let members = outside.filter(|(_, hello)| configuration.member(hello.member).is_some());
        let nodes: Vec<_> = members.map(|(node, _)| node).collect();
        let founding = Message::Founding(configuration);
        for node in nodes {
            self.send(node, Lane::Control, vec![Part::Bytes(founding.encode())]);
        }
    }

    pub(super) fn found_if_due(&mut self) {
        if let State::Forming { is_told: is_told @ false } = &mut self.state
            && !self.settings.rejoins
            && let Some(founding) = forming::founding(&self.peers, self.settings.member, self.settings.new_cluster)
        {
            *is_told = true;
            self.output.push_back(Output::Found(founding));
        }
    }
}
