//! What is logged, how and where.

use super::error::in_range;
use super::{ConfigError, LogLevel};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::str::FromStr;

/// More lines in a second than this nobody reads.
const LINES_PER_S_MOST: u32 = 1_000_000;
/// A turn of more than a minute is a broker that stands still.
const SLOW_TURN_MOST_MS: u64 = 60_000;

/// What is logged, how and where.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important lines that are logged, where their category says nothing.
    pub level: LogLevel,
    pub format: LogFormat,
    /// `stderr`, `stdout`, or a file.
    pub output: String,
    /// Lines of each category in a second; 0 for no limit.
    pub lines_per_s_max: u32,
    /// Turns of the loop that take longer are logged, with what they did; 0 for none.
    pub slow_turn_ms: u64,
    pub levels: CategoryLevels,
}

/// The least important lines of each category.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryLevels {
    pub connection: CategoryLevel,
    pub queue: CategoryLevel,
    pub auth: CategoryLevel,
    pub storage: CategoryLevel,
    pub cluster: CategoryLevel,
    pub management: CategoryLevel,
    pub general: CategoryLevel,
}

/// `default`, for that of all categories, or a level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CategoryLevel(pub Option<LogLevel>);

/// For whom a line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
            output: "stderr".to_owned(),
            lines_per_s_max: 1000,
            slow_turn_ms: 50,
            levels: CategoryLevels::default(),
        }
    }
}

impl Log {
    /// The least important lines of a category, by its name.
    pub fn level_of(&self, category: &str) -> LogLevel {
        let of_its_own = match category {
            "connection" => self.levels.connection,
            "queue" => self.levels.queue,
            "auth" => self.levels.auth,
            "storage" => self.levels.storage,
            "cluster" => self.levels.cluster,
            "management" => self.levels.management,
            "general" => self.levels.general,
            _ => CategoryLevel(None),
        };
        of_its_own.0.unwrap_or(self.level)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.output.is_empty() {
            let reason = "\"stderr\", \"stdout\" or the name of a file";
            return Err(ConfigError::out_of_range("log.output", "\"\"", reason));
        }
        in_range("log.lines_per_s_max", self.lines_per_s_max, 0..=LINES_PER_S_MOST)?;
        in_range("log.slow_turn_ms", self.slow_turn_ms, 0..=SLOW_TURN_MOST_MS)
    }
}

const AS_ALL: &str = "default";

impl Serialize for CategoryLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(level) => level.serialize(serializer),
            None => serializer.serialize_str(AS_ALL),
        }
    }
}

impl<'de> Deserialize<'de> for CategoryLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == AS_ALL {
            return Ok(Self(None));
        }
        LogLevel::from_str(&text).map(|level| Self(Some(level))).map_err(|_| {
            serde::de::Error::custom(format!("must be {AS_ALL}, off, error, warn, info, debug or trace, not {text:?}"))
        })
    }
}
