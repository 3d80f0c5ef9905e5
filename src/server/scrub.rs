//! The thread `scrub`: reads the log through, slowly and again and again, so that rot is found while others still have what is
//! lost, and not when this node's copy is the one that is needed.
//!
//! ```text
//!   scrub ──── what is there? ────► member ────► writer
//!         ◄─── segments, their ends ────────────
//!         ──── lost something: the node rejoins ──► member
//! ```
//! It reads up to where the writer said that a segment ends, as nothing before that changes. One that is free or another one
//! by now looks like damage: what is found counts when the writer still counts on that very segment.

#![allow(clippy::disallowed_methods, reason = "it waits for nobody, so that reading takes its time")]

use super::helm::Helm;
use super::member::Driver;
use super::seat::Input;
use crate::storage::disk::Folder;
use crate::storage::replica::{Sealed, verify};
use crate::storage::{FileDisk, StorageError};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Read in a second, in bytes: little beside what a disk does for clients.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Read at once before it rests.
const PIECE_BYTES: u64 = 1 << 20;
/// A node that has just begun has other things to read, for so long.
const FIRST_AFTER: Duration = Duration::from_secs(60);

pub struct Scrub {
    pub disk: FileDisk,
    /// From the end of one pass to the beginning of the next.
    pub interval: Duration,
    pub member: Helm<Driver>,
    /// What the writer says.
    pub sealed: Receiver<Vec<Sealed>>,
}

/// The member's thread is gone.
struct Over;

impl Scrub {
    /// Goes on until nobody is told any more, or something is found.
    pub fn run(self) {
        let mut pause = self.interval.min(FIRST_AFTER);
        loop {
            std::thread::sleep(pause);
            pause = self.interval;
            match self.pass() {
                Ok(None) => {}
                Ok(Some(found)) => {
                    let _ = self.member.tell(Input::Rotten(found));
                    return;
                }
                Err(Over) => return,
            }
        }
    }

    /// Reads everything once; gives back what is not as it was written.
    fn pass(&self) -> Result<Option<StorageError>, Over> {
        let mut bytes = 0;
        for sealed in self.ask()? {
            let Err(error) = self.verify(sealed, &mut bytes) else { continue };
            // A pass takes hours, and meanwhile the log of another node may have taken this one's place, with segments of the
            // same names that end elsewhere: what the writer says now is what has to be whole.
            let Some(now) = self.ask_for(&sealed)? else { continue };
            match self.verify(now, &mut bytes) {
                Err(error) if error.damage().is_some() => {
                    if self.ask_for(&now)?.is_some_and(|after| after.end >= now.end) {
                        return Ok(Some(error));
                    }
                }
                _ => tracing::warn!(target: "storage", "reading the log through: {error}"),
            }
        }
        self.member.tell(Input::ReadThrough { bytes }).map_err(|_| Over)?;
        Ok(None)
    }

    /// What the writer says of one segment, if it still counts on it.
    fn ask_for(&self, sealed: &Sealed) -> Result<Option<Sealed>, Over> {
        Ok(self.ask()?.into_iter().find(|now| now.is_same(sealed)))
    }

    fn ask(&self) -> Result<Vec<Sealed>, Over> {
        const PATIENCE: Duration = Duration::from_secs(60);
        // An answer for which nobody waited any more.
        while self.sealed.try_recv().is_ok() {}
        self.member.tell(Input::WantsSealed).map_err(|_| Over)?;
        match self.sealed.recv_timeout(PATIENCE) {
            Ok(sealed) => Ok(sealed),
            // A disk that hangs; or the writer is gone, and said why.
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => Err(Over),
        }
    }

    fn verify(&self, sealed: Sealed, bytes: &mut u64) -> Result<(), StorageError> {
        let mut unrested = 0;
        verify(&self.disk, Folder::Log, sealed, |read| {
            *bytes += read;
            unrested += read;
            if unrested >= PIECE_BYTES {
                std::thread::sleep(Duration::from_millis(unrested * 1000 / BYTES_PER_SECOND));
                unrested = 0;
            }
        })
    }
}
