//! Brokers that end without losing power, and what a power cut afterwards makes of that.

use crate::harness::{Log, Model, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::Log as _;
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{LogOptions, RecoveryMode, SyncPolicy};

/// The system still has what a killed broker wrote, and may lose it later. A start that relies on it makes it safe.
#[test]
fn what_a_start_finds_after_a_kill_survives_a_power_cut() {
    for seed in 0..8 {
        let disk = SimDisk::default();
        let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
        let mut model = Model::default();
        model.declare(&mut log, 1);
        model.enqueue(&mut log, &[1], 30);
        // Written, and nobody waits for it to be synced.
        log.flush();
        assert!(log.writer.synced().0 == 0);

        let (log, found) = Log::open(&disk.after_stop(), small(), RecoveryMode::Strict).unwrap();
        assert_eq!(found.queues[0].messages.len(), 1);
        let (_, found) = Log::open(&log.disk.after_crash(seed), small(), RecoveryMode::Strict).unwrap();
        assert_eq!(found.queues[0].messages.len(), 1, "seed {seed}");
    }
}

/// A stop hands everything over at the end of time, which has no later.
#[test]
fn a_relaxed_log_stops_with_messages_that_nobody_waits_for() {
    let disk = SimDisk::default();
    let options = LogOptions { sync_policy: SyncPolicy::Interval, ..small() };
    let (mut log, _) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.enqueue(&mut log, &[1], 30);
    log.now_ms = u64::MAX;
    log.flush();
    assert!(log.store.is_idle());
    assert_eq!(log.store.durable(), log.writer.synced());
}

/// A broker that wrote nothing, or nothing whole, may have delivered all the same: the stop before it says nothing of
/// that.
#[test]
fn an_orderly_stop_counts_for_the_next_start_only() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.enqueue(&mut log, &[1], 30);
    let disk = log.stop();
    let (mut log, found) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    assert!(found.clean);
    // A segment is begun, and of its first batch no byte is safe.
    model.enqueue(&mut log, &[1], 30);
    log.flush();
    for seed in 0..8 {
        let (_, found) = Log::open(&log.disk.after_crash(seed), small(), RecoveryMode::Strict).unwrap();
        assert!(!found.clean, "seed {seed}");
    }
}

/// A start knows the newest checkpoint only, and the one before it is still there.
#[test]
fn starts_and_stops_leave_two_checkpoints_behind() {
    let mut disk = SimDisk::default();
    for _ in 0..4 {
        let (log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
        disk = log.stop();
        assert_eq!(disk.list(Folder::Checkpoint).unwrap().len(), 2);
    }
}

/// A segment is mostly room for what is to come, which no start has to look at.
#[test]
fn a_start_reads_what_was_written_and_not_what_was_preallocated() {
    const SEGMENT_BYTES: u64 = 32 << 20;
    /// A piece for replay, one for what is behind the log's end, and what is small.
    const BYTES_READ_MAX: u64 = 3 << 20;
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..small() };
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    let position = model.enqueue(&mut log, &[1], 30);
    log.store.awaited(position);
    log.flush();
    for disk in [log.disk.after_stop(), log.stop()] {
        let (_, found) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
        assert_eq!(found.queues[0].messages.len(), 1);
        assert!(disk.bytes_read() < BYTES_READ_MAX, "{} bytes", disk.bytes_read());
    }
}
