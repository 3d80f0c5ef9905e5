//! Write and fdatasync, one after the other, in a file that has its blocks already: what a disk takes for a confirm,
//! and so the most that a publisher with a window of one can get.

use super::Context;
use crate::measure::{Counter, Counters};
use crate::options::Fsync;
use crate::report::{Outcome, latency_histogram};
use crate::unit::Unit;
use hdrhistogram::Histogram;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The file's length: as long as a segment of the broker's log.
const FILE_BYTES: u64 = 64 << 20;

/// The file, until this is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(fsync: &Fsync) -> io::Result<Self> {
        let path = fsync.folder.join(format!("leveret-perf-{}.fsync", std::process::id()));
        let mut scratch = Self { file: File::create_new(&path)?, path };
        let zeroes = vec![0; 1 << 20];
        for _ in 0..FILE_BYTES / zeroes.len() as u64 {
            scratch.file.write_all(&zeroes)?;
        }
        scratch.file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("leveret-perf: could not delete {}: {error}", self.path.display());
        }
    }
}

pub fn run(context: &Context, fsync: &Fsync) -> io::Result<Outcome> {
    let scratch = Scratch::new(fsync)?;
    let counters = Counters::new(0, 1);
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (window, latencies) = std::thread::scope(|scope| -> io::Result<_> {
        let syncing = scope.spawn(|| {
            let synced = sync_on(&scratch.file, fsync.size as usize, &counters.consumed[0], &stop);
            synced.inspect_err(|_| failed.store(true, Ordering::Relaxed))
        });
        let failed = || failed.load(Ordering::Relaxed);
        context.run.wait(context.common.warmup, &counters, failed);
        let window = context.run.measure(context.common.duration, &counters, failed);
        stop.store(true, Ordering::Relaxed);
        Ok((window, syncing.join().map_err(|_| io::Error::other("the syncing thread panicked"))??))
    })?;
    let mut outcome = Outcome::default();
    outcome.row("syncs_per_s", window.consumed() as f64 / window.seconds(), Unit::PerSecond);
    outcome.latencies("sync", &latencies);
    Ok(outcome)
}

fn sync_on(file: &File, size: usize, counter: &Counter, stop: &AtomicBool) -> io::Result<Histogram<u64>> {
    let bytes = vec![b'x'; size];
    let mut latencies = latency_histogram();
    let (mut offset, mut synced) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        file.write_all_at(&bytes, offset)?;
        file.sync_data()?;
        latencies.saturating_record(begun.elapsed().as_nanos() as u64);
        synced += 1;
        counter.set(synced);
        offset = if offset + 2 * size as u64 > FILE_BYTES { 0 } else { offset + size as u64 };
    }
    Ok(latencies)
}
