//! Blocks that the disk does not give: refused with file and offset where the log needs them, and salvage keeps what lies
//! around them.

use crate::harness::{Found, IDS, Log, Model, number_of, recover_all, small};
use crate::sim_disk::SimDisk;
use leveret::broker::store::Log as _;
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{LogOptions, RecoveryMode, StorageError, recover};
use std::ops::Range;

const MESSAGES: u64 = 40;
const MESSAGE_BYTES: usize = 1500;
const BLOCK_BYTES: usize = 4096;

/// A few blocks to a segment, and no checkpoint but those of starts and stops.
fn options() -> LogOptions {
    LogOptions { segment_bytes: 20_000, batch_max_bytes: 4000, checkpoint_interval_bytes: u64::MAX, ..small() }
}

/// A log of durable messages, each in a batch of its own.
struct Written {
    log: Log,
    /// The segment and the place of each message's batch.
    places: Vec<(u64, Range<usize>)>,
}

fn written() -> Written {
    let (mut log, _) = Log::open(&SimDisk::default(), options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    let position = log.store.everything();
    log.store.awaited(position);
    log.flush();
    let mut places = Vec::new();
    for _ in 0..MESSAGES {
        let end = |log: &Log| {
            let (number, segment) = log.writer.state().segments.last_key_value().unwrap();
            (*number, segment.end as usize)
        };
        let (before, start) = end(&log);
        let position = model.enqueue(&mut log, &[1], MESSAGE_BYTES);
        log.store.awaited(position);
        log.flush();
        let (number, end) = end(&log);
        places.push((number, if number == before { start..end } else { 64..end }));
    }
    Written { log, places }
}

impl Written {
    /// The messages of which no byte lies in a block of a segment.
    fn whole_without(&self, segment: u64, block: usize) -> Vec<u64> {
        let lost = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
        let is_whole = |(number, place): &(u64, Range<usize>)| {
            *number != segment || place.end <= lost.start || place.start >= lost.end
        };
        (1..).zip(&self.places).filter(|(_, place)| is_whole(place)).map(|(number, _)| number).collect()
    }
}

fn file(segment: u64) -> String {
    leveret::storage::segment::file_name(segment)
}

fn numbers(found: &Found) -> Vec<u64> {
    found.queues.iter().flat_map(|of| of.messages.iter().map(|message| number_of(&message.message))).collect()
}

fn refusal(disk: &SimDisk) -> String {
    match recover_all(disk, RecoveryMode::Strict, &options()) {
        Err(error @ StorageError::Corrupt { .. }) => error.to_string(),
        Err(error) => panic!("it does not recommend to salvage: {error}"),
        Ok((found, ..)) => panic!("{} queues came back", found.queues.len()),
    }
}

/// Salvages, goes on for longer than all files last that were there, and starts once more without.
fn salvage(disk: &SimDisk) -> (Vec<u64>, Vec<String>) {
    let (mut log, found) = Log::open(disk, options(), RecoveryMode::Salvage).unwrap();
    let salvaged = numbers(&found);
    log.do_chores();
    let mut model = Model::default();
    model.declare(&mut log, 2);
    for _ in 0..2 * MESSAGES {
        let position = model.enqueue(&mut log, &[2], MESSAGE_BYTES);
        log.store.awaited(position);
        log.flush();
        assert!(!log.failed, "nothing is written over what cannot be read");
    }
    let (_, mut again) = Log::open(&log.stop(), options(), RecoveryMode::Strict).unwrap();
    again.queues.retain(|queue| queue.id.0 == 1);
    assert_eq!(numbers(&again), salvaged, "the start after it finds the same");
    (salvaged, found.warnings)
}

#[test]
fn a_block_that_cannot_be_read_is_refused_by_its_place_and_salvage_keeps_what_lies_around_it() {
    let written = written();
    let last = written.places.last().unwrap().0;
    assert!(last > 3);
    for segment in 1..=last {
        let end = written.places.iter().filter(|(number, _)| *number == segment).map(|(_, place)| place.end).max();
        for block in 0..end.unwrap().div_ceil(BLOCK_BYTES) {
            let disk = written.log.disk.after_crash(0);
            disk.make_block_unreadable(Folder::Log, &file(segment), block * BLOCK_BYTES);
            let first = block * BLOCK_BYTES;
            let named = match (block, segment) {
                (0, _) => format!("log/{} ", file(segment)),
                _ => format!("bytes {first} to {} of log/{} cannot be read: ", first + BLOCK_BYTES - 1, file(segment)),
            };
            let refusal = refusal(&disk);
            assert!(refusal.contains(&named) && refusal.contains("Input/output error"), "{named}: {refusal}");

            let (salvaged, warnings) = salvage(&disk);
            let mut whole = written.whole_without(segment, block);
            if (segment, block) == (1, 0) {
                // Without the queue's declaration messages are of no queue.
                whole.clear();
            }
            assert_eq!(salvaged, whole, "{segment}, {block}: {warnings:?}");
            assert!(warnings.iter().any(|warning| warning.contains(&named)), "{named}: {warnings:?}");
        }
    }
}

#[test]
fn messages_of_which_a_checkpoint_knows_are_salvaged_around_what_cannot_be_read() {
    let written = written();
    let whole = written.whole_without(2, 1);
    let disk = Log::open(&written.log.disk.after_stop(), options(), RecoveryMode::Strict).unwrap().0.stop();
    disk.make_block_unreadable(Folder::Log, &file(2), BLOCK_BYTES);
    assert!(refusal(&disk).contains(&format!("bytes 4096 to 8191 of log/{} cannot be read: ", file(2))));
    assert_eq!(salvage(&disk.after_stop()).0, whole);
    disk.make_block_unreadable(Folder::Log, &file(2), 0);
    let both = written.whole_without(2, 0).into_iter().filter(|number| whole.contains(number)).collect::<Vec<_>>();
    let (salvaged, warnings) = salvage(&disk);
    assert_eq!(salvaged, both);
    assert!(warnings.iter().any(|warning| warning.contains("bytes 0 to 8191 of ")), "{warnings:?}");
}

#[test]
fn a_whole_segment_that_cannot_be_opened_does_not_take_the_others_with_it() {
    let written = written();
    let disk = written.log.disk.after_crash(0);
    disk.make_unopenable(Folder::Log, &file(2));
    assert!(refusal(&disk).starts_with(&format!("log/{} is damaged at byte 0: it cannot be opened", file(2))));
    let (_, found) = Log::open(&disk, options(), RecoveryMode::Salvage).unwrap();
    let others: Vec<_> = (1..).zip(&written.places).filter(|(_, (segment, _))| *segment != 2).collect();
    assert_eq!(numbers(&found), others.iter().map(|(number, _)| *number).collect::<Vec<_>>());
}

/// What is read beside what is needed is nobody's loss.
#[test]
fn what_lies_behind_the_end_of_an_orderly_stop_need_not_be_readable() {
    let written = written();
    let (segment, place) = written.places.last().unwrap().clone();
    let disk = written.log.stop();
    let behind = place.end + 2 * BLOCK_BYTES;
    assert!(behind < 20_000, "{behind}");
    disk.make_block_unreadable(Folder::Log, &file(segment), behind);
    let (_, found) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    assert_eq!(numbers(&found).len() as u64, MESSAGES);
}

#[test]
fn files_beside_the_log_that_cannot_be_read_are_done_without() {
    let disk = Log::open(&written().log.stop(), options(), RecoveryMode::Strict).unwrap().0.stop();
    let mut checkpoints = disk.list(Folder::Checkpoint).unwrap();
    checkpoints.sort();
    disk.make_block_unreadable(Folder::Checkpoint, checkpoints.last().unwrap(), 0);
    let recovered = recover(&disk, RecoveryMode::Strict, IDS).unwrap();
    assert!(recovered.warnings[0].contains("cannot be read (Input/output error"), "{:?}", recovered.warnings);
    disk.make_block_unreadable(Folder::Root, "META", 0);
    assert!(refusal(&disk).starts_with("META is damaged at byte 0: it cannot be read: Input/output error"));
    assert_eq!(salvage(&disk).0.len() as u64, MESSAGES);
}
