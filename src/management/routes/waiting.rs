//! `/api/queues/…`: messages where they wait, and where they are held: looked at, given back, moved elsewhere. RabbitMQ has
//! none of this.

use super::super::change::VhostChange;
use super::super::http::{ApiError, ApiResult, empty, name, ok};
use super::super::visit::VhostVisit;
use super::super::{App, json, shapes};
use super::{object, required_text, text_field};
use crate::broker::{HeldId, MoveSpec, MoveTo, MoveWhat, PeekSpec};
use crate::protocol::ShortString;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Messages to an answer, where it is not said and at most.
const COUNT: (usize, usize) = (100, 500);
/// Bytes of each body that is looked at, where it is not said and at most.
const TRUNCATE_BYTES: (usize, usize) = (4 << 10, 64 << 10);
/// How often the loop is asked for more until an answer is given that is not full.
const ASKED_MAX: usize = 64;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/queues/{vhost}/{queue}/peek", get(peek))
        .route("/queues/{vhost}/{queue}/unacked", get(list_held))
        .route("/queues/{vhost}/{queue}/unacked/{id}", post(settle_held))
        .route("/queues/{vhost}/{queue}/redrive", post(redrive))
        .route("/queues/{vhost}/{queue}/move", post(move_messages))
}

type Parameters = Query<HashMap<String, String>>;

/// A number that may be said; what is more than the most is the most.
fn number(parameters: &HashMap<String, String>, name: &str, (unsaid, most): (usize, usize)) -> Result<usize, ApiError> {
    let Some(said) = parameters.get(name) else { return Ok(unsaid) };
    let number: usize = said.parse().map_err(|_| ApiError::BadRequest(format!("{name} must be a whole number")))?;
    Ok(number.min(most))
}

async fn peek(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, Query(parameters): Parameters) -> ApiResult {
    let queue = name(&queue)?;
    let peek = PeekSpec {
        from: number(&parameters, "from", (0, usize::MAX))?,
        most: number(&parameters, "count", COUNT)?,
        body_max_bytes: number(&parameters, "truncate", TRUNCATE_BYTES)?,
    };
    let peeked = visit.change_here(|reply| VhostChange::Peek { queue, peek, reply }).await?;
    let peeked = peeked.map_err(ApiError::of_definition)?;
    let next = peeked.messages.last().map_or(peek.from, |last| last.position + 1);
    let has_more = next < peeked.ready && !peeked.are_away;
    ok(&json!({
        "items": peeked.messages.iter().map(shapes::peeked_message).collect::<Value>(),
        "messages_ready": peeked.ready,
        "next": has_more.then_some(next),
        "away": peeked.are_away,
    }))
}

async fn list_held(
    visit: VhostVisit,
    Path((_, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let queue = name(&queue)?;
    let most = number(&parameters, "count", COUNT)?.max(1);
    let mut after = match parameters.get("after") {
        Some(id) => Some(id.parse().map_err(|()| ApiError::BadRequest("after must be an id".to_owned()))?),
        None => None,
    };
    let mut items: Vec<Value> = Vec::new();
    let mut total = 0;
    for _ in 0..ASKED_MAX {
        let (queue, most) = (queue.clone(), most - items.len());
        let listed = visit.change_here(|reply| VhostChange::ListHeld { queue, after, most, reply }).await?;
        let page = listed.map_err(ApiError::of_definition)?;
        items.extend(page.items.iter().map(shapes::held_message));
        (after, total) = (page.next, page.total);
        if after.is_none() || items.len() >= most {
            break;
        }
    }
    ok(&json!({ "items": items, "messages_unacknowledged": total, "next": after.map(|id| id.to_string()) }))
}

async fn settle_held(
    visit: VhostVisit,
    Path((_, queue, id)): Path<(String, String, String)>,
    body: Bytes,
) -> ApiResult {
    let queue = name(&queue)?;
    let id: HeldId = id.parse().map_err(|()| ApiError::NotFound)?;
    let requeue = match required_text(&object(&body)?, "action")? {
        "requeue" => true,
        "reject" => false,
        other => return Err(ApiError::BadRequest(format!("unsupported action: {other}"))),
    };
    let settled = visit.change_here(|reply| VhostChange::SettleHeld { queue, id, requeue, reply }).await?;
    match settled.map_err(ApiError::of_definition)? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

async fn redrive(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let body = object(&body)?;
    let to = match text_field(&body, "target")? {
        "" | "queue" => MoveTo::WhereItDied,
        "exchange" => MoveTo::ItsExchange,
        other => return Err(ApiError::BadRequest(format!("unsupported target: {other}"))),
    };
    carry(visit, name(&queue)?, to, &body).await
}

async fn move_messages(visit: VhostVisit, Path((_, queue)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let body = object(&body)?;
    let destination = json::short_string(required_text(&body, "destination")?, "destination")?;
    carry(visit, name(&queue)?, MoveTo::Queue(destination), &body).await
}

/// Answers when what was moved is where it was moved to, for good.
async fn carry(visit: VhostVisit, queue: ShortString, to: MoveTo, body: &Value) -> ApiResult {
    let what = match (&body["count"], text_field(body, "message")?) {
        (Value::Null, "") => MoveWhat::All,
        (Value::Null, id) => {
            MoveWhat::One(id.parse().map_err(|()| ApiError::BadRequest("message must be an id".to_owned()))?)
        }
        (count, "") => MoveWhat::First(usize::try_from(json::unsigned("count", count)?).unwrap_or(usize::MAX)),
        _ => return Err(ApiError::BadRequest("either count or message may be said".to_owned())),
    };
    let spec = Box::new(MoveSpec { queue, to, what });
    let moved = visit.change_here(|reply| VhostChange::Move { spec, reply }).await?.map_err(ApiError::of_definition)?;
    let stay = moved.stay.iter().map(|(reason, count)| json!({ "reason": reason, "count": count }));
    ok(&json!({ "moved": moved.moved, "skipped": stay.collect::<Value>(), "left": moved.ready }))
}
