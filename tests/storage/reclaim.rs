//! The disk holds a small multiple of what is alive, also when one slow queue sits among fast ones.

use crate::harness::{Log, Model, small};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::Log as _;
use leveret::storage::disk::Folder;
use leveret::storage::{LogOptions, RecoveryMode};

fn options() -> LogOptions {
    LogOptions { segment_bytes: 1 << 16, batch_max_bytes: 1 << 14, checkpoint_interval_bytes: 1 << 18, ..small() }
}

/// Messages that pass in one round.
const ROUND: u64 = 100;

/// Lets `messages` pass through queue 2; says how many log bytes there were at most.
fn pass(log: &mut Log, model: &mut Model, messages: u64) -> u64 {
    let mut most = 0;
    for _ in 0..messages / ROUND {
        let first = model.next_sequence.get(&2).copied().unwrap_or(0);
        for _ in 0..ROUND {
            model.enqueue(log, &[2], 16);
        }
        log.flush();
        for sequence in first..first + ROUND {
            model.remove(log, 2, sequence);
        }
        // What is gone is gone in the model too, or it would grow.
        model.messages.retain(|(of, _), _| *of == 1);
        log.now_ms += 10;
        log.flush();
        most = most.max(log.disk.bytes_in(Folder::Log));
    }
    most
}

#[test]
fn ten_million_messages_pass_one_that_is_never_acknowledged() {
    const MESSAGES: u64 = 10_000_000;
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.declare(&mut log, 2);
    model.enqueue(&mut log, &[1], 16);
    let most = pass(&mut log, &mut model, MESSAGES);
    // Two checkpoint intervals, what was written since, and the slack.
    assert!(most <= 16 * (1 << 16), "{most} bytes");
    assert!(log.writer.totals().bytes > MESSAGES * 60);
    let (_, found) = Log::open(&log.stop(), options(), RecoveryMode::Strict).unwrap();
    model.check(&found, true);
    assert_eq!(found.queues[0].messages.len(), 1);
}

#[test]
fn a_slow_queue_among_fast_ones_is_moved_out_of_their_way() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    model.declare(&mut log, 2);
    let mut most = 0;
    for _ in 0..300 {
        model.enqueue(&mut log, &[1], 16);
        most = most.max(pass(&mut log, &mut model, 500));
    }
    let totals = log.writer.totals();
    assert!(most <= 24 * (1 << 16), "{most} bytes");
    assert!(totals.moved_bytes > 0, "its messages lay in every segment");
    assert!(totals.moved_bytes * 5 < totals.bytes, "moving costs little: {totals:?}");
    let (_, found) = Log::open(&log.stop(), options(), RecoveryMode::Strict).unwrap();
    model.check(&found, true);
    assert_eq!(found.queues[0].messages.len(), 300);
}

#[test]
fn a_backlog_that_is_consumed_in_order_is_not_moved() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    for _ in 0..20_000 {
        model.enqueue(&mut log, &[1], 16);
        log.flush();
    }
    for sequence in 0..20_000 {
        log.store.removed(crate::harness::queue(1), sequence);
        if sequence % 100 == 0 {
            log.flush();
        }
    }
    assert_eq!(log.writer.totals().moved_bytes, 0);
}

/// Messages that fill many segments.
const BACKLOG: u64 = 6000;

/// Fills a queue; says how many bytes the log takes.
fn fill(log: &mut Log, model: &mut Model) -> u64 {
    model.declare(log, 1);
    for _ in 0..BACKLOG {
        model.enqueue(log, &[1], 200);
        log.flush();
    }
    log.disk.bytes_in(Folder::Log)
}

/// Takes everything out of it, which are few bytes in the log.
fn drain(log: &mut Log, model: &mut Model) {
    (0..BACKLOG).for_each(|sequence| model.remove(log, 1, sequence));
    log.flush();
}

/// Nothing more is published then, as to a disk that is full.
#[test]
fn a_backlog_that_is_drained_is_freed_without_another_message() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    let filled = fill(&mut log, &mut model);
    assert!(filled > 20 * (1 << 16), "{filled} bytes");
    drain(&mut log, &mut model);
    log.maintain(1);
    let left = disk.bytes_in(Folder::Log);
    assert!(left <= 6 * (1 << 16), "{left} bytes");
    let (_, found) = Log::open(&disk.after_crash(0), options(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}

#[test]
fn a_disk_that_is_nearly_full_gets_back_whatever_the_log_can_do_without() {
    // By themselves checkpoints never become due.
    let options = LogOptions { checkpoint_interval_bytes: u64::MAX, free_segments_max: 8, ..options() };
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    let filled = fill(&mut log, &mut model);
    drain(&mut log, &mut model);
    log.maintain(1);
    assert!(disk.bytes_in(Folder::Log) >= filled);
    let mut give = || {
        log.writer.make_room().unwrap();
        log.do_chores();
        (disk.bytes_in(Folder::Log), disk.calls())
    };
    let [_, _, (left, calls), again] = [give(), give(), give(), give()];
    assert!(left <= 3 * (1 << 16), "the active segment, the next one and one to use again, not {left} bytes");
    assert_eq!(again, (left, calls), "there is nothing more to give");
    let position = model.enqueue(&mut log, &[1], 200);
    log.store.awaited(position);
    log.flush();
    model.note_durable(&log);
    let (_, found) = Log::open(&disk.after_crash(0), options, RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}

/// It would be tried again and again.
#[test]
fn a_checkpoint_that_found_no_room_is_not_due_again_by_what_it_would_free() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    fill(&mut log, &mut model);
    log.delays_chores = true;
    drain(&mut log, &mut model);
    assert!(log.writer.is_checkpointing());
    (1..10).for_each(|call| disk.fail_at(disk.calls() + call, Fault::Full));
    log.do_chores();
    assert!(disk.has_failed() && !log.failed);
    assert!(!log.writer.checkpoint_is_due());
    disk.relent();
    log.writer.make_room().unwrap();
    log.do_chores();
    assert!(log.writer.checkpoint_is_due(), "one more frees them");
}
