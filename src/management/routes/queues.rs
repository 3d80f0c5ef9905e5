//! `/api/queues`: list, declare, delete, purge.

use super::super::change::{QueueAttributes, VhostChange};
use super::super::http::{ApiError, ApiResult, empty, name};
use super::super::listing::{ListQuery, Ranges, RowName, one};
use super::super::question::{Held, Question, VhostQuestion};
use super::super::visit::{Administrator, VhostVisit, Visit};
use super::super::{App, json, shapes};
use super::{object, required_text};
use crate::broker::snapshot::QueueSnapshot;
use crate::protocol::ShortString;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/queues", get(list_all))
        .route("/queues/detailed", get(list_all))
        .route("/queues/{vhost}", get(list))
        .route("/queues/{vhost}/{queue}", get(show).put(declare).delete(remove))
        .route("/queues/{vhost}/{queue}/contents", delete(purge))
        .route("/queues/{vhost}/{queue}/actions", post(act))
        .route("/rebalance/queues", post(rebalance))
}

type Parameters = Query<HashMap<String, String>>;

async fn list_all(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let listed = visit.listed().await?;
    answer(&visit, &parameters, |queue| listed.holds(&queue.item.vhost)).await
}

async fn list(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    answer(&visit, &parameters, |queue| *queue.item.vhost == *visit.vhost).await
}

async fn answer(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&Held<QueueSnapshot>) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut queues = visit.ask_all(|from, reply| Question::Queues { from, reply }).await?;
    queues.retain(is_wanted);
    let is_said = |name: &str| parameters.get(name).is_some_and(|text| text == "true");
    let (without_stats, with_lengths) = (is_said("disable_stats"), is_said("enable_queue_totals"));
    let ranges = Ranges::parse(parameters);
    let name = |queue: &Held<QueueSnapshot>| RowName::in_vhost(&queue.item.vhost, queue.item.name.to_string());
    let shape = |queue: &Held<QueueSnapshot>| match without_stats {
        true => shapes::queue_without_stats(&visit.app, &queue.item, with_lengths),
        false => shapes::queue(&visit.app, queue, ranges),
    };
    query.answer(visit.take_room(), queues, name, shape).await
}

async fn show(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, Query(parameters): Parameters) -> ApiResult {
    let lookup = name(&queue)?;
    let held = visit.ask_here(|reply| VhostQuestion::Queue { name: lookup, reply }).await?;
    let held = held.ok_or(ApiError::NotFound)?;
    let consumers = visit.ask_all_here(|from, reply| {
        let queue = held.item.name.clone();
        VhostQuestion::ConsumersOfQueue { queue, from, reply }
    });
    let mut shape = shapes::queue(&visit.app, &held, Ranges::parse(&parameters));
    shape["consumer_details"] =
        consumers.await?.iter().map(|consumer| shapes::consumer(&visit.app, consumer)).collect();
    one(&parameters, shape)
}

async fn declare(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let name = json::short_string(&queue, "the name")?;
    let body = object(&body)?;
    let attributes = QueueAttributes {
        durable: json::boolean("durable", &body["durable"])?,
        auto_delete: json::boolean("auto_delete", &body["auto_delete"])?,
        arguments: json::to_table(&body["arguments"], "arguments")?,
    };
    let new = visit.change_here(|reply| VhostChange::DeclareQueue { name, attributes, reply }).await?;
    let new = new.map_err(ApiError::of_definition)?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// The name of a queue that is there: deleting one that isn't is fine in AMQP, and not found here.
async fn existing(visit: &VhostVisit, queue: &str) -> Result<ShortString, ApiError> {
    let (lookup, name) = (name(queue)?, name(queue)?);
    visit.ask_here(|reply| VhostQuestion::Queue { name: lookup, reply }).await?.ok_or(ApiError::NotFound)?;
    Ok(name)
}

async fn remove(
    visit: VhostVisit,
    Path((_, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let name = existing(&visit, &queue).await?;
    let asked = |parameter: &str| parameters.get(parameter).is_some_and(|value| value == "true");
    let (if_unused, if_empty) = (asked("if-unused"), asked("if-empty"));
    let deleted = visit.change_here(|reply| VhostChange::DeleteQueue { name, if_unused, if_empty, reply }).await?;
    deleted.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}

async fn purge(visit: VhostVisit, Path((_, queue)): Path<(String, String)>) -> ApiResult {
    let name = existing(&visit, &queue).await?;
    visit.change_here(|reply| VhostChange::PurgeQueue { name, reply }).await?.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}

/// There are no mirrors to bring up to date, so that both actions are done at once.
async fn act(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    existing(&visit, &queue).await?;
    let body = object(&body)?;
    match required_text(&body, "action")? {
        "sync" | "cancel_sync" => empty(StatusCode::NO_CONTENT),
        other => Err(ApiError::Term(json!(["unknown", other]))),
    }
}

/// All queues are on the one node.
async fn rebalance(_: Administrator) -> ApiResult {
    empty(StatusCode::NO_CONTENT)
}
