//! Lists as Erlang's `~p` writes them. What is an atom with RabbitMQ, and no truth value, is text here: JSON doesn't tell
//! one from the other.

use serde_json::Value;

/// How long a line of Erlang's is.
const LINE: usize = 80;

pub fn list(text: &mut String, columns: &[&str], rows: &[Vec<Value>]) {
    let fields = |row: &Vec<Value>| -> Vec<String> {
        columns.iter().zip(row).map(|(column, cell)| format!("{{{column},{}}}", term(cell))).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(fields).collect();
    let on_one_line = |row: &Vec<String>| format!("[{}]", row.join(","));
    let whole: Vec<String> = rows.iter().map(on_one_line).collect();
    let whole = format!("[{}]", whole.join(","));
    if whole.chars().count() <= LINE {
        text.push_str(&format!("{whole}\n"));
        return;
    }
    let row = |row: &Vec<String>| {
        let line = on_one_line(row);
        if line.chars().count() < LINE { line } else { format!("[{}]", row.join(",\n  ")) }
    };
    text.push_str(&format!("[{}]\n", rows.iter().map(row).collect::<Vec<_>>().join(",\n ")));
}

pub fn term(value: &Value) -> String {
    match value {
        Value::Null => "undefined".to_owned(),
        Value::String(text) => {
            let utf8 = if text.is_ascii() { "" } else { "/utf8" };
            format!("<<\"{}\"{utf8}>>", escaped(text))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(term).collect::<Vec<_>>().join(",")),
        Value::Object(entries) => {
            let pair = |(key, value): (&String, &Value)| format!("{{{},{}}}", term(&key.as_str().into()), term(value));
            format!("[{}]", entries.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            control if control.is_control() => escaped.push_str(&format!("\\x{{{:X}}}", control as u32)),
            other => escaped.push(other),
        }
        escaped
    })
}
