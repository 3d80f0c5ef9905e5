//! The real disk: the only file of this room that does I/O.
//!
//! A data folder belongs to one broker at a time: LOCK is held for as long as its [`FileDisk`] lives, by the kernel, so
//! that it is free again however the broker ended.

#![allow(clippy::disallowed_methods, reason = "the one file that does the log's I/O")]

use super::disk::{Disk, DiskFile, Folder};
use super::error::StorageError;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Nobody but the broker's user reads messages and passwords.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Zeros are written in pieces of this many bytes where the file system cannot preallocate.
const ZEROS_BYTES: usize = 1 << 16;

/// A data folder on a file system.
#[derive(Clone)]
pub struct FileDisk {
    root: PathBuf,
    _lock: Arc<File>,
}

impl FileDisk {
    /// Opens a data folder, or makes it, and locks it.
    ///
    /// # Errors
    /// The folder cannot be made or written, belongs to another user, or is in use.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        for folder in [Folder::Root, Folder::Log, Folder::Checkpoint, Folder::Paging] {
            let path = root.join(folder.path());
            let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path);
            made.map_err(StorageError::io(format!("make the folder {}", path.display())))?;
        }
        let lock = Self::lock(root)?;
        check_owner(root)?;
        let disk = Self { root: root.to_owned(), _lock: Arc::new(lock) };
        for folder in [Folder::Root, Folder::Log, Folder::Checkpoint] {
            let path = disk.path(folder, "");
            disk.sync_folder(folder).map_err(StorageError::io(format!("sync the folder {}", path.display())))?;
        }
        Ok(disk)
    }

    fn lock(root: &Path) -> Result<File, StorageError> {
        let path = root.join("LOCK");
        let lock = options().create(true).truncate(false).open(&path);
        let lock = lock.map_err(StorageError::io(format!("write to the data folder: open {}", path.display())))?;
        // SAFETY: flock only looks at the descriptor, which `lock` keeps open.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(StorageError::Locked { folder: root.display().to_string() });
        }
        Err(StorageError::Io { doing: format!("lock {}", path.display()), error })
    }

    fn make_if_seldom(&self, folder: Folder) -> io::Result<()> {
        if !folder.is_seldom() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(self.path(folder, ""))
    }

    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        self.root.join(folder.path()).join(name)
    }
}

/// A folder of another user may change under the broker, and what root leaves in it the user's broker cannot open.
fn check_owner(root: &Path) -> Result<(), StorageError> {
    let owner = fs::metadata(root).map_err(StorageError::io(format!("look at {}", root.display())))?.uid();
    // SAFETY: geteuid takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    if owner == user {
        return Ok(());
    }
    let reason = format!("the folder belongs to user {owner}, and this is user {user}");
    Err(StorageError::NotOurs { file: root.display().to_string(), reason })
}

/// Read and write, not inherited by child processes: the standard library sets O_CLOEXEC.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

impl Disk for FileDisk {
    type File = FileOnDisk;

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(self.path(folder, "")) {
            Err(error) if folder.is_seldom() && error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, folder: Folder, name: &str, preallocate: u64) -> io::Result<FileOnDisk> {
        let path = self.path(folder, name);
        self.make_if_seldom(folder)?;
        let file = options().create(true).truncate(true).open(&path)?;
        if preallocate > 0 {
            // A full disk may have given all that it had left, which nobody could use then.
            allocate(&file, preallocate).inspect_err(|_| drop(fs::remove_file(&path)))?;
            file.sync_all()?;
        }
        Ok(FileOnDisk(file))
    }

    fn open(&self, folder: Folder, name: &str) -> io::Result<FileOnDisk> {
        options().open(self.path(folder, name)).map(FileOnDisk)
    }

    fn rename(&self, folder: Folder, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(folder, from), self.path(folder, to))
    }

    fn move_file(&self, from: Folder, to: Folder, name: &str) -> io::Result<()> {
        self.make_if_seldom(to)?;
        fs::rename(self.path(from, name), self.path(to, name))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(folder, name))
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        File::open(self.path(folder, ""))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let path = std::ffi::CString::new(self.root.as_os_str().as_encoded_bytes())?;
        // SAFETY: an all-zero statvfs is a valid value of that plain struct.
        let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends with a zero byte and `status` is there to be written.
        if unsafe { libc::statvfs(path.as_ptr(), &mut status) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(status.f_bavail * status.f_frsize)
    }
}

/// Gives a file its full size on the disk, so that writing into it neither fails for want of room nor changes its size.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: fallocate only looks at the descriptor, which `file` keeps open.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) {
        return Err(error);
    }
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let piece = zeros.len().min(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
        file.write_all_at(&zeros[..piece], offset)?;
        offset += piece as u64;
    }
    Ok(())
}

pub struct FileOnDisk(File);

impl DiskFile for FileOnDisk {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let from = i64::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: lseek takes numbers, and `self` keeps the descriptor open. Nobody reads or writes at its position.
        let found = unsafe { libc::lseek(self.0.as_raw_fd(), from, libc::SEEK_DATA) };
        match u64::try_from(found) {
            Ok(found) => Ok(Some(found)),
            Err(_) => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
                // A file system that cannot tell.
                error if error.raw_os_error() == Some(libc::EINVAL) => Ok(Some(offset)),
                error => Err(error),
            },
        }
    }

    fn data_end(&self) -> io::Result<u64> {
        let mut end = 0;
        while let Some(data) = self.next_data(end)? {
            let from = i64::try_from(data).map_err(|_| io::ErrorKind::FileTooLarge)?;
            // SAFETY: as in `next_data`.
            let hole = unsafe { libc::lseek(self.0.as_raw_fd(), from, libc::SEEK_HOLE) };
            match u64::try_from(hole) {
                Ok(hole) if hole > data => end = hole,
                // A file system that cannot tell.
                _ => return self.length(),
            }
        }
        Ok(end)
    }

    fn forget_cached(&self) {
        // SAFETY: posix_fadvise takes numbers, and `self` keeps the descriptor open. It is advice: that it fails changes nothing.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::posix_fadvise(self.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
