//! The composition root: sockets, timers and signals of the reactor, and the [`Hub`] that they drive.
//!
//! It owns the order of a turn and who may be read when. It holds no AMQP rule, and looks into no message but for those
//! whom management shows it.
//!
//! | file | owns |
//! |---|---|
//! | `house` | what stands as long as the process: listeners, certificates, management's thread |
//! | `clustered`, `member`, `seat` | a node of a cluster: its life, who agrees with others, and what that and the loop say |
//! | `helm` | which thread that is just now |
//! | `cluster_view`, `standing` | what management sees of a cluster, and what a node remembers of it |
//! | `follower`, `addresses` | the loop while another node leads, and where that is |
//! | `turn` | one turn of the loop after the other |
//! | `hub` | the broker with its connections, without I/O |
//! | `accepting` | doors, and when clients are let in at them |
//! | `clients`, `rest` | sockets: who is to be read, who rests |
//! | `vestibule` | the thread on which clients shake hands over TLS, and proxies say who is behind them |
//! | `doorkeeper` | who may log in, and the thread that checks passwords |
//! | `desk`, `direct` | where management is answered, and the channel of nobody's on which it asks |
//! | `alarms` | what the log says of resources that are low |
//! | `journal`, `workers`, `restore` | the loop's side of the disk: start, step and stop; who does the work; what came back |
//! | `load_definitions`, `founding_definitions` | what is imported at the start, and when a cluster is founded |
//! | `huge_pages`, `freed_memory` | what the system is told of memory |

mod accepting;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod addresses;
mod alarms;
mod clients;
mod cluster_id;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod cluster_view;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod clustered;
mod desk;
mod direct;
mod doorkeeper;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod follower;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod founding_definitions;
mod freed_memory;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod helm;
mod house;
mod hub;
mod huge_pages;
mod journal;
mod load_definitions;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod member;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod node_folder;
mod rejoins;
mod rest;
mod restore;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod scrub;
mod seat;
mod standing;
mod turn;
mod vestibule;
mod workers;

#[cfg(test)]
mod deadline_tests;
#[cfg(test)]
mod eviction_tests;
#[cfg(test)]
mod judged_tests;
#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;
#[cfg(test)]
mod waiting_tests;

pub use desk::Desk;
pub use hub::{DiskRoom, Hub, HubSettings, MayRead, Resources, TurnStart, WhoIsIt};
pub use journal::{Failure, Journal, OpenedLog};
pub use rejoins::Rejoins;
pub use workers::Workers;

use crate::access::{PasswordHash, Tags};
use crate::allocator;
use crate::broker::NODE_NAME;
use crate::broker::store::Store;
use crate::broker::{Broker, Founding, MessageMemory, PressureLimits, QueueKind, VhostLimits};
use crate::config::{AuthMechanism, AuthMethod, CertLoginFrom, CertLoginSanType, Config, DefaultQueueType, Identity};
use crate::connection::{self, Doorkeeper, Mechanism};
use crate::management::Amount;
use crate::peers::ClusterSecret;
use crate::protocol::frame::FRAME_MIN_SIZE;
use crate::reactor::process::memory_limit_bytes;
use crate::reactor::{Clock, Supervisor, Waker};
use crate::storage::{FolderIds, LogStore, PagerOptions};
use crate::tls::{LoginName, SanType};
use crate::token::TOKEN_BYTES_MAX;
use doorkeeper::{
    AtOnce, DoorkeeperFiles, FilesRenewer, HttpDoorkeeper, KeyRenewer, PasswordDoorkeeper, PasswordThread,
    TokenDoorkeeper,
};
use house::House;
use std::io;
use turn::Server;
use workers::Threads;

/// Memory to assume where the system doesn't tell, in bytes.
const ASSUMED_MEMORY_BYTES: u64 = 1 << 30;
/// Messages go to disk before they take one part in so many of the memory that the process can have, whatever is set.
const PAGING_SHARE_OF_MEMORY: usize = 3;
/// One part in so many of the watermark is for what a virtual host knows messages by, where nothing is set.
const DEDUPLICATION_SHARE: usize = 4;

/// How the broker is started, beside what the settings say.
#[derive(Clone, Copy, Default, Debug)]
pub struct Beginning {
    /// Keeps what is whole of a damaged data folder instead of refusing it.
    pub salvages: bool,
    /// It is a node of a cluster that is in maintenance, until somebody says otherwise.
    pub is_drained: bool,
}

/// Runs the broker until SIGTERM or SIGINT. `supervisor` is told how it goes. `reload` reads the configuration again, for SIGHUP.
///
/// # Errors
/// When an address can't be listened at, the data folder can't be used, or the system refuses something else that is
/// needed; and when the log fails while the broker runs. [`Rejoins`] says that a node of a cluster is to be started again.
pub fn run(
    config: &Config,
    beginning: Beginning,
    supervisor: Option<Supervisor>,
    reload: impl Fn() -> Option<Config>,
) -> io::Result<()> {
    let mut house = House::open(config)?;
    #[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
    if config.cluster.is_on() {
        return clustered::run(house, config, beginning, supervisor, reload);
    }
    let log = OpenedLog::open(config, beginning.salvages, new_ids()?).map_err(io::Error::other)?;
    let (mut hub, renewers) = new_hub(config, &house.doorkeeper_files(), house.clock, &house.waker, log.store())?;
    let (doors, vestibule) = house.open_vestibule(config)?;
    let (pages, disk_free_limit_bytes) = (PagerOptions::default(), config.limits.disk_free_limit_bytes);
    let workers = Threads::new(house.waker.clone());
    let cluster = log.recovered.cluster();
    let journal = log.start(&mut hub, workers, pages, disk_free_limit_bytes, || first_of_all(config))?;
    import_definitions(config, &mut hub)?;
    cluster_id::seed(hub.broker_mut(), cluster);
    let commands = house.start_management(config, None)?;
    tracing::info!(target: "general", "Leveret {} is ready", env!("CARGO_PKG_VERSION"));
    supervisor.iter().for_each(Supervisor::ready);
    let (sources, renewal) = house.into_sources(doors, vestibule, supervisor)?;
    let server = Server::new(sources, hub, journal, Desk::new(commands), config);
    server.run(|| Some(renewal.reloaded(&reload()?, &renewers)))?;
    Ok(())
}

/// Says whether a start by whoever asks would be refused for the file of a cluster's secret, which settings only name.
///
/// # Errors
/// It would.
pub fn check_secret(config: &Config) -> io::Result<()> {
    match config.cluster.is_on() {
        true => ClusterSecret::load(&config.cluster.secret_file).map(|_| ()),
        false => Ok(()),
    }
}

/// A hub that has nothing yet, with a doorkeeper; and what gives that other keys of tokens.
fn new_hub(
    config: &Config,
    files: &DoorkeeperFiles,
    clock: Clock,
    waker: &Waker,
    store: LogStore,
) -> io::Result<(Hub<LogStore>, Renewers)> {
    let mut settings = hub_settings(config, random()?, clock.unix_start_ms());
    let (doorkeeper, renewers) = doorkeeper(config, files, clock, waker.clone())?;
    settings.connection.doorkeeper = doorkeeper;
    let mut hub = Hub::new(settings, store, clock.now_ms());
    hub.broker_mut().watch_ages();
    Ok((hub, renewers))
}

/// Whose a data folder is that has nothing yet.
fn new_ids() -> io::Result<FolderIds> {
    Ok(FolderIds::from_chance(random()?))
}

/// What a log gets that has neither virtual host nor user.
fn first_of_all(config: &Config) -> io::Result<Option<Founding>> {
    // As with RabbitMQ: there is what the file has, and nobody whose password is known.
    if config.definitions().is_some() {
        tracing::info!(target: "general", "creating neither virtual host nor user: definitions are loaded");
        return Ok(None);
    }
    let password = PasswordHash::argon2id(config.default_pass.as_bytes(), random()?);
    // That took 19 MiB, which nothing needs again.
    allocator::give_back();
    Ok(Some(founding(config, password)))
}

fn import_definitions(config: &Config, hub: &mut Hub<LogStore>) -> io::Result<()> {
    match config.definitions() {
        Some(path) => load_definitions::load(path, hub.broker_mut()),
        None => {
            tell_unused_defaults(config, hub.broker());
            Ok(())
        }
    }
}

/// What gives doorkeepers what was read from files again.
#[derive(Default)]
struct Renewers {
    keys: Option<KeyRenewer>,
    http: Option<FilesRenewer>,
}

/// A doorkeeper with a thread for hashes that take their time, and others for tokens and for a server that is asked over HTTP,
/// where those are. Says what gives it other keys of tokens, and other things to know that server by.
fn doorkeeper(
    config: &Config,
    files: &DoorkeeperFiles,
    clock: Clock,
    waker: Waker,
) -> io::Result<(Box<dyn Doorkeeper>, Renewers)> {
    let wake = move || {
        // A loop that can't be woken still finds the outcome in its next turn.
        let _ = waker.wake();
    };
    let checker = PasswordThread::start(wake.clone())?;
    let passwords = PasswordDoorkeeper::new(&config.loopback_users, random()?, Box::new(checker));
    let (own, keys): (Box<dyn Doorkeeper>, _) = match files.of_tokens() {
        None => (Box::new(passwords), None),
        Some(known) => {
            let (tokens, renewer) = TokenDoorkeeper::open(config, known, passwords, random()?, clock, wake.clone())?;
            (Box::new(tokens), Some(renewer))
        }
    };
    let Some(trust) = files.of_http() else { return Ok((own, Renewers { keys, http: None })) };
    let asks_own = config.auth.backends.iter().any(|backend| backend.authn != AuthMethod::Http);
    let (keeper, http) = HttpDoorkeeper::open(config, trust, asks_own.then_some(own), random()?, clock, wake)?;
    Ok((Box::new(keeper), Renewers { keys, http: Some(http) }))
}

/// The largest frame of a client that has not logged in, in bytes: as with RabbitMQ up to 4.0, or one that holds a token.
fn first_frame_max(config: &Config) -> u32 {
    let takes_tokens = config.auth.asks(AuthMethod::Oauth);
    let for_tokens = if takes_tokens { TOKEN_BYTES_MAX as u32 } else { 0 };
    (FRAME_MIN_SIZE + for_tokens).min(config.limits.frame_max_bytes)
}

/// What nobody can guess: the seed of the program's names, and who a new data folder is.
fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    #[allow(clippy::disallowed_methods, reason = "the one source of chance")]
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// The memory that the process can have.
fn available_bytes() -> u64 {
    memory_limit_bytes().unwrap_or(ASSUMED_MEMORY_BYTES)
}

fn bytes_of(amount: Amount) -> u64 {
    match amount {
        Amount::Bytes(bytes) => bytes,
        Amount::OfMemory(share) => (available_bytes() as f64 * share) as u64,
    }
}

fn message_memory(config: &Config) -> MessageMemory {
    let available = available_bytes();
    let most_bytes = usize::try_from(config.limits.memory_watermark.bytes_of(available)).unwrap_or(usize::MAX);
    let share = usize::try_from(available).unwrap_or(usize::MAX) / PAGING_SHARE_OF_MEMORY;
    MessageMemory { paging_bytes: config.limits.message_memory_bytes.min(share), most_bytes }
}

/// What a data folder has that nobody used yet.
pub fn founding(config: &Config, password: PasswordHash) -> Founding {
    Founding {
        vhost: config.default_vhost.clone(),
        user: config.default_user.clone(),
        password,
        tags: Tags::administrator(),
    }
}

/// Says so where somebody chose what a new data folder gets, or a new cluster, and this one has something else already.
fn tell_unused_defaults<S: Store>(config: &Config, broker: &Broker<S>) {
    let defaults = Config::default();
    let new = if config.cluster.is_on() { "cluster" } else { "data folder" };
    if config.default_user != defaults.default_user && broker.find_user(config.default_user.as_bytes()).is_none() {
        tracing::warn!(
            target: "general",
            "there is no user '{}': default_user is for a new {new}, and this one has users",
            config.default_user
        );
    }
    if config.default_vhost != defaults.default_vhost && broker.vhost_named(config.default_vhost.as_bytes()).is_none() {
        tracing::warn!(
            target: "general",
            "there is no virtual host '{}': default_vhost is for a new {new}, and this one has virtual hosts",
            config.default_vhost
        );
    }
}

/// [`founding`] with a hash that takes no time: for brokers that nobody attacks.
pub fn quick_founding(config: &Config) -> Founding {
    founding(config, PasswordHash::salted_sha256(config.default_pass.as_bytes(), [0; 4]))
}

/// Where in a client's certificate its user's name is.
fn certificate_name(config: &Config) -> LoginName {
    match config.ssl_cert_login_from {
        CertLoginFrom::CommonName => LoginName::CommonName,
        CertLoginFrom::DistinguishedName => LoginName::DistinguishedName,
        CertLoginFrom::SubjectAlternativeName => {
            let of = match config.ssl_cert_login_san_type {
                CertLoginSanType::Dns => SanType::Dns,
                CertLoginSanType::Ip => SanType::Ip,
                CertLoginSanType::Email => SanType::Email,
                CertLoginSanType::Uri => SanType::Uri,
                CertLoginSanType::OtherName => SanType::Other,
            };
            LoginName::AlternativeName { of, index: config.ssl_cert_login_san_index }
        }
    }
}

fn mechanism_of(configured: AuthMechanism) -> Mechanism {
    match configured {
        AuthMechanism::Plain => Mechanism::Plain,
        AuthMechanism::Amqplain => Mechanism::Amqplain,
        AuthMechanism::External => Mechanism::External,
        AuthMechanism::RabbitCrDemo => Mechanism::RabbitCrDemo,
    }
}

/// What the hub is made with, from the configuration. `unix_start_ms` is the time at the zero of the hub's clock. Its
/// doorkeeper checks passwords on the caller's time: [`run`] has another.
pub fn hub_settings(config: &Config, seed: [u8; 32], unix_start_ms: u64) -> HubSettings {
    let limits = &config.limits;
    HubSettings {
        connection: connection::Settings {
            identity: match config.identity {
                Identity::Leveret => connection::Identity::Leveret,
                Identity::Rabbitmq => connection::Identity::RabbitMq,
            },
            cluster_name: if config.cluster.is_on() { &config.cluster.name } else { NODE_NAME }.to_owned(),
            mechanisms: config.auth_mechanisms.iter().map(|mechanism| mechanism_of(*mechanism)).collect(),
            certificate_name: certificate_name(config),
            doorkeeper: Box::new(PasswordDoorkeeper::new(&config.loopback_users, seed, Box::new(AtOnce::default()))),
            channel_max: limits.channel_max,
            first_frame_max: first_frame_max(config),
            frame_max: limits.frame_max_bytes,
            message_size_max: limits.message_size_max_bytes,
            heartbeat_s: limits.heartbeat_s,
            handshake_timeout_ms: limits.handshake_timeout_ms,
            authentication_failure_delay_ms: limits.authentication_failure_delay_ms,
        },
        broker: crate::broker::Settings {
            node_name: node_name(config).into(),
            seed,
            unix_start_ms,
            vhost_limits: VhostLimits {
                queues_max: limits.queues_max,
                exchanges_max: limits.exchanges_max,
                bindings_max: limits.bindings_max,
                consumers_max: limits.consumers_max,
                deduplication_max_bytes: match limits.deduplication_memory_bytes {
                    0 => message_memory(config).most_bytes / DEDUPLICATION_SHARE,
                    bytes => bytes,
                },
            },
            event_vhost: config.event_exchange.then(|| config.default_vhost.as_str().into()),
            default_queue_type: default_queue_type(config),
            transaction_max_bytes: limits.transaction_max_bytes,
            consumer_timeout_ms: Some(config.consumer_timeout_ms).filter(|timeout_ms| *timeout_ms > 0),
            message_memory: message_memory(config),
        },
        outbox_high_water_bytes: limits.outbox_high_water_bytes,
        pressure: PressureLimits {
            backlog_messages: limits.queue_backlog_soft_limit_messages,
            floor_messages_per_s: limits.publisher_floor_messages_per_s,
        },
    }
}

/// What this node is called.
fn node_name(config: &Config) -> &str {
    if config.cluster.is_on() { &config.cluster.node } else { NODE_NAME }
}

/// `None`: as AMQP has it.
fn default_queue_type(config: &Config) -> Option<QueueKind> {
    match config.default_queue_type {
        DefaultQueueType::Classic => None,
        DefaultQueueType::Quorum => Some(QueueKind::Quorum),
    }
}
