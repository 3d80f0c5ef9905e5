//! Bits that flip, bytes that vanish, files that are gone. Damage to what was durable is named and refused; salvage keeps
//! what is whole, and the start after it finds nothing to refuse.

use crate::harness::{Found, IDS, Log, Model, declared, number_of, queue, recover_all, small};
use crate::sim_disk::SimDisk;
use leveret::broker::exchange::ExchangeKind;
use leveret::broker::store::{Definition, DurableBinding, DurableDestination, Log as _, VhostId};
use leveret::protocol::FieldTable;
use leveret::storage::batch::{BATCH_HEADER_BYTES, BatchHeader, BatchLabel, seal};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use leveret::storage::{LogOptions, RecoveryMode, StorageError, recover};

/// No checkpoint but those of starts and stops.
fn options() -> LogOptions {
    LogOptions { checkpoint_interval_bytes: u64::MAX, ..small() }
}

/// Twenty durable messages of queue 1 over several segments, then the lights go out.
fn written() -> (SimDisk, Model) {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    for _ in 0..20 {
        let position = model.enqueue(&mut log, &[1], 200);
        log.store.awaited(position);
        log.flush();
        model.note_durable(&log);
    }
    (disk.after_crash(0), model)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.list(Folder::Log).unwrap();
    names.sort();
    names
}

fn checkpoints(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.list(Folder::Checkpoint).unwrap();
    names.sort();
    names
}

fn numbers(found: &Found) -> Vec<u64> {
    found.queues.iter().flat_map(|of| of.messages.iter().map(|message| number_of(&message.message))).collect()
}

fn refusal(disk: &SimDisk) -> (String, u64) {
    match recover_all(disk, RecoveryMode::Strict, &options()) {
        Err(StorageError::Corrupt { file, offset, .. }) => (file, offset),
        Err(error) => panic!("{error}"),
        Ok((found, ..)) => panic!("{} queues came back", found.queues.len()),
    }
}

/// Salvages, and starts once more without.
fn salvage(disk: &SimDisk) -> Vec<u64> {
    let (log, found) = Log::open(disk, options(), RecoveryMode::Salvage).unwrap();
    assert!(!found.warnings.is_empty(), "an operator is told");
    assert!(!found.clean);
    let salvaged = numbers(&found);
    let (_, again) = Log::open(&log.stop(), options(), RecoveryMode::Strict).unwrap();
    assert_eq!(numbers(&again), salvaged, "the start after it finds the same");
    salvaged
}

/// Nothing behind the last batch knows that it was synced, so this damage cannot be told from a torn write.
#[test]
fn a_torn_or_zeroed_tail_is_cut() {
    let (disk, mut model) = written();
    let last = segments(&disk).pop().unwrap();
    for edit in [|bytes: &mut Vec<u8>| bytes.truncate(100), |bytes: &mut Vec<u8>| bytes[100..].fill(0)] {
        let disk = disk.after_stop();
        disk.edit(Folder::Log, &last, edit);
        let (_, found) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
        let found = numbers(&found);
        assert!(found.len() < 20 && found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
    }
    let (_, found) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}

#[test]
fn a_flipped_bit_below_the_durable_mark_is_refused_by_name_and_salvaged() {
    let (disk, _) = written();
    let first = segments(&disk).remove(0);
    disk.edit(Folder::Log, &first, |bytes| bytes[700] ^= 4);
    let (file, offset) = refusal(&disk);
    assert_eq!(file, format!("log/{first}"));
    assert!(offset > 64 && offset <= 700, "{offset}");
    let salvaged = salvage(&disk);
    assert_eq!(salvaged.len(), 19, "one batch of one message is lost: {salvaged:?}");
}

#[test]
fn a_missing_segment_is_refused_by_name_and_the_others_are_salvaged() {
    let (disk, _) = written();
    for name in segments(&disk).into_iter().rev().skip(1) {
        let disk = disk.after_stop();
        disk.lose(Folder::Log, &name);
        let (file, _) = refusal(&disk);
        assert!(file.starts_with("log/"), "{file}");
        let is_first = name.contains("0000000000000001");
        let salvaged = salvage(&disk);
        // With the first segment goes the queue's declaration, and messages of no queue are none.
        assert_eq!(salvaged.is_empty(), is_first, "{name}: {salvaged:?}");
    }
}

/// Behind it may be all that was ever confirmed, and its batches know that they were synced.
#[test]
fn a_damaged_header_is_refused_and_the_segment_is_salvaged_by_its_batches() {
    let damage = |disk: &SimDisk, name: &str| {
        let disk = disk.after_stop();
        disk.edit(Folder::Log, name, |bytes| bytes[20] ^= 1);
        disk
    };
    let (disk, mut model) = written();
    for name in segments(&disk) {
        let disk = damage(&disk, &name);
        let (file, _) = refusal(&disk);
        assert!(file.starts_with("log/"), "{file}");
        assert_eq!(salvage(&disk), (1..=20).collect::<Vec<_>>(), "{name}");
    }
    // The first segment of a start, to which a checkpoint points before it is there.
    let (mut log, found) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
    for _ in 0..2 {
        let position = model.enqueue(&mut log, &[1], 200);
        log.store.awaited(position);
        log.flush();
    }
    let name = segments(&log.disk).pop().unwrap();
    let disk = damage(&log.disk, &name);
    assert_eq!(refusal(&disk), (format!("log/{name}"), 0));
    assert_eq!(salvage(&disk).len(), 22);
}

#[test]
fn a_segment_of_which_only_a_checkpoint_knows_is_refused_by_name_and_what_is_left_is_salvaged() {
    let (disk, _) = written();
    let disk = Log::open(&disk, options(), RecoveryMode::Strict).unwrap().0.stop();
    let first = segments(&disk).remove(0);
    let missing = disk.after_stop();
    missing.lose(Folder::Log, &first);
    let headless = disk.after_stop();
    headless.edit(Folder::Log, &first, |bytes| bytes[20] ^= 1);
    assert_eq!(refusal(&missing), (format!("log/{first}"), 0));
    let salvaged = salvage(&missing);
    assert!(!salvaged.is_empty() && salvaged.len() < 20 && !salvaged.contains(&1), "{salvaged:?}");
    assert_eq!(refusal(&headless), (format!("log/{first}"), 0));
    assert_eq!(salvage(&headless).len(), 20);
    // A flipped bit is found by the loader only.
    disk.edit(Folder::Log, &first, |bytes| bytes[700] ^= 1);
    recover(&disk, RecoveryMode::Strict, IDS).unwrap();
    assert_eq!(refusal(&disk).0, format!("log/{first}"));
    assert_eq!(salvage(&disk).len(), 19);
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_one_before_it() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    for round in 0..200 {
        let position = model.enqueue(&mut log, &[1], 100);
        log.store.awaited(position);
        log.flush();
        model.note_durable(&log);
        if round % 7 != 0 {
            model.remove(&mut log, 1, round);
        }
    }
    assert!(log.writer.totals().checkpoints > 3);
    assert!(log.writer.totals().segments_recycled > 0, "stale bytes lie behind new batches");
    let disk = disk.after_crash(1);
    let newest = checkpoints(&disk).pop().unwrap();
    disk.edit(Folder::Checkpoint, &newest, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (log, found) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
    assert!(found.warnings[0].contains(&newest), "{:?}", found.warnings);
    model.check(&found, false);
    let (_, found) = Log::open(&log.stop(), small(), RecoveryMode::Strict).unwrap();
    model.check(&found, true);
}

/// Tells a log one thing after the other, each in a batch of its own, and damages the one of index `lost`.
pub fn told_and_damaged(told: &[Definition], lost: usize) -> SimDisk {
    let (mut log, _) = Log::open(&SimDisk::default(), options(), RecoveryMode::Strict).unwrap();
    let mut ends = vec![0];
    for definition in told {
        let position = log.store.define(definition);
        log.store.awaited(position);
        log.flush();
        ends.push(log.writer.state().segments[&1].end as usize);
    }
    log.disk.edit(Folder::Log, &segments(&log.disk)[0], |bytes| bytes[ends[lost + 1] - 1] ^= 1);
    log.disk.after_stop()
}

/// What is salvaged, and what is said of it. The start after that one finds the same.
pub fn salvaged(disk: &SimDisk) -> (Vec<Definition>, Vec<String>) {
    let (log, found) = Log::open(disk, options(), RecoveryMode::Salvage).unwrap();
    let (_, again) = Log::open(&log.stop(), options(), RecoveryMode::Strict).unwrap();
    assert_eq!(again.definitions, found.definitions, "the start after it finds the same");
    (found.definitions, found.warnings)
}

fn salvaged_definitions(disk: &SimDisk) -> Vec<Definition> {
    let (definitions, said) = salvaged(disk);
    assert!(said.len() >= 2, "{said:?}");
    definitions
}

/// No broker could restore it.
#[test]
fn a_binding_is_not_salvaged_without_its_ends() {
    let exchange = Definition::ExchangeDeclared {
        vhost: VhostId(0),
        name: "x".into(),
        kind: ExchangeKind::Fanout,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
    };
    let bound = |source: &'static str| {
        let destination = DurableDestination::Queue("queue-1".into());
        let arguments = FieldTable::default();
        Definition::Bound(DurableBinding {
            vhost: VhostId(0),
            source: source.into(),
            destination,
            routing_key: "".into(),
            arguments,
        })
    };
    let told = [exchange.clone(), declared(1), bound("x"), bound("amq.direct"), declared(2)];
    let without_exchange = [declared(1), declared(2), bound("amq.direct")];
    assert_eq!(salvaged_definitions(&told_and_damaged(&told, 0)), without_exchange);
    assert_eq!(salvaged_definitions(&told_and_damaged(&told, 1)), [exchange, declared(2)]);
}

#[test]
fn of_two_queues_of_one_name_the_younger_is_salvaged() {
    let Definition::QueueDeclared { vhost, name, auto_delete, arguments, .. } = declared(1) else { unreachable!() };
    let again = Definition::QueueDeclared { id: queue(2), vhost, name, auto_delete, arguments, top_level: 0 };
    let told = [declared(1), Definition::QueueDeleted { id: queue(1) }, again.clone(), declared(3)];
    assert_eq!(salvaged_definitions(&told_and_damaged(&told, 1)), [again, declared(3)]);
}

/// Starts that write nothing remove what nothing needs, and leave a checkpoint that says where the log goes on.
#[test]
fn what_follows_idle_starts_is_found_from_the_checkpoint_before() {
    let options = LogOptions { free_segments_max: 0, ..small() };
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    let mut model = Model::default();
    model.declare(&mut log, 1);
    for sequence in 0..30 {
        model.enqueue(&mut log, &[1], 200);
        model.remove(&mut log, 1, sequence);
        log.flush();
    }
    let mut disk = log.disk.after_stop();
    for _ in 0..2 {
        let (mut idle, found) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
        model.check(&found, false);
        idle.do_chores();
        disk = idle.disk.after_stop();
    }
    assert!(segments(&disk).is_empty());
    let (mut log, found) = Log::open(&disk, options.clone(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
    let position = model.enqueue(&mut log, &[1], 30);
    log.store.awaited(position);
    log.flush();
    model.note_durable(&log);
    let disk = log.disk.after_crash(0);
    let newest = checkpoints(&disk).pop().unwrap();
    disk.edit(Folder::Checkpoint, &newest, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (_, found) = Log::open(&disk, options, RecoveryMode::Strict).unwrap();
    model.check(&found, false);
}

#[test]
fn whatever_byte_is_damaged_no_message_is_made_up() {
    let (disk, _) = written();
    let files = segments(&disk).into_iter().map(|name| (Folder::Log, name));
    let files = files.chain(checkpoints(&disk).into_iter().map(|name| (Folder::Checkpoint, name)));
    for (folder, name) in files {
        let mut length = 0;
        disk.edit(folder, &name, |bytes| length = bytes.len());
        for at in (0..length).step_by(3) {
            let disk = disk.after_stop();
            disk.edit(folder, &name, |bytes| bytes[at] ^= 1 << (at % 8));
            let genuine = |found: Found| {
                let found = numbers(&found);
                assert!(found.iter().all(|number| (1..=20).contains(number)) && found.is_sorted(), "{found:?}");
            };
            match recover_all(&disk, RecoveryMode::Strict, &options()) {
                Ok((found, ..)) => genuine(found),
                Err(StorageError::Corrupt { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            genuine(recover_all(&disk, RecoveryMode::Salvage, &options()).unwrap().0);
        }
    }
}

/// No broker should write one. If one does, its other records are worth as much as before.
#[test]
fn a_record_that_cannot_be_read_is_refused_and_the_others_are_salvaged() {
    let (disk, mut model) = written();
    let (mut log, found) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    model.check(&found, false);
    model.enqueue(&mut log, &[1], 200);
    let mut batch = log.store.take_batch(0).unwrap();
    let kind = BATCH_HEADER_BYTES + size_of::<u32>();
    batch.buffer[kind] = u8::MAX;
    log.writer.write(batch).unwrap();
    assert_eq!(refusal(&log.disk).0, format!("log/{}", segments(&log.disk).pop().unwrap()));
    assert_eq!(salvage(&log.disk.after_stop()).len(), 20);
}

#[test]
fn a_damaged_meta_is_refused_and_the_log_is_salvaged() {
    let (disk, _) = written();
    disk.edit(Folder::Root, "META", |bytes| bytes[20] ^= 1);
    assert_eq!(refusal(&disk), ("META".to_owned(), 0));
    assert_eq!(salvage(&disk).len(), 20);
}

#[test]
fn a_log_without_meta_is_not_taken_over() {
    let (disk, _) = written();
    disk.lose(Folder::Root, "META");
    let error = recover(&disk, RecoveryMode::Strict, IDS).err().unwrap().to_string();
    assert!(error.contains("META is not Leveret's: it is missing although there is a log"), "{error}");
}

#[test]
fn a_log_whose_meta_is_lost_or_something_else_is_salvaged_by_its_segments() {
    let damages: [fn(&SimDisk); 3] = [
        |disk| disk.lose(Folder::Root, "META"),
        |disk| disk.edit(Folder::Root, "META", |bytes| bytes[0] ^= 1),
        |disk| disk.edit(Folder::Root, "META", |bytes| bytes.fill(0)),
    ];
    for damage in damages {
        let (disk, _) = written();
        damage(&disk);
        assert!(matches!(recover(&disk, RecoveryMode::Strict, IDS), Err(StorageError::NotOurs { .. })));
        assert_eq!(salvage(&disk).len(), 20);
    }
}

#[test]
fn what_is_not_ours_is_not_salvaged() {
    let (disk, _) = written();
    disk.edit(Folder::Root, "META", |bytes| *bytes = b"a letter to somebody".to_vec());
    for name in disk.list(Folder::Log).unwrap() {
        disk.edit(Folder::Log, &name, |bytes| bytes.fill(7));
    }
    assert!(matches!(recover(&disk, RecoveryMode::Salvage, IDS), Err(StorageError::NotOurs { .. })));
}

/// What is done to a batch's label.
type Change = fn(&mut BatchLabel);

/// Changes the label of a batch of a segment, and gives it the checksum that fits.
fn relabel(disk: &SimDisk, name: &str, batch: usize, change: impl Fn(&mut BatchLabel)) -> usize {
    let (number, mut at) = (leveret::storage::segment::number_of(name).unwrap(), SEGMENT_HEADER_BYTES);
    disk.edit(Folder::Log, name, |bytes| {
        let segment = SegmentHeader::decode(bytes, number).unwrap();
        let header_at = |bytes: &[u8], at: usize| BatchHeader::decode(&bytes[at..], &segment, at as u64).unwrap();
        for _ in 0..batch {
            at += BATCH_HEADER_BYTES + header_at(bytes, at).body_length as usize;
        }
        let BatchHeader { body_length, mut label, .. } = header_at(bytes, at);
        change(&mut label);
        seal(&mut bytes[at..][..BATCH_HEADER_BYTES + body_length as usize], &label, &segment, at as u64);
    });
    at
}

/// No disk does that, and no writer: whatever did may have done more. All checksums are right.
#[test]
fn a_batch_whose_numbers_do_not_follow_is_refused_by_name_and_salvaged() {
    let (disk, _) = written();
    let first = segments(&disk).remove(0);
    let cases: [(&str, Change); 4] = [
        ("its first position is ", |label| label.first_position += 1),
        ("its index is ", |label| label.index += 1),
        ("batch 3 should be here, as ", |label| label.serial += 1),
        ("batch 3 should be here, as ", |label| label.serial -= 1),
    ];
    for (reason, change) in cases {
        let disk = disk.after_stop();
        let at = relabel(&disk, &first, 2, change);
        let refusal = recover(&disk, RecoveryMode::Strict, IDS).err().unwrap().to_string();
        assert!(refusal.starts_with(&format!("log/{first} is damaged at byte {at}: {reason}")), "{refusal}");
        let salvaged = salvage(&disk);
        assert!(salvaged.len() >= 19, "{reason}: {salvaged:?}");
    }
}

#[test]
fn a_batch_that_contradicts_itself_is_none() {
    let (disk, _) = written();
    let first = segments(&disk).remove(0);
    let cases: [fn(&mut BatchLabel); 4] = [
        |label| label.synced_serial = label.serial,
        |label| label.commit = label.index + 1,
        |label| label.serial = u64::MAX,
        |label| label.first_position = u64::MAX,
    ];
    for change in cases {
        let disk = disk.after_stop();
        let at = relabel(&disk, &first, 2, change);
        assert_eq!(refusal(&disk), (format!("log/{first}"), at as u64));
        assert_eq!(salvage(&disk).len(), 19);
    }
}
