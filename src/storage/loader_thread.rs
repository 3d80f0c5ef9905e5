//! The loader's thread: pages out through a bounded channel, so that no more of them are in memory than the loop takes.

use super::disk::Disk;
use super::error::StorageError;
use super::loader::{Loaded, Loader};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pages that wait for the loop: a few MiB. The loader itself holds those of one batch beside them.
const WAITING_PAGES_MAX: usize = 32;

/// What the loader says.
#[derive(Debug)]
pub enum LoadReport {
    Page(Loaded),
    /// All messages are loaded.
    Done,
    /// Some can't be. Nothing comes after this.
    Failed(StorageError),
}

impl LoadReport {
    /// What a loader has to say next.
    pub fn next<D: Disk>(loader: &mut Loader<D>) -> Self {
        match loader.next_page() {
            Ok(Some(loaded)) => Self::Page(loaded),
            Ok(None) => Self::Done,
            Err(error) => Self::Failed(error),
        }
    }
}

/// The loop's end of a running loader. The thread ends when it is done or when this is dropped.
pub struct LoaderHandle {
    reports: Option<Receiver<LoadReport>>,
    thread: Option<JoinHandle<()>>,
}

/// Gives `loader` a thread. `wake` is called there after every report.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_loader<D: Disk>(loader: Loader<D>, wake: impl Fn() + Send + 'static) -> io::Result<LoaderHandle> {
    let (outbox, reports) = sync_channel(WAITING_PAGES_MAX);
    let builder = std::thread::Builder::new().name("log-loader".into());
    let thread = builder.spawn(move || run(loader, &outbox, wake))?;
    Ok(LoaderHandle { reports: Some(reports), thread: Some(thread) })
}

impl LoaderHandle {
    /// The next report, if there is one.
    pub fn try_next(&self) -> Option<LoadReport> {
        self.reports.as_ref()?.try_recv().ok()
    }

    /// Waits for the next report; `None` behind the last one. For starts, never in a turn of the loop.
    pub fn wait_next(&self) -> Option<LoadReport> {
        self.reports.as_ref()?.recv().ok()
    }
}

impl Drop for LoaderHandle {
    /// The loader notices with its next page that nobody takes it.
    fn drop(&mut self) {
        self.reports = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(mut loader: Loader<D>, outbox: &SyncSender<LoadReport>, wake: impl Fn()) {
    loop {
        let report = LoadReport::next(&mut loader);
        let is_last = !matches!(report, LoadReport::Page(_));
        if outbox.send(report).is_err() {
            return;
        }
        wake();
        if is_last {
            return;
        }
    }
}
