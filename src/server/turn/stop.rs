//! Signals, and how the broker stops: because somebody wants it, or because it must.

use super::{Door, Reloaded, Server};
use crate::reactor::{Signal, Supervisor};
use crate::server::journal::Failure;
use crate::storage::StorageError;
use std::io;

/// How long clients may take to answer when the broker stops, in milliseconds.
const SHUTDOWN_MS: u64 = 2_000;
/// How long they may take when another node leads, in milliseconds: those who come meanwhile wait for it.
const DEPOSED_MS: u64 = 500;
/// How long a leader that stops waits until most nodes have what it took, in milliseconds.
const SETTLE_MS: u64 = 2_000;
/// And until another one leads: it is told sooner, unless its member is gone.
const GIVE_AWAY_MS: u64 = 6_000;
/// What RabbitMQ tells clients when it stops.
const SHUTDOWN_EXPLANATION: &str = "broker forced connection closure with reason 'shutdown'";

/// Nothing is confirmed after this: what was not synced may be lost, and the disk is not asked again.
pub(super) fn log_failed(error: StorageError) -> io::Error {
    tracing::error!(target: "storage", "{}", words_for(&error));
    io::Error::other(error)
}

fn words_for(error: &StorageError) -> String {
    match error {
        // Whoever moves messages out of an old segment came to it. What is written is as durable as before.
        StorageError::Corrupt { .. } => format!("the broker stops, as it found damage in the log: {error}"),
        _ => format!("the log failed, nothing is durable any more: {error}"),
    }
}

/// A leader stops, and its clients wait for the next one: nobody is read, and nothing is delivered.
///
/// ```text
///   signal ──► most nodes have what was taken; publishers and others are told so ──► the lead is given away
///                                                                                          │
///                                       clients are closed ◄── another one leads ◄─────────┘
/// ```
pub(super) struct GivingAway {
    settles_by_ms: u64,
    by_ms: u64,
    is_settled: bool,
    /// Another one leads.
    is_gone: bool,
}

impl GivingAway {
    pub(super) fn next_deadline_ms(&self) -> u64 {
        if self.is_settled { self.by_ms } else { self.settles_by_ms }
    }
}

impl Server {
    pub(super) fn handle_signals(&mut self, reload: impl Fn() -> Option<Reloaded>) {
        if !std::mem::take(&mut self.signalled) {
            return;
        }
        for signal in self.signals.take() {
            match signal {
                Signal::Reload => {
                    self.supervisor.iter().for_each(Supervisor::reloading);
                    let reloaded = reload();
                    self.supervisor.iter().for_each(Supervisor::ready);
                    if let Some(reloaded) = reloaded {
                        let Reloaded { message_memory, disk_free_limit_bytes, slow_turn_ms, acceptor } = reloaded;
                        self.watch.set_limit(slow_turn_ms);
                        self.message_memory = message_memory;
                        self.journal.set_disk_free_limit(disk_free_limit_bytes);
                        // Keys may be others.
                        self.hub.forget_answers();
                        if let (Some(vestibule), Some(acceptor)) = (&self.vestibule, acceptor) {
                            vestibule.accept_with(acceptor);
                        }
                        tracing::info!(target: "general", "configuration read again");
                    }
                }
                Signal::Terminate | Signal::Interrupt if self.deposed.is_some() || self.giving_away.is_some() => {
                    (self.deposed, self.giving_away) = (None, None);
                    self.shutdown_at_ms = Some(self.now_ms);
                }
                Signal::Terminate | Signal::Interrupt if self.shutdown_at_ms.is_none() => self.begin_shutdown(),
                Signal::Terminate | Signal::Interrupt => self.shutdown_at_ms = Some(self.now_ms),
            }
        }
    }

    fn begin_shutdown(&mut self) {
        self.supervisor.iter().for_each(Supervisor::stopping);
        drop(self.close_doors());
        let Some(seat) = self.journal.workers().seat() else { return self.close_clients() };
        seat.take_nobody();
        tracing::info!(target: "general", "stopping: giving the lead away first");
        let (settles_by_ms, by_ms) = (self.now_ms + SETTLE_MS, self.now_ms + GIVE_AWAY_MS);
        self.giving_away = Some(GivingAway { settles_by_ms, by_ms, is_settled: false, is_gone: false });
    }

    /// Does what can be done of it without waiting.
    pub(super) fn give_away(&mut self) {
        while let Some(id) = self.hub.next_to_answer() {
            self.flush(id);
        }
        let Some(giving_away) = &mut self.giving_away else { return };
        if !giving_away.is_settled {
            giving_away.is_settled = self.journal.settle(&mut self.hub) || giving_away.settles_by_ms <= self.now_ms;
            if let Some(seat) = self.journal.workers().seat().filter(|_| giving_away.is_settled) {
                seat.give_away();
            }
        }
        if giving_away.is_gone || giving_away.by_ms <= self.now_ms {
            self.giving_away = None;
            self.close_clients();
        }
    }

    fn close_clients(&mut self) {
        tracing::info!(target: "general", "stopping: closing {} connections", self.hub.connections().count());
        self.shutdown_at_ms = Some(self.now_ms + SHUTDOWN_MS);
        self.hub.close_where(|_| true, SHUTDOWN_EXPLANATION);
    }

    /// Lets nobody in any more. Those who knock meanwhile wait at the doors.
    fn close_doors(&mut self) -> Vec<Door> {
        if let Some(vestibule) = self.vestibule.take() {
            vestibule.close();
        }
        self.accepting.take_doors()
    }

    /// Another node leads: what was not confirmed is its to say. Clients are closed, and come back through this node or
    /// another.
    fn be_deposed(&mut self) {
        if let Some(giving_away) = &mut self.giving_away {
            giving_away.is_gone = true;
            return;
        }
        if self.shutdown_at_ms.is_some() {
            return;
        }
        let count = self.hub.connections().count();
        tracing::warn!(target: "cluster", "another node is to lead: closing {count} connections");
        self.deposed = Some(self.close_doors());
        self.shutdown_at_ms = Some(self.now_ms + DEPOSED_MS);
        self.hub.close_where(|_| true, SHUTDOWN_EXPLANATION);
    }

    pub(super) fn take_reports(&mut self) -> io::Result<()> {
        match self.journal.take_reports(&mut self.hub) {
            Ok(()) => {}
            Err(Failure::Log(error)) => return Err(log_failed(error)),
            Err(Failure::Deposed) => self.be_deposed(),
            Err(Failure::Pages(error)) => {
                tracing::error!(
                    target: "storage",
                    "messages beyond memory can't be read: {error}. The log is not affected: the broker stops in order, \
                     and the next start has all persistent messages"
                );
                self.end_without_messages(error);
            }
            Err(Failure::Loading(error)) => {
                tracing::error!(target: "storage", "messages can't be loaded, and the broker stops in order: {error}");
                self.end_without_messages(error);
            }
        }
        Ok(())
    }

    /// Messages are out of reach. A queue that went on without them would look to its consumers as if confirmed messages
    /// were lost; and the log, which has them, may still get all that it is owed.
    fn end_without_messages(&mut self, error: StorageError) {
        self.failed = Some(error);
        if self.shutdown_at_ms.is_none() && self.giving_away.is_none() {
            self.begin_shutdown();
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        let broker = self.hub.broker();
        let has_more = || broker.is_settling() || broker.has_dead_letters();
        let is_done = || self.hub.connections().count() == 0 && !has_more();
        self.shutdown_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms || is_done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_in_an_old_segment_is_named_and_is_no_failure_to_write() {
        let words = words_for(&StorageError::corrupt("log/7.seg", 300, "a batch is damaged"));
        let expected = "the broker stops, as it found damage in the log: log/7.seg is damaged at byte 300: a batch is";
        assert!(words.starts_with(expected), "{words}");
        let words = words_for(&StorageError::Poisoned);
        assert!(words.starts_with("the log failed, nothing is durable any more: "), "{words}");
    }
}
