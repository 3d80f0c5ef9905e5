//! A disk that is full or broken, at every call. Nothing is durable after a failure, nothing is tried again, and what
//! was durable before it stays.

use crate::harness::{Log, Model, small};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::Log as _;
use leveret::storage::disk::Folder;
use leveret::storage::{RecoveryMode, StorageError};

/// Enough rounds for several segments and checkpoints.
const ROUNDS: u64 = 40;

/// Publishes with confirms and acknowledges until something fails.
fn work(log: &mut Log, model: &mut Model) {
    for round in 0..ROUNDS {
        model.enqueue(log, &[1], 100);
        let position = model.enqueue(log, &[1, 2], 20);
        log.store.awaited(position);
        log.flush();
        model.note_durable(log);
        if log.failed {
            return;
        }
        model.remove(log, 1, round);
    }
}

fn declared_log(disk: &SimDisk) -> Option<(Log, Model)> {
    let (mut log, _) = Log::open(disk, small(), RecoveryMode::Strict).ok()?;
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.declare(&mut log, 2);
    Some((log, model))
}

#[test]
fn a_failing_call_poisons_the_log_and_loses_nothing_that_was_durable() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    work(&mut log, &mut model);
    let calls = disk.calls();
    for call in 1..=calls {
        for fault in [Fault::Full, Fault::Broken] {
            let disk = SimDisk::default();
            disk.fail_at(call, fault);
            let Some((mut log, mut model)) = declared_log(&disk) else { continue };
            work(&mut log, &mut model);
            if log.failed {
                let durable = log.store.durable();
                let calls = disk.calls();
                log.failed = false;
                let position = model.enqueue(&mut log, &[1], 10);
                log.store.awaited(position);
                log.flush();
                log.now_ms += 1000;
                log.flush();
                assert_eq!(log.store.durable(), durable, "nothing is durable after {fault:?} at {call}");
                assert_eq!(disk.calls(), calls, "nothing is tried again after {fault:?} at {call}");
                assert!(matches!(log.writer.checkpoint(), Err(StorageError::Poisoned)));
            }
            for seed in 0..3 {
                let survived = disk.after_crash(seed);
                let (_, found) = Log::open(&survived, small(), RecoveryMode::Strict)
                    .unwrap_or_else(|error| panic!("{fault:?} at {call}, seed {seed}: {error}"));
                model.clone().check(&found, false);
            }
        }
    }
}

/// What a broker finds that comes after one that failed, and what is left of it when the power goes off after that.
fn goes_on_after_a_failure(disk: &SimDisk, model: &mut Model, what: &str) {
    let cached = disk.after_stop();
    let (mut log, found) =
        Log::open(&cached, small(), RecoveryMode::Strict).unwrap_or_else(|error| panic!("{what}: {error}"));
    model.check(&found, false);
    if !model.queues.contains_key(&1) {
        model.declare(&mut log, 1);
    }
    let position = model.enqueue(&mut log, &[1], 100);
    log.store.awaited(position);
    log.flush();
    model.note_durable(&log);
    for seed in 0..3 {
        let survived = cached.after_crash(seed);
        let (_, found) = Log::open(&survived, small(), RecoveryMode::Strict)
            .unwrap_or_else(|error| panic!("{what}, seed {seed}: {error}"));
        model.clone().check(&found, false);
    }
}

/// After a failed sync the system still shows what is not on the disk, and a further sync has nothing to complain of.
#[test]
fn what_only_the_cache_holds_after_a_failure_is_not_relied_on() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    work(&mut log, &mut model);
    for call in 1..=disk.calls() {
        let disk = SimDisk::default();
        disk.fail_at(call, Fault::Broken);
        let Some((mut log, mut model)) = declared_log(&disk) else { continue };
        work(&mut log, &mut model);
        goes_on_after_a_failure(&disk, &mut model, &format!("failed at {call}"));
    }
}

/// A broker is killed, and the system fails to write what it left. Every start up to one that succeeds is told so, or
/// writes it again itself.
#[test]
fn a_start_that_fails_to_sync_what_it_read_leaves_the_next_one_as_wise() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    work(&mut log, &mut model);
    (0..5).for_each(|_| _ = model.enqueue(&mut log, &[1, 2], 100));
    log.flush();
    for call in 1.. {
        let disk = disk.after_stop();
        disk.fail_at(call, Fault::Broken);
        let failed = Log::open(&disk, small(), RecoveryMode::Strict).is_err();
        if !failed {
            assert!(call > 3 && !disk.has_failed());
            break;
        }
        goes_on_after_a_failure(&disk, &mut model.clone(), &format!("a start failed at {call}"));
    }
}

#[test]
fn a_full_disk_postpones_a_checkpoint() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    log.flush();
    let checkpoints = log.writer.totals().checkpoints;
    // Zeros ahead and the sync of the log are the next calls, then comes the checkpoint's file.
    disk.fail_at(disk.calls() + 3, Fault::Full);
    log.writer.checkpoint().unwrap();
    assert_eq!(log.writer.totals().checkpoints, checkpoints);
    assert!(!log.writer.is_poisoned());
    work(&mut log, &mut model);
    assert!(log.writer.totals().checkpoints > checkpoints);
    let (_, found) = Log::open(&log.stop(), small(), RecoveryMode::Strict).unwrap();
    model.check(&found, true);
    assert_eq!(disk.bytes_in(Folder::Root), 52);
}

#[test]
fn a_disk_too_full_for_zeros_ahead_is_not_too_full_for_a_sync() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    log.flush();
    disk.fail_at(disk.calls() + 1, Fault::Full);
    log.writer.checkpoint().unwrap();
    assert!(disk.has_failed());
    work(&mut log, &mut model);
    assert!(!log.failed);
    let (_, found) = Log::open(&disk.after_crash(1), small(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}

/// Its file is made when half of the one before it is full, so that somebody can do something about it.
#[test]
fn a_disk_too_full_for_the_next_segment_says_so_while_there_is_this_one() {
    let disk = SimDisk::default();
    let (mut log, mut model) = declared_log(&disk).unwrap();
    log.flush();
    log.delays_chores = true;
    for _ in 0..4 {
        model.enqueue(&mut log, &[1], 200);
        log.flush();
    }
    assert!(!log.writer.take_no_room());
    disk.fail_at(disk.calls() + 1, Fault::Full);
    log.do_chores();
    assert!(disk.has_failed() && !log.failed);
    assert!(log.writer.take_no_room() && !log.writer.take_no_room());
    log.delays_chores = false;
    work(&mut log, &mut model);
    assert!(!log.failed, "there is room again");
    let (_, found) = Log::open(&disk.after_crash(1), small(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}
