//! The loop's side of the log: what was recovered into the broker, batches to the writer, and what the writer reports.
//!
//! It owns the writer's thread and the order of a start and a stop. It never waits for the disk while the loop turns.

use super::hub::Hub;
use crate::broker::RestoredQueue;
use crate::broker::store::{Definition, DurableQueueId};
use crate::config::{Config, Durability};
use crate::reactor::Waker;
use crate::storage::disk::Disk;
use crate::storage::file_disk::FileDisk;
use crate::storage::log_writer::LogWriter;
use crate::storage::recovery::{Recovered, RecoveredQueue, RecoveryMode, recover};
use crate::storage::spawn::{Report, WriterHandle, spawn};
use crate::storage::{LogOptions, LogStore, NodeId, StorageError, SyncPolicy};
use hashbrown::HashMap;
use std::io;

/// How often the room on the disk is looked at, in milliseconds.
const DISK_CHECK_INTERVAL_MS: u64 = 1_000;

/// A data folder that was read, before the loop runs.
pub(super) struct OpenedLog {
    disk: FileDisk,
    options: LogOptions,
    pub recovered: Recovered,
}

impl OpenedLog {
    /// Locks and reads the data folder.
    ///
    /// # Errors
    /// Another broker holds it, it can't be written, a newer version made it, or it is damaged.
    pub fn open(config: &Config, salvage: bool, node_id: NodeId) -> Result<Self, StorageError> {
        let disk = FileDisk::open(&config.data_dir)?;
        let mode = if salvage { RecoveryMode::Salvage } else { RecoveryMode::Strict };
        let recovered = recover(&disk, mode, node_id)?;
        for warning in &recovered.warnings {
            log::warn!("{}: {warning}", config.data_dir.display());
        }
        let sync_policy = match config.durability {
            Durability::Always => SyncPolicy::Always,
            Durability::Interval => SyncPolicy::Interval,
            Durability::Os => SyncPolicy::Os,
        };
        Ok(Self { disk, options: LogOptions { sync_policy, ..LogOptions::default() }, recovered })
    }

    /// The broker's half of the log.
    pub fn store(&self) -> LogStore {
        self.recovered.store(self.options.clone())
    }

    /// Puts what was recovered into the broker, and starts the writer.
    ///
    /// # Errors
    /// The disk's or the system's; definitions that contradict each other.
    pub fn start(self, hub: &mut Hub<LogStore>, waker: Waker, disk_free_limit_bytes: u64) -> io::Result<Journal> {
        let Self { disk, options, recovered } = self;
        let clean = recovered.clean;
        let messages = restore(hub, recovered.definitions, recovered.queues, recovered.max_queue_id)?;
        if messages > 0 {
            let how = if clean { "an orderly" } else { "a sudden" };
            log::info!("recovered {messages} messages after {how} stop");
        }
        let writer = LogWriter::start(disk.clone(), options, recovered.resume).map_err(io::Error::other)?;
        let wake = move || {
            // A loop that can't be woken still finds the report in its next turn.
            let _ = waker.wake();
        };
        let writer = spawn(writer, wake)?;
        Ok(Journal { writer, disk, disk_free_limit_bytes, disk_check_due_ms: 0 })
    }
}

/// Puts definitions and messages back. Returns how many messages.
///
/// # Errors
/// Definitions that contradict each other.
pub fn restore(
    hub: &mut Hub<LogStore>,
    definitions: Vec<Definition>,
    queues: Vec<RecoveredQueue>,
    max_queue_id: u64,
) -> io::Result<usize> {
    let broker = hub.broker_mut();
    let mut ids = HashMap::new();
    for definition in definitions {
        let restored = match definition {
            Definition::ExchangeDeclared { name, kind, auto_delete, internal, arguments } => {
                broker.restore_exchange(&name, kind, auto_delete, internal, &arguments)
            }
            Definition::QueueDeclared { id, name, auto_delete, arguments } => {
                broker.restore_queue(RestoredQueue { id, name, auto_delete, arguments }).map(|queue| {
                    ids.insert(id, queue);
                })
            }
            Definition::Bound(binding) => broker.restore_binding(&binding),
            Definition::QueueDeleted { .. } | Definition::ExchangeDeleted { .. } | Definition::Unbound(_) => Ok(()),
        };
        restored.map_err(|error| io::Error::other(format!("the log's definitions can't be restored: {error}")))?;
    }
    broker.restore_queue_numbering(DurableQueueId(max_queue_id));
    let mut messages = 0;
    for queue in queues {
        let Some(&id) = ids.get(&queue.id) else { continue };
        for recovered in queue.messages {
            broker.restore_message(id, recovered.sequence, recovered.message, recovered.expires_at_ms);
            messages += 1;
        }
        broker.restored(id, queue.next_sequence);
    }
    Ok(messages)
}

/// The running log.
pub(super) struct Journal {
    writer: WriterHandle,
    disk: FileDisk,
    disk_free_limit_bytes: u64,
    /// When the room on the disk is to be looked at again.
    disk_check_due_ms: u64,
}

impl Journal {
    /// Takes what the writer reported since the last turn: confirms and answers that waited go out.
    ///
    /// # Errors
    /// The writer's. Nothing is durable any more: the broker has to stop.
    pub fn take_reports(&mut self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        let mut progressed = false;
        while let Some(report) = self.writer.try_report() {
            match report {
                Report::Done(done) => {
                    hub.broker_mut().store_mut().batch_done(done)?;
                    progressed = true;
                }
                Report::Failed(error) => return Err(error),
                Report::Checkpointed | Report::FreeBytes(_) => {}
            }
        }
        if progressed {
            hub.log_progressed();
        }
        Ok(())
    }

    /// Gives the writer what was appended, if it is idle.
    pub fn hand_over(&mut self, hub: &mut Hub<LogStore>, now_ms: u64) {
        if let Some(batch) = hub.broker_mut().store_mut().take_batch(now_ms) {
            self.writer.write(batch);
        }
    }

    /// When [`hand_over`](Self::hand_over) has a sync to ask for although nothing is appended.
    pub fn next_deadline_ms(&self, hub: &Hub<LogStore>) -> Option<u64> {
        let store = hub.broker().store();
        let sync = store.sync_wanted_by_ms().filter(|_| !store.is_writing());
        let alarm = hub.is_disk_low().then_some(self.disk_check_due_ms);
        sync.into_iter().chain(alarm).min()
    }

    /// Changes the room below which publishers are not read. It is looked at in this turn.
    pub fn set_disk_free_limit(&mut self, bytes: u64) {
        self.disk_free_limit_bytes = bytes;
        self.disk_check_due_ms = 0;
    }

    /// Looks whether there is room on the disk, now and then.
    pub fn check_disk(&mut self, hub: &mut Hub<LogStore>, now_ms: u64) {
        if now_ms < self.disk_check_due_ms {
            return;
        }
        self.disk_check_due_ms = now_ms + DISK_CHECK_INTERVAL_MS;
        match self.disk.free_bytes() {
            Ok(free_bytes) => hub.set_disk_low(free_bytes < self.disk_free_limit_bytes),
            Err(error) => log::warn!("the room on the disk is unknown: {error}"),
        }
    }

    /// Writes everything that is left, a checkpoint, and the word that there is no more.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        /// Past every deadline: the last batch is synced whatever its age.
        const LATER: u64 = u64::MAX;
        let store = hub.broker_mut().store_mut();
        loop {
            if let Some(batch) = store.take_batch(LATER) {
                self.writer.write(batch);
            }
            if store.is_idle() {
                break;
            }
            wait_for_batch(&self.writer, store)?;
        }
        self.writer.checkpoint();
        loop {
            match self.writer.wait_report() {
                Some(Report::Checkpointed) => break,
                Some(Report::Failed(error)) => return Err(error),
                Some(_) => {}
                None => return Err(StorageError::Poisoned),
            }
        }
        let batch = store.take_final_batch();
        self.writer.write(batch);
        wait_for_batch(&self.writer, store)
    }
}

fn wait_for_batch(writer: &WriterHandle, store: &mut LogStore) -> Result<(), StorageError> {
    loop {
        match writer.wait_report() {
            Some(Report::Done(done)) => return store.batch_done(done),
            Some(Report::Failed(error)) => return Err(error),
            Some(_) => {}
            None => return Err(StorageError::Poisoned),
        }
    }
}
