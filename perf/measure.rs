//! Measuring windows: counters that hot threads publish, snapshots of them with the CPU time spent, the live line.
//! Owns the clock of a run and its early end by ctrl-c.

use crate::process::{self, Usage};
use crate::unit::readable;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often waiting looks at ctrl-c and the counters.
const TICK: Duration = Duration::from_millis(2);
/// How often the live line changes.
const LIVE_INTERVAL: Duration = Duration::from_millis(500);

/// A count that one thread writes and others read, alone in its cache line. Its writer stores a sum it keeps itself,
/// so that counting costs no atomic addition.
#[derive(Default)]
#[repr(align(128))]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// For counts that are not hot and have several writers.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the threads of a scenario have done so far.
#[derive(Default)]
pub struct Counters {
    pub published: Vec<Counter>,
    pub consumed: Vec<Counter>,
}

impl Counters {
    pub fn new(publishing: usize, consuming: usize) -> Arc<Self> {
        let counters = |number| std::iter::repeat_with(Counter::default).take(number).collect();
        Arc::new(Self { published: counters(publishing), consumed: counters(consuming) })
    }

    pub fn published(&self) -> u64 {
        self.published.iter().map(Counter::get).sum()
    }

    pub fn consumed(&self) -> u64 {
        self.consumed.iter().map(Counter::get).sum()
    }
}

/// Everything that moves, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    pub at: Instant,
    pub published: u64,
    pub consumed: u64,
    pub broker: Option<Usage>,
    pub own_cpu: Duration,
}

/// From one snapshot to another.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Snapshot,
    pub to: Snapshot,
}

impl Window {
    pub fn seconds(&self) -> f64 {
        self.to.at.duration_since(self.from.at).as_secs_f64().max(1e-9)
    }

    pub fn published(&self) -> u64 {
        self.to.published - self.from.published
    }

    pub fn consumed(&self) -> u64 {
        self.to.consumed - self.from.consumed
    }

    pub fn broker_cpu(&self) -> Option<Duration> {
        Some(self.to.broker?.cpu.saturating_sub(self.from.broker?.cpu))
    }

    pub fn own_cpu(&self) -> Duration {
        self.to.own_cpu.saturating_sub(self.from.own_cpu)
    }
}

/// One invocation: whose CPU to read, whether to show a live line, whether ctrl-c was pressed.
#[derive(Clone)]
pub struct Run {
    interrupted: Arc<AtomicBool>,
    pid: Option<u32>,
    live: bool,
}

impl Run {
    /// Fails if the process to watch cannot be read.
    pub fn new(pid: Option<u32>, live: bool) -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the program at once, the first asks it to finish.
            signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone())?;
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        if let Some(pid) = pid {
            process::usage_of(pid)?;
        }
        Ok(Self { interrupted, pid, live: live || io::stderr().is_terminal() })
    }

    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn broker_usage(&self) -> Option<Usage> {
        process::usage_of(self.pid?).ok()
    }

    pub fn snapshot(&self, counters: &Counters) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            published: counters.published(),
            consumed: counters.consumed(),
            broker: self.broker_usage(),
            own_cpu: process::own_cpu(),
        }
    }

    /// Waits until `done`, ctrl-c, or `limit` has passed; shows the live line. Says whether it is `done`.
    pub fn wait(&self, limit: Duration, counters: &Counters, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut shown = (Instant::now(), counters.published(), counters.consumed());
        loop {
            if done() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline || self.interrupted() {
                return false;
            }
            let since = now - shown.0;
            if self.live && since >= LIVE_INTERVAL {
                let next = (now, counters.published(), counters.consumed());
                let rate = |count: u64| readable(count as f64 / since.as_secs_f64());
                eprint!("\r\x1b[K  in {}/s  out {}/s", rate(next.1 - shown.1), rate(next.2 - shown.2));
                let _ = io::stderr().flush();
                shown = next;
            }
            std::thread::sleep(TICK.min(deadline - now));
        }
    }

    /// Measures for `limit`, or until `done` or ctrl-c.
    pub fn measure(&self, limit: Duration, counters: &Counters, done: impl FnMut() -> bool) -> Window {
        let from = self.snapshot(counters);
        self.wait(limit, counters, done);
        Window { from, to: self.snapshot(counters) }
    }

    /// Removes the live line before something else is printed.
    pub fn clear_live_line(&self) {
        if self.live {
            eprint!("\r\x1b[K");
        }
    }
}
