//! The node as a whole: overview, nodes, and the lists that are always the same here.

use super::super::attempts::Count;
use super::super::cluster_name::{CLUSTER_NAME, is_cluster_name};
use super::super::elsewhere::{self, NodeCondition, NodeView};
use super::super::figures::{
    self, BUCKETS, CHURN, DURATION_FIGURES, DURATION_NAMES, OVERVIEW_FIGURES, node_figures, overview_figures,
};
use super::super::http::{ApiError, ApiResult, empty, ok};
use super::super::listing::{Ranges, few, one};
use super::super::order::Order;
use super::super::question::Question;
use super::super::shapes::Share;
use super::super::visit::{Administrator, Monitor, Visit};
use super::super::{App, shapes, upkeep};
use super::vhosts::sums;
use super::{check_node, object, required_text};
use crate::meter::histogram::BOUNDS_US;
use crate::reactor::process;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

type Parameters = Query<HashMap<String, String>>;

/// For whom nobody knows.
pub fn open_routes() -> Router<Arc<App>> {
    Router::new().route("/version", get(async || ok(&json!(super::super::COMPATIBLE_VERSION))))
}

pub fn routes() -> Router<Arc<App>> {
    let nothing = || get(async |_: Visit| ok(&json!([])));
    Router::new()
        .route("/overview", get(overview))
        .route("/config/effective", get(configuration))
        .route("/cluster", get(elsewhere::cluster))
        .route("/cluster/leader", post(upkeep::hand_over))
        .route("/cluster/nodes/{node}", delete(upkeep::forget))
        .route("/cluster/self", get(upkeep::own))
        .route("/cluster/self/maintenance", put(upkeep::drain).delete(upkeep::revive))
        .route("/cluster-name", get(cluster_name).put(set_cluster_name))
        .route("/auth/attempts/{node}", get(attempts).delete(forget_attempts))
        .route("/auth/attempts/{node}/source", get(attempts_by_source).delete(forget_attempts))
        .route("/nodes", get(nodes))
        .route("/nodes/{node}", get(node))
        .route("/nodes/{node}/durations", get(durations))
        .route("/nodes/{node}/memory", get(memory))
        .route("/feature-flags", get(feature_flags))
        .route("/feature-flags/{feature}/enable", put(enable_feature))
        .route("/deprecated-features", nothing())
        .route("/deprecated-features/used", nothing())
        .route("/nodes/{node}/memory/relative", get(memory_relative))
        .route("/reset", delete(reset))
        .route("/reset/{node}", delete(reset_node))
        .route("/extensions", nothing())
        .route("/federation-links", get(no_links))
        .route("/federation-links/{vhost}", get(no_links_of_vhost))
        .route("/shovels", get(no_links))
        .route("/shovels/{vhost}", get(no_links_of_vhost))
}

/// There are no federation and no shovels, and monitoring tools ask for both.
async fn no_links(_: Monitor) -> ApiResult {
    ok(&json!([]))
}

async fn no_links_of_vhost(visit: Monitor) -> ApiResult {
    visit.vhost(true)?;
    ok(&json!([]))
}

async fn overview(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let overview = visit.ask(Question::Overview).await?;
    let cluster_name = visit.app.cluster_name().await?;
    if visit.is_monitor() {
        let ranges = Ranges::parse(&parameters);
        return one(&parameters, shapes::overview(&visit.app, &cluster_name, &overview, ranges));
    }
    one(&parameters, shapes::overview_of_some(&visit.app, &cluster_name, &share(&visit).await?))
}

/// What of the broker is for somebody to see who is no monitor: what is in the virtual hosts that it may enter, and its own
/// connections.
async fn share(visit: &Visit) -> Result<Share, ApiError> {
    let listed = visit.listed().await?;
    let mut vhosts = visit.ask_all(|from, reply| Question::Vhosts { from, reply }).await?;
    vhosts.retain(|vhost| listed.holds(&vhost.name));
    let all_sums = sums(visit).await?;
    let mut share = Share::default();
    for vhost in &vhosts {
        share.queues += vhost.queues;
        share.exchanges += vhost.exchanges;
        all_sums.get(&vhost.id.0).into_iter().for_each(|sums| share.sums.add_sums(sums));
    }
    let connections = visit.ask_all(|from, reply| Question::Connections { from, reply }).await?;
    let own = connections.iter().filter(|connection| visit.sees_user(&connection.label.user));
    for connection in own {
        share.connections += 1;
        share.channels += connection.channels;
    }
    Ok(share)
}

/// What RabbitMQ 3.13 calls the features that are there: each of them always. Applications look for some by name:
/// NServiceBus for `stream_queue`, as RabbitMQ has dead letters at least once since it has streams.
const FEATURES: [(&str, &str); 8] = [
    ("classic_queue_type_delivery_support", "Deliveries of classic queues say of which type their queue is"),
    ("direct_exchange_routing_v2", "Direct exchanges find their queues in an index"),
    ("drop_unroutable_metric", "Publishes that reach no queue are counted"),
    ("implicit_default_bindings", "Bindings to the default exchange are implied"),
    ("quorum_queue", "Queues of type `quorum`"),
    ("stream_queue", "Dead letters at least once; queues of type `stream` are not there yet"),
    ("user_limits", "Limits of connections and channels for a user"),
    ("virtual_host_metadata", "Virtual hosts have a description, tags and a default queue type"),
];

async fn feature_flags(_: Visit) -> ApiResult {
    let flag = |(name, desc): &(&str, &str)| {
        json!({
            "name": name, "desc": desc, "doc_url": "", "state": "enabled", "stability": "stable", "provided_by": "rabbit",
        })
    };
    ok(&FEATURES.iter().map(flag).collect())
}

/// There is nothing to be done for a feature that is there.
async fn enable_feature(_: Administrator, Path(feature): Path<String>) -> ApiResult {
    if FEATURES.iter().any(|(name, _)| *name == feature) {
        return empty(StatusCode::NO_CONTENT);
    }
    Err(ApiError::BadRequest("unsupported".to_owned()))
}

async fn cluster_name(visit: Visit) -> ApiResult {
    ok(&json!({ "name": visit.app.cluster_name().await? }))
}

async fn set_cluster_name(visit: Administrator, body: Bytes) -> ApiResult {
    let body = object(&body)?;
    let name = required_text(&body, "name")?;
    if !is_cluster_name(name) {
        return Err(ApiError::BadRequest("name is too long".to_owned()));
    }
    let (name, value) = (CLUSTER_NAME.into(), json!(name).to_string().into());
    let put = visit.order(|reply| Order::PutGlobalParameter { name, value, reply }).await?;
    put.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    empty(StatusCode::NO_CONTENT)
}

/// The settings that the broker began with, in the notation of its file. Of those that SIGHUP and commands change the
/// overview tells what holds.
async fn configuration(visit: Administrator) -> ApiResult {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, visit.app.settings.configuration.clone()).into_response())
}

/// What the loop has counted of those who wanted to be let in over AMQP.
async fn attempts_over_amqp(visit: &Visit) -> Result<Count, ApiError> {
    let overview = visit.ask(Question::Overview).await?;
    let events = overview.events();
    Ok(Count { succeeded: events.logins_succeeded, failed: events.logins_failed })
}

async fn attempts(visit: Monitor, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    let amqp = attempts_over_amqp(&visit).await?;
    ok(&visit.app.attempts().shape(amqp))
}

/// Where they came from is not kept, as with RabbitMQ unless it is told to.
async fn attempts_by_source(visit: Monitor, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    ok(&json!([]))
}

async fn forget_attempts(visit: Administrator, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    let amqp = attempts_over_amqp(&visit).await?;
    visit.app.attempts().forget(amqp);
    empty(StatusCode::NO_CONTENT)
}

async fn nodes(visit: Monitor, Query(parameters): Parameters) -> ApiResult {
    let own = describe_node(&visit, Ranges::parse(&parameters)).await?;
    let Some(cluster) = &visit.app.settings.cluster else { return few(&parameters, vec![own]) };
    let others = cluster.view().nodes.into_iter().filter(|node| node.name != visit.app.settings.node);
    let mut all: Vec<Value> = std::iter::once(own).chain(others.map(|node| describe_other(&node))).collect();
    all.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    few(&parameters, all)
}

/// What this node knows of another, as RabbitMQ shows one whose statistics it lacks; and what that says of itself, if it does.
fn describe_other(node: &NodeView) -> Value {
    let mut shape = json!({
        "name": node.name,
        "type": "disc",
        "running": node.is_running,
        "partitions": [],
    });
    if let Some(NodeCondition { is_drained, disk_alarm, memory_alarm }) = node.condition {
        shape["being_drained"] = is_drained.into();
        shape["disk_free_alarm"] = disk_alarm.into();
        shape["mem_alarm"] = memory_alarm.into();
    }
    shape
}

async fn node(visit: Monitor, Path(node): Path<String>, Query(parameters): Parameters) -> ApiResult {
    if let Some(cluster) = &visit.app.settings.cluster
        && let Some(other) = cluster.view().nodes.iter().find(|other| other.name == node)
        && other.name != visit.app.settings.node
    {
        return one(&parameters, describe_other(other));
    }
    check_node(&visit.app, &node)?;
    one(&parameters, describe_node(&visit, Ranges::parse(&parameters)).await?)
}

/// How long things took in the last while: of each moment, how many took how long since the moment before it.
async fn durations(visit: Monitor, Path(node): Path<String>, Query(parameters): Parameters) -> ApiResult {
    check_node(&visit.app, &node)?;
    let samples = visit.app.rates().samples_of_durations(Ranges::parse(&parameters).node, visit.app.now_ms());
    let unix_start_ms = visit.app.settings.clock.unix_start_ms();
    let moment = |pair: &[(u64, [u64; DURATION_FIGURES])], first: usize| {
        let [(at_ms, now), (_, before)] = pair else { return Value::Null };
        let buckets = first..first + BUCKETS;
        let counts = now[buckets.clone()].iter().zip(&before[buckets]).map(|(now, before)| now.saturating_sub(*before));
        json!({"timestamp": unix_start_ms + at_ms, "counts": counts.collect::<Vec<u64>>()})
    };
    let of_each = DURATION_NAMES.iter().enumerate().map(|(index, name)| {
        ((*name).to_owned(), samples.windows(2).map(|pair| moment(pair, index * BUCKETS)).collect())
    });
    ok(&json!({"bounds_us": BOUNDS_US, "samples": Value::Object(of_each.collect())}))
}

/// The memory of the node. What part of it is for what is not counted; RabbitMQ has a word for memory that is not known.
async fn memory(visit: Monitor, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    let known = |rss: u64| json!({"strategy": "rss", "total": {"rss": rss}});
    ok(&json!({"memory": process::resident_bytes().map_or_else(|| json!("not_available"), known)}))
}

/// In parts of a hundred. None is counted, so that there are none to tell of.
async fn memory_relative(visit: Monitor, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    ok(&json!({"memory": "not_available"}))
}

/// What was seen of counters is forgotten, with their rates; what they count goes on.
async fn reset(visit: Administrator) -> ApiResult {
    visit.app.rates().forget();
    empty(StatusCode::NO_CONTENT)
}

async fn reset_node(visit: Administrator, Path(node): Path<String>) -> ApiResult {
    check_node(&visit.app, &node)?;
    reset(visit).await
}

async fn describe_node(visit: &Visit, ranges: Ranges) -> Result<Value, ApiError> {
    let overview = visit.ask(Question::Overview).await?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shape = json!({
        "name": visit.app.settings.node,
        "type": "disc",
        "running": true,
        "being_drained": visit.app.settings.cluster.as_ref().is_some_and(|cluster| cluster.view().is_drained),
        "os_pid": std::process::id().to_string(),
        "uptime": overview.uptime_ms,
        "processors": processors,
        "rates_mode": "basic",
        "mem_limit": overview.memory_watermark_bytes,
        "mem_alarm": overview.memory_alarm(),
        "disk_free_limit": overview.disk_free_limit_bytes,
        "disk_free_alarm": overview.disk_alarm(),
        "fd_used": process::open_descriptors(),
        "fd_total": visit.app.settings.descriptors,
        "sockets_total": visit.app.settings.descriptors,
        "exchange_types": shapes::exchange_types(),
        "contexts": shapes::contexts(&visit.app),
        "mem_calculation_strategy": "rss",
        "partitions": [],
        "applications": [],
        "auth_mechanisms": [],
        "cluster_links": [],
        "enabled_plugins": [],
    });
    let now_ms = visit.app.now_ms();
    let (rates, churn_rates, samples, churn_samples) = {
        let seen = visit.app.rates();
        let (samples, churn) =
            (seen.samples_of_node(ranges.node, now_ms), seen.samples_of_overview(ranges.node, now_ms));
        (seen.of_node(now_ms), seen.of_overview(now_ms), samples, churn)
    };
    let moments = shapes::moments(&visit.app, &churn_samples, CHURN..OVERVIEW_FIGURES);
    let churn_rates = churn_rates.as_ref().map(|rates| &rates[CHURN..]);
    figures::put_with_samples(&mut shape, &overview_figures(&overview)[CHURN..], churn_rates, &moments);
    for (index, (name, figure)) in node_figures(&overview, process::resident_bytes()).into_iter().enumerate() {
        let Some(figure) = figure else {
            shape[name] = Value::Null;
            continue;
        };
        let moments = shapes::moments(&visit.app, &samples, index..index + 1);
        let rates = rates.as_ref().map(|rates| &rates[index..=index]);
        figures::put_with_samples(&mut shape, &[(name, figure)], rates, &moments);
    }
    Ok(shape)
}
