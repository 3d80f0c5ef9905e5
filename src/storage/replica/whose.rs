//! Whose a folder is in which something is damaged: it says what may become of it. It only reads.
//!
//! ```text
//! INSTALL, REJOIN, a checkpoint that knows of members     a node's
//! a checkpoint of a cluster without members               that of a broker that was alone: nobody else has what is in it
//! SYNCED                                                  a node's
//! none of these                                           nobody knows
//! ```
//! A node's folder that was not founded has nothing in it that was promised: there is no segment, and META says so, or all that
//! there is besides. A founding writes its checkpoint before META, and what is promised goes to segments.

use super::super::StorageError;
use super::super::checkpoint::{Checkpoint, checkpoint_number_of};
use super::super::disk::{Disk, Folder, is_unreadable, read_file};
use super::super::meta::Meta;
use super::super::segment::number_of;
use super::mark::{self, Trace};
use super::{aside, install};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// That of a node, which may have promised what is in it.
    OfNode,
    /// That of a node, which belonged to no cluster and promised nothing.
    NotFounded,
    /// That of a broker that was alone.
    Alone,
    Unknown,
}

pub(super) fn whose(disk: &impl Disk) -> Result<Whose, StorageError> {
    if install::is_begun(disk)? || aside::is_begun(disk)? {
        return Ok(Whose::OfNode);
    }
    let checkpoints = checkpoints(disk)?;
    let mut whole = checkpoints.iter().flatten();
    if whole.clone().any(|checkpoint| !checkpoint.membership.is_empty()) {
        return Ok(Whose::OfNode);
    }
    if whole.any(|checkpoint| checkpoint.cluster.is_any() || checkpoint.sequences.serial > 0) {
        return Ok(Whose::Alone);
    }
    let is_founded = match Meta::read(disk) {
        Ok(meta) => meta.map(|meta| meta.ids.cluster.is_any()),
        Err(StorageError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let seems_empty = !checkpoints.is_empty() && checkpoints.iter().all(Option::is_some);
    let trace = mark::trace(disk)?;
    let may_have_promised = trace == Trace::Something || is_founded.unwrap_or(!seems_empty) || has_segments(disk)?;
    Ok(match trace {
        _ if !may_have_promised => Whose::NotFounded,
        Trace::None => Whose::Unknown,
        Trace::Nothing | Trace::Something => Whose::OfNode,
    })
}

fn has_segments(disk: &impl Disk) -> Result<bool, StorageError> {
    let names = disk.list(Folder::Log).map_err(StorageError::io("list log/"))?;
    Ok(names.iter().any(|name| number_of(name).is_some()))
}

/// All of them, or nothing of one that is not whole.
fn checkpoints(disk: &impl Disk) -> Result<Vec<Option<Checkpoint>>, StorageError> {
    names_of_checkpoints(disk)?.iter().map(|name| checkpoint(disk, name)).collect()
}

fn names_of_checkpoints(disk: &impl Disk) -> Result<Vec<String>, StorageError> {
    let mut names = disk.list(Folder::Checkpoint).map_err(StorageError::io("list checkpoint/"))?;
    names.retain(|name| checkpoint_number_of(name).is_some());
    Ok(names)
}

fn checkpoint(disk: &impl Disk, name: &str) -> Result<Option<Checkpoint>, StorageError> {
    match read_file(disk, Folder::Checkpoint, name) {
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(StorageError::io(format!("read {}", Folder::Checkpoint.display(name)))(error)),
        Ok(bytes) => Ok(Checkpoint::decode(&bytes)),
    }
}

/// Lets a folder that was [not founded](Whose::NotFounded) be one in which nobody has been: wherever the power goes off, it is
/// not founded.
pub(super) fn empty(disk: &impl Disk) -> Result<(), StorageError> {
    // What is whole says that nothing was promised, as long as META doesn't.
    for name in names_of_checkpoints(disk)? {
        if checkpoint(disk, &name)?.is_none() {
            let removed = disk.remove(Folder::Checkpoint, &name);
            removed.map_err(StorageError::io(format!("remove {}", Folder::Checkpoint.display(&name))))?;
        }
    }
    disk.sync_folder(Folder::Checkpoint).map_err(StorageError::io("sync checkpoint/"))?;
    Meta::remove(disk)
}
