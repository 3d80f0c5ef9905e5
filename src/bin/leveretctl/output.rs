//! rabbitmqctl's ways to print lists.

mod erlang;
mod pretty;

use crate::tool::Tool;
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Format {
    Table,
    Json,
    Csv,
    PrettyTable,
    Erlang,
}

pub struct Output {
    pub format: Format,
    /// Lines that say what is being done.
    pub announces: bool,
    pub headers: bool,
    /// A check that passes says nothing.
    pub is_silent: bool,
    pub tool: Tool,
    /// What the broker is called in sentences.
    pub product: &'static str,
    has_printed: Cell<bool>,
}

impl Output {
    pub fn new(tool: Tool, format: Format, [is_quiet, is_silent, no_headers]: [bool; 3]) -> Self {
        Self {
            format,
            announces: !is_quiet && !is_silent,
            headers: !is_silent && !no_headers,
            is_silent,
            tool,
            product: tool.product(),
            has_printed: Cell::new(false),
        }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A list that is a table with lines around it, where nothing else is asked for.
    pub fn pretty(&self, columns: &[&str], rows: &[Vec<Value>]) {
        let format = if self.format == Format::Table { Format::PrettyTable } else { self.format };
        self.has_printed.set(true);
        print!("{}", text(format, self.headers, columns, rows));
    }

    /// Whether programs read it.
    fn is_for_programs(&self) -> bool {
        matches!(self.format, Format::Json | Format::Csv)
    }

    /// Programs that want JSON get some, also of commands that people hear nothing of.
    pub fn finish<E>(&self, node: impl FnOnce() -> Result<String, E>) -> Result<(), E> {
        if self.format == Format::Json && !self.has_printed.get() {
            self.print(&json!({"node": node()?, "result": "ok"}).to_string());
        }
        Ok(())
    }

    /// Says what is being done. Only people read that.
    pub fn announce(&self, line: fmt::Arguments<'_>) {
        if self.announces && !self.is_for_programs() {
            println!("{line}");
        }
    }

    /// Says what came of it, however quiet it is to be: a line, or JSON.
    pub fn conclude(&self, line: &str, json: impl FnOnce() -> Value) {
        match self.format {
            Format::Json => self.print(&json().to_string()),
            Format::Table | Format::Csv | Format::PrettyTable => self.print(line),
            Format::Erlang => self.print(&erlang::term(&Value::from(line))),
        }
    }

    /// Says what came of it, where that is a line of text.
    pub fn say(&self, line: &str) {
        self.conclude(line, || json!({ "message": line }));
    }

    /// Something was printed another way.
    pub fn note_printed(&self) {
        self.has_printed.set(true);
    }

    /// Prints a text of lines.
    pub fn print(&self, text: &str) {
        self.has_printed.set(true);
        println!("{text}");
    }

    pub fn list(&self, columns: &[&str], rows: &[Vec<Value>]) {
        self.list_with(self.headers, columns, rows);
    }

    /// As a list that has no headers, whatever is asked for.
    pub fn list_without_headers(&self, columns: &[&str], rows: &[Vec<Value>]) {
        self.list_with(false, columns, rows);
    }

    fn list_with(&self, headers: bool, columns: &[&str], rows: &[Vec<Value>]) {
        self.has_printed.set(true);
        print!("{}", text(self.format, headers, columns, rows));
    }
}

fn text(format: Format, headers: bool, columns: &[&str], rows: &[Vec<Value>]) -> String {
    let mut text = String::new();
    match format {
        Format::Json => json_lines(&mut text, columns, rows),
        Format::Table => separated(&mut text, "\t", headers, columns, rows, |cell| printable(&plain(cell))),
        Format::Csv => separated(&mut text, ",", headers, columns, rows, |cell| csv(&plain(cell))),
        Format::PrettyTable => pretty::table(&mut text, columns, rows),
        Format::Erlang => erlang::list(&mut text, columns, rows),
    }
    text
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
pub fn printable(text: &str) -> String {
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
        super::text(format, headers, &["name", "arguments"], rows)
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
    fn pretty_tables_are_boxes() {
        let rows = [vec![json!("a"), json!({})], vec![json!("längeres"), json!({"x": 1})]];
        let expected = "\
┌──────────┬───────────┐
│ name     │ arguments │
├──────────┼───────────┤
│ a        │ []        │
├──────────┼───────────┤
│ längeres │ [{\"x\",1}] │
└──────────┴───────────┘
";
        assert_eq!(text(Format::PrettyTable, true, &rows), expected);
        assert_eq!(text(Format::PrettyTable, true, &[]), "");
    }

    #[test]
    fn erlang_is_terms_that_erlang_reads() {
        let expected = "[[{name,<<\"q\">>},{arguments,[{<<\"a\">>,1}]}],\n [{name,<<\"é\"/utf8>>},{arguments,[]}]]\n";
        let rows = [vec![json!("q"), json!({"a": 1})], vec![json!("é"), json!({})]];
        assert_eq!(text(Format::Erlang, true, &rows), expected);
        let long = "x".repeat(70);
        let rows = [vec![json!(long), json!(true)], vec![json!("b"), json!(null)]];
        let expected = format!(
            "[[{{name,<<\"{long}\">>}},\n  {{arguments,true}}],\n [{{name,<<\"b\">>}},{{arguments,undefined}}]]\n"
        );
        assert_eq!(text(Format::Erlang, true, &rows), expected);
    }

    #[test]
    fn names_cannot_move_columns_or_cursors() {
        assert_eq!(printable("a\tb\u{1b}[2Jc\nd"), "a\\011b\\033[2Jc\\012d");
        assert_eq!(printable("grün"), "grün");
    }
}
