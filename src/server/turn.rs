//! The turn of the loop.
//!
//! 1. Wait for readiness; read the clock once.
//! 2. Timers, expiry; a few of management's questions.
//! 3. Sockets that have room again: send what waits, and deliver into the room that makes.
//! 4. Sockets with bytes: receive, each under its budget; who has more goes to the back of the line.
//! 5. Deliver, confirm, and flush every outbox that was written to, once.
//!
//! Outputs go first: publishers are read only after consumers were served.

mod accept;

use super::clients::Clients;
use super::desk::Desk;
use super::freed_memory::FreedMemory;
use super::hub::{Hub, MayRead};
use super::huge_pages::HugePages;
use super::journal::{Failure, Journal};
use crate::broker::memory::{held_memory_bytes, message_memory_bytes};
use crate::broker::{ConnectionId, MessageMemory};
use crate::config::Config;
use crate::connection::{CloseReason, Connection};
use crate::reactor::{Clock, Listener, Poller, Received, Sent, Signal, Signals};
use crate::storage::{LogStore, StorageError};
use std::io::{self, IoSlice};
use std::time::Duration;

/// Tokens of clients are their connection ids; these lie above them.
const LISTENER_TOKENS: usize = usize::MAX / 2;
const SIGNAL_TOKEN: usize = usize::MAX - 1;
pub(super) const WAKE_TOKEN: usize = usize::MAX - 2;

/// Parts of an outbox that go to the system in one call.
const SEND_PARTS_MAX: usize = 64;
/// What is received behind a large body with the same call: enough to see what comes next, and little enough that most
/// of a next large body goes straight into its message, too.
const STREAM_OVERFLOW_BYTES: usize = 2 * 1024;
/// Rounds of delivering and sending in one turn, before others get their go.
const PUMP_ROUNDS_MAX: usize = 4;
/// Who is read sparingly is read one part in so many of the budget in a turn: little more than what a turn costs anyway.
const SPARING_SHARE: usize = 8;
/// Publishers who are many share so many read budgets in a turn, so that nobody waits long for one in which all are read.
const READ_BUDGETS_PER_TURN: usize = 16;
/// What each of them may send in a turn all the same, in bytes. Beside 300 who flood 300 queues a message took 10 ms with
/// this, 6 ms with half of it, and 24 ms without a share; they made 8.5, 6.2 and 10.1 million messages a second.
const READ_SHARE_LEAST_BYTES: usize = 32 * 1024;
/// How soon publishers that wait for a queue to drain are asked again, in milliseconds.
const PRESSURE_RETRY_MS: u64 = 1;
/// How long clients may take to answer when the broker stops, in milliseconds.
const SHUTDOWN_MS: u64 = 2_000;
/// What RabbitMQ tells clients when it stops.
const SHUTDOWN_EXPLANATION: &str = "broker forced connection closure with reason 'shutdown'";

pub(super) struct Server {
    poller: Poller,
    listeners: Vec<Listener>,
    signals: Signals,
    clock: Clock,
    huge_pages: HugePages,
    freed_memory: FreedMemory,
    hub: Hub<LogStore>,
    journal: Journal,
    desk: Desk,
    clients: Clients,
    receive_buffer: Vec<u8>,
    read_budget_bytes: usize,
    outbox_max_bytes: usize,
    connections_max: usize,
    /// Listeners that may have clients waiting.
    accepting: Vec<bool>,
    accept_again_at_ms: Option<u64>,
    /// Those with bytes waiting who published with their last ones; empty between turns.
    publishers: Vec<ConnectionId>,
    /// Publishers that wait for a queue to drain.
    pressed: Vec<ConnectionId>,
    /// Clients with a command that waits for messages to come back to memory.
    awaiting: Vec<ConnectionId>,
    shutdown_at_ms: Option<u64>,
    /// Why it is being shut down, if not because somebody wanted it.
    failed: Option<StorageError>,
    signalled: bool,
    now_ms: u64,
}

/// What each of so many publishers may send in a turn in which one alone may send `budget_bytes`.
fn read_share_bytes(budget_bytes: usize, publishers: usize) -> usize {
    let share_bytes = budget_bytes * READ_BUDGETS_PER_TURN / publishers.max(1);
    share_bytes.clamp(READ_SHARE_LEAST_BYTES.min(budget_bytes), budget_bytes)
}

/// Nothing is confirmed after this: what was not synced may be lost, and the disk is not asked again.
fn log_failed(error: StorageError) -> io::Error {
    log::error!("the log failed, nothing is durable any more: {error}");
    io::Error::other(error)
}

/// What the loop gets from the operating system.
pub(super) struct Sources {
    pub poller: Poller,
    pub listeners: Vec<Listener>,
    pub signals: Signals,
    pub clock: Clock,
    pub huge_pages: HugePages,
}

/// What can be set anew while the broker runs.
pub(super) struct Reloaded {
    pub message_memory: MessageMemory,
    pub disk_free_limit_bytes: u64,
}

impl Server {
    pub fn new(
        sources: Sources,
        hub: Hub<LogStore>,
        journal: Journal,
        desk: Desk,
        config: &Config,
    ) -> io::Result<Self> {
        let Sources { mut poller, mut listeners, mut signals, clock, huge_pages } = sources;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poller.register_readable(listener, LISTENER_TOKENS + index)?;
        }
        poller.register_readable(&mut signals, SIGNAL_TOKEN)?;
        poller.set_busy(Duration::from_micros(config.busy_poll_us));
        let limits = &config.limits;
        // The largest partial frame and a budget's worth of new bytes fit.
        let buffer = limits.receive_buffer_bytes.max(limits.frame_max_bytes as usize + limits.read_budget_bytes + 64);
        Ok(Self {
            poller,
            accepting: vec![true; listeners.len()],
            listeners,
            signals,
            now_ms: clock.now_ms(),
            clock,
            huge_pages,
            freed_memory: FreedMemory::new(),
            hub,
            journal,
            desk,
            clients: Clients::default(),
            receive_buffer: vec![0; buffer],
            read_budget_bytes: limits.read_budget_bytes,
            outbox_max_bytes: limits.outbox_max_bytes,
            connections_max: limits.connections_max,
            accept_again_at_ms: None,
            publishers: Vec::new(),
            pressed: Vec::new(),
            awaiting: Vec::new(),
            shutdown_at_ms: None,
            failed: None,
            signalled: false,
        })
    }

    /// Turns until the broker is told to stop and its clients are gone. `reload` reads the settings again.
    pub fn run(mut self, reload: impl Fn() -> Option<Reloaded>) -> io::Result<()> {
        loop {
            // Whoever logs may keep this thread's lines back until here.
            log::logger().flush();
            self.poller.poll(self.timeout())?;
            self.now_ms = self.clock.now_ms();
            for over in self.hub.start_turn(self.now_ms) {
                self.close_late(over);
            }
            self.take_reports()?;
            self.take_readiness();
            self.handle_signals(&reload);
            self.journal.check_disk(&mut self.hub, self.now_ms);
            self.desk.answer(&mut self.hub);
            self.pump_and_flush();
            self.accept();
            self.receive();
            self.journal.hand_over(&mut self.hub, self.now_ms);
            self.pump_and_flush();
            let unblocked = self.hub.update_alarm();
            if !unblocked.is_empty() {
                unblocked.into_iter().for_each(|id| self.clients.list(id));
                // They were told so, and may be waiting for nothing else.
                self.pump_and_flush();
            }
            let message_bytes = message_memory_bytes();
            self.huge_pages.follow(message_bytes, self.now_ms);
            self.freed_memory.follow(held_memory_bytes(), self.now_ms);
            self.journal.hand_over_pages(&mut self.hub);
            if self.is_shut_down() {
                self.journal.finish(&mut self.hub).map_err(log_failed)?;
                return self.failed.map_or(Ok(()), |error| Err(io::Error::other(error)));
            }
        }
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        if self.clients.to_read_len() > 0
            || self.hub.has_unblocked()
            || self.hub.has_work()
            || self.desk.has_work()
            || self.journal.has_work()
        {
            return Some(Duration::ZERO);
        }
        if self.accept_again_at_ms.is_none() && self.accepting.contains(&true) {
            return Some(Duration::ZERO);
        }
        let pressure = (!self.pressed.is_empty()).then_some(self.now_ms + PRESSURE_RETRY_MS);
        let deadlines = [
            self.hub.next_deadline_ms(),
            self.freed_memory.next_deadline_ms(),
            self.journal.next_deadline_ms(&self.hub),
            pressure,
            self.accept_again_at_ms,
            self.shutdown_at_ms,
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
                token if token >= LISTENER_TOKENS => self.accepting[token - LISTENER_TOKENS] = true,
                token => {
                    let id = ConnectionId(token as u32);
                    let Some(client) = self.clients.get_mut(id) else { continue };
                    client.ended |= readiness.closed;
                    if readiness.readable || readiness.closed {
                        client.readable = true;
                        self.clients.list(id);
                    }
                    if readiness.writable
                        && let Some(client) = self.clients.get_mut(id)
                        && std::mem::take(&mut client.blocked_sending)
                    {
                        writable.push(id);
                    }
                }
            }
        }
        for id in writable {
            self.flush(id);
        }
    }

    fn handle_signals(&mut self, reload: impl Fn() -> Option<Reloaded>) {
        if !std::mem::take(&mut self.signalled) {
            return;
        }
        for signal in self.signals.take() {
            match signal {
                Signal::Reload => {
                    if let Some(Reloaded { message_memory, disk_free_limit_bytes }) = reload() {
                        self.hub.set_message_memory(message_memory);
                        self.journal.set_disk_free_limit(disk_free_limit_bytes);
                        log::info!("configuration read again");
                    }
                }
                Signal::Terminate | Signal::Interrupt if self.shutdown_at_ms.is_none() => self.begin_shutdown(),
                Signal::Terminate | Signal::Interrupt => self.shutdown_at_ms = Some(self.now_ms),
            }
        }
    }

    fn begin_shutdown(&mut self) {
        log::info!("stopping: closing {} connections", self.hub.connection_count());
        self.shutdown_at_ms = Some(self.now_ms + SHUTDOWN_MS);
        self.listeners.clear();
        self.accepting.clear();
        self.hub.close_all(SHUTDOWN_EXPLANATION);
    }

    fn take_reports(&mut self) -> io::Result<()> {
        match self.journal.take_reports(&mut self.hub) {
            Ok(()) => {}
            Err(Failure::Log(error)) => return Err(log_failed(error)),
            Err(Failure::Pages(error)) => {
                log::error!(
                    "messages beyond memory can't be read: {error}. The log is not affected: the broker stops in order, \
                     and the next start has all persistent messages"
                );
                self.end_without_messages(error);
            }
            Err(Failure::Loading(error)) => {
                log::error!("messages can't be loaded, and the broker stops in order: {error}");
                self.end_without_messages(error);
            }
        }
        Ok(())
    }

    /// Messages are out of reach. A queue that went on without them would look to its consumers as if confirmed messages
    /// were lost; and the log, which has them, may still get all that it is owed.
    fn end_without_messages(&mut self, error: StorageError) {
        self.failed = Some(error);
        if self.shutdown_at_ms.is_none() {
            self.begin_shutdown();
        }
    }

    fn is_shut_down(&self) -> bool {
        self.shutdown_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms || self.hub.connection_count() == 0)
    }

    /// Reads everyone who is listed once. Publishers come last, when those who acknowledge have been given more: they
    /// work on it meanwhile.
    fn receive(&mut self) {
        for id in std::mem::take(&mut self.awaiting) {
            if self.hub.resume(id) {
                self.resume(id);
            } else if self.hub.connection(id).is_some_and(Connection::has_command_waiting) {
                self.awaiting.push(id);
            } else {
                // It was closed meanwhile.
                self.clients.list(id);
            }
        }
        for id in self.hub.take_unblocked() {
            self.clients.list(id);
        }
        for id in std::mem::take(&mut self.pressed) {
            self.clients.list(id);
        }
        let mut publishers = std::mem::take(&mut self.publishers);
        let budget_bytes = self.read_budget_bytes;
        for _ in 0..self.clients.to_read_len() {
            let Some(id) = self.clients.next_to_read() else { break };
            match self.hub.has_published(id) {
                true => publishers.push(id),
                false => self.receive_as_allowed(id, budget_bytes),
            }
        }
        if !publishers.is_empty() && self.hub.has_work() {
            self.pump_and_flush();
        }
        let share_bytes = read_share_bytes(budget_bytes, publishers.len());
        for id in publishers.drain(..) {
            // It may be gone since.
            if self.clients.get_mut(id).is_some() {
                self.receive_as_allowed(id, share_bytes);
            }
        }
        self.publishers = publishers;
    }

    fn receive_as_allowed(&mut self, id: ConnectionId, budget_bytes: usize) {
        match self.hub.may_read(id) {
            MayRead::Now => self.receive_from(id, budget_bytes),
            MayRead::Sparingly => self.receive_from(id, budget_bytes.min(self.read_budget_bytes / SPARING_SHARE)),
            MayRead::Later => self.pressed.push(id),
            // It is listed again when that is over.
            MayRead::NotDuringAlarm | MayRead::WhenResumed => {}
        }
    }

    /// Handles what a client sent behind a command that had to wait.
    fn resume(&mut self, id: ConnectionId) {
        let kept = self.hub.connection_mut(id).take_partial(&mut self.receive_buffer);
        self.hub.receive(id, &self.receive_buffer[..kept]);
        self.clients.list(id);
        self.note_if_awaiting(id);
        if self.hub.is_finished(id) {
            self.finish(id);
        }
    }

    /// What a client asks for is on its way back to memory; the loop is woken when it comes.
    fn note_if_awaiting(&mut self, id: ConnectionId) {
        if self.hub.connection(id).is_some_and(Connection::has_command_waiting) {
            self.awaiting.push(id);
        }
    }

    /// Receives what one client may send this turn.
    fn receive_from(&mut self, id: ConnectionId, budget_bytes: usize) {
        let mut left_bytes = budget_bytes;
        // One receive takes what the budget allows, unless it went into a large body, which has less room.
        while let Some(count) = self.receive_once(id, budget_bytes)
            && count < left_bytes
            && self.hub.may_read(id) == MayRead::Now
        {
            left_bytes -= count;
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.readable {
            self.clients.list(id);
        }
        if self.hub.is_finished(id) {
            self.finish(id);
        }
    }

    /// Receives once. Says how many bytes went into a large body and behind it, if that left room for more.
    fn receive_once(&mut self, id: ConnectionId, budget_bytes: usize) -> Option<usize> {
        let client = self.clients.get_mut(id)?;
        let connection = self.hub.connection_mut(id);
        let partial = connection.take_partial(&mut self.receive_buffer);
        let space = &mut self.receive_buffer[partial..partial + budget_bytes];
        let (received, streamed) = match connection.stream_target() {
            Some((body, remaining)) => {
                let before = body.len();
                let share = remaining.min(body.capacity() - before);
                let overflow_bytes = STREAM_OVERFLOW_BYTES.min(budget_bytes);
                let received = client.socket.receive_onto(body, share, &mut space[..overflow_bytes]);
                (received, body.len() - before)
            }
            None => (client.socket.receive(space), 0),
        };
        match received {
            Received::Bytes { count, drained } => {
                self.huge_pages.received(count, self.now_ms);
                self.hub.note_received(id, count);
                client.readable = !drained || client.ended;
                if streamed > 0 {
                    self.hub.streamed(id, streamed);
                }
                self.hub.receive(id, &self.receive_buffer[..partial + count - streamed]);
                self.note_if_awaiting(id);
                return (streamed > 0 && !drained).then_some(count);
            }
            Received::WouldBlock => {
                client.readable = false;
                self.hub.connection_mut(id).keep_partial(&self.receive_buffer[..partial]);
            }
            Received::Closed => self.lost(id, "the client closed its socket"),
            Received::Failed(error) => self.lost(id, &error.to_string()),
        }
        None
    }

    /// The other side is gone.
    fn lost(&mut self, id: ConnectionId, how: &str) {
        if let Some(connection) = self.hub.connection(id)
            && connection.close_reason().is_none()
        {
            log::warn!("{}: client unexpectedly closed the connection: {how}", connection.name());
        }
        self.close(id);
    }

    /// Delivers and sends until there is nothing to do, or others have waited long enough.
    fn pump_and_flush(&mut self) {
        for _ in 0..PUMP_ROUNDS_MAX {
            self.hub.pump();
            while let Some(id) = self.hub.outboxes_mut().next_touched() {
                self.flush(id);
            }
            if !self.hub.has_work() {
                break;
            }
        }
    }

    /// Sends what waits for one client, as far as its socket takes it.
    fn flush(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        while !client.blocked_sending && self.hub.outboxes().get(id).is_sendable() {
            let outbox = self.hub.outboxes().get(id);
            let contiguous = outbox.contiguous();
            let sent = match contiguous {
                Some(bytes) if self.hub.is_over_with(id, bytes.len()) => client.socket.send_last(bytes),
                Some(bytes) => client.socket.send(bytes),
                None => {
                    let mut parts = [IoSlice::new(&[]); SEND_PARTS_MAX];
                    let filled = outbox.io_slices(&mut parts);
                    client.socket.send_vectored(&parts[..filled])
                }
            };
            match sent {
                Sent::Bytes { count, full } => {
                    self.hub.sent(id, count);
                    client.blocked_sending = full;
                }
                Sent::WouldBlock => client.blocked_sending = true,
                Sent::Closed => return self.lost(id, "the client closed its socket"),
                Sent::Failed(error) => return self.lost(id, &error.to_string()),
            }
        }
        if self.hub.outboxes().get(id).len() > self.outbox_max_bytes {
            return self.lost(id, "it doesn't read what it is sent");
        }
        if self.hub.is_finished(id) {
            self.finish(id);
        }
    }

    /// Everything was said. The socket stays open until the client hangs up, or its time is up: bytes of its that nobody
    /// read would make closing it a reset, which throws away what was said last.
    fn finish(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if !std::mem::replace(&mut client.we_ended, true) {
            // If this fails the client is gone, and the next receive says so.
            let _ = client.socket.shutdown_send();
        }
    }

    /// Closes a socket whose client let its time run out. Who was silent is reset: the system would keep what it has taken,
    /// megabytes perhaps, for a client that doesn't read, and the end would wait behind it, so that a client that is merely
    /// stuck had no way of knowing. Who was told of a close before, and did not answer, still reads it.
    fn close_late(&mut self, id: ConnectionId) {
        let reason = self.hub.connection(id).and_then(Connection::close_reason);
        if reason == Some(&CloseReason::MissedHeartbeats)
            && let Some(client) = self.clients.get_mut(id)
        {
            // If this fails the client is gone.
            let _ = client.socket.set_linger_zero();
        }
        self.close(id);
    }

    /// Closes a socket and gives back everything that its connection held.
    fn close(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.remove(id) else { return };
        if let Some(connection) = self.hub.connection(id) {
            let reason = connection.close_reason().map_or_else(|| "lost".to_owned(), ToString::to_string);
            log::info!("{}: closed: {reason}", connection.name());
        }
        self.hub.disconnect(id);
        drop(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_BYTES: usize = 4 * READ_SHARE_LEAST_BYTES;

    #[test]
    fn publishers_share_a_turn_from_one_too_many_on() {
        for publishers in 0..=READ_BUDGETS_PER_TURN {
            assert_eq!(read_share_bytes(BUDGET_BYTES, publishers), BUDGET_BYTES, "{publishers} publishers");
        }
        let shared = read_share_bytes(BUDGET_BYTES, READ_BUDGETS_PER_TURN + 1);
        assert_eq!(shared, BUDGET_BYTES * READ_BUDGETS_PER_TURN / (READ_BUDGETS_PER_TURN + 1));
    }

    #[test]
    fn no_share_is_below_the_least_unless_the_budget_is() {
        let at_the_least = 4 * READ_BUDGETS_PER_TURN;
        assert_eq!(read_share_bytes(BUDGET_BYTES, at_the_least), READ_SHARE_LEAST_BYTES);
        assert!(read_share_bytes(BUDGET_BYTES, at_the_least - 1) > READ_SHARE_LEAST_BYTES);
        assert_eq!(read_share_bytes(BUDGET_BYTES, 65_536), READ_SHARE_LEAST_BYTES);
        assert_eq!(read_share_bytes(4096, 65_536), 4096);
    }
}
