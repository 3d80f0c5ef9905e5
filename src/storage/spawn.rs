//! The writer's thread: batches in through a channel, answers out through another and a wake-up. A second thread does the
//! writer's chores, so that no batch waits for them.

use super::chore::Chore;
use super::disk::Disk;
use super::duty::{Report, Request, WriterDuty};
use super::log_writer::LogWriter;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

enum Message {
    Asked(Request),
    /// Nothing comes after this.
    End,
}

/// The loop's end of a running writer. The thread ends when it is dropped.
pub struct WriterHandle {
    requests: Sender<Message>,
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
    let duty = WriterDuty::new(writer);
    let disk = duty.disk().clone();
    let done = requests.clone();
    let builder = std::thread::Builder::new().name("log-chores".into());
    let helper = builder.spawn(move || run_chores(&disk, &waiting, &done))?;
    let builder = std::thread::Builder::new().name("log-writer".into());
    let thread = builder.spawn(move || {
        run(duty, &inbox, &chores, &report);
        // What it was given is finished: a checkpoint, or files that nobody needs. A panic there was printed there.
        drop(chores);
        let _ = helper.join();
    })?;
    Ok(WriterHandle { requests, reports, thread: Some(thread) })
}

fn run_chores(disk: &impl Disk, waiting: &Receiver<Chore>, done: &Sender<Message>) {
    for chore in waiting {
        // A writer that is gone needs to know nothing any more.
        let _ = done.send(Message::Asked(Request::ChoreDone(chore.run(disk))));
    }
}

impl WriterHandle {
    /// Asks the writer for something. Batches one at a time: the next one after its [`Report::Done`].
    pub fn ask(&self, request: Request) {
        self.send(Message::Asked(request));
    }

    fn send(&self, message: Message) {
        // A writer that is gone has said why in its last report.
        let _ = self.requests.send(message);
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
        self.send(Message::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(mut duty: WriterDuty<D>, inbox: &Receiver<Message>, chores: &Sender<Chore>, report: &impl Fn(Report)) {
    loop {
        let message = match duty.has_work() {
            true => inbox.try_recv(),
            false => inbox.recv().map_err(|_| TryRecvError::Disconnected),
        };
        let request = match message {
            Ok(Message::Asked(request)) => Some(request),
            Err(TryRecvError::Empty) => None,
            Ok(Message::End) | Err(TryRecvError::Disconnected) => return,
        };
        duty.turn(request, report);
        while let Some(chore) = duty.take_chore() {
            // It ends after this thread.
            let _ = chores.send(chore);
        }
    }
}
