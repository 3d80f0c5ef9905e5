//! What another node [pinned](super::pin) and sent takes the place of this one's log.
//!
//! ```text
//! incoming/ whole, synced ──► INSTALL written: from here on it is what this node has, whatever happens
//!                             │  segments go to log/            ┐
//!                             │  META: the cluster              │ done again from the front by a start that finds
//!                             │  a checkpoint of one's own      │ INSTALL; each step may have been done before
//!                             │  what was there before goes     ┘
//!                             ▼
//!                           INSTALL removed ──► a start, in a new generation and a new segment
//! ```
//! The node keeps what it promised: its member id, and its vote, which INSTALL carries. Serials begin anew, far behind those
//! of the copies, so that nothing in them is ever taken for a part of this node's own log.
//!
//! ```text
//!  0  magic "LEVERINS"
//!  8  format version u32, zero u32
//! 16  cluster id, 16 bytes
//! 32  member u64, generation u64
//! 48  term of the vote u64, who got it u64
//! 64  serial u64, checkpoint number u64, segment number u64     those that the checkpoint of one's own gets
//! 88  name of the checkpoint in incoming/ │ how many segments │ name, bytes
//!     crc of all before
//! ```

use super::super::checkpoint::{Checkpoint, Label, Start, checkpoint_name, encode};
use super::super::disk::{Disk, DiskFile, Folder, is_there, read_file, write_atomically};
use super::super::entry::Vote;
use super::super::membership::Membership;
use super::super::meta::{ClusterId, FolderIds, MemberId, Meta};
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentNumber, number_of};
use super::super::sequences::{Reached, Sequences};
use super::super::{FORMAT_VERSION, StorageError};
use super::recovery::recover_replica;
use super::writer::ReplicaWriter;
use crate::varint::{Cursor, put_counted_bytes, put_varint};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// The file's name, in the root of the data folder.
pub const NAME: &str = "INSTALL";
const MAGIC: &[u8; 8] = b"LEVERINS";
/// What a node writes from here on is called so far behind what is in the copies.
const SERIALS_APART: u64 = 1 << 32;

/// Files that lie whole in the folder of what is incoming.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Install {
    /// The file that [`Pin::checkpoint`](super::Pin) was written to.
    pub checkpoint: String,
    /// Those of [`Pin::files`](super::Pin), under the same names.
    pub files: Vec<(String, u64)>,
}

/// What INSTALL says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Manifest {
    ids: FolderIds,
    generation: u64,
    vote: Vote,
    serial: u64,
    checkpoint_number: u64,
    segment: SegmentNumber,
    install: Install,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.ids.cluster.0);
        let vote = self.vote.member.map_or(0, |member| member.0.get());
        let numbers = [self.ids.member.0.get(), self.generation, self.vote.term, vote];
        for number in numbers.into_iter().chain([self.serial, self.checkpoint_number, self.segment]) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        put_counted_bytes(&mut bytes, self.install.checkpoint.as_bytes());
        put_varint(&mut bytes, self.install.files.len() as u64);
        for (name, length) in &self.install.files {
            put_counted_bytes(&mut bytes, name.as_bytes());
            put_varint(&mut bytes, *length);
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk()?;
        let mut cursor = Cursor::new(bytes);
        let is_whole = crc32c::crc32c(bytes) == u32::from_le_bytes(*crc);
        if !is_whole || cursor.bytes(8)? != MAGIC || cursor.u32()? != FORMAT_VERSION {
            return None;
        }
        cursor.u32()?;
        let cluster = ClusterId(*cursor.bytes(16)?.first_chunk()?);
        let member = MemberId(NonZeroU64::new(cursor.u64()?)?);
        let generation = cursor.u64()?;
        let vote = Vote { term: cursor.u64()?, member: NonZeroU64::new(cursor.u64()?).map(MemberId) };
        let (serial, checkpoint_number, segment) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let checkpoint = text(&mut cursor)?;
        let mut files = Vec::new();
        for _ in 0..cursor.varint()? {
            files.push((text(&mut cursor)?, cursor.varint()?));
        }
        let ids = FolderIds { cluster, member };
        let install = Install { checkpoint, files };
        cursor.is_empty().then_some(Self { ids, generation, vote, serial, checkpoint_number, segment, install })
    }
}

fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    String::from_utf8(cursor.counted_bytes()?.to_vec()).ok()
}

impl<D: Disk> ReplicaWriter<D> {
    /// Lets what lies whole in the folder of what is incoming take the place of this log; says how far the state is now.
    /// What was written before is gone. Nothing that was left to others may be under way.
    ///
    /// # Errors
    /// Something of it is missing or no checkpoint, and nothing was changed; or the disk's, and from then on nothing but
    /// [`StorageError::Poisoned`].
    pub fn install(&mut self, install: Install) -> Result<Reached, StorageError> {
        if self.is_poisoned() {
            return Err(StorageError::Poisoned);
        }
        let manifest = self.manifest(install)?;
        let (disk, options) = (self.log.disk().clone(), self.log.options.clone());
        let begun = write_atomically(&disk, Folder::Root, NAME, &manifest.encode());
        let begun = begun.map_err(StorageError::io(format!("write {NAME}")));
        self.log.poison_on_error(begun)?;
        let started = finish(&disk).and_then(|()| recover_replica(&disk, manifest.ids.member));
        let started = started.and_then(|recovered| Self::start(disk, options, recovered.resume));
        let totals = self.log.totals;
        *self = self.log.poison_on_error(started)?;
        // What is counted since the start goes on.
        self.log.totals = totals;
        Ok(self.applied())
    }

    /// Whether there is room for what an installation writes itself.
    ///
    /// # Errors
    /// The disk's.
    pub fn has_room_to_install(&self, install: &Install) -> Result<bool, StorageError> {
        const SMALL_FILES_BYTES: u64 = 1 << 20;
        let disk = self.log.disk();
        // What is missing is for the installation to find.
        let checkpoint = disk.open(Folder::Incoming, &install.checkpoint).and_then(|file| file.length()).unwrap_or(0);
        Ok(self.log.free_bytes()? >= checkpoint + SMALL_FILES_BYTES)
    }

    /// Looks whether all is there, and makes it survive.
    fn manifest(&self, install: Install) -> Result<Manifest, StorageError> {
        let disk = self.log.disk();
        let wrong = |name: &str, reason: &str| StorageError::corrupt(Folder::Incoming.display(name), 0, reason);
        let checkpoint = read_checkpoint(disk, &install.checkpoint)?;
        for (name, length) in &install.files {
            let there = disk.open(Folder::Incoming, name).and_then(|file| {
                file.sync()?;
                file.length()
            });
            let there = there.map_err(StorageError::io(format!("look at {}", Folder::Incoming.display(name))))?;
            if there != *length || number_of(name).is_none() {
                return Err(wrong(name, "it is not the segment that is announced"));
            }
        }
        let sizes: BTreeMap<_, _> = install.files.iter().map(|(name, bytes)| (number_of(name), *bytes)).collect();
        let mut alive = checkpoint.state.segments.iter().filter(|(_, segment)| segment.live > 0);
        if let Some((number, _)) = alive.find(|(number, segment)| sizes.get(&Some(**number)) != Some(&segment.end)) {
            return Err(wrong(
                &install.checkpoint,
                &format!("the live messages of its segment {number} are not there"),
            ));
        }
        let syncing = StorageError::io(format!("sync {}/", Folder::Incoming.path()));
        disk.sync_folder(Folder::Incoming).map_err(syncing)?;
        let generations = checkpoint.state.segments.values().map(|segment| segment.generation);
        let numbers = checkpoint.state.segments.keys().next_back().map_or(1, |highest| highest + 1);
        let ids = FolderIds { cluster: checkpoint.cluster, ..self.log.meta.ids };
        Ok(Manifest {
            ids,
            generation: generations.max().unwrap_or(0).max(self.log.meta.generation),
            vote: self.log.membership.vote,
            serial: self.log.sequences.serial.max(checkpoint.sequences.serial) + SERIALS_APART,
            checkpoint_number: self.log.checkpoint_number,
            segment: numbers,
            install,
        })
    }
}

pub(super) fn read_checkpoint(disk: &impl Disk, name: &str) -> Result<Checkpoint, StorageError> {
    let display = Folder::Incoming.display(name);
    let reading = StorageError::io(format!("read {display}"));
    let file = disk.open(Folder::Incoming, name).and_then(|file| file.sync());
    let bytes = file.and_then(|()| read_file(disk, Folder::Incoming, name)).map_err(reading)?;
    Checkpoint::decode(&bytes).ok_or_else(|| StorageError::corrupt(display, 0, "it is no whole checkpoint"))
}

/// Whether an installation was begun and not finished.
pub(in super::super) fn is_begun(disk: &impl Disk) -> Result<bool, StorageError> {
    is_there(disk, Folder::Root, NAME).map_err(StorageError::io(format!("open {NAME}")))
}

/// Finishes an installation, if one was begun.
pub(super) fn finish(disk: &impl Disk) -> Result<(), StorageError> {
    if !is_begun(disk)? {
        return Ok(());
    }
    let bytes = read_file(disk, Folder::Root, NAME).map_err(StorageError::io(format!("read {NAME}")))?;
    let manifest = Manifest::decode(&bytes).ok_or_else(|| StorageError::corrupt(NAME, 0, "it is damaged"))?;
    move_segments(disk, &manifest.install)?;
    Meta { ids: manifest.ids, generation: manifest.generation }.write(disk)?;
    write_checkpoint(disk, &manifest)?;
    remove_others(disk, &manifest)?;
    let removed = disk.remove(Folder::Root, NAME).and_then(|()| disk.sync_folder(Folder::Root));
    removed.map_err(StorageError::io(format!("remove {NAME}")))?;
    clean(disk);
    Ok(())
}

fn move_segments(disk: &impl Disk, install: &Install) -> Result<(), StorageError> {
    let there = disk.list(Folder::Incoming).map_err(StorageError::io("list incoming/"))?;
    for (name, _) in install.files.iter().filter(|(name, _)| there.contains(name)) {
        let moved = disk.move_file(Folder::Incoming, Folder::Log, name);
        moved.map_err(StorageError::io(format!("move {}", Folder::Incoming.display(name))))?;
    }
    // There before it is gone from here.
    disk.sync_folder(Folder::Log).map_err(StorageError::io("sync log/"))?;
    disk.sync_folder(Folder::Incoming).map_err(StorageError::io("sync incoming/"))
}

/// The other node's state with what is this one's: vote, serial, and where the log goes on.
fn write_checkpoint(disk: &impl Disk, manifest: &Manifest) -> Result<(), StorageError> {
    let Manifest { vote, serial, checkpoint_number: number, segment, .. } = *manifest;
    let Checkpoint { cluster, sequences, membership, state, .. } = read_checkpoint(disk, &manifest.install.checkpoint)?;
    let sequences = Sequences { serial, synced_serial: serial, ..sequences };
    let membership = Membership { vote, ..membership };
    let start = Start { segment, offset: SEGMENT_HEADER_BYTES as u64 };
    let bytes = encode(&state, &Label { cluster, number, sequences, membership: &membership, start });
    let name = checkpoint_name(number);
    let written = write_atomically(disk, Folder::Checkpoint, &name, &bytes);
    written.map_err(StorageError::io(format!("write {}", Folder::Checkpoint.display(&name))))
}

/// Removes what was there before.
fn remove_others(disk: &impl Disk, manifest: &Manifest) -> Result<(), StorageError> {
    let own = checkpoint_name(manifest.checkpoint_number);
    for folder in [Folder::Checkpoint, Folder::Log] {
        let is_new = |name: &String| match folder {
            Folder::Log => manifest.install.files.iter().any(|(new, _)| new == name),
            _ => *name == own,
        };
        let names = disk.list(folder).map_err(StorageError::io(format!("list {}/", folder.path())))?;
        for name in names.iter().filter(|name| !is_new(name)) {
            disk.remove(folder, name).map_err(StorageError::io(format!("remove {}", folder.display(name))))?;
        }
        disk.sync_folder(folder).map_err(StorageError::io(format!("sync {}/", folder.path())))?;
    }
    Ok(())
}

/// Takes away what is left of something incoming. It does no harm where it is.
pub(super) fn clean(disk: &impl Disk) {
    for name in disk.list(Folder::Incoming).unwrap_or_default() {
        if let Err(error) = disk.remove(Folder::Incoming, &name) {
            tracing::warn!(target: "storage", "cannot remove {}: {error}", Folder::Incoming.display(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let files = vec![("0000000000000007.seg".into(), 700), ("0000000000000009.seg".into(), 90)];
        Manifest {
            ids: FolderIds::from_chance([5; FolderIds::CHANCE_BYTES]),
            generation: 12,
            vote: Vote { term: 8, member: NonZeroU64::new(3).map(MemberId) },
            serial: 900,
            checkpoint_number: 4,
            segment: 10,
            install: Install { checkpoint: "state".into(), files },
        }
    }

    #[test]
    fn it_comes_back() {
        assert_eq!(Manifest::decode(&manifest().encode()), Some(manifest()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = manifest().encode();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bytes), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(Manifest::decode(&whole[..length]), None, "cut at {length}");
        }
    }
}
