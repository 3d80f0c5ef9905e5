//! The loop's side of the disk: what was recovered into the broker, batches to the writer, pages to the pager, and what
//! both report.
//!
//! ```text
//! OpenedLog::read ── start ──► Journal: take_reports, check_disk, hand_over, hand_over_pages, turn after turn ── finish
//! ```
//! It owns the order of a start and a stop, and has no thread: the work is done by [`Workers`] on a [`Disk`], so that a
//! simulation runs the very order that ships. It never waits for the disk while the loop turns.

use super::hub::{DiskRoom, Hub};
use super::restore::Loading;
use super::workers::Workers;
use crate::broker::Founding;
use crate::config::{Config, Durability};
use crate::storage::disk::Disk;
use crate::storage::duty::{Report, Request};
use crate::storage::file_disk::FileDisk;
use crate::storage::loader_thread::LoadReport;
use crate::storage::log_writer::LogWriter;
use crate::storage::page_queue::PageRequest;
use crate::storage::recovery::{Recovered, RecoveryMode, recover};
use crate::storage::replica::Survey;
use crate::storage::{
    FolderIds, Loader, LogOptions, LogStore, PageReport, Pager, PagerOptions, StorageError, SyncPolicy,
};
use std::io;

/// Pages of recovered messages taken in during one turn, so that clients get theirs: some MiB.
const LOADED_PAGES_PER_TURN: usize = 32;
/// Past every deadline: the last batch is synced whatever its age.
const LATER: u64 = u64::MAX;
/// How often the room on the disk is looked at, in milliseconds.
pub const DISK_CHECK_INTERVAL_MS: u64 = 1_000;

/// A data folder that was read, before the loop runs.
pub struct OpenedLog<D: Disk> {
    disk: D,
    options: LogOptions,
    pub recovered: Recovered<D>,
}

impl OpenedLog<FileDisk> {
    /// Locks and reads the data folder.
    ///
    /// # Errors
    /// Another broker holds it, it can't be written, a version with another format made it, or it is damaged.
    pub fn open(config: &Config, salvage: bool, new_ids: FolderIds) -> Result<Self, StorageError> {
        let disk = FileDisk::open(&config.data_dir)?;
        let mode = if salvage { RecoveryMode::Salvage } else { RecoveryMode::Strict };
        let sync_policy = match config.durability {
            Durability::Always => SyncPolicy::Always,
            Durability::Interval => SyncPolicy::Interval,
            Durability::Os => SyncPolicy::Os,
        };
        let opened = Self::read(disk, LogOptions { sync_policy, ..LogOptions::default() }, mode, new_ids)?;
        for warning in &opened.recovered.warnings {
            tracing::warn!(target: "storage", "{}: {warning}", config.data_dir.display());
        }
        Ok(opened)
    }
}

impl<D: Disk> OpenedLog<D> {
    /// Reads a data folder.
    ///
    /// # Errors
    /// The disk's, another format's files, or, unless salvaging, damage.
    pub fn read(disk: D, options: LogOptions, mode: RecoveryMode, new_ids: FolderIds) -> Result<Self, StorageError> {
        let recovered = recover(&disk, mode, new_ids)?;
        Ok(Self { disk, options, recovered })
    }

    /// The broker's half of the log.
    pub fn store(&self) -> LogStore {
        self.recovered.store(self.options.clone())
    }

    /// Puts what was recovered into the broker, as far as it is not to serve without it, and starts the workers. A log that
    /// knows neither a vhost nor a user gets its first ones.
    ///
    /// # Errors
    /// The disk's or the system's; damage; definitions that contradict each other.
    pub fn start<W: Workers<D>>(
        self,
        hub: &mut Hub<LogStore>,
        mut workers: W,
        pager_options: PagerOptions,
        disk_free_limit_bytes: u64,
        founding: impl FnOnce() -> io::Result<Option<Founding>>,
    ) -> io::Result<Journal<D, W>> {
        let Self { disk, options, recovered } = self;
        let Recovered { definitions, queues, max_queue_id, clean, loader, resume, .. } = recovered;
        let messages: u64 = queues.iter().map(|queue| queue.messages).sum();
        let loading = Loading::begin(hub, definitions, &queues, max_queue_id, founding)?;
        if messages > 0 {
            let how = if clean { "an orderly" } else { "a sudden" };
            tracing::info!(target: "storage", "recovered {messages} messages after {how} stop");
        }
        let loading = begin_loading(&disk, &options, loader, loading, pager_options, hub, &mut workers)?;
        let segment_bytes = options.segment_bytes;
        workers.start_writer(LogWriter::start(disk.clone(), options, resume).map_err(io::Error::other)?)?;
        Ok(Journal::new(disk, workers, loading, segment_bytes, disk_free_limit_bytes))
    }
}

/// Starts those who have messages that are not in memory.
fn begin_loading<D: Disk>(
    disk: &D,
    options: &LogOptions,
    loader: Option<Loader<D>>,
    loading: Loading,
    pager_options: PagerOptions,
    hub: &mut Hub<LogStore>,
    workers: &mut impl Workers<D>,
) -> io::Result<Option<Loading>> {
    workers.start_pager(Pager::start(disk.clone(), pager_options).map_err(io::Error::other)?)?;
    match loader {
        Some(loader) => load(loader, loading, hub, workers, options.load_before_ready_bytes),
        None => Ok(None),
    }
}

/// Loads what an ordinary log holds, so that its damage stops the start, and leaves the rest to a worker.
fn load<D: Disk>(
    loader: Loader<D>,
    loading: Loading,
    hub: &mut Hub<LogStore>,
    workers: &mut impl Workers<D>,
    enough_bytes: u64,
) -> io::Result<Option<Loading>> {
    let mut loader = loader.on_clock(hub.broker().unix_start_ms());
    while let Some(loaded) = loader.next_page_before_ready(enough_bytes).map_err(io::Error::other)? {
        loading.take(hub, loaded);
        request_pages(workers, hub);
    }
    if loader.is_done() {
        end_loading(loading, hub);
        return Ok(None);
    }
    workers.start_loader(loader)?;
    Ok(Some(loading))
}

fn end_loading(loading: Loading, hub: &mut Hub<LogStore>) {
    let lost = loading.end(hub);
    if lost > 0 {
        tracing::warn!(target: "storage", "{lost} messages are lost");
    }
}

/// Gives the pager what is asked of it.
fn request_pages<D: Disk>(workers: &mut impl Workers<D>, hub: &mut Hub<LogStore>) {
    while let Some(request) = hub.broker_mut().store_mut().pages_mut().take_request() {
        workers.ask_pager(request);
    }
}

/// Why the broker has to stop.
#[derive(Debug)]
pub enum Failure {
    /// The log can't be written: nothing is durable any more.
    Log(StorageError),
    /// Messages that were moved out of memory can't be read back. The log is as good as before.
    Pages(StorageError),
    /// Messages of the earlier run can't be loaded. What is written to the log is durable all the same.
    Loading(StorageError),
    /// Another node of the cluster is to lead: nothing that was not confirmed ever is.
    Deposed,
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Log(error)
    }
}

/// The running log.
pub struct Journal<D: Disk, W: Workers<D>> {
    workers: W,
    /// The disk takes no pages.
    pager_is_stalled: bool,
    /// Messages of the earlier run that are still being loaded.
    loading: Option<Loading>,
    loader_has_more: bool,
    disk: D,
    disk_free_limit_bytes: u64,
    /// What the log's next segment takes.
    segment_bytes: u64,
    /// There was no room for it; without it the log will end.
    next_segment_is_missing: bool,
    /// When the room on the disk is to be looked at again.
    disk_check_due_ms: u64,
    disk_room: DiskRoom,
}

impl<D: Disk, W: Workers<D>> Journal<D, W> {
    fn new(disk: D, workers: W, loading: Option<Loading>, segment_bytes: u64, disk_free_limit_bytes: u64) -> Self {
        Self {
            workers,
            pager_is_stalled: false,
            loading,
            loader_has_more: false,
            disk,
            disk_free_limit_bytes,
            segment_bytes,
            next_segment_is_missing: false,
            disk_check_due_ms: 0,
            disk_room: DiskRoom::default(),
        }
    }

    /// Puts what a node has that begins to lead into the broker, and starts the workers but for the writer, which is there. A
    /// log that knows neither a vhost nor a user gets its first ones.
    ///
    /// # Errors
    /// As [`OpenedLog::start`].
    pub fn lead(
        disk: D,
        options: &LogOptions,
        survey: Survey<D>,
        hub: &mut Hub<LogStore>,
        mut workers: W,
        disk_free_limit_bytes: u64,
        founding: impl FnOnce() -> io::Result<Option<Founding>>,
    ) -> io::Result<Self> {
        let Survey { definitions, queues, max_queue_id, loader, .. } = survey;
        let messages: u64 = queues.iter().map(|queue| queue.messages).sum();
        let loading = Loading::begin(hub, definitions, &queues, max_queue_id, founding)?;
        tracing::info!(target: "cluster", "this node leads, with {messages} messages");
        let pages = PagerOptions::default();
        let loading = begin_loading(&disk, options, loader, loading, pages, hub, &mut workers)?;
        Ok(Self::new(disk, workers, loading, options.segment_bytes, disk_free_limit_bytes))
    }

    /// Those who do its work.
    pub fn workers(&self) -> &W {
        &self.workers
    }

    /// As [`workers`](Self::workers).
    pub fn workers_mut(&mut self) -> &mut W {
        &mut self.workers
    }

    /// Takes what the writer and the pager reported since the last turn: confirms and answers that waited go out with
    /// what is [next to flush](Hub::next_to_flush), and pages that were asked for are there.
    ///
    /// # Errors
    /// The writer's, the pager's or the loader's. The broker has to stop: its queues must not go on without messages that
    /// were confirmed and come back with the next start.
    pub fn take_reports(&mut self, hub: &mut Hub<LogStore>) -> Result<(), Failure> {
        self.take_progress(hub)?;
        self.take_page_reports(hub).map_err(Failure::Pages)?;
        self.take_loaded(hub).map_err(Failure::Loading)
    }

    fn take_progress(&mut self, hub: &mut Hub<LogStore>) -> Result<(), Failure> {
        while let Some(report) = self.workers.writer_report() {
            match report {
                Report::Done(done, totals) => {
                    hub.note_log_totals(totals);
                    hub.broker_mut().store_mut().batch_done(done)?;
                }
                Report::Committed(position) => hub.broker_mut().store_mut().committed(position),
                Report::Deposed => return Err(Failure::Deposed),
                Report::Failed(error) => return Err(error.into()),
                Report::NoRoom => {
                    self.next_segment_is_missing = true;
                    self.disk_check_due_ms = 0;
                }
                Report::FreeBytes(_) => self.next_segment_is_missing = false,
                Report::Checkpointed => {}
            }
        }
        Ok(())
    }

    /// Takes in what the loader brought, as fast as pages can be written.
    fn take_loaded(&mut self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        let Some(loading) = &self.loading else { return Ok(()) };
        self.loader_has_more = true;
        for _ in 0..LOADED_PAGES_PER_TURN {
            // The pager or the loader wakes the loop when it is different.
            if !hub.broker().takes_pages() {
                self.loader_has_more = false;
                break;
            }
            match self.workers.load_report() {
                None => {
                    self.loader_has_more = false;
                    break;
                }
                Some(LoadReport::Page(loaded)) => loading.take(hub, loaded),
                Some(LoadReport::Failed(error)) => return Err(error),
                Some(LoadReport::Done) => {
                    tracing::info!(target: "storage", "all recovered messages are loaded");
                    self.loader_has_more = false;
                    self.workers.end_loader();
                    if let Some(loading) = self.loading.take() {
                        end_loading(loading, hub);
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_page_reports(&mut self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        let pages = hub.broker_mut().store_mut().pages_mut();
        while let Some(report) = self.workers.page_report() {
            match report {
                PageReport::Read { page, bytes } => pages.arrive(page, bytes),
                PageReport::Written { bytes, .. } => pages.written(bytes),
                PageReport::Stalled(error) => {
                    tracing::warn!(target: "storage", "messages stay in memory although there are too many: {error}");
                    self.pager_is_stalled = true;
                }
                PageReport::Resumed => {
                    tracing::info!(target: "storage", "messages wait on disk again");
                    self.pager_is_stalled = false;
                }
                PageReport::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the writer what was appended, if it is idle.
    pub fn hand_over(&mut self, hub: &mut Hub<LogStore>, now_ms: u64) {
        if let Some(batch) = hub.broker_mut().store_mut().take_batch(now_ms) {
            self.workers.ask_writer(Request::Write(batch));
        }
    }

    /// Gives the writer what is left. True when there is nothing more, and all of it lasts.
    pub fn settle(&mut self, hub: &mut Hub<LogStore>) -> bool {
        self.hand_over(hub, LATER);
        hub.broker().store().is_idle()
    }

    /// Gives the pager what is asked of it.
    pub fn hand_over_pages(&mut self, hub: &mut Hub<LogStore>) {
        request_pages(&mut self.workers, hub);
    }

    /// Whether [`take_reports`](Self::take_reports) has something to do at once.
    pub fn has_work(&self) -> bool {
        self.loader_has_more
    }

    /// When [`hand_over`](Self::hand_over) has a sync to ask for although nothing is appended.
    pub fn next_deadline_ms(&self, hub: &Hub<LogStore>) -> Option<u64> {
        let store = hub.broker().store();
        let sync = store.sync_wanted_by_ms().filter(|_| !store.is_writing());
        let looks_again = self.disk_room.is_low || self.pager_is_stalled;
        let alarm = looks_again.then_some(self.disk_check_due_ms);
        sync.into_iter().chain(alarm).min()
    }

    /// Changes the room below which publishers are not read. It is looked at in this turn.
    pub fn set_disk_free_limit(&mut self, bytes: u64) {
        self.disk_free_limit_bytes = bytes;
        self.disk_check_due_ms = 0;
    }

    /// Looks whether there is room on the disk, now and then.
    pub fn check_disk(&mut self, hub: &Hub<LogStore>, now_ms: u64) {
        if now_ms < self.disk_check_due_ms {
            return;
        }
        self.disk_check_due_ms = now_ms + DISK_CHECK_INTERVAL_MS;
        if self.pager_is_stalled {
            self.workers.ask_pager(PageRequest::Retry);
        }
        let mut is_low = self.disk_room.is_low;
        let free_bytes = match self.disk.free_bytes() {
            Ok(free_bytes) => {
                let segment_bytes = if self.next_segment_is_missing { self.segment_bytes } else { 0 };
                let pages_wait = self.pager_is_stalled && hub.broker().is_paging_behind();
                is_low = pages_wait || free_bytes < self.disk_free_limit_bytes.max(segment_bytes);
                if is_low {
                    self.workers.ask_writer(Request::MakeRoom);
                }
                Some(free_bytes)
            }
            Err(error) => {
                tracing::warn!(target: "storage", "the room on the disk is unknown: {error}");
                None
            }
        };
        self.disk_room = DiskRoom { is_low, free_bytes, limit_bytes: self.disk_free_limit_bytes };
    }

    /// The room on the disk, as it was when it was last looked at.
    pub fn disk_room(&self) -> DiskRoom {
        self.disk_room
    }

    /// Writes everything that is left, a checkpoint, and the word that there is no more.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        // What is not loaded yet stays where it is.
        self.workers.end_loader();
        if self.workers.are_of_a_cluster() {
            // It goes on with another node: what was to be handed over has been.
            return Ok(());
        }
        let store = hub.broker_mut().store_mut();
        loop {
            if let Some(batch) = store.take_batch(LATER) {
                self.workers.ask_writer(Request::Write(batch));
            }
            if store.is_idle() {
                break;
            }
            wait_for_batch(&mut self.workers, store)?;
        }
        self.workers.ask_writer(Request::Checkpoint);
        loop {
            match self.workers.wait_writer_report() {
                Some(Report::Checkpointed) => break,
                Some(Report::Failed(error)) => return Err(error),
                Some(_) => {}
                None => return Err(StorageError::Poisoned),
            }
        }
        let delivered: Vec<_> = hub.broker().delivered_marks().collect();
        let store = hub.broker_mut().store_mut();
        let batch = store.take_final_batch(delivered);
        self.workers.ask_writer(Request::Write(batch));
        wait_for_batch(&mut self.workers, store)
    }
}

fn wait_for_batch<D: Disk>(workers: &mut impl Workers<D>, store: &mut LogStore) -> Result<(), StorageError> {
    loop {
        match workers.wait_writer_report() {
            Some(Report::Done(done, _)) => return store.batch_done(done),
            Some(Report::Failed(error)) => return Err(error),
            Some(_) => {}
            None => return Err(StorageError::Poisoned),
        }
    }
}
