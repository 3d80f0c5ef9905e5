//! A data folder of a test's own, and the brokers that run on it one after the other.

use crate::refusing::Refusal as SystemRefusal;
use crate::support::client::{Client, Event};
use crate::support::methods::Received;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer may take that must come. Only waited for in full when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder below the system's temporary one; gone when dropped.
pub struct DataFolder {
    path: PathBuf,
}

/// A broker that did not become ready.
pub struct Refusal {
    pub code: Option<i32>,
    pub text: String,
}

impl DataFolder {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self { path: std::env::temp_dir().join(format!("leveret-recovery-{}-{number}", std::process::id())) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    #[track_caller]
    pub fn start(&self) -> Node {
        self.start_with(&[])
    }

    #[track_caller]
    pub fn start_with(&self, arguments: &[&str]) -> Node {
        expect_ready(launch(&self.path, arguments))
    }

    /// Starts a broker in an environment that has these variables, too.
    #[track_caller]
    pub fn start_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Node {
        let mut command = command(&self.path, arguments);
        command.envs(environment.iter().copied());
        expect_ready(run(command))
    }

    /// Starts a broker that keeps messages of 1 MiB in memory and the others on disk.
    #[track_caller]
    pub fn start_with_little_memory(&self) -> Node {
        self.start_with_settings("[limits]\nmessage_memory_bytes = 1_048_576\n")
    }

    /// Starts a broker with a configuration of its own.
    #[track_caller]
    pub fn start_with_settings(&self, settings: &str) -> Node {
        let config = self.path.with_extension("toml");
        std::fs::write(&config, settings).expect("a folder for temporary files");
        let node = self.start_with(&["--config", config.to_str().expect("a plain path")]);
        std::fs::remove_file(&config).expect("it was just written");
        node
    }

    /// Starts a broker that some calls will fail.
    #[track_caller]
    pub fn start_refusing(&self, refusal: SystemRefusal) -> Node {
        expect_ready(self.launch_refusing(refusal, &[]))
    }

    pub fn launch_refusing(&self, refusal: SystemRefusal, arguments: &[&str]) -> Result<Node, Refusal> {
        let mut command = command(&self.path, arguments);
        // SAFETY: what runs between fork and exec calls nothing but the system.
        unsafe { command.pre_exec(move || refusal.install()) };
        run(command)
    }

    /// Starts a broker that must not start.
    #[track_caller]
    pub fn refusal(&self) -> Refusal {
        match launch(&self.path, &[]) {
            Ok(_) => panic!("the broker is ready"),
            Err(refusal) => refusal,
        }
    }

    /// The log's newest segment.
    pub fn newest_segment(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.path.join("log")).expect("a log");
        let paths = entries.map(|entry| entry.expect("a name").path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).max().expect("a segment")
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[track_caller]
fn expect_ready(started: Result<Node, Refusal>) -> Node {
    started.unwrap_or_else(|refusal| panic!("exit code {:?} and not a broker:\n{}", refusal.code, refusal.text))
}

/// Starts the program on a folder and waits until it is ready, or has ended.
pub fn launch(folder: &Path, arguments: &[&str]) -> Result<Node, Refusal> {
    run(command(folder, arguments))
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--management-listen",
            "127.0.0.1:0",
            "--prometheus-listen",
            "off",
            "--data-dir",
        ])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn run(mut command: Command) -> Result<Node, Refusal> {
    let mut child = command.spawn().expect("the leveret program");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let (mut address, mut text) = (None, String::new());
    for line in lines.by_ref().map_while(Result::ok) {
        text += &line;
        text.push('\n');
        if let Some((_, listening)) = line.split_once("listening for AMQP at ") {
            address = Some(listening.parse().expect("an address"));
        }
        if line.ends_with("is ready") {
            // A pipe that nobody reads would stop the broker once it is full.
            let rest = std::thread::spawn(move || {
                lines.map_while(Result::ok).fold(String::new(), |text, line| text + &line + "\n")
            });
            let address = address.expect("a broker that is ready has said where");
            return Ok(Node { address, said: text, rest: Some(rest), child: Mutex::new(child) });
        }
    }
    let code = child.wait().expect("our own child").code();
    Err(Refusal { code, text })
}

/// A running broker.
pub struct Node {
    pub address: SocketAddr,
    /// What it logged until it was ready.
    pub said: String,
    /// What it logs from then on.
    rest: Option<JoinHandle<String>>,
    child: Mutex<Child>,
}

impl Node {
    pub fn client(&self) -> Client {
        Client::connect(self.address, "")
    }

    /// SIGKILL: it gets to do nothing more.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no panic while held");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&self) -> ExitStatus {
        self.signal(libc::SIGTERM).wait().expect("our own child")
    }

    /// SIGHUP: it reads its configuration again.
    pub fn reload(&self) {
        drop(self.signal(libc::SIGHUP));
    }

    fn signal(&self, signal: libc::c_int) -> MutexGuard<'_, Child> {
        let child = self.child.lock().expect("no panic while held");
        let pid = libc::pid_t::try_from(child.id()).expect("a process id");
        // SAFETY: kill takes two numbers; the process is our own child, and was not waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "our own child");
        child
    }

    /// Waits until it ends by itself: how it ended, and all that it logged after it was ready.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.get_mut().expect("no panic while held").wait().expect("our own child");
        let text = self.rest.take().expect("it is taken once").join().expect("it only reads");
        (status, text)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a method and reads its answer; false when the broker is gone.
#[track_caller]
pub fn ask(client: &mut Client, line: &str, answer: &str) -> bool {
    client.send(line);
    match client.next(1, PATIENCE) {
        Event::Method(method) if method.name == answer => true,
        Event::Closed => false,
        Event::Method(method) => panic!("{} in answer to {line}", method.render()),
        _ => panic!("no {answer} in answer to {line}"),
    }
}

/// How many messages of a queue are ready; `None` when there is no such queue.
#[track_caller]
pub fn depth(client: &mut Client, queue: &str) -> Option<usize> {
    let answer = passive(client, &format!("queue.declare queue={queue} passive"))?;
    Some(answer.field("message_count").parse().expect("a number"))
}

#[track_caller]
pub fn exchange_exists(client: &mut Client, exchange: &str) -> bool {
    passive(client, &format!("exchange.declare exchange={exchange} passive")).is_some()
}

/// The answer to a passive declaration; `None`, and the channel open again, when there is nothing of the name.
#[track_caller]
fn passive(client: &mut Client, line: &str) -> Option<Received> {
    client.send(line);
    match client.next(1, PATIENCE) {
        Event::Method(method) if method.name.ends_with(".declare-ok") => Some(method),
        Event::Method(method) if method.name == "channel.close" && method.field("code") == "404" => {
            client.send("channel.close-ok");
            client.open_channel(1);
            None
        }
        Event::Method(method) => panic!("{} in answer to {line}", method.render()),
        _ => panic!("no answer to {line}"),
    }
}
