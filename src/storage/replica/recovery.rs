//! From a node's data folder to the state of what is known to be committed, and the entries behind it.
//!
//! ```text
//! META            no cluster: a folder that was not founded, and there must be no log in it
//! checkpoint      of a founded folder there is one; without any, nobody knows what the node promised
//! replay          up to the highest commit that the log knows of; what is behind that stays pending
//! ```
//! Which of the pending entries are committed says who leads. Damage is refused as everywhere; there is no salvaging, as
//! others have what is lost, and a node that forgot a vote or an entry must not come back as who it was: see
//! [`aside`](super::aside).

use super::super::StorageError;
use super::super::checkpoint::checkpoint_name;
use super::super::disk::{Disk, Folder};
use super::super::entry::{EntryKind, EntryLabel, Place};
use super::super::loader::Unread;
use super::super::membership::Membership;
use super::super::meta::{ClusterId, FolderIds, MemberId};
use super::super::recovery::{Looked, RecoveryMode, Resume, look, replay};
use super::super::replay::Replay;
use super::super::segment::file_name;
use super::super::sequences::Reached;
use super::aside;
use super::install::finish;
use super::kept::{Kept, entries_before};
use super::mark;
use super::pending::Pending;
use super::replay::ReplicaReplay;

/// What a node's folder says of the log.
pub struct RecoveredReplica {
    /// The cluster is [`ClusterId::NONE`] of a folder that was not founded.
    pub ids: FolderIds,
    /// The vote, and the configuration as of what is applied.
    pub membership: Membership,
    /// How far the state is: it is that of all entries that are known to be committed.
    pub applied: Reached,
    /// The entries that can be read back and are not cut off, by index without a gap: all that are not in the state, and
    /// of those before them what is in the newest segments.
    pub log: Vec<(EntryLabel, Place)>,
    /// Of those that are not in the state, the configurations by their index.
    pub configurations: Vec<(u64, Vec<u8>)>,
    /// The folder is a new member's because its [log was lost](super::aside), and it belongs to no cluster yet.
    pub rejoins: bool,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
    /// For [`ReplicaWriter::start`](super::ReplicaWriter::start).
    pub resume: ReplicaResume,
}

/// What the writer goes on from.
pub struct ReplicaResume {
    pub(super) log: Resume,
    pub(super) pending: Pending,
    pub(super) kept: Kept,
}

/// Reads a node's data folder; an empty one gets `new_member`. It changes nothing, but that it finishes an
/// [installation](super::install) that was begun, and [sets aside](super::aside) what was to be.
///
/// # Errors
/// The disk's, another program's or another format's files, damage, or the folder of a broker that was alone.
pub fn recover_replica<D: Disk>(disk: &D, new_member: MemberId) -> Result<RecoveredReplica, StorageError> {
    let rejoining = aside::finish(disk)?;
    finish(disk)?;
    let new_ids = FolderIds { cluster: ClusterId::NONE, member: rejoining.unwrap_or(new_member) };
    let looked = look(disk, RecoveryMode::Strict, new_ids)?;
    let ids = looked.meta.ids;
    check_founding(&looked)?;
    let (files, mut replay) = replay(disk, RecoveryMode::Strict, looked, Some(ReplicaReplay::default()))?;
    if !ids.cluster.is_any() && replay.sequences.serial > 0 {
        return Err(StorageError::Alone);
    }
    replay.loader().look()?;
    check_end(disk, ids.member, &replay)?;
    let membership = replay.membership.clone();
    let ReplicaReplay { pending, log: behind, begun } = replay.replica.take().unwrap_or_default();
    let is_configuration = |label: &EntryLabel| label.kind == EntryKind::Configuration;
    let configurations = pending.entries().filter(|entry| is_configuration(&entry.label));
    let configurations = configurations.map(|entry| (entry.label.index, entry.body.bytes().to_vec())).collect();
    let warnings = std::mem::take(&mut replay.warnings);
    // Nothing is loaded before this node leads.
    let mut resume = files.resume(replay, Unread::new(0));
    resume.is_replicated = true;
    resume.unapplied = pending.unapplied();
    let mut log = match &begun {
        Some(begun) => entries_before(disk, &resume.segment_files, begun)?,
        None => Vec::new(),
    };
    log.extend(behind);
    let kept = Kept::of(&log);
    let applied = pending.applied();
    Ok(RecoveredReplica {
        ids,
        membership,
        applied,
        log,
        configurations,
        rejoins: rejoining.is_some(),
        warnings,
        resume: ReplicaResume { log: resume, pending, kept },
    })
}

/// Whether the log goes as far as it is known to have been synced.
fn check_end<D: Disk>(disk: &D, member: MemberId, replay: &Replay<'_, D>) -> Result<(), StorageError> {
    let Some(synced) = mark::read(disk, member)?.filter(|synced| *synced > replay.sequences.serial) else {
        return Ok(());
    };
    let (last, end) = replay.state.segments.iter().next_back().map_or((0, 0), |(number, last)| (*number, last.end));
    let expected = replay.sequences.serial + 1;
    let reason = format!("batch {expected} should be here, as {} knows it synced up to {synced}", mark::NAME);
    Err(StorageError::corrupt(Folder::Log.display(&file_name(last)), end, reason))
}

/// Whether what the folder is founded as and what is in it go together.
fn check_founding(looked: &Looked) -> Result<(), StorageError> {
    let is_founded = looked.meta.ids.cluster.is_any();
    match &looked.checkpoints.newest {
        Some(checkpoint) if checkpoint.membership.is_empty() && checkpoint.sequences.serial > 0 => {
            Err(StorageError::Alone)
        }
        Some(checkpoint) if is_founded && checkpoint.membership.is_empty() => Err(StorageError::Alone),
        None if is_founded => {
            let reason = "no checkpoint of the cluster is whole, and nobody knows what this node promised";
            Err(StorageError::corrupt(Folder::Checkpoint.display(&checkpoint_name(0)), 0, reason))
        }
        _ => Ok(()),
    }
}
