//! The files in which pages lie: where a page goes, how it comes back, and which files are worth keeping.
//!
//! ```text
//! paging/0000000000000003.page   │page│page│dead│page│ ◄─ the next page, up to `file_bytes`
//! ```
//! Fresh pages are appended to one file and moved ones to another, so that what stays for long comes to lie together
//! and is not moved again and again. A page that is larger than a file gets one of its own. A file in which nothing is
//! alive is dead: it is written again from its beginning, or removed when there are enough of those. Writing over a
//! file took 11 ms where a fresh one and removing it took 31 ms (64 MiB in the page cache), so a few are kept; creating
//! costs 0.1 ms, so nothing is created in advance.
//!
//! Nothing is synced: no page outlives the process that wrote it.

use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use super::pager::PagerOptions;
use crate::broker::store::PageId;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::io;

const FILE_SUFFIX: &str = ".page";
/// Dead files that are kept for use again while there are pages; without any, none is.
const SPARE_FILES: usize = 2;
/// Dead bytes among live ones are let be up to this multiple of the live ones, …
const SPACE_FACTOR: u64 = 2;
/// … and up to this many files: the two that are being filled.
const SLACK_FILES: u64 = 2;

/// A file's place among the files, used again after its removal.
pub(super) type FileNumber = u32;

/// Where a page lies. Small, for there may be a million of them.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub file: FileNumber,
    offset: u32,
    pub length: u32,
    /// Of the page, seeded with its id.
    crc: u32,
}

/// Where a page comes from, which says which file it is appended to.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    Written,
    Moved,
}

struct PageFile<F> {
    /// `None` when others were used more recently.
    handle: Option<F>,
    /// Where the next page goes.
    end: u64,
    /// Bytes that it may take on the disk: more than `end` when it is written again or a write failed halfway.
    length: u64,
    live_pages: usize,
    live_bytes: u64,
    /// The pages that were ever appended, in order; some have left.
    pages: Vec<PageId>,
}

pub(super) struct PageFiles<D: Disk> {
    disk: D,
    options: PagerOptions,
    files: Slab<PageFile<D::File>>,
    /// The files that are being filled, by [`Origin`].
    filling: [Option<FileNumber>; 2],
    /// Files without live pages. Those that are too large to be written again come first.
    dead: VecDeque<FileNumber>,
    /// Files of an earlier run that are still to be removed.
    left_over: BTreeSet<String>,
    /// Files with a handle, the most recently used last.
    opened: VecDeque<FileNumber>,
    /// The lengths of all files but the dead ones.
    used_bytes: u64,
    live_bytes: u64,
    live_pages: usize,
}

fn file_name(number: FileNumber) -> String {
    format!("{number:016}{FILE_SUFFIX}")
}

fn display(number: FileNumber) -> String {
    Folder::Paging.display(&file_name(number))
}

fn checksum(page: PageId, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&page.0.to_le_bytes()), bytes)
}

impl<D: Disk> PageFiles<D> {
    /// Looks at what an earlier run left, to be [removed](Self::remove_one) bit by bit: a hundred gigabytes of it take
    /// seconds, for which no start should wait.
    pub fn open(disk: D, options: PagerOptions) -> Result<Self, StorageError> {
        let names = disk.list(Folder::Paging).map_err(StorageError::io("list the folder paging"))?;
        // Whatever else lies there is not ours, as on a disk of its own that is mounted there.
        let left_over = names.into_iter().filter(|name| name.ends_with(FILE_SUFFIX)).collect();
        Ok(Self {
            disk,
            options,
            files: Slab::new(),
            filling: [None; 2],
            dead: VecDeque::new(),
            left_over,
            opened: VecDeque::new(),
            used_bytes: 0,
            live_bytes: 0,
            live_pages: 0,
        })
    }

    /// Writes a page behind the others. After a failure all is as before, but for what may lie behind the others.
    pub fn append(&mut self, origin: Origin, page: PageId, bytes: &[u8]) -> Result<Place, StorageError> {
        let length = u32::try_from(bytes.len()).expect("a page is much smaller than 4 GiB");
        let number = self.file_with_room(origin, length)?;
        let written = self.handle(number).and_then(|handle| {
            let write = |(file, offset): (&D::File, u64)| file.write_at(bytes, offset);
            write(handle).map_err(StorageError::io(format!("write {}", display(number))))
        });
        let file = &mut self.files[number as usize];
        let end = file.end + u64::from(length);
        // A write that fails may have written a part.
        let grown = end.saturating_sub(file.length);
        file.length += grown;
        self.used_bytes += grown;
        if let Err(error) = written {
            if file.live_pages == 0 {
                self.bury(number);
            }
            return Err(error);
        }
        let offset = u32::try_from(file.end).expect("`file_bytes` fit");
        file.end = end;
        file.pages.push(page);
        file.live_pages += 1;
        file.live_bytes += u64::from(length);
        self.live_pages += 1;
        self.live_bytes += u64::from(length);
        Ok(Place { file: number, offset, length, crc: checksum(page, bytes) })
    }

    /// Reads a page in place of what is in `bytes`. It stays until it is [forgotten](Self::forget).
    pub fn read(&mut self, page: PageId, place: Place, bytes: &mut Vec<u8>) -> Result<(), StorageError> {
        bytes.resize(place.length as usize, 0);
        let (handle, _) = self.handle(place.file)?;
        let doing = || format!("read a page back from {}, byte {}", display(place.file), place.offset);
        let read = handle.read_at(bytes, u64::from(place.offset)).map_err(StorageError::io(doing()))?;
        if read < bytes.len() || checksum(page, bytes) != place.crc {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
            return Err(StorageError::Io { doing: doing(), error: damaged });
        }
        Ok(())
    }

    /// A page is needed no more. Whether its file died of it.
    pub fn forget(&mut self, place: Place) -> bool {
        let file = &mut self.files[place.file as usize];
        file.live_pages -= 1;
        file.live_bytes -= u64::from(place.length);
        let died = file.live_pages == 0;
        self.live_pages -= 1;
        self.live_bytes -= u64::from(place.length);
        if died {
            self.bury(place.file);
        }
        died
    }

    /// The file that is to be emptied next, when the files hold too little that is alive.
    pub fn worth_emptying(&self) -> Option<FileNumber> {
        if !self.is_sparse() {
            return None;
        }
        let full = self.files.iter().filter(|(number, file)| {
            file.live_pages > 0 && !self.filling.iter().flatten().any(|filling| *filling as usize == *number)
        });
        let (number, _) = full.min_by_key(|(_, file)| (file.live_bytes << 20) / file.length.max(1))?;
        FileNumber::try_from(number).ok()
    }

    /// Whether [a file is worth emptying](Self::worth_emptying): those being filled are within the slack, so one of the
    /// others is then less than half alive.
    pub fn is_sparse(&self) -> bool {
        self.used_bytes > SPACE_FACTOR * self.live_bytes + SLACK_FILES * self.options.file_bytes
    }

    /// The first page, from the one of that index on, that was appended to a file and is `alive`; with its index.
    pub fn next_page(
        &self,
        number: FileNumber,
        from: usize,
        mut alive: impl FnMut(PageId) -> bool,
    ) -> Option<(usize, PageId)> {
        let pages = self.files[number as usize].pages.iter().copied().enumerate();
        pages.skip(from).find(|(_, page)| alive(*page))
    }

    /// Whether there are files to be [removed](Self::remove_one).
    pub fn has_removable(&self) -> bool {
        let spare_files = if self.live_pages == 0 { 0 } else { SPARE_FILES };
        let oversized = self.dead.front().is_some_and(|number| self.is_oversized(*number));
        !self.left_over.is_empty() || self.dead.len() > spare_files || oversized
    }

    /// Removes a file that is needed no more. Its bytes, roughly.
    pub fn remove_one(&mut self) -> Result<u64, StorageError> {
        if let Some(name) = self.left_over.last() {
            self.disk.remove(Folder::Paging, name).map_err(StorageError::io(format!("remove paging/{name}")))?;
            self.left_over.pop_last();
            return Ok(self.options.file_bytes);
        }
        let Some(number) = self.dead.front().copied() else { return Ok(0) };
        self.opened.retain(|opened| *opened != number);
        self.files[number as usize].handle = None;
        let removed = self.disk.remove(Folder::Paging, &file_name(number));
        removed.map_err(StorageError::io(format!("remove {}", display(number))))?;
        self.dead.pop_front();
        Ok(self.files.remove(number as usize).length)
    }

    fn is_oversized(&self, number: FileNumber) -> bool {
        self.files[number as usize].length > self.options.file_bytes
    }

    /// A file at whose end there is room, begun if need be.
    fn file_with_room(&mut self, origin: Origin, length: u32) -> Result<FileNumber, StorageError> {
        let file_bytes = self.options.file_bytes;
        if u64::from(length) > file_bytes {
            return self.create(u64::from(length));
        }
        if let Some(number) = self.filling[origin as usize]
            && self.files[number as usize].end + u64::from(length) <= file_bytes
        {
            return Ok(number);
        }
        let number = match self.dead.back().copied().filter(|number| !self.is_oversized(*number)) {
            Some(number) => {
                self.dead.pop_back();
                self.used_bytes += self.files[number as usize].length;
                number
            }
            None => self.create(file_bytes)?,
        };
        self.filling[origin as usize] = Some(number);
        Ok(number)
    }

    fn create(&mut self, length: u64) -> Result<FileNumber, StorageError> {
        let free_bytes = self.disk.free_bytes().map_err(StorageError::io("ask for the room left on the disk"))?;
        let entry = self.files.vacant_entry();
        let number = FileNumber::try_from(entry.key()).expect("files are far fewer than 2^32");
        let doing = || format!("create {}", display(number));
        if free_bytes < length.saturating_add(self.options.reserve_bytes) {
            return Err(StorageError::Io { doing: doing(), error: io::ErrorKind::StorageFull.into() });
        }
        let name = file_name(number);
        let handle = self.disk.create(Folder::Paging, &name, 0).map_err(StorageError::io(doing()))?;
        self.left_over.remove(&name);
        let handle = Some(handle);
        entry.insert(PageFile { handle, end: 0, length: 0, live_pages: 0, live_bytes: 0, pages: Vec::new() });
        self.note_use(number);
        Ok(number)
    }

    /// A file opened, and its end.
    fn handle(&mut self, number: FileNumber) -> Result<(&D::File, u64), StorageError> {
        if self.files[number as usize].handle.is_none() {
            let opened = self.disk.open(Folder::Paging, &file_name(number));
            let opened = opened.map_err(StorageError::io(format!("open {}", display(number))))?;
            self.files[number as usize].handle = Some(opened);
        }
        self.note_use(number);
        let file = &self.files[number as usize];
        Ok((file.handle.as_ref().expect("it was just opened"), file.end))
    }

    fn note_use(&mut self, number: FileNumber) {
        if self.opened.back() == Some(&number) {
            return;
        }
        self.opened.retain(|opened| *opened != number);
        self.opened.push_back(number);
        if self.opened.len() > self.options.open_files_max.max(1)
            && let Some(longest_unused) = self.opened.pop_front()
        {
            self.files[longest_unused as usize].handle = None;
        }
    }

    fn bury(&mut self, number: FileNumber) {
        let file = &mut self.files[number as usize];
        file.end = 0;
        file.pages.clear();
        self.used_bytes -= file.length;
        for filling in &mut self.filling {
            filling.take_if(|filling| *filling == number);
        }
        if self.is_oversized(number) {
            self.dead.push_front(number);
        } else {
            self.dead.push_back(number);
        }
    }
}
