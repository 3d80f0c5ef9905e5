//! A node's data folder beside its writer: reading it at a start, taking snapshots in, reading what others lack, and what
//! becomes of a log that lost something.

use super::random;
use super::seat::Input;
use crate::cluster::message::Part;
use crate::cluster::snapshot::{IncomingStep, perform};
use crate::config::Config;
use crate::peers;
use crate::storage::disk::{Disk, DiskFile, Folder};
use crate::storage::entry::EntryBody;
use crate::storage::replica::{EntryReader, RecoveredReplica, aside, recover_or_rejoin};
use crate::storage::{FileDisk, MemberId, StorageError};
use std::io;
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, Sender};

/// A member that nobody has known yet.
pub fn new_member() -> io::Result<MemberId> {
    Ok(MemberId(NonZeroU64::new(u64::from_le_bytes(random()?)).unwrap_or(NonZeroU64::MIN)))
}

/// Reads the data folder. A log that lost something is set aside, and the node is a new member.
pub fn recover(disk: &FileDisk, config: &Config) -> io::Result<RecoveredReplica> {
    let (recovered, damage) = recover_or_rejoin(disk, new_member()?).map_err(io::Error::other)?;
    let folder = config.data_dir.display();
    if let Some(damage) = damage {
        let what = match recovered.rejoins {
            true => "This node must not go on with a log that lost something",
            false => "This node belonged to no cluster yet: it begins with an empty folder",
        };
        tracing::error!(target: "storage", "{folder}: {damage}. {what}");
    }
    if recovered.rejoins {
        tracing::warn!(
            target: "cluster",
            "the log is set aside in {folder}/rotten, where it may be removed: this node gets everything from the others, as \
             a new member"
        );
    }
    for warning in &recovered.warnings {
        tracing::warn!(target: "storage", "{folder}: {warning}");
    }
    Ok(recovered)
}

/// Does what is to be done to the disk while a snapshot arrives; syncing takes its time.
pub fn perform_incoming(disk: &FileDisk, steps: &Receiver<IncomingStep>, performed: &Sender<Input>) {
    for step in steps {
        let mut result = perform(disk, &step);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
            && disk.list(Folder::Rotten).is_ok_and(|names| !names.is_empty())
        {
            tracing::warn!(target: "storage", "the log that was set aside is removed: there is no room for a whole one");
            result = aside::remove_all(disk).map_err(io::Error::other).and_then(|()| perform(disk, &step));
        }
        if let Err(error) = &result {
            tracing::error!(target: "storage", "a snapshot cannot be taken in: {error}");
        }
        let _ = performed.send(Input::IncomingPerformed(result.is_ok()));
    }
}

/// Reads parts of messages for a thread that sends them.
pub fn reader(disk: FileDisk) -> peers::Reader {
    let mut entries = EntryReader::new(disk.clone());
    Box::new(move |part| {
        let read = match part {
            Part::Stored(place) => entries.read(*place).map(|entry| entry.map(|entry| entry.body)),
            Part::File { name, offset, length } => read_file(&disk, name, *offset, *length),
            Part::Bytes(_) | Part::Body(_) => Ok(None),
        };
        read.unwrap_or_else(|error| {
            tracing::error!(target: "storage", "{error}");
            None
        })
    })
}

/// Bytes of a segment that is pinned; `None` when it has less.
fn read_file(disk: &FileDisk, name: &str, offset: u64, length: u32) -> Result<Option<EntryBody>, StorageError> {
    let mut bytes = vec![0; length as usize];
    let read = disk.open(Folder::Log, name).and_then(|file| file.read_at(&mut bytes, offset));
    let read = read.map_err(StorageError::io(format!("read {}", Folder::Log.display(name))))?;
    Ok((read == bytes.len()).then(|| EntryBody::copied(&bytes)))
}

/// What of the log is not what was written, if that is why a node ended.
pub fn damage_of_log(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        // Messages beside the log are nothing that was promised, and nor is a snapshot that has not taken its place.
        StorageError::Corrupt { file, .. }
            if [Folder::Paging, Folder::Incoming].iter().any(|folder| file.starts_with(folder.path())) =>
        {
            None
        }
        error => error.damage(),
    }
}
