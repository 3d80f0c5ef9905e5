//! The node as a whole: overview, nodes, virtual hosts, users, and the lists that are always the same here.

use super::super::command::Command;
use super::super::http::{ApiError, ApiResult, ok};
use super::super::{App, shapes};
use super::check_vhost;
use crate::reactor::process;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    let nothing = || get(|| async { ok(&json!([])) });
    Router::new()
        .route("/overview", get(overview))
        .route("/version", get(|| async { ok(&json!(super::super::COMPATIBLE_VERSION)) }))
        .route("/whoami", get(whoami))
        .route("/cluster-name", get(cluster_name))
        .route("/nodes", get(nodes))
        .route("/nodes/{node}", get(node))
        .route("/vhosts", get(vhosts))
        .route("/vhosts/{vhost}", get(vhost))
        .route("/users", get(users))
        .route("/users/{user}", get(user))
        .route("/permissions", get(permissions))
        .route("/permissions/{vhost}/{user}", get(permission))
        .route("/policies", nothing())
        .route("/policies/{vhost}", nothing())
        .route("/operator-policies", nothing())
        .route("/parameters", nothing())
        .route("/global-parameters", nothing())
        .route("/topic-permissions", nothing())
        .route("/vhost-limits", nothing())
        .route("/user-limits", nothing())
        .route("/feature-flags", nothing())
        .route("/deprecated-features", nothing())
        .route("/extensions", nothing())
}

async fn overview(State(app): State<Arc<App>>) -> ApiResult {
    let overview = app.line.ask(Command::Overview).await?;
    ok(&shapes::overview(&app, &overview))
}

async fn whoami(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!({"name": app.settings.user, "tags": ["administrator"]}))
}

async fn cluster_name(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!({ "name": app.settings.node }))
}

async fn nodes(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!([describe_node(&app).await?]))
}

async fn node(State(app): State<Arc<App>>, Path(node): Path<String>) -> ApiResult {
    if node != app.settings.node {
        return Err(ApiError::NotFound);
    }
    ok(&describe_node(&app).await?)
}

async fn describe_node(app: &App) -> Result<Value, ApiError> {
    let overview = app.line.ask(Command::Overview).await?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(json!({
        "name": app.settings.node,
        "type": "disc",
        "running": true,
        "being_drained": false,
        "os_pid": std::process::id().to_string(),
        "uptime": overview.uptime_ms,
        "processors": processors,
        "rates_mode": "none",
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

async fn vhosts(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!([describe_vhost(&app).await?]))
}

async fn vhost(State(app): State<Arc<App>>, Path(vhost): Path<String>) -> ApiResult {
    check_vhost(&app, &vhost)?;
    ok(&describe_vhost(&app).await?)
}

async fn describe_vhost(app: &App) -> Result<Value, ApiError> {
    let overview = app.line.ask(Command::Overview).await?;
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

async fn users(State(app): State<Arc<App>>) -> ApiResult {
    ok(&json!([describe_user(&app)]))
}

async fn user(State(app): State<Arc<App>>, Path(user): Path<String>) -> ApiResult {
    if user != app.settings.user {
        return Err(ApiError::NotFound);
    }
    ok(&describe_user(&app))
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
    if user != app.settings.user {
        return Err(ApiError::NotFound);
    }
    ok(&describe_permission(&app))
}
