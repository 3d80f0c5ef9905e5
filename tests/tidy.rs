//! Keeps the walls of the house up by reading its source: who may import whom, who may touch the system, and the few
//! habits that a machine can check. It compiles nothing and runs nothing.

#![allow(clippy::disallowed_methods, reason = "this test reads the source tree")]

use std::fs;
use std::path::{Path, PathBuf};

/// The longest a file of the load generator may be.
const PERF_FILE_LINES_MAX: usize = 800;

/// Every room that has walls, with the rooms it may import (itself aside). The server may import all of them.
const WALLS: [(&str, &[&str]); 6] = [
    ("protocol", &[]),
    ("broker", &["protocol", "varint"]),
    ("connection", &["protocol", "broker"]),
    ("reactor", &[]),
    ("config", &[]),
    ("perf", &["protocol"]),
];

/// The rooms that stay pure: state machines to which bytes, time and chance arrive as arguments.
const PURE_ROOMS: [&str; 3] = ["protocol", "broker", "connection"];

/// What no pure room names, not even in its tests.
const IMPURE: [&str; 14] = [
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "std::time::{Instant",
    "std::time::Instant",
    "SystemTime",
    "mio",
    "libc",
    "socket2",
    "getrandom",
];

/// The only crates that the reactor builds upon.
const REACTOR_CRATES: [&str; 5] = ["mio", "slab", "libc", "socket2", "signal_hook"];

struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// The lines with their numbers, without comments. (A `//` inside a string ends the line early, which can only
    /// hide something.)
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// All paths that start with `crate::` or `leveret::` in the code, as the name that follows, with line numbers.
    /// `use crate::{a, b}` counts for each of its names.
    fn rooms_named(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, line) in self.code() {
            for root in ["crate", "leveret"] {
                for after in paths_under(line, root) {
                    let names = match after.strip_prefix('{') {
                        Some(group) => first_names_of_group(group),
                        None => vec![identifier(after)],
                    };
                    found.extend(names.into_iter().map(|name| (number, name.to_owned())));
                }
            }
        }
        found
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `folder` of the package, sorted; none if the folder does not exist.
fn files_under(folder: &str) -> Vec<SourceFile> {
    let mut folders = vec![package().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable entry").path()) {
            if path.is_dir() {
                // The real-client suites build programs of their own, whose output is nobody's source.
                if !path.ends_with("target") && !path.ends_with("node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable source");
                files.push(SourceFile { path, text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// A room is a folder or a file of `src`; the load generator may also live beside it.
fn files_of_room(room: &str) -> Vec<SourceFile> {
    let mut files = files_under(&format!("src/{room}"));
    if let Ok(text) = fs::read_to_string(package().join(format!("src/{room}.rs"))) {
        files.push(SourceFile { path: package().join(format!("src/{room}.rs")), text });
    }
    if room == "perf" {
        files.extend(files_under("perf"));
    }
    files
}

fn our_rooms() -> Vec<String> {
    let lib = fs::read_to_string(package().join("src/lib.rs")).expect("src/lib.rs");
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The identifier at the beginning of `text`.
fn identifier(text: &str) -> &str {
    text.split(|character| !is_identifier(character)).next().unwrap_or_default()
}

/// What follows each `root::` in `line`, where `root` is a whole word that starts a path.
fn paths_under<'a>(line: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(root).filter_map(move |(at, _)| {
        let starts_path = !line[..at].ends_with(|before| is_identifier(before) || before == ':');
        line[at + root.len()..].strip_prefix("::").filter(|_| starts_path)
    })
}

/// The first name of each path in `a::b, c::{d, e}, f}`.
fn first_names_of_group(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    return names;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.push(identifier(group[start..].trim_start()));
    names
}

/// Whether `line` names `wanted` as whole words.
fn names(line: &str, wanted: &str) -> bool {
    line.match_indices(wanted)
        .any(|(at, _)| !line[..at].ends_with(is_identifier) && !line[at + wanted.len()..].starts_with(is_identifier))
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn complaint(file: &SourceFile, line_number: usize, what: &str) -> String {
    let path = file.path.strip_prefix(package()).unwrap_or(&file.path);
    format!("{}:{line_number}: {what}", path.display())
}

#[test]
fn every_room_imports_only_what_its_walls_allow() {
    let rooms = our_rooms();
    let mut complaints = Vec::new();
    for (room, allowed) in WALLS {
        for file in files_of_room(room) {
            for (number, named) in file.rooms_named() {
                if rooms.contains(&named) && named != room && !allowed.contains(&named.as_str()) {
                    complaints.push(complaint(&file, number, &format!("{room} must not import {named}")));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn pure_rooms_touch_no_system() {
    let mut complaints = Vec::new();
    for room in PURE_ROOMS {
        for file in files_of_room(room) {
            for (number, line) in file.code() {
                for impure in IMPURE.iter().filter(|impure| names(line, impure)) {
                    complaints.push(complaint(&file, number, &format!("{room} must not use {impure}")));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn the_reactor_builds_on_few_crates() {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let others: Vec<String> = dependencies
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .filter(|name| !REACTOR_CRATES.contains(&name.as_str()))
        .collect();
    assert!(others.len() > 5, "the dependencies were not found");
    let mut complaints = Vec::new();
    for file in files_of_room("reactor") {
        for (number, line) in file.code() {
            for other in others.iter().filter(|other| paths_under(line, other).next().is_some()) {
                complaints.push(complaint(&file, number, &format!("reactor must not use {other}")));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn every_file_says_what_it_is() {
    let mut complaints = Vec::new();
    for file in ["src", "perf", "tests", "benches"].into_iter().flat_map(files_under) {
        if !file.text.starts_with("//! ") {
            complaints.push(complaint(&file, 1, "the first line must be module documentation (`//! …`)"));
        }
    }
    assert_none(complaints);
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Put together at run time, so that this file does not complain about itself.
    let unfinished = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    let dead_code = format!("allow({}", "dead_code");
    let mut complaints = Vec::new();
    for file in ["src", "perf", "tests", "benches"].into_iter().flat_map(files_under) {
        for (number, line) in file.code() {
            for left in unfinished.iter().filter(|left| names(line, left)) {
                complaints.push(complaint(&file, number, &format!("{left} is left")));
            }
            if line.contains(&dead_code) {
                complaints.push(complaint(&file, number, "dead code is to be removed, not allowed"));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn the_load_generator_stays_in_files_one_can_read() {
    let mut complaints = Vec::new();
    for file in files_of_room("perf") {
        let count = file.text.lines().count();
        if count > PERF_FILE_LINES_MAX {
            complaints.push(complaint(&file, count, &format!("longer than {PERF_FILE_LINES_MAX} lines")));
        }
    }
    assert_none(complaints);
}

#[test]
fn every_room_is_on_the_map() {
    let lib = fs::read_to_string(package().join("src/lib.rs")).expect("src/lib.rs");
    let map: Vec<&str> = lib.lines().take_while(|line| line.starts_with("//!")).collect();
    let missing = our_rooms()
        .into_iter()
        .filter(|room| !map.iter().any(|line| line.contains(&format!("| [`{room}`] |"))))
        .map(|room| format!("src/lib.rs: {room} is not on the map at its top"))
        .collect();
    assert_none(missing);
}

#[test]
fn the_readme_names_files_that_exist() {
    let Ok(readme) = fs::read_to_string(package().join("README.md")) else { return };
    let complaints = linked_files(&readme)
        .filter(|target| !package().join(target).exists())
        .map(|target| format!("README.md links to {target}, which does not exist"))
        .collect();
    assert_none(complaints);
}

/// The targets of `[text](target)` that are files of the package.
fn linked_files(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The checks above pass on an empty tree, so their eyes are tested too.
mod eyes {
    use super::*;

    fn rooms(text: &str) -> Vec<String> {
        let file = SourceFile { path: PathBuf::new(), text: text.to_owned() };
        file.rooms_named().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn see_imports_in_all_their_forms() {
        assert_eq!(rooms("use crate::broker::Queue;"), ["broker"]);
        assert_eq!(rooms("use crate::{broker::{Queue, exchange}, protocol};"), ["broker", "protocol"]);
        assert_eq!(rooms("let x = leveret::config::Config::default();"), ["config"]);
        assert_eq!(rooms("pub(crate) fn f(); // crate::server"), Vec::<String>::new());
        assert_eq!(rooms("use other_crate::broker;"), Vec::<String>::new());
    }

    #[test]
    fn see_whole_words_only() {
        assert!(names("use mio::net;", "mio") && names("std::net::TcpStream", "std::net"));
        assert!(!names("let demion = 1;", "mio") && !names("std::network", "std::net"));
        let marker = format!("{}!", "dbg");
        assert!(names(&format!("{marker}(x)"), &marker) && !names(&format!("my_{marker}(x)"), &marker));
    }

    #[test]
    fn see_links_to_files() {
        let markdown = "[a](src/lib.rs) [b](CONTRIBUTING.md#habits) [c](#here) [d](https://example.org/x)";
        assert_eq!(linked_files(markdown).collect::<Vec<_>>(), ["src/lib.rs", "CONTRIBUTING.md"]);
    }
}
