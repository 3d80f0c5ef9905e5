//! Log lines, for people and for what reads logs.
//!
//! It owns how a line looks, that it is one line whatever is logged, how many there may be, and when they are written. What
//! is logged goes through the macros of `tracing`, with one of [`CATEGORIES`] as the target; a line that is off costs the
//! one comparison that they make.
//!
//! ```text
//!   tracing::info! ── off? ──► too many? ──► a line ──► waiting lines ──► the thread `log-lines` ──► standard error, a file
//!                               flood.rs      line.rs    lines.rs                                    output.rs
//! ```
//!
//! Nobody who logs waits for who reads: lines wait in memory, up to a bound, and what is beyond it is lost, counted, and said
//! when there is room again. A storm of connections is a storm of lines, and waking the thread for each would be a system
//! call each: so the lines of the thread that turns the loop wait until it [flushes](flush), once a turn. Warnings and errors
//! never wait, nor does what other threads say, nor anything before the first flush.

mod calendar;
mod flood;
mod line;
mod lines;
mod output;
mod subscriber;
#[cfg(test)]
mod tests;

pub use line::Format;
pub use output::Output;

use crate::reactor::Clock;
use lines::Lines;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use subscriber::Filter;
pub use tracing::level_filters::LevelFilter;

/// What lines are about: the targets of all that is logged here.
pub const CATEGORIES: [&str; 7] = ["connection", "queue", "auth", "storage", "cluster", "management", "general"];

/// How long the end of the program waits for its last lines to be written.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// What is logged, how, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The least important lines of each of [`CATEGORIES`].
    pub levels: [LevelFilter; CATEGORIES.len()],
    pub format: Format,
    pub output: Output,
    /// Whether a person who reads may see colours.
    pub may_colour: bool,
    /// Lines of one category in a second that are not errors or warnings, and as many that are; 0 for as many as there are.
    pub lines_per_s_max: u32,
}

struct Logging {
    lines: Arc<Lines>,
    filter: Arc<Filter>,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

/// Logs from now on, and says last what there is to say when the program panics.
///
/// # Errors
/// When the file to log into can't be opened, or there is no thread to be had.
pub fn start(settings: &Settings) -> io::Result<()> {
    let opened = settings.output.open()?;
    let is_coloured = settings.may_colour && settings.format == Format::Text && settings.output.is_terminal();
    let lines = Arc::new(Lines::new(Clock::start(), settings.lines_per_s_max));
    let filter = Arc::new(Filter::new(settings.levels));
    let logger = subscriber::Logger::new(Arc::clone(&lines), Arc::clone(&filter), settings.format, is_coloured);
    if tracing::subscriber::set_global_default(logger).is_err() {
        return Ok(());
    }
    lines.write_from_now_on(settings.output.clone(), opened, settings.format)?;
    let _ = LOGGING.set(Logging { lines, filter });
    let explain = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        drain();
        explain(panic);
    }));
    Ok(())
}

/// Takes over what can change while the program runs: the levels, and how many lines there may be. A file is opened again
/// under its name, as whoever has moved it away expects.
pub fn reload(settings: &Settings) {
    if let Some(Logging { lines, filter }) = LOGGING.get() {
        filter.set(settings.levels);
        lines.set_lines_per_s_max(settings.lines_per_s_max);
        lines.reopen();
    }
}

/// Has the lines written that the calling thread kept back. From the first call on, they are kept back until the next one.
#[inline]
pub fn flush() {
    if let Some(Logging { lines, .. }) = LOGGING.get() {
        lines.flush();
    }
}

/// Waits until all that was logged is written, for a while at most.
pub fn drain() {
    if let Some(Logging { lines, .. }) = LOGGING.get() {
        lines.drain(DRAIN_PATIENCE);
    }
}
