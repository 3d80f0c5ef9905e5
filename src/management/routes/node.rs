//! The node as a whole: overview, nodes, virtual hosts, users, and the lists that are always the same here.

use super::super::http::{ApiError, ApiResult, ok};
use super::super::listing::{one, only};
use super::super::question::Question;
use super::super::{App, shapes};
use super::{check_node, check_user, check_vhost};
use crate::reactor::process;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

type Parameters = Query<HashMap<String, String>>;

pub fn routes() -> Router<Arc<App>> {
    let nothing = || get(|| async { ok(&json!([])) });
    let nothing_in_vhost = || get(nothing_in_vhost);
    Router::new()
        .route("/overview", get(overview))
        .route("/version", get(|| async { ok(&json!(super::super::COMPATIBLE_VERSION)) }))
        .route("/whoami", get(whoami))
        .route("/cluster-name", get(cluster_name))
        .route("/nodes", get(nodes))
        .route("/nodes/{node}", get(node))
        .route("/nodes/{node}/memory", get(memory))
        .route("/vhosts", get(vhosts))
        .route("/vhosts/{vhost}", get(vhost))
        .route("/vhosts/{vhost}/permissions", get(permissions_in_vhost))
        .route("/vhosts/{vhost}/topic-permissions", nothing_in_vhost())
        .route("/users", get(users))
        .route("/users/{user}", get(user))
        .route("/users/{user}/permissions", get(permissions_of_user))
        .route("/users/{user}/topic-permissions", get(topic_permissions_of_user))
        .route("/permissions", get(permissions))
        .route("/permissions/{vhost}/{user}", get(permission))
        .route("/policies", nothing())
        .route("/policies/{vhost}", nothing_in_vhost())
        .route("/operator-policies", nothing())
        .route("/operator-policies/{vhost}", nothing_in_vhost())
        .route("/parameters", nothing())
        .route("/global-parameters", nothing())
        .route("/topic-permissions", nothing())
        .route("/vhost-limits", nothing())
        .route("/vhost-limits/{vhost}", nothing_in_vhost())
        .route("/user-limits", nothing())
        .route("/feature-flags", nothing())
        .route("/deprecated-features", nothing())
        .route("/extensions", nothing())
}

async fn overview(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    let overview = app.line.ask(Question::Overview).await?;
    one(&parameters, shapes::overview(&app, &overview))
}

async fn whoami(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!({"name": app.settings.user, "tags": ["administrator"]}))
}

async fn cluster_name(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!({ "name": app.settings.node }))
}

async fn nodes(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    only(&parameters, describe_node(&app).await?)
}

async fn node(State(app): State<Arc<App>>, Path(node): Path<String>, Query(parameters): Parameters) -> ApiResult {
    check_node(&app, &node)?;
    one(&parameters, describe_node(&app).await?)
}

/// The memory of the node. What part of it is for what is not counted; RabbitMQ has a word for memory that is not known.
async fn memory(State(app): State<Arc<App>>, Path(node): Path<String>) -> ApiResult {
    check_node(&app, &node)?;
    let known = |rss: u64| json!({"strategy": "rss", "total": {"rss": rss}});
    ok(&json!({"memory": process::resident_bytes().map_or_else(|| json!("not_available"), known)}))
}

async fn describe_node(app: &App) -> Result<Value, ApiError> {
    let overview = app.line.ask(Question::Overview).await?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(json!({
        "name": app.settings.node,
        "type": "disc",
        "running": true,
        "being_drained": false,
        "os_pid": std::process::id().to_string(),
        "uptime": overview.uptime_ms,
        "processors": processors,
        "rates_mode": "basic",
        "mem_used": process::resident_bytes(),
        "mem_limit": overview.memory_watermark_bytes,
        "mem_alarm": overview.memory_alarm(),
        "disk_free": overview.disk_free_bytes,
        "disk_free_limit": overview.disk_free_limit_bytes,
        "disk_free_alarm": overview.disk_alarm(),
        "fd_used": process::open_descriptors(),
        "fd_total": app.settings.descriptors,
        "sockets_used": overview.connections,
        "sockets_total": app.settings.descriptors,
        "partitions": [],
        "applications": [],
        "auth_mechanisms": [],
        "cluster_links": [],
        "enabled_plugins": [],
    }))
}

async fn vhosts(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    only(&parameters, describe_vhost(&app).await?)
}

async fn vhost(State(app): State<Arc<App>>, Path(vhost): Path<String>, Query(parameters): Parameters) -> ApiResult {
    check_vhost(&app, &vhost)?;
    one(&parameters, describe_vhost(&app).await?)
}

async fn describe_vhost(app: &App) -> Result<Value, ApiError> {
    let overview = app.line.ask(Question::Overview).await?;
    let mut shape = shapes::queue_totals(overview.totals.messages_ready, overview.totals.messages_unacknowledged);
    for (name, value) in [
        ("name", json!(app.settings.vhost)),
        ("description", json!("Default virtual host")),
        ("tags", json!([])),
        ("metadata", json!({"description": "Default virtual host", "tags": []})),
        ("default_queue_type", json!("classic")),
        ("tracing", json!(false)),
        ("cluster_state", json!({ &app.settings.node: "running" })),
    ] {
        shape[name] = value;
    }
    Ok(shape)
}

fn describe_user(app: &App) -> Value {
    json!({"name": app.settings.user, "tags": ["administrator"], "limits": {}})
}

async fn nothing_in_vhost(State(app): State<Arc<App>>, Path(vhost): Path<String>) -> ApiResult {
    check_vhost(&app, &vhost)?;
    ok(&json!([]))
}

async fn users(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!([describe_user(&app)]))
}

async fn user(State(app): State<Arc<App>>, Path(user): Path<String>) -> ApiResult {
    check_user(&app, &user)?;
    ok(&describe_user(&app))
}

async fn permissions_of_user(State(app): State<Arc<App>>, Path(user): Path<String>) -> ApiResult {
    check_user(&app, &user)?;
    permissions(State(app)).await
}

async fn topic_permissions_of_user(State(app): State<Arc<App>>, Path(user): Path<String>) -> ApiResult {
    check_user(&app, &user)?;
    ok(&json!([]))
}

async fn permissions_in_vhost(State(app): State<Arc<App>>, Path(vhost): Path<String>) -> ApiResult {
    check_vhost(&app, &vhost)?;
    permissions(State(app)).await
}

fn describe_permission(app: &App) -> Value {
    json!({
        "user": app.settings.user, "vhost": app.settings.vhost, "configure": ".*", "write": ".*", "read": ".*",
    })
}

async fn permissions(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!([describe_permission(&app)]))
}

async fn permission(State(app): State<Arc<App>>, Path((vhost, user)): Path<(String, String)>) -> ApiResult {
    check_vhost(&app, &vhost)?;
    check_user(&app, &user)?;
    ok(&describe_permission(&app))
}
