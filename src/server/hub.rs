//! The broker with its connections, without I/O: what the server drives with sockets, and the simulation with pipes.
//!
//! It owns who is connected, their timers, and the memory alarm. It never reads a clock, a socket or a file.

mod connections;
mod evictions;
mod greeter;
mod low_memory;
mod overdue;
mod visitors;

use super::alarms::log_alarm;
use super::direct::{Direct, DirectEffects};
use crate::broker::memory::held_memory_bytes;
use crate::broker::store::Store;
use crate::broker::{
    self, Broker, ConnectionId, Founding, MessageMemory, PressureLimits, QueuePressure, UserId, VhostId,
};
use crate::connection::{Alarm, Connection, Context, Outboxes, Phase, Settings, TimerOutcome, Verdict};
use crate::management::ResourceLimitChange;
use crate::reactor::TimerWheel;
use crate::storage::LogTotals;
pub use connections::Connections;
use connections::Member;
use evictions::Evictions;
use greeter::Greeter;
use low_memory::LowMemory;
use std::net::SocketAddr;
use visitors::Visitors;
pub use visitors::WhoIsIt;

/// Granularity of timers, in milliseconds.
const TIMER_TICK_MS: u64 = 10;

/// Bytes appended to the log and not given to its writer beyond which publishers are read no further for a moment.
pub(super) const LOG_PENDING_MAX_BYTES: usize = 24 << 20;

/// Rounds of delivering and sending in one turn, before others get their go.
const PUMP_ROUNDS_MAX: usize = 4;
/// Logins whose checks took their time and that are gone on with in one turn, so that others get theirs.
const VERDICTS_PER_TURN: usize = 128;

/// The room on the disk of the data folder, as it was when somebody last looked.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskRoom {
    /// Publishers are not read.
    pub is_low: bool,
    /// `None` when the system doesn't tell.
    pub free_bytes: Option<u64>,
    /// Below this it is low.
    pub limit_bytes: u64,
}

/// What there is to store messages in.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    /// Publishers are not read above `most_bytes`.
    pub message_memory: MessageMemory,
    pub disk_room: DiskRoom,
}

/// How the broker is.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Publishers are not read at the moment.
    pub alarm: Option<Alarm>,
    pub resources: Resources,
    /// On the clock that turns are started with.
    pub now_ms: u64,
}

/// Who hears of a new turn.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct TurnStart {
    /// Their time is up: their sockets are to be closed.
    pub over: Vec<ConnectionId>,
    /// They may be read again: an alarm is over; or they were closed, and the answer to that is still to come; or memory is
    /// not so low any more, or they hold less of it; or their logins were answered. Some may be gone since.
    pub unblocked: Vec<ConnectionId>,
}

pub struct HubSettings {
    pub connection: Settings,
    pub broker: broker::Settings,
    pub outbox_high_water_bytes: usize,
    pub pressure: PressureLimits,
}

pub struct Hub<S: Store> {
    ground: Ground<S>,
    connections: Connections,
    /// How often was delivered since there was last nothing to flush.
    pump_rounds: usize,
    timers: TimerWheel<ConnectionId>,
    expired_timers: Vec<ConnectionId>,
    /// The doorkeeper may have more verdicts than were taken.
    more_verdicts: bool,
    low_memory: LowMemory,
    evictions: Evictions,
    visitors: Visitors,
    pressure: PressureLimits,
    resources: Resources,
    /// What the log's writer had done when it reported last.
    log_totals: LogTotals,
    /// What somebody wants the limits of resources to be, until the loop looks.
    wanted_limits: ResourceLimitChange,
}

/// What a connection's commands work on.
struct Ground<S: Store> {
    broker: Broker<S>,
    outboxes: Outboxes,
    settings: Settings,
    greeter: Greeter,
    logins: u64,
    alarm: Option<Alarm>,
    now_ms: u64,
}

impl<S: Store> Ground<S> {
    fn is_memory_low(&self) -> bool {
        self.alarm.is_some_and(Alarm::is_of_memory)
    }

    #[inline]
    fn context(&mut self) -> Context<'_, S> {
        let Self { broker, outboxes, settings, greeter, logins, alarm, now_ms } = self;
        Context { broker, outboxes, settings, greeting: &greeter.greeting, logins, now_ms: *now_ms, alarm: *alarm }
    }
}

impl<S: Store> Hub<S> {
    pub fn new(settings: HubSettings, store: S, now_ms: u64) -> Self {
        let message_memory = settings.broker.message_memory;
        let ground = Ground {
            broker: Broker::new(settings.broker, store, now_ms),
            outboxes: Outboxes::new(settings.outbox_high_water_bytes, message_memory.most_bytes),
            greeter: Greeter::new(&settings.connection),
            settings: settings.connection,
            logins: 0,
            alarm: None,
            now_ms,
        };
        Self {
            ground,
            connections: Connections::default(),
            pump_rounds: 0,
            timers: TimerWheel::new(now_ms, TIMER_TICK_MS),
            expired_timers: Vec::new(),
            more_verdicts: false,
            low_memory: LowMemory::default(),
            evictions: Evictions::default(),
            visitors: Visitors::default(),
            pressure: settings.pressure,
            resources: Resources { message_memory, disk_room: DiskRoom::default() },
            log_totals: LogTotals::default(),
            wanted_limits: ResourceLimitChange::default(),
        }
    }

    /// [`new`](Self::new), with a first vhost and a first user: a hub that no log is behind.
    pub fn founded(settings: HubSettings, store: S, now_ms: u64, founding: Founding) -> Self {
        let mut hub = Self::new(settings, store, now_ms);
        hub.ground.broker.found(founding);
        hub
    }

    pub fn condition(&self) -> Condition {
        Condition { alarm: self.ground.alarm, resources: self.resources, now_ms: self.ground.now_ms }
    }

    /// What the log's writer had done by its last batch.
    pub fn log_totals(&self) -> LogTotals {
        self.log_totals
    }

    /// The log's writer reported a batch.
    pub fn note_log_totals(&mut self, totals: LogTotals) {
        self.log_totals = totals;
    }

    pub fn broker(&self) -> &Broker<S> {
        &self.ground.broker
    }

    pub fn broker_mut(&mut self) -> &mut Broker<S> {
        &mut self.ground.broker
    }

    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    pub fn outboxes(&self) -> &Outboxes {
        &self.ground.outboxes
    }

    /// Starts a turn at `now_ms`, on a clock that never goes back.
    pub fn start_turn(&mut self, now_ms: u64) -> TurnStart {
        self.ground.now_ms = now_ms;
        self.ground.broker.set_now(now_ms);
        self.ground.broker.come_due(&mut self.ground.outboxes);
        self.visitors.start_turn(now_ms, &mut self.ground.broker);
        self.go_on_evicting();
        self.close_overdue();
        self.more_verdicts = (0..VERDICTS_PER_TURN).all(|_| self.take_verdict());
        let mut over = Vec::new();
        let mut expired = std::mem::take(&mut self.expired_timers);
        self.timers.advance(now_ms, &mut expired);
        for id in expired.drain(..) {
            let mut context = self.ground.context();
            let Some(member) = self.connections.find(id) else { continue };
            member.timer = None;
            match member.connection.on_timer(&mut context) {
                TimerOutcome::Over => over.push(id),
                TimerOutcome::At(deadline_ms) => {
                    member.timer = Some((self.timers.insert(deadline_ms, id), deadline_ms))
                }
                TimerOutcome::Idle => {}
                TimerOutcome::Expired => {
                    let connection = &member.connection;
                    let user = connection.user().unwrap_or_default();
                    tracing::warn!(target: "auth", "{}: the token of user '{user}' has expired", connection.name());
                    self.force_close(id, "credential expired");
                }
            }
        }
        self.expired_timers = expired;
        TurnStart { over, unblocked: std::mem::take(&mut self.connections.unblocked) }
    }

    /// A turn that began at `began_us` ends, on a clock of its own.
    pub fn end_turn(&mut self, began_us: u64, now_us: u64) {
        self.ground.broker.end_turn(began_us, now_us);
    }

    /// When the next turn must start even if nothing else happens: now, if somebody may be read again, or there is more to
    /// do than a turn does.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let broker = &self.ground.broker;
        let broker_has_more = broker.has_touched()
            || broker.has_dead_letters()
            || broker.has_history_to_tell()
            || broker.is_settling()
            || self.evictions.are_pending();
        let has_verdict = self.more_verdicts || self.ground.settings.doorkeeper.has_verdict();
        if !self.connections.unblocked.is_empty() || has_verdict || broker_has_more {
            return Some(self.ground.now_ms);
        }
        let timers = self.timers.next_deadline_ms();
        let low_memory = self.low_memory.next_deadline_ms(self.ground.now_ms);
        let visitors = self.visitors.next_deadline_ms(self.ground.broker.unix_start_ms());
        timers.into_iter().chain(self.ground.broker.next_due_ms()).chain(low_memory).chain(visitors).min()
    }

    /// A client connected.
    pub fn connect(&mut self, peer: SocketAddr, local: SocketAddr) -> ConnectionId {
        self.ground.greeter.renew(&self.ground.settings, &self.ground.broker);
        let id = self.connections.next_id();
        let connection = Connection::new(id, peer, local, &self.ground.settings, self.ground.now_ms);
        let timer = connection.next_timer_ms().map(|deadline_ms| (self.timers.insert(deadline_ms, id), deadline_ms));
        let member = Member { connection, timer, short_queue: None, waits_to_finish: false, stepped_back_bytes: 0 };
        self.connections.members.insert(member);
        self.ground.outboxes.open(id, self.ground.settings.frame_max);
        id
    }

    /// The client's socket is gone, or is to go: gives back everything that it held.
    pub fn disconnect(&mut self, id: ConnectionId) {
        let mut context = self.ground.context();
        let mut member = self.connections.remove(id);
        member.connection.bury(&mut context);
        if let Some((key, _)) = member.timer {
            self.timers.cancel(key);
        }
        self.ground.outboxes.close(id);
        self.low_memory.forget(id, &mut member);
    }

    /// The connection for the caller's own receiving: partial frames and large bodies.
    pub fn connection_mut(&mut self, id: ConnectionId) -> &mut Connection {
        &mut self.connections.member(id).connection
    }

    /// Bytes arrived, following those of the last call (and the partial frame that the caller took).
    #[inline]
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        if self.evictions.are_pending() {
            self.evict_if_meant(id);
        }
        let mut context = self.ground.context();
        let member = self.connections.member(id);
        member.connection.receive(bytes, &mut context);
        self.low_memory.received_more(id, &member.connection);
        self.rearm(id);
    }

    /// Moves the connection's timer when its next deadline came closer. Later deadlines are noticed when it fires.
    fn rearm(&mut self, id: ConnectionId) {
        let member = self.connections.member(id);
        let Some(deadline_ms) = member.connection.next_timer_ms() else { return };
        match member.timer {
            Some((_, armed_ms)) if armed_ms <= deadline_ms => {}
            armed => {
                if let Some((key, _)) = armed {
                    self.timers.cancel(key);
                }
                member.timer = Some((self.timers.insert(deadline_ms, id), deadline_ms));
            }
        }
    }

    /// Goes on with a client whose [command waited](Connection::has_command_waiting), if it need not wait any more: what it
    /// sent behind that is handled, too. False when it has to wait, or another command has to.
    fn resume(&mut self, id: ConnectionId) -> bool {
        if !self.connections.member(id).connection.resume(&mut self.ground.context()) {
            return false;
        }
        self.receive_kept(id);
        self.connections.member(id).connection.end_judging(&mut self.ground.context());
        !self.connection_mut(id).has_command_waiting()
    }

    fn receive_kept(&mut self, id: ConnectionId) {
        let kept = self.connection_mut(id).take_kept();
        self.receive(id, &kept);
    }

    /// Lets those go on about whom the doorkeeper found out something. False when that is nobody. It may have gone since.
    fn take_verdict(&mut self) -> bool {
        let now_ms = self.ground.now_ms;
        let Some((ticket, verdict)) = self.ground.settings.doorkeeper.next_verdict(now_ms) else { return false };
        if let Verdict::Answered(inquiry, answer) = &verdict {
            self.ground.broker.note_answer(inquiry, answer.clone());
        }
        let Some(id) = ticket.connection else {
            self.visitors.answered(ticket, verdict, &mut self.ground.broker);
            return true;
        };
        let mut context = self.ground.context();
        if self
            .connections
            .find(id)
            .is_some_and(|member| member.connection.login_answered(ticket, verdict, &mut context))
        {
            // A token that follows another one is a command that waited, as is what needs a permission.
            match self.connection_mut(id).has_command_waiting() {
                true => _ = self.resume(id),
                false => self.receive_kept(id),
            }
            self.connections.unblocked.push(id);
        }
        true
    }

    /// Whether the client's socket, on which bytes are waiting, may be read now. A command of its that waited is handled
    /// before, if it need not wait any more.
    pub fn may_read(&mut self, id: ConnectionId) -> MayRead {
        let may_read = self.what_allows_reading(id);
        if may_read == MayRead::Later {
            let now_ms = self.ground.now_ms;
            self.connection_mut(id).note_unread(now_ms);
        }
        may_read
    }

    fn what_allows_reading(&mut self, id: ConnectionId) -> MayRead {
        let connection = &self.connections.member(id).connection;
        if connection.has_command_waiting() && !self.resume(id) {
            return MayRead::WhenResumed;
        }
        let connection = &self.connections.member(id).connection;
        if connection.phase() == Phase::AwaitingLogin {
            return MayRead::WhenLoggedIn;
        }
        if connection.is_blocked() {
            return MayRead::NotDuringAlarm;
        }
        let is_memory_low = self.ground.is_memory_low();
        if is_memory_low
            && self.low_memory.keeps_from_reading(id, self.connections.member(id), &mut self.ground.outboxes)
        {
            return MayRead::NotDuringAlarm;
        }
        let connection = &self.connections.member(id).connection;
        let log_is_behind = self.ground.broker.store().pending_bytes() > LOG_PENDING_MAX_BYTES;
        if connection.has_published() && (log_is_behind || self.ground.broker.is_paging_behind()) {
            // The publish with which it would be told of an alarm is not read.
            let connection = &mut self.connections.member(id).connection;
            connection.block_if_alarmed(&mut self.ground.context());
            return if connection.is_blocked() { MayRead::NotDuringAlarm } else { MayRead::Later };
        }
        let Member { connection, short_queue, .. } = self.connections.member(id);
        match connection.pressure_on_queues(self.pressure, short_queue, &mut self.ground.context()) {
            QueuePressure::None if !is_memory_low || self.low_memory.is_finishing(id) => MayRead::Now,
            QueuePressure::None | QueuePressure::Consumed => MayRead::Sparingly,
            QueuePressure::Drained => MayRead::Later,
        }
    }

    /// Delivers what can be delivered, and says for whom something was written since it was last flushed, one after the
    /// other. What is sent meanwhile makes room for more, which comes in the next round. `None` when there is nothing more to
    /// do, or others have waited long enough; the next call starts anew.
    pub fn next_to_flush(&mut self) -> Option<ConnectionId> {
        loop {
            if self.pump_rounds > 0
                && let Some(id) = self.ground.outboxes.next_touched()
            {
                return Some(id);
            }
            let goes_on = self.pump_rounds < PUMP_ROUNDS_MAX && self.ground.broker.has_touched();
            if self.pump_rounds > 0 && !goes_on {
                self.pump_rounds = 0;
                return None;
            }
            self.pump_rounds += 1;
            self.pump();
        }
    }

    /// As [`next_to_flush`](Self::next_to_flush), of confirms and answers alone: nothing is delivered.
    pub fn next_to_answer(&mut self) -> Option<ConnectionId> {
        self.ground.broker.flush_confirms(&mut self.ground.outboxes);
        self.ground.outboxes.release(self.ground.broker.durable());
        self.ground.outboxes.next_touched()
    }

    /// Delivers what can be delivered, confirms what can be confirmed, and lets answers go that waited for the log.
    fn pump(&mut self) {
        self.ground.broker.take_pages();
        self.ground.broker.pump(&mut self.ground.outboxes);
        while self.ground.broker.take_pages() {
            self.ground.broker.pump(&mut self.ground.outboxes);
        }
        self.ground.broker.relieve_memory();
        self.ground.broker.flush_confirms(&mut self.ground.outboxes);
        self.ground.outboxes.release(self.ground.broker.durable());
    }

    /// `count` bytes of the connection's outbox were sent.
    pub fn sent(&mut self, id: ConnectionId, count: usize) {
        self.ground.outboxes.sent(id, count);
        if count > 0 {
            self.connections.member(id).connection.note_sent(count, self.ground.now_ms);
        }
        if self.ground.outboxes.has_room(id) {
            if self.ground.broker.waits_for_room(id) {
                self.ground.broker.connection_drained(id);
            }
            if self.ground.outboxes.let_input_go_on(id) {
                self.connections.unblocked.push(id);
            }
        }
    }

    /// Notes which limits of resources somebody wants.
    pub fn limit_resources(&mut self, limits: ResourceLimitChange) {
        let ResourceLimitChange { memory_watermark, disk_free_limit } = limits;
        let wanted = &mut self.wanted_limits;
        wanted.memory_watermark = memory_watermark.or(wanted.memory_watermark);
        wanted.disk_free_limit = disk_free_limit.or(wanted.disk_free_limit);
    }

    /// The limits that were wanted since this was asked.
    pub fn take_wanted_limits(&mut self) -> ResourceLimitChange {
        std::mem::take(&mut self.wanted_limits)
    }

    /// Raises or clears the alarm, as the resources are now. True when it is over, and those who waited for that were told
    /// so.
    pub fn update_alarm(&mut self, resources: Resources) -> bool {
        if resources.message_memory != self.resources.message_memory {
            self.set_message_memory(resources.message_memory);
        }
        self.resources = resources;
        let used = held_memory_bytes();
        self.ground.outboxes.follow_memory(used);
        let watermark = resources.message_memory.most_bytes;
        let memory_was_low = self.ground.is_memory_low();
        let memory_low = self.low_memory.follow(used, watermark, self.ground.now_ms);
        let alarm = Alarm::of(memory_low, resources.disk_room.is_low);
        if alarm == self.ground.alarm {
            self.low_memory.let_next_finish(&mut self.connections, &self.ground, watermark);
            return false;
        }
        let was = self.ground.alarm;
        self.ground.alarm = alarm;
        self.ground.broker.tell_alarm("memory", was.is_some_and(Alarm::is_of_memory), memory_low);
        self.ground.broker.tell_alarm("disk", was.is_some_and(Alarm::is_of_disk), resources.disk_room.is_low);
        if memory_was_low && !memory_low {
            self.low_memory.let_all_finish(&mut self.connections, self.ground.now_ms);
        }
        let node = self.ground.broker.node_name();
        let means = format_args!("publishers are blocked until it clears (messages and clients hold {used} bytes)");
        log_alarm(node, "memory", was.is_some_and(Alarm::is_of_memory), memory_low, means);
        log_alarm(node, "disk", was.is_some_and(Alarm::is_of_disk), resources.disk_room.is_low, means);
        if alarm.is_none() {
            self.unblock_all();
        }
        alarm.is_none()
    }

    fn set_message_memory(&mut self, memory: MessageMemory) {
        self.low_memory.watermark_changed();
        self.ground.outboxes.set_memory_max(memory.most_bytes);
        self.ground.broker.set_message_memory(memory);
    }

    fn unblock_all(&mut self) {
        let mut context = self.ground.context();
        let Connections { members, unblocked, .. } = &mut self.connections;
        for (_, member) in members {
            if member.connection.unblock(&mut context) {
                unblocked.push(member.connection.id());
            }
        }
    }

    /// Carries out commands as a user in a vhost, on a channel of no client's, as management does: the same commands, the
    /// same rules. The channel and its connection last as long as `run`.
    pub fn directly<T>(&mut self, user: UserId, vhost: VhostId, run: impl FnOnce(&mut Direct<'_, S>) -> T) -> T {
        // No client can have this id meanwhile: nobody connects before `run` returns.
        let id = self.connections.next_id();
        self.ground.broker.open_connection(id, user, vhost);
        let channel = self.ground.broker.open_channel(id, 1);
        let caller = self.ground.broker.caller(channel);
        let effects = DirectEffects::new(id, &mut self.ground.outboxes);
        let message_size_max = self.ground.settings.message_size_max;
        let mut direct = Direct { broker: &mut self.ground.broker, caller, effects, message_size_max };
        let outcome = run(&mut direct);
        direct.broker.close_connection(id, &mut direct.effects);
        outcome
    }

    /// Closes all connections that are meant with 320. Says how many those are.
    pub fn close_where(&mut self, is_meant: impl Fn(&Connection) -> bool, explanation: &str) -> usize {
        let connections = self.connections.members.iter().map(|(_, member)| &member.connection);
        let meant: Vec<ConnectionId> =
            connections.filter(|connection| is_meant(connection)).map(Connection::id).collect();
        meant.iter().for_each(|id| self.force_close(*id, explanation));
        meant.len()
    }

    fn force_close(&mut self, id: ConnectionId, explanation: &str) {
        let Connections { members, unblocked, .. } = &mut self.connections;
        let connection = &mut members[id.0 as usize].connection;
        if connection.is_blocked() || connection.is_held_back() || connection.phase() == Phase::AwaitingLogin {
            unblocked.push(id);
        }
        connection.force_close(explanation, &mut self.ground.context());
        self.rearm(id);
    }
}

/// Whether a socket may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MayRead {
    Now,
    /// Little at a time: consumers of a queue that it publishes to must get their turn often, or memory is low.
    Sparingly,
    /// A queue that it publishes to is full but is being drained, or the disk is behind: ask again soon.
    Later,
    /// Not until a command that waits for the disk need not wait any more.
    WhenResumed,
    /// Not until its login was answered.
    WhenLoggedIn,
    /// Not until the alarm is over.
    NotDuringAlarm,
}
