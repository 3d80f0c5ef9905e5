//! Why a configuration is refused, in one line that says where to look.

use super::layers::nearest;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable { path: PathBuf, reason: String },
    /// The file is not TOML, names an unknown key, or a value is not of its key's type.
    Malformed { path: PathBuf, line_number: Option<usize>, line: String, reason: String },
    /// A value is of the right type but makes no sense.
    OutOfRange { key: &'static str, value: String, expected: String },
    /// An environment variable's value makes no sense.
    Environment { variable: String, value: String, reason: String },
}

impl ConfigError {
    pub(super) fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map(|span| span.start.min(text.len()));
        let line_number = start.map(|start| text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count() + 1);
        let line = line_number.and_then(|number| text.lines().nth(number - 1)).unwrap_or_default().trim();
        // A password belongs in no log, not even a mistyped one.
        let line = if line.contains("pass") { "(secret)" } else { line }.to_owned();
        let reason = with_nearest(error.message().replace('\n', "; "));
        Self::Malformed { path: path.to_owned(), line_number, line, reason }
    }

    /// A line of another format than TOML.
    pub(super) fn line(path: &Path, line_number: usize, line: &str, reason: String) -> Self {
        let line = if line.contains("pass") { "(secret)" } else { line.trim() }.to_owned();
        Self::Malformed { path: path.to_owned(), line_number: Some(line_number), line, reason }
    }

    pub(super) fn variable(variable: &str, value: String, reason: String) -> Self {
        Self::Environment { variable: variable.to_owned(), value, reason }
    }

    pub(super) fn out_of_range(key: &'static str, value: impl Display, expected: impl Into<String>) -> Self {
        Self::OutOfRange { key, value: value.to_string(), expected: expected.into() }
    }
}

/// "unknown field `x`, expected one of `a`, `b`" with the one that was probably meant.
fn with_nearest(message: String) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = if message.starts_with("unknown field") { names.next() } else { None };
    match unknown.and_then(|unknown| nearest(unknown, names)) {
        Some(nearest) => format!("{message}; the nearest one is `{nearest}`"),
        None => message,
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "cannot read {}: {reason}", path.display()),
            Self::Malformed { path, line_number: Some(number), line, reason } => {
                write!(f, "{}, line {number}: {reason} (the line is: {line})", path.display())
            }
            Self::Malformed { path, line_number: None, reason, .. } => write!(f, "{}: {reason}", path.display()),
            Self::OutOfRange { key, value, expected } => write!(f, "{key} is {value}, but must be {expected}"),
            Self::Environment { variable, value, reason } => {
                write!(f, "the environment variable {variable} is {value:?}, but {reason}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn in_range<T: PartialOrd + std::fmt::Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::out_of_range(key, value, format!("between {} and {}", range.start(), range.end())))
}
