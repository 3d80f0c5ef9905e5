//! The lines that wait, and the thread that writes them.
//!
//! Its lock is held to append a line, or to take all of them, and never while something is written.

use super::flood::Flood;
use super::line::{Format, line_of_ours};
use super::output::{Opened, Output};
use crate::reactor::Clock;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tracing::Level;

/// Lines that are kept back are written before the thread flushes when they are more than this, in bytes.
const KEPT_BACK_MAX_BYTES: usize = 32 * 1024;
/// What may wait for who reads, in bytes: some ten thousand lines.
const WAITING_MAX_BYTES: usize = 1024 * 1024;
/// How soon lines left out are said, and lost lines while nothing else is.
const SAYING_PATIENCE: Duration = Duration::from_millis(1100);

pub struct Lines {
    clock: Clock,
    /// The thread that flushes, and whose lines may wait for that.
    flushing_thread: OnceLock<ThreadId>,
    writing_thread: OnceLock<ThreadId>,
    /// Lines wait that the writing thread was not told of.
    kept_back: AtomicBool,
    shared: Mutex<Shared>,
    /// There is something to write.
    come: Condvar,
    /// All is written.
    gone: Condvar,
}

struct Shared {
    waiting: String,
    flood: Flood,
    /// Lines that found no room, or could not be written.
    lost: u64,
    is_writing: bool,
    reopen: bool,
    /// Somebody told the writing thread to go on.
    told: bool,
}

impl Lines {
    pub fn new(clock: Clock, lines_per_s_max: u32) -> Self {
        let shared = Shared {
            waiting: String::new(),
            flood: Flood::new(lines_per_s_max),
            lost: 0,
            is_writing: false,
            reopen: false,
            told: false,
        };
        Self {
            clock,
            flushing_thread: OnceLock::new(),
            writing_thread: OnceLock::new(),
            kept_back: AtomicBool::new(false),
            shared: Mutex::new(shared),
            come: Condvar::new(),
            gone: Condvar::new(),
        }
    }

    pub fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    pub fn set_lines_per_s_max(&self, lines_per_s_max: u32) {
        self.shared().flood.set_lines_max(lines_per_s_max);
    }

    /// Whether one more line of this category and level is not one too many.
    pub fn admits(&self, category: usize, level: Level) -> bool {
        let mut shared = self.shared();
        let was_behind = shared.flood.has_left_out();
        let is_admitted = shared.flood.admits(category, level, self.clock.now_ms());
        if !is_admitted && !was_behind {
            // From now on the writing thread looks at its clock.
            self.tell(&mut shared);
        }
        is_admitted
    }

    /// Appends a line with its end.
    pub fn push(&self, line: &str, level: Level) {
        let mut shared = self.shared();
        if shared.waiting.len() + line.len() > WAITING_MAX_BYTES {
            shared.lost += 1;
            return;
        }
        shared.waiting.push_str(line);
        if shared.waiting.len() <= KEPT_BACK_MAX_BYTES && self.may_wait(level) {
            self.kept_back.store(true, Ordering::Relaxed);
        } else {
            self.tell(&mut shared);
        }
    }

    fn may_wait(&self, level: Level) -> bool {
        level > Level::WARN && self.flushing_thread.get().is_some_and(|flushing| *flushing == thread::current().id())
    }

    fn tell(&self, shared: &mut Shared) {
        self.kept_back.store(false, Ordering::Relaxed);
        if !shared.told {
            shared.told = true;
            self.come.notify_one();
        }
    }

    #[inline]
    pub fn flush(&self) {
        if self.kept_back.load(Ordering::Relaxed) || self.flushing_thread.get().is_none() {
            self.flush_now();
        }
    }

    #[cold]
    fn flush_now(&self) {
        self.flushing_thread.get_or_init(|| thread::current().id());
        self.tell(&mut self.shared());
    }

    /// Has a file opened again under its name.
    pub fn reopen(&self) {
        let mut shared = self.shared();
        shared.reopen = true;
        self.tell(&mut shared);
    }

    /// Waits until all is written, for as long as this at most.
    pub fn drain(&self, patience: Duration) {
        // It would wait for itself.
        if self.writing_thread.get().is_none_or(|writing| *writing == thread::current().id()) {
            return;
        }
        let mut shared = self.shared();
        self.tell(&mut shared);
        let is_busy = |shared: &mut Shared| !shared.waiting.is_empty() || shared.is_writing;
        drop(self.gone.wait_timeout_while(shared, patience, is_busy));
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn write_from_now_on(self: &Arc<Self>, output: Output, opened: Opened, format: Format) -> io::Result<()> {
        let lines = Arc::clone(self);
        let thread = thread::Builder::new().name("log-lines".to_owned()).spawn(move || {
            let mut writer = Writer { output, opened, format };
            loop {
                lines.write_some(&mut writer);
            }
        })?;
        let _ = self.writing_thread.set(thread.thread().id());
        Ok(())
    }

    /// Waits for something to write, and writes it.
    fn write_some(&self, writer: &mut Writer) {
        let shared = self.shared();
        // Nobody tells of what has been left out and lost.
        let mut shared = if shared.flood.has_left_out() || shared.lost > 0 {
            let waited = self.come.wait_timeout_while(shared, SAYING_PATIENCE, |shared| !shared.told);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            self.come.wait_while(shared, |shared| !shared.told).unwrap_or_else(PoisonError::into_inner)
        };
        shared.told = false;
        shared.is_writing = true;
        let text = std::mem::take(&mut shared.waiting);
        let lost = std::mem::take(&mut shared.lost);
        let left_out = shared.flood.take_left_out(self.clock.now_ms());
        let reopen = std::mem::take(&mut shared.reopen);
        drop(shared);

        let mut complaints = String::new();
        let format = writer.format;
        let mut complain = |category: &str, text: &str| {
            complaints.push_str(&line_of_ours(format, self.clock.unix_ms(), category, text));
        };
        for left_out in left_out {
            complain(
                left_out.category,
                &format!("{} lines like these were left out: they were too many", left_out.lines),
            );
        }
        if lost > 0 {
            complain("general", &format!("{lost} log lines are lost: they came faster than they could be written"));
        }
        let unwritten = writer.write(&text);
        if reopen && let Err(error) = writer.reopen() {
            complain("general", &format!("the log goes on where it was: {error}"));
        }
        let is_said = writer.write(&complaints) == 0;
        let mut shared = self.shared();
        shared.is_writing = false;
        shared.lost += unwritten + if is_said { 0 } else { lost };
        self.gone.notify_all();
    }
}

struct Writer {
    output: Output,
    opened: Opened,
    format: Format,
}

impl Writer {
    /// Says how many lines it could not write.
    fn write(&mut self, lines: &str) -> u64 {
        if lines.is_empty() || self.opened.write_all(lines.as_bytes()).and_then(|()| self.opened.flush()).is_ok() {
            return 0;
        }
        lines.bytes().filter(|byte| *byte == b'\n').count() as u64
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Output::File(_) = self.output {
            self.opened = self.output.open()?;
        }
        Ok(())
    }
}
