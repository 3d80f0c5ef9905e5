//! Health checks: 200 with `ok`, or 503 with what is wrong.

use super::super::App;
use super::super::command::Command;
use super::super::http::{ApiResult, json_response, ok};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health/checks/alarms", get(alarms))
        .route("/health/checks/local-alarms", get(alarms))
        .route("/health/checks/port-listener/{port}", get(port_listener))
        .route("/health/checks/protocol-listener/{protocol}", get(protocol_listener))
        .route("/health/checks/virtual-hosts", get(answering))
        .route("/health/checks/node-is-mirror-sync-critical", get(answering))
        .route("/health/checks/node-is-quorum-critical", get(answering))
        .route("/health/checks/ready-to-serve-clients", get(answering))
        .route("/healthchecks/node", get(alarms))
}

/// Healthy as soon as the loop answers.
async fn answering(State(app): State<Arc<App>>) -> ApiResult {
    app.line.ask(Command::Overview).await?;
    ok(&json!({ "status": "ok" }))
}

async fn alarms(State(app): State<Arc<App>>) -> ApiResult {
    let overview = app.line.ask(Command::Overview).await?;
    if !overview.memory_alarm {
        return ok(&json!({ "status": "ok" }));
    }
    failed(
        "There are alarms in effect in the cluster",
        &[("alarms", json!([{"node": app.settings.node, "resource": "memory"}]))],
    )
}

async fn port_listener(State(app): State<Arc<App>>, Path(port): Path<u16>) -> ApiResult {
    let amqp = app.settings.amqp_addresses.iter().map(std::net::SocketAddr::port);
    let ports: Vec<u16> = amqp.chain([app.address.port()]).collect();
    if ports.contains(&port) {
        return ok(&json!({"status": "ok", "port": port}));
    }
    failed("No active listener", &[("missing", json!(port)), ("ports", json!(ports))])
}

async fn protocol_listener(State(app): State<Arc<App>>, Path(protocol): Path<String>) -> ApiResult {
    const PROTOCOLS: [&str; 2] = ["amqp", "http"];
    let asked = match protocol.as_str() {
        "amqp" | "amqp091" | "amqp0-9-1" => "amqp",
        other => other,
    };
    if PROTOCOLS.contains(&asked) && !app.settings.amqp_addresses.is_empty() {
        return ok(&json!({"status": "ok", "protocol": protocol}));
    }
    failed("No active listener", &[("missing", json!(protocol)), ("protocols", json!(PROTOCOLS))])
}

fn failed(reason: &str, details: &[(&str, Value)]) -> ApiResult {
    let mut body = json!({"status": "failed", "reason": reason});
    for (name, value) in details {
        body[*name] = value.clone();
    }
    Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &body))
}
