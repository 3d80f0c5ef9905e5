//! HTTP on a node of a cluster that doesn't lead: what it answers itself, and what it has the node answer that does.
//!
//! ```text
//!   a client ── request ──► this node ── the same, as the client's ──► who leads
//!            ◄── answer ──            ◄────────────────────────────────
//! ```
//! Who leads answers all that is about messages and definitions, and lets clients in or not, by where they come from in truth.
//! What is said here without asking anybody is how this node is, which is no secret: load balancers and monitoring ask for it
//! just when there is nobody who could say who somebody is.

use super::App;
use super::door::OverTls;
use super::http::{ApiError, ApiResult, json_response, ok};
use super::line::Asker;
use super::metrics;
use super::question::Question;
use super::upkeep::{self, MAINTENANCE};
use super::visit::Monitor;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;

/// Connections of other nodes' clients that wait to be taken.
const PASSED_MAX: usize = 256;
/// How often it is looked whether who is to answer still leads.
const LOOKED_EACH: Duration = Duration::from_millis(200);
/// The checks that say whether clients of a node are served.
const IN_SERVICE: [&str; 2] = ["/api/health/checks/is-in-service", "/api/health/checks/ready-to-serve-clients"];
/// What is said of one connection and not of what it carries (RFC 9110, 7.6.1).
const OF_CONNECTIONS: [HeaderName; 7] = [
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The cluster that this node is of, as management sees it.
pub trait Cluster: Send + Sync {
    fn view(&self) -> ClusterView;

    /// Has something done about the cluster; what came of it is to be seen.
    fn order(&self, order: ClusterOrder);

    /// Connects to the node that leads, as the client that comes from `peer` to `local`. It may wait.
    ///
    /// # Errors
    /// Nobody leads, or it can't be reached.
    fn connect(&self, peer: SocketAddr, local: SocketAddr, over_tls: bool) -> io::Result<TcpStream>;
}

/// What operators want of a cluster, where the node that is asked can do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClusterOrder {
    /// This node leads, and another is to: that one, or the one that has most.
    HandOver { to: Option<String> },
    /// A node is gone for good: it is to be no member any more.
    Forget { node: String },
    /// This node is to serve nobody.
    Drain,
    /// It is to serve again.
    Revive,
}

/// What a node knows of its cluster.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ClusterView {
    pub name: String,
    /// This one.
    pub node: String,
    pub role: Role,
    /// Whether clients of other nodes than the one that leads are passed to that.
    pub passes: bool,
    /// Who leads, as far as this node knows.
    pub leader: Option<String>,
    /// Whether that takes clients, as it says.
    pub is_served: bool,
    pub term: u64,
    /// The last entry that most have.
    pub commit: u64,
    /// The last entry that is on this node's disk.
    pub written: u64,
    /// The last entry that this node's state has.
    pub applied: u64,
    /// How often this node has come to lead.
    pub elections: u64,
    /// How long nobody led, as far as this node knew, since it began.
    pub leaderless_ms: u64,
    /// What this node leads and most don't have yet.
    pub uncommitted_bytes: Option<usize>,
    /// There is no room for what this node is to write: it confirms nothing to the others.
    pub disk_is_full: bool,
    /// How often this node has read its log through since it began, and how long ago the last time ended.
    pub scrubs: u64,
    pub scrubbed_ms_ago: Option<u64>,
    /// It is in maintenance, and serves nobody.
    pub is_drained: bool,
    /// So many have to be there for anything to be confirmed.
    pub quorum: usize,
    pub nodes: Vec<NodeView>,
}

/// How a node is, as it says itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct NodeCondition {
    /// It is in maintenance.
    pub is_drained: bool,
    pub disk_alarm: bool,
    pub memory_alarm: bool,
}

impl NodeCondition {
    /// The resources that are low: as the health checks call them, and as the oldest of them does.
    pub fn low_resources(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let disk = self.disk_alarm.then_some(("disk space", "disk"));
        let memory = self.memory_alarm.then_some(("memory", "memory"));
        disk.into_iter().chain(memory)
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NodeView {
    pub name: String,
    /// As it said last; nothing is known of one that isn't there.
    pub condition: Option<NodeCondition>,
    /// It is this one, or this one hears it.
    pub is_running: bool,
    /// It is one of those that keep the log, and was not forgotten.
    pub is_member: bool,
    /// It has a say in what is confirmed.
    pub votes: bool,
    /// The last entry that is on its disk, as far as who leads knows.
    pub has: Option<u64>,
    /// For how long it has lacked what is committed.
    pub behind_ms: Option<u64>,
    /// Bytes of the log that it lacks.
    pub behind_bytes: Option<u64>,
}

/// What a node is to its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Role {
    /// It belongs to none yet.
    #[default]
    Forming,
    Follower,
    Leader,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Follower => "follower",
            Self::Leader => "leader",
        }
    }
}

impl ClusterView {
    pub fn of_one(node: &str) -> Self {
        let own =
            NodeView { name: node.to_owned(), is_running: true, is_member: true, votes: true, ..NodeView::default() };
        Self {
            node: node.to_owned(),
            role: Role::Leader,
            leader: Some(node.to_owned()),
            quorum: 1,
            nodes: vec![own],
            ..Self::default()
        }
    }

    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether clients of this node are served, here or elsewhere.
    fn is_in_service(&self) -> bool {
        !self.is_drained && (self.leads() || self.leader.is_some() && self.is_served && self.passes)
    }

    /// Whether there is nobody to whom requests could be passed.
    fn passes_nobody(&self) -> bool {
        self.leader.is_none() || !(self.leads() || self.passes)
    }

    /// Whether nothing would be confirmed any more without this node.
    pub fn is_critical(&self) -> bool {
        let voting = |node: &&NodeView| node.votes && node.is_running;
        let is_one = self.nodes.iter().any(|node| node.name == self.node && node.votes);
        is_one && self.nodes.iter().filter(voting).count() <= self.quorum
    }

    fn json(&self) -> Value {
        let node = |node: &NodeView| {
            let role = match (Some(&node.name) == self.leader.as_ref(), node.votes) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) if node.is_member => "learner",
                (false, false) => "none",
            };
            json!({
                "name": node.name,
                "running": node.is_running,
                "role": role,
                "index": node.has,
                "behind_ms": node.behind_ms,
                "behind_bytes": node.behind_bytes,
                "being_drained": node.condition.map(|condition| condition.is_drained),
                "alarms": node.condition.map(|condition| condition.low_resources().map(|(_, name)| name).collect::<Vec<_>>()),
            })
        };
        json!({
            "name": self.name,
            "node": self.node,
            "role": self.role.name(),
            "leader": self.leader,
            "term": self.term,
            "commit_index": self.commit,
            "written_index": self.written,
            "applied_index": self.applied,
            "elections": self.elections,
            "leaderless_ms": self.leaderless_ms,
            "uncommitted_bytes": self.uncommitted_bytes,
            "disk_full": self.disk_is_full,
            "scrubs": self.scrubs,
            "scrubbed_ms_ago": self.scrubbed_ms_ago,
            "being_drained": self.is_drained,
            "quorum": self.quorum,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

/// A client of another node's.
pub struct PassedClient {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub over_tls: bool,
}

/// Where clients of other nodes come in.
#[derive(Clone)]
pub struct Hatch(mpsc::Sender<PassedClient>);

/// A hatch, and management's side of it.
pub fn hatch() -> (Hatch, mpsc::Receiver<PassedClient>) {
    let (clients, passed) = mpsc::channel(PASSED_MAX);
    (Hatch(clients), passed)
}

impl Hatch {
    /// Lets a client in; it is closed when too many wait.
    pub fn pass(&self, client: PassedClient) {
        if let Err(mpsc::error::TrySendError::Full(client)) = self.0.try_send(client) {
            tracing::warn!(target: "management", "{}: turned away: too many come from other nodes", client.peer);
        }
    }
}

/// Has what this node can't answer answered by the one that leads.
pub async fn unless_it_leads(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    over_tls: Option<Extension<OverTls>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(view) = app.settings.cluster.as_ref().map(|cluster| cluster.view()) else {
        return next.run(request).await;
    };
    if let Some(answer) = own_answer(&view, &request, peer) {
        return answer.into_response();
    }
    if view.leads() {
        // Load balancers ask all nodes alike.
        let is_asked = request.method() == Method::GET && IN_SERVICE.contains(&request.uri().path());
        return if is_asked { answers(&app).await.into_response() } else { next.run(request).await };
    }
    if request.uri().path() == MAINTENANCE {
        return upkeep::maintain(app, peer, over_tls.is_some(), request).await;
    }
    let passed = pass_on(app, peer, over_tls.is_some(), request).await;
    passed.unwrap_or_else(|error| {
        tracing::debug!(target: "management", "{peer}: not answered: {error}");
        ApiError::NotLeading.into_response()
    })
}

/// What each node says of itself.
fn own_answer(view: &ClusterView, request: &Request, peer: SocketAddr) -> Option<ApiResult> {
    if request.method() != Method::GET {
        return None;
    }
    match request.uri().path() {
        path if !view.leads() && IN_SERVICE.contains(&path) => {
            let why = match view.is_drained {
                true => "this node is in maintenance, and serves nobody",
                false => "this node doesn't lead, and passes clients to nobody, or to nobody who takes them yet",
            };
            Some(check(view.is_in_service(), why))
        }
        "/api/health/checks/node-is-quorum-critical" => Some(check_quorum(view)),
        "/api/health/checks/local-alarms" if !view.leads() && view.disk_is_full => {
            Some(check(false, "the disk of this node is full: it writes nothing, and confirms nothing to the others"))
        }
        "/api/cluster/self" if !view.leads() => Some(ok(&upkeep::describe(view))),
        // Nobody could say who that is.
        "/api/cluster" if view.passes_nobody() && peer.ip().to_canonical().is_loopback() => Some(ok(&view.json())),
        _ => None,
    }
}

/// Well as soon as the loop answers.
async fn answers(app: &App) -> ApiResult {
    app.line.ask(Asker::Management, Question::Overview).await?;
    check(true, "")
}

fn check(is_well: bool, reason: &str) -> ApiResult {
    match is_well {
        true => ok(&json!({ "status": "ok" })),
        false => {
            let body = json!({"status": "failed", "reason": reason});
            Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &body))
        }
    }
}

/// Whether the cluster could do without this node.
fn check_quorum(view: &ClusterView) -> ApiResult {
    const REASON: &str = "There are quorum queues that would lose their quorum if the target node is shut down";
    // Who is in maintenance has given away all that others could miss, as RabbitMQ sees it.
    match view.is_critical() && !view.is_drained {
        false => ok(&json!({"status": "ok", "node": view.node})),
        true => {
            let body = json!({"status": "failed", "reason": REASON, "node": view.node});
            Ok(json_response(StatusCode::SERVICE_UNAVAILABLE, &body))
        }
    }
}

/// The cluster, as the node that leads sees it. A broker that is alone leads itself.
pub async fn cluster(visit: Monitor) -> ApiResult {
    let name = visit.app.cluster_name().await?;
    let view = match &visit.app.settings.cluster {
        Some(cluster) => cluster.view(),
        None => ClusterView::of_one(&visit.app.settings.node),
    };
    ok(&ClusterView { name, ..view }.json())
}

/// Has a request answered by the node that leads.
pub async fn pass_on(app: Arc<App>, peer: SocketAddr, over_tls: bool, request: Request) -> io::Result<Response> {
    let cluster = app.settings.cluster.clone().ok_or(io::ErrorKind::NotConnected)?;
    let leader = cluster.view().leader;
    let (connecting, local) = (Arc::clone(&cluster), app.address);
    let connect = move || connecting.connect(peer, local, over_tls);
    let stream = tokio::task::spawn_blocking(connect).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Whoever led may hang, and its connections with it: what is asked of it then is answered no more.
        let (mut connection, mut change) = (pin!(connection), pin!(another_leads(cluster.as_ref(), leader)));
        poll_fn(|context| match change.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => connection.as_mut().poll(context).map(|_| ()),
        })
        .await;
    });
    let answer = sender.send_request(as_passed(request)).await.map_err(io::Error::other)?;
    let mut answer = answer.map(Body::new);
    without_words_of_connections(answer.headers_mut());
    Ok(answer)
}

/// Waits until this one leads no more, as far as this node knows.
async fn another_leads(cluster: &dyn Cluster, leader: Option<String>) {
    while cluster.view().leader == leader {
        tokio::time::sleep(LOOKED_EACH).await;
    }
}

fn as_passed(mut request: Request) -> Request {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    without_words_of_connections(request.headers_mut());
    request
}

fn without_words_of_connections(headers: &mut HeaderMap) {
    for name in &OF_CONNECTIONS {
        headers.remove(name);
    }
}

/// What Prometheus is told by a node that doesn't lead: of itself.
pub async fn metrics_unless_it_leads(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.settings.cluster.as_ref().map(|cluster| cluster.view()) {
        // Where somebody has to log in, nobody could say who that is.
        Some(view) if !view.leads() && !app.settings.metrics.authentication && is_of_metrics(&request) => {
            metrics::of_follower(&app, &view)
        }
        _ => next.run(request).await,
    }
}

fn is_of_metrics(request: &Request) -> bool {
    request.uri().path().starts_with("/metrics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(role: Role, leader: Option<&str>, running: usize) -> ClusterView {
        let node = |index: usize| NodeView {
            name: format!("n{index}"),
            is_running: index < running,
            votes: true,
            ..NodeView::default()
        };
        ClusterView {
            node: "n0".to_owned(),
            role,
            leader: leader.map(str::to_owned),
            is_served: leader.is_some(),
            passes: true,
            quorum: 2,
            nodes: (0..3).map(node).collect(),
            ..ClusterView::default()
        }
    }

    fn answer(view: &ClusterView, path: &str, peer: &str) -> Option<StatusCode> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        own_answer(view, &request, peer.parse().unwrap()).map(|answer| answer.unwrap().status())
    }

    #[test]
    fn a_node_is_in_service_while_its_clients_are_served() {
        const PATH: &str = "/api/health/checks/is-in-service";
        let follower = view(Role::Follower, Some("n1"), 3);
        assert_eq!(answer(&follower, PATH, "192.0.2.7:1"), Some(StatusCode::OK));
        let refusing = ClusterView { passes: false, ..follower.clone() };
        assert_eq!(answer(&refusing, PATH, "192.0.2.7:1"), Some(StatusCode::SERVICE_UNAVAILABLE));
        let early = ClusterView { is_served: false, ..follower.clone() };
        assert_eq!(answer(&early, PATH, "192.0.2.7:1"), Some(StatusCode::SERVICE_UNAVAILABLE), "n1 takes nobody yet");
        let alone = view(Role::Follower, None, 1);
        assert_eq!(answer(&alone, PATH, "192.0.2.7:1"), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(answer(&view(Role::Leader, Some("n0"), 3), PATH, "192.0.2.7:1"), None, "the loop says so");
    }

    #[test]
    fn a_node_is_critical_while_there_is_no_other_to_take_its_place() {
        for (running, is_critical) in [(3, false), (2, true), (1, true)] {
            assert_eq!(view(Role::Follower, Some("n1"), running).is_critical(), is_critical, "{running}");
        }
        let mut learner = view(Role::Follower, Some("n1"), 2);
        learner.nodes[0].votes = false;
        assert!(!learner.is_critical(), "it has no say");
    }

    #[test]
    fn who_comes_from_this_machine_is_told_of_a_cluster_without_a_leader() {
        let alone = view(Role::Follower, None, 1);
        assert_eq!(answer(&alone, "/api/cluster", "127.0.0.1:1"), Some(StatusCode::OK));
        assert_eq!(answer(&alone, "/api/cluster", "192.0.2.7:1"), None);
        assert_eq!(
            answer(&view(Role::Follower, Some("n1"), 3), "/api/cluster", "127.0.0.1:1"),
            None,
            "n1 asks who it is"
        );
    }

    #[test]
    fn what_is_of_one_connection_is_not_passed_on() {
        let request = Request::get("http://burrow/api/nodes?columns=name")
            .header("connection", "keep-alive")
            .header("transfer-encoding", "chunked")
            .header("authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=")
            .body(Body::empty())
            .unwrap();
        let passed = as_passed(request);
        assert_eq!(passed.uri(), "/api/nodes?columns=name");
        assert_eq!(passed.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["authorization"]);
    }
}
