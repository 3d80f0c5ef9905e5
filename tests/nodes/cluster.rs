//! Three nodes with folders of their own, and what clients do with them.

use crate::support::client::{Client, Event};
use crate::support::http::Api;
use crate::support::ports::free_addresses;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that must come. Only waited for in full when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
pub const SECRET: &str = "a secret that three nodes share";
pub const NODES: [usize; 3] = [0, 1, 2];

/// Waits for what nobody tells us of.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

pub fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// The nodes but one.
pub fn others(node: usize) -> [usize; 2] {
    match node {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

pub struct Cluster {
    folder: PathBuf,
    /// For AMQP, HTTP and other nodes, for the first two over TLS, and for Prometheus.
    addresses: [[SocketAddr; 6]; 3],
    settings: String,
    /// Settings that are in no section.
    general: String,
    /// Limits, and more sections of the settings.
    limits: String,
    sections: String,
    children: [Option<Child>; 3],
}

impl Cluster {
    /// Three nodes that have become a cluster, all on empty folders.
    pub fn formed() -> Self {
        Self::formed_with("")
    }

    /// With more settings for the section `cluster`.
    pub fn formed_with(settings: &str) -> Self {
        let mut cluster = Self::new(settings);
        NODES.into_iter().for_each(|node| cluster.start(node));
        cluster.wait_for_leader(NODES[0]);
        cluster
    }

    /// Three nodes none of which runs.
    pub fn new(settings: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("leveret-nodes-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut secret = std::fs::File::create(folder.join("secret")).expect("a file");
        secret.set_permissions(PermissionsExt::from_mode(0o600)).expect("our own file");
        secret.write_all(SECRET.as_bytes()).expect("a file");
        let addresses = NODES.map(|_| free_addresses());
        let [general, limits, sections] = [const { String::new() }; 3];
        Self {
            folder,
            addresses,
            settings: settings.to_owned(),
            general,
            limits,
            sections,
            children: [None, None, None],
        }
    }

    /// A setting that is in no section, from each node's next start on.
    pub fn set(&mut self, setting: &str) {
        self.general += &format!("{setting}\n");
    }

    /// Has every node look at this file of definitions when it starts, from then on.
    pub fn load_definitions(&mut self, text: &str) {
        let file = self.folder.join("definitions.json");
        std::fs::write(&file, text).expect("a file");
        self.set(&format!("load_definitions = {:?}", file.display().to_string()));
    }

    /// More sections of the settings, from each node's next start on, and a file that they may name.
    pub fn add_sections(&mut self, sections: impl FnOnce(&std::path::Path) -> String, file: &str) {
        self.write_beside(file);
        self.sections += &sections(&self.folder.join("beside"));
    }

    /// What is in that file from now on.
    pub fn write_beside(&self, text: &str) {
        std::fs::write(self.folder.join("beside"), text).expect("a file");
    }

    /// Has every node show a certificate over TLS.
    pub fn encrypt(&mut self, certificate: &str, key: &str) {
        std::fs::write(self.folder.join("certificate.pem"), certificate).expect("a file");
        std::fs::write(self.folder.join("key.pem"), key).expect("a file");
        for section in ["tls", "management_tls"] {
            let folder = self.folder.display();
            self.sections +=
                &format!("[{section}]\ncertfile = \"{folder}/certificate.pem\"\nkeyfile = \"{folder}/key.pem\"\n");
        }
    }

    /// Where a node serves AMQP and HTTP over TLS.
    pub fn over_tls(&self, node: usize) -> [SocketAddr; 2] {
        [self.addresses[node][3], self.addresses[node][4]]
    }

    pub fn amqp(&self, node: usize) -> SocketAddr {
        self.addresses[node][0]
    }

    pub fn http(&self, node: usize) -> Api {
        Api(self.addresses[node][1])
    }

    /// What a node tells Prometheus.
    pub fn metrics(&self, node: usize) -> String {
        let mut stream = TcpStream::connect(self.addresses[node][5]).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").expect("a socket");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("an answer");
        page
    }

    pub fn for_nodes(&self, node: usize) -> SocketAddr {
        self.addresses[node][2]
    }

    pub fn secret_file(&self) -> PathBuf {
        self.folder.join("secret")
    }

    /// Settings of the section `limits`, from the next start or SIGHUP on.
    pub fn limit(&mut self, limits: &str) {
        self.limits = format!("{limits}\n");
        NODES.into_iter().for_each(|node| _ = self.write_settings(node));
    }

    /// What is in that file is no definitions any more.
    pub fn break_definitions(&self) {
        std::fs::write(self.folder.join("definitions.json"), "{").expect("a file");
    }

    fn write_settings(&self, node: usize) -> PathBuf {
        let of = |node: usize| format!("{} = \"{}\"", name(node), self.for_nodes(node));
        let text = format!(
            "{}management_tls_listen = \"{}\"\n[cluster]\nname = \"c\"\nnode = \"{}\"\nlisten = \"{}\"\nnodes = {{ {} }}\nsecret_file = \"{}\"\n{}\n[limits]\n\
             authentication_failure_delay_ms = 10\n{}{}",
            self.general,
            self.addresses[node][4],
            name(node),
            self.for_nodes(node),
            NODES.map(of).join(", "),
            self.secret_file().display(),
            self.settings,
            self.limits,
            self.sections,
        );
        let file = self.folder.join(format!("{}.toml", name(node)));
        std::fs::write(&file, text).expect("a file");
        file
    }

    pub fn command(&self, node: usize) -> Command {
        let file = self.write_settings(node);
        let log = std::fs::File::options().append(true).create(true).open(self.log(node)).expect("a file");
        let [amqp, http, _, amqps, _, metrics] = self.addresses[node];
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        command
            .args(["--listen", &amqp.to_string(), "--management-listen", &http.to_string()])
            .args(["--tls-listen", &amqps.to_string(), "--prometheus-listen", &metrics.to_string(), "--config"])
            .arg(file)
            .arg("--data-dir")
            .arg(self.folder.join(name(node)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.log", name(node)))
    }

    /// All that a node has said.
    pub fn said(&self, node: usize) -> String {
        std::fs::read_to_string(self.log(node)).unwrap_or_default()
    }

    pub fn start(&mut self, node: usize) {
        let command = self.command(node);
        self.start_as(node, command);
    }

    /// Starts a node by its [command](Self::command), which somebody has changed.
    pub fn start_as(&mut self, node: usize, mut command: Command) {
        self.children[node] = Some(command.spawn().expect("the leveret program"));
        let http = self.addresses[node][1];
        wait_until("a node listens", || TcpStream::connect(http).is_ok() || panic_if_ended(self, node));
    }

    pub fn pid(&self, node: usize) -> libc::pid_t {
        let child = self.children[node].as_ref().expect("it runs");
        libc::pid_t::try_from(child.id()).expect("a process id")
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        let mut child = self.children[node].take().expect("it runs");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// Ends a node at once that doesn't lead, and waits until the one that does knows: what is shown is renewed some times in a
    /// second, and a node that is started meanwhile would still be taken for the one that it was.
    #[track_caller]
    pub fn lose(&mut self, node: usize, leader: usize) {
        self.kill(node);
        wait_until("it is seen to be gone", || {
            self.view(leader).is_some_and(|view| view["nodes"][node]["running"] == false)
        });
    }

    /// Where a node keeps its log.
    pub fn data_folder(&self, node: usize) -> PathBuf {
        self.folder.join(name(node))
    }

    /// Takes away all that a node keeps; it must not run.
    pub fn wipe(&mut self, node: usize) {
        assert!(self.children[node].is_none(), "it doesn't run");
        std::fs::remove_dir_all(self.folder.join(name(node))).expect("its folder");
    }

    /// Nodes find each other elsewhere from now on; none of them may run.
    pub fn move_elsewhere(&mut self) {
        assert!(self.children.iter().all(Option::is_none), "none of them runs");
        for (node, address) in NODES.into_iter().zip(free_addresses::<3>()) {
            self.addresses[node][2] = address;
        }
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self, node: usize) -> ExitStatus {
        self.signal(node, libc::SIGTERM);
        self.wait(node)
    }

    /// How a node ends that does so by itself.
    pub fn wait(&mut self, node: usize) -> ExitStatus {
        self.children[node].take().expect("it runs").wait().expect("our own child")
    }

    pub fn signal(&mut self, node: usize, signal: libc::c_int) {
        // SAFETY: kill takes two numbers; the process is our own child, and was not waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(self.pid(node), signal) }, 0, "our own child");
    }

    /// What a node says of the cluster; `None` while it can't.
    pub fn view(&self, node: usize) -> Option<Value> {
        TcpStream::connect(self.addresses[node][1]).ok()?;
        let (status, text) = self.http(node).ask_as("guest:guest", "GET", "/cluster", &Value::Null);
        (status == 200).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    /// Which node leads, as this one says, once one does that serves.
    #[track_caller]
    pub fn wait_for_leader(&self, asked: usize) -> usize {
        let mut leader = None;
        wait_until("somebody leads", || {
            let said = self.view(asked).and_then(|view| view["leader"].as_str().map(str::to_owned));
            leader = NODES.into_iter().find(|node| Some(name(*node)) == said);
            leader.is_some()
        });
        leader.expect("it was waited for")
    }

    /// Waits until another node than this one leads.
    #[track_caller]
    pub fn wait_for_another(&self, than: usize) -> usize {
        let [one, _] = others(than);
        let mut leader = than;
        wait_until("another leads", || {
            leader = self.wait_for_leader(one);
            leader != than
        });
        leader
    }

    /// Waits until all three run and vote, and have all that is committed; gives the one that leads.
    #[track_caller]
    pub fn wait_until_whole(&self) -> usize {
        wait_until("all are there with everything", || {
            let leader = self.wait_for_leader(NODES[0]);
            let Some(view) = self.view(leader) else { return false };
            let rows = view["nodes"].as_array().expect("a list");
            let has_all = |row: &Value| row["role"] == "voter" && row["index"] == view["commit_index"];
            rows.iter().all(|row| row["running"] == true && (row["role"] == "leader" || has_all(row)))
        });
        self.wait_for_leader(NODES[0])
    }

    /// A client that is served, by whichever node this one passes it to.
    #[track_caller]
    pub fn client(&self, node: usize) -> Client {
        self.wait_for_leader(node);
        Client::connect(self.amqp(node), "")
    }

    pub fn ctl(&self, node: usize, arguments: &[&str]) -> Output {
        let uri = format!("http://guest:guest@{}", self.addresses[node][1]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveretctl"));
        command.args(["--uri", &uri]).args(arguments).stdin(Stdio::null()).output().expect("leveretctl")
    }
}

fn panic_if_ended(cluster: &Cluster, node: usize) -> bool {
    let said = cluster.said(node);
    assert!(!said.contains("leveret: "), "node {} has ended:\n{said}", name(node));
    false
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            NODES.into_iter().for_each(|node| eprintln!("--- {}\n{}", name(node), self.said(node)));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Publishes messages with these numbers to the queue `q`, and says which were confirmed before the connection was lost.
pub fn publish(client: &mut Client, numbers: std::ops::Range<usize>) -> BTreeSet<usize> {
    let mut confirmed = BTreeSet::new();
    client.send("confirm.select");
    client.expects("confirm.select-ok");
    for number in numbers {
        client.send(&format!("publish exchange='' routing_key=q delivery_mode=2 body='{number}'"));
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "basic.ack" => _ = confirmed.insert(number),
            Event::Closed => break,
            Event::Method(method) if method.name == "connection.close" => break,
            Event::Method(method) => panic!("{} in answer to a publish", method.render()),
            _ => panic!("no answer to a publish"),
        }
    }
    confirmed
}

/// Takes all messages out of the queue `q`.
pub fn take_all(client: &mut Client) -> Vec<usize> {
    take(client, usize::MAX)
}

/// Takes so many messages out of the queue `q`, or all that there are.
pub fn take(client: &mut Client, most: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < most {
        client.send("basic.get queue=q no_ack");
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "basic.get-empty" => return numbers,
            Event::Method(method) if method.name == "basic.get-ok" => {}
            _ => panic!("no answer to basic.get"),
        }
        let Event::Header(_) = client.next(1, PATIENCE) else { panic!("no header") };
        let Event::Body(body) = client.next(1, PATIENCE) else { panic!("no body") };
        numbers.push(String::from_utf8_lossy(&body).parse().expect("a number"));
    }
    numbers
}
