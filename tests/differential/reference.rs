//! The reference broker: one that is running, or a private node of the `rabbitmq-server` that is installed.

use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::http::Api;
use crate::support::ports::free_addresses;
use crate::support::transcript::Speaker;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// What RabbitMQ brings along and does not have of itself, as Leveret does.
const PLUGINS: &[&str] = &[
    "rabbitmq_management",
    "rabbitmq_event_exchange",
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
];

const START_PATIENCE: Duration = Duration::from_secs(90);
const START_POLL_INTERVAL: Duration = Duration::from_millis(200);

pub struct Reference {
    broker: Broker,
    node: Option<Node>,
}

/// A node in a process group of its own, which ends with it.
struct Node {
    child: Child,
    directory: PathBuf,
}

impl Reference {
    /// The reference, or None after saying that there is none. Tests of one program share it.
    pub fn find() -> Option<Arc<Reference>> {
        static SHARED: Mutex<Weak<Reference>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(reference) = shared.upgrade() {
            return Some(reference);
        }
        let reference = match std::env::var("LEVERET_REFERENCE_URI") {
            Ok(uri) => Self { broker: Broker::running(&uri), node: None },
            Err(_) => match Self::start() {
                Some(reference) => reference,
                None => {
                    // Written past the test harness, which keeps what print macros say of tests that pass.
                    let _ = writeln!(
                        std::io::stderr(),
                        "SKIP: no reference; set LEVERET_REFERENCE_URI or install rabbitmq-server"
                    );
                    return None;
                }
            },
        };
        let reference = Arc::new(reference);
        *shared = Arc::downgrade(&reference);
        Some(reference)
    }

    pub fn address(&self) -> SocketAddr {
        self.broker.address
    }

    pub fn management(&self) -> Option<Api> {
        self.broker.management.map(Api)
    }

    pub fn speaker(&self) -> Speaker {
        self.broker.speaker()
    }

    fn start() -> Option<Self> {
        let program = Self::program()?;
        let [address, distribution, management] = free_addresses();
        let directory = std::env::temp_dir().join(format!("leveret-reference-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let log = std::fs::File::create(directory.join("output")).expect("a temporary file");
        let plugins = directory.join("enabled_plugins");
        std::fs::write(&plugins, format!("[{}].\n", PLUGINS.join(","))).expect("a temporary file");
        let settings = directory.join("rabbitmq.conf");
        let port = management.port();
        std::fs::write(&settings, format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"))
            .expect("a temporary file");
        let child = Command::new(program)
            .env("HOME", &directory)
            .env("RABBITMQ_NODENAME", format!("reference{}@localhost", std::process::id()))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", address.port().to_string())
            .env("RABBITMQ_DIST_PORT", distribution.port().to_string())
            .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", directory.join("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
            .env("RABBITMQ_CONFIG_FILE", &settings)
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .ok()?;
        let mut broker = Broker::running(&address.to_string());
        broker.management = Some(management);
        let mut reference = Self { broker, node: Some(Node { child, directory }) };
        reference.wait_until_it_serves();
        Some(reference)
    }

    /// The script itself where a package puts a wrapper on the PATH: Debian's changes the user, who then cannot write
    /// to our directory.
    fn program() -> Option<PathBuf> {
        const BEHIND_THE_WRAPPER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
        let path = std::env::var_os("PATH")?;
        let on_path =
            std::env::split_paths(&path).map(|folder| folder.join("rabbitmq-server")).find(|it| it.exists())?;
        let behind = PathBuf::from(BEHIND_THE_WRAPPER);
        Some(if behind.exists() { behind } else { on_path })
    }

    fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + START_PATIENCE;
        let addresses: Vec<_> = [Some(self.broker.address), self.broker.management].into_iter().flatten().collect();
        while addresses.iter().any(|address| TcpStream::connect(address).is_err()) {
            let node = self.node.as_mut().expect("just started");
            let ended = node.child.try_wait().expect("our own child");
            if ended.is_some() || Instant::now() > deadline {
                let output = std::fs::read_to_string(node.directory.join("output")).unwrap_or_default();
                panic!("rabbitmq-server does not serve ({ended:?}):\n{output}");
            }
            std::thread::sleep(START_POLL_INTERVAL);
        }
        Client::connect(self.broker.address, "");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
