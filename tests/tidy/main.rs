//! Keeps the walls of the house up by reading its source: who may import whom, who may touch the system, and the few
//! habits that a machine can check. It compiles nothing and runs nothing.

#![allow(clippy::disallowed_methods, reason = "this test reads the source tree")]

mod source;
mod walls;

use source::{SourceFile, crates, files_of_room, files_under, linked_files, names, package, rooms, rooms_of_library};
use std::fs;
use walls::{WALLS, Wall};

/// The longest a file of the load generator may be.
const PERF_FILE_LINES_MAX: usize = 800;

/// The rooms that stay pure: state machines to which bytes, time and chance arrive as arguments.
const PURE_ROOMS: [&str; 7] = ["access", "protocol", "broker", "cluster", "connection", "tls", "token"];

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

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn complaint(file: &SourceFile, line_number: usize, what: &str) -> String {
    format!("{}:{line_number}: {what}", file.path.display())
}

/// Whether `path` is what stands in the wall, or inside of it.
fn is_within(path: &str, door: &str) -> bool {
    path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn every_room_has_walls_and_every_wall_a_room() {
    let rooms = rooms();
    let without_walls = rooms.iter().filter(|room| WALLS.iter().all(|wall| wall.room != *room));
    let mut complaints: Vec<String> = without_walls.map(|room| format!("{room} has no walls")).collect();
    for (index, wall) in WALLS.iter().enumerate() {
        if !rooms.iter().any(|room| room == wall.room) {
            complaints.push(format!("there are walls around {}, and no such room", wall.room));
        }
        if WALLS[..index].iter().any(|other| other.room == wall.room) {
            complaints.push(format!("{} has walls twice", wall.room));
        }
    }
    assert_none(complaints);
}

#[test]
fn every_room_imports_only_what_its_walls_allow() {
    let mut complaints = Vec::new();
    for Wall { room, rooms, .. } in WALLS {
        let mut used = vec![false; rooms.len()];
        for file in files_of_room(room) {
            for import in file.imports_of_rooms().iter().filter(|import| !is_within(&import.path, room)) {
                match rooms.iter().position(|door| is_within(&import.path, door)) {
                    Some(door) => used[door] = true,
                    None => {
                        let what = format!("{room} must not import {}", import.path);
                        complaints.push(complaint(&file, import.line_number, &what));
                    }
                }
            }
        }
        let unused = rooms.iter().zip(used).filter(|(_, used)| !used);
        complaints.extend(unused.map(|(door, _)| format!("{room} may import {door}, and does not: wall it up")));
    }
    assert_none(complaints);
}

#[test]
fn every_room_builds_on_the_crates_of_its_walls() {
    let mut complaints = Vec::new();
    for Wall { room, crates: allowed, .. } in WALLS {
        let files = files_of_room(room);
        for name in crates() {
            let mut uses =
                files.iter().flat_map(|file| file.lines_that_name_crate(&name).map(move |line| (file, line)));
            if allowed.contains(&name.as_str()) {
                if uses.next().is_none() {
                    complaints.push(format!("{room} may build on {name}, and does not: wall it up"));
                }
            } else {
                complaints
                    .extend(uses.map(|(file, line)| complaint(file, line, &format!("{room} must not use {name}"))));
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

/// What the store is told of messages, and where the broker tells it.
const TOLD_OF_MESSAGES: [&str; 5] = [".enqueued(", ".enqueued_together(", ".removed(", ".removed_range(", ".purged("];
const TELLS_OF_MESSAGES: [&str; 3] = ["src/broker/flow/", "src/broker/delayed/", "src/broker/deduplication/"];

#[test]
fn messages_enter_and_leave_in_one_place() {
    let mut complaints = Vec::new();
    let mut tellers = 0;
    for file in files_of_room("broker") {
        let is_the_place = TELLS_OF_MESSAGES.iter().any(|place| file.path.to_string_lossy().contains(place));
        for (number, line) in file.code() {
            for told in TOLD_OF_MESSAGES.iter().filter(|told| line.contains(*told)) {
                tellers += usize::from(is_the_place);
                if !is_the_place {
                    complaints.push(complaint(&file, number, &format!("{told} is for {TELLS_OF_MESSAGES:?} alone")));
                }
            }
        }
    }
    assert_none(complaints);
    assert!(tellers >= TOLD_OF_MESSAGES.len(), "somebody tells the store of each");
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

/// How a name becomes a thing: asked in `resolve.rs` alone, which asks for permission first.
const LOOKS_FOR_NAMES: [&str; 3] = [".queue_named(", ".exchange_named(", ".access.may("];

#[test]
fn names_are_looked_for_in_one_place() {
    let mut complaints = Vec::new();
    let outside = |file: &&SourceFile| {
        let path = file.path.to_string_lossy();
        // The router, whose tables they are, and its tests.
        !path.contains("broker/resolve") && !path.contains("broker/exchange/")
    };
    for room in rooms_of_library() {
        for file in files_of_room(&room).iter().filter(outside) {
            for (number, line) in file.code() {
                for call in LOOKS_FOR_NAMES.iter().filter(|call| line.contains(**call)) {
                    complaints.push(complaint(file, number, &format!("{call}…) is for resolve.rs alone to say")));
                }
            }
        }
    }
    assert_none(complaints);
}

/// What the log is about: `CATEGORIES` of src/logging.
const LOG_CATEGORIES: [&str; 7] = ["connection", "queue", "auth", "storage", "cluster", "management", "general"];

#[test]
fn every_log_line_is_of_a_category() {
    let mut complaints = Vec::new();
    let mut lines = 0;
    for room in rooms_of_library().into_iter().chain(["main".to_owned()]).filter(|room| room != "logging") {
        for file in files_of_room(&room) {
            let code: Vec<_> = file.code().collect();
            for (index, (number, line)) in code.iter().enumerate() {
                let macros = ["error", "warn", "info", "debug", "trace", "event"];
                if !macros.iter().any(|name| line.contains(&format!("tracing::{name}!("))) {
                    continue;
                }
                lines += 1;
                let next = code.get(index + 1).map_or("", |(_, line)| line);
                let category = [line, next]
                    .iter()
                    .find_map(|line| line.split_once("target: \"")?.1.split_once('"').map(|(name, _)| name));
                if category.is_none_or(|category| !LOG_CATEGORIES.contains(&category)) {
                    complaints.push(complaint(&file, *number, "a log line needs a category as its target"));
                }
            }
        }
    }
    assert_none(complaints);
    assert!(lines > 20, "log lines are found");
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
fn what_the_load_generator_measures_with_is_its_own() {
    let mut complaints = Vec::new();
    for file in files_of_room("perf").iter().filter(|file| !file.path.ends_with("perf/client.rs")) {
        // TLS is the machine's, like the socket below it: nobody makes records of his own.
        for import in file.imports_of_rooms().iter().filter(|import| !is_within(&import.path, "tls")) {
            let what = format!("only the client, which logs in and declares, may import {}", import.path);
            complaints.push(complaint(file, import.line_number, &what));
        }
    }
    assert_none(complaints);
}

#[test]
fn every_room_is_on_the_map() {
    let lib = fs::read_to_string(package().join("src/lib.rs")).expect("src/lib.rs");
    let map: Vec<&str> = lib.lines().take_while(|line| line.starts_with("//!")).collect();
    let missing = rooms_of_library()
        .into_iter()
        .filter(|room| !map.iter().any(|line| line.contains(&format!("| [`{room}`] |"))))
        .map(|room| format!("src/lib.rs: {room} is not on the map at its top"))
        .collect();
    assert_none(missing);
}

#[test]
fn the_documents_name_files_that_exist() {
    let mut complaints = Vec::new();
    for folder in ["", "docs", "fuzz", "perf/results"] {
        let Ok(entries) = fs::read_dir(package().join(folder)) else { continue };
        let documents = entries.map(|entry| entry.expect("a readable entry").path());
        for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(&document).expect("readable text");
            let missing = linked_files(&text).filter(|target| !document.with_file_name(target).exists());
            let name = document.strip_prefix(package()).unwrap_or(&document).display();
            complaints.extend(missing.map(|target| format!("{name} links to {target}, which does not exist")));
        }
    }
    assert_none(complaints);
}
