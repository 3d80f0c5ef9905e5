//! What happened last, for whoever has to find out why. Nothing is written down until a seed has failed once.

use std::collections::VecDeque;

/// Lines of a failure's story.
const LINES_MAX: usize = 60;

#[derive(Default)]
pub struct Transcript {
    wanted: bool,
    lines: VecDeque<String>,
}

impl Transcript {
    pub fn wanted() -> Self {
        Self { wanted: true, lines: VecDeque::new() }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.wanted {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line());
    }

    pub fn story(&self) -> String {
        self.lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}
