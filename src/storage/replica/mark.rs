//! Evidence that the last batch was synced. What comes after a batch says that it was; after the last one nothing comes, so
//! that damage in it would look like a write that was torn. But it was promised to others, who count on it: it must be
//! known from what was promised to nobody.
//!
//! ```text
//!  0  magic "LEVERSYN"
//!  8  format version u32, zero u32
//! 16  member id u64
//! 24  serial u64            of the last batch known to be synced
//! 32  crc of the 32 bytes before
//! ```
//! It is written after each sync, in its place, and not synced itself: a process that is killed leaves it with the system,
//! which brings it to the disk within half a minute or so. Only what was synced in the last moments before the power goes
//! off, and then rots, is taken for torn. A mark that is not whole says nothing.

use super::super::disk::{Disk, DiskFile, Folder, is_unreadable, read_file};
use super::super::meta::MemberId;
use super::super::{FORMAT_VERSION, StorageError};
use std::io;
use std::num::NonZeroU64;

/// The file's name, in the root of the data folder.
pub const NAME: &str = "SYNCED";
const MAGIC: &[u8; 8] = b"LEVERSYN";
const CRC_AT: usize = 32;
const MARK_BYTES: usize = CRC_AT + size_of::<u32>();

/// The file, open.
pub(super) struct Mark<F> {
    file: F,
    member: MemberId,
    serial: u64,
}

fn encode(member: MemberId, serial: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&member.0.get().to_le_bytes());
    bytes[24..32].copy_from_slice(&serial.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whose mark it is, and what it says.
fn decode(bytes: &[u8]) -> Option<(MemberId, u64)> {
    let bytes: &[u8; MARK_BYTES] = bytes.first_chunk()?;
    let member = MemberId(NonZeroU64::new(u64::from_le_bytes(*bytes[16..].first_chunk()?))?);
    let serial = u64::from_le_bytes(*bytes[24..].first_chunk()?);
    (encode(member, serial) == *bytes).then_some((member, serial))
}

impl<F: DiskFile> Mark<F> {
    /// Opens it, or makes it.
    pub fn open<D: Disk<File = F>>(disk: &D, member: MemberId, serial: u64) -> Result<Self, StorageError> {
        let opened = match disk.open(Folder::Root, NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(Folder::Root, NAME, 0),
            opened => opened,
        };
        // Once it has its size, writing in its place is all that is to be done.
        let begun = opened.and_then(|file| {
            file.write_at(&encode(member, serial), 0)?;
            file.sync()?;
            disk.sync_folder(Folder::Root)?;
            Ok(Self { file, member, serial })
        });
        begun.map_err(StorageError::io(format!("write {NAME}")))
    }

    /// All up to this batch was synced.
    pub fn synced(&mut self, serial: u64) -> Result<(), StorageError> {
        if std::mem::replace(&mut self.serial, serial) == serial {
            return Ok(());
        }
        match self.file.write_at(&encode(self.member, serial), 0) {
            // A file system that never writes in place; without it there is less evidence, and nothing else.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written.map_err(StorageError::io(format!("write {NAME}"))),
        }
    }
}

/// Up to which batch all is known to be synced, if that is known.
pub(super) fn read(disk: &impl Disk, member: MemberId) -> Result<Option<u64>, StorageError> {
    let read = contents(disk)?.flatten().filter(|(of, _)| *of == member);
    Ok(read.map(|(_, serial)| serial))
}

/// What a mark says of a folder whose member is not known. A broker that is alone leaves none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trace {
    /// There is no mark.
    None,
    /// A node opened the folder, and wrote no batch as far as is known.
    Nothing,
    /// It wrote some, or the mark is damaged.
    Something,
}

pub(super) fn trace(disk: &impl Disk) -> Result<Trace, StorageError> {
    Ok(match contents(disk)? {
        None => Trace::None,
        Some(Some((_, 0))) => Trace::Nothing,
        Some(_) => Trace::Something,
    })
}

/// What is in the file, if there is one; nothing of one that is not whole.
fn contents(disk: &impl Disk) -> Result<Option<Option<(MemberId, u64)>>, StorageError> {
    match read_file(disk, Folder::Root, NAME) {
        Ok(bytes) => Ok(Some(decode(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_unreadable(&error) => Ok(Some(None)),
        Err(error) => Err(StorageError::io(format!("read {NAME}"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_and_every_cut_is_noticed() {
        let member = MemberId(NonZeroU64::new(7).unwrap());
        let whole = encode(member, 99);
        assert_eq!(decode(&whole), Some((member, 99)));
        for bit in 0..8 * whole.len() {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "cut at {length}");
        }
    }
}
