//! What operators have done to a cluster: another node is to lead, or this one is to serve nobody for a while.
//!
//! ```text
//!   POST   /api/cluster/leader            asked of any node, done by the one that leads
//!   DELETE /api/cluster/nodes/NODE        a node is gone for good; by the one that leads
//!   GET    /api/cluster/self              this node, whether it leads or not
//!   PUT    /api/cluster/self/maintenance  this node serves nobody from now on
//!   DELETE /api/cluster/self/maintenance  and again
//! ```
//! Only administrators may. A node that doesn't lead knows no users, and asks the one that does who somebody is.

use super::App;
use super::elsewhere::{ClusterOrder, ClusterView, NodeView, pass_on};
use super::http::{ApiError, ApiResult, empty, ok};
use super::routes::{object, text_field};
use super::visit::{Administrator, Visit};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How long somebody who asks for another leader waits for it ...
const HAND_OVER: Duration = Duration::from_secs(5);
/// ... and how often it is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// The longest answer about who somebody is, in bytes.
const WHOAMI_BYTES_MAX: usize = 64 << 10;

pub const MAINTENANCE: &str = "/api/cluster/self/maintenance";

fn alone() -> ApiError {
    ApiError::BadRequest("this broker is alone, and no node of a cluster".to_owned())
}

/// Waits until it is so; a node that serves nobody answers all the same.
async fn wait_until(app: &App, is_so: impl Fn(&ClusterView) -> bool) -> ApiResult {
    let cluster = app.settings.cluster.as_ref().ok_or_else(alone)?;
    let mut waited = Duration::ZERO;
    while !is_so(&cluster.view()) {
        if waited >= HAND_OVER {
            return Err(ApiError::Unavailable);
        }
        sleep(LOOK).await;
        waited += LOOK;
    }
    empty(StatusCode::NO_CONTENT)
}

/// Gives the lead to the node that the body names, or to the one that has most.
pub async fn hand_over(visit: Administrator, body: Bytes) -> ApiResult {
    let cluster = visit.app.settings.cluster.as_ref().ok_or_else(alone)?;
    let body = object(&body)?;
    let to = Some(text_field(&body, "node")?).filter(|node| !node.is_empty());
    let view = cluster.view();
    if to == Some(&view.node) {
        return empty(StatusCode::NO_CONTENT);
    }
    if !view.leads() {
        return Err(ApiError::NotLeading);
    }
    if let Some(refusal) = refusal(&view, to) {
        return Err(ApiError::BadRequest(refusal));
    }
    cluster.order(ClusterOrder::HandOver { to: to.map(str::to_owned) });
    wait_until(&visit.app, |view| !view.leads()).await
}

/// Why nobody can take over from the node that leads, if so.
fn refusal(view: &ClusterView, to: Option<&str>) -> Option<String> {
    let others = || view.nodes.iter().filter(|node| node.name != view.node);
    let is_drained = |node: &NodeView| node.condition.is_some_and(|condition| condition.is_drained);
    match to {
        None if others().any(|node| node.is_running && node.votes) => None,
        None => Some("no other node that runs has a vote".to_owned()),
        Some(to) => match others().find(|node| node.name == to) {
            None => Some(format!("node {to} is not in the cluster")),
            Some(node) if !node.is_running => Some(format!("node {to} is not running")),
            Some(node) if is_drained(node) => {
                Some(format!("node {to} is in maintenance, and would give the lead away"))
            }
            Some(node) if !node.votes => {
                Some(format!("node {to} has no vote yet: it is still getting what the others have"))
            }
            Some(_) => None,
        },
    }
}

/// A node is gone for good, and is to be counted no more.
pub async fn forget(visit: Administrator, Path(node): Path<String>) -> ApiResult {
    let cluster = visit.app.settings.cluster.as_ref().ok_or_else(alone)?;
    let view = cluster.view();
    let Some(named) = view.nodes.iter().find(|other| other.name == node && other.is_member) else {
        return Err(ApiError::Missing("The node selected is not in the cluster.".to_owned()));
    };
    if named.is_running {
        return Err(ApiError::BadRequest(format!("node {node} must be stopped before it can be removed")));
    }
    cluster.order(ClusterOrder::Forget { node: node.clone() });
    let is_gone = |view: &ClusterView| view.nodes.iter().all(|other| other.name != node || !other.is_member);
    wait_until(&visit.app, is_gone).await
}

/// This node, as it is.
pub async fn own(visit: Visit) -> ApiResult {
    match &visit.app.settings.cluster {
        Some(cluster) => ok(&describe(&cluster.view())),
        None => ok(&describe(&ClusterView::of_one(&visit.app.settings.node))),
    }
}

pub fn describe(view: &ClusterView) -> Value {
    json!({
        "name": view.node,
        "cluster": view.name,
        "role": view.role.name(),
        "leader": view.leader,
        "term": view.term,
        "being_drained": view.is_drained,
        "disk_full": view.disk_is_full,
        "quorum_critical": view.is_critical(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// The node that leads serves nobody from now on: another one is to lead.
pub async fn drain(visit: Administrator) -> ApiResult {
    order_and_wait(&visit.app, true).await
}

pub async fn revive(visit: Administrator) -> ApiResult {
    order_and_wait(&visit.app, false).await
}

async fn order_and_wait(app: &App, drains: bool) -> ApiResult {
    let cluster = app.settings.cluster.as_ref().ok_or_else(alone)?;
    cluster.order(if drains { ClusterOrder::Drain } else { ClusterOrder::Revive });
    wait_until(app, |view| view.is_drained == drains && !(drains && view.leads())).await
}

/// The same of a node that doesn't lead.
pub async fn maintain(app: Arc<App>, peer: SocketAddr, over_tls: bool, request: Request) -> Response {
    let drains = match *request.method() {
        Method::PUT => true,
        Method::DELETE => false,
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    let mut question = Request::builder().uri("/api/whoami");
    for name in [header::AUTHORIZATION, header::HOST] {
        if let Some(value) = request.headers().get(&name) {
            question = question.header(name, value);
        }
    }
    let Ok(question) = question.body(Body::empty()) else { return ApiError::LoginFailed.into_response() };
    match check_administrator(&app, peer, over_tls, question).await {
        Ok(()) => order_and_wait(&app, drains).await.into_response(),
        Err(answer) => answer,
    }
}

/// Has the node that leads say whether whoever asks this is an administrator: by password or token alone, as no page is asked
/// for it.
async fn check_administrator(
    app: &Arc<App>,
    peer: SocketAddr,
    over_tls: bool,
    question: Request,
) -> Result<(), Response> {
    let unanswered = || ApiError::NotLeading.into_response();
    let answer = pass_on(app.clone(), peer, over_tls, question).await.map_err(|_| unanswered())?;
    if answer.status() != StatusCode::OK {
        return Err(answer);
    }
    let body = to_bytes(answer.into_body(), WHOAMI_BYTES_MAX).await.map_err(|_| unanswered())?;
    let who: Value = serde_json::from_slice(&body).map_err(|_| unanswered())?;
    let is_administrator = who["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "administrator"));
    let refused = || ApiError::NotAuthorised("Not administrator user".to_owned()).into_response();
    if is_administrator { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::super::elsewhere::{NodeCondition, Role};
    use super::*;

    #[test]
    fn whoever_is_to_lead_runs_and_votes() {
        let node = |name: &str, is_running, votes| NodeView {
            name: name.to_owned(),
            is_running,
            votes,
            ..NodeView::default()
        };
        let view = |other: NodeView| ClusterView {
            node: "n1".to_owned(),
            role: Role::Leader,
            nodes: vec![node("n1", true, true), other, node("n3", false, true)],
            ..ClusterView::default()
        };
        let whole = view(node("n2", true, true));
        assert_eq!((refusal(&whole, None), refusal(&whole, Some("n2"))), (None, None));
        assert_eq!(refusal(&whole, Some("n3")), Some("node n3 is not running".to_owned()));
        assert_eq!(refusal(&whole, Some("n4")), Some("node n4 is not in the cluster".to_owned()));
        let learning = view(node("n2", true, false));
        let condition = Some(NodeCondition { is_drained: true, ..NodeCondition::default() });
        let drained = view(NodeView { condition, ..node("n2", true, true) });
        assert!(refusal(&drained, Some("n2")).is_some_and(|why| why.contains("in maintenance")));
        assert!(refusal(&learning, Some("n2")).is_some_and(|why| why.contains("no vote yet")));
        assert_eq!(refusal(&learning, None), Some("no other node that runs has a vote".to_owned()));
    }
}
