//! What must hold when nothing is under way.

use super::{ClientId, Due, Mode, Model, Queue};
use leveret::broker::Census;

impl Model {
    /// After a turn: everything due was said, and no message waits that a consumer could have. `has_room` tells of a
    /// client whether its outbox takes deliveries. Confirms may wait for the disk unless everything `is_safe`.
    pub fn audit_turn(&mut self, has_room: impl Fn(ClientId) -> bool, is_safe: bool) -> Result<(), String> {
        self.end_freshness();
        self.begin_doubts();
        for (id, client) in &self.clients {
            if let Some((number, due, _)) = client.due.front() {
                return Err(format!("client {id}, channel {number}: {due:?} was not said"));
            }
            if let Some((number, tag)) = client.cancellations.first() {
                return Err(format!("client {id}, channel {number}: not told that consumer {tag} was cancelled"));
            }
            for (number, channel) in &client.channels {
                if let Mode::Confirm { published, confirmed, unconfirmed } = &channel.mode
                    && let Some(first) = unconfirmed.front()
                    && (is_safe || !self.lasting.told_at(*first))
                {
                    return Err(format!("client {id}, channel {number}: {confirmed} of {published} are confirmed"));
                }
            }
        }
        let now_ms = self.now_ms;
        let mut pumped = Vec::new();
        for (key, queue) in &self.queues {
            let ready_consumer = queue.consumers.iter().find(|consumer| {
                let consumer = &self.consumers[consumer];
                has_room(consumer.client) && self.has_credit(consumer) && !self.may_wait(consumer)
            });
            let Some(consumer) = ready_consumer else { continue };
            pumped.push(*key);
            if let Some(entry) = queue.ready.values().find(|entry| entry.expires_at_ms.is_none_or(|at| at > now_ms)) {
                let (message, tag) = (entry.message.id, &self.consumers[consumer].tag);
                let name = &queue.name;
                return Err(format!("queue {name:?}: message {message} waits although consumer {tag:?} has credit"));
            }
        }
        // Whoever looks for something to deliver drops what expired.
        pumped.into_iter().for_each(|key| self.drop_expired(key));
        Ok(())
    }

    /// The broker's own counts, which must be the model's.
    pub fn audit_census(&mut self, census: &Census) -> Result<(), String> {
        self.begin_doubts();
        let open = self.clients.values().filter(|client| client.open);
        let channels = || open.clone().flat_map(|client| client.channels.values()).filter(|channel| !channel.closing);
        let pending = |mode: &Mode| match mode {
            Mode::Transaction { settlements, .. } => settlements.len(),
            _ => 0,
        };
        let expected = Census {
            connections: open.clone().count(),
            channels: channels().count(),
            queues: self.queues.len(),
            consumers: self.consumers.len(),
            ready: self.queues.values().map(|queue| queue.ready.len()).sum(),
            unacknowledged: channels().map(|channel| channel.unacked.len() + pending(&channel.mode)).sum(),
        };
        let ready = self.queues.values().map(Queue::count);
        let ready = ready.fold(0..=0, |sum, count| sum.start() + count.start()..=sum.end() + count.end());
        let expected =
            if ready.contains(&census.ready) { Census { ready: census.ready, ..expected } } else { expected };
        if *census == expected { Ok(()) } else { Err(format!("the broker has {census:?}, the model {expected:?}")) }
    }

    /// The broker is stopping: every open connection is told, and loses everything.
    pub fn stop(&mut self) {
        self.lasting.begin_act();
        // Those who are not in yet are dropped without a word.
        self.clients.values_mut().for_each(|client| client.login = None);
        let open = self.clients.iter().filter(|(_, client)| client.open).map(|(id, _)| *id);
        for id in open.collect::<Vec<_>>() {
            self.end_connection(id);
            self.due(id, 0, Due::ConnectionClose(320));
        }
        self.end_act();
    }
}
