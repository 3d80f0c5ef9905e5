//! docs/openapi.json says what there is: every path and method of the router and no other, and answers as they are.

use crate::server::Server;
use crate::support::client::Client;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../docs/openapi.json");

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

/// Paths as the sources give them to the router.
fn routed() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/management/routes");
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the routes") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        for rest in text.split(".route(").skip(1) {
            let path = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
            paths.extend(path.map(|(path, _)| path.to_owned()));
        }
    }
    // The page, and what Prometheus scrapes, are not below /api.
    paths.retain(|path| path != "/" && !path.starts_with("/metrics"));
    paths
}

/// What stands for a part of a path: names of what there is in [`populate`].
fn value<'a>(name: &'a str, path: &str) -> &'a str {
    match name {
        "vhost" => "v",
        "queue" | "destination" | "kind" => "q",
        "exchange" | "source" => "x",
        "properties_key" => "k",
        "user" => "u",
        "policy" => "p",
        "node" => "leveret@localhost",
        "component" => "vhost-limits",
        "limit" => "max-connections",
        "feature" => "stream_queue",
        "port" | "within" => "1",
        "protocol" => "amqp",
        "unit" => "days",
        "password" => "secret",
        "name" if path.starts_with("/global-parameters") => "g",
        "name" => "limits",
        other => other,
    }
}

fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        name.map_or(part, |name| value(name, path))
    });
    parts.collect::<Vec<_>>().join("/")
}

fn populate(server: &Server) {
    for (method, path, body) in [
        ("PUT", "vhosts/v", json!({"description": "d", "tags": "a,b"})),
        ("PUT", "users/u", json!({"tags": "management", "password_hash": "", "limits": {"max-channels": 7}})),
        ("PUT", "permissions/v/u", json!({"configure": "", "write": "", "read": ""})),
        ("PUT", "topic-permissions/v/u", json!({"exchange": "x", "write": "", "read": ""})),
        ("PUT", "vhost-limits/v/max-queues", json!({"value": 7})),
        ("PUT", "policies/v/p", json!({"pattern": "^q", "definition": {"max-length": 5}, "apply-to": "queues"})),
        ("PUT", "operator-policies/v/p", json!({"pattern": "^q", "definition": {"max-length": 5}})),
        ("PUT", "global-parameters/g", json!({"value": {"a": 1}})),
        ("PUT", "exchanges/v/x", json!({"type": "topic", "durable": true})),
        ("PUT", "queues/v/q", json!({"durable": true, "arguments": {"x-queue-type": "quorum"}})),
        ("POST", "bindings/v/e/x/q/q", json!({"routing_key": "k"})),
    ] {
        let answer = server.ask(method, &format!("/api/{path}"), &body.to_string());
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
    }
}

/// Whether a value is as a schema says, or where it is not: the part of JSON Schema that the document uses.
fn check(value: &Value, schema: &Value, document: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{at}: {what}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        let referred = document.pointer(pointer).unwrap_or_else(|| panic!("there is no {reference}"));
        return check(value, referred, document, at);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(value, part, document, at)?;
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let wrong: Vec<String> = choices.iter().filter_map(|choice| check(value, choice, document, at).err()).collect();
        return if wrong.len() + 1 == choices.len() { Ok(()) } else { Err(wrong.join("; ")) };
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("what is {other}?"),
    };
    match &schema["type"] {
        Value::String(kind) if !is(kind) => return wrong(format!("{value} is no {kind}")),
        Value::Array(kinds) if !kinds.iter().filter_map(Value::as_str).any(is) => {
            return wrong(format!("{value} is none of {}", schema["type"]));
        }
        _ => {}
    }
    if !schema["const"].is_null() && *value != schema["const"] {
        return wrong(format!("{value} is not {}", schema["const"]));
    }
    let none = Map::new();
    if let Some(object) = value.as_object() {
        let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = missing.into_iter().find(|key| !object.contains_key(*key)) {
            return wrong(format!("there is no {missing}"));
        }
        for (key, schema) in schema["properties"].as_object().unwrap_or(&none) {
            if let Some(value) = object.get(key) {
                check(value, schema, document, &format!("{at}.{key}"))?;
            }
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        if schema["items"].is_object() {
            check(value, &schema["items"], document, &format!("{at}[{index}]"))?;
        }
    }
    Ok(())
}

/// What stands behind the name of a row of which `columns` may leave something out.
const ROW: &str = "_row";

/// The same schema for who does not ask for columns: whole rows.
fn whole(schema: &Value) -> Value {
    match schema {
        Value::String(reference) if reference.ends_with(ROW) => json!(reference.strip_suffix(ROW)),
        Value::Array(parts) => parts.iter().map(whole).collect(),
        Value::Object(parts) => parts.iter().map(|(key, part)| (key.clone(), whole(part))).collect(),
        other => other.clone(),
    }
}

/// Whether who asks for the list may choose its columns.
fn has_columns(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let is_columns = |parameter: &Value| parameter["$ref"] == "#/components/parameters/columns";
    parameters.into_iter().any(is_columns)
}

#[test]
fn every_path_of_the_router_is_in_the_document_and_no_other() {
    let document = document();
    let documented = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(routed(), documented);
}

#[test]
fn every_path_has_the_methods_of_the_document() {
    let (server, document) = (Server::start(), document());
    for (path, item) in document["paths"].as_object().expect("paths") {
        let answer = server.ask("OPTIONS", &format!("/api{}", filled(path)), "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let allowed = answer.all("allow").join(",").to_lowercase();
        let allowed: BTreeSet<&str> = allowed.split(',').filter(|method| METHODS.contains(method)).collect();
        let documented: BTreeSet<&str> = METHODS.into_iter().filter(|method| item[*method].is_object()).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[test]
fn answers_are_as_the_document_says() {
    let (server, document) = (Server::start(), document());
    populate(&server);
    let client = Client::connect(server.amqp, "");
    let connections = loop {
        let connections = server.get("/api/connections").json();
        if connections.as_array().is_some_and(|connections| !connections.is_empty()) {
            break connections;
        }
        std::thread::yield_now();
    };
    let name = connections[0]["name"].as_str().expect("a name").replace(' ', "%20").replace('>', "%3E");
    let mut answered = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(responses) = item["get"]["responses"].as_object() else { continue };
        if responses["200"]["content"]["text/event-stream"].is_object() {
            continue;
        }
        let filled = match path.strip_prefix("/connections/{name}") {
            Some(rest) => format!("/connections/{name}{rest}"),
            None => filled(path),
        };
        let has_columns = has_columns(&item["get"]);
        let with_columns: &[_] = if has_columns { &["?columns=vhost", "?columns=none"] } else { &[] };
        for query in ["", "?page=1&page_size=5"].iter().chain(with_columns) {
            let answer = server.get(&format!("/api{filled}{query}"));
            let status = answer.status.to_string();
            let response = responses.get(&status).unwrap_or_else(|| panic!("{path}: {status} {}", answer.text));
            let response = match response["$ref"].as_str() {
                Some(reference) => document.pointer(&reference[1..]).expect("a response"),
                None => response,
            };
            if response["content"]["text/plain"].is_object() {
                assert!(answer.named("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{path}");
                continue;
            }
            let schema = &response["content"]["application/json"]["schema"];
            let schema = if query.contains("columns") { schema } else { &whole(schema) };
            if let Err(wrong) = check(&answer.json(), schema, &document, path) {
                panic!("{wrong}\n of {}", answer.text);
            }
            answered += usize::from(answer.status == 200);
        }
    }
    assert!(answered > 150, "of {answered} answers little is known");
    drop(client);
}
