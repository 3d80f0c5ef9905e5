//! How long messages wait: in a queue, from their delivery to what a client says of it, from a publish to its confirm.
//!
//! Nothing is measured for each message. At the end of a turn one is picked of those that the turn was about, if one is
//! [due](Pace): the last one, of the queue, the consumer or the channel that was last concerned. What is over by then took as
//! long as the turn did until then, at most; else it is marked, and looked at in later turns. Times begin with the turn, as
//! that is when the bytes had come, so that a time is too long by the length of a turn at most.
//!
//! Messages that go straight to a consumer never wait in a queue, and are none of those that do.
//!
//! | file | owns |
//! |---|---|
//! | `of_queues` | the same of single queues |
//! | `of_exchanges` | how many messages came to each exchange, and went on from there |

mod of_exchanges;
mod of_queues;

pub use of_exchanges::{ExchangeCounters, ExchangeFigures, ExchangeKey};
pub use of_queues::{QueueDurations, QueueDurationsSnapshot};

use super::channel::ChannelMode;
use super::exchange::QueueId;
use super::flow::Lately;
use super::keys::ChannelKey;
use super::queue::Backlog;
use super::store::Store;
use super::{Broker, Channel, ConsumerId, Queue, QueueKey, Totals};
use crate::meter::{Fate, Histogram, Marks, Pace};
use of_exchanges::OfExchanges;
use of_queues::OfQueues;
use slab::Slab;

/// What was measured since the start.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Durations {
    /// Turns of the loop, each of them.
    pub turns: Histogram,
    /// Messages in queues, from when they came in until they left in whatever way; one of many.
    pub in_queue: Histogram,
    /// From a delivery until the client said what becomes of it; one of many.
    pub to_acknowledgement: Histogram,
    /// From a publish until its confirm; one of many.
    pub to_confirm: Histogram,
}

/// A message that waits.
struct Waiting {
    queue: QueueKey,
    level: u8,
    sequence: u64,
}

/// A delivery of a queue's message.
struct Delivered {
    queue: QueueKey,
    delivery: Tagged,
}

/// A delivery, or a publish, by its tag.
struct Tagged {
    channel: ChannelKey,
    tag: u64,
}

#[derive(Default)]
pub(super) struct Metering {
    durations: Durations,
    of_queues: OfQueues,
    of_exchanges: OfExchanges,
    waiting: Marks<Waiting>,
    delivered: Marks<Delivered>,
    published: Marks<Tagged>,
    waiting_pace: Pace,
    delivered_pace: Pace,
    published_pace: Pace,
}

impl<S: Store> Broker<S> {
    pub fn durations(&self) -> &Durations {
        &self.metering.durations
    }

    /// A turn that began at `began_us` ends.
    pub fn end_turn(&mut self, began_us: u64, now_us: u64) {
        self.metering.durations.turns.record(now_us.saturating_sub(began_us));
        self.look_at_waiting(now_us);
        self.look_at_delivered(now_us);
        self.look_at_published(now_us);
        let Totals { received, delivered_manual_ack, .. } = self.books.totals;
        let Lately { entered, consumer, publisher } = std::mem::take(&mut self.books.lately);
        let metering = &mut self.metering;
        if let Some((queue, level)) = entered
            && metering.waiting_pace.is_due(received, now_us)
        {
            self.mark_waiting(queue, level, began_us, now_us);
        }
        if let Some(consumer) = consumer
            && self.metering.delivered_pace.is_due(delivered_manual_ack, now_us)
        {
            self.mark_delivered(consumer, now_us);
        }
        if let Some(publisher) = publisher
            && self.metering.published_pace.is_due(received, now_us)
        {
            self.mark_published(publisher, began_us, now_us);
        }
    }

    /// The last message of a level of a queue came in this turn. It may have left since.
    fn mark_waiting(&mut self, id: QueueId, level: u8, began_us: u64, now_us: u64) {
        let Some(queue) = self.queues.get(id.0 as usize) else { return };
        let Some(sequence) = queue.backlog.next_sequence(level).checked_sub(1) else { return };
        self.metering.waiting.mark(Waiting { queue: queue.key(id), level, sequence }, began_us);
        self.look_at_waiting(now_us);
    }

    /// The last delivery of a consumer's channel was in this turn.
    fn mark_delivered(&mut self, id: ConsumerId, now_us: u64) {
        let Some(consumer) = self.consumers.get(id.0 as usize) else { return };
        let Some(channel) = self.channels.get(consumer.channel.0 as usize) else { return };
        let Some(queue) = self.queues.get(consumer.queue.0 as usize) else { return };
        let delivery = Tagged { channel: channel.key(consumer.channel), tag: channel.last_delivery_tag };
        self.metering.delivered.mark(Delivered { queue: queue.key(consumer.queue), delivery }, now_us);
    }

    /// The last publish of a channel came in this turn, or an earlier one. It may be confirmed by now.
    fn mark_published(&mut self, key: ChannelKey, began_us: u64, now_us: u64) {
        let Some(channel) = self.channels.get(key.id.0 as usize) else { return };
        let ChannelMode::Confirm(confirms) = &channel.mode else { return };
        let tag = confirms.settled() + confirms.unconfirmed();
        self.metering.published.mark(Tagged { channel: key, tag }, began_us);
        self.look_at_published(now_us);
    }

    fn look_at_waiting(&mut self, now_us: u64) {
        let Self { queues, books, metering: Metering { waiting, durations, of_queues, .. }, .. } = self;
        let gone = books.totals.queues_deleted;
        let fate = |mark: &Waiting| {
            let Some(queue) = queue_of(queues, mark.queue) else { return Fate::Lost };
            let first = queue.backlog.level(mark.level).and_then(Backlog::ring_range).map(|(first, _)| first);
            if first.is_some_and(|first| first <= mark.sequence) { Fate::Waits } else { Fate::Over }
        };
        waiting.look(now_us, fate, |mark, us| {
            durations.in_queue.record(us);
            if let Some(of_queue) = of_queues.of(mark.queue, gone, |key| queue_of(queues, key).is_some()) {
                of_queue.in_queue.record(us);
            }
        });
    }

    fn look_at_delivered(&mut self, now_us: u64) {
        let Self { queues, channels, books, metering: Metering { delivered, durations, of_queues, .. }, .. } = self;
        let gone = books.totals.queues_deleted;
        let fate = |Delivered { delivery, .. }: &Delivered| match channel_of(channels, delivery.channel) {
            None => Fate::Lost,
            Some(channel) if channel.unacknowledged.contains(delivery.tag) => Fate::Waits,
            Some(_) => Fate::Over,
        };
        delivered.look(now_us, fate, |mark, us| {
            durations.to_acknowledgement.record(us);
            if let Some(of_queue) = of_queues.of(mark.queue, gone, |key| queue_of(queues, key).is_some()) {
                of_queue.to_acknowledgement.record(us);
            }
        });
    }

    fn look_at_published(&mut self, now_us: u64) {
        let Self { channels, metering: Metering { published, durations, .. }, .. } = self;
        let fate = |mark: &Tagged| match channel_of(channels, mark.channel).map(|channel| &channel.mode) {
            Some(ChannelMode::Confirm(confirms)) if confirms.settled() < mark.tag => Fate::Waits,
            Some(ChannelMode::Confirm(_)) => Fate::Over,
            _ => Fate::Lost,
        };
        published.look(now_us, fate, |_, us| durations.to_confirm.record(us));
    }
}

fn queue_of(queues: &Slab<Queue>, key: QueueKey) -> Option<&Queue> {
    queues.get(key.id.0 as usize).filter(|queue| queue.serial == key.serial && !queue.deleted)
}

fn channel_of(channels: &Slab<Channel>, key: ChannelKey) -> Option<&Channel> {
    channels.get(key.id.0 as usize).filter(|channel| channel.serial == key.serial)
}

#[cfg(test)]
mod tests {
    use super::super::store::MemoryStore;
    use super::super::testing::{self, Nobody};
    use super::*;
    use crate::broker::publish::Publication;
    use crate::broker::queue_commands::DeclareRequest;
    use crate::broker::snapshot::PageStart;
    use crate::broker::{ChannelId, ConnectionId, ConsumeRequest, Settlement};
    use crate::meter::pace::{AT_LEAST_EVERY_US, ONE_OF};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);

    /// A broker with a queue, and a channel whose publishes are confirmed.
    fn broker() -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let arguments = FieldTable::default();
        let request = DeclareRequest { name: b"q", durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        broker.select_confirms(channel).unwrap();
        (broker, channel)
    }

    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId) {
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        let publication = Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
        broker.publish(channel, &publication, &[queue], &mut Nobody);
    }

    fn consume(broker: &mut Broker<MemoryStore>, channel: ChannelId) {
        let (consumer_tag, no_ack, exclusive, arguments) = (&b"c"[..], false, false, FieldTable::default());
        let request = ConsumeRequest { queue: b"q", consumer_tag, no_ack, exclusive, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
    }

    /// How many were measured, and the sum of their microseconds: turns, in queue, to acknowledgement, to confirm.
    fn measured(broker: &Broker<MemoryStore>) -> [(u64, u64); 4] {
        let Durations { turns, in_queue, to_acknowledgement, to_confirm } = broker.durations();
        [turns, in_queue, to_acknowledgement, to_confirm].map(|times| (times.count(), times.sum_us()))
    }

    #[test]
    fn a_message_is_measured_from_the_turn_it_came_in_to_those_in_which_it_went_on() {
        let (mut broker, channel) = broker();
        let start_us = AT_LEAST_EVERY_US;
        publish(&mut broker, channel);
        broker.flush_confirms(&mut Nobody);
        broker.end_turn(start_us, start_us + 30);
        assert_eq!(measured(&broker), [(1, 30), (0, 0), (0, 0), (1, 30)], "it is confirmed, and waits");
        consume(&mut broker, channel);
        broker.pump(&mut Nobody);
        broker.end_turn(start_us + 500, start_us + 700);
        assert_eq!(measured(&broker), [(2, 230), (1, 700), (0, 0), (1, 30)], "it was delivered");
        broker.settle(channel, 1, false, Settlement::Acknowledged).unwrap();
        broker.end_turn(start_us + 900, start_us + 1_000);
        assert_eq!(measured(&broker), [(3, 330), (1, 700), (1, 300), (1, 30)], "it was acknowledged");
        let [of_queue] = &broker.snapshot_queue_durations(PageStart::default()).items[..] else { panic!("one queue") };
        let QueueDurations { in_queue, to_acknowledgement } = of_queue.durations;
        assert_eq!((&*of_queue.name, in_queue.sum_us(), to_acknowledgement.sum_us()), (&b"q"[..], 700, 300));
    }

    #[test]
    fn one_of_many_is_measured() {
        let (mut broker, channel) = broker();
        for turn in 0..10 * ONE_OF {
            publish(&mut broker, channel);
            broker.flush_confirms(&mut Nobody);
            broker.end_turn(turn, turn + 1);
        }
        assert_eq!(measured(&broker)[3], (10, 10));
    }

    #[test]
    fn what_is_gone_is_not_measured() {
        let (mut broker, channel) = broker();
        publish(&mut broker, channel);
        consume(&mut broker, channel);
        broker.end_turn(AT_LEAST_EVERY_US, AT_LEAST_EVERY_US);
        broker.pump(&mut Nobody);
        broker.end_turn(AT_LEAST_EVERY_US, AT_LEAST_EVERY_US);
        broker.close_connection(CLIENT, &mut Nobody);
        broker.end_turn(AT_LEAST_EVERY_US, AT_LEAST_EVERY_US);
        assert_eq!(measured(&broker)[2], (0, 0), "nobody said what became of the delivery");
    }
}
