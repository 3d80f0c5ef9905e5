//! Queues with levels of priority: each level is as a queue of its own, and they go together.

use crate::harness::{Log, Model, declared, queue, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::{Definition, Log as _};
use leveret::storage::{LogOptions, RecoveryMode};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A queue with so many levels more, and a plain one right behind its numbers.
const WITH_LEVELS: u64 = 10;
const TOP: u8 = 5;
const PLAIN: u64 = WITH_LEVELS + TOP as u64 + 1;

#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue(u64),
    /// One message for both queues.
    EnqueueToBoth(u64),
    Remove(u64, u64),
    Purge(u64),
    Flush,
    Maintain,
    Checkpoint,
    /// Of the queue with levels.
    Delete,
    StopAndStart,
    CrashAndStart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let level = || WITH_LEVELS..PLAIN;
    let any = || WITH_LEVELS..=PLAIN;
    let step = prop_oneof![
        30 => any().prop_map(Step::Enqueue),
        10 => level().prop_map(Step::EnqueueToBoth),
        30 => (any(), 0..30_u64).prop_map(|(of, sequence)| Step::Remove(of, sequence)),
        2 => any().prop_map(Step::Purge),
        10 => Just(Step::Flush),
        5 => Just(Step::Maintain),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Delete),
        2 => Just(Step::StopAndStart),
        2 => Just(Step::CrashAndStart),
    ];
    prop::collection::vec(step, 0..200)
}

/// Compaction that begins early, so that there are moved messages.
fn options() -> LogOptions {
    LogOptions { segment_bytes: 1024, checkpoint_interval_bytes: 3000, ..small() }
}

fn declared_with_levels() -> Definition {
    let mut definition = declared(WITH_LEVELS);
    let Definition::QueueDeclared { top_level, .. } = &mut definition else { unreachable!() };
    *top_level = TOP;
    definition
}

/// What is alive by the model.
fn alive(model: &Model) -> BTreeMap<(u64, u64), u64> {
    let alive = model.messages.iter().filter(|(_, told)| !told.removed);
    alive.map(|(key, told)| (*key, told.number)).collect()
}

/// Starts, and compares what came back.
fn start(disk: &SimDisk, model: &mut Model, clean: bool, is_deleted: bool) -> Log {
    let (log, found) = Log::open(disk, options(), RecoveryMode::Strict).unwrap();
    assert_eq!(found.clean, clean);
    assert_eq!(found.definitions.contains(&declared_with_levels()), !is_deleted);
    let mut there = BTreeMap::new();
    for of in &found.queues {
        // A level is known from its first message on, and its numbering goes on.
        assert!(of.next_sequence <= model.next_sequence.get(&of.id.0).copied().unwrap_or(0));
        for recovered in &of.messages {
            there.insert((of.id.0, recovered.sequence), crate::harness::number_of(&recovered.message));
        }
    }
    assert_eq!(there, alive(model));
    assert!(found.max_queue_id >= PLAIN - 1, "nobody else gets a level's number");
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_level_comes_back_and_goes_with_its_queue(steps in steps()) {
        let disk = SimDisk::default();
        let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
        let mut model = Model::default();
        let mut is_deleted = false;
        log.store.define(&declared_with_levels());
        model.declare(&mut log, PLAIN);
        for step in steps {
            match step {
                Step::Enqueue(to) if to != PLAIN && is_deleted => {}
                Step::EnqueueToBoth(_) if is_deleted => {}
                Step::Enqueue(to) => _ = model.enqueue(&mut log, &[to], 50),
                Step::EnqueueToBoth(level) => _ = model.enqueue(&mut log, &[level, PLAIN], 50),
                Step::Remove(of, sequence) => model.remove(&mut log, of, sequence),
                Step::Purge(of) => model.purge(&mut log, of),
                Step::Flush => log.flush(),
                Step::Maintain => log.maintain(100),
                Step::Checkpoint => {
                    log.flush();
                    log.writer.checkpoint().unwrap();
                }
                Step::Delete => {
                    log.store.define(&Definition::QueueDeleted { id: queue(WITH_LEVELS) });
                    is_deleted = true;
                    let of_levels = (WITH_LEVELS, 0)..(PLAIN, 0);
                    model.messages.range_mut(of_levels).for_each(|(_, told)| told.removed = true);
                }
                Step::StopAndStart => log = start(&log.stop(), &mut model, true, is_deleted),
                Step::CrashAndStart => {
                    let position = log.store.everything();
                    log.store.awaited(position);
                    log.flush();
                    log = start(&log.disk.after_stop(), &mut model, false, is_deleted);
                }
            }
        }
        let disk = log.stop();
        start(&disk, &mut model, true, is_deleted);
    }
}

#[test]
fn nothing_is_alive_of_levels_whose_queue_is_deleted() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    log.store.define(&declared_with_levels());
    for level in WITH_LEVELS..PLAIN {
        (0..20).for_each(|_| _ = model.enqueue(&mut log, &[level], 50));
    }
    log.flush();
    assert_eq!(log.writer.state().queues.len(), usize::from(TOP) + 1);
    log.store.define(&Definition::QueueDeleted { id: queue(WITH_LEVELS) });
    log.flush();
    let state = log.writer.state();
    assert!(state.queues.is_empty());
    assert!(state.segments.values().all(|segment| segment.live == 0));
}
