//! A log that lost something is set aside, and its folder becomes that of a new member, with a crash at every call.

use super::model::{CLUSTER, FIRST_CONFIGURATION, Node, founded, member, options};
use crate::harness::{Log, declared};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::Log as _;
use leveret::storage::disk::{Disk, Folder, read_file};
use leveret::storage::replica::{RecoveredReplica, ReplicaReport, ReplicaRequest, ReplicaWriter, recover_or_rejoin};
use leveret::storage::{ClusterId, RecoveryMode, StorageError};
use std::collections::BTreeSet;

const BATCH_HEADER_BYTES: usize = 72;

/// A disk with some entries, of which one that others came after has another byte.
fn rotten() -> SimDisk {
    let (mut node, mut model) = founded(options());
    for _ in 0..8 {
        let effects = vec![model.enqueue(1, 60)];
        model.write(&mut node, effects);
    }
    let disk = node.disk.after_stop();
    for name in disk.list(Folder::Log).unwrap() {
        disk.edit(Folder::Log, &name, |bytes| {
            let batches: Vec<_> = memchr::memmem::find_iter(bytes, b"LvBt").collect();
            if let [.., rotten, _] = batches[..] {
                bytes[rotten + BATCH_HEADER_BYTES + 5] ^= 1;
            }
        });
    }
    disk
}

fn names(disk: &SimDisk) -> BTreeSet<String> {
    let log_names = [Folder::Log, Folder::Checkpoint].into_iter().flat_map(|folder| disk.list(folder).unwrap());
    log_names.chain(["META".to_owned()]).collect()
}

fn start(disk: &SimDisk, recovered: RecoveredReplica) -> Result<ReplicaWriter<SimDisk>, StorageError> {
    ReplicaWriter::start(disk.clone(), options(), recovered.resume)
}

#[test]
fn who_lost_something_is_somebody_new_wherever_the_power_goes_off() {
    let rotten = rotten();
    assert!(Node::open(&rotten.after_stop(), options()).is_err(), "it is damaged");
    let old = names(&rotten);
    let mut again = 0;
    for call in 1.. {
        let disk = rotten.after_stop();
        disk.fail_at(call, Fault::Crash);
        let begun = recover_or_rejoin(&disk, member(8)).and_then(|(recovered, _)| start(&disk, recovered));
        assert_eq!(begun.is_err(), disk.has_crashed());
        for seed in 0..4 {
            let disk = disk.after_crash(seed);
            let (recovered, damage) = recover_or_rejoin(&disk, member(9)).unwrap();
            let ids = recovered.ids;
            assert!([member(8), member(9)].contains(&ids.member) && recovered.rejoins, "call {call}, seed {seed}");
            assert!(damage.is_some() == (ids.member == member(9)), "it is told where it is found");
            again += u64::from(damage.is_none());
            assert_eq!(ids.cluster, ClusterId::NONE);
            assert!(recovered.log.is_empty() && recovered.applied.index == 0 && recovered.membership.is_empty());
            let aside = disk.list(Folder::Rotten).unwrap().into_iter().collect();
            assert!(old.is_subset(&aside), "call {call}, seed {seed}: {old:?} of {aside:?}");
            drop(start(&disk, recovered).unwrap());
            let (mut node, found) = Node::open(&disk, options()).unwrap();
            assert_eq!(found.ids, ids);
            let configuration = FIRST_CONFIGURATION.to_vec();
            let said = node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration });
            assert!(matches!(said[0], ReplicaReport::Founded));
            let (recovered, _) = recover_or_rejoin(&node.disk.after_crash(seed), member(10)).unwrap();
            assert_eq!((recovered.ids.cluster, recovered.ids.member), (CLUSTER, ids.member));
            assert!(!recovered.rejoins, "it belongs to a cluster again");
        }
        if !disk.has_crashed() {
            break;
        }
    }
    assert!(again > 40, "{again} were gone on with");
}

#[test]
fn the_last_log_that_was_set_aside_stays_with_the_reason() {
    let disk = rotten();
    for life in 8..11 {
        let (recovered, damage) = recover_or_rejoin(&disk, member(life)).unwrap();
        let damage = damage.unwrap();
        assert_eq!(read_file(&disk, Folder::Rotten, "REASON").unwrap(), damage.as_bytes());
        drop(start(&disk, recovered).unwrap());
        let (mut node, _) = Node::open(&disk, options()).unwrap();
        node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration: FIRST_CONFIGURATION.to_vec() });
        disk.edit(Folder::Root, "META", |bytes| bytes[20] ^= 1);
        assert!(disk.list(Folder::Rotten).unwrap().len() < 12, "of one log");
    }
}

#[test]
fn what_is_whole_or_not_ours_is_left_alone() {
    let (node, _) = founded(options());
    let disk = node.disk.after_stop();
    let (recovered, damage) = recover_or_rejoin(&disk, member(8)).unwrap();
    assert_eq!((recovered.ids.member, recovered.rejoins, damage), (member(7), false, None));
    let (mut node, mut model) = founded(options());
    let effects = vec![model.enqueue(1, 60)];
    model.write(&mut node, effects);
    let disk = node.disk.after_stop();
    disk.lose(Folder::Root, "META");
    assert!(matches!(recover_or_rejoin(&disk, member(8)), Err(StorageError::NotOurs { .. })));
    assert_eq!(disk.calls(), 0);
}

/// What becomes of a disk.
type Damage = fn(&SimDisk);

/// Changes a byte of each file of a folder.
fn damage_all(disk: &SimDisk, folder: Folder) {
    for name in disk.list(folder).unwrap() {
        disk.edit(folder, &name, |bytes| bytes[20] ^= 1);
    }
}

fn lose_all(disk: &SimDisk, folder: Folder) {
    disk.list(folder).unwrap().iter().for_each(|name| disk.lose(folder, name));
}

fn damage_meta(disk: &SimDisk) {
    disk.edit(Folder::Root, "META", |bytes| bytes[20] ^= 1);
}

#[test]
fn the_log_of_a_broker_that_was_alone_is_never_set_aside() {
    let (mut log, _) = Log::open(&SimDisk::default(), options(), RecoveryMode::Strict).unwrap();
    log.store.define(&declared(1));
    log.flush();
    let killed = log.disk.after_stop();
    let damages: [(&str, Damage); 5] = [
        ("META", damage_meta),
        ("the checkpoints", |disk| damage_all(disk, Folder::Checkpoint)),
        ("no checkpoint", |disk| lose_all(disk, Folder::Checkpoint)),
        ("META, and no checkpoint", |disk| {
            damage_meta(disk);
            lose_all(disk, Folder::Checkpoint);
        }),
        ("the log", |disk| damage_all(disk, Folder::Log)),
    ];
    for disk in [killed, log.stop()] {
        for (what, damage) in damages {
            let disk = disk.after_stop();
            damage(&disk);
            match recover_or_rejoin(&disk, member(8)).err() {
                Some(StorageError::Alone) => {}
                Some(error @ StorageError::Nobodys { .. }) => {
                    let said = error.to_string();
                    assert!(said.contains("is damaged at byte") && said.contains("start without [cluster]"), "{said}");
                }
                other => panic!("{what}: {other:?}"),
            }
            assert_eq!((disk.calls(), disk.list(Folder::Rotten).unwrap()), (0, Vec::new()), "{what}");
        }
    }
}

#[test]
fn who_was_never_founded_begins_with_an_empty_folder_wherever_the_power_goes_off() {
    let (node, _) = Node::open(&SimDisk::default(), options()).unwrap();
    let damages: [Damage; 2] = [damage_meta, |disk| damage_all(disk, Folder::Checkpoint)];
    for damage in damages {
        let damaged = node.disk.after_stop();
        damage(&damaged);
        for call in 1.. {
            let disk = damaged.after_stop();
            disk.fail_at(call, Fault::Crash);
            match recover_or_rejoin(&disk, member(8)) {
                Ok((recovered, damage)) => {
                    assert_eq!((recovered.ids.member, recovered.rejoins, damage.is_some()), (member(8), false, true));
                }
                Err(_) => assert!(disk.has_crashed()),
            }
            for seed in 0..4 {
                let disk = disk.after_crash(seed);
                let (recovered, _) = recover_or_rejoin(&disk, member(9)).unwrap();
                assert!(!recovered.rejoins && recovered.ids.cluster == ClusterId::NONE, "call {call}, seed {seed}");
                drop(start(&disk, recovered).unwrap());
                let (mut node, _) = Node::open(&disk, options()).unwrap();
                let configuration = FIRST_CONFIGURATION.to_vec();
                let said = node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration });
                assert!(matches!(said[0], ReplicaReport::Founded));
            }
            if !disk.has_crashed() {
                break;
            }
        }
    }
}

#[test]
fn who_may_have_promised_something_does_not_begin_anew() {
    let (mut empty, _) = Node::open(&SimDisk::default(), options()).unwrap();
    empty.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration: FIRST_CONFIGURATION.to_vec() });
    let (node, _) = founded(options());
    let losses: [Damage; 4] = [
        |_| {},
        |disk| lose_all(disk, Folder::Checkpoint),
        |disk| damage_all(disk, Folder::Checkpoint),
        |disk| damage_all(disk, Folder::Log),
    ];
    for whole in [&empty.disk, &node.disk] {
        for loss in losses {
            let disk = whole.after_stop();
            damage_meta(&disk);
            loss(&disk);
            let (recovered, _) = recover_or_rejoin(&disk, member(8)).unwrap();
            assert!(recovered.rejoins && recovered.ids.member == member(8));
        }
    }
    // Without META and checkpoints nothing but SYNCED says that it was a node's.
    let disk = node.disk.after_stop();
    damage_meta(&disk);
    lose_all(&disk, Folder::Checkpoint);
    disk.lose(Folder::Root, "SYNCED");
    assert!(matches!(recover_or_rejoin(&disk, member(8)).err(), Some(StorageError::Nobodys { .. })));
    // Nor does anything say that a segment was never used, as long as it is there.
    let (node, _) = Node::open(&SimDisk::default(), options()).unwrap();
    let disk = node.disk.after_stop();
    damage_meta(&disk);
    disk.create(Folder::Log, "0000000000000001.seg", 4096).unwrap();
    assert!(recover_or_rejoin(&disk, member(8)).unwrap().0.rejoins);
}

#[test]
fn what_was_promised_last_is_missed_and_what_was_torn_is_not() {
    let (mut node, mut model) = founded(options());
    let effects = vec![model.enqueue(1, 60)];
    model.write(&mut node, effects);
    let newest = node.disk.list(Folder::Log).unwrap().into_iter().max().unwrap();
    let whole = node.disk.after_stop();
    let damage_last = |disk: &SimDisk| {
        disk.edit(Folder::Log, &newest, |bytes| {
            let last = memchr::memmem::rfind(bytes, b"LvBt").unwrap();
            bytes[last + BATCH_HEADER_BYTES + 5] ^= 1;
        });
    };
    damage_last(&whole);
    let (recovered, damage) = recover_or_rejoin(&whole, member(8)).unwrap();
    assert_eq!(recovered.ids.member, member(8));
    let damage = damage.unwrap();
    assert!(
        damage.starts_with(&format!("log/{newest} is damaged at byte ")) && damage.contains("SYNCED knows it synced")
    );
    // Without the mark, or with one that says nothing, it is torn for all that anybody knows.
    for says_nothing in [true, false] {
        let disk = node.disk.after_stop();
        damage_last(&disk);
        match says_nothing {
            true => disk.edit(Folder::Root, "SYNCED", |bytes| bytes[24] ^= 1),
            false => disk.lose(Folder::Root, "SYNCED"),
        }
        let (recovered, damage) = recover_or_rejoin(&disk, member(8)).unwrap();
        assert_eq!((recovered.ids.member, damage), (member(7), None));
    }
    // Nobody was told that the batch which a crash cuts short is there.
    for call in 1..5 {
        let (mut node, mut model) = founded(options());
        node.disk.fail_at(node.disk.calls() + call, Fault::Crash);
        let effects = vec![model.enqueue(1, 60)];
        model.write(&mut node, effects);
        for seed in 0..20 {
            let (recovered, damage) = recover_or_rejoin(&node.disk.after_crash(seed), member(8)).unwrap();
            assert_eq!((recovered.ids.member, damage), (member(7), None), "call {call}, seed {seed}");
        }
    }
}
