//! How many lines there may be: clients can make the broker log, by logging in wrongly for instance, and whoever does it
//! again and again should hide nothing from who reads, nor fill the disk.
//!
//! Each category has so many lines in a second, and as many again for warnings and errors, so that what is wrong is not left
//! out for what is usual. What was left out is said once, when the second is over.

use super::CATEGORIES;
use tracing::Level;

const WINDOW_MS: u64 = 1000;

/// Lines left out of a category.
#[derive(PartialEq, Eq, Debug)]
pub struct LeftOut {
    pub category: &'static str,
    pub lines: u64,
}

#[derive(Clone, Copy, Default)]
struct Window {
    began_at_ms: u64,
    lines: u32,
    left_out: u64,
}

pub struct Flood {
    /// 0: no limit.
    lines_max: u32,
    /// Of each category what is usual, then what is wrong.
    windows: [[Window; 2]; CATEGORIES.len()],
    /// Of any window.
    has_left_out: bool,
}

impl Flood {
    pub fn new(lines_max: u32) -> Self {
        Self { lines_max, windows: Default::default(), has_left_out: false }
    }

    pub fn set_lines_max(&mut self, lines_max: u32) {
        self.lines_max = lines_max;
    }

    /// Whether one more line may be logged.
    pub fn admits(&mut self, category: usize, level: Level, now_ms: u64) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        let window = &mut self.windows[category][usize::from(level <= Level::WARN)];
        // What is left out of a window must be said before the next one begins.
        if window.left_out == 0 && now_ms >= window.began_at_ms + WINDOW_MS {
            *window = Window { began_at_ms: now_ms, ..Window::default() };
        }
        if window.lines < self.lines_max {
            window.lines += 1;
            return true;
        }
        window.left_out += 1;
        self.has_left_out = true;
        false
    }

    /// Whether there is something to say, at the latest in a second.
    pub fn has_left_out(&self) -> bool {
        self.has_left_out
    }

    /// What is to be said now, once.
    pub fn take_left_out(&mut self, now_ms: u64) -> Vec<LeftOut> {
        if !self.has_left_out {
            return Vec::new();
        }
        let mut all = Vec::new();
        self.has_left_out = false;
        for (category, windows) in CATEGORIES.into_iter().zip(&mut self.windows) {
            for window in windows.iter_mut().filter(|window| window.left_out > 0) {
                if now_ms >= window.began_at_ms + WINDOW_MS {
                    all.push(LeftOut { category, lines: window.left_out });
                    *window = Window { began_at_ms: now_ms, ..Window::default() };
                } else {
                    self.has_left_out = true;
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_and_what_is_left_out_is_said_once() {
        let mut flood = Flood::new(3);
        let admitted = (0..10).filter(|_| flood.admits(0, Level::INFO, 2005)).count();
        assert_eq!(admitted, 3);
        assert!(flood.has_left_out());
        assert_eq!(flood.take_left_out(3004), [], "the second is not over");
        assert_eq!(flood.take_left_out(3005), [LeftOut { category: CATEGORIES[0], lines: 7 }]);
        assert!(!flood.has_left_out());
        assert_eq!(flood.take_left_out(9999), []);
        assert!(flood.admits(0, Level::INFO, 3005));
    }

    #[test]
    fn what_is_usual_leaves_room_for_what_is_wrong_and_for_other_categories() {
        let mut flood = Flood::new(1);
        assert!(flood.admits(0, Level::INFO, 0) && !flood.admits(0, Level::DEBUG, 0));
        assert!(flood.admits(0, Level::ERROR, 0) && !flood.admits(0, Level::WARN, 0));
        assert!(flood.admits(1, Level::INFO, 0));
    }

    #[test]
    fn nothing_is_lost_from_the_account_while_nobody_takes_it() {
        let mut flood = Flood::new(1);
        assert!(flood.admits(0, Level::INFO, 0));
        assert!(!flood.admits(0, Level::INFO, 999) && !flood.admits(0, Level::INFO, 5000));
        assert_eq!(flood.take_left_out(5000), [LeftOut { category: CATEGORIES[0], lines: 2 }]);
    }

    #[test]
    fn without_a_limit_all_are_admitted() {
        let mut flood = Flood::new(0);
        assert!((0..100_000).all(|_| flood.admits(0, Level::INFO, 0)));
    }
}
