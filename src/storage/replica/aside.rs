//! A log that lost something is never gone on with under the same member id: who promised what was in it must not forget
//! it. It is set aside, and its folder becomes that of a new member, which gets everything from the others.
//!
//! ```text
//! damage ──► rotten/ emptied, REASON ──► REJOIN written: from here on the folder is the new member's, whatever happens
//!                                        │  META, INSTALL, SYNCED, log/ and checkpoint/ go to rotten/; a start that finds
//!                                        ▼  something left goes on with it
//!                                      a folder that was not founded, of the member that REJOIN names
//!                                        │  let into the cluster: META names it
//!                                        ▼
//!                                      REJOIN removed
//! ```
//! Only of a node's log others have what was lost: [whose](super::whose) folder it is says what is left in it. That of a broker that was alone
//! is refused. In one that was never founded nothing was promised, and it begins anew as an empty one, which may found.
//!
//! As long as REJOIN is there the node founds no cluster: it belongs to one, and were all nodes to lose their logs at once,
//! an empty one must not take their place. Whatever is in `rotten/` is there for people; of several logs the last one stays.
//!
//! ```text
//!  0  magic "LEVERREJ"
//!  8  format version u32, zero u32
//! 16  member id u64, never 0         the one that the folder is from now on
//! 24  crc of the 24 bytes before
//! ```

use super::super::checkpoint::checkpoint_number_of;
use super::super::disk::{Disk, Folder, is_there, read_file, write_atomically};
use super::super::meta::{self, MemberId, Meta};
use super::super::segment::number_of;
use super::super::{FORMAT_VERSION, StorageError};
use super::recovery::{RecoveredReplica, recover_replica};
use super::whose::{Whose, empty, whose};
use super::{install, mark};
use std::num::NonZeroU64;

/// The file's name, in the root of the data folder.
pub const NAME: &str = "REJOIN";
/// What the log was set aside for, in words, beside it.
const REASON: &str = "REASON";
const MAGIC: &[u8; 8] = b"LEVERREJ";
const CRC_AT: usize = 24;

fn encode(member: MemberId) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&member.0.get().to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<MemberId> {
    let (known, crc) = bytes.split_at_checked(CRC_AT)?;
    let is_whole = known.starts_with(MAGIC)
        && known[8..12] == FORMAT_VERSION.to_le_bytes()
        && crc == crc32c::crc32c(known).to_le_bytes();
    let member = u64::from_le_bytes(*known[16..].first_chunk()?);
    NonZeroU64::new(member).filter(|_| is_whole).map(MemberId)
}

/// [Recovers](recover_replica) a node's data folder. Damage is no reason not to start: what is damaged is set aside, or goes
/// where nothing was promised, and the folder is that of `new_member` from then on, which may never be a member that anybody
/// knows. Says what was damaged.
///
/// # Errors
/// As [`recover_replica`], but for damage of a folder that is a node's; and the disk's, when something cannot be set aside.
pub fn recover_or_rejoin<D: Disk>(
    disk: &D,
    new_member: MemberId,
) -> Result<(RecoveredReplica, Option<String>), StorageError> {
    let error = match recover_replica(disk, new_member) {
        Ok(recovered) => return Ok((recovered, None)),
        Err(error) => error,
    };
    let Some(damage) = error.damage() else { return Err(error) };
    match whose(disk)? {
        Whose::OfNode => begin(disk, new_member, &damage)?,
        Whose::NotFounded => empty(disk)?,
        Whose::Alone => return Err(StorageError::Alone),
        Whose::Unknown => return Err(StorageError::Nobodys { damage }),
    }
    Ok((recover_replica(disk, new_member)?, Some(damage)))
}

/// Makes sure that the next start sets the log aside, whatever it finds.
///
/// # Errors
/// The disk's.
pub fn begin(disk: &impl Disk, new_member: MemberId, reason: &str) -> Result<(), StorageError> {
    // As long as an earlier one is not finished, what is there is its.
    if is_begun(disk)? {
        finish(disk)?;
    }
    remove_all(disk)?;
    let written = write_atomically(disk, Folder::Rotten, REASON, reason.as_bytes())
        .and_then(|()| write_atomically(disk, Folder::Root, NAME, &encode(new_member)));
    written.map_err(StorageError::io(format!("write {NAME}")))
}

/// Whether the folder is that of a member which is new because another one lost its log.
///
/// # Errors
/// The disk's.
pub fn is_begun(disk: &impl Disk) -> Result<bool, StorageError> {
    is_there(disk, Folder::Root, NAME).map_err(StorageError::io(format!("open {NAME}")))
}

/// Removes what was set aside: the room is needed.
///
/// # Errors
/// The disk's.
pub fn remove_all(disk: &impl Disk) -> Result<(), StorageError> {
    let names = disk.list(Folder::Rotten).map_err(StorageError::io("list rotten/"))?;
    for name in &names {
        disk.remove(Folder::Rotten, name)
            .map_err(StorageError::io(format!("remove {}", Folder::Rotten.display(name))))?;
    }
    Ok(())
}

/// Sets aside what is to be, if anything is; says whose the folder is until it belongs to a cluster again.
pub(super) fn finish(disk: &impl Disk) -> Result<Option<MemberId>, StorageError> {
    if !is_begun(disk)? {
        return Ok(None);
    }
    let bytes = read_file(disk, Folder::Root, NAME).map_err(StorageError::io(format!("read {NAME}")))?;
    // Nobody but an operator knows then which of the two the folder is.
    let reason = "it is damaged. Start this node with an empty data folder";
    let member = decode(&bytes).ok_or_else(|| StorageError::NotOurs { file: NAME.into(), reason: reason.into() })?;
    match Meta::read(disk) {
        Ok(Some(Meta { ids, .. })) if ids.member == member && ids.cluster.is_any() => {
            forget(disk)?;
            return Ok(None);
        }
        Ok(Some(Meta { ids, .. })) if ids.member == member => {}
        Ok(_) | Err(StorageError::Corrupt { .. } | StorageError::NotOurs { .. }) => move_log(disk)?,
        Err(error) => return Err(error),
    }
    Ok(Some(member))
}

/// The member belongs to a cluster.
pub(super) fn forget(disk: &impl Disk) -> Result<(), StorageError> {
    if !is_begun(disk)? {
        return Ok(());
    }
    let removed = disk.remove(Folder::Root, NAME).and_then(|()| disk.sync_folder(Folder::Root));
    removed.map_err(StorageError::io(format!("remove {NAME}")))
}

fn move_log(disk: &impl Disk) -> Result<(), StorageError> {
    for folder in [Folder::Root, Folder::Log, Folder::Checkpoint] {
        let is_of_log = |name: &String| match folder {
            Folder::Root => [meta::NAME, install::NAME, mark::NAME].contains(&name.as_str()),
            Folder::Log => number_of(name).is_some(),
            _ => checkpoint_number_of(name).is_some(),
        };
        let listing = StorageError::io(format!("list {}/", folder.path()));
        let names = disk.list(folder).map_err(listing)?;
        for name in names.iter().filter(|name| is_of_log(name)) {
            let moved = disk.move_file(folder, Folder::Rotten, name);
            moved.map_err(StorageError::io(format!("set {} aside", folder.display(name))))?;
        }
        // There before it is gone from here.
        let synced = disk.sync_folder(Folder::Rotten).and_then(|()| disk.sync_folder(folder));
        synced.map_err(StorageError::io(format!("sync {}/", folder.path())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_and_every_cut_is_noticed() {
        let member = MemberId(NonZeroU64::new(77).unwrap());
        let whole = encode(member);
        assert_eq!(decode(&whole), Some(member));
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "cut at {length}");
        }
    }
}
