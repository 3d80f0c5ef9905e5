//! What `rabbitmq.conf` says in several lines that are one setting here: backends, with what is cached in front of them, keys
//! by their names, and aliases of scopes.

use super::layers::{Assignment, Origin};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Half of a backend, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    Both,
    Authn,
    Authz,
}

/// What the lines said so far.
#[derive(Default)]
pub struct Lines {
    /// By their numbers.
    backends: BTreeMap<u32, Backend>,
    /// What the backend `cache` stands before.
    cached: Backend,
    signing_keys: Entries,
    aliases: Entries,
    /// Those that are numbered: what stands for what.
    numbered_aliases: BTreeMap<String, (Option<String>, Option<String>)>,
}

#[derive(Clone, Default)]
struct Backend {
    authn: Option<String>,
    authz: Option<String>,
    origin: Option<Origin>,
}

#[derive(Default)]
struct Entries {
    table: Table,
    origin: Option<Origin>,
}

impl Entries {
    fn put(&mut self, name: &str, value: Value, origin: &Origin) {
        self.table.insert(name.to_owned(), value);
        self.origin = Some(origin.clone());
    }

    fn assignment(self, key: &str) -> Option<Assignment> {
        Some(Assignment { key: key.to_owned(), value: Value::Table(self.table), origin: self.origin? })
    }
}

impl Backend {
    fn set(&mut self, half: Half, name: &str, origin: &Origin) {
        if half != Half::Authz {
            self.authn = Some(name.to_owned());
        }
        if half != Half::Authn {
            self.authz = Some(name.to_owned());
        }
        self.origin = Some(origin.clone());
    }

    /// Who is asked for either; who is not said is the other one, as with RabbitMQ.
    fn halves(&self) -> Option<[&str; 2]> {
        let (authn, authz) = (self.authn.as_deref(), self.authz.as_deref());
        Some([authn.or(authz)?, authz.or(authn)?])
    }
}

impl Lines {
    /// `auth_backends.NUMBER`, with `.authn` or `.authz`.
    pub fn backend(&mut self, key: &str, half: Half, name: &str, origin: &Origin) -> Result<(), String> {
        let number = key.split('.').nth(1).and_then(|number| number.parse().ok()).ok_or("its number is none")?;
        self.backends.entry(number).or_default().set(half, name, origin);
        Ok(())
    }

    /// `auth_cache.cached_backend`, the same.
    pub fn cached(&mut self, half: Half, name: &str, origin: &Origin) {
        self.cached.set(half, name, origin);
    }

    /// `auth_oauth2.signing_keys.NAME`
    pub fn signing_key(&mut self, name: &str, path: &str, origin: &Origin) {
        self.signing_keys.put(name, Value::String(path.to_owned()), origin);
    }

    /// `auth_oauth2.scope_aliases.ALIAS`
    pub fn alias(&mut self, alias: &str, scopes: &str, origin: &Origin) {
        self.aliases.put(alias, list(scopes), origin);
    }

    /// `auth_oauth2.scope_aliases.NUMBER.alias` or `.scope`
    pub fn numbered_alias(&mut self, key: &str, text: &str, origin: &Origin) {
        let mut parts = key.rsplit('.');
        let (is_alias, number) = (parts.next() == Some("alias"), parts.next().unwrap_or_default());
        let entry = self.numbered_aliases.entry(number.to_owned()).or_default();
        *(if is_alias { &mut entry.0 } else { &mut entry.1 }) = Some(text.to_owned());
        if let (Some(alias), Some(scopes)) = entry {
            self.aliases.put(alias, list(scopes), origin);
        }
    }

    /// What was set, in the end, and what is to be said about that.
    ///
    /// # Errors
    /// None of these backends is here: then nobody is to be let in by another.
    pub fn finish(self, warnings: &mut Vec<String>) -> Result<Vec<Assignment>, String> {
        let mut backends: Vec<(&str, Value)> = Vec::new();
        let mut last = None;
        let mut absent = Vec::new();
        for backend in self.backends.values() {
            let Some(origin) = &backend.origin else { continue };
            last = Some(origin.clone());
            let halves = backend.halves().and_then(|halves| match halves.map(method) {
                [Some("cache"), Some("cache")] => self.cached.halves(),
                _ => Some(halves),
            });
            let Some(halves) = halves else {
                warnings.push(format!("{origin}: cache is ignored: auth_cache.cached_backend says no backend"));
                continue;
            };
            match halves.map(method) {
                [Some(authn), Some(authz)] if authn != "cache" && authz != "cache" => {
                    if backends.iter().any(|(other, _)| *other == authn) {
                        warnings.push(format!("{origin}: {authn} is ignored: it is asked before"));
                        continue;
                    }
                    let each = [("authn", authn), ("authz", authz)].map(|(half, name)| (half.to_owned(), name.into()));
                    let both = authn == authz;
                    backends.push((authn, if both { authn.into() } else { Value::Table(Table::from_iter(each)) }));
                }
                _ => {
                    let names = if halves[0] == halves[1] { halves[0].to_owned() } else { halves.join(" with ") };
                    warnings.push(format!("{origin}: {names} is ignored: there is no such backend here"));
                    absent.push(names);
                }
            }
        }
        let mut assignments = Vec::new();
        if let Some(origin) = last {
            if backends.is_empty() {
                return Err(absent.join(", "));
            }
            let value = Value::Array(backends.into_iter().map(|(_, value)| value).collect());
            assignments.push(Assignment { key: "auth.backends".to_owned(), value, origin });
        }
        assignments.extend(self.signing_keys.assignment("oauth.signing_keys"));
        assignments.extend(self.aliases.assignment("oauth.scope_aliases"));
        Ok(assignments)
    }
}

/// Our name of a backend of RabbitMQ's.
fn method(name: &str) -> Option<&'static str> {
    match name.strip_prefix("rabbit_auth_backend_").unwrap_or(name) {
        "internal" => Some("internal"),
        "http" => Some("http"),
        "oauth2" | "oauth" | "uaa" => Some("oauth"),
        "cache" => Some("cache"),
        _ => None,
    }
}

fn list(text: &str) -> Value {
    Value::Array(text.split([' ', ',']).filter(|word| !word.is_empty()).map(Value::from).collect())
}
