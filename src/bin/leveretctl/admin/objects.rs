//! What rabbitmqadmin makes, deletes and does, with the names of its arguments and where in the API that is.

use super::Trouble;
use serde_json::{Map, Value, json};

/// One kind of object under one verb.
pub struct Kind {
    pub name: &'static str,
    /// Each of these, or one of those that stand together.
    mandatory: &'static [&'static [&'static str]],
    /// With what is sent where nothing is said, as JSON; empty for nothing.
    optional: &'static [(&'static str, &'static str)],
    /// Whose values are JSON.
    json: &'static [&'static str],
    path: &'static str,
}

const fn kind(name: &'static str, mandatory: &'static [&'static [&'static str]], path: &'static str) -> Kind {
    Kind { name, mandatory, optional: &[], json: &[], path }
}

const EXCHANGE: &str = "exchanges/{vhost}/{name}";
const QUEUE: &str = "queues/{vhost}/{name}";
const BINDING: &str = "bindings/{vhost}/e/{source}/{destination_char}/{destination}";
const PARAMETER: &str = "parameters/{component}/{vhost}/{name}";
const VHOST_LIMIT: &str = "vhost-limits/{vhost}/{name}";
const PERMISSION: &str = "permissions/{vhost}/{user}";

pub const DECLARABLE: [Kind; 10] = [
    Kind {
        optional: &[
            ("auto_delete", "\"false\""),
            ("durable", "\"true\""),
            ("internal", "\"false\""),
            ("arguments", "{}"),
        ],
        json: &["arguments"],
        ..kind("exchange", &[&["name"], &["type"]], EXCHANGE)
    },
    Kind {
        optional: &[
            ("auto_delete", "\"false\""),
            ("durable", "\"true\""),
            ("arguments", "{}"),
            ("node", ""),
            ("queue_type", ""),
        ],
        json: &["arguments"],
        ..kind("queue", &[&["name"]], QUEUE)
    },
    Kind {
        optional: &[("destination_type", "\"queue\""), ("routing_key", "\"\""), ("arguments", "{}")],
        json: &["arguments"],
        ..kind("binding", &[&["source"], &["destination"]], BINDING)
    },
    Kind {
        optional: &[("tracing", ""), ("description", ""), ("tags", ""), ("default_queue_type", "")],
        ..kind("vhost", &[&["name"]], "vhosts/{name}")
    },
    Kind {
        optional: &[("hashing_algorithm", "")],
        ..kind("user", &[&["name"], &["password", "password_hash"], &["tags"]], "users/{name}")
    },
    kind("permission", &[&["vhost"], &["user"], &["configure"], &["write"], &["read"]], PERMISSION),
    Kind { json: &["value"], ..kind("parameter", &[&["component"], &["name"], &["value"]], PARAMETER) },
    Kind {
        optional: &[("priority", "0"), ("apply-to", "")],
        json: &["definition", "priority"],
        ..kind("policy", &[&["name"], &["pattern"], &["definition"]], "policies/{vhost}/{name}")
    },
    Kind {
        optional: &[("priority", "0"), ("apply-to", "")],
        json: &["definition", "priority"],
        ..kind("operator_policy", &[&["name"], &["pattern"], &["definition"]], "operator-policies/{vhost}/{name}")
    },
    Kind { json: &["value"], ..kind("vhost_limit", &[&["vhost"], &["name"], &["value"]], VHOST_LIMIT) },
];

pub const DELETABLE: [Kind; 10] = [
    kind("exchange", &[&["name"]], EXCHANGE),
    kind("queue", &[&["name"]], QUEUE),
    Kind {
        optional: &[("properties_key", "\"~\"")],
        ..kind(
            "binding",
            &[&["source"], &["destination_type"], &["destination"]],
            "bindings/{vhost}/e/{source}/{destination_char}/{destination}/{properties_key}",
        )
    },
    kind("vhost", &[&["name"]], "vhosts/{name}"),
    kind("user", &[&["name"]], "users/{name}"),
    kind("permission", &[&["vhost"], &["user"]], PERMISSION),
    kind("parameter", &[&["component"], &["name"]], PARAMETER),
    kind("policy", &[&["name"]], "policies/{vhost}/{name}"),
    kind("operator_policy", &[&["name"]], "operator-policies/{vhost}/{name}"),
    kind("vhost_limit", &[&["vhost"], &["name"]], VHOST_LIMIT),
];

pub const CLOSABLE: [Kind; 1] = [kind("connection", &[&["name"]], "connections/{name}")];

pub const PURGABLE: [Kind; 1] = [kind("queue", &[&["name"]], "queues/{vhost}/{name}/contents")];

pub const PUBLISH: Kind = Kind {
    optional: &[
        ("payload", ""),
        ("properties", "{}"),
        ("exchange", "\"amq.default\""),
        ("payload_encoding", "\"string\""),
    ],
    json: &["properties"],
    ..kind("publish", &[&["routing_key"]], "exchanges/{vhost}/{exchange}/publish")
};

pub const GET: Kind = Kind {
    optional: &[
        ("count", "\"1\""),
        ("ackmode", "\"ack_requeue_true\""),
        ("payload_file", ""),
        ("encoding", "\"auto\""),
    ],
    ..kind("get", &[&["queue"]], "queues/{vhost}/{queue}/get")
};

/// Lists: which columns are shown if none are asked for, and which hold JSON. A virtual host may be asked for where `true`.
pub const LISTABLE: [(&str, bool, &[&str], &[&str]); 14] = [
    ("connections", false, &["name", "user", "channels"], &[]),
    ("channels", false, &["name", "user"], &[]),
    ("consumers", true, &[], &[]),
    ("exchanges", true, &["name", "type"], &[]),
    ("queues", true, &["name", "messages"], &[]),
    ("bindings", true, &["source", "destination", "routing_key"], &[]),
    ("users", false, &[], &[]),
    ("vhosts", false, &["name", "messages"], &[]),
    ("permissions", false, &[], &[]),
    ("nodes", false, &["name", "type", "mem_used"], &[]),
    ("parameters", false, &[], &["value"]),
    ("policies", false, &[], &["definition"]),
    ("operator_policies", false, &[], &["definition"]),
    ("vhost_limits", false, &[], &["value"]),
];

/// What is shown of an overview if nothing is asked for.
pub const OVERVIEW: [&str; 4] = ["rabbitmq_version", "cluster_name", "queue_totals.messages", "object_totals.queues"];

impl Kind {
    /// The path, and what is sent there, of arguments of the form `name=value`.
    ///
    /// # Errors
    /// For arguments of another form, unknown ones, and those that are missing.
    pub fn parse(&self, arguments: &[String], vhost: &str) -> Result<(String, Value), Trouble> {
        let mut body = Map::new();
        for (name, default) in self.optional.iter().filter(|(_, default)| !default.is_empty()) {
            body.insert((*name).to_owned(), serde_json::from_str(default).unwrap_or_default());
        }
        for argument in arguments {
            let Some((name, value)) = argument.split_once('=') else {
                return Err(Trouble::usage(format!("Argument \"{argument}\" not in the name=value format")));
            };
            let is_known = self.mandatory.iter().any(|names| names.contains(&name))
                || self.optional.iter().any(|(known, _)| *known == name);
            if !is_known {
                return Err(Trouble::usage(format!("Argument \"{name}\" is not recognised")));
            }
            let value = match self.json.contains(&name) {
                true => serde_json::from_str(value).map_err(|_| Trouble::no_json(value))?,
                false => json!(value),
            };
            body.insert(name.to_owned(), value);
        }
        for names in self.mandatory {
            if !names.iter().any(|name| body.contains_key(*name)) {
                return Err(Trouble::usage(match names {
                    [name] => format!("mandatory argument \"{name}\" is required"),
                    _ => format!("one of mandatory arguments \"['{}']\" is required", names.join("', '")),
                }));
            }
        }
        if !self.mandatory.contains(&["vhost"].as_slice()) {
            body.insert("vhost".to_owned(), json!(vhost));
        }
        let path = self.fill(&body)?;
        if let Some(queue_type) = body.get("queue_type").cloned() {
            body["arguments"]["x-queue-type"] = queue_type;
        }
        Ok((path, Value::Object(body)))
    }

    fn fill(&self, body: &Map<String, Value>) -> Result<String, Trouble> {
        let mut path = String::new();
        let mut rest = self.path;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let field = if name == "destination_char" { "destination_type" } else { name };
            let value = body.get(field).and_then(Value::as_str).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| Trouble::usage(format!("argument \"{field}\" must not be empty")))?;
            let value = if name == "destination_char" {
                &value[..value.chars().next().map_or(0, char::len_utf8)]
            } else {
                value
            };
            path.push_str(before);
            path.push_str(&quoted(value));
            rest = after;
        }
        path.push_str(rest);
        Ok(path)
    }

    /// How the arguments are said.
    pub fn usage(&self) -> String {
        let mandatory = self.mandatory.iter().map(|names| format!("{}=...", names.join("=... OR ")));
        let mut usage = mandatory.collect::<Vec<_>>().join(" ");
        if !self.optional.is_empty() {
            let optional = self.optional.iter().map(|(name, _)| format!("{name}=..."));
            usage.push_str(&format!(" [{}]", optional.collect::<Vec<_>>().join(" ")));
        }
        usage
    }
}

/// A name as a segment of a path, as Python's library quotes it: dots stay, unless there is nothing else.
pub fn quoted(name: &str) -> String {
    let is_dots = name.bytes().all(|byte| byte == b'.');
    name.bytes().fold(String::new(), |mut quoted, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => quoted.push(byte.into()),
            b'.' if !is_dots => quoted.push('.'),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &Kind, arguments: &[&str]) -> Result<(String, Value), String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        kind.parse(&arguments, "/").map_err(|trouble| trouble.to_string())
    }

    fn named<'a>(kinds: &'a [Kind], name: &str) -> &'a Kind {
        kinds.iter().find(|kind| kind.name == name).unwrap()
    }

    #[test]
    fn arguments_become_a_path_and_a_body() {
        let arguments = ["name=a.b/c", "queue_type=quorum", "arguments={\"x-max-length\":1}"];
        let body = json!({
            "name": "a.b/c", "vhost": "/", "durable": "true", "auto_delete": "false", "queue_type": "quorum",
            "arguments": {"x-max-length": 1, "x-queue-type": "quorum"},
        });
        assert_eq!(parse(named(&DECLARABLE, "queue"), &arguments), Ok(("queues/%2F/a.b%2Fc".to_owned(), body)));
        let (path, _) =
            parse(named(&DELETABLE, "binding"), &["source=x", "destination=q", "destination_type=queue"]).unwrap();
        assert_eq!(path, "bindings/%2F/e/x/q/q/~");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let queue = named(&DECLARABLE, "queue");
        let refused = |arguments: &[&str]| parse(queue, arguments).unwrap_err();
        assert!(refused(&[]).contains("mandatory argument \"name\" is required"));
        assert!(refused(&["q"]).contains("Argument \"q\" not in the name=value format"));
        assert!(refused(&["nome=q"]).contains("Argument \"nome\" is not recognised"));
        assert!(refused(&["name="]).contains("must not be empty"));
        assert!(refused(&["name=q", "arguments={"]).contains("Could not parse JSON:\n  {"));
        let user = parse(named(&DECLARABLE, "user"), &["name=u", "tags="]).unwrap_err();
        assert!(user.contains("one of mandatory arguments \"['password', 'password_hash']\" is required"));
        assert_eq!(quoted(".."), "%2E%2E");
    }
}
