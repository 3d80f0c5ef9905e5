//! The pager: keeps pages that do not fit in memory, and gives each back once.
//!
//! ```text
//!            Write                step                          Read
//! (unknown) ───────► waiting ────────────► in a file, by table ───────► reported, (unknown)
//!                      │ Read, Discard       │      ▲  │ Discard
//!                      ▼                     └──────┘  ▼
//!                   (unknown)           step: moved  (unknown)
//! ```
//! Requests are taken at once and answered in their order; writing is done one page per [step](Pager::step), between
//! which all requests that came are taken, so that a read waits for one write at most. Writing 128 KiB takes 0.3 ms;
//! when gigabytes wait in the page cache for the disk, one write in a hundred took 20 ms. A thread of their own for
//! writes is not worth that: reads behind such a backlog wait for the same disk. Draining ran at 1.3 GB/s from the page
//! cache, files removed on the way included, and clearing a buffer before it is read into did not show.
//!
//! Beside writing, files that are needed no more are removed, and sparse ones are emptied: when the files hold more
//! than twice what is alive, and two files, the pages that stay in the sparsest are appended again elsewhere. This is
//! done when nothing is to be written, and otherwise in proportion to what is.
//!
//! A disk that takes no pages loses nothing: they stay in memory, in their order. A page that does not come back whole
//! ends all: its persistent messages are in the log, and come back from there with the next start, but until then nobody
//! else has them. It knows no clock: when to try a failed write again is for others to say.

use super::disk::Disk;
use super::error::StorageError;
use super::page_files::{FileNumber, Origin, PageFiles, Place};
use super::page_queue::PageRequest;
use crate::broker::store::PageId;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};

/// Bytes to be freed or moved for each byte that is written: more than one, so that upkeep comes to an end.
const UPKEEP_FACTOR: i64 = 2;
/// A table of this many pages is not worth making smaller.
const TABLE_KEPT_PAGES: usize = 1 << 12;
/// A table is made smaller when less than one in this many of its places is taken.
const TABLE_SHRINK_FACTOR: usize = 8;

/// Sizes of paging. Tests make them small.
#[derive(Clone, Debug)]
pub struct PagerOptions {
    /// Size of a file; a larger page gets a file of its own size. Less than 4 GiB.
    pub file_bytes: u64,
    /// Files that are open at a time.
    pub open_files_max: usize,
    /// Room on the disk that pages leave to the log.
    pub reserve_bytes: u64,
}

impl Default for PagerOptions {
    fn default() -> Self {
        Self { file_bytes: 64 << 20, open_files_max: 64, reserve_bytes: 256 << 20 }
    }
}

/// What the pager says.
#[derive(Debug)]
pub enum PageReport {
    /// The answer to [`PageRequest::Read`]. The pager has forgotten the page.
    Read {
        page: PageId,
        bytes: Vec<u8>,
    },
    /// So many bytes of pages left the pager's memory: a page was written, read before it was written, or discarded
    /// then. What it lay in rides along, to be used again.
    Written {
        bytes: usize,
        recycled: Option<Vec<u8>>,
    },
    /// The disk takes no pages: they stay in memory. Said once; [`Resumed`](Self::Resumed) comes when it goes on.
    Stalled(StorageError),
    Resumed,
    /// A page could not be read back. The last report: nothing more is done.
    Failed(StorageError),
}

#[derive(PartialEq, Eq)]
enum Condition {
    Working,
    /// The first page that waits could not be written.
    Stalled {
        /// Something happened since, so that it may be different now.
        try_again: bool,
    },
    Failed,
}

/// A file whose pages are being moved.
struct Emptying {
    file: FileNumber,
    /// The pages before this index left already.
    next: usize,
    buffer: Vec<u8>,
}

pub struct Pager<D: Disk> {
    files: PageFiles<D>,
    /// Pages that are not in a file yet. Ids grow, so they are in the order in which they came.
    waiting: BTreeMap<PageId, Vec<u8>>,
    /// Pages that are in a file: 5 MB for a hundred thousand, 57 MB for a million.
    table: HashMap<PageId, Place>,
    emptying: Option<Emptying>,
    condition: Condition,
    /// Upkeep failed, and nothing happened since that could make it succeed.
    upkeep_rests: bool,
    /// Upkeep that writing has still to wait for. Negative after a large file was removed.
    upkeep_owed_bytes: i64,
    reports: VecDeque<PageReport>,
}

impl<D: Disk> Pager<D> {
    /// Starts with no pages. Files that an earlier run left are removed in [steps](Self::step).
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn start(disk: D, options: PagerOptions) -> Result<Self, StorageError> {
        assert!(u32::try_from(options.file_bytes).is_ok(), "offsets in files have 32 bits");
        Ok(Self {
            files: PageFiles::open(disk, options)?,
            waiting: BTreeMap::new(),
            table: HashMap::new(),
            emptying: None,
            condition: Condition::Working,
            upkeep_rests: false,
            upkeep_owed_bytes: 0,
            reports: VecDeque::new(),
        })
    }

    /// Takes a request. Pages that are read or discarded are pages that were written.
    pub fn request(&mut self, request: PageRequest) {
        if self.condition == Condition::Failed {
            return;
        }
        match request {
            PageRequest::Write { page, bytes } => {
                let other = self.waiting.insert(page, bytes);
                assert!(other.is_none() && !self.table.contains_key(&page), "{page:?} is already there");
            }
            PageRequest::Read(page) => self.read(page),
            PageRequest::Discard(page) => {
                if let Some(bytes) = self.cancel(page) {
                    self.reports.push_back(PageReport::Written { bytes: bytes.len(), recycled: Some(bytes) });
                } else {
                    let place = self.table[&page];
                    self.forget(page, place);
                }
            }
            PageRequest::Retry => self.hope(),
        }
        self.end_stall_of_nothing();
    }

    /// The next thing to say.
    pub fn take_report(&mut self) -> Option<PageReport> {
        self.reports.pop_front()
    }

    /// Whether a [step](Self::step) would do something.
    pub fn has_work(&self) -> bool {
        self.can_write() || self.upkeep_is_due()
    }

    /// Writes one page, moves one, or removes one file.
    pub fn step(&mut self) {
        let can_write = self.can_write();
        if !can_write {
            self.upkeep_owed_bytes = 0;
        }
        if self.upkeep_is_due() && (self.upkeep_owed_bytes > 0 || !can_write) {
            self.keep_up();
        } else if can_write {
            self.write_next();
        }
    }

    fn can_write(&self) -> bool {
        let ready = matches!(self.condition, Condition::Working | Condition::Stalled { try_again: true });
        ready && !self.waiting.is_empty()
    }

    fn upkeep_is_due(&self) -> bool {
        let rests = self.upkeep_rests || self.condition == Condition::Failed;
        !rests && (self.files.has_removable() || self.emptying.is_some() || self.files.is_sparse())
    }

    fn read(&mut self, page: PageId) {
        if let Some(bytes) = self.cancel(page) {
            self.reports.push_back(PageReport::Written { bytes: bytes.len(), recycled: None });
            self.reports.push_back(PageReport::Read { page, bytes });
            return;
        }
        let place = self.table[&page];
        let mut bytes = Vec::new();
        match self.files.read(page, place, &mut bytes) {
            Ok(()) => {
                self.forget(page, place);
                self.reports.push_back(PageReport::Read { page, bytes });
            }
            Err(error) => self.fail(error),
        }
    }

    /// Takes back a page that waits to be written.
    fn cancel(&mut self, page: PageId) -> Option<Vec<u8>> {
        let bytes = self.waiting.remove(&page)?;
        if let Condition::Stalled { try_again } = &mut self.condition {
            // What is first now may be smaller.
            *try_again = true;
        }
        Some(bytes)
    }

    fn forget(&mut self, page: PageId, place: Place) {
        self.table.remove(&page);
        let capacity = self.table.capacity();
        if capacity > TABLE_KEPT_PAGES && self.table.len() < capacity / TABLE_SHRINK_FACTOR {
            self.table.shrink_to(2 * self.table.len());
        }
        self.forget_place(place);
    }

    fn forget_place(&mut self, place: Place) {
        if self.files.forget(place) {
            self.emptying.take_if(|emptying| emptying.file == place.file);
            self.hope();
        }
    }

    /// Something happened after which what failed may succeed.
    fn hope(&mut self) {
        self.upkeep_rests = false;
        if let Condition::Stalled { try_again } = &mut self.condition {
            *try_again = true;
        }
    }

    fn write_next(&mut self) {
        let Some((&page, bytes)) = self.waiting.first_key_value() else { return };
        match self.files.append(Origin::Written, page, bytes) {
            Ok(place) => {
                self.table.insert(page, place);
                let bytes = self.waiting.remove(&page).unwrap_or_default();
                self.reports.push_back(PageReport::Written { bytes: bytes.len(), recycled: Some(bytes) });
                if self.condition != Condition::Working {
                    self.condition = Condition::Working;
                    self.reports.push_back(PageReport::Resumed);
                }
                self.upkeep_rests = false;
                self.upkeep_owed_bytes += UPKEEP_FACTOR * i64::from(place.length);
                if !self.upkeep_is_due() {
                    self.upkeep_owed_bytes = 0;
                }
            }
            Err(error) => {
                if self.condition == Condition::Working {
                    self.reports.push_back(PageReport::Stalled(error));
                }
                self.condition = Condition::Stalled { try_again: false };
            }
        }
    }

    /// With nothing left to write nobody knows whether the disk takes pages; the next one will tell.
    fn end_stall_of_nothing(&mut self) {
        if self.waiting.is_empty() && matches!(self.condition, Condition::Stalled { .. }) {
            self.condition = Condition::Working;
            self.reports.push_back(PageReport::Resumed);
        }
    }

    /// Removes a file or moves a page.
    fn keep_up(&mut self) {
        let done = if self.files.has_removable() { self.files.remove_one() } else { self.move_one() };
        match done {
            Ok(bytes) => self.upkeep_owed_bytes -= i64::try_from(bytes).unwrap_or(i64::MAX),
            Err(error) => {
                tracing::warn!(target: "storage", "paging: {error}");
                self.upkeep_rests = true;
            }
        }
    }

    /// Moves one page out of a sparse file. Its length.
    fn move_one(&mut self) -> Result<u64, StorageError> {
        if self.emptying.is_none() {
            let file = self.files.worth_emptying();
            self.emptying = file.map(|file| Emptying { file, next: 0, buffer: Vec::new() });
        }
        let emptying = self.emptying.as_mut().expect("one file is sparse when all together are");
        let table = &self.table;
        let stays = |page| table.get(&page).is_some_and(|place| place.file == emptying.file);
        let next = self.files.next_page(emptying.file, emptying.next, stays);
        let (index, page) = next.expect("a file that is not dead has a page that is alive");
        emptying.next = index;
        let place = table[&page];
        if let Err(error) = self.files.read(page, place, &mut emptying.buffer) {
            self.fail(error);
            return Ok(0);
        }
        let moved = self.files.append(Origin::Moved, page, &emptying.buffer)?;
        self.table.insert(page, moved);
        self.forget_place(place);
        Ok(u64::from(place.length))
    }

    fn fail(&mut self, error: StorageError) {
        self.condition = Condition::Failed;
        self.waiting.clear();
        self.reports.push_back(PageReport::Failed(error));
    }
}
