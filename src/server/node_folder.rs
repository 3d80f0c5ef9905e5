//! A node's data folder beside its writer: reading it at a start, taking snapshots in, reading what others lack, and what
//! becomes of a log that lost something.

use super::helm::Helm;
use super::member::Driver;
use super::random;
use super::seat::Input;
use crate::cluster::message::{Part, Unread};
use crate::cluster::snapshot::{IncomingStep, perform};
use crate::config::Config;
use crate::peers;
use crate::storage::disk::{Disk, DiskFile, Folder};
use crate::storage::entry::EntryBody;
use crate::storage::replica::{EntryReader, RecoveredReplica, aside, recover_or_rejoin};
use crate::storage::{FileDisk, MemberId, StorageError};
use std::io;
use std::num::NonZeroU64;
use std::sync::mpsc::Receiver;

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
pub fn perform_incoming(disk: &FileDisk, steps: &Receiver<IncomingStep>, helm: &Helm<Driver>) {
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
        let _ = helm.tell(Input::IncomingPerformed(result.is_ok()));
    }
}

/// Reads parts of messages for a thread that sends them. Of errors that follow each other it logs the first.
pub fn reader(disk: FileDisk) -> peers::Reader {
    let mut entries = EntryReader::new(disk.clone());
    let mut is_told = false;
    Box::new(move |part| {
        let read = match part {
            Part::Stored(place) => entries.read(*place).map(|entry| entry.map(|entry| entry.body)),
            Part::File { name, offset, length } => read_file(&disk, name, *offset, *length),
            Part::Bytes(_) | Part::Body(_) => Ok(None),
        };
        if let Err(error) = &read
            && !is_told
        {
            tracing::error!(target: "storage", "{error}");
        }
        is_told = read.is_err();
        read.map_err(|error| why_unread(&error))?.ok_or(Unread::NotThere)
    })
}

/// Bytes of a segment that is pinned; `None` when it has less, or isn't there.
fn read_file(disk: &FileDisk, name: &str, offset: u64, length: u32) -> Result<Option<EntryBody>, StorageError> {
    let mut bytes = vec![0; length as usize];
    match disk.open(Folder::Log, name).and_then(|file| file.read_at(&mut bytes, offset)) {
        Ok(read) => Ok((read == bytes.len()).then(|| EntryBody::copied(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io(format!("read {}", Folder::Log.display(name)))(error)),
    }
}

/// What an error of reading says of what was to be read.
fn why_unread(error: &StorageError) -> Unread {
    let StorageError::Io { error, .. } = error else { return Unread::Refused };
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR | libc::EAGAIN) => Unread::NotNow,
        _ => Unread::Refused,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_is_short_of_something_is_no_damage() {
        let error = |code| StorageError::io("read a file")(io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EAGAIN] {
            assert_eq!(why_unread(&error(code)), Unread::NotNow, "{code}");
        }
        assert_eq!(why_unread(&error(libc::EIO)), Unread::Refused);
    }

    #[test]
    fn what_is_shorter_or_gone_is_told_from_what_cannot_be_read() {
        let folder = std::env::temp_dir().join(format!("leveret-reader-{}", std::process::id()));
        let disk = FileDisk::open(&folder).unwrap();
        let write = |name: &str| disk.create(Folder::Log, name, 0).unwrap().write_at(b"seven b", 0).unwrap();
        write("1.seg");
        std::fs::create_dir(folder.join(Folder::Log.path()).join("2.seg")).unwrap();
        let mut read = reader(disk.clone());
        let mut read = |name: &str, length| read(&Part::File { name: name.to_owned(), offset: 0, length });
        assert_eq!(read("1.seg", 7).map(|body| body.bytes().to_vec()), Ok(b"seven b".to_vec()));
        assert_eq!(read("1.seg", 8), Err(Unread::NotThere));
        assert_eq!(read("2.seg", 1), Err(Unread::Refused), "it is a folder");
        assert_eq!(read("3.seg", 1), Err(Unread::NotThere));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
