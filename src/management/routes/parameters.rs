//! `/api/parameters`: limits of virtual hosts; and, to be read, policies of operators, and of users if asked for by name.
//! `/api/global-parameters`: what tools keep here.

use super::super::http::{ApiError, ApiResult, empty, name, ok};
use super::super::json;
use super::super::listing::{ListQuery, RowName, one};
use super::super::order::{Order, VhostLimitChange};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Policymaker, Visit, not_yours};
use super::limits::{self, is_set, vhost_limits};
use super::policies::{find, parameter_shape};
use super::{App, key_missing, object};
use crate::broker::access_snapshot::VhostSnapshot;
use crate::broker::parameters::GLOBAL_PARAMETER_BYTES_MAX;
use crate::broker::policy::PolicyKind;
use crate::protocol::ShortString;
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
        .route("/parameters", get(all))
        .route("/parameters/{component}", get(of_component))
        .route("/parameters/{component}/{vhost}", get(of_vhost))
        .route("/parameters/{component}/{vhost}/{name}", get(show).put(set).delete(clear))
        .route("/global-parameters", get(all_global))
        .route("/global-parameters/{name}", get(show_global).put(set_global).delete(clear_global))
}

type Parameters = Query<HashMap<String, String>>;

const POLICY: &str = "policy";
const OPERATOR_POLICY: &str = "operator_policy";
const VHOST_LIMITS: &str = "vhost-limits";
/// The one parameter of that component.
const LIMITS: &str = "limits";

/// Policymakers alone ask for parameters.
fn check(visit: &Visit) -> Result<(), ApiError> {
    if visit.visitor.tags.is_policymaker() { Ok(()) } else { Err(not_yours()) }
}

/// The limits of a virtual host as a parameter, if it has any.
pub fn limits_parameter(vhost: &VhostSnapshot) -> Option<Value> {
    let value = vhost_limits(vhost);
    let parameter = || json!({"component": VHOST_LIMITS, "name": LIMITS, "vhost": &*vhost.name, "value": value});
    is_set(&value).then(parameter)
}

/// The parameters of a component, each with its virtual host.
async fn parameters_of(visit: &Visit, component: &str) -> Result<Vec<(Arc<str>, Value)>, ApiError> {
    let kind = match component {
        POLICY => PolicyKind::User,
        OPERATOR_POLICY => PolicyKind::Operator,
        VHOST_LIMITS => {
            let vhosts = visit.ask_all(|from, reply| Question::Vhosts { from, reply }).await?;
            let limits = vhosts.iter().filter_map(|vhost| Some((Arc::clone(&vhost.name), limits_parameter(vhost)?)));
            return Ok(limits.collect());
        }
        _ => return Ok(Vec::new()),
    };
    let policies = visit.ask_all(|from, reply| Question::Policies { kind, from, reply }).await?;
    let parameter = |policy: &_| parameter_shape(component, policy);
    Ok(policies.iter().map(|policy| (Arc::clone(&policy.vhost), parameter(policy))).collect())
}

async fn list(
    visit: &Visit,
    components: &[&str],
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&str) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut all = Vec::new();
    for component in components {
        all.extend(parameters_of(visit, component).await?);
    }
    all.retain(|(vhost, _)| is_wanted(vhost));
    let row = |(vhost, shape): &(Arc<str>, Value)| RowName::in_vhost(vhost, shape["name"].as_str().unwrap_or_default());
    query.answer(visit.take_room(), all, row, |(_, shape)| shape.clone()).await
}

async fn all(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    check(&visit)?;
    let listed = visit.listed().await?;
    list(&visit, &[OPERATOR_POLICY, VHOST_LIMITS], &parameters, |vhost| listed.holds(vhost)).await
}

async fn of_component(visit: Visit, Path(component): Path<String>, Query(parameters): Parameters) -> ApiResult {
    check(&visit)?;
    let listed = visit.listed().await?;
    list(&visit, &[&component], &parameters, |vhost| listed.holds(vhost)).await
}

async fn of_vhost(
    visit: Visit,
    Path((component, _)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    check(&visit)?;
    let vhost = visit.vhost(false)?;
    list(&visit, &[&component], &parameters, |of| *of == *vhost).await
}

async fn show(visit: Policymaker, Path((component, _, named)): Path<(String, String, String)>) -> ApiResult {
    ok(&parameter(&visit, &visit.vhost()?, &component, &named).await?)
}

async fn parameter(visit: &Visit, vhost: &str, component: &str, named: &str) -> Result<Value, ApiError> {
    let kind = match component {
        POLICY => PolicyKind::User,
        OPERATOR_POLICY => PolicyKind::Operator,
        VHOST_LIMITS if named == LIMITS => {
            let vhost = visit.ask_in(vhost, VhostQuestion::Itself).await?;
            return limits_parameter(&vhost).ok_or(ApiError::NotFound);
        }
        _ => return Err(ApiError::NotFound),
    };
    Ok(parameter_shape(component, &find(visit, kind, vhost, named).await?))
}

type MaybeAdministrator = Result<Administrator, ApiError>;

/// Policies have paths of their own, and there are no others than limits. Those are for administrators, as at their path.
async fn set(
    visit: Policymaker,
    administrator: MaybeAdministrator,
    Path((component, vhost, named)): Path<(String, String, String)>,
    body: Bytes,
) -> ApiResult {
    visit.vhost().map_err(|_| ApiError::Missing("vhost_not_found".to_owned()))?;
    let value = limits::value(&body)?;
    let failed = |reason: &str| ApiError::BadRequest(format!("Validation failed\n\n{reason}\n"));
    match &*component {
        POLICY | OPERATOR_POLICY => Err(ApiError::BadRequest("policies may not be set using this method".to_owned())),
        VHOST_LIMITS if named == LIMITS => {
            let (administrator, limits) = (administrator?, limits::all_vhost_limits(&value)?);
            let is_new = parameter(&visit, &vhost, &component, &named).await.is_err();
            limit(&administrator, &vhost, limits).await?;
            empty(if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
        }
        VHOST_LIMITS => Err(failed("the limits of a virtual host are the parameter named limits")),
        _ => Err(failed(&format!("component {component} not found"))),
    }
}

async fn clear(
    visit: Policymaker,
    administrator: MaybeAdministrator,
    Path((component, vhost, named)): Path<(String, String, String)>,
) -> ApiResult {
    parameter(&visit, &visit.vhost()?, &component, &named).await?;
    match &*component {
        VHOST_LIMITS => {
            limit(&administrator?, &vhost, limits::NO_VHOST_LIMITS).await?;
            empty(StatusCode::NO_CONTENT)
        }
        _ => Err(ApiError::BadRequest("policies may not be cleared using this method".to_owned())),
    }
}

async fn limit(administrator: &Administrator, vhost: &str, limits: VhostLimitChange) -> Result<(), ApiError> {
    let name = name(vhost)?;
    match administrator.order(|reply| Order::LimitVhost { name, limits, reply }).await? {
        true => Ok(()),
        false => Err(ApiError::NotFound),
    }
}

fn global_shape(name: &str, value: &str) -> Value {
    json!({"name": name, "value": json::said(value)})
}

async fn all_global(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    check(&visit)?;
    let query = ListQuery::parse(&parameters)?;
    let all = visit.ask(Question::GlobalParameters).await?;
    let row = |(name, _): &(ShortString, Arc<str>)| RowName::plain(name.to_string());
    query.answer(visit.take_room(), all, row, |(name, value)| global_shape(&name.to_string(), value)).await
}

async fn show_global(visit: Visit, Path(named): Path<String>, Query(parameters): Parameters) -> ApiResult {
    check(&visit)?;
    let all = visit.ask(Question::GlobalParameters).await?;
    let found = all.iter().find(|(name, _)| **name == *named.as_bytes());
    one(&parameters, global_shape(&named, &found.ok_or(ApiError::NotFound)?.1))
}

async fn set_global(visit: Administrator, Path(named): Path<String>, body: Bytes) -> ApiResult {
    let name = json::short_string(&named, "the name")?;
    let body = object(&body)?;
    let value = body.get("value").ok_or_else(|| key_missing("value"))?.to_string();
    if value.len() > GLOBAL_PARAMETER_BYTES_MAX {
        return Err(ApiError::BadRequest(format!("value is longer than {GLOBAL_PARAMETER_BYTES_MAX} bytes")));
    }
    let value = value.into();
    let put = visit.order(|reply| Order::PutGlobalParameter { name, value, reply }).await?;
    let new = put.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn clear_global(visit: Administrator, Path(named): Path<String>) -> ApiResult {
    let name = name(&named)?;
    match visit.order(|reply| Order::DeleteGlobalParameter { name, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}
