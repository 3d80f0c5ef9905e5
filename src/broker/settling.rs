//! How much is settled in a turn, and what goes on in the next ones.
//!
//! One command may settle all that a channel holds, and a channel that closes leaves all of it behind: a million deliveries,
//! if nobody limited them. So what is settled in a turn is counted. A command that comes to the end of that is
//! [unfinished](Progress): whoever gave it gives it again in the next turn, and nothing else of that client meanwhile. What
//! closed channels left behind is on a list, which [`pump`](Broker::pump) serves; a client that is still there waits until
//! its own is back.
//!
//! ```text
//!   acknowledged, rejected, requeued, recovered ──► some of it ──► the same command again ──► finished
//!   a channel closed, a connection lost ──────────► some of it ──► the list ────────────────► all back
//! ```
//!
//! What comes back belongs before what is ready. A queue that is getting messages back is *held* until it has them all: it
//! delivers nothing, hands nothing over, and whoever wants to get from it waits. So everybody is given what he would have been
//! given if all had come back at once. Only who counts, purges or deletes meanwhile may find a part of it: what comes back
//! after a purge stays.

use super::channel::{ChannelMode, PendingPublish, PendingSettlement, Settlement, Transaction};
use super::exchange::QueueId;
use super::keys::ConnectionKey;
use super::pace::Said;
use super::store::Store;
use super::unacknowledged::{Delivered, Unacknowledged};
use super::{Broker, Channel, ChannelId, ConnectionId, QueueKey, VhostId};
use std::collections::VecDeque;

/// What commands may settle in a turn: so many messages that are acknowledged. What is left behind goes back beside that, so
/// that nobody who settles again and again keeps others' queues held.
const SETTLED_PER_TURN: usize = 32 * 1024;
/// Each one that goes back to its queue, or on the list of dead letters by itself, counts as so many.
pub(super) const RETURN_COST: usize = 8;
/// Each one of a queue that remembers values of its messages, and has to find its own, counts as so many.
const FORGET_COST: usize = 4;

/// A channel's memory of [other sources](Channel::other_sources) is gone over when it has more than so many, and more than
/// twice as many as there are deliveries.
const SOURCES_MIN: usize = 64;

/// How far a command came that may settle many deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Finished,
    /// It is to be given again in the next turn, and before anything else of its client.
    Unfinished,
}

pub(super) struct Settling {
    /// What commands may still settle in this turn.
    pub(super) left: usize,
    /// What may still go back of what was left behind.
    left_to_return: usize,
    left_behind: VecDeque<LeftBehind>,
    /// Somebody waits for what is left behind, or to give a command again.
    is_awaited: bool,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            left: SETTLED_PER_TURN,
            left_to_return: SETTLED_PER_TURN,
            left_behind: VecDeque::new(),
            is_awaited: false,
        }
    }
}

/// What a closed channel held.
struct LeftBehind {
    connection: ConnectionKey,
    vhost: VhostId,
    /// What its open transaction would have settled goes back first.
    settlements: VecDeque<PendingSettlement>,
    unacknowledged: Unacknowledged,
    /// And what that would have published goes last.
    publishes: VecDeque<PendingPublish>,
    holds: Vec<QueueKey>,
}

impl LeftBehind {
    fn next_delivery(&mut self) -> Option<Delivered> {
        let pending = self.settlements.pop_front().map(|pending| pending.delivered);
        pending.or_else(|| Some(self.unacknowledged.take_next_up_to(u64::MAX)?.1))
    }
}

impl Settling {
    /// A turn begins.
    pub(super) fn start_turn(&mut self) {
        self.left = SETTLED_PER_TURN;
        self.left_to_return = SETTLED_PER_TURN;
        self.is_awaited = !self.left_behind.is_empty();
    }

    /// Whether something that was left behind can still go back in this turn.
    pub(super) fn goes_on(&self) -> bool {
        self.left_to_return > 0 && !self.left_behind.is_empty()
    }

    /// Nothing that was left behind is still to go back.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.left_behind.is_empty()
    }

    /// So many messages were settled, each of which counts as `cost`.
    pub(super) fn count(&mut self, messages: usize, cost: usize) {
        self.left = self.left.saturating_sub(messages * cost);
    }

    /// How many messages may still be settled for good, of a queue that remembers values or not, and what each counts.
    #[inline]
    pub(super) fn departures_left(&self, remembers_values: bool) -> (usize, usize) {
        match remembers_values {
            true => (self.left.div_ceil(FORGET_COST), FORGET_COST),
            false => (self.left, 1),
        }
    }

    /// What closed channels left behind, for the census.
    pub(super) fn deliveries_left_behind(&self) -> usize {
        self.left_behind.iter().map(|left| left.settlements.len() + left.unacknowledged.len()).sum()
    }
}

impl<S: Store> Broker<S> {
    /// Whether commands are unfinished, closed channels left something behind, bindings are still to go, or memory is still to
    /// be given back: there is more to do than a turn does.
    pub fn is_settling(&self) -> bool {
        self.settling.is_awaited
            || !self.settling.left_behind.is_empty()
            || !self.leaving.is_empty()
            || !self.discards.is_empty()
    }

    /// Whether a command that is [unfinished](Progress::Unfinished) can go on.
    pub fn can_settle(&self) -> bool {
        self.settling.left > 0
    }

    /// Whether closed channels of a connection left deliveries behind that are not back yet.
    pub fn has_left_behind(&self, id: ConnectionId) -> bool {
        matches!(self.connections.get(id.0 as usize), Some(Some(connection)) if connection.left_behind > 0)
    }

    /// Queues get back what a closed channel held: now, as far as a turn does that, or after those who were before it.
    pub(super) fn leave_behind(&mut self, channel: Channel) {
        let Channel { connection, unacknowledged, mode, holds, other_sources, .. } = channel;
        let transaction = match mode {
            ChannelMode::Transaction(transaction) => transaction,
            _ => Default::default(),
        };
        if unacknowledged.is_empty() && transaction.settlements.is_empty() && transaction.publishes.is_empty() {
            return self.let_go(&holds);
        }
        let state = self.connections[connection.0 as usize].as_mut().expect("a channel's connection is open");
        state.left_behind += 1;
        let (connection, vhost) = (ConnectionKey { id: connection, serial: state.serial }, state.vhost);
        let Transaction { settlements, publishes, .. } = transaction;
        let left_behind = LeftBehind { connection, vhost, settlements, unacknowledged, publishes, holds };
        self.settling.left_behind.push_back(left_behind);
        self.settle_left_behind();
        if self.settling.left_behind.is_empty() {
            return;
        }
        // All of its consumers were cancelled. What it held for a command before, it goes on to hold.
        let sources: Vec<QueueKey> = other_sources.into_iter().collect();
        self.hold(&sources);
        self.settling.left_behind.back_mut().into_iter().for_each(|last| last.holds.extend(&sources));
    }

    /// Gives queues back some of what closed channels left behind.
    pub(super) fn settle_left_behind(&mut self) {
        while self.settling.left_to_return > 0
            && let Some(first) = self.settling.left_behind.front_mut()
        {
            if let Some(delivered) = first.next_delivery() {
                self.settle_delivered(delivered, Settlement::Failed, Said::OfSeveral);
            } else if let Some(pending) = first.publishes.pop_front() {
                let vhost = first.vhost;
                self.take_values_back(vhost, &pending.noted);
            } else {
                self.all_is_back();
            }
            self.settling.left_to_return = self.settling.left_to_return.saturating_sub(RETURN_COST);
        }
    }

    fn all_is_back(&mut self) {
        let Some(LeftBehind { connection: key, holds, .. }) = self.settling.left_behind.pop_front() else { return };
        if let Some(Some(connection)) = self.connections.get_mut(key.id.0 as usize)
            && connection.serial == key.serial
        {
            connection.left_behind -= 1;
        }
        self.let_go(&holds);
    }

    /// A command came to the end of what a turn settles, or to its own. One that gives messages back holds their queues
    /// in between.
    pub(super) fn pause_or_finish(&mut self, id: ChannelId, up_to: u64, gives_back: bool) -> Progress {
        let channel = self.channel_mut(id);
        if channel.unacknowledged.next_run(up_to).is_none() {
            channel.settles_up_to = None;
            self.release_holds(id);
            return Progress::Finished;
        }
        channel.settles_up_to = Some(up_to);
        self.settling.is_awaited = true;
        if gives_back {
            self.hold_sources(id);
        }
        Progress::Unfinished
    }

    /// Holds the queues of which a channel may hold something, until an unfinished command of its is finished.
    pub(super) fn hold_sources(&mut self, id: ChannelId) {
        self.settling.is_awaited = true;
        if self.channel(id).holds.is_empty() {
            let holds = self.sources_of(id);
            self.hold(&holds);
            self.channel_mut(id).holds = holds;
        }
    }

    pub(super) fn release_holds(&mut self, id: ChannelId) {
        let holds = std::mem::take(&mut self.channel_mut(id).holds);
        self.let_go(&holds);
    }

    /// Queues of which a channel may hold something.
    fn sources_of(&self, id: ChannelId) -> Vec<QueueKey> {
        let channel = self.channel(id);
        let consumers = channel.consumers.values().map(|consumer| &self.consumers[consumer.0 as usize]);
        let holding = consumers.filter(|consumer| consumer.unacknowledged > 0);
        let mut sources: Vec<QueueKey> = holding.map(|consumer| self.queue_key(consumer.queue)).collect();
        sources.extend(&channel.other_sources);
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// A channel has something of a queue that none of its consumers has.
    pub(super) fn note_source(&mut self, id: ChannelId, queue: QueueId) {
        let key = self.queue_key(queue);
        if !self.channel_mut(id).other_sources.insert(key) {
            return;
        }
        let channel = self.channel(id);
        let pending = match &channel.mode {
            ChannelMode::Transaction(transaction) => Some(&transaction.settlements),
            _ => None,
        };
        let held = channel.unacknowledged.len() + pending.map_or(0, VecDeque::len);
        if channel.other_sources.len() > SOURCES_MIN.max(2 * held) {
            let pending = pending.into_iter().flatten().map(|pending| pending.delivered.queue);
            let queues = channel.unacknowledged.iter().map(|(_, delivered)| delivered.queue).chain(pending);
            let sources = queues.map(|queue| self.queue_key(queue)).collect();
            self.channel_mut(id).other_sources = sources;
        }
    }

    fn hold(&mut self, queues: &[QueueKey]) {
        for key in queues {
            let Some(id) = self.queue_of(*key) else { continue };
            let queue = self.queue_mut(id);
            queue.holders += 1;
            queue.behaviour.hold(true);
        }
    }

    fn let_go(&mut self, queues: &[QueueKey]) {
        for key in queues {
            let Some(id) = self.queue_of(*key) else { continue };
            let queue = self.queue_mut(id);
            queue.holders -= 1;
            if queue.holders == 0 {
                queue.behaviour.hold(false);
                self.touch(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
