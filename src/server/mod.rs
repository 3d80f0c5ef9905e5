//! The composition root: sockets, timers and signals of the reactor, and the [`Hub`] that they drive.
//!
//! It owns the order of a turn and who may be read when. It holds no AMQP rule, and looks into no message but for those
//! whom management shows it.
//!
//! | file | owns |
//! |---|---|
//! | `turn` | one turn of the loop after the other |
//! | `hub` | the broker with its connections, without I/O |
//! | `clients`, `rest` | sockets: who is to be read, who rests |
//! | `vestibule` | the thread on which clients shake hands over TLS, and proxies say who is behind them |
//! | `doorkeeper` | who may log in, and the thread that checks passwords |
//! | `desk`, `direct` | where management is answered, and the channel of nobody's on which it asks |
//! | `journal`, `workers`, `restore` | the loop's side of the disk: start, step and stop; who does the work; what came back |
//! | `load_definitions` | what is imported at the start |
//! | `huge_pages`, `freed_memory` | what the system is told of memory |

mod clients;
mod desk;
mod direct;
mod doorkeeper;
mod freed_memory;
mod hub;
mod huge_pages;
mod journal;
mod load_definitions;
mod rest;
mod restore;
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
pub use workers::Workers;

use crate::access::{PasswordHash, Tags};
use crate::allocator;
use crate::broker::NODE_NAME;
use crate::broker::store::Store;
use crate::broker::{Broker, Founding, MessageMemory, PressureLimits, QueueKind, VhostLimits};
use crate::config::{
    self, AuthMechanism, AuthMethod, CertLoginFrom, CertLoginSanType, Config, DefaultQueueType, Identity,
};
use crate::connection::{self, Doorkeeper, Mechanism};
use crate::management::{self, Amount};
use crate::protocol::frame::FRAME_MIN_SIZE;
use crate::reactor::process::{memory_limit_bytes, raise_descriptor_limit};
use crate::reactor::{Clock, Listener, Poller, Signals, Supervisor, Waker};
use crate::storage::{FolderIds, PagerOptions};
use crate::tls::{Acceptor, LoginName, Renewable, SanType};
use crate::token::TOKEN_BYTES_MAX;
use doorkeeper::{
    AtOnce, HttpDoorkeeper, KeyRenewer, PasswordDoorkeeper, PasswordThread, TokenDoorkeeper, signing_keys,
};
use huge_pages::HugePages;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use turn::{Reloaded, Server, Sources, WAKE_TOKEN};
use vestibule::{Gate, Terms, Vestibule};
use workers::Threads;

/// Memory to assume where the system doesn't tell, in bytes.
const ASSUMED_MEMORY_BYTES: u64 = 1 << 30;
/// Messages go to disk before they take one part in so many of the memory that the process can have, whatever is set.
const PAGING_SHARE_OF_MEMORY: usize = 3;
/// One part in so many of the watermark is for what a virtual host knows messages by, where nothing is set.
const DEDUPLICATION_SHARE: usize = 4;

/// Runs the broker until SIGTERM or SIGINT. `salvage` keeps what is whole of a damaged data folder instead of refusing
/// it. `supervisor` is told how it goes. `reload` reads the configuration again, for SIGHUP.
///
/// # Errors
/// When an address can't be listened at, the data folder can't be used, or the system refuses something else that is
/// needed; and when the log fails while the broker runs.
pub fn run(
    config: &Config,
    salvage: bool,
    supervisor: Option<Supervisor>,
    reload: impl Fn() -> Option<Config>,
) -> io::Result<()> {
    let descriptors = raise_descriptor_limit()?;
    let clock = Clock::start();
    let poller = Poller::new()?;
    let signals = Signals::install()?;
    let acceptor = load_acceptor(&config.tls, clock)?;
    let amqps_acceptor = acceptor.clone().map(|acceptor| Arc::new(Renewable::new(acceptor)));
    let listeners = bind_listeners("AMQP", &config.listen)?;
    let tls_listeners = match acceptor {
        Some(_) => bind_listeners("AMQP over TLS", &config.tls_listen)?,
        None => Vec::new(),
    };
    let waker = Waker::new(&poller, WAKE_TOKEN)?;
    let (line, commands) = management::line(waker.clone());
    let management = bind_http("management", "http", config.management_listen)?;
    let management_tls =
        bind_https("management over TLS", config.management_tls_listen, &config.management_tls, clock)?;
    let metrics = config.prometheus.listen.0.map(|address| bind_http("metrics", "http", address)).transpose()?;
    let metrics_tls = bind_https("metrics over TLS", config.prometheus.tls_listen, &config.prometheus.tls, clock)?;
    let shown_over_https = [&management_tls, &metrics_tls].map(|one| one.as_ref().map(|one| Arc::clone(&one.acceptor)));
    let (seed, new_ids) = (random()?, FolderIds::from_chance(random()?));
    let log = OpenedLog::open(config, salvage, new_ids).map_err(io::Error::other)?;
    let mut settings = hub_settings(config, seed, clock.unix_ms() - clock.now_ms());
    let (doorkeeper, key_renewer) = doorkeeper(config, clock, waker.clone())?;
    settings.connection.doorkeeper = doorkeeper;
    let mut hub = Hub::new(settings, log.store(), clock.now_ms());
    hub.broker_mut().watch_ages();
    let disk_free_limit_bytes = config.limits.disk_free_limit_bytes;
    let founding = || {
        // As with RabbitMQ: there is what the file has, and nobody whose password is known.
        if config.definitions().is_some() {
            tracing::info!(target: "general", "creating neither virtual host nor user: definitions are loaded");
            return Ok(None);
        }
        let password = PasswordHash::argon2id(config.default_pass.as_bytes(), random()?);
        // That took 19 MiB, which nothing needs again.
        allocator::give_back();
        Ok(Some(founding(config, password)))
    };
    let addresses = |listeners: &[Listener]| listeners.iter().map(Listener::local_address).collect();
    let (amqp_addresses, amqps_addresses) = (addresses(&listeners), addresses(&tls_listeners));
    let terms =
        Terms { acceptor, proxies: config.proxy_protocol_from.clone(), timeout_ms: config.limits.handshake_timeout_ms };
    let (listeners, vestibule) = open_vestibule(listeners, tls_listeners, terms, clock, &waker)?;
    let journal = log.start(&mut hub, Threads::new(waker), PagerOptions::default(), disk_free_limit_bytes, founding)?;
    if let Some(path) = config.definitions() {
        load_definitions::load(path, hub.broker_mut())?;
    } else {
        tell_unused_defaults(config, hub.broker());
    }
    let MessageMemory { paging_bytes, most_bytes } = message_memory(config);
    let (paging, most) = (paging_bytes >> 20, most_bytes >> 20);
    tracing::info!(target: "general", "messages beyond {paging} MiB wait on disk, memory watermark {most} MiB, {descriptors} descriptors");
    management::start(
        management::Doors { management, management_tls, metrics, metrics_tls },
        line,
        management::Settings {
            node: NODE_NAME.to_owned(),
            chance: Box::new(random),
            amqp_addresses,
            amqps_addresses,
            amqps_acceptor: amqps_acceptor.clone(),
            clock,
            descriptors,
            default_queue_type: default_queue_type(config).unwrap_or(QueueKind::Classic).name(),
            limits: management::Limits {
                connections_max: config.limits.management_connections_max,
                body_max_bytes: config.limits.management_body_max_bytes,
                timeout: Duration::from_millis(config.limits.management_timeout_ms),
                session: Duration::from_secs(config.limits.management_session_s),
            },
            metrics: management::MetricsSettings {
                authentication: config.prometheus.authentication,
                per_object: config.prometheus.return_per_object_metrics,
            },
            configuration: config.told(),
        },
    )?;
    tracing::info!(target: "general", "Leveret {} is ready", env!("CARGO_PKG_VERSION"));
    supervisor.iter().for_each(Supervisor::ready);
    // Only now: what was read from the disk is the better for them.
    let huge_pages = HugePages::forbidden();
    let sources = Sources { poller, listeners, vestibule, signals, clock, huge_pages, supervisor };
    Server::new(sources, hub, journal, Desk::new(commands), config)?.run(|| {
        let config = reload()?;
        let disk_free_limit_bytes = config.limits.disk_free_limit_bytes;
        let acceptor = reload_acceptor(&config.tls, clock);
        if let (Some(told), Some(acceptor)) = (&amqps_acceptor, &acceptor) {
            told.renew(acceptor.clone());
        }
        for (shown, settings) in shown_over_https.iter().zip([&config.management_tls, &config.prometheus.tls]) {
            if let (Some(shown), Some(acceptor)) = (shown, reload_acceptor(settings, clock)) {
                shown.renew(acceptor);
            }
        }
        key_renewer.iter().for_each(|renewer| reload_keys(renewer, &config));
        let slow_turn_ms = config.log.slow_turn_ms;
        Some(Reloaded { message_memory: message_memory(&config), disk_free_limit_bytes, slow_turn_ms, acceptor })
    })
}

/// A doorkeeper with a thread for hashes that take their time, and others for tokens and for a server that is asked over HTTP,
/// where those are. Says what gives it other keys of tokens.
fn doorkeeper(config: &Config, clock: Clock, waker: Waker) -> io::Result<(Box<dyn Doorkeeper>, Option<KeyRenewer>)> {
    let wake = move || {
        // A loop that can't be woken still finds the outcome in its next turn.
        let _ = waker.wake();
    };
    let checker = PasswordThread::start(wake.clone())?;
    let passwords = PasswordDoorkeeper::new(&config.loopback_users, random()?, Box::new(checker));
    let (own, renewer): (Box<dyn Doorkeeper>, _) = match config.auth.asks(AuthMethod::Oauth) {
        false => (Box::new(passwords), None),
        true => {
            let (tokens, renewer) = TokenDoorkeeper::open(config, passwords, random()?, clock, wake.clone())?;
            (Box::new(tokens), Some(renewer))
        }
    };
    if !config.auth.asks(AuthMethod::Http) {
        return Ok((own, renewer));
    }
    let asks_own = config.auth.backends.iter().any(|backend| backend.authn != AuthMethod::Http);
    let keeper = HttpDoorkeeper::open(config, asks_own.then_some(own), random()?, clock, wake)?;
    Ok((Box::new(keeper), renewer))
}

/// The largest frame of a client that has not logged in, in bytes: as with RabbitMQ up to 4.0, or one that holds a token.
fn first_frame_max(config: &Config) -> u32 {
    let takes_tokens = config.auth.asks(AuthMethod::Oauth);
    let for_tokens = if takes_tokens { TOKEN_BYTES_MAX as u32 } else { 0 };
    (FRAME_MIN_SIZE + for_tokens).min(config.limits.frame_max_bytes)
}

/// The listeners that the loop has, and the vestibule, if there is somebody who has to pass it.
fn open_vestibule(
    listeners: Vec<Listener>,
    tls_listeners: Vec<Listener>,
    terms: Terms,
    clock: Clock,
    loop_waker: &Waker,
) -> io::Result<(Vec<Listener>, Option<Vestibule>)> {
    let (own, behind_proxies) =
        if terms.proxies.is_empty() { (listeners, Vec::new()) } else { (Vec::new(), listeners) };
    let gate = |is_encrypted| move |listener| Gate { listener, is_encrypted };
    let gates: Vec<Gate> =
        behind_proxies.into_iter().map(gate(false)).chain(tls_listeners.into_iter().map(gate(true))).collect();
    let vestibule = match gates.is_empty() {
        true => None,
        false => Some(Vestibule::open(gates, terms, clock, loop_waker.clone())?),
    };
    Ok((own, vestibule))
}

/// What clients are shown over TLS. `None` when that is off.
fn load_acceptor(settings: &config::Tls, clock: Clock) -> io::Result<Option<Acceptor>> {
    if !settings.is_on() {
        return Ok(None);
    }
    #[allow(clippy::disallowed_methods, reason = "certificates and keys, at the start and when they are read again")]
    let files = |path: &Path| std::fs::read(path);
    let acceptor = Acceptor::load(settings, &files, clock.unix_ms() / 1000);
    acceptor.map(Some).map_err(|error| io::Error::other(format!("TLS: {error}")))
}

/// The same, while clients are there. `None`: what they are shown stays as it is.
fn reload_acceptor(settings: &config::Tls, clock: Clock) -> Option<Acceptor> {
    load_acceptor(settings, clock).unwrap_or_else(|error| {
        tracing::error!(target: "general", "certificates not read again, those from before are shown on: {error}");
        None
    })
}

/// Has tokens checked with the keys that are in the files now, and with those that are published now.
fn reload_keys(renewer: &KeyRenewer, config: &Config) {
    match signing_keys(&config.oauth) {
        Ok(keys) => renewer.renew(keys),
        Err(error) => {
            tracing::error!(target: "auth", "keys not read again, those from before are good on: {error}");
        }
    }
}

/// What nobody can guess: the seed of the program's names, and who a new data folder is.
fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    #[allow(clippy::disallowed_methods, reason = "the one source of chance")]
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// Listens, at every address but those of a family that this machine lacks.
fn bind_listeners(what_for: &str, addresses: &[SocketAddr]) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = match Listener::bind(*address) {
            Err(error) if is_dispensable(*address, addresses, &error) => {
                tracing::info!(target: "general", "not listening at {address}: this machine has no IPv6");
                continue;
            }
            bound => {
                bound.map_err(|error| io::Error::new(error.kind(), format!("can't listen at {address}: {error}")))?
            }
        };
        tracing::info!(target: "general", "listening for {what_for} at {}", listener.local_address());
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Whether the others will do: `[::]` stands for all IPv6 addresses there are, and where there are none, those who
/// connect come to an IPv4 one.
fn is_dispensable(address: SocketAddr, addresses: &[SocketAddr], error: &io::Error) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
        && addresses.iter().any(SocketAddr::is_ipv4)
        && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Listens for what HTTP is for before anything is served: half a broker is worse than none.
#[allow(clippy::disallowed_methods, reason = "the management thread's runtime takes a plain listener")]
fn bind_http(purpose: &str, scheme: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen for {purpose} at {address}: {error}")))?;
    tracing::info!(target: "general", "listening for {purpose} at {scheme}://{}", listener.local_addr()?);
    Ok(listener)
}

/// The same over TLS, if there are certificates for it.
fn bind_https(
    purpose: &str,
    address: SocketAddr,
    settings: &config::Tls,
    clock: Clock,
) -> io::Result<Option<management::HttpsDoor>> {
    let Some(acceptor) = load_acceptor(settings, clock)? else { return Ok(None) };
    let listener = bind_http(purpose, "https", address)?;
    Ok(Some(management::HttpsDoor { listener, acceptor: Arc::new(Renewable::new(acceptor)) }))
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

/// Says so where somebody chose what a new data folder gets, and this one has something else already.
fn tell_unused_defaults<S: Store>(config: &Config, broker: &Broker<S>) {
    let defaults = Config::default();
    if config.default_user != defaults.default_user && broker.find_user(config.default_user.as_bytes()).is_none() {
        tracing::warn!(
            target: "general",
            "there is no user '{}': default_user is for a new data folder, and this one has users",
            config.default_user
        );
    }
    if config.default_vhost != defaults.default_vhost && broker.vhost_named(config.default_vhost.as_bytes()).is_none() {
        tracing::warn!(
            target: "general",
            "there is no virtual host '{}': default_vhost is for a new data folder, and this one has virtual hosts",
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
            cluster_name: NODE_NAME.to_owned(),
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

/// `None`: as AMQP has it.
fn default_queue_type(config: &Config) -> Option<QueueKind> {
    match config.default_queue_type {
        DefaultQueueType::Classic => None,
        DefaultQueueType::Quorum => Some(QueueKind::Quorum),
    }
}
