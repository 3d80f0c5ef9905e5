//! The loop of a node of a cluster that doesn't lead: signals, and clients that are passed to the node that does.
//!
//! There is no hub. It waits for its member to say that it is to lead; then it leaves all that it has to the loop that does.

use super::accepting::Accepting;
use super::addresses::Addresses;
use super::alarms::log_alarm;
use super::helm::Helm;
use super::journal::DISK_CHECK_INTERVAL_MS;
use super::member::Driver;
use super::seat::{Change, Input, Lead, Low};
use super::turn::{Grounds, LISTENER_TOKENS, Reloaded, SIGNAL_TOKEN, WAKE_TOKEN, Way};
use crate::logging;
use crate::peers::{ClientKind, Passages};
use crate::reactor::{Readiness, Signal, Supervisor};
use crate::storage::disk::Disk;
use crate::storage::{FileDisk, StorageError};
use std::io;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Why the loop ends.
pub enum Next {
    Lead(Box<Lead>, Box<Grounds>),
    Stop,
}

/// What there is of a node besides what it listens at.
pub struct Surroundings<'a> {
    pub passages: Passages,
    pub addresses: &'a Addresses,
    pub changes: &'a Receiver<Change>,
    pub member: &'a Helm<Driver>,
    /// Clients are passed on, and not refused.
    pub passes: bool,
    pub room: Room<'a>,
}

pub struct Follower<'a> {
    grounds: Grounds,
    passages: Passages,
    addresses: &'a Addresses,
    changes: &'a Receiver<Change>,
    member: &'a Helm<Driver>,
    room: Room<'a>,
    /// With the doors, which are the next loop's again.
    accepting: Accepting,
    passes: bool,
    now_ms: u64,
    is_stopping: bool,
}

/// The room on the disk of a node that follows: nobody publishes there, so whoever leads is told when it gets little.
pub struct Room<'a> {
    disk: &'a FileDisk,
    /// Whose it is.
    node: &'a str,
    limit_bytes: u64,
    due_ms: u64,
    /// As it was said last.
    is_low: Option<bool>,
}

impl<'a> Room<'a> {
    pub fn new(disk: &'a FileDisk, node: &'a str, limit_bytes: u64) -> Self {
        Self { disk, node, limit_bytes, due_ms: 0, is_low: None }
    }

    /// Says whether there is little, when that has changed, in the log too.
    fn look(&mut self, now_ms: u64) -> Option<bool> {
        if now_ms < self.due_ms {
            return None;
        }
        self.due_ms = now_ms + DISK_CHECK_INTERVAL_MS;
        let is_low = match self.disk.free_bytes() {
            Ok(free_bytes) => free_bytes < self.limit_bytes,
            Err(error) => {
                tracing::warn!(target: "storage", "the room on the disk is unknown: {error}");
                return None;
            }
        };
        let was_low = self.is_low.replace(is_low);
        self.log(was_low.unwrap_or(false), is_low);
        (was_low != Some(is_low)).then_some(is_low)
    }

    fn log(&self, was_low: bool, is_low: bool) {
        let limit_bytes = self.limit_bytes;
        let means = format_args!("less than {limit_bytes} bytes are free; it doesn't lead, and publishers go on");
        log_alarm(self.node, "disk", was_low, is_low, means);
    }

    /// Whoever leads looks from now on.
    fn end(&mut self) {
        let was_low = self.is_low.take();
        self.log(was_low.unwrap_or(false), false);
    }
}

impl<'a> Follower<'a> {
    pub fn new(mut grounds: Grounds, surroundings: Surroundings<'a>) -> Self {
        let Surroundings { passages, addresses, changes, member, passes, room } = surroundings;
        // Of nobody who led before.
        addresses.of_leader(None);
        Self {
            accepting: Accepting::new(std::mem::take(&mut grounds.sources.doors)),
            now_ms: grounds.sources.clock.now_ms(),
            grounds,
            passages,
            addresses,
            changes,
            member,
            room,
            passes,
            is_stopping: false,
        }
    }

    /// Turns until this node is to lead, or to stop.
    ///
    /// # Errors
    /// The log fails, or the system does.
    pub fn run(mut self, reload: impl Fn() -> Option<Reloaded>) -> io::Result<Next> {
        loop {
            logging::flush();
            let timeout = self.timeout();
            self.grounds.sources.poller.poll(timeout)?;
            self.now_ms = self.grounds.sources.clock.now_ms();
            if let Some(supervisor) = &mut self.grounds.sources.supervisor {
                supervisor.turn(self.now_ms);
            }
            while let Ok(change) = self.changes.try_recv() {
                match change {
                    Change::Lead(lead) if !self.is_stopping => {
                        self.room.end();
                        self.grounds.sources.doors = self.accepting.take_doors();
                        return Ok(Next::Lead(lead, Box::new(self.grounds)));
                    }
                    Change::Lead(_) => {}
                    Change::Follow { leader } => self.passages.lead_to(self.addresses.of_leader(leader), self.now_ms),
                    // The next start finds that, or a scrub does.
                    Change::Failed(error) if self.is_stopping && error.damage().is_some() => return Ok(Next::Stop),
                    Change::Failed(error) => return Err(log_failed(error)),
                    Change::Stopped => return Ok(Next::Stop),
                }
            }
            if let Some(leader) = self.addresses.found() {
                self.passages.lead_to(Some(leader), self.now_ms);
            }
            self.look_at_room();
            // Whoever asks a loop that has no hub is told that it doesn't answer.
            while self.grounds.commands.try_recv().is_ok() {}
            let ready: Vec<Readiness> = self.grounds.sources.poller.ready().collect();
            for readiness in ready {
                match readiness.token {
                    WAKE_TOKEN => {}
                    SIGNAL_TOKEN => self.handle_signals(&reload),
                    token if token >= LISTENER_TOKENS => self.accepting.knock(token - LISTENER_TOKENS),
                    _ => self.passages.go_on(readiness, self.now_ms),
                }
            }
            self.accept();
            self.passages.go_on_with_more(self.now_ms);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.accepting.has_work() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.passages.next_deadline_ms(self.now_ms),
            self.accepting.next_deadline_ms(),
            Some(self.room.due_ms),
            self.grounds.sources.supervisor.as_ref().and_then(Supervisor::next_deadline_ms),
        ];
        let at_ms = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.now_ms)))
    }

    fn look_at_room(&mut self) {
        let Some(is_low) = self.room.look(self.now_ms) else { return };
        // It has no messages in memory of which there could be too many.
        let _ = self.member.tell(Input::Low(Low { disk: is_low, memory: false }));
    }

    fn accept(&mut self) {
        let Self { accepting, passages, grounds, passes, now_ms, .. } = self;
        accepting.accept(*now_ms, |way, client| {
            let kind = match way {
                Way::ByVestibule { is_encrypted: true } => ClientKind::Amqps,
                Way::ByVestibule { is_encrypted: false } | Way::Straight => ClientKind::Amqp,
            };
            if *passes {
                passages.pass(client, kind, &grounds.sources.poller, *now_ms);
            }
        });
    }

    fn handle_signals(&mut self, reload: &impl Fn() -> Option<Reloaded>) {
        for signal in self.grounds.sources.signals.take() {
            let supervisor = &self.grounds.sources.supervisor;
            match signal {
                Signal::Reload => {
                    supervisor.iter().for_each(Supervisor::reloading);
                    if let Some(reloaded) = reload() {
                        (self.room.limit_bytes, self.room.due_ms) = (reloaded.disk_free_limit_bytes, 0);
                        tracing::info!(target: "general", "configuration read again");
                    }
                    supervisor.iter().for_each(Supervisor::ready);
                }
                Signal::Terminate | Signal::Interrupt => {
                    tracing::info!(target: "general", "stopping: {} clients are passed on", self.passages.count());
                    supervisor.iter().for_each(Supervisor::stopping);
                    self.is_stopping = true;
                    self.passes = false;
                    self.passages.lead_to(self.addresses.of_leader(None), self.now_ms);
                    let _ = self.member.tell(Input::Stop);
                }
            }
        }
    }
}

fn log_failed(error: StorageError) -> io::Error {
    match error.damage() {
        Some(damage) => tracing::error!(target: "storage", "the log lost something: {damage}"),
        None => tracing::error!(target: "storage", "the log failed: {error}"),
    }
    io::Error::other(error)
}
