//! A disk without room: what finds none waits, what was promised stays, and nothing fails.

use super::model::{Model, Node, founded, member, options};
use leveret::storage::LogOptions;
use leveret::storage::entry::Vote;
use leveret::storage::replica::{ReplicaReport, ReplicaRequest};

fn knobs() -> LogOptions {
    LogOptions { segment_bytes: 1024, kept_for_followers_bytes: 0, ..options() }
}

fn is_full(node: &Node) -> bool {
    let said = node.said.iter().rev();
    said.map_while(|report| match report {
        ReplicaReport::HasRoom => None,
        report => Some(matches!(report, ReplicaReport::Full)),
    })
    .any(|is_full| is_full)
}

/// Messages until there is no room for another one.
fn fill_up(node: &mut Node, model: &mut Model) {
    node.disk.fill(true);
    for _ in 0..20 {
        if is_full(node) {
            return;
        }
        let effects = vec![model.enqueue(1, 90)];
        model.write(node, effects);
    }
    panic!("there is always room");
}

/// Which appends are said to be on the disk when it is asked again whether there is room, and whether none waits any more.
fn asked_again(node: &mut Node) -> (usize, bool) {
    let said = node.ask(ReplicaRequest::MakeRoom);
    let persisted = said.iter().filter(|report| matches!(report, ReplicaReport::Persisted { .. })).count();
    let has_room = said.iter().any(|report| matches!(report, ReplicaReport::HasRoom));
    node.said.extend(said);
    (persisted, has_room)
}

#[test]
fn what_finds_no_room_is_written_in_order_when_there_is_some() {
    for cuts_off in [false, true] {
        let (mut node, mut model) = founded(knobs());
        fill_up(&mut node, &mut model);
        let vote = model.vote(Vote { term: 5, member: Some(member(2)) });
        model.append(&mut node, Vec::new(), Some(vote));
        if cuts_off {
            model.cut_off_behind(model.committed + 1);
            model.term = 5;
        }
        let effects = vec![model.enqueue(2, 90)];
        model.write(&mut node, effects);
        assert_eq!(asked_again(&mut node), (0, false));
        let (mut again, found) = Node::open(&node.disk.after_crash(3), knobs()).unwrap();
        model.clone().check(&found, &mut again);
        node.disk.fill(false);
        assert_eq!(asked_again(&mut node), (3, true));
        let effects = vec![model.enqueue(2, 90)];
        model.write(&mut node, effects);
        model.commit(&mut node, u64::MAX);
        model.check_state(&mut node);
        assert!(!node.failed);
        let (mut again, found) = Node::open(&node.disk.after_crash(3), knobs()).unwrap();
        model.check(&found, &mut again);
    }
}

#[test]
fn a_log_that_is_full_again_and_again_loses_nothing() {
    let (mut node, mut model) = founded(knobs());
    let mut filled = 0;
    for round in 0..300 {
        match round % 40 {
            17 => node.disk.fill(true),
            31 => {
                filled += u64::from(is_full(&node));
                node.disk.fill(false);
                asked_again(&mut node);
            }
            _ => {}
        }
        let mut effects = vec![model.enqueue(1, 90)];
        if round % 5 == 0 {
            effects.push(model.enqueue(2, 50));
        }
        if round > 5 {
            effects.extend(model.remove(1));
        }
        model.write(&mut node, effects);
        if !is_full(&node) {
            model.commit(&mut node, u64::MAX);
        }
        node.maintain(5);
        assert!(!node.failed, "round {round}");
    }
    assert!(filled > 3 && node.duty.writer().totals().moved_bytes > 0, "{filled} times");
    model.commit(&mut node, u64::MAX);
    model.check_state(&mut node);
    let (mut again, found) = Node::open(&node.disk.after_crash(3), knobs()).unwrap();
    model.check(&found, &mut again);
}
