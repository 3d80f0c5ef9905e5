//! `top`: the busiest queues, drawn anew every few seconds.

use crate::api::{Api, Failure};
use crate::output::{Output, printable};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// Lines of a frame above those of queues, and the one below.
const LINES_AROUND: usize = 7;
/// How many lines a terminal has that doesn't say.
const TERMINAL_LINES: usize = 24;
/// The most queues in a frame.
const ROWS_MAX: usize = 500;
/// Names are cut there, in characters.
const NAME_MAX: usize = 48;

/// To the beginning, and what was there is gone.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Args)]
pub struct TopOptions {
    /// Draw one frame and end
    #[arg(long)]
    once: bool,
    /// Seconds between frames
    #[arg(short, long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
    /// How many queues [default: as many as fit]
    #[arg(long)]
    rows: Option<usize>,
    /// Which queues come first
    #[arg(long, value_enum, default_value_t = Order::Messages)]
    sort: Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Order {
    Messages,
    Unacknowledged,
    Publish,
    Deliver,
    Memory,
}

impl Order {
    fn field(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Unacknowledged => "messages_unacknowledged",
            Self::Publish => "message_stats.publish_details.rate",
            Self::Deliver => "message_stats.deliver_get_details.rate",
            Self::Memory => "memory",
        }
    }
}

/// Draws until it is interrupted.
pub fn run(api: &Api, output: &Output, options: &TopOptions) -> Result<(), Failure> {
    let lines = std::env::var("LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(TERMINAL_LINES);
    let rows = options.rows.unwrap_or(lines.saturating_sub(LINES_AROUND)).clamp(1, ROWS_MAX);
    if options.once {
        output.print(&frame(api, options.sort, rows)?);
        return Ok(());
    }
    loop {
        let text = match frame(api, options.sort, rows) {
            Ok(text) => text,
            // It may come back.
            Err(failure @ (Failure::Unreachable(_) | Failure::TimedOut(_))) => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        println!("{CLEAR}{text}");
        if io::stdout().flush().is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(options.delay));
    }
}

fn frame(api: &Api, order: Order, rows: usize) -> Result<String, Failure> {
    let overview = api.get("overview")?;
    let node = &api.get("nodes")?[0];
    let columns = "name,vhost,type,messages_ready,messages_unacknowledged,consumers,memory,message_stats";
    let field = order.field();
    let path = format!("queues?page=1&page_size={rows}&sort={field}&sort_reverse=true&columns={columns}");
    let queues = api.get(&path)?;
    Ok(draw(&overview, node, queues["items"].as_array().map_or(&[], Vec::as_slice)))
}

fn draw(overview: &Value, node: &Value, queues: &[Value]) -> String {
    let (objects, totals) = (&overview["object_totals"], &overview["queue_totals"]);
    let uptime_s = node["uptime"].as_u64().unwrap_or_default() / 1000;
    let alarms: Vec<&str> = [("mem_alarm", "memory"), ("disk_free_alarm", "disk")]
        .into_iter()
        .filter_map(|(flag, resource)| (node[flag] == true).then_some(resource))
        .collect();
    let rate = |name: &str| of_rate(&overview["message_stats"], name);
    let mut lines = vec![
        format!(
            "{}  {} {}  up {}",
            text(&overview["node"]),
            text(&overview["product_name"]),
            text(&overview["product_version"]),
            duration(uptime_s)
        ),
        format!(
            "connections {}  channels {}  consumers {}  queues {}  exchanges {}",
            objects["connections"], objects["channels"], objects["consumers"], objects["queues"], objects["exchanges"]
        ),
        format!(
            "memory {} of {}  disk free {}  alarms {}",
            size(&node["mem_used"]),
            size(&node["mem_limit"]),
            size(&node["disk_free"]),
            if alarms.is_empty() { "none".to_owned() } else { alarms.join(", ") }
        ),
        format!(
            "messages {} ready, {} unacknowledged  per second {} in, {} out, {} acknowledged",
            count(&totals["messages_ready"]),
            count(&totals["messages_unacknowledged"]),
            rate("publish"),
            rate("deliver_get"),
            rate("ack")
        ),
        String::new(),
    ];
    let header = ["queue", "vhost", "type", "ready", "unacked", "in/s", "out/s", "ack/s", "consumers", "memory"];
    let mut table = vec![header.map(str::to_owned)];
    table.extend(queues.iter().map(row));
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 10] = std::array::from_fn(width);
    lines.extend(table.iter().map(|row| {
        let cell = |(index, cell): (usize, &String)| {
            let width = widths[index];
            // Names to the left, numbers to the right.
            if index < 3 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }));
    lines.join("\n")
}

fn row(queue: &Value) -> [String; 10] {
    let rate = |name: &str| of_rate(&queue["message_stats"], name);
    [
        name(&queue["name"]),
        name(&queue["vhost"]),
        text(&queue["type"]).to_owned(),
        count(&queue["messages_ready"]),
        count(&queue["messages_unacknowledged"]),
        rate("publish"),
        rate("deliver_get"),
        rate("ack"),
        count(&queue["consumers"]),
        size(&queue["memory"]),
    ]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A name cannot move the cursor, and not fill the line.
fn name(value: &Value) -> String {
    let name = printable(text(value));
    match name.char_indices().nth(NAME_MAX) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name,
    }
}

fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |count| count.to_string())
}

/// What is not known is not made up.
fn of_rate(stats: &Value, name: &str) -> String {
    let rate = &stats[format!("{name}_details")]["rate"];
    rate.as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}

fn size(bytes: &Value) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(mut size) = bytes.as_f64() else { return "-".to_owned() };
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{size:.0} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{days}d {hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_frame_is_lines_of_what_is_known() {
        let overview = json!({
            "node": "n", "product_name": "Leveret", "product_version": "1",
            "object_totals": {"connections": 1, "channels": 2, "consumers": 3, "queues": 4, "exchanges": 5},
            "queue_totals": {"messages_ready": 6, "messages_unacknowledged": 7},
            "message_stats": {"publish_details": {"rate": 1000.4}},
        });
        let node = json!({"uptime": 90_061_000, "mem_used": 1536, "mem_limit": 1 << 30, "mem_alarm": true});
        let queue = json!({
            "name": "a\u{1b}[2J", "vhost": "/", "type": "classic", "messages_ready": 12, "messages_unacknowledged": 0,
            "consumers": 1, "memory": 100, "message_stats": {"publish_details": {"rate": 0.0}},
        });
        let expected = "\
n  Leveret 1  up 1d 01:01:01
connections 1  channels 2  consumers 3  queues 4  exchanges 5
memory 1.5 KiB of 1.0 GiB  disk free -  alarms memory
messages 6 ready, 7 unacknowledged  per second 1000 in, - out, - acknowledged

queue     vhost  type     ready  unacked  in/s  out/s  ack/s  consumers  memory
a\\033[2J  /      classic     12        0     0      -      -          1   100 B";
        assert_eq!(draw(&overview, &node, &[queue]), expected);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(name(&json!("ä".repeat(60))).chars().count(), NAME_MAX + 1);
    }
}
