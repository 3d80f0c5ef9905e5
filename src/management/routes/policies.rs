//! `/api/policies` and `/api/operator-policies`: what is asked of queues and exchanges by their names. Policymakers set
//! policies where they may enter, administrators both kinds everywhere; who sees a virtual host sees the lists of its.

use super::super::change::{Change, PolicyChange};
use super::super::http::{ApiError, ApiResult, empty, name, ok};
use super::super::json;
use super::super::listing::{ListQuery, RowName};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Policymaker, VhostVisit, Visit};
use super::{App, object, require_keys};
use crate::broker::policy::{Policy, PolicyKind, SaidPolicy};
use crate::broker::snapshot::PolicySnapshot;
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
        .route("/policies", get(all_of_users))
        .route("/policies/{vhost}", get(of_users))
        .route("/policies/{vhost}/{policy}", get(show).put(set).delete(clear))
        .route("/operator-policies", get(all_of_operators))
        .route("/operator-policies/{vhost}", get(of_operators))
        .route("/operator-policies/{vhost}/{policy}", get(show_theirs).put(set_theirs).delete(clear_theirs))
}

type Parameters = Query<HashMap<String, String>>;

fn definition(policy: &Policy) -> Value {
    json::table(&policy.definition)
}

/// A policy, as lists and definitions have it.
pub fn shape(PolicySnapshot { vhost, policy }: &PolicySnapshot) -> Value {
    json!({
        "vhost": &**vhost,
        "name": json::text(&policy.name),
        "pattern": policy.pattern.as_str(),
        "apply-to": policy.apply_to.name(),
        "definition": definition(policy),
        "priority": policy.priority,
    })
}

fn row_name(PolicySnapshot { vhost, policy }: &PolicySnapshot) -> RowName {
    RowName::in_vhost(vhost, policy.name.to_string())
}

async fn list(
    visit: &Visit,
    kind: PolicyKind,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&PolicySnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?.or_sorted_by("priority");
    let mut policies = visit.ask_all(|from, reply| Question::Policies { kind, from, reply }).await?;
    policies.retain(is_wanted);
    query.answer(visit.take_room(), policies, row_name, shape).await
}

async fn list_all(visit: &Visit, kind: PolicyKind, parameters: &HashMap<String, String>) -> ApiResult {
    let listed = visit.listed().await?;
    list(visit, kind, parameters, |policy| listed.holds(&policy.vhost)).await
}

async fn all_of_users(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    list_all(&visit, PolicyKind::User, &parameters).await
}

async fn all_of_operators(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    list_all(&visit, PolicyKind::Operator, &parameters).await
}

async fn of_users(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    list(&visit, PolicyKind::User, &parameters, |policy| *policy.vhost == *visit.vhost).await
}

async fn of_operators(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    list(&visit, PolicyKind::Operator, &parameters, |policy| *policy.vhost == *visit.vhost).await
}

/// # Errors
/// 404 when there is none of that name.
pub async fn find(visit: &Visit, kind: PolicyKind, vhost: &str, policy: &str) -> Result<PolicySnapshot, ApiError> {
    let name = name(policy)?;
    let policy = visit.ask_in(vhost, |reply| VhostQuestion::Policy { kind, name, reply }).await?;
    policy.ok_or(ApiError::NotFound)
}

async fn show(visit: Policymaker, Path((_, policy)): Path<(String, String)>) -> ApiResult {
    ok(&shape(&find(&visit, PolicyKind::User, &visit.vhost()?, &policy).await?))
}

async fn show_theirs(visit: Administrator, Path((_, policy)): Path<(String, String)>) -> ApiResult {
    ok(&shape(&find(&visit, PolicyKind::Operator, &visit.vhost(true)?, &policy).await?))
}

/// What a body says of a policy. Nobody has looked at it yet but for what is missing.
pub fn said(body: &Value) -> Result<SaidPolicy, ApiError> {
    let is_missing = |key: &&str| body.get(*key).is_none();
    let missing: Vec<&str> = ["pattern", "definition"].into_iter().filter(is_missing).collect();
    require_keys(&json!({}), &missing)?;
    let value = |key: &str| body.get(key).map(json::to_value).transpose();
    Ok(SaidPolicy {
        pattern: json::to_value(&body["pattern"])?,
        apply_to: value("apply-to")?,
        priority: value("priority")?,
        definition: json::to_value(&body["definition"])?,
    })
}

async fn put(
    visit: &Visit,
    kind: PolicyKind,
    vhost: Result<Box<str>, ApiError>,
    name: &str,
    body: &Bytes,
) -> ApiResult {
    let vhost = vhost.map_err(|error| match error {
        ApiError::NotFound => ApiError::Missing("vhost_not_found".to_owned()),
        other => other,
    })?;
    let name = json::short_string(name, "the name")?;
    let policy = Arc::new(Policy::read(kind, name, said(&object(body)?)?).map_err(ApiError::BadRequest)?);
    let put = visit
        .change(|reply| Change::Policy { vhost, kind, change: PolicyChange::Put { policy, reply } })
        .await?
        .map_err(|error| ApiError::BadRequest(error.to_string()))?;
    empty(if put { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn set(visit: Policymaker, Path((_, policy)): Path<(String, String)>, body: Bytes) -> ApiResult {
    put(&visit, PolicyKind::User, visit.vhost(), &policy, &body).await
}

async fn set_theirs(visit: Administrator, Path((_, policy)): Path<(String, String)>, body: Bytes) -> ApiResult {
    put(&visit, PolicyKind::Operator, visit.vhost(true), &policy, &body).await
}

async fn delete(visit: &Visit, kind: PolicyKind, vhost: Box<str>, policy: &str) -> ApiResult {
    let name = name(policy)?;
    match visit.change(|reply| Change::Policy { vhost, kind, change: PolicyChange::Delete { name, reply } }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

async fn clear(visit: Policymaker, Path((_, policy)): Path<(String, String)>) -> ApiResult {
    delete(&visit, PolicyKind::User, visit.vhost()?, &policy).await
}

async fn clear_theirs(visit: Administrator, Path((_, policy)): Path<(String, String)>) -> ApiResult {
    delete(&visit, PolicyKind::Operator, visit.vhost(true)?, &policy).await
}

/// A policy, as lists of parameters and definitions have it.
pub fn parameter_shape(component: &str, PolicySnapshot { vhost, policy }: &PolicySnapshot) -> Value {
    json!({
        "value": {
            "pattern": policy.pattern.as_str(),
            "definition": definition(policy),
            "priority": policy.priority,
            "apply-to": policy.apply_to.name(),
        },
        "vhost": &**vhost,
        "component": component,
        "name": json::text(&policy.name),
    })
}
