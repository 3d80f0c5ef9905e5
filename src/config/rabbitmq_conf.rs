//! Reads RabbitMQ's own configuration, `rabbitmq.conf`, as far as it means something here.
//!
//! A key is one of ours, or is ignored with a warning that says why, or is refused as unknown with the nearest one that
//! RabbitMQ knows: nothing is dropped silently. `$(NAME)` is the environment variable's value.

use super::layers::{Assignment, Origin, nearest};
use super::rabbitmq_auth;
use super::rabbitmq_keys::{Kind, RULES, Rule};
use super::{Config, ConfigError, layers};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use toml::Value;

/// What some files set, and what is to be said about that.
#[derive(Default)]
pub struct Reader {
    values: BTreeMap<String, (Value, Origin)>,
    /// Lists that a file began, so that the default's entries are gone.
    begun: BTreeSet<&'static str>,
    has_console: bool,
    log_dir: Option<String>,
    auth: rabbitmq_auth::Lines,
    pub warnings: Vec<String>,
}

impl Reader {
    /// Takes a file's settings over those that came before.
    pub fn read(
        &mut self,
        text: &str,
        path: &Path,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let refused = |reason: String| ConfigError::line(path, line_number, line, reason);
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (key, value) = content.split_once('=').ok_or_else(|| refused("must be KEY = VALUE".to_owned()))?;
            let key = key.trim();
            let value = interpolated(value_without_comment(value), environment).map_err(refused)?;
            let origin = Origin::File { path: path.to_owned(), line_number };
            self.set(key, &value, &origin).map_err(refused)?;
        }
        Ok(())
    }

    /// What was set, in the end.
    ///
    /// # Errors
    /// The backends that it names, none of which is here.
    pub fn finish(mut self) -> Result<(Vec<Assignment>, Vec<String>), String> {
        if let Some((Value::String(file), _)) = self.values.get_mut("log.output")
            && let Some(dir) = &self.log_dir
            && !file.starts_with('/')
            && !["stdout", "stderr"].contains(&file.as_str())
        {
            *file = format!("{}/{file}", dir.trim_end_matches('/'));
        }
        // As its plugin has it: who says how metrics are served over TLS, and nothing of the other port, wants that alone.
        let over_tls = self.values.range("prometheus.tls".to_owned()..).next();
        if let Some((_, (_, origin))) = over_tls.filter(|(key, _)| key.starts_with("prometheus.tls")) {
            let (off, origin) = (Value::String("off".to_owned()), origin.clone());
            self.values.entry("prometheus.listen".to_owned()).or_insert((off, origin));
        }
        let known = layers::flat(&Config::default());
        let mut assignments = Vec::new();
        for (key, (value, origin)) in self.values {
            match known.contains_key(&key) {
                true => assignments.push(Assignment { key, value, origin }),
                false => self.warnings.push(format!("{origin}: what it sets ({key}) is not there yet")),
            }
        }
        // A larger message must fit where others do.
        let size = assignments.iter().find(|assignment| assignment.key == "limits.message_size_max_bytes").cloned();
        if let Some(Assignment { value: Value::Integer(bytes), origin, .. }) = size {
            let defaults = Config::default().limits;
            let outbox = bytes.saturating_add(defaults.outbox_high_water_bytes as i64);
            let room = outbox.max(defaults.outbox_max_bytes as i64);
            for key in ["limits.outbox_max_bytes", "limits.transaction_max_bytes"] {
                assignments
                    .insert(0, Assignment { key: key.to_owned(), value: Value::Integer(room), origin: origin.clone() });
            }
        }
        assignments.extend(self.auth.finish(&mut self.warnings)?);
        Ok((assignments, self.warnings))
    }

    fn set(&mut self, key: &str, text: &str, origin: &Origin) -> Result<(), String> {
        let Some((_, rule)) = RULES.iter().find(|(pattern, _)| matches(pattern, key)) else {
            let known = RULES.iter().map(|(pattern, _)| *pattern);
            let hint = nearest(key, known).map_or(String::new(), |nearest| format!("; the nearest one is {nearest}"));
            return Err(format!("RabbitMQ has no setting {key}{hint}"));
        };
        let last = key.rsplit('.').next().unwrap_or_default();
        match *rule {
            Rule::Is(target, kind) => {
                if let Some(value) = value_of(kind, text)? {
                    self.put(target, value, origin);
                }
            }
            Rule::Listener(target) => {
                let addresses = addresses(text)?;
                self.append(target, addresses.into_iter().map(Value::String), origin);
            }
            Rule::NoneOf(target) => match text {
                "none" => self.put(target, Value::Array(Vec::new()), origin),
                port => self.append(target, addresses(port)?.into_iter().map(Value::String), origin),
            },
            Rule::NoMembers(target) if text == "none" => self.append(target, std::iter::empty(), origin),
            Rule::NoMembers(_) => return Err(format!("must be none, or say {key}.NAME = true")),
            Rule::Member(target) => {
                let is_in = value_of(Kind::Boolean, text)? == Some(Value::Boolean(true));
                self.append(target, is_in.then(|| Value::String(last.to_owned())).into_iter(), origin);
            }
            Rule::Item(target, unknown) => match unknown.contains(&text) {
                true => self.warnings.push(format!("{origin}: {text} is ignored: it is not spoken here")),
                false => self.append(target, std::iter::once(Value::String(text.to_owned())), origin),
            },
            Rule::Port(target) => {
                let port = text.parse::<u16>().map_err(|_| "must be a port number".to_owned())?;
                self.change_address(target, origin, |address| address.set_port(port));
            }
            Rule::Ip(target) => {
                let ip =
                    text.trim_matches(['[', ']']).parse::<IpAddr>().map_err(|_| "must be an IP address".to_owned())?;
                self.change_address(target, origin, |address| address.set_ip(ip));
            }
            Rule::Console => {
                self.has_console = text == "true";
                if self.has_console {
                    self.put("log.output", Value::String("stdout".to_owned()), origin);
                }
            }
            Rule::LogFile if text == "false" => {}
            Rule::LogFile if self.has_console => {
                self.warnings
                    .push(format!("{origin}: log.file is ignored: lines go to one place, and that is the console"));
            }
            Rule::LogFile => self.put("log.output", Value::String(text.to_owned()), origin),
            Rule::Backend(half) => self.auth.backend(key, half, text, origin)?,
            Rule::Cached(half) => self.auth.cached(half, text, origin),
            Rule::SigningKey => self.auth.signing_key(last, text, origin),
            Rule::Alias => self.auth.alias(last, text, origin),
            Rule::NumberedAlias => self.auth.numbered_alias(key, text, origin),
            Rule::LogDir => self.log_dir = Some(text.to_owned()),
            Rule::Only(accepted, why) => {
                if text != accepted {
                    self.warnings.push(format!("{origin}: {key} = {text} is ignored: {why}"));
                }
            }
            Rule::Ignored(why) => self.warnings.push(format!("{origin}: {key} is ignored: {why}")),
        }
        Ok(())
    }

    fn put(&mut self, key: &str, value: Value, origin: &Origin) {
        self.values.insert(key.to_owned(), (value, origin.clone()));
    }

    fn append(&mut self, key: &'static str, items: impl Iterator<Item = Value>, origin: &Origin) {
        let is_new = self.begun.insert(key);
        let (list, at) =
            self.values.entry(key.to_owned()).or_insert_with(|| (Value::Array(Vec::new()), origin.clone()));
        *at = origin.clone();
        if let Value::Array(list) = list {
            if is_new {
                list.clear();
            }
            for item in items.filter(|item| !list.contains(item)).collect::<Vec<_>>() {
                list.push(item);
            }
        }
    }

    fn change_address(&mut self, key: &str, origin: &Origin, change: impl FnOnce(&mut SocketAddr)) {
        let now = self.values.get(key).map(|(value, _)| value.clone());
        let now = now.or_else(|| layers::flat(&Config::default()).remove(key));
        let parsed = now.as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok());
        let mut address = parsed.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut address);
        self.put(key, Value::String(address.to_string()), origin);
    }
}

/// `$name` in a pattern is any one part of a key, and `*` at its end all that follows.
fn matches(pattern: &str, key: &str) -> bool {
    let (mut parts, mut of_key) = (pattern.split('.'), key.split('.'));
    loop {
        match (parts.next(), of_key.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => return true,
            (Some(part), Some(of_key)) if part == of_key || part.starts_with('$') => {}
            _ => return false,
        }
    }
}

/// The value without the comment that a `#` begins, unless it is between quotes.
fn value_without_comment(rest: &str) -> &str {
    let rest = rest.trim();
    let quoted = ['\'', '"'].iter().find_map(|quote| rest.strip_prefix(*quote)?.split_once(*quote));
    match quoted {
        Some((value, _)) => value,
        None => rest.split('#').next().unwrap_or_default().trim(),
    }
}

fn interpolated(value: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if value.starts_with("encrypted:") {
        return Err("values can't be encrypted here: set it with an environment variable".to_owned());
    }
    let mut whole = String::new();
    let mut rest = value;
    while let Some((before, name_on)) = rest.split_once("$(") {
        let (name, after) = name_on.split_once(')').ok_or("a $( has no )")?;
        whole += before;
        whole += &environment(name).ok_or_else(|| format!("there is no environment variable {name}"))?;
        rest = after;
    }
    Ok(whole + rest)
}

/// Where a listener of RabbitMQ's listens: a port is one of all addresses.
fn addresses(text: &str) -> Result<Vec<String>, String> {
    if text.parse::<u16>().is_ok() {
        return Ok(vec![format!("0.0.0.0:{text}"), format!("[::]:{text}")]);
    }
    let (host, port) = text.rsplit_once(':').ok_or("must be a port, or IP:PORT")?;
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().map_err(|_| "must be a port, or IP:PORT".to_owned())?;
    let port: u16 = port.parse().map_err(|_| "must be a port, or IP:PORT".to_owned())?;
    Ok(vec![SocketAddr::from((ip, port)).to_string()])
}

/// `None`: as it is where nothing is said.
fn value_of(kind: Kind, text: &str) -> Result<Option<Value>, String> {
    let number = |text: &str| text.parse::<i64>().map_err(|_| "must be a whole number".to_owned());
    Ok(Some(match kind {
        Kind::Text => Value::String(text.to_owned()),
        Kind::Number if text == "infinity" => return Ok(None),
        Kind::Number => Value::Integer(number(text)?),
        Kind::Minutes => Value::Integer(number(text)?.saturating_mul(60)),
        Kind::OffOrNumber if ["infinity", "false", "undefined"].contains(&text) => Value::Integer(0),
        Kind::OffOrNumber => Value::Integer(number(text)?),
        Kind::Fraction => Value::Float(text.parse().map_err(|_| "must be a number such as 0.6".to_owned())?),
        Kind::Bytes => Value::Integer(bytes(text)?),
        Kind::Boolean => match text {
            "true" | "on" | "yes" => Value::Boolean(true),
            "false" | "off" | "no" => Value::Boolean(false),
            _ => return Err("must be true or false".to_owned()),
        },
        Kind::Level => Value::String(
            match text {
                "debug" => "debug",
                "info" | "notice" => "info",
                "warning" => "warn",
                "error" | "critical" | "alert" | "emergency" => "error",
                "none" => "off",
                _ => return Err("must be debug, info, notice, warning, error, critical or none".to_owned()),
            }
            .to_owned(),
        ),
        Kind::Formatter => Value::String(if text == "json" { "json" } else { "text" }.to_owned()),
    }))
}

/// `2GB` is 2,000,000,000 bytes; `2GiB` and, as with RabbitMQ, `2G` are powers of two.
fn bytes(text: &str) -> Result<i64, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let wrong = || "must be a number of bytes such as 50000000, 50MB or 2GiB".to_owned();
    let count: i64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: i64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    count.checked_mul(unit).ok_or_else(wrong)
}
