//! The pipes between the clients and the broker: bytes of clients reach it in pieces, and what it writes they read as
//! slowly as they like.

use super::compare::Act;
use super::{DISK_STEPS_MAX, Step, World};
use leveret::broker::ConnectionId;
use leveret::connection::{Connection, Outbox};
use leveret::server::{Failure, MayRead};
use std::collections::VecDeque;
use std::io::IoSlice;

/// More slices than an outbox here ever has.
const SLICES_MAX: usize = 4096;

impl World<'_> {
    /// Up to `count` bytes of a client reach the broker.
    pub(super) fn deliver(&mut self, index: usize, count: usize) -> Step {
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
                // What the client is to read waits for the disk.
                Ok(false) => {
                    let starts = self.starts;
                    self.durable.hand_over(&mut self.hub, self.now_ms);
                    if !self.drive_disk()? {
                        break;
                    }
                    if self.starts != starts {
                        return Ok(());
                    }
                }
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
    pub(super) fn take(&mut self, index: usize, count: usize) -> Step {
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
}

/// Up to `count` bytes of those that an outbox gives away.
pub(super) fn read_outbox(outbox: &Outbox, count: usize) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); SLICES_MAX.min(outbox.len())];
    let filled = outbox.io_slices(&mut slices);
    let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    bytes.truncate(count);
    bytes
}
