//! Which entries can be read back, and for how long: the newest ones for followers that lag, whatever checkpoints need.

use super::model::{Effect, Model, Node, founded, options};
use leveret::storage::LogOptions;
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::entry::{EntryLabel, Place};
use leveret::storage::replica::{EntryReader, ReplicaReport, ReplicaRequest};
use std::collections::BTreeMap;

const KEPT_BYTES: u64 = 8 * 1024;

fn with_small_segments() -> LogOptions {
    LogOptions { segment_bytes: 1024, kept_for_followers_bytes: KEPT_BYTES, ..options() }
}

/// Publishes and consumes `rounds` messages, all of it committed at once; says below which entry nothing is left.
fn pass(node: &mut Node, model: &mut Model, places: &mut BTreeMap<u64, Place>, rounds: u64) -> u64 {
    for _ in 0..rounds {
        let mut effects = vec![model.enqueue(1, 60)];
        effects.extend(model.remove(1));
        let entry = model.entry(effects, model.committed);
        let written = node.append(vec![entry], None).unwrap();
        places.extend(written);
        model.commit(node, u64::MAX);
    }
    let forgotten = node.said.iter().filter_map(|report| match report {
        ReplicaReport::Forgotten { below } => Some(*below),
        _ => None,
    });
    forgotten.max().unwrap_or(1)
}

/// Reads an entry and compares it with what was told.
fn read(reader: &mut EntryReader<crate::sim_disk::SimDisk>, model: &Model, label: &EntryLabel, place: Place) -> bool {
    let Some(entry) = reader.read(place).unwrap() else { return false };
    assert_eq!(entry.label, *label);
    let told = &model.log[label.index as usize - 1];
    assert_eq!((entry.label, entry.body.bytes().len() as u32), (told.label, place.length));
    true
}

#[test]
fn what_is_not_forgotten_can_be_read_back() {
    let (mut node, mut model) = founded(with_small_segments());
    let mut places = BTreeMap::new();
    let below = pass(&mut node, &mut model, &mut places, 400);
    let last = *places.keys().next_back().unwrap();
    assert!(below > 200 && below < last, "{below} of {last}");
    let mut reader = EntryReader::new(node.disk.clone());
    let (mut kept_bytes, mut left_by_chance) = (0, 0);
    for (index, place) in places {
        let label = model.log[index as usize - 1].label;
        let is_there = read(&mut reader, &model, &label, place);
        assert!(is_there || index < below, "{index}, forgotten below {below}");
        left_by_chance += u64::from(is_there && index < below);
        kept_bytes += if index >= below { u64::from(place.length) } else { 0 };
    }
    assert!(kept_bytes > KEPT_BYTES / 2, "{kept_bytes} bytes");
    assert!(left_by_chance < 20, "{left_by_chance} in a segment with a message that is alive");
    assert!(node.disk.bytes_in(Folder::Log) < 4 * KEPT_BYTES, "{}", node.disk.bytes_in(Folder::Log));
}

#[test]
fn a_start_finds_the_entries_before_its_checkpoint_again() {
    let (mut node, mut model) = founded(with_small_segments());
    let mut places = BTreeMap::new();
    // The last one of a queue that nobody consumes keeps the segment it is in, and that is no reason to tell of it.
    let below = pass(&mut node, &mut model, &mut places, 300);
    let (mut node, found) = Node::open(&node.disk.after_crash(1), with_small_segments()).unwrap();
    node.maintain(1);
    let first = pass(&mut node, &mut Model::default(), &mut BTreeMap::new(), 0).max(found.log[0].0.index);
    assert!(first <= below + 20 && found.applied.index > first + 20, "from {first} on, forgotten below {below}");
    model.check(&found, &mut node);
    let mut reader = EntryReader::new(node.disk.clone());
    for (label, place) in found.log.iter().filter(|(label, _)| label.index >= first) {
        assert!(read(&mut reader, &model, label, *place), "{label:?}");
    }
    // A lost segment is a hole, and what is before it is not told of.
    let holed = node.disk.after_stop();
    let middle = (first + found.applied.index) / 2;
    let segment = places[&middle].segment;
    let name = format!("{segment:016}.seg");
    assert!(holed.list(Folder::Log).unwrap().contains(&name));
    let alive = node.duty.writer().state().segments.get(&segment).is_some_and(|segment| segment.live > 0);
    assert!(!alive);
    holed.lose(Folder::Log, &name);
    let (_, again) = Node::open(&holed, with_small_segments()).unwrap();
    let after = again.log.first().map_or(again.applied.index + 1, |(label, _)| label.index);
    assert!(after > middle, "{after} and the hole is at {middle}");
    assert!(again.log.iter().all(|(_, place)| place.segment > segment) && !again.log.is_empty());
}

/// Their batches are in the same files, and there must be no trace of them.
#[test]
fn entries_that_were_cut_off_are_not_told_of_by_a_start() {
    let (mut node, mut model) = founded(with_small_segments());
    for round in 0..12 {
        for _ in 0..3 {
            let effects = vec![model.enqueue(1, 60)];
            model.write(&mut node, effects);
        }
        model.term += 1;
        model.cut_off_behind(model.committed + round % 3);
        let effects = vec![model.enqueue(2, 40)];
        model.write(&mut node, effects);
        model.commit(&mut node, u64::MAX);
        node.ask(ReplicaRequest::Checkpoint);
    }
    let (mut node, found) = Node::open(&node.disk.after_crash(3), with_small_segments()).unwrap();
    assert!(found.log.len() > 12 && found.applied.index == found.log.last().unwrap().0.index);
    model.check(&found, &mut node);
    let mut reader = EntryReader::new(node.disk.clone());
    assert!(found.log.iter().all(|(label, place)| read(&mut reader, &model, label, *place)));
}

#[test]
fn a_disk_that_is_nearly_full_gets_back_what_was_kept_for_others() {
    let options = LogOptions { kept_for_followers_bytes: u64::MAX, ..with_small_segments() };
    let (mut node, mut model) = founded(options);
    let mut places = BTreeMap::new();
    assert_eq!(pass(&mut node, &mut model, &mut places, 300), 1, "all is kept");
    let before = node.disk.bytes_in(Folder::Log);
    for _ in 0..5 {
        node.ask(ReplicaRequest::MakeRoom);
    }
    assert!(node.disk.bytes_in(Folder::Log) < before / 4, "{before} and then {}", node.disk.bytes_in(Folder::Log));
    assert!(node.said.iter().any(|report| matches!(report, ReplicaReport::Forgotten { below } if *below > 200)));
    let (mut node, found) = Node::open(&node.disk.after_crash(3), with_small_segments()).unwrap();
    model.check(&found, &mut node);
}

/// Records are moved while a removal waits for its commit; then it is committed, and a checkpoint without the messages
/// has moved records behind it that hold them.
#[test]
fn what_was_removed_before_a_checkpoint_is_not_brought_back_by_moved_records_behind_it() {
    let options = LogOptions { kept_for_followers_bytes: 0, checkpoint_interval_bytes: 3000, ..with_small_segments() };
    let (mut node, mut model) = founded(options.clone());
    let mut stay = Vec::new();
    for _ in 0..60 {
        let slow = model.enqueue(2, 40);
        if let Effect::Enqueue { sequence, .. } = slow {
            stay.push(sequence);
        }
        let mut effects = vec![slow];
        for _ in 0..3 {
            effects.push(model.enqueue(1, 100));
            let entry = std::mem::take(&mut effects);
            model.write(&mut node, entry);
        }
        let removed = model.messages()[&1].keys().copied().collect::<Vec<_>>();
        let (first, last) = (removed[0], removed[removed.len() - 1]);
        // Nothing is moved before there is what waits.
        model.write(&mut node, vec![Effect::Remove { queue: 1, first, last }]);
    }
    // All but the removal of a slow queue's messages, and one entry more, is committed.
    let committed = model.log.len() as u64;
    let (first, last) = (stay[0], stay[stay.len() / 2]);
    model.write(&mut node, vec![Effect::Remove { queue: 2, first, last }]);
    let effects = vec![model.enqueue(1, 30)];
    model.write(&mut node, effects);
    let before = node.duty.writer().totals().moved_bytes;
    model.commit(&mut node, committed);
    node.maintain(200);
    assert!(node.duty.writer().totals().moved_bytes > before + 1000, "moved behind the removal, before its commit");
    model.commit(&mut node, committed + 1);
    node.ask(ReplicaRequest::Checkpoint);
    model.check_state(&mut node);
    for seed in 0..4 {
        let (mut node, found) = Node::open(&node.disk.after_crash(seed), options.clone()).unwrap();
        assert_eq!(found.applied.index, committed + 1);
        model.clone().check(&found, &mut node);
    }
}

/// A node that hears of no commits writes on for a while. Its segments are neither dead nor to be emptied, whatever is alive
/// in them.
#[test]
fn what_waits_for_its_commit_stays_where_it_is() {
    let options = LogOptions { kept_for_followers_bytes: 0, checkpoint_interval_bytes: 2000, ..with_small_segments() };
    let (mut node, mut model) = founded(options.clone());
    for _ in 0..60 {
        let effects = [model.enqueue_many(1, 3, 60), model.enqueue_many(2, 1, 5)].concat();
        model.write(&mut node, effects);
        let removed: Vec<_> = model.messages()[&1].keys().copied().collect();
        let (first, last) = (removed[0], removed[removed.len() - 1]);
        model.write(&mut node, vec![Effect::Remove { queue: 1, first, last }]);
        // Some segments wait.
        model.commit(&mut node, (model.log.len() as u64).saturating_sub(13));
        node.maintain(3);
    }
    model.commit(&mut node, u64::MAX);
    node.maintain(50);
    assert!(!node.failed);
    model.check_state(&mut node);
    let (mut node, found) = Node::open(&node.disk.after_crash(4), options).unwrap();
    model.check(&found, &mut node);
}

/// A node begins to lead, and goes on writing while what there was is loaded.
#[test]
fn what_is_loaded_is_what_there_was_when_it_was_asked_for() {
    let options = LogOptions { kept_for_followers_bytes: 0, ..with_small_segments() };
    let (mut node, mut model) = founded(options);
    for _ in 0..80 {
        let effects = vec![model.enqueue(1, 60), model.enqueue(2, 60)];
        model.write(&mut node, effects);
        model.commit(&mut node, u64::MAX);
    }
    let expected = model.messages();
    let survey = node.survey();
    for _ in 0..80 {
        let effects = [model.remove(1), model.remove(2)].concat();
        model.write(&mut node, effects);
        model.commit(&mut node, u64::MAX);
        node.ask(ReplicaRequest::Checkpoint);
    }
    let loaded = crate::harness::load_all(survey.loader).unwrap();
    for (queue, messages) in loaded {
        let sequences: Vec<_> = messages.iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, expected[&queue.0].keys().copied().collect::<Vec<_>>());
    }
    let before = node.disk.bytes_in(Folder::Log);
    for _ in 0..3 {
        node.ask(ReplicaRequest::MakeRoom);
    }
    assert!(node.disk.bytes_in(Folder::Log) < before / 2, "what was loaded is freed");
}
