//! META: whose data a folder holds, in which format, and how often it was opened.
//!
//! ```text
//! magic "LEVERMET" │ format version u32 │ zero u32 │ node id, 16 bytes │ generation u64 │ crc of what is before
//! ```
//! The generation moves before anything is written after a start, so that nothing that an earlier start left behind, and
//! recovery cut off, can look like a continuation of the log.

use super::disk::{Disk, Folder, is_unreadable, read_file, write_atomically};
use super::{FORMAT_VERSION, NodeId, StorageError};
use std::io;

const NAME: &str = "META";
const MAGIC: &[u8; 8] = b"LEVERMET";
const BYTES: usize = 44;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub node_id: NodeId,
    pub generation: u64,
}

impl Meta {
    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.node_id.0);
        bytes[32..40].copy_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads META; `None` when there is none yet.
    ///
    /// # Errors
    /// A newer format, another program's file, a damaged one, or the disk's error.
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
        let damaged = || StorageError::corrupt(NAME, 0, "its checksum is wrong");
        let version = bytes.get(8..12).and_then(|bytes| bytes.first_chunk()).ok_or_else(damaged)?;
        let version = u32::from_le_bytes(*version);
        // Before the checksum: a newer format may be longer.
        if version > FORMAT_VERSION {
            return Err(StorageError::NewerFormat { found: version, known: FORMAT_VERSION });
        }
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| damaged())?;
        if crc32c::crc32c(&bytes[..40]).to_le_bytes() != bytes[40..] {
            return Err(damaged());
        }
        Ok(Self {
            node_id: NodeId(std::array::from_fn(|index| bytes[16 + index])),
            generation: u64::from_le_bytes(std::array::from_fn(|index| bytes[32 + index])),
        })
    }

    /// Replaces META, whole or not at all.
    pub fn write(&self, disk: &impl Disk) -> Result<(), StorageError> {
        write_atomically(disk, Folder::Root, NAME, &self.encode()).map_err(StorageError::io("write META"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta { node_id: NodeId([5; 16]), generation: 12 };

    #[test]
    fn it_comes_back() {
        assert_eq!(Meta::decode(&META.encode()).unwrap(), META);
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = META.encode().to_vec();
        bytes[8] = 2;
        bytes.push(0);
        let error = Meta::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("written by a newer version of Leveret (format 2"), "{error}");
    }

    #[test]
    fn damage_is_named() {
        for bit in 0..8 * BYTES {
            let mut bytes = META.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes).is_err(), "bit {bit}");
        }
        assert!(matches!(Meta::decode(b"hello"), Err(StorageError::NotOurs { .. })));
    }
}
