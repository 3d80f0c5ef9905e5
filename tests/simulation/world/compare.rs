//! Everything that the broker says, held against the model as soon as it is written.

use super::pipes::read_outbox;
use super::{FRAME_MAX, Step, World};
use crate::client::{Client, Phase};
use crate::command::Command;
use crate::model::{ClientId, Fit, Outlook};
use crate::wire::{Event, Heard, parse_events};
use std::collections::{BTreeMap, VecDeque};

/// What the broker said to each client and the model has not followed yet, each with where it ends.
type Events = BTreeMap<ClientId, VecDeque<(u64, u16, Event)>>;

/// Something that happens to the broker from outside, as the model is told.
pub(super) enum Act {
    Said(ClientId, u16, Command),
    /// The second half of a tx.commit.
    CommitFinished,
    Gone(ClientId),
    Stop,
}

impl World<'_> {
    /// Reads what the broker wrote since it was last looked at, and has the model follow it and `acts`.
    ///
    /// Acts and everything written to one client are in order, but not against each other. An event that fits is taken
    /// as soon as it fits, an act only when no event does: nothing that is right is refused that way, as long as no act
    /// follows that [settles whatever is there](Command::settles_whatever_is_there). Such acts come alone.
    pub(super) fn compare(&mut self, mut acts: VecDeque<Act>) -> Step {
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

    /// What a client can read by now must be safe, and so must what an administrator was answered.
    fn keep_promises(&mut self) {
        let durable = self.hub.broker().durable();
        while self.answers.front().is_some_and(|(position, _)| *position <= durable)
            && let Some((_, act)) = self.answers.pop_front()
        {
            self.model.promise(act);
        }
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
    pub(super) fn memory_may_be_scarce(&self) -> bool {
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
}

fn outlook(clients: &[Client], events: &Events, id: ClientId) -> Outlook {
    let client = clients.iter().find(|client| client.id == id);
    Outlook {
        has_room: client.is_some_and(|client| !client.full),
        is_quiet: events.get(&id).is_none_or(VecDeque::is_empty),
    }
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
        Event::Refused { .. } => "refusal",
        Event::Cancelled(_) => "cancellation",
        Event::Blocked => "blocked",
        Event::Unblocked => "unblocked",
        Event::Heartbeat => "heartbeat",
        Event::Reply(Reply::GetOk { .. }) => "get-ok",
        Event::Reply(Reply::Return(_)) => "return",
        Event::Reply(Reply::ChannelClose(403, ..)) => "access refused",
        Event::Reply(Reply::ChannelClose(..)) => "channel exception",
        Event::Reply(Reply::ConnectionClose(320)) => "shutdown",
        Event::Reply(Reply::ConnectionClose(403)) => "login refused",
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
