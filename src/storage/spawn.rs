//! The writer's thread: requests in through a channel, answers out through another and a wake-up. A second thread does the
//! writer's chores, so that no batch waits for them.

use super::chore::{Chore, ChoreDone};
use super::disk::Disk;
use super::duty::{Report, Request, WriterDuty};
use super::log_writer::LogWriter;
use super::replica::{ReplicaDuty, ReplicaReport, ReplicaRequest, ReplicaWriter};
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a writer's thread does.
pub trait Duty: Send + 'static {
    type Request: Send + 'static;
    type Report: Send + 'static;
    type Disk: Disk;

    fn disk(&self) -> &Self::Disk;
    fn has_work(&self) -> bool;
    fn turn(&mut self, request: Option<Self::Request>, report: impl FnMut(Self::Report));
    fn take_chore(&mut self) -> Option<Chore>;
    /// How it is told what came of a chore.
    fn chore_done(done: ChoreDone) -> Self::Request;

    /// Whether somebody is to be woken for a report.
    fn is_waited_for(_: &Self::Report) -> bool {
        true
    }
}

impl<D: Disk> Duty for WriterDuty<D> {
    type Request = Request;
    type Report = Report;
    type Disk = D;

    fn disk(&self) -> &D {
        self.disk()
    }

    fn has_work(&self) -> bool {
        self.has_work()
    }

    fn turn(&mut self, request: Option<Request>, report: impl FnMut(Report)) {
        self.turn(request, report);
    }

    fn take_chore(&mut self) -> Option<Chore> {
        self.take_chore()
    }

    fn chore_done(done: ChoreDone) -> Request {
        Request::ChoreDone(done)
    }
}

impl<D: Disk> Duty for ReplicaDuty<D> {
    type Request = ReplicaRequest;
    type Report = ReplicaReport<D>;
    type Disk = D;

    fn disk(&self) -> &D {
        self.disk()
    }

    fn has_work(&self) -> bool {
        self.has_work()
    }

    fn turn(&mut self, request: Option<ReplicaRequest>, report: impl FnMut(ReplicaReport<D>)) {
        self.turn(request, report);
    }

    fn take_chore(&mut self) -> Option<Chore> {
        self.take_chore()
    }

    fn chore_done(done: ChoreDone) -> ReplicaRequest {
        ReplicaRequest::ChoreDone(done)
    }

    /// How far the state is, is only shown to people.
    fn is_waited_for(report: &ReplicaReport<D>) -> bool {
        !matches!(report, ReplicaReport::Applied(_))
    }
}

enum Message<Q> {
    Asked(Q),
    /// Nothing comes after this.
    End,
}

/// The other end of a running writer: the loop's, or of a node of a cluster its cluster thread's. The thread ends when it
/// is dropped.
pub struct WriterHandle<Q = Request, R = Report> {
    requests: Sender<Message<Q>>,
    reports: Receiver<R>,
    thread: Option<JoinHandle<()>>,
}

/// The other end of a replicated log's writer.
pub type ReplicaHandle<D> = WriterHandle<ReplicaRequest, ReplicaReport<D>>;

/// Gives `writer` a thread. `wake` is called there after every report.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn<D: Disk>(writer: LogWriter<D>, wake: impl Fn() + Send + 'static) -> io::Result<WriterHandle> {
    spawn_duty(WriterDuty::new(writer), wake)
}

/// The same for a replicated log's writer, but that nobody is woken for how far the state is.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_replica<D: Disk>(
    writer: ReplicaWriter<D>,
    wake: impl Fn() + Send + 'static,
) -> io::Result<ReplicaHandle<D>> {
    spawn_duty(ReplicaDuty::new(writer), wake)
}

fn spawn_duty<W: Duty>(duty: W, wake: impl Fn() + Send + 'static) -> io::Result<WriterHandle<W::Request, W::Report>> {
    let (requests, inbox) = channel();
    let (outbox, reports) = channel();
    let report = move |report| {
        let is_waited_for = W::is_waited_for(&report);
        // Who asked is gone only when the program ends.
        let _ = outbox.send(report);
        if is_waited_for {
            wake();
        }
    };
    let (chores, waiting) = channel();
    let disk = duty.disk().clone();
    let done = requests.clone();
    let builder = std::thread::Builder::new().name("log-chores".into());
    let helper = builder.spawn(move || run_chores::<W>(&disk, &waiting, &done))?;
    let builder = std::thread::Builder::new().name("log-writer".into());
    let thread = builder.spawn(move || {
        run(duty, &inbox, &chores, &report);
        // What it was given is finished: a checkpoint, or files that nobody needs. A panic there was printed there.
        drop(chores);
        let _ = helper.join();
    })?;
    Ok(WriterHandle { requests, reports, thread: Some(thread) })
}

fn run_chores<W: Duty>(disk: &W::Disk, waiting: &Receiver<Chore>, done: &Sender<Message<W::Request>>) {
    for chore in waiting {
        // A writer that is gone needs to know nothing any more.
        let _ = done.send(Message::Asked(W::chore_done(chore.run(disk))));
    }
}

impl<Q, R> WriterHandle<Q, R> {
    /// Asks the writer for something. Of a broker that is alone batches one at a time: the next one after its
    /// [`Report::Done`].
    pub fn ask(&self, request: Q) {
        self.send(Message::Asked(request));
    }

    fn send(&self, message: Message<Q>) {
        // A writer that is gone has said why in its last report.
        let _ = self.requests.send(message);
    }

    /// The next report, if there is one.
    pub fn try_report(&self) -> Option<R> {
        self.reports.try_recv().ok()
    }

    /// Waits for the next report; `None` when the writer is gone. For starts and stops, never in a turn of the loop.
    pub fn wait_report(&self) -> Option<R> {
        self.reports.recv().ok()
    }

    /// The same for so long, and `None` after that.
    pub fn wait_report_for(&self, time: Duration) -> Option<R> {
        self.reports.recv_timeout(time).ok()
    }
}

impl<Q, R> Drop for WriterHandle<Q, R> {
    /// Lets the writer finish what it was given.
    fn drop(&mut self) {
        self.send(Message::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread.
            let _ = thread.join();
        }
    }
}

fn run<W: Duty>(
    mut duty: W,
    inbox: &Receiver<Message<W::Request>>,
    chores: &Sender<Chore>,
    report: &impl Fn(W::Report),
) {
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
