//! What there is, for a node that begins to lead: what a start finds, of a state that went on without one.

use super::super::disk::Disk;
use super::super::loader::{Loader, Unread};
use super::super::recovery::{RecoveredQueue, RecoveryMode, what_there_is};
use super::super::{LogOptions, LogStore, StorageError};
use super::writer::ReplicaWriter;
use crate::broker::store::{Definition, LogPosition};
use std::fmt;

/// All that is committed, but for messages, which the [`Loader`] brings. Whoever led before may have delivered any of
/// them.
pub struct Survey<D: Disk> {
    /// How far the state was.
    pub index: u64,
    /// Each can be declared when those before it are: exchanges, queues, bindings.
    pub definitions: Vec<Definition>,
    /// Every durable queue, by number.
    pub queues: Vec<RecoveredQueue>,
    /// No queue ever had a higher number.
    pub max_queue_id: u64,
    /// Where the log goes on.
    pub last_position: LogPosition,
    /// Brings the messages; `None` when there are none. What it has yet to read stays where it is for as long as it lives.
    pub loader: Option<Loader<D>>,
}

impl<D: Disk> Survey<D> {
    /// The loop's half of the log that goes on here.
    pub fn store(&self, options: LogOptions) -> LogStore {
        LogStore::new(options, self.last_position)
    }
}

impl<D: Disk> fmt::Debug for Survey<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("index", &self.index).field("queues", &self.queues.len()).finish_non_exhaustive()
    }
}

impl<D: Disk> ReplicaWriter<D> {
    /// What there is now.
    ///
    /// # Errors
    /// A segment with live messages is not there.
    pub fn survey(&mut self) -> Result<Survey<D>, StorageError> {
        let state = self.log.state();
        let unread = Unread::new(state.segments.keys().next_back().copied().unwrap_or(0));
        let loader = Loader::new(self.log.disk().clone(), RecoveryMode::Strict, state, unread);
        loader.look()?;
        let loader = loader.values_first(state);
        let (definitions, queues) = what_there_is(state, |_, queue| queue.next_sequence);
        let survey = Survey {
            index: self.applied().index,
            definitions,
            queues,
            max_queue_id: state.max_queue_id,
            last_position: LogPosition(self.last().position),
            loader: None,
        };
        self.log.unread = loader.unread();
        Ok(Survey { loader: Some(loader).filter(|loader| !loader.is_done()), ..survey })
    }
}
