//! How nodes are, as they say themselves: whether one is in maintenance, and what it runs out of. They say it again and again, as
//! a message may be lost, and nothing of a node is known that doesn't say so.

use super::super::message::{Condition, Lane, Message, Part};
use super::peers::NodeNumber;
use super::{Member, State};

impl Member {
    /// How this node is from now on, which the others are told. One that is in maintenance doesn't stand for election as long
    /// as another does; it follows and votes as before.
    pub fn set_condition(&mut self, condition: Condition) {
        if self.condition != condition {
            self.condition = condition;
            self.campaign_if_allowed();
            self.say_condition();
        }
    }

    /// How this node is.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// How another node is, as it said since it is connected.
    pub fn condition_of(&self, node: NodeNumber) -> Option<Condition> {
        self.peers.condition(node)
    }

    pub(super) fn campaign_if_allowed(&mut self) {
        let may_campaign = !self.condition.is_drained && self.stop.is_none();
        if let State::Founded(founded) = &mut self.state {
            founded.consensus.set_may_campaign(may_campaign && !founded.is_damaged);
        }
    }

    pub(super) fn say_condition(&mut self) {
        let said = Message::Condition(self.condition).encode();
        for node in self.peers.others() {
            self.send(node, Lane::Control, vec![Part::Bytes(said.clone())]);
        }
    }

    pub(super) fn told_condition(&mut self, from: NodeNumber, condition: Condition) {
        if let Some(peer) = self.peers.peer_mut(from) {
            peer.condition = Some(condition);
        }
    }
}
