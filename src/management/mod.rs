//! RabbitMQ's HTTP API, on a thread of its own.
//!
//! The thread asks the loop through a [`Line`] of [`Command`]s and gets plain copies back; it holds no broker state, and
//! the loop never waits for it. What it changes, it changes through the same commands as AMQP does.
//!
//! | file | owns |
//! |---|---|
//! | `line` | the line to the loop |
//! | `question` | what may be asked, and what it is told |
//! | `change` | what may be changed, by whom the permissions of AMQP let |
//! | `order` | what administrators may have changed: users, virtual hosts, permissions, limits |
//! | `door` | connections, and how long they may take |
//! | `elsewhere` | what a node answers that doesn't lead its cluster, and what it has another answer |
//! | `places` | how many connections, and how many of them from one origin |
//! | `admission` | who is let in, and as whom |
//! | `attempts` | how often somebody wanted to be let in |
//! | `sessions`, `cookie` | who logged in at the page |
//! | `bodies` | bodies of requests: how large, for how long, and how many at a time |
//! | `multipart` | forms with files |
//! | `visit` | what a visitor may have |
//! | `http` | errors and answers in RabbitMQ's form |
//! | `listing` | pages, sorting and columns of long lists |
//! | `long_list`, `chunks` | how many of the longest at a time, and their text in pieces |
//! | `json` | AMQP's tables and properties as JSON and back |
//! | `tail` | messages that somebody follows, as events |
//! | `shapes` | what a queue, exchange, … looks like in JSON |
//! | `definitions` | files of all that is there |
//! | `figures`, `rates`, `sampler` | counters, and how fast they rise |
//! | `routes` | the paths of the API |
//! | `cluster_name` | what the cluster is called |
//! | `metrics` | what Prometheus scrapes |
//! | `page` | the page for people at `/` |

mod admission;
mod attempts;
mod bodies;
mod change;
mod chunks;
mod cluster_name;
mod cookie;
mod definitions;
mod door;
mod elsewhere;
mod figures;
mod http;
mod json;
mod line;
mod listing;
mod long_list;
mod metrics;
mod multipart;
mod order;
mod page;
mod places;
mod question;
mod rates;
mod routes;
mod sampler;
mod sessions;
mod shapes;
mod tail;
mod upkeep;
mod visit;

pub use change::{
    BindingSpec, Change, ExchangeAttributes, GetMode, GetSpec, GotMessage, PolicyChange, PublishOutcome, PublishSpec,
    QueueAttributes, VhostChange,
};
pub use cluster_name::{CLUSTER_NAME, cluster_name_of};
pub use door::Limits;
pub use elsewhere::{Cluster, ClusterOrder, ClusterView, Hatch, NodeCondition, NodeView, PassedClient, Role, hatch};
pub use line::{Asker, Command, Declined, Line, Refusal, Request, line};
pub use metrics::Settings as MetricsSettings;
pub use order::{
    Amount, LastAdministrator, NowhereToBe, Order, ProtectedVhost, ResourceLimitChange, UserLimitChange, UserPlace,
    VhostLimitChange,
};
pub use question::{
    ConnectionFigures, ConnectionLabel, ConnectionSnapshot, ConnectionState, ConnectionSums, Held, LogWrites, Login,
    NotLetIn, Overview, Question, Sight, VhostQuestion, Visitor,
};

use crate::access::PasswordHash;
use crate::broker::import::Import;
use crate::reactor::Clock;
use crate::tls::Renewable;
use attempts::Attempts;
use rates::Rates;
use sessions::Sessions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// The version of RabbitMQ whose API this is.
const COMPATIBLE_VERSION: &str = "3.13.7";

/// Requests that are on their way to the node that leads, before it has taken them.
const CONNECTING_MAX: usize = 8;

/// Bytes that nobody can guess.
pub type Chance = Box<dyn Fn() -> io::Result<[u8; 16]> + Send + Sync>;

pub struct Settings {
    pub node: String,
    pub chance: Chance,
    pub amqp_addresses: Vec<SocketAddr>,
    /// Where AMQP is spoken over TLS.
    pub amqps_addresses: Vec<SocketAddr>,
    /// What handshakes there are made with, if TLS is on.
    pub amqps_acceptor: Option<Arc<Renewable>>,
    pub clock: Clock,
    /// Descriptors that the process may open.
    pub descriptors: u64,
    /// Of which type a queue is where neither it nor its virtual host says.
    pub default_queue_type: &'static str,
    pub limits: Limits,
    pub metrics: metrics::Settings,
    /// What the broker started with, for people to read.
    pub configuration: String,
    /// The cluster that this node is of, if it is of one.
    pub cluster: Option<Arc<dyn Cluster>>,
}

/// What all requests share.
struct App {
    line: Line,
    settings: Settings,
    /// Where the API is served without TLS.
    address: SocketAddr,
    /// All places where HTTP is spoken without TLS, under the names that RabbitMQ has for what is served there.
    http: Vec<(&'static str, SocketAddr)>,
    /// Where it is spoken over TLS, and what handshakes there are made with.
    https: Vec<(&'static str, SocketAddr, Arc<Renewable>)>,
    rates: Mutex<Rates>,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    bodies: bodies::Room,
    long_lists: long_list::Room,
    metrics_floor: metrics::Floor,
    metrics_room: Arc<Semaphore>,
}

impl App {
    /// The time on the loop's clock, in milliseconds.
    fn now_ms(&self) -> u64 {
        self.settings.clock.now_ms()
    }

    /// All that the broker listens to, with RabbitMQ's names of what is spoken there.
    fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let amqp = self.settings.amqp_addresses.iter().map(|address| ("amqp", *address));
        let amqps = self.settings.amqps_addresses.iter().map(|address| ("amqp/ssl", *address));
        let https = self.https.iter().map(|(protocol, address, _)| (*protocol, *address));
        amqp.chain(amqps).chain(self.http.iter().copied()).chain(https)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().expect("nobody panics with it")
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().expect("nobody panics with it")
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("nobody panics with it")
    }

    /// The calendar time of a moment of the loop's clock, in milliseconds since 1970.
    fn unix_ms(&self, at_ms: u64) -> u64 {
        self.settings.clock.unix_start_ms() + at_ms
    }
}

/// Reads a file of definitions.
///
/// # Errors
/// What is wrong with it.
pub fn read_definitions(file: &[u8], chance: &dyn Fn() -> io::Result<[u8; 16]>) -> Result<Import, String> {
    let mut hash = |password: String| {
        let salt = chance().map_err(|error| http::ApiError::BadRequest(error.to_string()))?;
        Ok(PasswordHash::argon2id(password.as_bytes(), salt))
    };
    definitions::read(file, &definitions::Scope::Cluster, &mut hash).map_err(|error| error.reason())
}

/// Where HTTP is spoken.
pub struct Doors {
    pub management: TcpListener,
    pub management_tls: Option<HttpsDoor>,
    /// Where nothing but metrics is served.
    pub metrics: Option<TcpListener>,
    pub metrics_tls: Option<HttpsDoor>,
    /// Where clients of other nodes come in, in a cluster.
    pub passed: Option<tokio::sync::mpsc::Receiver<PassedClient>>,
}

/// Where it is spoken over TLS.
pub struct HttpsDoor {
    pub listener: TcpListener,
    /// What handshakes are made with.
    pub acceptor: Arc<Renewable>,
}

/// Serves the API, and metrics at ports of their own if they have any, on a thread of its own until the process ends.
///
/// # Errors
/// When the system refuses the thread or its runtime.
pub fn start(doors: Doors, line: Line, settings: Settings) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One thread beside it hashes passwords that are set; in a cluster some more connect to the node that leads.
    let beside = if settings.cluster.is_some() { 1 + CONNECTING_MAX } else { 1 };
    let runtime = runtime.enable_io().enable_time().max_blocking_threads(beside).build()?;
    let (mut http, mut https) = (Vec::new(), Vec::new());
    let Doors { management, management_tls, metrics, metrics_tls, passed } = doors;
    let management = opened(management, "http", &mut http)?;
    let metrics = metrics.map(|listener| opened(listener, "http/prometheus", &mut http)).transpose()?;
    let management_tls = management_tls.map(|door| opened_tls(door, "https", &mut https)).transpose()?;
    let metrics_tls = metrics_tls.map(|door| opened_tls(door, "https/prometheus", &mut https)).transpose()?;
    let limits = settings.limits;
    let app = Arc::new(App {
        line,
        address: management.local_addr()?,
        http,
        https,
        rates: Mutex::new(Rates::new()),
        attempts: Mutex::default(),
        sessions: Mutex::new(Sessions::new(limits.session)),
        bodies: bodies::Room::new(limits.body_max_bytes),
        long_lists: long_list::Room::new(limits.timeout),
        metrics_floor: metrics::Floor::default(),
        metrics_room: metrics::room(),
        settings,
    });
    let serve = move || {
        let served = runtime.block_on(async {
            tokio::spawn(sampler::run(app.clone()));
            if let Some(listener) = metrics {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(door::serve(listener.into(), None, metrics::all(app.clone()), limits));
            }
            if let Some(HttpsDoor { listener, acceptor }) = metrics_tls {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(door::serve(listener.into(), Some(acceptor), metrics::all(app.clone()), limits));
            }
            if let Some(HttpsDoor { listener, acceptor }) = management_tls {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(door::serve(listener.into(), Some(acceptor), routes::all(app.clone()), limits));
            }
            if let Some(passed) = passed {
                tokio::spawn(door::serve(passed.into(), None, routes::all(app.clone()), limits));
            }
            let listener = tokio::net::TcpListener::from_std(management)?;
            door::serve(listener.into(), None, routes::all(app), limits).await
        });
        if let Err(error) = served {
            tracing::error!(target: "management", "management stopped: {error}");
        }
    };
    std::thread::Builder::new().name("management".to_owned()).spawn(serve)?;
    Ok(())
}

/// A listener for the runtime, whose address is noted.
fn opened(
    listener: TcpListener,
    protocol: &'static str,
    noted: &mut Vec<(&'static str, SocketAddr)>,
) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    noted.push((protocol, listener.local_addr()?));
    Ok(listener)
}

fn opened_tls(
    door: HttpsDoor,
    protocol: &'static str,
    noted: &mut Vec<(&'static str, SocketAddr, Arc<Renewable>)>,
) -> io::Result<HttpsDoor> {
    door.listener.set_nonblocking(true)?;
    noted.push((protocol, door.listener.local_addr()?, Arc::clone(&door.acceptor)));
    Ok(door)
}
