//! Giving the lead away: because an operator wants it, because this node's disk hangs, or because it stops.

use super::consensus::Consensus;
use super::joining::CAUGHT_UP_WITHIN;
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
    to: Option<NodeNumber>,
    by_ms: u64,
}

/// A node that is to stop.
pub(super) struct Stop {
    /// It does then, whoever leads.
    by_ms: u64,
    /// It had the lead to give away.
    led: bool,
}

/// Who can lead: a voter that is there.
pub(super) struct Heir {
    id: MemberId,
    /// It is sent what it lacks in no time.
    pub has_nearly_all: bool,
    /// It is not in maintenance.
    pub serves: bool,
    /// It has everything up to this entry.
    matched: u64,
}

impl Heir {
    /// Who lacks nearly nothing comes first, and of those who serves: while another one is sent what it lacks nothing is
    /// published, and if that takes longer than an election does, it was for nothing.
    fn rank(&self) -> impl Ord + use<> {
        (self.has_nearly_all, self.has_nearly_all && self.serves, self.matched, self.serves, self.id.0)
    }
}

impl Member {
    /// Gives the lead to another node, if this one has it: to the one that is asked for, or to the [best](Heir::rank).
    pub fn hand_over(&mut self, to: Option<NodeNumber>) {
        let term = self.consensus().map_or(0, Consensus::term);
        self.order = Some(Order { term, to, by_ms: self.now_ms + ORDER_MAX_MS });
        self.hand_over_if_ordered();
        self.settle();
    }

    pub(super) fn hand_over_if_ordered(&mut self) {
        let Some(order) = self.order.take() else { return };
        let Some(consensus) = self.consensus() else { return };
        if !consensus.leads() || consensus.term() != order.term {
            return;
        }
        // Who is in maintenance would serve nobody, and give it back at once.
        let may_be_drained = self.stop.is_some() || order.to.is_some();
        let to = order.to.map(|node| self.peers.hello(node).map(|hello| hello.member));
        let is_wanted = |heir: &Heir| to.is_none_or(|to| to == Some(heir.id)) && (heir.serves || may_be_drained);
        self.hand_over_to_best(is_wanted);
        // It may be on its way to somebody else, in vain.
        let heir = self.consensus().and_then(Consensus::heir);
        let is_done = heir.is_some_and(|heir| to.is_none_or(|to| to == Some(heir)));
        if !is_done && self.now_ms < order.by_ms {
            self.order = Some(order);
        }
    }

    /// Gives the lead to the best of those that are wanted, if this node has it and it is on its way to nobody.
    pub(super) fn hand_over_to_best(&mut self, is_wanted: impl Fn(&Heir) -> bool) {
        let State::Founded(founded) = &mut self.state else { return };
        let consensus = &mut founded.consensus;
        if !consensus.leads() || consensus.is_handing_over() {
            return;
        }
        let (peers, last) = (&self.peers, consensus.ledger().last().index);
        let heirs = consensus.reaches().filter_map(|(id, reach)| {
            let node = peers.node_of(id).filter(|_| reach.is_active && consensus.configuration().is_voter(id))?;
            let serves = peers.condition(node).is_none_or(|condition| !condition.is_drained);
            let has_nearly_all = reach.matched + CAUGHT_UP_WITHIN >= last;
            Some(Heir { id, has_nearly_all, serves, matched: reach.matched })
        });
        if let Some(best) = heirs.filter(is_wanted).max_by_key(Heir::rank) {
            consensus.hand_over_to(best.id);
        }
    }

    /// This node's disk hangs while the others go on: one of them leads from now on.
    pub(super) fn hand_over_if_stalled(&mut self) {
        let now_ms = self.now_ms;
        let Some(founded) = self.founded_mut() else { return };
        let since_ms = founded.writing.busy_since_ms();
        let is_stalled = since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= STALL_MAX_MS);
        if is_stalled && founded.consensus.committed() > founded.consensus.persisted() {
            self.hand_over_to_best(|_| true);
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
            self.hand_over_to_best(|_| true);
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
