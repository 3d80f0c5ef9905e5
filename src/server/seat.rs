//! The place of a loop in a cluster: what it says to its node's member, and what it is told.
//!
//! A loop that leads has a [`Seat`] for as long as its term lasts, and to its journal that is a writer.

use crate::management::ClusterOrder;
use crate::peers::Event;
use crate::storage::duty::{Report, Request};
use crate::storage::replica::Survey;
use crate::storage::{ClusterId, FileDisk, SealedBatch, StorageError};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// How long a loop that stops waits for what it hands over last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a member is told.
pub enum Input {
    Peer(Event),
    /// The writer has said something.
    WriterSaid,
    /// The loop wants a batch written, in the term in which it leads.
    Propose {
        term: u64,
        batch: SealedBatch,
    },
    /// The loop finds that there is too little room on the disk.
    MakeRoom,
    /// The oldest step of a snapshot that arrives is done, or failed.
    IncomingPerformed(bool),
    /// An operator wants something of the cluster.
    Order(ClusterOrder),
    Stop,
}

/// What the loop is told.
pub enum Change {
    /// To lead, with what there is.
    Lead(Box<Lead>),
    /// Somebody else leads, or nobody.
    Follow { leader: Option<String> },
    /// The log failed.
    Failed(StorageError),
    /// The thread is done.
    Stopped,
}

pub struct Lead {
    pub cluster: ClusterId,
    pub survey: Survey<FileDisk>,
    pub seat: Seat,
}

/// The place of a loop that leads, for one term.
pub struct Seat {
    term: u64,
    inputs: Sender<Input>,
    reports: Receiver<Report>,
}

impl Seat {
    pub fn new(term: u64, inputs: Sender<Input>, reports: Receiver<Report>) -> Self {
        Self { term, inputs, reports }
    }

    pub fn ask(&self, request: Request) {
        let input = match request {
            Request::Write(batch) => Input::Propose { term: self.term, batch },
            Request::MakeRoom => Input::MakeRoom,
            // Checkpoints are the writer's to decide, and its chores nobody's here.
            Request::Checkpoint | Request::ChoreDone(_) => return,
        };
        // A thread that is gone said why.
        let _ = self.inputs.send(input);
    }

    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Waits for the next report, for as long as most nodes may take. For stops.
    pub fn wait_report(&self) -> Option<Report> {
        self.reports.recv_timeout(LAST_WORDS).ok()
    }
}
