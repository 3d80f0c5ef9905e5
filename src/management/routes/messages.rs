//! Publishing and getting single messages, and the aliveness test that does both.

use super::super::change::{GetMode, GetSpec, PublishOutcome, PublishSpec, QueueAttributes, VhostChange};
use super::super::http::{ApiError, ApiResult, exchange_name, name, ok};
use super::super::visit::VhostVisit;
use super::super::{App, json, shapes};
use super::{key_missing, object, required_text, text_field};
use crate::protocol::{BasicProperties, FieldTable, ShortString};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is said of a publish that a queue refused.
const REFUSED: &str = "rejected Unable to publish message. Check queue limits.";

/// The queue of the aliveness test, which is left for the next one.
const ALIVENESS_QUEUE: &str = "aliveness-test";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/exchanges/{vhost}/{exchange}/publish", post(publish))
        .route("/queues/{vhost}/{queue}/get", post(get_messages))
        .route("/aliveness-test/{vhost}", get(aliveness_test))
}

async fn publish(visit: VhostVisit, Path((_, exchange)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let exchange = exchange_name(&exchange)?;
    let body = object(&body)?;
    let publish = PublishSpec {
        exchange,
        routing_key: json::short_string(required_text(&body, "routing_key")?, "routing_key")?,
        properties: json::to_properties(&body["properties"])?,
        body: payload(&body)?,
    };
    let outcome = visit.change_here(|reply| VhostChange::Publish { publish: Box::new(publish), reply }).await?;
    match outcome.map_err(ApiError::of_publish)? {
        PublishOutcome::Routed => ok(&json!({ "routed": true })),
        PublishOutcome::Returned => ok(&json!({ "routed": false })),
        PublishOutcome::Refused => Err(ApiError::BadRequest(REFUSED.to_owned())),
    }
}

fn payload(body: &Value) -> Result<bytes::Bytes, ApiError> {
    let payload = required_text(body, "payload")?;
    match text_field(body, "payload_encoding")? {
        "" | "string" => Ok(payload.as_bytes().to_vec().into()),
        "base64" => match STANDARD.decode(payload) {
            Ok(payload) => Ok(payload.into()),
            Err(_) => Err(ApiError::BadRequest("payload is not base64".to_owned())),
        },
        other => Err(ApiError::BadRequest(format!("unsupported encoding: {other}"))),
    }
}

async fn get_messages(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let queue = name(&queue)?;
    let body = object(&body)?;
    let always_base64 = match required_text(&body, "encoding")? {
        "auto" => false,
        "base64" => true,
        other => return Err(ApiError::BadRequest(format!("unsupported encoding: {other}"))),
    };
    let get = GetSpec { queue, count: size(&body, "count")?, mode: get_mode(&body)?, truncate: truncate(&body)? };
    let messages = visit.change_here(|reply| VhostChange::Get { get, reply }).await?.map_err(ApiError::of_channel)?;
    let messages = messages.iter().map(|message| shapes::message(message, always_base64));
    ok(&messages.collect())
}

fn get_mode(body: &Value) -> Result<GetMode, ApiError> {
    match text_field(body, "ackmode")? {
        "ack_requeue_true" | "reject_requeue_true" => Ok(GetMode::Requeue),
        "ack_requeue_false" => Ok(GetMode::Take),
        "reject_requeue_false" => Ok(GetMode::Reject),
        // What was asked before there were modes.
        "" if json::boolean("requeue", &body["requeue"])? => Ok(GetMode::Requeue),
        "" if !body["requeue"].is_null() => Ok(GetMode::Take),
        "" => Err(key_missing("ackmode")),
        other => Err(ApiError::BadRequest(format!("unsupported ackmode: {other}"))),
    }
}

fn size(body: &Value, field: &str) -> Result<usize, ApiError> {
    if body[field].is_null() {
        return Err(key_missing(field));
    }
    Ok(usize::try_from(json::unsigned(field, &body[field])?).unwrap_or(usize::MAX))
}

fn truncate(body: &Value) -> Result<usize, ApiError> {
    if body["truncate"].is_null() { Ok(usize::MAX) } else { size(body, "truncate") }
}

/// Declares a queue, publishes to it and gets the message back.
async fn aliveness_test(visit: VhostVisit) -> ApiResult {
    let queue = ShortString::from(ALIVENESS_QUEUE);
    let attributes = QueueAttributes { durable: false, auto_delete: false, arguments: FieldTable::default() };
    let name = queue.clone();
    let declared = visit.change_here(|reply| VhostChange::DeclareQueue { name, attributes, reply }).await?;
    declared.map_err(ApiError::of_channel)?;
    let publish = PublishSpec {
        exchange: ShortString::default(),
        routing_key: queue.clone(),
        properties: BasicProperties::default(),
        body: bytes::Bytes::from_static(b"test_message"),
    };
    visit
        .change_here(|reply| VhostChange::Publish { publish: Box::new(publish), reply })
        .await?
        .map_err(ApiError::of_channel)?;
    let get = GetSpec { queue, count: 1, mode: GetMode::Take, truncate: 0 };
    let got = visit.change_here(|reply| VhostChange::Get { get, reply }).await?.map_err(ApiError::of_channel)?;
    if got.is_empty() {
        return Err(ApiError::Unavailable);
    }
    ok(&json!({ "status": "ok" }))
}
