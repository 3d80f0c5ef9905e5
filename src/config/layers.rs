//! Settings one by one, and where each of them comes from.
//!
//! What the defaults know is all that there is: every key of theirs, as `limits.channel_max`, is also an environment
//! variable, `LEVERET_LIMITS_CHANNEL_MAX`. Each source sets keys in a table, which must still be a configuration after every
//! one, so that whatever is wrong has a place.

use super::{Config, ConfigError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What begins the names of our environment variables.
const PREFIX: &str = "LEVERET_";
/// What stands for a value that nobody is to see.
const SECRET: &str = "(secret)";

/// Where a setting comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Default,
    File { path: PathBuf, line_number: usize },
    Variable(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line_number } => write!(f, "{}, line {line_number}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// A setting as a source has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Assignment {
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

/// Every key with its value.
pub fn flat(config: &Config) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let table = Table::try_from(config).expect("settings are numbers, texts and lists of them");
    flatten(&table, "", &mut all);
    all
}

fn flatten(table: &Table, prefix: &str, all: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        match value {
            // A table that has no keys of its own but those that somebody gives it.
            Value::Table(inner) if !inner.is_empty() => flatten(inner, &format!("{prefix}{key}."), all),
            _ => drop(all.insert(format!("{prefix}{key}"), value.clone())),
        }
    }
}

/// The configuration with one more setting. Where that makes no configuration, says why.
pub fn assign(config: &Config, key: &str, value: Value) -> Result<Config, String> {
    let mut root = Table::try_from(config).map_err(|error| error.to_string())?;
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut table = &mut root;
    for part in parts {
        let Some(Value::Table(inner)) = table.get_mut(part) else { return Err(format!("there is no setting {key}")) };
        table = inner;
    }
    table.insert(last.to_owned(), value);
    Config::deserialize(root).map_err(|error| error.message().replace('\n', "; "))
}

/// A value of the kind that a key has, out of the text of an environment variable.
fn value_like(kind: &Value, text: &str) -> Result<Value, &'static str> {
    let number = || text.replace('_', "");
    Ok(match kind {
        Value::Integer(_) => Value::Integer(number().parse().map_err(|_| "must be a whole number")?),
        Value::Float(_) if !text.contains('.') => Value::Integer(number().parse().map_err(|_| "must be a number")?),
        Value::Float(_) => Value::Float(number().parse().map_err(|_| "must be a number")?),
        Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| "must be true or false")?),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let parsed: Table = toml::from_str(&format!("list = {text}")).map_err(|_| "must be a list as in TOML")?;
            parsed.get("list").cloned().ok_or("must be a list as in TOML")?
        }
        Value::Array(_) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
        Value::Table(_) => table_of(text).ok_or("must be a list such as n1=10.0.0.1:25672,n2=10.0.0.2:25672")?,
        _ => Value::String(text.to_owned()),
    })
}

/// `one=text,other=text`
fn table_of(text: &str) -> Option<Value> {
    let pair = |part: &str| part.split_once('=').map(|(key, text)| (key.trim().to_owned(), text.trim().into()));
    text.split(',').map(pair).collect::<Option<Table>>().map(Value::Table)
}

/// The environment variable of a key.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "_"))
}

/// Takes the variables of all keys over. An empty one counts as not set.
pub fn apply_variables(
    config: &mut Config,
    environment: impl Fn(&str) -> Option<String>,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    for (key, kind) in flat(&Config::default()) {
        let variable = variable_of(&key);
        let Some(text) = environment(&variable).filter(|text| !text.is_empty()) else { continue };
        let assigned = value_like(&kind, &text)
            .map_err(str::to_owned)
            .and_then(|value| assign(config, &key, value))
            .map_err(|reason| ConfigError::variable(&variable, shown(&key, &text), reason))?;
        *config = assigned;
        origins.insert(key, Origin::Variable(variable));
    }
    Ok(())
}

/// The variable that somebody may have meant by one that begins as ours do and is none.
pub fn nearest_variable(name: &str) -> Option<String> {
    let known: Vec<String> = flat(&Config::default()).keys().map(|key| variable_of(key)).collect();
    if !name.starts_with(PREFIX) || known.iter().any(|variable| variable == name) {
        return None;
    }
    nearest(name, known.iter().map(String::as_str)).map(str::to_owned)
}

/// The keys that a file of TOML sets, with their lines.
pub fn lines_of(text: &str, path: &Path) -> BTreeMap<String, Origin> {
    let mut origins = BTreeMap::new();
    if let Ok(table) = toml::de::DeTable::parse(text) {
        collect(table.get_ref(), "", text, path, &mut origins);
    }
    origins
}

fn collect(
    table: &toml::de::DeTable<'_>,
    prefix: &str,
    text: &str,
    path: &Path,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            collect(inner, &format!("{name}."), text, path, origins);
            continue;
        }
        let line_number = text[..key.span().start].matches('\n').count() + 1;
        origins.insert(name, Origin::File { path: path.to_owned(), line_number });
    }
}

/// A value as others may see it: without passwords and secrets, and those that an address holds.
pub fn shown(key: &str, value: &str) -> String {
    // Who is passed through is no secret.
    let is_plain = key.ends_with("_file") || matches!(value, "true" | "false");
    let is_secret = !is_plain && key.split(['.', '_']).any(|word| matches!(word, "pass" | "password" | "secret"));
    if is_secret { SECRET.to_owned() } else { without_secrets_of_addresses(value) }
}

/// `https://user:password@host/path?token=…` is `https://(secret)@host/path?(secret)`.
fn without_secrets_of_addresses(value: &str) -> String {
    /// What ends an address in a text.
    const ENDS: [char; 4] = ['"', '\'', ' ', ','];
    let mut parts = value.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (address, rest) = part.split_at(part.find(ENDS).unwrap_or(part.len()));
        let (authority, path) = address.split_at(address.find(['/', '?']).unwrap_or(address.len()));
        let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("{SECRET}@{host}"));
        let path = path.split_once('?').map_or(path.to_owned(), |(path, _)| format!("{path}?{SECRET}"));
        shown += &format!("://{host}{path}{rest}");
    }
    shown
}

/// The name that is most like this one, if one is like it at all.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| match known.starts_with(name) || name.starts_with(known) {
        true => 1,
        false => distance(name, known),
    };
    let (unlike, nearest) = known.map(|known| (likeness(known), known)).min()?;
    (unlike <= name.len() / 2).then_some(nearest)
}

/// How many letters are to be put in, taken out or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, of_other) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != of_other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_wherever_they_stand() {
        assert_eq!(shown("default_pass", "\"hare\""), "(secret)");
        assert_eq!(shown("default_pass", "\"true\""), "(secret)");
        assert_eq!(shown("cluster.pass_through", "true"), "true");
        assert_eq!(shown("listen", "\"127.0.0.1:5672\""), "\"127.0.0.1:5672\"");
        let address = "\"https://me:hare@host:8443/user?token=burrow\"";
        assert_eq!(shown("auth.http.user_path", address), "\"https://(secret)@host:8443/user?(secret)\"");
        let two = "[\"http://a@b\", \"http://host/path\"]";
        assert_eq!(shown("addresses", two), "[\"http://(secret)@b\", \"http://host/path\"]");
    }

    #[test]
    fn the_nearest_name_is_the_one_with_the_fewest_mistakes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        let known = ["limits.frame_max_bytes", "heartbeat", "default_user"];
        assert_eq!(nearest("hartbeat", known.into_iter()), Some("heartbeat"));
        assert_eq!(nearest("defualt_user", known.into_iter()), Some("default_user"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }
}
