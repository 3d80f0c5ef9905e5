//! One member beside others who say what the test has them say.

use super::*;
use crate::storage::ClusterId;

pub(super) fn id(number: u64) -> MemberId {
    id_of(number).unwrap()
}

pub(super) fn member() -> Consensus {
    the_member(1)
}

/// Of three.
pub(super) fn the_member(me: u64) -> Consensus {
    let members = (1..=3).map(|number| (id(number), format!("n{number}")));
    let configuration = Configuration::founding(ClusterId([1; 16]), members).unwrap();
    Consensus::start(Known::at_founding(id(me), configuration), 7)
}

/// What it says in so many ticks, with a disk that is done at once.
pub(super) fn said_in(consensus: &mut Consensus, ticks: usize) -> Vec<Says> {
    let mut said = Vec::new();
    for _ in 0..ticks {
        consensus.tick();
        while let Some(step) = consensus.take_step() {
            said.extend(step.now.iter().map(|(message, _)| message.says));
            said.extend(step.then.iter().map(|message| message.says));
            consensus.persisted_up_to(step.number, []);
        }
    }
    said
}

/// Its leader counts on entries that it had said to have: unanswered, it would never be sent what it refuses.
#[test]
fn who_lost_what_its_leader_counts_on_answers_and_commits_nothing() {
    let mut consensus = member();
    let committed = consensus.committed();
    let says = Says::Heartbeat { commit: committed + 9 };
    assert!(consensus.receive(&RaftMessage { from: id(2), to: id(1), term: 1, says }, None));
    let said = said_in(&mut consensus, 1);
    assert!(matches!(said[..], [Says::Alive { .. }]), "{said:?}");
    assert_eq!(consensus.committed(), committed);
}

/// The last step that follows from what a leader sends: entries behind one another, each in a message of its own.
fn step_of(consensus: &mut Consensus, from: u64, term: u64, entries: &[EntryLabel], commit: u64) -> Step {
    let mut last = Step::default();
    for entry in entries {
        let before = entries.iter().find(|before| before.index + 1 == entry.index);
        let before = before.map_or(Point::default(), |before| Point { index: before.index, term: before.term });
        let says = Says::Append { before, commit, entry: Some(*entry) };
        let message = RaftMessage { from: id(from), to: id(1), term, says };
        assert!(consensus.receive(&message, Some(EntryBody::copied(b"body"))));
        while let Some(step) = consensus.take_step() {
            last = step;
        }
    }
    last
}

/// Of five members: one leads and sends three entries, another one leads and sends one in their place, which a third
/// member does not get; so the first one can lead again, and sends the three once more. The disk hangs all the while.
#[test]
fn what_is_written_over_by_another_leader_and_again_by_the_first_is_written_at_last() {
    let members = (1..=5).map(|number| (id(number), format!("n{number}")));
    let configuration = Configuration::founding(ClusterId([1; 16]), members).unwrap();
    let mut consensus = Consensus::start(Known::at_founding(id(1), configuration), 7);
    let kind = EntryKind::Records;
    let entry = |term, index| EntryLabel { term, index, first_position: index, records: 1, kind };
    let of_first = [entry(1, 1), entry(1, 2), entry(1, 3)];
    let first = step_of(&mut consensus, 2, 1, &of_first, 0).number;
    let second = step_of(&mut consensus, 3, 2, &[entry(2, 1)], 0).number;
    let again = [&of_first[..], &[entry(3, 4)]].concat();
    let last = step_of(&mut consensus, 2, 3, &again, 4).number;
    for number in [first, second] {
        consensus.persisted_up_to(number, []);
        assert_eq!((consensus.persisted(), consensus.take_step().and_then(|step| step.committed)), (0, None));
    }
    consensus.persisted_up_to(last, []);
    assert_eq!((consensus.persisted(), consensus.take_step().and_then(|step| step.committed)), (4, Some(4)));
}

#[test]
fn a_vote_is_said_when_it_is_on_the_disk() {
    let mut consensus = member();
    let last = Point::default();
    let says = Says::Vote { only_asks: false, transfers: false, last, commit: last };
    consensus.receive(&RaftMessage { from: id(2), to: id(1), term: 1, says }, None);
    let step = consensus.take_step().unwrap();
    assert_eq!(step.vote, Some(Vote { term: 1, member: Some(id(2)) }));
    assert!(step.now.is_empty() && matches!(step.then[..], [RaftMessage { says: Says::Voted { .. }, .. }]));
    // Nor is it alive for the leader before.
    let says = Says::Heartbeat { commit: 0 };
    consensus.receive(&RaftMessage { from: id(2), to: id(1), term: 1, says }, None);
    assert!(consensus.take_step().unwrap().now.is_empty());
    consensus.persisted_up_to(step.number, []);
    consensus.receive(&RaftMessage { from: id(2), to: id(1), term: 1, says }, None);
    let step = consensus.take_step().unwrap();
    assert!(matches!(step.now[..], [(RaftMessage { says: Says::Alive { .. }, .. }, None)]), "at once, from then on");
}
