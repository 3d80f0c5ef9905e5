//! When a member stands for election, and how the lead goes from one to another.
//!
//! ```text
//!   follows ──► no word from who leads for half a second to one second ──► campaigns
//!           ├─► the connections to who leads ended ──► its turn comes ───► campaigns: the first of the voters that are
//!           │                                                             left after 50 to 100 ms, the next 150 ms later
//!           └─► who leads gives it away ─────────────────────────────────► campaigns at once
//! ```
//! As long as a member hears of a leader it has no vote for anybody else, so who alone lost its connections unseats nobody.

use super::Consensus;
use super::id_of;
use crate::cluster::membership::MemberRole;
use crate::storage::MemberId;
use raft::StateRole;

/// Ticks without a word from the leader after which a member campaigns, at least; at most nearly twice as many.
pub(super) const ELECTION_TICKS: usize = 10;
pub(super) const HEARTBEAT_TICKS: usize = 2;
/// Ticks without anybody else to lead after which even a member campaigns that is to leave that to others.
const LAST_RESORT_TICKS: usize = 100;
/// Ticks after the end of the connections to who led at which the first campaigns: the others have seen that end by then.
const FIRST_TURN_TICKS: usize = 2;
/// And from each turn to the next: an election is over by then.
const TURN_TICKS: usize = 3;

fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ (hash >> 29)
}

impl Consensus {
    /// A tick of time has passed.
    pub fn tick(&mut self) {
        if self.is_held() {
            return;
        }
        let (chance, timeout) = self.election_timeout();
        let raft = &mut self.raw.raft;
        raft.set_randomized_election_timeout(timeout);
        if raft.state != StateRole::Leader {
            self.heard_before.clear();
        } else if raft.election_elapsed + 1 >= ELECTION_TICKS {
            let heard = raft.prs().iter().filter(|(_, progress)| progress.recent_active);
            self.heard_before = heard.map(|(id, _)| *id).collect();
        }
        // For who leaves it to others time goes on until they may have its vote, and no further.
        let is_due = raft.state != StateRole::Leader && raft.election_elapsed + 1 >= timeout;
        self.left_to_others = if is_due { self.left_to_others + 1 } else { 0 };
        let patience = LAST_RESORT_TICKS + (chance % ELECTION_TICKS as u64) as usize;
        if is_due && !self.may_campaign && self.left_to_others < patience {
            return;
        }
        self.raw.tick();
    }

    /// Chance, for as long as nothing changes, and the ticks after which this member campaigns. The crate would ask the
    /// system.
    fn election_timeout(&self) -> (u64, usize) {
        let raft = &self.raw.raft;
        let chance = mix(mix(mix(self.chance, raft.term), self.me.0.get()), raft.state as u64);
        let ticks = match self.may_campaign {
            true => ELECTION_TICKS + (chance % ELECTION_TICKS as u64) as usize,
            false => 2 * ELECTION_TICKS - 1,
        };
        (chance, ticks)
    }

    pub fn set_may_campaign(&mut self, may_campaign: bool) {
        self.may_campaign = may_campaign;
    }

    /// The connections to this member have ended. If it leads it may be gone, and nobody waits to hear nothing from it: whoever
    /// asks has this member's vote, and it asks for the others' when its turn comes.
    pub fn lost_connection(&mut self, member: MemberId) {
        if self.is_held() || self.leader() != Some(member) || self.raw.raft.state != StateRole::Follower {
            return;
        }
        self.raw.raft.leader_id = raft::INVALID_ID;
        let mut left: Vec<_> = self.configuration.ids_of(MemberRole::Voter).filter(|id| *id != member).collect();
        left.sort_unstable_by_key(|id| id.0);
        if let Some(turn) = left.iter().position(|id| *id == self.me)
            && self.may_campaign
        {
            let (_, timeout) = self.election_timeout();
            let ticks = FIRST_TURN_TICKS + turn * TURN_TICKS;
            let elapsed = timeout.saturating_sub(ticks);
            self.raw.raft.election_elapsed = self.raw.raft.election_elapsed.max(elapsed);
        }
    }

    /// Gives the lead to this voter, as soon as it has everything; for the time of an election nothing is proposed.
    pub fn hand_over_to(&mut self, member: MemberId) {
        if self.leads() && !self.is_held() {
            self.raw.transfer_leader(member.0.get());
        }
    }

    /// Leads no more, whoever does next.
    pub fn step_down(&mut self) {
        if self.leads() {
            let term = self.term();
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    pub fn is_handing_over(&self) -> bool {
        self.heir().is_some()
    }

    /// Who is being given the lead.
    pub fn heir(&self) -> Option<MemberId> {
        self.raw.raft.lead_transferee.and_then(id_of)
    }

    /// Somebody is there, or there again: he hears at once who leads, and not when his turn to stand for election has come.
    pub fn greet(&mut self) {
        if !self.is_held() {
            self.raw.ping();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, member, said_in, the_member};
    use super::*;
    use crate::cluster::message::{Point, RaftMessage, Says};

    fn hears(consensus: &mut Consensus, from: u64, says: Says) -> Vec<Says> {
        let term = consensus.term().max(1);
        let to = consensus.me;
        assert!(consensus.receive(&RaftMessage { from: id(from), to, term, says }, None));
        said_in(consensus, 1)
    }

    fn follows(me: u64, leader: u64) -> Consensus {
        let mut consensus = the_member(me);
        hears(&mut consensus, leader, Says::Heartbeat { commit: 0 });
        assert_eq!(consensus.leader(), Some(id(leader)));
        consensus
    }

    #[test]
    fn who_may_not_campaign_gives_others_its_vote() {
        let mut consensus = member();
        consensus.set_may_campaign(false);
        assert_eq!(said_in(&mut consensus, 100), []);
        let last = Point::default();
        let says = Says::Vote { only_asks: false, transfers: false, last, commit: last };
        let said = hears(&mut consensus, 2, says);
        assert!(matches!(said[..], [Says::Voted { only_asked: false, granted: true, .. }]), "{said:?}");
        let said = said_in(&mut consensus, 2 * ELECTION_TICKS + LAST_RESORT_TICKS / 2);
        assert_eq!(said, []);
        let said = said_in(&mut consensus, 2 * ELECTION_TICKS + LAST_RESORT_TICKS);
        assert!(matches!(said[..], [Says::Vote { only_asks: true, .. }, ..]), "somebody has to: {said:?}");
        consensus.set_may_campaign(true);
        let said = said_in(&mut consensus, 2 * ELECTION_TICKS);
        assert!(matches!(said[..], [Says::Vote { only_asks: true, .. }, ..]), "{said:?}");
    }

    /// One after the other, or both would have one vote each.
    #[test]
    fn those_whose_leader_is_gone_stand_for_election_in_turn() {
        for (me, leader, turn) in [(1, 2, 0), (1, 3, 0), (2, 1, 0), (2, 3, 1), (3, 1, 1), (3, 2, 1)] {
            let mut consensus = follows(me, leader);
            consensus.lost_connection(id(6 - me - leader));
            assert_eq!(consensus.leader(), Some(id(leader)), "another one is gone");
            consensus.lost_connection(id(leader));
            assert_eq!(consensus.leader(), None);
            let before = FIRST_TURN_TICKS + turn * TURN_TICKS - 1;
            assert_eq!(said_in(&mut consensus, before), []);
            let said = said_in(&mut consensus, 1);
            assert!(matches!(said[..], [Says::Vote { only_asks: true, .. }, ..]), "{said:?}");
        }
    }

    #[test]
    fn a_vote_is_free_once_the_leader_is_gone_and_not_before() {
        let last = Point::default();
        let asked = Says::Vote { only_asks: true, transfers: false, last, commit: last };
        let ask = |consensus: &mut Consensus| {
            let term = consensus.term() + 1;
            assert!(consensus.receive(&RaftMessage { from: id(2), to: id(1), term, says: asked }, None));
            said_in(consensus, 1)
        };
        let mut consensus = follows(1, 3);
        assert_eq!(ask(&mut consensus), []);
        consensus.lost_connection(id(3));
        assert!(matches!(ask(&mut consensus)[..], [Says::Voted { only_asked: true, granted: true, .. }]));
    }

    /// Whoever is to be given the lead has to be active when somebody looks.
    #[test]
    fn who_answers_is_active_at_any_tick() {
        let mut consensus = member();
        let mut said = Vec::new();
        while !consensus.leads() {
            let asked = said.iter().find_map(|says| match says {
                Says::Vote { only_asks, .. } => Some(*only_asks),
                _ => None,
            });
            let term = consensus.term() + u64::from(asked == Some(true));
            if let Some(only_asked) = asked {
                let says = Says::Voted { only_asked, granted: true, commit: Point::default() };
                assert!(consensus.receive(&RaftMessage { from: id(2), to: id(1), term, says }, None));
            }
            said = said_in(&mut consensus, 1);
        }
        // From now on the crate counts anew in ticks in which it asks nobody.
        said_in(&mut consensus, 1);
        consensus.hand_over_to(id(3));
        let mut active_in = |ticks, answers: bool| {
            let mut active = Vec::new();
            for _ in 0..ticks {
                let said = said_in(&mut consensus, 1);
                if answers && said.iter().any(|says| matches!(says, Says::Heartbeat { .. })) {
                    let (term, says) = (consensus.term(), Says::Alive { commit: 0 });
                    consensus.receive(&RaftMessage { from: id(2), to: id(1), term, says }, None);
                }
                active.push(consensus.reach(id(2)).unwrap().is_active);
            }
            active
        };
        active_in(HEARTBEAT_TICKS, true);
        assert_eq!(active_in(5 * ELECTION_TICKS, true), [true; 5 * ELECTION_TICKS]);
        let active = active_in(2 * ELECTION_TICKS, false);
        assert!(!active[2 * ELECTION_TICKS - 1], "until it is silent for longer: {active:?}");
    }

    /// It was only its connections.
    #[test]
    fn who_hears_of_its_leader_again_follows_it() {
        let mut consensus = follows(1, 3);
        consensus.lost_connection(id(3));
        let said = hears(&mut consensus, 3, Says::Heartbeat { commit: 0 });
        assert!(matches!(said[..], [Says::Alive { .. }]), "{said:?}");
        assert_eq!(consensus.leader(), Some(id(3)));
        assert_eq!(said_in(&mut consensus, ELECTION_TICKS - 2), []);
    }
}
