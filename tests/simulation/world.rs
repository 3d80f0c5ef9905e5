//! The broker, its clients, the pipes between them and its disk; every step is compared with the model.

use crate::client::{Client, Phase};
use crate::command::Command;
use crate::durable::{Durable, End, look, options, plan_fault};
use crate::model::{ClientId, Fit, Model, Outlook, Survivors};
use crate::operations::Plan;
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::transcript::Transcript;
use crate::wire::{Event, Heard, parse_events};
use leveret::broker::memory::message_memory_bytes;
use leveret::broker::{self, Census, ConnectionId, MessageMemory, PressureLimits, VhostLimits};
use leveret::connection::{self, Connection, Doorkeeper, Identity, LoginRequest, Mechanism, Refusal, Verdict};
use leveret::server::{Failure, Hub, HubSettings, MayRead, Resources};
use leveret::storage::{LogOptions, LogStore, StorageError, SyncPolicy};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};

const CLIENTS_MAX: usize = 4;
/// Largest chunk that reaches the broker at once, in bytes.
const CHUNK_MAX: usize = 64 * 1024;
const FRAME_MAX: u32 = 131_072;
/// Pumps in a row until nothing is left to deliver: far more than any life here needs.
const PUMPS_MAX: usize = 1000;
/// How long the broker waits for a handshake, in milliseconds.
const HANDSHAKE_MS: u64 = 10_000;
/// More slices than an outbox here ever has.
const SLICES_MAX: usize = 4096;
/// Rounds after which a world that doesn't come to rest has a problem.
const QUIET_ROUNDS_MAX: usize = 1000;

/// Steps of the disk after which a log that doesn't settle has a problem.
const DISK_STEPS_MAX: usize = 10_000;

/// Starts that may fail one after the other.
const STARTS_MAX: usize = 100;

/// What the broker said to each client and the model has not followed yet, each with where it ends.
type Events = BTreeMap<ClientId, VecDeque<(u64, u16, Event)>>;

pub type Step = Result<(), String>;

struct Anyone;

impl Doorkeeper for Anyone {
    fn ask(&self, LoginRequest { credentials, .. }: LoginRequest) -> Option<Verdict> {
        let is_guest = (&*credentials.user, &*credentials.password) == (b"guest", b"guest");
        Some(if is_guest { Verdict::Allowed } else { Verdict::Refused(Refusal::InvalidCredentials) })
    }
}

/// What every broker of a life is set to.
struct Knobs {
    outbox_high_water_bytes: usize,
    message_memory: MessageMemory,
    backlog_messages: usize,
    log: LogOptions,
    pace: Pace,
    /// Messages move to disk and back, and may come from the log while the broker serves. When one is over that is not in
    /// memory, it goes when it comes back, and until then it counts; so in such lives none is ever over.
    pages: bool,
}

/// Whether the log says that the broker before stopped in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleanness {
    Certain,
    /// It did, and a start that failed has written since; or it was about to.
    Possible,
    None,
}

/// How the disk keeps up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// Everything is safe at the end of every turn.
    AtOnce,
    /// So many steps of the disk for each of the world.
    Steps(usize),
}

impl Knobs {
    fn new(random: &mut Random) -> Self {
        let is_scarce = random.percent(15);
        // Who holds much would have to wait for messages until others settle theirs.
        let pages = !is_scarce && random.percent(40);
        Self {
            outbox_high_water_bytes: *random.pick(&[1, 1000, 5000, 64 * 1024, 256 * 1024]),
            message_memory: MessageMemory {
                paging_bytes: if pages && random.percent(70) { 10_000 } else { usize::MAX },
                most_bytes: if is_scarce { 20_000 } else { usize::MAX },
            },
            backlog_messages: *random.pick(&[2, 20, 1000]),
            log: options(random, pages),
            pages,
            pace: *random.pick(&[Pace::AtOnce, Pace::Steps(1), Pace::Steps(2), Pace::Steps(6)]),
        }
    }
}

/// The settings of the `start`th broker.
fn settings(knobs: &Knobs, start: u8) -> HubSettings {
    HubSettings {
        connection: connection::Settings {
            identity: Identity::Leveret,
            cluster_name: "simulation".to_owned(),
            mechanisms: vec![Mechanism::Plain],
            doorkeeper: Box::new(Anyone),
            channel_max: 2047,
            frame_max: FRAME_MAX,
            message_size_max: 1 << 20,
            heartbeat_s: 60,
            handshake_timeout_ms: HANDSHAKE_MS,
            authentication_failure_delay_ms: 1000,
        },
        broker: broker::Settings {
            seed: [start; 32],
            unix_start_ms: 0,
            vhost_limits: VhostLimits::default(),
            transaction_max_bytes: 1 << 30,
            message_memory: knobs.message_memory,
        },
        outbox_high_water_bytes: knobs.outbox_high_water_bytes,
        pressure: PressureLimits { backlog_messages: knobs.backlog_messages, floor_messages_per_s: 20 },
    }
}

/// Something that happens to the broker from outside, as the model is told.
enum Act {
    Said(ClientId, u16, Command),
    /// The second half of a tx.commit.
    CommitFinished,
    Gone(ClientId),
    Stop,
}

pub struct World<'a> {
    hub: Hub<LogStore>,
    /// Whose outboxes are to be flushed.
    touched: Vec<ConnectionId>,
    durable: Durable,
    knobs: Knobs,
    /// How often a broker was started.
    starts: u8,
    /// Nobody declared anything since the last start.
    bare: bool,
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
            bare: true,
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
        self.connect();
        self.connect();
        self.rest()?;
        for _ in 0..steps {
            self.step()?;
        }
        self.durable.disk().relent();
        self.rest()?;
        self.end()
    }

    fn step(&mut self) -> Step {
        if self.bare
            && let Some(client) = self.clients.iter_mut().find(|client| client.phase == Phase::Open)
            && client.channels.is_empty()
        {
            self.plan.prepare(client, &mut self.random);
            self.bare = false;
        }
        if let Pace::Steps(count) = self.knobs.pace {
            for _ in 0..self.random.below(count + 1) {
                self.drive_disk()?;
            }
        }
        match self.random.below(1010) {
            1000..1002 => return self.end_suddenly(),
            1002 => return self.stop_and_start(),
            1003..1008 => return self.look_ahead(),
            1008.. => {
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

    fn connect(&mut self) {
        if self.clients.len() >= CLIENTS_MAX {
            return;
        }
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let id = self.next_client;
        self.next_client += 1;
        let connection = self.hub.connect(address(50_000 + id as u16), address(5672));
        self.model.connect(id);
        let client = Client::new(id, connection, &mut self.random, self.now_ms);
        self.transcript.note(|| format!("client {id} connects, frame_max {}", client.frame_max));
        self.clients.push(client);
    }

    /// Up to `count` bytes of a client reach the broker.
    fn deliver(&mut self, index: usize, count: usize) -> Step {
        let client = &mut self.clients[index];
        let (id, connection) = (client.id, client.connection);
        let count = client.deliverable(count);
        if count == 0 || !matches!(self.hub.may_read(connection), MayRead::Now | MayRead::Sparingly) {
            return Ok(());
        }
        let (bytes, commands) = client.deliver(count);
        client.last_delivered_ms = self.now_ms;
        let delivered_bytes = client.delivered_bytes();
        self.transcript.note(|| {
            let commands: Vec<String> =
                commands.iter().map(|(_, number, command)| format!("{number}: {command:?}")).collect();
            format!("client {id} → {count} bytes [{}]", commands.join(" | "))
        });
        let mut said: VecDeque<(u64, Act)> =
            commands.into_iter().map(|(end, number, command)| (end, Act::Said(id, number, command))).collect();
        self.receive(connection, &bytes);
        self.compare_handled(connection, delivered_bytes, &mut said)?;
        for _ in 0..DISK_STEPS_MAX {
            if !self.has_command_waiting(connection) {
                return self.let_go_if_finished(index);
            }
            match self.resume(connection) {
                Ok(true) => {}
                // It waits for its client to read.
                Ok(false) if self.read(index, usize::MAX)? => {}
                Ok(false) => break,
                Err(failure) => return self.fail(failure),
            }
            self.compare_handled(connection, delivered_bytes, &mut said)?;
        }
        Err(format!("client {id}: a command waits for ever"))
    }

    /// Hands bytes over as a socket would: behind the partial frame, or straight into the message that they belong to.
    fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let state = self.hub.connection_mut(connection);
        let mut buffer = vec![0; state.partial_len()];
        state.take_partial(&mut buffer);
        if self.random.percent(5) {
            // Nothing came after all; the bytes come with the next attempt.
            state.keep_partial(&buffer);
            state.take_partial(&mut buffer);
        }
        let mut streamed = 0;
        if let Some((body, remaining)) = state.stream_target()
            && self.random.percent(70)
        {
            streamed = remaining.min(bytes.len()).min(body.capacity() - body.len());
            body.extend_from_slice(&bytes[..streamed]);
            state.note_streamed(streamed, self.now_ms);
        }
        buffer.extend(&bytes[streamed..]);
        self.hub.receive(connection, &buffer);
    }

    /// A client reads up to `count` bytes.
    fn take(&mut self, index: usize, count: usize) -> Step {
        if !self.read(index, count)? {
            return Ok(());
        }
        if self.let_go_if_finished(index).is_ok() && self.random.percent(80) {
            return self.finish_turn();
        }
        Ok(())
    }

    /// Whether there was anything to read.
    fn read(&mut self, index: usize, count: usize) -> Result<bool, String> {
        let scarce = self.memory_may_be_scarce();
        let client = &mut self.clients[index];
        let sent = read_outbox(self.hub.outboxes().get(client.connection), count);
        let count = sent.len();
        if count == 0 {
            return Ok(false);
        }
        if !client.from_broker.drain(..count).eq(sent) {
            return Err(format!("client {}: what is sent is not what was written", client.id));
        }
        let id = client.id;
        self.transcript.note(|| format!("client {id} reads {count} bytes"));
        self.hub.sent(client.connection, count);
        let is_full = match scarce {
            true => self.hub.broker().waits_for_room(client.connection),
            false => client.from_broker.len() >= self.knobs.outbox_high_water_bytes,
        };
        client.full &= is_full;
        client.take(count, self.now_ms);
        Ok(true)
    }

    /// The connection is over and everything was sent: the socket closes.
    fn let_go_if_finished(&mut self, index: usize) -> Step {
        if self.hub.outboxes().get(self.clients[index].connection).is_finished() {
            self.lose(index, "is done")
        } else {
            Ok(())
        }
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
        let over = self.hub.start_turn(now_ms).over;
        self.model.advance(now_ms);
        self.compare(VecDeque::new())?;
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

    /// What the broker does when it has read everyone: deliver, confirm, flush.
    fn finish_turn(&mut self) -> Step {
        self.durable.hand_over(&mut self.hub, self.now_ms);
        self.pump()?;
        self.update_alarm(self.hub.condition().resources.message_memory);
        self.compare(VecDeque::new())?;
        self.durable.hand_over_pages(&mut self.hub);
        self.audit_turn(false)?;
        if self.knobs.pace == Pace::AtOnce { self.settle_disk() } else { Ok(()) }
    }

    fn update_alarm(&mut self, message_memory: MessageMemory) {
        self.hub.update_alarm(Resources { message_memory, disk_room: self.durable.disk_room() });
    }

    fn deliver_all(&mut self) {
        self.touched.extend(std::iter::from_fn(|| self.hub.next_to_flush()));
    }

    fn pump(&mut self) -> Step {
        for _ in 0..PUMPS_MAX {
            self.deliver_all();
            let touched = std::mem::take(&mut self.touched);
            for client in &self.clients {
                let written = self.hub.outboxes().get(client.connection).len();
                if !client.is_flushed(written) && !touched.contains(&client.connection) {
                    return Err(format!("client {}: its outbox was written to and not listed", client.id));
                }
            }
            self.compare(VecDeque::new())?;
            self.clients.iter_mut().for_each(Client::note_flush);
            if !self.hub.broker().has_touched() {
                return Ok(());
            }
        }
        Err(format!("there is still something to deliver after {PUMPS_MAX} pumps"))
    }

    fn audit_turn(&mut self, is_safe: bool) -> Step {
        // A message that is not in memory may be one that a consumer could have.
        let all_are_here = !self.durable.pages_are_away();
        let room = self.clients.iter().map(|client| (client.id, !client.full && all_are_here));
        let room: BTreeMap<ClientId, bool> = room.collect();
        self.model.audit_turn(|client| room.get(&client) == Some(&true), is_safe)
    }

    /// Reads what the broker wrote since it was last looked at, and has the model follow it and `acts`.
    ///
    /// Acts and everything written to one client are in order, but not against each other. An event that fits is taken
    /// as soon as it fits, an act only when no event does: nothing that is right is refused that way, as long as no act
    /// follows that [settles whatever is there](Command::settles_whatever_is_there). Such acts come alone.
    fn compare(&mut self, mut acts: VecDeque<Act>) -> Step {
        let few_acts = acts.len() <= 1;
        let mut events = self.tap()?;
        loop {
            let mut moved = false;
            for index in 0..self.clients.len() {
                let id = self.clients[index].id;
                while let Some((end, number, event)) = events.get(&id).and_then(VecDeque::front) {
                    let passes_over = few_acts && self.passes_over(id, *number, event, &events);
                    if self.model.observe(id, *number, event) == Fit::NotYet {
                        break;
                    }
                    if passes_over {
                        return Err(format!("client {id}, {number}: {} although it was another's turn", brief(event)));
                    }
                    let acts = self.model.take_promises().into_iter();
                    self.clients[index].promises.extend(acts.map(|act| (*end, act)));
                    self.note_unready(few_acts, &events);
                    events.get_mut(&id).expect("it was there").pop_front();
                    moved = true;
                }
            }
            if moved {
                continue;
            }
            match acts.pop_front() {
                Some(Act::Said(id, number, command)) => {
                    self.model.apply(id, number, &command);
                    if matches!(command, Command::TxCommit) {
                        acts.push_front(Act::CommitFinished);
                    }
                }
                Some(Act::CommitFinished) => self.model.finish_commit(),
                Some(Act::Gone(id)) => self.model.disconnect(id),
                Some(Act::Stop) => self.model.stop(),
                None => break,
            }
            self.note_unready(few_acts, &events);
        }
        for (id, events) in events {
            if let Some((_, number, event)) = events.front() {
                let known = self.clients.iter().any(|client| client.id == id);
                debug_assert!(known);
                self.model.observe(id, *number, event);
                let objection = self.model.objection();
                return Err(format!("client {id}, channel {number}: {}: {objection}", brief(event)));
            }
        }
        self.keep_promises();
        Ok(())
    }

    /// What a client can read by now must be safe.
    fn keep_promises(&mut self) {
        for client in &mut self.clients {
            if client.promises.is_empty() {
                continue;
            }
            let readable = read_outbox(self.hub.outboxes().get(client.connection), usize::MAX).len() as u64;
            while client.promises.front().is_some_and(|(end, _)| *end <= client.taken_bytes + readable)
                && let Some((_, act)) = client.promises.pop_front()
            {
                self.model.promise(act);
            }
        }
    }

    fn passes_over(&self, id: ClientId, number: u16, event: &Event, events: &Events) -> bool {
        let Event::Deliver { consumer_tag, .. } = event else { return false };
        self.model.passed_over(id, number, consumer_tag, |other| outlook(&self.clients, events, other))
    }

    /// Among several acts nobody knows when which of them came to be, so nobody is surely ready.
    fn note_unready(&mut self, few_acts: bool, events: &Events) {
        let nothing = Outlook { has_room: false, is_quiet: false };
        self.model.note_unready(|id| if few_acts { outlook(&self.clients, events, id) } else { nothing });
    }

    /// The broker may hold deliveries back for less than what is usual, and says itself from whom.
    fn memory_may_be_scarce(&self) -> bool {
        self.knobs.message_memory.most_bytes < usize::MAX
    }

    fn tap(&mut self) -> Result<Events, String> {
        let scarce = self.memory_may_be_scarce();
        let mut all = BTreeMap::new();
        for client in &mut self.clients {
            let outbox = self.hub.outboxes().get(client.connection);
            let known = client.from_broker.len();
            if outbox.len() == known {
                continue;
            }
            let fresh = outbox.peek(known);
            let start = client.tapped_bytes;
            let frame_max = if client.phase == Phase::Opening { FRAME_MAX } else { client.frame_max };
            let heard = parse_events(&fresh, frame_max as usize);
            let heard = heard.map_err(|error| format!("client {}: {error}", client.id))?;
            for octet in &fresh {
                self.life.digest = (self.life.digest ^ u64::from(*octet)).wrapping_mul(0x100_0000_01B3);
            }
            client.tapped(&fresh, &heard, self.knobs.outbox_high_water_bytes);
            client.full |= scarce && self.hub.broker().waits_for_room(client.connection);
            let id = client.id;
            let mut events = VecDeque::new();
            for Heard { end, channel, event } in heard {
                self.transcript.note(|| format!("    client {id}, {channel} ← {}", brief(&event)));
                *self.life.heard.entry(kind(&event)).or_default() += 1;
                events.push_back((start + end as u64, channel, event));
            }
            all.insert(id, events);
        }
        Ok(all)
    }

    /// Everything under way arrives; then the broker's counts must be the model's.
    fn rest(&mut self) -> Step {
        self.transcript.note(|| "all bytes arrive".to_owned());
        for _ in 0..QUIET_ROUNDS_MAX {
            let mut quiet = true;
            for id in self.clients.iter().map(|client| client.id).collect::<Vec<_>>() {
                for taking in [false, true] {
                    let Some(index) = self.clients.iter().position(|client| client.id == id) else { continue };
                    let client = &mut self.clients[index];
                    client.let_all_go();
                    let waiting = self.hub.outboxes().get(client.connection).len();
                    quiet &= waiting == 0 && client.undelivered() == 0;
                    match taking {
                        true => self.take(index, waiting)?,
                        false => self.deliver(index, CHUNK_MAX)?,
                    }
                }
            }
            self.finish_turn()?;
            self.settle_disk()?;
            if quiet && self.clients.iter().all(|client| self.hub.outboxes().get(client.connection).is_empty()) {
                return self.model.audit_census(&self.hub.broker().census());
            }
            if self.hub.condition().alarm.is_some() {
                self.durable.set_low(&mut self.hub, false, self.now_ms);
                self.update_alarm(MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX });
                self.compare(VecDeque::new())?;
            }
            if self.clients.iter().any(|client| client.undelivered() > 0) {
                // Publishers may have to wait for a queue to drain.
                self.advance(50)?;
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// One of the log's workers goes on by a step, and the loop hears of it now or later; or the broker ends. False when
    /// there is nothing to do.
    fn drive_disk(&mut self) -> Result<bool, String> {
        let has_stepped = self.durable.step(&mut self.random);
        if has_stepped && self.random.percent(30) {
            return Ok(true);
        }
        if !has_stepped && !self.durable.owes_something() {
            return Ok(false);
        }
        if !has_stepped && let Err(failure) = self.durable.look_at_disk(&mut self.hub, self.now_ms) {
            return self.fail(failure).map(|()| true);
        }
        self.begin_turn()?;
        Ok(true)
    }

    /// What the loop does first when it is woken.
    fn begin_turn(&mut self) -> Step {
        if let Err(failure) = self.durable.take_reports(&mut self.hub) {
            return self.fail(failure);
        }
        self.compare(VecDeque::new())?;
        self.pump()?;
        self.durable.hand_over_pages(&mut self.hub);
        Ok(())
    }

    /// The log does all that anybody waits for, and then that is safe. What it does of its own accord may wait.
    fn settle_disk(&mut self) -> Step {
        for _ in 0..DISK_STEPS_MAX {
            self.durable.hand_over(&mut self.hub, self.now_ms);
            if !self.durable.owes_something() {
                return self.audit_turn(true);
            }
            self.drive_disk()?;
        }
        Err(format!("the log never settles: {}", self.durable.describe()))
    }

    fn has_command_waiting(&self, connection: ConnectionId) -> bool {
        self.hub.connections().get(connection).is_some_and(Connection::has_command_waiting)
    }

    /// The model hears of those commands that the broker has handled: what stands behind one that waits, it has not.
    fn compare_handled(
        &mut self,
        connection: ConnectionId,
        delivered_bytes: u64,
        said: &mut VecDeque<(u64, Act)>,
    ) -> Step {
        let waiting = self.hub.connections().get(connection).filter(|connection| connection.has_command_waiting());
        let handled_bytes = delivered_bytes - waiting.map_or(0, Connection::partial_len) as u64;
        let mut acts = VecDeque::new();
        while said.front().is_some_and(|(end, _)| *end <= handled_bytes)
            && let Some((_, act)) = said.pop_front()
        {
            acts.push_back(act);
        }
        self.compare(acts)
    }

    /// Goes a step towards what a command waits for: messages that are not in memory. False when it waits for its client.
    fn resume(&mut self, connection: ConnectionId) -> Result<bool, Failure> {
        if self.hub.may_read(connection) != MayRead::WhenResumed {
            return Ok(true);
        }
        self.durable.hand_over_pages(&mut self.hub);
        if !self.durable.pages_are_away() {
            return Ok(false);
        }
        if !self.durable.step(&mut self.random) {
            self.durable.look_at_disk(&mut self.hub, self.now_ms)?;
        }
        self.durable.take_reports(&mut self.hub)?;
        self.deliver_all();
        Ok(true)
    }

    fn fail(&mut self, failure: Failure) -> Step {
        match failure {
            Failure::Log(error) => self.failed(error, Cleanness::None),
            Failure::Pages(error) | Failure::Loading(error) => Err(format!("messages are lost: {error}")),
        }
    }

    /// The log failed, and the program with it.
    fn failed(&mut self, error: StorageError, cleanness: Cleanness) -> Step {
        self.transcript.note(|| format!("the log fails: {error}"));
        *self.life.heard.entry("failed disk").or_default() += 1;
        self.restart(
            if self.knobs.log.sync_policy == SyncPolicy::Always { End::PowerCut } else { End::Killed },
            cleanness,
        )
    }

    fn end_suddenly(&mut self) -> Step {
        let is_relaxed = self.knobs.log.sync_policy != SyncPolicy::Always;
        let is_killed = is_relaxed || self.random.percent(40);
        self.restart(if is_killed { End::Killed } else { End::PowerCut }, Cleanness::None)
    }

    fn stop_and_start(&mut self) -> Step {
        self.transcript.note(|| "the broker stops".to_owned());
        self.hub.close_where(|_| true, "broker forced connection closure with reason 'shutdown'");
        self.compare(VecDeque::from([Act::Stop]))?;
        while !self.clients.is_empty() {
            self.drop_someone()?;
        }
        match self.durable.stop(&mut self.hub) {
            Ok(()) => self.restart(End::Stopped, Cleanness::Certain),
            Err(error) => self.failed(error, Cleanness::Possible),
        }
    }

    /// What would be there if the power were cut now, or the program killed? All goes on as if nobody had asked.
    fn look_ahead(&mut self) -> Step {
        let is_killed = self.random.percent(30);
        let end = if is_killed { End::Killed } else { End::PowerCut };
        let disk = self.disk_after(&self.durable.disk().clone(), end);
        self.transcript.note(|| "what if it ended here?".to_owned());
        *self.life.heard.entry("look ahead").or_default() += 1;
        self.find(&disk, Cleanness::None).map(drop)
    }

    fn disk_after(&mut self, disk: &SimDisk, end: End) -> SimDisk {
        let seed = self.random.next();
        let loses = end == End::PowerCut && self.knobs.log.sync_policy == SyncPolicy::Always;
        if loses { disk.after_crash(seed) } else { disk.after_stop() }
    }

    /// Compares what a start on that disk finds with what the model says.
    fn find(&mut self, disk: &SimDisk, cleanness: Cleanness) -> Result<Survivors, String> {
        let mut settings = settings(&self.knobs, 0);
        settings.broker.message_memory = MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX };
        let (found, clean) = look(disk, &self.knobs.log, settings)?;
        match cleanness {
            Cleanness::Certain if !clean => Err("an orderly stop is not known as one".to_owned()),
            Cleanness::None if clean => Err("what was no orderly stop is taken for one".to_owned()),
            _ => self.model.survivors(&found, clean),
        }
    }

    /// The broker has ended, and another one starts on what is on the disk.
    fn restart(&mut self, end: End, mut cleanness: Cleanness) -> Step {
        self.transcript.note(|| format!("the broker has ended: {end:?}"));
        *self.life.heard.entry(end.name()).or_default() += 1;
        self.clients.clear();
        let mut disk = self.disk_after(&self.durable.disk().clone(), end);
        for _ in 0..STARTS_MAX {
            let survivors = self.find(&disk, cleanness)?;
            plan_fault(&disk, &self.knobs.log, &mut self.random);
            self.starts = self.starts.wrapping_add(1);
            match Durable::start(&disk, &self.knobs.log, settings(&self.knobs, self.starts), self.now_ms) {
                Ok((hub, durable)) => {
                    (self.hub, self.durable) = (hub, durable);
                    self.touched.clear();
                    self.model.restart(survivors);
                    self.bare = true;
                    self.advance(0)?;
                    self.connect();
                    self.connect();
                    return Ok(());
                }
                Err(error) if disk.has_failed() => {
                    self.transcript.note(|| format!("it doesn't start: {error}"));
                    disk = self.disk_after(&disk, End::PowerCut);
                    if cleanness == Cleanness::Certain {
                        cleanness = Cleanness::Possible;
                    }
                }
                Err(error) => return Err(format!("it doesn't start: {error}")),
            }
        }
        Err("it never starts".to_owned())
    }

    fn delete_everything(&mut self) -> Step {
        while !self.clients.is_empty() {
            self.drop_someone()?;
        }
        self.finish_turn()?;
        self.connect();
        self.rest()?;
        if self.clients.is_empty() {
            return Err("nobody can connect any more".to_owned());
        }
        for queue in self.model.queue_names() {
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

fn outlook(clients: &[Client], events: &Events, id: ClientId) -> Outlook {
    let client = clients.iter().find(|client| client.id == id);
    Outlook {
        has_room: client.is_some_and(|client| !client.full),
        is_quiet: events.get(&id).is_none_or(VecDeque::is_empty),
    }
}

/// Up to `count` bytes of those that an outbox gives away.
fn read_outbox(outbox: &connection::Outbox, count: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); SLICES_MAX.min(outbox.len())];
    let filled = outbox.io_slices(&mut slices);
    let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    bytes.truncate(count);
    bytes
}

/// Bodies above this size are counted apart, in bytes.
const LARGE: usize = 100_000;

fn kind(event: &Event) -> &'static str {
    use crate::wire::Reply;
    match event {
        Event::Deliver { content, .. } if content.body.len() > LARGE => "large delivery",
        Event::Deliver { redelivered: true, .. } => "redelivery",
        Event::Deliver { .. } => "delivery",
        Event::Confirm { multiple: true, .. } => "multiple confirm",
        Event::Confirm { .. } => "confirm",
        Event::Cancelled(_) => "cancellation",
        Event::Blocked => "blocked",
        Event::Unblocked => "unblocked",
        Event::Heartbeat => "heartbeat",
        Event::Reply(Reply::GetOk { .. }) => "get-ok",
        Event::Reply(Reply::Return(_)) => "return",
        Event::Reply(Reply::ChannelClose(..)) => "channel exception",
        Event::Reply(Reply::ConnectionClose(320)) => "shutdown",
        Event::Reply(Reply::ConnectionClose(_)) => "connection exception",
        Event::Reply(Reply::Plain(90, 21)) => "commit",
        Event::Reply(Reply::Plain(90, 31)) => "rollback",
        Event::Reply(Reply::Plain(60, 111)) => "recovery",
        Event::Reply(_) => "other answer",
    }
}

fn brief(event: &Event) -> String {
    use crate::message::describe;
    use crate::wire::Reply;
    match event {
        Event::Deliver { consumer_tag, delivery_tag, redelivered, content } => {
            format!("deliver {delivery_tag} to {consumer_tag} redelivered={redelivered}: {}", describe(content))
        }
        Event::Reply(Reply::GetOk { delivery_tag, redelivered, message_count, content }) => {
            let content = describe(content);
            format!("get-ok {delivery_tag} redelivered={redelivered}, {message_count} more: {content}")
        }
        Event::Reply(Reply::Return(content)) => format!("return {}", describe(content)),
        other => format!("{other:?}"),
    }
}
