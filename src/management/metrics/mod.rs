//! What Prometheus scrapes: RabbitMQ's names, types and labels, and what only this broker measures as `leveret_…`.
//!
//! | path | tells |
//! |---|---|
//! | `/metrics` | the node, and what queues, channels and connections come to together |
//! | `/metrics/per-object` | the node, and each of them |
//! | `/metrics/detailed?family=…&vhost=…&queue=…` | chosen families of chosen virtual hosts and queues, of each |
//!
//! They are served at a port of their own, as by RabbitMQ's plugin, and at the port of management to whoever may monitor. A
//! page is made on management's thread. The loop is asked for a bounded number of things at a time, and left alone for a
//! moment in between; a text about many things is written as the client takes it. A figure that isn't measured is left out,
//! never made up: what only Erlang has, the bytes of a queue's messages, what each channel and each exchange did.
//!
//! | file | owns |
//! |---|---|
//! | `text` | the text format |
//! | `gather` | asking the loop for all of it |
//! | `counted` | counters that are sums, and never fall |
//! | `node` | families of the node itself |
//! | `global` | counts of messages |
//! | `together` | families of queues, channels and connections as sums |
//! | `objects` | the same, of each |
//! | `durations` | how long messages of single queues take |
//! | `chosen` | what a scraper asks for |

mod chosen;
mod cluster;
mod counted;
mod durations;
mod gather;
mod global;
mod node;
mod objects;
mod text;
mod together;

pub use counted::Floor;

use super::App;
use super::admission::{authenticate, examine};
use super::chunks::Chunks;
use super::elsewhere::{ClusterView, metrics_unless_it_leads};
use super::http::ApiError;
use super::visit::Monitor;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_extractor_with_state, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chosen::Chosen;
use std::sync::Arc;
use std::time::Duration;
use text::{Kind, Text};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Pages about each thing that are underway at a time: each holds what was gathered until its last line is sent.
const PAGES_MAX: usize = 4;

/// How long the client may take over such a page. Prometheus waits for ten seconds unless it is told otherwise.
const PAGE_PATIENCE: Duration = Duration::from_secs(60);

/// The version of the text format that is spoken.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// RabbitMQ's prefixes: of what is always told, of what is told of each thing on request, and of what all nodes share.
const PREFIX: &str = "rabbitmq_";
const DETAILED_PREFIX: &str = "rabbitmq_detailed_";
const CLUSTER_PREFIX: &str = "rabbitmq_cluster_";
/// Of what RabbitMQ does not tell.
const LEVERET_PREFIX: &str = "leveret_";

/// How metrics are served.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether the port of metrics asks who somebody is.
    pub authentication: bool,
    /// Whether `/metrics` is about each thing, too.
    pub per_object: bool,
}

/// Room for pages about each thing.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PAGES_MAX))
}

/// The paths at the port of metrics.
pub fn all(app: Arc<App>) -> Router {
    let mut routes = routes();
    if app.settings.metrics.authentication {
        routes =
            behind_login(routes, &app).layer(from_fn_with_state(app.clone(), authenticate)).layer(from_fn(examine));
    }
    let of_followers = from_fn_with_state(app.clone(), metrics_unless_it_leads);
    routes.fallback(|| async { StatusCode::NOT_FOUND }).layer(of_followers).with_state(app)
}

/// The same at the port of management, where somebody has logged in: for those who may monitor.
pub fn for_monitors(app: &Arc<App>) -> Router<Arc<App>> {
    behind_login(routes(), app)
}

fn behind_login(routes: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    routes.route_layer(from_extractor_with_state::<Monitor, _>(app.clone()))
}

fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/metrics", get(default_page))
        .route("/metrics/per-object", get(per_object))
        .route("/metrics/detailed", get(detailed))
        .route("/metrics/{registry}", get(async || (StatusCode::NOT_FOUND, "Unknown Registry")))
}

async fn default_page(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    match app.settings.metrics.per_object {
        true => each(app, Chosen::all(), "per-object").await,
        false => aggregated(&app).await,
    }
}

async fn per_object(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    each(app, Chosen::all(), "per-object").await
}

async fn detailed(
    State(app): State<Arc<App>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    match Chosen::of(parameters) {
        Ok(chosen) => each(app, chosen, "detailed").await,
        Err(reason) => Ok((StatusCode::BAD_REQUEST, reason).into_response()),
    }
}

async fn aggregated(app: &App) -> Result<Response, ApiError> {
    let node = gather::node(app).await?;
    let mut text = Text::new(PREFIX);
    node::NODE_GROUPS.iter().for_each(|(_, group)| group(&mut text, &node));
    node::always(&mut text, &node);
    global::messages(&mut text, &node);
    together::all(&mut text, &node);
    node::identity(&mut text, app, &app.cluster_name().await?, "aggregated");
    Ok(page(Body::from(text.into_string())))
}

/// What a node of a cluster tells that doesn't lead.
pub fn of_follower(app: &App, view: &ClusterView) -> Response {
    let mut text = Text::new(PREFIX);
    let help = "Number of peers in the cluster the current node cannot reach.";
    text.alone("unreachable_cluster_peers_count", Kind::Gauge, help, cluster::unreachable(Some(view)));
    cluster::all(&mut text, view);
    node::identity(&mut text, app, &view.name, "aggregated");
    page(Body::from(text.into_string()))
}

/// A page about each thing of the chosen families.
async fn each(app: Arc<App>, chosen: Chosen, endpoint: &'static str) -> Result<Response, ApiError> {
    let permit = permit(&app).await?;
    let node = gather::node(&app).await?;
    let prefix = chosen.prefix();
    let mut text = Text::new(prefix);
    for (family, group) in node::NODE_GROUPS {
        if chosen.has(family) {
            group(&mut text, &node);
        }
    }
    if chosen.is_all() {
        node::always(&mut text, &node);
        global::messages(&mut text, &node);
    }
    let of_each = objects::gather(&app, &chosen).await?;
    let durations = durations::gather(&app, &chosen).await?;
    let mut last = Text::new(PREFIX);
    node::identity(&mut last, &app, &app.cluster_name().await?, endpoint);
    let pieces = std::iter::once(text.into_string()).chain(of_each.pieces(prefix, chosen));
    let pieces = pieces.chain(durations::pieces(durations)).chain(std::iter::once(last.into_string()));
    Ok(page(Body::new(Chunks::new(pieces, Instant::now() + PAGE_PATIENCE, permit))))
}

fn page(body: Body) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-cache")], body).into_response()
}

/// Waits for room, as long as anything may take.
async fn permit(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    let room = app.metrics_room.clone();
    match timeout(app.settings.limits.timeout, room.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ApiError::Unavailable),
    }
}
