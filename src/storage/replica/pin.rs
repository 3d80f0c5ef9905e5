//! What a node gives to one that cannot be caught up by entries: a checkpoint and the segments with the messages that are
//! alive by it, pinned for as long as they are sent.
//!
//! ```text
//! asked ──► a checkpoint, unless the newest holds enough ──► Pinned: its bytes, and of each segment how many are needed
//!                                                             │ neither freed nor emptied, nor is what comes behind it
//!                                                             ▼
//!                                                           unpinned
//! ```
//! The bytes of a segment before its end as of the checkpoint never change, so they can be read on any thread while the log
//! goes on. What is behind the checkpoint stays as well: who got all of it goes on with entries.

use super::super::StorageError;
use super::super::checkpoint::{Checkpoint, checkpoint_name};
use super::super::disk::{Disk, Folder, read_file};
use super::super::segment::file_name;
use super::super::sequences::Reached;
use super::writer::ReplicaWriter;

/// Which of the things that are pinned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PinId(pub u64);

/// What is pinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    pub id: PinId,
    /// The last entry that is in it.
    pub reached: Reached,
    /// Who the members are as of that entry.
    pub configuration: Vec<u8>,
    /// The checkpoint, whole.
    pub checkpoint: Vec<u8>,
    /// Files of the folder of segments, and how many bytes of each, from the first one on.
    pub files: Vec<(String, u64)>,
}

impl<D: Disk> ReplicaWriter<D> {
    /// Whether the newest checkpoint holds that entry.
    pub(super) fn is_checkpointed(&self, index: u64) -> bool {
        self.log.checkpoints.last().is_some_and(|newest| newest.index >= index)
    }

    /// Begins a checkpoint that is left to others.
    ///
    /// # Errors
    /// The disk's; from then on nothing but [`StorageError::Poisoned`].
    pub(super) fn begin_checkpoint(&mut self) -> Result<(), StorageError> {
        let begun = self.log.begin_checkpoint();
        let chore = self.log.poison_on_error(begun)?;
        self.log.chores.push_back(chore);
        Ok(())
    }

    /// Pins the newest checkpoint.
    ///
    /// # Errors
    /// The disk's, or the checkpoint is not whole any more.
    pub fn pin(&mut self) -> Result<Pin, StorageError> {
        let needed = self.log.checkpoints.last().expect("a start writes a checkpoint");
        let name = checkpoint_name(needed.number);
        let display = Folder::Checkpoint.display(&name);
        let bytes = read_file(self.log.disk(), Folder::Checkpoint, &name);
        let bytes = bytes.map_err(StorageError::io(format!("read {display}")))?;
        let Some(checkpoint) = Checkpoint::decode(&bytes) else {
            return Err(StorageError::corrupt(display, 0, "the checkpoint is damaged"));
        };
        self.pins_given += 1;
        let id = PinId(self.pins_given);
        let alive = checkpoint.state.segments.iter().filter(|(_, segment)| segment.live > 0);
        let files = alive.map(|(number, segment)| (file_name(*number), segment.end)).collect();
        self.log.held.pins.push((id, needed.clone()));
        let configuration = checkpoint.membership.configuration;
        Ok(Pin { id, reached: checkpoint.sequences.reached(), configuration, checkpoint: bytes, files })
    }

    /// Nobody needs it any more.
    pub fn unpin(&mut self, id: PinId) {
        self.log.held.pins.retain(|(pinned, _)| *pinned != id);
    }
}
