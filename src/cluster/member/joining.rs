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

/// What one configuration changes of the one before it, for the log.
pub fn told(before: &Configuration, next: &Configuration) -> String {
    let of_node = |configuration: &Configuration, node: &str| {
        configuration.members().iter().filter(|member| member.node == node).count()
    };
    let is_new = |member: &&Listed| before.member(member.id) != Some(*member);
    if let Some(gone) = before.members().iter().find(|member| next.member(member.id).is_none()) {
        let node = &gone.node;
        return match of_node(next, node) {
            0 => format!("node {node} is to be no member any more"),
            _ => format!("node {node} has another data folder now: what it was before is to be no member any more"),
        };
    }
    match next.members().iter().find(is_new) {
        Some(Listed { node, role: MemberRole::Learner, .. }) => {
            format!("node {node} is to become a member, which votes once it has everything")
        }
        Some(Listed { node, role: MemberRole::Voter, .. }) => format!("node {node} has everything, and is to vote"),
        None => "the members are to stay as they are".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{ClusterId, MemberId};
    use std::num::NonZeroU64;

    fn id(number: u64) -> MemberId {
        MemberId(NonZeroU64::new(number).unwrap())
    }

    #[test]
    fn changes_are_told_in_words() {
        let members = (1..=3).map(|number| (id(number), format!("n{number}")));
        let founded = Configuration::founding(ClusterId([1; 16]), members).unwrap();
        let welcome = founded.with_learner(id(4), "n3").unwrap();
        let replaced = welcome.without(id(3)).unwrap();
        let votes = replaced.with_vote(id(4)).unwrap();
        let forgotten = votes.without(id(4)).unwrap();
        let steps = [founded, welcome, replaced, votes, forgotten];
        let told: Vec<_> = steps.windows(2).map(|pair| told(&pair[0], &pair[1])).collect();
        let expected = [
            "node n3 is to become a member, which votes once it has everything",
            "node n3 has another data folder now: what it was before is to be no member any more",
            "node n3 has everything, and is to vote",
            "node n3 is to be no member any more",
        ];
        assert_eq!(told, expected);
    }
}
