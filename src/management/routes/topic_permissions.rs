//! `/api/topic-permissions`: with which routing keys users may use exchanges of type topic. For administrators.

use super::super::http::{ApiError, ApiResult, empty, exchange_name, name, ok};
use super::super::json;
use super::super::listing::{ListQuery, RowName};
use super::super::order::{NowhereToBe, Order};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Visit};
use super::permissions::{invalid_pattern, known_place, nowhere, place};
use super::{App, object, require_keys, text_field};
use crate::access::Pattern;
use crate::broker::access_snapshot::TopicPermissionsSnapshot;
use crate::protocol::ShortString;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/topic-permissions", get(all))
        .route("/topic-permissions/{vhost}/{user}", get(show).put(put).delete(clear))
        .route("/topic-permissions/{vhost}/{user}/{exchange}", delete(clear_exchange).get(show_all))
        .route("/users/{user}/topic-permissions", get(of_user))
        .route("/vhosts/{vhost}/topic-permissions", get(of_vhost))
}

type Parameters = Query<HashMap<String, String>>;

/// The same, as lists and definitions have it.
pub fn shape(permissions: &TopicPermissionsSnapshot) -> Value {
    let TopicPermissionsSnapshot { user, vhost, exchange, write, read } = permissions;
    json!({"user": &**user, "vhost": &**vhost, "exchange": json::text(exchange), "write": write, "read": read})
}

async fn list(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&TopicPermissionsSnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut permissions = visit.ask_all(|from, reply| Question::TopicPermissions { from, reply }).await?;
    permissions.retain(is_wanted);
    query
        .answer(
            visit.take_room(),
            permissions,
            |permissions| {
                RowName::in_vhost(&permissions.vhost, format!("{}\0{}", permissions.user, permissions.exchange))
            },
            shape,
        )
        .await
}

async fn all(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    list(&visit, &parameters, |_| true).await
}

async fn of_user(visit: Administrator, Path(user): Path<String>, Query(parameters): Parameters) -> ApiResult {
    super::users::named(&visit, &user).await?;
    list(&visit, &parameters, |permissions| *permissions.user == *user).await
}

async fn of_vhost(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    let vhost = visit.vhost(true)?;
    list(&visit, &parameters, |permissions| *permissions.vhost == *vhost).await
}

async fn show(visit: Administrator, Path((_, user)): Path<(String, String)>) -> ApiResult {
    tell(&visit, &user).await
}

/// As with RabbitMQ, the exchange in the path is not asked for.
async fn show_all(visit: Administrator, Path((_, user, _)): Path<(String, String, String)>) -> ApiResult {
    tell(&visit, &user).await
}

async fn tell(visit: &Administrator, user: &str) -> ApiResult {
    ok(&those_of(visit, user).await?.iter().map(shape).collect())
}

/// # Errors
/// 404 when the user has none in the path's virtual host.
async fn those_of(visit: &Administrator, user: &str) -> Result<Vec<TopicPermissionsSnapshot>, ApiError> {
    let (vhost, user) = (visit.vhost(true)?, name(user)?);
    let permissions = visit.ask_in(&vhost, |reply| VhostQuestion::TopicPermissionsOf { user, reply }).await?;
    if permissions.is_empty() { Err(ApiError::NotFound) } else { Ok(permissions) }
}

async fn put(visit: Administrator, Path((vhost, user)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let place = known_place(&visit, (&vhost, &user)).await?;
    let body = object(&body)?;
    require_keys(&body, &["exchange", "write", "read"])?;
    let exchange = json::short_string(text_field(&body, "exchange")?, "the exchange")?;
    let pattern = |key| {
        let text = text_field(&body, key)?;
        Pattern::for_topics(text, &user, &vhost).map_err(|error| invalid_pattern(text, &error))
    };
    let (write, read) = (pattern("write")?, pattern("read")?);
    let put = visit.order(|reply| Order::PermitTopics { place, exchange, write, read, reply }).await?;
    empty(if put.map_err(nowhere)? { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn clear(visit: Administrator, Path((vhost, user)): Path<(String, String)>) -> ApiResult {
    forbid(&visit, (&vhost, &user), None).await
}

/// Nor is it here: whoever has some for another exchange has those of this one cleared already.
async fn clear_exchange(
    visit: Administrator,
    Path((vhost, user, exchange)): Path<(String, String, String)>,
) -> ApiResult {
    those_of(&visit, &user).await?;
    match forbid(&visit, (&vhost, &user), Some(exchange_name(&exchange)?)).await {
        Err(ApiError::NotFound) => empty(StatusCode::NO_CONTENT),
        outcome => outcome,
    }
}

async fn forbid(visit: &Administrator, at: (&str, &str), exchange: Option<ShortString>) -> ApiResult {
    let place = place(at)?;
    match visit.order(|reply| Order::ForbidTopics { place, exchange, reply }).await? {
        Ok(true) => empty(StatusCode::NO_CONTENT),
        Ok(false) | Err(NowhereToBe) => Err(ApiError::NotFound),
    }
}
