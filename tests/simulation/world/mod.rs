//! The broker, its clients, the pipes between them and its disk; every step is compared with the model.
//!
//! | file | owns |
//! |---|---|
//! | `knobs` | what every broker of a life is set to |
//! | `pipes` | bytes on their way in either direction |
//! | `compare` | holding what the broker says against the model |
//! | `turns` | the loop's turns, and the steps of the disk |
//! | `ends` | ends and starts of brokers |

mod compare;
mod ends;
pub mod knobs;
mod pipes;
mod turns;

use crate::client::{Account, Client, Phase};
use crate::command::Command;
use crate::decree::{self, Decree, USERS, VHOSTS};
use crate::durable::{Durable, plan_fault};
use crate::model::{ClientId, Model, Tick, VhostKey};
use crate::operations::{PREPARING_CHANNEL, Plan};
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::transcript::Transcript;
use compare::Act;
use knobs::{HANDSHAKE_MS, Knobs, Pace, settings};
use leveret::broker::memory::message_memory_bytes;
use leveret::broker::store::LogPosition;
use leveret::broker::{Census, ConnectionId};
use leveret::server::Hub;
use leveret::storage::LogStore;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

const CLIENTS_MAX: usize = 5;
/// Decrees before most clients connect.
const FIRST_DECREES_MAX: usize = 12;
/// Further turns in which connections are closed whose user or virtual host is gone.
const TURNS_OF_AN_EVICTION: usize = 2;
/// Turns after the deletion of a virtual host in which what is in it goes.
const TURNS_OF_A_DELETION: usize = 3;
/// Largest chunk that reaches the broker at once, in bytes.
const CHUNK_MAX: usize = 64 * 1024;
const FRAME_MAX: u32 = 131_072;
/// Steps of the disk after which a log that doesn't settle has a problem.
const DISK_STEPS_MAX: usize = 10_000;

pub type Step = Result<(), String>;

pub struct World<'a> {
    hub: Hub<LogStore>,
    /// Whose outboxes are to be flushed.
    touched: Vec<ConnectionId>,
    durable: Durable,
    knobs: Knobs,
    /// How often a broker was started.
    starts: u8,
    /// Where somebody declared what others use, since the last start.
    prepared: BTreeSet<VhostKey>,
    /// When the answers to administrators are safe, and of which acts they are.
    answers: VecDeque<(LogPosition, Tick)>,
    /// Turns in which deleted virtual hosts may have something left to clear.
    deletions: usize,
    model: Model,
    plan: Plan,
    clients: Vec<Client>,
    random: Random,
    transcript: &'a mut Transcript,
    next_client: ClientId,
    now_ms: u64,
    memory_before: usize,
    pub life: Life,
}

/// What can be told of a run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Life {
    /// Of everything the broker said: the same seed must give the same.
    pub digest: u64,
    /// How often it said what.
    pub heard: BTreeMap<&'static str, u64>,
}

impl<'a> World<'a> {
    pub fn new(seed: u64, transcript: &'a mut Transcript) -> Self {
        let mut random = Random::new(seed);
        let now_ms = 1 + random.below(1_000_000) as u64;
        let knobs = Knobs::new(&mut random);
        let disk = SimDisk::default();
        let (hub, durable) = Durable::start(&disk, &knobs.log, settings(&knobs, 1), now_ms)
            .unwrap_or_else(|error| panic!("a fresh disk is refused: {error}"));
        plan_fault(&disk, &knobs.log, &mut random);
        let plan = Plan::new(&mut random, !knobs.pages);
        Self {
            hub,
            touched: Vec::new(),
            durable,
            knobs,
            starts: 1,
            prepared: BTreeSet::new(),
            answers: VecDeque::new(),
            deletions: 0,
            model: Model::new(now_ms),
            plan,
            clients: Vec::new(),
            random,
            transcript,
            next_client: 0,
            now_ms,
            memory_before: message_memory_bytes(),
            life: Life::default(),
        }
    }

    /// The whole of a life: random steps and restarts, rest, the end of all clients, and nothing left.
    pub fn run(&mut self, steps: usize) -> Step {
        self.connect_as_guest();
        for _ in 0..self.random.below(FIRST_DECREES_MAX) {
            self.govern()?;
        }
        self.connect_some();
        self.rest()?;
        for _ in 0..steps {
            self.step()?;
        }
        self.durable.disk().relent();
        self.rest()?;
        self.end()
    }

    fn step(&mut self) -> Step {
        self.prepare();
        if let Pace::Steps(count) = self.knobs.pace {
            for _ in 0..self.random.below(count + 1) {
                self.drive_disk()?;
            }
        }
        match self.random.below(1055) {
            1025.. => return self.govern(),
            1010..1025 => self.connect(),
            1000..1002 => return self.end_suddenly(),
            1002 => return self.stop_and_start(),
            1003..1008 => return self.look_ahead(),
            1008 | 1009 => {
                let is_low = self.durable.disk_room().is_low;
                self.durable.set_low(&mut self.hub, !is_low, self.now_ms);
            }
            0..10 => self.connect(),
            10..14 => return self.drop_someone(),
            14..40 => return self.pass_time(),
            40..50 => {
                if let Some(client) = self.someone() {
                    self.clients[client].paused ^= true;
                }
            }
            50..54 => return self.rest(),
            54..480 => {
                if let Some(client) = self.someone() {
                    self.plan.act(&mut self.clients[client], &self.model, &mut self.random);
                }
            }
            480..500 => {
                if let Some(client) = self.someone() {
                    self.clients[client].let_all_go();
                }
            }
            500..780 => {
                if let Some(client) = self.someone() {
                    let all = self.random.percent(40);
                    let count = if all { CHUNK_MAX } else { self.random.length(CHUNK_MAX) };
                    self.deliver(client, count)?;
                }
                if self.random.percent(80) {
                    return self.finish_turn();
                }
            }
            780..980 => {
                if let Some(client) = self.someone().filter(|client| !self.clients[*client].paused) {
                    let count = self.random.length(4 * CHUNK_MAX);
                    return self.take(client, count);
                }
            }
            _ => return self.finish_turn(),
        }
        Ok(())
    }

    fn someone(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.random.below(self.clients.len()))
    }

    /// Somebody connects: most know their password, and may have something to do where they want to.
    fn connect(&mut self) {
        let users = self.model.users();
        let user = if self.random.percent(35) { USERS[0].to_owned() } else { self.random.pick(&users).clone() };
        let vhosts = self.model.vhosts();
        let vhost = if self.random.percent(35) { VHOSTS[0].to_owned() } else { self.random.pick(&vhosts).clone() };
        let secret = if self.random.percent(95) { self.model.secret_of(&user) } else { "guessed" };
        let account = Account { user, secret: secret.to_owned(), vhost };
        self.connect_as(account);
    }

    fn connect_some(&mut self) {
        for _ in 0..1 + self.random.below(3) {
            self.connect();
        }
    }

    fn connect_as_guest(&mut self) {
        let [user, secret] = [USERS[0]; 2].map(str::to_owned);
        self.connect_as(Account { user, secret, vhost: VHOSTS[0].to_owned() });
    }

    fn connect_as(&mut self, account: Account) {
        if self.clients.len() >= CLIENTS_MAX {
            return;
        }
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let id = self.next_client;
        self.next_client += 1;
        let connection = self.hub.connect(address(50_000 + id as u16), address(5672));
        self.model.connect(id);
        self.transcript.note(|| format!("client {id} connects: {account:?}"));
        let client = Client::new(id, connection, account, &mut self.random, self.now_ms);
        self.clients.push(client);
    }

    /// Has somebody who reigns in a virtual host declare what others use there.
    fn prepare(&mut self) {
        let has_room =
            |client: &&mut Client| client.phase == Phase::Open && !client.channels.contains_key(&PREPARING_CHANNEL);
        for client in self.clients.iter_mut().filter(has_room) {
            if let Some(vhost) = self.model.reigns_in(client.id)
                && self.prepared.insert(vhost)
            {
                return self.plan.prepare(client, &mut self.random);
            }
        }
    }

    /// Somebody who administers the broker changes something.
    fn govern(&mut self) -> Step {
        let Some(decree) = decree::decree(&self.model, &mut self.random) else { return Ok(()) };
        self.carry_out(&decree)?;
        if self.random.percent(80)
            && let Some(consequence) = decree::consequence(&decree, &self.model, &mut self.random)
        {
            self.carry_out(&consequence)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, decree: &Decree) -> Step {
        self.compare(VecDeque::new())?;
        self.transcript.note(|| format!("{decree:?}"));
        let position = decree.carry_out(&mut self.hub);
        let act = self.model.decree(decree);
        self.answers.push_back((position, act));
        if let Decree::DeleteVhost { .. } = decree {
            self.deletions += TURNS_OF_A_DELETION;
        }
        let evicts = if self.model.is_anybody_doomed() { "eviction" } else { "decree" };
        *self.life.heard.entry(evicts).or_default() += 1;
        self.compare(VecDeque::new())
    }

    fn drop_someone(&mut self) -> Step {
        match self.someone() {
            Some(index) => self.lose(index, "vanishes"),
            None => Ok(()),
        }
    }

    fn lose(&mut self, index: usize, how: &str) -> Step {
        let client = self.clients.swap_remove(index);
        self.transcript.note(|| format!("client {} {how}", client.id));
        self.hub.disconnect(client.connection);
        self.compare(VecDeque::from([Act::Gone(client.id)]))
    }

    fn pass_time(&mut self) -> Step {
        let jump_ms = *self.random.pick(&[1, 1, 10, 60, 200, 1000, 6000, 25_000]);
        self.advance(jump_ms)
    }

    fn advance(&mut self, jump_ms: u64) -> Step {
        self.now_ms += jump_ms;
        let now_ms = self.now_ms;
        self.transcript.note(|| format!("{jump_ms} ms pass"));
        let mut over = self.hub.start_turn(now_ms).over;
        self.model.advance(now_ms);
        self.compare(VecDeque::new())?;
        for _ in 0..TURNS_OF_AN_EVICTION {
            if !self.model.is_anybody_doomed() {
                break;
            }
            if self.hub.next_deadline_ms() != Some(now_ms) {
                return Err("somebody is to be closed, and the broker waits".to_owned());
            }
            over.extend(self.hub.start_turn(now_ms).over);
            self.compare(VecDeque::new())?;
        }
        if self.model.is_anybody_doomed() {
            return Err("somebody is connected whose user or virtual host is gone".to_owned());
        }
        for connection in over {
            let index = self.clients.iter().position(|client| client.connection == connection);
            let index = index.ok_or("a connection is over that was closed before")?;
            let client = &self.clients[index];
            let silent_ms = now_ms - client.last_delivered_ms;
            let heartbeats = client.heartbeat_s > 0 && silent_ms >= u64::from(client.heartbeat_s) * 2000;
            let handshake = client.phase == Phase::Opening && now_ms - client.connected_ms >= HANDSHAKE_MS;
            let stopped = self.hub.connections().get(connection).and_then(|connection| connection.close_reason());
            if !heartbeats && !handshake && stopped.is_none() {
                return Err(format!("client {} is given up {silent_ms} ms after its last word", client.id));
            }
            self.lose(index, "is given up")?;
        }
        self.finish_turn()
    }

    fn delete_everything(&mut self) -> Step {
        while !self.clients.is_empty() {
            self.drop_someone()?;
        }
        self.finish_turn()?;
        while let Some(name) = self.model.vhosts().into_iter().find(|name| name != VHOSTS[0]) {
            self.carry_out(&Decree::DeleteVhost { name })?;
        }
        self.connect_as_guest();
        self.rest()?;
        if self.clients.is_empty() {
            return Err("nobody can connect any more".to_owned());
        }
        for queue in self.model.queue_names(self.clients[0].id) {
            let delete = Command::QueueDelete { queue, if_unused: false, if_empty: false, nowait: true };
            if self.clients[0].channels.is_empty() {
                self.clients[0].channels.insert(1, Default::default());
                self.clients[0].say(1, Command::ChannelOpen);
            }
            self.clients[0].say(1, delete);
        }
        self.rest()?;
        while !self.clients.is_empty() {
            self.drop_someone()?;
        }
        Ok(())
    }

    /// Everyone leaves, the queues are deleted: nothing may be left.
    fn end(&mut self) -> Step {
        if self.random.percent(30) {
            self.transcript.note(|| "the broker stops".to_owned());
            self.hub.close_where(|_| true, "broker forced connection closure with reason 'shutdown'");
            self.compare(VecDeque::from([Act::Stop]))?;
            self.rest()?;
        }
        loop {
            let starts = self.starts;
            self.delete_everything()?;
            if self.starts == starts {
                break;
            }
            // The disk failed in the middle of it, and what was not confirmed to be deleted may be back.
        }
        let census = self.hub.broker().census();
        if census != Census::default() {
            return Err(format!("nobody is there any more, but {census:?}"));
        }
        match message_memory_bytes() - self.memory_before {
            0 => Ok(()),
            left => Err(format!("no message is left, but {left} bytes of memory")),
        }
    }
}
