//! Reads the source tree as text: its rooms, their files, and what those import. It knows as much of Rust as that
//! takes, and relies on rustfmt for the rest.

use std::fs;
use std::path::{Path, PathBuf};

/// The library's name, which is what its rooms stand under in the programs.
const LIBRARY: &str = "leveret";

pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// What a path of the code leads to: `broker::queue::NEVER` of our rooms, or `mio::net::TcpStream` of a crate.
#[derive(Debug, PartialEq)]
pub struct Import {
    pub line_number: usize,
    pub path: String,
}

impl SourceFile {
    /// The lines with their numbers, without comments. (A `//` inside a string ends the line early, which can only
    /// hide something.)
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// Everything that is reached from the library's root, by name or by climbing: `broker::Queue` for
    /// `crate::broker::Queue`, for `leveret::broker::Queue`, and for as many `super::` as lead out of the room. `*`
    /// is the root as a whole.
    pub fn imports_of_rooms(&self) -> Vec<Import> {
        let module = module_of(&self.path);
        let mut found = Vec::new();
        // How deep the inline modules around a line stand, by their indentation.
        let mut inline_modules: Vec<usize> = Vec::new();
        let mut offset = 0;
        let code = self.text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        let mut read_up_to = 0;
        for (index, line) in code.lines().enumerate() {
            let indentation = line.len() - line.trim_start().len();
            if line.trim_start() == "}" && inline_modules.last() == Some(&indentation) {
                inline_modules.pop();
            }
            for start in starts_of_paths(line).map(|at| offset + at) {
                if start < read_up_to {
                    continue;
                }
                let depth = module.as_ref().map(|module| module.len() + inline_modules.len());
                let mut paths = Vec::new();
                read_up_to = code.len() - read_path(&code[start..], depth, &mut paths).len();
                found.extend(paths.into_iter().map(|path| Import { line_number: index + 1, path }));
            }
            if is_inline_module(line) {
                inline_modules.push(indentation);
            }
            offset += line.len() + 1;
        }
        found
    }

    /// The lines that name something of a crate.
    pub fn lines_that_name_crate(&self, name: &str) -> impl Iterator<Item = usize> {
        self.code().filter(move |(_, line)| starts_of(line, name).next().is_some()).map(|(number, _)| number)
    }
}

pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `folder` of the package, sorted; none if the folder does not exist.
pub fn files_under(folder: &str) -> Vec<SourceFile> {
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
                files.push(read_file(&path));
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn read_file(path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).expect("readable source");
    SourceFile { path: path.strip_prefix(package()).unwrap_or(path).to_owned(), text }
}

/// The names of all rooms: what stands in `src` and in `src/bin`, and the load generator beside them.
pub fn rooms() -> Vec<String> {
    let mut rooms = vec!["perf".to_owned()];
    for folder in ["src", "src/bin"] {
        for entry in fs::read_dir(package().join(folder)).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            // The library's root is the map and holds nothing; `bin` is no room but a corridor.
            if !path.ends_with("src/lib.rs") && !path.ends_with("src/bin") {
                rooms.push(name);
            }
        }
    }
    rooms.sort();
    rooms.dedup();
    rooms
}

pub fn files_of_room(room: &str) -> Vec<SourceFile> {
    let folder = if room == "perf" { "perf".to_owned() } else { format!("src/{room}") };
    let mut files = files_under(&folder);
    files.extend(files_under(&format!("src/bin/{room}")));
    for file in [format!("src/{room}.rs"), format!("src/bin/{room}.rs")] {
        if package().join(&file).exists() {
            files.push(read_file(&package().join(&file)));
        }
    }
    files
}

/// The rooms that make up the library.
pub fn rooms_of_library() -> Vec<String> {
    let lib = fs::read_to_string(package().join("src/lib.rs")).expect("src/lib.rs");
    lib.lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The crates of others that the programs are built from.
pub fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).expect("Cargo.toml");
    // Those of every machine, and those of some.
    let is_ours =
        |title: &str| title == "dependencies" || title.starts_with("target.") && title.ends_with("'.dependencies");
    let sections = manifest.split("\n[").filter_map(|section| section.split_once("]\n"));
    sections
        .filter(|(title, _)| is_ours(title))
        .flat_map(|(_, dependencies)| dependencies.lines())
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

/// Whether `line` names `wanted` as whole words.
pub fn names(line: &str, wanted: &str) -> bool {
    line.match_indices(wanted)
        .any(|(at, _)| !line[..at].ends_with(is_identifier) && !line[at + wanted.len()..].starts_with(is_identifier))
}

/// The targets of `[text](target)` that are files of the package.
pub fn linked_files(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The identifier at the beginning of `text`.
fn identifier(text: &str) -> &str {
    text.split(|character| !is_identifier(character)).next().unwrap_or_default()
}

/// Where in `line` a path starts with `root`.
fn starts_of(line: &str, root: &str) -> impl Iterator<Item = usize> {
    line.match_indices(root).map(|(at, _)| at).filter(move |at| {
        let is_first = !line[..*at].ends_with(|before| is_identifier(before) || before == ':');
        is_first && line[at + root.len()..].starts_with("::")
    })
}

/// Where in `line` a path starts that may lead to another room, from left to right.
fn starts_of_paths(line: &str) -> impl Iterator<Item = usize> {
    let mut starts: Vec<usize> =
        ["crate", "super", "self", LIBRARY].into_iter().flat_map(|root| starts_of(line, root)).collect();
    starts.sort_unstable();
    starts.into_iter()
}

/// The module that a file of the library is, as the names from the root to it; none for the files of programs, whose
/// `crate` and `super` never lead to a room.
fn module_of(path: &Path) -> Option<Vec<String>> {
    let inside = path.strip_prefix("src").ok()?;
    let mut names: Vec<String> =
        inside.with_extension("").iter().map(|name| name.to_str().expect("a name").to_owned()).collect();
    if !rooms_of_library().contains(names.first()?) {
        return None;
    }
    names.pop_if(|name| name == "mod");
    Some(names)
}

fn is_inline_module(line: &str) -> bool {
    let line = line.trim_start();
    let is_module = line.starts_with("mod ") || line.starts_with("pub mod ") || line.starts_with("pub(");
    is_module && names(line, "mod") && line.ends_with('{')
}

/// Reads the path or the group of paths at the start of `text`, seen from a module so many names below the library's
/// root (none outside of the library), and adds to `found` those that lead through the root. Returns what follows it.
fn read_path<'a>(text: &'a str, depth: Option<usize>, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let name = identifier(text);
    let after = &text[name.len()..];
    let (at_root, below) = match name {
        "crate" => (depth.is_some(), depth.map(|_| 0)),
        "super" => (depth == Some(1), depth.map(|depth| depth.saturating_sub(1))),
        "self" => (false, depth),
        LIBRARY => (true, Some(0)),
        _ => (false, None),
    };
    let Some(rest) = after.strip_prefix("::") else { return after };
    match rest.trim_start() {
        _ if at_root => read_below("", rest, found),
        group if group.starts_with('{') => read_group(group, |member| read_path(member, below, found)),
        // A name ends what may climb; what stands below it is in the same room.
        _ if below.is_none() => read_below("", rest, &mut Vec::new()),
        _ => read_path(rest, below, found),
    }
}

/// Reads what stands below `parent`, downwards only, and adds every path of it to `found` as a whole.
fn read_below<'a>(parent: &str, text: &'a str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let join = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}::{name}") };
    if text.starts_with('{') {
        return read_group(text, |member| read_below(parent, member, found));
    }
    let name = if text.starts_with('*') { "*" } else { identifier(text) };
    let after = &text[name.len()..];
    match after.strip_prefix("::") {
        Some(rest) if !rest.starts_with('<') => read_below(&join(name), rest, found),
        _ => {
            found.push(if name == "self" { parent.to_owned() } else { join(name) });
            after
        }
    }
}

/// Lets `read` have each member of the group at the start of `text`; returns what follows the group.
fn read_group<'a>(text: &'a str, mut read: impl FnMut(&'a str) -> &'a str) -> &'a str {
    let mut rest = &text[1..];
    loop {
        rest = rest.trim_start();
        match rest.chars().next() {
            None => return rest,
            Some('}') => return &rest[1..],
            Some(',') => rest = &rest[1..],
            Some(_) => {
                let after = read(rest);
                // `name as other`, and whatever else is none of ours, is passed over.
                rest = &after[after.find([',', '}']).unwrap_or(after.len())..];
            }
        }
    }
}

/// The checks pass on an empty tree, so their eyes are tested too.
mod eyes {
    use super::*;

    fn imports(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile { path: PathBuf::from(path), text: text.to_owned() };
        file.imports_of_rooms().into_iter().map(|import| import.path).collect()
    }

    fn in_broker(text: &str) -> Vec<String> {
        imports("src/broker/queue/paged.rs", text)
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn see_imports_in_all_their_forms() {
        assert_eq!(in_broker("use crate::config::Config;"), ["config::Config"]);
        assert_eq!(in_broker("use crate::{broker::{Queue, exchange}, protocol};").len(), 3);
        assert_eq!(in_broker("let x = leveret::config::Config::default();"), ["config::Config::default"]);
        assert_eq!(in_broker("fn f(x: &crate::server::Hub<u8>, y: crate::storage::Log) {}").len(), 2);
        assert_eq!(in_broker("let hub = crate::server::Hub::<u8>::new();"), ["server::Hub"]);
        assert_eq!(in_broker("use crate::*;"), ["*"]);
        assert_eq!(
            in_broker("use crate::config::{self, Config as Settings, *};"),
            ["config", "config::Config", "config::*"]
        );
        assert_eq!(in_broker("pub(crate) fn f(); // crate::server"), NOTHING);
        assert_eq!(in_broker("use other_crate::broker;"), NOTHING);
        assert_eq!(in_broker("use other::crate::broker;"), NOTHING);
    }

    #[test]
    fn see_a_group_over_several_lines() {
        let text = "use a;\nuse crate::{\n    config::{\n        Config, Identity,\n    },\n    server,\n};\nuse b;\n";
        assert_eq!(in_broker(text), ["config::Config", "config::Identity", "server"]);
    }

    #[test]
    fn see_who_climbs_out_of_a_room() {
        // Two lead to the room itself, three to the house.
        assert_eq!(in_broker("use super::super::store::Store;"), NOTHING);
        assert_eq!(in_broker("use super::super::super::storage::LogStore;"), ["storage::LogStore"]);
        assert_eq!(in_broker("use self::super::super::super::server;"), ["server"]);
        assert_eq!(in_broker("use super::super::{message, super::config::Config};"), ["config::Config"]);
        assert_eq!(imports("src/broker/queue/mod.rs", "super::super::server::run();"), ["server::run"]);
        assert_eq!(imports("src/broker/page.rs", "use super::super::server;"), ["server"]);
        assert_eq!(imports("src/varint.rs", "use super::{broker, config};"), ["broker", "config"]);
        assert_eq!(imports("src/varint.rs", "use super::*;"), ["*"]);
    }

    #[test]
    fn see_that_a_module_inside_a_file_is_one_step_further_in() {
        let inside = "mod tests {\n    use super::super::config;\n    mod more {\n        \
                      use super::super::super::storage;\n    }\n}\n";
        let behind = format!("{inside}use super::super::server;\n");
        assert_eq!(imports("src/varint.rs", "mod tests {\n    use super::*;\n}\n"), NOTHING);
        assert_eq!(imports("src/varint.rs", "pub(crate) mod a {\n    use super::super::server;\n}\n"), ["server"]);
        assert_eq!(imports("src/varint.rs", inside), ["config", "storage"]);
        assert_eq!(imports("src/broker/page.rs", &behind), ["server"], "what stands inside stays in the room");
    }

    #[test]
    fn see_that_a_program_is_a_house_of_its_own() {
        assert_eq!(imports("perf/report.rs", "use crate::server;\nuse super::config;\n"), NOTHING);
        assert_eq!(imports("perf/report.rs", "use leveret::{protocol, server::Hub};"), ["protocol", "server::Hub"]);
        assert_eq!(imports("src/bin/leveretctl/api.rs", "use super::server;"), NOTHING);
        assert_eq!(imports("src/main.rs", "leveret::server::run();"), ["server::run"]);
    }

    #[test]
    fn see_every_room() {
        let rooms = rooms();
        for room in ["broker", "varint", "main", "leveretctl", "perf"] {
            assert!(rooms.iter().any(|name| name == room) && !files_of_room(room).is_empty(), "{room}");
        }
        assert!(!rooms.iter().any(|room| room == "lib" || room == "bin"));
        assert!(rooms_of_library().len() > 5 && crates().len() > 5);
    }

    #[test]
    fn see_whole_words_only() {
        assert!(names("use mio::net;", "mio") && names("std::net::TcpStream", "std::net"));
        assert!(!names("let demion = 1;", "mio") && !names("std::network", "std::net"));
        assert_eq!(starts_of("use log::warn; storage::log::new()", "log").collect::<Vec<_>>(), [4]);
        let marker = format!("{}!", "dbg");
        assert!(names(&format!("{marker}(x)"), &marker) && !names(&format!("my_{marker}(x)"), &marker));
    }

    #[test]
    fn see_links_to_files() {
        let markdown = "[a](src/lib.rs) [b](CONTRIBUTING.md#habits) [c](#here) [d](https://example.org/x)";
        assert_eq!(linked_files(markdown).collect::<Vec<_>>(), ["src/lib.rs", "CONTRIBUTING.md"]);
    }
}
