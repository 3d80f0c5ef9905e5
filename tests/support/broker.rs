//! The broker under test: a Leveret process of our own, or another broker that is already running.
//!
//! `LEVERET_TEST_URI=127.0.0.1:5673` runs the same transcripts against the broker there, a RabbitMQ 3.10 or 4.3. Tests that need
//! users of their own make them at `LEVERET_TEST_MANAGEMENT_URI=127.0.0.1:15672`.

use super::ports::free_addresses;
use super::transcript::{Series, Speaker};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// A broker that does not listen by then is broken.
const START_PATIENCE: Duration = Duration::from_secs(10);
const START_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Times of the handshake shortened, so that tests that wait for them do not take seconds.
const HASTY: &str = "[limits]\nhandshake_timeout_ms = 1000\nauthentication_failure_delay_ms = 100\n";

/// A running broker; the process ends with the last handle.
pub struct Broker {
    pub address: SocketAddr,
    /// Where it is managed, if that is known.
    pub management: Option<SocketAddr>,
    process: Option<Process>,
    speaker: OnceLock<Speaker>,
}

struct Process {
    child: Child,
    directory: PathBuf,
}

impl Broker {
    /// The broker that tests of one program share, started when the first needs it.
    pub fn shared() -> Arc<Broker> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        Self::share(&SHARED, "event_exchange = true\n")
    }

    /// A second one with [`HASTY`] settings.
    pub fn shared_hasty() -> Arc<Broker> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        Self::share(&SHARED, HASTY)
    }

    fn share(shared: &Mutex<Weak<Broker>>, config: &str) -> Arc<Broker> {
        let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(match std::env::var("LEVERET_TEST_URI") {
                Ok(uri) => Self::running(&uri),
                Err(_) => Self::start(config),
            });
            *shared = Arc::downgrade(&broker);
            broker
        })
    }

    /// A broker somebody else runs, at `host:port` or `amqp://host:port`.
    pub fn running(uri: &str) -> Self {
        let address = uri.trim_start_matches("amqp://").trim_end_matches('/');
        let management = std::env::var("LEVERET_TEST_MANAGEMENT_URI").ok();
        let management = management.map(|uri| uri.parse().expect("an address such as 127.0.0.1:15672"));
        Self {
            address: address.parse().expect("an address such as 127.0.0.1:5672"),
            management,
            process: None,
            speaker: OnceLock::new(),
        }
    }

    /// Whether this is the reference, RabbitMQ, and not Leveret.
    pub fn is_reference(&self) -> bool {
        self.process.is_none()
    }

    /// Whose words to expect.
    pub fn speaker(&self) -> Speaker {
        *self.speaker.get_or_init(|| match self.is_reference() {
            true => Speaker::RabbitMq(self.series()),
            false => Speaker::Leveret,
        })
    }

    /// The series by the version that the broker tells its clients.
    fn series(&self) -> Series {
        const BEFORE_IT: &[u8] = b"\x07versionS\0\0\0";
        const LONGEST_START: usize = 4096;
        let mut socket = TcpStream::connect(self.address).expect("a broker");
        socket.write_all(b"AMQP\0\0\x09\x01").expect("sent");
        let mut start = vec![0; LONGEST_START];
        let mut filled = 0;
        loop {
            filled += socket.read(&mut start[filled..]).expect("connection.start");
            let version = start[..filled].windows(BEFORE_IT.len() + 2).find(|bytes| bytes.starts_with(BEFORE_IT));
            match version.map(|bytes| bytes[BEFORE_IT.len() + 1]) {
                Some(b'3') => return Series::V3_10,
                Some(b'4') => return Series::V4_3,
                other => assert!(other.is_none() && filled < start.len(), "neither RabbitMQ 3 nor 4"),
            }
        }
    }

    /// A Leveret with these settings, on free ports of the loopback and with a data directory of its own.
    pub fn start(config: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("leveret-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let config_file = directory.join("leveret.toml");
        std::fs::write(&config_file, config).expect("a temporary file");
        let log = std::fs::File::create(directory.join("log")).expect("a temporary file");
        let [address, management] = free_addresses();
        let child = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["--listen", &address.to_string(), "--management-listen", &management.to_string()])
            .args(["--prometheus-listen", "off", "--data-dir"])
            .arg(directory.join("data"))
            .arg("--config")
            .arg(&config_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the leveret program");
        let mut broker = Self {
            address,
            management: Some(management),
            process: Some(Process { child, directory }),
            speaker: OnceLock::new(),
        };
        broker.wait_until_it_listens();
        broker
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + START_PATIENCE;
        let addresses = [Some(self.address), self.management].into_iter().flatten();
        for address in addresses {
            self.wait_until_it_listens_at(address, deadline);
        }
    }

    fn wait_until_it_listens_at(&mut self, address: SocketAddr, deadline: Instant) {
        while TcpStream::connect(address).is_err() {
            let process = self.process.as_mut().expect("just started");
            let ended = process.child.try_wait().expect("our own child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(process.directory.join("log")).unwrap_or_default();
                panic!("leveret does not listen on {address} ({ended:?}); its log:\n{log}");
            }
            std::thread::sleep(START_POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
