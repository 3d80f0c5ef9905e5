//! `/api/queues`: list, declare, delete, purge.

use super::super::change::{Change, QueueAttributes};
use super::super::http::{ApiError, ApiResult, empty, name};
use super::super::listing::{ListQuery, one};
use super::super::question::Question;
use super::super::{App, json, shapes};
use super::{check_vhost, object};
use crate::protocol::ShortString;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/queues", get(list_all))
        .route("/queues/{vhost}", get(list))
        .route("/queues/{vhost}/{queue}", get(show).put(declare).delete(remove))
        .route("/queues/{vhost}/{queue}/contents", delete(purge))
}

type Parameters = Query<HashMap<String, String>>;

async fn list_all(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let queues = app.line.ask_all(|from, reply| Question::Queues { from, reply }).await?;
    query.answer(queues, |queue| queue.item.name.to_string(), |queue| shapes::queue(&app, queue))
}

async fn list(State(app): State<Arc<App>>, Path(vhost): Path<String>, parameters: Parameters) -> ApiResult {
    check_vhost(&app, &vhost)?;
    list_all(State(app), parameters).await
}

async fn show(
    State(app): State<Arc<App>>,
    Path((vhost, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let lookup = name(&queue)?;
    let held = app.line.ask(|reply| Question::Queue { name: lookup, reply }).await?.ok_or(ApiError::NotFound)?;
    let queue = name(&queue)?;
    let consumers =
        app.line.ask_all(|from, reply| Question::ConsumersOfQueue { queue: queue.clone(), from, reply }).await?;
    let mut shape = shapes::queue(&app, &held);
    shape["consumer_details"] = consumers.iter().map(|consumer| shapes::consumer(&app, consumer)).collect();
    one(&parameters, shape)
}

async fn declare(State(app): State<Arc<App>>, Path((vhost, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = json::short_string(&queue, "the name")?;
    let body = object(&body)?;
    let attributes = QueueAttributes {
        durable: json::boolean("durable", &body["durable"])?,
        auto_delete: json::boolean("auto_delete", &body["auto_delete"])?,
        arguments: json::to_table(&body["arguments"], "arguments")?,
    };
    let new = app.line.change(|reply| Change::DeclareQueue { name, attributes, reply }).await?;
    let new = new.map_err(ApiError::of_definition)?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// The name of a queue that is there: deleting one that isn't is fine in AMQP, and not found here.
async fn existing(app: &App, queue: &str) -> Result<ShortString, ApiError> {
    let (lookup, name) = (name(queue)?, name(queue)?);
    app.line.ask(|reply| Question::Queue { name: lookup, reply }).await?.ok_or(ApiError::NotFound)?;
    Ok(name)
}

async fn remove(
    State(app): State<Arc<App>>,
    Path((vhost, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = existing(&app, &queue).await?;
    let asked = |parameter: &str| parameters.get(parameter).is_some_and(|value| value == "true");
    let (if_unused, if_empty) = (asked("if-unused"), asked("if-empty"));
    let deleted = app.line.change(|reply| Change::DeleteQueue { name, if_unused, if_empty, reply }).await?;
    deleted.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}

async fn purge(State(app): State<Arc<App>>, Path((vhost, queue)): Path<(String, String)>) -> ApiResult {
    check_vhost(&app, &vhost)?;
    let name = existing(&app, &queue).await?;
    app.line.change(|reply| Change::PurgeQueue { name, reply }).await?.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}
