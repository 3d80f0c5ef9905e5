//! The real disk: the lock, the errors of a start, and the writer on its own thread.

use crate::harness::{IDS, declared, load_all, message, number_of, queue};
use leveret::broker::store::{Log as _, LogPosition, Route};
use leveret::storage::disk::{Disk, DiskFile, Folder};
use leveret::storage::duty::{Report, Request};
use leveret::storage::loader_thread::{LoadReport, spawn_loader};
use leveret::storage::spawn::{WriterHandle, spawn};
use leveret::storage::{FileDisk, LogOptions, LogStore, LogWriter, RecoveryMode, StorageError, recover};
use std::path::PathBuf;

/// A folder that goes with its test.
pub struct TestFolder(pub PathBuf);

impl TestFolder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leveret-storage-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 1 << 20, checkpoint_interval_bytes: 4 << 20, ..LogOptions::default() }
}

fn start(folder: &TestFolder) -> (LogStore, WriterHandle, Vec<u64>, bool) {
    let disk = FileDisk::open(&folder.0).unwrap();
    let recovered = recover(&disk, RecoveryMode::Strict, IDS).unwrap();
    let store = recovered.store(options());
    let writer = LogWriter::start(disk, options(), recovered.resume).unwrap();
    let writer = spawn(writer, || {}).unwrap();
    let found = load_all(recovered.loader).unwrap();
    let found = found.values().flatten().map(|it| number_of(&it.message)).collect();
    (store, writer, found, recovered.clean)
}

/// The message of this number and length goes to the first queue.
fn enqueue(store: &mut LogStore, number: u64, length: usize) -> LogPosition {
    let message = message(number, length);
    let route = Route { queue: queue(1), sequence: number, expires_at_ms: None };
    store.enqueued(route, &message.content(), message.attributes().priority, LogPosition::default())
}

/// Writes until nothing waits.
fn settle(store: &mut LogStore, writer: &WriterHandle) {
    while let Some(batch) = store.take_batch(0) {
        writer.ask(Request::Write(batch));
        loop {
            match writer.wait_report().unwrap() {
                Report::Done(done, _) => break store.batch_done(done).unwrap(),
                Report::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_log_goes_on_where_it_was_stopped() {
    let folder = TestFolder::new("goes-on");
    let (mut store, writer, found, _) = start(&folder);
    assert!(found.is_empty());
    store.define(&declared(1));
    for number in 1..=20_000 {
        let position = enqueue(&mut store, number, 300);
        if number % 1000 == 0 {
            store.awaited(position);
            settle(&mut store, &writer);
            assert!(store.durable() >= position);
        }
    }
    (1..=19_990).for_each(|sequence| store.removed(queue(1), sequence));
    settle(&mut store, &writer);
    drop((store, writer));

    let (mut store, writer, found, clean) = start(&folder);
    assert_eq!((found, clean), ((19_991..=20_000).collect(), false));
    writer.ask(Request::Checkpoint);
    while !matches!(writer.wait_report(), Some(Report::Checkpointed)) {}
    writer.ask(Request::Write(store.take_final_batch([])));
    drop(writer);

    let (_, _, found, clean) = start(&folder);
    assert_eq!((found, clean), ((19_991..=20_000).collect(), true));
}

#[test]
fn a_loader_on_its_thread_waits_for_the_loop_and_ends_when_nobody_listens() {
    /// More pages than wait at once.
    const MESSAGES: u64 = 60_000;
    let folder = TestFolder::new("loads");
    let (mut store, writer, ..) = start(&folder);
    store.define(&declared(1));
    for number in 1..=MESSAGES {
        let position = enqueue(&mut store, number, 20);
        store.awaited(position);
        if number % 10_000 == 0 {
            settle(&mut store, &writer);
        }
    }
    drop((store, writer));
    let loader = || recover(&FileDisk::open(&folder.0).unwrap(), RecoveryMode::Strict, IDS).unwrap().loader.unwrap();
    let handle = spawn_loader(loader(), || {}).unwrap();
    let mut messages = 0;
    loop {
        match handle.wait_next().unwrap() {
            LoadReport::Page(loaded) => messages += loaded.page.summary.count as u64,
            LoadReport::Done => break,
            LoadReport::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!(messages, MESSAGES);
    assert!(handle.wait_next().is_none() && handle.try_next().is_none());
    drop(handle);
    let handle = spawn_loader(loader(), || {}).unwrap();
    assert!(matches!(handle.wait_next(), Some(LoadReport::Page(_))));
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = TestFolder::new("in-use");
    let first = FileDisk::open(&folder.0).unwrap();
    let error = FileDisk::open(&folder.0).err().unwrap();
    assert!(matches!(error, StorageError::Locked { .. }));
    assert!(error.to_string().ends_with("is in use by another broker"), "{error}");
    drop(first);
    FileDisk::open(&folder.0).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = TestFolder::new("is-a-file");
    std::fs::write(&folder.0, "not a folder").unwrap();
    let error = FileDisk::open(&folder.0).err().unwrap().to_string();
    std::fs::remove_file(&folder.0).unwrap();
    assert!(error.starts_with("cannot make the folder ") && error.contains("is-a-file"), "{error}");
    let error = FileDisk::open(std::path::Path::new("/proc/leveret")).err().unwrap().to_string();
    assert!(error.starts_with("cannot make the folder /proc/leveret"), "{error}");
}

/// Whether the file system knows what was never written or not, nothing that was written is stepped over.
#[test]
fn the_next_data_of_a_file_is_never_behind_what_was_written() {
    const LENGTH: u64 = 8 << 20;
    const WRITTEN_AT: u64 = 5_000_000;
    let folder = TestFolder::new("next-data");
    let file = FileDisk::open(&folder.0).unwrap().create(Folder::Log, "data", LENGTH).unwrap();
    file.write_at(b"something", WRITTEN_AT).unwrap();
    for is_synced in [false, true] {
        if is_synced {
            file.sync().unwrap();
        }
        for offset in [0, 1, WRITTEN_AT - 1, WRITTEN_AT] {
            let found = file.next_data(offset).unwrap().unwrap();
            assert!(found >= offset && found <= WRITTEN_AT, "{found} from {offset}");
        }
    }
    assert!(file.data_end().unwrap() >= WRITTEN_AT + 9);
    assert!(file.next_data(LENGTH).unwrap().is_none_or(|found| found >= LENGTH));
}

#[test]
fn a_file_for_which_there_is_no_room_leaves_nothing_behind() {
    let folder = TestFolder::new("no-room");
    let disk = FileDisk::open(&folder.0).unwrap();
    assert!(disk.create(Folder::Log, "larger than any", u64::MAX).is_err());
    assert!(disk.list(Folder::Log).unwrap().is_empty());
}
