//! What a leader changes about the members: who comes new is added, caught up, and votes; whom he replaces goes first.
//!
//! ```text
//!   a node says that it belongs to nothing ──► learner ──► has nearly everything ──► the node's old member goes ──► voter
//! ```
//! One change at a time. The old member goes before the new one votes, so that there are never more voters than nodes: with
//! four, three of them gone old and new, nobody could commit.

use super::super::membership::{Configuration, Listed, MemberRole};
use super::consensus::Consensus;
use super::peers::Peers;

/// A learner this close to the end of the log votes from now on: entries.
pub const CAUGHT_UP_WITHIN: u64 = 64;

/// The configuration to propose next, if there is a change to be made. Of a node that is to be forgotten no member stays.
pub fn next(consensus: &Consensus, peers: &Peers, forgets: Option<&str>) -> Option<Configuration> {
    if !consensus.may_configure() {
        return None;
    }
    let configuration = consensus.configuration();
    let forgotten = configuration.members().iter().find(|member| Some(&member.node[..]) == forgets);
    if let Some(forgotten) = forgotten {
        return configuration.without(forgotten.id);
    }
    let promoted = configuration.members().iter().filter(|member| member.role == MemberRole::Learner);
    let promoted = promoted.filter(|learner| is_caught_up(consensus, peers, learner));
    promoted.into_iter().find_map(|learner| admit(consensus, learner)).or_else(|| welcome(configuration, peers))
}

fn is_caught_up(consensus: &Consensus, peers: &Peers, learner: &Listed) -> bool {
    peers.node_of(learner.id).is_some()
        && consensus.reach(learner.id).is_some_and(|reach| {
            let last = consensus.ledger().last().index;
            reach.is_active && !reach.needs_snapshot && reach.matched + CAUGHT_UP_WITHIN >= last
        })
}

/// A learner has nearly everything: the one that it replaces goes, and then it votes.
fn admit(consensus: &Consensus, learner: &Listed) -> Option<Configuration> {
    let configuration = consensus.configuration();
    let replaced = configuration.members().iter().find(|member| member.node == learner.node && member.id != learner.id);
    match replaced {
        Some(old) => configuration.without(old.id),
        None => configuration.with_vote(learner.id),
    }
}

/// Somebody belongs to nothing and is no member: it becomes a learner, in place of another that its node was.
fn welcome(configuration: &Configuration, peers: &Peers) -> Option<Configuration> {
    let newcomers = peers.known().filter(|(_, hello)| hello.cluster.is_none());
    newcomers.filter(|(_, hello)| configuration.member(hello.member).is_none()).find_map(|(node, hello)| {
        let name = peers.name(node);
        let stale =
            configuration.members().iter().find(|member| member.node == name && member.role == MemberRole::Learner);
        match stale {
            Some(stale) => configuration.without(stale.id),
            None => configuration.with_learner(hello.member, name),
        }
    })
}
