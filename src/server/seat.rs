//! The place of a loop in a cluster: what it says to its node's member, and what it is told.
//!
//! A loop that leads has a [`Seat`] for as long as its term lasts, and to its journal that is a writer.

use crate::management::ClusterOrder;
use crate::peers::Event;
use crate::storage::duty::{Report, Request};
use crate::storage::replica::Survey;
use crate::storage::{ClusterId, FileDisk, SealedBatch, StorageError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

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
    /// Somebody reads the log through, and wants to know what is there.
    WantsSealed,
    /// All of it was read, and was as it was written.
    ReadThrough {
        bytes: u64,
    },
    /// Something of it is not what was written.
    Rotten(StorageError),
    /// The oldest step of a snapshot that arrives is done, or failed.
    IncomingPerformed(bool),
    /// What this node runs out of, from now on.
    Low(Low),
    /// There is a loop that leads in this term, and takes clients.
    Serves {
        term: u64,
    },
    /// An operator wants something of the cluster.
    Order(ClusterOrder),
    /// The process is to end: if this node leads, another one is to, first.
    Stop,
}

/// What a node runs out of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Low {
    pub disk: bool,
    pub memory: bool,
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

/// Tells the member something; what follows from it may be done at once.
pub type Tell = Box<dyn Fn(Input) + Send>;

/// The place of a loop that leads, for one term.
pub struct Seat {
    term: u64,
    tell: Tell,
    reports: Receiver<Report>,
    /// Whether other nodes' clients may come here.
    leads: Arc<AtomicBool>,
}

impl Seat {
    pub fn new(term: u64, tell: Tell, reports: Receiver<Report>, leads: Arc<AtomicBool>) -> Self {
        Self { term, tell, reports, leads }
    }

    pub fn ask(&self, request: Request) {
        let input = match request {
            Request::Write(batch) => Input::Propose { term: self.term, batch },
            Request::MakeRoom => Input::MakeRoom,
            // Checkpoints are the writer's to decide, and its chores nobody's here.
            Request::Checkpoint | Request::ChoreDone(_) => return,
        };
        (self.tell)(input);
    }

    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// The other nodes are to know that clients may come.
    pub fn serve(&self) {
        self.leads.store(true, Ordering::Release);
        (self.tell)(Input::Serves { term: self.term });
    }

    /// The other nodes are to know what this one runs out of.
    pub fn run_low(&self, low: Low) {
        (self.tell)(Input::Low(low));
    }

    /// Nobody is to be sent here any more.
    pub fn take_nobody(&self) {
        self.leads.store(false, Ordering::Release);
    }

    /// Another node is to lead, and this one to stop. The last report is that it is deposed.
    pub fn give_away(&self) {
        (self.tell)(Input::Stop);
    }
}
