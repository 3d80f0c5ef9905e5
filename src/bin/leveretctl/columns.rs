//! Which columns a list has, and where in the API's JSON they are.

use crate::api::Failure;
use serde_json::Value;

/// What a column shows.
#[derive(Clone, Copy)]
pub enum Source {
    /// A field of the row; dots lead into its parts.
    Field(&'static str),
    Always(&'static str),
    /// Nothing: rabbitmqctl knows it and this broker has no such thing.
    Nothing,
}

pub type Column = (&'static str, Source);

/// The columns that were asked for, or else the first `default` ones.
///
/// # Errors
/// For columns that there are not.
pub fn choose(all: &[Column], default: &[&'static str], asked: &[String]) -> Result<Vec<Column>, Failure> {
    let find = |name: &str| all.iter().find(|(known, _)| *known == name).copied();
    let asked: Vec<&str> = asked.iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).collect();
    if asked.is_empty() {
        return Ok(default.iter().filter_map(|name| find(name)).collect());
    }
    let unknown: Vec<&str> = asked.iter().copied().filter(|name| find(name).is_none()).collect();
    if !unknown.is_empty() {
        let keys = unknown.join(",");
        return Err(Failure::Usage(format!("Info key(s) {keys} are not supported")));
    }
    Ok(asked.iter().filter_map(|name| find(name)).collect())
}

/// Names of columns as they are asked for.
pub fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The cells of a row.
pub fn cells(columns: &[Column], row: &Value) -> Vec<Value> {
    let cell = |(_, source): &Column| match source {
        Source::Field(path) => path.split('.').fold(row, |value, part| &value[part]).clone(),
        Source::Always(text) => Value::from(*text),
        Source::Nothing => Value::Null,
    };
    columns.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: [Column; 3] =
        [("name", Source::Field("name")), ("tag", Source::Field("a.b")), ("kind", Source::Always("exchange"))];

    #[test]
    fn columns_come_in_the_order_they_were_asked_in() {
        let row = json!({"name": "n", "a": {"b": 1}});
        let asked = ["kind", "tag,name"].map(str::to_owned);
        let chosen = choose(&ALL, &["name"], &asked).unwrap();
        assert_eq!(cells(&chosen, &row), [json!("exchange"), json!(1), json!("n")]);
        assert_eq!(cells(&choose(&ALL, &["name"], &[]).unwrap(), &row), [json!("n")]);
    }

    #[test]
    fn unknown_columns_are_refused() {
        let failure = choose(&ALL, &["name"], &["name".to_owned(), "nonsense".to_owned()]).err().unwrap();
        assert_eq!(failure.to_string(), "Error (argument validation): Info key(s) nonsense are not supported");
        assert_eq!(failure.exit_code(), 64);
    }
}
