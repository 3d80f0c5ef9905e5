//! What one node pins and another one installs in place of its log, with a crash at every call.

use super::model::{CLUSTER, Model, Node, founded, member, options};
use crate::sim_disk::{Fault, SimDisk};
use leveret::storage::LogOptions;
use leveret::storage::disk::{Disk, DiskFile, Folder, read_file};
use leveret::storage::entry::Vote;
use leveret::storage::replica::{Install, Pin, ReplicaReport, ReplicaRequest, verify_incoming};

fn knobs() -> LogOptions {
    LogOptions { segment_bytes: 1024, kept_for_followers_bytes: 0, ..options() }
}

fn pin(node: &mut Node, index: u64) -> Pin {
    let before = node.said.len();
    let mut said = node.ask(ReplicaRequest::Pin { index });
    said.extend(node.said.drain(before..));
    let pinned = said.into_iter().find_map(|report| match report {
        ReplicaReport::Pinned(pin) => Some(pin),
        _ => None,
    });
    pinned.expect("the checkpoint's chore is done")
}

/// Messages come and go, and some stay; a tail is not committed.
fn busy() -> (Node, Model) {
    let (mut node, mut model) = founded(knobs());
    work(&mut node, &mut model, 40);
    let effects = vec![model.enqueue(1, 30)];
    model.write(&mut node, effects);
    (node, model)
}

fn work(node: &mut Node, model: &mut Model, rounds: u64) {
    for round in 0..rounds {
        let mut effects = vec![model.enqueue(1, 90)];
        if round % 5 == 0 {
            effects.push(model.enqueue(2, 50));
        }
        if round > 5 {
            effects.extend(model.remove(1));
        }
        model.write(node, effects);
        model.commit(node, u64::MAX);
    }
}

/// Copies what is pinned to where another node keeps what is incoming.
fn send(from: &SimDisk, pin: &Pin, to: &SimDisk) -> Install {
    for (name, bytes) in &pin.files {
        let whole = read_file(from, Folder::Log, name).unwrap();
        put(to, name, &whole[..*bytes as usize]);
    }
    put(to, "state", &pin.checkpoint);
    Install { checkpoint: "state".into(), files: pin.files.clone() }
}

fn put(to: &SimDisk, name: &str, bytes: &[u8]) {
    to.create(Folder::Incoming, name, 0).and_then(|file| file.write_at(bytes, 0)).unwrap();
}

/// Another node of the cluster that has fallen behind, in a term of its own.
fn behind() -> (Node, Model) {
    let (mut node, mut model) = founded(knobs());
    work(&mut node, &mut model, 12);
    let vote = model.vote(Vote { term: 9, member: Some(member(2)) });
    model.append(&mut node, Vec::new(), Some(vote));
    (node, model)
}

#[test]
fn an_installed_log_goes_on_where_the_other_one_was() {
    let (mut source, model) = busy();
    let index = model.committed;
    let pin = pin(&mut source, index);
    assert_eq!((pin.reached.index, &pin.configuration), (index, &model.configuration_at(index)));
    assert!(pin.files.len() > 2);
    for is_founded in [true, false] {
        let (mut target, vote) = match is_founded {
            true => (behind().0, Vote { term: 9, member: Some(member(2)) }),
            false => (Node::open(&SimDisk::default(), knobs()).unwrap().0, Vote::default()),
        };
        let install = send(&source.disk, &pin, &target.disk);
        let said = target.ask(ReplicaRequest::Install(install));
        assert!(matches!(&said[..], [ReplicaReport::Installed(reached), ..] if *reached == pin.reached));
        assert_eq!(target.duty.writer().membership().vote, vote);
        assert!(target.disk.list(Folder::Incoming).unwrap().is_empty());
        let mut model = model.clone();
        model.check_state(&mut target);
        // The other one's tail is none here.
        model.cut_off_behind(index);
        model.term = 11;
        work(&mut target, &mut model, 40);
        model.check_state(&mut target);
        let (mut again, found) = Node::open(&target.disk.after_crash(5), knobs()).unwrap();
        assert_eq!((found.ids.cluster, found.ids.member, found.membership.vote), (CLUSTER, member(7), vote));
        assert!(found.log.first().is_none_or(|(label, _)| label.index > index), "what was copied is not told of");
        model.committed = found.applied.index;
        model.check_state(&mut again);
        assert!(!again.failed && found.applied.index > index + 35);
    }
}

#[test]
fn an_installation_is_finished_or_was_never_begun_wherever_the_power_goes_off() {
    let (mut source, model) = busy();
    let pin = pin(&mut source, model.committed);
    let (target, old_model) = behind();
    let prepared = target.disk.after_stop();
    let vote = Vote { term: 9, member: Some(member(2)) };
    let (mut undone, mut done) = (0, 0);
    for call in 1.. {
        let disk = prepared.after_stop();
        let (mut target, _) = Node::open(&disk, knobs()).unwrap();
        target.ask(ReplicaRequest::Commit(old_model.committed));
        let install = send(&source.disk, &pin, &disk);
        disk.fail_at(disk.calls() + call, Fault::Crash);
        let said = target.ask(ReplicaRequest::Install(install));
        let is_installed = said.iter().any(|report| matches!(report, ReplicaReport::Installed(_)));
        for seed in 0..4 {
            // The start that finishes it may be cut short, too.
            let survived = disk.after_crash(seed);
            survived.fail_at(1 + seed * 5, Fault::Crash);
            let opened = Node::open(&survived, knobs());
            let survived = if survived.has_crashed() { survived.after_crash(seed + 7) } else { survived };
            survived.relent();
            let (mut node, found) = match opened {
                Ok(opened) if !survived.has_crashed() && survived.calls() > 0 => opened,
                _ => Node::open(&survived, knobs()).unwrap_or_else(|error| panic!("call {call}, {seed}: {error}")),
            };
            assert_eq!((found.ids.cluster, found.ids.member, found.membership.vote), (CLUSTER, member(7), vote));
            if found.applied == pin.reached {
                done += 1;
                model.check_state(&mut node);
            } else {
                undone += 1;
                assert!(!is_installed, "call {call}, seed {seed}: it was said to be installed");
                old_model.clone().check(&found, &mut node);
            }
        }
        if !disk.has_crashed() {
            assert!(is_installed);
            break;
        }
    }
    assert!(undone > 10 && done > 40, "{undone} undone, {done} done");
}

#[test]
fn what_is_pinned_stays_as_it_is_until_it_is_not_any_more() {
    let (mut source, mut model) = busy();
    let pin = pin(&mut source, model.committed);
    let copies: Vec<_> =
        pin.files.iter().map(|(name, _)| read_file(&source.disk, Folder::Log, name).unwrap()).collect();
    model.commit(&mut source, u64::MAX);
    work(&mut source, &mut model, 150);
    for ((name, bytes), copy) in pin.files.iter().zip(copies) {
        let now = read_file(&source.disk, Folder::Log, name).unwrap();
        assert_eq!(now[..*bytes as usize], copy[..*bytes as usize], "{name}");
    }
    let pinned_bytes = source.disk.bytes_in(Folder::Log);
    source.ask(ReplicaRequest::Unpin(pin.id));
    for _ in 0..6 {
        source.ask(ReplicaRequest::MakeRoom);
        source.maintain(20);
    }
    let left = source.disk.bytes_in(Folder::Log);
    assert!(left < pinned_bytes / 3 * 2, "{pinned_bytes} and then {left}");
    let (mut node, found) = Node::open(&source.disk.after_crash(2), knobs()).unwrap();
    model.check(&found, &mut node);
}

#[test]
fn a_pin_waits_for_a_checkpoint_that_holds_enough() {
    let (mut source, mut model) = busy();
    source.delays_chores = true;
    source.ask(ReplicaRequest::Pin { index: model.committed });
    model.commit(&mut source, u64::MAX);
    source.ask(ReplicaRequest::Pin { index: model.committed });
    source.said.clear();
    source.delays_chores = false;
    source.do_chores();
    let pins = source.said.iter().filter_map(|report| match report {
        ReplicaReport::Pinned(pin) => Some((pin.id.0, pin.reached.index)),
        _ => None,
    });
    assert_eq!(pins.collect::<Vec<_>>(), [(1, model.committed - 1), (2, model.committed)]);
}

#[test]
fn what_is_not_whole_is_not_installed_and_changes_nothing() {
    let (mut source, model) = busy();
    let pin = pin(&mut source, model.committed);
    let (mut target, old_model) = behind();
    let whole = send(&source.disk, &pin, &target.disk);
    let (name, bytes) = whole.files[0].clone();
    let mut missing = whole.clone();
    missing.files.remove(0);
    let mut absent = whole.clone();
    absent.files[0].0 = "0000000000000999.seg".into();
    let mut short = whole.clone();
    short.files[0].1 = bytes - 1;
    let mut no_checkpoint = whole.clone();
    no_checkpoint.checkpoint = name;
    for wrong in [missing, absent, short, no_checkpoint] {
        let said = target.ask(ReplicaRequest::Install(wrong));
        assert!(matches!(said[..], [ReplicaReport::NotInstalled(_)]));
        assert!(!target.failed);
        old_model.check_state(&mut target);
    }
    let said = target.ask(ReplicaRequest::Install(whole));
    assert!(matches!(said[0], ReplicaReport::Installed(_)));
    model.check_state(&mut target);
}

#[test]
fn what_is_rotten_is_found_before_it_is_installed() {
    let (mut source, model) = busy();
    let pin = pin(&mut source, model.committed);
    let disk = SimDisk::default();
    let install = send(&source.disk, &pin, &disk);
    verify_incoming(&disk, &install.checkpoint).unwrap();
    let mut found = 0;
    for (name, bytes) in &install.files {
        for at in (0..*bytes as usize).step_by(7) {
            let rotten = disk.after_stop();
            rotten.edit(Folder::Incoming, name, |bytes| bytes[at] ^= 4);
            let error = verify_incoming(&rotten, &install.checkpoint).unwrap_err().to_string();
            assert!(error.starts_with(&format!("incoming/{name} is damaged")), "{at}: {error}");
            found += 1;
        }
        let short = disk.after_stop();
        short.edit(Folder::Incoming, name, |bytes| bytes.truncate(bytes.len() - 1));
        assert!(verify_incoming(&short, &install.checkpoint).is_err());
        let missing = disk.after_stop();
        missing.lose(Folder::Incoming, name);
        assert!(verify_incoming(&missing, &install.checkpoint).is_err());
    }
    assert!(found > 100, "{found} places");
}
