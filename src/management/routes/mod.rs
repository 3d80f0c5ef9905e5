//! The paths of the API.

mod bindings;
mod clients;
mod definitions;
mod delayed;
mod exchanges;
mod health;
pub mod limits;
mod login;
mod messages;
mod node;
pub mod parameters;
pub mod permissions;
pub mod policies;
mod queues;
mod resources;
mod tail;
pub mod topic_permissions;
mod topology;
pub mod users;
pub mod vhosts;
mod waiting;

use super::admission::{authenticate, examine};
use super::http::{ApiError, tell_methods};
use super::{App, bodies, elsewhere, metrics, page};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use serde_json::Value;
use std::sync::Arc;

/// What is said of a body that is JSON in a string of JSON, as some libraries make it.
const JSON_IN_JSON: &str =
    "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?";

/// Every path, behind the login but for the page, the login itself and the version.
pub fn all(app: Arc<App>) -> Router {
    let api = Router::new()
        .merge(node::routes())
        .merge(queues::routes())
        .merge(messages::routes())
        .merge(exchanges::routes())
        .merge(bindings::routes())
        .merge(clients::routes())
        .merge(definitions::routes())
        .merge(delayed::routes())
        .merge(health::routes())
        .merge(users::routes())
        .merge(vhosts::routes())
        .merge(permissions::routes())
        .merge(policies::routes())
        .merge(parameters::routes())
        .merge(topic_permissions::routes())
        .merge(limits::routes())
        .merge(resources::routes())
        .merge(tail::routes())
        .merge(topology::routes())
        .merge(waiting::routes())
        .fallback(|| async { ApiError::NotFound.into_response() });
    let body_max_bytes = app.settings.limits.body_max_bytes;
    let open = Router::new()
        .nest("/api", login::routes().merge(node::open_routes()))
        .merge(page::routes())
        .layer(from_fn(tell_methods))
        .layer(from_fn_with_state(app.clone(), bodies::receive_small));
    Router::new()
        .nest("/api", api)
        .merge(metrics::for_monitors(&app))
        .fallback(|| async { ApiError::NotFound.into_response() })
        .layer(from_fn(tell_methods))
        .layer(from_fn_with_state(app.clone(), bodies::receive))
        .layer(from_fn_with_state(app.clone(), authenticate))
        .layer(DefaultBodyLimit::max(body_max_bytes))
        .merge(open)
        .layer(from_fn_with_state(app.clone(), elsewhere::unless_it_leads))
        .layer(from_fn(examine))
        .with_state(app)
}

/// There is one node that answers for itself.
fn check_node(app: &App, node: &str) -> Result<(), ApiError> {
    if node == app.settings.node { Ok(()) } else { Err(ApiError::NotFound) }
}

/// The JSON object in a request's body; an empty body is an empty object.
pub fn object(body: &[u8]) -> Result<Value, ApiError> {
    // Some clients say nothing with these words.
    if matches!(body.trim_ascii(), b"" | b"null" | b"undefined") {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(Value::String(_)) => Err(ApiError::BadRequest(JSON_IN_JSON.to_owned())),
        Ok(_) | Err(_) => Err(ApiError::BadRequest("not_json".to_owned())),
    }
}

/// A text field of a body. Absent is empty.
pub fn text_field<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    match &body[name] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => Err(ApiError::BadRequest(format!("{name} must be a string"))),
    }
}

/// A text field of a body that must be there.
pub fn required_text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    if body[name].is_null() {
        return Err(key_missing(name));
    }
    text_field(body, name)
}

/// What is said of a body without a key that must be there.
fn key_missing(name: &str) -> ApiError {
    ApiError::BadRequest(format!("[{{key_missing,{name}}}]"))
}

/// # Errors
/// 400 that names every key that is not there.
pub fn require_keys(body: &Value, keys: &[&str]) -> Result<(), ApiError> {
    let missing = keys.iter().filter(|key| body[**key].is_null()).map(|key| format!("{{key_missing,{key}}}"));
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(ApiError::BadRequest(format!("[{}]", missing.join(",")))) }
}
