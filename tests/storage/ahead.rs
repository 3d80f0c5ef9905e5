//! Syncs find blocks that were written before, and zeros are written ahead for small ones only.

use crate::harness::{Log, Model, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::Log as _;
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{LogOptions, RecoveryMode};

/// Syncs that lead to zeros written ahead, in these tests.
const ZERO_AHEAD_BYTES: usize = 4096;
const SMALL_SYNC_BYTES: u64 = 512;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 1 << 15,
        batch_max_bytes: 1 << 14,
        checkpoint_interval_bytes: 1 << 16,
        free_segments_max: 4,
        zero_ahead_bytes: ZERO_AHEAD_BYTES,
        small_sync_bytes: SMALL_SYNC_BYTES,
        ..small()
    }
}

fn begun(options: LogOptions) -> (Log, Model) {
    let (mut log, _) = Log::open(&SimDisk::default(), options, RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    let position = log.store.everything();
    log.store.awaited(position);
    log.flush();
    (log, model)
}

/// Confirms messages one by one, and removes the one before each.
fn confirm(log: &mut Log, model: &mut Model, messages: u64, length: usize) {
    for _ in 0..messages {
        let oldest = model.oldest(1);
        let position = model.enqueue(log, &[1], length);
        oldest.into_iter().for_each(|sequence| model.remove(log, 1, sequence));
        log.store.awaited(position);
        log.flush();
        model.note_durable(log);
        assert_eq!(model.durable, log.store.everything());
        model.messages.retain(|_, told| !told.removed);
    }
}

#[test]
fn few_of_many_small_syncs_come_to_fresh_blocks() {
    const MESSAGES: u64 = 150;
    let fresh_syncs = |zero_ahead_bytes| {
        let (mut log, mut model) = begun(LogOptions { zero_ahead_bytes, segment_bytes: 1 << 17, ..options() });
        let (before, begun_at) = (log.disk.syncs_of_fresh_blocks(), log.writer.totals());
        confirm(&mut log, &mut model, MESSAGES, 30);
        let totals = log.writer.totals();
        assert_eq!(totals.segments_created, 1, "the first segment is enough");
        (log.disk.syncs_of_fresh_blocks() - before, totals.bytes - begun_at.bytes)
    };
    assert_eq!(fresh_syncs(0).0, MESSAGES);
    let (fresh, bytes) = fresh_syncs(ZERO_AHEAD_BYTES);
    assert!(fresh <= bytes / ZERO_AHEAD_BYTES as u64 + 1, "{fresh} for {bytes} bytes");
    assert!(fresh > 0, "more was written than zeros at once");
}

#[test]
fn large_syncs_write_nothing_ahead() {
    let (mut log, mut model) = begun(options());
    let (before, begun_at) = (log.disk.bytes_written(), log.writer.totals());
    confirm(&mut log, &mut model, 10, 2 * SMALL_SYNC_BYTES as usize);
    let totals = log.writer.totals();
    assert_eq!(totals.segments_created, 1, "the first segment is enough");
    assert_eq!(log.disk.bytes_written() - before, totals.bytes - begun_at.bytes);
}

/// What stands in the files is old batches, and the log grows over them.
#[test]
fn a_log_that_goes_round_writes_to_written_blocks_only() {
    let options = LogOptions { zero_ahead_bytes: 0, ..options() };
    let (mut log, mut model) = begun(options.clone());
    let (mut before, mut files) = (0, 0);
    for round in 0..60 {
        confirm(&mut log, &mut model, 40, 400);
        if round == 30 {
            before = log.disk.syncs_of_fresh_blocks();
            files = log.writer.totals().segments_created;
        }
    }
    let totals = log.writer.totals();
    assert!(totals.segments_recycled > 10, "{totals:?}");
    assert_eq!(totals.segments_created, files, "no file more");
    // Checkpoints are new files. A segment's last bytes are fresh where the batches of its earlier life ended sooner.
    let checkpoints = log.disk.syncs_of_fresh_blocks() - before;
    assert!(checkpoints < 4 * totals.checkpoints, "{checkpoints} fresh syncs, {totals:?}");
    assert!(log.disk.bytes_in(Folder::Log) <= 9 * options.segment_bytes, "{}", log.disk.bytes_in(Folder::Log));
}

/// A crash at any moment of a log that goes round: what its files held before is never taken for what they hold now,
/// neither for records nor for evidence that some are missing.
#[test]
fn a_log_that_goes_round_survives_a_crash_at_every_call() {
    let options = LogOptions { segment_bytes: 1024, checkpoint_interval_bytes: 2048, ..small() };
    let (mut log, mut model) = begun(options.clone());
    confirm(&mut log, &mut model, 100, 60);
    assert!(log.writer.totals().segments_recycled > 5);
    let (disk, model) = (log.disk.after_stop(), model);
    let mut call = 0;
    loop {
        call += 1;
        let (disk, mut model) = (disk.after_stop(), model.clone());
        disk.fail_at(call, crate::sim_disk::Fault::Crash);
        if let Ok((mut log, found)) = Log::open(&disk, options.clone(), RecoveryMode::Strict) {
            model.check(&found, false);
            for length in [60, 200, 5, 400].into_iter().cycle().take(24) {
                if log.failed {
                    break;
                }
                let oldest = model.oldest(1);
                let position = model.enqueue(&mut log, &[1], length);
                oldest.into_iter().for_each(|sequence| model.remove(&mut log, 1, sequence));
                log.store.awaited(position);
                log.flush();
                model.note_durable(&log);
            }
            assert!(log.failed || log.writer.totals().segments_recycled > 2, "files were used again");
        }
        for seed in 0..4 {
            let survived = disk.after_crash(seed);
            let (_, found) = Log::open(&survived, options.clone(), RecoveryMode::Strict)
                .unwrap_or_else(|error| panic!("crash at {call}, seed {seed}: {error}"));
            model.clone().check(&found, false);
        }
        if !disk.has_crashed() {
            break;
        }
    }
    assert!(call > 100, "{call} calls");
    assert!(!disk.list(Folder::Log).unwrap().is_empty());
}
