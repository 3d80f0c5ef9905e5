//! Giving the lead away: because an operator wants it, because this node's disk hangs, or because it stops.

use super::consensus::Consensus;
use super::peers::NodeNumber;
use super::{Member, Output, Role, State};
use crate::storage::MemberId;

/// A leader whose disk is busy with one request for so long gives the lead to somebody whose is not.
const STALL_MAX_MS: u64 = 2_000;
/// How long a stop waits for somebody else to lead.
const STOP_MAX_MS: u64 = 3_000;
/// How long an order to give the lead away waits for somebody who can have it: who has just connected has yet to be heard of.
const ORDER_MAX_MS: u64 = 1_000;

/// An order to give the lead of this term away for which nobody was there yet.
pub(super) struct Order {
    term: u64,
    to: Option<MemberId>,
    by_ms: u64,
}

/// A node that is to stop.
pub(super) struct Stop {
    /// It does then, whoever leads.
    by_ms: u64,
    /// It had the lead to give away.
    led: bool,
}

impl Member {
    /// Gives the lead to another node, if this one has it: to the one that is asked for, or to whoever has most.
    pub fn hand_over(&mut self, to: Option<NodeNumber>) {
        let to = to.and_then(|node| self.peers.hello(node)).map(|hello| hello.member);
        let term = self.consensus().map_or(0, Consensus::term);
        self.order = Some(Order { term, to, by_ms: self.now_ms + ORDER_MAX_MS });
        self.hand_over_if_ordered();
        self.settle();
    }

    pub(super) fn hand_over_if_ordered(&mut self) {
        let Some(Order { term, to, by_ms }) = self.order.take() else { return };
        let is_of_now = self.consensus().is_some_and(|consensus| consensus.leads() && consensus.term() == term);
        if is_of_now && !self.hand_over_to_best(to) && self.now_ms < by_ms {
            self.order = Some(Order { term, to, by_ms });
        }
    }

    /// Of those who can lead, who is in maintenance only if nobody else can, and there is no sense in it for one who is as well.
    /// True when the lead is on its way to somebody.
    pub(super) fn hand_over_to_best(&mut self, wanted: Option<MemberId>) -> bool {
        let may_be_drained = !self.condition.is_drained || self.stop.is_some() || wanted.is_some();
        let State::Founded(founded) = &mut self.state else { return false };
        let consensus = &mut founded.consensus;
        if !consensus.leads() || consensus.is_handing_over() {
            return consensus.is_handing_over();
        }
        let peers = &self.peers;
        let can = consensus.reaches().filter_map(|(id, reach)| {
            let node = peers.node_of(id).filter(|_| reach.is_active && consensus.configuration().is_voter(id))?;
            let is_drained = peers.condition(node).is_some_and(|condition| condition.is_drained);
            Some((id, !is_drained, reach.matched))
        });
        let wanted = can.filter(|(id, ..)| wanted.is_none_or(|wanted| wanted == *id));
        let wanted = wanted.filter(|(_, serves, _)| *serves || may_be_drained);
        let best = wanted.max_by_key(|(id, serves, matched)| (*serves, *matched, id.0));
        best.is_some_and(|(best, ..)| {
            consensus.hand_over_to(best);
            true
        })
    }

    /// This node's disk hangs while the others go on: one of them leads from now on.
    pub(super) fn hand_over_if_stalled(&mut self) {
        let now_ms = self.now_ms;
        let Some(founded) = self.founded_mut() else { return };
        let since_ms = founded.writing.busy_since_ms();
        let is_stalled = since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= STALL_MAX_MS);
        if is_stalled && founded.consensus.committed() > founded.consensus.persisted() {
            self.hand_over_to_best(None);
        }
    }

    /// Stops in order: whoever leads gives the lead away first, and stays until another one has it, who may need its vote.
    /// [`Output::Stopped`] says that it may go.
    pub fn stop(&mut self) {
        self.stop.get_or_insert(Stop { by_ms: self.now_ms + STOP_MAX_MS, led: false });
        self.campaign_if_allowed();
        self.settle();
    }

    pub(super) fn hand_over_if_stopping(&mut self) {
        if self.consensus().is_some_and(Consensus::leads)
            && let Some(stop) = &mut self.stop
        {
            stop.led = true;
            self.hand_over_to_best(None);
        }
    }

    /// Says so last, when it has been said who leads now.
    pub(super) fn stop_if_due(&mut self) {
        let Some(Stop { by_ms, led }) = self.stop else { return };
        let somebody_else_leads = || matches!(self.role, Role::Follow { leader: Some(_) });
        if !led || somebody_else_leads() || self.now_ms >= by_ms {
            self.output.push_back(Output::Stopped);
            self.stop = None;
        }
    }
}
