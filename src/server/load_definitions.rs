//! Definitions that are read at the start, before anybody is served: from a file, or from all files of a folder.

use super::desk::import_at_once;
use super::random;
use crate::broker::Broker;
use crate::broker::import::Import;
use crate::broker::store::Store;
use crate::management;
use std::io;
use std::path::{Path, PathBuf};

/// The largest file, in bytes.
const FILE_MAX_BYTES: u64 = 256 << 20;

/// Imports what is there, each file as a whole.
///
/// # Errors
/// A file can't be read, or something is wrong with what it says.
pub fn load<S: Store>(path: &Path, broker: &mut Broker<S>) -> io::Result<()> {
    for_each(path, |file, import| {
        tracing::info!(target: "management", "loading definitions from {}", file.display());
        import_at_once(import, broker)
    })
}

/// Has each file taken as a whole, by its name.
///
/// # Errors
/// A file can't be read, or whoever takes it says what is wrong with it.
pub fn for_each(path: &Path, mut take: impl FnMut(&Path, Import) -> Result<(), String>) -> io::Result<()> {
    let because = |path: &Path, reason: &dyn std::fmt::Display| {
        io::Error::other(format!("can't load definitions from {}: {reason}", path.display()))
    };
    for path in files(path).map_err(|error| because(path, &error))? {
        let file = read(&path).map_err(|error| because(&path, &error))?;
        let import = management::read_definitions(&file, &random).map_err(|reason| because(&path, &reason))?;
        take(&path, import).map_err(|reason| because(&path, &reason))?;
    }
    Ok(())
}

/// The file itself, or the files of a folder by their names.
#[allow(clippy::disallowed_methods, reason = "read before anybody is served")]
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path)?.collect();
    let mut files: Vec<_> = entries?.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

#[allow(clippy::disallowed_methods, reason = "read before anybody is served")]
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("it has {bytes} bytes, and may have {FILE_MAX_BYTES}")));
    }
    std::fs::read(path)
}
