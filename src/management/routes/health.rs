//! Health checks: 200 with `ok`, or 503 with what is wrong.

use super::super::App;
use super::super::elsewhere::NodeCondition;
use super::super::http::{ApiError, ApiResult, json_response, ok};
use super::super::question::{Overview, Question};
use super::super::visit::Visit;
use super::check_node;
use crate::tls::{DatedFile, Expiries, Renewable};
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Units of time, and the seconds in each. A month is the twelfth part of 365 days.
const UNITS_S: [(&str, u64); 4] =
    [("days", 86_400), ("weeks", 7 * 86_400), ("months", 365 * 86_400 / 12), ("years", 365 * 86_400)];

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health/checks/alarms", get(alarms))
        .route("/health/checks/local-alarms", get(local_alarms))
        .route("/health/checks/port-listener/{port}", get(port_listener))
        .route("/health/checks/protocol-listener/{protocol}", get(protocol_listener))
        .route("/health/checks/virtual-hosts", get(answering))
        .route("/health/checks/certificate-expiration/{within}/{unit}", get(certificate_expiration))
        .route("/health/checks/node-is-mirror-sync-critical", get(alone))
        .route("/health/checks/node-is-quorum-critical", get(alone))
        .route("/health/checks/ready-to-serve-clients", get(answering))
        // Those of RabbitMQ 4.
        .route("/health/checks/is-in-service", get(answering))
        .route("/health/checks/below-node-connection-limit", get(answering))
        .route("/health/checks/reached-target-cluster-size", get(answering))
        .route("/health/checks/metadata-store/initialized", get(answering))
        .route("/health/checks/metadata-store/initialized/with-data", get(answering))
        .route("/health/checks/quorum-queues-without-elected-leaders/all-vhosts", get(answering))
        .route("/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}", get(answering))
        .route("/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}", get(answering_in))
        .route(
            "/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}",
            get(answering_in),
        )
        .route("/healthchecks/node", get(this_node))
        .route("/healthchecks/node/{node}", get(node))
}

/// Healthy as soon as the loop answers.
async fn answering(visit: Visit) -> ApiResult {
    visit.ask(Question::Overview).await?;
    ok(&json!({ "status": "ok" }))
}

/// The same of a virtual host that is there.
async fn answering_in(visit: Visit) -> ApiResult {
    visit.vhost(true)?;
    answering(visit).await
}

/// Nobody depends on the one node but itself. In a cluster each node answers before it comes to this.
async fn alone(visit: Visit) -> ApiResult {
    visit.ask(Question::Overview).await?;
    ok(&json!({"status": "ok", "reason": "single node cluster"}))
}

/// Whether no certificate expires within so many of a unit: none of those that clients of a listener are shown, with what leads
/// to their authorities, and none of the authorities behind clients, all as they were last loaded. Files that have changed
/// since then and wait for SIGHUP are not looked at.
async fn certificate_expiration(visit: Visit, Path((within, unit)): Path<(String, String)>) -> ApiResult {
    let within: i64 = within.parse().map_err(|_| ApiError::BadRequest("Invalid expiration value.".to_owned()))?;
    let unit = unit.to_lowercase();
    let Some((_, unit_s)) = UNITS_S.iter().find(|(name, _)| *name == unit) else {
        let units = UNITS_S.map(|(name, _)| name).join(", ");
        return Err(ApiError::BadRequest(format!("Time unit not recognised. Supported units: {units}.")));
    };
    visit.ask(Question::Overview).await?;
    let settings = &visit.app.settings;
    let now_s = i128::from(settings.clock.unix_ms() / 1000);
    let before_s = now_s + i128::from(within) * i128::from(*unit_s);
    let mut expired = Vec::new();
    let mut look = |protocol: &str, address: &SocketAddr, acceptor: &Renewable| {
        for mut files in expiring(acceptor.current().expiries(), before_s) {
            files["node"] = json!(settings.node);
            files["protocol"] = json!(protocol);
            files["interface"] = json!(address.ip());
            files["port"] = json!(address.port());
            expired.push(files);
        }
    };
    if let Some(acceptor) = &settings.amqps_acceptor {
        settings.amqps_addresses.iter().for_each(|address| look("amqp/ssl", address, acceptor));
    }
    for (protocol, address, acceptor) in &visit.app.https {
        look(protocol, address, acceptor);
    }
    match expired.is_empty() {
        true => ok(&json!({ "status": "ok" })),
        false => failed("Certificates expiring", &[("expired", json!(expired))]),
    }
}

/// The certificates of a listener of which one expires before a moment, or an authority does.
fn expiring(all: &Expiries, before_s: i128) -> impl Iterator<Item = Value> {
    let expiring = move |file: &DatedFile| -> Vec<String> {
        let soon = file.expiries.iter().filter(|expiry| i128::from(expiry.unix_s) < before_s);
        soon.map(|expiry| expiry.text.clone()).collect()
    };
    let authorities = expiring(&all.cacertfile);
    all.certfiles.iter().filter_map(move |certfile| {
        let certificates = expiring(certfile);
        (!certificates.is_empty() || !authorities.is_empty()).then(|| {
            json!({
                "certfile": certfile.path.to_string_lossy(),
                "certfile_expires_on": certificates,
                "cacertfile": all.cacertfile.path.to_string_lossy(),
                "cacertfile_expires_on": authorities,
            })
        })
    })
}

/// Of this node, which leads, and of the others, as they say.
async fn alarms(visit: Visit) -> ApiResult {
    let mut alarms = local(&visit).await?;
    let view = visit.app.settings.cluster.as_ref().map(|cluster| cluster.view());
    for node in view.iter().flat_map(|view| &view.nodes).filter(|node| node.name != visit.app.settings.node) {
        let low = node.condition.into_iter().flat_map(NodeCondition::low_resources);
        alarms.extend(low.map(|(resource, _)| json!({"node": node.name, "resource": resource})));
    }
    check_alarms(alarms, "There are alarms in effect in the cluster")
}

async fn local_alarms(visit: Visit) -> ApiResult {
    check_alarms(local(&visit).await?, "There are alarms in effect on the node")
}

fn low_resources(overview: &Overview) -> impl Iterator<Item = (&'static str, &'static str)> {
    let (disk_alarm, memory_alarm) = (overview.disk_alarm(), overview.memory_alarm());
    NodeCondition { is_drained: false, disk_alarm, memory_alarm }.low_resources()
}

/// The alarms of the node that answers.
async fn local(visit: &Visit) -> Result<Vec<Value>, ApiError> {
    let overview = visit.ask(Question::Overview).await?;
    let alarm = |(resource, _)| json!({"node": visit.app.settings.node, "resource": resource});
    Ok(low_resources(&overview).map(alarm).collect())
}

fn check_alarms(alarms: Vec<Value>, reason: &str) -> ApiResult {
    match alarms.is_empty() {
        true => ok(&json!({ "status": "ok" })),
        false => failed(reason, &[("alarms", json!(alarms))]),
    }
}

/// The check that those above replace. Its reason holds the alarms as Erlang prints them, one to a line.
async fn this_node(visit: Visit) -> ApiResult {
    const REASON: &str = "resource alarm(s) in effect:[";
    let overview = visit.ask(Question::Overview).await?;
    let alarm = |(_, resource)| format!("{{resource_limit,{resource},{}}}", visit.app.settings.node);
    let alarms: Vec<_> = low_resources(&overview).map(alarm).collect();
    match alarms.is_empty() {
        true => ok(&json!({ "status": "ok" })),
        false => failed(&format!("{REASON}{}]", alarms.join(&format!(",\n{}", " ".repeat(REASON.len())))), &[]),
    }
}

async fn node(visit: Visit, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    this_node(visit).await
}

async fn port_listener(visit: Visit, Path(port): Path<String>) -> ApiResult {
    let port: u16 = port.parse().map_err(|_| ApiError::BadRequest("Invalid port".to_owned()))?;
    let ports: Vec<u16> = visit.app.listeners().map(|(_, address)| address.port()).collect();
    if ports.contains(&port) {
        return ok(&json!({"status": "ok", "port": port}));
    }
    failed("No active listener", &[("missing", json!(port)), ("ports", json!(ports))])
}

async fn protocol_listener(visit: Visit, Path(protocol): Path<String>) -> ApiResult {
    let mut protocols: Vec<_> = visit.app.listeners().map(|(protocol, _)| protocol).collect();
    protocols.dedup();
    let asked = match protocol.as_str() {
        "amqp" | "amqp091" | "amqp0-9-1" => "amqp",
        "amqps" => "amqp/ssl",
        other => other,
    };
    if protocols.contains(&asked) {
        return ok(&json!({"status": "ok", "protocol": protocol}));
    }
    failed("No active listener", &[("missing", json!(protocol)), ("protocols", json!(protocols))])
}

fn failed(reason: &str, details: &[(&str, Value)]) -> ApiResult {
    let mut body = json!({"status": "failed", "reason": reason});
    for (name, value) in details {
        body[*name] = value.clone();
    }
    Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &body))
}
