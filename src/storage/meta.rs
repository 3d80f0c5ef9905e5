//! META: whose data a folder holds, in which format, and how often it was opened.
//!
//! ```text
//!  0  magic "LEVERMET"
//!  8  format version u32, zero u32
//! 16  cluster id, 16 bytes         all nodes that replicate one log have it; a broker that is alone has one, too
//! 32  member id u64                this node in that cluster, never 0
//! 40  generation u64               which start of the broker this is
//! 48  crc of the 48 bytes before
//! 52
//! ```
//! The generation moves before anything is written after a start, so that nothing that an earlier start left behind, and
//! recovery cut off, can look like a continuation of the log.
//!
//! Both ids are made up when a data folder is made. Segments and checkpoints name the cluster, so that those of another
//! folder are not taken for this one's, and may be copied to another member of the same one.

use super::batch::NUMBERS_END;
use super::disk::{Disk, Folder, is_unreadable, read_file, write_atomically};
use super::{FORMAT_VERSION, StorageError};
use std::io;
use std::num::NonZeroU64;

pub(super) const NAME: &str = "META";
const MAGIC: &[u8; 8] = b"LEVERMET";
/// What META takes, all of it.
pub(super) const META_BYTES: usize = 52;
const CRC_AT: usize = META_BYTES - size_of::<u32>();

/// Which log it is, wherever it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// That of a folder which is to belong to a cluster and does not yet.
    pub const NONE: Self = Self([0; 16]);

    pub fn is_any(self) -> bool {
        self != Self::NONE
    }
}

/// Who of those that keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberId(pub NonZeroU64);

/// Whose a data folder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolderIds {
    pub cluster: ClusterId,
    pub member: MemberId,
}

impl FolderIds {
    /// Random bytes that ids are made of.
    pub const CHANCE_BYTES: usize = 24;

    /// Ids for a folder to come.
    pub const fn from_chance(bytes: [u8; Self::CHANCE_BYTES]) -> Self {
        let (Some(cluster), Some(member)) = (bytes.first_chunk(), bytes.last_chunk()) else { unreachable!() };
        let member = match NonZeroU64::new(u64::from_le_bytes(*member)) {
            Some(member) => member,
            None => NonZeroU64::MIN,
        };
        Self { cluster: ClusterId(*cluster), member: MemberId(member) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub ids: FolderIds,
    pub generation: u64,
}

impl Meta {
    fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.ids.cluster.0);
        bytes[32..40].copy_from_slice(&self.ids.member.0.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads META; `None` when there is none yet.
    ///
    /// # Errors
    /// Another format, another program's file, a damaged one, or the disk's error.
    pub fn read(disk: &impl Disk) -> Result<Option<Self>, StorageError> {
        let bytes = match read_file(disk, Folder::Root, NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_unreadable(&error) => {
                return Err(StorageError::corrupt(NAME, 0, format!("it cannot be read: {error}")));
            }
            result => result.map_err(StorageError::io("read META"))?,
        };
        Self::decode(&bytes).map(Some)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        if !bytes.starts_with(MAGIC) {
            return Err(StorageError::NotOurs { file: NAME.into(), reason: "it does not begin as META does".into() });
        }
        let damaged = |reason| StorageError::corrupt(NAME, 0, reason);
        let wrong_crc = || damaged("its checksum is wrong");
        let version = bytes.get(8..12).and_then(|bytes| bytes.first_chunk()).ok_or_else(wrong_crc)?;
        let found = u32::from_le_bytes(*version);
        // Before the checksum: another format has another length.
        if found != FORMAT_VERSION {
            return Err(StorageError::OtherFormat { found });
        }
        let bytes: &[u8; META_BYTES] = bytes.try_into().map_err(|_| wrong_crc())?;
        if crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
            return Err(wrong_crc());
        }
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let cluster = ClusterId(std::array::from_fn(|index| bytes[16 + index]));
        let member = NonZeroU64::new(u64_at(32)).ok_or_else(|| damaged("there is no member 0"))?;
        let generation = u64_at(40);
        if generation >= NUMBERS_END {
            return Err(damaged("no folder was opened so often"));
        }
        Ok(Self { ids: FolderIds { cluster, member: MemberId(member) }, generation })
    }

    /// Replaces META, whole or not at all.
    pub fn write(&self, disk: &impl Disk) -> Result<(), StorageError> {
        write_atomically(disk, Folder::Root, NAME, &self.encode()).map_err(StorageError::io("write META"))
    }

    /// The next start makes up another one.
    pub fn remove(disk: &impl Disk) -> Result<(), StorageError> {
        let removed = disk.remove(Folder::Root, NAME).and_then(|()| disk.sync_folder(Folder::Root));
        removed.map_err(StorageError::io("remove META"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta { ids: FolderIds::from_chance([5; FolderIds::CHANCE_BYTES]), generation: 12 }
    }

    /// Changes a byte, and makes the checksum right again.
    fn forged(at: usize, bytes: &[u8]) -> [u8; META_BYTES] {
        let mut forged = meta().encode();
        forged[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&forged[..CRC_AT]);
        forged[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        forged
    }

    #[test]
    fn it_comes_back() {
        assert_eq!(Meta::decode(&meta().encode()).unwrap(), meta());
        let no_chance = Meta { ids: FolderIds::from_chance([0; FolderIds::CHANCE_BYTES]), generation: 1 };
        assert_eq!(Meta::decode(&no_chance.encode()).unwrap(), no_chance);
    }

    #[test]
    fn another_format_is_named() {
        let mut newer = meta().encode().to_vec();
        newer[8] = 3;
        newer.push(0);
        let error = Meta::decode(&newer).unwrap_err().to_string();
        assert!(
            error.starts_with("the data is in format 3, of a newer version of Leveret; this one reads 2"),
            "{error}"
        );
        let mut older = meta().encode();
        older[8] = 1;
        let error = Meta::decode(&older).unwrap_err().to_string();
        assert!(error.starts_with("the data is in format 1, of a version of Leveret before"), "{error}");
    }

    #[test]
    fn damage_is_named() {
        for bit in 0..8 * META_BYTES {
            let mut bytes = meta().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..META_BYTES {
            assert!(Meta::decode(&meta().encode()[..length]).is_err(), "cut at {length}");
        }
        assert!(matches!(Meta::decode(b"hello"), Err(StorageError::NotOurs { .. })));
        for (at, bytes) in [(32, [0; 8]), (40, [0xFF; 8])] {
            assert!(matches!(Meta::decode(&forged(at, &bytes)), Err(StorageError::Corrupt { .. })), "{at}");
        }
    }
}
