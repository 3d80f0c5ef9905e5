//! `/api/exchanges`: list, declare, delete, and what is bound from and to them.

use super::super::change::{Change, ExchangeAttributes};
use super::super::http::{ApiError, ApiResult, empty, exchange_name};
use super::super::listing::{ListQuery, one};
use super::super::question::Question;
use super::super::{App, json, shapes};
use super::{check_vhost, object};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/exchanges", get(list_all))
        .route("/exchanges/{vhost}", get(list))
        .route("/exchanges/{vhost}/{exchange}", get(show).put(declare).delete(remove))
}

type Parameters = Query<HashMap<String, String>>;

async fn list_all(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let exchanges = app.line.ask_all(|from, reply| Question::Exchanges { from, reply }).await?;
    query.answer(exchanges, |exchange| exchange.name.to_string(), shapes::exchange)
}

async fn list(State(app): State<Arc<App>>, Path(vhost): Path<String>, parameters: Parameters) -> ApiResult {
    check_vhost(&app, &vhost)?;
    list_all(State(app), parameters).await
}

async fn show(
    State(app): State<Arc<App>>,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = exchange_name(&exchange)?;
    let exchange = app.line.ask(|reply| Question::Exchange { name, reply }).await?.ok_or(ApiError::NotFound)?;
    one(&parameters, shapes::exchange(&exchange))
}

async fn declare(
    State(app): State<Arc<App>>,
    Path((vhost, exchange)): Path<(String, String)>,
    body: Bytes,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = json::short_string(&exchange, "the name")?;
    let body = object(&body)?;
    let attributes = ExchangeAttributes {
        kind: json::short_string(kind(&body)?, "type")?,
        durable: json::boolean("durable", &body["durable"])?,
        auto_delete: json::boolean("auto_delete", &body["auto_delete"])?,
        internal: json::boolean("internal", &body["internal"])?,
        arguments: json::to_table(&body["arguments"], "arguments")?,
    };
    let new = app.line.change(|reply| Change::DeclareExchange { name, attributes, reply }).await?;
    let new = new.map_err(ApiError::of_definition)?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// An exchange that doesn't say what it is is direct.
fn kind(body: &Value) -> Result<&str, ApiError> {
    match body.get("type") {
        None => Ok("direct"),
        Some(Value::String(kind)) => Ok(kind),
        Some(other) => Err(ApiError::BadRequest(format!("invalid exchange type '{other}'"))),
    }
}

async fn remove(
    State(app): State<Arc<App>>,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = exchange_name(&exchange)?;
    let if_unused = parameters.get("if-unused").is_some_and(|value| value == "true");
    // Deleting what doesn't exist is fine in AMQP, and not found here.
    let lookup = name.clone();
    app.line.ask(|reply| Question::Exchange { name: lookup, reply }).await?.ok_or(ApiError::NotFound)?;
    let deleted = app.line.change(|reply| Change::DeleteExchange { name, if_unused, reply }).await?;
    deleted.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}
