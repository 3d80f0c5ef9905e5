//! Founding, committing, cutting off: what a node's log does in plain order, and whose folder is whose.

use super::model::{CLUSTER, Effect, FIRST_CONFIGURATION, Model, Node, founded, member, options};
use crate::harness::{IDS, Log};
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::{Log as _, LogPosition};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::entry::Vote;
use leveret::storage::replica::{ReplicaReport, ReplicaRequest, recover_replica};
use leveret::storage::sequences::Reached;
use leveret::storage::{ClusterId, RecoveryMode, StorageError, SyncPolicy, recover};

#[test]
fn a_founding_is_there_or_is_not_wherever_the_power_goes_off() {
    for call in 1.. {
        let disk = SimDisk::default();
        disk.fail_at(call, Fault::Crash);
        let mut was_said = false;
        if let Ok((mut node, _)) = Node::open(&disk, options()) {
            let configuration = FIRST_CONFIGURATION.to_vec();
            let said = node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration });
            was_said = said.iter().any(|report| matches!(report, ReplicaReport::Founded));
        }
        for seed in 0..8 {
            let (mut node, found) = Node::open(&disk.after_crash(seed), options()).unwrap();
            assert_eq!(found.ids.member, member(7));
            match found.ids.cluster {
                CLUSTER => assert_eq!(found.membership.configuration, FIRST_CONFIGURATION),
                other => {
                    assert!(!was_said && other == ClusterId::NONE && found.membership.is_empty());
                    let configuration = FIRST_CONFIGURATION.to_vec();
                    node.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration });
                    assert!(!node.failed);
                }
            }
            let (_, found) = Node::open(&node.disk.after_crash(seed), options()).unwrap();
            assert_eq!((found.ids.cluster, &found.membership.configuration[..]), (CLUSTER, FIRST_CONFIGURATION));
        }
        if !disk.has_crashed() {
            assert!(call > 10, "{call} calls");
            break;
        }
    }
}

#[test]
fn what_is_written_becomes_state_when_it_is_committed() {
    let (mut node, mut model) = founded(options());
    let before = node.duty.writer().applied();
    for _ in 0..3 {
        let effects = vec![model.enqueue(1, 30)];
        model.write(&mut node, effects);
    }
    let configuration = model.configuration(b"four of us", before.index);
    model.append(&mut node, vec![configuration], None);
    assert_eq!(node.duty.writer().applied(), before);
    assert_eq!(node.duty.writer().last().index, before.index + 4);
    model.check_state(&mut node);
    let said = node.ask(ReplicaRequest::Commit(before.index + 2));
    assert!(matches!(said[..], [ReplicaReport::Applied(index)] if index == before.index + 2));
    assert!(node.ask(ReplicaRequest::Commit(before.index + 2)).is_empty(), "nothing new");
    model.check_state(&mut node);
    assert_eq!(node.duty.writer().membership().configuration, FIRST_CONFIGURATION);
    node.ask(ReplicaRequest::Commit(before.index + 99));
    assert_eq!(node.duty.writer().applied(), node.duty.writer().last(), "as far as there is anything");
    assert_eq!(node.duty.writer().membership().configuration, b"four of us");
    model.check_state(&mut node);
}

/// A follower had two entries that nobody else had, and the next leader's first one takes their place.
#[test]
fn a_tail_that_nobody_committed_is_cut_off_and_stays_so() {
    let (mut node, mut model) = founded(options());
    let committed = node.duty.writer().applied();
    for _ in 0..2 {
        let effects = vec![model.enqueue(1, 30)];
        model.write(&mut node, effects);
    }
    model.term = 4;
    model.cut_off_behind(committed.index);
    let effects = vec![model.enqueue(1, 50)];
    model.write(&mut node, effects);
    let last = Reached { term: 4, index: committed.index + 1, position: committed.position + 1 };
    assert_eq!(node.duty.writer().last(), last);
    model.commit(&mut node, u64::MAX);
    model.check_state(&mut node);
    let (mut node, found) = Node::open(&node.disk.after_crash(1), options()).unwrap();
    model.check(&found, &mut node);
    assert_eq!(found.log.last().map(|(label, _)| (label.term, label.index)), Some((4, last.index)));
}

#[test]
fn a_survey_waits_until_the_state_is_as_far() {
    let (mut node, mut model) = founded(options());
    let effects = vec![model.enqueue(2, 30)];
    model.write(&mut node, effects);
    let index = node.duty.writer().last().index;
    assert!(node.ask(ReplicaRequest::Survey { index }).is_empty());
    let said = node.ask(ReplicaRequest::Commit(index));
    let [ReplicaReport::Applied(_), ReplicaReport::Survey(survey)] = &said[..] else {
        panic!("{} reports", said.len())
    };
    assert_eq!((survey.index, survey.max_queue_id), (index, 2));
    assert_eq!(survey.last_position, LogPosition(node.duty.writer().last().position));
    assert_eq!(
        survey.queues.iter().map(|queue| (queue.messages, queue.delivered_below)).collect::<Vec<_>>(),
        [(2, 2), (2, 2)]
    );
}

#[test]
fn a_nodes_folder_and_that_of_a_broker_that_is_alone_are_not_taken_for_each_other() {
    let (node, _) = founded(options());
    for checkpoints in [true, false] {
        let disk = node.disk.after_stop();
        if !checkpoints {
            // A vote says it as well.
            let names = disk.list(Folder::Checkpoint).unwrap();
            names.iter().for_each(|name| disk.lose(Folder::Checkpoint, name));
            let refused = recover_replica(&disk, member(7)).err();
            assert!(matches!(refused, Some(StorageError::Corrupt { .. })), "{refused:?}");
        }
        for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
            let refused = recover(&disk, mode, IDS).err();
            assert!(matches!(refused, Some(StorageError::OfCluster)), "{refused:?}");
        }
    }
    // It belongs to no cluster yet, and would to two.
    let (node, _) = Node::open(&SimDisk::default(), options()).unwrap();
    let refused = recover(&node.disk.after_stop(), RecoveryMode::Strict, IDS).err();
    assert!(matches!(refused, Some(StorageError::OfCluster)), "{refused:?}");
    let disk = SimDisk::default();
    let (log, _) = Log::open(&disk, options(), RecoveryMode::Strict).unwrap();
    let untouched = disk.after_stop();
    assert!(matches!(recover_replica(&untouched, member(7)).err(), Some(StorageError::Alone)), "as it wrote META");
    let mut log = log;
    Model::default();
    log.store.define(&crate::harness::declared(1));
    log.flush();
    let stopped = log.stop();
    assert!(matches!(recover_replica(&stopped, member(7)).err(), Some(StorageError::Alone)));
}

#[test]
fn a_vote_is_kept_by_checkpoints_and_never_taken_back() {
    let (mut node, mut model) = founded(options());
    for term in [3, 4, 9] {
        let vote = model.vote(Vote { term, member: Some(member(term)) });
        model.append(&mut node, Vec::new(), Some(vote));
        node.ask(ReplicaRequest::Checkpoint);
        let pending = model.vote(Vote { term: term + 1, member: None });
        model.append(&mut node, Vec::new(), Some(pending));
        let (again, found) = Node::open(&node.disk.after_crash(term), options()).unwrap();
        assert_eq!(found.membership.vote, pending);
        node = again;
    }
}

/// The loop hands over batches one by one; what is durable moves with commits, which come when they like.
#[test]
fn a_store_of_a_cluster_asks_for_no_syncs_and_waits_for_commits() {
    let options = leveret::storage::LogOptions { sync_policy: SyncPolicy::Replicated, ..options() };
    let mut store = leveret::storage::LogStore::new(options, LogPosition(10));
    let position = store.define(&crate::harness::declared(1));
    store.awaited(position);
    let batch = store.take_batch(0).unwrap();
    assert!(!batch.sync && batch.last_position() == position);
    let written = leveret::storage::Written { written: position, synced: LogPosition(10) };
    store.batch_done(leveret::storage::BatchDone { result: Ok(written), recycled: None }).unwrap();
    assert!(store.take_batch(u64::MAX).is_none() && store.sync_wanted_by_ms().is_none());
    assert!(!store.is_idle() && store.durable() == LogPosition(10));
    store.committed(position);
    assert!(store.is_idle() && store.durable() == position);
}

#[test]
#[should_panic(expected = "none that is applied")]
fn what_is_committed_is_never_cut_off() {
    let (mut node, mut model) = founded(options());
    model.committed = 0;
    model.cut_off_behind(2);
    model.write(&mut node, vec![Effect::Delete(1)]);
}
