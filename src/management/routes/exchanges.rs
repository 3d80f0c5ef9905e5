//! `/api/exchanges`: list, declare, delete, and what is bound from and to them.

use super::super::change::{ExchangeAttributes, VhostChange};
use super::super::http::{ApiError, ApiResult, empty, exchange_name};
use super::super::listing::{ListQuery, Ranges, RowName, one};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{VhostVisit, Visit};
use super::super::{App, json, shapes};
use super::object;
use crate::broker::snapshot::ExchangeSnapshot;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
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

async fn list_all(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let listed = visit.listed().await?;
    answer(&visit, &parameters, |exchange| listed.holds(&exchange.vhost)).await
}

async fn list(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    answer(&visit, &parameters, |exchange| *exchange.vhost == *visit.vhost).await
}

async fn answer(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&ExchangeSnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut exchanges = visit.ask_all(|from, reply| Question::Exchanges { from, reply }).await?;
    exchanges.retain(is_wanted);
    let name = |exchange: &ExchangeSnapshot| RowName::in_vhost(&exchange.vhost, exchange.name.to_string());
    let ranges = Ranges::parse(parameters);
    let shape = |exchange: &ExchangeSnapshot| shapes::exchange_with_stats(&visit.app, exchange, ranges);
    query.answer(visit.take_room(), exchanges, name, shape).await
}

async fn show(
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let name = exchange_name(&exchange)?;
    let exchange = visit.ask_here(|reply| VhostQuestion::Exchange { name, reply }).await?;
    let exchange = exchange.ok_or(ApiError::NotFound)?;
    one(&parameters, shapes::exchange_with_stats(&visit.app, &exchange, Ranges::parse(&parameters)))
}

async fn declare(visit: VhostVisit, Path((_, exchange)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let name = json::short_string(&exchange, "the name")?;
    let body = object(&body)?;
    let attributes = ExchangeAttributes {
        kind: json::short_string(kind(&body)?, "type")?,
        durable: json::boolean("durable", &body["durable"])?,
        auto_delete: json::boolean("auto_delete", &body["auto_delete"])?,
        internal: json::boolean("internal", &body["internal"])?,
        arguments: json::to_table(&body["arguments"], "arguments")?,
    };
    let new = visit.change_here(|reply| VhostChange::DeclareExchange { name, attributes, reply }).await?;
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
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let name = exchange_name(&exchange)?;
    let if_unused = parameters.get("if-unused").is_some_and(|value| value == "true");
    // Deleting what doesn't exist is fine in AMQP, and not found here.
    let lookup = name.clone();
    visit.ask_here(|reply| VhostQuestion::Exchange { name: lookup, reply }).await?.ok_or(ApiError::NotFound)?;
    let deleted = visit.change_here(|reply| VhostChange::DeleteExchange { name, if_unused, reply }).await?;
    deleted.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}
