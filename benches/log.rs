//! What the log costs the loop per message, and how fast it comes back: `cargo bench --bench log`.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leveret::broker::message::{Attributes, Content, MessageRef};
use leveret::broker::store::{Definition, DurableQueueId, Log as _, LogPosition, Route, VhostId};
use leveret::protocol::FieldTable;
use leveret::storage::{
    BatchDone, FileDisk, FolderIds, LogOptions, LogStore, LogWriter, RecoveryMode, SealedBatch, Written, recover,
};
use std::hint::black_box;
use std::path::PathBuf;

const BODY_BYTES: [usize; 2] = [16, 1024];
/// Messages from one hand-over to the next.
const BATCH_MESSAGES: u64 = 1000;
const RECOVERED_MESSAGES: u64 = 1_000_000;
const IDS: FolderIds = FolderIds::from_chance([1; FolderIds::CHANCE_BYTES]);
const QUEUE: DurableQueueId = DurableQueueId(1);

fn message(body_bytes: usize) -> MessageRef {
    let mut frames = b"\x02\x00\x00\x00\x00\x00\x0F\x00\x3C\x00\x00".to_vec();
    frames.extend_from_slice(&(body_bytes as u64).to_be_bytes());
    frames.extend_from_slice(b"\x10\x00\x02\xCE");
    let header_frame_length = frames.len();
    frames.extend_from_slice(b"\x03\x00\x00");
    frames.extend_from_slice(&(body_bytes as u32).to_be_bytes());
    frames.resize(frames.len() + body_bytes, b'x');
    frames.push(0xCE);
    let content = Content { address: b"\x00\x05queue\xCE", frames: &frames, header_frame_length, shared_body: None };
    MessageRef::new(&content, Attributes { persistent: true, priority: 0, expiration_ms: None })
}

/// The writer's answer without a writer.
fn done(batch: SealedBatch) -> BatchDone {
    let last = batch.last_position();
    BatchDone { result: Ok(Written { written: last, synced: last }), recycled: Some(batch.buffer) }
}

fn enqueue(store: &mut LogStore, sequence: u64, message: &MessageRef) -> LogPosition {
    let route = Route { queue: QUEUE, sequence, expires_at_ms: None };
    store.enqueued(route, &message.content(), 0, LogPosition::default())
}

fn append(c: &mut Criterion) {
    for body_bytes in BODY_BYTES {
        let messages: Vec<_> = (0..BATCH_MESSAGES).map(|_| message(body_bytes)).collect();
        let mut store = LogStore::new(LogOptions::default(), LogPosition(0));
        let mut sequence = 0;
        let mut group = c.benchmark_group("append-and-remove");
        group.throughput(Throughput::Elements(BATCH_MESSAGES));
        group.bench_function(BenchmarkId::from_parameter(body_bytes), |b| {
            b.iter(|| {
                for message in &messages {
                    black_box(enqueue(&mut store, sequence, message));
                    store.removed(QUEUE, sequence);
                    sequence += 1;
                }
                let batch = store.take_batch(0).expect("a thousand messages are a batch");
                store.batch_done(done(black_box(batch))).expect("it was written");
            });
        });
    }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("leveret-bench-log-{}", std::process::id()))
}

/// The writer's side of a batch, without a sync: checksum, write, account.
fn write(c: &mut Criterion) {
    for body_bytes in BODY_BYTES {
        let folder = folder();
        let disk = FileDisk::open(&folder).expect("a folder for the bench");
        let recovered = recover(&disk, RecoveryMode::Strict, IDS).expect("an empty folder");
        let options = LogOptions::default();
        let mut store = recovered.store(options.clone());
        let mut writer = LogWriter::start(disk, options, recovered.resume).expect("a fresh log");
        declare(&mut store);
        let messages: Vec<_> = (0..BATCH_MESSAGES).map(|_| message(body_bytes)).collect();
        let mut sequence = 0;
        let mut group = c.benchmark_group("write-and-account");
        group.throughput(Throughput::Elements(BATCH_MESSAGES));
        group.bench_function(BenchmarkId::from_parameter(body_bytes), |b| {
            b.iter(|| {
                for message in &messages {
                    enqueue(&mut store, sequence, message);
                    store.removed(QUEUE, sequence);
                    sequence += 1;
                }
                pass(&mut store, &mut writer);
            });
        });
        drop(writer);
        std::fs::remove_dir_all(&folder).expect("the bench's own folder");
    }
}

fn declare(store: &mut LogStore) {
    let name = "queue".into();
    store.define(&Definition::QueueDeclared {
        id: QUEUE,
        vhost: VhostId(0),
        name,
        auto_delete: false,
        arguments: FieldTable::default(),
        top_level: 0,
    });
}

fn pass(store: &mut LogStore, writer: &mut LogWriter<FileDisk>) {
    while let Some(batch) = store.take_batch(0) {
        let recycled = writer.take_recycled();
        let result = writer.write(batch);
        store.batch_done(BatchDone { result, recycled }).expect("the disk works");
        writer.absorb();
        writer.maintain().expect("the disk works");
        while let Some(chore) = writer.take_chore() {
            let done = chore.run(writer.disk());
            writer.chore_done(done).expect("the disk works");
        }
    }
}

fn recovery(c: &mut Criterion) {
    let folder = folder();
    let disk = FileDisk::open(&folder).expect("a folder for the bench");
    let recovered = recover(&disk, RecoveryMode::Strict, IDS).expect("an empty folder");
    let options = LogOptions::default();
    let mut store = recovered.store(options.clone());
    let mut writer = LogWriter::start(disk.clone(), options, recovered.resume).expect("a fresh log");
    declare(&mut store);
    let message = message(16);
    for sequence in 0..RECOVERED_MESSAGES {
        enqueue(&mut store, sequence, &message);
        if sequence % BATCH_MESSAGES == 0 {
            pass(&mut store, &mut writer);
        }
    }
    pass(&mut store, &mut writer);
    let mut group = c.benchmark_group("recover");
    group.throughput(Throughput::Elements(RECOVERED_MESSAGES)).sample_size(10);
    group.bench_function("replay", |b| {
        b.iter(|| {
            let recovered = recover(&disk, RecoveryMode::Strict, IDS).expect("what was written");
            assert_eq!(recovered.queues[0].messages, RECOVERED_MESSAGES);
        });
    });
    group.bench_function("load", |b| {
        let recover = || recover(&disk, RecoveryMode::Strict, IDS).expect("what was written");
        let loader = || recover().loader.expect("there are messages");
        b.iter_batched(
            loader,
            |mut loader| {
                let mut messages = 0;
                while let Some(loaded) = loader.next_page().expect("what was written") {
                    messages += loaded.page.summary.count as u64;
                }
                assert_eq!(messages, RECOVERED_MESSAGES);
            },
            BatchSize::PerIteration,
        );
    });
    std::fs::remove_dir_all(&folder).expect("the bench's own folder");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1))
        .without_plots();
    targets = append, write, recovery
}
criterion_main!(benches);
