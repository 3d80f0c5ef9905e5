//! Settings, their defaults and their limits.
//!
//! A setting comes from the command line, else from the environment, else from the configuration file, else from the
//! default here. [`Config::load`] reads nothing but the file it is given, and those of RabbitMQ's beside it: the environment
//! is a function argument. A file that misspells a key or leaves a value's range is refused with the place and the reason;
//! what of RabbitMQ's settings means nothing here is told.

mod auth;
mod cluster;
mod error;
mod layers;
mod limits;
mod log;
mod network;
mod prometheus;
mod rabbitmq_auth;
mod rabbitmq_conf;
mod rabbitmq_keys;
mod tls;
mod values;

pub use auth::{Auth, AuthBackend, AuthMethod, HttpAuth, HttpMethod, Oauth};
pub use cluster::{CLUSTER_PORT, Cluster};
pub use error::ConfigError;
pub use layers::{Origin, nearest_variable};
pub use limits::Limits;
pub use log::{CategoryLevel, CategoryLevels, Log, LogFormat};
pub use network::Network;
pub use prometheus::{MetricsAddress, Prometheus};
pub use tls::{CertLoginFrom, CertLoginSanType, CertificateFiles, Tls, TlsVersion, Verify};
pub use values::{AuthMechanism, DefaultQueueType, Durability, Identity, LogLevel, MemoryWatermark, Secret};

use layers::Assignment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The port of AMQP without TLS.
pub const AMQP_PORT: u16 = 5672;
/// The port of AMQP over TLS.
pub const AMQPS_PORT: u16 = 5671;
/// The port of RabbitMQ's management plugin.
pub const MANAGEMENT_PORT: u16 = 15672;
/// The same over TLS.
pub const MANAGEMENT_TLS_PORT: u16 = 15671;

/// The port of RabbitMQ's Prometheus plugin.
pub const PROMETHEUS_PORT: u16 = 15692;
/// The same over TLS.
pub const PROMETHEUS_TLS_PORT: u16 = 15691;

/// Everything that can be set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where AMQP clients connect. Never empty, unless they connect over TLS.
    pub listen: Vec<SocketAddr>,
    /// Where AMQP clients connect over TLS, if there is a certificate.
    pub tls_listen: Vec<SocketAddr>,
    /// Proxies that say before anything else, in a header of the PROXY protocol, who their clients are.
    pub proxy_protocol_from: Vec<Network>,
    /// Where the management interface listens.
    pub management_listen: SocketAddr,
    /// Where it listens over TLS, if there is a certificate for it.
    pub management_tls_listen: SocketAddr,
    /// The folder of everything that is kept.
    pub data_dir: PathBuf,
    /// What a publisher confirm waits for.
    pub durability: Durability,
    /// Which product clients are told they are talking to.
    pub identity: Identity,
    /// The user that a data folder gets that has none.
    pub default_user: String,
    /// Its password.
    pub default_pass: Secret,
    /// The virtual host that such a folder gets.
    pub default_vhost: String,
    /// A file of definitions that is imported at every start, or a folder of such files; by a cluster when it is founded. A data
    /// folder that has no user and no virtual host then gets none but theirs. Empty: none.
    pub load_definitions: PathBuf,
    /// Whether that one has `amq.rabbitmq.event`, an exchange that tells what happens.
    pub event_exchange: bool,
    /// Of which type a queue is that doesn't say, in a virtual host that doesn't say either.
    pub default_queue_type: DefaultQueueType,
    /// The users that may connect from this machine only.
    pub loopback_users: Vec<String>,
    /// How clients may say who they are, in the order in which that is offered. Never empty.
    pub auth_mechanisms: Vec<AuthMechanism>,
    /// How long the loop asks for something to do before it sleeps.
    pub busy_poll_us: u64,
    /// How long a delivery may be unacknowledged, where its queue doesn't say; 0 for as long as it likes.
    pub consumer_timeout_ms: u64,
    /// The name of which user is in a client's certificate, for the mechanism EXTERNAL.
    pub ssl_cert_login_from: CertLoginFrom,
    /// Which alternative names count there, and which of those.
    pub ssl_cert_login_san_type: CertLoginSanType,
    pub ssl_cert_login_san_index: usize,
    /// AMQP over TLS.
    pub tls: Tls,
    /// The management interface over TLS.
    pub management_tls: Tls,
    /// What Prometheus scrapes.
    pub prometheus: Prometheus,
    /// What is logged, how and where.
    pub log: Log,
    /// Who says who somebody is.
    pub auth: Auth,
    /// Which tokens are good.
    pub oauth: Oauth,
    /// The nodes that keep one log.
    pub cluster: Cluster,
    /// Bounds on what clients may take.
    pub limits: Limits,
}

/// What the command line sets; whatever it leaves out stays as it was.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Overrides {
    /// Replaces all addresses when there are any.
    pub listen: Vec<SocketAddr>,
    /// Replaces all addresses of TLS when there are any.
    pub tls_listen: Vec<SocketAddr>,
    pub management_listen: Option<SocketAddr>,
    pub prometheus_listen: Option<MetricsAddress>,
    pub data_dir: Option<PathBuf>,
    pub log_level: Option<LogLevel>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Both families: `localhost` is ::1 first to many clients.
            listen: vec![(Ipv4Addr::UNSPECIFIED, AMQP_PORT).into(), (Ipv6Addr::UNSPECIFIED, AMQP_PORT).into()],
            tls_listen: vec![(Ipv4Addr::UNSPECIFIED, AMQPS_PORT).into(), (Ipv6Addr::UNSPECIFIED, AMQPS_PORT).into()],
            proxy_protocol_from: Vec::new(),
            management_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), MANAGEMENT_PORT),
            management_tls_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), MANAGEMENT_TLS_PORT),
            data_dir: PathBuf::from("./leveret-data"),
            durability: Durability::Always,
            identity: Identity::Leveret,
            default_user: "guest".to_owned(),
            default_pass: "guest".into(),
            default_vhost: "/".to_owned(),
            load_definitions: PathBuf::new(),
            event_exchange: false,
            default_queue_type: DefaultQueueType::Classic,
            loopback_users: vec!["guest".to_owned()],
            auth_mechanisms: vec![AuthMechanism::Plain, AuthMechanism::Amqplain],
            busy_poll_us: 0,
            consumer_timeout_ms: 0,
            ssl_cert_login_from: CertLoginFrom::DistinguishedName,
            ssl_cert_login_san_type: CertLoginSanType::Dns,
            ssl_cert_login_san_index: 0,
            tls: Tls::default(),
            management_tls: Tls::default(),
            prometheus: Prometheus::default(),
            log: Log::default(),
            auth: Auth::default(),
            oauth: Oauth::default(),
            cluster: Cluster::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// A line for each setting: the key, and its value as in TOML, but for secrets.
    pub fn told(&self) -> String {
        let line = |(key, value): (String, toml::Value)| {
            let value = layers::shown(&key, &value.to_string());
            format!("{key} = {value}\n")
        };
        layers::flat(self).into_iter().map(line).collect()
    }

    /// The settings that hold when all sources have been asked: `overrides`, then `environment`, then `file`, then
    /// the defaults. `environment` looks a variable up by its name. A file whose name ends in `.conf` is RabbitMQ's, and
    /// those of the folder `conf.d` beside it come after it, in the order of their names.
    pub fn load(
        file: Option<&Path>,
        overrides: Overrides,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Loaded, ConfigError> {
        let mut loaded = match file {
            Some(path) if path.extension().is_some_and(|ending| ending == "conf") => {
                Self::read_rabbitmqs(path, &environment)?
            }
            Some(path) => {
                let text = read(path)?;
                let config = Self::parse(&text, path)?;
                Loaded { config, origins: layers::lines_of(&text, path), warnings: Vec::new() }
            }
            None => Loaded::default(),
        };
        let before = layers::flat(&loaded.config);
        loaded.config.apply_environment(&environment)?;
        loaded.note_changes(&before, &Origin::Variable("RABBITMQ_…".to_owned()));
        layers::apply_variables(&mut loaded.config, &environment, &mut loaded.origins)?;
        let before = layers::flat(&loaded.config);
        loaded.config.apply_overrides(overrides);
        loaded.note_changes(&before, &Origin::CommandLine);
        loaded.config.validate()?;
        Ok(loaded)
    }

    fn read_rabbitmqs(path: &Path, environment: &impl Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
        let mut reader = rabbitmq_conf::Reader::default();
        for file in [path.to_owned()].into_iter().chain(files_beside(path)?) {
            reader.read(&read(&file)?, &file, environment)?;
        }
        let (assignments, warnings) = reader.finish().map_err(|absent| {
            ConfigError::out_of_range("auth_backends", absent, "internal, http, oauth2 or cache, one of them at least")
        })?;
        let mut loaded = Loaded { warnings, ..Loaded::default() };
        for Assignment { key, value, origin } in assignments {
            let text = layers::shown(&key, &value.to_string());
            loaded.config = layers::assign(&loaded.config, &key, value).map_err(|reason| match &origin {
                Origin::File { path, line_number } => ConfigError::line(path, *line_number, &text, reason),
                other => ConfigError::variable(&other.to_string(), text.clone(), reason),
            })?;
            loaded.origins.insert(key, origin);
        }
        Ok(loaded)
    }

    /// The settings of a file's text; `path` only serves to name it in errors. The values are not checked yet.
    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::malformed(path, text, &error))
    }

    /// The variables of RabbitMQ's container images. An empty one counts as not set.
    fn apply_environment(&mut self, environment: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let lookup = |variable| environment(variable).filter(|value| !value.is_empty());
        if let Some(user) = lookup("RABBITMQ_DEFAULT_USER") {
            self.default_user = user;
        }
        if let Some(password) = lookup("RABBITMQ_DEFAULT_PASS") {
            self.default_pass = password.as_str().into();
        }
        if let Some(vhost) = lookup("RABBITMQ_DEFAULT_VHOST") {
            self.default_vhost = vhost;
        }
        const NODE_PORT: &str = "RABBITMQ_NODE_PORT";
        if let Some(value) = lookup(NODE_PORT) {
            let wrong = |_| ConfigError::variable(NODE_PORT, value.clone(), "must be a port number".to_owned());
            let port: u16 = value.parse().map_err(wrong)?;
            let mut listen = Vec::new();
            for &(mut address) in &self.listen {
                address.set_port(port);
                if !listen.contains(&address) {
                    listen.push(address);
                }
            }
            self.listen = listen;
        }
        Ok(())
    }

    fn apply_overrides(&mut self, overrides: Overrides) {
        if !overrides.listen.is_empty() {
            self.listen = overrides.listen;
        }
        if !overrides.tls_listen.is_empty() {
            self.tls_listen = overrides.tls_listen;
        }
        self.management_listen = overrides.management_listen.unwrap_or(self.management_listen);
        self.prometheus.listen = overrides.prometheus_listen.unwrap_or(self.prometheus.listen);
        self.log.level = overrides.log_level.unwrap_or(self.log.level);
        if let Some(data_dir) = overrides.data_dir {
            self.data_dir = data_dir;
        }
    }

    /// Takes over what of a later one holds from then on without another start, as SIGHUP has it: whatever is made anew of this
    /// one goes on with that. Certificates and levels of the log are not in it: they are read again where they are.
    pub fn take_over(&mut self, later: &Self) {
        let Limits { message_memory_bytes, memory_watermark, disk_free_limit_bytes, .. } = later.limits;
        self.limits = Limits { message_memory_bytes, memory_watermark, disk_free_limit_bytes, ..self.limits.clone() };
        self.log.slow_turn_ms = later.log.slow_turn_ms;
        self.oauth.signing_keys.clone_from(&later.oauth.signing_keys);
    }

    /// Where definitions are that are imported at the start, if there are any.
    pub fn definitions(&self) -> Option<&Path> {
        Some(&*self.load_definitions).filter(|path| !path.as_os_str().is_empty())
    }

    /// What serde's types cannot say about the values.
    fn validate(&self) -> Result<(), ConfigError> {
        /// Names travel as AMQP short strings.
        const NAME_MAX_BYTES: usize = 255;
        /// Whoever waits for longer than this doesn't notice the time that waking up takes.
        const BUSY_POLL_MOST_US: u64 = 10_000;
        let listens_over_tls = self.tls.is_on() && !self.tls_listen.is_empty();
        if self.listen.is_empty() && !listens_over_tls {
            return Err(ConfigError::out_of_range("listen", "[]", "at least one address"));
        }
        for (key, addresses) in [("listen", &self.listen), ("tls_listen", &self.tls_listen)] {
            for (index, address) in addresses.iter().enumerate() {
                if address.port() != 0 && addresses[..index].contains(address) {
                    return Err(ConfigError::out_of_range(key, address, "each address once"));
                }
            }
        }
        self.tls.validate("tls.versions")?;
        self.management_tls.validate("management_tls.versions")?;
        self.prometheus.tls.validate("prometheus.tls.versions")?;
        for (key, name) in [("default_user", &self.default_user), ("default_vhost", &self.default_vhost)] {
            if name.is_empty() || name.len() > NAME_MAX_BYTES {
                return Err(ConfigError::out_of_range(key, format!("{name:?}"), "1 to 255 bytes long"));
            }
        }
        let is_repeated = |(index, mechanism)| self.auth_mechanisms[..index].contains(mechanism);
        if self.auth_mechanisms.is_empty() || self.auth_mechanisms.iter().enumerate().any(is_repeated) {
            let value = format!("{:?}", self.auth_mechanisms);
            return Err(ConfigError::out_of_range("auth_mechanisms", value, "one mechanism at least, and each once"));
        }
        if self.busy_poll_us > BUSY_POLL_MOST_US {
            let reason = format!("between 0 and {BUSY_POLL_MOST_US}");
            return Err(ConfigError::out_of_range("busy_poll_us", self.busy_poll_us, reason));
        }
        self.log.validate()?;
        self.auth.validate(&self.oauth)?;
        self.cluster.validate(self.durability)?;
        self.limits.validate()
    }
}

/// The settings that hold, where each of them comes from, and what is to be said about them.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Loaded {
    pub config: Config,
    /// By key; the others have their defaults.
    pub origins: BTreeMap<String, Origin>,
    /// What of a file of RabbitMQ's means nothing here, and why.
    pub warnings: Vec<String>,
}

impl Loaded {
    fn note_changes(&mut self, before: &BTreeMap<String, toml::Value>, origin: &Origin) {
        for (key, value) in layers::flat(&self.config) {
            if before.get(&key) != Some(&value) {
                self.origins.insert(key, origin.clone());
            }
        }
    }

    /// A line for each setting: the key, its value as in TOML, and where it comes from.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for (key, value) in layers::flat(&self.config) {
            let origin = self.origins.get(&key).unwrap_or(&Origin::Default);
            let setting = format!("{key} = {}", layers::shown(&key, &value.to_string()));
            told += &format!("{setting:<60} # {origin}\n");
        }
        told
    }
}

#[allow(clippy::disallowed_methods, reason = "the files that this room is given")]
fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

/// The files of the folder `conf.d` beside one of RabbitMQ's, in the order in which it reads them.
fn files_beside(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = path.with_file_name("conf.d");
    let unreadable =
        |error: std::io::Error| ConfigError::Unreadable { path: folder.clone(), reason: error.to_string() };
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|ending| ending == "conf") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
