//! Those who do the disk's work beside the loop: the log's writer, the pager, the loader of an earlier run's messages.
//!
//! In a server each is a thread; a simulation steps them when its seed says so. What they are asked and what they report
//! is the same, and so is what the [`Journal`](super::Journal) makes of it.

use super::seat::Seat;
use crate::reactor::Waker;
use crate::storage::disk::Disk;
use crate::storage::duty::{Report, Request};
use crate::storage::loader_thread::{LoadReport, LoaderHandle, spawn_loader};
use crate::storage::page_queue::PageRequest;
use crate::storage::pager_thread::{PagerHandle, spawn_pager};
use crate::storage::spawn::{WriterHandle, spawn};
use crate::storage::{Loader, LogWriter, PageReport, Pager};
use std::io;

/// The writer, the pager and the loader.
pub trait Workers<D: Disk> {
    /// Each is started once, before it is asked for anything.
    ///
    /// # Errors
    /// The system has no thread to give.
    fn start_writer(&mut self, writer: LogWriter<D>) -> io::Result<()>;
    /// As [`start_writer`](Self::start_writer).
    ///
    /// # Errors
    /// As there.
    fn start_pager(&mut self, pager: Pager<D>) -> io::Result<()>;
    /// As [`start_writer`](Self::start_writer); only a loader that has something left to load is started.
    ///
    /// # Errors
    /// As there.
    fn start_loader(&mut self, loader: Loader<D>) -> io::Result<()>;

    fn ask_writer(&mut self, request: Request);
    /// Whether the log is a cluster's: then it goes on with another node when this one stops.
    fn are_of_a_cluster(&self) -> bool {
        false
    }
    fn ask_pager(&mut self, request: PageRequest);

    /// The writer's next report, if there is one.
    fn writer_report(&mut self) -> Option<Report>;
    fn page_report(&mut self) -> Option<PageReport>;
    fn load_report(&mut self) -> Option<LoadReport>;

    /// Waits for the writer's next report; `None` when the writer is gone, or the log a cluster's. For stops, never in a turn of
    /// the loop.
    fn wait_writer_report(&mut self) -> Option<Report>;

    /// Nobody takes any more what the loader brings.
    fn end_loader(&mut self);
}

/// Who writes the log.
enum Writer {
    NotStarted,
    Alone(WriterHandle),
    /// The nodes of a cluster, which have to agree first.
    Cluster(Seat),
}

/// Threads, which wake the loop after every report.
pub struct Threads {
    waker: Waker,
    writer: Writer,
    pager: Option<PagerHandle>,
    loader: Option<LoaderHandle>,
}

impl Threads {
    pub fn new(waker: Waker) -> Self {
        Self { waker, writer: Writer::NotStarted, pager: None, loader: None }
    }

    /// For a node that leads: the log is its cluster's.
    pub fn of_member(waker: Waker, seat: Seat) -> Self {
        Self { writer: Writer::Cluster(seat), ..Self::new(waker) }
    }

    /// The place of a loop that leads, in a cluster.
    pub fn seat(&self) -> Option<&Seat> {
        match &self.writer {
            Writer::Cluster(seat) => Some(seat),
            Writer::Alone(_) | Writer::NotStarted => None,
        }
    }

    fn wake(&self) -> impl Fn() + Send + 'static {
        let waker = self.waker.clone();
        move || {
            // A loop that can't be woken still finds the report in its next turn.
            let _ = waker.wake();
        }
    }
}

impl<D: Disk> Workers<D> for Threads {
    fn start_writer(&mut self, writer: LogWriter<D>) -> io::Result<()> {
        self.writer = Writer::Alone(spawn(writer, self.wake())?);
        Ok(())
    }

    fn start_pager(&mut self, pager: Pager<D>) -> io::Result<()> {
        self.pager = Some(spawn_pager(pager, self.wake())?);
        Ok(())
    }

    fn start_loader(&mut self, loader: Loader<D>) -> io::Result<()> {
        self.loader = Some(spawn_loader(loader, self.wake())?);
        Ok(())
    }

    fn ask_writer(&mut self, request: Request) {
        match &self.writer {
            Writer::Alone(writer) => writer.ask(request),
            Writer::Cluster(seat) => seat.ask(request),
            Writer::NotStarted => unreachable!("the writer was started"),
        }
    }

    fn are_of_a_cluster(&self) -> bool {
        matches!(self.writer, Writer::Cluster(_))
    }

    fn ask_pager(&mut self, request: PageRequest) {
        self.pager.as_ref().expect("the pager was started").request(request);
    }

    fn writer_report(&mut self) -> Option<Report> {
        match &self.writer {
            Writer::Alone(writer) => writer.try_report(),
            Writer::Cluster(seat) => seat.report(),
            Writer::NotStarted => None,
        }
    }

    fn page_report(&mut self) -> Option<PageReport> {
        self.pager.as_ref()?.try_report()
    }

    fn load_report(&mut self) -> Option<LoadReport> {
        self.loader.as_ref()?.try_next()
    }

    fn wait_writer_report(&mut self) -> Option<Report> {
        match &self.writer {
            Writer::Alone(writer) => writer.wait_report(),
            Writer::Cluster(_) | Writer::NotStarted => None,
        }
    }

    fn end_loader(&mut self) {
        self.loader = None;
    }
}
