//! What is done to the disk while a snapshot arrives: files of its own, beside the log, until all of them are there.
//!
//! A [`Member`](super::member::Member) says the steps; whoever drives it performs them in order, on a thread that may wait
//! for the disk. The last one that succeeds leaves every file whole and synced, and was read through: what is rotten where it
//! comes from is not taken over. Installing is the writer's.

use crate::storage::disk::{Disk, DiskFile, Folder};
use crate::storage::replica::verify_incoming;
use std::io;

/// What the checkpoint is called among the files that arrive.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IncomingStep {
    /// Take away what an earlier one left.
    Begin,
    Write {
        name: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// All bytes of these files were written: sync them, and see whether they are whole.
    Finish {
        names: Vec<String>,
    },
    /// It is not wanted.
    Discard,
}

/// Does it; blocks as long as the disk does.
///
/// # Errors
/// The disk's, or what has arrived is not whole. It is of no use then.
pub fn perform(disk: &impl Disk, step: &IncomingStep) -> io::Result<()> {
    match step {
        IncomingStep::Begin | IncomingStep::Discard => {
            disk.list(Folder::Incoming)?.iter().try_for_each(|name| disk.remove(Folder::Incoming, name))
        }
        IncomingStep::Write { name, offset, bytes } => {
            let file = match offset {
                0 => disk.create(Folder::Incoming, name, 0)?,
                _ => disk.open(Folder::Incoming, name)?,
            };
            file.write_at(bytes, *offset)
        }
        IncomingStep::Finish { names } => {
            names.iter().try_for_each(|name| disk.open(Folder::Incoming, name)?.sync())?;
            disk.sync_folder(Folder::Incoming)?;
            verify_incoming(disk, CHECKPOINT_FILE).map_err(io::Error::other)
        }
    }
}
