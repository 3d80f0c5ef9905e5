//! The real disk, and the writer on its own thread: a node fills its log, and another one gets it whole.

use super::model::{CLUSTER, Effect, FIRST_CONFIGURATION, Model, member};
use crate::harness::load_all;
use crate::real_disk::TestFolder;
use leveret::storage::disk::{Disk, DiskFile, Folder, read_file};
use leveret::storage::entry::Vote;
use leveret::storage::replica::{
    Append, Install, RecoveredReplica, ReplicaReport, ReplicaRequest, ReplicaWriter, recover_replica,
};
use leveret::storage::sequences::Reached;
use leveret::storage::spawn::{ReplicaHandle, spawn_replica};
use leveret::storage::{FileDisk, FolderIds, LogOptions};

type Report = ReplicaReport<FileDisk>;

fn start(disk: &FileDisk, number: u64) -> (ReplicaHandle<FileDisk>, FolderIds, Reached) {
    let options = LogOptions { segment_bytes: 1 << 16, kept_for_followers_bytes: 0, ..LogOptions::default() };
    let RecoveredReplica { ids, applied, resume, .. } = recover_replica(disk, member(number)).unwrap();
    let writer = ReplicaWriter::start(disk.clone(), options, resume).unwrap();
    (spawn_replica(writer, || {}).unwrap(), ids, applied)
}

/// Waits for what is `wanted`, past what else is said.
fn wait<T>(writer: &ReplicaHandle<FileDisk>, mut wanted: impl FnMut(Report) -> Option<T>) -> T {
    loop {
        match writer.wait_report().expect("the writer is there") {
            ReplicaReport::Failed(error) => panic!("{error}"),
            report => {
                if let Some(found) = wanted(report) {
                    return found;
                }
            }
        }
    }
}

/// How many messages there are, of which queue each.
fn messages(writer: &ReplicaHandle<FileDisk>, index: u64) -> Vec<(u64, usize)> {
    writer.ask(ReplicaRequest::Survey { index });
    let survey = wait(writer, |report| match report {
        ReplicaReport::Survey(survey) => Some(survey),
        _ => None,
    });
    load_all(survey.loader).unwrap().into_iter().map(|(queue, messages)| (queue.0, messages.len())).collect()
}

#[test]
fn a_node_gets_the_log_of_another_one_on_real_disks() {
    let (from, to) = (TestFolder::new("pinned"), TestFolder::new("installed"));
    let source_disk = FileDisk::open(&from.0).unwrap();
    let (source, ids, _) = start(&source_disk, 7);
    assert!(!ids.cluster.is_any() && !from.0.join("incoming").exists());
    source.ask(ReplicaRequest::Found { cluster: CLUSTER, configuration: FIRST_CONFIGURATION.to_vec() });
    let mut model = Model::in_term(1);
    let vote = Some(Vote { term: 1, member: Some(member(7)) });
    for number in 0..100 {
        let effects = match number {
            0 => vec![Effect::Declare(1), Effect::Declare(2)],
            _ => [model.enqueue_many(1, 3, 900), model.enqueue_many(2, 1, 90), model.remove(1)].concat(),
        };
        let entries = vec![model.entry(effects, number)];
        source.ask(ReplicaRequest::Append(Append { number, entries, vote: vote.filter(|_| number == 0) }));
        source.ask(ReplicaRequest::Commit(number + 1));
    }
    let expected: Vec<_> = model.messages().iter().map(|(queue, messages)| (*queue, messages.len())).collect();
    assert_eq!(messages(&source, 100), expected);
    source.ask(ReplicaRequest::Pin { index: 100 });
    let pin = wait(&source, |report| match report {
        ReplicaReport::Pinned(pin) => Some(pin),
        _ => None,
    });
    assert!(pin.files.len() > 2, "{:?}", pin.files);

    let target_disk = FileDisk::open(&to.0).unwrap();
    let (target, ..) = start(&target_disk, 8);
    let put = |name: &str, bytes: &[u8]| {
        target_disk.create(Folder::Incoming, name, 0).and_then(|file| file.write_at(bytes, 0)).unwrap();
    };
    for (name, bytes) in &pin.files {
        put(name, &read_file(&source_disk, Folder::Log, name).unwrap()[..*bytes as usize]);
    }
    put("state", &pin.checkpoint);
    target.ask(ReplicaRequest::Install(Install { checkpoint: "state".into(), files: pin.files.clone() }));
    let reached = wait(&target, |report| match report {
        ReplicaReport::Installed(reached) => Some(reached),
        ReplicaReport::NotInstalled(error) => panic!("{error}"),
        _ => None,
    });
    assert_eq!(reached, pin.reached);
    assert_eq!(messages(&target, 100), expected);
    drop(target);
    let (target, ids, applied) = start(&target_disk, 9);
    assert_eq!((ids.cluster, ids.member, applied), (CLUSTER, member(8), pin.reached));
    assert_eq!(messages(&target, 100), expected);
}
