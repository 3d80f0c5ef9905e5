//! The turn of the loop.
//!
//! 1. Wait for readiness; read the clock once.
//! 2. Timers, expiry; what became of the log and of pages.
//! 3. Sockets that have room again: send what waits; answer a few of management's commands; deliver into the room.
//! 4. Sockets with bytes: receive, each under its budget; who has more goes to the back of the line.
//! 5. Hand what was logged to its writer.
//! 6. Deliver, confirm, and flush every outbox that was written to, once; pages that are to leave memory go. Read the clock
//!    again: how long did it take?
//!
//! Outputs go first: publishers are read only after consumers were served.

mod accept;
mod part;
mod receive;
mod rest;
mod send;
mod slow;
mod stop;

use super::accepting::Accepting;
use super::alarms::log_alarm_over;
use super::bytes_of;
use super::clients::{Clients, Sending};
use super::desk::Desk;
use super::freed_memory::FreedMemory;
use super::hub::{Hub, Resources, TurnStart};
use super::huge_pages::HugePages;
use super::journal::Journal;
use super::seat::Low;
use super::vestibule::Vestibule;
use super::workers::Threads;
use crate::broker::memory::{held_memory_bytes, message_memory_bytes};
use crate::broker::{ConnectionId, MessageMemory};
use crate::config::Config;
use crate::connection::Alarm;
use crate::logging;
use crate::management::{Command, ResourceLimitChange};
use crate::reactor::{Clock, Listener, Poller, Signals, Supervisor};
use crate::storage::{FileDisk, LogStore, StorageError};
use crate::tls::Acceptor;
use rest::Resting;
use slow::{Phase, TurnWatch};
use std::io;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use stop::GivingAway;

/// Tokens of clients are their connection ids; these lie above them.
pub(super) const LISTENER_TOKENS: usize = usize::MAX / 2;
pub(super) const SIGNAL_TOKEN: usize = usize::MAX - 1;
pub(super) const WAKE_TOKEN: usize = usize::MAX - 2;

/// How soon clients that wait for a queue to drain are asked again, and those for whom a turn had no time, in milliseconds.
const ASK_AGAIN_MS: u64 = 1;

const US_PER_MS: u64 = 1000;

pub(super) struct Server {
    poller: Poller,
    /// With the doors.
    accepting: Accepting,
    /// Where those wait who have something to say before they speak AMQP.
    vestibule: Option<Vestibule>,
    /// More may have come out of there than a turn took.
    more_arrivals: bool,
    signals: Signals,
    clock: Clock,
    huge_pages: HugePages,
    freed_memory: FreedMemory,
    hub: Hub<LogStore>,
    journal: Journal<FileDisk, Threads>,
    desk: Desk,
    clients: Clients,
    receive_buffer: Vec<u8>,
    read_budget_bytes: usize,
    outbox_max_bytes: usize,
    message_memory: MessageMemory,
    connections_max: usize,
    /// Those with bytes waiting who published with their last ones; empty between turns.
    publishers: Vec<ConnectionId>,
    resting: Resting,
    /// As the other nodes of a cluster know it.
    told_alarm: Option<Alarm>,
    shutdown_at_ms: Option<u64>,
    giving_away: Option<GivingAway>,
    /// Another node leads, or will: this one goes on without a hub, at these doors.
    deposed: Option<Vec<Door>>,
    /// Why it is being shut down, if not because somebody wanted it.
    failed: Option<StorageError>,
    signalled: bool,
    now_ms: u64,
    watch: TurnWatch,
    supervisor: Option<Supervisor>,
}

/// What the loop gets from the operating system.
pub(super) struct Sources {
    pub poller: Poller,
    pub doors: Vec<Door>,
    pub vestibule: Option<Vestibule>,
    pub signals: Signals,
    pub clock: Clock,
    pub huge_pages: HugePages,
    pub supervisor: Option<Supervisor>,
}

/// A listener, and where its clients go.
pub(super) struct Door {
    pub listener: Listener,
    pub way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// They speak AMQP at once.
    Straight,
    /// They have something to say before.
    ByVestibule { is_encrypted: bool },
}

/// What a loop that ends leaves to the next one of the same process.
pub(super) struct Grounds {
    pub sources: Sources,
    pub commands: Receiver<Command>,
}

impl Sources {
    /// Has the poll report what it is to report for as long as the process runs, whoever waits for it.
    pub fn register(&mut self) -> io::Result<()> {
        for (index, door) in self.doors.iter_mut().enumerate() {
            self.poller.register_readable(&mut door.listener, LISTENER_TOKENS + index)?;
        }
        self.poller.register_readable(&mut self.signals, SIGNAL_TOKEN)
    }
}

/// What can be set anew while the broker runs.
pub(super) struct Reloaded {
    pub message_memory: MessageMemory,
    pub disk_free_limit_bytes: u64,
    pub slow_turn_ms: u64,
    /// `None`: handshakes are made as before.
    pub acceptor: Option<Acceptor>,
}

impl Server {
    pub fn new(
        sources: Sources,
        hub: Hub<LogStore>,
        journal: Journal<FileDisk, Threads>,
        desk: Desk,
        config: &Config,
    ) -> Self {
        let Sources { mut poller, doors, vestibule, signals, clock, huge_pages, supervisor } = sources;
        poller.set_busy(Duration::from_micros(config.busy_poll_us));
        let limits = &config.limits;
        // The largest partial frame and a budget's worth of new bytes fit.
        let buffer = limits.receive_buffer_bytes.max(limits.frame_max_bytes as usize + limits.read_budget_bytes + 64);
        Self {
            poller,
            accepting: Accepting::new(doors),
            vestibule,
            more_arrivals: false,
            signals,
            now_ms: clock.now_ms(),
            clock,
            huge_pages,
            freed_memory: FreedMemory::new(),
            message_memory: hub.condition().resources.message_memory,
            hub,
            journal,
            desk,
            clients: Clients::default(),
            receive_buffer: vec![0; buffer],
            read_budget_bytes: limits.read_budget_bytes,
            outbox_max_bytes: limits.outbox_max_bytes,
            connections_max: limits.connections_max,
            publishers: Vec::new(),
            resting: Resting::default(),
            told_alarm: None,
            shutdown_at_ms: None,
            giving_away: None,
            deposed: None,
            failed: None,
            signalled: false,
            watch: TurnWatch::new(config.log.slow_turn_ms),
            supervisor,
        }
    }

    /// Turns until the broker is told to stop, or another node leads, and its clients are gone; then what the next loop needs
    /// is left. `reload` reads the settings again.
    pub fn run(mut self, reload: impl Fn() -> Option<Reloaded>) -> io::Result<Option<Grounds>> {
        loop {
            // Whoever logs may keep this thread's lines back until here.
            logging::flush();
            let is_quiet = self.wait()?;
            let began_us = self.clock.now_us();
            self.now_ms = began_us / US_PER_MS;
            self.begin_watch();
            if let Some(supervisor) = &mut self.supervisor {
                supervisor.turn(self.now_ms);
            }
            if self.giving_away.is_some() {
                self.take_reports()?;
                self.take_readiness();
                self.handle_signals(&reload);
                self.give_away();
                continue;
            }
            let TurnStart { over, unblocked } = self.hub.start_turn(self.now_ms);
            over.into_iter().for_each(|id| self.close_late(id));
            unblocked.into_iter().for_each(|id| self.clients.let_go_on(id));
            self.wake(is_quiet);
            self.take_reports()?;
            self.take_readiness();
            self.handle_signals(&reload);
            self.journal.check_disk(&self.hub, self.now_ms);
            self.mark(Phase::Due);
            self.desk.answer(&mut self.hub);
            self.limit_resources();
            self.mark(Phase::Management);
            self.resume_waiting();
            self.pump_and_flush();
            self.mark(Phase::Deliver);
            self.accept();
            self.mark(Phase::Accept);
            self.receive();
            self.mark(Phase::Receive);
            self.journal.hand_over(&mut self.hub, self.now_ms);
            self.mark(Phase::Log);
            self.pump_and_flush();
            self.mark(Phase::Deliver);
            let resources = Resources { message_memory: self.message_memory, disk_room: self.journal.disk_room() };
            if self.hub.update_alarm(resources) {
                self.pump_and_flush();
            }
            self.tell_of_alarm();
            let message_bytes = message_memory_bytes();
            self.huge_pages.follow(message_bytes, self.now_ms);
            self.freed_memory.follow(held_memory_bytes(), self.now_ms);
            self.journal.hand_over_pages(&mut self.hub);
            self.hub.end_turn(began_us, self.clock.now_us());
            self.end_watch();
            if self.is_shut_down() {
                if let Some(doors) = self.deposed.take() {
                    return Ok(Some(self.into_grounds(doors)));
                }
                self.journal.finish(&mut self.hub).map_err(stop::log_failed)?;
                return self.failed.map_or(Ok(None), |error| Err(io::Error::other(error)));
            }
        }
    }

    fn into_grounds(self, doors: Vec<Door>) -> Grounds {
        log_alarm_over(self.hub.broker().node_name(), self.hub.condition().alarm);
        let Self { poller, signals, clock, huge_pages, supervisor, desk, .. } = self;
        let sources = Sources { poller, doors, vestibule: None, signals, clock, huge_pages, supervisor };
        Grounds { sources, commands: desk.into_commands() }
    }

    /// Has the other nodes of a cluster told which resources are low.
    fn tell_of_alarm(&mut self) {
        let alarm = self.hub.condition().alarm;
        if alarm == self.told_alarm {
            return;
        }
        self.told_alarm = alarm;
        if let Some(seat) = self.journal.workers().seat() {
            let low =
                Low { disk: alarm.is_some_and(Alarm::is_of_disk), memory: alarm.is_some_and(Alarm::is_of_memory) };
            seat.run_low(low);
        }
    }

    /// Takes over the limits that somebody wanted in this turn.
    fn limit_resources(&mut self) {
        let ResourceLimitChange { memory_watermark, disk_free_limit } = self.hub.take_wanted_limits();
        if let Some(watermark) = memory_watermark {
            // Of nothing at all there would be no share.
            self.message_memory.most_bytes = usize::try_from(bytes_of(watermark).max(1)).unwrap_or(usize::MAX);
        }
        if let Some(limit) = disk_free_limit {
            self.journal.set_disk_free_limit(bytes_of(limit));
            self.journal.check_disk(&self.hub, self.now_ms);
        }
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        let supervised_ms = self.supervisor.as_ref().and_then(Supervisor::next_deadline_ms);
        if let Some(giving_away) = &self.giving_away {
            let at_ms = giving_away.next_deadline_ms().min(supervised_ms.unwrap_or(u64::MAX));
            return Some(Duration::from_millis(at_ms.saturating_sub(self.now_ms)));
        }
        if self.clients.to_read_len() > 0 || self.desk.has_work() || self.journal.has_work() {
            return Some(Duration::ZERO);
        }
        if self.more_arrivals || self.accepting.has_work() {
            return Some(Duration::ZERO);
        }
        let unasked = self.clients.has_unasked().then_some(self.now_ms + ASK_AGAIN_MS);
        let deadlines = [
            self.hub.next_deadline_ms(),
            self.freed_memory.next_deadline_ms(),
            self.journal.next_deadline_ms(&self.hub),
            unasked,
            self.resting.next_deadline_ms(),
            self.accepting.next_deadline_ms(),
            self.shutdown_at_ms,
            supervised_ms,
        ];
        let deadline_ms = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(deadline_ms.saturating_sub(self.now_ms)))
    }

    fn take_readiness(&mut self) {
        let mut writable = Vec::new();
        for readiness in self.poller.ready() {
            match readiness.token {
                SIGNAL_TOKEN => self.signalled = true,
                WAKE_TOKEN => self.desk.ring(),
                token if token >= LISTENER_TOKENS => self.accepting.knock(token - LISTENER_TOKENS),
                token => {
                    let id = ConnectionId(token as u32);
                    let Some(client) = self.clients.get_mut(id) else { continue };
                    client.ended |= readiness.closed;
                    if readiness.readable || readiness.closed {
                        self.clients.note_readable(id);
                    }
                    if readiness.writable
                        && let Some(client) = self.clients.get_mut(id)
                        && client.sending == Sending::Full
                    {
                        client.sending = Sending::Open;
                        writable.push(id);
                    }
                }
            }
        }
        for id in writable {
            self.flush(id);
        }
    }
}
