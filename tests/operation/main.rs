//! What an operator meets: the program `leveret` with its settings, its log and its signals, and the files around it.

#![allow(
    clippy::disallowed_methods,
    reason = "these tests start programs, read and write files, and wait for what no program tells"
)]

mod check_config;
mod logs;
mod packaging;
mod process;
mod supervised;
#[expect(dead_code, reason = "shared with the suites that play transcripts, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;
