//! Those who do the disk's work beside the loop: the log's writer, the pager, the loader of an earlier run's messages.
//!
//! In a server each is a thread; a simulation steps them when its seed says so. What they are asked and what they report
//! is the same, and so is what the [`Journal`](super::Journal) makes of it.

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
    fn ask_pager(&mut self, request: PageRequest);

    /// The writer's next report, if there is one.
    fn writer_report(&mut self) -> Option<Report>;
    fn page_report(&mut self) -> Option<PageReport>;
    fn load_report(&mut self) -> Option<LoadReport>;

    /// Waits for the writer's next report; `None` when the writer is gone. For stops, never in a turn of the loop.
    fn wait_writer_report(&mut self) -> Option<Report>;

    /// Nobody takes any more what the loader brings.
    fn end_loader(&mut self);
}

/// Threads, which wake the loop after every report.
pub struct Threads {
    waker: Waker,
    writer: Option<WriterHandle>,
    pager: Option<PagerHandle>,
    loader: Option<LoaderHandle>,
}

impl Threads {
    pub fn new(waker: Waker) -> Self {
        Self { waker, writer: None, pager: None, loader: None }
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
        self.writer = Some(spawn(writer, self.wake())?);
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
        self.writer.as_ref().expect("the writer was started").ask(request);
    }

    fn ask_pager(&mut self, request: PageRequest) {
        self.pager.as_ref().expect("the pager was started").request(request);
    }

    fn writer_report(&mut self) -> Option<Report> {
        self.writer.as_ref()?.try_report()
    }

    fn page_report(&mut self) -> Option<PageReport> {
        self.pager.as_ref()?.try_report()
    }

    fn load_report(&mut self) -> Option<LoadReport> {
        self.loader.as_ref()?.try_next()
    }

    fn wait_writer_report(&mut self) -> Option<Report> {
        self.writer.as_ref()?.wait_report()
    }

    fn end_loader(&mut self) {
        self.loader = None;
    }
}
