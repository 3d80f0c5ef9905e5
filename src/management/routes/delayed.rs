//! `/api/delayed`: what exchanges of the type `x-delayed-message` keep until it is due, and cancelling it.

use super::super::App;
use super::super::change::VhostChange;
use super::super::http::{ApiError, ApiResult, empty, exchange_name, ok};
use super::super::listing::bounded_page;
use super::super::shapes;
use super::super::visit::VhostVisit;
use crate::broker::DelayedId;
use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/delayed/{vhost}/{exchange}", get(list))
        .route("/delayed/{vhost}/{exchange}/count", get(count))
        .route("/delayed/{vhost}/{exchange}/{id}", delete(cancel))
}

/// A part of the list, always: an exchange may keep millions.
async fn list(
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Query<HashMap<String, String>>,
) -> ApiResult {
    let exchange = exchange_name(&exchange)?;
    let (page, page_size) = bounded_page(&parameters)?;
    let skipped = (page - 1).saturating_mul(page_size);
    let listed = visit
        .change_here(|reply| VhostChange::ListDelayed { exchange, skipped, most: page_size, reply })
        .await?
        .map_err(ApiError::of_definition)?;
    let items: Vec<_> = listed.messages.iter().map(shapes::delayed_message).collect();
    ok(&json!({
        "filtered_count": listed.total,
        "item_count": items.len(),
        "items": items,
        "page": page,
        "page_count": listed.total.div_ceil(page_size),
        "page_size": page_size,
        "total_count": listed.total,
    }))
}

async fn count(visit: VhostVisit, Path((_, exchange)): Path<(String, String)>) -> ApiResult {
    let exchange = exchange_name(&exchange)?;
    let counted = visit.change_here(|reply| VhostChange::CountDelayed { exchange, reply }).await?;
    ok(&json!({ "messages_delayed": counted.map_err(ApiError::of_definition)? }))
}

async fn cancel(visit: VhostVisit, Path((_, exchange, id)): Path<(String, String, String)>) -> ApiResult {
    let exchange = exchange_name(&exchange)?;
    let id: DelayedId = id.parse().map_err(|()| ApiError::NotFound)?;
    let cancelled = visit.change_here(|reply| VhostChange::CancelDelayed { exchange, id, reply }).await?;
    match cancelled.map_err(ApiError::of_definition)? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}
