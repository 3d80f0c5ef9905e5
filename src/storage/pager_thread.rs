//! The pager's thread: requests in through a channel, reports out through another and a wake-up.
//!
//! It takes all requests that came before it does the next step, which is what lets reads overtake writes.

use super::disk::Disk;
use super::page_queue::PageRequest;
use super::pager::{PageReport, Pager};
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

/// The loop's end of a running pager. The thread ends when it is dropped.
pub struct PagerHandle {
    requests: Option<Sender<PageRequest>>,
    reports: Receiver<PageReport>,
    thread: Option<JoinHandle<()>>,
}

/// Gives `pager` a thread. `wake` is called there after reports.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_pager<D: Disk>(pager: Pager<D>, wake: impl Fn() + Send + 'static) -> io::Result<PagerHandle> {
    let (requests, inbox) = channel();
    let (outbox, reports) = channel();
    let builder = std::thread::Builder::new().name("pager".into());
    let thread = builder.spawn(move || run(pager, &inbox, &outbox, &wake))?;
    Ok(PagerHandle { requests: Some(requests), reports, thread: Some(thread) })
}

impl PagerHandle {
    pub fn request(&self, request: PageRequest) {
        let requests = self.requests.as_ref().expect("only dropping takes the sender");
        // A pager that is gone panicked, and its thread has said why.
        let _ = requests.send(request);
    }

    /// The next report, if there is one.
    pub fn try_report(&self) -> Option<PageReport> {
        self.reports.try_recv().ok()
    }

    /// Waits for the next report; `None` when the pager is gone. Never in a turn of the loop.
    pub fn wait_report(&self) -> Option<PageReport> {
        self.reports.recv().ok()
    }
}

impl Drop for PagerHandle {
    /// Waits for the step that is being done. What is not written then never will be: nobody could read it.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by its thread.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(mut pager: Pager<D>, inbox: &Receiver<PageRequest>, outbox: &Sender<PageReport>, wake: &impl Fn()) {
    loop {
        let request =
            if pager.has_work() { inbox.try_recv() } else { inbox.recv().map_err(|_| TryRecvError::Disconnected) };
        match request {
            Ok(request) => pager.request(request),
            Err(TryRecvError::Empty) => pager.step(),
            Err(TryRecvError::Disconnected) => return,
        }
        let mut reported = false;
        while let Some(report) = pager.take_report() {
            // The loop is gone only when the program ends.
            reported |= outbox.send(report).is_ok();
        }
        if reported {
            wake();
        }
    }
}
