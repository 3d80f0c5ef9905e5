//! What the log and the pager ask of a disk, so that a simulated one can stand in for the real one.
//!
//! All calls block. Nothing written is safe before [`DiskFile::sync`], and no name before [`Disk::sync_folder`]. After a
//! failed sync nobody knows what is on the disk: the caller must not try again.

use std::io;

/// The folders of a data folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Folder {
    /// LOCK and META.
    Root,
    /// Segments.
    Log,
    /// Checkpoints.
    Checkpoint,
    /// Pages: scratch space, never synced.
    Paging,
    /// What another node of the cluster sent, before it takes the place of the log. It is there once something is in it.
    Incoming,
    /// A log of a node of a cluster that was [set aside](super::replica::aside), for whoever wants to look at it. So is it.
    Rotten,
}

impl Folder {
    /// Its path below the data folder.
    pub fn path(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Log => "log",
            Self::Checkpoint => "checkpoint",
            Self::Paging => "paging",
            Self::Incoming => "incoming",
            Self::Rotten => "rotten",
        }
    }

    /// Whether a broker that is alone, and mostly a node of a cluster, has none.
    pub(super) fn is_seldom(self) -> bool {
        matches!(self, Self::Incoming | Self::Rotten)
    }

    /// A file of it as operators know it.
    pub fn display(self, name: &str) -> String {
        if self == Self::Root { name.to_owned() } else { format!("{}/{name}", self.path()) }
    }
}

/// A data folder. Clones are of the same one, for several threads.
pub trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// The names of the files in a folder, in no order; none of one that is not there.
    fn list(&self, folder: Folder) -> io::Result<Vec<String>>;

    /// Creates a file, empty but for `preallocate` bytes of zeros, in place of one that may be there.
    fn create(&self, folder: Folder, name: &str, preallocate: u64) -> io::Result<Self::File>;

    /// Opens a file that is there.
    fn open(&self, folder: Folder, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in place of one that may have it.
    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()>;

    /// Puts a file into another folder, in place of one that may have its name there. After a crash it is in one of them,
    /// or in both.
    fn move_file(&self, from: Folder, to: Folder, name: &str) -> io::Result<()>;

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed in a folder survive a crash.
    fn sync_folder(&self, folder: Folder) -> io::Result<()>;

    /// Room left, in bytes.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads what is there, at most `buffer`'s length; less only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    fn length(&self) -> io::Result<u64>;

    /// Where there may be something else than zeros again, at `offset` or behind it; `None` when nowhere. It costs next
    /// to nothing, unlike reading what was preallocated and never written.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;

    /// Behind this there are only zeros. What was read may count as data, and so may what a system read ahead: ask before
    /// reading.
    fn data_end(&self) -> io::Result<u64>;

    /// Lets the next reads come from the disk, and not from what the system remembers of it, as far as it can.
    fn forget_cached(&self) {}

    /// Makes what was written survive a crash: fdatasync.
    fn sync(&self) -> io::Result<()>;
}

/// Whether the disk does not give what is on it, or what says where it is. Asking again is of no use, as it may be when
/// the system is short of something.
pub fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN))
}

/// Whether there is a file of that name.
pub fn is_there(disk: &impl Disk, folder: Folder, name: &str) -> io::Result<bool> {
    match disk.open(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        opened => opened.map(|_| true),
    }
}

/// Reads a whole file.
pub fn read_file(disk: &impl Disk, folder: Folder, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(folder, name)?;
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes a file such that it is there in full or not at all after a crash.
pub fn write_atomically(disk: &impl Disk, folder: Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    let file = disk.create(folder, &temporary, 0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(folder, &temporary, name)?;
    disk.sync_folder(folder)
}

/// What the names of unfinished files end with.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
