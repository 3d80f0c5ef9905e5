//! `PUT /api/nodes/N/resource-limits`: limits of memory and disk, until the broker ends or reads its settings again. It is
//! not RabbitMQ's, which has such commands of rabbitmqctl's alone.

use super::super::App;
use super::super::http::{ApiError, ApiResult, empty};
use super::super::order::{Amount, Order, ResourceLimitChange};
use super::super::visit::Administrator;
use super::{check_node, object};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::put;
use serde_json::Value;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/nodes/{node}/resource-limits", put(limit))
}

async fn limit(visit: Administrator, Path(node): Path<String>, body: Bytes) -> ApiResult {
    check_node(&visit.app, &node)?;
    let body = object(&body)?;
    let limits = ResourceLimitChange {
        memory_watermark: amount(&body, "memory_watermark", 1.0)?,
        // There may be more disk than memory.
        disk_free_limit: amount(&body, "disk_free_limit", f64::MAX)?,
    };
    if limits == ResourceLimitChange::default() {
        return Err(ApiError::BadRequest("memory_watermark or disk_free_limit must be there".to_owned()));
    }
    visit.order(|reply| Order::LimitResources { limits, reply }).await?;
    empty(StatusCode::NO_CONTENT)
}

/// As in the configuration file: a whole number of bytes, or a fraction of the memory.
fn amount(body: &Value, key: &str, most: f64) -> Result<Option<Amount>, ApiError> {
    let Some(value) = body.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    match (value.as_u64(), value.as_f64()) {
        (Some(bytes), _) => Ok(Some(Amount::Bytes(bytes))),
        (None, Some(share)) if value.is_f64() && (0.0..=most).contains(&share) => Ok(Some(Amount::OfMemory(share))),
        _ => Err(ApiError::BadRequest(format!("{key} must be a whole number of bytes or a fraction of the memory"))),
    }
}
