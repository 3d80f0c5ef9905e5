//! Logs that the real code wrote, and what may happen to them.

use crate::sim_disk::SimDisk;
use leveret::broker::message::{Attributes, Content, MessageRef};
use leveret::broker::store::{
    ApplyTo, Definition, DurableQueueId, Log as _, LogPosition, PolicyDefinition, PolicyKind, Route, UserDefinition,
    VhostDefinition, VhostId,
};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::storage::batch::{BATCH_HEADER_BYTES, Batch, BatchHeader, seal};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, number_of};
use leveret::storage::{
    BatchDone, FolderIds, Loaded, Loader, LogOptions, LogStore, LogWriter, RecoveryMode, StorageError, SyncPolicy, recover,
};
use std::collections::{BTreeMap, BTreeSet};

pub const IDS: FolderIds = FolderIds::from_chance([6; FolderIds::CHANCE_BYTES]);
const QUEUES: u64 = 3;
const MESSAGES: u64 = 60;

/// Images of messages by queue and sequence.
pub type Messages = BTreeMap<(u64, u64), Vec<u8>>;

/// What became of the broker that wrote a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    Killed,
    Stopped,
    /// Killed, started again, and killed after some more.
    KilledTwice,
}

impl Shape {
    pub fn of(byte: u8) -> Self {
        [Self::Killed, Self::Stopped, Self::KilledTwice][usize::from(byte) % 3]
    }
}

pub fn options() -> LogOptions {
    LogOptions {
        sync_policy: SyncPolicy::Always,
        sync_interval_ms: 200,
        segment_bytes: 2048,
        batch_max_bytes: 512,
        checkpoint_interval_bytes: 5000,
        free_segments_max: 1,
        zero_ahead_bytes: 300,
        small_sync_bytes: 400,
        kept_for_followers_bytes: 4096,
        load_before_ready_bytes: u64::MAX,
    }
}

fn message(number: u64, length: usize) -> MessageRef {
    let mut body = format!("message {number} ").into_bytes();
    body.resize(body.len().max(length), number as u8);
    let mut frames = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00".to_vec();
    frames.extend_from_slice(&(body.len() as u64).to_be_bytes());
    frames.extend_from_slice(b"\x00\x00\xCE");
    let body = bytes::Bytes::from(body);
    let content = Content {
        address: b"\x01x\x03key\xCE",
        frames: &frames,
        header_frame_length: frames.len(),
        shared_body: Some(&body),
    };
    MessageRef::new(&content, Attributes { persistent: true, priority: number as u8 % 10, expiration_ms: None })
}

/// All that tells a message from another.
fn image(message: &MessageRef) -> Vec<u8> {
    let content = message.content();
    [content.exchange(), content.routing_key(), content.properties(), content.body(), &[message.attributes().priority]].concat()
}

/// All messages that a loader has still to bring; without one there are none.
pub fn messages(loader: Option<Loader<SimDisk>>) -> Result<Messages, StorageError> {
    let mut messages = Messages::new();
    let Some(mut loader) = loader else { return Ok(messages) };
    while let Some(Loaded { queue, page, .. }) = loader.next_page()? {
        for unpacked in page.unpack() {
            let before = messages.insert((queue.0, unpacked.sequence), image(&unpacked.message));
            assert!(before.is_none(), "no place comes twice");
        }
    }
    Ok(messages)
}

/// Everything that a writer does without anything new to write, and what it leaves to another thread.
pub fn maintain(disk: &SimDisk, writer: &mut LogWriter<SimDisk>) -> Result<(), StorageError> {
    loop {
        let more = writer.maintain()?;
        match writer.take_chore() {
            Some(chore) => writer.chore_done(chore.run(disk))?,
            None if !more => return Ok(()),
            None => {}
        }
    }
}

fn flush(disk: &SimDisk, store: &mut LogStore, writer: &mut LogWriter<SimDisk>) {
    while let Some(batch) = store.take_batch(0) {
        let result = writer.write(batch);
        store.batch_done(BatchDone { result, recycled: None }).expect("a disk without faults");
        maintain(disk, writer).expect("a disk without faults");
    }
}

/// Two virtual hosts, of which one is deleted and made again, and two users, one of whom goes.
fn tenants() -> Vec<Definition> {
    let vhost = |id, name: &'static str| {
        Definition::VhostDeclared(VhostDefinition {
            id: VhostId(id),
            name: name.into(),
            description: "described".into(),
            tags: vec!["a tag".into(), "another".into()],
            default_queue_type: Some("classic".into()),
            tracing: id == 1,
            max_queues: Some(1 << id),
            max_connections: None,
        })
    };
    let user = |name: &'static str, max_channels| {
        Definition::UserDeclared(UserDefinition {
            name: name.into(),
            password: "salted-sha256:BjGE6UShfVAN+kvIjQeE/JmjhMXwb78jj6KVOne77SbdTYDv".into(),
            tags: vec!["administrator".into()],
            max_connections: Some(7),
            max_channels,
        })
    };
    let permitted = |user: &'static str, id| Definition::Permitted {
        user: user.into(),
        vhost: VhostId(id),
        configure: "".into(),
        write: "^a".into(),
        read: ".*".into(),
    };
    let topics = |user: &'static str, id| Definition::TopicPermitted {
        user: user.into(),
        vhost: VhostId(id),
        exchange: "amq.topic".into(),
        write: "^{username}".into(),
        read: "".into(),
    };
    let policy = |id, kind| {
        Definition::PolicyPut(PolicyDefinition {
            vhost: VhostId(id),
            kind,
            name: "p".into(),
            pattern: "^a".into(),
            apply_to: ApplyTo::Queues,
            priority: -1,
            settings: FieldTable(vec![("max-length".into(), FieldValue::I64(5))]),
        })
    };
    vec![
        vhost(0, "/"),
        vhost(1, "v"),
        user("u", None),
        user("w", Some(3)),
        permitted("u", 0),
        permitted("u", 1),
        permitted("w", 0),
        topics("u", 0),
        topics("u", 1),
        topics("w", 0),
        Definition::Forbidden { user: "w".into(), vhost: VhostId(0) },
        Definition::TopicForbidden { user: "w".into(), vhost: VhostId(0), exchange: None },
        Definition::TopicForbidden { user: "w".into(), vhost: VhostId(0), exchange: Some("amq.topic".into()) },
        policy(0, PolicyKind::User),
        policy(1, PolicyKind::Operator),
        Definition::PolicyDeleted { vhost: VhostId(0), kind: PolicyKind::User, name: "p".into() },
        Definition::GlobalParameterPut { name: "g".into(), value: "{}".into() },
        Definition::GlobalParameterDeleted { name: "g".into() },
        policy(0, PolicyKind::Operator),
        Definition::VhostDeleted { vhost: VhostId(1) },
        vhost(1, "w"),
        permitted("u", 1),
        Definition::UserDeleted { name: "w".into() },
    ]
}

/// Whether each can be restored when those before it are, as far as virtual hosts and users go.
pub fn are_restorable(definitions: &[Definition]) -> bool {
    let (mut vhosts, mut names, mut users) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let is_founded =
        |definition: &Definition| matches!(definition, Definition::VhostDeclared(_) | Definition::UserDeclared(_));
    if !definitions.iter().any(is_founded) {
        vhosts.insert(VhostId(0));
    }
    definitions.iter().all(|definition| match definition {
        Definition::VhostDeclared(vhost) => vhosts.insert(vhost.id) && names.insert(vhost.name.clone()),
        Definition::UserDeclared(user) => users.insert(user.name.clone()),
        Definition::Permitted { user, vhost, .. } | Definition::TopicPermitted { user, vhost, .. } => {
            users.contains(user) && vhosts.contains(vhost)
        }
        other => other.vhost().is_some_and(|vhost| vhosts.contains(&vhost)),
    })
}

/// One life of a broker: messages come and go.
fn live(disk: &SimDisk, known: &mut Messages, numbers: std::ops::Range<u64>, stops: bool) {
    let recovered = recover(disk, RecoveryMode::Strict, IDS).expect("a whole log");
    let mut store = recovered.store(options());
    let mut writer = LogWriter::start(disk.clone(), options(), recovered.resume).expect("a disk without faults");
    if numbers.start == 0 {
        tenants().iter().for_each(|definition| _ = store.define(definition));
        for id in 1..=QUEUES {
            let name = ShortString::truncated(format!("q{id}").as_bytes());
            let (id, arguments) = (DurableQueueId(id), FieldTable::default());
            store.define(&Definition::QueueDeclared { id, vhost: VhostId(0), name, auto_delete: false, arguments, top_level: 0 });
        }
    }
    for number in numbers {
        let message = message(number, [10, 200, 900][number as usize % 3]);
        let mut position = LogPosition::default();
        for queue in 1..=1 + number % QUEUES {
            known.insert((queue, number), image(&message));
            let route = Route { queue: DurableQueueId(queue), sequence: number, expires_at_ms: None };
            position = store.enqueued(route, &message.content(), message.attributes().priority, position);
            store.awaited(position);
        }
        if number % 4 == 3 {
            (number - 3..number).for_each(|sequence| store.removed(DurableQueueId(1), sequence));
        }
        if number % 17 == 16 {
            store.purged(DurableQueueId(3), number - 10);
        }
        flush(disk, &mut store, &mut writer);
    }
    if stops {
        writer.checkpoint().expect("a disk without faults");
        maintain(disk, &mut writer).expect("a disk without faults");
        let result = writer.write(store.take_final_batch([]));
        store.batch_done(BatchDone { result, recycled: None }).expect("a disk without faults");
    }
}

fn write(shape: Shape) -> (SimDisk, Messages) {
    let (disk, mut known) = (SimDisk::default(), Messages::new());
    match shape {
        Shape::Killed => live(&disk, &mut known, 0..MESSAGES, false),
        Shape::Stopped => live(&disk, &mut known, 0..MESSAGES, true),
        Shape::KilledTwice => {
            live(&disk, &mut known, 0..MESSAGES / 2, false);
            live(&disk, &mut known, MESSAGES / 2..MESSAGES, false);
        }
    }
    (disk, known)
}

/// A copy of a log of that shape, and every message that was ever written to it.
pub fn written(shape: Shape) -> (SimDisk, Messages) {
    thread_local! {
        static WRITTEN: std::cell::RefCell<BTreeMap<Shape, (SimDisk, Messages)>> = const { std::cell::RefCell::new(BTreeMap::new()) };
    }
    WRITTEN.with_borrow_mut(|all| {
        let (disk, known) = all.entry(shape).or_insert_with(|| write(shape));
        (disk.after_stop(), known.clone())
    })
}

/// One thing that happens to a file. True when it comes with checksums that are right.
pub fn change(disk: &SimDisk, [kind, file, at_high, at_low, a, b, c, d]: [u8; 8]) -> bool {
    let folders = [Folder::Root, Folder::Log, Folder::Checkpoint];
    let names = |folder| disk.list(folder).expect("a disk without faults").into_iter().map(move |name| (folder, name));
    let mut files: Vec<_> = folders.into_iter().flat_map(names).collect();
    files.sort();
    if files.is_empty() {
        return false;
    }
    let (folder, name) = files[usize::from(file) % files.len()].clone();
    let place = |length: usize| usize::from(u16::from_be_bytes([at_high, at_low])) % (length + 1);
    match kind % 9 {
        0 => disk.edit(folder, &name, |bytes| {
            let at = place(bytes.len());
            bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= a.max(1));
        }),
        1 => disk.edit(folder, &name, |bytes| {
            let at = place(bytes.len());
            bytes[at..].iter_mut().zip([a, b, c, d]).for_each(|(byte, other)| *byte = other);
        }),
        2 => disk.edit(folder, &name, |bytes| bytes.truncate(place(bytes.len()))),
        3 => disk.edit(folder, &name, |bytes| {
            let at = place(bytes.len());
            bytes[at..].iter_mut().take(usize::from(a) * usize::from(b)).for_each(|byte| *byte = 0);
        }),
        4 => disk.edit(folder, &name, |bytes| bytes.extend([a, b, c, d])),
        // A part of the file is found elsewhere in it, as when a disk writes to the wrong place.
        5 => disk.edit(folder, &name, |bytes| {
            let (from, to) = (place(bytes.len()), usize::from(u16::from_be_bytes([a, b])) % (bytes.len() + 1));
            let count = usize::from(c).min(bytes.len() - from).min(bytes.len() - to);
            bytes.copy_within(from..from + count, to);
        }),
        6 => disk.lose(folder, &name),
        7 => drop(disk.rename(folder, &name, &files[usize::from(a) % files.len()].1)),
        _ => return forge(disk, folder, &name, usize::from(at_low), [a, b, c, d]),
    }
    false
}

/// The first whole batch of a segment's bytes at or behind `from`, and where it begins.
fn find_batch<'a>(bytes: &'a [u8], from: usize, segment: &SegmentHeader) -> Option<(usize, Batch<'a>)> {
    (from..bytes.len()).find_map(|at| {
        let header = BatchHeader::decode(&bytes[at..], segment, at as u64)?;
        let body = bytes.get(at + BATCH_HEADER_BYTES..)?.get(..header.body_length as usize)?;
        let batch = Batch { header, body };
        batch.is_whole(segment, at as u64).then_some((at, batch))
    })
}

/// Changes a batch's records and gives it the checksum that fits: what no accident does.
fn forge(disk: &SimDisk, folder: Folder, name: &str, which: usize, [a, b, c, d]: [u8; 4]) -> bool {
    let Some(number) = number_of(name).filter(|_| folder == Folder::Log) else { return false };
    disk.edit(folder, name, |bytes| {
        let Some(header) = SegmentHeader::decode(bytes, number) else { return };
        let mut at = SEGMENT_HEADER_BYTES;
        for _ in 0..=which % 8 {
            let Some((start, batch)) = find_batch(bytes, at, &header) else { return };
            let label = batch.header.label;
            let length = batch.body.len();
            let end = start + BATCH_HEADER_BYTES + length;
            if length > 0 {
                let body = start + BATCH_HEADER_BYTES + usize::from(u16::from_be_bytes([a, b])) % length;
                bytes[body] ^= c;
                bytes[body..end].iter_mut().skip(1).take(1).for_each(|byte| *byte ^= d);
            }
            seal(&mut bytes[start..end], &label, &header, start as u64);
            at = end;
        }
    });
    true
}

/// The records of all batches in a log, a batch each.
pub fn batches(disk: &SimDisk) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for name in disk.list(Folder::Log).expect("a disk without faults") {
        let Some(number) = number_of(&name) else { continue };
        disk.edit(Folder::Log, &name, |bytes| {
            let Some(header) = SegmentHeader::decode(bytes, number) else { return };
            let mut at = SEGMENT_HEADER_BYTES;
            while let Some((start, batch)) = find_batch(bytes, at, &header) {
                bodies.push(batch.body.to_vec());
                at = start + BATCH_HEADER_BYTES + batch.body.len();
            }
        });
    }
    bodies
}
