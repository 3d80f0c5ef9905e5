//! The writer's thread: batches in through a channel, answers out through another and a wake-up. A second thread does the
//! writer's chores, so that no batch waits for them.

use super::chore::{Chore, ChoreDone};
use super::disk::Disk;
use super::error::StorageError;
use super::log_store::{BatchDone, SealedBatch};
use super::log_writer::LogWriter;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

/// What the loop asks of the writer.
enum Request {
    Write(SealedBatch),
    /// Write a checkpoint, whether it is due or not.
    Checkpoint,
    /// Give back what the log can do without.
    MakeRoom,
    /// From the other thread.
    ChoreDone(ChoreDone),
    /// Nothing comes after this.
    End,
}

/// What the writer says.
#[derive(Debug)]
pub enum Report {
    /// To [`LogStore::batch_done`](super::LogStore::batch_done).
    Done(BatchDone),
    /// A checkpoint that was asked for is on disk.
    Checkpointed,
    /// Something failed beside writing a batch. Nothing more will be written.
    Failed(StorageError),
    /// Room left on the disk, in bytes; said after every change of segments.
    FreeBytes(u64),
    /// There is none for the next segment, which will be needed when this one is full.
    NoRoom,
}

/// The loop's end of a running writer. The thread ends when it is dropped.
pub struct WriterHandle {
    requests: Sender<Request>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

/// Gives `writer` a thread. `wake` is called there after every report.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn<D: Disk>(writer: LogWriter<D>, wake: impl Fn() + Send + 'static) -> io::Result<WriterHandle> {
    let (requests, inbox) = channel();
    let (outbox, reports) = channel();
    let report = move |report| {
        // The loop is gone only when the program ends.
        let _ = outbox.send(report);
        wake();
    };
    let (chores, waiting) = channel();
    let disk = writer.disk().clone();
    let done = requests.clone();
    let builder = std::thread::Builder::new().name("log-chores".into());
    let helper = builder.spawn(move || run_chores(&disk, &waiting, &done))?;
    let builder = std::thread::Builder::new().name("log-writer".into());
    let thread = builder.spawn(move || {
        run(writer, &inbox, &chores, &report);
        // What it was given is finished: a checkpoint, or files that nobody needs. A panic there was printed there.
        drop(chores);
        let _ = helper.join();
    })?;
    Ok(WriterHandle { requests, reports, thread: Some(thread) })
}

fn run_chores(disk: &impl Disk, waiting: &Receiver<Chore>, done: &Sender<Request>) {
    for chore in waiting {
        // A writer that is gone needs to know nothing any more.
        let _ = done.send(Request::ChoreDone(chore.run(disk)));
    }
}

impl WriterHandle {
    /// Gives the writer a batch. One at a time: the next one after its [`Report::Done`].
    pub fn write(&self, batch: SealedBatch) {
        self.send(Request::Write(batch));
    }

    /// Asks for a checkpoint now, as before a stop: then come the final batch and the end.
    pub fn checkpoint(&self) {
        self.send(Request::Checkpoint);
    }

    /// Says that the disk is nearly full. To be said again until there is room.
    pub fn make_room(&self) {
        self.send(Request::MakeRoom);
    }

    fn send(&self, request: Request) {
        // A writer that is gone has said why in its last report.
        let _ = self.requests.send(request);
    }

    /// The next report, if there is one.
    pub fn try_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Waits for the next report; `None` when the writer is gone. For starts and stops, never in a turn of the loop.
    pub fn wait_report(&self) -> Option<Report> {
        self.reports.recv().ok()
    }
}

impl Drop for WriterHandle {
    /// Lets the writer finish what it was given.
    fn drop(&mut self) {
        self.send(Request::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(mut writer: LogWriter<D>, inbox: &Receiver<Request>, chores: &Sender<Chore>, report: &impl Fn(Report)) {
    let mut more_to_maintain = true;
    let mut checkpoint_is_wanted = false;
    let mut segments_begun = None;
    loop {
        let totals = writer.totals();
        if segments_begun != Some(totals.segments_created + totals.segments_recycled) {
            segments_begun = Some(totals.segments_created + totals.segments_recycled);
            match writer.free_bytes() {
                Ok(bytes) => report(Report::FreeBytes(bytes)),
                Err(error) => log::warn!("{error}"),
            }
        }
        let request = if more_to_maintain {
            match inbox.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match inbox.recv() {
                Ok(request) => Some(request),
                Err(_) => return,
            }
        };
        match request {
            Some(Request::Write(batch)) => {
                let recycled = writer.take_recycled();
                let result = writer.write(batch);
                report(Report::Done(BatchDone { result, recycled }));
                writer.absorb();
            }
            Some(Request::Checkpoint) => checkpoint_is_wanted = true,
            Some(Request::MakeRoom) => {
                if let Err(error) = writer.make_room() {
                    report(Report::Failed(error));
                }
            }
            Some(Request::ChoreDone(done)) => {
                if let Err(error) = writer.chore_done(done) {
                    report(Report::Failed(error));
                }
                if writer.take_no_room() {
                    report(Report::NoRoom);
                }
            }
            Some(Request::End) => return,
            None => {}
        }
        if checkpoint_is_wanted && !writer.is_checkpointing() {
            checkpoint_is_wanted = false;
            match writer.checkpoint() {
                Ok(()) => report(Report::Checkpointed),
                Err(error) => report(Report::Failed(error)),
            }
        }
        more_to_maintain = match writer.maintain() {
            Ok(more) => more,
            Err(StorageError::Poisoned) => false,
            Err(error) => {
                report(Report::Failed(error));
                false
            }
        };
        while let Some(chore) = writer.take_chore() {
            // It ends after this thread.
            let _ = chores.send(chore);
        }
    }
}
