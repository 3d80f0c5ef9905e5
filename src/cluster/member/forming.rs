//! How a cluster begins, and how a node comes into one: decisions, made of what nodes say of themselves.
//!
//! ```text
//!                     all nodes are connected, all belong to nothing, all know the same names
//!   belongs to nothing ──────────────────────────────────────────────────────────────────────► founds   (first name only)
//!          │
//!          └── told of a founding that it is in ──► writes it ──► belongs to the cluster
//! ```
//! Only the node whose name sorts first ever founds, and it is told of by every other one; so two clusters cannot come of
//! the same nodes, and a node that lost its folder does not make a new one with others that still have theirs. One that
//! knows that it lost its log takes no part in a founding, so that not even all of them together begin anew.

use super::super::membership::Configuration;
use super::peers::{NodeNumber, Peers};
use crate::storage::{ClusterId, MemberId};

/// The cluster that this node is to found now, if it is.
pub fn founding(peers: &Peers, me: MemberId, cluster: ClusterId) -> Option<Configuration> {
    if peers.me != NodeNumber(0) {
        return None;
    }
    let mut members = vec![(me, peers.name(peers.me).to_owned())];
    for node in peers.others() {
        let hello = peers.hello(node)?;
        if hello.cluster.is_some() || hello.rejoins || hello.nodes != peers.names() {
            return None;
        }
        members.push((hello.member, peers.name(node).to_owned()));
    }
    Configuration::founding(cluster, members)
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Hello;
    use super::*;
    use std::num::NonZeroU64;

    const CLUSTER: ClusterId = ClusterId([3; 16]);

    fn id(number: u64) -> MemberId {
        MemberId(NonZeroU64::new(number).unwrap())
    }

    fn names() -> Vec<String> {
        ["n1", "n2", "n3"].map(str::to_owned).to_vec()
    }

    fn seen_by(me: u8) -> Peers {
        let mut peers = Peers::new(NodeNumber(me), names());
        for other in peers.others() {
            let peer = peers.peer_mut(other).unwrap();
            peer.is_connected = true;
            peer.hello =
                Some(Hello { member: id(u64::from(other.0) + 1), cluster: None, nodes: names(), rejoins: false });
        }
        peers
    }

    #[test]
    fn the_first_founds_when_everybody_is_there_and_nobody_belongs_to_anything() {
        let founded = founding(&seen_by(0), id(1), CLUSTER).unwrap();
        assert_eq!(founded.members().iter().map(|member| member.id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
        assert_eq!(founding(&seen_by(1), id(2), CLUSTER), None, "the second one never does");
    }

    #[test]
    fn nobody_founds_beside_a_cluster_or_without_everybody() {
        let mut one_belongs = seen_by(0);
        one_belongs.peer_mut(NodeNumber(2)).unwrap().hello.as_mut().unwrap().cluster = Some(ClusterId([9; 16]));
        let mut one_is_gone = seen_by(0);
        one_is_gone.peer_mut(NodeNumber(1)).unwrap().disconnected();
        let mut one_was_told_of_others = seen_by(0);
        one_was_told_of_others.peer_mut(NodeNumber(1)).unwrap().hello.as_mut().unwrap().nodes.push("n4".to_owned());
        let mut one_is_the_same = seen_by(0);
        one_is_the_same.peer_mut(NodeNumber(1)).unwrap().hello.as_mut().unwrap().member = id(1);
        let mut one_lost_its_log = seen_by(0);
        one_lost_its_log.peer_mut(NodeNumber(1)).unwrap().hello.as_mut().unwrap().rejoins = true;
        for peers in [one_belongs, one_is_gone, one_was_told_of_others, one_is_the_same, one_lost_its_log] {
            assert_eq!(founding(&peers, id(1), CLUSTER), None);
        }
    }
}
