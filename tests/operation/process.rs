//! The program in a folder of its own, with what it says.

use crate::support::client::Client;
use crate::support::http::Api;
use crate::support::ports::free_addresses;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits for what nobody tells us of.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A folder that goes with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leveret-operation-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and says where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, with nothing of our own environment that it would look at.
pub fn leveret(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RABBITMQ_") || name.starts_with("LEVERET_"))
    {
        command.env_remove(name);
    }
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A broker that is ready, or was when it was made.
pub struct Running {
    pub amqp: SocketAddr,
    pub management: SocketAddr,
    child: Child,
    /// All that it says on its standard error.
    said: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a broker on free ports, with settings, and waits until it is ready; says what it logged if it isn't.
    pub fn start(folder: &Folder, settings: &str) -> Self {
        let config = folder.write("leveret.toml", settings);
        let mut command = leveret(folder);
        command.arg("--config").arg(config).args([
            "--listen",
            "127.0.0.1:0",
            "--management-listen",
            "127.0.0.1:0",
            "--prometheus-listen",
            "off",
        ]);
        Self::of(command).unwrap_or_else(|said| panic!("not ready: {said}"))
    }

    /// Runs a command until it is ready. Its log must be on the standard error, as text, and say where it listens.
    pub fn of(mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().expect("the leveret program");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let (mut said, mut addresses) = (String::new(), [None, None]);
        while !said.trim_end().ends_with("is ready") {
            let before = said.len();
            if lines.read_line(&mut said).expect("text") == 0 {
                let _ = child.wait();
                return Err(said);
            }
            for (address, before_it) in
                addresses.iter_mut().zip(["listening for AMQP at ", "listening for management at http://"])
            {
                if let Some((_, at)) = said[before..].trim_end().split_once(before_it) {
                    *address = at.parse().ok();
                }
            }
        }
        let [Some(amqp), Some(management)] = addresses else { panic!("it does not say where it listens: {said}") };
        let said = std::thread::spawn(move || {
            let _ = lines.read_to_string(&mut said);
            said
        });
        Ok(Self { amqp, management, child, said: Some(said) })
    }

    /// Runs a command whose log is elsewhere, and which was told where to listen.
    pub fn at(mut command: Command, amqp: SocketAddr, management: SocketAddr) -> Self {
        let mut child = command.spawn().expect("the leveret program");
        let mut pipe = child.stderr.take().expect("a pipe");
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = pipe.read_to_string(&mut said);
            said
        });
        wait_until("it listens", || TcpStream::connect(management).is_ok() && TcpStream::connect(amqp).is_ok());
        Self { amqp, management, child, said: Some(said) }
    }

    /// A broker whose log nobody reads before it has ended, or was told to.
    pub fn start_unread(folder: &Folder, settings: &str) -> Self {
        let config = folder.write("leveret.toml", settings);
        let [amqp, management] = free_addresses();
        let mut command = leveret(folder);
        command.arg("--config").arg(config).args(["--listen", &amqp.to_string()]);
        command.args(["--management-listen", &management.to_string(), "--prometheus-listen", "off"]);
        let child = command.spawn().expect("the leveret program");
        wait_until("it listens", || TcpStream::connect(management).is_ok() && TcpStream::connect(amqp).is_ok());
        Self { amqp, management, child, said: None }
    }

    pub fn client(&self, options: &str) -> Client {
        Client::connect(self.amqp, options)
    }

    pub fn api(&self) -> Api {
        Api(self.management)
    }

    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill takes two numbers; the process is our own child, and was not waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "our own child");
    }

    /// SIGTERM: how it ended, and all that it said.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal(libc::SIGTERM);
        let said = match (self.said.take(), self.child.stderr.take()) {
            (Some(said), _) => said.join().expect("it only reads"),
            (None, pipe) => {
                let mut said = String::new();
                let _ = pipe.expect("it was not read yet").read_to_string(&mut said);
                said
            }
        };
        (self.child.wait().expect("our own child").code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
