//! What happened last, for whoever has to find out why. Nothing is written down until a seed has failed once.

use std::collections::VecDeque;

/// Lines of a failure's story, unless more are asked for.
pub const LINES: usize = 60;

#[derive(Default)]
pub struct Transcript {
    /// The last lines that are kept; 0 for nothing at all.
    lines_max: usize,
    lines: VecDeque<String>,
}

impl Transcript {
    pub fn wanted(lines_max: usize) -> Self {
        Self { lines_max, lines: VecDeque::new() }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.lines_max == 0 {
            return;
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line());
    }

    pub fn story(&self) -> String {
        self.lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}
