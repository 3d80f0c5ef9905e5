//! Transcripts: scenarios in text files, and their player.
//!
//! ```text
//! == a name
//! @hasty | @not-for-rabbitmq                 how it is played: with short times of the handshake; on Leveret alone
//! @not-for-3.10 | @not-for-4.3               not on a RabbitMQ of that series
//! * connect b frame_max=4096                 another connection; `a` with channel 1 is there unless socket or connect a
//! * socket a                                 only a socket, no handshake
//! * drop b                                   the client's process dies
//! * login b wf.u:pw wf.v                     another connection, of a user, up to its connection.open: what comes is expected
//! * http PUT /users/wf.u {"tags":""}         guest asks the HTTP API for something, and gets it
//! * until EXPECTED | LINE                    send LINE again and again until EXPECTED comes
//! > b: ch2 queue.declare queue=wf.q          what the client sends (defaults: a, channel 1)
//! < b: ch2 queue.declare-ok(…)               what must come on that channel
//! | …                                        or this
//! ~ …                                        what RabbitMQ says instead; `~ (any)` when it does not matter
//! ~3.10 … | ~4.3 …                           what only that series of RabbitMQ says instead
//! # a remark
//! ```
//!
//! Names beginning with `wf.` get a prefix of their own in every play, so that scenarios run side by side; `$gen` and
//! `$reply` stand for the last generated queue name and the last reply_to that arrived; `time=T:now` for the present.

use super::client::Client;
use super::http::Api;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Scenarios of one file played at the same time: many of them wait rather than work.
const PLAYED_AT_ONCE: usize = 8;
const UNTIL_PATIENCE: Duration = Duration::from_secs(8);
const REFERENCE_COUNTS_AFTER: Duration = Duration::from_millis(500);
const UNTIL_INTERVAL: Duration = Duration::from_millis(60);

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    Leveret,
    RabbitMq(Series),
}

/// Versions of RabbitMQ that answer alike: that of Debian 12, 3.10.8, and that of its next release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Series {
    V3_10,
    V4_3,
}

impl Series {
    const COUNT: usize = 2;
}

pub struct Scenario {
    pub name: String,
    steps: Vec<Step>,
    pub hasty: bool,
    not_for: [bool; Series::COUNT],
}

impl Scenario {
    /// Whether it says what this one answers, and asks for nothing over HTTP where nobody is known to listen.
    pub fn is_playable(&self, speaker: Speaker, api: Option<Api>) -> bool {
        let is_for_it = !matches!(speaker, Speaker::RabbitMq(series) if self.not_for[series as usize]);
        let asks_over_http = self.steps.iter().any(|step| matches!(step.action, Action::Http(..)));
        is_for_it && (api.is_some() || !asks_over_http)
    }
}

struct Step {
    connection: String,
    channel: u16,
    action: Action,
}

enum Action {
    Connect(String),
    Socket,
    Drop,
    /// User and password, vhost.
    Login(String, String),
    /// Method, path, body.
    Http(String, String, String),
    Send(String),
    Until {
        line: String,
        expected: Expectation,
    },
    Expect(Expectation),
}

/// What must come.
#[derive(Clone)]
pub struct Expectation {
    /// What Leveret may say.
    pub accepted: Vec<String>,
    /// What each series of RabbitMQ says, where that is something else.
    instead: [Option<String>; Series::COUNT],
}

impl Expectation {
    fn new(text: &str) -> Self {
        Self { accepted: vec![text.to_owned()], instead: [const { None }; Series::COUNT] }
    }

    /// What this one says instead of what Leveret does.
    pub fn instead(&self, speaker: Speaker) -> Option<&str> {
        match speaker {
            Speaker::Leveret => None,
            Speaker::RabbitMq(series) => self.instead[series as usize].as_deref(),
        }
    }

    fn holds(&self, actual: &str, speaker: Speaker) -> bool {
        match self.instead(speaker) {
            Some(text) => text == "(any)" || text == actual,
            None => self.accepted.iter().any(|text| text == actual),
        }
    }

    fn shape(&self, speaker: Speaker) -> &str {
        self.instead(speaker).filter(|text| *text != "(any)").unwrap_or(&self.accepted[0])
    }
}

/// One expectation of a scenario that was played, and what came.
pub struct Outcome {
    pub expected: Expectation,
    pub actual: String,
}

/// What came of playing a scenario.
pub struct Played {
    pub log: String,
    pub outcomes: Vec<Outcome>,
    pub leftovers: Vec<String>,
    speaker: Speaker,
}

impl Played {
    pub fn passed(&self) -> bool {
        self.leftovers.is_empty()
            && self.outcomes.iter().all(|outcome| outcome.expected.holds(&outcome.actual, self.speaker))
    }
}

/// The scenarios of a transcript file.
pub fn parse(text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let Some((mark, rest)) = line.split_once(' ').or((!line.is_empty()).then_some((line, ""))) else { continue };
        if mark == "==" {
            let name = rest.to_owned();
            scenarios.push(Scenario { name, steps: Vec::new(), hasty: false, not_for: [false; Series::COUNT] });
            continue;
        }
        if mark == "#" {
            continue;
        }
        let scenario = scenarios.last_mut().unwrap_or_else(|| panic!("line {} is in no scenario", index + 1));
        parse_line(scenario, mark, rest.trim_start())
            .unwrap_or_else(|| panic!("line {}: {line:?} is no line of a transcript", index + 1));
    }
    scenarios
}

fn parse_line(scenario: &mut Scenario, mark: &str, rest: &str) -> Option<()> {
    match mark {
        "@hasty" => scenario.hasty = true,
        "@not-for-rabbitmq" => scenario.not_for = [true; Series::COUNT],
        "@not-for-3.10" => scenario.not_for[Series::V3_10 as usize] = true,
        "@not-for-4.3" => scenario.not_for[Series::V4_3 as usize] = true,
        ">" | "<" => {
            let (connection, channel, text) = addressed(rest);
            let action = match mark {
                ">" => Action::Send(text.to_owned()),
                _ => Action::Expect(Expectation::new(text)),
            };
            scenario.steps.push(Step { connection, channel, action });
        }
        "|" | "~" | "~3.10" | "~4.3" => {
            let (Action::Expect(expected) | Action::Until { expected, .. }) = &mut scenario.steps.last_mut()?.action
            else {
                return None;
            };
            match mark {
                "|" => expected.accepted.push(rest.to_owned()),
                "~" => expected.instead = [(); Series::COUNT].map(|()| Some(rest.to_owned())),
                "~3.10" => expected.instead[Series::V3_10 as usize] = Some(rest.to_owned()),
                _ => expected.instead[Series::V4_3 as usize] = Some(rest.to_owned()),
            }
        }
        "*" => {
            let (verb, rest) = rest.split_once(' ')?;
            let (name, options) = rest.split_once(' ').unwrap_or((rest, ""));
            let (connection, channel, action) = match verb {
                "connect" => (name.to_owned(), 1, Action::Connect(options.to_owned())),
                "socket" => (name.to_owned(), 1, Action::Socket),
                "drop" => (name.to_owned(), 1, Action::Drop),
                "login" => {
                    let (credentials, vhost) = options.split_once(' ')?;
                    (name.to_owned(), 1, Action::Login(credentials.to_owned(), vhost.to_owned()))
                }
                "http" => {
                    let (path, body) = options.split_once(' ').unwrap_or((options, "null"));
                    (String::new(), 1, Action::Http(name.to_owned(), path.to_owned(), body.to_owned()))
                }
                "until" => {
                    let (text, line) = rest.split_once(" | ")?;
                    let (connection, channel, line) = addressed(line);
                    (connection, channel, Action::Until { line: line.to_owned(), expected: Expectation::new(text) })
                }
                _ => return None,
            };
            scenario.steps.push(Step { connection, channel, action });
        }
        _ => return None,
    }
    Some(())
}

/// Puts `T:now` for times of the last minute.
fn with_present_as_now(text: &str) -> String {
    const TIME: &str = "time=T:";
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is right").as_secs();
    let mut parts = text.split(TIME);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let is_now = part[..digits].parse::<u64>().is_ok_and(|time_s| now_s.abs_diff(time_s) < 60);
        replaced.push_str(TIME);
        replaced.push_str(if is_now { "now" } else { &part[..digits] });
        replaced.push_str(&part[digits..]);
    }
    replaced
}

/// Splits off `b:` and `ch2`.
fn addressed(text: &str) -> (String, u16, &str) {
    let (mut connection, mut channel, mut rest) = ("a".to_owned(), 1, text);
    if let Some((word, after)) = rest.split_once(' ').filter(|(word, _)| word.len() == 2 && word.ends_with(':')) {
        (connection, rest) = (word[..1].to_owned(), after);
    }
    if let Some((word, after)) = rest.split_once(' ')
        && let Some(Ok(number)) = word.strip_prefix("ch").map(str::parse)
    {
        (channel, rest) = (number, after);
    }
    (connection, channel, rest)
}

struct Player {
    address: SocketAddr,
    api: Option<Api>,
    speaker: Speaker,
    prefix: String,
    clients: BTreeMap<String, Client>,
    generated_name: String,
    reply_to: String,
    played: Played,
    declared: BTreeSet<(&'static str, String)>,
}

/// Plays a scenario against a broker.
pub fn play(scenario: &Scenario, address: SocketAddr, speaker: Speaker) -> Played {
    play_with(scenario, address, None, speaker)
}

/// Plays a scenario that asks the HTTP API for something.
pub fn play_with(scenario: &Scenario, address: SocketAddr, api: Option<Api>, speaker: Speaker) -> Played {
    static PLAYS: AtomicU32 = AtomicU32::new(0);
    let number = PLAYS.fetch_add(1, Ordering::Relaxed);
    let mut player = Player {
        address,
        api,
        speaker,
        prefix: format!("wf{:x}-{number}.", std::process::id()),
        clients: BTreeMap::new(),
        generated_name: String::new(),
        reply_to: String::new(),
        played: Played { log: format!("== {}\n", scenario.name), outcomes: Vec::new(), leftovers: Vec::new(), speaker },
        declared: BTreeSet::new(),
    };
    for step in &scenario.steps {
        player.step(step);
    }
    for (name, client) in &mut player.clients {
        for leftover in client.leftovers() {
            player.played.log.push_str(&format!("    !!  {name}: nobody expected {leftover}\n"));
            player.played.leftovers.push(leftover);
        }
    }
    if speaker != Speaker::Leveret {
        player.clean_up();
    }
    player.played
}

impl Player {
    fn step(&mut self, step: &Step) {
        match &step.action {
            Action::Connect(options) => {
                self.clients.insert(step.connection.clone(), Client::connect(self.address, options));
            }
            Action::Socket => {
                self.clients.insert(step.connection.clone(), Client::socket(self.address));
            }
            Action::Drop => {
                self.clients.remove(&step.connection).expect("a connection of that name");
            }
            Action::Login(credentials, vhost) => self.login(step, credentials, vhost),
            Action::Http(method, path, body) => {
                let [path, body] = [path, body].map(|text| text.replace("wf.", &self.prefix));
                let body = serde_json::from_str(&body).expect("JSON");
                self.played.log.push_str(&format!("    *   {method} {path}\n"));
                self.api.expect("an HTTP API").change(method, &path, &body);
            }
            Action::Send(line) => self.send(step, line),
            Action::Expect(expected) => {
                let actual = self.read(step, expected);
                self.record(step, expected, actual);
            }
            Action::Until { line, expected } => {
                let deadline = Instant::now() + UNTIL_PATIENCE;
                let actual = loop {
                    self.send(step, line);
                    let actual = self.read(step, expected);
                    if expected.holds(&actual, self.speaker) || Instant::now() > deadline {
                        break actual;
                    }
                    let client = self.client(&step.connection);
                    if let Some(arrived) = client.arrives_within(step.channel, UNTIL_INTERVAL) {
                        break arrived;
                    }
                };
                self.record(step, expected, actual);
            }
        }
    }

    fn login(&mut self, step: &Step, credentials: &str, vhost: &str) {
        if self.speaker != Speaker::Leveret {
            // RabbitMQ counts connections and channels a moment after they are open, or closed.
            std::thread::sleep(REFERENCE_COUNTS_AFTER);
        }
        self.played.log.push_str(&format!("    *   {}: login {credentials} {vhost}\n", step.connection));
        let [credentials, vhost] = [credentials, vhost].map(|text| text.replace("wf.", &self.prefix));
        let (user, password) = credentials.split_once(':').expect("user:password");
        let mut client = Client::socket(self.address);
        client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
        client.read_like(0, "connection.start…");
        client.send(&format!(
            "connection.start-ok mechanism=PLAIN response='\\0{user}\\0{password}' locale=en_US \
             client_properties={{connection_name=S:'{user}', capabilities=F:{{authentication_failure_close=t:true}}}}"
        ));
        let answer = client.read_like(0, "connection.tune…");
        assert_eq!(answer, "connection.tune…", "{credentials} logs in");
        client.send(&format!(
            "connection.tune-ok channel_max=2047 frame_max=131072 heartbeat=0 ; connection.open virtual_host={vhost}"
        ));
        self.clients.insert(step.connection.clone(), client);
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let address = self.address;
        self.clients.entry(name.to_owned()).or_insert_with(|| Client::connect(address, ""))
    }

    fn send(&mut self, step: &Step, line: &str) {
        self.played.log.push_str(&format!("    >   {}: ch{} {line}\n", step.connection, step.channel));
        self.note_declaration(line);
        let line =
            line.replace("wf.", &self.prefix).replace("$gen", &self.generated_name).replace("$reply", &self.reply_to);
        self.client(&step.connection).send_on(step.channel, &line);
    }

    fn read(&mut self, step: &Step, expected: &Expectation) -> String {
        let shape = expected.shape(self.speaker).replace("wf.", &self.prefix);
        let client = self.client(&step.connection);
        let actual = client.read_like(step.channel, &shape);
        let (generated, reply_to) = (client.generated_name.clone(), client.reply_to.clone());
        self.generated_name = generated.unwrap_or_else(|| self.generated_name.clone());
        self.reply_to = reply_to.unwrap_or_else(|| self.reply_to.clone());
        with_present_as_now(&actual.replace(&self.prefix, "wf."))
    }

    fn record(&mut self, step: &Step, expected: &Expectation, actual: String) {
        let holds = expected.holds(&actual, self.speaker);
        let mark = if holds { "<  " } else { "!! " };
        self.played.log.push_str(&format!("    {mark} {}: ch{} {actual}\n", step.connection, step.channel));
        if !holds {
            self.played.log.push_str(&format!("    expected: {}\n", expected.shape(self.speaker)));
        }
        self.played.outcomes.push(Outcome { expected: expected.clone(), actual });
    }

    fn note_declaration(&mut self, line: &str) {
        for (declare, key, delete) in [
            ("queue.declare", "queue=", "queue.delete queue="),
            ("exchange.declare", "exchange=", "exchange.delete exchange="),
        ] {
            if line.contains(declare) {
                let names = line.split(' ').filter_map(|word| word.strip_prefix(key));
                self.declared.extend(names.map(|name| (delete, name.replace("wf.", &self.prefix))));
            }
        }
    }

    /// A broker that lives on must not keep what was declared. Best effort: some of it belongs to nobody any more.
    fn clean_up(&mut self) {
        self.clients.clear();
        let mut client = Client::connect(self.address, "");
        for (delete, name) in std::mem::take(&mut self.declared) {
            if name.starts_with(&self.prefix) {
                client.send(&format!("{delete}{name}"));
                if !client.read_like(1, "delete-ok").contains("delete-ok") {
                    client = Client::connect(self.address, "");
                }
            }
        }
    }
}

/// Runs `check` over the scenarios, some at a time, and collects the failures it returns.
pub fn side_by_side(scenarios: &[Scenario], check: impl Fn(&Scenario) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PLAYED_AT_ONCE {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let attempt = std::panic::AssertUnwindSafe(|| check(scenario));
                    let failure = std::panic::catch_unwind(attempt)
                        .unwrap_or_else(|_| Some(format!("== {}\n    !!  panicked, see above\n", scenario.name)));
                    failures.lock().expect("no panic while held").extend(failure);
                }
            });
        }
    });
    Arc::into_inner(failures).expect("all threads have ended").into_inner().expect("no panic while held")
}
