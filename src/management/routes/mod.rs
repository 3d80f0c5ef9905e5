//! The paths of the API.

mod bindings;
mod clients;
mod exchanges;
mod health;
mod messages;
mod node;
mod queues;

use super::http::{ApiError, authenticate, receive_body};
use super::{App, page};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use std::sync::Arc;

/// Every path, behind the login.
pub fn all(app: Arc<App>) -> Router {
    let api = Router::new()
        .merge(node::routes())
        .merge(queues::routes())
        .merge(messages::routes())
        .merge(exchanges::routes())
        .merge(bindings::routes())
        .merge(clients::routes())
        .merge(health::routes())
        .fallback(|| async { ApiError::NotFound.into_response() });
    let body_max_bytes = app.settings.limits.body_max_bytes;
    Router::new()
        .nest("/api", api)
        .route("/", get(page::page))
        .fallback(|| async { ApiError::NotFound.into_response() })
        .layer(from_fn_with_state(app.clone(), receive_body))
        .layer(from_fn_with_state(app.clone(), authenticate))
        .layer(DefaultBodyLimit::max(body_max_bytes))
        .with_state(app)
}

/// There is one virtual host.
fn check_vhost(app: &App, vhost: &str) -> Result<(), ApiError> {
    if vhost == app.settings.vhost { Ok(()) } else { Err(ApiError::NotFound) }
}

/// There is one node.
fn check_node(app: &App, node: &str) -> Result<(), ApiError> {
    if node == app.settings.node { Ok(()) } else { Err(ApiError::NotFound) }
}

/// There is one user.
fn check_user(app: &App, user: &str) -> Result<(), ApiError> {
    if user == app.settings.user { Ok(()) } else { Err(ApiError::NotFound) }
}

/// The JSON object in a request's body; an empty body is an empty object.
fn object(body: &[u8]) -> Result<Value, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::Named("not_json", "the body must be a JSON object".to_owned())),
        Err(error) => Err(ApiError::Named("not_json", format!("the body is not JSON: {error}"))),
    }
}

/// A text field of a body. Absent is empty.
fn text_field<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    match &body[name] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => Err(ApiError::BadRequest(format!("{name} must be a string"))),
    }
}

/// A text field of a body that must be there.
fn required_text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    if body[name].is_null() {
        return Err(key_missing(name));
    }
    text_field(body, name)
}

/// What is said of a body without a key that must be there.
fn key_missing(name: &str) -> ApiError {
    ApiError::BadRequest(format!("[{{key_missing,{name}}}]"))
}
