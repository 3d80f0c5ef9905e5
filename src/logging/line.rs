//! How a line looks.
//!
//! ```text
//! 2026-01-31T12:00:00.000Z INFO  [connection] connection 10.0.0.7:50000 -> 10.0.0.1:5672: user 'app' authenticated and …
//! {"time":"2026-01-31T12:00:00.000Z","level":"info","category":"connection","msg":"connection 10.0.0.7:…","user":"app",…}
//! ```
//!
//! Names that clients made up are in what is logged: with a line break they would look like another line, with an escape
//! code tell a terminal something, and with a mark of direction reorder what a person sees. So such characters are escaped.
//! And they may be long, so a line has a limit.

use super::calendar::write_time;
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// What of an event's text, and of each of its fields, is in the line, in bytes.
pub const TEXT_MAX_BYTES: usize = 4096;
/// Stands where a text was longer.
const CUT: &str = "…";

/// What reads the lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// People: time, level, category, text. What the fields say is in the text, too.
    Text,
    /// Programs: an object with the same, under RabbitMQ's names where it has one, and each field.
    Json,
}

/// A line with all that the event says.
pub fn line(format: Format, coloured: bool, unix_ms: u64, event: &Event<'_>) -> String {
    let mut line = String::new();
    // Writing into a String fails never.
    let _ = match format {
        Format::Text => write_text(&mut line, coloured, unix_ms, event),
        Format::Json => write_json(&mut line, unix_ms, event),
    };
    line.push('\n');
    line
}

/// A line that the logger itself has to say, as important as a warning, about the category.
pub fn line_of_ours(format: Format, unix_ms: u64, category: &str, text: &str) -> String {
    let mut line = String::new();
    let _ = write_ours(&mut line, format, unix_ms, category, text);
    line.push('\n');
    line
}

fn write_ours(line: &mut String, format: Format, unix_ms: u64, category: &str, text: &str) -> fmt::Result {
    match format {
        Format::Text => {
            write_time(line, unix_ms)?;
            write!(line, " {:<5} [{category}] {text}", Level::WARN.as_str())
        }
        Format::Json => {
            write_json_head(line, unix_ms, &Level::WARN, category)?;
            line.write_str(",\"msg\":")?;
            write_json_string(line, text)?;
            line.write_char('}')
        }
    }
}

fn write_text(line: &mut String, coloured: bool, unix_ms: u64, event: &Event<'_>) -> fmt::Result {
    let level = *event.metadata().level();
    let (colour, plain) = if coloured { (colour(level), "\x1b[0m") } else { ("", "") };
    write_time(line, unix_ms)?;
    write!(line, " {colour}{:<5}{plain} [{}] ", level.as_str(), event.metadata().target())?;
    let mut message = Message::default();
    event.record(&mut message);
    message.text.chars().try_for_each(|character| match is_unfit(character) {
        true => line.write_str(&character.escape_default().to_string()),
        false => line.write_char(character),
    })
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1m\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[36m",
    }
}

fn write_json(line: &mut String, unix_ms: u64, event: &Event<'_>) -> fmt::Result {
    write_json_head(line, unix_ms, event.metadata().level(), event.metadata().target())?;
    event.record(&mut Members { line });
    line.write_char('}')
}

/// The level in RabbitMQ's words.
fn write_json_head(line: &mut String, unix_ms: u64, level: &Level, category: &str) -> fmt::Result {
    let level = match *level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    };
    line.write_str("{\"time\":\"")?;
    write_time(line, unix_ms)?;
    write!(line, "\",\"level\":\"{level}\",\"category\":\"{category}\"")
}

fn write_json_string(line: &mut String, text: &str) -> fmt::Result {
    line.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => line.write_str("\\\"")?,
            '\\' => line.write_str("\\\\")?,
            // All of them are in the first plane, where one unit of UTF-16 is enough.
            unfit if is_unfit(unfit) => write!(line, "\\u{:04x}", u32::from(unfit))?,
            fit => line.write_char(fit)?,
        }
    }
    line.write_char('"')
}

/// Control characters, breaks of lines and paragraphs, and what changes the direction of writing.
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes a text up to its limit.
#[derive(Default)]
struct Text {
    text: String,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_MAX_BYTES - self.text.len().min(TEXT_MAX_BYTES);
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|at| part.is_char_boundary(*at)).unwrap_or_default();
        self.text.push_str(&part[..cut]);
        self.text.push_str(CUT);
        // Whoever writes need not go on.
        Err(fmt::Error)
    }
}

/// The text of an event alone.
#[derive(Default)]
struct Message {
    text: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            let mut text = Text::default();
            let _ = write!(text, "{value:?}");
            self.text = text.text;
        }
    }
}

/// What `tracing` calls the text of an event.
const MESSAGE: &str = "message";

/// All that an event says, as members of an object.
struct Members<'a> {
    line: &'a mut String,
}

impl Members<'_> {
    fn name(&mut self, field: &Field) {
        let name = if field.name() == MESSAGE { "msg" } else { field.name() };
        let _ = write!(self.line, ",\"{name}\":");
    }
}

impl Visit for Members<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let _ = write!(self.line, "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        let _ = write!(self.line, "{value}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.name(field);
        let mut text = Text::default();
        let _ = write!(text, "{value:?}");
        let _ = write_json_string(self.line, &text.text);
    }
}
