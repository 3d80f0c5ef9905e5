//! The broker with its connections, without I/O: what the server drives with sockets, and the simulation with pipes.
//!
//! It owns who is connected, their timers, and the memory alarm. It never reads a clock, a socket or a file.

mod low_memory;

use super::direct::{Direct, DirectEffects};
use crate::broker::memory::held_memory_bytes;
use crate::broker::store::Store;
use crate::broker::{self, Broker, ConnectionId, MessageMemory, PressureLimits, QueuePressure, ShortQueue};
use crate::connection::{
    Alarm, Connection, Context, LoginTicket, Outboxes, Phase, Settings, TimerOutcome, Verdict, greeting,
};
use crate::reactor::{TimerKey, TimerWheel};
use low_memory::LowMemory;
use slab::Slab;
use std::net::SocketAddr;

/// Granularity of timers, in milliseconds.
const TIMER_TICK_MS: u64 = 10;

/// Bytes appended to the log and not given to its writer beyond which publishers are read no further for a moment.
pub(super) const LOG_PENDING_MAX_BYTES: usize = 24 << 20;

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

/// How the broker is.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Publishers are not read at the moment.
    pub alarm: Option<Alarm>,
    pub disk_room: DiskRoom,
    /// Memory of messages and clients above which publishers are not read, in bytes.
    pub memory_watermark_bytes: usize,
    pub connections: usize,
    /// On the clock that turns are started with.
    pub now_ms: u64,
}

pub struct HubSettings {
    pub connection: Settings,
    pub broker: broker::Settings,
    pub outbox_high_water_bytes: usize,
    pub pressure: PressureLimits,
}

struct Member {
    connection: Connection,
    timer: Option<(TimerKey, u64)>,
    /// One that it published to lately: others do not hold it back for good meanwhile.
    short_queue: Option<ShortQueue>,
    /// In the list of those who wait to finish what they are sending.
    waits_to_finish: bool,
    /// What it had sent of it when it made room for others; 0 if it did not.
    stepped_back_bytes: usize,
}

pub struct Hub<S: Store> {
    ground: Ground<S>,
    members: Slab<Member>,
    timers: TimerWheel<ConnectionId>,
    expired_timers: Vec<ConnectionId>,
    /// Those who may be read again.
    unblocked: Vec<ConnectionId>,
    low_memory: LowMemory,
    pressure: PressureLimits,
    memory_watermark_bytes: usize,
    disk_room: DiskRoom,
}

/// What a connection's commands work on.
struct Ground<S: Store> {
    broker: Broker<S>,
    outboxes: Outboxes,
    settings: Settings,
    greeting: Vec<u8>,
    logins: u64,
    alarm: Option<Alarm>,
    now_ms: u64,
}

impl<S: Store> Ground<S> {
    #[inline]
    fn context(&mut self) -> Context<'_, S> {
        let Self { broker, outboxes, settings, greeting, logins, alarm, now_ms } = self;
        Context { broker, outboxes, settings, greeting, logins, now_ms: *now_ms, alarm: *alarm }
    }
}

impl<S: Store> Hub<S> {
    pub fn new(settings: HubSettings, store: S, now_ms: u64) -> Self {
        let memory_watermark_bytes = settings.broker.message_memory.most_bytes;
        let ground = Ground {
            broker: Broker::new(settings.broker, store, now_ms),
            outboxes: Outboxes::new(settings.outbox_high_water_bytes, memory_watermark_bytes),
            greeting: greeting(&settings.connection),
            settings: settings.connection,
            logins: 0,
            alarm: None,
            now_ms,
        };
        Self {
            ground,
            members: Slab::new(),
            timers: TimerWheel::new(now_ms, TIMER_TICK_MS),
            expired_timers: Vec::new(),
            unblocked: Vec::new(),
            low_memory: LowMemory::default(),
            pressure: settings.pressure,
            memory_watermark_bytes,
            disk_room: DiskRoom::default(),
        }
    }

    pub fn broker_mut(&mut self) -> &mut Broker<S> {
        &mut self.ground.broker
    }

    /// More of the log is durable: confirms and answers that waited for it can go.
    pub fn log_progressed(&mut self) {
        self.ground.broker.flush_confirms(&mut self.ground.outboxes);
        self.ground.outboxes.release(self.ground.broker.durable());
    }

    /// Notes the room on the disk; the alarm follows at the next [`update_alarm`](Self::update_alarm).
    pub fn set_disk_room(&mut self, room: DiskRoom) {
        self.disk_room = room;
    }

    pub fn condition(&self) -> Condition {
        Condition {
            alarm: self.ground.alarm,
            disk_room: self.disk_room,
            memory_watermark_bytes: self.memory_watermark_bytes,
            connections: self.members.len(),
            now_ms: self.ground.now_ms,
        }
    }

    pub fn broker(&self) -> &Broker<S> {
        &self.ground.broker
    }

    pub fn outboxes(&self) -> &Outboxes {
        &self.ground.outboxes
    }

    /// The next client that something was written for since it was last flushed.
    pub fn next_to_flush(&mut self) -> Option<ConnectionId> {
        self.ground.outboxes.next_touched()
    }

    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.members.get(id.0 as usize).map(|member| &member.connection)
    }

    /// Starts a turn at `now_ms`, on a clock that never goes back. Returns the connections whose time is up: their
    /// sockets are to be closed.
    pub fn start_turn(&mut self, now_ms: u64) -> Vec<ConnectionId> {
        self.ground.now_ms = now_ms;
        self.ground.broker.set_now(now_ms);
        self.ground.broker.come_due(&mut self.ground.outboxes);
        let mut over = Vec::new();
        let mut expired = std::mem::take(&mut self.expired_timers);
        self.timers.advance(now_ms, &mut expired);
        for id in expired.drain(..) {
            let mut context = self.ground.context();
            let Some(member) = self.members.get_mut(id.0 as usize) else { continue };
            member.timer = None;
            match member.connection.on_timer(&mut context) {
                TimerOutcome::Over => over.push(id),
                TimerOutcome::At(deadline_ms) => {
                    member.timer = Some((self.timers.insert(deadline_ms, id), deadline_ms))
                }
                TimerOutcome::Idle => {}
            }
        }
        self.expired_timers = expired;
        over
    }

    /// When the next turn must start even if nothing else happens: now, if somebody may be read again.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if !self.unblocked.is_empty() {
            return Some(self.ground.now_ms);
        }
        let timers = self.timers.next_deadline_ms();
        let low_memory = self.low_memory.next_deadline_ms(self.ground.now_ms);
        timers.into_iter().chain(self.ground.broker.next_due_ms()).chain(low_memory).min()
    }

    /// A client connected.
    pub fn connect(&mut self, peer: SocketAddr, local: SocketAddr) -> ConnectionId {
        let entry = self.members.vacant_entry();
        let id = ConnectionId(u32::try_from(entry.key()).expect("fewer than 2^32 connections"));
        let connection = Connection::new(id, peer, local, &self.ground.settings, self.ground.now_ms);
        let timer = connection.next_timer_ms().map(|deadline_ms| (self.timers.insert(deadline_ms, id), deadline_ms));
        entry.insert(Member { connection, timer, short_queue: None, waits_to_finish: false, stepped_back_bytes: 0 });
        self.ground.outboxes.open(id, self.ground.settings.frame_max);
        id
    }

    /// The client's socket is gone, or is to go: gives back everything that it held.
    pub fn disconnect(&mut self, id: ConnectionId) {
        let mut context = self.ground.context();
        let mut member = self.members.remove(id.0 as usize);
        member.connection.release(&mut context);
        if let Some((key, _)) = member.timer {
            self.timers.cancel(key);
        }
        self.ground.outboxes.close(id);
        self.low_memory.forget(id, &mut member);
    }

    /// The connection for the caller's own receiving: partial frames and large bodies.
    pub fn connection_mut(&mut self, id: ConnectionId) -> &mut Connection {
        &mut self.members[id.0 as usize].connection
    }

    /// Bytes arrived, following those of the last call (and the partial frame that the caller took).
    #[inline]
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut context = self.ground.context();
        let member = &mut self.members[id.0 as usize];
        member.connection.receive(bytes, &mut context);
        if self.low_memory.is_finishing(id) {
            self.note_progress(id);
        }
        self.rearm(id);
    }

    /// Moves the connection's timer when its next deadline came closer. Later deadlines are noticed when it fires.
    fn rearm(&mut self, id: ConnectionId) {
        let member = &mut self.members[id.0 as usize];
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
    /// sent behind that is handled, too. False when it has to wait, or has no such command.
    pub fn resume(&mut self, id: ConnectionId) -> bool {
        let mut context = self.ground.context();
        let resumes = self.members.get_mut(id.0 as usize).is_some_and(|member| member.connection.resume(&mut context));
        if resumes {
            self.receive_kept(id);
        }
        resumes
    }

    fn receive_kept(&mut self, id: ConnectionId) {
        let kept = self.connection_mut(id).take_kept();
        self.receive(id, &kept);
    }

    /// The doorkeeper found out about a login. The client may have gone since.
    pub fn login_answered(&mut self, ticket: LoginTicket, verdict: Verdict) {
        let id = ticket.connection;
        let mut context = self.ground.context();
        let Some(member) = self.members.get_mut(id.0 as usize) else { return };
        if member.connection.login_answered(ticket, verdict, &mut context) {
            self.receive_kept(id);
            self.unblocked.push(id);
        }
    }

    /// Whether the client's socket, on which bytes are waiting, may be read now.
    pub fn may_read(&mut self, id: ConnectionId) -> MayRead {
        let may_read = self.what_allows_reading(id);
        if may_read == MayRead::Later {
            let now_ms = self.ground.now_ms;
            self.connection_mut(id).note_unread(now_ms);
        }
        may_read
    }

    fn what_allows_reading(&mut self, id: ConnectionId) -> MayRead {
        let connection = &self.members[id.0 as usize].connection;
        if connection.has_command_waiting() {
            return MayRead::WhenResumed;
        }
        if connection.phase() == Phase::AwaitingLogin {
            return MayRead::WhenLoggedIn;
        }
        if connection.is_blocked() {
            return MayRead::NotDuringAlarm;
        }
        if self.is_memory_low() && self.would_hold_more(id) {
            self.connection_mut(id).hold_back();
            return MayRead::NotDuringAlarm;
        }
        let connection = &self.members[id.0 as usize].connection;
        let log_is_behind = self.ground.broker.store().pending_bytes() > LOG_PENDING_MAX_BYTES;
        if connection.has_published() && (log_is_behind || self.ground.broker.is_paging_behind()) {
            // The publish with which it would be told of an alarm is not read.
            let connection = &mut self.members[id.0 as usize].connection;
            connection.block_if_alarmed(&mut self.ground.context());
            return if connection.is_blocked() { MayRead::NotDuringAlarm } else { MayRead::Later };
        }
        let Member { connection, short_queue, .. } = &mut self.members[id.0 as usize];
        match connection.pressure_on_queues(self.pressure, short_queue, &mut self.ground.context()) {
            QueuePressure::None if !self.is_memory_low() || self.low_memory.is_finishing(id) => MayRead::Now,
            QueuePressure::None | QueuePressure::Consumed => MayRead::Sparingly,
            QueuePressure::Drained => MayRead::Later,
        }
    }

    /// Delivers what can be delivered and confirms what can be confirmed.
    pub fn pump(&mut self) {
        self.ground.broker.take_pages();
        self.ground.broker.pump(&mut self.ground.outboxes);
        while self.ground.broker.take_pages() {
            self.ground.broker.pump(&mut self.ground.outboxes);
        }
        self.ground.broker.relieve_memory();
        self.ground.broker.flush_confirms(&mut self.ground.outboxes);
    }

    /// Whether [`pump`](Self::pump) may have something to do.
    pub fn has_work(&self) -> bool {
        self.ground.broker.has_touched()
    }

    /// `count` bytes of the connection's outbox were sent. True when it is empty.
    pub fn sent(&mut self, id: ConnectionId, count: usize) -> bool {
        let empty = self.ground.outboxes.sent(id, count);
        if count > 0 {
            self.members[id.0 as usize].connection.note_sent(count, self.ground.now_ms);
        }
        if self.ground.outboxes.has_room(id) {
            if self.ground.broker.waits_for_room(id) {
                self.ground.broker.connection_drained(id);
            }
            if self.ground.outboxes.let_input_go_on(id) {
                self.unblocked.push(id);
            }
        }
        empty
    }

    /// The connection is over and everything it should hear was sent.
    pub fn is_finished(&self, id: ConnectionId) -> bool {
        self.members[id.0 as usize].connection.phase() == Phase::Closed && self.ground.outboxes.get(id).is_empty()
    }

    /// Raises or clears the alarm. True when it is over, and those who waited for that were told so.
    pub fn update_alarm(&mut self) -> bool {
        let used = held_memory_bytes();
        self.ground.outboxes.follow_memory(used);
        let watermark = self.memory_watermark_bytes;
        let memory_was_low = self.is_memory_low();
        let memory_low = self.low_memory.follow(used, watermark, self.ground.now_ms);
        let alarm = Alarm::of(memory_low, self.disk_room.is_low);
        if alarm == self.ground.alarm {
            self.let_next_finish();
            return false;
        }
        self.ground.alarm = alarm;
        if memory_was_low && !memory_low {
            self.let_all_finish();
        }
        match alarm {
            Some(alarm) => {
                log::warn!("{}: publishers are not read (messages and clients hold {used} bytes)", alarm.reason());
                false
            }
            None => {
                log::info!("no resource is low any more: publishers are read again");
                self.unblock_all();
                true
            }
        }
    }

    fn unblock_all(&mut self) {
        let mut context = self.ground.context();
        for (_, member) in &mut self.members {
            if member.connection.unblock(&mut context) {
                self.unblocked.push(member.connection.id());
            }
        }
    }

    /// Carries out commands on a channel of no client's, as management does: the same commands, the same rules. The
    /// channel and its connection last as long as `run`.
    pub fn directly<T>(&mut self, run: impl FnOnce(&mut Direct<'_, S>) -> T) -> T {
        // No client can have this id meanwhile: nobody connects before `run` returns.
        let id = ConnectionId(u32::try_from(self.members.vacant_key()).expect("fewer than 2^32 connections"));
        let (user, vhost) = (self.ground.broker.default_user(), self.ground.broker.default_vhost());
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

    /// The connections in so many slots from one on, and where the next ones are.
    pub fn connections_from(&self, from: usize, slots: usize) -> (impl Iterator<Item = &Connection>, Option<usize>) {
        let end = from.saturating_add(slots).min(self.members.capacity());
        let connections = (from..end).filter_map(|slot| self.members.get(slot)).map(|member| &member.connection);
        (connections, (end < self.members.capacity()).then_some(end))
    }

    /// Closes all connections that are meant with 320. Says how many those are.
    pub fn close_where(&mut self, is_meant: impl Fn(&Connection) -> bool, explanation: &str) -> usize {
        let connections = self.members.iter().map(|(_, member)| &member.connection);
        let meant: Vec<ConnectionId> =
            connections.filter(|connection| is_meant(connection)).map(Connection::id).collect();
        meant.iter().for_each(|id| self.force_close(*id, explanation));
        meant.len()
    }

    fn force_close(&mut self, id: ConnectionId, explanation: &str) {
        let connection = &mut self.members[id.0 as usize].connection;
        if connection.is_blocked() || connection.is_held_back() || connection.phase() == Phase::AwaitingLogin {
            self.unblocked.push(id);
        }
        connection.force_close(explanation, &mut self.ground.context());
        self.rearm(id);
    }

    /// Those who may be read again: an alarm is over; or they were closed, and the answer to that is still to come; or
    /// memory is not so low any more, or they hold less of it; or their logins were answered. Some may be gone since.
    pub fn take_unblocked(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.unblocked)
    }

    /// Changes how much memory messages, and clients besides, may take. Publishers are not read above `most_bytes`; the
    /// alarm follows at the next [`update_alarm`](Self::update_alarm).
    pub fn set_message_memory(&mut self, memory: MessageMemory) {
        self.memory_watermark_bytes = memory.most_bytes;
        self.low_memory.watermark_changed();
        self.ground.outboxes.set_memory_max(memory.most_bytes);
        self.ground.broker.set_message_memory(memory);
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
    /// Not until a command that waits for the disk [was resumed](Hub::resume).
    WhenResumed,
    /// Not until its [login was answered](Hub::login_answered).
    WhenLoggedIn,
    /// Not until the alarm is over.
    NotDuringAlarm,
}
