//! `/api/permissions`: what users may do with which names in which virtual hosts. For administrators.

use super::super::http::{ApiError, ApiResult, empty, name, ok};
use super::super::json;
use super::super::listing::{ListQuery, RowName};
use super::super::order::{NowhereToBe, Order, UserPlace};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Visit};
use super::{App, object, require_keys, text_field};
use crate::access::Pattern;
use crate::broker::access_snapshot::PermissionsSnapshot;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/permissions", get(all))
        .route("/permissions/{vhost}/{user}", get(show).put(put).delete(clear))
        .route("/users/{user}/permissions", get(of_user))
        .route("/vhosts/{vhost}/permissions", get(of_vhost))
}

type Parameters = Query<HashMap<String, String>>;

/// Permissions, as lists and definitions have them.
pub fn shape(permissions: &PermissionsSnapshot) -> Value {
    let PermissionsSnapshot { user, vhost, configure, write, read } = permissions;
    json!({"user": &**user, "vhost": &**vhost, "configure": configure, "write": write, "read": read})
}

async fn list(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&PermissionsSnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut permissions = visit.ask_all(|from, reply| Question::Permissions { from, reply }).await?;
    permissions.retain(is_wanted);
    let name = |of: &PermissionsSnapshot| RowName::in_vhost(&of.vhost, &*of.user);
    query.answer(visit.take_room(), permissions, name, shape).await
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
    let (vhost, user) = (visit.vhost(true)?, name(&user)?);
    let permissions = visit.ask_in(&vhost, |reply| VhostQuestion::PermissionsOf { user, reply }).await?;
    ok(&shape(&permissions.ok_or(ApiError::NotFound)?))
}

/// A user in a virtual host, out of a path.
pub fn place((vhost, user): (&str, &str)) -> Result<UserPlace, ApiError> {
    Ok(UserPlace { user: json::short_string(user, "the name")?, vhost: json::short_string(vhost, "the name")? })
}

/// The same, of those that there are. RabbitMQ asks before it looks into the body.
///
/// # Errors
/// 400 where there is no such user, or no such virtual host.
pub async fn known_place(visit: &Administrator, at: (&str, &str)) -> Result<UserPlace, ApiError> {
    visit.vhost(true).map_err(|_| nowhere(NowhereToBe))?;
    super::users::named(visit, at.1).await.map_err(|error| match error {
        ApiError::NotFound => nowhere(NowhereToBe),
        other => other,
    })?;
    place(at)
}

pub fn nowhere(_: NowhereToBe) -> ApiError {
    ApiError::BadRequest("vhost_or_user_not_found".to_owned())
}

/// A pattern that was refused, as RabbitMQ says it.
pub fn invalid_pattern(pattern: &str, error: &impl std::fmt::Display) -> ApiError {
    ApiError::Term(json!(["invalid_regexp", pattern, error.to_string()]))
}

pub fn pattern(body: &Value, key: &str) -> Result<Pattern, ApiError> {
    let text = text_field(body, key)?;
    Pattern::new(text).map_err(|error| invalid_pattern(text, &error))
}

async fn put(visit: Administrator, Path((vhost, user)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let place = known_place(&visit, (&vhost, &user)).await?;
    let body = object(&body)?;
    require_keys(&body, &["configure", "write", "read"])?;
    let (configure, write, read) = (pattern(&body, "configure")?, pattern(&body, "write")?, pattern(&body, "read")?);
    let put = visit.order(|reply| Order::Permit { place, configure, write, read, reply }).await?;
    empty(if put.map_err(nowhere)? { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn clear(visit: Administrator, Path((vhost, user)): Path<(String, String)>) -> ApiResult {
    let place = place((&vhost, &user))?;
    match visit.order(|reply| Order::Forbid { place, reply }).await? {
        Ok(true) => empty(StatusCode::NO_CONTENT),
        Ok(false) | Err(NowhereToBe) => Err(ApiError::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_text_that_the_engine_takes() {
        let pattern = |value: Value| pattern(&json!({ "read": value }), "read").map(|it| it.as_str().to_owned());
        assert_eq!(pattern(json!("^a")), Ok("^a".to_owned()));
        assert_eq!(pattern(json!("")), Ok(String::new()));
        let Err(ApiError::Term(term)) = pattern(json!("(")) else { panic!("it is no pattern") };
        assert_eq!((&term[0], &term[1]), (&json!("invalid_regexp"), &json!("(")));
        assert_eq!(pattern(json!(5)), Err(ApiError::BadRequest("read must be a string".to_owned())));
    }
}
