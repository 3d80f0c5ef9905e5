//! The log's workers, stepped: the writer, its chores, the pager and the loader, each of which goes on when the seed says
//! so. What they do in a step, and in which order, is what their threads do in a server.

use crate::random::Random;
use crate::sim_disk::SimDisk;
use leveret::server::Workers;
use leveret::storage::chore::Chore;
use leveret::storage::duty::{Report, Request, WriterDuty};
use leveret::storage::loader_thread::LoadReport;
use leveret::storage::page_queue::PageRequest;
use leveret::storage::{Loader, LogWriter, PageReport, Pager};
use std::collections::VecDeque;
use std::io;

/// Pages that wait for the loop, as in a server, only fewer.
const WAITING_PAGES_MAX: usize = 3;

#[derive(Clone, Copy)]
enum Worker {
    Writer,
    Chores,
    Pager,
    Loader,
}

pub struct Stepped {
    disk: SimDisk,
    writer: Option<WriterDuty<SimDisk>>,
    asked: VecDeque<Request>,
    said: VecDeque<Report>,
    chores: VecDeque<Chore>,
    pager: Option<Pager<SimDisk>>,
    page_requests: VecDeque<PageRequest>,
    page_reports: VecDeque<PageReport>,
    loader: Option<Loader<SimDisk>>,
    loaded: VecDeque<LoadReport>,
}

impl Stepped {
    pub fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            writer: None,
            asked: VecDeque::new(),
            said: VecDeque::new(),
            chores: VecDeque::new(),
            pager: None,
            page_requests: VecDeque::new(),
            page_reports: VecDeque::new(),
            loader: None,
            loaded: VecDeque::new(),
        }
    }

    /// Lets one of those that have something to do go on; false when nobody has.
    pub fn step(&mut self, random: &mut Random) -> bool {
        let all = [Worker::Writer, Worker::Chores, Worker::Pager, Worker::Loader];
        let busy: Vec<_> = all.into_iter().filter(|worker| self.is_busy(*worker)).collect();
        if busy.is_empty() {
            return false;
        }
        self.go_on(*random.pick(&busy));
        true
    }

    /// Whether the loop waits for any of them: what they do of themselves can wait.
    pub fn owe_something(&self) -> bool {
        !self.asked.is_empty() || !self.said.is_empty() || self.pages_are_away()
    }

    /// Whether messages are on their way between memory and the disk.
    pub fn pages_are_away(&self) -> bool {
        let is_loading = self.loader.is_some() || !self.loaded.is_empty();
        is_loading || !self.page_requests.is_empty() || !self.page_reports.is_empty()
    }

    /// What is on its way, in words.
    pub fn describe(&self) -> String {
        let Self { asked, said, chores, page_requests, page_reports, loader, loaded, .. } = self;
        format!(
            "{} requests, {} reports, {} chores, {} pages asked for, {} told of, {} loaded, more to load: {}",
            asked.len(),
            said.len(),
            chores.len(),
            page_requests.len(),
            page_reports.len(),
            loaded.len(),
            loader.is_some()
        )
    }

    fn is_busy(&self, worker: Worker) -> bool {
        match worker {
            Worker::Writer => !self.asked.is_empty() || self.writer.as_ref().is_some_and(WriterDuty::has_work),
            Worker::Chores => !self.chores.is_empty(),
            Worker::Pager => !self.page_requests.is_empty() || self.pager.as_ref().is_some_and(Pager::has_work),
            Worker::Loader => self.loader.is_some() && self.loaded.len() < WAITING_PAGES_MAX,
        }
    }

    fn go_on(&mut self, worker: Worker) {
        match worker {
            Worker::Writer => {
                let Some(writer) = &mut self.writer else { return };
                writer.turn(self.asked.pop_front(), |report| self.said.push_back(report));
                self.chores.extend(std::iter::from_fn(|| writer.take_chore()));
            }
            Worker::Chores => {
                let Some(chore) = self.chores.pop_front() else { return };
                self.asked.push_back(Request::ChoreDone(chore.run(&self.disk)));
            }
            Worker::Pager => {
                let Some(pager) = &mut self.pager else { return };
                match self.page_requests.pop_front() {
                    Some(request) => pager.request(request),
                    None => pager.step(),
                }
                self.page_reports.extend(std::iter::from_fn(|| pager.take_report()));
            }
            Worker::Loader => {
                let Some(loader) = &mut self.loader else { return };
                let report = LoadReport::next(loader);
                if !matches!(report, LoadReport::Page(_)) {
                    self.loader = None;
                }
                self.loaded.push_back(report);
            }
        }
    }
}

impl Workers<SimDisk> for Stepped {
    fn start_writer(&mut self, writer: LogWriter<SimDisk>) -> io::Result<()> {
        self.writer = Some(WriterDuty::new(writer));
        Ok(())
    }

    fn start_pager(&mut self, pager: Pager<SimDisk>) -> io::Result<()> {
        self.pager = Some(pager);
        Ok(())
    }

    fn start_loader(&mut self, loader: Loader<SimDisk>) -> io::Result<()> {
        self.loader = Some(loader);
        Ok(())
    }

    fn ask_writer(&mut self, request: Request) {
        self.asked.push_back(request);
    }

    fn ask_pager(&mut self, request: PageRequest) {
        self.page_requests.push_back(request);
    }

    fn writer_report(&mut self) -> Option<Report> {
        self.said.pop_front()
    }

    fn page_report(&mut self) -> Option<PageReport> {
        self.page_reports.pop_front()
    }

    fn load_report(&mut self) -> Option<LoadReport> {
        self.loaded.pop_front()
    }

    fn wait_writer_report(&mut self) -> Option<Report> {
        while self.said.is_empty() {
            let next = [Worker::Writer, Worker::Chores].into_iter().find(|worker| self.is_busy(*worker))?;
            self.go_on(next);
        }
        self.said.pop_front()
    }

    fn end_loader(&mut self) {
        self.loader = None;
        self.loaded.clear();
    }
}
