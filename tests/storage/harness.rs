//! A log on a simulated disk, driven step by step, and the model that says what must be there after a crash.
//!
//! The model keeps what was told to the log, with the position at which each thing becomes binding. After a crash:
//!
//! * **must**: a message whose position was reported durable, and for which no removal was told, is there, whole;
//! * **may**: a message that was told, durable or not, removed or not, unless its removal was told before the stop was
//!   clean;
//! * nothing else is there, and sequences ascend.

use crate::sim_disk::SimDisk;
use leveret::broker::message::NEVER;
use leveret::broker::message::{Attributes, Content, MessageRef};
use leveret::broker::store::{Definition, DurableQueueId, Log as _, LogPosition, Returns, Route, VhostId};
use leveret::protocol::FieldTable;
use leveret::storage::disk::Disk;
use leveret::storage::recovery::Resume;
use leveret::storage::{
    BatchDone, FolderIds, Loaded, Loader, LogOptions, LogStore, LogWriter, Recovered, RecoveredQueue, RecoveryMode,
    StorageError, SyncPolicy, recover,
};
use std::collections::BTreeMap;

pub const IDS: FolderIds = FolderIds::from_chance([9; FolderIds::CHANCE_BYTES]);

/// Small enough that a few messages fill a segment.
pub fn small() -> LogOptions {
    LogOptions {
        sync_policy: SyncPolicy::Always,
        sync_interval_ms: 200,
        segment_bytes: 2048,
        batch_max_bytes: 512,
        checkpoint_interval_bytes: 6000,
        free_segments_max: 2,
        zero_ahead_bytes: 300,
        small_sync_bytes: 250,
        kept_for_followers_bytes: 4000,
        load_before_ready_bytes: u64::MAX,
    }
}

/// A message whose body says who it is.
pub fn message(number: u64, length: usize) -> MessageRef {
    let mut body = format!("message {number} ").into_bytes();
    body.resize(body.len().max(length), number as u8);
    let address = b"\x01x\x03key\xCE";
    let mut frames = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00".to_vec();
    frames.extend_from_slice(&(body.len() as u64).to_be_bytes());
    frames.extend_from_slice(b"\x00\x00\xCE");
    let attributes = Attributes { persistent: true, priority: number as u8 % 10, expiration_ms: None };
    let header_frame_length = frames.len();
    if body.len() > 2000 {
        let body = bytes::Bytes::from(body);
        let content = Content { address, frames: &frames, header_frame_length, shared_body: Some(&body) };
        return MessageRef::new(&content, attributes);
    }
    frames.extend_from_slice(b"\x03\x00\x00");
    frames.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frames.extend_from_slice(&body);
    frames.push(0xCE);
    MessageRef::new(&Content { address, frames: &frames, header_frame_length, shared_body: None }, attributes)
}

pub fn number_of(message: &MessageRef) -> u64 {
    let content = message.content();
    let body = std::str::from_utf8(content.body().split(|byte| *byte > 127 || *byte < 32).next().unwrap()).unwrap();
    let digits: String = body.strip_prefix("message ").unwrap().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

pub fn queue(number: u64) -> DurableQueueId {
    DurableQueueId(number)
}

pub fn declared(number: u64) -> Definition {
    declared_in(VhostId(0), number)
}

fn declared_in(vhost: VhostId, number: u64) -> Definition {
    Definition::QueueDeclared {
        id: queue(number),
        vhost,
        name: leveret::protocol::ShortString::truncated(format!("queue-{number}").as_bytes()),
        auto_delete: false,
        arguments: FieldTable::default(),
        top_level: 0,
    }
}

/// What was told of one message in one queue.
#[derive(Clone, Debug)]
pub struct Told {
    pub number: u64,
    pub length: usize,
    pub expires_at_ms: Option<u64>,
    pub position: LogPosition,
    pub removed: bool,
    /// How often it came back, and where the log says so, the latest last.
    pub returns: Vec<(Returns, LogPosition)>,
}

#[derive(Clone, Default)]
pub struct Model {
    pub messages: BTreeMap<(u64, u64), Told>,
    pub queues: BTreeMap<u64, LogPosition>,
    pub deleted: BTreeMap<u64, LogPosition>,
    pub next_sequence: BTreeMap<u64, u64>,
    pub next_message: u64,
    /// The highest position that was ever reported durable.
    pub durable: LogPosition,
}

pub struct Log {
    pub disk: SimDisk,
    pub store: LogStore,
    pub writer: LogWriter<SimDisk>,
    pub now_ms: u64,
    pub failed: bool,
    /// Chores wait until they are [told to be done](Self::do_chores).
    pub delays_chores: bool,
    recycled: Option<Vec<u8>>,
}

impl Log {
    pub fn open(disk: &SimDisk, options: LogOptions, mode: RecoveryMode) -> Result<(Self, Found), StorageError> {
        let (found, store, resume) = recover_all(disk, mode, &options)?;
        let writer = LogWriter::start(disk.clone(), options, resume)?;
        Ok((
            Self { disk: disk.clone(), store, writer, now_ms: 0, failed: false, delays_chores: false, recycled: None },
            found,
        ))
    }

    /// Writes everything that waits, as the loop and the writer's thread do together.
    pub fn flush(&mut self) {
        while !self.failed {
            let Some(batch) = self.store.take_batch(self.now_ms) else { break };
            self.write(batch);
            self.maintain(1);
        }
    }

    fn write(&mut self, batch: leveret::storage::SealedBatch) {
        let result = self.writer.write(batch);
        self.failed = self.store.batch_done(BatchDone { result, recycled: self.recycled.take() }).is_err();
        self.writer.absorb();
        self.recycled = self.writer.take_recycled();
    }

    /// What another thread does beside the writer's.
    pub fn do_chores(&mut self) {
        while let Some(chore) = self.writer.take_chore() {
            self.failed |= self.writer.chore_done(chore.run(&self.disk)).is_err();
        }
    }

    pub fn maintain(&mut self, steps: usize) {
        for _ in 0..steps {
            let maintained = self.writer.maintain();
            if !self.delays_chores {
                self.do_chores();
            }
            match maintained {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    self.failed = true;
                    break;
                }
            }
        }
    }

    /// Stops in order: everything written, a checkpoint, the final batch.
    pub fn stop(self) -> SimDisk {
        self.stop_with(&[])
    }

    /// The same, with marks of what was delivered.
    pub fn stop_with(mut self, delivered: &[(DurableQueueId, u64)]) -> SimDisk {
        self.now_ms += 1000;
        self.flush();
        self.do_chores();
        if self.writer.checkpoint().is_ok() && !self.failed {
            let batch = self.store.take_final_batch(delivered.iter().copied());
            self.write(batch);
        }
        self.disk.after_stop()
    }
}

/// What came back: [`Recovered`] without what the writer took, and with all messages.
pub struct Found {
    pub definitions: Vec<Definition>,
    pub queues: Vec<FoundQueue>,
    pub clean: bool,
    pub last_position: LogPosition,
    pub warnings: Vec<String>,
    pub max_queue_id: u64,
}

pub struct FoundQueue {
    pub id: DurableQueueId,
    pub next_sequence: u64,
    pub delivered_below: u64,
    /// Ascending by sequence.
    pub messages: Vec<FoundMessage>,
}

pub struct FoundMessage {
    pub sequence: u64,
    pub message: MessageRef,
    pub expires_at_ms: Option<u64>,
    pub returns: Returns,
}

/// Recovers, and loads every message at once.
pub fn recover_all(
    disk: &SimDisk,
    mode: RecoveryMode,
    options: &LogOptions,
) -> Result<(Found, LogStore, Resume), StorageError> {
    let recovered = recover(disk, mode, IDS)?;
    let store = recovered.store(options.clone());
    let Recovered { definitions, queues, clean, last_position, warnings, resume, max_queue_id, loader } = recovered;
    let mut messages = load_all(loader)?;
    let queues = queues.into_iter().map(|queue| {
        let mut messages = messages.remove(&queue.id).unwrap_or_default();
        for (sequence, returns) in &queue.returns {
            let of = messages.iter_mut().find(|message| message.sequence == *sequence);
            of.expect("only messages that are there came back").returns = *returns;
        }
        assert_eq!(messages.len() as u64, queue.messages, "as many as were announced");
        let RecoveredQueue { id, next_sequence, delivered_below, .. } = queue;
        FoundQueue { id, next_sequence, delivered_below, messages }
    });
    let queues = queues.collect();
    assert!(messages.is_empty(), "messages of no queue");
    Ok((Found { definitions, queues, clean, last_position, warnings, max_queue_id }, store, resume))
}

/// All messages by queue, in order. Pages keep what they promise on the way: see [`Pages`].
pub fn load_all<D: Disk>(
    loader: Option<Loader<D>>,
) -> Result<BTreeMap<DurableQueueId, Vec<FoundMessage>>, StorageError> {
    let mut pages = Pages::default();
    if let Some(mut loader) = loader {
        while let Some(loaded) = loader.next_page()? {
            pages.add(loaded);
        }
    }
    Ok(pages.finish())
}

/// Loaded pages, and a look at what they promise: sequences ascend in a page, no message of another page lies between
/// those of one, and nothing comes below what was said to be complete.
#[derive(Default)]
pub struct Pages {
    queues: BTreeMap<DurableQueueId, PagesOfQueue>,
}

#[derive(Default)]
struct PagesOfQueue {
    complete_below: u64,
    ranges: Vec<(u64, u64)>,
    messages: Vec<FoundMessage>,
}

impl Pages {
    pub fn add(&mut self, loaded: Loaded) {
        let Loaded { queue, page, complete_below } = loaded;
        let of_queue = self.queues.entry(queue).or_default();
        let summary = page.summary;
        assert!(summary.first_sequence >= of_queue.complete_below, "{summary:?} was complete");
        assert!(complete_below >= of_queue.complete_below);
        of_queue.complete_below = complete_below;
        of_queue.ranges.push((summary.first_sequence, summary.last_sequence));
        let unpacked: Vec<_> = page.unpack().collect();
        assert_eq!(unpacked.len(), summary.count);
        assert!(unpacked.is_sorted_by(|a, b| a.sequence < b.sequence));
        of_queue.messages.extend(unpacked.into_iter().map(|unpacked| FoundMessage {
            sequence: unpacked.sequence,
            expires_at_ms: (unpacked.expires_at_ms != NEVER).then_some(unpacked.expires_at_ms),
            returns: Returns::default(),
            message: unpacked.message,
        }));
    }

    pub fn finish(self) -> BTreeMap<DurableQueueId, Vec<FoundMessage>> {
        let finished = self.queues.into_iter().map(|(id, mut queue)| {
            assert_eq!(queue.complete_below, u64::MAX, "queue {} was never complete", id.0);
            queue.ranges.sort_unstable();
            assert!(queue.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "pages overlap: {:?}", queue.ranges);
            queue.messages.sort_unstable_by_key(|message| message.sequence);
            (id, queue.messages)
        });
        finished.collect()
    }
}

impl Model {
    pub fn declare(&mut self, log: &mut Log, number: u64) {
        let position = log.store.define(&declared(number));
        self.queues.insert(number, position);
    }

    /// A virtual host with a queue in it, by the number of both.
    pub fn declare_vhost(&mut self, log: &mut Log, number: u64) {
        log.store.define(&crate::who_may::vhost(number as u32, "of one queue"));
        let position = log.store.define(&declared_in(VhostId(number as u32), number));
        self.queues.insert(number, position);
    }

    pub fn delete(&mut self, log: &mut Log, number: u64) {
        let position = log.store.define(&Definition::QueueDeleted { id: queue(number) });
        self.deleted(number, position);
    }

    pub fn delete_vhost(&mut self, log: &mut Log, number: u64) {
        let position = log.store.define(&crate::who_may::vhost_deleted(number as u32));
        self.deleted(number, position);
    }

    fn deleted(&mut self, number: u64, position: LogPosition) {
        self.deleted.entry(number).or_insert(position);
        self.messages.range_mut((number, 0)..=(number, u64::MAX)).for_each(|(_, told)| told.removed = true);
    }

    pub fn enqueue(&mut self, log: &mut Log, queues: &[u64], length: usize) -> LogPosition {
        self.next_message += 1;
        let number = self.next_message;
        let stored = message(number, length);
        let mut position = LogPosition::default();
        for &to in queues {
            let sequence = self.next_sequence.entry(to).or_default();
            let expires_at_ms = number.is_multiple_of(3).then_some(number * 1000);
            let route = Route { queue: queue(to), sequence: *sequence, expires_at_ms };
            position = log.store.enqueued(route, &stored.content(), stored.attributes().priority, position);
            let told = Told { number, length, expires_at_ms, position, removed: false, returns: Vec::new() };
            self.messages.insert((to, *sequence), told);
            *sequence += 1;
        }
        position
    }

    pub fn remove(&mut self, log: &mut Log, of: u64, sequence: u64) {
        if let Some(told) = self.messages.get_mut(&(of, sequence)).filter(|told| !told.removed) {
            told.removed = true;
            log.store.removed(queue(of), sequence);
        }
    }

    /// A message comes back to its queue.
    pub fn give_back(&mut self, log: &mut Log, of: u64, sequence: u64, failed: bool) {
        if let Some(told) = self.messages.get_mut(&(of, sequence)).filter(|told| !told.removed) {
            let returns = told.returns.last().map_or(Returns::default(), |(returns, _)| *returns).once_more(failed);
            told.returns.push((returns, log.store.returned(queue(of), sequence, returns)));
        }
    }

    /// The oldest message of a queue that was not removed.
    pub fn oldest(&self, of: u64) -> Option<u64> {
        let mut waiting = self.messages.range((of, 0)..=(of, u64::MAX)).filter(|(_, told)| !told.removed);
        waiting.next().map(|((_, sequence), _)| *sequence)
    }

    pub fn purge(&mut self, log: &mut Log, of: u64) {
        let Some(next) = self.next_sequence.get(&of).copied().filter(|next| *next > 0) else { return };
        log.store.purged(queue(of), next - 1);
        self.messages.range_mut((of, 0)..=(of, u64::MAX)).for_each(|(_, told)| told.removed = true);
    }

    pub fn note_durable(&mut self, log: &Log) {
        assert!(log.store.durable() >= self.durable, "the durable position never goes back");
        self.durable = log.store.durable();
    }

    /// Compares what came back with what must and may, and goes on from there.
    pub fn check(&mut self, found: &Found, after_clean_stop: bool) {
        assert_eq!(found.clean, after_clean_stop, "clean");
        let mut there = BTreeMap::new();
        for of in &found.queues {
            let sequences: Vec<_> = of.messages.iter().map(|message| message.sequence).collect();
            assert!(sequences.is_sorted_by(|a, b| a < b), "sequences ascend: {sequences:?}");
            assert!(sequences.last().is_none_or(|last| *last < of.next_sequence));
            for recovered in &of.messages {
                there.insert((of.id.0, recovered.sequence), recovered);
            }
            assert!(self.queues.contains_key(&of.id.0), "queue {} was never declared", of.id.0);
            assert!(of.id.0 <= found.max_queue_id);
        }
        for (key, recovered) in &there {
            let told = self.messages.get(key).unwrap_or_else(|| panic!("{key:?} was never enqueued"));
            assert_eq!(number_of(&recovered.message), told.number, "{key:?} is another message");
            let expected = message(told.number, told.length);
            assert_eq!(recovered.message.content(), expected.content(), "{key:?} is not whole");
            assert_eq!(recovered.message.attributes().priority, expected.attributes().priority);
            assert_eq!(recovered.expires_at_ms, told.expires_at_ms);
            let counts = told.returns.iter().map(|(returns, _)| *returns);
            assert!(recovered.returns == Returns::default() || counts.clone().any(|of| of == recovered.returns));
            let is_certain = |position: &LogPosition| *position <= self.durable || after_clean_stop;
            let certain = told.returns.iter().filter(|(_, position)| is_certain(position));
            assert!(
                certain.map(|(of, _)| *of).max().unwrap_or_default() <= recovered.returns,
                "{key:?} came back oftener"
            );
            assert!(!(after_clean_stop && told.removed), "{key:?} was removed before a clean stop");
        }
        for (key, told) in &self.messages {
            let must = !told.removed && (told.position <= self.durable || after_clean_stop);
            assert!(
                !must || there.contains_key(key),
                "{key:?} at {:?} is lost; durable {:?}",
                told.position,
                self.durable
            );
        }
        for (number, position) in &self.queues {
            let is_done = |position: &LogPosition| *position <= self.durable || after_clean_stop;
            let deleted = self.deleted.get(number);
            let is_there = found.queues.iter().any(|of| of.id == queue(*number));
            assert!(is_there || deleted.is_some() || !is_done(position), "queue {number} is lost");
            assert!(!is_there || !deleted.is_some_and(is_done), "queue {number} is back");
        }
        self.settle(found, &there.keys().copied().collect::<Vec<_>>());
    }

    /// What came back is what there is now.
    fn settle(&mut self, found: &Found, there: &[(u64, u64)]) {
        self.messages.retain(|key, _| there.binary_search(key).is_ok());
        for told in self.messages.values_mut() {
            told.removed = false;
            told.position = LogPosition::default();
        }
        for of in &found.queues {
            for recovered in &of.messages {
                let told = self.messages.get_mut(&(of.id.0, recovered.sequence)).expect("it was looked at");
                told.returns = vec![(recovered.returns, LogPosition::default())];
            }
        }
        self.queues = found.queues.iter().map(|of| (of.id.0, LogPosition::default())).collect();
        self.deleted.clear();
        self.next_sequence = found.queues.iter().map(|of| (of.id.0, of.next_sequence)).collect();
        self.durable = found.last_position;
    }
}
