//! Messages come back page by page, each one once, in pages that do not overlap, while the log goes on.

use crate::harness::{Log, Model, Pages, message, number_of, queue, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::{Definition, DurableQueueId, Log as _, Route, VhostId};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{BatchDone, LogOptions, LogWriter, RecoveryMode, recover};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue(u64, usize),
    EnqueueToAll,
    Remove(u64, u64),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..4_u64, prop_oneof![Just(10), Just(150), Just(2500)]).prop_map(|(to, length)| Step::Enqueue(to, length)),
        2 => Just(Step::EnqueueToAll),
        6 => (1..4_u64, 0..60_u64).prop_map(|(of, sequence)| Step::Remove(of, sequence)),
        2 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 0..300)
}

/// Compaction that begins early, so that there are moved messages.
fn options() -> LogOptions {
    LogOptions { segment_bytes: 1024, checkpoint_interval_bytes: 3000, ..small() }
}

fn written(steps: &[Step]) -> (SimDisk, Model, u64) {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    (1..4).for_each(|number| model.declare(&mut log, number));
    for step in steps {
        match *step {
            Step::Enqueue(to, length) => _ = model.enqueue(&mut log, &[to], length),
            Step::EnqueueToAll => _ = model.enqueue(&mut log, &[1, 2, 3], 20),
            Step::Remove(of, sequence) => model.remove(&mut log, of, sequence),
            Step::Flush => log.flush(),
        }
    }
    log.maintain(100);
    let moved = log.writer.totals().moved_bytes;
    (log.stop(), model, moved)
}

/// What is alive by the model: the number of each message by queue and sequence.
fn alive(model: &Model) -> BTreeMap<(DurableQueueId, u64), u64> {
    let alive = model.messages.iter().filter(|(_, told)| !told.removed);
    alive.map(|((of, sequence), told)| ((queue(*of), *sequence), told.number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// [`Pages`] checks what each page promises. In between, the log goes on, frees what it may, and stops.
    #[test]
    fn every_live_message_comes_once_whatever_the_log_does_meanwhile(
        steps in steps(),
        meanwhile in prop::collection::vec(0..3_usize, 0..60),
    ) {
        let (disk, model, _) = written(&steps);
        let recovered = recover(&disk, RecoveryMode::Strict, crate::harness::IDS).unwrap();
        let announced: u64 = recovered.queues.iter().map(|queue| queue.messages).sum();
        let mut writer = LogWriter::start(disk.clone(), options(), recovered.resume).unwrap();
        let mut pages = Pages::default();
        let mut loader = recovered.loader;
        for step in meanwhile {
            match step {
                0 if !writer.is_checkpointing() => writer.checkpoint().unwrap(),
                0 | 1 => {
                    writer.maintain().unwrap();
                    while let Some(chore) = writer.take_chore() {
                        writer.chore_done(chore.run(&disk)).unwrap();
                    }
                }
                _ => match loader.as_mut().map(|loader| loader.next_page().unwrap()) {
                    Some(Some(loaded)) => pages.add(loaded),
                    _ => loader = None,
                },
            }
        }
        while let Some(loaded) = loader.as_mut().and_then(|loader| loader.next_page().unwrap()) {
            pages.add(loaded);
        }
        let found = pages.finish();
        let found: BTreeMap<_, _> = found
            .iter()
            .flat_map(|(id, messages)| messages.iter().map(|it| ((*id, it.sequence), number_of(&it.message))))
            .collect();
        prop_assert_eq!(found.len() as u64, announced);
        prop_assert_eq!(found, alive(&model));
    }
}

#[test]
fn some_of_those_logs_have_moved_messages() {
    // Now and then one that stays among many that go.
    let mut steps = Vec::new();
    for sequence in 0..200 {
        steps.extend([Step::Enqueue(2, 150), Step::Remove(2, sequence), Step::Flush]);
        if sequence % 8 == 0 {
            steps.push(Step::Enqueue(1, 10));
        }
    }
    assert!(written(&steps).2 > 0);
}

/// A backlog of several segments of which nothing is alive any more a moment after the start.
#[test]
fn a_segment_is_kept_until_it_is_loaded() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    (0..100).for_each(|_| _ = model.enqueue(&mut log, &[1], 100));
    log.flush();
    let disk = log.stop();
    let recovered = recover(&disk, RecoveryMode::Strict, crate::harness::IDS).unwrap();
    let mut store = recovered.store(options());
    let mut writer = LogWriter::start(disk.clone(), options(), recovered.resume).unwrap();
    let mut loader = recovered.loader.unwrap();
    let mut pages = Pages::default();
    pages.add(loader.next_page().unwrap().unwrap());
    store.purged(queue(1), 99);
    let batch = store.take_batch(0).unwrap();
    writer.write(batch).unwrap();
    (0..3).for_each(|_| writer.checkpoint().unwrap());
    let kept = disk.list(Folder::Log).unwrap().len();
    assert!(kept > 5, "{kept} segments");
    while let Some(loaded) = loader.next_page().unwrap() {
        pages.add(loaded);
    }
    assert_eq!(pages.finish()[&queue(1)].len(), 100);
    writer.checkpoint().unwrap();
    while let Some(chore) = writer.take_chore() {
        writer.chore_done(chore.run(&disk)).unwrap();
    }
    assert!(disk.list(Folder::Log).unwrap().len() < kept, "now they are free");
}

#[test]
fn pages_are_bounded_by_messages_and_bytes_and_a_large_message_has_its_own() {
    let disk = SimDisk::default();
    let options = LogOptions { segment_bytes: 4 << 20, batch_max_bytes: 1 << 20, ..small() };
    let (mut log, _) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    (1..4).for_each(|number| model.declare(&mut log, number));
    (0..2500).for_each(|_| _ = model.enqueue(&mut log, &[1], 0));
    (0..300).for_each(|_| _ = model.enqueue(&mut log, &[2], 1900));
    (0..3).for_each(|_| _ = model.enqueue(&mut log, &[3], 200_000));
    let disk = log.stop();
    let mut loader = recover(&disk, RecoveryMode::Strict, crate::harness::IDS).unwrap().loader.unwrap();
    let mut counts: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    while let Some(loaded) = loader.next_page().unwrap() {
        counts.entry(loaded.queue.0).or_default().push(loaded.page.summary.count);
    }
    assert_eq!(counts[&1], [1024, 1024, 452]);
    assert!(counts[&2].iter().all(|count| (1..=67).contains(count)), "{:?}", counts[&2]);
    assert_eq!(counts[&3], [1, 1, 1]);
    assert!(loader.is_done());
}

#[test]
fn after_a_clean_stop_only_what_was_delivered_is_marked() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    (1..3).for_each(|number| model.declare(&mut log, number));
    (0..10).for_each(|_| _ = model.enqueue(&mut log, &[1, 2], 10));
    let stopped = log.stop_with(&[(queue(1), 4)]);
    let (log, found) = Log::open(&stopped, small(), RecoveryMode::Strict).unwrap();
    let below = |found: &crate::harness::Found| found.queues.iter().map(|of| of.delivered_below).collect::<Vec<_>>();
    assert!(found.clean);
    assert_eq!(below(&found), [4, 0]);
    // Nobody knows what was delivered before a crash.
    let (_, found) = Log::open(&log.disk.after_crash(0), small(), RecoveryMode::Strict).unwrap();
    assert!(!found.clean);
    assert_eq!(below(&found), [10, 10]);
}

/// What exchanges remember, among messages that are many.
#[test]
fn values_come_before_all_else_and_each_in_the_batch_of_its_message() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    let values = Definition::ValuesDeclared { id: queue(2), vhost: VhostId(0), exchange: "x".into() };
    log.store.define(&values);
    log.flush();
    for sequence in 0..100 {
        // It is more than a batch takes, and the batch is not closed before the value all the same.
        model.enqueue(&mut log, &[1], 600);
        let route = Route { queue: queue(2), sequence, expires_at_ms: None };
        let position = log.store.enqueued_together(route, &message(sequence, 0).content());
        let batch = log.store.take_batch(0).unwrap();
        assert_eq!((batch.records, batch.last_position()), (2, position));
        let result = log.writer.write(batch);
        log.store.batch_done(BatchDone { result, recycled: None }).unwrap();
    }
    let disk = log.stop();
    let recovered = recover(&disk, RecoveryMode::Strict, crate::harness::IDS).unwrap();
    assert_eq!(recovered.queues.iter().map(|queue| queue.messages).sum::<u64>(), 200);
    let mut loader = recovered.loader.unwrap();
    let (mut pages, mut came) = (Pages::default(), Vec::new());
    while let Some(loaded) = loader.next_page_before_ready(1).unwrap() {
        came.push(loaded.queue);
        pages.add(loaded);
    }
    let of_values = came.iter().take_while(|of| **of == queue(2)).count();
    assert!(of_values > 0 && came[of_values..].iter().all(|of| *of == queue(1)), "{came:?}");
    assert!(!loader.is_done(), "it is enough to serve");
    while let Some(loaded) = loader.next_page().unwrap() {
        pages.add(loaded);
    }
    let found = pages.finish();
    assert_eq!((found[&queue(1)].len(), found[&queue(2)].len()), (100, 100));
}
