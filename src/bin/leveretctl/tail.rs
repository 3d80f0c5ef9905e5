//! `tail`: messages of a queue or an exchange as they come, without taking any.

use crate::api::{Api, Failure, segment};
use crate::output::{Format, Output, printable};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

/// How much longer than it lasts an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest event, in bytes: the broker's have a few hundred thousand at most.
const EVENT_BYTES_MAX: u64 = 4 << 20;

#[derive(Args)]
pub struct TailOptions {
    /// What to follow
    of: Of,
    /// Its name; the default exchange is called amq.default
    name: String,
    /// Only messages with a routing key like this: `*` is one word, `#` any number of them
    #[arg(long, value_name = "PATTERN")]
    routing_key: Option<String>,
    /// Only messages with this header
    #[arg(long, value_name = "NAME[=VALUE]")]
    header: Option<String>,
    /// Only messages with this text in the body
    #[arg(long)]
    text: Option<String>,
    /// Most messages in a second, up to 1000
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Most bytes of each body, up to 16384
    #[arg(long, default_value_t = 1024)]
    truncate: u32,
    /// For how long, as 30s or 5m: ten minutes at most
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = seconds)]
    lasts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Of {
    Queue,
    Exchange,
}

/// `30s`, `5m`, or seconds without a unit.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(|| "a time is 30s or 5m".to_owned())
}

/// Prints messages until they end, or whoever reads them does.
pub fn run(api: &Api, output: &Output, vhost: &str, options: &TailOptions) -> Result<(), Failure> {
    let (folder, of) = match options.of {
        Of::Queue => ("queues", "queue"),
        Of::Exchange => ("exchanges", "exchange"),
    };
    output.announce(format_args!("Following {of} '{}' in vhost '{vhost}' ...", options.name));
    let events = api.follow(&path(folder, vhost, options), Duration::from_secs(options.lasts) + PATIENCE)?;
    let mut counts = Value::Null;
    let mut stdout = std::io::stdout();
    for event in Events::of(events) {
        let Event { name, data } = event?;
        match name.as_str() {
            "message" => {
                output.note_printed();
                if writeln!(stdout, "{}", line(output.format, &data)).and_then(|()| stdout.flush()).is_err() {
                    return Ok(());
                }
            }
            "status" => counts = data,
            "end" if data["reason"] == "gone" => {
                return Err(Failure::NotFound(format!("{of} '{}' is gone, or no longer yours to read", options.name)));
            }
            "end" => {
                output.announce(format_args!("{}", conclusion(&counts)));
                return Ok(());
            }
            _ => {}
        }
    }
    Err(Failure::Unreachable("the broker broke off".to_owned()))
}

fn path(folder: &str, vhost: &str, options: &TailOptions) -> String {
    let TailOptions { name, routing_key, header, text, rate, truncate, lasts, .. } = options;
    let mut path =
        format!("{folder}/{}/{}/tail?rate={rate}&truncate={truncate}&seconds={lasts}", segment(vhost), segment(name));
    for (parameter, said) in [("routing_key", routing_key), ("header", header), ("text", text)] {
        if let Some(said) = said {
            path.push_str(&format!("&{parameter}={}", segment(said)));
        }
    }
    path
}

/// A message as a line: of fields for people, of JSON for programs.
fn line(format: Format, message: &Value) -> String {
    if format == Format::Json {
        return message.to_string();
    }
    let text = |name: &str| printable(message[name].as_str().unwrap_or_default());
    let queues = message["queues"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let queues = queues.map(printable).collect::<Vec<_>>().join(",");
    let rest = if message["truncated"] == true { "…" } else { "" };
    let arrow = if queues.is_empty() { "" } else { " → " };
    let size = message["payload_bytes"].as_u64().unwrap_or_default();
    let time = clock(message["time"].as_u64().unwrap_or_default());
    format!("{time}  {} {}{arrow}{queues}  {size} B  {}{rest}", text("exchange"), text("routing_key"), text("payload"))
}

/// The time of the day, in UTC.
fn clock(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000 % 86_400, unix_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn conclusion(counts: &Value) -> String {
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    let mut line = format!("{} seen, {} told", count("seen"), count("told"));
    for (name, why) in
        [("passed_over", "more than the rate"), ("dropped", "read too slowly"), ("unread", "too much to look at")]
    {
        if count(name) > 0 {
            line.push_str(&format!(", {} {why}", count(name)));
        }
    }
    line
}

/// Server-sent events, one after the other.
struct Events<R>(BufReader<R>);

struct Event {
    name: String,
    data: Value,
}

impl<R: Read> Events<R> {
    fn of(stream: R) -> Self {
        Self(BufReader::new(stream))
    }

    fn next_event(&mut self) -> std::io::Result<Option<Event>> {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let mut line = String::new();
            if self.0.by_ref().take(EVENT_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end().split_once(": ") {
                Some(("event", said)) => name = said.to_owned(),
                Some(("data", said)) => data = serde_json::from_str(said).unwrap_or_default(),
                None if !name.is_empty() => return Ok(Some(Event { name, data })),
                _ => {}
            }
        }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Result<Event, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().map_err(|error| Failure::Unreachable(error.to_string())).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_have_units() {
        assert_eq!([seconds("30s"), seconds("5m"), seconds("7")], [Ok(30), Ok(300), Ok(7)]);
        for wrong in ["", "s", "1h", "-1", "1.5s", "99999999999999999999", "999999999999999999m"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_is_a_line_that_moves_no_cursor() {
        let message = json!({
            "time": 86_400_000 + 3_723_004u64, "exchange": "x", "routing_key": "a\n", "queues": ["q", "r"],
            "payload": "\u{1b}[2Jhi", "payload_bytes": 2000, "truncated": true,
        });
        assert_eq!(line(Format::Table, &message), "01:02:03.004  x a\\012 → q,r  2000 B  \\033[2Jhi…");
        assert_eq!(line(Format::Json, &message), message.to_string());
    }

    #[test]
    fn events_end_with_an_empty_line() {
        let stream = "event: message\ndata: {\"a\":1}\n\n: a comment\n\nevent: end\ndata: {}\n\nevent: cut";
        let events: Vec<_> = Events::of(stream.as_bytes()).map(|event| event.unwrap()).collect();
        let names: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.data.clone())).collect();
        assert_eq!(names, [("message", json!({"a": 1})), ("end", json!({}))]);
    }
}
