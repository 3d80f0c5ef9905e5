//! A broker of the test's own on free ports, and a client of its HTTP API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// How long a line of the log is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    pub amqp: SocketAddr,
    pub management: SocketAddr,
    /// Where metrics are served without a login.
    pub metrics: SocketAddr,
    child: Child,
    directory: PathBuf,
    /// Lines of the log, after the first ones.
    log: Mutex<Receiver<String>>,
}

/// Status, `WWW-Authenticate` or `Location`, and body of an answer.
pub struct Answer {
    pub status: u16,
    pub header: Option<String>,
    pub text: String,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// A header of it.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// All of the headers of a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }
}

impl Server {
    /// Starts a broker, which says in its log at which ports it listens.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a broker with settings of a configuration file.
    pub fn start_with(settings: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("leveret-management-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary folder");
        let config = directory.join("leveret.toml");
        std::fs::write(&config, settings).expect("a temporary file");
        let mut child = command(env!("CARGO_BIN_EXE_leveret"))
            .args(["--listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"])
            .args(["--prometheus-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&directory)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the leveret program");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (mut amqp, mut management, mut metrics) = (None, None, None);
        for line in log.by_ref().map_while(Result::ok) {
            let address = |after: &str| line.split_once(after).map(|(_, address)| address.parse().expect("an address"));
            amqp = amqp.or(address("listening for AMQP at "));
            management = management.or(address("listening for management at http://"));
            metrics = metrics.or(address("listening for metrics at http://"));
            if line.ends_with("is ready") {
                break;
            }
        }
        // A pipe that nobody reads would stop the broker once it is full.
        let (line, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|it| drop(line.send(it))));
        let (Some(amqp), Some(management), Some(metrics)) = (amqp, management, metrics) else {
            panic!("the broker didn't start")
        };
        Self { amqp, management, metrics, child, directory, log: Mutex::new(lines) }
    }

    /// What the log says next at the level INFO.
    pub fn next_info(&self) -> String {
        let lines = self.log.lock().expect("nobody failed here");
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("a line of the log");
            if let Some((_, said)) = line.split_once(" INFO  ") {
                return said.to_owned();
            }
        }
    }

    /// The next line of the log in which this is said.
    pub fn next_line_with(&self, text: &str) -> String {
        let lines = self.log.lock().expect("nobody failed here");
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("a line of the log");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Has it read its settings again, and waits until it has.
    pub fn reload(&self) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: it sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGHUP) }, 0, "our own child");
        self.next_line_with("configuration read again");
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// As the user guest.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, body, &[("authorization", &basic("guest:guest"))])
    }

    pub fn ask_with(&self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        ask_at(self.management, method, path, body, headers)
    }

    /// Runs leveretctl against this broker: exit code, standard output, standard error.
    pub fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        run(self.ctl_command().args(arguments), "")
    }

    /// leveretctl for this broker.
    pub fn ctl_command(&self) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_leveretctl"));
        command.args(["--uri", &format!("http://{}", self.management)]);
        command
    }

    /// The same, called by a name of RabbitMQ's tools, as a script calls that.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = command(self.link(name).to_str().expect("text"));
        command.env("LEVERET_URI", format!("http://{}", self.management));
        command
    }

    /// A folder of the test's, below the broker's.
    pub fn folder(&self, path: &str) -> PathBuf {
        let folder = self.directory.join("test").join(path);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    /// A link to leveretctl, of that name.
    fn link(&self, name: &str) -> PathBuf {
        let link = self.directory.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_leveretctl"), &link).expect("a temporary link");
        }
        link
    }

    /// A shell on the broker's machine, where RabbitMQ's tools are links to leveretctl.
    pub fn shell(&self, line: &str) -> Command {
        for name in [
            "rabbitmqctl",
            "rabbitmq-diagnostics",
            "rabbitmq-queues",
            "rabbitmq-upgrade",
            "rabbitmq-plugins",
            "rabbitmqadmin",
        ] {
            self.link(name);
        }
        let mut command = command("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(["-c", line]).env("PATH", format!("{}:{path}", self.directory.display()));
        command.env("LEVERET_URI", format!("http://{}", self.management));
        command
    }
}

/// Runs a program to its end: exit code, standard output, standard error.
pub fn run(command: &mut Command, input: &str) -> (i32, String, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    // One that doesn't read has ended meanwhile.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// Asks whoever serves the HTTP API at an address.
pub fn ask_at(address: SocketAddr, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build();
    let url = format!("http://{address}{path}");
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_owned()).expect("a request");
    let agent: ureq::Agent = config.into();
    let agent_config = agent.configure_request(request).allow_non_standard_methods(true).build();
    let mut response = agent.run(agent_config).expect("an answer");
    let header = ["www-authenticate", "location"].into_iter().find_map(|name| response.headers().get(name));
    let header = header.map(|value| value.to_str().expect("text").to_owned());
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    // Listings are longer than what is read by default.
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string().expect("text");
    Answer { status, header, text, headers }
}

/// A program without what the tester's environment would tell it.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let told = [
        "LEVERET_URI",
        "LEVERET_USER",
        "LEVERET_PASSWORD",
        "LEVERETCTL_CONFIG",
        "LEVERET_CONFIG",
        "HOME",
        "XDG_CONFIG_HOME",
    ];
    for variable in told.into_iter().chain([
        "RABBITMQ_DEFAULT_USER",
        "RABBITMQ_DEFAULT_PASS",
        "LEVERET_DEFAULT_USER",
        "LEVERET_DEFAULT_PASS",
    ]) {
        command.env_remove(variable);
    }
    command
}

impl Server {
    /// Ends the broker; its folder stays.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}
