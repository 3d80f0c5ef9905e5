//! A disk that loses what was not synced, in every way in which a disk may.
//!
//! * A write lies in memory until its file is synced. A crash keeps any of the unsynced writes and loses the others, and
//!   of those it keeps it may keep some sectors only, or a torn end at any byte.
//! * Names made, changed and removed are lost from some point on unless their folder was synced.
//! * Calls are counted. Any of them may be told to fail, or to be the last one before the lights go out.
//! * After a failed sync the unsynced writes are forgotten by the disk and still seen by reads, as Linux does it.
//! * Blocks may be made unreadable. Reading one fails, and so does writing a part of one; writing all of one mends it.
//!
//! All chances come from one seed.

use leveret::storage::disk::{Disk, DiskFile, Folder};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR_BYTES: usize = 512;
/// What a system reads and writes at once.
const BLOCK_BYTES: usize = 4096;

/// What happens to one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// ENOSPC.
    Full,
    /// EIO.
    Broken,
    /// It and everything after it does not happen.
    Crash,
}

type Name = (Folder, String);
type FileId = usize;

#[derive(Default, Clone)]
struct FileState {
    /// What reads see.
    visible: Vec<u8>,
    /// What survives any crash.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// How much of it was ever written, …
    written: usize,
    /// … and how much of that was synced.
    written_and_synced: usize,
    /// The numbers of blocks that cannot be read.
    unreadable: BTreeSet<usize>,
    unopenable: bool,
}

impl FileState {
    /// Fails when a block from one byte to before another is unreadable.
    fn check(&self, from: usize, to: usize) -> io::Result<()> {
        let mut blocks = self.unreadable.range(from / BLOCK_BYTES..to.max(from).div_ceil(BLOCK_BYTES));
        blocks.next().map_or(Ok(()), |_| Err(io::Error::from_raw_os_error(5)))
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Set(Name, FileId),
    Remove(Name),
    Rename(Name, Name),
}

#[derive(Default, Clone)]
struct Contents {
    files: Vec<FileState>,
    names: BTreeMap<Name, FileId>,
    durable_names: BTreeMap<Name, FileId>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Default)]
struct State {
    contents: Contents,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    open_files: usize,
    bytes_read: u64,
    bytes_written: u64,
    syncs_of_fresh_blocks: u64,
    free_bytes: Option<u64>,
    unreadable: bool,
    full: bool,
    failed: bool,
    ignores_syncs_of: Option<Folder>,
}

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

pub struct SimFile {
    disk: SimDisk,
    id: FileId,
}

fn apply_name(names: &mut BTreeMap<Name, FileId>, change: &NameChange) {
    match change {
        NameChange::Set(name, id) => _ = names.insert(name.clone(), *id),
        NameChange::Remove(name) => _ = names.remove(name),
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

fn apply_change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Write { offset, bytes: written } => {
            if bytes.len() < offset + written.len() {
                bytes.resize(offset + written.len(), 0);
            }
            bytes[*offset..offset + written.len()].copy_from_slice(written);
        }
    }
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// How many calls that change something were made.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets the call of that number, counted from the first one ever, go wrong.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// Nothing goes wrong any more.
    pub fn relent(&self) {
        self.state().faults.clear();
    }

    /// Whether the power went off.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Whether any call was made to fail.
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// The disk after the power came back.
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut contents = self.state().contents.clone();
        let kept = below(&mut random, contents.unsynced_names.len() + 1);
        let mut names = contents.durable_names.clone();
        contents.unsynced_names[..kept].iter().for_each(|change| apply_name(&mut names, change));
        for file in &mut contents.files {
            let mut survived = file.durable.clone();
            // Nothing, everything, or any part of it.
            let mood = random.next_u32() % 4;
            for change in &file.unsynced {
                match (mood, random.next_u32() % 2) {
                    (0, _) | (2.., 0) => {}
                    (1, _) => apply_change(&mut survived, change),
                    _ => tear(&mut survived, change, &mut random),
                }
            }
            file.visible.clone_from(&survived);
            file.durable = survived;
            file.unsynced.clear();
        }
        let contents =
            Contents { files: contents.files, durable_names: names.clone(), names, unsynced_names: Vec::new() };
        Self(Arc::new(Mutex::new(State { contents, ..State::default() })))
    }

    /// The disk with what was synced and nothing else, which is the worst that a crash leaves.
    pub fn after_power_cut(&self) -> Self {
        let mut contents = self.state().contents.clone();
        for file in &mut contents.files {
            file.visible.clone_from(&file.durable);
            file.unsynced.clear();
        }
        contents.names.clone_from(&contents.durable_names);
        contents.unsynced_names.clear();
        Self(Arc::new(Mutex::new(State { contents, ..State::default() })))
    }

    /// The disk as it is, with everything on it, as after an orderly end.
    pub fn after_stop(&self) -> Self {
        let contents = self.state().contents.clone();
        Self(Arc::new(Mutex::new(State { contents, ..State::default() })))
    }

    /// A file's bytes, to be damaged.
    pub fn edit(&self, folder: Folder, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let id = state.contents.names[&(folder, name.to_owned())];
        let file = &mut state.contents.files[id];
        edit(&mut file.visible);
        file.durable = file.visible.clone();
        file.unsynced.clear();
    }

    /// Lets a block of a file, that in which a byte lies, be unreadable.
    pub fn make_block_unreadable(&self, folder: Folder, name: &str, at: usize) {
        let mut state = self.state();
        let id = state.contents.names[&(folder, name.to_owned())];
        state.contents.files[id].unreadable.insert(at / BLOCK_BYTES);
    }

    /// Lets a file not even be opened.
    pub fn make_unopenable(&self, folder: Folder, name: &str) {
        let mut state = self.state();
        let id = state.contents.names[&(folder, name.to_owned())];
        state.contents.files[id].unopenable = true;
    }

    /// Takes a file away for good.
    pub fn lose(&self, folder: Folder, name: &str) {
        let mut state = self.state();
        let name = (folder, name.to_owned());
        state.contents.names.remove(&name);
        state.contents.durable_names.remove(&name);
    }

    /// Bytes of all files in a folder.
    pub fn bytes_in(&self, folder: Folder) -> u64 {
        let state = self.state();
        let of_folder = state.contents.names.iter().filter(|((of, _), _)| *of == folder);
        of_folder.map(|(_, id)| state.contents.files[*id].visible.len() as u64).sum()
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.state().open_files
    }

    /// How much was ever read.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// How much was ever written.
    pub fn bytes_written(&self) -> u64 {
        self.state().bytes_written
    }

    /// Syncs after which a file system has more to note than bytes: where nothing had been written before.
    pub fn syncs_of_fresh_blocks(&self) -> u64 {
        self.state().syncs_of_fresh_blocks
    }

    /// Lets the disk say that it has so much room, whatever is written to it.
    pub fn claim_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    /// Lets there be no room for new files but small ones in the root, or room again.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// Lets all reads fail from now on.
    pub fn make_unreadable(&self) {
        self.state().unreadable = true;
    }

    /// Lets syncs of a folder, and of the files in it, succeed and do nothing.
    pub fn ignore_syncs_of(&self, folder: Folder) {
        self.state().ignores_syncs_of = Some(folder);
    }

    /// A file that was opened.
    fn opened(&self, id: FileId) -> SimFile {
        self.state().open_files += 1;
        SimFile { disk: self.clone(), id }
    }

    /// Counts a call that changes something, and lets it fail if it was told to.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.crashed {
            return Err(io::Error::other("the power is off"));
        }
        state.calls += 1;
        let call = state.calls;
        let fault = state.faults.get(&call).copied();
        state.failed |= fault.is_some();
        match fault {
            None => Ok(state),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Broken) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Crash) => {
                state.crashed = true;
                Err(io::Error::other("the power went off"))
            }
        }
    }
}

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    random.next_u64() as usize % bound
}

/// Keeps some sectors of a write, or what is before some byte.
fn tear(bytes: &mut Vec<u8>, change: &Change, random: &mut ChaCha8Rng) {
    let Change::Write { offset, bytes: written } = change else { return apply_change(bytes, change) };
    match random.next_u32() % 3 {
        0 => apply_change(bytes, change),
        1 => {
            let kept = below(random, written.len() + 1);
            apply_change(bytes, &Change::Write { offset: *offset, bytes: written[..kept].to_vec() });
        }
        _ => {
            let mut start = 0;
            while start < written.len() {
                let end = written.len().min((offset + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - offset);
                if random.next_u32().is_multiple_of(2) {
                    let sector = written[start..end].to_vec();
                    apply_change(bytes, &Change::Write { offset: offset + start, bytes: sector });
                }
                start = end;
            }
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.contents.names.keys().filter(|(of, _)| *of == folder);
        Ok(names.map(|(_, name)| name.clone()).collect())
    }

    fn create(&self, folder: Folder, name: &str, preallocate: u64) -> io::Result<SimFile> {
        let mut state = self.change()?;
        if state.full && folder != Folder::Root {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.contents.files.len();
        let mut file = FileState::default();
        let length = Change::Length(preallocate as usize);
        apply_change(&mut file.visible, &length);
        file.unsynced.push(length);
        state.contents.files.push(file);
        let change = NameChange::Set((folder, name.to_owned()), id);
        apply_name(&mut state.contents.names, &change);
        state.contents.unsynced_names.push(change);
        drop(state);
        Ok(self.opened(id))
    }

    fn open(&self, folder: Folder, name: &str) -> io::Result<SimFile> {
        let state = self.state();
        let id = *state.contents.names.get(&(folder, name.to_owned())).ok_or(io::ErrorKind::NotFound)?;
        if state.contents.files[id].unopenable {
            return Err(io::Error::from_raw_os_error(5));
        }
        drop(state);
        Ok(self.opened(id))
    }

    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let change = NameChange::Rename((folder, from.to_owned()), (folder, to.to_owned()));
        apply_name(&mut state.contents.names, &change);
        state.contents.unsynced_names.push(change);
        Ok(())
    }

    /// Linked there first and taken away here then, so that a crash may leave it in both.
    fn move_file(&self, from: Folder, to: Folder, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let place = (from, name.to_owned());
        let id = *state.contents.names.get(&place).ok_or(io::ErrorKind::NotFound)?;
        for change in [NameChange::Set((to, name.to_owned()), id), NameChange::Remove(place)] {
            apply_name(&mut state.contents.names, &change);
            state.contents.unsynced_names.push(change);
        }
        Ok(())
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let change = NameChange::Remove((folder, name.to_owned()));
        apply_name(&mut state.contents.names, &change);
        state.contents.unsynced_names.push(change);
        Ok(())
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        let mut state = self.change()?;
        if state.ignores_syncs_of == Some(folder) {
            return Ok(());
        }
        let Contents { durable_names, unsynced_names, .. } = &mut state.contents;
        let of_folder = |change: &NameChange| match change {
            NameChange::Set((of, _), _) | NameChange::Remove((of, _)) | NameChange::Rename((of, _), _) => *of == folder,
        };
        unsynced_names.iter().filter(|change| of_folder(change)).for_each(|change| apply_name(durable_names, change));
        unsynced_names.retain(|change| !of_folder(change));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(if state.full { 0 } else { state.free_bytes.unwrap_or(u64::MAX) })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().open_files -= 1;
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let result = self.disk.change().and_then(|mut state| {
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            let file = &mut state.contents.files[self.id];
            file.unreadable.retain(|block| block * BLOCK_BYTES < from || (block + 1) * BLOCK_BYTES > to);
            file.check(from, to)
        });
        // A call that fails may have written a part, and so may one during which the power goes off.
        let written = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let mut state = self.disk.state();
        if state.crashed && !result.as_ref().is_err_and(|error| error.to_string() == "the power went off") {
            return result;
        }
        let change = Change::Write { offset: offset as usize, bytes: written.to_vec() };
        state.bytes_written += written.len() as u64;
        let file = &mut state.contents.files[self.id];
        file.written = file.written.max(offset as usize + written.len());
        apply_change(&mut file.visible, &change);
        file.unsynced.push(change);
        result
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.unreadable {
            return Err(io::Error::from_raw_os_error(5));
        }
        let file = &state.contents.files[self.id];
        let rest = file.visible.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        file.check(offset as usize, offset as usize + count)?;
        buffer[..count].copy_from_slice(&rest[..count]);
        state.bytes_read += count as u64;
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents.files[self.id].visible.len() as u64)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let state = self.disk.state();
        let rest = state.contents.files[self.id].visible.get(offset as usize..).unwrap_or_default();
        let found = rest.iter().position(|byte| *byte != 0);
        // A disk knows its sectors, not their bytes.
        Ok(found.map(|at| offset.max((offset + at as u64) / SECTOR_BYTES as u64 * SECTOR_BYTES as u64)))
    }

    fn data_end(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let last = state.contents.files[self.id].visible.iter().rposition(|byte| *byte != 0);
        Ok(last.map_or(0, |last| (last / SECTOR_BYTES + 1) as u64 * SECTOR_BYTES as u64))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = match self.disk.change() {
            Ok(state) => state,
            Err(error) => {
                let mut state = self.disk.state();
                if !state.crashed {
                    state.contents.files[self.id].unsynced.clear();
                }
                return Err(error);
            }
        };
        let is_in = |folder| state.contents.names.iter().any(|((of, _), id)| *of == folder && *id == self.id);
        if state.ignores_syncs_of.is_some_and(is_in) {
            return Ok(());
        }
        let file = &mut state.contents.files[self.id];
        for change in file.unsynced.drain(..) {
            apply_change(&mut file.durable, &change);
        }
        let is_fresh = file.written > std::mem::replace(&mut file.written_and_synced, file.written);
        state.syncs_of_fresh_blocks += u64::from(is_fresh);
        Ok(())
    }
}
