//! What `tracing` tells of events.
//!
//! A callsite asks once whether it is on, and again when the levels were [set](Filter::set): between, a line that is off
//! costs a comparison. There are no spans here.

use super::line::{Format, line};
use super::lines::Lines;
use super::{CATEGORIES, LevelFilter};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

type Levels = [LevelFilter; CATEGORIES.len()];

/// How important lines must be, in each category.
pub struct Filter {
    levels: Mutex<Levels>,
}

impl Filter {
    pub fn new(levels: Levels) -> Self {
        Self { levels: Mutex::new(levels) }
    }

    pub fn set(&self, levels: Levels) {
        *self.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
        tracing::callsite::rebuild_interest_cache();
    }

    fn levels(&self) -> Levels {
        *self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others' crates say of themselves is none of our categories, and off.
    pub fn is_on(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && category(metadata).is_some_and(|index| *metadata.level() <= self.levels()[index])
    }
}

fn category(metadata: &Metadata<'_>) -> Option<usize> {
    CATEGORIES.iter().position(|category| *category == metadata.target())
}

pub struct Logger {
    lines: Arc<Lines>,
    filter: Arc<Filter>,
    format: Format,
    coloured: bool,
}

impl Logger {
    pub fn new(lines: Arc<Lines>, filter: Arc<Filter>, format: Format, coloured: bool) -> Self {
        Self { lines, filter, format, coloured }
    }
}

impl Subscriber for Logger {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.filter.is_on(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.is_on(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter.levels().into_iter().max()
    }

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let Some(category) = category(event.metadata()) else { return };
        if self.lines.admits(category, level) {
            // Made before anything is locked: whatever is printed in it may panic, and that writes what waits.
            self.lines.push(&line(self.format, self.coloured, self.lines.unix_ms(), event), level);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
