//! The turns of the loop, and the steps of the disk beside it.

use super::knobs::Pace;
use super::{CHUNK_MAX, DISK_STEPS_MAX, Step, World};
use crate::client::Client;
use crate::model::ClientId;
use leveret::broker::MessageMemory;
use leveret::server::Resources;
use std::collections::{BTreeMap, VecDeque};

/// Pumps in a row until nothing is left to deliver: far more than any life here needs.
const PUMPS_MAX: usize = 1000;
/// Rounds after which a world that doesn't come to rest has a problem.
const QUIET_ROUNDS_MAX: usize = 1000;

impl World<'_> {
    /// What the broker does when it has read everyone: deliver, confirm, flush.
    pub(super) fn finish_turn(&mut self) -> Step {
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

    pub(super) fn deliver_all(&mut self) {
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

    /// Everything under way arrives; then the broker's counts must be the model's.
    pub(super) fn rest(&mut self) -> Step {
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
            if self.deletions > 0 {
                // What was in a virtual host goes in the turns that follow.
                self.deletions -= 1;
                quiet = false;
                self.advance(0)?;
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
    pub(super) fn drive_disk(&mut self) -> Result<bool, String> {
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
}
