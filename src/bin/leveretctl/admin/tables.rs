//! rabbitmqadmin's ways to print lists of JSON objects.

use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Format {
    RawJson,
    PrettyJson,
    Tsv,
    Long,
    Table,
    Kvp,
    Bash,
}

impl Format {
    pub fn is_json(self) -> bool {
        matches!(self, Self::RawJson | Self::PrettyJson)
    }
}

/// Columns that come first where all are shown.
const PROMOTED: [&str; 7] = ["vhost", "name", "type", "source", "destination", "destination_type", "routing_key"];

/// What is to be printed of a list.
pub struct Shown<'a> {
    /// All of them if there are none.
    pub columns: &'a [String],
    /// Columns that hold JSON.
    pub json: &'a [&'a str],
    /// How many levels of objects within objects are columns of their own, where all are shown.
    pub depth: usize,
    pub format: Format,
    /// Also lines that only people read.
    pub is_verbose: bool,
}

impl Shown<'_> {
    pub fn text(&self, items: &[Value]) -> String {
        let depth = if self.columns.is_empty() { self.depth } else { usize::MAX };
        let flat: Vec<BTreeMap<String, String>> = items
            .iter()
            .map(|item| {
                let mut cells = BTreeMap::new();
                self.flatten("", 1, depth, item, &mut cells);
                cells
            })
            .collect();
        let columns: Vec<String> = match self.columns.is_empty() {
            false => self.columns.to_vec(),
            true => {
                let mut columns: Vec<String> = flat.iter().flat_map(BTreeMap::keys).cloned().collect();
                let place = |column: &String| PROMOTED.iter().position(|name| name == column).unwrap_or(PROMOTED.len());
                columns.sort_by_cached_key(|column| (place(column), column.clone()));
                columns.dedup();
                columns
            }
        };
        if flat.is_empty() {
            return if self.is_verbose { "No items\n".to_owned() } else { String::new() };
        }
        let row = |cells: &BTreeMap<String, String>| -> Vec<String> {
            columns.iter().map(|column| cells.get(column).cloned().unwrap_or_default()).collect()
        };
        let rows: Vec<Vec<String>> = flat.iter().map(row).collect();
        match self.format {
            Format::Tsv => tsv(&columns, &rows, self.is_verbose),
            Format::Long => long(&columns, &rows),
            Format::Kvp => key_values(&columns, &rows),
            Format::Bash => names(&columns, &rows),
            Format::Table | Format::RawJson | Format::PrettyJson => table(&columns, &rows),
        }
    }

    /// Objects in objects become columns whose names have dots.
    fn flatten(&self, prefix: &str, level: usize, depth: usize, item: &Value, cells: &mut BTreeMap<String, String>) {
        for (key, value) in item.as_object().into_iter().flatten() {
            let column = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            let cell = match value {
                Value::Object(_) if self.json.contains(&key.as_str()) => json(value),
                Value::Object(_) if level < depth => {
                    self.flatten(&column, level + 1, depth, value, cells);
                    continue;
                }
                Value::Object(_) => continue,
                Value::Array(values) if values.iter().all(Value::is_string) => {
                    values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                }
                Value::Array(_) => json(value),
                Value::String(text) => printable(text),
                Value::Null => String::new(),
                // As Python says it.
                Value::Bool(true) => "True".to_owned(),
                Value::Bool(false) => "False".to_owned(),
                Value::Number(number) => number.to_string(),
            };
            cells.insert(column, cell);
        }
    }
}

/// Names cannot move the terminal's cursor.
fn printable(text: &str) -> String {
    crate::output::printable(text)
}

/// JSON with the spaces that Python puts into it.
fn json(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(json).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), json(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn tsv(columns: &[String], rows: &[Vec<String>], has_head: bool) -> String {
    let mut text = String::new();
    if has_head {
        text.push_str(&format!("{}\n", columns.join("\t")));
    }
    rows.iter().for_each(|row| text.push_str(&format!("{}\n", row.join("\t"))));
    text
}

fn long(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = columns.iter().map(|column| column.chars().count()).max().unwrap_or_default();
    let line = format!("\n{}\n\n", "-".repeat(80));
    let mut text = line.clone();
    for row in rows {
        for (column, cell) in columns.iter().zip(row) {
            text.push_str(&format!("{column:>width$}: {cell}\n"));
        }
        text.push_str(&line);
    }
    text
}

fn key_values(columns: &[String], rows: &[Vec<String>]) -> String {
    let pairs = |row: &Vec<String>| {
        let pairs = columns.iter().zip(row).map(|(column, cell)| format!("{column}=\"{cell}\""));
        format!("{}\n", pairs.collect::<Vec<_>>().join(" "))
    };
    rows.iter().map(pairs).collect()
}

fn names(columns: &[String], rows: &[Vec<String>]) -> String {
    match columns.iter().position(|column| column == "name") {
        Some(at) => format!("{}\n", rows.iter().map(|row| row[at].as_str()).collect::<Vec<_>>().join(" ")),
        None => String::new(),
    }
}

fn table(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = |(index, column): (usize, &String)| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([column.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let bar = format!("+{}\n", widths.iter().map(|width| format!("{}+", "-".repeat(width + 2))).collect::<String>());
    let head: String = columns.iter().zip(&widths).map(|(column, width)| format!(" {column:^width$} |")).collect();
    let mut text = format!("{bar}|{head}\n{bar}");
    for row in rows {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |")).collect();
        text.push_str(&format!("|{cells}\n"));
    }
    text + &bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(format: Format, columns: &[&str], depth: usize) -> String {
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let shown = Shown { columns: &columns, json: &["definition"], depth, format, is_verbose: true };
        shown.text(&[
            json!({"name": "a", "messages": 10, "durable": true, "stats": {"in": 1.0}, "definition": {"x": [1, "y"]}}),
            json!({"name": "längeres", "tags": ["b", "c"], "list": [1, null]}),
        ])
    }

    #[test]
    fn tables_have_their_heads_in_the_middle() {
        let expected = "\
+----------+----------+
|   name   | messages |
+----------+----------+
| a        | 10       |
| längeres |          |
+----------+----------+
";
        assert_eq!(text(Format::Table, &["name", "messages"], 1), expected);
    }

    #[test]
    fn columns_that_nobody_chose_are_sorted_behind_those_that_come_first() {
        let head = |depth| text(Format::Tsv, &[], depth).lines().next().unwrap().to_owned();
        assert_eq!(head(1), "name\tdefinition\tdurable\tlist\tmessages\ttags");
        assert_eq!(head(2), "name\tdefinition\tdurable\tlist\tmessages\tstats.in\ttags");
    }

    #[test]
    fn values_are_told_as_python_tells_them() {
        assert_eq!(
            text(Format::Kvp, &["name", "durable", "stats.in", "definition", "tags", "list"], 1),
            "name=\"a\" durable=\"True\" stats.in=\"1.0\" definition=\"{\"x\": [1, \"y\"]}\" tags=\"\" list=\"\"\n\
             name=\"längeres\" durable=\"\" stats.in=\"\" definition=\"\" tags=\"b c\" list=\"[1, null]\"\n"
        );
        assert_eq!(text(Format::Bash, &["name"], 1), "a längeres\n");
        assert!(text(Format::Long, &["name"], 1).starts_with(&format!("\n{}\n\nname: a\n", "-".repeat(80))));
    }
}
