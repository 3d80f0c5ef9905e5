//! From the elements of a file to what is imported, in RabbitMQ's words for what is wrong.

use super::super::http::ApiError;
use super::super::json::{self, boolean, to_table};
use super::super::order::{UserLimitChange, VhostLimitChange};
use super::super::routes::users::{Password, UserBody};
use super::super::routes::vhosts::VhostBody;
use super::super::routes::{limits, permissions, policies, require_keys, text_field};
use super::document::{Category, Scope, each_element};
use crate::access::{PasswordHash, Pattern};
use crate::broker::import::{
    Import, Imported, ImportedBinding, ImportedExchange, ImportedQueue, ImportedUserLimits, ImportedVhost,
};
use crate::broker::parameters::GLOBAL_PARAMETER_BYTES_MAX;
use crate::broker::policy::{Policy, PolicyKind};
use crate::protocol::{FieldTable, ShortString};
use serde_json::{Value, json};
use std::sync::Arc;

/// Passwords in plain text that one file may have: to hash one takes a while.
const PLAIN_PASSWORDS_MAX: usize = 100;

/// What is said of a file about one virtual host that is imported as one about all.
const ORPHANED: &str = "some queues, exchanges or bindings in the definition file are missing the virtual host field. Such \
                        files are produced when definitions of a single virtual host are exported. They cannot be used to \
                        import definitions at boot time";

/// Makes a hash of a password that is said in plain text.
pub type Hash<'a> = &'a mut dyn FnMut(String) -> Result<PasswordHash, ApiError>;

/// Reads a file.
///
/// # Errors
/// What is wrong with it.
pub fn read(file: &[u8], scope: &Scope, hash: Hash<'_>) -> Result<Import, ApiError> {
    let mut reader = Reader { scope, hash, plain_passwords: 0 };
    let mut lists: [Vec<Imported>; RANKS] = std::array::from_fn(|_| Vec::new());
    each_element(file, scope, |category, value| {
        let thing = reader.element(category, value)?;
        lists[rank(&thing)].push(thing);
        Ok(())
    })?;
    Ok(Import::new(lists.into_iter().flatten().collect()))
}

const RANKS: usize = 10;

/// The place of a thing behind those that it needs.
fn rank(thing: &Imported) -> usize {
    match thing {
        Imported::User { .. } => 0,
        Imported::Vhost(_) => 1,
        Imported::Permissions { .. } => 2,
        Imported::TopicPermissions { .. } => 3,
        Imported::Exchange(_) => 4,
        Imported::GlobalParameter { .. } => 5,
        Imported::Policy { .. } => 6,
        Imported::VhostLimits { .. } => 7,
        Imported::Queue(_) => 8,
        Imported::Binding(_) => 9,
    }
}

struct Reader<'a> {
    scope: &'a Scope,
    hash: Hash<'a>,
    plain_passwords: usize,
}

fn refused<T>(reason: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::BadRequest(reason.into()))
}

/// A name that must be there.
fn name(value: &Value, key: &str) -> Result<ShortString, ApiError> {
    require_keys(value, &[key])?;
    text(value, key)
}

/// A name; one that is not there is empty.
fn text(value: &Value, key: &str) -> Result<ShortString, ApiError> {
    json::short_string(text_field(value, key)?, key)
}

fn arguments(value: &Value) -> Result<FieldTable, ApiError> {
    to_table(&value["arguments"], "arguments")
}

/// What lasts unless it says that it doesn't.
fn durable(value: &Value) -> Result<bool, ApiError> {
    if value["durable"].is_null() { Ok(true) } else { boolean("durable", &value["durable"]) }
}

/// An error, with the names of what it is about behind it.
fn about(error: ApiError, names: &[&str]) -> ApiError {
    match error {
        ApiError::BadRequest(reason) => ApiError::BadRequest(format!("{reason} ({})", names.join("/"))),
        other => other,
    }
}

impl Reader<'_> {
    fn element(&mut self, category: Category, value: &Value) -> Result<Imported, ApiError> {
        match category {
            Category::Users => self.user(value),
            Category::Vhosts => vhost(value),
            Category::Permissions => self.permissions(value),
            Category::TopicPermissions => self.topic_permissions(value),
            Category::Exchanges => self.exchange(value),
            Category::GlobalParameters => global_parameter(value),
            Category::Policies => self.policy(value),
            Category::Parameters => self.parameter(value),
            Category::Queues => self.queue(value),
            Category::Bindings => self.binding(value),
        }
    }

    /// The virtual host of something; where a file is about one, what it says of that is not looked at.
    fn vhost(&self, value: &Value, missing: &str) -> Result<ShortString, ApiError> {
        match self.scope {
            Scope::Vhost(name) => Ok(name.clone()),
            Scope::Cluster if value["vhost"].is_null() => refused(missing),
            Scope::Cluster => text(value, "vhost"),
        }
    }

    fn vhost_of_thing(&self, value: &Value) -> Result<ShortString, ApiError> {
        self.vhost(value, ORPHANED)
    }

    fn vhost_of_parameter(&self, value: &Value) -> Result<ShortString, ApiError> {
        self.vhost(value, "Virtual host does not exist and is not specified in definitions file.")
    }

    fn user(&mut self, value: &Value) -> Result<Imported, ApiError> {
        let name = name(value, "name")?;
        let UserBody { password, tags, limits } =
            UserBody::parse(value).map_err(|error| about(error, &[&name.to_string()]))?;
        let password = match password {
            Password::Hashed(hash) => hash,
            Password::Plain(password) if password.is_empty() => PasswordHash::Absent,
            Password::Plain(password) => {
                self.plain_passwords += 1;
                if self.plain_passwords > PLAIN_PASSWORDS_MAX {
                    return refused(format!(
                        "more than {PLAIN_PASSWORDS_MAX} users have a password in plain text: say password_hash"
                    ));
                }
                (self.hash)(password)?
            }
        };
        let UserLimitChange { connections_max, channels_max } = limits;
        Ok(Imported::User { name, password, tags, limits: ImportedUserLimits { connections_max, channels_max } })
    }

    fn permissions(&self, value: &Value) -> Result<Imported, ApiError> {
        require_keys(value, &["user", "vhost", "configure", "write", "read"])?;
        let pattern = |key| permissions::pattern(value, key);
        Ok(Imported::Permissions {
            user: text(value, "user")?,
            vhost: text(value, "vhost")?,
            configure: pattern("configure")?,
            write: pattern("write")?,
            read: pattern("read")?,
        })
    }

    fn topic_permissions(&self, value: &Value) -> Result<Imported, ApiError> {
        require_keys(value, &["user", "vhost", "exchange", "write", "read"])?;
        let (user, vhost) = (text_field(value, "user")?, text_field(value, "vhost")?);
        let pattern = |key| {
            let pattern = text_field(value, key)?;
            Pattern::for_topics(pattern, user, vhost).map_err(|error| permissions::invalid_pattern(pattern, &error))
        };
        Ok(Imported::TopicPermissions {
            user: text(value, "user")?,
            vhost: text(value, "vhost")?,
            exchange: text(value, "exchange")?,
            write: pattern("write")?,
            read: pattern("read")?,
        })
    }

    fn exchange(&self, value: &Value) -> Result<Imported, ApiError> {
        let vhost = self.vhost_of_thing(value)?;
        let kind = match &value["type"] {
            Value::String(kind) => json::short_string(kind, "type")?,
            Value::Null => return refused("invalid exchange type 'undefined'"),
            other => return refused(format!("invalid exchange type '{other}'")),
        };
        require_keys(value, &["name"])?;
        Ok(Imported::Exchange(ImportedExchange {
            vhost,
            name: text(value, "name")?,
            kind,
            durable: durable(value)?,
            auto_delete: boolean("auto_delete", &value["auto_delete"])?,
            internal: boolean("internal", &value["internal"])?,
            arguments: arguments(value)?,
        }))
    }

    fn queue(&self, value: &Value) -> Result<Imported, ApiError> {
        let vhost = self.vhost_of_thing(value)?;
        Ok(Imported::Queue(ImportedQueue {
            vhost,
            name: name(value, "name")?,
            durable: durable(value)?,
            auto_delete: boolean("auto_delete", &value["auto_delete"])?,
            arguments: arguments(value)?,
        }))
    }

    fn binding(&self, value: &Value) -> Result<Imported, ApiError> {
        let vhost = self.vhost_of_thing(value)?;
        require_keys(value, &["source", "destination", "destination_type"])?;
        let to_queue = match &value["destination_type"] {
            Value::String(kind) if kind == "queue" => true,
            Value::String(kind) if kind == "exchange" => false,
            other => return refused(format!("destination_type must be queue or exchange, and not {other}")),
        };
        Ok(Imported::Binding(ImportedBinding {
            vhost,
            source: text(value, "source")?,
            destination: text(value, "destination")?,
            to_queue,
            routing_key: text(value, "routing_key")?,
            arguments: arguments(value)?,
        }))
    }

    fn policy(&self, value: &Value) -> Result<Imported, ApiError> {
        let vhost = self.vhost_of_parameter(value)?;
        if value["name"].is_null() {
            return refused(format!("policy in virtual host '{vhost}' has undefined name"));
        }
        let name = text(value, "name")?;
        let names = [&*vhost.to_string(), &*name.to_string()];
        let kind = PolicyKind::User;
        let policy = read_policy(kind, name, value).map_err(|error| about(error, &names))?;
        Ok(Imported::Policy { vhost, kind, policy })
    }

    fn parameter(&self, value: &Value) -> Result<Imported, ApiError> {
        let vhost = self.vhost_of_parameter(value)?;
        let (component, name) = (name(value, "component")?.to_string(), name(value, "name")?);
        let names = [&*vhost.to_string(), &*component, &*name.to_string()];
        let said = &value["value"];
        match &*component {
            "vhost-limits" => {
                let limits = vhost_limits(said).map_err(|error| about(error, &names))?;
                let VhostLimitChange { connections_max, queues_max } = limits;
                let (queues_max, connections_max) = (queues_max.flatten(), connections_max.flatten());
                Ok(Imported::VhostLimits { vhost, queues_max, connections_max })
            }
            "operator_policy" => {
                let kind = PolicyKind::Operator;
                let policy = read_policy(kind, name, said).map_err(|error| about(error, &names))?;
                Ok(Imported::Policy { vhost, kind, policy })
            }
            "policy" => refused(format!("policies may not be set using this method ({})", names.join("/"))),
            other => {
                let names = names.join("/");
                refused(format!("Validation failed\n\ncomponent {other} not found\n ({names})"))
            }
        }
    }
}

/// Stands in a virtual host's metadata alone.
const PROTECTED: &str = "protected_from_deletion";

fn vhost(value: &Value) -> Result<Imported, ApiError> {
    let name = name(value, "name")?;
    // What is said of one stands in its metadata, and in versions before that beside it.
    let mut said = json!({});
    for key in ["description", "tags", "default_queue_type", "tracing"] {
        let in_metadata = &value["metadata"][key];
        said[key] = if in_metadata.is_null() { value[key].clone() } else { in_metadata.clone() };
    }
    let VhostBody { description, tags, default_queue_type, tracing } =
        VhostBody::parse(&said).map_err(|error| about(error, &[&name.to_string()]))?;
    let is_protected = match &value["metadata"][PROTECTED] {
        Value::Null => None,
        said => Some(boolean(PROTECTED, said)?),
    };
    Ok(Imported::Vhost(ImportedVhost { name, description, tags, default_queue_type, tracing, is_protected }))
}

fn global_parameter(value: &Value) -> Result<Imported, ApiError> {
    let name = name(value, "name")?;
    let value = value["value"].to_string();
    if value.len() > GLOBAL_PARAMETER_BYTES_MAX {
        return refused(format!(
            "the value of global parameter {name} is longer than {GLOBAL_PARAMETER_BYTES_MAX} bytes"
        ));
    }
    Ok(Imported::GlobalParameter { name, value: value.into() })
}

fn read_policy(kind: PolicyKind, name: ShortString, value: &Value) -> Result<Arc<Policy>, ApiError> {
    let mut value = value.clone();
    if let Some(definition) = of_pairs(&value["definition"]) {
        value["definition"] = definition;
    }
    Policy::read(kind, name, policies::said(&value)?).map(Arc::new).map_err(ApiError::BadRequest)
}

/// An object that was written as a list of its pairs: so rabbitmqctl of 3.10 exports the definitions of operators' policies.
fn of_pairs(value: &Value) -> Option<Value> {
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [Value::String(key), value] => Some((key.clone(), value.clone())),
        _ => None,
    };
    value.as_array()?.iter().map(pair).collect()
}

/// Those that there are from now on: what is not said is no limit.
fn vhost_limits(said: &Value) -> Result<VhostLimitChange, ApiError> {
    let mut limits = VhostLimitChange::default();
    let entries = match said {
        Value::Object(entries) => entries,
        Value::Array(none) if none.is_empty() => return Ok(limits),
        _ => return refused("limits must be an object"),
    };
    for (name, value) in entries {
        let VhostLimitChange { connections_max, queues_max } = limits::vhost_limit_change(name, value)?;
        limits.connections_max = connections_max.or(limits.connections_max);
        limits.queues_max = queues_max.or(limits.queues_max);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(file: &Value) -> String {
        let mut hash = |_| Ok(PasswordHash::Absent);
        match read(file.to_string().as_bytes(), &Scope::Cluster, &mut hash) {
            Ok(_) => "it was read".to_owned(),
            Err(ApiError::BadRequest(reason)) => reason,
            Err(ApiError::Term(term)) => term.to_string(),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_rabbitmqs_words() {
        for (file, said) in [
            (json!({"users": [{"tags": ""}]}), "[{key_missing,name}]"),
            (json!({"users": [{"name": "u"}]}), "tags_not_present (u)"),
            (json!({"users": [{"name": "u", "tags": "", "password_hash": "!"}]}), r#"["not_base64","!"]"#),
            (json!({"vhosts": [{}]}), "[{key_missing,name}]"),
            (json!({"queues": [{"name": "q"}]}), ORPHANED),
            (json!({"queues": [{"name": "q".repeat(256), "vhost": "/"}]}), "name is longer than 255 bytes"),
            (json!({"exchanges": [{"name": "x", "vhost": "/"}]}), "invalid exchange type 'undefined'"),
            (json!({"policies": [{"vhost": "/"}]}), "policy in virtual host '/' has undefined name"),
            (
                json!({"policies": [{"name": "p", "pattern": "x", "definition": {"max-length": 1}}]}),
                "Virtual host does not exist and is not specified in definitions file.",
            ),
            (
                json!({"policies": [{"vhost": "/", "name": "p", "pattern": "x", "definition": {"max-leng": 1}}]}),
                "Validation failed\n\n[{<<\"max-leng\">>,1}] are not recognised policy settings\n (//p)",
            ),
            (
                json!({"parameters": [{"vhost": "/", "component": "bogus", "name": "n", "value": 1}]}),
                "Validation failed\n\ncomponent bogus not found\n (//bogus/n)",
            ),
            (
                json!({"parameters": [{"vhost": "/", "component": "policy", "name": "pp", "value": {}}]}),
                "policies may not be set using this method (//policy/pp)",
            ),
            (
                json!({"parameters": [{"vhost": "/", "component": "vhost-limits", "name": "limits",
                                       "value": {"max-queues": "x"}}]}),
                "Validation failed\n\nmax-queues should be a number, actually was <<\"x\">>\n (//vhost-limits/limits)",
            ),
        ] {
            assert_eq!(reason(&file), said, "{file}");
        }
    }

    #[test]
    fn definitions_may_be_lists_of_pairs() {
        let with = |definition: Value| {
            let value = json!({"pattern": ".*", "definition": definition});
            json!({"parameters": [{"vhost": "/", "component": "operator_policy", "name": "p", "value": value}]})
        };
        assert_eq!(reason(&with(json!([["max-length", 5000], ["expires", 5]]))), "it was read");
        assert!(reason(&with(json!([["max-length"]]))).contains("definition must be a dictionary"));
    }

    #[test]
    fn few_passwords_are_in_plain_text() {
        let users = |count| json!({"users": vec![json!({"name": "u", "tags": "", "password": "p"}); count]});
        assert_eq!(reason(&users(PLAIN_PASSWORDS_MAX)), "it was read");
        assert!(reason(&users(PLAIN_PASSWORDS_MAX + 1)).starts_with("more than"));
    }
}
