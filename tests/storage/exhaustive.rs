//! All sequences of up to three operations, with a crash at every call of the disk, and several ways to lose what was
//! not synced.

use crate::harness::{Log, Model, small};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::Log as _;
use leveret::storage::RecoveryMode;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Operation {
    Enqueue,
    EnqueueToBoth,
    EnqueueLarge,
    Remove,
    Purge,
    Declare,
    Delete,
    DeleteVhost,
    Write,
    Confirm,
    Checkpoint,
    Stop,
}

use Operation::*;
const ALL: [Operation; 12] = [
    Enqueue,
    EnqueueToBoth,
    EnqueueLarge,
    Remove,
    Purge,
    Declare,
    Delete,
    DeleteVhost,
    Write,
    Confirm,
    Checkpoint,
    Stop,
];

/// Ways to lose what was not synced, tried at every crash.
const CRASH_SEEDS: u64 = 3;

fn carry_out(operation: Operation, log: &mut Log, model: &mut Model) {
    match operation {
        Enqueue => _ = model.enqueue(log, &[1], 30),
        EnqueueToBoth => _ = model.enqueue(log, &[1, 2], 30),
        EnqueueLarge => _ = model.enqueue(log, &[2], 3000),
        Remove => {
            if let Some(sequence) = model.oldest(1) {
                model.remove(log, 1, sequence);
            }
        }
        Purge => model.purge(log, 1),
        Declare => model.declare(log, 3),
        Delete => model.delete(log, 2),
        DeleteVhost => model.delete_vhost(log, 4),
        Write => log.flush(),
        Confirm => {
            let position = model.enqueue(log, &[1], 30);
            log.store.awaited(position);
            log.flush();
        }
        Checkpoint => {
            log.do_chores();
            log.failed |= log.writer.checkpoint().is_err();
        }
        Stop => {}
    }
    model.note_durable(log);
}

/// A log with two queues and one in a virtual host of its own, and messages in each, all of it durable.
fn prepared() -> (SimDisk, Model) {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.declare(&mut log, 2);
    model.declare_vhost(&mut log, 4);
    model.enqueue(&mut log, &[1], 30);
    model.enqueue(&mut log, &[4], 30);
    let position = model.enqueue(&mut log, &[1, 2], 30);
    log.store.awaited(position);
    log.flush();
    model.note_durable(&log);
    assert!(model.durable >= position);
    (log.disk.after_crash(0), model)
}

/// Runs the operations on a copy of the disk that fails at `crash_at`; says how many calls there were.
fn run(prepared: &(SimDisk, Model), operations: &[Operation], crash_at: Option<u64>) -> u64 {
    let disk = prepared.0.after_stop();
    let mut model = prepared.1.clone();
    if let Some(call) = crash_at {
        disk.fail_at(call, Fault::Crash);
    }
    let mut stopped = false;
    if let Ok((mut log, _)) = Log::open(&disk, small(), RecoveryMode::Strict) {
        for &operation in operations {
            if log.failed {
                break;
            }
            // A deleted queue gets nothing more.
            if model.deleted.contains_key(&2) && matches!(operation, EnqueueToBoth | EnqueueLarge | Delete) {
                continue;
            }
            carry_out(operation, &mut log, &mut model);
            if operation == Stop {
                let _ = log.stop();
                stopped = crash_at.is_none();
                break;
            }
        }
    }
    for seed in 0..CRASH_SEEDS {
        let survived = if stopped { disk.after_stop() } else { disk.after_crash(seed) };
        let (_, found) = Log::open(&survived, small(), RecoveryMode::Strict)
            .unwrap_or_else(|error| panic!("{operations:?}, crash at {crash_at:?}, seed {seed}: {error}"));
        let mut model = model.clone();
        if crash_at.is_some() && operations.contains(&Stop) && found.clean {
            // The lights went out after the final batch had reached the disk by itself.
            continue;
        }
        model.check(&found, stopped);
    }
    disk.calls()
}

#[test]
fn every_sequence_of_three_operations_survives_a_crash_at_every_call() {
    let prepared = prepared();
    let mut sequences: Vec<Vec<Operation>> = vec![vec![]];
    let mut grown = sequences.clone();
    for _ in 0..3 {
        grown = grown.iter().flat_map(|done| ALL.map(|next| [&done[..], &[next]].concat())).collect();
        sequences.extend(grown.iter().cloned());
    }
    let mut runs = 0;
    for operations in &sequences {
        let calls = run(&prepared, operations, None);
        for call in 1..=calls {
            run(&prepared, operations, Some(call));
        }
        runs += calls + 1;
    }
    assert_eq!(sequences.len(), 1 + 12 + 144 + 1728);
    println!("{} sequences, {runs} runs, {} recoveries", sequences.len(), runs * CRASH_SEEDS);
}
