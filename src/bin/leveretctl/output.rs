//! rabbitmqctl's ways to print lists.

use serde_json::{Value, json};
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

#[derive(Clone, Copy)]
pub struct Output {
    pub format: Format,
    /// Lines that say what is being done.
    pub announces: bool,
    pub headers: bool,
}

impl Output {
    /// Says what is being done. Only people read that.
    pub fn announce(&self, line: fmt::Arguments<'_>) {
        if self.announces && self.format == Format::Table {
            println!("{line}");
        }
    }

    /// Says what came of it.
    pub fn say(&self, line: fmt::Arguments<'_>) {
        if self.announces {
            println!("{line}");
        }
    }

    /// Prints the one thing that was asked for.
    pub fn print_one(&self, text: &str) {
        match self.format {
            Format::Json => println!("{}", json!({ "message": text })),
            Format::Table | Format::Csv => println!("{text}"),
        }
    }

    pub fn list(&self, columns: &[&str], rows: &[Vec<Value>]) {
        print!("{}", self.text(columns, rows));
    }

    fn text(&self, columns: &[&str], rows: &[Vec<Value>]) -> String {
        let mut text = String::new();
        match self.format {
            Format::Json => json_lines(&mut text, columns, rows),
            Format::Table => separated(&mut text, "\t", self.headers, columns, rows, |cell| printable(&plain(cell))),
            Format::Csv => separated(&mut text, ",", self.headers, columns, rows, |cell| csv(&plain(cell))),
        }
        text
    }
}

/// A list of bare words, which other lists' text is not.
pub fn words(output: &Output, list: &Value) -> Value {
    if output.format == Format::Json {
        return list.clone();
    }
    let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    Value::from(format!("[{}]", words.collect::<Vec<_>>().join(", ")))
}

/// A table without rows has no header either.
fn separated(
    text: &mut String,
    separator: &str,
    headers: bool,
    columns: &[&str],
    rows: &[Vec<Value>],
    cell: impl Fn(&Value) -> String,
) {
    let mut line = |cells: Vec<String>| {
        text.push_str(&cells.join(separator));
        text.push('\n');
    };
    if headers && !rows.is_empty() {
        line(columns.iter().map(|column| cell(&Value::from(*column))).collect());
    }
    for row in rows {
        line(row.iter().map(&cell).collect());
    }
}

/// One row to a line, its fields in the order of the columns. What there is not is an empty text, as rabbitmqctl writes it.
fn json_lines(text: &mut String, columns: &[&str], rows: &[Vec<Value>]) {
    let there = |cell: &Value| if cell.is_null() { json!("") } else { cell.clone() };
    text.push_str("[\n");
    for (index, row) in rows.iter().enumerate() {
        let fields = columns.iter().zip(row).map(|(column, cell)| format!("{}:{}", Value::from(*column), there(cell)));
        let separator = if index > 0 { "," } else { "" };
        text.push_str(&format!("{separator}{{{}}}\n", fields.collect::<Vec<_>>().join(",")));
    }
    text.push_str("]\n");
}

/// A value as rabbitmqctl writes it: text as it is, tables and lists as Erlang terms.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => term(other),
    }
}

fn term(value: &Value) -> String {
    let list = |terms: Vec<String>| format!("[{}]", terms.join(","));
    match value {
        Value::Null => "undefined".to_owned(),
        Value::Array(values) => list(values.iter().map(term).collect()),
        Value::Object(entries) => {
            let pair = |(key, value): (&String, &Value)| format!("{{{},{}}}", quoted(key), term(value));
            list(entries.iter().map(pair).collect())
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Names may hold anything: control characters would move the columns, or the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, character| {
        if character.is_control() {
            line.push_str(&format!("\\{:03o}", character as u32));
        } else {
            line.push(character);
        }
        line
    })
}

fn csv(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format, headers: bool, rows: &[Vec<Value>]) -> String {
        Output { format, announces: true, headers }.text(&["name", "arguments"], rows)
    }

    fn rows() -> Vec<Vec<Value>> {
        let arguments = json!({"x-bool": true, "x-list": [1, "a"], "x-table": {"k": "v"}});
        vec![vec![json!("q"), arguments], vec![json!(""), json!({})]]
    }

    #[test]
    fn tables_are_separated_by_tabs() {
        let expected =
            "name\targuments\nq\t[{\"x-bool\",true},{\"x-list\",[1,\"a\"]},{\"x-table\",[{\"k\",\"v\"}]}]\n\t[]\n";
        assert_eq!(text(Format::Table, true, &rows()), expected);
        assert!(!text(Format::Table, false, &rows()).starts_with("name"));
        assert_eq!(text(Format::Table, true, &[]), "", "rabbitmqctl prints no header without rows");
    }

    #[test]
    fn csv_quotes_everything() {
        let expected = "\"name\",\"arguments\"\n\"a\"\"b\",\"[]\"\n";
        assert_eq!(text(Format::Csv, true, &[vec![json!("a\"b"), json!({})]]), expected);
    }

    #[test]
    fn json_is_a_row_to_a_line() {
        let rows = [vec![json!("a"), json!({})], vec![json!("b"), json!(null)]];
        let expected = "[\n{\"name\":\"a\",\"arguments\":{}}\n,{\"name\":\"b\",\"arguments\":\"\"}\n]\n";
        assert_eq!(text(Format::Json, true, &rows), expected);
    }

    #[test]
    fn names_cannot_move_columns_or_cursors() {
        assert_eq!(printable("a\tb\u{1b}[2Jc\nd"), "a\\011b\\033[2Jc\\012d");
        assert_eq!(printable("grün"), "grün");
    }
}
