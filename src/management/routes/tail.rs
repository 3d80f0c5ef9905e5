//! `…/tail`: what enters a queue, or what an exchange routes, as it comes and without anybody's losing it.

use super::super::App;
use super::super::change::VhostChange;
use super::super::http::{ApiError, ApiResult, exchange_name, name};
use super::super::visit::VhostVisit;
use super::super::{json, tail};
use crate::broker::{TailFilter, TailOf, TailSpec};
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::get;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Messages in a second, where it is not said and at most.
const RATES: (u64, u64) = (20, 1000);
/// Bytes of each body, where it is not said and at most.
const TRUNCATE_BYTES: (u64, u64) = (1 << 10, 16 << 10);
/// How long, where it is not said and at most, in seconds.
const SECONDS: (u64, u64) = (60, 600);
/// The longest text that is looked for, in bytes.
const TEXT_MAX_BYTES: usize = 1 << 10;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/queues/{vhost}/{queue}/tail", get(tail_queue))
        .route("/exchanges/{vhost}/{exchange}/tail", get(tail_exchange))
}

type Parameters = Query<HashMap<String, String>>;

async fn tail_queue(
    visit: VhostVisit,
    Path((_, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    follow(visit, TailOf::Queue(name(&queue)?), &parameters).await
}

async fn tail_exchange(
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    follow(visit, TailOf::Exchange(exchange_name(&exchange)?), &parameters).await
}

async fn follow(visit: VhostVisit, of: TailOf, parameters: &HashMap<String, String>) -> ApiResult {
    let rate = number(parameters, "rate", RATES)? as u32;
    let body_max_bytes = number(parameters, "truncate", TRUNCATE_BYTES)? as usize;
    let lasts = Duration::from_secs(number(parameters, "seconds", SECONDS)?);
    let spec = Box::new(TailSpec { of, filter: filter(parameters)?, rate, body_max_bytes });
    let (listener, messages) = tail::listen();
    let started = visit
        .change_here(|reply| VhostChange::StartTail { tail: spec, listener: Box::new(listener), reply })
        .await?
        .map_err(ApiError::of_definition)?;
    Ok(tail::events(visit, started, messages, lasts))
}

/// A number that may be said; what is more than the most is the most.
fn number(parameters: &HashMap<String, String>, name: &str, (unsaid, most): (u64, u64)) -> Result<u64, ApiError> {
    let Some(said) = parameters.get(name) else { return Ok(unsaid) };
    let number: u64 = said.parse().map_err(|_| ApiError::BadRequest(format!("{name} must be a whole number")))?;
    Ok(number.min(most))
}

fn filter(parameters: &HashMap<String, String>) -> Result<TailFilter, ApiError> {
    let said = |name: &str| parameters.get(name).filter(|text| !text.is_empty());
    let mut filter = TailFilter::default();
    if let Some(pattern) = said("routing_key") {
        filter = filter.with_key(&json::short_string(pattern, "routing_key")?);
    }
    if let Some(header) = said("header") {
        let (name, value) = header.split_once('=').map_or((&**header, None), |(name, value)| (name, Some(value)));
        filter = filter.with_header(json::short_string(name, "header")?, value.map(str::as_bytes));
    }
    match said("text") {
        Some(text) if text.len() > TEXT_MAX_BYTES => {
            Err(ApiError::BadRequest(format!("text is longer than {TEXT_MAX_BYTES} bytes")))
        }
        Some(text) => Ok(filter.with_text(text.as_bytes())),
        None => Ok(filter),
    }
}
