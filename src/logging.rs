//! Log lines for people, on the standard error: `2026-01-31T12:00:00.000Z INFO  listening at 0.0.0.0:5672`.
//!
//! It owns how a line looks, that it is one line whatever is logged, and when it is written. A storm of connections is a
//! storm of lines, and each would be a system call: so the lines of the thread that turns the loop wait until it flushes the
//! logger, once a turn. Warnings and errors never wait, nor does what other threads say, nor anything before the first
//! flush.

use leveret::reactor::Clock;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

/// Lines that wait are written when they are more than this, in bytes.
const WAITING_MAX_BYTES: usize = 32 * 1024;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// Logs lines of `level` and above from now on, in colours if it is a person who reads and `may_colour` allows it.
pub fn start(level: LevelFilter, may_colour: bool) {
    let lines = Lines {
        clock: Clock::start(),
        coloured: may_colour && std::io::stderr().is_terminal(),
        flushing_thread: OnceLock::new(),
        waiting: Mutex::default(),
    };
    if log::set_boxed_logger(Box::new(lines)).is_ok() {
        log::set_max_level(level);
    }
    let explain = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log::logger().flush();
        explain(panic);
    }));
}

struct Lines {
    clock: Clock,
    coloured: bool,
    /// The thread that flushes, and whose lines may wait for that.
    flushing_thread: OnceLock<ThreadId>,
    waiting: Mutex<String>,
}

impl Lines {
    fn waiting(&self) -> MutexGuard<'_, String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_wait(&self, level: Level) -> bool {
        level > Level::Warn && self.flushing_thread.get().is_some_and(|flushing| *flushing == thread::current().id())
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Not straight into what waits: whatever is printed here may panic, and that flushes.
        let mut line = String::new();
        append(&mut line, self.clock.unix_ms(), self.coloured, record);
        let mut waiting = self.waiting();
        waiting.push_str(&line);
        if waiting.len() > WAITING_MAX_BYTES || !self.may_wait(record.level()) {
            write_out(&mut waiting);
        }
    }

    fn flush(&self) {
        self.flushing_thread.get_or_init(|| thread::current().id());
        write_out(&mut self.waiting());
    }
}

fn write_out(waiting: &mut String) {
    if !waiting.is_empty() {
        // There is nowhere left to complain when this fails.
        let _ = std::io::stderr().write_all(waiting.as_bytes());
        waiting.clear();
    }
}

fn append(lines: &mut String, unix_ms: u64, coloured: bool, record: &Record<'_>) {
    append_time(lines, unix_ms);
    let (colour, plain) = match (coloured, record.level()) {
        (false, _) => ("", ""),
        (true, Level::Error) => ("\x1b[1m\x1b[31m", "\x1b[0m"),
        (true, Level::Warn) => ("\x1b[33m", "\x1b[0m"),
        (true, Level::Info) => ("\x1b[32m", "\x1b[0m"),
        (true, Level::Debug) => ("\x1b[34m", "\x1b[0m"),
        (true, Level::Trace) => ("\x1b[36m", "\x1b[0m"),
    };
    // Writing into a String fails only when a Display of somebody's does; the line is then as long as it got.
    let _ = write!(lines, " {colour}{:<5}{plain} ", record.level().as_str());
    let begin = lines.len();
    let _ = write!(lines, "{}", record.args());
    escape_controls(lines, begin);
    lines.push('\n');
}

/// Names that clients made up are in what is logged: with a line break they would look like another line, and with an
/// escape code tell a terminal something.
fn escape_controls(lines: &mut String, begin: usize) {
    if !lines[begin..].contains(char::is_control) {
        return;
    }
    for character in lines.split_off(begin).chars() {
        match character.is_control() {
            true => lines.extend(character.escape_default()),
            false => lines.push(character),
        }
    }
}

/// The calendar's time, as RFC 3339 has it, in UTC.
fn append_time(line: &mut String, unix_ms: u64) {
    let (year, month, day) = date(unix_ms / MS_PER_DAY);
    let ms = unix_ms % MS_PER_DAY;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let _ = write!(line, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000);
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(unix_day: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // Years begin in March here, so that the leap day is the last of its year.
    let days = unix_day + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(unix_ms: u64) -> String {
        let mut line = String::new();
        append_time(&mut line, unix_ms);
        line
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(time(1_769_860_800_000), "2026-01-31T12:00:00.000Z");
        assert_eq!(time(4_107_542_399_001), "2100-02-28T23:59:59.001Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn days_follow_each_other_for_a_thousand_years() {
        let mut previous = date(0);
        for unix_day in 1..365_243 {
            let (year, month, day) = date(unix_day);
            let follows = match previous {
                (y, 12, 31) => (year, month, day) == (y + 1, 1, 1),
                (y, m, d) => (year, month, day) == (y, m, d + 1) || (year, month, day) == (y, m + 1, 1) && d >= 28,
            };
            assert!(follows, "{year}-{month}-{day} after {previous:?}");
            previous = (year, month, day);
        }
    }

    #[test]
    fn a_line_is_time_level_and_text() {
        let line = |coloured, level| {
            let mut line = String::new();
            append(&mut line, 0, coloured, &Record::builder().level(level).args(format_args!("ready")).build());
            line
        };
        assert_eq!(line(false, Level::Info), "1970-01-01T00:00:00.000Z INFO  ready\n");
        assert_eq!(line(true, Level::Warn), "1970-01-01T00:00:00.000Z \x1b[33mWARN \x1b[0m ready\n");
    }

    #[test]
    fn whatever_names_are_logged_a_line_is_one_line() {
        let mut line = String::from("before\n");
        let name = "a\r\n1970-01-01 INFO\tb\x1b[2Jé\u{9b}\0";
        append(&mut line, 0, false, &Record::builder().level(Level::Warn).args(format_args!("no '{name}'")).build());
        let escaped = r"no 'a\r\n1970-01-01 INFO\tb\u{1b}[2Jé\u{9b}\u{0}'";
        assert_eq!(line, format!("before\n1970-01-01T00:00:00.000Z WARN  {escaped}\n"));
    }

    #[test]
    fn only_small_talk_of_the_thread_that_flushes_waits() {
        let lines = Lines {
            clock: Clock::start(),
            coloured: false,
            flushing_thread: OnceLock::new(),
            waiting: Mutex::default(),
        };
        assert!(!lines.may_wait(Level::Info), "nobody flushes yet");
        lines.flush();
        assert!(lines.may_wait(Level::Info));
        assert!(!lines.may_wait(Level::Warn));
        thread::scope(|scope| scope.spawn(|| assert!(!lines.may_wait(Level::Info))).join().unwrap());
    }
}
