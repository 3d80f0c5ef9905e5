//! What stands as long as the process does: the clock, the poll, listeners, certificates, management's thread.
//!
//! It is opened before anything is served, so that half a broker is never there, and has no part in what is served.

use super::Renewers;
use super::doorkeeper::{DoorkeeperFiles, ReadAgain};
use super::huge_pages::HugePages;
use super::turn::{Door, Reloaded, Sources, WAKE_TOKEN, Way};
use super::vestibule::{Gate, Terms, Vestibule};
use super::{default_queue_type, message_memory, node_name, random};
use crate::broker::{MessageMemory, QueueKind};
use crate::config::{self, Config};
use crate::management::{self, Command};
use crate::reactor::process::raise_descriptor_limit;
use crate::reactor::{Clock, Listener, Poller, Signals, Supervisor, Waker};
use crate::tls::{Acceptor, Renewable};
use std::cell::{Ref, RefCell};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Clients that other nodes pass to management.
pub type PassedClients = tokio::sync::mpsc::Receiver<management::PassedClient>;

pub struct House {
    pub clock: Clock,
    pub waker: Waker,
    pub descriptors: u64,
    poller: Poller,
    signals: Signals,
    listeners: Vec<Listener>,
    tls_listeners: Vec<Listener>,
    amqp_addresses: Vec<SocketAddr>,
    amqps_addresses: Vec<SocketAddr>,
    /// Where HTTP is spoken, until that is served.
    http_doors: Option<management::Doors>,
    renewal: Renewal,
}

/// What can be given other settings while the process runs.
#[derive(Clone)]
pub struct Renewal {
    clock: Clock,
    amqps_acceptor: Option<Arc<Renewable>>,
    /// Of the management interface, and of metrics.
    shown_over_https: [Option<Arc<Renewable>>; 2],
    doorkeeper_files: Rc<RefCell<DoorkeeperFiles>>,
}

impl House {
    /// Listens wherever the settings say.
    ///
    /// # Errors
    /// Somebody else listens there, certificates don't do, or the system refuses something else that is needed.
    pub fn open(config: &Config) -> io::Result<Self> {
        let descriptors = raise_descriptor_limit()?;
        let clock = Clock::start();
        let poller = Poller::new()?;
        let signals = Signals::install()?;
        let acceptor = load_acceptor(&config.tls, clock)?;
        let amqps_acceptor = acceptor.map(|acceptor| Arc::new(Renewable::new(acceptor)));
        let doorkeeper_files = Rc::new(RefCell::new(DoorkeeperFiles::read(config)?));
        let listeners = bind_listeners("AMQP", &config.listen)?;
        let tls_listeners = match amqps_acceptor {
            Some(_) => bind_listeners("AMQP over TLS", &config.tls_listen)?,
            None => Vec::new(),
        };
        let waker = Waker::new(&poller, WAKE_TOKEN)?;
        let management = bind_http("management", "http", config.management_listen)?;
        let management_tls =
            bind_https("management over TLS", config.management_tls_listen, &config.management_tls, clock)?;
        let metrics = config.prometheus.listen.0.map(|address| bind_http("metrics", "http", address)).transpose()?;
        let metrics_tls = bind_https("metrics over TLS", config.prometheus.tls_listen, &config.prometheus.tls, clock)?;
        let shown_over_https =
            [&management_tls, &metrics_tls].map(|one| one.as_ref().map(|one| Arc::clone(&one.acceptor)));
        let addresses = |listeners: &[Listener]| listeners.iter().map(Listener::local_address).collect();
        Ok(Self {
            clock,
            waker,
            descriptors,
            poller,
            signals,
            amqp_addresses: addresses(&listeners),
            amqps_addresses: addresses(&tls_listeners),
            listeners,
            tls_listeners,
            http_doors: Some(management::Doors { management, management_tls, metrics, metrics_tls, passed: None }),
            renewal: Renewal { clock, amqps_acceptor, shown_over_https, doorkeeper_files },
        })
    }

    /// The doors that the loop has, and the vestibule, if there is somebody who has to pass it.
    pub fn open_vestibule(&mut self, config: &Config) -> io::Result<(Vec<Door>, Option<Vestibule>)> {
        let terms = self.renewal.terms(config);
        let (listeners, tls_listeners) = (std::mem::take(&mut self.listeners), std::mem::take(&mut self.tls_listeners));
        let (own, behind_proxies) =
            if terms.proxies.is_empty() { (listeners, Vec::new()) } else { (Vec::new(), listeners) };
        let gate = |is_encrypted| move |listener| Gate { listener, is_encrypted };
        let gates: Vec<Gate> =
            behind_proxies.into_iter().map(gate(false)).chain(tls_listeners.into_iter().map(gate(true))).collect();
        let vestibule = match gates.is_empty() {
            true => None,
            false => Some(Vestibule::open(gates, terms, self.clock, self.waker.clone())?),
        };
        let door = |listener| Door { listener, way: Way::Straight };
        Ok((own.into_iter().map(door).collect(), vestibule))
    }

    /// All doors, for a loop that has the vestibule beside it and not before it.
    pub fn take_doors(&mut self, config: &Config) -> Vec<Door> {
        let (listeners, tls_listeners) = (std::mem::take(&mut self.listeners), std::mem::take(&mut self.tls_listeners));
        let way = match config.proxy_protocol_from.is_empty() {
            true => Way::Straight,
            false => Way::ByVestibule { is_encrypted: false },
        };
        let plain = listeners.into_iter().map(|listener| Door { listener, way });
        let by_tls = Way::ByVestibule { is_encrypted: true };
        plain.chain(tls_listeners.into_iter().map(|listener| Door { listener, way: by_tls })).collect()
    }

    /// What the doorkeeper is to have from files.
    pub fn doorkeeper_files(&self) -> Ref<'_, DoorkeeperFiles> {
        self.renewal.doorkeeper_files.borrow()
    }

    pub fn renewal(&self) -> Renewal {
        self.renewal.clone()
    }

    /// Serves HTTP from now on, on a thread of its own. What it wants of the loop comes out there. `cluster` is what a node
    /// of one knows of it, with where clients of others come in.
    pub fn start_management(
        &mut self,
        config: &Config,
        cluster: Option<(Arc<dyn management::Cluster>, PassedClients)>,
    ) -> io::Result<Receiver<Command>> {
        let MessageMemory { paging_bytes, most_bytes } = message_memory(config);
        let (paging, most, descriptors) = (paging_bytes >> 20, most_bytes >> 20, self.descriptors);
        tracing::info!(target: "general", "messages beyond {paging} MiB wait on disk, memory watermark {most} MiB, {descriptors} descriptors");
        let (line, commands) = management::line(self.waker.clone());
        let (cluster, passed) = cluster.unzip();
        let doors = self.http_doors.take().expect("management is started once");
        management::start(
            management::Doors { passed, ..doors },
            line,
            management::Settings {
                node: node_name(config).to_owned(),
                chance: Box::new(random),
                amqp_addresses: self.amqp_addresses.clone(),
                amqps_addresses: self.amqps_addresses.clone(),
                amqps_acceptor: self.renewal.amqps_acceptor.clone(),
                clock: self.clock,
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
                cluster,
            },
        )?;
        Ok(commands)
    }

    /// What the loop has of it, and what is given other settings meanwhile.
    pub fn into_sources(
        self,
        doors: Vec<Door>,
        vestibule: Option<Vestibule>,
        supervisor: Option<Supervisor>,
    ) -> io::Result<(Sources, Renewal)> {
        let Self { poller, signals, clock, renewal, .. } = self;
        // Only now: what was read from the disk is the better for them.
        let huge_pages = HugePages::forbidden();
        let mut sources = Sources { poller, doors, vestibule, signals, clock, huge_pages, supervisor };
        sources.register()?;
        Ok((sources, renewal))
    }
}

impl Renewal {
    /// What is asked of clients before they speak AMQP, as it is now.
    pub fn terms(&self, config: &Config) -> Terms {
        Terms {
            acceptor: self.amqps_acceptor.as_ref().map(|acceptor| acceptor.current()),
            proxies: config.proxy_protocol_from.clone(),
            timeout_ms: config.limits.handshake_timeout_ms,
        }
    }

    /// What a doorkeeper is to have from files as they are now. What is broken stays as it was.
    pub fn doorkeeper_files_again(&self, config: &Config) -> Ref<'_, DoorkeeperFiles> {
        self.doorkeeper_files.borrow_mut().read_again(config);
        self.doorkeeper_files.borrow()
    }

    /// Takes over what of these settings can be taken over while clients are there. The rest is the loop's to do.
    pub fn reloaded(&self, config: &Config, renewers: &Renewers) -> Reloaded {
        let acceptor = reload_acceptor(&config.tls, self.clock);
        if let (Some(told), Some(acceptor)) = (&self.amqps_acceptor, &acceptor) {
            told.renew(acceptor.clone());
        }
        for (shown, settings) in self.shown_over_https.iter().zip([&config.management_tls, &config.prometheus.tls]) {
            if let (Some(shown), Some(acceptor)) = (shown, reload_acceptor(settings, self.clock)) {
                shown.renew(acceptor);
            }
        }
        let ReadAgain { keys, tokens, http } = self.doorkeeper_files.borrow_mut().read_again(config);
        if let (Some(renewer), Some(trust)) = (&renewers.keys, tokens) {
            renewer.renew_trust(trust);
        }
        if let (Some(renewer), Some(keys)) = (&renewers.keys, keys) {
            renewer.renew(keys);
        }
        if let (Some(renewer), Some(trust)) = (&renewers.http, http) {
            renewer.renew(trust);
        }
        Reloaded {
            message_memory: message_memory(config),
            disk_free_limit_bytes: config.limits.disk_free_limit_bytes,
            slow_turn_ms: config.log.slow_turn_ms,
            acceptor,
        }
    }
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
