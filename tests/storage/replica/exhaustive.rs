//! All sequences of two things that a leader or a follower does to its log, and some of three, with a crash at every call
//! of the disk, each of which loses what was not synced in another way.

use super::model::{Effect, Model, Node, founded, member, options};
use crate::sim_disk::{Fault, SimDisk};
use leveret::storage::entry::Vote;
use leveret::storage::replica::ReplicaRequest;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Operation {
    Enqueue,
    EnqueueLarge,
    Remove,
    DeleteQueue,
    /// Two entries with one sync.
    Two,
    Configure,
    /// A vote in a new term.
    Elect,
    /// The own vote with the first entry of the term.
    Lead,
    /// What is not committed is cut off by an entry of a higher term.
    Overwrite,
    /// The same by an entry of the term of the last one that stays.
    OverwriteByAnOlderTerm,
    CommitOne,
    CommitAll,
    Checkpoint,
}

use Operation::*;
const ALL: [Operation; 13] = [
    Enqueue,
    EnqueueLarge,
    Remove,
    DeleteQueue,
    Two,
    Configure,
    Elect,
    Lead,
    Overwrite,
    OverwriteByAnOlderTerm,
    CommitOne,
    CommitAll,
    Checkpoint,
];

/// Of the sequences of three every so many-th; it has no divisor in common with the number of operations.
const STRIDE: usize = 211;

fn carry_out(operation: Operation, node: &mut Node, model: &mut Model) {
    match operation {
        Enqueue => {
            let effects = vec![model.enqueue(1, 30)];
            model.write(node, effects);
        }
        EnqueueLarge => {
            let effects = vec![model.enqueue(2, 3000)];
            model.write(node, effects);
        }
        Remove => model.write(node, model.remove(1)),
        DeleteQueue => model.write(node, vec![Effect::Delete(2)]),
        Two => {
            let effects = vec![model.enqueue(1, 40)];
            let first = model.entry(effects, model.committed);
            let effects = model.remove(1);
            let second = model.entry(effects, model.committed);
            model.append(node, vec![first, second], None);
        }
        Configure => {
            let name = format!("configuration {}", model.log.len());
            let entry = model.configuration(name.as_bytes(), model.committed);
            model.append(node, vec![entry], None);
        }
        Elect => {
            model.term += 2;
            let vote = model.vote(Vote { term: model.term, member: Some(member(model.term)) });
            model.append(node, Vec::new(), Some(vote));
        }
        Lead => {
            model.term += 1;
            let vote = model.vote(Vote { term: model.term, member: Some(member(7)) });
            let entry = model.entry(Vec::new(), model.committed);
            model.append(node, vec![entry], Some(vote));
        }
        Overwrite => {
            model.term += 1;
            model.cut_off_behind(model.committed);
            let effects = vec![model.enqueue(1, 30)];
            model.write(node, effects);
        }
        OverwriteByAnOlderTerm => {
            model.cut_off_behind(model.committed);
            let newest = std::mem::replace(&mut model.term, model.log.last().unwrap().label.term);
            let effects = vec![model.enqueue(1, 30)];
            model.write(node, effects);
            model.term = newest;
        }
        CommitOne => model.commit(node, model.committed + 1),
        CommitAll => model.commit(node, u64::MAX),
        Checkpoint => _ = node.ask(ReplicaRequest::Checkpoint),
    }
}

/// Runs the operations on a copy of the disk that fails at `crash_at`; says how many calls there were.
fn run(prepared: &(SimDisk, Model), operations: &[Operation], crash_at: Option<u64>) -> u64 {
    let disk = prepared.0.after_stop();
    let mut model = prepared.1.clone();
    if let Some(call) = crash_at {
        disk.fail_at(call, Fault::Crash);
    }
    if let Ok((mut node, _)) = Node::open(&disk, options()) {
        // Whoever leads says it again.
        node.ask(ReplicaRequest::Commit(model.committed));
        // Two entries wait for their commit.
        for effects in [vec![model.enqueue(1, 20)], model.remove(1)] {
            if !node.failed {
                model.write(&mut node, effects);
            }
        }
        for &operation in operations {
            if node.failed {
                break;
            }
            carry_out(operation, &mut node, &mut model);
        }
    }
    let survived = disk.after_crash(crash_at.unwrap_or(0) + operations.len() as u64);
    let (mut node, found) = Node::open(&survived, options())
        .unwrap_or_else(|error| panic!("{operations:?}, crash at {crash_at:?}: {error}"));
    model.check(&found, &mut node);
    disk.calls()
}

#[test]
fn every_sequence_of_operations_survives_a_crash_at_every_call() {
    let (mut node, mut model) = founded(options());
    model.commit(&mut node, u64::MAX);
    let prepared = (node.disk.after_stop(), model);
    let mut sequences: Vec<Vec<Operation>> = vec![vec![]];
    let mut grown = sequences.clone();
    for _ in 0..3 {
        grown = grown.iter().flat_map(|done| ALL.map(|next| [&done[..], &[next]].concat())).collect();
        let stride = if grown[0].len() < 3 { 1 } else { STRIDE };
        sequences.extend(grown.iter().step_by(stride).cloned());
    }
    let mut runs = 0;
    for operations in &sequences {
        let calls = run(&prepared, operations, None);
        for call in 1..=calls {
            run(&prepared, operations, Some(call));
        }
        runs += calls + 1;
    }
    println!("{} sequences, {runs} runs", sequences.len());
}
