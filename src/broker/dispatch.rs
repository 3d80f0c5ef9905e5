//! From a queue's backlog to its consumers: who is next, and delivering while there is credit and room.

use super::consumer::{Consumer, ConsumerState};
use super::effects::{Effects, Recipient, Room};
use super::exchange::QueueId;
use super::flow::{Departure, Given, tell_removed};
use super::lifecycle::ConnectionState;
use super::message::Content;
use super::queue::{Queue, Taken};
use super::store::Store;
use super::unacknowledged::Delivered;
use super::{Broker, Channel, ChannelId, ConnectionId, ConsumerId, QueueKey};
use slab::Slab;

/// Most deliveries from one queue before the next touched queue has its go, so that queues of one slow connection share
/// its outbox.
pub(super) const DELIVERIES_PER_GO: usize = 128;

/// Where deliveries may be told of, each go counts as so many moves: to tell of a message takes longer than to deliver it.
const MOVES_PER_TRACED_GO: usize = MOVES_PER_PUMP / 8;

/// Most consumers that [`pump`](Broker::pump) moves out of lines that they can't be served in, and back into them: a
/// hostile client may have a million that wait for one channel.
pub(super) const MOVES_PER_PUMP: usize = 4096;

/// The tables that choosing a consumer reads and writes.
struct Tables<'a> {
    consumers: &'a mut Slab<Consumer>,
    channels: &'a mut Slab<Channel>,
    connections: &'a mut [Option<ConnectionState>],
    /// See [`MOVES_PER_PUMP`].
    moves_left: &'a mut usize,
}

#[inline]
fn connection_state(connections: &mut [Option<ConnectionState>], id: ConnectionId) -> &mut ConnectionState {
    connections[id.0 as usize].as_mut().expect("a consumer's connection is open")
}

/// A consumer that can take a message now.
struct Ready<'a> {
    id: ConsumerId,
    consumer: &'a Consumer,
    channel: &'a mut Channel,
    connection: &'a mut ConnectionState,
}

impl Tables<'_> {
    /// The consumer at the front of the line, if it can take a message now.
    #[inline]
    fn ready_front(&mut self, queue: &Queue) -> Option<Ready<'_>> {
        let id = queue.gate.line.front()?;
        let consumer = &self.consumers[id.0 as usize];
        // A cancelled consumer's channel and connection may be gone, so the state comes first.
        if consumer.state != ConsumerState::InLine {
            return None;
        }
        let connection = connection_state(self.connections, consumer.connection);
        let channel = &mut self.channels[consumer.channel.0 as usize];
        let is_ready = !connection.outbox_full && consumer.has_credit() && channel.has_credit();
        is_ready.then_some(Ready { id, consumer, channel, connection })
    }

    /// The first consumer in line that can take a message now. Those met that can't leave the line for where they wait;
    /// when too many have moved it is nobody, though the line is not empty.
    #[inline]
    fn next_ready(&mut self, queue: &mut Queue) -> Option<ConsumerId> {
        loop {
            if let Some(ready) = self.ready_front(queue) {
                return Some(ready.id);
            }
            if !self.front_leaves(queue) {
                return None;
            }
        }
    }

    /// The front, which is not ready, leaves the line. False when there is none, or too many have moved.
    #[cold]
    fn front_leaves(&mut self, queue: &mut Queue) -> bool {
        let Some(id) = queue.gate.line.front().filter(|_| *self.moves_left > 0) else { return false };
        *self.moves_left -= 1;
        self.leave_line(queue, id);
        true
    }

    fn leave_line(&mut self, queue: &mut Queue, id: ConsumerId) {
        queue.gate.line.leave();
        let consumer = &mut self.consumers[id.0 as usize];
        if consumer.state == ConsumerState::Cancelled {
            queue.gate.line.cancelled_left();
            consumer.listed = false;
            if consumer.is_forgotten() {
                self.consumers.remove(id.0 as usize);
            }
            return;
        }
        let connection = connection_state(self.connections, consumer.connection);
        if connection.outbox_full {
            consumer.state = ConsumerState::OutboxFull;
            connection.stalled.join(0, id);
        } else if !consumer.has_credit() {
            consumer.state = ConsumerState::PrefetchReached;
            consumer.listed = false;
        } else {
            consumer.state = ConsumerState::ChannelPrefetchReached;
            self.channels[consumer.channel.0 as usize].wait_for_turn(consumer.queue, consumer.priority, id);
        }
    }

    /// Delivers a message that waits for an acknowledgement.
    #[inline]
    fn deliver_manual_ack(&mut self, id: ConsumerId, queue: QueueId, taken: Taken, effects: &mut impl Effects) {
        let consumer = &mut self.consumers[id.0 as usize];
        let channel = &mut self.channels[consumer.channel.0 as usize];
        let delivery_tag = channel.next_delivery_tag();
        consumer.unacknowledged += 1;
        channel.consumer_deliveries += 1;
        if effects.deliver(consumer.recipient(), delivery_tag, taken.redelivered, &taken.message.content())
            == Room::Full
        {
            connection_state(self.connections, consumer.connection).outbox_full = true;
        }
        channel.unacknowledged.push(delivery_tag, Delivered { taken, queue, consumer: Some(id) });
    }

    /// Delivers the head of a queue, and what follows it, to a consumer that [is ready](Self::next_ready): at most
    /// `most` messages, and as many as it has credit and room for.
    fn deliver_run(
        &mut self,
        id: ConsumerId,
        most: usize,
        from: (QueueId, &mut Queue),
        now_ms: u64,
        store: &mut impl Store,
        effects: &mut impl Effects,
    ) -> Run {
        let (queue_id, queue) = from;
        let consumer = &mut self.consumers[id.0 as usize];
        let channel = &mut self.channels[consumer.channel.0 as usize];
        let credit = consumer.credit().min(if consumer.no_ack { usize::MAX } else { channel.credit() });
        let no_ack = consumer.no_ack;
        let mut given = Given { no_ack, count: 0, redelivered: 0 };
        let mut expired = None;
        while given.count < most.min(credit)
            && let Some(taken) = queue.backlog.front().pop()
        {
            if taken.expires_at_ms <= now_ms {
                expired = Some(taken);
                break;
            }
            given.count += 1;
            given.redelivered += usize::from(taken.redelivered);
            let delivery_tag = channel.next_delivery_tag();
            let content = taken.message.content();
            let room = effects.deliver(consumer.recipient(), delivery_tag, taken.redelivered, &content);
            if !no_ack {
                channel.unacknowledged.push(delivery_tag, Delivered { taken, queue: queue_id, consumer: Some(id) });
            } else {
                tell_removed(store, queue, &taken);
            }
            if room == Room::Full {
                connection_state(self.connections, consumer.connection).outbox_full = true;
                break;
            }
        }
        if !no_ack {
            consumer.unacknowledged += given.count as u32;
            channel.consumer_deliveries += given.count as u32;
        }
        Run { given, expired }
    }
}

/// What [`Tables::deliver_run`] did.
struct Run {
    given: Given,
    /// It ended at this one, which came too late.
    expired: Option<Taken>,
}

/// One consumer without acknowledgements, alone in line at an empty queue: messages published to the queue can go to it
/// in a run, until its outbox is full.
pub struct DirectLane {
    queue: QueueId,
    consumer: ConsumerId,
    channel: ChannelId,
    /// The channel's delivery tag before the run.
    pub last_delivery_tag: u64,
}

/// What became of an attempt to hand a message over without queueing it.
pub(super) enum HandOver {
    /// A consumer without acknowledgements has it.
    Done,
    /// A consumer waits for it, but it must be kept until it is acknowledged.
    MustBeKept(ConsumerId),
    /// It has to wait.
    NobodyReady,
}

impl<S: Store> Broker<S> {
    /// The lane through a queue, if it is in the state for one.
    #[inline]
    pub fn open_lane(&mut self, id: QueueId) -> Option<DirectLane> {
        let queue = &self.queues[id.0 as usize];
        if !queue.backlog.is_empty() || !queue.behaviour.has_lanes() {
            return None;
        }
        let consumer_id = queue.gate.line.sole()?;
        let consumer = &self.consumers[consumer_id.0 as usize];
        if consumer.state != ConsumerState::InLine
            || !consumer.no_ack
            || connection_state(&mut self.connections, consumer.connection).outbox_full
        {
            return None;
        }
        let channel = &self.channels[consumer.channel.0 as usize];
        if !channel.has_credit() {
            return None;
        }
        let last_delivery_tag = channel.last_delivery_tag;
        Some(DirectLane { queue: id, consumer: consumer_id, channel: consumer.channel, last_delivery_tag })
    }

    pub fn lane_recipient(&self, lane: &DirectLane) -> Recipient<'_> {
        self.consumers[lane.consumer.0 as usize].recipient()
    }

    /// Counts what went through a lane, up to `last_delivery_tag`, from the publisher's channel.
    pub fn close_lane(&mut self, lane: DirectLane, publisher: ChannelId, last_delivery_tag: u64, room: Room) {
        let count = last_delivery_tag - lane.last_delivery_tag;
        self.channels[lane.channel.0 as usize].last_delivery_tag = last_delivery_tag;
        let queue = &mut self.queues[lane.queue.0 as usize];
        self.books.went_through_lane(queue, count);
        if room == Room::Full {
            let connection = self.consumers[lane.consumer.0 as usize].connection;
            connection_state(&mut self.connections, connection).outbox_full = true;
        }
        self.count_many_for_confirm(publisher, count);
    }

    /// Hands a message that is still in the receive buffer to a consumer of an empty queue.
    #[inline(always)]
    pub(super) fn hand_over(&mut self, id: QueueId, content: &Content<'_>, effects: &mut impl Effects) -> HandOver {
        let Self { queues, consumers, channels, connections, moves_left, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        let mut tables = Tables { consumers, channels, connections, moves_left };
        loop {
            let Some(Ready { id, consumer, channel, connection }) = tables.ready_front(queue) else {
                if tables.front_leaves(queue) {
                    continue;
                }
                return HandOver::NobodyReady;
            };
            if !consumer.no_ack {
                return HandOver::MustBeKept(id);
            }
            queue.gate.line.rotate();
            books.passed_through(queue, 1);
            let delivery_tag = channel.next_delivery_tag();
            connection.outbox_full |= effects.deliver(consumer.recipient(), delivery_tag, false, content) == Room::Full;
            return HandOver::Done;
        }
    }

    /// Gives a message that never waited to the consumer that [`hand_over`](Self::hand_over) named.
    #[inline]
    pub(super) fn hand_over_kept(
        &mut self,
        id: QueueId,
        consumer: ConsumerId,
        mut taken: Taken,
        effects: &mut impl Effects,
    ) {
        let Self { queues, consumers, channels, connections, moves_left, books, .. } = self;
        let queue = &mut queues[id.0 as usize];
        let mut tables = Tables { consumers, channels, connections, moves_left };
        queue.gate.line.rotate();
        taken.sequence = books.handed_over(queue);
        books.lately.consumer = Some(consumer);
        tables.deliver_manual_ack(consumer, id, taken, effects);
    }

    /// Delivers what the touched queues and channels can deliver, or some of it when many consumers have to move.
    pub fn pump(&mut self, effects: &mut impl Effects) {
        match self.is_tracing {
            // Whatever was told of in this turn, there is enough of it.
            true if self.heard_left == 0 => {}
            true => self.overheard(effects, |broker, ear| broker.pump_unheard(ear)),
            false => self.pump_unheard(effects),
        }
    }

    fn pump_unheard(&mut self, effects: &mut impl Effects) {
        self.moves_left = MOVES_PER_PUMP;
        if self.has_chores() {
            self.do_chores(effects);
        }
        self.rejoin_drained();
        while self.moves_left > 0 {
            if let Some(key) = self.touched_queues.pop_front() {
                self.pump_queue(key, effects);
            } else if let Some(key) = self.touched_channels.pop_front() {
                self.serve_turn(key, effects);
            } else {
                return;
            }
        }
    }

    /// Whether there is anything on the lists that [`do_chores`](Self::do_chores) is for, in this turn or in the next. Mostly
    /// there is not, which is asked in one breath.
    #[inline]
    fn has_chores(&self) -> bool {
        !self.settling.is_idle()
            | !self.leaving.is_empty()
            | !self.discards.is_empty()
            | !self.overflowing.is_empty()
            | !self.dead_letters.is_empty()
            | self.is_applying_policies()
            | self.histories.are_due()
            | self.events.are_waiting()
    }

    /// Does some of what takes more than one pump.
    #[cold]
    fn do_chores(&mut self, effects: &mut impl Effects) {
        if self.settling.goes_on() {
            self.settle_left_behind();
        }
        if self.leaving.goes_on() {
            self.detach_some();
        }
        if self.discards.go_on() {
            self.discard_some();
        }
        if !self.overflowing.is_empty() {
            self.drop_some_overflows();
        }
        if self.dead_letters.go_on() {
            self.publish_dead_letters(effects);
        }
        if self.is_applying_policies() {
            self.apply_policies();
        }
        if self.histories.go_on() {
            self.tell_history(effects);
        }
        if self.events.are_waiting() {
            self.publish_events(effects);
        }
    }

    fn pump_queue(&mut self, key: QueueKey, effects: &mut impl Effects) {
        let Some(id) = self.queue_of(key) else { return };
        self.queue_mut(id).touched = false;
        if self.is_tracing {
            self.moves_left = self.moves_left.saturating_sub(MOVES_PER_TRACED_GO);
        }
        if self.deliver_from(id, DELIVERIES_PER_GO, effects) {
            self.touch(id);
        }
    }

    /// Whether [`pump`](Self::pump) may have something to deliver.
    pub fn has_touched(&self) -> bool {
        !self.touched_queues.is_empty()
            || !self.touched_channels.is_empty()
            || !self.drained_connections.is_empty()
            || self.has_chores() && self.has_chores_now()
    }

    /// Whether some of it can be done in this turn.
    #[cold]
    fn has_chores_now(&self) -> bool {
        self.settling.goes_on()
            || self.leaving.goes_on()
            || self.discards.go_on()
            || !self.overflowing.is_empty()
            || self.dead_letters.go_on()
            || self.is_applying_policies()
            || self.histories.go_on()
            || self.events.are_waiting()
    }

    /// Delivers from one queue at once, before something asks for its counts or its head.
    pub(super) fn settle_deliveries(&mut self, id: QueueId, effects: &mut impl Effects) {
        match self.is_tracing {
            true => self.overheard(effects, |broker, ear| broker.settle_deliveries_unheard(id, ear)),
            false => self.settle_deliveries_unheard(id, effects),
        }
    }

    fn settle_deliveries_unheard(&mut self, id: QueueId, effects: &mut impl Effects) {
        while self.moves_left > 0
            && let Some(channel) = self.touched_channels.pop_front()
        {
            self.serve_turn(channel, effects);
        }
        loop {
            let touched = std::mem::take(&mut self.queue_mut(id).touched);
            let most = if self.is_tracing { DELIVERIES_PER_GO } else { usize::MAX };
            let out_of_moves = touched && self.deliver_from(id, most, effects);
            self.drop_expired(id);
            // What was away may be here by now.
            let has_pages = self.take_pages();
            if out_of_moves {
                self.touch(id);
                break;
            }
            if !has_pages && !self.queue(id).touched {
                break;
            }
        }
    }

    /// Delivers at most `most` messages of a queue. True when it stopped only because of that, or because too many
    /// consumers had to move.
    pub(super) fn deliver_from(&mut self, id: QueueId, most: usize, effects: &mut impl Effects) -> bool {
        let more = self.deliver_some(id, most, effects);
        self.head_moved(id);
        more
    }

    fn deliver_some(&mut self, id: QueueId, most: usize, effects: &mut impl Effects) -> bool {
        if self.queue(id).behaviour.may_pause() && self.pauses(id) {
            return false;
        }
        let mut left = most;
        while left > 0 {
            let Self { queues, consumers, channels, connections, moves_left, books, store, .. } = self;
            let queue = &mut queues[id.0 as usize];
            let mut tables = Tables { consumers, channels, connections, moves_left };
            // Consumers stay in line for a head that is on its way: whose turn it is, is asked when it is here.
            if queue.backlog.is_empty() && !queue.backlog.step_up() || queue.backlog.head_is_away() {
                return false;
            }
            let Some(consumer) = tables.next_ready(queue) else { return queue.gate.line.front().is_some() };
            let share = if queue.gate.line.sole().is_some() { left } else { 1 };
            let run = tables.deliver_run(consumer, share, (id, queue), self.now_ms, store, effects);
            let Run { given, expired } = run;
            if given.count == 0 && expired.is_none() {
                return false;
            }
            left -= given.count;
            if given.count > 0 {
                queue.gate.line.rotate();
            }
            books.delivered(queue, &given);
            if !given.no_ack {
                books.lately.consumer = Some(consumer);
            }
            if let Some(expired) = expired {
                left -= 1;
                self.dropped(id, expired, Departure::Expired);
                if self.is_held_up(id) {
                    return false;
                }
            }
        }
        self.queues[id.0 as usize].backlog.step_up();
        true
    }

    /// Whether a queue delivers nothing now. Whoever ends that touches it.
    #[cold]
    fn pauses(&mut self, id: QueueId) -> bool {
        self.queue(id).behaviour.is_held() || self.is_held_up(id)
    }

    /// No line names a cancelled consumer any more.
    pub(super) fn unlist_cancelled(&mut self, id: ConsumerId) {
        self.consumers[id.0 as usize].listed = false;
        self.forget_cancelled(id);
    }

    /// Frees a cancelled consumer's slot if nothing names it.
    pub(super) fn forget_cancelled(&mut self, id: ConsumerId) {
        if self.consumers[id.0 as usize].is_forgotten() {
            self.consumers.remove(id.0 as usize);
        }
    }

    /// Puts a consumer that waited elsewhere back into its queue's line.
    pub(super) fn rejoin(&mut self, id: ConsumerId) {
        let consumer = &mut self.consumers[id.0 as usize];
        consumer.state = ConsumerState::InLine;
        consumer.listed = true;
        let queue_id = consumer.queue;
        let queue = &mut self.queues[queue_id.0 as usize];
        queue.gate.line.join(consumer.priority, id);
        if !queue.backlog.is_empty() {
            self.touch(queue_id);
        }
    }
}

#[cfg(test)]
mod tests;
