//! `/api/vhost-limits` and `/api/user-limits`: how much there may be in a virtual host, and how much one user may take.
//!
//! A limit below zero is none. Everybody reads those of virtual hosts that they see, and their own.

use super::super::http::{ApiError, ApiResult, empty, name};
use super::super::json;
use super::super::listing::{ListQuery, RowName};
use super::super::order::{Order, UserLimitChange, VhostLimitChange};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Visit};
use super::{App, key_missing, object};
use crate::broker::UserLimits;
use crate::broker::access_snapshot::{UserSnapshot, VhostSnapshot};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{get, put};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const MAX_CONNECTIONS: &str = "max-connections";
const MAX_CHANNELS: &str = "max-channels";
const MAX_QUEUES: &str = "max-queues";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/vhost-limits", get(all_of_vhosts))
        .route("/vhost-limits/{vhost}", get(of_vhost))
        .route("/vhost-limits/{vhost}/{limit}", put(limit_vhost).delete(free_vhost))
        .route("/user-limits", get(all_of_users))
        .route("/user-limits/{user}", get(of_user))
        .route("/user-limits/{user}/{limit}", put(limit_user).delete(free_user))
}

type Parameters = Query<HashMap<String, String>>;

/// Those that there are.
fn limits(all: &[(&str, Option<u64>)]) -> Value {
    let set = all.iter().filter_map(|(name, limit)| Some(((*name).to_owned(), json!((*limit)?))));
    Value::Object(set.collect::<Map<_, _>>())
}

/// What is said of a user's limits.
pub fn user_limits(of: &UserLimits) -> Value {
    limits(&[(MAX_CONNECTIONS, of.connections_max), (MAX_CHANNELS, of.channels_max)])
}

pub fn vhost_limits(vhost: &VhostSnapshot) -> Value {
    let attributes = &vhost.attributes;
    limits(&[(MAX_CONNECTIONS, attributes.connections_max), (MAX_QUEUES, attributes.queues_max)])
}

pub fn is_set(limits: &Value) -> bool {
    limits.as_object().is_some_and(|limits| !limits.is_empty())
}

/// Only those that have limits are listed.
async fn list_vhosts(visit: &Visit, parameters: &HashMap<String, String>, mut vhosts: Vec<VhostSnapshot>) -> ApiResult {
    vhosts.retain(|vhost| is_set(&vhost_limits(vhost)));
    let shape = |vhost: &VhostSnapshot| json!({"vhost": &*vhost.name, "value": vhost_limits(vhost)});
    let query = ListQuery::parse(parameters)?;
    query.answer(visit.take_room(), vhosts, |vhost| RowName::plain(&*vhost.name), shape).await
}

async fn all_of_vhosts(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let visible = visit.visible().await?;
    let mut vhosts = visit.ask_all(|from, reply| Question::Vhosts { from, reply }).await?;
    vhosts.retain(|vhost| visible.holds(&vhost.name));
    list_vhosts(&visit, &parameters, vhosts).await
}

async fn of_vhost(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let vhost = visit.vhost(true)?;
    list_vhosts(&visit, &parameters, vec![visit.ask_in(&vhost, VhostQuestion::Itself).await?]).await
}

async fn list_users(visit: &Visit, parameters: &HashMap<String, String>, mut users: Vec<UserSnapshot>) -> ApiResult {
    users.retain(|user| is_set(&user_limits(&user.limits)));
    let shape = |user: &UserSnapshot| json!({"user": &*user.name, "value": user_limits(&user.limits)});
    let query = ListQuery::parse(parameters)?;
    query.answer(visit.take_room(), users, |user| RowName::plain(&*user.name), shape).await
}

async fn all_of_users(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    list_users(&visit, &parameters, visit.ask_all(|from, reply| Question::Users { from, reply }).await?).await
}

async fn of_user(visit: Visit, Path(user): Path<String>, Query(parameters): Parameters) -> ApiResult {
    visit.check_user(&user)?;
    list_users(&visit, &parameters, vec![super::users::named(&visit, &user).await?]).await
}

/// A JSON value in Erlang's writing, as RabbitMQ quotes what is wrong.
fn term(value: &Value) -> String {
    let binary = |text: &String| format!("<<\"{text}\">>");
    let listed = |terms: Vec<String>| terms.join(",");
    match value {
        Value::String(text) => binary(text),
        Value::Array(values) => format!("[{}]", listed(values.iter().map(term).collect())),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{} => {}", binary(key), term(value));
            format!("#{{{}}}", listed(entries.iter().map(entry).collect()))
        }
        other => other.to_string(),
    }
}

/// `Some(None)` is no limit.
fn limit(name: &str, value: &Value) -> Result<Option<u64>, String> {
    match (value.as_u64(), value.as_i64()) {
        (Some(limit), _) => Ok(Some(limit)),
        (_, Some(_)) => Ok(None),
        _ => Err(format!("{name} should be a number, actually was {}", term(value))),
    }
}

fn unrecognised(name: &str, value: &Value, of: &str) -> String {
    format!("Unrecognised terms [{{<<\"{name}\">>,{}}}] in {of}", term(value))
}

fn change_user_limit(change: &mut UserLimitChange, name: &str, value: &Value) -> Result<(), String> {
    match name {
        MAX_CONNECTIONS => change.connections_max = Some(limit(name, value)?),
        MAX_CHANNELS => change.channels_max = Some(limit(name, value)?),
        _ => return Err(unrecognised(name, value, "user-limits")),
    }
    Ok(())
}

/// Limits of a user as one object says them.
pub fn user_limit_change(limits: &Value) -> Result<UserLimitChange, ApiError> {
    let wrong = || ApiError::BadRequest("limits must be an object".to_owned());
    let mut change = UserLimitChange::default();
    for (name, value) in limits.as_object().ok_or_else(wrong)? {
        change_user_limit(&mut change, name, value).map_err(ApiError::BadRequest)?;
    }
    Ok(change)
}

/// A limit of a virtual host as one entry says it.
pub fn vhost_limit_change(name: &str, value: &Value) -> Result<VhostLimitChange, ApiError> {
    // RabbitMQ frames the reasons of parameters like this.
    let failed = |reason: String| ApiError::BadRequest(format!("Validation failed\n\n{reason}\n"));
    let limit = || limit(name, value).map(Some).map_err(failed);
    match name {
        MAX_CONNECTIONS => Ok(VhostLimitChange { connections_max: limit()?, ..VhostLimitChange::default() }),
        MAX_QUEUES => Ok(VhostLimitChange { queues_max: limit()?, ..VhostLimitChange::default() }),
        _ => Err(failed(unrecognised(name, value, "limits"))),
    }
}

pub const NO_VHOST_LIMITS: VhostLimitChange = VhostLimitChange { connections_max: Some(None), queues_max: Some(None) };

/// All limits of a virtual host as one object says them: those that it doesn't name are none.
pub fn all_vhost_limits(limits: &Value) -> Result<VhostLimitChange, ApiError> {
    let wrong = || ApiError::BadRequest(format!("Validation failed\n\nlimits not a list {}\n", term(limits)));
    let mut all = NO_VHOST_LIMITS;
    for (name, value) in limits.as_object().ok_or_else(wrong)? {
        let VhostLimitChange { connections_max, queues_max } = vhost_limit_change(name, value)?;
        all.connections_max = connections_max.or(all.connections_max);
        all.queues_max = queues_max.or(all.queues_max);
    }
    Ok(all)
}

/// What a body holds as its value.
pub fn value(body: &[u8]) -> Result<Value, ApiError> {
    match object(body)? {
        Value::Object(mut body) => body.remove("value").ok_or_else(|| key_missing("value")),
        _ => Err(key_missing("value")),
    }
}

async fn limit_vhost(visit: Administrator, Path((vhost, limit)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let missing = || ApiError::Missing("vhost_not_found".to_owned());
    visit.vhost(true).map_err(|_| missing())?;
    let (name, limits) = (name(&vhost)?, vhost_limit_change(&limit, &value(&body)?)?);
    match visit.order(|reply| Order::LimitVhost { name, limits, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(missing()),
    }
}

/// Whatever the limit, it is none then.
async fn free_vhost(visit: Administrator, Path((vhost, limit)): Path<(String, String)>) -> ApiResult {
    let (name, limits) = (name(&vhost)?, vhost_limit_change(&limit, &json!(-1)).unwrap_or_default());
    match visit.order(|reply| Order::LimitVhost { name, limits, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::Missing("vhost_not_found".to_owned())),
    }
}

async fn limit_user(visit: Administrator, Path((user, limit)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let name = json::short_string(&user, "the name")?;
    let mut limits = UserLimitChange::default();
    change_user_limit(&mut limits, &limit, &value(&body)?).map_err(ApiError::BadRequest)?;
    match visit.order(|reply| Order::LimitUser { name, limits, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::Term(json!(["no_such_user", user]))),
    }
}

/// Whatever the limit, it is none then.
async fn free_user(visit: Administrator, Path((user, limit)): Path<(String, String)>) -> ApiResult {
    let name = name(&user)?;
    let mut limits = UserLimitChange::default();
    let _ = change_user_limit(&mut limits, &limit, &json!(-1));
    match visit.order(|reply| Order::LimitUser { name, limits, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::Missing("user_not_found".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_whole_numbers_and_below_zero_there_is_none() {
        let change = |value: Value| vhost_limit_change("max-queues", &value).map(|change| change.queues_max);
        assert_eq!(change(json!(5)), Ok(Some(Some(5))));
        assert_eq!(change(json!(0)), Ok(Some(Some(0))));
        assert_eq!(change(json!(-1)), Ok(Some(None)));
        for (value, said) in [
            (json!("10"), "<<\"10\">>"),
            (json!(1.5), "1.5"),
            (json!(true), "true"),
            (json!(null), "null"),
            (json!({}), "#{}"),
            (json!({"a": [1, "b"]}), "#{<<\"a\">> => [1,<<\"b\">>]}"),
        ] {
            let reason = format!("Validation failed\n\nmax-queues should be a number, actually was {said}\n");
            assert_eq!(change(value), Err(ApiError::BadRequest(reason)));
        }
        let reason = "Validation failed\n\nUnrecognised terms [{<<\"max-foo\">>,1}] in limits\n".to_owned();
        assert_eq!(vhost_limit_change("max-foo", &json!(1)), Err(ApiError::BadRequest(reason)));
    }

    #[test]
    fn limits_of_users_are_others() {
        let mut change = UserLimitChange::default();
        change_user_limit(&mut change, "max-channels", &json!(7)).unwrap();
        assert_eq!(change, UserLimitChange { connections_max: None, channels_max: Some(Some(7)) });
        let mut refused = |name, value| change_user_limit(&mut change, name, &value).unwrap_err();
        assert_eq!(refused("max-channels", json!("x")), "max-channels should be a number, actually was <<\"x\">>");
        assert_eq!(refused("max-queues", json!(1)), "Unrecognised terms [{<<\"max-queues\">>,1}] in user-limits");
    }

    #[test]
    fn what_is_no_limit_is_not_told() {
        let limits = UserLimits { connections_max: None, channels_max: Some(0) };
        assert_eq!(user_limits(&limits), json!({"max-channels": 0}));
        assert!(!is_set(&user_limits(&UserLimits::default())));
    }
}
