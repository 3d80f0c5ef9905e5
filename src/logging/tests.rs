//! What who reads gets, whatever is logged, and however slowly it is read.

use super::line::TEXT_MAX_BYTES;
use super::lines::Lines;
use super::subscriber::{Filter, Logger};
use super::*;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};
use tracing::Level;

/// Who reads, at its own pace.
#[derive(Clone, Default)]
struct Reader(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    read: String,
    is_stuck: bool,
    is_gone: bool,
}

impl Reader {
    fn set(&self, is_stuck: bool, is_gone: bool) {
        let mut state = self.0.0.lock().unwrap();
        (state.is_stuck, state.is_gone) = (is_stuck, is_gone);
        self.0.1.notify_all();
    }

    fn read(&self) -> String {
        self.0.0.lock().unwrap().read.clone()
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.is_stuck).unwrap();
        if state.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.read.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines_for(reader: &Reader, lines_per_s_max: u32, format: Format) -> Arc<Lines> {
    let lines = Arc::new(Lines::new(Clock::start(), lines_per_s_max));
    lines.write_from_now_on(Output::Stderr, Box::new(reader.clone()), format).unwrap();
    lines
}

/// What is read of what `log` logs, without the times.
fn logged(format: Format, level: LevelFilter, log: impl FnOnce()) -> Vec<String> {
    let reader = Reader::default();
    let lines = lines_for(&reader, 0, format);
    let filter = Arc::new(Filter::new([level; CATEGORIES.len()]));
    tracing::subscriber::with_default(Logger::new(Arc::clone(&lines), filter, format, false), log);
    lines.drain(DRAIN_PATIENCE);
    let without_time = |line: &str| match format {
        Format::Text => line.split_once(' ').unwrap().1.to_owned(),
        Format::Json => line.split_once(',').unwrap().1.to_owned(),
    };
    reader.read().lines().map(without_time).collect()
}

#[test]
fn a_line_is_time_level_category_and_text() {
    let user = "ann";
    let log = || tracing::info!(target: "connection", user, channels = 3_u64, "user '{user}' is \"in\"");
    assert_eq!(logged(Format::Text, LevelFilter::INFO, log), ["INFO  [connection] user 'ann' is \"in\""]);
    let json = r#""level":"info","category":"connection","msg":"user 'ann' is \"in\"","user":"ann","channels":3}"#;
    assert_eq!(logged(Format::Json, LevelFilter::INFO, log), [json]);
}

#[test]
fn what_is_less_important_than_its_level_or_of_no_category_of_ours_is_not_logged() {
    let log = || {
        tracing::debug!(target: "queue", "debug");
        tracing::warn!(target: "queue", "warn");
        tracing::error!(target: "somebody::else", "of another crate");
    };
    assert_eq!(logged(Format::Text, LevelFilter::INFO, log), ["WARN  [queue] warn"]);
    assert_eq!(logged(Format::Text, LevelFilter::DEBUG, log), ["DEBUG [queue] debug", "WARN  [queue] warn"]);
    assert_eq!(logged(Format::Text, LevelFilter::OFF, log), [""; 0]);
}

#[test]
fn levels_of_categories_change_while_lines_are_logged() {
    let reader = Reader::default();
    let lines = lines_for(&reader, 0, Format::Text);
    let filter = Arc::new(Filter::new([LevelFilter::OFF; CATEGORIES.len()]));
    let logger = Logger::new(Arc::clone(&lines), Arc::clone(&filter), Format::Text, false);
    tracing::subscriber::with_default(logger, || {
        for level in [LevelFilter::OFF, LevelFilter::INFO, LevelFilter::WARN] {
            let mut levels = [LevelFilter::OFF; CATEGORIES.len()];
            levels[CATEGORIES.iter().position(|category| *category == "auth").unwrap()] = level;
            filter.set(levels);
            tracing::info!(target: "auth", "at {level}");
            tracing::info!(target: "general", "never");
        }
    });
    lines.drain(DRAIN_PATIENCE);
    let read = reader.read();
    assert!(read.ends_with("[auth] at info\n") && read.lines().count() == 1, "{read}");
}

#[test]
fn whatever_names_are_logged_a_line_is_one_line() {
    let name = "a\r\n1970-01-01 INFO\tb\x1b[2Jé\u{9b}\0\u{202e}\u{2028}";
    let log = || tracing::warn!(target: "auth", name, "no '{name}'");
    let escaped = r"WARN  [auth] no 'a\r\n1970-01-01 INFO\tb\u{1b}[2Jé\u{9b}\u{0}\u{202e}\u{2028}'";
    assert_eq!(logged(Format::Text, LevelFilter::INFO, log), [escaped]);
    let json = logged(Format::Json, LevelFilter::INFO, log);
    assert!(json[0].is_ascii() || json[0].contains('é'), "{json:?}");
    let object: serde_json::Value = serde_json::from_str(&format!("{{{}", json[0])).unwrap();
    assert_eq!((object["name"].as_str(), object["msg"].as_str()), (Some(name), Some(&*format!("no '{name}'"))));
}

#[test]
fn a_long_name_is_cut() {
    let name = "é".repeat(TEXT_MAX_BYTES);
    let log = || tracing::warn!(target: "auth", name, "{name}");
    let text = logged(Format::Text, LevelFilter::INFO, log);
    assert_eq!(text[0], format!("WARN  [auth] {}…", "é".repeat(TEXT_MAX_BYTES / 2)));
    let json = logged(Format::Json, LevelFilter::INFO, log);
    assert!(json[0].len() < 2 * TEXT_MAX_BYTES + 200 && json[0].ends_with("…\"}"), "{}", json[0].len());
}

#[test]
fn nobody_who_logs_waits_for_who_reads_and_what_is_lost_is_said() {
    const LINES: usize = 20_000;
    let reader = Reader::default();
    reader.set(true, false);
    let lines = lines_for(&reader, 0, Format::Text);
    let line = format!("{:99}\n", "");
    for _ in 0..LINES {
        lines.push(&line, Level::WARN);
    }
    reader.set(false, false);
    lines.drain(DRAIN_PATIENCE);
    lines.drain(DRAIN_PATIENCE);
    let read = reader.read();
    let written = read.lines().filter(|line| line.trim().is_empty()).count();
    assert!((10_000..LINES).contains(&written), "{written} lines");
    let said = format!("[general] {} log lines are lost: they came faster than they could be written", LINES - written);
    assert!(read.contains(&said), "{said}");
}

#[test]
fn lines_that_cant_be_written_are_counted() {
    let reader = Reader::default();
    reader.set(false, true);
    let lines = lines_for(&reader, 0, Format::Text);
    lines.push("one\n", Level::WARN);
    lines.drain(DRAIN_PATIENCE);
    reader.set(false, false);
    lines.push("two\n", Level::WARN);
    lines.drain(DRAIN_PATIENCE);
    let read = reader.read();
    assert!(read.contains("two\n") && read.contains(" 1 log lines are lost") && !read.contains("one"), "{read}");
}

#[test]
fn too_many_lines_of_a_category_are_left_out_and_that_is_said() {
    let reader = Reader::default();
    let lines = lines_for(&reader, 2, Format::Json);
    let filter = Arc::new(Filter::new([LevelFilter::INFO; CATEGORIES.len()]));
    tracing::subscriber::with_default(Logger::new(Arc::clone(&lines), filter, Format::Json, false), || {
        (0..10).for_each(|_| tracing::info!(target: "auth", "again"));
        tracing::warn!(target: "auth", "wrong");
    });
    lines.drain(DRAIN_PATIENCE);
    let read = reader.read();
    assert_eq!(read.matches("again").count(), 2, "{read}");
    assert!(read.contains("wrong"), "{read}");
}

#[test]
fn only_small_talk_of_the_thread_that_flushes_waits_for_that() {
    /// Tells of what was written.
    struct Teller(Sender<String>);
    impl Write for Teller {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (teller, told): (_, Receiver<String>) = channel();
    let lines = Arc::new(Lines::new(Clock::start(), 0));
    lines.write_from_now_on(Output::Stderr, Box::new(Teller(teller)), Format::Text).unwrap();
    let next = || told.recv_timeout(DRAIN_PATIENCE).unwrap();
    lines.push("before\n", Level::INFO);
    assert_eq!(next(), "before\n", "nobody flushes yet");
    lines.flush();
    lines.push("talk\n", Level::INFO);
    assert!(told.try_recv().is_err());
    lines.flush();
    assert_eq!(next(), "talk\n");
    lines.push("talk\n", Level::INFO);
    lines.push("warning\n", Level::WARN);
    assert_eq!(next(), "talk\nwarning\n");
    std::thread::scope(|scope| scope.spawn(|| lines.push("another's\n", Level::INFO)).join().unwrap());
    assert_eq!(next(), "another's\n");
}
